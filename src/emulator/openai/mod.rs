//! An upstream that speaks OpenAI's API, with the demo model behind every name.
//!
//! `POST /v1/chat/completions`, `POST /v1/embeddings` and `GET /v1/models`. Names that begin with
//! `missing` are unknown. Any key does, or none, but for the key `denied`; below `/key/KEY/v1/…`
//! only KEY does, so that a client's key can be seen to arrive. The settings and the faults of
//! [`models`] hold here too, with request metadata in `metadata`, and errors in
//! OpenAI's own words; `exception:NAME:N` is an error object in the stream, whose code is NAME.
//! Flaws of the format are had here alone.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::Emulated;
use super::behaviour::Behaviour;
use super::faults::{Fault, Flaw};
use super::invoke_agent::read;
use super::ledger::Ending;
use super::models::cards::UPSTREAM;
use super::models::demo_model::{self, Ask};
use super::models::prompt::Prompt;
use super::models::script::{Framing, Pieces, script};
use super::models::seen::OpenCall;
use super::models::thinking::Thinking;
use super::models::{self, Reply, tokens};
use super::playback::{Audience as _, Playback};
use super::refusal::Refusal;
use super::routes::{percent_decoded, request_id};

mod chat_reply;
mod chat_request;
mod embeddings;
mod flaws;
mod parts;
mod wrong;

use wrong::Wrong;

/// What the names of models begin with that there are not.
const MISSING: &str = "missing";
/// The key that is never right.
const DENIED: &str = "denied";
/// The models that are listed.
const LISTED: &[&str] = &["demo-model", "gpt-4o", "gpt-4o-mini", "text-embedding-3-small"];

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Resource {
    Chat,
    Embeddings,
    Models,
    Model(String),
}

