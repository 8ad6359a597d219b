//! What the service's errors mean: to the client, and to whoever may try again.
//!
//! An error has a name, whose stem is the same in every client (`ThrottlingException`,
//! `ThrottlingError`), a message and, in newer versions, a reason. What the service says goes to
//! the log; a client reads of it only why its own request was found wrong.

use std::time::Duration;

use serde::Deserialize;

use crate::backend::http::{HttpError, Reply};
use crate::backend::sign_in::SignInProblem;
use crate::turn::{Failure, FailureKind};

/// Characters of the service's own words that are shown or logged.
const SHOWN: usize = 300;
/// What of an error reply is read.
const ERROR_BYTES: usize = 64 << 10;
/// When to come back to a service that is busy.
const SOON: Duration = Duration::from_secs(1);
/// When to come back once a quota is used up.
const LATER: Duration = Duration::from_secs(3_600);
/// How the service says that it has too much to do.
const HIGH_LOAD: &str = "unexpectedly high load";

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Refused {
    /// What to tell the client. A model does nothing but answer, so nothing is left of it.
    pub(super) failure: Failure,
    /// Whether another attempt may go better.
    pub(super) again: Again,
}

/// How to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Not at all.
    Never,
    /// After so long at least.
    Later(Duration),
    /// With a token that is not expired.
    WithAnotherToken,
    /// Under another id of the conversation.
    AsAnotherConversation,
}

impl Refused {
    fn new(failure: Failure, again: Again) -> Self {
        Self { failure, again }
    }

    fn for_good(kind: FailureKind, message: &'static str) -> Self {
        Self::new(Failure::new(kind, message), Again::Never)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(rename = "__type")]
    kind: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
    reason: Option<String>,
}

/// Why a turn cannot be asked: what a client is told, which is not where the files are.
pub(super) fn of(problem: &SignInProblem) -> Failure {
    tracing::warn!(%problem, "there is no token to ask CodeWhisperer with");
    if problem.is_passing() {
        let message = "the token for CodeWhisperer cannot be renewed now; try again shortly";
        return Failure::new(FailureKind::UpstreamUnavailable, message).after(SOON);
    }
    let message = match problem {
        SignInProblem::SignedOut => {
            "the broker is not signed in to CodeWhisperer; who runs it has to run `outcrop login`"
        }
        SignInProblem::Ended | SignInProblem::Unregistered => {
            "the broker's sign-in to CodeWhisperer has expired; who runs it has to run \
             `outcrop login` again"
        }
        _ => {
            "the broker's sign-in to CodeWhisperer cannot be used; `outcrop login --status` tells \
             who runs it why"
        }
    };
    Failure::new(FailureKind::UpstreamDenied, message)
}

/// A token that makes no header.
pub(super) fn no_header() -> Refused {
    tracing::error!("the token holds what no header may; run `outcrop login` again");
    Refused::new(of(&SignInProblem::Ended), Again::Never)
}

/// A request that cannot be written.
pub(super) fn unwritable(error: &serde_json::Error) -> Refused {
    tracing::error!(%error, "the request to the service could not be written");
    Refused::new(Failure::internal(), Again::Never)
}

/// No answer at all, or one that broke off.
pub(super) fn of_http(error: &HttpError) -> Refused {
    tracing::warn!(%error, "the service could not be asked");
    match error {
        HttpError::Request(_) => Refused::new(Failure::internal(), Again::Never),
        HttpError::NoReply(_) => unavailable("CodeWhisperer cannot be reached; try again shortly"),
        HttpError::Broken(_) | HttpError::TooLong(_) | HttpError::Status { .. } => protocol(),
    }
}

/// An answer that ended where it should not.
pub(super) fn cut(place: &'static str) -> Refused {
    tracing::warn!(place, "the service's answer broke off");
    protocol()
}

/// Frames that cannot be read.
pub(super) fn not_understood(error: &dyn std::error::Error) -> Refused {
    tracing::warn!(%error, "the service's answer was not understood");
    protocol()
}

