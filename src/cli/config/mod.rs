//! `outcrop config`: begin a configuration, check it, show what it comes to, change it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::config::{
    Config, Environment, Hashes, Loaded, Place, Problem, Report, Sources, load, secret,
};
use crate::turn::TenantId;

use super::edit::NotChanged;
use super::keys::new_key;

mod init;
mod set;

pub use init::Init;

/// The configuration is in order.
pub const EXIT_OK: u8 = 0;
/// A file could not be written.
pub const EXIT_FAILED: u8 = 1;
/// There is something wrong with it, which was said on standard error.
pub const EXIT_WRONG: u8 = 2;

/// What can be done with a configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Say everything that is wrong with the configuration, with line numbers
    Check(CheckArgs),
    /// Print the configuration that results from file and environment
    Show(ShowArgs),
    /// Write a file to begin with, of a few questions
    Init(Init),
    /// Change one setting of the file, or make a key
    Set(SetArgs),
}

/// Which file.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// The configuration file; else the one in OUTCROP_CONFIG, else ./outcrop.toml if it exists
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What to check.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Which file.
    #[command(flatten)]
    pub file: FileArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What to show.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Which file.
    #[command(flatten)]
    pub file: FileArgs,
    /// Print the hashes of keys whole, so that the output can be loaded
    #[arg(long)]
    pub hashes: bool,
}

/// What to change.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct SetArgs {
    /// The file.
    #[command(flatten)]
    pub file: FileArgs,
    /// The setting, as server.listen; docs/configuration.md has them all
    #[arg(requires = "value")]
    pub setting: Option<String>,
    /// Its value: TOML, or a text without quotes
    pub value: Option<String>,
    /// What to make instead.
    #[command(subcommand)]
    pub make: Option<SetVerb>,
}

/// What to make.
#[derive(Debug, Subcommand)]
pub enum SetVerb {
    /// Make an API key: print it once, and the table to paste into the configuration.
    /// `outcrop keys create` puts it there
    Key {
        /// Whose key it is: 1 to 64 characters of [0-9a-zA-Z._-]
        #[arg(long)]
        tenant: TenantId,
        /// Whether it may also list, read, follow, interrupt and end other tenants' sessions
        #[arg(long)]
        admin: bool,
    },
}

/// Where the verb's results and complaints go.
pub struct Output<'a> {
    /// Standard output: results.
    pub out: &'a mut dyn Write,
    /// Standard error: complaints, and what is for people's eyes only.
    pub err: &'a mut dyn Write,
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Output")
    }
}

impl ConfigVerb {
    /// Runs the verb and returns the exit code. `extra` is what others check, such as the
    /// backends their models' settings.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn run(
        &self,
        environment: Environment,
        extra: impl Fn(&Config) -> Vec<Problem>,
        output: &mut Output<'_>,
    ) -> io::Result<u8> {
        let region = aws_region(&environment);
        let loaded = match self {
            Self::Check(args) => {
                let loaded = load_checked(args.file.config.as_deref(), environment, extra);
                if args.json {
                    return checked(loaded, output);
                }
                loaded
            }
            Self::Show(args) => load_found(args.file.config.as_deref(), environment),
            Self::Init(init) => return init.run(&environment, output),
            Self::Set(args) => return args.run(environment, output),
        };
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(report) => {
                writeln!(output.err, "{report}")?;
                return Ok(EXIT_WRONG);
            }
        };
        for note in &loaded.notes {
            writeln!(output.err, "note: {note}")?;
        }
        match self {
            Self::Show(args) => {
                let hashes = if args.hashes { Hashes::Whole } else { Hashes::Masked };
                output.out.write_all(loaded.show(hashes).as_bytes())?;
                output.out.write_all(region.as_bytes())?;
            }
            Self::Check(_) | Self::Init(_) | Self::Set(_) => {
                writeln!(output.out, "{}", summary(&loaded))?
            }
        }
        Ok(EXIT_OK)
    }
}

impl SetArgs {
    fn run(&self, environment: Environment, output: &mut Output<'_>) -> io::Result<u8> {
        if let Some(SetVerb::Key { tenant, admin }) = &self.make {
            return make_key(tenant, *admin, output);
        }
        let (Some(setting), Some(value)) = (&self.setting, &self.value) else {
            writeln!(output.err, "a setting and its value are due, as server.listen 127.0.0.1:80")?;
            return Ok(EXIT_WRONG);
        };
        match set::run(self.file.config.as_deref(), setting, value, environment) {
            Ok(done) => {
                writeln!(output.out, "{}", done.line)?;
                if let Some(warning) = done.warning {
                    writeln!(output.err, "{warning}")?;
                }
                Ok(EXIT_OK)
            }
            Err(error) => {
                writeln!(output.err, "{error}")?;
                let is_wrong = matches!(error, NotChanged::Wrong(_));
                Ok(if is_wrong { EXIT_WRONG } else { EXIT_FAILED })
            }
        }
    }
}

