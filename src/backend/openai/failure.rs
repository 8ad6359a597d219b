//! What an upstream's errors mean: to the client, and to whoever may try again.
//!
//! Compatible servers agree on the HTTP statuses, mostly on `{"error":{"message","type","param",
//! "code"}}`, and on no texts. What an upstream says goes to the log; a client reads of it only
//! why its own request was found wrong.

use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use http::StatusCode;
use serde_json::Value;

use crate::backend::http::{HttpError, Reply};
use crate::turn::{Failure, FailureKind};

/// Characters of an upstream's message that are shown or logged.
const SHOWN: usize = 300;
/// Bytes of the name of a member that an upstream finds wrong.
const LONGEST_PARAM: usize = 100;
/// What of an error reply is read.
const ERROR_BYTES: usize = 64 << 10;
/// Waits beyond this are not what a client should be told.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Refused {
    /// What to tell the client. A model does nothing but answer, so nothing is ever left of a
    /// failed attempt.
    pub(super) failure: Failure,
    /// Whether another attempt may go better.
    pub(super) is_passing: bool,
    /// How long the upstream wants to be left alone, where it told.
    pub(super) wait: Option<Duration>,
    /// What the upstream said, where it did.
    pub(super) said: Option<Said>,
}

impl Refused {
    fn new(failure: Failure, is_passing: bool) -> Self {
        Self { failure, is_passing, wait: None, said: None }
    }
}

/// An error in the upstream's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) message: String,
    kind: String,
    code: String,
    pub(super) param: Option<String>,
}

impl Said {
    /// Reads `{"error": …}`, or what servers send in its place.
    pub(super) fn of_body(body: &[u8]) -> Self {
        match serde_json::from_slice(body) {
            Ok(body) => Self::of(&body),
            Err(_) => Self { message: shown(&String::from_utf8_lossy(body)), ..Self::default() },
        }
    }

    /// The same of JSON: an object, the text of one, or its `error`.
    pub(super) fn of(value: &Value) -> Self {
        let error = match value.get("error") {
            Some(error) if !error.is_null() => error,
            _ => value,
        };
        let text = |member: &str| match error.get(member) {
            Some(Value::String(text)) => shown(text),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let message = [error.as_str().map(shown), Some(text("message")), Some(text("detail"))];
        let message = message.into_iter().flatten().find(|message| !message.is_empty());
        Self {
            message: message.unwrap_or_default(),
            kind: text("type"),
            code: text("code"),
            param: Some(text("param")).filter(|param| is_param(param)),
        }
    }

    fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.code.as_str()) || names.contains(&self.kind.as_str())
    }

    /// Whether the upstream does not know a member of the request.
    pub(super) fn refuses_member(&self, name: &str) -> bool {
        const WORDS: &[&str] =
            &["unsupported", "not supported", "unrecognized", "unknown", "not permitted", "extra"];
        let message = self.message.to_lowercase();
        let names_it = self.param.as_deref().is_some_and(|param| param.starts_with(name))
            || message.contains(name);
        names_it
            && (self.is(&["unsupported_parameter", "unknown_parameter"])
                || WORDS.iter().any(|word| message.contains(word)))
    }

    fn is_overflow(&self) -> bool {
        const PHRASES: &[&str] = &[
            "context length",
            "context window",
            "context_length",
            "context size",
            "maximum context",
            "prompt is too long",
            "too many tokens",
        ];
        let message = self.message.to_lowercase();
        self.is(&["context_length_exceeded", "exceed_context_size_error"])
            || PHRASES.iter().any(|phrase| message.contains(phrase))
    }
}

fn is_param(param: &str) -> bool {
    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.[]".contains(&byte);
    (1..=LONGEST_PARAM).contains(&param.len()) && param.bytes().all(is_path)
}

/// A text on one line, short enough to show.
fn shown(text: &str) -> String {
    let is_plain = |c: &char| !c.is_control();
    let line: String = text.trim().chars().filter(is_plain).take(SHOWN).collect();
    line.trim_end_matches('.').to_owned()
}

/// An answer whose status is no success.
pub(super) async fn of_reply(mut reply: Reply) -> Refused {
    let status = reply.status();
    let wait = wait(&reply);
    // A body that breaks off says less, not something else.
    let body = reply.beginning(ERROR_BYTES).await.unwrap_or_default();
    let said = Said::of_body(&body);
    log(status.as_str(), &said);
    let refused = of_status(status, &said);
    let retry_after = wait.or(refused.failure.retry_after);
    let failure = Failure { retry_after, ..refused.failure };
    Refused { failure, wait, said: Some(said), ..refused }
}

