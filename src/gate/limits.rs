//! How often a key may ask, how often all keys together, and how much at once.
//!
//! Limits are kept for each key, not for each tenant: a tenant that shares out its keys shares
//! out its allowance.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Config;
use crate::metrics::Limit;
use crate::turn::{Failure, FailureKind, Usage};

use super::bucket::{Empty, Requests, Tokens};
use super::standing::{Standing, spell, write_retry_after};

/// When to come back after too many turns at once: nobody knows when one of them ends.
const WAIT_FOR_A_TURN: Duration = Duration::from_secs(1);

/// Leave to run one turn; the place among the key's concurrent turns comes back on drop.
#[derive(Debug)]
pub struct Admission<C: Clock = MonotonicClock> {
    /// Where the caller stands, this request taken and this turn's tokens not.
    pub standing: Standing,
    tokens: Option<Arc<Tokens<C>>>,
    _turn: Option<OwnedSemaphorePermit>,
}

impl<C: Clock + Clone> Admission<C> {
    /// Takes what the turn used from the key's tokens, read and written, whether they are there
    /// or not. To be called once, when the turn has ended.
    pub fn charge(&self, usage: &Usage) {
        if let Some(tokens) = &self.tokens {
            tokens.take(usage.total_tokens());
        }
    }
}

/// A request that came too early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What to tell the client: [`FailureKind::RateLimited`], with the time to wait.
    pub failure: Failure,
    /// Which limit it was.
    pub limit: Limit,
    /// Where the caller stands, as far as it was looked at.
    pub standing: Standing,
}

impl Refused {
    /// Writes when to come back, and where the caller stands.
    pub fn write(&self, headers: &mut HeaderMap) {
        self.standing.write(headers);
        if let Some(wait) = self.failure.retry_after {
            write_retry_after(wait, headers);
        }
    }
}

/// The limits of all keys together and of each.
#[derive(Debug)]
pub(super) struct Limits<C: Clock> {
    global: Option<Requests<C>>,
    /// In the order of the configuration.
    of_key: Vec<OfKey<C>>,
}

#[derive(Debug)]
struct OfKey<C: Clock> {
    requests: Option<Requests<C>>,
    tokens: Option<Arc<Tokens<C>>>,
    turns: Option<Arc<Semaphore>>,
}

impl<C: Clock + Clone> Limits<C> {
    pub(super) fn new(config: &Config, clock: &C) -> Self {
        let requests = |limit: Option<NonZeroU32>| limit.map(|limit| Requests::new(limit, clock));
        let of_key = config.keys.iter().map(|key| OfKey {
            requests: requests(key.requests_per_minute),
            tokens: key.tokens_per_minute.map(|limit| Arc::new(Tokens::new(limit, clock))),
            turns: key.concurrent_turns.map(|limit| Arc::new(semaphore(limit))),
        });
        Self { global: requests(config.limits.requests_per_minute), of_key: of_key.collect() }
    }

    /// Looks before it takes, takes what can be given back first, and from everybody last.
    pub(super) fn admit(&self, key: Option<usize>) -> Result<Admission<C>, Box<Refused>> {
        let of_key = key.and_then(|index| self.of_key.get(index));
        let mut standing = Standing::default();
        let tokens = of_key.and_then(|of_key| of_key.tokens.as_ref());
        if let Some(tokens) = tokens {
            standing.tokens = Some(tokens.look().map_err(|empty| no_tokens(&empty))?);
        }
        let turns = of_key.and_then(|of_key| of_key.turns.as_ref());
        let turn = turns.map(|turns| Arc::clone(turns).try_acquire_owned()).transpose();
        let turn = turn.map_err(|_| too_many_turns(standing))?;
        if let Some(requests) = of_key.and_then(|of_key| of_key.requests.as_ref()) {
            let taken = requests.take();
            standing.requests =
                Some(taken.map_err(|empty| no_requests(Limit::KeyRequests, &empty, standing))?);
        }
        if let Some(requests) = &self.global {
            let taken = requests.take();
            let global =
                taken.map_err(|empty| no_requests(Limit::GlobalRequests, &empty, standing))?;
            standing.requests.get_or_insert(global);
        }
        Ok(Admission { standing, tokens: tokens.map(Arc::clone), _turn: turn })
    }
}

fn semaphore(limit: NonZeroU32) -> Semaphore {
    let limit = usize::try_from(limit.get()).unwrap_or(usize::MAX);
    Semaphore::new(limit.min(Semaphore::MAX_PERMITS))
}

fn too_many_turns(standing: Standing) -> Box<Refused> {
    let failure = Failure::new(
        FailureKind::RateLimited,
        "this API key has as many turns running as it may; wait for one of them to end",
    );
    refused(failure.after(WAIT_FOR_A_TURN), Limit::ConcurrentTurns, standing)
}

fn no_tokens(empty: &Empty) -> Box<Refused> {
    let failure = used_up("this API key has used up its tokens", empty);
    let standing = Standing { tokens: Some(empty.allowance), requests: None };
    refused(failure, Limit::KeyTokens, standing)
}

