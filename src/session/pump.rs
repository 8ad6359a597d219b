//! One turn's events, from the backend to the actor's mailbox.
//!
//! The pump polls the backend and sends what came of one poll as one message: events that are
//! ready together travel together, and none waits for the next. Where one piece follows another
//! so closely that the answer is plainly ready upstream, it polls until nothing more comes: an
//! HTTP client hands a body over piece by piece, and a message a piece would cost more than all
//! else that a turn does. It holds bounded credit, so that
//! a mailbox never fills with chunks: while [`CREDIT`] messages are unanswered it does not poll,
//! and the upstream's own flow control holds the rest back. Its timers tell an upstream that
//! thinks (it shows signs of life) from one that is dead.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use ractor::ActorRef;
use tokio::sync::Semaphore;

use crate::backend::Outlet;
use crate::metrics::{Metrics, Outcome as OutcomeLabel, TurnMetrics};
use crate::turn::{Failure, FailureKind, FinishReason, TurnEvent, Usage, tokens};

use super::actor::SessionMsg;
use super::told::Told;
use super::turn_log::Timing;

/// Messages of one turn that may wait in the actor's mailbox.
pub(super) const CREDIT: usize = 16;

/// Pieces that follow each other within so little are ready together; models take milliseconds.
const RUSH: Duration = Duration::from_millis(1);
/// Events that one message of a rush may have.
const RUSH_EVENTS: usize = 64;

/// How a backend's turn ended.
pub(super) type Outcome = Result<FinishReason, Failure>;

/// What the pump sends.
#[derive(Debug)]
pub(super) struct Pumped {
    /// Which turn of the actor this belongs to; one that was cut may still have sent.
    pub(super) serial: u64,
    /// Events that came together.
    pub(super) events: Vec<TurnEvent>,
    /// How the turn ended, in the last message.
    pub(super) outcome: Option<Outcome>,
    /// When the upstream was called and when it first answered.
    pub(super) timing: Timing,
}

/// What bounds a turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) first_event: Duration,
    pub(super) stall: Duration,
    pub(super) total: Duration,
    pub(super) output_bytes: usize,
}

/// Runs one turn of a backend.
pub(super) struct Pump {
    pub(super) actor: ActorRef<SessionMsg>,
    pub(super) serial: u64,
    pub(super) credit: Arc<Semaphore>,
    pub(super) bounds: Bounds,
    pub(super) outlet: Outlet,
    pub(super) metrics: Arc<TurnMetrics>,
    pub(super) broker: Arc<Metrics>,
    /// Which kind of backend it is.
    pub(super) kind: &'static str,
    /// What goes upstream, to count its tokens if the backend does not.
    pub(super) told: Arc<Told>,
}

/// Tells the actor that its pump is gone, also when the backend panicked.
struct EndNotice {
    actor: ActorRef<SessionMsg>,
    serial: u64,
}

impl Drop for EndNotice {
    fn drop(&mut self) {
        // An actor that is gone has no turn to end.
        let _ = self.actor.cast(SessionMsg::PumpGone { serial: self.serial });
    }
}

/// What one wait brought.
enum Came {
    Events,
    End(Outcome),
    Silence,
}

impl Pump {
    /// Pumps until the backend is done, a limit is met, or the task is dropped.
    pub(super) async fn run(self, mut answer: BoxFuture<'static, Outcome>) {
        let _notice = EndNotice { actor: self.actor.clone(), serial: self.serial };
        let mut flow = Flow::new(self.bounds);
        loop {
            let Ok(credit) = self.credit.acquire().await else { return };
            let came = match self.wait(&mut answer, &mut flow).await {
                Came::Events if flow.is_rush() => self.gather(&mut answer).await,
                came => came,
            };
            let mut events = self.outlet.take();
            flow.passed(&events, &self.metrics);
            let mut outcome = match came {
                Came::Events => None,
                Came::End(outcome) => Some(outcome),
                Came::Silence => match flow.verdict(self.outlet.signs()) {
                    None => continue,
                    Some(failure) => Some(Err(self.give_up(failure))),
                },
            };
            if outcome.is_none() && flow.weight > self.bounds.output_bytes {
                outcome = Some(Ok(FinishReason::Length));
            }
            if let Some(Ok(_)) = &outcome
                && !flow.counted
            {
                events.push(TurnEvent::Usage(flow.estimate(&self.told)));
            }
            credit.forget();
            let timing = Timing { called: self.outlet.called_at(), first_event: flow.first_event };
            let is_end = outcome.is_some();
            let pumped = Pumped { serial: self.serial, events, outcome, timing };
            if self.actor.cast(SessionMsg::Pumped(Box::new(pumped))).is_err() || is_end {
                return;
            }
        }
    }

