//! Messages of LangChain, and the states of LangGraph that hold them.

use serde_json::{Map, Value};

use crate::turn::Usage;

use super::{CallPart, DEPTH, Said, Tokens, count, text, text_of};

/// Reads a message or a chunk of one; says whether it is one.
pub(super) fn read(said: &mut Vec<Said>, kind: &str, fields: &Map<String, Value>) -> bool {
    // LangChain's own serialisation has the class and its arguments apart.
    if kind == "constructor"
        && let Some(Value::Object(inner)) = fields.get("kwargs")
    {
        let class = fields.get("id").and_then(Value::as_array).and_then(|path| path.last());
        return class.and_then(Value::as_str).is_some_and(|class| read(said, class, inner));
    }
    match kind {
        "AIMessageChunk" => chunk(said, fields),
        "ai" | "AIMessage" => whole(said, fields),
        "tool" | "ToolMessage" => {
            let id = text_of(fields, "tool_call_id");
            said.extend(id.map(|id| Said::Result { id: id.to_owned() }));
        }
        "human" | "HumanMessage" | "system" | "SystemMessage" => {}
        _ => return false,
    }
    true
}

/// Reads a graph's state, or an update of it by one of its nodes: its last message counts.
pub(super) fn state(said: &mut Vec<Said>, fields: &Map<String, Value>) -> bool {
    let update = || match fields.values().next() {
        Some(Value::Object(inner)) if fields.len() == 1 => inner.get("messages"),
        _ => None,
    };
    let Some(Value::Array(messages)) = fields.get("messages").or_else(update) else { return false };
    let last = messages.last().and_then(Value::as_object);
    last.is_some_and(|last| match text_of(last, "type") {
        Some(kind) => read(said, kind, last),
        None => {
            super::message(said, text_of(last, "role").unwrap_or_default(), last);
            true
        }
    })
}

fn chunk(said: &mut Vec<Said>, fields: &Map<String, Value>) {
    let content = fields.get("content").map(|content| text(content, DEPTH)).unwrap_or_default();
    if !content.is_empty() {
        said.push(Said::Piece(content));
    }
    let parts = fields.get("tool_call_chunks").and_then(Value::as_array);
    for part in parts.into_iter().flatten() {
        let text = |name: &str| part.get(name).and_then(Value::as_str).map(str::to_owned);
        let (id, name) = (text("id"), text("name"));
        let key = count(part, "/index").to_string();
        let arguments = text("args").unwrap_or_default();
        said.push(Said::Call(CallPart { key, id, name, arguments, is_whole: false }));
    }
    said.extend(used(fields));
}

fn whole(said: &mut Vec<Said>, fields: &Map<String, Value>) {
    let content = fields.get("content").map(|content| text(content, DEPTH)).unwrap_or_default();
    if !content.is_empty() {
        said.push(Said::Whole(content));
    }
    let calls = fields.get("tool_calls").and_then(Value::as_array);
    for (place, call) in calls.into_iter().flatten().enumerate() {
        let text = |name: &str| call.get(name).and_then(Value::as_str).map(str::to_owned);
        let arguments = call.get("args").map(Value::to_string).unwrap_or_default();
        let (id, name) = (text("id"), text("name"));
        let key = place.to_string();
        said.push(Said::Call(CallPart { key, id, name, arguments, is_whole: true }));
    }
    said.extend(used(fields));
}

fn used(fields: &Map<String, Value>) -> Option<Said> {
    let usage = fields.get("usage_metadata").filter(|usage| usage.is_object())?;
    Some(Said::Used(Tokens::More(Usage {
        input_tokens: count(usage, "/input_tokens"),
        output_tokens: count(usage, "/output_tokens"),
        cached_input_tokens: count(usage, "/input_token_details/cache_read"),
        cache_written_tokens: count(usage, "/input_token_details/cache_creation"),
        reasoning_tokens: count(usage, "/output_token_details/reasoning"),
        estimated: false,
    })))
}
