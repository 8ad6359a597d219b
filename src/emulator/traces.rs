//! The traces of a call: what the agent thought, and the tokens that took.
//!
//! A call has three: its rationale and the usage of the planning step before the first chunk, the
//! usage of the answering step after the last. Token counts are a function of the texts alone.

use bytes::Bytes;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::frames;
use super::sessions::SessionKey;

/// Tokens that the agent's instruction would take.
const INSTRUCTION_TOKENS: usize = 120;
/// Tokens that an earlier turn of the session would take.
const TURN_TOKENS: usize = 20;
/// Tokens that the plan of an answer would take.
const PLAN_TOKENS: usize = 24;

/// Writes the trace events of one call.
#[derive(Debug)]
pub(super) struct Tracer {
    key: SessionKey,
    account: String,
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
fn tokens(bytes: usize) -> usize {
    bytes.div_ceil(4).max(1)
}

impl Tracer {
    /// A tracer for a call on this session of an agent in this account.
    pub(super) fn new(key: SessionKey, account: &str) -> Self {
        Self { key, account: account.to_owned() }
    }

    /// What comes before the first chunk.
    pub(super) fn opening(&self, size: Size) -> [Bytes; 2] {
        let rationale = json!({"rationale": {
            "text": "The caller wants something that I can answer from what I know.",
            "traceId": "plan-1",
        }});
        [self.trace(&rationale), self.usage("plan-1", size.planning())]
    }

    /// What comes after the last chunk.
    pub(super) fn closing(&self, size: Size) -> Bytes {
        self.usage("answer-1", size.answering())
    }

    /// A sign of life while the agent thinks.
    pub(super) fn thought(&self) -> Bytes {
        self.trace(&json!({"rationale": {"text": "Still thinking.", "traceId": "think-1"}}))
    }

    fn usage(&self, trace_id: &str, (input, output): (usize, usize)) -> Bytes {
        self.trace(&json!({"modelInvocationOutput": {
            "metadata": {"usage": {"inputTokens": input, "outputTokens": output}},
            "traceId": trace_id,
        }}))
    }

    fn trace(&self, orchestration: &Value) -> Bytes {
        let SessionKey { agent, alias, session } = &self.key;
        let version = if alias == "TSTALIASID" { "DRAFT" } else { "1" };
        let account = &self.account;
        let arn = format!("arn:aws:bedrock:us-east-1:{account}:agent-alias/{agent}/{alias}");
        let part = json!({
            "agentId": agent,
            "agentAliasId": alias,
            "agentVersion": version,
            "sessionId": session,
            "callerChain": [{"agentAliasArn": arn}],
            "eventTime": OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            "trace": {"orchestrationTrace": orchestration},
        });
        frames::event("trace", part.to_string())
    }
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
