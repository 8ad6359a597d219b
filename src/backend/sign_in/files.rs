//! The files of a sign-in: for their owner's eyes alone, whole or not there at all.
//!
//! A file is written beside its place and moved there, so that nobody reads half of one. Only
//! whoever holds the lock writes. Names and members are those of earlier proxies, whose own files
//! are read where there are none of ours.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::problem::SignInProblem as Problem;
use super::record::{Kept, Registration};
use super::token::Token;

/// The token and what renews it.
pub(super) const TOKENS: &str = "tokens.json";
/// The client that the service knows.
pub(super) const REGISTRATION: &str = "registration.json";
/// Locked by whoever writes.
const LOCK: &str = "sign-in.lock";

/// A file may hold no more than this.
const MOST: u64 = 64 << 10;
/// How long to wait for another process: longer than a renewal may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at the lock.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Everybody but the owner.
const OTHERS: u32 = 0o077;

/// Where a sign-in is kept.
#[derive(Debug, Clone)]
pub(super) struct Files {
    directory: PathBuf,
    /// Where it is looked for if it is not there.
    older: Option<PathBuf>,
}

/// Held by the only one who may write; dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Files {
    pub(super) fn new(directory: PathBuf, older: Option<PathBuf>) -> Self {
        Self { directory, older }
    }

    /// Whether there is a token, whatever it is worth.
    pub(super) fn has_token(&self) -> bool {
        self.places(TOKENS).any(|path| path.exists())
    }

    pub(super) fn token(&self) -> Result<Option<Token>, Problem> {
        self.read(TOKENS)
    }

    pub(super) fn registration(&self) -> Result<Option<Registration>, Problem> {
        self.read(REGISTRATION)
    }

    pub(super) fn keep_token(&self, token: &Token) -> Result<(), Problem> {
        self.write(TOKENS, token)
    }

    pub(super) fn keep_registration(&self, registration: &Registration) -> Result<(), Problem> {
        self.write(REGISTRATION, registration)
    }

    /// Removes what is there, and names it.
    pub(super) fn remove(&self) -> Result<Vec<PathBuf>, Problem> {
        let mut removed = Vec::new();
        for path in self.places(TOKENS).chain(self.places(REGISTRATION)) {
            match fs::remove_file(&path) {
                Ok(()) => removed.push(path),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(source) => return Err(Problem::Unwritable { path, source }),
            }
        }
        Ok(removed)
    }

    /// Waits for the right to write, but not for ever.
    pub(super) async fn lock(&self) -> Result<Lock, Problem> {
        let path = self.directory.join(LOCK);
        let unwritable = |source| Problem::Unwritable { path: path.clone(), source };
        self.make_directory()?;
        let file = private().create(true).truncate(false).open(&path).map_err(unwritable)?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Err(TryLockError::WouldBlock) => return Err(Problem::Locked { path }),
                Err(TryLockError::Error(source)) => return Err(unwritable(source)),
            }
        }
    }

    /// Where a file may be: ours first.
    fn places(&self, name: &str) -> impl Iterator<Item = PathBuf> + use<> {
        let places = [Some(&self.directory), self.older.as_ref()];
        places.map(|at| at.map(|at| at.join(name))).into_iter().flatten()
    }

    fn read<T: Kept>(&self, name: &str) -> Result<Option<T>, Problem> {
        for path in self.places(name) {
            let is_ours = path.starts_with(&self.directory);
            if let Some(found) = read(&path, is_ours)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn write<T: Kept>(&self, name: &str, kept: &T) -> Result<(), Problem> {
        self.make_directory()?;
        let path = self.directory.join(name);
        // Only the holder of the lock gets here, so the name needs not be its own.
        let beside = self.directory.join(format!("{name}.new"));
        let written = kept.write().map_err(io::Error::from).and_then(|bytes| {
            let mut file = private().create(true).truncate(true).open(&beside)?;
            // It may have been there before, with other permissions.
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        });
        written.map_err(|source| Problem::Unwritable { path, source })
    }

    fn make_directory(&self) -> Result<(), Problem> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        made.map_err(|source| Problem::Unwritable { path: self.directory.clone(), source })
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Reads a file, if it is there. Ours must be for its owner alone; of those that another program
/// wrote it is only said.
fn read<T: Kept>(path: &Path, is_ours: bool) -> Result<Option<T>, Problem> {
    let unreadable = |source| Problem::Unreadable { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        if is_ours {
            return Err(Problem::Exposed { path: path.to_owned(), mode });
        }
        let mode = format!("{mode:03o}");
        tracing::warn!(path = %path.display(), mode, "this sign-in may be read by others");
    }
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text).map_err(unreadable)?;
    let damaged = |error: serde_json::Error| Problem::Damaged {
        path: path.to_owned(),
        line: error.line(),
        reason: match error.classify() {
            serde_json::error::Category::Eof => "it ends before its end",
            serde_json::error::Category::Data => "a member is missing or of the wrong kind",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
                "it is not JSON"
            }
        },
    };
    T::read(&text).map(Some).map_err(damaged)
}
