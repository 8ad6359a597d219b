//! CodeWhisperer: `GenerateAssistantResponse` and `SendMessage`, by awsJson 1.0 and by their REST
//! paths, and the lists of models and profiles; with the demo model behind them.
//!
//! The bearer token must be one that [`sign_in`](super::sign_in) gave and that is good still. A
//! conversation is held to the service's rules, of which it says no more than "Improperly formed
//! request."; what stands between `<instructions>` marks in the first message is read as
//! instructions. A message with the phrase `think:` is thought about; `cite:` brings a web link,
//! or, where its URL is of github.com, a reference to code; after one with `last turn:` the
//! service takes no more of the conversation.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use serde_json::json;

use super::behaviour::Behaviour;
use super::invoke_agent::read;
use super::ledger::Ending;
use super::models::demo_model::{self, Ask};
use super::models::script::{Framing, Pieces, script};
use super::models::seen::OpenCall;
use super::models::thinking::Thinking;
use super::models::{self, Reply, catalogue, tokens};
use super::playback::{Audience as _, Playback};
use super::refusal::Refusal;
use super::routes::{json_reply, request_id};
use super::{Emulated, REQUEST_ID};

mod lists;
mod request;
mod stream;

pub(super) use lists::Known;
use request::Asked;

/// The model that answers.
const MODEL: &str = "us.anthropic.claude-sonnet-4-20250514-v1:0";
/// What the ids of models begin with that there are not.
const MISSING: &str = "missing";
/// What the ids of conversations begin with that are not taken.
const BAD_CONVERSATION: &str = "bad-";
/// What ends a conversation for good.
const LAST_TURN: &str = "last turn:";

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Converse,
    ListModels,
    ListProfiles,
}

/// The operation of a request, by its target or by its path.
fn operation(request: &Request<Incoming>) -> Option<Operation> {
    if request.method() != Method::POST {
        return None;
    }
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
    match (request.uri().path(), target.and_then(|target| target.split_once('.'))) {
        (
            "/",
            Some((
                "AmazonCodeWhispererStreamingService",
                "GenerateAssistantResponse" | "SendMessage",
            )),
        ) => Some(Operation::Converse),
        ("/", Some(("AmazonCodeWhispererService", "ListAvailableModels"))) => {
            Some(Operation::ListModels)
        }
        ("/", Some(("AmazonCodeWhispererService", "ListAvailableProfiles"))) => {
            Some(Operation::ListProfiles)
        }
        ("/generateAssistantResponse" | "/SendMessageStreaming", _) => Some(Operation::Converse),
        _ => None,
    }
}

/// An error of the service.
#[derive(Debug)]
struct Wrong {
    status: StatusCode,
    kind: &'static str,
    message: String,
    reason: Option<&'static str>,
}

impl Wrong {
    fn invalid(message: &str, reason: Option<&'static str>) -> Self {
        let (status, kind) = (StatusCode::BAD_REQUEST, "ValidationException");
        Self { status, kind, message: message.to_owned(), reason }
    }

    /// All that the service says of a conversation that breaks its rules.
    fn improper() -> Self {
        Self::invalid("Improperly formed request.", None)
    }

    fn response(&self) -> Response<Full<Bytes>> {
        let kind = format!("com.amazon.aws.codewhisperer#{}", self.kind);
        let mut body = json!({ "__type": kind, "message": self.message });
        if let Some(reason) = self.reason {
            body["reason"] = json!(reason);
        }
        let mut response = json_reply(&body);
        *response.status_mut() = self.status;
        response.headers_mut().insert(REQUEST_ID, request_id());
        response
    }
}

/// A fault's refusal in this service's words.
impl From<Refusal> for Wrong {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.message.into_owned();
        let (status, kind, reason) = match refusal.kind {
            Some("ServiceQuotaExceededException") => (
                StatusCode::PAYMENT_REQUIRED,
                "ServiceQuotaExceededException",
                Some("MONTHLY_REQUEST_COUNT"),
            ),
            Some("ExpiredTokenException") => (StatusCode::FORBIDDEN, "AccessDeniedException", None),
            Some("ModelNotReadyException") => (
                StatusCode::TOO_MANY_REQUESTS,
                "ThrottlingException",
                Some("INSUFFICIENT_MODEL_CAPACITY"),
            ),
            Some("ValidationException") if message.starts_with("Input is too long") => (
                StatusCode::BAD_REQUEST,
                "ValidationException",
                Some("CONTENT_LENGTH_EXCEEDS_THRESHOLD"),
            ),
            Some("AccessDeniedException") => {
                (StatusCode::FORBIDDEN, "AccessDeniedException", Some("FEATURE_NOT_SUPPORTED"))
            }
            Some(kind) => (refusal.status, kind, None),
            None => (refusal.status, "ServiceUnavailableException", None),
        };
        Self { status, kind, message, reason }
    }
}

