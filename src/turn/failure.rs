//! How a turn, or the request for one, fails.
//!
//! [`FailureKind`] is closed: the HTTP status, `error.type`, `error.code`, the metric label,
//! whose fault it is and whether a retry may help all follow from it by exhaustive `match`, so
//! that replies, logs and metrics cannot disagree.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// What went wrong, as one of a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The request is malformed or asks for what cannot be given.
    BadRequest,
    /// A field that changes the meaning cannot be honoured.
    UnsupportedParameter,
    /// The body is larger than the limit.
    TooLarge,
    /// The body is of a type we do not read.
    UnsupportedMediaType,
    /// The body did not arrive in time.
    RequestTimeout,
    /// No key, or a wrong one.
    InvalidApiKey,
    /// The tenant may not use this model.
    ModelNotAllowed,
    /// The key may not do this.
    NotAllowed,
    /// No route at this path.
    NotFound,
    /// No model of this name, or the upstream does not know its agent.
    ModelNotFound,
    /// No session of this id in this tenant.
    SessionNotFound,
    /// No turn of this id that can still be resumed in this tenant.
    TurnNotFound,
    /// No file of this id in this tenant.
    FileNotFound,
    /// No response of this id is kept in this tenant.
    ResponseNotFound,
    /// No conversation of this id, or no such item in it, in this tenant.
    ConversationNotFound,
    /// The response that is to be continued is not kept, or not ended, in this tenant.
    PreviousResponseNotFound,
    /// An `Idempotency-Key` came again with another request.
    IdempotencyKeyReused,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// Another turn runs and the policy is to reject.
    SessionBusy,
    /// A limit of the gate is used up.
    RateLimited,
    /// The session's queue is full, or its turn waited too long in it.
    QueueFull,
    /// The upstream refused for load or quota.
    UpstreamThrottled,
    /// The upstream says that the prompt is not acceptable.
    UpstreamRejected,
    /// The transcript is longer than the model can read.
    ContextLengthExceeded,
    /// The upstream refused our credentials or our grants.
    UpstreamDenied,
    /// The upstream broke its protocol, or its stream ended without its proper end.
    UpstreamProtocol,
    /// A part behind the upstream failed (a Lambda function, a knowledge base, a model).
    UpstreamDependency,
    /// The upstream cannot be reached or is down.
    UpstreamUnavailable,
    /// The upstream was silent for too long.
    UpstreamTimeout,
    /// The broker is shutting down.
    Draining,
    /// The broker is at one of its own limits.
    Overloaded,
    /// The store of sessions cannot be read or written.
    StoreUnavailable,
    /// A bug of ours.
    Internal,
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client's: repeating the same request will not help.
    Client,
    /// The upstream's.
    Upstream,
    /// Ours.
    Broker,
}

