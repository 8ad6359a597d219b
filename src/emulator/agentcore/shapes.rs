//! The shapes in which a runtime may answer: what common agent frameworks send.
//!
//! | shape | body |
//! |---|---|
//! | `strings` | events, a JSON string each |
//! | `strands` | events of Strands Agents, with all that they repeat |
//! | `openai` | chunks of chat completions, and `[DONE]` |
//! | `agui` | events of AG-UI |
//! | `anthropic` | events of Anthropic's Messages |
//! | `langgraph` | message chunks of LangGraph, each with its metadata |
//! | `lines` | a JSON document a line |
//! | `plain` | text |
//! | `json` | one document, `{"result": …}` |
//! | `unknown` | one document that nobody knows |

use bytes::Bytes;
use serde_json::{Value, json};

use super::wish::Wanted;

/// How a runtime answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Strings,
    Strands,
    OpenAi,
    AgUi,
    Anthropic,
    LangGraph,
    Lines,
    Plain,
    Json,
    Unknown,
}

const NAMES: &[(&str, Shape)] = &[
    ("strings", Shape::Strings),
    ("strands", Shape::Strands),
    ("openai", Shape::OpenAi),
    ("agui", Shape::AgUi),
    ("anthropic", Shape::Anthropic),
    ("langgraph", Shape::LangGraph),
    ("lines", Shape::Lines),
    ("plain", Shape::Plain),
    ("json", Shape::Json),
    ("unknown", Shape::Unknown),
];

impl Shape {
    /// The shape of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, shape)| *shape)
    }

    /// Strings and whole bodies have no way to call a tool.
    fn that_calls(self) -> Self {
        match self {
            Self::Strings | Self::Lines | Self::Plain | Self::Json | Self::Unknown => Self::Strands,
            other => other,
        }
    }
}

/// What is answered.
#[derive(Debug, Default)]
pub(super) struct Answer<'a> {
    pub(super) thought: Option<&'a str>,
    pub(super) text: &'a str,
    pub(super) calls: &'a [Wanted],
    /// Calls that the agent runs itself before it speaks.
    pub(super) runs: &'a [Wanted],
    /// Makes the ids of calls ones of this call.
    pub(super) number: u64,
    pub(super) ending: Option<&'a str>,
    pub(super) input_tokens: usize,
    pub(super) output_tokens: usize,
}

impl Answer<'_> {
    fn words(&self) -> impl Iterator<Item = &str> {
        self.text.split_inclusive(' ')
    }

    fn reason(&self, done: &'static str, tools: &'static str) -> &str {
        self.ending.unwrap_or(if self.calls.is_empty() { done } else { tools })
    }
}

/// The content type and the frames of an answer.
pub(super) fn frames(shape: Shape, answer: &Answer<'_>) -> (&'static str, Vec<Bytes>) {
    const EVENTS: &str = "text/event-stream; charset=utf-8";
    let has_calls = !answer.calls.is_empty() || !answer.runs.is_empty();
    let shape = if has_calls { shape.that_calls() } else { shape };
    let values = match shape {
        Shape::Strings => answer.words().map(Value::from).collect(),
        Shape::Strands => strands(answer),
        Shape::OpenAi => openai(answer),
        Shape::AgUi => agui(answer),
        Shape::Anthropic => anthropic(answer),
        Shape::LangGraph => langgraph(answer),
        Shape::Lines => {
            let line = |word: &str| Bytes::from(format!("{}\n", json!({ "text": word })));
            return ("application/x-ndjson", answer.words().map(line).collect());
        }
        Shape::Plain => {
            // Inside characters, too.
            let pieces = answer.text.as_bytes().chunks(5).map(Bytes::copy_from_slice);
            return ("text/plain; charset=utf-8", pieces.collect());
        }
        Shape::Json => {
            return ("application/json", vec![document(&json!({ "result": answer.text }))]);
        }
        Shape::Unknown => {
            return (
                "application/json",
                vec![document(&json!({ "reply": { "said": answer.text } }))],
            );
        }
    };
    let mut frames: Vec<_> = values.iter().map(event).collect();
    if shape == Shape::OpenAi {
        frames.push(Bytes::from_static(b"data: [DONE]\n\n"));
    }
    (EVENTS, frames)
}

