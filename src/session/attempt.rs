//! One call of a backend for a turn: who is asked, under which upstream session, and the pump
//! that brings what comes of it. A turn has one, and another for each model that it falls back to.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ractor::ActorRef;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, Span};

use crate::backend::breaker::Trial;
use crate::backend::{Ask, Outlet, Route, fields};
use crate::metrics::Presence;
use crate::store::UpstreamBinding;
use crate::turn::{
    Failure, FailureKind, FinishReason, Fold, Message, ModelName, Pending, UpstreamSessionId,
};

use super::actor::{Call, SessionMsg};
use super::conversation::restated;
use super::env::Env;
use super::pump::{Bounds, CREDIT, Outcome, Pump};
use super::told::Told;

/// What is to be done about a turn.
#[derive(Debug)]
pub(super) enum Order {
    /// Ask the backend.
    Ask(Box<Ask>),
    /// Tell the client again which calls are open; nobody is asked.
    Restate(Pending),
    /// Refuse; nobody is asked.
    Refuse(Failure),
}

/// A call of a backend that runs. Dropping it stops the upstream call.
pub(super) struct Attempt {
    /// Counts the attempts of this actor.
    pub(super) serial: u64,
    pub(super) route: Arc<Route>,
    /// What the upstream session belongs to: the model's name as it was asked for.
    pub(super) model: ModelName,
    /// Whether results of tool calls went up.
    pub(super) answers_calls: bool,
    /// Whether a text follows those, which is told when the upstream has taken them in.
    goes_on: bool,
    /// Whether anybody is asked anything.
    pub(super) asks: bool,
    /// What went upstream.
    pub(super) told: Arc<Told>,
    pub(super) began: Instant,
    upstream: Option<UpstreamSessionId>,
    memory_id: Option<String>,
    /// Tells the route's breaker how it went; none where nobody is asked.
    trial: Option<Trial>,
    hedge_timer: Option<AbortOnDropHandle<()>>,
    deadline_timer: Option<AbortOnDropHandle<()>>,
    actor: ActorRef<SessionMsg>,
    credit: Arc<Semaphore>,
    pump: AbortOnDropHandle<()>,
    _in_flight: Presence,
}

/// What an attempt is made with.
pub(super) struct Setting<'a> {
    pub(super) actor: ActorRef<SessionMsg>,
    pub(super) env: &'a Arc<Env>,
    pub(super) call: &'a Call,
    /// What is new in the transcript with the turn.
    pub(super) said: &'a [Arc<Message>],
    pub(super) serial: u64,
    pub(super) span: &'a Span,
}

impl Attempt {
    /// Carries the order out.
    pub(super) fn start(
        setting: Setting<'_>,
        route: Arc<Route>,
        model: ModelName,
        order: Order,
    ) -> Self {
        let Setting { actor, env, call, said, serial, span } = setting;
        let credit = Arc::new(Semaphore::new(CREDIT));
        let outlet = Outlet::default();
        let ask = match &order {
            Order::Ask(ask) => Some(ask),
            Order::Restate(_) | Order::Refuse(_) => None,
        };
        let told = ask.map(|ask| Told { history: ask.history.clone(), said: said.to_vec() });
        let told = Arc::new(told.unwrap_or_default());
        let memory_id = ask.and_then(|ask| route.backend.memory_id(ask));
        let upstream = ask.map(|ask| ask.upstream.clone());
        let trial = ask.map(|_| Trial::of(Arc::clone(&route)));
        let answers_calls = ask.is_some_and(|ask| ask.pending.is_some());
        let goes_on = answers_calls && ask.is_some_and(|ask| !ask.input.is_empty());
        let asks = ask.is_some_and(|ask| says_something(ask, call));
        let pump = Pump {
            actor: actor.clone(),
            serial,
            credit: Arc::clone(&credit),
            bounds: bounds(env, &route),
            outlet: outlet.clone(),
            metrics: Arc::clone(&route.metrics),
            broker: Arc::clone(&env.metrics),
            kind: route.kind,
            told: Arc::clone(&told),
        };
        let answer = carry_out(order, &route, call, outlet);
        let task = tokio::spawn(pump.run(answer).instrument(span.clone()));
        Self {
            serial,
            _in_flight: route.metrics.in_flight(),
            route,
            model,
            answers_calls,
            goes_on,
            asks,
            told,
            began: Instant::now(),
            upstream,
            memory_id,
            trial,
            hedge_timer: None,
            deadline_timer: None,
            actor,
            credit,
            pump: AbortOnDropHandle::new(task),
        }
    }

    /// Has the next model asked too when this one takes long, where its settings say so.
    pub(super) fn arm_hedge(&mut self, call: &Call, next: &Route) {
        let model = &self.route.model;
        let after = call.route.model.hedge_after.or(model.hedge_after);
        let may = self.may_run_twice(call, next) && self.trial.is_some();
        let Some(after) = after.filter(|_| may) else { return };
        let message = SessionMsg::Hedge { serial: self.serial };
        self.hedge_timer = Some(remind(self.actor.clone(), after, message));
    }

