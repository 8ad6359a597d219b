//! A turn that runs: from the session's transcript to the upstream, and back into it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::AbortOnDropHandle;
use tracing::Span;

use crate::backend::{Ask, Route};
use crate::metrics::{Outcome as OutcomeLabel, Presence};
use crate::store::{Record, TurnRecord};
use crate::turn::request::{DisconnectPolicy, Overflow};
use crate::turn::{
    Failure, FailureKind, Fold, Keeping, Message, ModelName, TurnEvent, TurnId, UpstreamSessionId,
};

use super::actor::{Call, SessionMsg};
use super::attempt::{Attempt, Order, Setting, remind};
use super::conversation::Conversation;
use super::env::Env;
use super::identity::Digest;
use super::keeping::turn_record;
use super::left_out::LeftOut;
use super::order::{history_for, instructions, order, prepare};
use super::pump::{Outcome, Pumped};
use super::slow::silence_timer;
use super::turn_log::{Answered, Origin, TurnWriter};

/// What the store is told of a turn's beginning waits for the first of the answer, so long at
/// most: far less than the disk takes to make it durable.
const TELL_AFTER: Duration = Duration::from_millis(2);

/// The turn that a session runs just now. Dropping it stops the upstream call.
pub(super) struct Running {
    pub(super) writer: TurnWriter,
    pub(super) call: Arc<Call>,
    pub(super) fold: Fold,
    pub(super) attempt: Attempt,
    /// Another one beside it, since it took long; the first of the two to bring anything stays.
    pub(super) hedge: Option<Attempt>,
    /// Whether the attempt has brought anything.
    pub(super) has_begun: bool,
    /// Rings when nothing has been said for long.
    pub(super) silence: Option<AbortOnDropHandle<()>>,
    /// Models that have not been tried.
    pub(super) others: VecDeque<Arc<Route>>,
    /// What is new in the transcript with this turn.
    pub(super) said: Vec<Arc<Message>>,
    /// How many of these the upstream is told as history: a client that has spoken elsewhere
    /// brings what was said there.
    pub(super) retold: usize,
    /// What the upstream is not told, since it found the whole too long.
    pub(super) left_out: LeftOut,
    /// Whether the turn only collects results of a hand-over.
    pub(super) collects: bool,
    /// Whether the upstream session may wait for results that we know nothing of.
    pub(super) is_doubtful: bool,
    /// What the session held before a fork: kept once the fork is.
    pub(super) left_behind: Option<Record>,
    pub(super) span: Span,
    /// Whether the client got to see anything of the answer.
    pub(super) is_visible: bool,
    /// The turn as the store was told of it, if it was.
    pub(super) record: Option<Arc<TurnRecord>>,
    /// Rings when the store is to be told, if it was not by then.
    pub(super) untold: Option<AbortOnDropHandle<()>>,
    /// The right to run without a reader.
    pub(super) detached: Option<Detached>,
    /// Rings when it has run without one for long enough.
    pub(super) grace: Option<AbortOnDropHandle<()>>,
    pub(super) permit: OwnedSemaphorePermit,
}

/// The right of a turn to run without a reader, which not all may at once.
#[derive(Debug)]
pub(super) struct Detached {
    _permit: OwnedSemaphorePermit,
    _counted: Presence,
}

impl Detached {
    pub(super) fn new(permit: OwnedSemaphorePermit, env: &Env) -> Self {
        Self { _permit: permit, _counted: env.metrics.turn_detached() }
    }
}

/// A turn that is to be started.
pub(super) struct Start {
    pub(super) writer: TurnWriter,
    pub(super) call: Arc<Call>,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) detached: Option<Detached>,
    /// The turn as the store was told of it while it waited.
    pub(super) record: Option<Arc<TurnRecord>>,
    /// Who may answer, in order; not empty.
    pub(super) candidates: VecDeque<Arc<Route>>,
    /// The name of the first of them.
    pub(super) model: ModelName,
    pub(super) serial: u64,
}

/// What another attempt is made with.
pub(super) struct Again<'a> {
    pub(super) actor: ActorRef<SessionMsg>,
    pub(super) env: &'a Arc<Env>,
    pub(super) serial: u64,
}

