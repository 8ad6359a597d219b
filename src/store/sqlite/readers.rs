//! Threads that read, each by a connection of its own: nobody waits for the writer.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

use crate::store::StoreError;

use super::file;

/// Reads that may wait; as many as there may be turns is plenty, since a turn waits for one.
const WAITING: usize = 16_384;

/// A read: it answers by itself.
pub(super) type Read = Box<dyn FnOnce(&Connection) + Send>;

/// The threads, and where they are given work.
#[derive(Debug)]
pub(super) struct Readers {
    /// Nothing, for a thread that is to end.
    give: SyncSender<Option<Read>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    /// Starts so many threads.
    pub(super) fn start(path: &Path, number: usize) -> Result<Self, StoreError> {
        let (give, take) = sync_channel(WAITING);
        let take = Arc::new(Mutex::new(take));
        let mut threads = Vec::new();
        for number in 1..=number.max(1) {
            let db = file::open_to_read(path)?;
            let take = Arc::clone(&take);
            let thread = thread::Builder::new().name(format!("store-read-{number}"));
            let started = thread.spawn(move || work(&db, &take));
            threads.push(started.map_err(|error| {
                StoreError(format!("a thread that reads could not be started: {error}"))
            })?);
        }
        Ok(Self { give, threads: Mutex::new(threads) })
    }

    /// Has one of them do this.
    pub(super) fn ask(&self, read: Read) -> Result<(), StoreError> {
        self.give.try_send(Some(read)).map_err(|error| match error {
            TrySendError::Full(_) => StoreError("too many reads wait already".to_owned()),
            TrySendError::Disconnected(_) => StoreError("the store is closed".to_owned()),
        })
    }

    /// Ends them, once they have done what they were asked.
    pub(super) fn close(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in threads.iter() {
            // Those that are gone need no telling.
            let _ = self.give.send(None);
        }
        for thread in threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

fn work(db: &Connection, take: &Mutex<Receiver<Option<Read>>>) {
    loop {
        let next = take.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Some(read)) = next else { return };
        read(db);
    }
}