/// Answers a request, if it is one of OpenAI's.
pub(super) async fn answer(
    emulated: &Emulated,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Request<Incoming>> {
    let Some((resource, key)) = asked(request.method(), request.uri().path()) else {
        return Err(request);
    };
    let held = check_key(request.headers(), key.as_deref());
    Ok(match resource {
        Resource::Models => listed(held, || Ok(all_models())),
        Resource::Model(name) => listed(held, || one_model(&name)),
        Resource::Chat | Resource::Embeddings => perform(emulated, &resource, held, request).await,
    })
}

/// The resource of a path, and the key that it expects.
fn asked(method: &Method, path: &str) -> Option<(Resource, Option<String>)> {
    let (key, path) = match path.strip_prefix("/key/") {
        Some(rest) => {
            let (key, path) = rest.split_once('/')?;
            (Some(percent_decoded(key)?.into_owned()), path)
        }
        None => (None, path.strip_prefix('/')?),
    };
    let resource = match (method, path.strip_prefix("v1/")?) {
        (&Method::POST, "chat/completions") => Resource::Chat,
        (&Method::POST, "embeddings") => Resource::Embeddings,
        (&Method::GET, "models") => Resource::Models,
        (&Method::GET, path) => {
            Resource::Model(percent_decoded(path.strip_prefix("models/")?)?.into_owned())
        }
        _ => return None,
    };
    Some((resource, key))
}

fn check_key(headers: &HeaderMap, expected: Option<&str>) -> Result<(), Wrong> {
    let text = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let sent = text.and_then(|text| text.strip_prefix("Bearer "));
    let is_right = expected.is_none_or(|expected| sent == Some(expected));
    if is_right && sent != Some(DENIED) { Ok(()) } else { Err(Wrong::no_key()) }
}

fn check_model(name: &str) -> Result<(), Wrong> {
    if name.starts_with(MISSING) { Err(Wrong::no_model(name)) } else { Ok(()) }
}

fn listed(held: Result<(), Wrong>, body: impl FnOnce() -> Result<Value, Wrong>) -> Response<Reply> {
    match held.and_then(|()| body()) {
        Ok(body) => {
            let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response.headers_mut().insert("x-request-id", request_id());
            response.map(Either::Left)
        }
        Err(wrong) => wrong.response().map(Either::Left),
    }
}

fn all_models() -> Value {
    let data: Vec<Value> = LISTED.iter().map(|name| entry(name)).collect();
    json!({"object": "list", "data": data})
}

fn one_model(name: &str) -> Result<Value, Wrong> {
    check_model(name).map(|()| entry(name))
}

fn entry(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": chat_reply::CREATED, "owned_by": "outcrop"})
}

/// What a call is going to be answered with.
struct Planned {
    pieces: Pieces,
    framing: Framing,
    behaviour: Behaviour,
}

async fn perform(
    emulated: &Emulated,
    resource: &Resource,
    held: Result<(), Wrong>,
    request: Request<Incoming>,
) -> Response<Reply> {
    let api = if *resource == Resource::Chat { "chat.completions" } else { "embeddings" };
    let signed = models::authorization(request.headers());
    let mut call = emulated.models.calls.open(api, "", signed);
    let planned = match held {
        Ok(()) => accept(emulated, resource, &call, request).await,
        Err(wrong) => Err(wrong),
    };
    let Planned { pieces, framing, behaviour } = match planned {
        Ok(planned) => planned,
        Err(wrong) => {
            call.answered(wrong.status);
            call.end(Ending::Fault);
            return wrong.response().map(Either::Left);
        }
    };
    let content_type = match framing {
        _ if flaw(&behaviour) == Some(Flaw::WrongContentType) => "text/html; charset=utf-8",
        Framing::ServerSent => "text/event-stream; charset=utf-8",
        Framing::Events | Framing::Whole => "application/json",
    };
    let fault = behaviour.fault.clone();
    let script = script(pieces, framing, behaviour);
    let playback = Playback::begin(call, fault.as_ref(), script).await;
    let mut response = Response::new(Either::Right(playback));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-request-id", request_id());
    response
}

async fn accept(
    emulated: &Emulated,
    resource: &Resource,
    call: &OpenCall,
    request: Request<Incoming>,
) -> Result<Planned, Wrong> {
    let (head, body) = request.into_parts();
    let body = read(body).await?;
    call.sent(&body);
    match resource {
        Resource::Chat => chat(emulated, call, &head.headers, &body),
        _ => embed(emulated, call, &head.headers, &body),
    }
}

fn chat(
    emulated: &Emulated,
    call: &OpenCall,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Planned, Wrong> {
    let asked = chat_request::read(body)?;
    call.names(&asked.model);
    check_model(&asked.model)?;
    let behaviour = models::behave(emulated, call, headers, &asked.prompt)?;
    let words = asked.prompt.last_words();
    emulated.models.attempts.pass(&behaviour, (&asked.model, &words), asked.streams)?;
    let measured = tokens::measure(&UPSTREAM, &asked.prompt);
    if measured.total > UPSTREAM.context {
        return Err(Refusal::validation("Input is too long for requested model.").into());
    }
    let charged = emulated.models.cache.charge(&UPSTREAM, &measured);
    let thinking = if asked.thinks { Thinking::Free } else { Thinking::Off };
    let wants_object = asked.wants_object;
    let ask = Ask { card: &UPSTREAM, prompt: &asked.prompt, thinking, wants_object };
    let answer = demo_model::answer(&ask, &measured, charged);
    call.answers(&answer);
    let flaw = flaw(&behaviour);
    let (pieces, framing) = match asked.streams {
        false => (models::one(&chat_reply::body(&asked, &answer, flaw)), Framing::Whole),
        true => (chat_reply::chunks(&asked, answer, flaw), Framing::ServerSent),
    };
    Ok(Planned { pieces, framing, behaviour })
}

/// What is to be wrong with the answer's format.
fn flaw(behaviour: &Behaviour) -> Option<Flaw> {
    match behaviour.fault {
        Some(Fault::Flaw(flaw)) => Some(flaw),
        _ => None,
    }
}

fn embed(
    emulated: &Emulated,
    call: &OpenCall,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Planned, Wrong> {
    let asked = embeddings::read(body)?;
    call.names(&asked.model);
    check_model(&asked.model)?;
    let text = asked.inputs.first().map_or("", String::as_str);
    let behaviour = models::behave(emulated, call, headers, &Prompt::saying(text))?;
    emulated.models.attempts.pass(&behaviour, (&asked.model, text), false)?;
    let (body, count) = embeddings::body(&asked);
    call.reads(count);
    Ok(Planned { pieces: models::one(&body), framing: Framing::Whole, behaviour })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_resource_and_maybe_a_key() {
        let post = |path: &str| asked(&Method::POST, path);
        assert_eq!(post("/v1/chat/completions"), Some((Resource::Chat, None)));
        let keyed = Some((Resource::Embeddings, Some("s/1".to_owned())));
        assert_eq!(post("/key/s%2F1/v1/embeddings"), keyed);
        let model = Some((Resource::Model("a/b".to_owned()), None));
        assert_eq!(asked(&Method::GET, "/v1/models/a/b"), model);
        assert_eq!(post("/v2/chat/completions"), None);
        assert_eq!(asked(&Method::DELETE, "/v1/models/a"), None);
    }
}