/// An event that is not what it should be. The error would quote it.
pub(super) fn not_json(error: &serde_json::Error) -> Refused {
    tracing::warn!(column = error.column(), "an event of the service was not understood");
    protocol()
}

fn protocol() -> Refused {
    Refused::for_good(
        FailureKind::UpstreamProtocol,
        "the answer of CodeWhisperer broke off or could not be understood",
    )
}

/// An answer whose status is no success.
pub(super) async fn of_reply(mut reply: Reply) -> Refused {
    let status = reply.status().as_u16();
    let named = reply.header("x-amzn-errortype").to_owned();
    // A body that breaks off says less, not something else.
    let body = reply.beginning(ERROR_BYTES).await.unwrap_or_default();
    let body: Body = serde_json::from_slice(&body).unwrap_or_default();
    let name = body.kind.filter(|kind| !kind.is_empty()).unwrap_or(named);
    let (message, reason) = (body.message.unwrap_or_default(), body.reason.unwrap_or_default());
    log(&name, &message, &reason);
    match stem(&name) {
        // A load balancer, or an error of a later version.
        "" => of_status(status, &message),
        known => {
            named_error(known, &message, &reason).unwrap_or_else(|| of_status(status, &message))
        }
    }
}

/// An exception within the answer.
pub(super) fn of_exception(name: &str, message: &str, reason: &str) -> Refused {
    log(name, message, reason);
    named_error(stem(name), message, reason).unwrap_or_else(|| of_status(500, message))
}

fn log(name: &str, message: &str, reason: &str) {
    let message = shown(message);
    tracing::warn!(name, reason, error = %message, "CodeWhisperer refused the turn");
}

/// `…#ThrottlingException:…` and `throttlingError` are both `throttling`, but for the case of the
/// first letter.
fn stem(name: &str) -> &str {
    let name = name.rsplit('#').next().unwrap_or(name);
    let name = name.split(':').next().unwrap_or(name);
    let stem = name.strip_suffix("Exception").or_else(|| name.strip_suffix("Error"));
    stem.unwrap_or(name)
}

/// What an error of this name means; `None` where it is not known.
fn named_error(stem: &str, message: &str, reason: &str) -> Option<Refused> {
    let (first, rest) = stem.split_at_checked(1)?;
    Some(match (first.to_ascii_lowercase().as_str(), rest) {
        ("a", "ccessDenied") => denied(reason),
        ("e", "xpiredToken") | ("u", "nrecognizedClient") => denied(""),
        ("v", "alidation") => invalid(message, reason),
        ("t", "hrottling") => throttled(message, reason),
        ("s", "erviceQuotaExceeded") => match reason {
            "CONVERSATION_LIMIT_EXCEEDED" => Refused {
                again: Again::AsAnotherConversation,
                ..Refused::for_good(
                    FailureKind::UpstreamThrottled,
                    "CodeWhisperer takes no more of this conversation; begin another",
                )
            },
            _ => quota(),
        },
        ("c", "onflict") => unavailable("CodeWhisperer is at work on this conversation already"),
        ("r", "esourceNotFound") => not_found(),
        ("i", "nternalServer") | ("s", "erviceUnavailable") => overloaded(),
        ("i", "nvalidStateEvent") => {
            let message = "CodeWhisperer cannot go on with this conversation";
            Refused::for_good(FailureKind::UpstreamRejected, message)
        }
        _ => return None,
    })
}

fn of_status(status: u16, message: &str) -> Refused {
    match status {
        400 => invalid(message, ""),
        401 | 403 => denied(""),
        402 => quota(),
        404 => not_found(),
        408 | 504 => Refused::new(
            Failure::new(FailureKind::UpstreamTimeout, "CodeWhisperer took too long; try again"),
            Again::Later(SOON),
        ),
        429 => throttled(message, ""),
        500..=599 => overloaded(),
        _ => protocol(),
    }
}