fn document(value: &Value) -> Bytes {
    value.to_string().into()
}

/// An event of a stream.
pub(super) fn event(value: &Value) -> Bytes {
    format!("data: {value}\n\n").into()
}

/// What the AgentCore SDK for Python sends when the agent's code raises an exception.
pub(super) fn error(name: &str) -> Bytes {
    event(&json!({
        "error": "emulated failure of the agent",
        "error_type": name,
        "message": "An error occurred during streaming",
    }))
}

fn strands(answer: &Answer<'_>) -> Vec<Value> {
    let raw = |event: Value| json!({ "event": event });
    let started = raw(json!({ "messageStart": { "role": "assistant" } }));
    let mut events = vec![json!({ "init_event_loop": true }), json!({ "start": true })];
    for (place, run) in answer.runs.iter().enumerate() {
        let id = format!("run_{}_{place}", answer.number);
        events.push(started.clone());
        events.extend(converse_call(0, &id, run).map(raw));
        events.push(raw(json!({ "messageStop": { "stopReason": "tool_use" } })));
        let result =
            json!({ "toolUseId": id, "status": "success", "content": [{ "text": "ran" }] });
        let message = json!({ "role": "user", "content": [{ "toolResult": result }] });
        events.push(json!({ "message": message }));
    }
    events.push(started);
    if let Some(thought) = answer.thought {
        let delta = json!({ "reasoningContent": { "text": thought } });
        events
            .push(raw(json!({ "contentBlockDelta": { "delta": delta, "contentBlockIndex": 0 } })));
        events.push(json!({ "reasoningText": thought, "reasoning": true }));
    }
    for word in answer.words() {
        let delta = json!({ "delta": { "text": word }, "contentBlockIndex": 0 });
        events.push(raw(json!({ "contentBlockDelta": delta })));
        events.push(json!({ "data": word, "delta": { "text": word } }));
        events.push(Value::from(format!("{{'data': '{word}', 'agent': <Agent object at 0x7f>}}")));
    }
    for (index, call) in (1..).zip(answer.calls) {
        let id = format!("tooluse_{}_{index}", answer.number);
        events.extend(converse_call(index, &id, call).map(raw));
    }
    let reason = answer.reason("end_turn", "tool_use");
    events.push(raw(json!({ "messageStop": { "stopReason": reason } })));
    let usage = json!({
        "inputTokens": answer.input_tokens,
        "outputTokens": answer.output_tokens,
        "totalTokens": answer.input_tokens + answer.output_tokens,
    });
    events.push(raw(json!({ "metadata": { "usage": usage, "metrics": { "latencyMs": 1 } } })));
    let message = json!({ "role": "assistant", "content": [{ "text": answer.text }] });
    events.push(json!({ "message": message }));
    events.push(json!({ "result": { "stop_reason": reason, "message": message } }));
    events
}

/// A tool use as Converse streams it.
fn converse_call(index: u64, id: &str, call: &Wanted) -> [Value; 3] {
    let using = json!({ "toolUse": { "toolUseId": id, "name": call.name } });
    let input = json!({ "toolUse": { "input": call.arguments.to_string() } });
    [
        json!({ "contentBlockStart": { "contentBlockIndex": index, "start": using } }),
        json!({ "contentBlockDelta": { "contentBlockIndex": index, "delta": input } }),
        json!({ "contentBlockStop": { "contentBlockIndex": index } }),
    ]
}

