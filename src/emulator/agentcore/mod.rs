//! AgentCore: runtimes and harnesses that are both the demo agent in other clothes.
//!
//! `InvokeAgentRuntime`, `InvokeHarness` and `StopRuntimeSession`, by the HTTP bindings of the
//! API model of 2024-02-28. Session ids have 33 characters or more, as the service wants; ids of
//! resources that begin with `missing` do not exist. A session is remembered for as long as an
//! agent's is, and forgotten when it is stopped.
//!
//! Beside what the demo agent knows, a message may be:
//!
//! | message | answer |
//! |---|---|
//! | `call: NAME key=value …` | a tool call; further ones after another `call:` |
//! | `run: NAME key=value …` | a tool call that the agent runs itself, and then text |
//!
//! and end with any of these, in any order:
//!
//! | words | what they do |
//! |---|---|
//! | `as SHAPE` | a runtime answers as [`shapes`] lists; as strings in events unless told |
//! | `slowly` | 20 ms between two pieces |
//! | `aloud` | some reasoning comes first |
//! | `ending REASON` | the stop reason of the model, or of the harness |
//! | `with fault FAULT` | one of the emulator's faults; `exception:NAME:N` is an error in the stream |

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::calls::{Asked, OpenCall};
use super::faults::Fault;
use super::invoke_agent::{authorise, read};
use super::ledger::Ending;
use super::playback::{Audience as _, Playback, Script};
use super::refusal::Refusal;
use super::routes::{Reply, percent_decoded, request_id};
use super::sessions::{Session, SessionKey};
use super::{Emulated, REQUEST_ID};

mod harness;
mod runtime;
mod script;
mod shapes;
mod wish;

/// The header with the session's id.
const SESSION: &str = "x-amzn-bedrock-agentcore-runtime-session-id";
/// The header with the id of the user.
const USER: &str = "x-amzn-bedrock-agentcore-runtime-user-id";
/// The endpoint that answers when none is named.
const DEFAULT_ENDPOINT: &str = "DEFAULT";
/// Records kept of what was asked.
const KEPT: usize = 200;

/// What was asked of AgentCore, for tests.
#[derive(Debug, Default)]
pub(super) struct Log {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    invocations: VecDeque<Value>,
    stopped: VecDeque<Value>,
}

impl Log {
    /// The latest of each, oldest first.
    pub(super) fn shown(&self) -> Value {
        let kept = self.lock();
        json!({ "invocations": kept.invocations, "stopped": kept.stopped })
    }

    /// Forgets all.
    pub(super) fn reset(&self) {
        *self.lock() = Kept::default();
    }

    fn invoked(&self, record: Value) {
        keep(&mut self.lock().invocations, record);
    }

