//! A configuration file that is changed in place: comments and order stay, and nothing is
//! written that would not load.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, Value};

use crate::config::{Environment, Loaded, Problem, Report, SourceFile, Sources, load};

/// Where a file is made when there is none.
const DEFAULT_FILE: &str = "outcrop.toml";

/// A file that is open for changes.
#[derive(Debug)]
pub(super) struct ConfigFile {
    path: PathBuf,
    /// As it was; empty when there was no file.
    before: String,
    pub(super) document: DocumentMut,
    environment: Environment,
}

/// Why a file was not changed, for the operator.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotChanged {
    /// What was asked for makes no sense, or the file does not.
    #[error("{0}")]
    Wrong(String),
    /// The file cannot be written.
    #[error("{} cannot be written: {error}; it is as it was", .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl From<Report> for NotChanged {
    fn from(report: Report) -> Self {
        Self::Wrong(report.to_string())
    }
}

impl ConfigFile {
    /// Opens the file of `--config`, else of `OUTCROP_CONFIG`, else `./outcrop.toml`, which need
    /// not be there.
    pub(super) fn open(file: Option<&Path>, environment: Environment) -> Result<Self, NotChanged> {
        let found = Sources::find(file, environment.clone())?.file;
        let (path, before) = match found {
            Some(SourceFile { path, text }) => (path, text),
            None => (PathBuf::from(DEFAULT_FILE), String::new()),
        };
        let document = before.parse::<DocumentMut>().map_err(|error| {
            NotChanged::Wrong(format!("{} is not valid TOML: {error}", path.display()))
        })?;
        Ok(Self { path, before, document, environment })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What it comes to as it was opened, with the environment.
    pub(super) fn loaded(&self) -> Result<Loaded, Report> {
        load(&self.sources(self.before.clone()))
    }

    /// Writes the changes down.
    ///
    /// # Errors
    /// When the changed file would have a mistake that it had not before, or cannot be written;
    /// then it is as it was.
    pub(super) fn save(&self) -> Result<(), NotChanged> {
        let after = self.document.to_string();
        if let Err(report) = load(&self.sources(after.clone())) {
            let before = self.loaded().err().map(|report| report.problems).unwrap_or_default();
            let is_old = |problem: &Problem| {
                before
                    .iter()
                    .any(|old| (&old.key, &old.message) == (&problem.key, &problem.message))
            };
            let new: Vec<_> =
                report.problems.into_iter().filter(|problem| !is_old(problem)).collect();
            if !new.is_empty() {
                return Err(Report::new(report.file, new).into());
            }
        }
        replace(&self.path, &after)
            .map_err(|error| NotChanged::Unwritable { path: self.path.clone(), error })
    }

    fn sources(&self, text: String) -> Sources {
        let file = Some(SourceFile { path: self.path.clone(), text });
        Sources { file, environment: self.environment.clone(), flags: Vec::new() }
    }
}

/// Puts a text in the place of a file's in one step. A new file is for its owner alone, since
/// configurations hold secrets; one that was there keeps its permissions, and a link stays one.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    // Only the folder would have to be writable, and root may write anything.
    if fs::metadata(&target).is_ok_and(|there| there.permissions().readonly()) {
        let message = "it is read-only; chmod u+w it if it is meant to change";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", uuid::Uuid::new_v4().simple()));
    let draft = target.with_file_name(name);
    let written = write_draft(&draft, &target, text).and_then(|()| fs::rename(&draft, &target));
    if written.is_err() {
        // What is left of it is of no use.
        let _ = fs::remove_file(&draft);
    }
    written
}

fn write_draft(draft: &Path, target: &Path, text: &str) -> io::Result<()> {
    let mut file = owners_own(draft)?;
    if let Ok(there) = fs::metadata(target) {
        keep_owner(&file, &there);
        file.set_permissions(there.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Gives a file to whom another belongs: the broker may run as somebody else than who changes its
/// configuration. Only root can; anybody else keeps what they write.
fn keep_owner(file: &fs::File, other: &fs::Metadata) {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let _ = fchown(file, Some(other.uid()), Some(other.gid()));
}

/// Whether others than its owner may read a file.
pub(super) fn is_exposed(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

/// Makes a file that its owner alone may read; there must be none.
pub(super) fn owners_own(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A value as it is meant: TOML where it reads as TOML, else a text.
pub(super) fn value_of(written: &str) -> Value {
    written.parse().unwrap_or_else(|_| Value::from(written))
}

/// Sets what a table has under a name, and keeps the comment behind the old value.
pub(super) fn set(table: &mut Item, name: &str, mut value: Value) {
    if let Some(old) = table.get(name).and_then(Item::as_value) {
        *value.decor_mut() = old.decor().clone();
    }
    table[name] = Item::Value(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that is gone when the test ends.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(uuid::Uuid::new_v4().simple().to_string());
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            // What is left behind does no harm.
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn open(path: &Path) -> ConfigFile {
        ConfigFile::open(Some(path), Environment::default()).unwrap()
    }

    #[test]
    fn comments_order_and_old_mistakes_stay() {
        let folder = Folder::new();
        let path = folder.0.join("o.toml");
        fs::write(&path, "# mine\n[turn]\nqueue = 3  # why\nretires = 1\n").unwrap();
        let mut file = open(&path);
        set(&mut file.document["turn"], "queue", value_of("4"));
        file.save().unwrap();
        let after = fs::read_to_string(&path).unwrap();
        assert_eq!(after, "# mine\n[turn]\nqueue = 4  # why\nretires = 1\n");
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_new_mistake_is_not_written() {
        let folder = Folder::new();
        let path = folder.0.join("o.toml");
        fs::write(&path, "[turn]\nqueue = 3\n").unwrap();
        let mut file = open(&path);
        set(&mut file.document["turn"], "queue", value_of("many"));
        let told = file.save().unwrap_err().to_string();
        assert!(told.contains("o.toml:2: turn.queue: must be an integer"), "{told}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "[turn]\nqueue = 3\n");
    }

    #[cfg(unix)]
    #[test]
    fn a_new_file_is_its_owners_and_an_old_one_keeps_its_permissions_and_links() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = Folder::new();
        let (path, link) = (folder.0.join("o.toml"), folder.0.join("link.toml"));
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        replace(&path, "a = 1\n").unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        replace(&link, "a = 2\n").unwrap();
        assert_eq!((mode(), fs::read_to_string(&path).unwrap().as_str()), (0o640, "a = 2\n"));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(is_exposed(&path));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
        let told = replace(&path, "a = 3\n").unwrap_err().to_string();
        assert!(told.contains("read-only"), "{told}");
        assert_eq!((mode(), fs::read_to_string(&path).unwrap().as_str()), (0o440, "a = 2\n"));
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 2, "no draft is left");
    }
}
