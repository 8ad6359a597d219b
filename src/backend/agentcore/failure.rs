//! The service's exceptions, as failures.
//!
//! Before an answer they come as an HTTP status with `x-amzn-errortype`; in the stream of a
//! harness as exception frames of the same names. What AWS says of itself goes to the log; the
//! client is told what to do.

use std::time::Duration;

use aws_sdk_bedrockagentcore::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockagentcore::operation::invoke_agent_runtime::InvokeAgentRuntimeError;
use aws_sdk_bedrockagentcore::operation::invoke_harness::InvokeHarnessError;
use aws_sdk_bedrockagentcore::operation::stop_runtime_session::StopRuntimeSessionError;
use aws_sdk_bedrockagentcore::types::error::InvokeHarnessStreamOutputError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::event_stream::RawMessage;

use crate::backend::aws::aws_error;
use crate::backend::aws_refusal::{is_connect, is_credentials, missing_action, no_credentials};
use crate::turn::{Failure, FailureKind};

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Refused {
    /// What to tell the client.
    pub(super) failure: Failure,
    /// Whether the service surely did not begin the turn, so that trying again cannot run it
    /// twice.
    pub(super) did_not_start: bool,
}

impl From<Failure> for Refused {
    /// A failure of a turn that began.
    fn from(failure: Failure) -> Self {
        Self { failure, did_not_start: false }
    }
}

/// The exceptions of the operations used, whichever way they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exception {
    AccessDenied,
    InternalServer,
    ResourceNotFound,
    /// A conflict that the service itself calls temporary.
    RetryableConflict,
    /// The container failed, or said so.
    RuntimeClient,
    ServiceQuotaExceeded,
    Throttling,
    Validation,
    /// Not in the API model; the HTTP status says what there is to say.
    Other(Option<u16>),
}

/// An error that is one of the service's exceptions.
pub(super) trait Excepted: ProvideErrorMetadata + std::error::Error + 'static {
    /// Which one; `status` is that of the reply, where it was one.
    fn exception(&self, status: Option<u16>) -> Exception;
}

impl Excepted for InvokeAgentRuntimeError {
    fn exception(&self, status: Option<u16>) -> Exception {
        match self {
            Self::AccessDeniedException(_) => Exception::AccessDenied,
            Self::InternalServerException(_) => Exception::InternalServer,
            Self::ResourceNotFoundException(_) => Exception::ResourceNotFound,
            Self::RetryableConflictException(_) => Exception::RetryableConflict,
            Self::RuntimeClientError(_) => Exception::RuntimeClient,
            Self::ServiceQuotaExceededException(_) => Exception::ServiceQuotaExceeded,
            Self::ThrottlingException(_) => Exception::Throttling,
            Self::ValidationException(_) => Exception::Validation,
            _ => Exception::Other(status),
        }
    }
}

impl Excepted for InvokeHarnessError {
    fn exception(&self, status: Option<u16>) -> Exception {
        match self {
            Self::AccessDeniedException(_) => Exception::AccessDenied,
            Self::InternalServerException(_) => Exception::InternalServer,
            Self::ResourceNotFoundException(_) => Exception::ResourceNotFound,
            Self::RuntimeClientError(_) => Exception::RuntimeClient,
            Self::ServiceQuotaExceededException(_) => Exception::ServiceQuotaExceeded,
            Self::ThrottlingException(_) => Exception::Throttling,
            Self::ValidationException(_) => Exception::Validation,
            _ => Exception::Other(status),
        }
    }
}

impl Excepted for StopRuntimeSessionError {
    fn exception(&self, status: Option<u16>) -> Exception {
        match self {
            Self::AccessDeniedException(_) | Self::UnauthorizedException(_) => {
                Exception::AccessDenied
            }
            Self::InternalServerException(_) => Exception::InternalServer,
            Self::ResourceNotFoundException(_) => Exception::ResourceNotFound,
            Self::ConflictException(_) | Self::RetryableConflictException(_) => {
                Exception::RetryableConflict
            }
            Self::RuntimeClientError(_) => Exception::RuntimeClient,
            Self::ServiceQuotaExceededException(_) => Exception::ServiceQuotaExceeded,
            Self::ThrottlingException(_) => Exception::Throttling,
            Self::ValidationException(_) => Exception::Validation,
            _ => Exception::Other(status),
        }
    }
}

