//! What is counted by the minute: governor's buckets, which fill steadily, so that a caller may
//! spend a minute's worth in one burst and then as it comes back.
//!
//! Requests are taken when they come. Tokens are known only when a turn has ended: they are taken
//! then, whether they are there or not, and a key that owes waits until it has paid. So a bucket
//! of tokens is deeper than a minute's worth, and what lies below that is credit, which nobody
//! is admitted on.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use super::standing::Allowance;

/// How far a key may go into debt with its tokens, in minutes of its limit: what it uses beyond
/// is forgiven, so that no key waits for more than a day.
const CREDIT_MINUTES: u32 = 24 * 60;

/// How fast a bucket fills.
#[derive(Debug, Clone, Copy)]
struct Rate {
    per_minute: NonZeroU32,
    /// What one takes to come back.
    of_one: Duration,
}

/// A bucket with nothing in it.
#[derive(Debug)]
pub(super) struct Empty {
    /// Until there is one again.
    pub(super) wait: Duration,
    pub(super) allowance: Allowance,
}

impl Rate {
    fn of(quota: Quota, per_minute: NonZeroU32) -> Self {
        Self { per_minute, of_one: quota.replenish_interval() }
    }

    fn left(self, remaining: u32) -> Allowance {
        let limit = self.per_minute.get();
        let reset = self.of_one * limit.saturating_sub(remaining);
        Allowance { limit, remaining, reset }
    }

    fn empty(self, wait: Duration) -> Empty {
        let limit = self.per_minute.get();
        let reset = wait + self.of_one * (limit - 1);
        Empty { wait, allowance: Allowance { limit, remaining: 0, reset } }
    }
}

/// Requests a minute.
pub(super) struct Requests<C: Clock> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>,
    rate: Rate,
}

impl<C: Clock + Clone> Requests<C> {
    pub(super) fn new(per_minute: NonZeroU32, clock: &C) -> Self {
        let quota = Quota::per_minute(per_minute);
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone()).with_middleware();
        Self { limiter, rate: Rate::of(quota, per_minute) }
    }

    /// Takes one.
    pub(super) fn take(&self) -> Result<Allowance, Empty> {
        match self.limiter.check() {
            Ok(state) => Ok(self.rate.left(state.remaining_burst_capacity())),
            Err(not_until) => {
                Err(self.rate.empty(not_until.wait_time_from(self.limiter.clock().now())))
            }
        }
    }
}

impl<C: Clock> fmt::Debug for Requests<C> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Requests").field("rate", &self.rate).finish_non_exhaustive()
    }
}

/// Tokens a minute, paid for after they were used.
pub(super) struct Tokens<C: Clock> {
    limiter: RateLimiter<Touch, Level, C, StateInformationMiddleware>,
    rate: Rate,
    /// What the bucket holds, credit and all.
    depth: NonZeroU32,
    /// The credit and one more: with fewer in the bucket, nobody is admitted.
    enough: NonZeroU32,
}

impl<C: Clock + Clone> Tokens<C> {
    pub(super) fn new(per_minute: NonZeroU32, clock: &C) -> Self {
        let depth = NonZeroU32::MIN.saturating_add(CREDIT_MINUTES).saturating_mul(per_minute);
        let quota = Quota::per_minute(per_minute).allow_burst(depth);
        Self {
            limiter: RateLimiter::new(quota, Level::default(), clock.clone()),
            rate: Rate::of(quota, per_minute),
            depth,
            enough: NonZeroU32::MIN.saturating_add(depth.get() - per_minute.get()),
        }
    }

    /// Whether there are any; takes none.
    pub(super) fn look(&self) -> Result<Allowance, Empty> {
        match self.limiter.check_key_n(&Touch::Look, self.enough) {
            // The one that was looked for is still there.
            Ok(Ok(state)) => Ok(self.rate.left(state.remaining_burst_capacity() + 1)),
            Ok(Err(not_until)) => {
                Err(self.rate.empty(not_until.wait_time_from(self.limiter.clock().now())))
            }
            // Not to be met: `enough` is at most the depth.
            Err(_) => Err(self.rate.empty(Duration::ZERO)),
        }
    }

    /// Takes what was used, into the credit where need be; what exceeds that is forgiven.
    pub(super) fn take(&self, used: u64) {
        let mut rest = u32::try_from(used).unwrap_or(u32::MAX).min(self.depth.get());
        // The first part is all of it, but for the end of the credit: what is left there is taken
        // in halves, which are a few dozen at most.
        let mut part = rest;
        while let Some(some) = NonZeroU32::new(part.min(rest)) {
            if matches!(self.limiter.check_key_n(&Touch::Take, some), Ok(Ok(_))) {
                rest -= some.get();
            } else {
                part /= 2;
            }
        }
    }
}

impl<C: Clock> fmt::Debug for Tokens<C> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tokens").field("rate", &self.rate).finish_non_exhaustive()
    }
}

/// What is done with a bucket. Governor only knows how to take; a look is told apart as if it
/// were a key, by the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Touch {
    Look,
    Take,
}

/// Governor's own state of one bucket, which can also be looked at.
#[derive(Debug, Default)]
struct Level(InMemoryState);

impl StateStore for Level {
    type Key = Touch;

    fn measure_and_replace<T, F, E>(&self, touch: &Touch, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        match touch {
            Touch::Take => self.0.measure_and_replace(&NotKeyed::NonKey, decide),
            Touch::Look => {
                // To a state, an error is what leaves it as it is.
                let look = |level| Err::<(T, Nanos), _>(decide(level));
                match self.0.measure_and_replace(&NotKeyed::NonKey, look) {
                    Ok(found) | Err(Ok((found, _))) => Ok(found),
                    Err(Err(refused)) => Err(refused),
                }
            }
        }
    }
}
