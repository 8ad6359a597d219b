//! When to try an upstream again: only before the first event, only what did not start.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// What all turns of one backend together may spend on retries, so that an upstream in trouble
/// is not hit harder for it: a retry costs [`COST`](Self::COST) units, a turn that goes well
/// pays one back.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicU32,
}

impl Budget {
    const COST: u32 = 5;
    const FULL: u32 = 500;

    /// Takes one retry's cost, or says that there is no budget left.
    pub(super) fn spend(&self) -> bool {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(Self::COST))
            .is_ok()
    }

    /// Pays back a unit for a call that went well.
    pub(super) fn earn(&self) {
        // An update that fails was at the brim already.
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            (left < Self::FULL).then_some(left + 1)
        });
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: AtomicU32::new(Self::FULL) }
    }
}

/// The waits before each retry: doubling, with jitter.
pub(super) fn delays(first: Duration, retries: usize) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(first)
        .with_max_delay(Duration::from_secs(5))
        .with_factor(2.0)
        .with_max_times(retries)
        .with_jitter()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_that_is_spent_refuses_until_calls_go_well_again() {
        let budget = Budget::default();
        let granted = (0..1_000).filter(|_| budget.spend()).count();
        assert_eq!(granted, 100);
        for _ in 0..Budget::COST {
            budget.earn();
        }
        assert!(budget.spend());
        assert!(!budget.spend());
    }

    #[test]
    fn there_are_as_many_waits_as_retries() {
        assert_eq!(delays(Duration::from_millis(100), 2).count(), 2);
        assert_eq!(delays(Duration::from_millis(100), 0).count(), 0);
    }
}