impl Excepted for InvokeHarnessStreamOutputError {
    fn exception(&self, _status: Option<u16>) -> Exception {
        match self {
            Self::InternalServerException(_) => Exception::InternalServer,
            Self::RuntimeClientError(_) => Exception::RuntimeClient,
            Self::ValidationException(_) => Exception::Validation,
            _ => Exception::Other(None),
        }
    }
}

/// A failure of the call itself.
pub(super) fn of_call<E: Excepted>(error: &SdkError<E, HttpResponse>) -> Refused {
    match error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let exception = service.err().exception(Some(status));
            refused(exception, service.err().message(), &aws_error(error))
        }
        SdkError::DispatchFailure(dispatch) => {
            of_dispatch(&aws_error(error), dispatch.is_timeout())
        }
        SdkError::TimeoutError(_) => {
            tracing::warn!(error = %aws_error(error), "AgentCore could not be reached in time");
            unreachable().into()
        }
        SdkError::ResponseError(_) => {
            tracing::warn!(error = %aws_error(error), "AgentCore's reply was not understood");
            broken().into()
        }
        _ => {
            let detail = aws_error(error);
            tracing::error!(error = %detail, "the call to AgentCore could not be made");
            if is_credentials(&detail) { no_credentials() } else { Failure::internal() }.into()
        }
    }
}

/// No reply at all.
fn of_dispatch(detail: &str, was_timeout: bool) -> Refused {
    tracing::warn!(error = %detail, "AgentCore could not be reached");
    if is_credentials(detail) {
        return no_credentials().into();
    }
    // A connection that failed carried no request; one that broke may have.
    Refused { failure: unreachable(), did_not_start: was_timeout || is_connect(detail) }
}

/// A failure within the stream of a harness: the turn has begun by then.
pub(super) fn of_stream(error: &SdkError<InvokeHarnessStreamOutputError, RawMessage>) -> Refused {
    let failed = match error {
        SdkError::ServiceError(service) => {
            let exception = service.err().exception(None);
            refused(exception, service.err().message(), &aws_error(error)).failure
        }
        _ => {
            tracing::warn!(error = %aws_error(error), "the harness's stream broke");
            broken()
        }
    };
    failed.into()
}

fn refused(exception: Exception, aws_message: Option<&str>, detail: &str) -> Refused {
    tracing::warn!(error = %detail, "AgentCore refused the turn");
    // The others may come after the container had the request.
    let did_not_start = matches!(
        exception,
        Exception::Throttling | Exception::RetryableConflict | Exception::Other(Some(503))
    );
    Refused { failure: failure(exception, aws_message.unwrap_or_default()), did_not_start }
}

fn failure(exception: Exception, aws_message: &str) -> Failure {
    match exception {
        Exception::AccessDenied => denied(aws_message),
        Exception::Throttling => Failure::new(
            FailureKind::UpstreamThrottled,
            "AgentCore is throttling; try again shortly",
        )
        .after(Duration::from_secs(1)),
        Exception::ServiceQuotaExceeded => Failure::new(
            FailureKind::UpstreamThrottled,
            "a quota of the AgentCore account is used up; try again later",
        )
        .after(Duration::from_secs(30)),
        Exception::RetryableConflict => Failure::new(
            FailureKind::SessionBusy,
            "AgentCore is still busy with an earlier turn of this session",
        ),
        Exception::ResourceNotFound => Failure::new(
            FailureKind::ModelNotFound,
            "the runtime, the harness or its endpoint does not exist upstream; check the ARN, the \
             qualifier and the region",
        )
        .at("model"),
        Exception::Validation => Failure::new(
            FailureKind::UpstreamRejected,
            "AgentCore refused the request as invalid; the broker's log has the reason",
        ),
        Exception::RuntimeClient => Failure::new(
            FailureKind::UpstreamDependency,
            "the agent's container failed; its own log has the reason",
        ),
        Exception::InternalServer => unavailable(),
        Exception::Other(Some(401 | 403)) => denied(aws_message),
        Exception::Other(Some(404)) => failure(Exception::ResourceNotFound, aws_message),
        Exception::Other(Some(409)) => failure(Exception::RetryableConflict, aws_message),
        Exception::Other(Some(429)) => failure(Exception::Throttling, aws_message),
        Exception::Other(Some(status)) if status >= 500 => unavailable(),
        Exception::Other(Some(_)) => failure(Exception::Validation, aws_message),
        Exception::Other(None) => broken(),
    }
}

