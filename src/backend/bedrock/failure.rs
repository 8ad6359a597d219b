//! The service's exceptions, as failures.
//!
//! They come as an HTTP status with `x-amzn-errortype`, or as exception frames after a 200, under
//! the same names. Much is said in the message of a `ValidationException` alone; its wording is
//! not promised, so a text that is not known stays a plain refusal.

use std::fmt::Write as _;
use std::time::Duration;

use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockruntime::types::error::ConverseStreamOutputError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::event_stream::RawMessage;

use crate::backend::aws::aws_error;
use crate::backend::aws_refusal::{is_credentials, no_credentials};
use crate::turn::{Failure, FailureKind};

use super::answer::NoAnswer;

/// Characters of the service's own words that a client is told.
const TOLD: usize = 300;

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Refused {
    /// What to tell the client.
    pub(super) failure: Failure,
    /// Whether another attempt may go better: a model has no side effects, so all that matters
    /// is that the client has been given nothing.
    pub(super) may_repeat: bool,
    /// Whether the model would answer in one piece, just not in a stream.
    pub(super) wants_whole: bool,
}

impl Refused {
    fn repeatable(failure: Failure) -> Self {
        Self { failure, may_repeat: true, wants_whole: false }
    }

    fn for_good(failure: Failure) -> Self {
        Self { failure, may_repeat: false, wants_whole: false }
    }

    /// Vectors that were none.
    pub(super) fn no_vectors() -> Self {
        let message = "the model's answer was not the vectors that were asked for";
        Self::for_good(Failure::new(FailureKind::UpstreamProtocol, message))
    }

    /// An answer that was none.
    pub(super) fn no_answer(why: NoAnswer) -> Self {
        match why {
            NoAnswer::CutOff => Self::repeatable(protocol()),
            NoAnswer::Malformed => {
                tracing::warn!("the model's output was malformed");
                let message = "the model wrote a call or an answer that Bedrock could not read";
                Self::repeatable(Failure::new(FailureKind::UpstreamProtocol, message))
            }
        }
    }
}

/// A failure of the call itself.
pub(super) fn of_call<E>(error: &SdkError<E, HttpResponse>) -> Refused
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let detail = aws_error(error);
    tracing::warn!(error = %detail, "the call to the model failed");
    let is_credentials = is_credentials(&detail);
    match error {
        SdkError::ServiceError(service) => {
            let refusal = service.err();
            let status = service.raw().status().as_u16();
            of_exception(refusal.code(), Some(status), refusal.message().unwrap_or_default())
        }
        _ if is_credentials => Refused::for_good(no_credentials()),
        SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) => {
            Refused::repeatable(unavailable("the model cannot be reached; try again shortly"))
        }
        SdkError::ResponseError(_) => Refused::for_good(protocol()),
        _ => Refused::for_good(Failure::internal()),
    }
}

/// A failure within the stream.
pub(super) fn of_stream(error: &SdkError<ConverseStreamOutputError, RawMessage>) -> Refused {
    tracing::warn!(error = %aws_error(error), "the model's stream broke");
    match error {
        SdkError::ServiceError(service) => {
            let refusal = service.err();
            of_exception(frame_name(refusal), None, refusal.message().unwrap_or_default())
        }
        _ => Refused::repeatable(protocol()),
    }
}

/// The name of an exception frame, which the SDK tells by the type alone.
fn frame_name(exception: &ConverseStreamOutputError) -> Option<&str> {
    Some(match exception {
        ConverseStreamOutputError::InternalServerException(_) => "InternalServerException",
        ConverseStreamOutputError::ModelStreamErrorException(_) => "ModelStreamErrorException",
        ConverseStreamOutputError::ValidationException(_) => "ValidationException",
        ConverseStreamOutputError::ThrottlingException(_) => "ThrottlingException",
        ConverseStreamOutputError::ServiceUnavailableException(_) => "ServiceUnavailableException",
        _ => return exception.code(),
    })
}

