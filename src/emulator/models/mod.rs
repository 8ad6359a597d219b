//! Bedrock's models: `bedrock-runtime` and the catalogue, with one demo model behind them all.
//!
//! Converse, `ConverseStream`, `InvokeModel` in the formats of Claude and Titan, embeddings,
//! `CountTokens`, and the lists of models and inference profiles. [`prompt`] says what a model is
//! sent, [`rules`] whether the service takes it, [`demo_model`] what is answered; what is left is
//! how each dialect writes that down. `docs/emulator.md` has the phrases that script an answer.
//!
//! A call takes its settings from the headers `x-outcrop-emulator-…`, from members
//! `outcrop-emulator-…` of the request metadata, from `outcrop-emulator-NAME: VALUE` in the last
//! user message or in a system text, and from the configuration: the first that has one counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;

use bytes::Bytes;
use serde_json::Value;

use super::behaviour::Behaviour;
use super::calls::Ending;
use super::faults::{Break, Fault};
use super::invoke_agent::read;
use super::refusal::Refusal;
use super::routes::{percent_decoded, request_id};
use super::{Emulated, REQUEST_ID};

pub(super) mod answer;
pub(super) mod attempts;
pub(super) mod catalogue;
pub(super) mod converse;
pub(super) mod demo_model;
pub(super) mod phrases;
pub(super) mod playback;
pub(super) mod prompt;
pub(super) mod seen;
pub(super) mod thinking;
pub(super) mod tokens;

mod calling;
mod exceptions;
mod guardrail;
mod media;
mod rules;
mod schema;
mod senses;
mod tool_rules;

use answer::Answer;
use demo_model::Ask;
use playback::{Course, Framing, Piece, Playback};
use prompt::Prompt;
use seen::OpenCall;

/// What the names of headers with settings begin with.
const HEADERS: &str = "x-outcrop-emulator-";
/// The access key, and the API key, of somebody who may do nothing.
const DENIED: [&str; 2] = ["Credential=AKIADENIED/", "Bearer denied"];

/// The body of a reply: whole, or an answer in the making.
pub(super) type Reply = Either<Full<Bytes>, Playback>;

/// What outlives a call.
#[derive(Debug, Default)]
pub(super) struct Models {
    /// What was sent.
    pub(super) calls: Arc<seen::Calls>,
    /// Prefixes that were written.
    pub(super) cache: tokens::Cache,
    /// How often the same was asked.
    pub(super) attempts: attempts::Attempts,
}

impl Models {
    /// Forgets everything but the open calls.
    pub(super) fn reset(&self) {
        self.calls.reset();
        self.cache.reset();
        self.attempts.reset();
    }
}

/// An operation on a model, by its place in the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Converse,
    ConverseStream,
}

impl Operation {
    const NAMES: &'static [(&'static str, Self)] =
        &[("converse", Self::Converse), ("converse-stream", Self::ConverseStream)];

    fn streams(self) -> bool {
        self == Self::ConverseStream
    }
}

