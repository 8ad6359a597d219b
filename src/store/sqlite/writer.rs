//! The one thread that writes.
//!
//! To make one thing durable takes as long as to make a hundred durable: the disk is waited for
//! once. So the thread takes all that waits, does it in one transaction, and answers when that
//! is committed; meanwhile the next things come together by themselves. What nobody waits for
//! lingers for others to come along, and leaves the processor to who asks the upstream. What
//! fails, fails alone: but only where something does, is each thing done as one that may fail.
//! In between, the thread looks what has happened in the turns that run.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};

use crate::store::StoreError;

use super::asked::Asked;
use super::file::{self, Lock};
use super::health::Pulse;
use super::job::{Job, Order};
use super::lives::{Live, Lives};
use super::trouble::{Trouble, guarded};
use super::turns;

/// Jobs in one transaction: beyond, those that wait would wait longer than they gain.
const JOBS_AT_ONCE: usize = 1_024;
/// Turns whose events go along with one transaction.
const TURNS_AT_ONCE: usize = 256;
/// What nobody waits for waits so long for more to be done with it: less than a disk takes.
const LINGER: Duration = Duration::from_millis(2);
/// After something was deleted, its pages are given back and the log is emptied so much later.
const TIDY_AFTER: Duration = Duration::from_secs(10);
/// After something could not be written, that is tried again so much later.
const TRY_AFTER: Duration = Duration::from_secs(1);
/// Pages that are given back at once; each may have to be moved.
const PAGES_AT_ONCE: u32 = 1_000;

/// What the writer and those who ask it share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) asked: Asked,
    pub(super) lives: Lives,
    pub(super) pulse: Pulse,
}

/// Says that the writer has ended, however it did.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.pulse.stops();
        if thread::panicking() {
            tracing::error!("the store has stopped, by a fault of the program: restart the broker");
        }
    }
}

/// The writer's own.
pub(super) struct Writer {
    db: Connection,
    orders: Receiver<Order>,
    shared: Arc<Shared>,
    /// Between two looks at the turns that run.
    pause: Duration,
    next_look: Instant,
    /// Turns of this look that were not looked at yet.
    to_look_at: VecDeque<Live>,
    /// When the file is to be tidied, if it is.
    tidy_at: Option<Instant>,
    /// While nothing can be written: when that is tried again.
    try_at: Option<Instant>,
    is_over: bool,
    /// Until the connection above is closed.
    _lock: Lock,
}

impl Writer {
    pub(super) fn new(
        (db, lock): (Connection, Lock),
        orders: Receiver<Order>,
        shared: Arc<Shared>,
        pause: Duration,
    ) -> Self {
        Self {
            db,
            orders,
            shared,
            pause,
            next_look: Instant::now(),
            to_look_at: VecDeque::new(),
            tidy_at: None,
            try_at: None,
            is_over: false,
            _lock: lock,
        }
    }

    /// Writes until it is told to stop.
    pub(super) fn run(mut self) {
        let _ending = Ending(Arc::clone(&self.shared));
        while !self.is_over {
            let jobs = self.gather();
            self.look();
            let turns = self.to_look_at.len().min(TURNS_AT_ONCE);
            let turns: Vec<_> = self.to_look_at.drain(..turns).collect();
            self.shared.pulse.begins();
            self.write(jobs, &turns);
            self.try_again();
            self.tidy();
            self.shared.pulse.rests();
        }
        self.finish();
    }

    /// Waits for something to do, and takes all that there is then.
    fn gather(&mut self) -> Vec<Job> {
        let mut jobs = Vec::new();
        let mut next = self.wait();
        let linger_until = Instant::now() + LINGER;
        let mut may_linger = true;
        while let Some(order) = next {
            match order {
                Order::Write(job) => {
                    may_linger &= job.about.may_linger;
                    jobs.push(*job);
                }
                Order::Stop => self.is_over = true,
            }
            if self.is_over || jobs.len() >= JOBS_AT_ONCE {
                break;
            }
            next = if may_linger {
                let left = linger_until.saturating_duration_since(Instant::now());
                self.orders.recv_timeout(left).ok()
            } else {
                self.orders.try_recv().ok()
            };
        }
        jobs
    }