/// An exception, by its name; where that is missing, by its status.
fn of_exception(name: Option<&str>, status: Option<u16>, said: &str) -> Refused {
    let name = name.unwrap_or_default().trim_end_matches("Exception").to_ascii_lowercase();
    match (name.as_str(), status) {
        ("validation", _) => invalid(said),
        ("accessdenied", _) => Refused::for_good(denied(said)),
        ("resourcenotfound", _) => Refused::for_good(no_such_model()),
        ("throttling", _) => Refused::repeatable(throttled()),
        ("servicequotaexceeded", _) => Refused::repeatable(quota_used_up()),
        ("modelnotready", _) => Refused::repeatable(
            unavailable("the model is not ready yet").after(Duration::from_secs(5)),
        ),
        ("modeltimeout", _) => Refused::for_good(Failure::new(
            FailureKind::UpstreamTimeout,
            "the model took longer than Bedrock lets it",
        )),
        ("modelerror" | "modelstreamerror", _) => Refused::repeatable(Failure::new(
            FailureKind::UpstreamDependency,
            "the model failed while it answered; try again",
        )),
        ("internalserver" | "serviceunavailable", _) => Refused::repeatable(down()),
        (_, Some(401 | 403)) => Refused::for_good(denied(said)),
        (_, Some(404)) => Refused::for_good(no_such_model()),
        (_, Some(429)) => Refused::repeatable(throttled()),
        (_, Some(500..)) => Refused::repeatable(down()),
        (_, Some(_)) => invalid(said),
        (_, None) => Refused::repeatable(protocol()),
    }
}

/// What the messages of a `ValidationException` have been seen to hold, in lower case.
const TOO_LONG: &[&str] = &[
    "input is too long",
    "too many input tokens",
    "too many tokens",
    "prompt is too long",
    "exceeds the maximum number of tokens",
    "exceeds the context",
    "context length",
    "context window",
];

fn invalid(said: &str) -> Refused {
    let lower = said.to_ascii_lowercase();
    let holds = |text: &str| lower.contains(text);
    if TOO_LONG.iter().any(|text| holds(text)) {
        let message = "the conversation is longer than this model can read; begin a new one, or \
                       shorten it";
        let failure = Failure::new(FailureKind::ContextLengthExceeded, message).at("messages");
        return Refused::for_good(failure);
    }
    if holds("on-demand throughput") {
        let message = "this model is reached through an inference profile only: put the region's \
                       prefix before its id, as in us.anthropic.…";
        let failure = Failure::new(FailureKind::ModelNotFound, message).at("model");
        return Refused::for_good(failure);
    }
    if holds("model identifier is invalid") {
        return Refused::for_good(no_such_model());
    }
    let failure = Failure::new(
        FailureKind::UpstreamRejected,
        format!("the model refused the request: {}", without_names(said)),
    );
    let wants_whole = holds("streaming") && (holds("tool") || holds("support"));
    Refused { wants_whole, ..Refused::for_good(failure) }
}

fn denied(said: &str) -> Failure {
    let lower = said.to_ascii_lowercase();
    if lower.contains("access to the model") {
        let message = "the broker's AWS account has no access to this model";
        return Failure::new(FailureKind::ModelNotFound, message).at("model");
    }
    let message = "AWS refused the broker's credentials; a model needs \
                   bedrock:InvokeModelWithResponseStream, or bedrock:InvokeModel where it does \
                   not stream";
    Failure::new(FailureKind::UpstreamDenied, message)
}

fn no_such_model() -> Failure {
    let message = "Bedrock does not know this model in this region; check its id";
    Failure::new(FailureKind::ModelNotFound, message).at("model")
}

fn throttled() -> Failure {
    let message = "the model is throttled; try again shortly";
    Failure::new(FailureKind::UpstreamThrottled, message).after(Duration::from_secs(1))
}

fn quota_used_up() -> Failure {
    let message = "a quota of the model's AWS account is used up; try again later";
    Failure::new(FailureKind::UpstreamThrottled, message).after(Duration::from_secs(30))
}

fn down() -> Failure {
    unavailable("the model's service failed; try again shortly")
}

fn unavailable(message: &'static str) -> Failure {
    Failure::new(FailureKind::UpstreamUnavailable, message).after(Duration::from_secs(2))
}

fn protocol() -> Failure {
    Failure::new(FailureKind::UpstreamProtocol, "the model's stream broke before its end")
}