/// What a call is going to be answered with.
struct Planned {
    pieces: Pieces,
    behaviour: Behaviour,
}

/// Answers a request, if it is one of CodeWhisperer's.
pub(super) async fn answer(
    emulated: &Emulated,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Request<Incoming>> {
    let Some(operation) = operation(&request) else { return Err(request) };
    if operation != Operation::Converse {
        let listed = list(emulated, operation, request).await;
        return Ok(listed.unwrap_or_else(|wrong| wrong.response()).map(Either::Left));
    }
    let signed = models::authorization(request.headers());
    let mut call = emulated.models.calls.open("codewhisperer", "", signed);
    let planned = match accept(emulated, &call, request).await {
        Ok(planned) => planned,
        Err(wrong) => {
            call.answered(wrong.status);
            call.end(Ending::Fault);
            return Ok(wrong.response().map(Either::Left));
        }
    };
    let Planned { pieces, behaviour } = planned;
    let fault = behaviour.fault.clone();
    let script = script(pieces, Framing::Events, behaviour);
    let playback = Playback::begin(call, fault.as_ref(), script).await;
    let mut response = Response::new(Either::Right(playback));
    let events = HeaderValue::from_static("application/vnd.amazon.eventstream");
    response.headers_mut().insert(CONTENT_TYPE, events);
    response.headers_mut().insert(REQUEST_ID, request_id());
    Ok(response)
}

fn authorise(emulated: &Emulated, headers: &HeaderMap) -> Result<(), Wrong> {
    let text = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = text.and_then(|text| text.strip_prefix("Bearer "));
    if token.is_some_and(|token| emulated.sign_ins.knows(token)) {
        return Ok(());
    }
    Err(Wrong {
        status: StatusCode::FORBIDDEN,
        kind: "AccessDeniedException",
        message: "The bearer token included in the request is invalid.".to_owned(),
        reason: None,
    })
}

async fn list(
    emulated: &Emulated,
    operation: Operation,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Wrong> {
    let (head, body) = request.into_parts();
    authorise(emulated, &head.headers)?;
    lists::answer(&emulated.codewhisperer, operation, &read(body).await?)
}

async fn accept(
    emulated: &Emulated,
    call: &OpenCall,
    request: Request<Incoming>,
) -> Result<Planned, Wrong> {
    let (head, body) = request.into_parts();
    authorise(emulated, &head.headers)?;
    let body = read(body).await?;
    call.sent(&body);
    let asked = request::read(&body)?;
    call.names(asked.model.as_deref().unwrap_or_default());
    check(&asked)?;
    emulated.codewhisperer.check(&asked.conversation)?;
    let behaviour = models::behave(emulated, call, &head.headers, &asked.prompt)?;
    let words = asked.prompt.last_words();
    let model = asked.model.as_deref().unwrap_or("default");
    emulated.models.attempts.pass(&behaviour, (model, &words), true)?;
    let card = catalogue::find(MODEL)?;
    let measured = tokens::measure(card, &asked.prompt);
    if measured.total > card.context {
        return Err(Refusal::validation("Input is too long.").into());
    }
    let charged = emulated.models.cache.charge(card, &measured);
    let is_thought_about = words.contains("think:") || words.contains("hide:");
    let thinking = if is_thought_about { Thinking::Free } else { Thinking::Off };
    let ask = Ask { card, prompt: &asked.prompt, thinking, wants_object: false };
    let answer = demo_model::answer(&ask, &measured, charged);
    call.answers(&answer);
    if words.contains(LAST_TURN) {
        emulated.codewhisperer.ends(&asked.conversation);
    }
    Ok(Planned { pieces: stream::pieces(&asked.conversation, answer), behaviour })
}

fn check(asked: &Asked) -> Result<(), Wrong> {
    if asked.model.as_deref().is_some_and(|model| model.starts_with(MISSING)) {
        let message = "Invalid model. Please select a different model to continue.";
        return Err(Wrong::invalid(message, Some("INVALID_MODEL_ID")));
    }
    if asked.conversation.starts_with(BAD_CONVERSATION) {
        let message = "The conversation is not valid.";
        return Err(Wrong::invalid(message, Some("INVALID_CONVERSATION_ID")));
    }
    Ok(())
}
