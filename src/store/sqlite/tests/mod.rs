//! A file under test: the contract, and what only files are subject to.

use std::fs;
use std::path::PathBuf;

use uuid::Uuid;

use super::super::contract;
use super::*;

mod crashes;
mod files;
mod scale;
mod trouble;

/// A folder that is gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("outcrop-store-{}", Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("sessions.db")
    }

    fn open(&self) -> SqliteStore {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(&self.file(), quick())
    }

    /// What stands in the file, past any store that has it.
    fn look<T>(&self, look: impl FnOnce(&Connection) -> T) -> T {
        look(&file::open_to_read(&self.file()).unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn quick() -> Options {
    Options { flush: Duration::from_millis(2), ..Options::default() }
}

#[tokio::test]
async fn sqlite_does_what_every_store_does() {
    contract::hold(|| {
        let folder = Folder::new();
        (Arc::new(folder.open()) as Arc<dyn SessionStore>, folder)
    })
    .await;
}
