//! Sessions and turns in one SQLite file, which outlive the process and any crash of it.
//!
//! ```text
//! sessions ─▶ Answer ◀─ oneshot ◀─ the writer (writer.rs): a transaction of all that waits
//!                    ◀─ oneshot ◀─ a reader  (readers.rs): a connection of its own each
//! ```
//!
//! No caller ever waits for the disk on its own thread. What was answered is in the file: the
//! answer comes once the transaction is committed, which with [`Synchronous::Full`] means that
//! it survives a loss of power. What happens in a turn that runs is fetched every
//! [`Options::flush`], and `recovery.rs` brings in order what a crash cut off.
//!
//! The tables are in `schema_1.sql`; `docs/store.md` tells operators what they may rely on.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use rusqlite::Connection;

use crate::config::Synchronous;
use crate::turn::{SessionKey, TenantId, TurnId};

use super::{
    Answer, Begin, Census, End, Expired, Health, Query, Record, Save, SessionStore, StoreError,
    StoredTurn, Summary,
};

mod asked;
mod backup;
mod check;
mod columns;
mod export;
mod file;
mod health;
mod import;
mod job;
mod lists;
mod lives;
mod readers;
mod recovery;
mod sessions;
#[cfg(test)]
mod tests;
mod trouble;
mod turns;
mod writer;

pub use backup::backup;
pub use check::{Checked, check};
pub use export::{Exported, Step, export};
pub use import::{Imported, import};

use asked::Subject;
use job::{About, Job, Orders, Reply};
use readers::{Read, Readers};
use trouble::{Trouble, guarded};
use writer::{Shared, Writer};

/// How a file is used.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What is waited for before something counts as written.
    pub synchronous: Synchronous,
    /// How often the events of turns that run are saved.
    pub flush: Duration,
    /// Threads that read.
    pub readers: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { synchronous: Synchronous::Full, flush: Duration::from_millis(500), readers: 2 }
    }
}

/// A store that lasts, in one file. Closes the file when it is dropped, which may take a moment:
/// [`close`](Self::close) says when.
#[derive(Debug)]
pub struct SqliteStore {
    orders: Orders,
    readers: Arc<Readers>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteStore {
    /// Opens a file, or makes it and the folders to it; brings its tables up to date, and ends
    /// the turns that a crash cut off. Takes a while, so not for a thread that serves.
    ///
    /// # Errors
    /// When another process has the file, it is not one of ours or a newer one, or it cannot be
    /// read and written. Says which file, and what to do.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        file::make_folder_of(path)?;
        let lock = file::Lock::take(path)?;
        let mut db = file::open_to_write(path, options.synchronous)?;
        let recovered = recovery::recover(&mut db, SystemTime::now());
        let recovered = recovered.map_err(|trouble| file::at(path, trouble))?;
        if recovered > 0 {
            tracing::warn!(turns = recovered, "turns that the last run cut off were ended");
        }
        let readers = Readers::start(path, options.readers)?;
        let shared = Arc::new(Shared::default());
        let (orders, take) = Orders::open(Arc::clone(&shared));
        let writer = Writer::new((db, lock), take, shared, options.flush);
        let thread = thread::Builder::new().name("store-write".to_owned());
        let thread = thread.spawn(move || writer.run()).map_err(|error| {
            StoreError(format!("the thread that writes could not be started: {error}"))
        })?;
        let (readers, writer) = (Arc::new(readers), Mutex::new(Some(thread)));
        Ok(Self { orders, readers, writer })
    }

    /// Writes what was asked so far and closes the file. What is asked later fails.
    pub fn close(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(writer) = writer else { return };
        // First, since only the last one to close the file can empty the log into it, and only
        // if it may write.
        self.readers.close();
        self.orders.stop();
        // One that panicked has said so.
        let _ = writer.join();
    }