impl FailureKind {
    /// Every kind, for metrics that start at zero and for tests.
    pub const ALL: &'static [Self] = &[
        Self::BadRequest,
        Self::UnsupportedParameter,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::RequestTimeout,
        Self::InvalidApiKey,
        Self::ModelNotAllowed,
        Self::NotAllowed,
        Self::NotFound,
        Self::ModelNotFound,
        Self::SessionNotFound,
        Self::TurnNotFound,
        Self::FileNotFound,
        Self::ResponseNotFound,
        Self::ConversationNotFound,
        Self::PreviousResponseNotFound,
        Self::IdempotencyKeyReused,
        Self::MethodNotAllowed,
        Self::SessionBusy,
        Self::RateLimited,
        Self::QueueFull,
        Self::UpstreamThrottled,
        Self::UpstreamRejected,
        Self::ContextLengthExceeded,
        Self::UpstreamDenied,
        Self::UpstreamProtocol,
        Self::UpstreamDependency,
        Self::UpstreamUnavailable,
        Self::UpstreamTimeout,
        Self::Draining,
        Self::Overloaded,
        Self::StoreUnavailable,
        Self::Internal,
    ];

    /// The `error.code` on the wire, and the metric label.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::BadRequest => "invalid_request",
            Self::UnsupportedParameter => "unsupported_parameter",
            Self::TooLarge => "request_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::RequestTimeout => "request_timeout",
            Self::InvalidApiKey => "invalid_api_key",
            Self::ModelNotAllowed => "model_not_allowed",
            Self::NotAllowed => "not_allowed",
            Self::NotFound => "not_found",
            Self::ModelNotFound => "model_not_found",
            Self::SessionNotFound => "session_not_found",
            Self::TurnNotFound => "turn_not_found",
            Self::FileNotFound => "file_not_found",
            Self::ResponseNotFound => "response_not_found",
            Self::ConversationNotFound => "conversation_not_found",
            Self::PreviousResponseNotFound => "previous_response_not_found",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::SessionBusy => "session_busy",
            Self::RateLimited => "rate_limit_exceeded",
            Self::QueueFull => "queue_full",
            Self::UpstreamThrottled => "upstream_throttled",
            Self::UpstreamRejected => "upstream_rejected",
            Self::ContextLengthExceeded => "context_length_exceeded",
            Self::UpstreamDenied => "upstream_denied",
            Self::UpstreamProtocol => "upstream_protocol",
            Self::UpstreamDependency => "upstream_dependency",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::Draining => "draining",
            Self::Overloaded => "overloaded",
            Self::StoreUnavailable => "store_unavailable",
            Self::Internal => "internal_error",
        }
    }

    /// The HTTP status when the failure is known before the first byte.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest
            | Self::UnsupportedParameter
            | Self::UpstreamRejected
            | Self::PreviousResponseNotFound
            | Self::ContextLengthExceeded => 400,
            Self::InvalidApiKey => 401,
            Self::ModelNotAllowed | Self::NotAllowed => 403,
            Self::NotFound
            | Self::ModelNotFound
            | Self::SessionNotFound
            | Self::TurnNotFound
            | Self::FileNotFound
            | Self::ResponseNotFound
            | Self::ConversationNotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::SessionBusy => 409,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::IdempotencyKeyReused => 422,
            Self::RateLimited | Self::QueueFull | Self::UpstreamThrottled => 429,
            Self::Internal => 500,
            Self::UpstreamDenied | Self::UpstreamProtocol | Self::UpstreamDependency => 502,
            Self::Draining
            | Self::Overloaded
            | Self::StoreUnavailable
            | Self::UpstreamUnavailable => 503,
            Self::UpstreamTimeout => 504,
        }
    }

    /// The `error.type` on the wire.
    #[must_use]
    pub fn error_type(self) -> &'static str {
        match self {
            Self::BadRequest
            | Self::UnsupportedParameter
            | Self::TooLarge
            | Self::UnsupportedMediaType
            | Self::RequestTimeout
            | Self::InvalidApiKey
            | Self::NotFound
            | Self::ModelNotFound
            | Self::SessionNotFound
            | Self::TurnNotFound
            | Self::FileNotFound
            | Self::ResponseNotFound
            | Self::ConversationNotFound
            | Self::PreviousResponseNotFound
            | Self::IdempotencyKeyReused
            | Self::MethodNotAllowed
            | Self::UpstreamRejected
            | Self::ContextLengthExceeded => "invalid_request_error",
            Self::ModelNotAllowed | Self::NotAllowed => "permission_error",
            Self::SessionBusy => "conflict_error",
            Self::RateLimited | Self::QueueFull | Self::UpstreamThrottled => "rate_limit_error",
            Self::UpstreamDenied
            | Self::UpstreamProtocol
            | Self::UpstreamDependency
            | Self::UpstreamTimeout => "upstream_error",
            Self::UpstreamUnavailable
            | Self::Draining
            | Self::Overloaded
            | Self::StoreUnavailable
            | Self::Internal => "server_error",
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn fault(self) -> Fault {
        match self {
            Self::BadRequest
            | Self::UnsupportedParameter
            | Self::TooLarge
            | Self::UnsupportedMediaType
            | Self::RequestTimeout
            | Self::InvalidApiKey
            | Self::ModelNotAllowed
            | Self::NotAllowed
            | Self::NotFound
            | Self::ModelNotFound
            | Self::SessionNotFound
            | Self::TurnNotFound
            | Self::FileNotFound
            | Self::ResponseNotFound
            | Self::ConversationNotFound
            | Self::PreviousResponseNotFound
            | Self::IdempotencyKeyReused
            | Self::MethodNotAllowed
            | Self::SessionBusy
            | Self::RateLimited
            | Self::QueueFull
            | Self::UpstreamRejected
            | Self::ContextLengthExceeded => Fault::Client,
            Self::UpstreamThrottled
            | Self::UpstreamDenied
            | Self::UpstreamProtocol
            | Self::UpstreamDependency
            | Self::UpstreamUnavailable
            | Self::UpstreamTimeout => Fault::Upstream,
            Self::Draining | Self::Overloaded | Self::StoreUnavailable | Self::Internal => {
                Fault::Broker
            }
        }
    }

    /// Whether the same request may succeed a little later: sent as `x-should-retry`, which the
    /// OpenAI SDKs obey, and as `retryable` on the NDJSON stream.
    ///
    /// A busy session is not retried on purpose: the official SDKs retry 409 by themselves, and
    /// the turn they would repeat is one that the session's policy refused.
    #[must_use]
    pub fn may_retry(self) -> bool {
        match self {
            Self::RateLimited
            | Self::QueueFull
            | Self::UpstreamThrottled
            | Self::UpstreamUnavailable
            | Self::UpstreamTimeout
            | Self::Draining
            | Self::Overloaded
            | Self::StoreUnavailable
            | Self::RequestTimeout => true,
            Self::BadRequest
            | Self::UnsupportedParameter
            | Self::TooLarge
            | Self::UnsupportedMediaType
            | Self::InvalidApiKey
            | Self::ModelNotAllowed
            | Self::NotAllowed
            | Self::NotFound
            | Self::ModelNotFound
            | Self::SessionNotFound
            | Self::TurnNotFound
            | Self::FileNotFound
            | Self::ResponseNotFound
            | Self::ConversationNotFound
            | Self::PreviousResponseNotFound
            | Self::IdempotencyKeyReused
            | Self::MethodNotAllowed
            | Self::SessionBusy
            | Self::UpstreamRejected
            | Self::ContextLengthExceeded
            | Self::UpstreamDenied
            | Self::UpstreamProtocol
            | Self::UpstreamDependency
            | Self::Internal => false,
        }
    }
}

