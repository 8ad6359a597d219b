//! Failures as Anthropic's API tells them: `{"type":"error","error":{"type","message"}}`.
//!
//! The types are the API's closed set, and the statuses are those that go with them; 529 is its
//! own, for a service that has too much to do. The SDKs repeat 408, 409, 429 and what is 500 or
//! more, unless `x-should-retry` says otherwise.

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use crate::turn::{Failure, FailureKind};
use crate::wire::json_text;

#[derive(Debug, Serialize)]
struct Body<'a> {
    r#type: &'static str,
    error: Members<'a>,
}

#[derive(Debug, Serialize)]
struct Members<'a> {
    r#type: &'static str,
    message: &'a str,
}

/// Writes the body.
pub(super) fn write(failure: &Failure, out: &mut BytesMut) {
    let error = Members { r#type: error_type(failure.kind), message: &failure.message };
    json_text::value(&Body { r#type: "error", error }, out);
}

/// The body as bytes.
pub(super) fn body(failure: &Failure) -> Bytes {
    let mut out = BytesMut::new();
    write(failure, &mut out);
    out.freeze()
}

/// The status of a failure that is known before the first byte.
pub(super) fn status(kind: FailureKind) -> u16 {
    match error_type(kind) {
        "overloaded_error" => 529,
        _ => kind.status(),
    }
}

fn error_type(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::BadRequest
        | FailureKind::UnsupportedParameter
        | FailureKind::PreviousResponseNotFound
        | FailureKind::IdempotencyKeyReused
        | FailureKind::UnsupportedMediaType
        | FailureKind::RequestTimeout
        | FailureKind::MethodNotAllowed
        | FailureKind::SessionBusy
        | FailureKind::ContextLengthExceeded
        | FailureKind::UpstreamRejected => "invalid_request_error",
        FailureKind::InvalidApiKey => "authentication_error",
        FailureKind::ModelNotAllowed | FailureKind::NotAllowed => "permission_error",
        FailureKind::NotFound
        | FailureKind::ModelNotFound
        | FailureKind::SessionNotFound
        | FailureKind::ResponseNotFound
        | FailureKind::ConversationNotFound
        | FailureKind::FileNotFound
        | FailureKind::TurnNotFound => "not_found_error",
        FailureKind::TooLarge => "request_too_large",
        FailureKind::RateLimited | FailureKind::QueueFull | FailureKind::UpstreamThrottled => {
            "rate_limit_error"
        }
        FailureKind::Draining
        | FailureKind::Overloaded
        | FailureKind::StoreUnavailable
        | FailureKind::UpstreamUnavailable => "overloaded_error",
        FailureKind::UpstreamTimeout => "timeout_error",
        FailureKind::UpstreamDenied
        | FailureKind::UpstreamProtocol
        | FailureKind::UpstreamDependency
        | FailureKind::Internal => "api_error",
    }
}
