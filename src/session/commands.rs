//! What a session is told that is no turn: read, stop, move, change, copy.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::store::Record;
use crate::turn::{Failure, FailureKind, ModelName, SessionKey, TurnId};

use super::actor::{Interrupt, SessionState, Snapshot, Told};
use super::conversation::Edit;
use super::manage::{exists, no_session, store_failed};
use super::phase::{Effect, Input};
use super::phrases::Phrases;
use super::state::{State, busy};

/// Those who may wait at once for a session's next turn.
const MOST_FOLLOWERS: usize = 64;

impl State {
    /// Stops what runs, at once; whoever asked hears of it once the store has what was said.
    pub(super) fn interrupt(&mut self, order: Interrupt) {
        let Interrupt { reason, spoken, reply } = order;
        match self.phase.step(Input::Stop) {
            Effect::Cut => self.cut(reason, spoken),
            _ => {
                // The answer was generated to its end, but not heard to its end.
                if let Some(spoken) = spoken.map(|spoken| self.heard(&spoken)) {
                    self.held.cut_last_answer(&spoken);
                }
            }
        }
        // See `read`.
        if self.is_somebody() {
            self.tell_once_kept(reply);
        }
    }

    /// What of the last answer was heard: what was spoken, but for what the broker said itself.
    fn heard(&self, spoken: &str) -> String {
        let record = self.held.record();
        let asked = record.asked.as_ref().unwrap_or(&record.model);
        let route = self.env.routes.exactly(asked);
        let phrases = route.as_ref().map(|route| Phrases::of(&route.model.voice));
        let answer = record.messages.last().map(|last| last.plain_text()).unwrap_or_default();
        phrases.unwrap_or_default().heard(spoken, &answer)
    }

    /// Where nobody has spoken there is no session, though an actor was made to look for one:
    /// whoever asked then hears nothing, and looks into the store.
    pub(super) fn read(&self, reply: oneshot::Sender<Snapshot>) {
        if self.is_somebody() {
            // Whoever asked may be gone.
            let _ = reply.send(self.snapshot());
        }
    }

    /// Tells which turn runs: now, or once one begins.
    pub(super) fn tell_next_turn(&mut self, reply: oneshot::Sender<Result<TurnId, Failure>>) {
        let answer = match &self.running {
            Some(running) => Ok(running.turn().clone()),
            None if !self.is_somebody() => Err(no_session()),
            None => {
                self.followers.retain(|follower| !follower.is_closed());
                if self.followers.len() < MOST_FOLLOWERS {
                    return self.followers.push(reply);
                }
                Err(too_many_followers())
            }
        };
        // Whoever asked may be gone.
        let _ = reply.send(answer);
    }

    pub(super) fn is_somebody(&self) -> bool {
        !self.held.is_blank() || self.running.is_some() || !self.queue.is_empty()
    }

    pub(super) fn move_to(&mut self, to: ModelName, reply: Told) {
        self.held.move_to(to);
        self.leave_upstream();
        self.tally_calls();
        self.residence.activity.touch();
        // See `read`.
        if self.is_somebody() {
            self.tell_once_kept(reply);
        }
    }

    /// Tells what is held now, once the store has it.
    fn tell_once_kept(&mut self, reply: Told) {
        let snapshot = self.snapshot();
        self.once_kept(move |kept| {
            let kept = kept.as_ref().map_err(store_failed);
            // Whoever asked may be gone.
            let _ = reply.send(kept.map(|()| snapshot));
        });
    }

    /// Changes what is held; whoever asked hears of it once the store has it.
    pub(super) fn edit(&mut self, edit: Edit, reply: Told) {
        match self.edited(edit) {
            Ok(()) => self.tell_once_kept(reply),
            // Whoever asked may be gone.
            Err(failure) => drop(reply.send(Err(failure))),
        }
    }

    fn edited(&mut self, edit: Edit) -> Result<(), Failure> {
        match &edit {
            Edit::Open(_) if self.is_somebody() => return Err(exists()),
            Edit::Open(_) => {}
            _ if !self.is_somebody() => return Err(no_session()),
            _ if edit.is_of_transcript() && self.running.is_some() => return Err(busy()),
            _ => {}
        }
        let before = self.held.record().head;
        let upstream = self.held.record().upstream.clone();
        self.held.edit(edit, self.env.room())?;
        let record = self.held.record();
        if let Some(before) = before
            && record.head.is_none()
        {
            self.env.heads.forget(&before, &record.key);
        }
        if record.upstream.is_none() {
            super::farewell::say(&self.env, upstream);
        }
        self.tally_calls();
        self.residence.activity.touch();
        self.residence.weigh(self.held.weight());
        Ok(())
    }

    pub(super) fn copy(
        &self,
        (upto, key): (Option<TurnId>, SessionKey),
        reply: oneshot::Sender<Result<Box<Record>, Failure>>,
    ) {
        let copied = match self.is_somebody() {
            true => self.held.copy(upto.as_ref(), key).map(Box::new),
            false => Err(no_session()),
        };
        // Whoever asked may be gone.
        let _ = reply.send(copied);
    }

    fn snapshot(&self) -> Snapshot {
        let running = self.running.as_ref().map(|running| running.turn().clone());
        Snapshot {
            record: self.held.record().clone(),
            state: if running.is_some() { SessionState::Running } else { SessionState::Idle },
            running,
            queued: self.queue.len(),
        }
    }
}

fn too_many_followers() -> Failure {
    let message = "too many wait for a turn of this session; ask again once one of them is gone";
    Failure::new(FailureKind::Overloaded, message).after(Duration::from_secs(5))
}
