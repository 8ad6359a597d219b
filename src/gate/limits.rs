//! How often a key may ask, how often all keys together, and how much at once.
//!
//! The allowances are governor's: a bucket of a minute's requests that fills steadily, so that a
//! caller may spend them in one burst and then one by one. They are kept for each key, not for
//! each tenant: a tenant that shares out its keys shares out its allowance.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Config;
use crate::turn::{Failure, FailureKind};

const LIMIT_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
const REMAINING_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");
const RESET_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-reset-requests");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// When to come back after too many turns at once: nobody knows when one of them ends.
const WAIT_FOR_A_TURN: Duration = Duration::from_secs(1);

/// Which limit refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// The key's requests a minute.
    KeyRequests,
    /// Everybody's requests a minute.
    GlobalRequests,
    /// The key's turns at once.
    ConcurrentTurns,
}

impl Limit {
    /// Every limit, for metrics that start at zero.
    pub const ALL: &'static [Self] =
        &[Self::KeyRequests, Self::GlobalRequests, Self::ConcurrentTurns];

    /// The metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyRequests => "key_requests",
            Self::GlobalRequests => "global_requests",
            Self::ConcurrentTurns => "concurrent_turns",
        }
    }
}

/// Where a caller stands with its requests a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Requests a minute, which is also the most in one burst.
    pub limit: u32,
    /// Requests that may be made at once.
    pub remaining: u32,
    /// Until all of them may be made again, rounded up to the time that one request takes to
    /// come back.
    pub reset: Duration,
}

impl Allowance {
    /// Writes the `x-ratelimit-*-requests` headers, as the OpenAI SDKs read them.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(LIMIT_REQUESTS, self.limit.into());
        headers.insert(REMAINING_REQUESTS, self.remaining.into());
        headers.insert(RESET_REQUESTS, text(&spell(self.reset)));
    }
}

/// Leave to run one turn; the place among the key's concurrent turns comes back on drop.
#[derive(Debug)]
pub struct Admission {
    /// Where the key stands now, or everybody where the key has no limit.
    pub allowance: Option<Allowance>,
    _turn: Option<OwnedSemaphorePermit>,
}

/// A request that came too early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What to tell the client: [`FailureKind::RateLimited`], with the time to wait.
    pub failure: Failure,
    /// Which limit it was.
    pub limit: Limit,
    /// Where the caller stands, if the limit is one of requests.
    pub allowance: Option<Allowance>,
}

impl Refused {
    /// Writes when to come back, and where the caller stands.
    pub fn write(&self, headers: &mut HeaderMap) {
        if let Some(allowance) = &self.allowance {
            allowance.write(headers);
        }
        if let Some(wait) = self.failure.retry_after {
            write_retry_after(wait, headers);
        }
    }
}

/// Writes `retry-after` in whole seconds, at least one, and `retry-after-ms`, which the OpenAI
/// SDKs prefer. Both are rounded up: never too early.
pub fn write_retry_after(wait: Duration, headers: &mut HeaderMap) {
    let milliseconds = whole_milliseconds(wait).max(1);
    headers.insert(http::header::RETRY_AFTER, milliseconds.div_ceil(1_000).into());
    headers.insert(RETRY_AFTER_MS, milliseconds.into());
}

/// The limits of all keys together and of each.
#[derive(Debug)]
pub(super) struct Limits<C: Clock> {
    global: Option<Bucket<C>>,
    /// In the order of the configuration.
    of_key: Vec<OfKey<C>>,
}

#[derive(Debug)]
struct OfKey<C: Clock> {
    requests: Option<Bucket<C>>,
    turns: Option<Arc<Semaphore>>,
}

