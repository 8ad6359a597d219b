//! From a file, the environment and the flags to a [`Config`], or to all that is wrong.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

use super::environment::{Flag, overrides};
use super::read::{Places, Reader};
use super::{Config, Environment, Key, Model, Place, Problem, Report, fields, tables};
use crate::turn::{ModelName, TenantId};

/// Where a configuration is looked for when nobody says where it is.
const DEFAULT_FILE: &str = "outcrop.toml";

/// What a configuration is made from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, if there is one.
    pub file: Option<SourceFile>,
    /// The environment, which overrides the file.
    pub environment: Environment,
    /// The flags, which override both.
    pub flags: Vec<Flag>,
}

/// A configuration file that was read.
#[derive(Clone)]
pub struct SourceFile {
    /// Where it is, for messages.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

impl std::fmt::Debug for SourceFile {
    /// The text may hold secrets.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "SourceFile({})", self.path.display())
    }
}

impl Sources {
    /// Finds and reads the file: the one of `--config`, else of `OUTCROP_CONFIG`, else
    /// `outcrop.toml` in the working directory if it is there, else none.
    ///
    /// # Errors
    /// If the file cannot be read; only the last may be missing.
    pub fn find(config: Option<&Path>, environment: Environment) -> Result<Self, Report> {
        let named = config.or_else(|| environment.get("OUTCROP_CONFIG").map(Path::new));
        let path = named.unwrap_or(Path::new(DEFAULT_FILE)).to_owned();
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => Some(SourceFile { path, text }),
            Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                let problem = Problem::new(Place::File, "", format!("cannot be read: {error}"));
                return Err(Report::new(Some(path), vec![problem]));
            }
        };
        Ok(Self { file, environment, flags: Vec::new() })
    }
}

/// A configuration without a mistake, and how it came about.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file it came from, if there is one.
    pub file: Option<PathBuf>,
    /// What is no mistake, but may not be what was meant; worth a warning each.
    pub notes: Vec<String>,
    /// Where each setting came from that was made.
    pub(super) places: Places,
}

/// Makes a configuration of its sources.
///
/// # Errors
/// All that is wrong, at once; only a file that is no TOML is reported by itself.
pub fn load(sources: &Sources) -> Result<Loaded, Report> {
    let path = sources.file.as_ref().map(|file| file.path.clone());
    let text = sources.file.as_ref().map_or("", |file| &file.text);
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(Report::new(path, syntax_problems(text, &errors)));
    }
    let (loaded, problems) = read(sources, text, &root);
    if problems.is_empty() {
        return Ok(Loaded { file: path, ..loaded });
    }
    Err(Report::new(path, problems))
}

/// One problem a line: what follows on the same line is mostly the same mistake.
fn syntax_problems(text: &str, errors: &[toml::de::Error]) -> Vec<Problem> {
    let problem = |error: &toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = 1 + text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count();
        Problem::new(Place::Line(line), "", format!("not valid TOML: {}", error.message()))
    };
    let mut problems: Vec<Problem> = errors.iter().map(problem).collect();
    problems.dedup_by(|later, earlier| later.place == earlier.place);
    problems
}

fn read(sources: &Sources, text: &str, root: &Spanned<DeTable<'_>>) -> (Loaded, Vec<Problem>) {
    let mut unknown = Vec::new();
    let overrides = overrides(&sources.environment, &sources.flags, &mut unknown);
    let mut reader = Reader::new(text, root.get_ref(), overrides);
    let mut config = Config::default();
    fields::sections(&mut reader, &mut config);
    reader.finish();
    config.models = tables::models(&mut reader, &sources.environment);
    config.keys = tables::keys(&mut reader, &sources.environment);
    let mut problems = reader.problems;
    problems.append(&mut unknown);
    let mut draft = Draft {
        environment: &sources.environment,
        loaded: Loaded { config, places: reader.places, ..Loaded::default() },
        problems,
    };
    draft.find_store();
    draft.resolve_openai_key();
    draft.find_sign_in();
    draft.apply_port();
    draft.add_agent();
    draft.add_api_key();
    draft.apply_default_model();
    draft.check_references();
    (draft.loaded, draft.problems)
}

/// A configuration on which the older variables have their say.
struct Draft<'a> {
    environment: &'a Environment,
    loaded: Loaded,
    problems: Vec<Problem>,
}

