//! What a session is told that is no turn: read, stop, move, change, copy.

use tokio::sync::oneshot;

use crate::store::Record;
use crate::turn::{Failure, ModelName, SessionKey, TurnId};

use super::actor::{Interrupt, Snapshot};
use super::conversation::Edit;
use super::phase::{Effect, Input};
use super::phrases::Phrases;
use super::state::{State, busy};

impl State {
    pub(super) fn interrupt(&mut self, order: Interrupt) {
        let Interrupt { reason, spoken, reply } = order;
        match self.phase.step(Input::Stop) {
            Effect::Cut => self.cut(reason, spoken),
            _ => {
                // The answer was generated to its end, but not heard to its end.
                if let Some(spoken) = spoken.map(|spoken| self.heard(&spoken))
                    && self.held.cut_last_answer(&spoken)
                {
                    self.save();
                }
            }
        }
        self.read(reply);
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

    pub(super) fn read(&self, reply: oneshot::Sender<Snapshot>) {
        // Whoever asked may be gone.
        let _ = reply.send(self.snapshot());
    }

    pub(super) fn move_to(&mut self, to: ModelName, reply: oneshot::Sender<Snapshot>) {
        self.held.move_to(to);
        self.leave_upstream();
        self.tally_calls();
        self.residence.activity.touch();
        self.save();
        self.read(reply);
    }

    pub(super) fn edit(&mut self, edit: Edit, reply: oneshot::Sender<Result<Snapshot, Failure>>) {
        // Whoever asked may be gone.
        let _ = reply.send(self.edited(edit));
    }

    fn edited(&mut self, edit: Edit) -> Result<Snapshot, Failure> {
        if edit.is_of_transcript() && self.running.is_some() {
            return Err(busy());
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
        self.save();
        Ok(self.snapshot())
    }

    pub(super) fn copy(
        &self,
        (upto, key): (Option<TurnId>, SessionKey),
        reply: oneshot::Sender<Result<Box<Record>, Failure>>,
    ) {
        // Whoever asked may be gone.
        let _ = reply.send(self.held.copy(upto.as_ref(), key).map(Box::new));
    }

    fn snapshot(&self) -> Snapshot {
        let running = self.running.as_ref().map(|running| running.turn().clone());
        Snapshot {
            record: self.held.record().clone(),
            state: if running.is_some() { "running" } else { "idle" },
            running,
            queued: self.queue.len(),
        }
    }
}
