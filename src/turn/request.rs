//! What a client asks of a turn, whatever dialect it spoke.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{
    CacheLife, Generation, ItemReference, Message, ModelName, SessionId, ToolChoice, TurnId,
};

/// One turn, as asked for.
#[derive(Debug, Clone, Default)]
pub struct TurnRequest {
    /// The model named, if any; the routes' default stands in for none.
    pub model: Option<ModelName>,
    /// Everything the client sent, oldest first: a whole transcript, or what is new.
    pub messages: Vec<Message>,
    /// Items said before that belong among the messages, in order; whoever finds sessions finds
    /// them too.
    pub references: Vec<ItemReference>,
    /// Which session the client says this is.
    pub hints: SessionHints,
    /// The client's own notes on the request (`metadata`), as text.
    pub metadata: BTreeMap<String, String>,
    /// The phone number of the person who calls, in E.164.
    pub caller: Option<String>,
    /// Attributes kept upstream for the whole session.
    pub session_attributes: BTreeMap<String, String>,
    /// Attributes for this turn only.
    pub prompt_attributes: BTreeMap<String, String>,
    /// The key of the agent's long-term memory, where it has one.
    pub memory_id: Option<String>,
    /// Whether the upstream session ends with this turn.
    pub end_session: bool,
    /// Whether the client wants the raw traces, where the operator allows it.
    pub wants_traces: bool,
    /// Whether the client wants to see the reasoning, where the operator allows it.
    pub wants_reasoning: Option<bool>,
    /// The tools that the client offers.
    pub tools: Vec<Tool>,
    /// Results of a hand-over in the upstream's own spelling, from clients that speak it; others
    /// send tool messages.
    pub handed_back: Option<HandedBack>,
    /// How the answer is to be made.
    pub generation: Generation,
    /// What overrides the model's settings for agents in this turn.
    pub agent: AgentOptions,
    /// What to do when a turn is running, if the client overrides the model's policy.
    pub turn_policy: Option<TurnPolicy>,
    /// What to do when the client leaves, if it overrides the key's and the model's policy.
    pub disconnect_policy: Option<DisconnectPolicy>,
    /// What of the turn is kept once it is over.
    pub keeping: Keeping,
    /// What happens where more was said than can be told.
    pub overflow: Overflow,
    /// Whether the messages are what is new, whatever they look like, and the instructions only
    /// this turn's. Otherwise they may be the whole conversation, which is found out; so they
    /// may where the request names nothing that it goes on from.
    pub is_delta: bool,
    /// Whether the turn runs without its client, who looks for it later.
    pub is_background: bool,
    /// What of the request the answer repeats, as the format that read it writes it: JSON text
    /// that only that format reads again.
    pub echo: Option<Arc<str>>,
    /// The client's own name for the request, under which it runs once however often it comes.
    pub idempotency: Option<IdempotencyKey>,
}

impl TurnRequest {
    /// The tools that may be called: none where the client chose none of them.
    #[must_use]
    pub fn offered(&self) -> &[Tool] {
        match self.generation.tool_choice {
            ToolChoice::None => &[],
            ToolChoice::Auto | ToolChoice::Required | ToolChoice::Named(_) => &self.tools,
        }
    }
}

/// Which session a request belongs to, as far as the client says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionHints {
    /// The session the client named, by the first of the ways that it used.
    pub named: Option<SessionId>,
    /// Who speaks (`user`, `safety_identifier`): never names a session by itself, but two
    /// different ones never share one.
    pub speaker: Option<String>,
    /// Whether the named session has to be there already.
    pub must_exist: bool,
    /// The turn that this one goes on from, which tells the session, or the branch of one.
    pub previous: Option<TurnId>,
}

/// What is kept of a turn once it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keeping {
    /// The session's transcript; the turn's events for as long as a stream may be resumed.
    #[default]
    Transcript,
    /// The turn itself too, to be looked up by its id while its session lives.
    Turn,
    /// Nothing: the session ends with the turn, and one that it goes on from stays as it is.
    Nothing,
}

/// What happens where more was said in a session than its model can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// What the session has let go of is not told; what the upstream finds too long is refused.
    #[default]
    Usual,
    /// The oldest turns are left out until the upstream can read the rest.
    DropOldest,
    /// Both are refused.
    Refuse,
}

/// The client's name for a request that it may repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// What the client sent: 1 to 255 bytes.
    pub key: Arc<str>,
    /// A digest of the request, since another one under the same name is a mistake.
    pub fingerprint: [u8; 32],
}

/// What happens to a turn that arrives while another one of its session runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TurnPolicy {
    /// It waits for its place, in order of arrival, bounded in number and time.
    #[default]
    Queue,
    /// It is refused with 409.
    Reject,
    /// The running one is stopped, keeps what was said, and the new one starts (barge-in).
    Interrupt,
}

impl TurnPolicy {
    /// Every policy with its name in configuration and headers.
    pub const NAMES: &'static [(&'static str, Self)] =
        &[("queue", Self::Queue), ("reject", Self::Reject), ("interrupt", Self::Interrupt)];
}

