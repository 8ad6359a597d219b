//! A turn that runs: from the session's transcript to the upstream, and back into it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ractor::ActorRef;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Span;

use crate::backend::{Ask, Route};
use crate::metrics::{InterruptReason, Outcome as OutcomeLabel, Presence, StoreOp};
use crate::store::{Record, Save};
use crate::turn::request::DisconnectPolicy;
use crate::turn::{
    Failure, FailureKind, FinishReason, Fold, Message, ModelName, Part, Pending, Role, Status,
    TurnEvent, TurnId, TurnRequest, UpstreamSessionId,
};

use super::actor::{Call, SessionMsg};
use super::attempt::{Attempt, Order, Setting};
use super::conversation::{Arrival, Committed, Conversation, Prepared};
use super::identity::Digest;
use super::pump::{Outcome, Pumped, estimate};
use super::state::Env;
use super::turn_log::{Origin, TurnWriter};

/// How a turn ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// The backend said so.
    Done(Outcome),
    /// Somebody stopped it.
    Cut {
        /// Why.
        reason: InterruptReason,
        /// What of the answer was heard, if that is known.
        spoken: Option<String>,
    },
}

/// The turn that a session runs just now. Dropping it stops the upstream call.
pub(super) struct Running {
    writer: TurnWriter,
    call: Arc<Call>,
    fold: Fold,
    attempt: Attempt,
    /// Another one beside it, since it took long; the first of the two to bring anything stays.
    hedge: Option<Attempt>,
    /// Whether the attempt has brought anything.
    has_begun: bool,
    /// Models that have not been tried.
    others: VecDeque<Arc<Route>>,
    /// What is new in the transcript with this turn.
    said: Vec<Arc<Message>>,
    /// Whether the turn only collects results of a hand-over.
    collects: bool,
    /// Whether the upstream session may wait for results that we know nothing of.
    is_doubtful: bool,
    /// What the session held before a fork: kept once the fork is.
    left_behind: Option<Record>,
    span: Span,
    /// Whether the client got to see anything of the answer.
    is_visible: bool,
    detached: Option<(OwnedSemaphorePermit, Presence)>,
    _permit: OwnedSemaphorePermit,
}