    /// Has the writer do something; asked at once, whether or not anybody waits for the answer.
    fn write<T, F>(&self, about: About, work: F) -> Answer<T>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Trouble> + Send + 'static,
    {
        let (job, answer) = Job::new(about, work);
        let ordered = self.orders.place(job);
        async move {
            ordered?;
            answered(answer).await
        }
        .boxed()
    }

    /// Has a reader look, after what was asked to be written about the same thing.
    fn read<T, F>(&self, about: Option<&Subject>, look: F) -> Answer<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Trouble> + Send + 'static,
    {
        let before = about.filter(|subject| self.orders.shared.asked.waits(subject)).map(|_| {
            let (barrier, passed) = Job::barrier();
            self.orders.place(barrier).map(|()| passed)
        });
        let readers = Arc::clone(&self.readers);
        async move {
            if let Some(passed) = before {
                answered(passed?).await?;
            }
            let (reply, answer) = tokio::sync::oneshot::channel();
            let read: Read = Box::new(move |db| {
                let found = guarded(|| at_one_moment(db, look)).map_err(StoreError::from);
                // Whoever has left does not want to know.
                let _ = reply.send(found);
            });
            readers.ask(read)?;
            answered(answer).await
        }
        .boxed()
    }

    /// What a save is about, and the work that does it.
    fn saving(
        &self,
        save: Save,
    ) -> (About, impl FnMut(&Connection) -> Result<(), Trouble> + use<>) {
        let key = save.record.key.clone();
        let about = About {
            subjects: vec![Subject::Session(key.clone())],
            saves: Some((key, save.unchanged)),
            ..About::default()
        };
        let shared = Arc::clone(&self.orders.shared);
        let work = move |db: &Connection| {
            let unchanged = shared.asked.unchanged(&save.record.key, save.unchanged);
            sessions::save(db, &save, unchanged)
        };
        (about, work)
    }

    /// The same where there may be nothing to save.
    fn saving_any(
        &self,
        save: Option<Save>,
    ) -> (About, impl FnMut(&Connection) -> Result<(), Trouble> + use<>) {
        let (about, mut work) = match save.map(|save| self.saving(save)) {
            Some((about, work)) => (about, Some(work)),
            None => (About::default(), None),
        };
        (about, move |db: &Connection| work.as_mut().map_or(Ok(()), |work| work(db)))
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.close();
    }
}

/// An answer, unless the thread that owes it is gone.
async fn answered<T>(answer: Reply<T>) -> Result<T, StoreError> {
    answer.await.unwrap_or_else(|_| Err(StoreError("the store is closed".to_owned())))
}

/// Looks at one state of the file, whatever is written meanwhile.
fn at_one_moment<T>(
    db: &Connection,
    look: impl FnOnce(&Connection) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    let transaction = db.unchecked_transaction()?;
    let found = look(&transaction)?;
    transaction.commit()?;
    Ok(found)
}

impl SessionStore for SqliteStore {
    fn is_durable(&self) -> bool {
        true
    }

    fn health(&self) -> Health {
        self.orders.shared.pulse.health()
    }

    fn load(&self, key: SessionKey) -> Answer<Option<Arc<Record>>> {
        let about = Subject::Session(key.clone());
        self.read(Some(&about), move |db| Ok(sessions::load(db, &key)?.map(Arc::new)))
    }

    fn save(&self, save: Save) -> Answer<()> {
        let (about, work) = self.saving(save);
        self.write(about, work)
    }

    fn remove(&self, key: SessionKey) -> Answer<bool> {
        let subjects = vec![Subject::Session(key.clone())];
        let about = About { subjects, clears: true, ..About::default() };
        self.write(about, move |db| sessions::remove(db, &key))
    }

    fn list(&self, query: Query) -> Answer<Vec<Summary>> {
        self.read(None, move |db| lists::list(db, &query))
    }

    fn census(&self, tenant: TenantId) -> Answer<Census> {
        self.read(None, move |db| lists::census(db, &tenant))
    }

