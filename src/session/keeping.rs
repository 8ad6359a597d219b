//! What a session has the store keep, and what its readers see only once it is kept.

use std::sync::{Arc, Weak};
use std::time::SystemTime;

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::metrics::StoreOp;
use crate::store::{Answer, Begin, End, LiveTurn, Save, StoreError, TurnRecord};
use crate::turn::{Failure, FailureKind, FinishReason, Keeping, Message, TurnEvent, TurnRequest};

use super::actor::SessionMsg;
use super::ending::Finished;
use super::env::Env;
use super::manage::store_failed;
use super::state::State;
use super::turn_log::{TurnLog, TurnMeta, TurnWriter};

/// What is done once the store has answered.
pub(super) type Done = Box<dyn FnOnce(&Result<(), StoreError>) + Send>;

/// A turn that is over and kept, as soon as its readers are told.
struct Closing {
    writer: TurnWriter,
    last: TurnEvent,
    _permit: OwnedSemaphorePermit,
}

impl Closing {
    /// Lets the readers see the end; what could not be kept did not end well.
    fn close(self, env: &Env, result: &Result<(), StoreError>) {
        let is_lost = result.is_err() && env.waits_for_store;
        let last = match self.last {
            TurnEvent::Finished(reason) if is_lost && reason != FinishReason::Interrupted => {
                TurnEvent::Failed(Failure::new(
                    FailureKind::StoreUnavailable,
                    "the answer could not be kept: the session store failed",
                ))
            }
            last => last,
        };
        self.writer.append([last]);
        env.turns.ended(self.writer.log());
    }
}

impl State {
    /// Has the store keep a turn that is over, and the session with it; its readers see the end
    /// then.
    pub(super) fn keep(&mut self, finished: Finished) {
        let Finished { writer, last, record, permit } = finished;
        let session = if self.is_ephemeral { None } else { self.held.save() };
        let log = Arc::clone(writer.log());
        let closing = Closing { writer, last: last.clone(), _permit: permit };
        let env = Arc::clone(&self.env);
        let close: Done = Box::new(move |result| closing.close(&env, result));
        let work = match (record, session) {
            (None, None) => return close(&Ok(())),
            (None, Some(session)) => self.env.store.save(session),
            (Some(turn), session) => {
                let live: Arc<dyn LiveTurn> = log;
                self.env.store.end(End { turn, live, last, at: SystemTime::now(), session })
            }
        };
        if self.env.waits_for_store {
            self.confirm(work, close);
        } else {
            close(&Ok(()));
            self.confirm(work, Box::new(|_| {}));
        }
    }

    /// Has the store keep the session, where it does not hold what is held here; says whether
    /// that was so.
    pub(super) fn save(&mut self) -> bool {
        let session = if self.is_ephemeral { None } else { self.held.save() };
        let Some(session) = session else { return false };
        let work = self.env.store.save(session);
        self.confirm(work, Box::new(|_| {}));
        true
    }

    /// Does this once the store has all that is held here, or could not take it.
    pub(super) fn once_kept(
        &mut self,
        done: impl FnOnce(&Result<(), StoreError>) + Send + 'static,
    ) {
        let session = if self.is_ephemeral { None } else { self.held.save() };
        if let Some(session) = session {
            let work = self.env.store.save(session);
            self.confirm(work, Box::new(done));
        } else if self.saving > 0 {
            // It was given to the store, which does things in their order.
            self.unkept.push((self.saves, Box::new(done)));
        } else {
            done(&Ok(()));
        }
    }

    pub(super) fn saved(&mut self, serial: u64, result: Result<(), StoreError>) {
        self.saving = self.saving.saturating_sub(1);
        for (_, done) in self.unkept.extract_if(.., |(last, _)| *last <= serial) {
            done(&result);
        }
        if let Err(error) = result {
            tracing::error!(%error, session = %self.key().id, "a session could not be saved");
            self.held.not_saved();
        }
    }

    /// Has the store forget the session, whoever waits for that.
    pub(super) fn forget_in_store(&self, reply: Option<oneshot::Sender<Result<(), Failure>>>) {
        let work = self.env.store.remove(self.key().clone());
        let env = Arc::clone(&self.env);
        self.env.afterwards.spawn(async move {
            let timer = env.metrics.store_op(StoreOp::Remove);
            let removed = work.await;
            drop(timer);
            let removed = removed.map(drop).map_err(|error| store_failed(&error));
            // Whoever asked may be gone.
            let _ = reply.map(|reply| reply.send(removed));
        });
    }

    /// Waits for the store beside whatever else goes on.
    fn confirm(&mut self, mut work: Answer<()>, done: Done) {
        let timer = self.env.metrics.store_op(StoreOp::Save);
        self.saving += 1;
        self.saves += 1;
        let serial = self.saves;
        if let Some(result) = (&mut work).now_or_never() {
            done(&result);
            return self.saved(serial, result);
        }
        let me = self.me.clone();
        self.env.afterwards.spawn(async move {
            let result = work.await;
            drop(timer);
            done(&result);
            // An actor that is gone waits for no confirmation.
            let _ = me.cast(SessionMsg::Saved { serial, result });
        });
    }
}

impl Env {
    /// Has the store keep that a turn has begun; nobody waits for that.
    pub(super) fn begin(&self, turn: Arc<TurnRecord>, log: &Arc<TurnLog>, session: Option<Save>) {
        let live: Weak<dyn LiveTurn> = Arc::downgrade(log) as Weak<TurnLog>;
        let work = self.store.begin(Begin { turn, live, session });
        let report = |result: Result<(), StoreError>| {
            if let Err(error) = result {
                tracing::error!(%error, "the beginning of a turn could not be kept");
            }
        };
        if let Some(result) = self.run(StoreOp::Begin, work, report) {
            report(result);
        }
    }
}

/// What the store is told of a turn that brings so much to the transcript.
pub(super) fn turn_record(
    meta: &TurnMeta,
    request: &TurnRequest,
    said: Vec<Arc<Message>>,
) -> Arc<TurnRecord> {
    Arc::new(TurnRecord {
        turn: meta.turn.clone(),
        key: meta.key.clone(),
        model: meta.model.clone(),
        agent: meta.agent.clone(),
        created: meta.created,
        said,
        previous: request.hints.previous.clone(),
        is_kept: request.keeping == Keeping::Turn,
        is_background: request.is_background,
        echo: request.echo.clone(),
        idempotency: request.idempotency.clone(),
    })
}