fn openai(answer: &Answer<'_>) -> Vec<Value> {
    let chunk = |delta: Value, reason: Option<&str>| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": reason });
        json!({ "object": "chat.completion.chunk", "choices": [choice] })
    };
    let mut events = vec![chunk(json!({ "role": "assistant", "content": "" }), None)];
    events.extend(answer.thought.map(|text| chunk(json!({ "reasoning_content": text }), None)));
    events.extend(answer.words().map(|word| chunk(json!({ "content": word }), None)));
    for (index, call) in answer.calls.iter().enumerate() {
        let id = format!("chatcmpl-tool-{}-{index}", answer.number);
        let function = json!({ "name": call.name, "arguments": "" });
        let begun = json!({ "index": index, "id": id, "type": "function", "function": function });
        events.push(chunk(json!({ "tool_calls": [begun] }), None));
        let function = json!({ "arguments": call.arguments.to_string() });
        let went_on = json!({ "index": index, "function": function });
        events.push(chunk(json!({ "tool_calls": [went_on] }), None));
    }
    events.push(chunk(json!({}), Some(answer.reason("stop", "tool_calls"))));
    let usage = json!({
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
    });
    events.push(json!({ "object": "chat.completion.chunk", "choices": [], "usage": usage }));
    events
}

fn agui(answer: &Answer<'_>) -> Vec<Value> {
    let id = format!("msg_{}", answer.number);
    let mut events = vec![
        json!({ "type": "RUN_STARTED", "threadId": "t", "runId": "r" }),
        json!({ "type": "TEXT_MESSAGE_START", "messageId": id, "role": "assistant" }),
    ];
    events.extend(
        answer
            .words()
            .map(|word| json!({ "type": "TEXT_MESSAGE_CONTENT", "messageId": id, "delta": word })),
    );
    events.push(json!({ "type": "TEXT_MESSAGE_END", "messageId": id }));
    for (place, call) in answer.calls.iter().enumerate() {
        let id = format!("call_{}_{place}", answer.number);
        let arguments = call.arguments.to_string();
        events.push(
            json!({ "type": "TOOL_CALL_START", "toolCallId": id, "toolCallName": call.name }),
        );
        events.push(json!({ "type": "TOOL_CALL_ARGS", "toolCallId": id, "delta": arguments }));
        events.push(json!({ "type": "TOOL_CALL_END", "toolCallId": id }));
    }
    events.push(json!({ "type": "RUN_FINISHED", "threadId": "t", "runId": "r" }));
    events
}

fn anthropic(answer: &Answer<'_>) -> Vec<Value> {
    let usage = json!({ "input_tokens": answer.input_tokens, "output_tokens": 1 });
    let mut events = vec![
        json!({ "type": "message_start", "message": { "role": "assistant", "usage": usage } }),
        json!({ "type": "content_block_start", "index": 0,
            "content_block": { "type": "text", "text": "" } }),
    ];
    events.extend(answer.words().map(|word| {
        let delta = json!({ "type": "text_delta", "text": word });
        json!({ "type": "content_block_delta", "index": 0, "delta": delta })
    }));
    events.push(json!({ "type": "content_block_stop", "index": 0 }));
    for (index, call) in (1..).zip(answer.calls) {
        let id = format!("toolu_{}_{index}", answer.number);
        let block = json!({ "type": "tool_use", "id": id, "name": call.name, "input": {} });
        let delta =
            json!({ "type": "input_json_delta", "partial_json": call.arguments.to_string() });
        events
            .push(json!({ "type": "content_block_start", "index": index, "content_block": block }));
        events.push(json!({ "type": "content_block_delta", "index": index, "delta": delta }));
    }
    let reason = answer.reason("end_turn", "tool_use");
    let usage = json!({ "output_tokens": answer.output_tokens });
    events.push(
        json!({ "type": "message_delta", "delta": { "stop_reason": reason }, "usage": usage }),
    );
    events.push(json!({ "type": "message_stop" }));
    events
}

fn langgraph(answer: &Answer<'_>) -> Vec<Value> {
    let node = json!({ "langgraph_node": "agent", "langgraph_step": 1 });
    let mut events: Vec<_> = answer
        .words()
        .map(|word| json!([{ "type": "AIMessageChunk", "content": word }, node]))
        .collect();
    for (index, call) in answer.calls.iter().enumerate() {
        let id = format!("lc_{}_{index}", answer.number);
        let arguments = call.arguments.to_string();
        let part = json!({ "index": index, "id": id, "name": call.name, "args": arguments });
        let chunk = json!({ "type": "AIMessageChunk", "content": "", "tool_call_chunks": [part] });
        events.push(json!([chunk, node]));
    }
    events
}
