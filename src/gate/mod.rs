//! Who may ask, and how often.
//!
//! [`Gate::identify`] finds out who is calling by the key that came along, [`Caller::may_use`]
//! whether that key may use a model, and [`Gate::admit`] takes a request from the allowances and
//! gives an [`Admission`] to hold for as long as the turn runs, and to charge with the tokens
//! that it used. All but the charge happens before a request's body is read.
//!
//! What the gate keeps is one entry for each configured key, made at the start: nothing grows
//! with what strangers send, and there is nothing to clean up.

use std::net::SocketAddr;

use governor::clock::{Clock, MonotonicClock};
use http::HeaderMap;

use crate::config::Config;
use crate::turn::{Failure, FailureKind};

use self::keys::Keys;
use self::limits::Limits;

mod bucket;
mod keys;
mod limits;
mod standing;

pub use self::keys::{Caller, DuplicateKey};
pub use self::limits::{Admission, Refused};
pub use self::standing::{Allowance, Standing, write_retry_after};

/// Knows the keys and their limits.
///
/// `C` is the clock of the limits, which tests replace.
#[derive(Debug)]
pub struct Gate<C: Clock = MonotonicClock> {
    keys: Keys,
    limits: Limits<C>,
}

/// Who can come through the gate, given where the broker listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Openness {
    /// Whoever has a key.
    Keyed,
    /// Whoever is on this machine: no keys are configured.
    OpenLocally,
    /// Whoever can reach the port: no keys are configured, and the operator insists.
    OpenToAll,
}

impl Openness {
    /// What to say about it at the start.
    #[must_use]
    pub fn warning(self) -> Option<&'static str> {
        match self {
            Self::Keyed => None,
            Self::OpenLocally => {
                Some("no API keys are configured: every process on this machine may ask")
            }
            Self::OpenToAll => Some(
                "no API keys are configured: everyone who can reach this port may ask, \
                 at your expense",
            ),
        }
    }
}

impl Gate {
    /// A gate for the keys and limits of this configuration.
    ///
    /// # Errors
    /// When two entries have the same key, which could not be told apart.
    pub fn new(config: &Config) -> Result<Self, DuplicateKey> {
        Self::with_clock(config, MonotonicClock)
    }
}

impl<C: Clock + Clone> Gate<C> {
    /// The same as [`Gate::new`] with a clock of one's own.
    ///
    /// # Errors
    /// As [`Gate::new`].
    pub fn with_clock(config: &Config, clock: C) -> Result<Self, DuplicateKey> {
        Ok(Self { keys: Keys::new(&config.keys)?, limits: Limits::new(config, &clock) })
    }

    /// Says who can come through when the broker listens there.
    ///
    /// # Errors
    /// Without any key beyond loopback, unless the operator insists (`insecure`); the message
    /// says what to do.
    pub fn check_bind(&self, listen: SocketAddr, insecure: bool) -> Result<Openness, String> {
        if !self.keys.is_empty() {
            return Ok(Openness::Keyed);
        }
        if listen.ip().to_canonical().is_loopback() {
            return Ok(Openness::OpenLocally);
        }
        if insecure {
            return Ok(Openness::OpenToAll);
        }
        Err(format!(
            "no API keys are configured and {listen} can be reached from other machines: add a \
             [[keys]] entry or set API_KEY, or listen on 127.0.0.1, or say --insecure-no-auth"
        ))
    }

    /// Finds out who is calling. Without configured keys it is the open tenant, whatever key
    /// came along: the OpenAI SDKs always send one.
    ///
    /// # Errors
    /// [`FailureKind::InvalidApiKey`] without a key, or with one that is not configured.
    pub fn identify(&self, headers: &HeaderMap) -> Result<Caller, Failure> {
        if self.keys.is_empty() {
            return Ok(Caller::open());
        }
        let mut presented = keys::presented(headers).peekable();
        if presented.peek().is_none() && keys::is_signed(headers) {
            return Err(Failure::new(
                FailureKind::InvalidApiKey,
                "the request is signed for AWS and carries no key of this broker; send one as \
                 `x-api-key: KEY`, or as a bearer token (AWS SDKs: AWS_BEARER_TOKEN_BEDROCK, over \
                 https)",
            ));
        }
        if presented.peek().is_none() {
            return Err(Failure::new(
                FailureKind::InvalidApiKey,
                "no API key came along; send it as `Authorization: Bearer KEY` or `x-api-key: KEY`",
            ));
        }
        presented.find_map(|key| self.keys.find(key)).ok_or_else(|| {
            // LiteLLM tells this refusal from a wrong request by the first words, OpenAI's own.
            Failure::new(
                FailureKind::InvalidApiKey,
                "Incorrect API key provided: it is none of this broker's; check what your client \
                 sends as `Authorization: Bearer KEY` or `x-api-key: KEY`",
            )
        })
    }

