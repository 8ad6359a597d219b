//! What goes wrong with a file, in words for the operator.

use std::panic::{self, AssertUnwindSafe};

use rusqlite::ErrorCode;

use crate::store::StoreError;

/// Why something was not read or written.
#[derive(Debug)]
pub(super) enum Trouble {
    /// SQLite says so.
    Sqlite(rusqlite::Error),
    /// What stands in the file is not what this program writes.
    Stored(StoreError),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Stored(error)
    }
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Sqlite(error) => Self(explain(&error)),
            Trouble::Stored(error) => error,
        }
    }
}

impl Trouble {
    /// Whether the file or its disk is at fault, and not what was to be written.
    pub(super) fn is_of_the_file(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DiskFull
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::ReadOnly
                    | ErrorCode::CannotOpen
                    | ErrorCode::OutOfMemory
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
            )
        )
    }

    /// Whether somebody else holds the file, so that trying piece by piece is no use.
    pub(super) fn is_of_another_program(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        )
    }
}

/// What SQLite's error means here.
fn explain(error: &rusqlite::Error) -> String {
    let meaning = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "there is no room left on its disk",
        Some(ErrorCode::ReadOnly) => "its file cannot be written to",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program keeps its file locked"
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            "its file is damaged: `outcrop store check` tells how, a backup helps"
        }
        Some(ErrorCode::NotADatabase) => "its file is no SQLite database",
        Some(ErrorCode::SystemIoFailure) => "its file or its disk cannot be reached",
        Some(ErrorCode::CannotOpen) => "its file cannot be opened",
        _ => return error.to_string(),
    };
    format!("{meaning} ({error})")
}

/// Does something of which a fault must not take its thread along, which others wait for; a
/// transaction that is left open is to be rolled back by the caller, as after an error.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    // What is left half done is of the one thing that was asked, which has failed then.
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let what = "the program has a fault that shows with what was asked: please report it";
        Err(Trouble::Stored(StoreError(what.to_owned())))
    })
}

/// A column that does not hold what this program writes there.
pub(super) fn damaged(what: &str, why: impl std::fmt::Display) -> Trouble {
    Trouble::Stored(StoreError(format!("{what} cannot be read: {why}")))
}