/// Answers a request, if it is one for models.
pub(super) async fn answer(
    emulated: &Emulated,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Request<Incoming>> {
    let (method, path) = (request.method(), request.uri().path());
    match method {
        &Method::GET => match listed(emulated, &request) {
            Some(listed) => Ok(listed),
            None => Err(request),
        },
        &Method::POST => {
            let Some((name, operation, model)) = asked(path) else { return Err(request) };
            let authorization = authorization(request.headers());
            let call = emulated.models.calls.open(name, &model, authorization);
            Ok(perform(emulated, operation, &model, call, request).await)
        }
        _ => Err(request),
    }
}

/// The operation and the model that a path names. ARNs may hold slashes of their own.
fn asked(path: &str) -> Option<(&'static str, Operation, String)> {
    let (model, operation) = path.strip_prefix("/model/")?.rsplit_once('/')?;
    let (name, operation) = Operation::NAMES.iter().find(|(name, _)| *name == operation)?;
    Some((name, *operation, percent_decoded(model)?.into_owned()))
}

/// The catalogue.
fn listed(emulated: &Emulated, request: &Request<Incoming>) -> Option<Response<Reply>> {
    let query = request.uri().query().unwrap_or_default();
    let path = request.uri().path().trim_end_matches('/');
    let found = match path {
        "/foundation-models" => Ok(catalogue::foundation_models(query)),
        "/inference-profiles" => catalogue::inference_profiles(query, &emulated.account),
        path => {
            let id = percent_decoded(path.strip_prefix("/foundation-models/")?)?;
            catalogue::foundation_model(&id)
        }
    };
    let found = authorise(request.headers()).and(found);
    Some(match found {
        Ok(body) => whole(&body),
        Err(refusal) => refusal.response(request_id()).map(Either::Left),
    })
}

async fn perform(
    emulated: &Emulated,
    operation: Operation,
    model: &str,
    mut call: OpenCall,
    request: Request<Incoming>,
) -> Response<Reply> {
    let (head, body) = request.into_parts();
    let planned = match plan(emulated, operation, model, &call, (&head.headers, body)).await {
        Ok(planned) => planned,
        Err(refusal) => {
            call.answered(refusal.status);
            call.end(Ending::Fault);
            return exceptions::response(&refusal).map(Either::Left);
        }
    };
    if planned.fault == Some(Fault::SilentHead) {
        // The connection drops this future, and the call with it, when the client hangs up.
        std::future::pending::<()>().await;
    }
    call.answered(StatusCode::OK);
    let content_type = match planned.framing {
        Framing::Events => "application/vnd.amazon.eventstream",
        Framing::ServerSent | Framing::Whole => "application/json",
    };
    let mut response = Response::new(Either::Right(Playback::new(call, planned)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(REQUEST_ID, request_id());
    response
}

/// Checks a call and lays down the course of its answer.
async fn plan(
    emulated: &Emulated,
    operation: Operation,
    model: &str,
    call: &OpenCall,
    (headers, body): (&HeaderMap, Incoming),
) -> Result<Course, Refusal> {
    authorise(headers)?;
    let body = read(body).await?;
    call.sent(&body);
    let prompt: Prompt = parsed(&body)?;
    let behaviour = behave(emulated, call, headers, &prompt)?;
    emulated.models.attempts.pass(
        &behaviour,
        (model, &prompt.last_words()),
        operation.streams(),
    )?;
    let answer = consult(emulated, model, &prompt)?;
    call.answers(&answer);
    let (pieces, framing) = match operation {
        Operation::Converse => (one(&converse::body(&prompt, &answer)), Framing::Whole),
        Operation::ConverseStream => (converse::events(&prompt, answer), Framing::Events),
    };
    Ok(Course { pieces, framing, pace: behaviour.pace, fault: behaviour.fault })
}

/// Reads a body as JSON of an operation.
///
/// # Errors
/// `SerializationException`
pub(super) fn parsed<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| Refusal::serialization(format!("the body cannot be read: {error}")))
}

/// How a call is to be answered, by everything that may say so.
///
/// # Errors
/// `ValidationException` when a setting makes no sense.
pub(super) fn behave(
    emulated: &Emulated,
    call: &OpenCall,
    headers: &HeaderMap,
    prompt: &Prompt,
) -> Result<Behaviour, Refusal> {
    let (spoken, words) = phrases::settings(&prompt.last_words());
    call.says(&words);
    let mut system = BTreeMap::new();
    for text in prompt.system_texts() {
        system.extend(phrases::settings(text).0);
    }
    let headers = header_settings(headers);
    emulated.behaviour.for_call([&headers, &prompt.request_metadata, &spoken, &system])
}

fn header_settings(headers: &HeaderMap) -> BTreeMap<String, String> {
    let setting = |(name, value): (&http::HeaderName, &HeaderValue)| {
        let name =
            name.as_str().strip_prefix("x-").filter(|_| name.as_str().starts_with(HEADERS))?;
        Some((name.to_owned(), value.to_str().ok()?.to_owned()))
    };
    headers.iter().filter_map(setting).collect()
}

/// Has a model answer a prompt.
///
/// # Errors
/// `ValidationException` when the service would not take it.
fn consult(emulated: &Emulated, model: &str, prompt: &Prompt) -> Result<Answer, Refusal> {
    let card = catalogue::find(model)?;
    let thinking = rules::check(card, prompt)?;
    let measured = tokens::measure(card, prompt);
    if measured.total > card.context {
        return Err(Refusal::validation("Input is too long for requested model."));
    }
    let charged = emulated.models.cache.charge(card, &measured);
    let ask = Ask { card, prompt, thinking, wants_object: false };
    Ok(demo_model::answer(&ask, &measured, charged))
}

/// A body in one piece.
pub(super) fn one(body: &Value) -> playback::Pieces {
    let bytes = Bytes::from(body.to_string());
    Box::new(std::iter::once(Piece { bytes, is_chunk: true }))
}

fn whole(body: &Value) -> Response<Reply> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(body.to_string()))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(REQUEST_ID, request_id());
    response
}

/// How a call is signed.
fn authorization(headers: &HeaderMap) -> Option<&'static str> {
    let text = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    [("AWS4-HMAC-SHA256", "sigv4"), ("Bearer ", "bearer")]
        .into_iter()
        .find(|(prefix, _)| text.starts_with(prefix))
        .map(|(_, kind)| kind)
}

fn authorise(headers: &HeaderMap) -> Result<(), Refusal> {
    if authorization(headers).is_none() {
        return Err(Refusal::unsigned());
    }
    let is_denied = headers.get_all(http::header::AUTHORIZATION).iter().any(|value| {
        value.to_str().is_ok_and(|text| DENIED.iter().any(|denied| text.contains(denied)))
    });
    if is_denied { Err(exceptions::denied()) } else { Ok(()) }
}

/// The refusal that stands for a break, in an answer that has no stream to break.
fn broken_whole(fault: Option<&Fault>) -> Option<Refusal> {
    let Some(Fault::Break { with, .. }) = fault else { return None };
    match with {
        Break::ErrorFrame => Some(exceptions::named("internalServerException")),
        Break::Exception(name) => Some(exceptions::named(name)),
        Break::Silence | Break::Cut | Break::Garbage | Break::End => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_encoded_or_plain() {
        let found = asked("/model/us.amazon.nova-lite-v1%3A0/converse").unwrap();
        assert_eq!(found.2, "us.amazon.nova-lite-v1:0");
        let arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.x.y";
        let found = asked(&format!("/model/{arn}/converse-stream")).unwrap();
        assert_eq!((found.1, found.2.as_str()), (Operation::ConverseStream, arn));
        for path in ["/model/x", "/model/x/unknown", "/models/x/converse", "/model/%zz/converse"] {
            assert_eq!(asked(path), None, "{path}");
        }
    }
}
