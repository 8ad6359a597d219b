//! What is wrong with a configuration, where, and what to do about it.

use std::fmt;
use std::path::PathBuf;

use super::Model;

/// Where a setting was made, or ought to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file as a whole, or no particular place.
    File,
    /// A line of the file, counted from 1.
    Line(usize),
    /// An environment variable, by its name.
    Variable(String),
    /// An argument of the command line, such as `--listen`.
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => out.write_str("the file"),
            Self::Line(line) => write!(out, "line {line}"),
            Self::Variable(name) | Self::Flag(name) => out.write_str(name),
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it was made.
    pub place: Place,
    /// The setting, as `server.listen` or `models[claude].backend`; empty for none.
    pub key: String,
    /// What is wrong and what to do: lowercase, no full stop, and never a secret.
    pub message: String,
}

impl Problem {
    /// A mistake at a place.
    pub fn new(place: Place, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place, key: key.into(), message: message.into() }
    }

    /// A mistake in a model's setting: at its line, or the model's if it is absent. For the
    /// backends, which check their own settings.
    pub fn in_model(model: &Model, setting: &str, message: impl Into<String>) -> Self {
        let line = model.lines.get(setting).or_else(|| model.lines.get(""));
        let place = line.map_or(Place::File, |line| Place::Line(*line));
        Self::new(place, format!("models[{}].{setting}", model.name), message)
    }
}

/// Everything that is wrong: one line a problem, `file:line: key: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The file that the lines are of, if there is one.
    pub file: Option<PathBuf>,
    /// What is wrong, in the order of the file, then what is wrong elsewhere.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Sorts the problems by place.
    #[must_use]
    pub fn new(file: Option<PathBuf>, mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        Self { file, problems }
    }

    fn write(&self, problem: &Problem, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&problem.place, &self.file) {
            (Place::Line(line), Some(file)) => write!(out, "{}:{line}: ", file.display())?,
            (Place::Line(line), None) => write!(out, "line {line}: ")?,
            (Place::File, Some(file)) => write!(out, "{}: ", file.display())?,
            (Place::File, None) => write!(out, "configuration: ")?,
            (Place::Variable(name), _) => write!(out, "environment: {name}: ")?,
            (Place::Flag(name), _) => write!(out, "arguments: {name}: ")?,
        }
        match problem.place {
            Place::File | Place::Line(_) if !problem.key.is_empty() => {
                write!(out, "{}: {}", problem.key, problem.message)
            }
            _ => out.write_str(&problem.message),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            self.write(problem, out)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// The known name that was probably meant: one that begins with what was written, or differs
/// from it in at most a quarter of its letters (and one).
pub(super) fn nearest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let most = 1 + written.len() / 4;
    known
        .into_iter()
        .map(|name| {
            let is_begun = written.len() >= 4 && name.starts_with(written);
            let distance = if is_begun { 1 } else { strsim::damerau_levenshtein(written, name) };
            (distance, name)
        })
        .filter(|(distance, name)| *distance <= most && *distance < name.len())
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_its_name_and_a_stranger_does_not() {
        let known = ["listen", "idle_timeout_seconds", "drain_seconds"];
        assert_eq!(nearest("listn", known), Some("listen"));
        assert_eq!(nearest("lisetn", known), Some("listen"));
        assert_eq!(nearest("idle_timeout", known), Some("idle_timeout_seconds"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", ["y"]), None);
    }

    #[test]
    fn a_report_is_in_the_order_of_the_file() {
        let at = |line| Problem::new(Place::Line(line), "server.listen", "is wrong");
        let variable = Place::Variable("PORT".to_owned());
        let problems = vec![at(9), Problem::new(variable, "server.listen", "is no port"), at(2)];
        let report = Report::new(Some("outcrop.toml".into()), problems);
        let expected = "outcrop.toml:2: server.listen: is wrong\n\
                        outcrop.toml:9: server.listen: is wrong\n\
                        environment: PORT: is no port";
        assert_eq!(report.to_string(), expected);
    }
}