    /// Waits for an order, or for the time to do something else.
    fn wait(&mut self) -> Option<Order> {
        if !self.to_look_at.is_empty() {
            return match self.orders.try_recv() {
                Ok(order) => Some(order),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some(Order::Stop),
            };
        }
        let look_at = (!self.shared.lives.is_empty()).then_some(self.next_look);
        let until = [look_at, self.tidy_at, self.try_at].into_iter().flatten().min();
        let Some(until) = until else {
            return Some(self.orders.recv().unwrap_or(Order::Stop));
        };
        match self.orders.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(order) => Some(order),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Order::Stop),
        }
    }

    /// Has the turns that run looked at when it is time.
    fn look(&mut self) {
        let now = Instant::now();
        if self.to_look_at.is_empty() && now >= self.next_look {
            self.to_look_at.extend(self.shared.lives.all());
            self.next_look = now + self.pause;
        }
    }

    /// Writes these, and tells those who asked.
    fn write(&mut self, mut jobs: Vec<Job>, turns: &[Live]) {
        if jobs.is_empty() && turns.is_empty() {
            return;
        }
        let outcomes = match self.all_or_nothing(&mut jobs, turns) {
            Err(trouble) if !trouble.is_of_another_program() => self.together(&mut jobs, turns),
            done => done.map(|()| vec![Ok(()); jobs.len()]),
        };
        let outcomes = match outcomes {
            Ok(outcomes) => {
                self.succeeded();
                outcomes
            }
            Err(trouble) if jobs.len() > 1 && !trouble.is_of_another_program() => {
                self.one_by_one(&mut jobs)
            }
            Err(trouble) => {
                let error = StoreError::from(trouble);
                self.failed(&error);
                vec![Err(error); jobs.len()]
            }
        };
        for (job, outcome) in jobs.into_iter().zip(outcomes) {
            self.answer(job, outcome);
        }
    }

    fn one_by_one(&mut self, jobs: &mut [Job]) -> Vec<Result<(), StoreError>> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            let outcome = match self.together(std::slice::from_mut(job), &[]) {
                Ok(mut one) => one.pop().unwrap_or(Ok(())),
                Err(trouble) => Err(StoreError::from(trouble)),
            };
            match &outcome {
                Ok(()) => self.succeeded(),
                Err(error) => self.failed(error),
            }
            // The next job may be of the same session or turn.
            job.note(&self.shared.asked, outcome.is_ok());
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Does these in one transaction, as long as none fails.
    fn all_or_nothing(&mut self, jobs: &mut [Job], turns: &[Live]) -> Result<(), Trouble> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for job in jobs {
            let before = transaction.total_changes();
            guarded(|| job.work.apply(&transaction))?;
            let has_changed = transaction.total_changes() != before;
            if job.about.clears && has_changed && self.tidy_at.is_none() {
                self.tidy_at = Some(Instant::now() + TIDY_AFTER);
            }
        }
        for turn in turns {
            guarded(|| catch_up(&transaction, turn))?;
        }
        Ok(transaction.commit()?)
    }

    /// Does these in one transaction. Says what became of each, unless nothing became of all.
    fn together(
        &mut self,
        jobs: &mut [Job],
        turns: &[Live],
    ) -> Result<Vec<Result<(), StoreError>>, Trouble> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            let before = transaction.total_changes();
            let outcome = alone(&transaction, |db| guarded(|| job.work.apply(db)))?;
            if outcome.is_err() {
                job.note(&self.shared.asked, false);
            }
            let has_changed = transaction.total_changes() != before;
            if job.about.clears && has_changed && self.tidy_at.is_none() {
                self.tidy_at = Some(Instant::now() + TIDY_AFTER);
            }
            outcomes.push(outcome);
        }
        for turn in turns {
            if let Err(error) = alone(&transaction, |db| guarded(|| catch_up(db, turn)))? {
                tracing::warn!(%error, turn = %turn.turn, "a turn's events could not be saved");
            }
        }
        transaction.commit()?;
        Ok(outcomes)
    }

    fn answer(&mut self, job: Job, outcome: Result<(), StoreError>) {
        job.note(&self.shared.asked, outcome.is_ok());
        self.shared.asked.leave(&job.about.subjects);
        job.work.answer(outcome);
    }

    fn failed(&mut self, error: &StoreError) {
        if self.shared.pulse.failed(error) {
            tracing::error!(%error, "the store cannot be written to");
        }
        self.try_at = Some(Instant::now() + TRY_AFTER);
    }

    fn succeeded(&mut self) {
        if self.shared.pulse.succeeded() {
            tracing::info!("the store can be written to again");
        }
        self.try_at = None;
    }

    /// Finds out whether something can be written again: who is told that it cannot may ask for
    /// nothing meanwhile.
    fn try_again(&mut self) {
        if self.try_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        match file::touch(&mut self.db) {
            Ok(()) => self.succeeded(),
            Err(trouble) => self.failed(&trouble.into()),
        }
    }

    /// Gives back the pages of what was deleted, and empties the log that still shows it.
    fn tidy(&mut self) {
        let is_time = self.tidy_at.is_some_and(|at| Instant::now() >= at);
        if !is_time {
            return;
        }
        let is_done = give_back(&self.db).and_then(|pages| {
            let is_empty = file::empty_log(&self.db)?;
            Ok(is_empty && pages == 0)
        });
        self.tidy_at = match is_done {
            Ok(true) => None,
            // Somebody reads what is older, or there are more pages.
            Ok(false) => Some(Instant::now() + TIDY_AFTER),
            Err(trouble) => {
                let error = StoreError::from(trouble);
                tracing::warn!(%error, "what was deleted could not be cleared away yet");
                Some(Instant::now() + TIDY_AFTER)
            }
        };
    }

    /// What happened in turns that were left running is kept as far as it came.
    fn finish(mut self) {
        let turns = self.shared.lives.all();
        for turns in turns.chunks(TURNS_AT_ONCE) {
            self.write(Vec::new(), turns);
        }
        if self.tidy_at.is_some() {
            self.tidy_at = Some(Instant::now());
            self.tidy();
        }
    }
}