    /// Takes one request from the caller's allowance and from everybody's, and one of the
    /// caller's concurrent turns, which comes back when the admission is dropped. Tokens are
    /// taken by [`Admission::charge`]; here they only must not be used up.
    ///
    /// # Errors
    /// [`FailureKind::RateLimited`] at the first limit that is used up. A request that is
    /// refused for its key's limits takes nothing from the others' allowance.
    pub fn admit(&self, caller: &Caller) -> Result<Admission<C>, Box<Refused>> {
        self.limits.admit(caller.key)
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;

    fn gate(config: &str) -> Gate {
        let key = keys::tests::key("acme", "sk-acme");
        let keys = if config == "keyed" { vec![key] } else { Vec::new() };
        Gate::new(&Config { keys, ..Config::default() }).unwrap()
    }

    fn bind(config: &str, listen: &str, insecure: bool) -> Result<Openness, String> {
        gate(config).check_bind(listen.parse().unwrap(), insecure)
    }

    #[test]
    fn with_keys_the_broker_may_listen_anywhere() {
        assert_eq!(bind("keyed", "0.0.0.0:8000", false), Ok(Openness::Keyed));
        assert_eq!(Openness::Keyed.warning(), None);
    }

    #[test]
    fn without_keys_loopback_is_open_with_a_warning() {
        for loopback in ["127.0.0.1:8000", "127.8.8.8:1", "[::1]:8000", "[::ffff:127.0.0.1]:8000"] {
            assert_eq!(bind("open", loopback, false), Ok(Openness::OpenLocally), "{loopback}");
        }
        assert!(Openness::OpenLocally.warning().is_some());
    }

    #[test]
    fn without_keys_beyond_loopback_the_broker_does_not_start_unless_told_so() {
        for wide in ["0.0.0.0:8000", "[::]:8000", "192.0.2.1:80", "[::ffff:192.0.2.1]:80"] {
            let refusal = bind("open", wide, false).unwrap_err();
            assert!(refusal.contains("--insecure-no-auth"), "{refusal}");
            assert_eq!(bind("open", wide, true), Ok(Openness::OpenToAll), "{wide}");
        }
    }

    #[test]
    fn without_keys_everyone_is_the_open_tenant_with_any_key_or_none() {
        let gate = gate("open");
        let mut headers = HeaderMap::new();
        assert_eq!(gate.identify(&headers).unwrap(), Caller::open());
        headers.insert("authorization", "Bearer sk-none".parse().unwrap());
        assert_eq!(gate.identify(&headers).unwrap(), Caller::open());
    }

    #[test]
    fn a_refusal_says_where_the_key_goes_and_repeats_nothing() {
        let gate = gate("keyed");
        let mut headers = HeaderMap::new();
        let missing = gate.identify(&headers).unwrap_err();
        headers.insert("x-api-key", "sk-secret-of-another-broker".parse().unwrap());
        let wrong = gate.identify(&headers).unwrap_err();
        let signed =
            "AWS4-HMAC-SHA256 Credential=AKIASECRET/20260101/us-east-1/bedrock/aws4_request";
        let signed = HeaderMap::from_iter([(AUTHORIZATION, signed.parse().unwrap())]);
        let signed = gate.identify(&signed).unwrap_err();
        assert!(signed.message.contains("AWS_BEARER_TOKEN_BEDROCK"));
        assert_eq!(signed.kind, FailureKind::InvalidApiKey);
        assert!(wrong.message.starts_with("Incorrect API key provided"));
        for failure in [missing, wrong] {
            assert_eq!(failure.kind, FailureKind::InvalidApiKey);
            assert!(failure.message.contains("Authorization: Bearer"));
            assert!(!failure.message.contains("secret"));
        }
    }
}