/// A token that is expired or revoked looks the same as a person without a grant, and which reasons
/// there are nobody says: only where one is known to be of something else is no other token tried.
fn denied(reason: &str) -> Refused {
    let (message, again) = match reason {
        "TEMPORARILY_SUSPENDED" => {
            ("AWS has suspended the broker's use of CodeWhisperer for now", Again::Never)
        }
        _ if reason == "FEATURE_NOT_SUPPORTED" || reason.starts_with("UNAUTHORIZED_") => {
            ("the broker's sign-in may not use this of CodeWhisperer", Again::Never)
        }
        _ => (
            "CodeWhisperer refused the broker's sign-in; who runs it may have to run \
             `outcrop login` again",
            Again::WithAnotherToken,
        ),
    };
    Refused { again, ..Refused::for_good(FailureKind::UpstreamDenied, message) }
}

fn throttled(message: &str, reason: &str) -> Refused {
    match reason {
        "DAILY_REQUEST_COUNT" | "MONTHLY_REQUEST_COUNT" | "OVERAGE_REQUEST_LIMIT_EXCEEDED" => {
            quota()
        }
        "INSUFFICIENT_MODEL_CAPACITY" => overloaded(),
        _ if message.contains(HIGH_LOAD) => overloaded(),
        _ => {
            let message = "CodeWhisperer is throttling; try again shortly";
            let failure = Failure::new(FailureKind::UpstreamThrottled, message).after(SOON);
            Refused::new(failure, Again::Later(SOON))
        }
    }
}

fn quota() -> Refused {
    let message = "the quota of the broker's sign-in to CodeWhisperer is used up";
    let failure = Failure::new(FailureKind::UpstreamThrottled, message).after(LATER);
    Refused::new(failure, Again::Never)
}

fn overloaded() -> Refused {
    unavailable("CodeWhisperer is overloaded or down; try again shortly")
}

fn unavailable(message: &'static str) -> Refused {
    let failure = Failure::new(FailureKind::UpstreamUnavailable, message).after(SOON);
    Refused::new(failure, Again::Later(SOON))
}

fn not_found() -> Refused {
    let message = "CodeWhisperer does not know this model or profile";
    Refused::new(Failure::new(FailureKind::ModelNotFound, message).at("model"), Again::Never)
}

/// What is wrong with the request, by its reason or, in older versions, by its message.
fn invalid(message: &str, reason: &str) -> Refused {
    let is_too_long = matches!(reason, "CONTENT_LENGTH_EXCEEDS_THRESHOLD" | "PROMPT_TOO_LONG")
        || message.contains("Input is too long");
    if is_too_long {
        let message = "the conversation is longer than the model can read";
        let failure = Failure::new(FailureKind::ContextLengthExceeded, message).at("messages");
        return Refused::new(failure, Again::Never);
    }
    match reason {
        "INVALID_MODEL_ID" => {
            let message = "CodeWhisperer does not know this model; leave model_id out for its own";
            let failure = Failure::new(FailureKind::ModelNotFound, message).at("model");
            Refused::new(failure, Again::Never)
        }
        "INVALID_CONVERSATION_ID" => Refused {
            again: Again::AsAnotherConversation,
            ..Refused::for_good(
                FailureKind::UpstreamRejected,
                "CodeWhisperer does not take this conversation",
            )
        },
        _ => {
            let told = match shown(message) {
                words if words.is_empty() => "CodeWhisperer refused the request".to_owned(),
                words => format!("CodeWhisperer refused the request: {words}"),
            };
            let failure = Failure::new(FailureKind::UpstreamRejected, told);
            let param = match reason {
                _ if reason.starts_with("TOOL") => Some("tools"),
                _ if reason.starts_with("IMAGE") || reason.starts_with("DOCUMENT") => {
                    Some("messages")
                }
                _ => None,
            };
            let failure = match param {
                Some(param) => failure.at(param),
                None => failure,
            };
            Refused::new(failure, Again::Never)
        }
    }
}