/// An error within a stream, or in a body whose status was a success.
pub(super) fn of_said(said: &Said) -> Refused {
    log("within the answer", said);
    let status = said.code.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.filter(|status| !status.is_success());
    if let Some(status) = status {
        return of_status(status, said);
    }
    if said.is(&[
        "rate_limit_exceeded",
        "rate_limit_error",
        "insufficient_quota",
        "requests",
        "tokens",
    ]) {
        return of_status(StatusCode::TOO_MANY_REQUESTS, said);
    }
    if said.is_overflow()
        || said.is(&["invalid_request_error", "content_filter", "BadRequestError"])
    {
        return of_status(StatusCode::BAD_REQUEST, said);
    }
    of_status(StatusCode::INTERNAL_SERVER_ERROR, said)
}

/// No answer at all, or one that broke off.
pub(super) fn of_http(error: &HttpError) -> Refused {
    tracing::warn!(%error, "the upstream could not be asked");
    match error {
        HttpError::Request(_) => Refused::new(Failure::internal(), false),
        HttpError::NoReply(_) => Refused::new(
            Failure::new(
                FailureKind::UpstreamUnavailable,
                "the upstream cannot be reached; try again shortly",
            )
            .after(Duration::from_secs(1)),
            true,
        ),
        HttpError::Broken(_) | HttpError::TooLong(_) | HttpError::Status { .. } => protocol(),
    }
}

/// A request that cannot be written.
pub(super) fn unwritable(error: &serde_json::Error) -> Refused {
    tracing::error!(%error, "the request to the upstream could not be written");
    Refused::new(Failure::internal(), false)
}

/// An upstream that does not keep to its protocol.
pub(super) fn protocol() -> Refused {
    Refused::new(
        Failure::new(
            FailureKind::UpstreamProtocol,
            "the upstream's answer broke off or could not be understood",
        ),
        false,
    )
}

fn log(place: &str, said: &Said) {
    let Said { message, kind, code, .. } = said;
    tracing::warn!(place, code, kind, error = %message, "the upstream refused the turn");
}

fn of_status(status: StatusCode, said: &Said) -> Refused {
    let failure = |kind, message: &'static str| Failure::new(kind, message);
    match status.as_u16() {
        401 | 403 => Refused::new(
            failure(
                FailureKind::UpstreamDenied,
                "the upstream refused the broker's key, or the key may not use this model",
            ),
            false,
        ),
        402 => Refused::new(quota(), false),
        404 => Refused::new(
            failure(FailureKind::ModelNotFound, "the upstream does not know this model")
                .at("model"),
            false,
        ),
        408 | 504 => Refused::new(
            failure(FailureKind::UpstreamTimeout, "the upstream took too long; try again"),
            true,
        ),
        429 if said.is(&["insufficient_quota"]) => Refused::new(quota(), false),
        429 => Refused::new(
            failure(
                FailureKind::UpstreamThrottled,
                "the upstream is throttling; try again shortly",
            )
            .after(Duration::from_secs(1)),
            true,
        ),
        409 | 425 | 500..=599 => Refused::new(
            failure(FailureKind::UpstreamUnavailable, "the upstream failed; try again shortly")
                .after(Duration::from_secs(1)),
            true,
        ),
        400..=499 => Refused::new(of_request(said), false),
        _ => protocol(),
    }
}

fn quota() -> Failure {
    let message = "the quota of the broker's account upstream is used up; try again later";
    Failure::new(FailureKind::UpstreamThrottled, message).after(Duration::from_secs(60))
}

/// What is wrong with the request, in the upstream's own words: they are for its author.
fn of_request(said: &Said) -> Failure {
    if said.is_overflow() {
        let message = match said.message.as_str() {
            "" => "the conversation is longer than the model can read".to_owned(),
            words => format!("the conversation is longer than the model can read: {words}"),
        };
        return Failure::new(FailureKind::ContextLengthExceeded, message).at("messages");
    }
    let message = match said.message.as_str() {
        "" => "the upstream refused the request as invalid".to_owned(),
        words => format!("the upstream refused the request: {words}"),
    };
    let failure = Failure::new(FailureKind::UpstreamRejected, message);
    match &said.param {
        Some(param) => failure.at(param.clone()),
        None => failure,
    }
}

/// When the upstream wants to be asked again.
fn wait(reply: &Reply) -> Option<Duration> {
    let milliseconds = reply.header("retry-after-ms").trim().parse::<f64>().ok();
    let wait = milliseconds.and_then(|wait| Duration::try_from_secs_f64(wait / 1_000.0).ok());
    let wait = wait.or_else(|| retry_after(reply.header("retry-after"), SystemTime::now()));
    wait.filter(|wait| !wait.is_zero()).map(|wait| wait.min(LONGEST_WAIT))
}

