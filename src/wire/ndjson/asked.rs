//! The body of a request for an agent stream.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::turn::{
    Failure, HandedBack, Message, ModelName, Role, SessionHints, SessionId, TurnRequest,
};
use crate::wire::agent_fields::{Attributes, is_agent_key};
use crate::wire::body::wrong;
use crate::wire::bounded::{Allowance, AtMost};
use crate::wire::extension::Extension;
use crate::wire::{Asked, Options, body};

/// The alias of an agent's working draft.
const DRAFT: &str = "TSTALIASID";
/// Characters in an input (`inputText` of `InvokeAgent`).
const LONGEST_INPUT: usize = 25_000_000;

/// Results of one hand-over, by the service's rule (`returnControlInvocationResults`).
const MAX_RESULTS: usize = 5;
/// Characters in the name of a hand-over; the service's are UUIDs.
const LONGEST_INVOCATION: usize = 200;

/// The members of the format's own; those of [`Extension`] stand beside them.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Body<'a> {
    input_text: Option<String>,
    agent_id: Option<String>,
    agent_alias_id: Option<String>,
    session_id: Option<String>,
    enable_trace: Option<bool>,
    accumulated: Option<bool>,
    invocation_id: Option<String>,
    #[serde(borrow)]
    return_control_results: Option<AtMost<&'a RawValue, MAX_RESULTS>>,
}

/// What begins the name of a model that is an agent and its alias.
const AGENT: &str = "bedrock/agent/";

/// The `agent_id` that a model was asked for by.
pub(super) fn agent_id(model: &str) -> &str {
    let agent = model.strip_prefix(AGENT).and_then(|rest| rest.split_once('/'));
    agent.map_or(model, |(agent, _alias)| agent)
}

/// Reads a request.
pub(super) fn decode(sent: &[u8]) -> Result<Asked, Failure> {
    let body: Body<'_> = body::read(sent)?;
    // A second reading: flattened into the first, they would be copied on the way, and what is
    // wrong with them could not be named.
    let extension: Extension<'_, Attributes> = body::read(sent)?;
    let mut allowance = Allowance::default();
    let mut request = TurnRequest {
        model: body.model()?,
        hints: SessionHints { named: body.session()?, ..SessionHints::default() },
        handed_back: body.handed_back(&mut allowance)?,
        wants_traces: body.enable_trace.unwrap_or(true),
        ..TurnRequest::default()
    };
    extension.fill("", &mut allowance, &mut request)?;
    let may_be_silent = request.end_session || request.handed_back.is_some();
    request.messages = body.messages(may_be_silent)?;
    let options = Options { accumulated: body.accumulated.unwrap_or(true), ..Options::default() };
    Ok(Asked { request, stream: true, options })
}

impl Body<'_> {
    /// The results that answer a hand-over: what it is called and what came of it, neither
    /// without the other.
    fn handed_back(&self, allowance: &mut Allowance) -> Result<Option<HandedBack>, Failure> {
        let (id, results) = match (&self.invocation_id, &self.return_control_results) {
            (None, None) => return Ok(None),
            (Some(id), Some(AtMost(results))) => (id, results),
            (None, Some(_)) => {
                return Err(wrong("invocation_id", "is required with return_control_results"));
            }
            (Some(_), None) => {
                return Err(wrong("return_control_results", "is required with invocation_id"));
            }
        };
        if !(1..=LONGEST_INVOCATION).contains(&id.len()) {
            let why = format!("must be 1 to {LONGEST_INVOCATION} characters");
            return Err(wrong("invocation_id", &why));
        }
        if results.is_empty() {
            let why = format!("must hold 1 to {MAX_RESULTS} results");
            return Err(wrong("return_control_results", &why));
        }
        let results = results.iter().enumerate().map(|(index, raw)| {
            let param = || format!("return_control_results[{index}]");
            result(raw, allowance).map_err(|why| wrong(param(), why))
        });
        let results = results.collect::<Result<_, _>>()?;
        Ok(Some(HandedBack { invocation_id: id.clone(), results }))
    }

    /// The agent as a model name. What cannot be an agent's id is taken for the name of a
    /// configured model.
    fn model(&self) -> Result<Option<ModelName>, Failure> {
        let Some(agent) = &self.agent_id else { return Ok(None) };
        let alias = self.agent_alias_id.as_deref().unwrap_or(DRAFT);
        if !is_agent_id(agent) {
            let model = agent.parse();
            return model
                .map(Some)
                .map_err(|error| Failure::bad_field("agent_id", format!("agent_id: {error}")));
        }
        if !is_agent_id(alias) {
            let message = "agent_alias_id must be 1 to 10 characters of [0-9a-zA-Z]";
            return Err(Failure::bad_field("agent_alias_id", message));
        }
        let name = format!("{AGENT}{agent}/{alias}");
        name.parse().map(Some).map_err(|_| Failure::internal())
    }

    fn session(&self) -> Result<Option<SessionId>, Failure> {
        let Some(id) = &self.session_id else { return Ok(None) };
        let parsed = id.parse().ok().filter(|_| is_agent_key(id));
        parsed.map(Some).ok_or_else(|| {
            let message = "session_id must be 2 to 100 characters of [0-9a-zA-Z._:-]";
            Failure::bad_field("session_id", message)
        })
    }

    fn messages(&self, may_be_silent: bool) -> Result<Vec<Message>, Failure> {
        let refused = |message: &'static str| Err(Failure::bad_field("input_text", message));
        match self.input_text.as_deref() {
            Some(text) if text.len() > LONGEST_INPUT && text.chars().count() > LONGEST_INPUT => {
                refused("input_text must be at most 25000000 characters")
            }
            Some(text) if !text.trim().is_empty() => Ok(vec![Message::text(Role::User, text)]),
            _ if may_be_silent => Ok(Vec::new()),
            Some(_) => refused("input_text is blank: nothing is asked"),
            None => refused("input_text is required"),
        }
    }
}

/// What a result may be: of an agent's function or API, or of a harness's inline function.
const RESULTS: [&str; 3] = ["functionResult", "apiResult", "toolResult"];

/// One result in the service's own spelling: an object with one of these members.
fn result(raw: &RawValue, allowance: &mut Allowance) -> Result<Value, &'static str> {
    let result = allowance.object(raw)?;
    let mut members = RESULTS.iter().map(|name| &result[*name]).filter(|value| !value.is_null());
    match (members.next(), members.next()) {
        (Some(Value::Object(_)), None) => Ok(result),
        (Some(_), None) => Err("must have an object for its result"),
        (None, _) => Err("must have a functionResult, an apiResult or a toolResult"),
        (Some(_), Some(_)) => Err("must have only one of functionResult, apiResult and toolResult"),
    }
}

/// Whether a text can be the id of an agent or of an alias.
fn is_agent_id(text: &str) -> bool {
    (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