impl<C: Clock + Clone> Limits<C> {
    pub(super) fn new(config: &Config, clock: &C) -> Self {
        let bucket = |limit: Option<NonZeroU32>| limit.map(|limit| Bucket::new(limit, clock));
        let of_key = config.keys.iter().map(|key| OfKey {
            requests: bucket(key.requests_per_minute),
            turns: key.concurrent_turns.map(|limit| Arc::new(semaphore(limit))),
        });
        Self { global: bucket(config.limits.requests_per_minute), of_key: of_key.collect() }
    }

    /// Takes what can be given back first, and from everybody last.
    pub(super) fn admit(&self, key: Option<usize>) -> Result<Admission, Refused> {
        let of_key = key.and_then(|index| self.of_key.get(index));
        let turn = match of_key.and_then(|of_key| of_key.turns.as_ref()) {
            Some(turns) => {
                Some(Arc::clone(turns).try_acquire_owned().map_err(|_| too_many_turns())?)
            }
            None => None,
        };
        let requests = of_key.and_then(|of_key| of_key.requests.as_ref());
        let of_key = requests.map(|bucket| bucket.take(Limit::KeyRequests)).transpose()?;
        let global =
            self.global.as_ref().map(|bucket| bucket.take(Limit::GlobalRequests)).transpose()?;
        Ok(Admission { allowance: of_key.or(global), _turn: turn })
    }
}

fn semaphore(limit: NonZeroU32) -> Semaphore {
    let limit = usize::try_from(limit.get()).unwrap_or(usize::MAX);
    Semaphore::new(limit.min(Semaphore::MAX_PERMITS))
}

fn too_many_turns() -> Refused {
    let failure = Failure::new(
        FailureKind::RateLimited,
        "this API key has as many turns running as it may; wait for one of them to end",
    );
    Refused {
        failure: failure.after(WAIT_FOR_A_TURN),
        limit: Limit::ConcurrentTurns,
        allowance: None,
    }
}

/// An allowance of requests a minute.
struct Bucket<C: Clock> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>,
    quota: Quota,
    clock: C,
}

impl<C: Clock + Clone> Bucket<C> {
    fn new(per_minute: NonZeroU32, clock: &C) -> Self {
        let quota = Quota::per_minute(per_minute);
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone()).with_middleware();
        Self { limiter, quota, clock: clock.clone() }
    }

    fn take(&self, limit: Limit) -> Result<Allowance, Refused> {
        let per_minute = self.quota.burst_size().get();
        let of_one = self.quota.replenish_interval();
        match self.limiter.check() {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let reset = of_one * per_minute.saturating_sub(remaining);
                Ok(Allowance { limit: per_minute, remaining, reset })
            }
            Err(not_until) => {
                let wait = not_until.wait_time_from(self.clock.now());
                let reset = wait + of_one * (per_minute - 1);
                let allowance = Allowance { limit: per_minute, remaining: 0, reset };
                let message = match limit {
                    Limit::GlobalRequests => "this broker has no requests left to give",
                    _ => "this API key has used up its requests",
                };
                let message =
                    format!("{message}: {per_minute} a minute; try again in {}", spell(wait));
                let failure = Failure::new(FailureKind::RateLimited, message).after(wait);
                Err(Refused { failure, limit, allowance: Some(allowance) })
            }
        }
    }
}

impl<C: Clock> fmt::Debug for Bucket<C> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Bucket").field("quota", &self.quota).finish_non_exhaustive()
    }
}

fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// A duration as OpenAI writes it: `0s`, `12ms`, `1s`, `1.5s`, `6m0s`, `1h0m0.25s`.
fn spell(duration: Duration) -> String {
    let milliseconds = whole_milliseconds(duration);
    if (1..1_000).contains(&milliseconds) {
        return format!("{milliseconds}ms");
    }
    let (minutes, milliseconds) = (milliseconds / 60_000, milliseconds % 60_000);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    let mut spelled = match (hours, minutes) {
        (0, 0) => String::new(),
        (0, minutes) => format!("{minutes}m"),
        (hours, minutes) => format!("{hours}h{minutes}m"),
    };
    spelled.push_str(&(milliseconds / 1_000).to_string());
    let fraction = format!(".{:03}", milliseconds % 1_000);
    spelled.push_str(fraction.trim_end_matches('0').trim_end_matches('.'));
    spelled.push('s');
    spelled
}

