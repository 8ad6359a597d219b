//! A circuit breaker: an upstream that fails again and again is passed over for a while.
//!
//! ```text
//!          failures in a row              a pause has passed
//! Closed ─────────────────────▶ Open ───────────────────────▶ one trial
//!    ▲                            ▲                              │
//!    └──────── it succeeds ───────┴────── it fails: longer ◀─────┘
//! ```
//!
//! A breaker only says who is better not asked first; where nobody else is left, an upstream is
//! asked all the same.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use crate::turn::FailureKind;

use super::health::LastFailure;
use super::{Route, lock};

/// What makes a breaker open, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habits {
    /// Failures in a row that open it.
    pub(super) failures: u32,
    /// The first pause; it doubles with each trial that fails, up to sixteen times.
    pub(super) pause: Duration,
}

/// Doublings of the pause at most.
const DOUBLINGS: u32 = 4;

/// Whether an upstream is worth asking.
#[derive(Debug)]
pub struct Breaker {
    habits: Habits,
    state: Mutex<State>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new(Habits { failures: 5, pause: Duration::from_secs(10) })
    }
}

#[derive(Debug, Default)]
struct State {
    /// Failures since the last success.
    failures: u32,
    /// Until when it is open, if it is.
    open_until: Option<Instant>,
    /// Pauses since the last success.
    pauses: u32,
    /// Whether a trial is on its way.
    is_tried: bool,
    known: Known,
}

/// What calls have told of an upstream, for whoever wants to know.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    /// Whether the last call that told anything went well.
    pub(super) is_well: Option<bool>,
    /// The last failure, whatever came after it.
    pub(super) last_failure: Option<LastFailure>,
}

impl Breaker {
    pub(super) fn new(habits: Habits) -> Self {
        Self { habits, state: Mutex::default() }
    }

    /// Whether the upstream is worth asking: it is not known to fail, or it is time for a trial.
    #[must_use]
    pub fn is_ready(&self, now: Instant) -> bool {
        let state = self.state();
        state.open_until.is_none_or(|until| now >= until && !state.is_tried)
    }

    /// Whether it is open: its upstream failed, and no trial has succeeded since.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state().open_until.is_some()
    }

    /// Says that the upstream is asked now.
    pub fn asked(&self) {
        let mut state = self.state();
        state.is_tried = state.open_until.is_some();
    }

    /// Says that it answered.
    pub fn succeeded(&self) {
        let mut state = self.state();
        let known = Known { is_well: Some(true), ..state.known };
        *state = State { known, ..State::default() };
    }

    /// Says that it failed.
    pub fn failed(&self, now: Instant) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        let was_trial = std::mem::take(&mut state.is_tried);
        let is_due = state.open_until.is_none() && state.failures >= self.habits.failures;
        if was_trial || is_due {
            let pause = self.habits.pause * 2u32.pow(state.pauses.min(DOUBLINGS));
            state.open_until = Some(now + pause);
            state.pauses = state.pauses.saturating_add(1);
        }
    }

    /// Says which failure came, whether or not it counts against the upstream.
    fn note(&self, kind: FailureKind) {
        let last_failure = Some(LastFailure { kind, at: SystemTime::now() });
        self.state().known = Known { is_well: Some(false), last_failure };
    }

    /// What calls have told so far.
    pub(super) fn known(&self) -> Known {
        self.state().known
    }

    /// Says that the call was given up before it told anything.
    pub fn left(&self) {
        self.state().is_tried = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// One call of an upstream, for its breaker. One that is dropped without a word leaves the
/// breaker as it was.
#[derive(Debug)]
pub struct Trial {
    route: Arc<Route>,
    is_settled: bool,
}

impl Trial {
    /// The upstream of a route is asked now.
    #[must_use]
    pub fn of(route: Arc<Route>) -> Self {
        route.breaker.asked();
        Self { route, is_settled: false }
    }

    /// The upstream answered; only the first word on a call counts.
    pub fn succeeded(&mut self) {
        if !std::mem::replace(&mut self.is_settled, true) {
            self.route.breaker.succeeded();
            self.route.metrics.breaker_open(false);
        }
    }

    /// The call failed, which says something of the upstream only where it is its fault.
    pub fn failed(&mut self, kind: FailureKind) {
        if !self.is_settled && tells_of_upstream(kind) {
            self.route.breaker.note(kind);
        }
        if is_of_upstream(kind) && !std::mem::replace(&mut self.is_settled, true) {
            self.route.breaker.failed(Instant::now());
            self.route.metrics.breaker_open(self.route.breaker.is_open());
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if !self.is_settled {
            self.route.breaker.left();
        }
    }
}

/// Whether a failure says that the upstream is not worth asking for a while.
fn is_of_upstream(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::UpstreamThrottled
            | FailureKind::UpstreamUnavailable
            | FailureKind::UpstreamTimeout
            | FailureKind::UpstreamDenied
            | FailureKind::UpstreamProtocol
    )
}

/// Whether a failure says how it stands with the upstream, whoever asks it what.
fn tells_of_upstream(kind: FailureKind) -> bool {
    let is_set_up_wrong =
        matches!(kind, FailureKind::ModelNotFound | FailureKind::UpstreamDependency);
    is_set_up_wrong || is_of_upstream(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HABITS: Habits = Habits { failures: 3, pause: Duration::from_secs(10) };

    fn failing() -> (Breaker, Instant) {
        let (breaker, now) = (Breaker::new(HABITS), Instant::now());
        for _ in 0..3 {
            breaker.asked();
            breaker.failed(now);
        }
        (breaker, now)
    }

    #[test]
    fn a_few_failures_in_a_row_open_it_and_a_success_between_does_not() {
        let (breaker, now) = (Breaker::new(HABITS), Instant::now());
        for _ in 0..5 {
            breaker.failed(now);
            breaker.failed(now);
            breaker.succeeded();
        }
        assert!(breaker.is_ready(now) && !breaker.is_open());
        let (breaker, now) = failing();
        assert!(!breaker.is_ready(now) && breaker.is_open());
    }

    #[test]
    fn after_the_pause_one_trial_is_let_through_and_its_success_closes_it() {
        let (breaker, now) = failing();
        let later = now + HABITS.pause;
        assert!(breaker.is_ready(later));
        breaker.asked();
        assert!(!breaker.is_ready(later), "one at a time");
        breaker.succeeded();
        assert!(breaker.is_ready(later) && !breaker.is_open());
    }

    #[test]
    fn a_trial_that_fails_doubles_the_pause_and_one_that_is_left_does_not() {
        let (breaker, now) = failing();
        let later = now + HABITS.pause;
        breaker.asked();
        breaker.left();
        assert!(breaker.is_ready(later));
        breaker.asked();
        breaker.failed(later);
        assert!(!breaker.is_ready(later + HABITS.pause));
        assert!(breaker.is_ready(later + HABITS.pause * 2));
    }

    #[test]
    fn the_last_failure_is_known_after_a_success_too() {
        let breaker = Breaker::new(HABITS);
        assert_eq!(breaker.known().is_well, None);
        breaker.note(FailureKind::UpstreamThrottled);
        assert_eq!(breaker.known().is_well, Some(false));
        breaker.succeeded();
        let known = breaker.known();
        let kind = known.last_failure.map(|last| last.kind);
        assert_eq!((known.is_well, kind), (Some(true), Some(FailureKind::UpstreamThrottled)));
    }
}
