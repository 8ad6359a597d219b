//! Completions of OpenAI's chat API, whole and in chunks.

use serde_json::{Map, Value};

use crate::turn::Usage;

use super::{CallPart, Said, Stop, Tokens, count};

/// Reads a completion or a chunk of one; says whether it is one.
pub(super) fn read(said: &mut Vec<Said>, fields: &Map<String, Value>) -> bool {
    let Some(choices) = fields.get("choices").and_then(Value::as_array) else { return false };
    // Further choices are other answers to the same question.
    if let Some(choice) = choices.first() {
        self::choice(said, choice);
    }
    if let Some(usage @ Value::Object(_)) = fields.get("usage") {
        said.push(Said::Used(used(usage)));
    }
    true
}

fn choice(said: &mut Vec<Said>, choice: &Value) {
    if let Some(delta) = choice.get("delta") {
        let text = |name| delta.get(name).and_then(Value::as_str).map(str::to_owned);
        said.extend(text("reasoning_content").map(Said::Thought));
        said.extend(text("content").map(Said::Piece));
        calls(said, delta, false);
    }
    if let Some(message) = choice.get("message") {
        let text = message.get("content").and_then(Value::as_str);
        said.extend(text.map(|text| Said::Whole(text.to_owned())));
        calls(said, message, true);
    }
    if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
        said.push(Said::Stopped(Stop::named(reason)));
    }
}

fn calls(said: &mut Vec<Said>, message: &Value, is_whole: bool) {
    let calls = message.get("tool_calls").and_then(Value::as_array);
    for (place, call) in calls.into_iter().flatten().enumerate() {
        let text = |pointer| call.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let index = call.get("index").and_then(Value::as_u64).unwrap_or(place as u64);
        said.push(Said::Call(CallPart {
            key: index.to_string(),
            id: text("/id"),
            name: text("/function/name"),
            arguments: text("/function/arguments").unwrap_or_default(),
            is_whole,
        }));
    }
}

fn used(usage: &Value) -> Tokens {
    Tokens::All(Usage {
        input_tokens: count(usage, "/prompt_tokens"),
        output_tokens: count(usage, "/completion_tokens"),
        cached_input_tokens: count(usage, "/prompt_tokens_details/cached_tokens"),
        cache_written_tokens: count(usage, "/prompt_tokens_details/cache_write_tokens"),
        reasoning_tokens: count(usage, "/completion_tokens_details/reasoning_tokens"),
        estimated: false,
    })
}
