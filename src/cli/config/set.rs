//! `outcrop config set SETTING VALUE`: one setting of the file, whose comments stay.

use std::path::Path;

use toml_edit::{Item, Table};

use crate::cli::edit::{ConfigFile, NotChanged, set, value_of};
use crate::config::Environment;

/// Sets `section.name` in the file, and gives the line that says so.
///
/// # Errors
/// When there is no such setting, it cannot have this value, or the file cannot be written.
pub(super) fn run(
    file: Option<&Path>,
    setting: &str,
    written: &str,
    environment: Environment,
) -> Result<String, NotChanged> {
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
    Ok(format!("{setting} = {} in {}", value_of(written), file.path().display()))
}
