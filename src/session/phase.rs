//! What a session is doing: a state machine without I/O.
//!
//! ```text
//!            Loaded            Arrives                 Over, queue empty
//! Loading ───────────▶ Idle ───────────▶ Running ───────────────────────▶ Idle
//!    │  Arrives: wait    │                  │ Arrives: wait, refuse or replace
//!    │                   │ Retire           │ Over, queue not empty: next
//!    └──────────────┐    ▼                  │ Stop: cut the turn
//!                   └─▶ Gone ◀──────────────┘ End
//! ```
//!
//! [`step`](Phase::step) decides; the actor acts.

use crate::turn::TurnPolicy;
use crate::turn::request::DisconnectPolicy;

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its record is being fetched from the store.
    Loading,
    /// It waits for a turn.
    Idle,
    /// A turn runs.
    Running,
    /// It takes no more turns; its actor stops.
    Gone,
}

/// What can happen to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// Its record came, or there is none.
    Loaded {
        /// Turns that wait.
        queued: usize,
    },
    /// A turn was asked for.
    Arrives {
        /// What to do if another runs.
        policy: TurnPolicy,
        /// Turns that wait already.
        queued: usize,
        /// How many may.
        limit: usize,
    },
    /// The running turn ended.
    Over {
        /// Turns that wait.
        queued: usize,
    },
    /// Nobody reads the running turn any more.
    Abandoned {
        /// What to do then.
        policy: DisconnectPolicy,
        /// Whether another turn may run on without a reader.
        may_detach: bool,
    },
    /// Somebody wants the running turn stopped.
    Stop,
    /// It has been idle for long.
    Retire,
    /// The session is to end for good.
    End,
}

/// What the actor is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Start the turn that came.
    Start,
    /// Start the one that waits longest.
    StartNext,
    /// Let the turn that came wait.
    Wait,
    /// Refuse it: another turn runs.
    RefuseBusy,
    /// Refuse it: too many wait.
    RefuseFull,
    /// Refuse it: the session is over.
    RefuseGone,
    /// Stop the running turn and those that wait, and start the one that came.
    Replace,
    /// Stop the running turn and start the next, if any.
    Cut,
    /// Let the running turn go on without readers.
    Detach,
    /// Save and stop the actor.
    Passivate,
    /// Stop the running turn, forget the session, stop the actor.
    Finish,
    /// Nothing.
    Stay,
}

impl Phase {
    /// Takes what happened and says what to do about it.
    pub(super) fn step(&mut self, input: Input) -> Effect {
        let (next, effect) = self.decide(input);
        *self = next;
        effect
    }

