//! Tool calls that an upstream session waits for.
//!
//! Some upstreams keep the conversation themselves and stop in the midst of it, until their
//! caller has done something for them (`returnControl` of Bedrock agents, inline functions of an
//! AgentCore harness). Such a hand-over is answered once, with the results of all its calls
//! together; until then it is part of the session.

use std::sync::Arc;

use serde_json::Value;

use super::{Message, ToolCall};

/// A hand-over that waits for its results.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// What the upstream calls the hand-over; the results must quote it.
    pub invocation_id: String,
    /// The calls, in the upstream's order.
    pub calls: Vec<PendingCall>,
}

/// One call of a hand-over.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingCall {
    /// The call as clients know it.
    pub call: ToolCall,
    /// The call in the upstream's own spelling: what a result must quote of it.
    pub input: Value,
    /// Its result, once it came: a tool message.
    pub result: Option<Arc<Message>>,
}

impl Pending {
    /// The call of this id.
    #[must_use]
    pub fn call(&self, id: &str) -> Option<&PendingCall> {
        self.calls.iter().find(|pending| pending.call.id == id)
    }

    /// Whether every call has its result.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.calls.iter().all(|pending| pending.result.is_some())
    }

    /// The calls that have no result yet.
    pub fn open(&self) -> impl Iterator<Item = &ToolCall> {
        self.calls.iter().filter(|pending| pending.result.is_none()).map(|pending| &pending.call)
    }
}