/// A turn that is to be started.
pub(super) struct Start {
    pub(super) writer: TurnWriter,
    pub(super) call: Arc<Call>,
    pub(super) permit: OwnedSemaphorePermit,
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
        let Start { writer, call, permit, mut candidates, model, serial } = start;
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
        let left_behind = prepared.left_behind.take();
        let collects = prepared.unsettled.is_some();
        let is_doubtful = held.is_doubtful(&prepared);
        let order = order(held, (&call, &model), prepared, refusal);
        let setting = Setting { actor, env, call: &call, said: &said, serial, span: &span };
        let mut attempt = Attempt::start(setting, route, model, order);
        if let Some(next) = candidates.front() {
            attempt.arm_hedge(&call, next);
        }
        Self {
            fold,
            attempt,
            hedge: None,
            has_begun: false,
            others: candidates,
            said,
            collects,
            is_doubtful,
            left_behind,
            span,
            is_visible: false,
            detached: None,
            _permit: permit,
            writer,
            call,
        }
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
        let model = route.model.name.clone();
        self.attempt = self.anew(again, held, route, model);
        true
    }

    /// Asks the next model beside the one that takes long, if nothing has come from that.
    pub(super) fn hedge(&mut self, again: Again<'_>, held: &Conversation, of: u64) {
        if self.attempt.serial != of || self.has_begun || self.hedge.is_some() {
            return;
        }
        let Some(route) = self.others.pop_front() else { return };
        tracing::debug!(parent: &self.span, beside = %route.model.name, "the turn is hedged");
        let model = route.model.name.clone();
        self.hedge = Some(self.anew(again, held, route, model));
    }

    /// Asks in an upstream session that knows nothing of what was said.
    fn anew(
        &self,
        again: Again<'_>,
        held: &Conversation,
        route: Arc<Route>,
        model: ModelName,
    ) -> Attempt {
        let Again { actor, env, serial } = again;
        let record = held.record();
        let ask = Ask {
            key: record.key.clone(),
            upstream: UpstreamSessionId::generate(),
            system: instructions(record, &self.call.request),
            history: history_for(&route.model.name, record, record.messages.clone()),
            input: self.said.iter().map(|message| Message::clone(message)).collect(),
            pending: None,
            request: Arc::clone(&self.call.request),
        };
        let (call, said, span) = (&*self.call, &*self.said, &self.span);
        let setting = Setting { actor, env, call, said, serial, span };
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
    pub(super) fn take_in(&mut self, env: &Env, pumped: Pumped) -> Option<Outcome> {
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
            self.writer.set_timing(pumped.timing);
        }
        for event in &pumped.events {
            if let Err(error) = self.fold.push(event) {
                tracing::error!(parent: &self.span, %error, "a backend broke the grammar of turns");
                return Some(Err(Failure::internal()));
            }
        }
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
        if self.call.disconnect_policy == DisconnectPolicy::Detach {
            self.detached = Some((permit, env.metrics.turn_detached()));
        }
        true
    }

    /// Nobody reads the turn any more, and it goes on.
    pub(super) fn detach(&self, _env: &Env) {
        tracing::debug!(parent: &self.span, "the turn goes on without a reader");
    }

    /// Ends the turn: stops the upstream call, takes what was said into the conversation, and
    /// only then lets the readers see the end. Says whether the conversation changed.
    pub(super) fn finish(
        self: Box<Self>,
        env: &Env,
        held: &mut Conversation,
        ending: Ending,
    ) -> bool {
        let Self { writer, call, mut fold, attempt, said, collects, is_doubtful, .. } = *self;
        let Self { left_behind, span, .. } = *self;
        attempt.stop();
        let is_visible = self.is_visible;
        let (end, spoken) = end_event(env, ending);
        let is_cut = matches!(end, TurnEvent::Finished(FinishReason::Interrupted));
        // A last event always may stand where no other last one was.
        let _ = fold.push(&end);
        let mut is_changed = collects;
        let came_to_nothing = matches!(end, TurnEvent::Failed(_)) && !is_visible;
        let is_kept = attempt.asks && !came_to_nothing;
        // A turn that was cut has its price too, though the backend did not come to tell it.
        let estimated = || is_kept.then(|| estimate(&attempt.told, fold.text()));
        let usage = fold.usage().or_else(estimated);
        if is_kept {
            // One that was cut before a sign of an answer may never have got there.
            let took_in = is_visible || !is_cut;
            let forgets = was_dropped(&end) && attempt.route.backend.forgets_when_cut();
            let binding = if took_in && !forgets { attempt.binding(&fold) } else { None };
            held.commit(Committed {
                said,
                answer: answer(fold, spoken),
                upstream: binding,
                model: attempt.model.clone(),
                asked: call.model.clone(),
                base: call.base,
                now: SystemTime::now(),
                room: env.room(),
            });
            if call.request.end_session {
                held.start_over();
            }
            if let Some(branch) = left_behind {
                keep_branch(env, held, branch);
            }
        } else if collects {
            // What it brought is kept as it is.
        } else if !attempt.asks {
            held.take_back(false);
        } else if let TurnEvent::Failed(failure) = &end {
            let waits = is_doubtful && failure.kind == FailureKind::UpstreamRejected;
            let is_unsure = waits || attempt.may_have_begun(failure);
            held.take_back(is_unsure);
            is_changed |= is_unsure && held.record().turns > 0;
            if failure.kind == FailureKind::UpstreamThrottled
                && !failure.may_have_run
                && let Some(upstream) = attempt.upstream()
            {
                held.did_not_begin(upstream.clone());
            }
        }
        let metrics = &attempt.route.metrics;
        if let Some(usage) = &usage {
            metrics.tokens(usage);
            call.hold.used(usage);
        }
        metrics.ended(label(&end), attempt.began.elapsed());
        log_end(&span, &call, &end, attempt.began);
        writer.append([end]);
        env.turns.ended(writer.log());
        is_kept || is_changed
    }
}

/// Whether a turn that ended so may have left its upstream in the middle of the answer.
fn was_dropped(end: &TurnEvent) -> bool {
    match end {
        TurnEvent::Finished(reason) => {
            matches!(reason, FinishReason::Interrupted | FinishReason::Length)
        }
        TurnEvent::Failed(failure) => {
            matches!(failure.kind, FailureKind::UpstreamTimeout | FailureKind::Draining)
        }
        _ => false,
    }
}

/// Works out what goes upstream; with a refusal where the request cannot be honoured.
fn prepare(
    env: &Env,
    held: &mut Conversation,
    call: &Call,
    route: &Route,
    model: &ModelName,
) -> (Prepared, Option<Failure>) {
    let request = &call.request;
    let read = |waits: Option<&Pending>| read_results(route, request, waits);
    let arrival = Arrival {
        messages: &request.messages,
        named: call.named,
        branches: call.branches,
        model,
        remembers: route.backend.remembers(),
        now: SystemTime::now(),
        base: call.base,
        room: env.room(),
        handed_back: request.handed_back.is_some().then_some(&read),
    };
    match held.prepare(&arrival) {
        Ok(prepared) => (prepared, None),
        Err(failure) => (held.nothing_new(), Some(failure)),
    }
}

