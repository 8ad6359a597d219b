//! A turn that runs: from the session's transcript to the upstream, and back into it.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ractor::ActorRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, Span};

use crate::backend::{Ask, Outlet, Route};
use crate::metrics::{InterruptReason, Outcome as OutcomeLabel, Presence, StoreOp};
use crate::store::Record;
use crate::turn::request::DisconnectPolicy;
use crate::turn::{
    Failure, FailureKind, FinishReason, Fold, Message, Part, Role, Status, TurnEvent, TurnId,
    UpstreamSessionId,
};

use super::actor::{Call, SessionMsg};
use super::conversation::{Arrival, Committed, Conversation, Prepared};
use super::identity::Digest;
use super::pump::{Bounds, CREDIT, Outcome, Pump, Pumped, estimate};
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
    /// Counts the turns of this actor.
    pub(super) serial: u64,
    writer: TurnWriter,
    call: Arc<Call>,
    fold: Fold,
    input: Vec<Message>,
    /// What went upstream, as text.
    input_text: Arc<String>,
    upstream: UpstreamSessionId,
    /// What the session held before a fork: kept once the fork is.
    left_behind: Option<Record>,
    credit: Arc<Semaphore>,
    pump: AbortOnDropHandle<()>,
    began: Instant,
    span: Span,
    /// Whether the client got to see anything of the answer.
    is_visible: bool,
    detached: Option<(OwnedSemaphorePermit, Presence)>,
    _in_flight: Presence,
    _permit: OwnedSemaphorePermit,
}

impl Running {
    /// Takes the turn into the conversation and calls the backend.
    pub(super) fn start(
        actor: ActorRef<SessionMsg>,
        env: &Arc<Env>,
        held: &mut Conversation,
        serial: u64,
        (writer, call, permit): (TurnWriter, Arc<Call>, OwnedSemaphorePermit),
    ) -> Self {
        let prepared = held.prepare(&Arrival {
            messages: &call.request.messages,
            named: call.named,
            branches: call.branches,
            model: &call.model,
            remembers: call.route.backend.remembers(),
            now: SystemTime::now(),
            base: call.base,
            room: env.room(),
        });
        let Prepared { origin, is_first, upstream, history, input, left_behind } = prepared;
        count(env, origin, is_first.then_some(&call));
        writer.set_origin(origin);
        writer.append([TurnEvent::Started]);
        let mut fold = Fold::default();
        // The grammar begins with `Started`.
        let _ = fold.push(&TurnEvent::Started);
        let span = span(&call, &writer);
        let credit = Arc::new(Semaphore::new(CREDIT));
        let outlet = Outlet::default();
        let input_text = Arc::new(input_text(&history, &input));
        let pump = Pump {
            actor,
            serial,
            credit: Arc::clone(&credit),
            bounds: bounds(env, &call),
            outlet: outlet.clone(),
            metrics: Arc::clone(&call.route.metrics),
            broker: Arc::clone(&env.metrics),
            kind: call.route.kind,
            input_text: Arc::clone(&input_text),
        };
        let ask = Ask {
            key: held.record().key.clone(),
            pending: None,
            upstream: upstream.clone(),
            history,
            input: input.clone(),
            request: Arc::clone(&call.request),
        };
        let answer = answer_to(&call, ask, outlet);
        let task = tokio::spawn(pump.run(answer).instrument(span.clone()));
        Self {
            serial,
            fold,
            input,
            input_text,
            upstream,
            left_behind,
            credit,
            pump: AbortOnDropHandle::new(task),
            began: Instant::now(),
            span,
            is_visible: false,
            detached: None,
            _in_flight: call.route.metrics.in_flight(),
            _permit: permit,
            writer,
            call,
        }
    }

    pub(super) fn turn(&self) -> &TurnId {
        &self.writer.log().meta().turn
    }

