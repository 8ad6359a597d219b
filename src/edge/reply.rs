//! Replies: JSON, errors, and the headers that every reply carries.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use warp::reply::Response;

use crate::gate;
use crate::turn::{Failure, RequestId};
use crate::wire::{Replied, WireFormat, openai_error};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// What scripts in a browser may read of a reply.
const EXPOSED: &str = "content-disposition, x-request-id, request-id, x-session-id, x-outcrop-session, \
                       x-outcrop-turn, x-outcrop-first-token-ms, x-outcrop-usage, idempotent-replayed, openai-processing-ms, retry-after, retry-after-ms, \
                       x-should-retry, x-ratelimit-limit-requests, \
                       x-ratelimit-remaining-requests, x-ratelimit-reset-requests, \
                       x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, \
                       x-ratelimit-reset-tokens";
const METHODS: &str = "GET, POST, DELETE, OPTIONS";

/// A JSON document.
pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    bytes(status, JSON, Bytes::from(value.to_string()))
}

/// A body of some type.
pub(super) fn bytes(status: StatusCode, media_type: HeaderValue, body: Bytes) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

/// A failure in OpenAI's shape.
pub(super) fn failure(failure: &Failure) -> Response {
    failure_as(failure, failure.kind.status(), openai_error::body(failure))
}

/// A failure as a format tells it.
pub(super) fn failure_in(
    format: &dyn WireFormat,
    request: &RequestId,
    failure: &Failure,
) -> Response {
    let mut response = failure_as(failure, format.status(failure.kind), format.refusal(failure));
    put_all(response.headers_mut(), format.headers(request, Replied::Refusal(failure)));
    response
}

fn failure_as(failure: &Failure, status: u16, body: Bytes) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = bytes(status, JSON, body);
    let headers = response.headers_mut();
    if let Some(wait) = failure.retry_after {
        gate::write_retry_after(wait, headers);
    }
    let should_retry = if failure.may_retry() { "true" } else { "false" };
    headers.insert("x-should-retry", HeaderValue::from_static(should_retry));
    response
}

/// Puts the headers that a format wants.
pub(super) fn put_all(headers: &mut HeaderMap, wanted: Vec<(&'static str, String)>) {
    for (name, value) in wanted {
        put(headers, HeaderName::from_static(name), &value);
    }
}

/// Puts a header whose value is text of ours; one that is no header value is left out.
pub(super) fn put(headers: &mut HeaderMap, name: impl Into<HeaderName>, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name.into(), value);
    }
}

/// Lets scripts of the allowed origins read the reply.
pub(super) fn allow_origin(request: &HeaderMap, allowed: &[String], reply: &mut HeaderMap) {
    let Some(origin) = request.get(ORIGIN) else { return };
    if allowed.iter().any(|known| known == "*") {
        reply.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else if allowed.iter().any(|known| known.as_bytes() == origin.as_bytes()) {
        reply.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        reply.append(VARY, HeaderValue::from_static("origin"));
    } else {
        return;
    }
    reply.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
}

/// The answer to a browser that asks whether it may.
pub(super) fn preflight(request: &HeaderMap) -> Response {
    let mut response = Response::new(Bytes::new().into());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    let wanted = request.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let wanted = wanted.unwrap_or_else(|| HeaderValue::from_static("authorization, content-type"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}
