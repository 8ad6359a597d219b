//! Lines that are typed: edited, completed, and kept from one conversation to the next.
//!
//! The history is a file in the state folder that its owner alone can read: people paste secrets
//! into conversations.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::{DefaultHistory, History as _};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Behavior, Config, Context, Editor, Helper};

use crate::cli::edit::owners_own;
use crate::config::Environment;

use super::command::{COMMANDS, goes_on, joined};

/// Lines that are kept.
const KEPT: usize = 1_000;

/// What became of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Typed(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or the terminal is gone.
    Ended,
}

/// A line editor with its history.
pub(super) struct Lines {
    /// Away while a line is edited, on a thread that may wait for keys.
    editor: Option<Editor<Helps, DefaultHistory>>,
    history: Option<PathBuf>,
}

impl Lines {
    /// Takes the terminal over whenever a line is read.
    ///
    /// # Errors
    /// When there is no terminal that can be edited on.
    pub(super) fn open(environment: &Environment) -> Result<Self, String> {
        // Where the answers go to a file, the lines are edited on the terminal all the same.
        let behavior = match io::stdout().is_terminal() {
            true => Behavior::Stdio,
            false => Behavior::PreferTerm,
        };
        let config = Config::builder().behavior(behavior).max_history_size(KEPT);
        let config = config.and_then(|config| config.history_ignore_dups(true));
        let told = |error: ReadlineError| format!("the terminal cannot be used: {error}");
        let config = config.map_err(told)?.auto_add_history(false).build();
        let mut editor = Editor::with_config(config).map_err(told)?;
        editor.set_helper(Some(Helps));
        let history = environment.state_folder().map(|folder| folder.join("chat_history"));
        let history = history.filter(|path| own(path).is_ok());
        if let Some(history) = &history {
            // One that cannot be read is begun anew.
            let _ = editor.load_history(history);
        }
        Ok(Self { editor: Some(editor), history })
    }

    /// Reads what is typed, of one line or several.
    pub(super) async fn read(&mut self, prompt: &str) -> Line {
        let Some(mut editor) = self.editor.take() else { return Line::Ended };
        let prompt = prompt.to_owned();
        let reading = tokio::task::spawn_blocking(move || {
            let line = editor.readline(&prompt);
            (editor, line)
        });
        let Ok((editor, line)) = reading.await else { return Line::Ended };
        self.editor = Some(editor);
        match line {
            Ok(line) => Line::Typed(joined(&line)),
            Err(ReadlineError::Interrupted) => Line::Interrupted,
            Err(_) => Line::Ended,
        }
    }

    /// Keeps a line for the next time.
    pub(super) fn keep(&mut self, line: &str) {
        let Some(editor) = &mut self.editor else { return };
        // A history that cannot be written is only not there next time.
        let _ = editor.add_history_entry(line);
        if let Some(history) = &self.history {
            let _ = editor.append_history(history).or_else(|_| editor.history_mut().save(history));
        }
    }
}

/// Sees to it that the file is there, and its owner's alone.
fn own(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        let mut folders = std::fs::DirBuilder::new();
        // What else is kept there is nobody else's either.
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut folders, 0o700);
        folders.recursive(true).create(folder)?;
    }
    match owners_own(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Completes commands, and says when more lines are due.
struct Helps;

impl Helper for Helps {}

impl Highlighter for Helps {}

impl Hinter for Helps {
    type Hint = String;
}

impl Validator for Helps {
    fn validate(&self, typed: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match goes_on(typed.input()) {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}

impl Completer for Helps {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        place: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..place).unwrap_or_default();
        let fits =
            COMMANDS.iter().filter(|(name, ..)| !typed.is_empty() && name.starts_with(typed));
        Ok((0, fits.map(|(name, ..)| format!("{name} ")).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn the_history_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = std::env::temp_dir().join(uuid::Uuid::new_v4().simple().to_string());
        let path = folder.join("outcrop/chat_history");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        own(&path).unwrap();
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        own(&path).unwrap();
        assert_eq!(mode(), 0o600);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
