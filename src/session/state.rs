//! What a session actor does about what its phase decides.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ractor::ActorRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::backend::{Route, Routes};
use crate::config::Config;
use crate::metrics::{EndReason, InterruptReason, Limit, Metrics, Presence, StoreOp};
use crate::store::{Record, Save, SessionStore, StoreError};
use crate::turn::request::DisconnectPolicy;
use crate::turn::{Failure, FailureKind, FinishReason, ModelName, SessionKey, TurnEvent, TurnId};

use super::actor::{Beginning, Birth, Call, Interrupt, SessionMsg, Snapshot, Submit};
use super::conversation::{Conversation, Room};
use super::directory::{Directory, Residence};
use super::farewell;
use super::files::Files;
use super::identity::Heads;
use super::phase::{Effect, Input, Phase};
use super::pump::Pumped;
use super::resume::Turns;
use super::running::{Again, Ending, Running, Start};
use super::turn_log::TurnWriter;

/// What all sessions share.
#[derive(Debug)]
pub(super) struct Env {
    pub(super) config: Arc<Config>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) routes: Arc<Routes>,
    pub(super) directory: Arc<Directory>,
    pub(super) heads: Heads,
    pub(super) files: Files,
    pub(super) turns: Turns,
    /// Turns that run on without a reader may take one of these.
    pub(super) detached: Arc<Semaphore>,
    /// What goes on after its session's actor: saves, farewells to upstreams.
    pub(super) afterwards: TaskTracker,
}

impl Env {
    pub(super) fn room(&self) -> Room {
        let session = &self.config.session;
        Room { bytes: session.history_bytes, messages: session.history_messages }
    }

    /// Runs a store operation to its end: at once where it can, else on a task of its own.
    pub(super) fn run<T: Send + 'static>(
        &self,
        op: StoreOp,
        mut work: BoxFuture<'static, Result<T, StoreError>>,
        done: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) -> Option<Result<T, StoreError>> {
        let timer = self.metrics.store_op(op);
        if let Some(result) = (&mut work).now_or_never() {
            return Some(result);
        }
        self.afterwards.spawn(async move {
            let result = work.await;
            drop(timer);
            done(result);
        });
        None
    }
}

/// A turn that waits.
struct Waiting {
    writer: TurnWriter,
    call: Arc<Call>,
    permit: OwnedSemaphorePermit,
    since: Instant,
    _queued: Presence,
    _timer: AbortOnDropHandle<()>,
}

/// A session actor's state.
pub(super) struct State {
    me: ActorRef<SessionMsg>,
    env: Arc<Env>,
    residence: Residence,
    phase: Phase,
    held: Conversation,
    queue: VecDeque<Waiting>,
    running: Option<Box<Running>>,
    /// Tool calls that the session waits for.
    calls_pending: Option<Presence>,
    serial: u64,
    /// Saves that the store has not yet confirmed.
    saving: u32,
}

impl State {
    pub(super) fn begin(me: ActorRef<SessionMsg>, birth: Birth) -> Box<Self> {
        let Birth { key, model, beginning, env, activity } = birth;
        let presence = env.metrics.session_resident();
        let residence = env.directory.residence(key.clone(), me.get_id(), activity, presence);
        let mut state = Box::new(Self {
            held: Conversation::new(key.clone(), model, SystemTime::now()),
            me,
            residence,
            phase: Phase::Idle,
            queue: VecDeque::new(),
            running: None,
            calls_pending: None,
            serial: 0,
            saving: 0,
            env,
        });
        if matches!(beginning, Beginning::Load) {
            state.phase = Phase::Loading;
            state.load(key);
        }
        state
    }

    fn load(&mut self, key: SessionKey) {
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
        for waiting in self.queue.drain(..) {
            let failure =
                Failure::new(FailureKind::Overloaded, "the session store does not answer");
            waiting.writer.append([TurnEvent::Failed(failure.after(Duration::from_secs(2)))]);
        }
        self.phase = Phase::Gone;
        self.depart();
    }

    pub(super) fn submit(&mut self, submit: Submit) {
        let turn = &self.env.config.turn;
        let input = Input::Arrives {
            policy: submit.call.turn_policy,
            queued: self.queue.len(),
            limit: turn.queue,
        };
        self.residence.activity.touch();
        let effect = self.phase.step(input);
        match effect {
            Effect::Start => self.accept(submit, Self::start_now),
            Effect::Wait => self.accept(submit, Self::enqueue),
            Effect::Replace => {
                self.finish(Ending::Cut { reason: InterruptReason::BargeIn, spoken: None });
                self.supersede_queue();
                self.accept(submit, Self::start_now);
            }
            Effect::RefuseBusy => self.refuse(submit, busy()),
            Effect::RefuseFull => {
                self.env.metrics.rate_limited(Limit::SessionQueue);
                self.refuse(submit, queue_full());
            }
            // Unanswered: `Sessions` finds the session's next actor.
            Effect::RefuseGone => self.env.turns.forget(submit.writer.log()),
            _ => self.refuse(submit, Failure::internal()),
        }
    }