/// Seconds, or a date. (RFC 9110, section 10.2.3.)
fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = DateTime::from_str(header, Format::HttpDate).ok()?;
    SystemTime::try_from(date).ok()?.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(status: u16, body: Value) -> Refused {
        of_status(StatusCode::from_u16(status).unwrap(), &Said::of(&body))
    }

    #[test]
    fn each_status_has_its_kind() {
        for (status, kind, is_passing) in [
            (400, FailureKind::UpstreamRejected, false),
            (401, FailureKind::UpstreamDenied, false),
            (402, FailureKind::UpstreamThrottled, false),
            (403, FailureKind::UpstreamDenied, false),
            (404, FailureKind::ModelNotFound, false),
            (408, FailureKind::UpstreamTimeout, true),
            (409, FailureKind::UpstreamUnavailable, true),
            (413, FailureKind::UpstreamRejected, false),
            (422, FailureKind::UpstreamRejected, false),
            (429, FailureKind::UpstreamThrottled, true),
            (500, FailureKind::UpstreamUnavailable, true),
            (503, FailureKind::UpstreamUnavailable, true),
            (504, FailureKind::UpstreamTimeout, true),
            (529, FailureKind::UpstreamUnavailable, true),
            (302, FailureKind::UpstreamProtocol, false),
        ] {
            let refused = of(status, json!({}));
            assert_eq!((refused.failure.kind, refused.is_passing), (kind, is_passing), "{status}");
        }
        let spent = of(429, json!({"error": {"code": "insufficient_quota"}}));
        assert!(!spent.is_passing);
    }

    #[test]
    fn a_conversation_that_is_too_long_has_a_code_of_its_own() {
        for error in [
            json!({"error": {"code": "context_length_exceeded", "message": "Too long."}}),
            json!({"error": {"message": "This model's maximum context length is 8192 tokens."}}),
            json!({"object": "error", "message": "exceeds the available context size"}),
            json!({"error": "prompt is too long"}),
        ] {
            let failure = of(400, error).failure;
            assert_eq!(failure.kind, FailureKind::ContextLengthExceeded);
            assert_eq!(failure.param.as_deref(), Some("messages"));
        }
    }

    #[test]
    fn only_what_concerns_the_request_is_shown_and_only_so_much_of_it() {
        let long = "x".repeat(1_000);
        let wrong =
            json!({"error": {"message": format!("Bad\nschema.{long}"), "param": "tools[0]"}});
        let failure = of(400, wrong.clone()).failure;
        assert!(failure.message.starts_with("the upstream refused the request: Badschema.xxx"));
        assert!(failure.message.len() < 400);
        assert_eq!(failure.param.as_deref(), Some("tools[0]"));
        for status in [401, 404, 429, 500] {
            assert!(!of(status, wrong.clone()).failure.message.contains("schema"));
        }
        let odd = of(422, json!({"detail": "no", "param": "a b"})).failure;
        assert_eq!(
            (odd.message.as_ref(), odd.param),
            ("the upstream refused the request: no", None)
        );
    }

    #[test]
    fn an_error_within_an_answer_is_read_by_its_code() {
        for (error, kind) in [
            (json!({"error": {"code": 503, "message": "x"}}), FailureKind::UpstreamUnavailable),
            (json!({"error": {"code": "429"}}), FailureKind::UpstreamThrottled),
            (json!({"error": {"type": "rate_limit_error"}}), FailureKind::UpstreamThrottled),
            (json!({"error": {"type": "invalid_request_error"}}), FailureKind::UpstreamRejected),
            (json!({"error": "oops"}), FailureKind::UpstreamUnavailable),
            (json!({"error": {"code": 200}}), FailureKind::UpstreamUnavailable),
        ] {
            assert_eq!(of_said(&Said::of(&error)).failure.kind, kind, "{error}");
        }
    }

    #[test]
    fn an_upstream_says_in_seconds_or_by_a_date_when_to_come_back() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 90);
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after(date, now), Some(Duration::from_secs(90)));
        assert_eq!(retry_after(" 2.5 ", now), Some(Duration::from_millis(2_500)));
        let past = now + Duration::from_secs(3_600);
        for (header, now) in [(date, past), ("-1", now), ("soon", now), ("", now), ("NaN", now)] {
            assert_eq!(retry_after(header, now), None, "{header}");
        }
    }

    #[test]
    fn a_member_that_is_not_known_is_told_from_one_that_is_wrong() {
        let said = |message: &str| Said::of(&json!({"error": {"message": message}}));
        let renamed = "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                       'max_completion_tokens' instead.";
        assert!(said(renamed).refuses_member("max_tokens"));
        assert!(
            said("extra fields not permitted: stream_options").refuses_member("stream_options")
        );
        assert!(!said("max_tokens is too large: 999999").refuses_member("max_tokens"));
        assert!(!said("Unsupported parameter: top_k").refuses_member("max_tokens"));
        assert_eq!(Said::of_body(b"<html>no").message, "<html>no");
    }
}
