//! What a session actor does about what its phase decides.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ractor::ActorRef;
use tokio::sync::oneshot;

use crate::backend::Route;
use crate::metrics::{EndReason, InterruptReason, Limit, Presence};
use crate::turn::{Failure, FailureKind, ModelName, SessionKey, TurnEvent, TurnId};

use super::actor::{Beginning, Birth, Call, Refused, SessionMsg, Submit};
use super::conversation::Conversation;
use super::directory::Residence;
use super::ending::Ending;
use super::env::Env;
use super::farewell;
use super::keeping::Done;
use super::phase::{Effect, Input, Phase};
use super::pump::Pumped;
use super::queue::{Accepted, Waiting};
use super::running::{Again, Running, Start};

/// A session actor's state.
pub(super) struct State {
    pub(super) me: ActorRef<SessionMsg>,
    pub(super) env: Arc<Env>,
    pub(super) residence: Residence,
    pub(super) phase: Phase,
    pub(super) held: Conversation,
    pub(super) queue: VecDeque<Waiting>,
    pub(super) running: Option<Box<Running>>,
    /// Tool calls that the session waits for.
    pub(super) calls_pending: Option<Presence>,
    pub(super) serial: u64,
    /// Saves that the store has not yet confirmed.
    pub(super) saving: u32,
    /// Saves that the store was asked for so far.
    pub(super) saves: u64,
    /// What is done once the store has confirmed so many.
    pub(super) unkept: Vec<(u64, Done)>,
    /// Whether nothing more is to be kept of the session.
    pub(super) is_ephemeral: bool,
    /// Those who want to know of the next turn.
    pub(super) followers: Vec<oneshot::Sender<Result<TurnId, Failure>>>,
    /// What was asked about a record that is still being fetched.
    pub(super) deferred: VecDeque<SessionMsg>,
}

impl State {
    pub(super) fn begin(me: ActorRef<SessionMsg>, birth: Birth) -> Box<Self> {
        let Birth { key, model, beginning, env, activity } = birth;
        let presence = env.metrics.session_resident();
        let residence = env.directory.residence(key.clone(), me.get_id(), activity, presence);
        let is_loading = matches!(beginning, Beginning::Load);
        let held = match beginning {
            Beginning::Branch(record) => Conversation::branch(*record),
            Beginning::New | Beginning::Load => {
                Conversation::new(key.clone(), model, SystemTime::now())
            }
        };
        let mut state = Box::new(Self {
            held,
            me,
            residence,
            phase: Phase::Idle,
            queue: VecDeque::new(),
            running: None,
            calls_pending: None,
            serial: 0,
            saving: 0,
            saves: 0,
            unkept: Vec::new(),
            is_ephemeral: false,
            followers: Vec::new(),
            deferred: VecDeque::new(),
            env,
        });
        if is_loading {
            state.phase = Phase::Loading;
            state.load(key);
        }
        state
    }

