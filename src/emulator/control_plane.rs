//! The control plane of agents, as far as it can be read: which there are, their aliases and
//! action groups.
//!
//! `POST /_emulator/control-plane` sets it up for tests; what it does not name is as at the start:
//!
//! | member | what |
//! |---|---|
//! | `agents` | how many agents there are; 4 unless told, at most 2,000 |
//! | `fault` | a fault that refuses, `stall-headers`, or `thinking:MS` for an answer that comes late |
//! | `operation` | the only operation that the fault meets, such as `GetAgent` |
//! | `idle_session_ttl_seconds` | what agents say of their idle time; the emulator's own unless told |

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::behaviour::fault;
use super::faults::Fault;
use super::fleet::{ACTION_GROUP, Agent, FLEET, action_group_summary};
use super::invoke_agent::{DENIED_ACCESS_KEY, MISSING_AGENTS, read};
use super::refusal::Refusal;
use super::routes::{percent_decoded, request_id};
use super::{Emulated, REQUEST_ID};

/// Most agents of a fleet.
const MAX_AGENTS: usize = 2_000;
/// What a page holds where `maxResults` does not say.
const PAGE: usize = 10;
/// The largest `maxResults`, by the service's model.
const MAX_RESULTS: usize = 1_000;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    /// `POST /agents/`
    ListAgents,
    /// `GET /agents/{agentId}/`
    GetAgent(String),
    /// `POST /agents/{agentId}/agentaliases/`
    ListAgentAliases(String),
    /// `POST /agents/{agentId}/agentversions/{agentVersion}/actiongroups/`
    ListAgentActionGroups(String),
    /// `GET /agents/{agentId}/agentversions/{agentVersion}/actiongroups/{actionGroupId}/`
    GetAgentActionGroup(String, String),
}

impl Operation {
    /// The operation of a path, which some SDKs end with a slash and others do not. `POST` to
    /// `/agents/{…}` is none: the runtime has an operation there.
    pub(super) fn at(method: &Method, path: &str) -> Option<Self> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments: Vec<_> = path.strip_prefix('/')?.split('/').collect();
        let id = |segment: &str| percent_decoded(segment).unwrap_or(segment.into()).into_owned();
        match (method, &segments[..]) {
            (&Method::POST, ["agents"]) => Some(Self::ListAgents),
            (&Method::GET, ["agents", agent]) => Some(Self::GetAgent(id(agent))),
            (&Method::POST, ["agents", agent, "agentaliases"]) => {
                Some(Self::ListAgentAliases(id(agent)))
            }
            (&Method::POST, ["agents", agent, "agentversions", _, "actiongroups"]) => {
                Some(Self::ListAgentActionGroups(id(agent)))
            }
            (&Method::GET, ["agents", agent, "agentversions", _, "actiongroups", group]) => {
                Some(Self::GetAgentActionGroup(id(agent), id(group)))
            }
            _ => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::ListAgents => "ListAgents",
            Self::GetAgent(_) => "GetAgent",
            Self::ListAgentAliases(_) => "ListAgentAliases",
            Self::ListAgentActionGroups(_) => "ListAgentActionGroups",
            Self::GetAgentActionGroup(..) => "GetAgentActionGroup",
        }
    }

    /// The agent that it is about.
    fn agent(&self) -> Option<&str> {
        match self {
            Self::ListAgents => None,
            Self::GetAgent(agent)
            | Self::ListAgentAliases(agent)
            | Self::ListAgentActionGroups(agent)
            | Self::GetAgentActionGroup(agent, _) => Some(agent),
        }
    }
}

/// The agents there are, and what goes wrong.
#[derive(Debug)]
pub(super) struct Fleet {
    account: String,
    idle_session_ttl: Duration,
    now: Mutex<Now>,
}

/// What can change.
#[derive(Debug, Default)]
struct Now {
    set: Settings,
    /// What the settings name, or takes back what the configuration names.
    fault: Option<Option<Fault>>,
    /// Calls that the fault could have met.
    met: u64,
    /// All calls, by operation.
    calls: BTreeMap<&'static str, u64>,
}

/// The body of `POST /_emulator/control-plane`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    agents: Option<usize>,
    fault: Option<String>,
    operation: Option<String>,
    idle_session_ttl_seconds: Option<u64>,
}

impl Fleet {
    /// The fleet of an account, whose agents say that they remember a session for so long.
    pub(super) fn new(account: &str, idle_session_ttl: Duration) -> Self {
        Self { account: account.to_owned(), idle_session_ttl, now: Mutex::default() }
    }

    /// Forgets every setting and call.
    pub(super) fn reset(&self) {
        *self.lock() = Now::default();
    }

