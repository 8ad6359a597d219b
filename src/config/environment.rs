//! The environment: `.env`, the process's variables, and what they and the flags set.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::fields::{self, Name};
use super::problem::nearest;
use super::{Place, Problem, Report};

/// The names that users of such proxies have already, and the settings they stand for.
/// `PORT`, `API_KEY`, `AGENT_ID` and `DEFAULT_OPENAI_MODEL` are no settings by themselves; the
/// loader treats them one by one.
const OLD_NAMES: &[(&str, &str)] = &[
    ("ALLOWED_ORIGINS", "server.allowed_origins"),
    ("DEBUG_MODE", "routing.debug_traces"),
    ("LOG_LEVEL", "log.level"),
    ("OPENAI_API_KEY", "openai.api_key"),
    ("OPENAI_BASE_URL", "openai.base_url"),
];
/// `[models]` may hold two settings of `[routing]`, so their variables may be named for it.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("OUTCROP_MODELS__DEFAULT", "routing.default"),
    ("OUTCROP_MODELS__ALLOW_DIRECT", "routing.allow_direct"),
];

/// Environment variables, as they were when they were taken. An empty one counts as not set.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process, less those that are not Unicode.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of a variable, unless it is empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Where the program keeps what is to outlast it and can be lost: `outcrop` in
    /// `XDG_STATE_HOME`, else in `~/.local/state`. None without either.
    #[must_use]
    pub fn state_folder(&self) -> Option<PathBuf> {
        // By the XDG rules a path that is not absolute counts as not set.
        let absolute =
            |name| self.get(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
        let state = absolute("XDG_STATE_HOME");
        let state = state.or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
        Some(state.join("outcrop"))
    }

    /// The variables that begin with this, and are not empty.
    fn beginning<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0
            .iter()
            .filter(move |(name, value)| name.starts_with(prefix) && !value.is_empty())
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

impl fmt::Debug for Environment {
    /// Variables hold secrets: only how many there are.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Environment({} variables)", self.0.len())
    }
}

/// Reads `.env` in the working directory into the environment of this process, where a variable
/// is not set already, and returns the whole. No file is no mistake.
///
/// The process itself must have the variables, since the AWS SDK reads its own (`AWS_PROFILE`
/// and the like) from there. Setting them is sound only while nothing else can be reading the
/// environment: call this first in `main`, before a runtime or any other thread is started.
///
/// # Errors
/// If the file cannot be read, or a line of it is not `NAME=value`; then nothing is set.
pub fn load_dotenv() -> Result<Environment, Report> {
    let path = Path::new(".env");
    let report = |problem| Report::new(Some(path.to_owned()), vec![problem]);
    let unreadable = |error: &dyn fmt::Display| {
        report(Problem::new(Place::File, "", format!("cannot be read: {error}")))
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Environment::of_process()),
        Err(error) => return Err(unreadable(&error)),
    };
    check_dotenv(&text).map_err(report)?;
    dotenvy::from_read(text.as_bytes()).map_err(|error| unreadable(&error))?;
    Ok(Environment::of_process())
}

/// Whether every line can be set. Messages hold no value: it may be a secret.
fn check_dotenv(text: &str) -> Result<(), Problem> {
    let text = text.trim_start_matches('\u{feff}');
    for entry in dotenvy::from_read_iter(text.as_bytes()) {
        match entry {
            Ok((_, value)) if !value.contains('\0') => {}
            Ok((name, _)) => {
                return Err(Problem::new(Place::File, name, "must not hold a NUL character"));
            }
            Err(dotenvy::Error::LineParse(line, _)) => {
                let start = text.find(&line).unwrap_or(0);
                let number = 1 + text[..start].matches('\n').count();
                let message = "must be NAME=value; quote a value that holds spaces";
                return Err(Problem::new(Place::Line(number), "", message));
            }
            Err(error) => return Err(Problem::new(Place::File, "", error.to_string())),
        }
    }
    Ok(())
}

/// An argument of the command line that stands for a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// As the user typed it, for messages: `--listen`.
    pub name: &'static str,
    /// The setting it overrides: `server.listen`.
    pub key: &'static str,
    /// Its value, written as in the environment.
    pub value: String,
}

/// A setting made outside of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Override {
    pub(super) place: Place,
    pub(super) value: String,
}

/// What flags and environment set, by the setting's path.
pub(super) type Overrides = BTreeMap<String, Override>;