    pub(super) fn submit(&mut self, submit: Submit) {
        if let Some(refused) = self.check_place(&submit) {
            self.env.turns.forget(submit.writer.log());
            // A client that is gone needs no refusal.
            let _ = submit.reply.send(Err(refused));
            return self.put_away_if_nobody();
        }
        self.is_ephemeral |= submit.call.is_ephemeral;
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

    /// Refuses a turn whose session has to be there and is not, and one that goes on from another
    /// turn, unless that was the last here and nobody else has gone on from it.
    fn check_place(&self, submit: &Submit) -> Option<Refused> {
        if self.phase == Phase::Gone {
            return None;
        }
        if submit.call.request.hints.must_exist && !self.is_somebody() {
            let message = "no conversation of this id exists";
            let failure = Failure::new(FailureKind::ConversationNotFound, message);
            let failure = failure.at("conversation");
            return Some(Refused::Failed(failure));
        }
        let turn = submit.goes_on_from.as_ref()?;
        let is_free = self.phase == Phase::Idle && !submit.call.is_ephemeral;
        if is_free && self.held.ends_with(turn) {
            return None;
        }
        Some(match self.held.copy(Some(turn), self.key().clone()) {
            Ok(record) => Refused::Branch(Box::new(record)),
            Err(_) => Refused::Failed(Failure {
                param: Some("previous_response_id".into()),
                ..Failure::new(
                    FailureKind::PreviousResponseNotFound,
                    "what that response said is not kept any more",
                )
            }),
        })
    }

    /// Leaves where an actor was made to look for a session that there is not.
    fn put_away_if_nobody(&mut self) {
        if self.phase == Phase::Idle && !self.is_somebody() {
            self.phase = Phase::Gone;
            self.depart();
        }
    }

    fn accept(&mut self, submit: Submit, place: fn(&mut Self, Accepted)) {
        let Submit { writer, call, permit, detached, reply, .. } = submit;
        place(self, Accepted { writer, call, permit, detached, record: None });
        // The store knows the turn by now: who is told its id may look for it at once. A client
        // that is gone is told by its reader, which cuts the turn.
        let _ = reply.send(Ok(()));
    }

    pub(super) fn refuse(&self, submit: Submit, failure: Failure) {
        self.env.turns.forget(submit.writer.log());
        // A client that is gone needs no refusal.
        let _ = submit.reply.send(Err(Refused::Failed(failure)));
    }

    fn start_now(&mut self, submit: Accepted) {
        submit.call.route.metrics.queue_wait(Duration::ZERO);
        self.start(submit);
    }

    pub(super) fn start(&mut self, submit: Accepted) {
        self.serial += 1;
        let Accepted { writer, call, permit, detached, record } = submit;
        let (candidates, model) = self.answerers(&call);
        let serial = self.serial;
        let start = Start { writer, call, permit, detached, record, candidates, model, serial };
        let running = Running::start(self.me.clone(), &self.env, &mut self.held, start);
        let left_alone = (!running.has_readers()).then(|| running.turn().clone());
        let turn = running.turn().clone();
        self.running = Some(Box::new(running));
        self.residence.activity.set_running(true);
        for follower in self.followers.drain(..) {
            // Whoever asked may be gone.
            let _ = follower.send(Ok(turn.clone()));
        }
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
        if running.is_visible {
            running.tell_store_once(&self.env, &mut self.held);
        }
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

    /// The store is told of a turn whose answer keeps it waiting.
    pub(super) fn tell_store(&mut self, turn: &TurnId) {
        if let Some(running) = self.running.as_mut().filter(|running| running.is(turn)) {
            running.tell_store_once(&self.env, &mut self.held);
        }
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

    pub(super) fn finish(&mut self, ending: Ending) {
        let Some(mut running) = self.running.take() else { return };
        running.tell_store_once(&self.env, &mut self.held);
        self.residence.activity.set_running(false);
        let head_before = self.held.record().head;
        let claimed = running.base();
        let finished = running.finish(&self.env, &mut self.held, ending);
        self.leave_upstream();
        self.tally_calls();
        self.residence.activity.touch();
        self.residence.weigh(self.held.weight());
        match (head_before, self.held.record().head) {
            // A turn by name left the transcript that the head stood for.
            (Some(before), None) => self.env.heads.forget(&before, self.key()),
            // What this turn did not claim may be somebody else's claim by now.
            (before, Some(head)) if before != Some(head) || claimed == Some(head) => {
                self.env.heads.register(head, self.key().clone());
            }
            (_, Some(_)) | (None, None) => {}
        }
        self.keep(finished);
    }

    pub(super) fn over(&mut self) {
        let effect = self.phase.step(Input::Over { queued: self.queue.len() });
        if effect == Effect::StartNext {
            self.start_next();
        } else if self.is_ephemeral || self.held.is_blank() {
            // Nothing came of its first turn, or nothing is to be kept of it: there is no
            // session, and no actor to keep for it.
            self.phase = Phase::Gone;
            if self.held.was_given() {
                self.forget_in_store(None);
            }
            farewell::say(&self.env, self.held.record().upstream.clone());
            self.depart();
        }
    }

    pub(super) fn end(&mut self, reason: EndReason, reply: oneshot::Sender<Result<(), Failure>>) {
        if reason == EndReason::Evicted && self.running.is_some() {
            // Whoever asked may be gone.
            let _ = reply.send(Err(busy()));
            return;
        }
        if self.phase.step(Input::End) != Effect::Finish {
            return;
        }
        self.is_ephemeral = true;
        self.finish(Ending::Cut { reason: InterruptReason::SessionEnded, spoken: None });
        self.supersede_queue();
        let record = self.held.record();
        if let Some(head) = &record.head {
            self.env.heads.forget(head, &record.key);
        }
        self.env.files.forget(&record.key);
        farewell::say(&self.env, record.upstream.clone());
        self.env.metrics.session_ended(reason);
        self.forget_in_store(Some(reply));
        self.depart();
    }

    /// Tells the upstream that a move has left, once no turn runs there; says whether there is
    /// one.
    pub(super) fn leave_upstream(&mut self) -> bool {
        let left = self.held.leave_upstream();
        let has_left = left.is_some();
        farewell::say(&self.env, left);
        has_left
    }

    /// Counts the tool calls that the session waits for.
    pub(super) fn tally_calls(&mut self) {
        let bound = self.held.record().upstream.as_ref();
        let open = bound.and_then(|bound| bound.pending.as_ref()).map_or(0, |p| p.open().count());
        self.calls_pending = (open > 0).then(|| self.env.metrics.tool_calls_pending(open));
    }

    pub(super) fn retire(&mut self) {
        // What could not be saved is not put away.
        if self.saving == 0 && !self.save() && self.phase.step(Input::Retire) == Effect::Passivate {
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
            self.end_waiting(waiting, TurnEvent::Failed(draining()));
        }
        self.phase = Phase::Gone;
        self.depart();
    }

    /// Leaves the directory and stops; turns still in the mailbox find the next actor.
    pub(super) fn depart(&mut self) {
        self.residence.leave();
        self.me.stop(None);
    }

    pub(super) fn key(&self) -> &SessionKey {
        &self.held.record().key
    }
}

pub(super) fn busy() -> Failure {
    Failure::new(
        FailureKind::SessionBusy,
        "another turn of this session is running; wait for it, interrupt it, or queue behind it",
    )
}

fn queue_full() -> Failure {
    Failure::new(FailureKind::QueueFull, "too many turns of this session are waiting")
        .after(Duration::from_secs(1))
}
