//! `InvokeAgent`: one turn of a conversation with an agent.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::calls::{Asked, Ending, OpenCall};
use super::demo_agent::{self, Answer};
use super::faults::Fault;
use super::refusal::Refusal;
use super::request::{Ask, check_attributes, check_key};
use super::routes::{Reply, request_id};
use super::script::{AnswerBody, Cut, Pieces, Plan, script};
use super::sessions::{Session, SessionKey};
use super::tools::{self, Action};
use super::traces::{Size, Tracer};
use super::{Emulated, REQUEST_ID};

/// The largest request body: the longest input text and room for its JSON.
const MAX_BODY: usize = 32 << 20;
/// How long a request body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// What the ids of agents that do not exist begin with.
pub(super) const MISSING_AGENT: &str = "MISSING";
/// The access key of somebody who may do nothing.
pub(super) const DENIED_ACCESS_KEY: &str = "Credential=AKIADENIED/";
/// The session attribute with the caller's phone number.
const PHONE_NUMBER: &str = "phone_number";

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
    if plan.fault == Some(Fault::SilentHead) {
        // The connection drops this future, and the call with it, when the client hangs up.
        std::future::pending::<()>().await;
    }
    call.answered(StatusCode::OK);
    let mut response = Response::new(Reply::Right(AnswerBody::new(call, script(plan))));
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
    let ask = Ask::parse(&read(body).await?)?;
    call.asks(noted(&ask));
    if key.agent.starts_with(MISSING_AGENT) {
        return Err(Refusal::not_found(&key.agent));
    }
    // A setting that cannot be read is told before the session takes the call in.
    emulated
        .behaviour
        .for_call(ask.prompt_attributes().into_iter().chain(ask.session_attributes()))?;
    let seat = emulated.sessions.enter(key.clone()).await.ok_or_else(Refusal::conflict)?;
    let converse = |session: &mut Session| converse(emulated, key, &ask, session);
    let plan = seat.with(converse).ok_or_else(Refusal::conflict)??;
    call.hold(seat);
    Ok(plan)
}

/// Checks that a request is signed, by somebody who may ask.
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
        results: ask.results().len(),
        attributes: ask.session_attributes().cloned().unwrap_or_default(),
        prompt_attributes: ask.prompt_attributes().cloned().unwrap_or_default(),
    }
}

/// Takes the call into its session and plans the answer.
fn converse(
    emulated: &Emulated,
    key: &SessionKey,
    ask: &Ask,
    session: &mut Session,
) -> Result<Plan, Refusal> {
    session.calls += 1;
    if let Some(sent) = ask.session_attributes() {
        let mut attributes = session.attributes.clone();
        attributes.extend(sent.iter().map(|(name, value)| (name.clone(), value.clone())));
        check_attributes([&attributes])?;
        session.attributes = attributes;
    }
    let attributes = ask.prompt_attributes().into_iter().chain([&session.attributes]);
    let behaviour = emulated.behaviour.for_call(attributes)?;
    if let Some(Fault::Refuse(refuse)) = &behaviour.fault
        && refuse.meets(session.calls, ask.wants_stream())
    {
        return Err(refuse.with.clone());
    }
    if session.memory.turns == 0 {
        let told = ask.history().iter().filter_map(|message| message.user_text());
        told.for_each(|text| session.memory.listen(&text));
    }
    let turns = session.memory.turns as usize;
    let (answer, hand_over) = answer(ask, session)?;
    session.turns = session.turns.saturating_add(1);
    session.ending = ask.ends_session();
    let input = ask.input_text.as_ref().map_or(0, String::len);
    Ok(Plan {
        size: Size { input, output: answer.text.len(), turns },
        pieces: Pieces::new(answer.text, cut(ask.wants_stream(), answer.word_by_word)),
        hand_over,
        pace: behaviour.pace,
        tracer: ask.wants_traces().then(|| Tracer::new(key.clone(), &emulated.account)),
        fault: behaviour.fault,
    })
}

/// What the agent says, or the event with which it hands control over.
fn answer(ask: &Ask, session: &mut Session) -> Result<(Answer, Option<Bytes>), Refusal> {
    let pending = session.pending.take();
    if !ask.results().is_empty() {
        let expected = pending.as_ref().map(|pending| pending.invocation_id.as_str());
        if expected.is_some() && expected != ask.invocation_id() {
            session.pending = pending;
            return Err(Refusal::validation(
                "invocationId is not the one of the actions asked for",
            ));
        }
        let text = tools::acknowledge(ask.results(), pending.as_ref());
        return Ok((Answer { text, word_by_word: false }, None));
    }
    let Some(text) = &ask.input_text else { return Ok((Answer::default(), None)) };
    if let Some(action) = Action::asked_for(text) {
        session.memory.listen(text);
        let (event, pending) = action.hand_over();
        session.pending = Some(pending);
        return Ok((Answer::default(), Some(event)));
    }
    let phone_number = session.attributes.get(PHONE_NUMBER).map(String::as_str);
    Ok((demo_agent::answer(&mut session.memory, text, phone_number), None))
}

fn cut(is_streamed: bool, word_by_word: bool) -> Cut {
    match (is_streamed, word_by_word) {
        (false, _) => Cut::Whole,
        (true, true) => Cut::Words,
        (true, false) => Cut::Bytes,
    }
}