impl Running {
    /// Takes the turn into the conversation and calls the backend.
    pub(super) fn start(
        actor: ActorRef<SessionMsg>,
        env: &Arc<Env>,
        held: &mut Conversation,
        start: Start,
    ) -> Self {
        let Start { writer, call, permit, detached, record, mut candidates, model, serial } = start;
        let route = candidates.pop_front().unwrap_or_else(|| Arc::clone(&call.route));
        let (mut prepared, refusal) = prepare(env, held, &call, &route, &model);
        count(env, prepared.origin, prepared.is_first.then_some(&route));
        writer.set_origin(prepared.origin);
        writer.append([TurnEvent::Started]);
        let mut fold = Fold::default();
        // The grammar begins with `Started`.
        let _ = fold.push(&TurnEvent::Started);
        let span = span(&call, &writer);
        let said = std::mem::take(&mut prepared.said);
        let retold = if prepared.is_first { prepared.history.len() } else { 0 };
        let left_behind = prepared.left_behind.take();
        let collects = prepared.unsettled.is_some();
        let is_doubtful = held.is_doubtful(&prepared);
        let order = order(held, (&call, &model), prepared, refusal);
        let new = &said[retold..];
        let setting = Setting { actor, env, call: &call, said: new, serial, span: &span };
        let me = setting.actor.clone();
        let mut attempt = Attempt::start(setting, route, model, order);
        if let Some(next) = candidates.front() {
            attempt.arm_hedge(&call, next);
        }
        attempt.arm_deadline(&call, candidates.front());
        let silence = attempt.asks.then(|| silence_timer(me.clone(), &call, &writer)).flatten();
        let mut running = Self {
            fold,
            attempt,
            hedge: None,
            has_begun: false,
            silence,
            others: candidates,
            said,
            retold,
            left_out: LeftOut::default(),
            collects,
            is_doubtful,
            left_behind,
            span,
            is_visible: false,
            record,
            untold: None,
            detached,
            grace: None,
            permit,
            writer,
            call,
        };
        // Whoever knows the turn's id may look for it at once.
        if running.call.request.keeping == Keeping::Turn || running.record.is_some() {
            running.tell_store(env, held);
        } else {
            let turn = running.writer.log().meta().turn.clone();
            running.untold = Some(remind(me, TELL_AFTER, SessionMsg::TellStore(turn)));
        }
        running
    }

    /// Has the store keep that the turn has begun, unless it knows.
    pub(super) fn tell_store_once(&mut self, env: &Arc<Env>, held: &mut Conversation) {
        if self.untold.take().is_some() {
            self.tell_store(env, held);
        }
    }

    /// Has the store keep that the turn has begun, where it is to be kept, or lasts.
    fn tell_store(&mut self, env: &Arc<Env>, held: &mut Conversation) {
        let request = &self.call.request;
        let is_kept = request.keeping == Keeping::Turn;
        let is_durable = env.store.is_durable() && self.attempt.asks && !self.call.is_ephemeral;
        if !is_kept && !is_durable {
            return;
        }
        let log = self.writer.log();
        let record = turn_record(log.meta(), request, self.said.clone());
        let session = if is_durable { held.save() } else { None };
        env.begin(Arc::clone(&record), log, session);
        self.record = Some(record);
    }

