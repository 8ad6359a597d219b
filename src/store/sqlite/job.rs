//! What the writer is asked to do, and who is told when it is done.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::StoreError;
use crate::turn::SessionKey;

use super::asked::{Asked, Subject};
use super::lives::Unbegun;
use super::trouble::Trouble;
use super::writer::Shared;

/// Writes that may wait: one that begins and one that ends for as many turns as may run.
const WAITING: usize = 32_768;

/// What comes to the writer.
pub(super) enum Order {
    /// Something is to be written.
    Write(Box<Job>),
    /// It is to end, once it has done what came before.
    Stop,
}

/// Where the writer is given its orders.
#[derive(Debug, Clone)]
pub(super) struct Orders {
    give: SyncSender<Order>,
    pub(super) shared: Arc<Shared>,
}

impl Orders {
    pub(super) fn open(shared: Arc<Shared>) -> (Self, Receiver<Order>) {
        let (give, take) = sync_channel(WAITING);
        (Self { give, shared }, take)
    }

    /// Puts a job behind those that wait, unless there is no room or no writer.
    pub(super) fn place(&self, job: Job) -> Result<(), StoreError> {
        let asked = &self.shared.asked;
        asked.enter(&job.about.subjects);
        let Err(refused) = self.give.try_send(Order::Write(Box::new(job))) else {
            return Ok(());
        };
        let (order, error) = match refused {
            TrySendError::Full(order) => (order, "too many writes wait already"),
            TrySendError::Disconnected(order) => (order, "the store is closed"),
        };
        if let Order::Write(job) = order {
            asked.leave(&job.about.subjects);
            job.note(asked, false);
        }
        Err(StoreError(error.to_owned()))
    }

    /// Has the writer end behind what waits. One that is gone needs no telling.
    pub(super) fn stop(&self) {
        let _ = self.give.send(Order::Stop);
    }
}

/// What a job is about.
#[derive(Debug, Default)]
pub(super) struct About {
    /// What may not be read before it is done.
    pub(super) subjects: Vec<Subject>,
    /// The session that it saves, and the position before which nothing changes.
    pub(super) saves: Option<(SessionKey, u64)>,
    /// Told whether the beginning of a turn, if it is one, could not be written.
    pub(super) begins: Option<Unbegun>,
    /// Whether what it takes away has to be cleared from the disk soon.
    pub(super) clears: bool,
    /// Whether nobody waits for it, so that it may wait for more to be done.
    pub(super) may_linger: bool,
}

/// A piece of work for the writer.
pub(super) struct Job {
    pub(super) about: About,
    pub(super) work: Box<dyn Work>,
}

/// What is to be done. It may be done more than once, each time as if the times before had not
/// been, and counts once.
pub(super) trait Work: Send {
    /// Does it, within a transaction.
    fn apply(&mut self, db: &Connection) -> Result<(), Trouble>;

    /// Tells whoever asked, once what the last time did is in the file or surely is not.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// Work that finds something.
struct Found<T, F> {
    work: F,
    found: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: FnMut(&Connection) -> Result<T, Trouble> + Send> Work for Found<T, F> {
    fn apply(&mut self, db: &Connection) -> Result<(), Trouble> {
        self.found = Some((self.work)(db)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { found, reply, .. } = *self;
        let nothing = || StoreError("nothing was done".to_owned());
        let answer = outcome.and_then(|()| found.ok_or_else(nothing));
        // Whoever has left does not want to know.
        let _ = reply.send(answer);
    }
}

/// Waits for what was asked before, whatever became of it.
struct Barrier(oneshot::Sender<Result<(), StoreError>>);

impl Work for Barrier {
    fn apply(&mut self, _db: &Connection) -> Result<(), Trouble> {
        Ok(())
    }

    fn answer(self: Box<Self>, _outcome: Result<(), StoreError>) {
        let _ = self.0.send(Ok(()));
    }
}

/// Where an answer will come.
pub(super) type Reply<T> = oneshot::Receiver<Result<T, StoreError>>;

impl Job {
    pub(super) fn new<T, F>(about: About, work: F) -> (Self, Reply<T>)
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Trouble> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        (Self { about, work: Box::new(Found { work, found: None, reply }) }, answer)
    }

    /// Remembers whether the file holds the session that this was to save, and the turn that it
    /// was to begin.
    pub(super) fn note(&self, asked: &Asked, is_done: bool) {
        if let Some(unbegun) = &self.about.begins {
            unbegun.set(!is_done);
        }
        match &self.about.saves {
            Some((key, _)) if is_done => asked.saved(key),
            Some((key, unchanged)) => asked.failed(key, *unchanged),
            None => {}
        }
    }

    pub(super) fn barrier() -> (Self, Reply<()>) {
        let (reply, answer) = oneshot::channel();
        (Self { about: About::default(), work: Box::new(Barrier(reply)) }, answer)
    }
}