/// The service's own words without ARNs and account ids, and not too many of them.
fn without_names(said: &str) -> String {
    let mut told = String::new();
    for word in said.split_whitespace() {
        let is_name = word.contains("arn:") || is_account(word);
        let word = if is_name { "…" } else { word };
        // A string takes everything.
        let _ = write!(told, "{}{word}", if told.is_empty() { "" } else { " " });
    }
    if let Some((end, _)) = told.char_indices().nth(TOLD) {
        told.truncate(end);
        told.push('…');
    }
    told.trim_end_matches('.').to_owned()
}

fn is_account(word: &str) -> bool {
    let digits = word.trim_matches(|c: char| !c.is_ascii_digit());
    digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, said: &str) -> FailureKind {
        of_exception(Some(name), Some(400), said).failure.kind
    }

    #[test]
    fn every_exception_has_its_kind_whichever_way_it_came() {
        let cases = [
            ("ThrottlingException", FailureKind::UpstreamThrottled),
            ("throttlingException", FailureKind::UpstreamThrottled),
            ("ServiceQuotaExceededException", FailureKind::UpstreamThrottled),
            ("AccessDeniedException", FailureKind::UpstreamDenied),
            ("ResourceNotFoundException", FailureKind::ModelNotFound),
            ("ModelTimeoutException", FailureKind::UpstreamTimeout),
            ("ModelErrorException", FailureKind::UpstreamDependency),
            ("modelStreamErrorException", FailureKind::UpstreamDependency),
            ("ModelNotReadyException", FailureKind::UpstreamUnavailable),
            ("InternalServerException", FailureKind::UpstreamUnavailable),
            ("serviceUnavailableException", FailureKind::UpstreamUnavailable),
            ("ValidationException", FailureKind::UpstreamRejected),
        ];
        for (name, expected) in cases {
            assert_eq!(kind(name, ""), expected, "{name}");
        }
    }

    #[test]
    fn the_words_of_a_refusal_say_more() {
        let refused = |said| of_exception(Some("ValidationException"), Some(400), said).failure;
        for said in [
            "Input is too long for requested model.",
            "prompt is too long: 210000 tokens > 200000 maximum",
            "Too many input tokens. Max input tokens: 8192",
        ] {
            let failure = refused(said);
            assert_eq!(failure.kind, FailureKind::ContextLengthExceeded, "{said}");
            assert_eq!(failure.param.as_deref(), Some("messages"));
        }
        let on_demand =
            refused("Invocation of model ID x with on-demand throughput isn’t supported.");
        assert!(on_demand.message.contains("inference profile"));
        let unknown = refused("The provided model identifier is invalid.");
        assert_eq!(unknown.kind, FailureKind::ModelNotFound);
        let denied = of_exception(
            Some("AccessDeniedException"),
            Some(403),
            "You don't have access to the model with the specified model ID.",
        );
        assert_eq!(denied.failure.kind, FailureKind::ModelNotFound);
    }

    #[test]
    fn a_refusal_is_passed_on_without_names_of_the_account() {
        let said = "The model arn:aws:bedrock:us-east-1:123456789012:x of 123456789012 takes no \
                    temperature.";
        let failure = of_exception(Some("ValidationException"), Some(400), said).failure;
        let expected = "the model refused the request: The model … of … takes no temperature";
        assert_eq!(failure.message, expected);
    }

    #[test]
    fn what_is_temporary_may_be_tried_again() {
        for name in ["ThrottlingException", "ServiceUnavailableException", "ModelErrorException"] {
            assert!(of_exception(Some(name), None, "").may_repeat, "{name}");
        }
        for name in ["ValidationException", "AccessDeniedException", "ModelTimeoutException"] {
            assert!(!of_exception(Some(name), None, "").may_repeat, "{name}");
        }
    }

    #[test]
    fn a_model_that_streams_no_tools_is_known_by_its_words() {
        let said = "This model doesn't support tool use in streaming mode.";
        assert!(of_exception(Some("ValidationException"), Some(400), said).wants_whole);
    }

    #[test]
    fn an_exception_without_a_name_is_known_by_its_status() {
        let kind = |status| of_exception(None, Some(status), "").failure.kind;
        assert_eq!(kind(403), FailureKind::UpstreamDenied);
        assert_eq!(kind(404), FailureKind::ModelNotFound);
        assert_eq!(kind(429), FailureKind::UpstreamThrottled);
        assert_eq!(kind(503), FailureKind::UpstreamUnavailable);
        assert_eq!(kind(400), FailureKind::UpstreamRejected);
    }
}