fn load_found(file: Option<&Path>, environment: Environment) -> Result<Loaded, Report> {
    load(&Sources::find(file, environment)?)
}

fn load_checked(
    file: Option<&Path>,
    environment: Environment,
    extra: impl Fn(&Config) -> Vec<Problem>,
) -> Result<Loaded, Report> {
    let loaded = load_found(file, environment)?;
    let mut problems = extra(&loaded.config);
    problems.extend(loaded.exposure());
    if problems.is_empty() {
        return Ok(loaded);
    }
    Err(Report::new(loaded.file, problems))
}

/// Prints what came of a check as one document.
fn checked(loaded: Result<Loaded, Report>, output: &mut Output<'_>) -> io::Result<u8> {
    let (document, code) = match loaded {
        Ok(loaded) => {
            let told = json!({
                "file": loaded.file, "is_in_order": true, "problems": [], "notes": loaded.notes,
                "models": loaded.config.models.len(), "keys": loaded.config.keys.len(),
                "listen": loaded.config.server.listen,
            });
            (told, EXIT_OK)
        }
        Err(Report { file, problems }) => {
            let problems: Vec<Value> = problems.iter().map(written).collect();
            let told = json!({ "file": file, "is_in_order": false, "problems": problems });
            (told, EXIT_WRONG)
        }
    };
    writeln!(output.out, "{document}")?;
    Ok(code)
}

fn written(problem: &Problem) -> Value {
    let mut told = json!({ "setting": problem.key, "message": problem.message });
    match &problem.place {
        Place::Line(line) => told["line"] = json!(line),
        Place::Variable(name) => told["variable"] = json!(name),
        Place::Flag(name) => told["flag"] = json!(name),
        Place::File => {}
    }
    told
}

/// A comment on what the AWS SDK finds by itself, since that goes before `aws.region`.
fn aws_region(environment: &Environment) -> String {
    let set = |name: &&str| environment.get(name).map(|value| (name.to_string(), value.to_owned()));
    match ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(set) {
        Some((name, value)) => format!("\n# {name} is {value:?}, which goes before aws.region\n"),
        None => String::new(),
    }
}

/// `outcrop.toml is in order: 2 models, 1 key, listening on 127.0.0.1:8000`
fn summary(loaded: &Loaded) -> String {
    let file = loaded.file.as_ref().map(|file| file.display().to_string());
    let count = |number: usize, thing| match number {
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    };
    format!(
        "{} is in order: {}, {}, listening on {}",
        file.as_deref().unwrap_or("the configuration (no file)"),
        count(loaded.config.models.len(), "model"),
        count(loaded.config.keys.len(), "key"),
        loaded.config.server.listen
    )
}

