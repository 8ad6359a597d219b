//! Where a caller stands with its limits, as the `x-ratelimit-*` headers tell it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// The names of one kind of allowance's headers.
struct Names {
    limit: HeaderName,
    remaining: HeaderName,
    reset: HeaderName,
}

const REQUESTS: Names = Names {
    limit: HeaderName::from_static("x-ratelimit-limit-requests"),
    remaining: HeaderName::from_static("x-ratelimit-remaining-requests"),
    reset: HeaderName::from_static("x-ratelimit-reset-requests"),
};
const TOKENS: Names = Names {
    limit: HeaderName::from_static("x-ratelimit-limit-tokens"),
    remaining: HeaderName::from_static("x-ratelimit-remaining-tokens"),
    reset: HeaderName::from_static("x-ratelimit-reset-tokens"),
};

/// Where a caller stands with what is counted by the minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The key's requests, or everybody's where the key has no limit.
    pub requests: Option<Allowance>,
    /// The key's tokens.
    pub tokens: Option<Allowance>,
}

impl Standing {
    /// Writes the `x-ratelimit-*` headers of what has a limit, as the OpenAI SDKs read them.
    pub fn write(&self, headers: &mut HeaderMap) {
        if let Some(requests) = &self.requests {
            requests.write(&REQUESTS, headers);
        }
        if let Some(tokens) = &self.tokens {
            tokens.write(&TOKENS, headers);
        }
    }
}

/// What is left of a minute's requests or tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// How many a minute, which is also the most in one burst.
    pub limit: u32,
    /// How many there are at once.
    pub remaining: u32,
    /// Until all of them are there again, rounded up to the time that one takes to come back.
    pub reset: Duration,
}

impl Allowance {
    fn write(&self, names: &Names, headers: &mut HeaderMap) {
        headers.insert(&names.limit, self.limit.into());
        headers.insert(&names.remaining, self.remaining.into());
        headers.insert(&names.reset, text(&spell(self.reset)));
    }
}

/// Writes `retry-after` in whole seconds, at least one, and `retry-after-ms`, which the OpenAI
/// SDKs prefer. Both are rounded up: never too early.
pub fn write_retry_after(wait: Duration, headers: &mut HeaderMap) {
    let milliseconds = whole_milliseconds(wait).max(1);
    headers.insert(http::header::RETRY_AFTER, milliseconds.div_ceil(1_000).into());
    headers.insert(RETRY_AFTER_MS, milliseconds.into());
}

fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// A duration as OpenAI writes it: `0s`, `12ms`, `1s`, `1.5s`, `6m0s`, `1h0m0.25s`.
pub(super) fn spell(duration: Duration) -> String {
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
    use super::*;

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
