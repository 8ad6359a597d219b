//! While a session's record is fetched: what can wait for it does, and gets it or is refused.

use std::sync::Arc;
use std::time::Duration;

use crate::metrics::StoreOp;
use crate::store::{Record, StoreError};
use crate::turn::{Failure, FailureKind, SessionKey, TurnEvent};

use super::actor::SessionMsg;
use super::conversation::Conversation;
use super::phase::{Effect, Input, Phase};
use super::state::State;

/// Messages that wait for a record to be fetched.
const MOST_DEFERRED: usize = 64;

impl State {
    /// Lays a message aside that is about what the session holds, while that is being fetched.
    /// Beyond what anybody may reasonably ask meanwhile, it goes unanswered.
    pub(super) fn defer(&mut self, message: SessionMsg) -> Option<SessionMsg> {
        if self.phase != Phase::Loading || !message.needs_record() {
            return Some(message);
        }
        if self.deferred.len() < MOST_DEFERRED {
            self.deferred.push_back(message);
        }
        None
    }

    /// The next message that was laid aside, once the session is known. What is left when the
    /// session is over goes unanswered, like what comes then: whoever asked finds the next actor.
    pub(super) fn next_deferred(&mut self) -> Option<SessionMsg> {
        match self.phase {
            Phase::Loading => return None,
            Phase::Gone => self.deferred.clear(),
            Phase::Idle | Phase::Running => {}
        }
        self.deferred.pop_front()
    }

    pub(super) fn load(&mut self, key: SessionKey) {
        let me = self.me.clone();
        let work = self.env.store.load(key);
        let at_once = self.env.run(StoreOp::Load, work, move |result| {
            // An actor that is gone wants no record.
            let _ = me.cast(SessionMsg::Loaded(result));
        });
        if let Some(result) = at_once {
            self.loaded(result);
        }
    }

    pub(super) fn loaded(&mut self, result: Result<Option<Arc<Record>>, StoreError>) {
        match result {
            Ok(Some(record)) => {
                self.env.metrics.session_revived();
                self.held = Conversation::revive(record);
                self.residence.weigh(self.held.weight());
                self.tally_calls();
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, session = %self.key().id, "a session could not be loaded");
                return self.give_up();
            }
        }
        let effect = self.phase.step(Input::Loaded { queued: self.queue.len() });
        if effect == Effect::StartNext {
            self.start_next();
        }
    }

    /// Without its record a session would go on as another one: better none than that.
    fn give_up(&mut self) {
        for waiting in std::mem::take(&mut self.queue) {
            self.end_waiting(waiting, TurnEvent::Failed(store_is_away()));
        }
        for message in std::mem::take(&mut self.deferred) {
            self.refuse_unloaded(message);
        }
        self.phase = Phase::Gone;
        self.depart();
    }

    /// Answers what was asked about a record that could not be fetched. Whoever only reads looks
    /// into the store, and hears it there.
    fn refuse_unloaded(&self, message: SessionMsg) {
        // Whoever asked may be gone.
        match message {
            SessionMsg::Submit(submit) => self.refuse(*submit, store_is_away()),
            SessionMsg::Interrupt(order) => drop(order.reply.send(Err(store_is_away()))),
            SessionMsg::Move(_, reply) | SessionMsg::Edit(_, reply) => {
                drop(reply.send(Err(store_is_away())));
            }
            SessionMsg::Copy(_, reply) => drop(reply.send(Err(store_is_away()))),
            SessionMsg::End(_, reply) => drop(reply.send(Err(store_is_away()))),
            SessionMsg::NextTurn(reply) => drop(reply.send(Err(store_is_away()))),
            _ => {}
        }
    }
}

pub(super) fn store_is_away() -> Failure {
    Failure::new(FailureKind::StoreUnavailable, "the session store does not answer")
        .after(Duration::from_secs(2))
}
