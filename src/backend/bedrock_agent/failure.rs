//! The service's exceptions, as failures.
//!
//! They come as an HTTP status with `x-amzn-errortype`, or as exception frames after a 200. Each
//! operation and each stream has an error type of its own, but all of them hold the same
//! exceptions, which is what the table here goes by. What AWS says of itself (ARNs, account ids,
//! request ids) goes to the log; the client is told what to do.

use std::error::Error;
use std::time::Duration;

use aws_sdk_bedrockagentruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockagentruntime::types::error::{
    AccessDeniedException, BadGatewayException, ConflictException, DependencyFailedException,
    InternalServerException, ModelNotReadyException, ResourceNotFoundException,
    ServiceQuotaExceededException, ThrottlingException, ValidationException,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::event_stream::RawMessage;

use crate::backend::aws::aws_error;
use crate::backend::aws_refusal::{is_connect, is_credentials, missing_action, no_credentials};
use crate::turn::{Failure, FailureKind};

/// A failed attempt.
#[derive(Debug)]
pub(in crate::backend) struct Refused {
    /// What to tell the client.
    pub(in crate::backend) failure: Failure,
    /// Whether the service surely did not begin the turn, so that trying again cannot run it
    /// twice.
    pub(in crate::backend) did_not_start: bool,
    /// Whether it came within the stream: the service had accepted the request by then.
    pub(in crate::backend) in_stream: bool,
}

impl Refused {
    /// A failure of a turn that may have run.
    pub(super) fn started(failure: Failure) -> Self {
        Self { failure, did_not_start: false, in_stream: false }
    }
}

/// The exceptions of `InvokeAgent` and `InvokeInlineAgent`, whichever way they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exception {
    AccessDenied,
    BadGateway,
    Conflict,
    DependencyFailed,
    InternalServer,
    ModelNotReady,
    ResourceNotFound,
    ServiceQuotaExceeded,
    Throttling,
    Validation,
    /// Not in the API model; the HTTP status says what there is to say.
    Other(Option<u16>),
}

/// A failure of the call itself.
pub(super) fn of_call<E>(error: &SdkError<E, HttpResponse>) -> Refused
where
    E: Error + ProvideErrorMetadata + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let exception = exception(service.err()).unwrap_or(Exception::Other(Some(status)));
            refused(exception, service.err().message(), &aws_error(error))
        }
        SdkError::DispatchFailure(dispatch) => {
            of_dispatch(&aws_error(error), dispatch.is_timeout())
        }
        SdkError::TimeoutError(_) => {
            tracing::warn!(error = %aws_error(error), "the agent could not be reached in time");
            Refused::started(unreachable())
        }
        SdkError::ResponseError(_) => {
            tracing::warn!(error = %aws_error(error), "the agent's reply was not understood");
            Refused::started(protocol())
        }
        _ => {
            let detail = aws_error(error);
            tracing::error!(error = %detail, "the call to the agent could not be made");
            Refused::started(if is_credentials(&detail) {
                no_credentials()
            } else {
                Failure::internal()
            })
        }
    }
}

/// No reply at all.
fn of_dispatch(detail: &str, was_timeout: bool) -> Refused {
    tracing::warn!(error = %detail, "the agent could not be reached");
    if is_credentials(detail) {
        return Refused::started(no_credentials());
    }
    // A connection that failed carried no request; one that broke may have.
    let did_not_start = was_timeout || is_connect(detail);
    Refused { failure: unreachable(), did_not_start, in_stream: false }
}

/// A failure within the stream; `is_first` where nothing came before it.
pub(super) fn of_stream<E>(error: &SdkError<E, RawMessage>, is_first: bool) -> Refused
where
    E: Error + ProvideErrorMetadata + 'static,
{
    let refused = match error {
        SdkError::ServiceError(service) => {
            let exception = exception(service.err()).unwrap_or(Exception::Other(None));
            refused(exception, service.err().message(), &aws_error(error))
        }
        _ => {
            tracing::warn!(error = %aws_error(error), "the agent's stream broke");
            Refused::started(protocol())
        }
    };
    let did_not_start = refused.did_not_start && is_first;
    Refused { did_not_start, in_stream: true, ..refused }
}