    /// How often each operation was called.
    pub(super) fn calls(&self) -> BTreeMap<&'static str, u64> {
        self.lock().calls.clone()
    }

    fn set(&self, body: &[u8]) -> Result<(), Refusal> {
        let set: Settings = serde_json::from_slice(body)
            .map_err(|error| Refusal::serialization(format!("the body cannot be read: {error}")))?;
        if set.agents.is_some_and(|agents| agents > MAX_AGENTS) {
            return Err(Refusal::validation(format!("there are at most {MAX_AGENTS} agents")));
        }
        let named = set.fault.as_deref().map(fault).transpose();
        let named = named.map_err(|error| Refusal::validation(error.to_string()))?;
        let mut now = self.lock();
        *now = Now { set, fault: named, met: 0, calls: std::mem::take(&mut now.calls) };
        Ok(())
    }

    /// Takes a call down and says what goes wrong with it.
    pub(super) fn fault(
        &self,
        operation: &'static str,
        configured: Option<&Fault>,
    ) -> Option<Fault> {
        let mut now = self.lock();
        *now.calls.entry(operation).or_default() += 1;
        if now.set.operation.as_deref().is_some_and(|only| only != operation) {
            return None;
        }
        now.met += 1;
        let fault = now.fault.clone().unwrap_or_else(|| configured.cloned());
        fault.filter(|fault| match fault {
            Fault::Refuse(refuse) => refuse.meets(now.met, false),
            _ => true,
        })
    }

    fn count(&self) -> usize {
        self.lock().set.agents.unwrap_or(FLEET.len())
    }

    /// What agents say of their idle time, in seconds.
    fn idle_seconds(&self) -> u64 {
        let told = self.lock().set.idle_session_ttl_seconds;
        told.unwrap_or(self.idle_session_ttl.as_secs())
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of the fleet; any other agent is a prepared one without a name of its own.
    fn find(&self, id: &str) -> Result<Agent, Refusal> {
        if MISSING_AGENTS.iter().any(|begin| id.starts_with(begin)) {
            return Err(Refusal::not_found(id));
        }
        let is_id = (1..=10).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_id {
            return Err(Refusal::validation("agentId must be 1 to 10 letters and digits"));
        }
        let known = (0..self.count()).map(Agent::of_fleet).find(|agent| agent.id == id);
        Ok(known.unwrap_or_else(|| Agent::unlisted(id)))
    }

    fn answer(&self, operation: &Operation, body: &[u8]) -> Result<Value, Refusal> {
        let found = operation.agent().map(|id| self.find(id)).transpose()?;
        match (operation, found) {
            (Operation::GetAgent(_), Some(agent)) => {
                Ok(json!({ "agent": agent.whole(&self.account, self.idle_seconds()) }))
            }
            (Operation::ListAgentAliases(_), Some(agent)) => {
                paged("agentAliasSummaries", agent.aliases(), body)
            }
            (Operation::ListAgentActionGroups(_), Some(_)) => {
                paged("actionGroupSummaries", vec![action_group_summary()], body)
            }
            (Operation::GetAgentActionGroup(_, group), Some(agent)) => {
                if group != ACTION_GROUP {
                    return Err(Refusal::not_found(group));
                }
                Ok(json!({ "agentActionGroup": agent.action_group() }))
            }
            _ => {
                let fleet = (0..self.count()).map(|place| Agent::of_fleet(place).summary());
                paged("agentSummaries", fleet.collect(), body)
            }
        }
    }
}

/// What every list takes.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// The page of a list that the body asks for.
fn paged(member: &str, all: Vec<Value>, body: &[u8]) -> Result<Value, Refusal> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    let wanted: Wanted = serde_json::from_slice(body)
        .map_err(|error| Refusal::serialization(format!("the body cannot be read: {error}")))?;
    let length = wanted.max_results.unwrap_or(PAGE);
    if !(1..=MAX_RESULTS).contains(&length) {
        return Err(Refusal::validation(format!("maxResults must be 1 to {MAX_RESULTS}")));
    }
    let start = match wanted.next_token.as_deref().map(|token| token.strip_prefix("from-")) {
        None => 0,
        Some(place) => {
            let place = place.and_then(|place| place.parse().ok());
            let place = place.filter(|place| *place < all.len());
            place.ok_or_else(|| Refusal::validation("nextToken is none of this list"))?
        }
    };
    let end = all.len().min(start + length);
    let mut page = json!({ member: &all[start..end] });
    if end < all.len() {
        page["nextToken"] = json!(format!("from-{end}"));
    }
    Ok(page)
}

/// Answers one call.
pub(super) async fn answer(
    emulated: &Emulated,
    operation: Operation,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    match accept(emulated, &operation, request).await {
        Ok(body) => reply(&body),
        Err(refusal) => refusal.response(request_id()),
    }
}

async fn accept(
    emulated: &Emulated,
    operation: &Operation,
    request: Request<Incoming>,
) -> Result<Value, Refusal> {
    let (head, body) = request.into_parts();
    let fault = emulated.fleet.fault(operation.name(), emulated.behaviour.fault.as_ref());
    authorise(&head.headers, operation)?;
    match fault {
        Some(Fault::Refuse(refuse)) if refuse.with.kind == Some("AccessDeniedException") => {
            return Err(denied(operation));
        }
        Some(Fault::Refuse(refuse)) => return Err(refuse.with),
        // The connection drops this future when the client hangs up.
        Some(Fault::SilentHead | Fault::SilentBody) => std::future::pending::<()>().await,
        Some(Fault::Thinking(length)) => tokio::time::sleep(length).await,
        // What breaks a stream of events does not break a document.
        Some(
            Fault::Break { .. } | Fault::Slow | Fault::Empty | Fault::UnknownEvent | Fault::Flaw(_),
        )
        | None => {}
    }
    emulated.fleet.answer(operation, &read(body).await?)
}

