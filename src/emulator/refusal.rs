//! How the service says no before it begins an answer: a status, a type and a message.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::REQUEST_ID;

/// An error answer in the service's own form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The HTTP status.
    pub(super) status: StatusCode,
    /// What `x-amzn-errortype` says; `None` for an answer that no service made, such as a load
    /// balancer's.
    pub(super) kind: Option<&'static str>,
    /// What `message` in the body says.
    pub(super) message: Cow<'static, str>,
}

/// A refusal that a fault of this spelling causes.
#[derive(Debug)]
pub(super) struct RefusalFault {
    /// How the fault is spelled.
    pub(super) spelling: &'static str,
    /// Whether it meets only calls that ask for a streamed answer.
    pub(super) streaming_only: bool,
    status: StatusCode,
    kind: Option<&'static str>,
    message: &'static str,
}

impl RefusalFault {
    /// What the caller is told.
    pub(super) fn refusal(&self) -> Refusal {
        Refusal { status: self.status, kind: self.kind, message: self.message.into() }
    }
}

const fn fault(
    spelling: &'static str,
    status: StatusCode,
    kind: &'static str,
    message: &'static str,
) -> RefusalFault {
    RefusalFault { spelling, streaming_only: false, status, kind: Some(kind), message }
}

/// Every fault that refuses a call.
pub(super) const FAULTS: &[RefusalFault] = &[
    fault(
        "throttle",
        StatusCode::TOO_MANY_REQUESTS,
        "ThrottlingException",
        "Too many requests, please wait before trying again.",
    ),
    fault(
        "access-denied",
        StatusCode::FORBIDDEN,
        "AccessDeniedException",
        "The caller is not authorized to perform: bedrock:InvokeAgent.",
    ),
    RefusalFault {
        streaming_only: true,
        ..fault(
            "access-denied-streaming",
            StatusCode::FORBIDDEN,
            "AccessDeniedException",
            "The caller is not authorized to perform: bedrock:InvokeModelWithResponseStream.",
        )
    },
    fault(
        "not-found",
        StatusCode::NOT_FOUND,
        "ResourceNotFoundException",
        "The agent or its alias was not found.",
    ),
    fault(
        "validation",
        StatusCode::BAD_REQUEST,
        "ValidationException",
        "The request is not valid: emulated fault.",
    ),
    fault(
        "conflict",
        StatusCode::CONFLICT,
        "ConflictException",
        "Another operation is in progress: emulated fault.",
    ),
    fault(
        "dependency",
        StatusCode::FAILED_DEPENDENCY,
        "DependencyFailedException",
        "A resource that the agent depends on failed.",
    ),
    fault(
        "quota",
        StatusCode::BAD_REQUEST,
        "ServiceQuotaExceededException",
        "A quota of the account is used up.",
    ),
    fault(
        "model-not-ready",
        StatusCode::FAILED_DEPENDENCY,
        "ModelNotReadyException",
        "The model is not ready for inference.",
    ),
    fault(
        "internal",
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalServerException",
        "The service failed: emulated fault.",
    ),
    fault(
        "bad-gateway",
        StatusCode::BAD_GATEWAY,
        "BadGatewayException",
        "A resource behind the agent did not answer properly.",
    ),
    fault(
        "model-timeout",
        StatusCode::REQUEST_TIMEOUT,
        "ModelTimeoutException",
        "The model took too long to answer.",
    ),
    fault("model-error", StatusCode::FAILED_DEPENDENCY, "ModelErrorException", "The model failed."),
    fault(
        "context-overflow",
        StatusCode::BAD_REQUEST,
        "ValidationException",
        "Input is too long for requested model.",
    ),
    RefusalFault {
        kind: None,
        ..fault("503", StatusCode::SERVICE_UNAVAILABLE, "", "Service Unavailable")
    },
    fault(
        "expired-token",
        StatusCode::FORBIDDEN,
        "ExpiredTokenException",
        "The security token included in the request is expired.",
    ),
];

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, kind: Some(kind), message: message.into() }
    }

    /// The request is well-formed and means nothing.
    pub(super) fn validation(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ValidationException", message)
    }

    /// The value of a member breaks a rule of the service's model.
    pub(super) fn constraint(member: &'static str, rule: &'static str) -> Self {
        Self::validation(format!(
            "1 validation error detected: Value at '{member}' failed to satisfy constraint: {rule}"
        ))
    }

    /// The body is not the JSON that the operation takes.
    pub(super) fn serialization(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "SerializationException", message)
    }

    /// There is no such operation.
    pub(super) fn unknown_operation() -> Self {
        let message = "The requested operation is not known here.";
        Self::new(StatusCode::NOT_FOUND, "UnknownOperationException", message)
    }

    /// The agent or its alias does not exist.
    pub(super) fn not_found(agent: &str) -> Self {
        let message = format!("Could not find the agent {agent}.");
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
    }

    /// Another call runs on the session.
    pub(super) fn conflict() -> Self {
        let message = "Another call is running on this session; wait for it to end.";
        Self::new(StatusCode::CONFLICT, "ConflictException", message)
    }

    /// Another call runs on the session, as AgentCore says it.
    pub(super) fn retryable_conflict() -> Self {
        let message = "Another invocation is in progress on this session.";
        Self::new(StatusCode::CONFLICT, "RetryableConflictException", message)
    }

    /// The container behind AgentCore refuses.
    pub(super) fn runtime_client(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FAILED_DEPENDENCY, "RuntimeClientError", message)
    }

    /// The request is not signed.
    pub(super) fn unsigned() -> Self {
        let message = "Missing Authentication Token";
        Self::new(StatusCode::FORBIDDEN, "MissingAuthenticationTokenException", message)
    }

    /// The caller may not do this.
    pub(super) fn denied() -> Self {
        let message = "The caller is not authorized to perform: bedrock:InvokeAgent.";
        Self::new(StatusCode::FORBIDDEN, "AccessDeniedException", message)
    }

    /// The body is larger than the emulator takes.
    pub(super) fn too_large() -> Self {
        let message = "The request body is too large.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException", message)
    }

    /// The body did not arrive in time.
    pub(super) fn too_slow() -> Self {
        let message = "The request body did not arrive in time.";
        Self::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException", message)
    }

    /// The HTTP answer.
    pub(super) fn response(&self, request_id: HeaderValue) -> Response<Full<Bytes>> {
        let (body, content_type) = match self.kind {
            Some(_) => (json!({"message": self.message}).to_string(), "application/json"),
            None => (self.message.to_string(), "text/plain"),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(REQUEST_ID, request_id);
        if let Some(kind) = self.kind {
            headers.insert("x-amzn-errortype", HeaderValue::from_static(kind));
        }
        response
    }
}
