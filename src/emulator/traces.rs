//! The traces of a call: what the agent thought, and the tokens that took.
//!
//! A call has three: its rationale and the usage of the planning step before the first chunk, the
//! usage of the answering step after the last, which is missing where the agent hands over or
//! fails instead of answering. Phrases add others. Token counts are a function of the texts alone.

use bytes::Bytes;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::actions::agent_id;
use super::calls::Spent;
use super::frames;
use super::sessions::SessionKey;

/// Tokens that the agent's instruction would take.
const INSTRUCTION_TOKENS: usize = 120;
/// Tokens that an earlier turn of the session would take.
const TURN_TOKENS: usize = 20;
/// Tokens that the plan of an answer would take.
const PLAN_TOKENS: usize = 24;

/// The alias of every collaborator.
const COLLABORATOR_ALIAS: &str = "LIVE";

/// Writes the trace events of one call.
#[derive(Debug)]
pub(super) struct Tracer {
    key: SessionKey,
    account: String,
}

/// A trace event, and the tokens that it tells of.
#[derive(Debug)]
pub(super) struct Record {
    /// The event.
    pub(super) frame: Bytes,
    /// The tokens, if it tells of any.
    pub(super) spent: Option<Spent>,
}

/// Texts and turns that decide how many tokens a call takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Bytes of the message.
    pub(super) input: usize,
    /// Bytes of the answer.
    pub(super) output: usize,
    /// Turns that the session held before.
    pub(super) turns: usize,
}

impl Size {
    fn planning(self) -> (usize, usize) {
        (INSTRUCTION_TOKENS + TURN_TOKENS * self.turns + tokens(self.input), PLAN_TOKENS)
    }

    fn answering(self) -> (usize, usize) {
        (self.planning().0 + PLAN_TOKENS, tokens(self.output))
    }
}

/// About as many as a model would count: four bytes each, and never none.
pub(super) fn tokens(bytes: usize) -> usize {
    bytes.div_ceil(4).max(1)
}

impl Tracer {
    /// A tracer for a call on this session of an agent in this account.
    pub(super) fn new(key: SessionKey, account: &str) -> Self {
        Self { key, account: account.to_owned() }
    }

    /// What comes before the first chunk.
    pub(super) fn opening(&self, size: Size) -> [Record; 2] {
        let rationale = json!({"rationale": {
            "text": "The caller wants something that I can answer from what I know.",
            "traceId": "plan-1",
        }});
        [self.orchestration(rationale), self.usage("plan-1", size.planning())]
    }

    /// What comes after the last chunk.
    pub(super) fn closing(&self, size: Size) -> Record {
        self.usage("answer-1", size.answering())
    }

    /// A sign of life while the agent thinks.
    pub(super) fn thought(&self) -> Record {
        self.orchestration(json!({"rationale": {"text": "Still thinking.", "traceId": "think-1"}}))
    }

    /// The event of any trace: of the agent itself, or of a collaborator.
    pub(super) fn record(&self, collaborator: Option<&str>, trace: Value) -> Record {
        let spent = spent(collaborator, &trace);
        let SessionKey { agent, alias, session } = &self.key;
        let version = if alias == "TSTALIASID" { "DRAFT" } else { "1" };
        let mut part = json!({
            "sessionId": session,
            "eventTime": OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            "trace": trace,
        });
        // An agent that came with the call has no ids.
        if !self.key.is_inline() {
            let of_collaborator = collaborator.map(|name| (agent_id(name), COLLABORATOR_ALIAS));
            let (agent, alias) = of_collaborator.unwrap_or_else(|| (agent.clone(), alias));
            part["agentId"] = agent.into();
            part["agentAliasId"] = alias.into();
            part["agentVersion"] = version.into();
            part["callerChain"] = json!([{"agentAliasArn": self.alias_arn()}]);
        }
        if let Some(name) = collaborator {
            part["collaboratorName"] = name.into();
        }
        Record { frame: frames::event("trace", part.to_string()), spent }
    }

    fn usage(&self, trace_id: &str, (input, output): (usize, usize)) -> Record {
        self.orchestration(json!({"modelInvocationOutput": {
            "metadata": {"usage": {"inputTokens": input, "outputTokens": output}},
            "traceId": trace_id,
        }}))
    }

    fn orchestration(&self, step: Value) -> Record {
        self.record(None, json!({"orchestrationTrace": step}))
    }

    fn alias_arn(&self) -> String {
        let SessionKey { agent, alias, .. } = &self.key;
        format!("arn:aws:bedrock:us-east-1:{}:agent-alias/{agent}/{alias}", self.account)
    }
}

/// The tokens of a trace: those of a `modelInvocationOutput`, whatever kind of trace it is in.
/// Observations have a `metadata.usage` too, which counts the same tokens again.
fn spent(collaborator: Option<&str>, trace: &Value) -> Option<Spent> {
    let (_, step) = trace.as_object()?.iter().next()?;
    let usage = &step["modelInvocationOutput"]["metadata"]["usage"];
    Some(Spent {
        collaborator: collaborator.map(str::to_owned),
        input: usage["inputTokens"].as_u64()?,
        output: usage["outputTokens"].as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_depends_on_the_texts_alone() {
        let size = Size { input: 20, output: 9, turns: 2 };
        assert_eq!(size.planning(), (165, 24));
        assert_eq!(size.answering(), (189, 3));
        assert_eq!(Size { output: 0, ..size }.answering().1, 1);
    }
}