impl Draft<'_> {
    fn report(&mut self, variable: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(Place::Variable(variable.to_owned()), "", message));
    }

    fn came_from(&mut self, path: &str, variable: &str) {
        self.loaded.places.insert(path.to_owned(), Place::Variable(variable.to_owned()));
    }

    /// Says where the file of sessions is, if nobody else does: where the system keeps what
    /// services remember, or this user what programs do. Without either there is no such place.
    fn find_store(&mut self) {
        if self.loaded.config.store.path.is_some() {
            return;
        }
        let of_service = |paths: &str| paths.split(':').next().map(PathBuf::from);
        let places = [
            ("STATE_DIRECTORY", self.environment.get("STATE_DIRECTORY").and_then(of_service)),
            ("XDG_STATE_HOME", self.state_folder("XDG_STATE_HOME", "outcrop")),
            ("HOME", self.state_folder("HOME", ".local/state/outcrop")),
        ];
        let found = places.into_iter().find_map(|(name, folder)| Some((name, folder?)));
        let Some((variable, folder)) = found else { return };
        self.loaded.config.store.path = folder.join("sessions.db").to_str().map(str::to_owned);
        self.came_from("store.path", variable);
    }

    /// A folder below the one that a variable names; one that is not absolute does not count.
    fn state_folder(&self, variable: &str, below: &str) -> Option<PathBuf> {
        let folder = Path::new(self.environment.get(variable)?);
        folder.is_absolute().then(|| folder.join(below))
    }

    /// Puts the key of `[openai]` itself in the place of what refers to it.
    fn resolve_openai_key(&mut self) {
        let Some(written) = &self.loaded.config.openai.api_key else { return };
        match tables::upstream_key(written, self.environment) {
            Ok(key) => self.loaded.config.openai.api_key = Some(key),
            Err(message) => {
                let path = "openai.api_key";
                let place = self.loaded.places.get(path).cloned().unwrap_or(Place::File);
                self.problems.push(Problem::new(place, path, message));
            }
        }
    }

    /// A sign-in is state: it is kept where the platform keeps such, unless somebody says where.
    fn find_sign_in(&mut self) {
        let home = self.environment.get("HOME").map(PathBuf::from);
        let settings = &mut self.loaded.config.codewhisperer;
        match &settings.directory {
            Some(directory) => settings.kept_in = Some(PathBuf::from(directory)),
            None => {
                settings.kept_in = self.environment.state_folder();
                settings.older = home.map(|home| home.join(".codewhisperer-proxy"));
            }
        }
    }

    /// `PORT` replaces the port of whatever address there is, but not of a flag's: platforms set
    /// it beside an address that says on which interface.
    fn apply_port(&mut self) {
        let Some(text) = self.environment.get("PORT") else { return };
        let Ok(port) = text.trim().parse() else {
            self.report("PORT", format!("must be a port from 0 to 65535, not {text:?}"));
            return;
        };
        if !matches!(self.loaded.places.get("server.listen"), Some(Place::Flag(_))) {
            self.loaded.config.server.listen.set_port(port);
            self.came_from("server.listen", "PORT");
        }
    }

    /// `AGENT_ID` is a model named `bedrock-agent`, unless one of that name is configured.
    fn add_agent(&mut self) {
        let alias = self.environment.get("AGENT_ALIAS_ID");
        let Some(agent) = self.environment.get("AGENT_ID") else {
            if alias.is_some() {
                let note = "AGENT_ALIAS_ID is set but AGENT_ID is not: no model is made of it";
                self.loaded.notes.push(note.to_owned());
            }
            return;
        };
        let name: ModelName = "bedrock-agent".parse().expect("words and a dash are a model name");
        if self.loaded.config.model(&name).is_some() {
            return;
        }
        let mut model = Model::new(name, "bedrock-agent");
        model.agent_id = Some(agent.to_owned());
        model.agent_alias_id = alias.map(str::to_owned);
        self.loaded.config.models.push(model);
        self.came_from("models[bedrock-agent]", "AGENT_ID");
    }

    /// `API_KEY` is a key of the tenant `default`, unless that very key is configured.
    fn add_api_key(&mut self) {
        let Some(written) = self.environment.get("API_KEY") else { return };
        match tables::hash_of_old_key(written, self.environment) {
            Ok(hash) if self.loaded.config.keys.iter().any(|key| key.hash == hash) => {}
            Ok(hash) => {
                let tenant: TenantId = "default".parse().expect("a word is a tenant");
                let path = format!("keys[{}]", self.loaded.config.keys.len());
                self.loaded.config.keys.push(Key::new(tenant, hash));
                self.came_from(&path, "API_KEY");
            }
            Err(message) => self.report("API_KEY", message),
        }
    }

    /// `DEFAULT_OPENAI_MODEL` is the default, if there is none and it names a model we know.
    fn apply_default_model(&mut self) {
        let Some(text) = self.environment.get("DEFAULT_OPENAI_MODEL") else { return };
        if self.loaded.config.routing.default.is_some() {
            return;
        }
        let known = text.parse().ok().filter(|name| self.loaded.config.model(name).is_some());
        if known.is_some() {
            self.loaded.config.routing.default = known;
            self.came_from("routing.default", "DEFAULT_OPENAI_MODEL");
            return;
        }
        let note = format!("DEFAULT_OPENAI_MODEL names no configured model: {text:?} is ignored");
        self.loaded.notes.push(note);
    }

    /// What names a model must name one that can be asked for.
    fn check_references(&mut self) {
        let config = &self.loaded.config;
        let mut references = Vec::new();
        references.extend(
            config.routing.default.as_ref().map(|name| ("routing.default".to_owned(), name)),
        );
        for (index, key) in config.keys.iter().enumerate() {
            let models = key.models.iter().flatten();
            references.extend(models.map(|name| (format!("keys[{index}].models"), name)));
        }
        for (path, name) in references {
            if let Err(message) = config.check_model(name) {
                let place = self.loaded.places.get(&path).cloned().unwrap_or(Place::File);
                self.problems.push(Problem::new(place, path, message));
            }
        }
    }
}