    fn stopped(&self, record: Value) {
        keep(&mut self.lock().stopped, record);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep(records: &mut VecDeque<Value>, record: Value) {
    if records.len() == KEPT {
        records.pop_front();
    }
    records.push_back(record);
}

/// An operation, as the path names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    /// `InvokeAgentRuntime` on this runtime.
    Runtime(String),
    /// `InvokeHarness`; the query names the harness.
    Harness,
    /// `StopRuntimeSession` of this runtime or harness.
    Stop(String),
}

/// The operation of a path, if it is one of AgentCore's.
pub(super) fn operation(path: &str) -> Option<Operation> {
    if path == "/harnesses/invoke" {
        return Some(Operation::Harness);
    }
    let (arn, operation) = path.strip_prefix("/runtimes/")?.rsplit_once('/')?;
    // What cannot be decoded keeps its per cent sign, which no ARN has.
    let arn = percent_decoded(arn).unwrap_or(arn.into()).into_owned();
    match operation {
        "invocations" => Some(Operation::Runtime(arn)),
        "stopruntimesession" => Some(Operation::Stop(arn)),
        _ => None,
    }
}

/// What a call asks, checked as far as all operations are.
struct Call {
    key: SessionKey,
    /// Whether the caller named the session.
    is_named: bool,
    user: Option<String>,
    /// What it says that its body is, and what it takes as an answer.
    types: [Option<String>; 2],
    body: Bytes,
}

impl Call {
    async fn read(arn: Option<String>, request: Request<Incoming>) -> Result<Self, Refusal> {
        let (head, body) = request.into_parts();
        authorise(&head.headers)?;
        let query = head.uri.query().unwrap_or_default();
        let agent = match arn.or_else(|| parameter(query, "harnessArn")) {
            Some(arn) => arn,
            None => return Err(Refusal::validation("harnessArn must not be null")),
        };
        let alias = parameter(query, "qualifier").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        let session = header(&head.headers, SESSION);
        let is_named = session.is_some();
        let key = SessionKey { agent, alias, session: session.unwrap_or_default() };
        check(&key)?;
        let user = header(&head.headers, USER);
        let types = ["content-type", "accept"].map(|name| header(&head.headers, name));
        Ok(Self { key, is_named, user, types, body: read(body).await? })
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(known, _)| *known == name).map(|(_, value)| value);
    percent_decoded(values.next()?).map(|value| value.into_owned())
}

fn check(key: &SessionKey) -> Result<(), Refusal> {
    let resource = key.agent.splitn(6, ':').nth(5).and_then(|resource| resource.split_once('/'));
    let Some(("runtime" | "harness", id)) = resource else {
        return Err(Refusal::validation("the ARN is that of no runtime or harness"));
    };
    if id.starts_with("missing") {
        return Err(Refusal::not_found(&key.agent));
    }
    Ok(())
}

fn check_session(key: &SessionKey, longest: usize) -> Result<(), Refusal> {
    if (33..=longest).contains(&key.session.len()) {
        return Ok(());
    }
    Err(Refusal::validation(format!(
        "1 validation error detected: Value at 'runtimeSessionId' failed to satisfy constraint: \
         33 to {longest} characters"
    )))
}

/// An answer that is about to begin.
struct Begun {
    content_type: &'static str,
    script: Script,
    fault: Option<Fault>,
}

/// Answers one call.
pub(super) async fn answer(
    emulated: &Emulated,
    operation: Operation,
    request: Request<Incoming>,
) -> Response<Reply> {
    let answered = match operation {
        Operation::Stop(arn) => stop(emulated, arn, request).await,
        Operation::Runtime(arn) => match Call::read(Some(arn), request).await {
            Ok(call) => Ok(invoke(emulated, call, runtime::begin).await),
            Err(refusal) => Err(refusal),
        },
        Operation::Harness => match Call::read(None, request).await {
            Ok(call) => Ok(invoke(emulated, call, harness::begin).await),
            Err(refusal) => Err(refusal),
        },
    };
    answered.unwrap_or_else(|refusal| refusal.response(request_id()).map(Reply::Left))
}

/// How an operation takes a call into its session.
type Begin = fn(&Emulated, &Call, &mut Session) -> Result<Begun, Refusal>;

async fn invoke(emulated: &Emulated, mut call: Call, begin: Begin) -> Response<Reply> {
    if !call.is_named {
        call.key.session = uuid::Uuid::new_v4().hyphenated().to_string();
    }
    let mut open = emulated.calls.open(&call.key);
    let Begun { content_type, script, fault } =
        match accept(emulated, &call, begin, &mut open).await {
            Ok(begun) => begun,
            Err(refusal) => {
                open.answered(refusal.status);
                open.end(Ending::Fault);
                return refusal.response(request_id()).map(Reply::Left);
            }
        };
    let playback = Playback::begin(open, fault.as_ref(), script).await;
    let mut response = Response::new(Reply::Right(playback));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(REQUEST_ID, request_id());
    if let Ok(session) = HeaderValue::try_from(call.key.session) {
        headers.insert(SESSION, session);
    }
    response
}

async fn accept(
    emulated: &Emulated,
    call: &Call,
    begin: Begin,
    open: &mut OpenCall,
) -> Result<Begun, Refusal> {
    let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    emulated.agentcore.invoked(json!({
        "arn": call.key.agent,
        "qualifier": call.key.alias,
        "session": call.key.session,
        "user": call.user,
        "content_type": call.types[0],
        "accept": call.types[1],
        "body": body,
    }));
    let seat =
        emulated.sessions.enter(call.key.clone()).await.ok_or_else(Refusal::retryable_conflict)?;
    let converse = |session: &mut Session| {
        session.calls += 1;
        begin(emulated, call, session)
    };
    let begun = seat.with(converse).ok_or_else(Refusal::retryable_conflict)??;
    open.asks(Asked { input_text: said(&body), stream: true, ..Asked::default() });
    open.hold(seat);
    Ok(begun)
}

/// Of what was asked, the last text, as `/_emulator/state` shows it.
fn said(body: &Value) -> Option<String> {
    let last = body["messages"].as_array().and_then(|messages| messages.last());
    let content = last.map(|message| &message["content"]);
    let text = body["prompt"]
        .as_str()
        .or_else(|| content?.as_str())
        .or_else(|| content?.as_array()?.iter().rev().find_map(|block| block["text"].as_str()));
    text.map(Asked::shortened)
}

/// A refusal that the fault in force means for the session's latest call.
fn refused(fault: Option<&Fault>, session: &Session) -> Result<(), Refusal> {
    match fault {
        Some(Fault::Refuse(refuse)) if refuse.meets(session.calls, true) => {
            Err(refuse.with.clone())
        }
        _ => Ok(()),
    }
}

async fn stop(
    emulated: &Emulated,
    arn: String,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Refusal> {
    let call = Call::read(Some(arn), request).await?;
    check_session(&call.key, 256)?;
    if !emulated.sessions.stop(&call.key) {
        return Err(Refusal::not_found(&call.key.session));
    }
    let SessionKey { agent, alias, session } = call.key;
    emulated
        .agentcore
        .stopped(json!({ "arn": agent, "qualifier": alias, "session": session.clone() }));
    let mut response = Response::new(Reply::Left(Full::new(Bytes::from_static(b"{}"))));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(REQUEST_ID, request_id());
    if let Ok(session) = HeaderValue::try_from(session) {
        headers.insert(SESSION, session);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/bank-Ab12Cd34Ef";

    #[test]
    fn paths_name_operations_and_arns() {
        let escaped = ARN.replace(':', "%3A").replace('/', "%2F");
        let invoked = operation(&format!("/runtimes/{escaped}/invocations"));
        assert_eq!(invoked, Some(Operation::Runtime(ARN.to_owned())));
        let stopped = operation(&format!("/runtimes/{ARN}/stopruntimesession"));
        assert_eq!(stopped, Some(Operation::Stop(ARN.to_owned())));
        assert_eq!(operation("/harnesses/invoke"), Some(Operation::Harness));
        for other in ["/runtimes", "/runtimes/x", "/runtimes/x/commands", "/harnesses"] {
            assert_eq!(operation(other), None, "{other}");
        }
    }

    #[test]
    fn parameters_of_a_query_are_decoded() {
        let query = "harnessArn=a%3Ab&qualifier=prod";
        assert_eq!(parameter(query, "harnessArn").unwrap(), "a:b");
        assert_eq!(parameter(query, "qualifier").unwrap(), "prod");
        assert_eq!(parameter(query, "other"), None);
    }
}