    fn decide(self, input: Input) -> (Self, Effect) {
        match (self, input) {
            (Self::Gone, Input::Arrives { .. }) => (Self::Gone, Effect::RefuseGone),
            (Self::Gone, _) => (Self::Gone, Effect::Stay),
            (_, Input::End) => (Self::Gone, Effect::Finish),

            (Self::Loading, Input::Loaded { queued: 0 }) => (Self::Idle, Effect::Stay),
            (Self::Loading, Input::Loaded { .. }) => (Self::Running, Effect::StartNext),
            (Self::Loading, Input::Arrives { queued, limit, .. }) if queued > limit => {
                (self, Effect::RefuseFull)
            }
            (Self::Loading, Input::Arrives { .. }) => (self, Effect::Wait),

            (Self::Idle, Input::Arrives { .. }) => (Self::Running, Effect::Start),
            (Self::Idle, Input::Retire) => (Self::Gone, Effect::Passivate),

            (Self::Running, Input::Arrives { policy: TurnPolicy::Interrupt, .. }) => {
                (self, Effect::Replace)
            }
            (Self::Running, Input::Arrives { policy: TurnPolicy::Reject, .. }) => {
                (self, Effect::RefuseBusy)
            }
            (Self::Running, Input::Arrives { policy: TurnPolicy::Queue, queued, limit }) => {
                (self, if queued < limit { Effect::Wait } else { Effect::RefuseFull })
            }
            (Self::Running, Input::Over { queued: 0 }) => (Self::Idle, Effect::Stay),
            (Self::Running, Input::Over { .. }) => (self, Effect::StartNext),
            (Self::Running, Input::Stop) => (self, Effect::Cut),
            (Self::Running, Input::Abandoned { policy, may_detach }) => match policy {
                DisconnectPolicy::Detach { .. } if may_detach => (self, Effect::Detach),
                DisconnectPolicy::Detach { .. } | DisconnectPolicy::Cancel => (self, Effect::Cut),
            },

            (
                Self::Loading | Self::Idle,
                Input::Stop | Input::Over { .. } | Input::Abandoned { .. },
            )
            | (Self::Loading | Self::Running, Input::Retire)
            | (Self::Idle | Self::Running, Input::Loaded { .. }) => (self, Effect::Stay),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrives(policy: TurnPolicy, queued: usize) -> Input {
        Input::Arrives { policy, queued, limit: 2 }
    }

    fn step(mut phase: Phase, input: Input) -> (Phase, Effect) {
        let effect = phase.step(input);
        (phase, effect)
    }

    #[test]
    fn an_idle_session_starts_a_turn_whatever_the_policy() {
        for (_, policy) in TurnPolicy::NAMES {
            assert_eq!(step(Phase::Idle, arrives(*policy, 0)), (Phase::Running, Effect::Start));
        }
    }

    #[test]
    fn a_second_turn_waits_is_refused_or_replaces_as_the_policy_says() {
        let second = |policy| step(Phase::Running, arrives(policy, 0)).1;
        assert_eq!(second(TurnPolicy::Queue), Effect::Wait);
        assert_eq!(second(TurnPolicy::Reject), Effect::RefuseBusy);
        assert_eq!(second(TurnPolicy::Interrupt), Effect::Replace);
    }

    #[test]
    fn a_full_queue_refuses() {
        assert_eq!(step(Phase::Running, arrives(TurnPolicy::Queue, 2)).1, Effect::RefuseFull);
    }

    #[test]
    fn when_a_turn_is_over_the_next_one_starts_or_the_session_rests() {
        assert_eq!(
            step(Phase::Running, Input::Over { queued: 1 }),
            (Phase::Running, Effect::StartNext)
        );
        assert_eq!(step(Phase::Running, Input::Over { queued: 0 }), (Phase::Idle, Effect::Stay));
    }

    #[test]
    fn turns_wait_while_the_record_is_fetched() {
        assert_eq!(
            step(Phase::Loading, arrives(TurnPolicy::Reject, 0)),
            (Phase::Loading, Effect::Wait)
        );
        assert_eq!(step(Phase::Loading, Input::Loaded { queued: 1 }).1, Effect::StartNext);
    }

    #[test]
    fn only_an_idle_session_retires() {
        assert_eq!(step(Phase::Idle, Input::Retire), (Phase::Gone, Effect::Passivate));
        assert_eq!(step(Phase::Running, Input::Retire), (Phase::Running, Effect::Stay));
        assert_eq!(step(Phase::Loading, Input::Retire), (Phase::Loading, Effect::Stay));
    }

    #[test]
    fn an_abandoned_turn_is_cut_unless_it_may_run_on() {
        let abandoned =
            |policy, may_detach| step(Phase::Running, Input::Abandoned { policy, may_detach }).1;
        const DETACH: DisconnectPolicy = DisconnectPolicy::Detach { grace: None };
        assert_eq!(abandoned(DisconnectPolicy::Cancel, true), Effect::Cut);
        assert_eq!(abandoned(DETACH, true), Effect::Detach);
        assert_eq!(abandoned(DETACH, false), Effect::Cut);
    }

    #[test]
    fn what_is_gone_takes_no_turn() {
        assert_eq!(step(Phase::Gone, arrives(TurnPolicy::Queue, 0)).1, Effect::RefuseGone);
        assert_eq!(step(Phase::Running, Input::End), (Phase::Gone, Effect::Finish));
        assert_eq!(step(Phase::Gone, Input::End), (Phase::Gone, Effect::Stay));
    }
}