fn read_results(
    route: &Route,
    request: &TurnRequest,
    waits: Option<&Pending>,
) -> Result<Vec<Message>, Failure> {
    let Some(handed_back) = &request.handed_back else { return Ok(Vec::new()) };
    let waits = waits.filter(|pending| pending.invocation_id == handed_back.invocation_id);
    let Some(pending) = waits else {
        return Err(Failure::bad_field(
            "invocation_id",
            "this session waits for no results of this invocation",
        ));
    };
    route.backend.read_results(pending, handed_back)
}

fn order(
    held: &Conversation,
    (call, model): (&Call, &ModelName),
    prepared: Prepared,
    refusal: Option<Failure>,
) -> Order {
    if let Some(failure) = refusal {
        return Order::Refuse(failure);
    }
    if let Some(pending) = prepared.unsettled {
        return Order::Restate(pending);
    }
    Order::Ask(Box::new(Ask {
        key: held.record().key.clone(),
        upstream: prepared.upstream,
        system: instructions(held.record(), &call.request),
        history: history_for(model, held.record(), prepared.history),
        input: prepared.input,
        pending: prepared.pending,
        request: Arc::clone(&call.request),
    }))
}

/// The client's instructions: those of this request, or those that the session keeps.
fn instructions(record: &Record, request: &TurnRequest) -> Arc<[Message]> {
    let own = || request.messages.iter().filter(|message| message.role == Role::System);
    if own().next().is_none() || own().eq(record.system.iter()) {
        return Arc::clone(&record.system);
    }
    // More than a session keeps.
    own().cloned().collect()
}

/// The history as another model may have it: what a model thought, and signed, is for itself.
fn history_for(
    model: &ModelName,
    record: &Record,
    mut history: Vec<Arc<Message>>,
) -> Vec<Arc<Message>> {
    if record.model != *model {
        for message in history.iter_mut().filter(|message| !message.thoughts.is_empty()) {
            Arc::make_mut(message).thoughts.clear();
        }
    }
    history
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

/// Branches that forks of one session leave behind; beyond, the oldest goes.
const BRANCHES: u32 = 32;

fn keep_branch(env: &Env, held: &Conversation, branch: Record) {
    let oldest = held.record().branches.checked_sub(BRANCHES).filter(|number| *number > 0);
    if let Some(number) = oldest {
        let mut key = branch.key.clone();
        key.id = held.record().key.id.branch(number);
        drop(env.afterwards.spawn(env.store.remove(key)));
    }
    let work = env.store.save(Save { record: Arc::new(branch), unchanged: 0 });
    let at_once = env.run(StoreOp::Save, work, |result| {
        if let Err(error) = result {
            tracing::error!(%error, "the branch that a fork left could not be saved");
        }
    });
    if let Some(Err(error)) = at_once {
        tracing::error!(%error, "the branch that a fork left could not be saved");
    }
}

fn end_event(env: &Env, ending: Ending) -> (TurnEvent, Option<String>) {
    match ending {
        Ending::Done(Ok(reason)) => (TurnEvent::Finished(reason), None),
        Ending::Done(Err(failure)) => {
            if failure.kind == FailureKind::UpstreamTimeout {
                env.metrics.turn_interrupted(InterruptReason::Timeout);
            }
            (TurnEvent::Failed(failure), None)
        }
        Ending::Cut { reason, spoken } => {
            env.metrics.turn_interrupted(reason);
            (TurnEvent::Finished(FinishReason::Interrupted), spoken)
        }
    }
}

/// The assistant's message, cut to what was heard of it where that is known.
fn answer(fold: Fold, spoken: Option<String>) -> Message {
    let message = fold.into_message();
    match spoken {
        Some(spoken) => Message {
            role: Role::Assistant,
            parts: vec![Part::Text(spoken)],
            status: Status::Interrupted,
            ..message
        },
        None => message,
    }
}

fn label(end: &TurnEvent) -> OutcomeLabel {
    match end {
        TurnEvent::Finished(FinishReason::Interrupted) => OutcomeLabel::Interrupted,
        TurnEvent::Failed(_) => OutcomeLabel::Failed,
        _ => OutcomeLabel::Ok,
    }
}

fn log_end(span: &Span, call: &Call, end: &TurnEvent, began: Instant) {
    let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let waited_ms = u64::try_from((began - call.received).as_millis()).unwrap_or(u64::MAX);
    match end {
        TurnEvent::Failed(failure) => tracing::warn!(
            parent: span, kind = failure.kind.code(), elapsed_ms, waited_ms, "turn failed"
        ),
        TurnEvent::Finished(reason) => tracing::info!(
            parent: span, finish = reason.as_str(), elapsed_ms, waited_ms, "turn ended"
        ),
        _ => {}
    }
}
