//! Copies of a file, made while a broker has it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::store::StoreError;

use super::file;
use super::trouble::Trouble;

/// Copies a file as it is at one moment, without its free pages; gives the size of the copy. The
/// copy has its name only once it is whole and on the disk.
///
/// # Errors
/// When there is a file already and it is not to be replaced, or either cannot be read or
/// written.
pub fn backup(store: &Path, to: &Path, replaces: bool) -> Result<u64, StoreError> {
    let db = file::open_to_read(store)?;
    let failed = |error: io::Error| StoreError(format!("cannot write {}: {error}", to.display()));
    if to.try_exists().map_err(failed)? {
        let is_itself = match (store.canonicalize(), to.canonicalize()) {
            (Ok(store), Ok(to)) => store == to,
            _ => false,
        };
        if is_itself {
            return Err(StoreError(format!("{} is the store itself", to.display())));
        }
        if !replaces {
            let what = "is there already: choose another name, or replace it with --force";
            return Err(StoreError(format!("{} {what}", to.display())));
        }
    }
    let partial = file::beside(to, ".partial");
    let name = partial.to_str().ok_or_else(|| {
        StoreError(format!("{} is no name that SQLite could write to", to.display()))
    })?;
    // For this user alone; SQLite writes to a file that is there if it is empty.
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(&partial).map_err(failed)?;
    let copied = db.execute("VACUUM INTO ?1", [name]).map_err(Trouble::from);
    let named = copied
        .map_err(|trouble| file::at(store, trouble))
        .and_then(|_| give_name(&partial, to).map_err(failed));
    if named.is_err() {
        // What is left of it is no use to anybody; if it stays, the next copy replaces it.
        let _ = fs::remove_file(&partial);
    }
    named
}

fn give_name(partial: &Path, to: &Path) -> io::Result<u64> {
    let file = File::open(partial)?;
    file.sync_all()?;
    let bytes = file.metadata()?.len();
    fs::rename(partial, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(bytes)
}
