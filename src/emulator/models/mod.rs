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
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;

use bytes::Bytes;
use serde_json::Value;

use super::behaviour::Behaviour;
use super::faults::{Break, Fault};
use super::playback::Playback;
use super::refusal::Refusal;
use super::routes::{percent_decoded, request_id};
use super::{Emulated, REQUEST_ID};

pub(super) mod answer;
pub(super) mod attempts;
pub(super) mod cards;
pub(super) mod catalogue;
pub(super) mod converse;
pub(super) mod demo_model;
pub(super) mod media;
pub(super) mod phrases;
pub(super) mod prompt;
pub(super) mod schema;
pub(super) mod script;
pub(super) mod seen;
pub(super) mod terms;
pub(super) mod thinking;
pub(super) mod tokens;
pub(super) mod vectors;

mod calling;
mod claude;
mod claude_reply;
mod embeddings;
mod exceptions;
mod guardrail;
mod native;
mod operations;
mod rules;
mod senses;
mod titan;
mod tool_rules;

use prompt::Prompt;
use script::{Piece, Pieces};
use seen::OpenCall;

/// What the names of headers with settings begin with.
const HEADERS: &str = "x-outcrop-emulator-";
/// The access key, and the API key, of somebody who may do nothing.
const DENIED: [&str; 2] = ["Credential=AKIADENIED/", "Bearer denied"];

/// The body of a reply: whole, or an answer in the making.
pub(super) type Reply = Either<Full<Bytes>, Playback<OpenCall>>;

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

/// Answers a request, if it is one for models.
pub(super) async fn answer(
    emulated: &Emulated,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Request<Incoming>> {
    let (method, path) = (request.method(), request.uri().path());
    match *method {
        Method::GET => match listed(emulated, &request) {
            Some(listed) => Ok(listed),
            None => Err(request),
        },
        Method::POST => {
            let Some((operation, model)) = operations::asked(path) else { return Err(request) };
            Ok(operations::perform(emulated, operation, &model, request).await)
        }
        _ => Err(request),
    }
}

/// The catalogue.
fn listed(emulated: &Emulated, request: &Request<Incoming>) -> Option<Response<Reply>> {
    let query = request.uri().query().unwrap_or_default();
    let path = request.uri().path().trim_end_matches('/');
    let found = match path {
        "/foundation-models" => Ok(catalogue::foundation_models(query)),
        "/inference-profiles" => catalogue::inference_profiles(query, &emulated.account),
        path if let Some(id) = path.strip_prefix("/inference-profiles/") => {
            catalogue::inference_profile(&percent_decoded(id)?, &emulated.account)
        }
        path => {
            let id = percent_decoded(path.strip_prefix("/foundation-models/")?)?;
            catalogue::foundation_model(&id)
        }
    };
    let operation = match path {
        "/foundation-models" => "ListFoundationModels",
        "/inference-profiles" => "ListInferenceProfiles",
        path if path.starts_with("/inference-profiles/") => "GetInferenceProfile",
        _ => "GetFoundationModel",
    };
    let fault = emulated.fleet.fault(operation, emulated.behaviour.fault.as_ref());
    let refused = match fault {
        Some(Fault::Refuse(refuse)) => Err(refuse.with),
        _ => Ok(()),
    };
    let found = authorise(request.headers()).and(refused).and(found);
    Some(match found {
        Ok(body) => whole(&body),
        Err(refusal) => refusal.response(request_id()).map(Either::Left),
    })
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

/// A body in one piece.
pub(super) fn one(body: &Value) -> Pieces {
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
pub(super) fn authorization(headers: &HeaderMap) -> Option<&'static str> {
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