/// What happens to a turn whose last reader goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DisconnectPolicy {
    /// It is stopped, upstream too.
    #[default]
    Cancel,
    /// It runs on and can be rejoined.
    Detach {
        /// How long, if nobody comes back: then it is stopped. Until it ends, without.
        grace: Option<Duration>,
    },
}

/// The longest grace that can be given: turns do not run for days.
const LONGEST_GRACE: f64 = 86_400.0;

/// A text that is no policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be cancel, detach, or detach:SECONDS with up to 86400 of them")]
pub struct BadDisconnectPolicy;

/// In configuration, headers and bodies alike: `cancel`, `detach`, or `detach:30` for half a
/// minute.
impl FromStr for DisconnectPolicy {
    type Err = BadDisconnectPolicy;

    fn from_str(text: &str) -> Result<Self, BadDisconnectPolicy> {
        let seconds = match text.split_once(':') {
            None if text == "cancel" => return Ok(Self::Cancel),
            None if text == "detach" => return Ok(Self::Detach { grace: None }),
            Some(("detach", seconds)) => seconds,
            _ => return Err(BadDisconnectPolicy),
        };
        let seconds: f64 = seconds.trim().parse().map_err(|_| BadDisconnectPolicy)?;
        if !(0.0..=LONGEST_GRACE).contains(&seconds) {
            return Err(BadDisconnectPolicy);
        }
        Ok(Self::Detach { grace: Some(Duration::from_secs_f64(seconds)) })
    }
}

impl fmt::Display for DisconnectPolicy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancel => out.write_str("cancel"),
            Self::Detach { grace: None } => out.write_str("detach"),
            Self::Detach { grace: Some(grace) } => write!(out, "detach:{}", grace.as_secs_f64()),
        }
    }
}

/// A function that the client can run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tool {
    /// Its name: 1 to 64 of `[a-zA-Z0-9_-]`.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON schema of its arguments, an object.
    pub parameters: Option<Value>,
    /// Whether the arguments must fit the schema to the letter, if the client says.
    pub strict: Option<bool>,
    /// Whether the client wants the prompt kept up to here, and how long.
    pub cache: Option<CacheLife>,
}

/// Results of a hand-over in the upstream's own spelling.
#[derive(Debug, Clone, PartialEq)]
pub struct HandedBack {
    /// The hand-over that they answer.
    pub invocation_id: String,
    /// The results; not empty.
    pub results: Vec<Value>,
}

/// What a request overrides of a model's settings for agents; `None` leaves the setting.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentOptions {
    /// `knowledgeBaseConfigurations` of Bedrock agents, in the service's own spelling.
    pub knowledge_bases: Option<Vec<Value>>,
    /// Earlier turns that the agent puts into its prompt.
    pub previous_turns: Option<u32>,
    /// Whether it leaves the thinking of earlier turns out of it.
    pub exclude_thinking: Option<bool>,
    /// What the agent's model is to be optimised for.
    pub latency: Option<Latency>,
    /// Characters between two guardrail checks of a streamed answer.
    pub guardrail_interval: Option<NonZeroU32>,
    /// What a tool's error means to the agent.
    pub tool_errors: Option<ToolErrors>,
    /// What the files of this turn are for.
    pub file_use: Option<FileUse>,
}

/// What an agent's model is to be optimised for (`performanceConfig.latency` of Bedrock).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// The ordinary way.
    Standard,
    /// Latency; few models and regions have it.
    Optimized,
}

impl Latency {
    /// Every mode with its name in configuration and requests.
    pub const NAMES: &'static [(&'static str, Self)] =
        &[("standard", Self::Standard), ("optimized", Self::Optimized)];
}

/// What a tool's error means to an agent (`responseState` of Bedrock agents).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ToolErrors {
    /// The agent's model is told, and may try otherwise.
    #[default]
    Reprompt,
    /// The turn fails.
    Failure,
}

impl ToolErrors {
    /// Every meaning with its name in configuration and requests.
    pub const NAMES: &'static [(&'static str, Self)] =
        &[("reprompt", Self::Reprompt), ("failure", Self::Failure)];
}

/// What the files of a turn are for (`useCase` of Bedrock agents).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileUse {
    /// The model reads them.
    #[default]
    Chat,
    /// The agent's code interpreter does.
    CodeInterpreter,
}

impl FileUse {
    /// Every use with its name in configuration and requests.
    pub const NAMES: &'static [(&'static str, Self)] =
        &[("chat", Self::Chat), ("code_interpreter", Self::CodeInterpreter)];
}

/// Looks a policy up by its name in such a list.
#[must_use]
pub fn named<P: Copy>(names: &[(&'static str, P)], name: &str) -> Option<P> {
    names.iter().find(|(known, _)| *known == name).map(|(_, policy)| *policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_for_leavers_is_written_as_it_is_read() {
        for text in ["cancel", "detach", "detach:30", "detach:0.5", "detach:86400"] {
            assert_eq!(text.parse::<DisconnectPolicy>().unwrap().to_string(), text);
        }
        let wrong =
            ["", "Cancel", "cancel:3", "detach:", "detach:-1", "detach:NaN", "detach:86401"];
        for text in wrong {
            assert_eq!(text.parse::<DisconnectPolicy>(), Err(BadDisconnectPolicy), "{text}");
        }
    }
}
