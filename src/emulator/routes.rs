//! Which operation a request is for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::control_plane::{self, Operation};
use super::playback::Playback;
use super::refusal::Refusal;
use super::sessions::SessionKey;
use super::{
    Emulated, agentcore, calls, codewhisperer, invoke_agent, memories, models, openai, sign_in, sts,
};

/// The body of a reply: whole, or an answer in the making.
pub(super) type Reply = Either<Full<Bytes>, Playback<calls::OpenCall>>;

/// What `GET /_emulator/state` shows.
#[derive(Debug, Serialize)]
struct State {
    #[serde(flatten)]
    activity: calls::Shown,
    /// Most calls at once on any one session.
    max_concurrent_per_session: u32,
    sessions_total: usize,
    /// Calls to the control plane, by operation.
    control_plane: BTreeMap<&'static str, u64>,
    /// The latest used first, and not all when they are many.
    sessions: Vec<Value>,
    models: models::seen::Shown,
    /// What was asked of AgentCore, and which of its sessions were stopped.
    agentcore: Value,
    /// How often people signed in and tokens were renewed.
    sign_in: Value,
    /// How often lists were asked for, by operation.
    codewhisperer: Value,
}

/// Answers one request: models first, then everything else.
pub(super) async fn answer(
    emulated: Arc<Emulated>,
    request: Request<Incoming>,
) -> Result<Response<Either<Reply, models::Reply>>, Infallible> {
    let request = match models::answer(&emulated, request).await {
        Ok(answered) => return Ok(answered.map(Either::Right)),
        Err(request) => request,
    };
    let request = match codewhisperer::answer(&emulated, request).await {
        Ok(answered) => return Ok(answered.map(Either::Right)),
        Err(request) => request,
    };
    match openai::answer(&emulated, request).await {
        Ok(answered) => Ok(answered.map(Either::Right)),
        Err(request) => Ok(agents(emulated, request).await?.map(Either::Left)),
    }
}

async fn agents(
    emulated: Arc<Emulated>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    if let Some(operation) = Operation::at(request.method(), request.uri().path()) {
        let reply = control_plane::answer(&emulated, operation, request).await;
        return Ok(reply.map(Reply::Left));
    }
    if let Some(operation) = sign_in::operation(request.method(), request.uri().path()) {
        return Ok(sign_in::answer(&emulated, operation, request).await.map(Reply::Left));
    }
    let reply = match (request.method(), request.uri().path()) {
        (&Method::POST, "/") => sts::answer(&emulated, request).await,
        (&Method::GET, "/_emulator/state") => state(&emulated),
        (&Method::POST, "/_emulator/reset") => reset(&emulated),
        (&Method::POST, path) if let Some(operation) = agentcore::operation(path) => {
            return Ok(agentcore::answer(&emulated, operation, request).await);
        }
        (&Method::POST, "/_emulator/control-plane") => {
            control_plane::set_up(&emulated, request).await
        }
        (&Method::POST, "/_emulator/sign-in") => sign_in::set_up(&emulated, request).await,
        (method @ (&Method::GET | &Method::DELETE), path) if memories::alias_in(path).is_some() => {
            memories::answer(&emulated.memories, method, request.uri(), request.headers())
        }
        (&Method::POST, path) => match invoked_session(path) {
            Some(key) => return Ok(invoke_agent::invoke(&emulated, key, request).await),
            None => Refusal::unknown_operation().response(request_id()),
        },
        _ => Refusal::unknown_operation().response(request_id()),
    };
    Ok(reply.map(Reply::Left))
}

/// A fresh `x-amzn-requestid`.
pub(super) fn request_id() -> HeaderValue {
    HeaderValue::try_from(Uuid::new_v4().hyphenated().to_string()).expect("a UUID is visible ASCII")
}

/// Decodes `%41` and the like; `None` when that cannot be done or gives no UTF-8.
pub(super) fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(text.into());
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                decoded.push((digit(*high)? << 4) | digit(*low)?);
                rest = after;
            }
            (b'%', _) => return None,
            _ => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn digit(letter: u8) -> Option<u8> {
    char::from(letter).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The session that a path of `InvokeAgent` or `InvokeInlineAgent` names.
fn invoked_session(path: &str) -> Option<SessionKey> {
    // What cannot be decoded keeps its per cent sign, which no id may have.
    let id = |segment: &str| percent_decoded(segment).unwrap_or(segment.into()).into_owned();
    let segments: Vec<&str> = path.split('/').collect();
    match segments[..] {
        ["", "agents", agent, "agentAliases", alias, "sessions", session, "text"] => {
            Some(SessionKey { agent: id(agent), alias: id(alias), session: id(session) })
        }
        ["", "agents", session] if !session.is_empty() => Some(SessionKey::inline(id(session))),
        _ => None,
    }
}

fn state(emulated: &Emulated) -> Response<Full<Bytes>> {
    let (sessions, sessions_total) = emulated.sessions.shown();
    let shown = State {
        activity: emulated.calls.shown(),
        max_concurrent_per_session: emulated.sessions.peak(),
        sessions_total,
        control_plane: emulated.fleet.calls(),
        sessions,
        models: emulated.models.calls.shown(),
        agentcore: emulated.agentcore.shown(),
        sign_in: emulated.sign_ins.shown(),
        codewhisperer: emulated.codewhisperer.shown(),
    };
    json_reply(&json!(shown))
}

fn reset(emulated: &Emulated) -> Response<Full<Bytes>> {
    emulated.sessions.reset();
    emulated.calls.reset();
    emulated.models.reset();
    emulated.agentcore.reset();
    emulated.fleet.reset();
    emulated.memories.reset();
    emulated.sign_ins.reset();
    emulated.codewhisperer.reset();
    json_reply(&json!({}))
}

/// A reply with this body.
pub(super) fn json_reply(body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_broken_ones_are_not() {
        assert_eq!(percent_decoded("a%3Ab").unwrap(), "a:b");
        assert_eq!(percent_decoded("%c3%A9").unwrap(), "é");
        assert_eq!(percent_decoded("plain").unwrap(), "plain");
        for broken in ["%", "%4", "%zz", "%ff", "%+1"] {
            assert_eq!(percent_decoded(broken), None, "{broken}");
        }
    }

    #[test]
    fn only_the_whole_path_of_the_operation_is_one() {
        let key = invoked_session("/agents/A/agentAliases/B/sessions/c%3Ad/text").unwrap();
        assert_eq!((&*key.agent, &*key.alias, &*key.session), ("A", "B", "c:d"));
        assert!(!key.is_inline());
        let inline = invoked_session("/agents/c%3Ad").unwrap();
        assert!(inline.is_inline() && inline.session == "c:d");
        for path in [
            "/agents/A/agentAliases/B/sessions/c",
            "/agents",
            "/agents/",
            "/text",
            "/agents/A/agentAliases/B/sessions/c/text/x",
        ] {
            assert_eq!(invoked_session(path), None, "{path}");
        }
    }
}