    /// Asks the next model, where this one failed before the client got to see anything and
    /// surely did nothing; or this one in a new session, where it refused the turn since its old
    /// one waits for something else. Says whether anybody is asked.
    pub(super) fn fall_back(
        &mut self,
        again: Again<'_>,
        held: &Conversation,
        failure: &Failure,
    ) -> bool {
        if self.is_visible {
            return false;
        }
        if failure.kind == FailureKind::UpstreamRejected
            && !failure.may_have_run
            && std::mem::take(&mut self.is_doubtful)
        {
            let (route, model) = (Arc::clone(&self.attempt.route), self.attempt.model.clone());
            tracing::info!(parent: &self.span, "the turn is told in a new upstream session");
            self.attempt = self.anew(again, held, route, model);
            return true;
        }
        if failure.kind == FailureKind::ContextLengthExceeded && self.leave_out(held) {
            let (route, model) = (Arc::clone(&self.attempt.route), self.attempt.model.clone());
            tracing::info!(
                parent: &self.span,
                messages = self.left_out.messages,
                "the conversation is too long for the model; its oldest messages are left out"
            );
            self.attempt = self.anew(again, held, route, model);
            return true;
        }
        if !may_fall_back(failure) {
            return false;
        }
        let Some(route) = self.others.pop_front() else { return false };
        let before = &self.attempt;
        tracing::warn!(
            parent: &self.span,
            kind = failure.kind.code(),
            from = %before.model,
            to = %route.model.name,
            "the model could not answer; another is asked"
        );
        before.route.metrics.ended(OutcomeLabel::Failed, before.began.elapsed());
        self.go_to(again, held, route);
        true
    }

    /// Goes on with another model; the call of the one before is dropped.
    pub(super) fn go_to(&mut self, again: Again<'_>, held: &Conversation, route: Arc<Route>) {
        let model = route.model.name.clone();
        // It may be able to read more.
        self.left_out = LeftOut::default();
        self.attempt = self.anew(again, held, route, model);
        self.attempt.arm_deadline(&self.call, self.others.front());
    }

    /// Leaves more of the oldest out, where the client allows it; says whether it did.
    fn leave_out(&mut self, held: &Conversation) -> bool {
        // Results of a hand-over belong to what the upstream itself remembers.
        let may = self.call.request.overflow == Overflow::DropOldest && !self.attempt.answers_calls;
        let (told, new) = self.said.split_at(self.retold);
        let history = [held.record().messages.as_slice(), told].concat();
        may && self.left_out.grow(&history, new)
    }

    /// Asks in an upstream session that knows nothing of what was said.
    pub(super) fn anew(
        &self,
        again: Again<'_>,
        held: &Conversation,
        route: Arc<Route>,
        model: ModelName,
    ) -> Attempt {
        let Again { actor, env, serial } = again;
        let record = held.record();
        let (told, new) = self.said.split_at(self.retold);
        let history = record.messages.iter().chain(told).skip(self.left_out.messages);
        let history = history.cloned().collect();
        let ask = Ask {
            key: record.key.clone(),
            upstream: UpstreamSessionId::generate(),
            system: instructions(record, &self.call.request),
            history: history_for(&route.model.name, record, history),
            input: new.iter().map(|message| Message::clone(message)).collect(),
            pending: None,
            request: Arc::clone(&self.call.request),
        };
        let (call, span) = (&*self.call, &self.span);
        let setting = Setting { actor, env, call, said: new, serial, span };
        Attempt::start(setting, route, model, Order::Ask(Box::new(ask)))
    }

    /// Whether such an attempt of the actor is one of this turn.
    pub(super) fn owns(&self, serial: u64) -> bool {
        self.attempt.serial == serial
            || self.hedge.as_ref().is_some_and(|hedge| hedge.serial == serial)
    }

    /// Goes on with the other attempt where there are two and the pump of one is gone; says
    /// whether there is another.
    pub(super) fn goes_on_without(&mut self, serial: u64) -> bool {
        let Some(hedge) = self.hedge.take() else { return false };
        if hedge.serial != serial {
            self.attempt = hedge;
        }
        true
    }

    /// Decides between an attempt and its hedge by what came of one of them; says whether that
    /// is to be taken in.
    fn decide(&mut self, pumped: &Pumped) -> bool {
        let Some(hedge) = self.hedge.take() else { return true };
        let is_of_hedge = hedge.serial == pumped.serial;
        let has_failed = matches!(pumped.outcome, Some(Err(_)))
            && !pumped.events.iter().any(TurnEvent::is_visible);
        // The one that failed is left, the one that brought something stays.
        if is_of_hedge != has_failed {
            let mut left = std::mem::replace(&mut self.attempt, hedge);
            if has_failed {
                left.settle(pumped.outcome.as_ref());
            }
        } else if has_failed {
            let mut left = hedge;
            left.settle(pumped.outcome.as_ref());
        }
        !has_failed
    }

