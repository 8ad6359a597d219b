//! The files of a sign-in: for their owner's eyes alone, whole or not there at all.
//!
//! A file is written beside its place and moved there, so that nobody reads half of one. Where a
//! symbolic link stands, it is the link that makes way: what it leads to belongs to somebody else.
//! Only whoever holds the lock writes. Names and members are those of earlier proxies, whose own
//! files are read where there are none of ours, and never written.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Whether it was said that others may read the older files.
    was_warned: Arc<AtomicBool>,
}

/// Held by the only one who may write; dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Files {
    pub(super) fn new(directory: PathBuf, older: Option<PathBuf>) -> Self {
        Self { directory, older, was_warned: Arc::default() }
    }

    /// Whether there is a token, whatever it is worth.
    pub(super) fn has_token(&self) -> bool {
        self.places(TOKENS).any(|path| path.exists())
    }

    /// Whether there is one that we wrote.
    pub(super) fn has_own_token(&self) -> bool {
        self.directory.join(TOKENS).exists()
    }

    /// Whether there is anything to forget.
    pub(super) fn has_any(&self) -> bool {
        // A link that leads nowhere is something too.
        let is_there = |path: PathBuf| path.symlink_metadata().is_ok();
        self.places(TOKENS).chain(self.places(REGISTRATION)).any(is_there)
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

    /// Keeps a registration that a token of ours is renewed with, if it only stands elsewhere.
    pub(super) fn adopt_registration(&self, registration: &Registration) -> Result<(), Problem> {
        if self.directory.join(REGISTRATION).exists() {
            return Ok(());
        }
        self.keep_registration(registration)
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
        self.lock_within(PATIENCE).await
    }

    async fn lock_within(&self, patience: Duration) -> Result<Lock, Problem> {
        let path = self.directory.join(LOCK);
        let unwritable = |source| Problem::Unwritable { path: path.clone(), source };
        self.make_directory()?;
        let file = private().create(true).truncate(false).open(&path).map_err(unwritable)?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) if began.elapsed() < patience => {
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
            let Some((text, mode)) = read(&path)? else { continue };
            if mode & OTHERS != 0 {
                self.judge(&path, mode)?;
            }
            return T::read(&text).map(Some).map_err(|error| damaged(path, &error));
        }
        Ok(None)
    }

    /// What it means that others may read a file. Ours are not used then; of those that another
    /// program wrote it is only said.
    fn judge(&self, path: &Path, mode: u32) -> Result<(), Problem> {
        if path.starts_with(&self.directory) {
            return Err(Problem::Exposed { path: path.to_owned(), mode });
        }
        if !self.was_warned.swap(true, Ordering::Relaxed) {
            let mode = format!("{mode:03o}");
            tracing::warn!(path = %path.display(), mode, "this sign-in may be read by others");
        }
        Ok(())
    }

    fn write<T: Kept>(&self, name: &str, kept: &T) -> Result<(), Problem> {
        self.make_directory()?;
        let path = self.directory.join(name);
        // Only the holder of the lock gets here, so the name needs not be its own.
        let beside = self.directory.join(format!("{name}.new"));
        let written = kept.write().map_err(io::Error::from).and_then(|bytes| {
            // What a process left there that was ended as it wrote, or a link that stands there.
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let mut file = private().create_new(true).open(&beside)?;
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

/// Reads a file and who may, if it is there.
fn read(path: &Path) -> Result<Option<(Vec<u8>, u32)>, Problem> {
    let unreadable = |source| Problem::Unreadable { path: path.to_owned(), source };
    // Before it is opened: whoever opens a pipe may wait for ever.
    match fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(unreadable(io::Error::other("it is not a file"))),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    }
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text).map_err(unreadable)?;
    Ok(Some((text, mode)))
}

fn damaged(path: PathBuf, error: &serde_json::Error) -> Problem {
    use serde_json::error::Category;
    let reason = match error.classify() {
        Category::Eof => "it ends before its end",
        Category::Data => "a member is missing or of the wrong kind",
        Category::Syntax | Category::Io => "it is not JSON",
    };
    Problem::Damaged { path, line: error.line(), reason }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use uuid::Uuid;

    use super::*;

    const OLDER: &str = r#"{"accessToken": "old", "expiresAt": 1767268800}"#;

    /// A folder that ends with its test.
    struct Folder(PathBuf);

    impl Folder {
        fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            // What is left behind does no harm.
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn place() -> (Folder, Files) {
        let folder = Folder(std::env::temp_dir().join(Uuid::new_v4().simple().to_string()));
        let older = folder.path().join("older");
        fs::create_dir_all(&older).unwrap();
        fs::write(older.join(TOKENS), OLDER).unwrap();
        let files = Files::new(folder.path().join("ours"), Some(older));
        (folder, files)
    }

    #[tokio::test]
    async fn what_is_kept_is_for_its_owner_and_leaves_older_files_as_they_are() {
        let (folder, files) = place();
        assert_eq!(files.token().unwrap().unwrap().access.expose(), "old");
        let lock = files.lock().await.unwrap();
        files.keep_token(&Token::for_tests("new")).unwrap();
        drop(lock);
        assert_eq!(files.token().unwrap().unwrap().access.expose(), "new");
        let ours = folder.path().join("ours");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&ours), mode(&ours.join(TOKENS))), (0o700, 0o600));
        assert_eq!(fs::read_to_string(folder.path().join("older").join(TOKENS)).unwrap(), OLDER);
    }

    #[test]
    fn a_link_makes_way_and_what_it_leads_to_stays() {
        let (folder, files) = place();
        let ours = folder.path().join("ours");
        fs::create_dir(&ours).unwrap();
        let target = folder.path().join("older").join(TOKENS);
        symlink(&target, ours.join(TOKENS)).unwrap();
        // Where the next file is written first, somebody left a link too.
        symlink(&target, ours.join("tokens.json.new")).unwrap();
        files.keep_token(&Token::for_tests("new")).unwrap();
        assert_eq!(files.token().unwrap().unwrap().access.expose(), "new");
        assert_eq!(fs::read_to_string(target).unwrap(), OLDER);
        assert!(ours.join(TOKENS).symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let (folder, files) = place();
        fs::create_dir_all(folder.path().join("ours").join(TOKENS)).unwrap();
        let problem = files.token().unwrap_err().to_string();
        assert!(problem.contains("it is not a file"), "{problem}");
    }

    #[tokio::test]
    async fn a_lock_that_nobody_lets_go_of_is_given_up() {
        let (_folder, files) = place();
        let held = files.lock().await.unwrap();
        let second = files.lock_within(LOOK_EVERY).await;
        assert!(matches!(second, Err(Problem::Locked { .. })));
        drop(held);
        files.lock().await.unwrap();
    }
}
