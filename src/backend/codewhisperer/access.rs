//! How CodeWhisperer is reached, by whatever model.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::backend::http::Client;
use crate::backend::retry::Budget;
use crate::backend::sign_in::{SignIn, Token};
use crate::backend::{AwsClients, lock};
use crate::config::Config;

use super::request::Call;

/// Where the service is for a sign-in without a profile.
pub(super) const HOME_REGION: &str = "us-east-1";
/// What one question beside the turns may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of the answer to one.
const ANSWER_BYTES: usize = 1 << 20;
/// Conversations that go by another id than their own, at most; then all are forgotten, and found
/// out anew.
const MOST_MOVED: usize = 10_000;

/// How CodeWhisperer is reached, by whatever model.
#[derive(Debug)]
pub struct CodeWhispererAccess {
    /// The sign-in that it is asked with.
    pub sign_in: SignIn,
    pub(super) client: Client,
    /// What all turns may spend on retries.
    pub(super) budget: Budget,
    pub(super) conversations: Conversations,
    opts_out: bool,
    /// Stands in for the service's own hosts.
    endpoint: Option<String>,
    was_warned: AtomicBool,
}

impl CodeWhispererAccess {
    /// Opens no connection and reads no file.
    #[must_use]
    pub fn new(config: &Config, aws: &AwsClients) -> Self {
        Self {
            sign_in: SignIn::new(&config.codewhisperer, aws),
            client: Client::new(config.turn.connect_timeout),
            budget: Budget::default(),
            conversations: Conversations::default(),
            opts_out: config.codewhisperer.opt_out,
            endpoint: aws.endpoint().map(str::to_owned),
            was_warned: AtomicBool::new(false),
        }
    }

    /// Says once in the log what it means that this is in use.
    pub fn warn(&self) {
        if !self.was_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "CodeWhisperer is switched on: its interface is internal to AWS, without any \
                 promise, and may change or refuse at any time; see docs/codewhisperer.md"
            );
        }
    }

    /// Whether it may be used while nobody asks for it: a model is configured or was asked for, or
    /// somebody has signed in for it. A sign-in that another program left is no such wish, and
    /// renewing it would take it from that program.
    pub(in crate::backend) fn is_wanted(&self) -> bool {
        self.was_warned.load(Ordering::Relaxed) || self.sign_in.is_ours()
    }

    /// Keeps the sign-in good while nobody speaks; until dropped.
    pub async fn watch(&self) {
        self.sign_in.watch(|| self.is_wanted()).await;
    }

    /// Where the service is, with a final slash.
    pub(super) fn url(&self, own: Option<&str>, region: &str) -> String {
        match own.or(self.endpoint.as_deref()) {
            Some(endpoint) => format!("{}/", endpoint.trim_end_matches('/')),
            None => format!("https://q.{region}.amazonaws.com/"),
        }
    }

    pub(super) fn headers(&self, target: &'static str, token: &Token) -> Option<HeaderMap> {
        const AGENT: &str = concat!("outcrop/", env!("CARGO_PKG_VERSION"));
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.access.expose())).ok()?;
        bearer.set_sensitive(true);
        let opt_out = if self.opts_out { "true" } else { "false" };
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer);
        let json = "application/x-amz-json-1.0";
        for (name, value) in [(CONTENT_TYPE, json), (ACCEPT, "*/*"), (USER_AGENT, AGENT)] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert("x-amz-target", HeaderValue::from_static(target));
        headers.insert("x-amzn-codewhisperer-optout", HeaderValue::from_static(opt_out));
        headers.insert("amz-sdk-invocation-id", invocation_id());
        Some(headers)
    }

    /// Asks something beside the turns; `None` where no answer comes that makes sense.
    pub(super) async fn question<T: DeserializeOwned>(
        &self,
        url: &str,
        target: &'static str,
        token: &Token,
        body: &Value,
    ) -> Option<T> {
        let headers = self.headers(target, token)?;
        let asking = async {
            let mut reply = self.client.post(url, headers, body.to_string()).await.ok()?;
            let is_answer = reply.status().is_success();
            let bytes = reply.beginning(ANSWER_BYTES).await.ok().filter(|_| is_answer)?;
            serde_json::from_slice(&bytes).ok()
        };
        tokio::time::timeout(PATIENCE, asking).await.ok().flatten()
    }
}

fn invocation_id() -> HeaderValue {
    let id = Uuid::new_v4().hyphenated().to_string();
    HeaderValue::try_from(id).expect("a UUID is visible ASCII")
}

/// The region of a profile. It becomes a part of the host that is given the token, so it has to
/// look like one.
pub(super) fn region_of(profile: Option<&str>) -> &str {
    let region = profile.and_then(|arn| arn.split(':').nth(3)).filter(|region| {
        let is_known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !region.is_empty() && region.bytes().all(is_known)
    });
    region.unwrap_or(HOME_REGION)
}

/// Conversations that the service knows by another id than the one that is made of the session's:
/// it refused that one, or told its own.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    moved: Mutex<HashMap<String, String>>,
}

impl Conversations {
    /// From now on the service knows a conversation by this id.
    pub(super) fn moved(&self, own: String, known_as: String) {
        let mut moved = lock(&self.moved);
        if moved.len() >= MOST_MOVED {
            moved.clear();
        }
        moved.insert(own, known_as);
    }

    /// Has a call go on where its conversation, which is `own`, went last.
    pub(super) fn resume(&self, own: &str, call: &mut Call) {
        let known_as = lock(&self.moved).get(own).cloned();
        if let Some(known_as) = known_as {
            call.converse_as(known_as);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_a_region_becomes_part_of_a_host() {
        let of = |region: &str| format!("arn:aws:codewhisperer:{region}:1:profile/x");
        assert_eq!(region_of(Some(&of("eu-central-1"))), "eu-central-1");
        for odd in ["example.com/", "", "x@example.com", "EU"] {
            assert_eq!(region_of(Some(&of(odd))), HOME_REGION, "{odd}");
        }
        assert_eq!(region_of(Some("arn")), HOME_REGION);
        assert_eq!(region_of(None), HOME_REGION);
    }
}