/// The exception that an error of an operation or of a stream holds.
fn exception(error: &(dyn Error + 'static)) -> Option<Exception> {
    let held = error.source()?;
    let table = [
        (held.is::<AccessDeniedException>(), Exception::AccessDenied),
        (held.is::<BadGatewayException>(), Exception::BadGateway),
        (held.is::<ConflictException>(), Exception::Conflict),
        (held.is::<DependencyFailedException>(), Exception::DependencyFailed),
        (held.is::<InternalServerException>(), Exception::InternalServer),
        (held.is::<ModelNotReadyException>(), Exception::ModelNotReady),
        (held.is::<ResourceNotFoundException>(), Exception::ResourceNotFound),
        (held.is::<ServiceQuotaExceededException>(), Exception::ServiceQuotaExceeded),
        (held.is::<ThrottlingException>(), Exception::Throttling),
        (held.is::<ValidationException>(), Exception::Validation),
    ];
    table.into_iter().find_map(|(is_held, exception)| is_held.then_some(exception))
}

fn refused(exception: Exception, aws_message: Option<&str>, detail: &str) -> Refused {
    tracing::warn!(error = %detail, "the agent refused the turn");
    // These say that the turn did not begin; the others may have run a Lambda function.
    let did_not_start = matches!(
        exception,
        Exception::Throttling
            | Exception::Conflict
            | Exception::ModelNotReady
            | Exception::Other(Some(503))
    );
    let failure = failure(exception, aws_message.unwrap_or_default());
    Refused { failure, did_not_start, in_stream: false }
}

fn failure(exception: Exception, aws_message: &str) -> Failure {
    match exception {
        Exception::AccessDenied => denied(aws_message),
        Exception::Throttling => Failure::new(
            FailureKind::UpstreamThrottled,
            "the agent's service is throttling; try again shortly",
        )
        .after(Duration::from_secs(1)),
        Exception::ServiceQuotaExceeded => Failure::new(
            FailureKind::UpstreamThrottled,
            "a quota of the agent's AWS account is used up; try again later",
        )
        .after(Duration::from_secs(30)),
        Exception::Conflict => Failure::new(
            FailureKind::SessionBusy,
            "the agent is still busy with an earlier turn of this session",
        ),
        Exception::ModelNotReady => {
            Failure::new(FailureKind::UpstreamUnavailable, "the agent's model is not ready yet")
                .after(Duration::from_secs(5))
        }
        Exception::ResourceNotFound => Failure::new(
            FailureKind::ModelNotFound,
            "the agent, its alias or what it is made of does not exist upstream; check ids and region",
        )
        .at("model"),
        Exception::Validation => Failure::new(
            FailureKind::UpstreamRejected,
            "the agent refused the request as invalid; the broker's log has the reason",
        ),
        Exception::DependencyFailed | Exception::BadGateway => Failure::new(
            FailureKind::UpstreamDependency,
            "something behind the agent failed: a Lambda function, a knowledge base or its model",
        ),
        Exception::InternalServer => unavailable(),
        Exception::Other(Some(401 | 403)) => denied(aws_message),
        Exception::Other(Some(404)) => failure(Exception::ResourceNotFound, aws_message),
        Exception::Other(Some(429)) => failure(Exception::Throttling, aws_message),
        Exception::Other(Some(status)) if status >= 500 => unavailable(),
        Exception::Other(Some(_)) => failure(Exception::Validation, aws_message),
        Exception::Other(None) => protocol(),
    }
}

fn unavailable() -> Failure {
    Failure::new(FailureKind::UpstreamUnavailable, "the agent's service failed; try again shortly")
        .after(Duration::from_secs(2))
}

fn unreachable() -> Failure {
    Failure::new(
        FailureKind::UpstreamUnavailable,
        "the agent's service cannot be reached; try again shortly",
    )
    .after(Duration::from_secs(2))
}

fn protocol() -> Failure {
    Failure::new(FailureKind::UpstreamProtocol, "the agent's stream broke before its end")
}

/// Names the missing grant where AWS does, else those that a streamed turn needs.
fn denied(aws_message: &str) -> Failure {
    let message = match missing_action(aws_message, "bedrock:") {
        Some(action) => {
            format!(
                "the broker's AWS credentials, or the agent's own role, lack the grant {action}"
            )
        }
        None => {
            "AWS refused the broker's credentials; a streamed turn needs bedrock:InvokeAgent on \
                 the agent alias (bedrock:InvokeInlineAgent for an inline agent), and \
                 bedrock:InvokeModelWithResponseStream on the agent's role"
                .to_owned()
        }
    };
    Failure::new(FailureKind::UpstreamDenied, message)
}

#[cfg(test)]
mod tests {
    use aws_sdk_bedrockagentruntime::operation::invoke_agent::InvokeAgentError;
    use aws_sdk_bedrockagentruntime::operation::invoke_inline_agent::InvokeInlineAgentError;
    use aws_sdk_bedrockagentruntime::types::error::{
        InlineAgentResponseStreamError, ResponseStreamError,
    };

    use super::*;

    #[test]
    fn a_denial_names_the_grant_but_no_arn() {
        let aws = "User: arn:aws:sts::123456789012:assumed-role/x is not authorized to perform: \
                   bedrock:InvokeModelWithResponseStream on resource: arn:aws:bedrock:…";
        let failure = denied(aws);
        assert!(failure.message.contains("bedrock:InvokeModelWithResponseStream"));
        assert!(!failure.message.contains("123456789012"));
    }

    #[test]
    fn both_operations_and_their_streams_hold_the_same_exceptions() {
        let throttled = ThrottlingException::builder().message("slow").build();
        let of_agent = InvokeAgentError::ThrottlingException(throttled.clone());
        let of_inline = InvokeInlineAgentError::ThrottlingException(throttled.clone());
        let in_inline = InlineAgentResponseStreamError::ThrottlingException(throttled);
        let not_ready = ModelNotReadyException::builder().build();
        let in_agent = ResponseStreamError::ModelNotReadyException(not_ready);
        assert_eq!(exception(&of_agent), Some(Exception::Throttling));
        assert_eq!(exception(&of_inline), Some(Exception::Throttling));
        assert_eq!(exception(&in_inline), Some(Exception::Throttling));
        assert_eq!(exception(&in_agent), Some(Exception::ModelNotReady));
    }

    #[test]
    fn a_denial_that_names_no_grant_hints_at_both() {
        let failure = denied("Access denied when calling bedrock: check your request");
        assert!(failure.message.contains("bedrock:InvokeAgent"));
        assert!(failure.message.contains("bedrock:InvokeModelWithResponseStream"));
    }

    #[test]
    fn a_connection_that_was_reset_may_have_carried_the_request() {
        let reset = "dispatch failure: io error: client error (SendRequest): connection error: \
                     Connection reset by peer (os error 104)";
        assert!(!of_dispatch(reset, false).did_not_start);
        let refused = "dispatch failure: io error: client error (Connect): tcp connect error: \
                       Connection refused (os error 111)";
        assert!(of_dispatch(refused, false).did_not_start);
    }

    #[test]
    fn only_what_surely_did_not_start_may_be_tried_again() {
        assert!(refused(Exception::Throttling, None, "").did_not_start);
        assert!(!refused(Exception::InternalServer, None, "").did_not_start);
        assert!(!refused(Exception::DependencyFailed, None, "").did_not_start);
    }
}