/// A failure: its kind, what to tell the client, and when to come back.
///
/// `message` is for the client and says what to do; upstream details (ARNs, account ids, AWS
/// request ids) belong to the log line of the code that made the failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// For the client: lowercase, no full stop, names the thing.
    pub message: Cow<'static, str>,
    /// The request field at fault, as `error.param`.
    pub param: Option<Cow<'static, str>>,
    /// When to come back, as `retry-after`.
    pub retry_after: Option<Duration>,
    /// Whether the upstream may have run the turn all the same: repeating it could repeat what
    /// it did.
    pub may_have_run: bool,
}

impl Failure {
    /// A failure of this kind with a message for the client.
    pub fn new(kind: FailureKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), param: None, retry_after: None, may_have_run: false }
    }

    /// A malformed request, with the field at fault.
    pub fn bad_field(
        param: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(FailureKind::BadRequest, message).at(param)
    }

    /// A bug of ours; the message tells the client nothing but that.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            FailureKind::Internal,
            "the broker failed on this request; its request id is in the broker's log",
        )
    }

    /// The same failure, naming the request field at fault.
    #[must_use]
    pub fn at(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Whether a client may repeat the request by itself.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        self.kind.may_retry() && !self.may_have_run
    }

    /// The same failure, saying when to come back.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.kind.code(), self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_kind_has_a_code_of_its_own() {
        let codes: HashSet<_> = FailureKind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), FailureKind::ALL.len());
    }

    #[test]
    fn what_a_client_did_wrong_is_a_4xx_and_the_rest_is_not_but_for_throttling() {
        for kind in FailureKind::ALL {
            let is_4xx = (400..500).contains(&kind.status());
            let expected = kind.fault() == Fault::Client || *kind == FailureKind::UpstreamThrottled;
            assert_eq!(is_4xx, expected, "{kind:?}");
        }
    }
}
