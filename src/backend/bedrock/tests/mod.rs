//! Whole conversations, whole requests and whole answers, without a wire.

use std::sync::Arc;

use serde_json::Value;

use crate::turn::{
    Confirmation, Message, Part, Role, SessionKey, Status, TenantId, Thought, ToolCall,
    TurnRequest, UpstreamSessionId,
};

use super::super::Ask;

mod answers;
mod calls;
pub(crate) mod reading;
mod settings;
mod transcripts;

const CLAUDE: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const THINKER: &str = "us.anthropic.claude-sonnet-4-20250514-v1:0";

fn user(text: &str) -> Message {
    Message::text(Role::User, text)
}

fn assistant(text: &str) -> Message {
    Message::text(Role::Assistant, text)
}

/// An assistant that makes these calls, as pairs of id and name.
fn calls(calls: &[(&str, &str)]) -> Message {
    let call = |(id, name): &(&str, &str)| ToolCall {
        id: (*id).to_owned(),
        name: (*name).to_owned(),
        arguments: r#"{"z":1,"a":2}"#.to_owned(),
        confirmation: Confirmation::None,
    };
    let tool_calls = calls.iter().map(call).collect();
    Message { tool_calls, parts: Vec::new(), ..assistant("") }
}

fn result(id: &str, text: &str) -> Message {
    Message { tool_call_id: Some(id.to_owned()), ..Message::text(Role::Tool, text) }
}

fn failed(message: Message) -> Message {
    Message { status: Status::Failed, ..message }
}

fn attached(part: Value) -> Part {
    let kind = part["type"].as_str().unwrap().to_owned();
    Part::Attachment { kind, value: Arc::new(part) }
}

fn thinking(message: Message) -> Message {
    let thought =
        Thought::Text { text: "Let me see.".to_owned(), signature: Some("proof".to_owned()) };
    Message { thoughts: vec![thought], ..message }
}

/// The session's part: a request's system messages.
fn system_of(request: &TurnRequest) -> Arc<[Message]> {
    let messages = request.messages.iter();
    messages.filter(|message| message.role == Role::System).cloned().collect()
}

fn ask(history: Vec<Message>, input: Vec<Message>, request: TurnRequest) -> Ask {
    let tenant: TenantId = "acme".parse().unwrap();
    Ask {
        system: system_of(&request),
        key: SessionKey { tenant, id: "call~7".parse().unwrap() },
        upstream: UpstreamSessionId::generate(),
        history: history.into_iter().map(Arc::new).collect(),
        input,
        pending: None,
        request: Arc::new(request),
    }
}