/// A header value of what [`spell`] writes.
fn text(spelled: &str) -> HeaderValue {
    HeaderValue::from_str(spelled).expect("digits, letters and dots are a header value")
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;
    use crate::gate::Gate;
    use crate::gate::keys::tests::key;

    const SECOND: Duration = Duration::from_secs(1);

    struct Setting {
        gate: Gate<FakeRelativeClock>,
        clock: FakeRelativeClock,
    }

    /// A gate with two keys of one tenant, `one` and `two`, each with these limits.
    fn setting(requests: Option<u32>, turns: Option<u32>, global: Option<u32>) -> Setting {
        let keys = ["one", "two"].map(|name| {
            let mut key = key("acme", name);
            key.requests_per_minute = requests.and_then(NonZeroU32::new);
            key.concurrent_turns = turns.and_then(NonZeroU32::new);
            key
        });
        let mut config = Config { keys: keys.to_vec(), ..Config::default() };
        config.limits.requests_per_minute = global.and_then(NonZeroU32::new);
        let clock = FakeRelativeClock::default();
        Setting { gate: Gate::with_clock(&config, clock.clone()).unwrap(), clock }
    }

    impl Setting {
        fn admit(&self, key: &'static str) -> Result<Admission, Refused> {
            let mut headers = HeaderMap::new();
            headers.insert("x-api-key", HeaderValue::from_static(key));
            self.gate.admit(&self.gate.identify(&headers).unwrap())
        }

        fn limit_of(&self, key: &'static str) -> Limit {
            self.admit(key).unwrap_err().limit
        }
    }

    #[test]
    fn a_key_may_spend_its_minute_at_once_and_then_one_by_one() {
        let setting = setting(Some(60), None, None);
        for left in (0..60).rev() {
            let allowance = setting.admit("one").unwrap().allowance.unwrap();
            assert_eq!((allowance.limit, allowance.remaining), (60, left));
            assert_eq!(allowance.reset, SECOND * (60 - left));
        }
        let refused = setting.admit("one").unwrap_err();
        assert_eq!(refused.limit, Limit::KeyRequests);
        assert_eq!(refused.failure.kind, FailureKind::RateLimited);
        assert_eq!(refused.failure.retry_after, Some(SECOND));
        assert_eq!(refused.allowance.unwrap().reset, 60 * SECOND);
        setting.clock.advance(SECOND);
        assert!(setting.admit("one").is_ok());
        assert!(setting.admit("one").is_err());
    }

    #[test]
    fn coming_back_when_told_to_is_not_too_early() {
        let setting = setting(Some(7), None, None);
        while setting.admit("one").is_ok() {}
        for _ in 0..20 {
            let wait = setting.admit("one").unwrap_err().failure.retry_after.unwrap();
            setting.clock.advance(wait);
            assert!(setting.admit("one").is_ok());
        }
    }

    #[test]
    fn each_key_has_its_own_allowance_also_within_a_tenant() {
        let setting = setting(Some(1), None, None);
        assert!(setting.admit("one").is_ok());
        assert_eq!(setting.limit_of("one"), Limit::KeyRequests);
        assert!(setting.admit("two").is_ok());
    }

    #[test]
    fn the_limit_of_all_keys_binds_them_together() {
        let setting = setting(None, None, Some(2));
        assert_eq!(setting.admit("one").unwrap().allowance.unwrap().remaining, 1);
        assert!(setting.admit("two").is_ok());
        assert_eq!(setting.limit_of("one"), Limit::GlobalRequests);
        setting.clock.advance(30 * SECOND);
        assert!(setting.admit("two").is_ok());
    }

    #[test]
    fn a_key_beyond_its_own_limit_takes_nothing_from_the_others() {
        let setting = setting(Some(1), None, Some(2));
        assert!(setting.admit("one").is_ok());
        for _ in 0..10 {
            assert_eq!(setting.limit_of("one"), Limit::KeyRequests);
        }
        assert!(setting.admit("two").is_ok());
    }

    #[test]
    fn a_turn_that_ends_makes_room_for_the_next() {
        let setting = setting(Some(100), Some(2), None);
        let first = setting.admit("one").unwrap();
        let second = setting.admit("one").unwrap();
        let refused = setting.admit("one").unwrap_err();
        assert_eq!(refused.limit, Limit::ConcurrentTurns);
        assert_eq!(refused.failure.retry_after, Some(SECOND));
        assert!(setting.admit("two").is_ok());
        drop(first);
        let third = setting.admit("one").unwrap();
        assert_eq!(third.allowance.unwrap().remaining, 97, "the refused one took no request");
        drop((second, third));
    }

    #[test]
    fn a_request_that_is_refused_gives_its_turn_back() {
        let setting = setting(Some(1), Some(1), None);
        drop(setting.admit("one").unwrap());
        assert_eq!(setting.limit_of("one"), Limit::KeyRequests);
        setting.clock.advance(60 * SECOND);
        assert!(setting.admit("one").is_ok());
    }

    #[test]
    fn without_limits_everything_is_admitted_and_nothing_is_claimed() {
        let setting = setting(None, None, None);
        for _ in 0..1_000 {
            assert_eq!(setting.admit("one").unwrap().allowance, None);
        }
    }

    #[test]
    fn the_open_caller_knows_only_the_limit_of_all() {
        let mut config = Config::default();
        config.limits.requests_per_minute = NonZeroU32::new(1);
        let gate = Gate::with_clock(&config, FakeRelativeClock::default()).unwrap();
        let caller = gate.identify(&HeaderMap::new()).unwrap();
        assert!(gate.admit(&caller).is_ok());
        assert_eq!(gate.admit(&caller).unwrap_err().limit, Limit::GlobalRequests);
    }

    #[test]
    fn a_refusal_is_written_as_the_openai_sdks_read_it() {
        let setting = setting(Some(40), None, None);
        while setting.admit("one").is_ok() {}
        let mut headers = HeaderMap::new();
        setting.admit("one").unwrap_err().write(&mut headers);
        assert_eq!(headers["x-ratelimit-limit-requests"], "40");
        assert_eq!(headers["x-ratelimit-remaining-requests"], "0");
        assert_eq!(headers["x-ratelimit-reset-requests"], "1m0s");
        assert_eq!(headers["retry-after"], "2");
        assert_eq!(headers["retry-after-ms"], "1500");
    }

    #[test]
    fn a_wait_is_rounded_up_and_never_nothing() {
        let table = [(0, "1", "1"), (1_000_000, "1", "1"), (1_000_000_001, "2", "1001")];
        for (nanoseconds, seconds, milliseconds) in table {
            let mut headers = HeaderMap::new();
            write_retry_after(Duration::from_nanos(nanoseconds), &mut headers);
            assert_eq!(headers["retry-after"], seconds);
            assert_eq!(headers["retry-after-ms"], milliseconds);
        }
    }

    #[test]
    fn durations_are_spelled_as_openai_does() {
        let table = [
            (0, "0s"),
            (12, "12ms"),
            (999, "999ms"),
            (1_000, "1s"),
            (1_500, "1.5s"),
            (8_640, "8.64s"),
            (60_000, "1m0s"),
            (86_400, "1m26.4s"),
            (360_000, "6m0s"),
            (3_600_250, "1h0m0.25s"),
        ];
        for (milliseconds, spelled) in table {
            assert_eq!(spell(Duration::from_millis(milliseconds)), spelled);
        }
    }
}