fn no_requests(limit: Limit, empty: &Empty, standing: Standing) -> Box<Refused> {
    let what = match limit {
        Limit::GlobalRequests => "this broker has no requests left to give",
        _ => "this API key has used up its requests",
    };
    let standing = Standing { requests: Some(empty.allowance), ..standing };
    refused(used_up(what, empty), limit, standing)
}

fn refused(failure: Failure, limit: Limit, standing: Standing) -> Box<Refused> {
    Box::new(Refused { failure, limit, standing })
}

fn used_up(what: &str, empty: &Empty) -> Failure {
    let (limit, wait) = (empty.allowance.limit, empty.wait);
    let message = format!("{what}: {limit} a minute; try again in {}", spell(wait));
    Failure::new(FailureKind::RateLimited, message).after(wait)
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use http::HeaderValue;

    use super::*;
    use crate::config;
    use crate::gate::Gate;
    use crate::gate::keys::tests::key;
    use crate::gate::standing::Allowance;

    const SECOND: Duration = Duration::from_secs(1);

    struct Setting {
        gate: Gate<FakeRelativeClock>,
        clock: FakeRelativeClock,
    }

    /// A gate with two keys of one tenant, `one` and `two`, each with these limits.
    fn setting(requests: Option<u32>, turns: Option<u32>, global: Option<u32>) -> Setting {
        let mut limited = key("acme", "");
        limited.requests_per_minute = requests.and_then(NonZeroU32::new);
        limited.concurrent_turns = turns.and_then(NonZeroU32::new);
        setting_of(&limited, global)
    }

    /// The same with a limit on tokens alone.
    fn setting_with_tokens(per_minute: u32) -> Setting {
        let mut limited = key("acme", "");
        limited.tokens_per_minute = NonZeroU32::new(per_minute);
        setting_of(&limited, None)
    }

    /// Both keys are limited like this one.
    fn setting_of(limited: &config::Key, global: Option<u32>) -> Setting {
        let keys = ["one", "two"]
            .map(|name| config::Key { hash: key("acme", name).hash, ..limited.clone() });
        let mut config = Config { keys: keys.to_vec(), ..Config::default() };
        config.limits.requests_per_minute = global.and_then(NonZeroU32::new);
        let clock = FakeRelativeClock::default();
        Setting { gate: Gate::with_clock(&config, clock.clone()).unwrap(), clock }
    }

    /// What a turn used, in both directions together.
    fn used(tokens: u64) -> Usage {
        let input_tokens = tokens / 3;
        Usage { input_tokens, output_tokens: tokens - input_tokens, ..Usage::default() }
    }

    impl Setting {
        fn admit(&self, key: &'static str) -> Result<Admission<FakeRelativeClock>, Box<Refused>> {
            let mut headers = HeaderMap::new();
            headers.insert("x-api-key", HeaderValue::from_static(key));
            self.gate.admit(&self.gate.identify(&headers).unwrap())
        }

        fn tokens_of(&self, key: &'static str) -> Allowance {
            let standing = match self.admit(key) {
                Ok(admission) => admission.standing,
                Err(refused) => refused.standing,
            };
            standing.tokens.unwrap()
        }

        fn limit_of(&self, key: &'static str) -> Limit {
            self.admit(key).unwrap_err().limit
        }
    }

    #[test]
    fn a_key_may_spend_its_minute_at_once_and_then_one_by_one() {
        let setting = setting(Some(60), None, None);
        for left in (0..60).rev() {
            let allowance = setting.admit("one").unwrap().standing.requests.unwrap();
            assert_eq!((allowance.limit, allowance.remaining), (60, left));
            assert_eq!(allowance.reset, SECOND * (60 - left));
        }
        let refused = setting.admit("one").unwrap_err();
        assert_eq!(refused.limit, Limit::KeyRequests);
        assert_eq!(refused.failure.kind, FailureKind::RateLimited);
        assert_eq!(refused.failure.retry_after, Some(SECOND));
        assert_eq!(refused.standing.requests.unwrap().reset, 60 * SECOND);
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
        assert_eq!(setting.admit("one").unwrap().standing.requests.unwrap().remaining, 1);
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
        assert_eq!(
            third.standing.requests.unwrap().remaining,
            97,
            "the refused one took no request"
        );
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
            assert_eq!(setting.admit("one").unwrap().standing, Standing::default());
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
    fn a_turn_is_charged_with_what_it_read_and_wrote_when_it_has_ended() {
        let setting = setting_with_tokens(600);
        let full = Allowance { limit: 600, remaining: 600, reset: Duration::ZERO };
        let admission = setting.admit("one").unwrap();
        assert_eq!(admission.standing.tokens, Some(full));
        assert_eq!(setting.tokens_of("one"), full, "a turn that runs has used nothing yet");
        admission.charge(&used(100));
        let left = Allowance { limit: 600, remaining: 500, reset: 10 * SECOND };
        assert_eq!(setting.tokens_of("one"), left);
        assert_eq!(setting.tokens_of("two"), full);
        setting.clock.advance(4 * SECOND);
        assert_eq!(setting.tokens_of("one").remaining, 540);
        setting.clock.advance(60 * SECOND);
        assert_eq!(setting.tokens_of("one"), full);
    }

    #[test]
    fn a_key_that_owes_tokens_waits_until_it_has_paid() {
        let setting = setting_with_tokens(60);
        setting.admit("one").unwrap().charge(&used(90));
        let refused = setting.admit("one").unwrap_err();
        assert_eq!(refused.limit, Limit::KeyTokens);
        assert_eq!(refused.failure.kind, FailureKind::RateLimited);
        assert!(refused.failure.message.contains("tokens: 60 a minute; try again in 31s"));
        assert_eq!(refused.failure.retry_after, Some(31 * SECOND));
        let nothing = Allowance { limit: 60, remaining: 0, reset: 90 * SECOND };
        assert_eq!(refused.standing.tokens, Some(nothing));
        setting.clock.advance(30 * SECOND);
        assert_eq!(setting.limit_of("one"), Limit::KeyTokens);
        setting.clock.advance(SECOND);
        assert_eq!(setting.tokens_of("one").remaining, 1);
        assert!(setting.admit("two").is_ok());
    }

    #[test]
    fn a_debt_of_many_minutes_is_paid_off_also_while_nobody_asks() {
        let setting = setting_with_tokens(7);
        let turns: Vec<_> = (0..10).map(|_| setting.admit("one").unwrap()).collect();
        for turn in turns {
            turn.charge(&used(70));
        }
        let wait = setting.admit("one").unwrap_err().failure.retry_after.unwrap();
        assert!((98 * 60..100 * 60).contains(&wait.as_secs()), "{wait:?}");
        setting.clock.advance(wait);
        assert_eq!(setting.tokens_of("one").remaining, 1);
    }

    #[test]
    fn no_debt_takes_more_than_a_day_to_pay() {
        let day = 86_400 * SECOND;
        for per_minute in [1, 7, 200_000, 1_000_000_000] {
            let setting = setting_with_tokens(per_minute);
            let turns = [(); 3].map(|()| setting.admit("one").unwrap());
            for turn in turns {
                turn.charge(&used(u64::MAX));
            }
            let wait = setting.admit("one").unwrap_err().failure.retry_after.unwrap();
            assert!(wait <= day + 60 * SECOND, "{per_minute}: {wait:?}");
            assert!(per_minute > 1_000_000 || wait >= day, "{per_minute}: {wait:?}");
            setting.clock.advance(wait);
            assert!(setting.admit("one").is_ok(), "{per_minute}");
        }
    }

    #[test]
    fn a_debt_is_taken_whole_by_turns_that_end_at_once() {
        let setting = setting_with_tokens(1_000_000);
        std::thread::scope(|threads| {
            for _ in 0..4 {
                let admission = setting.admit("one").unwrap();
                threads.spawn(move || (0..100).for_each(|_| admission.charge(&used(1_000))));
            }
        });
        assert_eq!(setting.tokens_of("one").remaining, 600_000);
    }

    #[test]
    fn a_key_without_tokens_takes_neither_a_request_nor_a_turn() {
        let mut limited = key("acme", "");
        limited.requests_per_minute = NonZeroU32::new(2);
        limited.tokens_per_minute = NonZeroU32::new(60);
        limited.concurrent_turns = NonZeroU32::new(1);
        let setting = setting_of(&limited, None);
        setting.admit("one").unwrap().charge(&used(60));
        for _ in 0..10 {
            assert_eq!(setting.limit_of("one"), Limit::KeyTokens);
        }
        setting.clock.advance(SECOND);
        let admission = setting.admit("one").unwrap();
        assert_eq!(admission.standing.requests.unwrap().remaining, 0);
        let refused = setting.admit("one").unwrap_err();
        assert_eq!(refused.limit, Limit::ConcurrentTurns);
        assert_eq!(refused.standing.tokens.unwrap().remaining, 1);
    }

    #[test]
    fn tokens_are_written_beside_requests() {
        let mut limited = key("acme", "");
        limited.requests_per_minute = NonZeroU32::new(60);
        limited.tokens_per_minute = NonZeroU32::new(1_200);
        let setting = setting_of(&limited, None);
        let admission = setting.admit("one").unwrap();
        let mut headers = HeaderMap::new();
        admission.standing.write(&mut headers);
        assert_eq!(headers["x-ratelimit-remaining-requests"], "59");
        assert_eq!(headers["x-ratelimit-limit-tokens"], "1200");
        assert_eq!(headers["x-ratelimit-remaining-tokens"], "1200");
        assert_eq!(headers["x-ratelimit-reset-tokens"], "0s");
        admission.charge(&used(1_230));
        let mut headers = HeaderMap::new();
        setting.admit("one").unwrap_err().write(&mut headers);
        assert_eq!(headers["x-ratelimit-limit-tokens"], "1200");
        assert_eq!(headers["x-ratelimit-remaining-tokens"], "0");
        assert_eq!(headers["x-ratelimit-reset-tokens"], "1m1.5s");
        assert_eq!(headers["retry-after"], "2");
        assert_eq!(headers["retry-after-ms"], "1550");
    }
}
