//! What a runtime's JSON means: one event or document in, what it says out. Pure.
//!
//! There is no standard for what a container on AgentCore answers, so the common shapes are
//! known, each in its file, and told apart by the members that they have:
//!
//! | shape | looks like |
//! |---|---|
//! | strings | `"text"`, a line each |
//! | Strands Agents | `{"event": {"contentBlockDelta": …}}`, `{"data": "text"}`, `{"result": …}` |
//! | Converse | `{"contentBlockDelta": …}`, `{"messageStop": …}`, `{"metadata": …}` |
//! | OpenAI | `{"choices": [{"delta": …}]}`, and whole completions |
//! | AG-UI | `{"type": "TEXT_MESSAGE_CONTENT", "delta": …}` |
//! | Anthropic | `{"type": "content_block_delta", …}` |
//! | LangChain, LangGraph | `{"type": "AIMessageChunk", "content": …}`, `{"messages": […]}` |
//! | documents | one of `result`, `response`, `output`, `completion`, `message`, `text`, … |
//!
//! What is none of these says nothing: it is a sign of life, and never shown.

use serde_json::{Map, Value};

use crate::turn::Usage;

mod agui;
mod anthropic;
mod converse;
mod langchain;
mod openai;

/// Something that a runtime says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    /// A message begins; one that is not the agent's is not shown.
    Message { by_agent: bool },
    /// A piece of the answer.
    Piece(String),
    /// A piece of the answer that, as a rule, was said as a [`Piece`](Self::Piece) before.
    Echo(String),
    /// A whole text: the answer, or what it came to.
    Whole(String),
    /// A piece of what the model thought.
    Thought(String),
    /// A tool call, or a piece of one.
    Call(CallPart),
    /// A call was run by the runtime itself.
    Result { id: String },
    /// Tokens used.
    Used(Tokens),
    /// Why the model stopped, for now.
    Stopped(Stop),
    /// The agent failed. What it says of that may quote prompts and stays unread.
    Failed,
}

/// A piece of a tool call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CallPart {
    /// What pieces of the same call have in common, in this shape.
    pub(super) key: String,
    /// Its id, where this piece tells it.
    pub(super) id: Option<String>,
    /// The function, where this piece tells it.
    pub(super) name: Option<String>,
    /// More of its arguments, as JSON text.
    pub(super) arguments: String,
    /// The call as a whole, which may have come in pieces before.
    pub(super) is_whole: bool,
}

/// Tokens, and what they are in relation to those told before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tokens {
    /// Of one more call of a model.
    More(Usage),
    /// All so far.
    All(Usage),
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It had said everything.
    Done,
    /// A limit.
    Length,
    /// It wants tools to be run.
    Tools,
    /// A guardrail or filter.
    Filtered,
}

impl Stop {
    /// By the name that services give it; none of a known one is taken for a plain end.
    fn named(name: &str) -> Self {
        match name {
            "tool_use" | "tool_calls" | "function_call" => Self::Tools,
            "max_tokens" | "length" | "model_context_window_exceeded" => Self::Length,
            "content_filter" | "content_filtered" | "guardrail_intervened" | "refusal" => {
                Self::Filtered
            }
            _ => Self::Done,
        }
    }
}

/// What an event or a document says.
pub(super) fn read(value: &Value) -> Vec<Said> {
    let mut said = Vec::new();
    read_into(&mut said, value, DEPTH);
    said
}

/// How deep shapes may lie in each other: lists, envelopes, JSON within a string.
const DEPTH: u8 = 8;

fn read_into(said: &mut Vec<Said>, value: &Value, depth: u8) {
    let Some(depth) = depth.checked_sub(1) else { return };
    match value {
        Value::String(text) => string(said, text, depth),
        // A runtime that writes its tokens without quotes.
        Value::Number(number) => said.push(Said::Piece(number.to_string())),
        Value::Array(items) => items.iter().for_each(|item| read_into(said, item, depth)),
        Value::Object(fields) => object(said, fields, depth),
        Value::Null | Value::Bool(_) => {}
    }
}

fn string(said: &mut Vec<Said>, text: &str, depth: u8) {
    // A generator that yields what it has already encoded.
    if text.starts_with('{')
        && let Ok(nested @ Value::Object(_)) = serde_json::from_str(text)
    {
        return read_into(said, &nested, depth);
    }
    if !is_python(text) {
        said.push(Said::Piece(text.to_owned()));
    }
}

/// Whether a text is a Strands event as Python prints it: the AgentCore SDK sends that where an
/// event holds something that JSON cannot. What it tells is told by another event too.
fn is_python(text: &str) -> bool {
    const EVENTS: &[&str] = &[
        "data",
        "delta",
        "event",
        "result",
        "message",
        "current_tool_use",
        "init_event_loop",
        "start",
        "start_event_loop",
        "force_stop",
        "tool_stream_event",
        "event_loop_throttled_delay",
        "reasoning",
        "reasoningText",
        "type",
        "complete",
        "callback",
    ];
    let Some(rest) = text.strip_prefix("{'") else { return false };
    rest.split_once('\'').is_some_and(|(name, rest)| {
        EVENTS.contains(&name) && rest.starts_with(':') && rest.ends_with('}')
    })
}