/// Does one thing of a transaction, or nothing of it; an error is of all the transaction.
pub(super) fn alone(
    db: &Connection,
    work: impl FnOnce(&Connection) -> Result<(), Trouble>,
) -> Result<Result<(), StoreError>, Trouble> {
    db.prepare_cached("SAVEPOINT alone")?.execute([])?;
    match work(db) {
        Ok(()) => {
            db.prepare_cached("RELEASE alone")?.execute([])?;
            Ok(Ok(()))
        }
        Err(trouble) if trouble.is_of_the_file() || db.is_autocommit() => Err(trouble),
        Err(trouble) => {
            db.execute_batch("ROLLBACK TO alone; RELEASE alone")?;
            Ok(Err(trouble.into()))
        }
    }
}

/// Saves what has happened in a turn since the last look.
fn catch_up(db: &Connection, live: &Live) -> Result<(), Trouble> {
    let Some(events) = live.events.upgrade() else { return Ok(()) };
    // One that is to begin is not there yet, one that was removed no more.
    let Some(standing) = turns::running(db, &live.tenant, &live.turn)? else { return Ok(()) };
    let mut new = events.events_since(standing.events);
    // The last event is saved by whoever ends the turn.
    new.retain(|event| !event.is_last());
    turns::append(db, standing, &new)
}

/// Gives so many free pages back to the disk; says how many are left.
fn give_back(db: &Connection) -> Result<u32, Trouble> {
    let mut vacuum = db.prepare(&format!("PRAGMA incremental_vacuum({PAGES_AT_ONCE})"))?;
    let mut rows = vacuum.query([])?;
    // Each step gives one back.
    while rows.next()?.is_some() {}
    Ok(db.pragma_query_value(None, "freelist_count", |row| row.get(0))?)
}