    fn beyond(&self, bytes: u64, limit: usize) -> Answer<Vec<TenantId>> {
        self.read(None, move |db| lists::beyond(db, bytes, limit))
    }

    fn expired(&self, before: SystemTime, limit: usize) -> Answer<Vec<Expired>> {
        self.read(None, move |db| lists::expired(db, before, limit))
    }

    /// Most digests are no session's: these are answered by a reader.
    fn claim(&self, heads: Vec<[u8; 32]>) -> Answer<Option<([u8; 32], SessionKey)>> {
        let orders = self.orders.clone();
        let asked = heads.clone();
        let has_any = self.read(None, move |db| sessions::has_any(db, &asked));
        async move {
            if !has_any.await? {
                return Ok(None);
            }
            let (job, answer) = Job::new(About::default(), move |db| sessions::claim(db, &heads));
            orders.place(job)?;
            answered(answer).await
        }
        .boxed()
    }

    fn begin(&self, begin: Begin) -> Answer<()> {
        let Begin { turn, live, session } = begin;
        let tenant = &turn.key.tenant;
        let (mut about, mut save) = self.saving_any(session);
        about.subjects.push(Subject::Turn(tenant.clone(), turn.turn.clone()));
        if let Some(named) = &turn.idempotency {
            about.subjects.push(Subject::Name(tenant.clone(), Arc::clone(&named.key)));
        }
        about.begins = Some(self.orders.shared.lives.begin(tenant, &turn.turn, live));
        // The client of a turn in the background is told of it once it is kept.
        about.may_linger = !turn.is_background;
        self.write(about, move |db| {
            save(db)?;
            turns::begin(db, &turn)
        })
    }

    fn end(&self, end: End) -> Answer<()> {
        let End { turn, live, last, at, session } = end;
        let (tenant, id) = (turn.key.tenant.clone(), turn.turn.clone());
        let (mut about, mut save) = self.saving_any(session);
        about.subjects.push(Subject::Turn(tenant.clone(), id.clone()));
        let unbegun = self.orders.shared.lives.end(&tenant, &id);
        self.write(about, move |db| {
            save(db)?;
            if unbegun.get() && turns::running(db, &tenant, &id)?.is_none() {
                turns::begin(db, &turn)?;
            }
            // One that was deleted while it ran is not kept.
            let Some(standing) = turns::running(db, &tenant, &id)? else { return Ok(()) };
            let mut events = live.events_since(standing.events);
            events.retain(|event| !event.is_last());
            events.push(last.clone());
            turns::end(db, standing, &events, at)
        })
    }

    fn turn(&self, tenant: TenantId, turn: TurnId) -> Answer<Option<StoredTurn>> {
        let about = Subject::Turn(tenant.clone(), turn.clone());
        let live = self.orders.shared.lives.get(&tenant, &turn);
        self.read(Some(&about), move |db| {
            let mut found = turns::load(db, &tenant, &turn)?;
            if let (Some(found), Some(live)) = (&mut found, live)
                && found.ended.is_none()
            {
                found.events = live.events_since(0);
            }
            Ok(found)
        })
    }

    fn remove_turn(&self, tenant: TenantId, turn: TurnId) -> Answer<bool> {
        let subjects = vec![Subject::Turn(tenant.clone(), turn.clone())];
        let about = About { subjects, clears: true, ..About::default() };
        self.write(about, move |db| turns::remove(db, &tenant, &turn))
    }

    fn repeated(&self, tenant: TenantId, key: Arc<str>) -> Answer<Option<(TurnId, [u8; 32])>> {
        let about = Subject::Name(tenant.clone(), Arc::clone(&key));
        self.read(Some(&about), move |db| turns::repeated(db, &tenant, &key))
    }

    fn sweep_turns(&self, before: SystemTime) -> Answer<usize> {
        let about = About { clears: true, ..About::default() };
        self.write(about, move |db| turns::sweep(db, before))
    }
}
