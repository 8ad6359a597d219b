//! `InvokeAgent` and `InvokeInlineAgent`: one turn of a conversation with an agent. Both answer in
//! the same events.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::calls::{Asked, OpenCall};
use super::converse::Turn;
use super::inline_agent;
use super::ledger::Ending;
use super::playback::{Audience as _, Playback};
use super::recorded::recorded;
use super::refusal::Refusal;
use super::request::{Ask, check_key};
use super::routes::{Reply, request_id};
use super::script::{Plan, script};
use super::sessions::SessionKey;
use super::{Emulated, REQUEST_ID};

/// The largest request body: the longest input text and room for its JSON.
const MAX_BODY: usize = 32 << 20;
/// How long a request body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// What the ids of agents that do not exist begin with.
pub(super) const MISSING_AGENTS: &[&str] = &["MISSING", "NOSUCH"];
/// The access key of somebody who may do nothing.
pub(super) const DENIED_ACCESS_KEY: &str = "Credential=AKIADENIED/";

/// Answers one call.
pub(super) async fn invoke(
    emulated: &Emulated,
    key: SessionKey,
    request: Request<Incoming>,
) -> Response<Reply> {
    let mut call = emulated.calls.open(&key);
    let plan = match accept(emulated, &key, request, &mut call).await {
        Ok(plan) => plan,
        Err(refusal) => {
            call.answered(refusal.status);
            call.end(Ending::Fault);
            return refusal.response(request_id()).map(Reply::Left);
        }
    };
    let fault = plan.fault.clone();
    let playback = Playback::begin(call, fault.as_ref(), script(plan)).await;
    let mut response = Response::new(Reply::Right(playback));
    let event_stream = HeaderValue::from_static("application/vnd.amazon.eventstream");
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, event_stream);
    headers
        .insert("x-amzn-bedrock-agent-content-type", HeaderValue::from_static("application/json"));
    if let Ok(session) = HeaderValue::try_from(key.session) {
        headers.insert("x-amz-bedrock-agent-session-id", session);
    }
    headers.insert(REQUEST_ID, request_id());
    response
}

/// Checks a call and has the agent think of an answer; the call holds its session from then on.
async fn accept(
    emulated: &Emulated,
    key: &SessionKey,
    request: Request<Incoming>,
    call: &mut OpenCall,
) -> Result<Plan, Refusal> {
    let (head, body) = request.into_parts();
    authorise(&head.headers)?;
    check_key(key)?;
    let body = read(body).await?;
    let operation = if key.is_inline() { "InvokeInlineAgent" } else { "InvokeAgent" };
    call.sends(operation, recorded(&body));
    let (ask, tools) = match key.is_inline() {
        true => inline_agent::parse(&body).map(|(ask, tools)| (ask, Some(tools)))?,
        false => (Ask::parse(&body)?, None),
    };
    call.asks(noted(&ask));
    if MISSING_AGENTS.iter().any(|begin| key.agent.starts_with(begin)) {
        return Err(Refusal::not_found(&key.agent));
    }
    // A setting that cannot be read is told before the session takes the call in.
    emulated
        .behaviour
        .for_call(ask.prompt_attributes().into_iter().chain(ask.session_attributes()))?;
    let seat = emulated.sessions.enter(key.clone()).await.ok_or_else(Refusal::conflict)?;
    let turn = Turn { emulated, key, ask: &ask, tools: tools.as_ref() };
    let plan = seat.with(|session| turn.plan(session)).ok_or_else(Refusal::conflict)??;
    call.hold(seat);
    Ok(plan)
}

/// Checks that somebody signed who may do something; no signature is checked.
///
/// # Errors
/// When nobody did, or somebody who may do nothing.
pub(super) fn authorise(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(authorization) = headers.get(AUTHORIZATION) else { return Err(Refusal::unsigned()) };
    let is_denied = authorization.to_str().is_ok_and(|text| text.contains(DENIED_ACCESS_KEY));
    if is_denied { Err(Refusal::denied()) } else { Ok(()) }
}

/// Reads a whole request body.
///
/// # Errors
/// When it is too large, too slow, or breaks off.
pub(super) async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    let collected = timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await;
    match collected {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::too_large()),
        Ok(Err(_)) => Err(Refusal::serialization("the body broke off")),
        Err(_) => Err(Refusal::too_slow()),
    }
}

fn noted(ask: &Ask) -> Asked {
    Asked {
        input_text: ask.input_text.as_deref().map(Asked::shortened),
        history_messages: ask.history().len(),
        has_trace: ask.wants_traces(),
        stream: ask.wants_stream(),
        end_session: ask.ends_session(),
        results: ask.results().map_or(0, <[_]>::len),
        attributes: ask.session_attributes().cloned().unwrap_or_default(),
        prompt_attributes: ask.prompt_attributes().cloned().unwrap_or_default(),
    }
}