    /// The backend never hears that its call was given up, so it is counted here.
    fn give_up(&self, failure: Failure) -> Failure {
        self.broker.upstream_request(self.kind, OutcomeLabel::Failed);
        self.broker.upstream_error(self.kind, failure.kind);
        failure
    }

    async fn wait(&self, answer: &mut BoxFuture<'static, Outcome>, flow: &mut Flow) -> Came {
        let backend = poll_fn(|context| match answer.as_mut().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Came::End(outcome)),
            Poll::Pending if self.outlet.waits() > 0 => Poll::Ready(Came::Events),
            Poll::Pending => Poll::Pending,
        });
        tokio::select! {
            biased;
            came = backend => came,
            _ = flow.tick.tick() => Came::Silence,
        }
    }

    /// Lets the upstream's connection run, and polls on, until that brings nothing new.
    async fn gather(&self, answer: &mut BoxFuture<'static, Outcome>) -> Came {
        let mut waiting = self.outlet.waits();
        loop {
            tokio::task::yield_now().await;
            let polled = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await;
            if let Poll::Ready(outcome) = polled {
                return Came::End(outcome);
            }
            let before = std::mem::replace(&mut waiting, self.outlet.waits());
            if waiting == before || waiting >= RUSH_EVENTS {
                return Came::Events;
            }
        }
    }
}

/// What has come so far, and when.
struct Flow {
    bounds: Bounds,
    tick: tokio::time::Interval,
    began: Instant,
    first_event: Option<Instant>,
    last_event: Option<Instant>,
    last_text: Option<Instant>,
    alive: Instant,
    signs: u64,
    weight: usize,
    counted: bool,
    said: Vec<Arc<str>>,
}

impl Flow {
    /// Ticks in the shortest limit: what it takes longer than that limit is at most a tenth.
    const TICKS: u32 = 10;

    fn new(bounds: Bounds) -> Self {
        let now = Instant::now();
        let shortest = bounds.first_event.min(bounds.stall).min(bounds.total);
        let every = (shortest / Self::TICKS).max(Duration::from_millis(1));
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self {
            bounds,
            tick,
            began: now,
            first_event: None,
            last_event: None,
            last_text: None,
            alive: now,
            signs: 0,
            weight: 0,
            counted: false,
            said: Vec::new(),
        }
    }

    /// Whether the last events left only just now.
    fn is_rush(&self) -> bool {
        self.last_event.is_some_and(|at| at.elapsed() < RUSH)
    }

    /// Takes note of events on their way to the actor.
    fn passed(&mut self, events: &[TurnEvent], metrics: &TurnMetrics) {
        if events.is_empty() {
            return;
        }
        let now = Instant::now();
        self.alive = now;
        self.last_event = Some(now);
        for event in events {
            self.weight += event.weight();
            match event {
                TurnEvent::Text(text) => {
                    self.said.push(Arc::clone(text));
                    if let Some(last) = self.last_text.replace(now)
                        && last != now
                    {
                        metrics.inter_token(now - last);
                    }
                }
                TurnEvent::Usage(_) => self.counted = true,
                _ => {}
            }
            if self.first_event.is_none() && event.is_visible() {
                self.first_event = Some(now);
            }
        }
    }

    /// After a silent tick: whether the upstream is taken for dead.
    fn verdict(&mut self, signs: u64) -> Option<Failure> {
        let now = Instant::now();
        if now - self.began >= self.bounds.total {
            return Some(timeout("the turn took too long in all"));
        }
        if signs != self.signs {
            self.signs = signs;
            self.alive = now;
            return None;
        }
        let (limit, message) = if signs == 0 {
            (self.bounds.first_event, "the upstream did not answer in time")
        } else {
            (self.bounds.stall, "the upstream fell silent in the middle of its answer")
        };
        (now - self.alive >= limit).then(|| timeout(message))
    }

    fn estimate(&self, told: &Told) -> Usage {
        let said: String = self.said.iter().map(AsRef::as_ref).collect();
        estimate(told, &said)
    }
}

/// What a turn used, as far as its texts tell.
pub(super) fn estimate(told: &Told, said: &str) -> Usage {
    Usage {
        input_tokens: told.tokens(),
        output_tokens: tokens::estimate(said),
        estimated: true,
        ..Usage::default()
    }
}

fn timeout(message: &'static str) -> Failure {
    Failure { may_have_run: true, ..Failure::new(FailureKind::UpstreamTimeout, message) }
}