    /// Has the next model asked in the place of this one when it has not begun to answer by the
    /// deadline of its settings.
    pub(super) fn arm_deadline(&mut self, call: &Call, next: Option<&Arc<Route>>) {
        let deadline = call.route.model.voice.first_token_deadline;
        let deadline = deadline.or(self.route.model.voice.first_token_deadline);
        let may = next.is_some_and(|next| self.may_run_twice(call, next)) && self.trial.is_some();
        let Some(after) = deadline.filter(|_| may) else { return };
        let message = SessionMsg::Deadline { serial: self.serial };
        self.deadline_timer = Some(remind(self.actor.clone(), after, message));
    }

    /// Whether the turn may be run by this model and by the next: whether that does no harm, or
    /// the operator bears it.
    pub(super) fn may_run_twice(&self, call: &Call, next: &Route) -> bool {
        let is_safe = self.route.backend.is_repeatable() && next.backend.is_repeatable();
        is_safe || call.route.model.hedge_agents
    }

    /// Tells the breaker of the route how it goes.
    pub(super) fn settle(&mut self, outcome: Option<&Outcome>) {
        self.hedge_timer = None;
        let Some(trial) = &mut self.trial else { return };
        match outcome {
            Some(Err(failure)) => trial.failed(failure.kind),
            None | Some(Ok(_)) => trial.succeeded(),
        }
    }

    /// Says that a message of the pump was taken in.
    pub(super) fn took_in(&self) {
        self.credit.add_permits(1);
    }

    /// Stops the upstream call.
    pub(super) fn stop(&self) {
        self.pump.abort();
    }

    /// The upstream session that the attempt used, if it asked anybody.
    pub(super) fn upstream(&self) -> Option<&UpstreamSessionId> {
        self.upstream.as_ref()
    }

    /// Whether the upstream may have taken in the turn, though it failed so, without an answer.
    pub(super) fn may_have_begun(&self, failure: &Failure) -> bool {
        // An agent that has taken results, or refuses them, does not wait for them any more.
        let waits_no_more = failure.may_have_run || failure.kind == FailureKind::UpstreamRejected;
        let is_unsure = matches!(
            failure.kind,
            FailureKind::UpstreamTimeout
                | FailureKind::UpstreamProtocol
                | FailureKind::UpstreamDependency
                | FailureKind::Internal
                | FailureKind::Draining
        );
        is_unsure || (self.answers_calls && waits_no_more)
    }

    /// The upstream session as it stands after a turn that it took in; none where nobody knows
    /// whether it waits for results now.
    pub(super) fn binding(&self, fold: &Fold) -> Option<UpstreamBinding> {
        let pending = fold.pending();
        let is_whole = fold.is_whole();
        if !is_whole && (self.goes_on || fold.has_handed_over()) {
            return None;
        }
        let began = SystemTime::now().checked_sub(self.began.elapsed());
        Some(UpstreamBinding {
            id: self.upstream.clone()?,
            model: self.model.clone(),
            // Nobody says whether an upstream counts its idle time from the turn's beginning or
            // from its end; this is the earlier.
            last_used: began.unwrap_or_else(SystemTime::now),
            memory_id: self.memory_id.clone(),
            pending,
        })
    }
}

/// Tells an actor something after a while, unless the timer is dropped.
pub(super) fn remind(
    actor: ActorRef<SessionMsg>,
    after: Duration,
    message: SessionMsg,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        tokio::time::sleep(after).await;
        // An actor that is gone runs no turn.
        let _ = actor.cast(message);
    }))
}

fn carry_out(
    order: Order,
    route: &Route,
    call: &Call,
    outlet: Outlet,
) -> BoxFuture<'static, Outcome> {
    let ask = match order {
        Order::Ask(ask) => ask,
        Order::Refuse(failure) => return futures_util::future::ready(Err(failure)).boxed(),
        Order::Restate(pending) => {
            return async move {
                for event in restated(&pending) {
                    outlet.push(event).await;
                }
                Ok(FinishReason::ToolCalls)
            }
            .boxed();
        }
    };
    if !says_something(&ask, call) {
        return futures_util::future::ready(Err(nothing_new())).boxed();
    }
    if let Err(failure) = fields::check(route.fields, &call.request) {
        return futures_util::future::ready(Err(failure)).boxed();
    }
    let backend = Arc::clone(&route.backend);
    // Called by the pump, so that a panic in the call itself ends the turn alone.
    async move { backend.answer(*ask, outlet).await }.boxed()
}

fn says_something(ask: &Ask, call: &Call) -> bool {
    !ask.input.is_empty() || ask.pending.is_some() || call.request.end_session
}

fn bounds(env: &Env, route: &Route) -> Bounds {
    Bounds {
        first_event: route.first_event_timeout,
        stall: route.stall_timeout,
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
