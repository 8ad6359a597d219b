//! The body of a request for an agent stream.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::turn::{
    Failure, FailureKind, Message, ModelName, Role, SessionHints, SessionId, TurnRequest,
};
use crate::wire::agent_fields::{Attributes, is_agent_key, memory_id};
use crate::wire::{Asked, Options, body};

/// The alias of an agent's working draft.
const DRAFT: &str = "TSTALIASID";
/// Characters in an input (`inputText` of `InvokeAgent`).
const LONGEST_INPUT: usize = 25_000_000;

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Body {
    input_text: Option<String>,
    agent_id: Option<String>,
    agent_alias_id: Option<String>,
    session_id: Option<String>,
    session_attributes: Option<Attributes>,
    prompt_session_attributes: Option<Attributes>,
    enable_trace: Option<bool>,
    end_session: Option<bool>,
    memory_id: Option<String>,
    accumulated: Option<bool>,
    return_control_results: Option<IgnoredAny>,
    invocation_id: Option<IgnoredAny>,
}

/// Reads a request.
pub(super) fn decode(sent: &[u8]) -> Result<Asked, Failure> {
    let body: Body = body::read(sent)?;
    body.refuse_return_of_control()?;
    let end_session = body.end_session.unwrap_or(false);
    let request = TurnRequest {
        model: body.model()?,
        messages: body.messages(end_session)?,
        hints: SessionHints { named: body.session()?, speaker: None },
        session_attributes: body.session_attributes.unwrap_or_default().0,
        prompt_attributes: body.prompt_session_attributes.unwrap_or_default().0,
        memory_id: body.memory_id.map(|id| memory_id("memory_id", id)).transpose()?,
        end_session,
        wants_traces: body.enable_trace.unwrap_or(true),
        ..TurnRequest::default()
    };
    let options = Options { accumulated: body.accumulated.unwrap_or(true), ..Options::default() };
    Ok(Asked { request, stream: true, options })
}

impl Body {
    fn refuse_return_of_control(&self) -> Result<(), Failure> {
        let param = match (&self.return_control_results, &self.invocation_id) {
            (Some(_), _) => "return_control_results",
            (None, Some(_)) => "invocation_id",
            (None, None) => return Ok(()),
        };
        let message = "answering return of control is not supported by this version";
        Err(Failure::new(FailureKind::UnsupportedParameter, message).at(param))
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
        let name = format!("bedrock/agent/{agent}/{alias}");
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

    fn messages(&self, end_session: bool) -> Result<Vec<Message>, Failure> {
        let refused = |message: &'static str| Err(Failure::bad_field("input_text", message));
        match self.input_text.as_deref() {
            Some(text) if text.len() > LONGEST_INPUT && text.chars().count() > LONGEST_INPUT => {
                refused("input_text must be at most 25000000 characters")
            }
            Some(text) if !text.trim().is_empty() => Ok(vec![Message::text(Role::User, text)]),
            _ if end_session => Ok(Vec::new()),
            Some(_) => refused("input_text is blank: nothing is asked"),
            None => refused("input_text is required"),
        }
    }
}

/// Whether a text can be the id of an agent or of an alias.
fn is_agent_id(text: &str) -> bool {
    (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