    pub(super) fn turn(&self) -> &TurnId {
        &self.writer.log().meta().turn
    }

    pub(super) fn is(&self, turn: &TurnId) -> bool {
        self.turn() == turn
    }

    /// Whether somebody follows the turn: a reader may have come back since the last one left.
    pub(super) fn has_readers(&self) -> bool {
        self.writer.log().has_readers()
    }

    /// The digest under which the turn claimed its session, if it did.
    pub(super) fn base(&self) -> Option<Digest> {
        self.call.base
    }

    pub(super) fn disconnect_policy(&self) -> DisconnectPolicy {
        self.call.disconnect_policy
    }

    /// Appends what the pump brought; gives how the turn ended, if it did.
    pub(super) fn take_in(&mut self, env: &Env, mut pumped: Pumped) -> Option<Outcome> {
        if !self.decide(&pumped) {
            return None;
        }
        self.has_begun = true;
        self.attempt.took_in();
        if !pumped.events.is_empty() || pumped.outcome.is_some() {
            self.attempt.settle(pumped.outcome.as_ref());
        }
        if !self.is_visible && pumped.events.iter().any(TurnEvent::is_visible) {
            self.is_visible = true;
            let metrics = Arc::clone(&self.attempt.route.metrics);
            self.writer.set_answered(Answered { metrics, timing: pumped.timing });
        }
        for event in &pumped.events {
            if let Err(error) = self.fold.push(event) {
                tracing::error!(parent: &self.span, %error, "a backend broke the grammar of turns");
                return Some(Err(Failure::internal()));
            }
        }
        pumped.events.extend(self.stand_in(pumped.outcome.as_ref()));
        env.files.take_in(&self.writer.log().meta().key, &pumped.events);
        if !pumped.events.is_empty() {
            self.writer.append(pumped.events);
        }
        pumped.outcome
    }

    /// Whether this turn may go on without a reader, and takes the place that it needs for it.
    pub(super) fn may_detach(&mut self, env: &Env) -> bool {
        if self.detached.is_some() {
            return true;
        }
        let Ok(permit) = Arc::clone(&env.detached).try_acquire_owned() else { return false };
        if self.call.disconnect_policy != DisconnectPolicy::Cancel {
            self.detached = Some(Detached::new(permit, env));
        }
        true
    }

    /// Nobody reads the turn any more, and it goes on: for as long as it may.
    pub(super) fn detach(&mut self, actor: &ActorRef<SessionMsg>) {
        if let DisconnectPolicy::Detach { grace: Some(grace) } = self.call.disconnect_policy {
            let turn = self.writer.log().meta().turn.clone();
            self.grace = Some(remind(actor.clone(), grace, SessionMsg::GraceOver(turn)));
        }
        tracing::debug!(parent: &self.span, "the turn goes on without a reader");
    }
}

/// Whether another model may be asked after this failure: the upstream is at fault, and surely
/// did nothing.
fn may_fall_back(failure: &Failure) -> bool {
    let is_upstream = matches!(
        failure.kind,
        FailureKind::UpstreamThrottled
            | FailureKind::UpstreamUnavailable
            | FailureKind::UpstreamDenied
            | FailureKind::UpstreamTimeout
            | FailureKind::ModelNotFound
    );
    is_upstream && !failure.may_have_run
}

/// What every log line of the turn carries.
fn span(call: &Call, writer: &TurnWriter) -> Span {
    let meta = writer.log().meta();
    tracing::info_span!(
        "turn",
        request_id = %call.request_id,
        session = %meta.key.id,
        turn = %meta.turn,
        model = %call.model,
        backend = call.route.kind,
    )
}

fn count(env: &Env, origin: Origin, first: Option<&Arc<Route>>) {
    if let Some(route) = first {
        env.metrics.session_started(route.label());
    }
    match origin {
        Origin::Rehydrated => env.metrics.session_rehydrated(),
        Origin::Forked => env.metrics.session_forked(),
        Origin::New | Origin::Continued | Origin::Revived => {}
    }
}
