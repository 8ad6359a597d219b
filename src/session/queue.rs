//! Turns of a session that wait, and turns that nobody waits for any more.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::metrics::{InterruptReason, Limit, Presence};
use crate::store::TurnRecord;
use crate::turn::request::DisconnectPolicy;
use crate::turn::{Failure, FailureKind, FinishReason, Keeping, Role, TurnEvent, TurnId};

use super::actor::{Call, SessionMsg};
use super::attempt::remind;
use super::ending::{Ending, Finished};
use super::keeping::turn_record;
use super::phase::{Effect, Input};
use super::running::Detached;
use super::state::State;
use super::turn_log::TurnWriter;

/// An accepted turn.
pub(super) struct Accepted {
    pub(super) writer: TurnWriter,
    pub(super) call: Arc<Call>,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) detached: Option<Detached>,
    /// The turn as the store was told of it, if it was.
    pub(super) record: Option<Arc<TurnRecord>>,
}

/// A turn that waits.
pub(super) struct Waiting {
    pub(super) turn: Accepted,
    since: Instant,
    _queued: Presence,
    _timer: AbortOnDropHandle<()>,
}

impl Waiting {
    fn is(&self, turn: &TurnId) -> bool {
        self.turn.writer.log().meta().turn == *turn
    }
}

impl State {
    pub(super) fn enqueue(&mut self, mut accepted: Accepted) {
        let request = &accepted.call.request;
        if request.keeping == Keeping::Turn {
            // Who is told its id may look for it from now on, also after a crash.
            let said = request.messages.iter().filter(|message| message.role != Role::System);
            let said = said.cloned().map(Arc::new).collect();
            let turn = turn_record(accepted.writer.log().meta(), request, said);
            self.env.begin(Arc::clone(&turn), accepted.writer.log(), None);
            accepted.record = Some(turn);
        }
        let turn = accepted.writer.log().meta().turn.clone();
        let limit = self.env.config.turn.queue_wait;
        let timer = remind(self.me.clone(), limit, SessionMsg::WaitedTooLong(turn));
        self.queue.push_back(Waiting {
            turn: accepted,
            since: Instant::now(),
            _queued: self.env.metrics.turn_queued(),
            _timer: timer,
        });
    }

    pub(super) fn start_next(&mut self) {
        let Some(Waiting { turn, since, .. }) = self.queue.pop_front() else { return };
        turn.call.route.metrics.queue_wait(since.elapsed());
        self.start(turn);
    }

    pub(super) fn waited_too_long(&mut self, turn: &TurnId) {
        let Some(waiting) = self.take_waiting(turn) else { return };
        self.env.metrics.rate_limited(Limit::QueueWait);
        self.end_waiting(waiting, TurnEvent::Failed(waited()));
    }

    pub(super) fn abandoned(&mut self, turn: &TurnId) {
        if let Some(waiting) = self.queue.iter().find(|waiting| waiting.is(turn)) {
            let goes_on = waiting.turn.call.disconnect_policy != DisconnectPolicy::Cancel;
            // One that is to run on is asked again when it starts.
            if goes_on || waiting.turn.writer.log().has_readers() {
                return;
            }
            if let Some(waiting) = self.take_waiting(turn) {
                self.env.metrics.turn_interrupted(InterruptReason::Disconnect);
                self.end_waiting(waiting, TurnEvent::Finished(FinishReason::Interrupted));
            }
            return;
        }
        let running = self.running.as_mut();
        let abandoned = running.filter(|running| running.is(turn) && !running.has_readers());
        let Some(running) = abandoned else { return };
        let may_detach = running.may_detach(&self.env);
        let input = Input::Abandoned { policy: running.disconnect_policy(), may_detach };
        match self.phase.step(input) {
            Effect::Cut => self.cut(InterruptReason::Disconnect, None),
            Effect::Detach => running.detach(&self.me),
            _ => {}
        }
    }

    /// Stops a turn that was left, unless somebody follows it again.
    pub(super) fn grace_over(&mut self, turn: &TurnId) {
        let running = self.running.as_ref();
        if running.is_some_and(|running| running.is(turn) && !running.has_readers()) {
            self.phase.step(Input::Stop);
            self.cut(InterruptReason::Disconnect, None);
        }
    }

    /// Stops a turn that runs or waits.
    pub(super) fn cancel(&mut self, turn: &TurnId, reply: oneshot::Sender<bool>) {
        let is_running = self.running.as_ref().is_some_and(|running| running.is(turn));
        let was_there = if is_running {
            self.phase.step(Input::Stop);
            self.cut(InterruptReason::Request, None);
            true
        } else if let Some(waiting) = self.take_waiting(turn) {
            self.env.metrics.turn_interrupted(InterruptReason::Request);
            self.end_waiting(waiting, TurnEvent::Finished(FinishReason::Interrupted));
            true
        } else {
            false
        };
        // Whoever asked may be gone.
        let _ = reply.send(was_there);
    }

    pub(super) fn supersede_queue(&mut self) {
        for waiting in std::mem::take(&mut self.queue) {
            self.env.metrics.turn_interrupted(InterruptReason::BargeIn);
            self.end_waiting(waiting, TurnEvent::Finished(FinishReason::Interrupted));
        }
    }

    pub(super) fn end_waiting(&mut self, waiting: Waiting, end: TurnEvent) {
        let Accepted { writer, call, permit, record, .. } = waiting.turn;
        if let Some(head) = self.held.record().head
            && call.base == Some(head)
        {
            // It claimed the head and went nowhere.
            self.env.heads.register(head, self.key().clone());
        }
        self.keep(Finished { writer, last: end, record, permit });
    }

    pub(super) fn cut(&mut self, reason: InterruptReason, spoken: Option<String>) {
        self.finish(Ending::Cut { reason, spoken });
        self.over();
    }

    fn take_waiting(&mut self, turn: &TurnId) -> Option<Waiting> {
        let place = self.queue.iter().position(|waiting| waiting.is(turn))?;
        self.queue.remove(place)
    }
}

fn waited() -> Failure {
    Failure::new(FailureKind::QueueFull, "the turn waited too long for the one before it to end")
        .after(std::time::Duration::from_secs(1))
}