    pub(super) fn is(&self, turn: &TurnId) -> bool {
        self.turn() == turn
    }

    pub(super) fn route(&self) -> Arc<Route> {
        Arc::clone(&self.call.route)
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
        self.credit.add_permits(1);
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
        let Self { writer, call, mut fold, input, input_text, upstream, left_behind, .. } = *self;
        let Self { pump, began, span, is_visible, .. } = *self;
        drop(pump);
        let (end, spoken) = end_event(env, ending);
        let is_cut = matches!(end, TurnEvent::Finished(FinishReason::Interrupted));
        // A last event always may stand where no other last one was.
        let _ = fold.push(&end);
        let mut is_changed = false;
        let is_kept = is_visible || !matches!(end, TurnEvent::Failed(_));
        // A turn that was cut has its price too, though the backend did not come to tell it.
        let estimated = || is_kept.then(|| estimate(&input_text, fold.text()));
        let usage = fold.usage().or_else(estimated);
        if is_kept {
            held.commit(Committed {
                input,
                answer: answer(fold, spoken),
                // One that was cut before a sign of an answer may never have got there.
                upstream: (is_visible || !is_cut).then_some(upstream),
                model: call.model.clone(),
                base: call.base,
                began: SystemTime::now()
                    .checked_sub(began.elapsed())
                    .unwrap_or_else(SystemTime::now),
                now: SystemTime::now(),
                room: env.room(),
            });
            if call.request.end_session {
                held.start_over();
            }
            if let Some(branch) = left_behind {
                keep_branch(env, held, branch);
            }
        } else if let TurnEvent::Failed(failure) = &end {
            let is_unsure = may_have_begun(failure.kind);
            held.take_back(is_unsure);
            is_changed = is_unsure && held.record().turns > 0;
            if failure.kind == FailureKind::UpstreamThrottled && !failure.may_have_run {
                held.did_not_begin(upstream);
            }
        }
        let metrics = &call.route.metrics;
        if let Some(usage) = &usage {
            metrics.tokens(usage);
            call.hold.used(usage);
        }
        let label = label(&end);
        metrics.ended(label, began.elapsed());
        log_end(&span, &call, &end, began);
        writer.append([end]);
        env.turns.ended(writer.log());
        is_kept || is_changed
    }
}

/// Whether the upstream may have taken in a turn that failed so, without an answer.
fn may_have_begun(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::UpstreamTimeout
            | FailureKind::UpstreamProtocol
            | FailureKind::UpstreamDependency
            | FailureKind::Internal
            | FailureKind::Draining
    )
}

fn answer_to(call: &Call, ask: Ask, outlet: Outlet) -> BoxFuture<'static, Outcome> {
    if ask.input.is_empty() && !call.request.end_session {
        return futures_util::future::ready(Err(nothing_new())).boxed();
    }
    let backend = Arc::clone(&call.route.backend);
    // Called by the pump, so that a panic in the call itself ends the turn alone.
    async move { backend.answer(ask, outlet).await }.boxed()
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

fn bounds(env: &Env, call: &Call) -> Bounds {
    Bounds {
        first_event: call.route.first_event_timeout,
        stall: call.route.stall_timeout,
        total: env.config.turn.total_timeout,
        output_bytes: env.config.turn.output_bytes,
    }
}

fn nothing_new() -> Failure {
    Failure::bad_field(
        "messages",
        "there is nothing to answer: the last message must come from the user or a tool",
    )
}

fn input_text(history: &[Arc<Message>], input: &[Message]) -> String {
    let mut text = String::new();
    for message in history.iter().map(AsRef::as_ref).chain(input) {
        text.push_str(&message.plain_text());
        text.push('\n');
    }
    text
}

fn count(env: &Env, origin: Origin, first: Option<&Arc<Call>>) {
    if let Some(call) = first {
        env.metrics.session_started(call.route.label());
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
    let work = env.store.save(Arc::new(branch));
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