/// The key goes to standard error, so that the table alone can be appended to a file.
fn make_key(tenant: &TenantId, is_admin: bool, output: &mut Output<'_>) -> io::Result<u8> {
    let key = new_key();
    let hash = secret::hash_text(&secret::hash_key(&key));
    writeln!(output.err, "the key for {tenant}, which is not shown again: {key}")?;
    writeln!(output.out, "[[keys]]\ntenant = \"{tenant}\"\nhash = \"{hash}\"")?;
    if is_admin {
        writeln!(output.out, "admin = true")?;
    }
    Ok(EXIT_OK)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use uuid::Uuid;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        verb: ConfigVerb,
    }

    /// A file that is gone when the test ends.
    struct TempFile(PathBuf);

    impl TempFile {
        fn holding(text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("{}.toml", Uuid::new_v4().simple()));
            std::fs::write(&path, text).unwrap();
            Self(path)
        }

        fn path(&self) -> &str {
            self.0.to_str().unwrap()
        }
    }

    impl Drop for TempFile {
        fn drop(&mut self) {
            // A file that is left behind does no harm.
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn run_with(
        arguments: &[&str],
        environment: Environment,
        extra: impl Fn(&Config) -> Vec<Problem>,
    ) -> (u8, String, String) {
        let cli = Cli::try_parse_from([&["config"], arguments].concat()).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut output = Output { out: &mut out, err: &mut err };
        let code = cli.verb.run(environment, extra, &mut output).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    fn run(arguments: &[&str], environment: Environment) -> (u8, String, String) {
        run_with(arguments, environment, |_| Vec::new())
    }

    #[test]
    fn check_prints_every_problem_and_exits_with_2() {
        let file = TempFile::holding("[server]\nlistn = 1\n[turn]\nqueue = -1\n");
        let path = file.path();
        let (code, out, err) = run(&["check", "--config", path], Environment::default());
        assert_eq!((code, out.as_str()), (2, ""));
        let expected = format!(
            "{path}:2: server.listn: unknown key; did you mean listen?\n\
             {path}:4: turn.queue: must be an integer from 0 to 1000000000, not -1\n"
        );
        assert_eq!(err, expected);
    }

    #[test]
    fn check_prints_one_line_when_all_is_well() {
        let file = TempFile::holding("[[models]]\nname = \"a\"\nbackend = \"x\"\n");
        let environment = Environment::from([("OUTCROP_CONFIG", file.path())]);
        let expected =
            format!("{} is in order: 1 model, 0 keys, listening on 127.0.0.1:8000\n", file.path());
        assert_eq!(run(&["check"], environment), (0, expected, String::new()));
    }

    #[test]
    fn check_asks_others_and_looks_for_an_open_door() {
        let text = "[server]\nlisten = \"0.0.0.0:1\"\n[[models]]\nname = \"a\"\nbackend = \"x\"\n";
        let file = TempFile::holding(text);
        let extra =
            |config: &Config| vec![Problem::in_model(&config.models[0], "agent_id", "is missing")];
        let arguments = ["check", "--config", file.path()];
        let (code, _, err) = run_with(&arguments, Environment::default(), extra);
        assert_eq!(code, EXIT_WRONG);
        assert!(err.contains(":2: server.listen: 0.0.0.0:1 is reachable from elsewhere"), "{err}");
        assert!(err.contains(":3: models[a].agent_id: is missing\n"), "{err}");
    }

    #[test]
    fn a_file_that_was_named_must_exist() {
        let (code, _, err) =
            run(&["show", "--config", "/no/such/outcrop.toml"], Environment::default());
        assert_eq!(code, EXIT_WRONG);
        assert!(err.starts_with("/no/such/outcrop.toml: cannot be read: "), "{err}");
    }

    #[test]
    fn show_prints_toml_and_what_region_the_environment_gives() {
        let file = TempFile::holding("[turn]\nqueue = 3\n");
        let environment = Environment::from([("AWS_DEFAULT_REGION", "eu-central-1")]);
        let (code, out, err) = run(&["show", "--config", file.path()], environment);
        assert_eq!((code, err.as_str()), (EXIT_OK, ""));
        let shown: toml::Table = out.parse().unwrap();
        assert_eq!(shown["turn"]["queue"].as_integer(), Some(3));
        assert!(out.contains("# AWS_DEFAULT_REGION is \"eu-central-1\""), "{out}");
    }

    #[test]
    fn a_key_is_printed_beside_a_table_that_holds_its_hash() {
        let (code, out, err) = run(&["set", "key", "--tenant", "acme"], Environment::default());
        assert_eq!(code, EXIT_OK);
        let key = err.trim_end().rsplit(' ').next().unwrap();
        assert!(key.starts_with("oc_") && key.len() == 67, "{key}");
        let file = TempFile::holding(&out);
        let loaded = load_found(Some(&file.0), Environment::default()).unwrap();
        assert_eq!(loaded.config.keys[0].tenant.as_str(), "acme");
        assert_eq!(loaded.config.keys[0].hash, secret::hash_key(key));
        assert!(!loaded.config.keys[0].admin);
        let arguments = ["set", "key", "--tenant", "acme", "--admin"];
        let (_, out, _) = run(&arguments, Environment::default());
        let loaded = load_found(Some(&TempFile::holding(&out).0), Environment::default()).unwrap();
        assert!(loaded.config.keys[0].admin);
    }

    #[test]
    fn a_setting_is_changed_in_the_file_and_its_comments_stay() {
        let file = TempFile::holding("# mine\n[turn]\nqueue = 3  # why\n");
        let set = |setting, value| {
            run(&["set", setting, value, "--config", file.path()], Environment::default())
        };
        let (code, out, err) = set("turn.queue", "4");
        assert_eq!((code, err.as_str()), (EXIT_OK, ""));
        assert!(out.starts_with("turn.queue = 4 in "), "{out}");
        assert_eq!(set("server.listen", "127.0.0.1:9000").0, EXIT_OK);
        let expected =
            "# mine\n[turn]\nqueue = 4  # why\n\n[server]\nlisten = \"127.0.0.1:9000\"\n";
        assert_eq!(std::fs::read_to_string(&file.0).unwrap(), expected);
        for (setting, value, told) in [
            ("turn.queu", "4", "did you mean queue?"),
            ("turn.queue", "many", "must be an integer"),
            ("turn", "4", "is not a setting"),
            ("models.name", "a", "is one of many"),
        ] {
            let (code, _, err) = set(setting, value);
            assert!(code == EXIT_WRONG && err.contains(told), "{err}");
        }
        assert_eq!(std::fs::read_to_string(&file.0).unwrap(), expected);
    }
}
