//! Failures as Bedrock's runtime tells them: `{"message"}`, named by `x-amzn-errortype`; and the
//! headers that its clients look for.

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use crate::turn::{Failure, FailureKind, RequestId, TurnEvent};

use super::{Replied, json_text};

#[derive(Debug, Serialize)]
struct Body<'a> {
    message: &'a str,
}

/// The body.
pub(super) fn body(failure: &Failure) -> Bytes {
    let mut out = BytesMut::new();
    json_text::value(&Body { message: &failure.message }, &mut out);
    out.freeze()
}

/// The exception, by the names of the operations' own.
fn exception(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::BadRequest
        | FailureKind::UnsupportedParameter
        | FailureKind::PreviousResponseNotFound
        | FailureKind::IdempotencyKeyReused
        | FailureKind::TooLarge
        | FailureKind::UnsupportedMediaType
        | FailureKind::RequestTimeout
        | FailureKind::MethodNotAllowed
        | FailureKind::ContextLengthExceeded
        | FailureKind::UpstreamRejected => "ValidationException",
        FailureKind::InvalidApiKey | FailureKind::ModelNotAllowed | FailureKind::NotAllowed => {
            "AccessDeniedException"
        }
        FailureKind::NotFound
        | FailureKind::ModelNotFound
        | FailureKind::SessionNotFound
        | FailureKind::ResponseNotFound
        | FailureKind::ConversationNotFound
        | FailureKind::FileNotFound
        | FailureKind::TurnNotFound => "ResourceNotFoundException",
        FailureKind::SessionBusy => "ConflictException",
        FailureKind::RateLimited | FailureKind::QueueFull | FailureKind::UpstreamThrottled => {
            "ThrottlingException"
        }
        FailureKind::UpstreamDenied
        | FailureKind::UpstreamProtocol
        | FailureKind::UpstreamDependency => "ModelErrorException",
        FailureKind::UpstreamTimeout => "ModelTimeoutException",
        FailureKind::Draining
        | FailureKind::Overloaded
        | FailureKind::StoreUnavailable
        | FailureKind::UpstreamUnavailable => "ServiceUnavailableException",
        FailureKind::Internal => "InternalServerException",
    }
}

/// The status of a failure that is known before the first byte.
pub(super) fn status(kind: FailureKind) -> u16 {
    match exception(kind) {
        "ModelErrorException" => 424,
        "ModelTimeoutException" => 408,
        _ => kind.status(),
    }
}

/// The member of the streams' union that tells a failure.
pub(super) fn in_stream(kind: FailureKind) -> &'static str {
    match exception(kind) {
        "ThrottlingException" => "throttlingException",
        "ServiceUnavailableException" => "serviceUnavailableException",
        "InternalServerException" => "internalServerException",
        "ModelErrorException" | "ModelTimeoutException" => "modelStreamErrorException",
        _ => "validationException",
    }
}

/// Headers of Converse.
pub(super) fn headers(request: &RequestId, reply: Replied<'_>) -> Vec<(&'static str, String)> {
    let mut headers = vec![("x-amzn-requestid", request.to_string())];
    if let Replied::Refusal(failure) = reply {
        headers.push(("x-amzn-errortype", exception(failure.kind).to_owned()));
    }
    headers
}

/// Headers of `InvokeModel` and its stream.
pub(super) fn invoke_headers(
    request: &RequestId,
    reply: Replied<'_>,
) -> Vec<(&'static str, String)> {
    let mut headers = headers(request, reply);
    match reply {
        Replied::Refusal(_) => {}
        Replied::Stream => {
            headers.push(("x-amzn-bedrock-content-type", "application/json".to_owned()));
        }
        Replied::Whole(events) => {
            let usage = events.iter().rev().find_map(|event| match event {
                TurnEvent::Usage(usage) => Some(*usage),
                _ => None,
            });
            let usage = usage.unwrap_or_default();
            let read = usage.uncached_tokens().to_string();
            headers.push(("x-amzn-bedrock-input-token-count", read));
            headers.push(("x-amzn-bedrock-output-token-count", usage.output_tokens.to_string()));
            let cached = usage.cached_input_tokens.to_string();
            headers.push(("x-amzn-bedrock-cache-read-input-token-count", cached));
            let written = usage.cache_written_tokens.to_string();
            headers.push(("x-amzn-bedrock-cache-write-input-token-count", written));
        }
    }
    headers
}
