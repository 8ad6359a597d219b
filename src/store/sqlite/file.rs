//! The file: who has it, how it is opened, and what is in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::config::Synchronous;
use crate::store::StoreError;

use super::trouble::Trouble;

/// Says in the file whose it is: "Outc".
pub(super) const APPLICATION_ID: i32 = 0x4f75_7463;
/// What makes an empty file one of ours, and an older one a newer one: the first so many have
/// been applied to a file whose `user_version` is that number. Never changed, only added to.
pub(super) const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql")];
/// How long another program may keep the file locked before a call fails.
const PATIENCE: Duration = Duration::from_secs(5);
/// A write-ahead log that grew beyond this is cut back when it is next emptied.
const LOG_BYTES: i64 = 64 << 20;

/// Pages of the log after which what changed is copied into the file: 16 MiB.
const LOG_PAGES: i64 = 4_096;
/// Pages that the one who writes keeps in memory.
const CACHE_KIBIBYTES: i64 = 16 << 10;

/// The sole right to write to a file, until dropped or until the process ends in whatever way.
///
/// SQLite's own locks let several programs take turns; but two brokers that hold the same
/// sessions in memory would overwrite each other's. So there is a file beside it, locked as a
/// whole, which stays when it is released: one that is removed could be locked by two.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(store: &Path) -> Result<Self, StoreError> {
        let path = beside(store, ".lock");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = file.open(&path).map_err(|error| cannot("open", &path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(store, &mut file)),
            Err(TryLockError::Error(error)) => return Err(cannot("lock", &path, &error)),
        }
        // Only for the message that another process gets; without it, the message says less.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

fn taken(store: &Path, lock: &mut File) -> StoreError {
    let mut by = String::new();
    // Who has it may just be writing it down.
    let _ = lock.take(20).read_to_string(&mut by);
    let by = by.trim();
    let process = if by.is_empty() { String::new() } else { format!(" (process {by})") };
    StoreError(format!(
        "{} is in use by another outcrop{process}: stop that one, or have this one use another \
         file by --store or store.path",
        store.display()
    ))
}

fn cannot(verb: &str, path: &Path, error: &io::Error) -> StoreError {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; let the user that this runs as write there, or name another file by --store or \
             store.path"
        }
        _ => "",
    };
    StoreError(format!("cannot {verb} {}: {error}{remedy}", path.display()))
}

/// The path with something behind it.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Makes the folders to a file, for this user alone: what is said is nobody else's.
pub(super) fn make_folder_of(path: &Path) -> Result<(), StoreError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.map_err(|error| cannot("make the folder", folder, &error))
}

/// Opens a file for writing, makes it one of ours where it is new, and brings it up to date.
pub(super) fn open_to_write(
    path: &Path,
    synchronous: Synchronous,
) -> Result<Connection, StoreError> {
    if path.is_dir() {
        return Err(StoreError(format!("{} is a folder: name a file in it", path.display())));
    }
    // Before SQLite does, which would let others read it.
    let mut options = OpenOptions::new();
    let touched = options.append(true).create(true).mode(0o600).open(path);
    touched.map_err(|error| cannot("write to", path, &error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).map_err(Trouble::from);
    let opened = opened.and_then(|mut db| {
        db.busy_timeout(PATIENCE)?;
        prepare(&mut db)?;
        settle(&db, synchronous)?;
        Ok(db)
    });
    opened.map_err(|trouble| at(path, trouble))
}

/// Opens a file that somebody else may be writing to, for reading.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        let what = "there is no such file: no broker has kept sessions there";
        return Err(StoreError(format!("{}: {what}", path.display())));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).map_err(Trouble::from);
    let opened = opened.and_then(|db| {
        db.busy_timeout(PATIENCE)?;
        if version(&db)? == 0 {
            let what = "it is empty: no broker has kept sessions there yet";
            return Err(Trouble::Stored(StoreError(what.to_owned())));
        }
        Ok(db)
    });
    opened.map_err(|trouble| at(path, trouble))
}

/// Puts the file's name before what is wrong with it.
pub(super) fn at(path: &Path, trouble: Trouble) -> StoreError {
    let StoreError(text) = trouble.into();
    StoreError(format!("{}: {text}", path.display()))
}

/// How many migrations have been applied; none to an empty file.
pub(super) fn version(db: &Connection) -> Result<usize, Trouble> {
    let application: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application == 0 && version == 0 && tables == 0 {
        return Ok(0);
    }
    let not_ours = || {
        Trouble::Stored(StoreError(
            "it is a database, but not one of outcrop's: choose another file".to_owned(),
        ))
    };
    if application != APPLICATION_ID {
        return Err(not_ours());
    }
    match usize::try_from(version) {
        Ok(version) if (1..=MIGRATIONS.len()).contains(&version) => Ok(version),
        Ok(version) if version > MIGRATIONS.len() => Err(Trouble::Stored(StoreError(format!(
            "it was written by a newer outcrop (its schema is {version}, the newest known here \
             is {}): run that one, or restore a backup",
            MIGRATIONS.len()
        )))),
        _ => Err(not_ours()),
    }
}

/// Applies the migrations that are due, all or none.
fn prepare(db: &mut Connection) -> Result<(), Trouble> {
    let applied = version(db)?;
    if applied == 0 {
        // Pages of what is deleted are given back; can only be said of a file without tables.
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    // Two programs may open a new file at once.
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let applied = version(&transaction)?;
    for migration in &MIGRATIONS[applied..] {
        transaction.execute_batch(migration)?;
    }
    if applied < MIGRATIONS.len() {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        let version = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        transaction.pragma_update(None, "user_version", version)?;
        if applied > 0 {
            tracing::info!(
                from = applied,
                to = MIGRATIONS.len(),
                "the store was brought up to date"
            );
        }
    }
    transaction.commit()?;
    Ok(())
}

/// What holds for each connection that writes.
fn settle(db: &Connection, synchronous: Synchronous) -> Result<(), Trouble> {
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        let what = "its file system does not let a write-ahead log be shared: put it elsewhere";
        return Err(Trouble::Stored(StoreError(what.to_owned())));
    }
    let synchronous = match synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    db.pragma_update(None, "synchronous", synchronous)?;
    db.pragma_update(None, "foreign_keys", true)?;
    // What is deleted is overwritten.
    db.pragma_update(None, "secure_delete", true)?;
    db.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    // A page that changes often is copied from the log into the file less often so.
    db.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    db.pragma_update(None, "cache_size", -CACHE_KIBIBYTES)?;
    // What one statement may have to take back is small.
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Writes something to the file that changes nothing. Does not wait for other programs.
pub(super) fn touch(db: &mut Connection) -> Result<(), Trouble> {
    db.busy_timeout(Duration::ZERO)?;
    let touched = rewrite_version(db);
    db.busy_timeout(PATIENCE)?;
    touched
}

fn rewrite_version(db: &mut Connection) -> Result<(), Trouble> {
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    transaction.pragma_update(None, "user_version", version)?;
    Ok(transaction.commit()?)
}

/// Whether nothing of the file waits in the log, and the log was emptied: of what was deleted
/// nothing is left then. Does not wait for those who read.
pub(super) fn empty_log(db: &Connection) -> Result<bool, Trouble> {
    db.busy_timeout(Duration::ZERO)?;
    let emptied = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    db.busy_timeout(PATIENCE)?;
    Ok(emptied? == 0)
}