fn authorise(headers: &HeaderMap, operation: &Operation) -> Result<(), Refusal> {
    let Some(authorization) = headers.get(AUTHORIZATION) else { return Err(Refusal::unsigned()) };
    let is_denied = authorization.to_str().is_ok_and(|text| text.contains(DENIED_ACCESS_KEY));
    if is_denied { Err(denied(operation)) } else { Ok(()) }
}

fn denied(operation: &Operation) -> Refusal {
    let name = operation.name();
    let message = format!("The caller is not authorized to perform: bedrock:{name}.");
    Refusal { message: message.into(), ..Refusal::denied() }
}

/// Sets the fleet up as a test wants it.
pub(super) async fn set_up(
    emulated: &Emulated,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let set = match read(request.into_body()).await {
        Ok(body) => emulated.fleet.set(&body),
        Err(refusal) => Err(refusal),
    };
    match set {
        Ok(()) => reply(&json!({})),
        Err(refusal) => refusal.response(request_id()),
    }
}

fn reply(body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(REQUEST_ID, request_id());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> Fleet {
        Fleet::new("123456789012", Duration::from_secs(600))
    }

    fn listed(fleet: &Fleet, body: &str) -> Result<(Vec<String>, Option<String>), Refusal> {
        let page = fleet.answer(&Operation::ListAgents, body.as_bytes())?;
        let ids = page["agentSummaries"].as_array().unwrap().iter();
        let ids = ids.map(|agent| agent["agentId"].as_str().unwrap().to_owned()).collect();
        Ok((ids, page["nextToken"].as_str().map(str::to_owned)))
    }

    #[test]
    fn paths_of_the_control_plane_are_told_from_those_of_the_runtime() {
        let at = |method: Method, path| Operation::at(&method, path);
        assert_eq!(at(Method::POST, "/agents/"), Some(Operation::ListAgents));
        assert_eq!(at(Method::POST, "/agents"), Some(Operation::ListAgents));
        let agent = || "LOANAGENT1".to_owned();
        assert_eq!(at(Method::GET, "/agents/LOANAGENT1/"), Some(Operation::GetAgent(agent())));
        assert_eq!(
            at(Method::POST, "/agents/LOANAGENT1/agentaliases"),
            Some(Operation::ListAgentAliases(agent()))
        );
        for (method, path) in [
            (Method::POST, "/agents/some-session"),
            (Method::GET, "/agents"),
            (Method::POST, "/agents/A/agentAliases/B/sessions/c/text"),
            (Method::POST, "/agents/A/agentaliases/B"),
            (Method::POST, "/"),
        ] {
            assert_eq!(at(method, path), None, "{path}");
        }
    }

    #[test]
    fn pages_hold_the_whole_fleet_once() {
        let fleet = fleet();
        fleet.set(br#"{"agents":25}"#).unwrap();
        let (mut all, mut token) = listed(&fleet, "{}").unwrap();
        assert_eq!(all.len(), PAGE);
        while let Some(next) = token {
            let body = format!(r#"{{"maxResults":7,"nextToken":"{next}"}}"#);
            let (more, following) = listed(&fleet, &body).unwrap();
            all.extend(more);
            token = following;
        }
        let expected: Vec<_> = (0..25).map(|place| Agent::of_fleet(place).id).collect();
        assert_eq!(all, expected);
        assert_eq!(all[24], "FLEET00025");
        for wrong in [r#"{"maxResults":0}"#, r#"{"nextToken":"from-25"}"#, r#"{"nextToken":"x"}"#] {
            assert_eq!(listed(&fleet, wrong).unwrap_err().kind, Some("ValidationException"));
        }
    }

    #[test]
    fn a_fault_meets_the_operation_it_is_for_and_so_many_calls() {
        let fleet = fleet();
        fleet.set(br#"{"fault":"throttle:1","operation":"ListAgents"}"#).unwrap();
        let get = Operation::GetAgent("LOANAGENT1".to_owned());
        assert_eq!(fleet.fault(get.name(), None), None);
        assert!(fleet.fault("ListAgents", None).is_some());
        assert_eq!(fleet.fault("ListAgents", None), None);
        assert_eq!(fleet.calls(), BTreeMap::from([("GetAgent", 1), ("ListAgents", 2)]));
        fleet.set(br#"{"fault":"none"}"#).unwrap();
        assert_eq!(fleet.fault(get.name(), Some(&Fault::SilentHead)), None);
        fleet.reset();
        assert_eq!(fleet.fault(get.name(), Some(&Fault::SilentHead)), Some(Fault::SilentHead));
    }

    #[test]
    fn a_setting_that_cannot_be_is_refused() {
        for wrong in [r#"{"agents":2001}"#, r#"{"fault":"explode"}"#, r#"{"agent":1}"#, ""] {
            assert!(fleet().set(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