    fn accept(&mut self, submit: Submit, place: fn(&mut Self, Accepted)) {
        let Submit { writer, call, permit, reply } = submit;
        // A client that is gone is told by its reader, which cuts the turn.
        let _ = reply.send(Ok(()));
        place(self, Accepted { writer, call, permit });
    }

    fn refuse(&mut self, submit: Submit, failure: Failure) {
        self.env.turns.forget(submit.writer.log());
        // A client that is gone needs no refusal.
        let _ = submit.reply.send(Err(failure));
    }

    fn enqueue(&mut self, submit: Accepted) {
        let turn = submit.writer.log().meta().turn.clone();
        let limit = self.env.config.turn.queue_wait;
        let me = self.me.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            // An actor that is gone has no queue.
            let _ = me.cast(SessionMsg::WaitedTooLong(turn));
        });
        self.queue.push_back(Waiting {
            writer: submit.writer,
            call: submit.call,
            permit: submit.permit,
            since: Instant::now(),
            _queued: self.env.metrics.turn_queued(),
            _timer: AbortOnDropHandle::new(timer),
        });
    }

    fn start_next(&mut self) {
        let Some(waiting) = self.queue.pop_front() else { return };
        waiting.call.route.metrics.queue_wait(waiting.since.elapsed());
        let Waiting { writer, call, permit, .. } = waiting;
        self.start(Accepted { writer, call, permit });
    }

    fn start_now(&mut self, submit: Accepted) {
        submit.call.route.metrics.queue_wait(Duration::ZERO);
        self.start(submit);
    }

    fn start(&mut self, submit: Accepted) {
        self.serial += 1;
        let Accepted { writer, call, permit } = submit;
        let (candidates, model) = self.answerers(&call);
        let start = Start { writer, call, permit, candidates, model, serial: self.serial };
        let running = Running::start(self.me.clone(), &self.env, &mut self.held, start);
        let left_alone = (!running.has_readers()).then(|| running.turn().clone());
        self.running = Some(Box::new(running));
        if let Some(turn) = left_alone {
            // Its client left while it waited; the phase is `Running` by now, or soon will be.
            let _ = self.me.cast(SessionMsg::Abandoned(turn));
        }
    }

    /// Who may answer a turn, in order, and the first one's name: the model asked, or the one
    /// that the session was moved to from there, and those that stand in for it.
    fn answerers(&self, call: &Call) -> (VecDeque<Arc<Route>>, ModelName) {
        let record = self.held.record();
        let moved = record.moved.as_ref().filter(|moved| moved.from == call.model);
        let there = moved.and_then(|moved| {
            let route = self.env.routes.exactly(&moved.to)?;
            Some((route, moved.to.clone()))
        });
        let (route, model) = there.unwrap_or_else(|| (Arc::clone(&call.route), call.model.clone()));
        let mut candidates = self.env.routes.candidates(&route, Some(&record.model));
        // Whoever handed calls over is who waits for their results.
        let waits = record.upstream.as_ref().filter(|bound| bound.pending.is_some());
        if let Some(bound) = waits
            && let Some(at) = candidates.iter().position(|it| it.model.name == bound.model)
        {
            candidates[..=at].rotate_right(1);
        }
        let model = match candidates.first() {
            Some(first) if !Arc::ptr_eq(first, &route) => first.model.name.clone(),
            _ => model,
        };
        (candidates.into(), model)
    }

    pub(super) fn pumped(&mut self, pumped: Pumped) {
        let Some(running) = &mut self.running else { return };
        // What a turn sent before it was cut comes after the cut, and is not part of it.
        if !running.owns(pumped.serial) {
            return;
        }
        let outcome = running.take_in(&self.env, pumped);
        if let Some(outcome) = outcome {
            if let Err(failure) = &outcome
                && self.fall_back(failure)
            {
                return;
            }
            self.finish(Ending::Done(outcome));
            self.over();
        }
    }

    pub(super) fn hedge(&mut self, of: u64) {
        let Some(running) = &mut self.running else { return };
        self.serial += 1;
        let again = Again { actor: self.me.clone(), env: &self.env, serial: self.serial };
        running.hedge(again, &self.held, of);
    }

    fn fall_back(&mut self, failure: &Failure) -> bool {
        let Some(running) = &mut self.running else { return false };
        self.serial += 1;
        let again = Again { actor: self.me.clone(), env: &self.env, serial: self.serial };
        running.fall_back(again, &self.held, failure)
    }

    pub(super) fn pump_gone(&mut self, serial: u64) {
        let running = self.running.as_mut().filter(|running| running.owns(serial));
        if running.is_some_and(|running| !running.goes_on_without(serial)) {
            tracing::error!(session = %self.key().id, "a backend panicked in a turn");
            self.finish(Ending::Done(Err(Failure::internal())));
            self.over();
        }
    }

    fn finish(&mut self, ending: Ending) {
        let Some(running) = self.running.take() else { return };
        let head_before = self.held.record().head;
        let claimed = running.base();
        let is_kept = running.finish(&self.env, &mut self.held, ending) | self.leave_upstream();
        self.tally_calls();
        self.residence.activity.touch();
        match (head_before, self.held.record().head) {
            // A turn by name left the transcript that the head stood for.
            (Some(before), None) => self.env.heads.forget(&before, self.key()),
            // What this turn did not claim may be somebody else's claim by now.
            (before, Some(head)) if before != Some(head) || claimed == Some(head) => {
                self.env.heads.register(head, self.key().clone());
            }
            (_, Some(_)) | (None, None) => {}
        }
        if is_kept {
            self.save();
        }
    }

    fn over(&mut self) {
        let effect = self.phase.step(Input::Over { queued: self.queue.len() });
        if effect == Effect::StartNext {
            self.start_next();
        } else if self.held.is_blank() {
            // Nothing came of its first turn: there is no session, and no actor to keep for it.
            self.phase = Phase::Gone;
            self.depart();
        }
    }

    fn save(&mut self) {
        let me = self.me.clone();
        let record = Arc::clone(self.held.record());
        let work = self.env.store.save(Save { record, unchanged: 0 });
        let at_once = self.env.run(StoreOp::Save, work, move |result| {
            // An actor that is gone waits for no confirmation.
            let _ = me.cast(SessionMsg::Saved(result));
        });
        self.saving += 1;
        if let Some(result) = at_once {
            self.saved(result);
        }
    }

    pub(super) fn saved(&mut self, result: Result<(), StoreError>) {
        self.saving = self.saving.saturating_sub(1);
        if let Err(error) = result {
            tracing::error!(%error, session = %self.key().id, "a session could not be saved");
        }
    }

    pub(super) fn abandoned(&mut self, turn: &TurnId) {
        if let Some(place) = self.queue.iter().position(|waiting| is(waiting, turn)) {
            let waiting = &self.queue[place];
            let goes_on = waiting.call.disconnect_policy == DisconnectPolicy::Detach;
            // One that is to run on is asked again when it starts.
            if goes_on || waiting.writer.log().has_readers() {
                return;
            }
            if let Some(waiting) = self.queue.remove(place) {
                self.env.metrics.turn_interrupted(InterruptReason::Disconnect);
                self.end_waiting(&waiting, TurnEvent::Finished(FinishReason::Interrupted));
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
            Effect::Detach => running.detach(&self.env),
            _ => {}
        }
    }

    pub(super) fn waited_too_long(&mut self, turn: &TurnId) {
        let Some(place) = self.queue.iter().position(|waiting| is(waiting, turn)) else { return };
        if let Some(waiting) = self.queue.remove(place) {
            self.env.metrics.rate_limited(Limit::QueueWait);
            self.end_waiting(&waiting, TurnEvent::Failed(waited()));
        }
    }

    fn end_waiting(&self, waiting: &Waiting, end: TurnEvent) {
        if let Some(head) = self.held.record().head
            && waiting.call.base == Some(head)
        {
            // It claimed the head and went nowhere.
            self.env.heads.register(head, self.key().clone());
        }
        waiting.writer.append([end]);
        self.env.turns.ended(waiting.writer.log());
    }

    fn supersede_queue(&mut self) {
        for waiting in std::mem::take(&mut self.queue) {
            self.env.metrics.turn_interrupted(InterruptReason::BargeIn);
            self.end_waiting(&waiting, TurnEvent::Finished(FinishReason::Interrupted));
        }
    }

    fn cut(&mut self, reason: InterruptReason, spoken: Option<String>) {
        self.finish(Ending::Cut { reason, spoken });
        self.over();
    }

    pub(super) fn interrupt(&mut self, order: Interrupt) {
        let Interrupt { reason, spoken, reply } = order;
        match self.phase.step(Input::Stop) {
            Effect::Cut => self.cut(reason, spoken),
            _ => {
                // The answer was generated to its end, but not heard to its end.
                if let Some(spoken) = spoken
                    && self.held.cut_last_answer(&spoken)
                {
                    self.save();
                }
            }
        }
        self.read(reply);
    }

    pub(super) fn read(&self, reply: oneshot::Sender<Snapshot>) {
        let running = self.running.as_ref().map(|running| running.turn().clone());
        let snapshot = Snapshot {
            record: Arc::clone(self.held.record()),
            state: if running.is_some() { "running" } else { "idle" },
            running,
            queued: self.queue.len(),
        };
        // Whoever asked may be gone.
        let _ = reply.send(snapshot);
    }

    pub(super) fn end(&mut self, reason: EndReason, reply: oneshot::Sender<bool>) {
        if reason == EndReason::Evicted && self.running.is_some() {
            // Whoever asked may be gone.
            let _ = reply.send(false);
            return;
        }
        if self.phase.step(Input::End) != Effect::Finish {
            return;
        }
        self.finish(Ending::Cut { reason: InterruptReason::SessionEnded, spoken: None });
        self.supersede_queue();
        let record = self.held.record();
        if let Some(head) = &record.head {
            self.env.heads.forget(head, &record.key);
        }
        self.env.files.forget(&record.key);
        farewell::say(&self.env, record.upstream.clone());
        self.env.metrics.session_ended(reason);
        let work = self.env.store.remove(record.key.clone());
        let env = Arc::clone(&self.env);
        self.env.afterwards.spawn(async move {
            let timer = env.metrics.store_op(StoreOp::Remove);
            if let Err(error) = work.await {
                tracing::error!(%error, "a session could not be removed");
            }
            drop(timer);
            // Whoever asked may be gone.
            let _ = reply.send(true);
        });
        self.depart();
    }

    pub(super) fn move_to(&mut self, to: ModelName, reply: oneshot::Sender<Snapshot>) {
        self.held.move_to(to);
        self.leave_upstream();
        self.tally_calls();
        self.residence.activity.touch();
        self.save();
        self.read(reply);
    }

    /// Tells the upstream that a move has left, once no turn runs there; says whether there is
    /// one.
    fn leave_upstream(&mut self) -> bool {
        let left = self.held.leave_upstream();
        let has_left = left.is_some();
        farewell::say(&self.env, left);
        has_left
    }

    /// Counts the tool calls that the session waits for.
    fn tally_calls(&mut self) {
        let bound = self.held.record().upstream.as_ref();
        let open = bound.and_then(|bound| bound.pending.as_ref()).map_or(0, |p| p.open().count());
        self.calls_pending = (open > 0).then(|| self.env.metrics.tool_calls_pending(open));
    }

    pub(super) fn retire(&mut self) {
        if self.saving == 0 && self.phase.step(Input::Retire) == Effect::Passivate {
            self.depart();
        }
    }

    pub(super) fn shutdown(&mut self) {
        let draining =
            || Failure::new(FailureKind::Draining, "the broker shut down before the turn ended");
        if self.running.is_some() {
            self.env.metrics.turn_interrupted(InterruptReason::Shutdown);
        }
        self.finish(Ending::Done(Err(draining())));
        for waiting in std::mem::take(&mut self.queue) {
            self.end_waiting(&waiting, TurnEvent::Failed(draining()));
        }
        self.phase = Phase::Gone;
        self.depart();
    }

    /// Leaves the directory and stops; turns still in the mailbox find the next actor.
    fn depart(&mut self) {
        self.residence.leave();
        self.me.stop(None);
    }

    fn key(&self) -> &SessionKey {
        &self.held.record().key
    }
}

/// An accepted turn.
pub(super) struct Accepted {
    writer: TurnWriter,
    call: Arc<Call>,
    permit: OwnedSemaphorePermit,
}

fn is(waiting: &Waiting, turn: &TurnId) -> bool {
    waiting.writer.log().meta().turn == *turn
}

fn busy() -> Failure {
    Failure::new(
        FailureKind::SessionBusy,
        "another turn of this session is running; wait for it, interrupt it, or queue behind it",
    )
}

fn queue_full() -> Failure {
    Failure::new(FailureKind::QueueFull, "too many turns of this session are waiting")
        .after(Duration::from_secs(1))
}

fn waited() -> Failure {
    Failure::new(FailureKind::QueueFull, "the turn waited too long for the one before it to end")
        .after(Duration::from_secs(1))
}