/// Collects them, flags over variables, `OUTCROP_…` over the older names; and reports the names
/// that stand for nothing.
pub(super) fn overrides(
    environment: &Environment,
    flags: &[Flag],
    problems: &mut Vec<Problem>,
) -> Overrides {
    let mut overrides = Overrides::new();
    for (name, path) in OLD_NAMES {
        if let Some(value) = environment.get(name) {
            overrides.insert((*path).to_owned(), variable(name, value));
        }
    }
    let known = known_variables();
    for (name, value) in environment.beginning("OUTCROP_") {
        let Some(path) = known.get(name) else {
            problems.extend(unknown_variable(name, &known));
            continue;
        };
        let before = overrides.insert(path.clone(), variable(name, value));
        if let Some(Override { place: Place::Variable(other), .. }) = before
            && other.starts_with("OUTCROP_")
        {
            let message = format!("stands for the same setting as {other}; set one of them");
            problems.push(Problem::new(Place::Variable(name.to_owned()), path.clone(), message));
        }
    }
    for flag in flags {
        let place = Place::Flag(flag.name.to_owned());
        overrides.insert(flag.key.to_owned(), Override { place, value: flag.value.clone() });
    }
    overrides
}

fn variable(name: &str, value: &str) -> Override {
    Override { place: Place::Variable(name.to_owned()), value: value.to_owned() }
}

/// The variable of every setting, and the setting's path.
fn known_variables() -> BTreeMap<String, String> {
    let settings = fields::names().into_iter().map(|name: Name| (name.variable(), name.path()));
    let others = OTHER_NAMES.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned()));
    settings.chain(others).collect()
}

/// `OUTCROP_` alone may be somebody else's (Kubernetes sets such names for a service called
/// `outcrop`); two underscores in the middle are ours, and so is a name of ours with one.
fn unknown_variable(name: &str, known: &BTreeMap<String, String>) -> Option<Problem> {
    let problem = |message| Problem::new(Place::Variable(name.to_owned()), "", message);
    let with_one = known.keys().find(|known| known.replace("__", "_") == name);
    if let Some(meant) = with_one {
        return Some(problem(format!("stands for nothing; did you mean {meant}?")));
    }
    if !name["OUTCROP_".len()..].contains("__") {
        return None;
    }
    Some(problem(match nearest(name, known.keys().map(String::as_str)) {
        Some(meant) => format!("stands for nothing; did you mean {meant}?"),
        None => "stands for nothing; settings are named OUTCROP_SECTION__FIELD".to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dotenv_mistake_has_its_line_and_keeps_the_secret() {
        let problem = check_dotenv("A=1\n# note\n\nB = it is secret\n").unwrap_err();
        assert_eq!(problem.place, Place::Line(4));
        assert!(!problem.message.contains("secret"));
        assert_eq!(check_dotenv("\u{feff}A=1\nexport B='two words'\n"), Ok(()));
        assert!(check_dotenv("A=x\0y").is_err());
    }

    #[test]
    fn names_that_stand_for_nothing_are_reported_unless_they_may_be_anothers() {
        let environment = Environment::from([
            ("OUTCROP_SERVER__LISTN", "127.0.0.1:1"),
            ("OUTCROP_SERVER_LISTEN", "127.0.0.1:1"),
            ("OUTCROP_NO__SUCH", "1"),
            ("OUTCROP_SERVICE_HOST", "10.0.0.1"),
            ("OUTCROP_PORT", "tcp://10.0.0.1:80"),
            ("OUTCROP_CONFIG", "/etc/outcrop.toml"),
            ("OUTCROP_TURN__QUEU", ""),
        ]);
        let mut problems = Vec::new();
        assert!(overrides(&environment, &[], &mut problems).is_empty());
        let report = Report::new(None, problems).to_string();
        let expected = "environment: OUTCROP_NO__SUCH: stands for nothing; settings are named \
                        OUTCROP_SECTION__FIELD\n\
                        environment: OUTCROP_SERVER_LISTEN: stands for nothing; did you mean \
                        OUTCROP_SERVER__LISTEN?\n\
                        environment: OUTCROP_SERVER__LISTN: stands for nothing; did you mean \
                        OUTCROP_SERVER__LISTEN?";
        assert_eq!(report, expected);
    }

    #[test]
    fn the_state_folder_is_where_the_platform_keeps_state() {
        let folder = |variables: [(&str, &str); 2]| Environment::from(variables).state_folder();
        let of_home = folder([("HOME", "/home/ann"), ("XDG_STATE_HOME", "state")]);
        assert_eq!(of_home, Some("/home/ann/.local/state/outcrop".into()));
        let named = folder([("HOME", "/home/ann"), ("XDG_STATE_HOME", "/state")]);
        assert_eq!(named, Some("/state/outcrop".into()));
        assert_eq!(Environment::default().state_folder(), None);
    }

    #[test]
    fn an_environment_does_not_show_its_values() {
        let environment = Environment::from([("API_KEY", "hunter2")]);
        assert_eq!(format!("{environment:?}"), "Environment(1 variables)");
    }
}