fn object(said: &mut Vec<Said>, fields: &Map<String, Value>, depth: u8) {
    if is_error(fields) {
        said.push(Said::Failed);
        return;
    }
    if let Some(Value::Object(event)) = fields.get("event") {
        return object(said, event, depth);
    }
    let is_read = converse::read(said, fields)
        || openai::read(said, fields)
        || match text_of(fields, "type") {
            Some(kind) => {
                agui::read(said, kind, fields)
                    || anthropic::read(said, kind, fields)
                    || langchain::read(said, kind, fields)
                    || typed(said, kind, fields)
            }
            None => false,
        }
        || strands(said, fields)
        || langchain::state(said, fields);
    if !is_read {
        document(said, fields, depth);
    }
}

fn is_error(fields: &Map<String, Value>) -> bool {
    let is_told = match fields.get("error") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    };
    let is_typed = matches!(text_of(fields, "type"), Some("error" | "RUN_ERROR"));
    is_told || is_typed || fields.get("force_stop") == Some(&Value::Bool(true))
}

/// Events with a plain type and their text beside it, as home-made generators yield them, and
/// the text deltas of OpenAI's Responses.
fn typed(said: &mut Vec<Said>, kind: &str, fields: &Map<String, Value>) -> bool {
    const PIECES: &[&str] = &[
        "text",
        "token",
        "chunk",
        "delta",
        "content",
        "text_delta",
        "output_text",
        "response.output_text.delta",
    ];
    if !PIECES.contains(&kind) {
        return false;
    }
    let members = ["text", "content", "delta", "token", "chunk", "data"];
    let text = members.iter().find_map(|member| text_of(fields, member));
    said.extend(text.map(|text| Said::Piece(text.to_owned())));
    true
}

/// What a Strands agent yields beside the events of its model.
fn strands(said: &mut Vec<Said>, fields: &Map<String, Value>) -> bool {
    const LIFE: &[&str] = &[
        "init_event_loop",
        "start_event_loop",
        "event_loop_throttled_delay",
        "current_tool_use",
        "tool_stream_event",
        "reasoning",
        "reasoningText",
        "reasoning_signature",
        "force_stop",
    ];
    if let Some(text) = text_of(fields, "data") {
        said.push(Said::Echo(text.to_owned()));
        return true;
    }
    LIFE.iter().any(|name| fields.contains_key(*name))
}

/// A document, or an event of a home-made shape, that has its text in a member of a known name.
fn document(said: &mut Vec<Said>, fields: &Map<String, Value>, depth: u8) {
    const PIECES: &[&str] = &["chunk", "token", "delta", "text", "content"];
    const WHOLES: &[&str] = &["result", "response", "output", "completion", "answer", "message"];
    if let Some(role) = text_of(fields, "role") {
        return message(said, role, fields);
    }
    for name in WHOLES {
        let Some(value) = fields.get(*name) else { continue };
        if let Some(inner) = value.as_object()
            && let Some(role) = text_of(inner, "role")
        {
            return message(said, role, inner);
        }
        let text = text(value, depth);
        if !text.is_empty() {
            return said.push(Said::Whole(text));
        }
    }
    for name in PIECES {
        let text = fields.get(*name).map(|value| text(value, depth)).unwrap_or_default();
        if !text.is_empty() {
            return said.push(Said::Piece(text));
        }
    }
}

/// A whole message: the agent's is text, others tell at most that calls were run.
fn message(said: &mut Vec<Said>, role: &str, fields: &Map<String, Value>) {
    let content = fields.get("content").unwrap_or(&Value::Null);
    for block in content.as_array().into_iter().flatten() {
        let result = block.pointer("/toolResult/toolUseId").or_else(|| block.get("tool_use_id"));
        if let Some(id) = result.and_then(Value::as_str) {
            said.push(Said::Result { id: id.to_owned() });
        }
    }
    if role == "assistant" {
        let text = text(content, DEPTH);
        if !text.is_empty() {
            said.push(Said::Whole(text));
        }
    }
}

/// The text of a value, however deep it lies: a string, a list of text blocks, or an object
/// with a member of a known name.
fn text(value: &Value, depth: u8) -> String {
    const MEMBERS: &[&str] =
        &["text", "content", "message", "output", "result", "response", "completion", "answer"];
    let Some(depth) = depth.checked_sub(1) else { return String::new() };
    match value {
        Value::String(text) if !is_python(text) => text.clone(),
        Value::Array(items) => items.iter().map(|item| text(item, depth)).collect(),
        Value::Object(fields) => {
            let texts = MEMBERS.iter().filter_map(|name| fields.get(*name));
            texts.map(|value| text(value, depth)).find(|text| !text.is_empty()).unwrap_or_default()
        }
        _ => String::new(),
    }
}

fn text_of<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name)?.as_str()
}

fn count(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

#[cfg(test)]
mod tests;