/// A text on one line, short enough to show.
fn shown(text: &str) -> String {
    let line: String = text.trim().chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    line.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, message, reason; kind and remedy.
    type Case = (&'static str, &'static str, &'static str, FailureKind, Again);

    const LATER: Again = Again::Later(SOON);
    const CASES: &[Case] = &[
        ("AccessDeniedException", "", "", FailureKind::UpstreamDenied, Again::WithAnotherToken),
        (
            "accessDeniedError",
            "",
            "TEMPORARILY_SUSPENDED",
            FailureKind::UpstreamDenied,
            Again::Never,
        ),
        (
            "AccessDeniedException",
            "",
            "FEATURE_NOT_SUPPORTED",
            FailureKind::UpstreamDenied,
            Again::Never,
        ),
        (
            "AccessDeniedException",
            "",
            "SOMETHING_NEW",
            FailureKind::UpstreamDenied,
            Again::WithAnotherToken,
        ),
        ("ThrottlingException", "", "", FailureKind::UpstreamThrottled, LATER),
        (
            "ThrottlingException",
            "",
            "MONTHLY_REQUEST_COUNT",
            FailureKind::UpstreamThrottled,
            Again::Never,
        ),
        (
            "com.amazon#ThrottlingError",
            "",
            "INSUFFICIENT_MODEL_CAPACITY",
            FailureKind::UpstreamUnavailable,
            LATER,
        ),
        ("ServiceQuotaExceededException", "", "", FailureKind::UpstreamThrottled, Again::Never),
        (
            "ServiceQuotaExceededException",
            "",
            "CONVERSATION_LIMIT_EXCEEDED",
            FailureKind::UpstreamThrottled,
            Again::AsAnotherConversation,
        ),
        (
            "ValidationException",
            "",
            "CONTENT_LENGTH_EXCEEDS_THRESHOLD",
            FailureKind::ContextLengthExceeded,
            Again::Never,
        ),
        (
            "ValidationException",
            "Input is too long.",
            "",
            FailureKind::ContextLengthExceeded,
            Again::Never,
        ),
        ("ValidationException", "", "INVALID_MODEL_ID", FailureKind::ModelNotFound, Again::Never),
        (
            "ValidationException",
            "",
            "INVALID_CONVERSATION_ID",
            FailureKind::UpstreamRejected,
            Again::AsAnotherConversation,
        ),
        (
            "ValidationException",
            "Improperly formed request.",
            "",
            FailureKind::UpstreamRejected,
            Again::Never,
        ),
        ("InternalServerException", "", "", FailureKind::UpstreamUnavailable, LATER),
        ("SomethingNewException", "", "", FailureKind::UpstreamUnavailable, LATER),
    ];

    #[test]
    fn each_error_has_its_kind_and_its_remedy() {
        for (name, message, reason, kind, again) in CASES {
            let refused = of_exception(name, message, reason);
            let found = (refused.failure.kind, refused.again);
            assert_eq!(found, (*kind, *again), "{name} {reason}");
        }
    }

    #[test]
    fn a_client_reads_what_is_wrong_with_its_request_and_where() {
        let refused = of_exception("ValidationException", "Bad tool.", "TOOL_SCHEMA_INVALID");
        assert_eq!(refused.failure.message, "CodeWhisperer refused the request: Bad tool");
        assert_eq!(refused.failure.param.as_deref(), Some("tools"));
    }

    #[test]
    fn without_a_token_the_client_is_told_what_to_run_and_no_path() {
        let failure = of(&SignInProblem::SignedOut);
        assert!(failure.message.contains("outcrop login"), "{failure}");
        let path = "/secret/place/tokens.json".into();
        let failure = of(&SignInProblem::Exposed { path, mode: 0o644 });
        assert!(!failure.message.contains("secret"), "{failure}");
        assert_eq!(failure.kind, FailureKind::UpstreamDenied);
    }
}
