//! What a request may ask for beyond the dialect it speaks: the object `outcrop` of a chat
//! request; the same names stand at the top level of a request for an agent stream.
//!
//! Whatever is said here overrides the model's settings for this turn.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::turn::request::{BadDisconnectPolicy, named};
use crate::turn::{AgentOptions, Failure, FileUse, Latency, ToolErrors, TurnPolicy, TurnRequest};

use super::agent_fields::memory_id;
use super::body::wrong;
use super::bounded::{Allowance, AtMost};
use super::whole::Whole;

/// Knowledge bases that one request configures; an agent has a handful.
const MAX_KNOWLEDGE_BASES: usize = 32;

/// The members; `A` is how the format reads attributes.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Extension<'a, A> {
    session_attributes: Option<A>,
    prompt_session_attributes: Option<A>,
    memory_id: Option<String>,
    end_session: Option<bool>,
    turn_policy: Option<String>,
    disconnect_policy: Option<String>,
    traces: Option<bool>,
    reasoning: Option<bool>,
    #[serde(borrow)]
    knowledge_base_configurations: Option<AtMost<&'a RawValue, MAX_KNOWLEDGE_BASES>>,
    prompt_creation_configurations: Option<PromptCreation>,
    latency: Option<String>,
    guardrail_interval: Option<Whole>,
    tool_errors: Option<String>,
    file_use: Option<String>,
}

/// What of earlier turns an agent puts into its prompt, as the type of that name of Bedrock's.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct PromptCreation {
    previous_conversation_turns_to_include: Option<Whole>,
    exclude_previous_thinking_steps: Option<bool>,
}

impl<A: Into<BTreeMap<String, String>>> Extension<'_, A> {
    /// Puts what it says into a request. `at` stands before the names of its members in
    /// messages: `outcrop.` or nothing.
    ///
    /// # Errors
    /// [`FailureKind::BadRequest`](crate::turn::FailureKind) at the member at fault.
    pub(super) fn fill(
        self,
        at: &str,
        allowance: &mut Allowance,
        request: &mut TurnRequest,
    ) -> Result<(), Failure> {
        request.agent = self.agent(at, allowance)?;
        request.session_attributes = self.session_attributes.map(Into::into).unwrap_or_default();
        request.prompt_attributes =
            self.prompt_session_attributes.map(Into::into).unwrap_or_default();
        let memory = self.memory_id.map(|id| memory_id(format!("{at}memory_id"), id));
        request.memory_id = memory.transpose()?;
        request.end_session = self.end_session.unwrap_or(false);
        request.wants_traces = self.traces.unwrap_or(request.wants_traces);
        request.wants_reasoning = self.reasoning;
        let turn = self.turn_policy.as_deref();
        request.turn_policy = one_of(at, "turn_policy", TurnPolicy::NAMES, turn)?;
        let disconnect = self.disconnect_policy.as_deref().map(str::parse).transpose();
        request.disconnect_policy = disconnect.map_err(|why: BadDisconnectPolicy| {
            wrong(format!("{at}disconnect_policy"), &why.to_string())
        })?;
        Ok(())
    }

    fn agent(&self, at: &str, allowance: &mut Allowance) -> Result<AgentOptions, Failure> {
        let bases = self.knowledge_base_configurations.as_ref();
        let bases = bases.map(|bases| knowledge_bases(at, &bases.0, allowance));
        let prompt = self.prompt_creation_configurations.as_ref();
        let turns = prompt.and_then(|prompt| prompt.previous_conversation_turns_to_include);
        let interval = self.guardrail_interval.map(|characters| interval(at, characters));
        let tool_errors = self.tool_errors.as_deref();
        Ok(AgentOptions {
            knowledge_bases: bases.transpose()?,
            previous_turns: turns.map(|turns| previous_turns(at, turns)).transpose()?,
            exclude_thinking: prompt.and_then(|prompt| prompt.exclude_previous_thinking_steps),
            latency: one_of(at, "latency", Latency::NAMES, self.latency.as_deref())?,
            guardrail_interval: interval.transpose()?,
            tool_errors: one_of(at, "tool_errors", ToolErrors::NAMES, tool_errors)?,
            file_use: one_of(at, "file_use", FileUse::NAMES, self.file_use.as_deref())?,
        })
    }
}

fn knowledge_bases(
    at: &str,
    sent: &[&RawValue],
    allowance: &mut Allowance,
) -> Result<Vec<Value>, Failure> {
    let read = sent.iter().enumerate().map(|(index, base)| {
        let param = || format!("{at}knowledge_base_configurations[{index}]");
        allowance.object(base).map_err(|why| wrong(param(), why))
    });
    read.collect()
}

fn previous_turns(at: &str, Whole(turns): Whole) -> Result<u32, Failure> {
    // The service's type for it, and for the interval, is a signed one of 32 bits.
    i32::try_from(turns).ok().and_then(|turns| u32::try_from(turns).ok()).ok_or_else(|| {
        let member = "prompt_creation_configurations.previous_conversation_turns_to_include";
        wrong(format!("{at}{member}"), "must be 0 to 2147483647")
    })
}

fn interval(at: &str, Whole(characters): Whole) -> Result<NonZeroU32, Failure> {
    let fits = i32::try_from(characters).ok().and_then(|count| u32::try_from(count).ok());
    fits.and_then(NonZeroU32::new)
        .ok_or_else(|| wrong(format!("{at}guardrail_interval"), "must be 1 to 2147483647"))
}

fn one_of<P: Copy>(
    at: &str,
    member: &str,
    names: &[(&'static str, P)],
    asked: Option<&str>,
) -> Result<Option<P>, Failure> {
    let Some(name) = asked else { return Ok(None) };
    named(names, name).map(Some).ok_or_else(|| {
        let known: Vec<_> = names.iter().map(|(known, _)| *known).collect();
        wrong(format!("{at}{member}"), &format!("must be one of {}", known.join(", ")))
    })
}
