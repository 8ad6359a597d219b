//! `outcrop config set SETTING VALUE`: one setting of the file, whose comments stay.

use std::path::Path;

use toml_edit::{Item, Table};

use crate::cli::edit::{ConfigFile, NotChanged, is_exposed, set, value_of};
use crate::config::Environment;

/// Endings of settings that hold secrets.
const SECRET: [&str; 4] = ["key", "token", "secret", "password"];

/// What was done, for people.
pub(super) struct Done {
    /// The line that says so.
    pub(super) line: String,
    /// What they had better know.
    pub(super) warning: Option<String>,
}

/// Sets `section.name` in the file.
///
/// # Errors
/// When there is no such setting, it cannot have this value, or the file cannot be written.
pub(super) fn run(
    file: Option<&Path>,
    setting: &str,
    written: &str,
    environment: Environment,
) -> Result<Done, NotChanged> {
    let wrong = |message: &str| NotChanged::Wrong(format!("{setting:?} {message}"));
    let Some((section, name)) = setting.split_once('.').filter(|(_, name)| !name.contains('.'))
    else {
        return Err(wrong("is not a setting; they are named as server.listen"));
    };
    if ["models", "keys"].contains(&section) {
        return Err(wrong("is one of many; edit the file by hand, or use outcrop keys"));
    }
    let mut file = ConfigFile::open(file, environment)?;
    let table = file.document.entry(section).or_insert_with(|| Item::Table(Table::new()));
    if !table.is_table_like() {
        return Err(wrong("belongs in a table, and the file has something else there"));
    }
    set(table, name, value_of(written));
    file.save()?;
    let path = file.path().display();
    if !is_secret(name, written) {
        return Ok(Done {
            line: format!("{setting} = {} in {path}", value_of(written)),
            warning: None,
        });
    }
    let warning = is_exposed(file.path()).then(|| {
        format!(
            "{path} holds a secret now, and others can read it: chmod 600 it, or write \"${{NAME}}\" \
             or \"file:PATH\" there instead"
        )
    });
    Ok(Done { line: format!("{setting} is set in {path}"), warning })
}

/// Whether a setting is given a secret, rather than the place where it is to be found.
fn is_secret(name: &str, written: &str) -> bool {
    let is_reference = written.contains("${") || written.trim_matches('"').starts_with("file:");
    SECRET.iter().any(|ending| name.ends_with(ending)) && !is_reference
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_told_from_where_it_is_to_be_found() {
        assert!(is_secret("api_key", "sk-1") && is_secret("api_key", "\"sk-1\""));
        for reference in ["${KEY}", "file:/run/secrets/key", "\"file:/run/secrets/key\""] {
            assert!(!is_secret("api_key", reference), "{reference}");
        }
        assert!(!is_secret("listen", "127.0.0.1:80"));
    }
}
