//! What a terminal bears: colours where they are wanted, and no surprises in what others wrote.

use std::fmt::Display;
use std::io::{self, IsTerminal as _};

use crate::config::Environment;

/// How text is shown.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Paint {
    is_on: bool,
}

impl Paint {
    /// Colours on standard output, if that is a terminal which knows them and `NO_COLOR` is not
    /// set.
    pub(super) fn for_output(environment: &Environment) -> Self {
        Self { is_on: io::stdout().is_terminal() && wants_colour(environment) }
    }

    pub(super) fn bold(self, text: impl Display) -> String {
        self.with("1", text)
    }

    pub(super) fn dim(self, text: impl Display) -> String {
        self.with("2", text)
    }

    pub(super) fn good(self, text: impl Display) -> String {
        self.with("32", text)
    }

    pub(super) fn bad(self, text: impl Display) -> String {
        self.with("31", text)
    }

    pub(super) fn odd(self, text: impl Display) -> String {
        self.with("33", text)
    }

    fn with(self, code: &str, text: impl Display) -> String {
        if self.is_on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

fn wants_colour(environment: &Environment) -> bool {
    environment.get("NO_COLOR").is_none() && environment.get("TERM") != Some("dumb")
}

/// A text that others wrote, without what would steer the terminal; lines stay lines.
pub(super) fn harmless(text: &str) -> String {
    let steers = |letter: &char| !letter.is_control() || matches!(letter, '\n' | '\t');
    text.chars().filter(steers).collect()
}

/// Rows in columns, two spaces apart; the last one is as long as it is.
pub(super) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["name", "backend"], ["loan-advisor", "b"], ["é", ""]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), ["name          backend", "loan-advisor  b", "é"]);
        assert!(table(&[]).is_empty());
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\u{9b}c\r\n\td\x07"), "a[2Jbc\n\td");
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        assert!(wants_colour(&Environment::from([("TERM", "xterm"), ("NO_COLOR", "")])));
        assert!(!wants_colour(&Environment::from([("NO_COLOR", "1")])));
        assert!(!wants_colour(&Environment::from([("TERM", "dumb")])));
        assert_eq!(Paint::default().bad("x"), "x");
        assert_eq!(Paint { is_on: true }.bad("x"), "\x1b[31mx\x1b[0m");
    }
}