fn unavailable() -> Failure {
    Failure::new(FailureKind::UpstreamUnavailable, "AgentCore failed; try again shortly")
        .after(Duration::from_secs(2))
}

fn unreachable() -> Failure {
    Failure::new(FailureKind::UpstreamUnavailable, "AgentCore cannot be reached; try again shortly")
        .after(Duration::from_secs(2))
}

/// The answer broke off, or is none.
pub(super) fn broken() -> Failure {
    Failure::new(FailureKind::UpstreamProtocol, "the agent's answer broke off before its end")
}

/// The agent said itself that it failed.
pub(super) fn reported() -> Failure {
    Failure::new(
        FailureKind::UpstreamDependency,
        "the agent reports an error of its own; its log has the reason",
    )
}

/// The answer has a line that nobody could want.
pub(super) fn too_long() -> Failure {
    Failure::new(
        FailureKind::UpstreamProtocol,
        "the agent's answer has a line that is too long to be read",
    )
}

/// The model behind a harness said what the harness could not use.
pub(super) fn malformed() -> Failure {
    Failure::new(
        FailureKind::UpstreamDependency,
        "the agent's model gave an answer that could not be used; ask again",
    )
}

/// Names the missing grant where AWS does, else those that a turn needs.
fn denied(aws_message: &str) -> Failure {
    let message = match missing_action(aws_message, "bedrock-agentcore:") {
        Some(action) => format!("the broker's AWS credentials lack the grant {action}"),
        None => "AWS refused the broker's credentials; they need \
                 bedrock-agentcore:InvokeAgentRuntime or bedrock-agentcore:InvokeHarness, and \
                 bedrock-agentcore:StopRuntimeSession"
            .to_owned(),
    };
    Failure::new(FailureKind::UpstreamDenied, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_the_grant_but_no_arn() {
        let aws = "User: arn:aws:sts::123456789012:assumed-role/x is not authorized to perform: \
                   bedrock-agentcore:InvokeAgentRuntimeForUser on resource: \
                   arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/x";
        let failure = denied(aws);
        assert!(failure.message.contains("bedrock-agentcore:InvokeAgentRuntimeForUser"));
        assert!(!failure.message.contains("123456789012"));
        let unnamed = denied("arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/x");
        assert!(unnamed.message.contains("bedrock-agentcore:InvokeAgentRuntime"));
        assert!(!unnamed.message.contains("123456789012"));
    }

    #[test]
    fn only_what_surely_did_not_start_may_be_tried_again() {
        for exception in
            [Exception::Throttling, Exception::RetryableConflict, Exception::Other(Some(503))]
        {
            assert!(refused(exception, None, "").did_not_start, "{exception:?}");
        }
        for exception in [
            Exception::InternalServer,
            Exception::RuntimeClient,
            Exception::ServiceQuotaExceeded,
            Exception::Other(Some(500)),
            Exception::Other(None),
        ] {
            assert!(!refused(exception, None, "").did_not_start, "{exception:?}");
        }
        assert!(of_dispatch("client error (Connect): tcp connect error", false).did_not_start);
        assert!(!of_dispatch("client error (SendRequest): reset by peer", false).did_not_start);
    }

    #[test]
    fn statuses_that_the_model_does_not_name_still_say_what_to_do() {
        let kind = |status| failure(Exception::Other(Some(status)), "").kind;
        assert_eq!(kind(403), FailureKind::UpstreamDenied);
        assert_eq!(kind(404), FailureKind::ModelNotFound);
        assert_eq!(kind(429), FailureKind::UpstreamThrottled);
        assert_eq!(kind(502), FailureKind::UpstreamUnavailable);
        assert_eq!(kind(418), FailureKind::UpstreamRejected);
    }
}
