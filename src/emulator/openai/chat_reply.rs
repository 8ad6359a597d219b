//! How chat completions write an answer down: whole, and in server-sent chunks.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::emulator::faults::Flaw;
use crate::emulator::models::answer::{Answer, Said};
use crate::emulator::models::converse::{fragments, pieces};
use crate::emulator::models::script::{Piece, Pieces};
use crate::emulator::models::tokens;

use super::chat_request::Asked;
use super::flaws::{spoil_body, spoil_chunk};

/// When everything here was created, in seconds of Unix time.
pub(super) const CREATED: u64 = 1_767_225_600;

/// The id of a call as OpenAI begins it.
fn call_id(id: &str) -> String {
    format!("call_{}", id.trim_start_matches("tooluse_"))
}

fn usage(answer: &Answer) -> Value {
    let (prompt, output) = (answer.usage.prompt_total(), answer.usage.output);
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {
            "cached_tokens": answer.usage.prompt.cache_read,
            "cache_write_tokens": answer.usage.prompt.cache_write(),
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": answer.usage.thoughts, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}

/// The whole answer.
pub(super) fn body(asked: &Asked, answer: &Answer, flaw: Option<Flaw>) -> Value {
    let mut message = json!({"role": "assistant", "refusal": null, "annotations": []});
    let texts: Vec<&str> = answer.blocks.iter().filter_map(visible).collect();
    let calls: Vec<Value> = answer.blocks.iter().filter_map(call).collect();
    let is_silent = texts.is_empty() && !calls.is_empty();
    message["content"] = if is_silent { Value::Null } else { json!(texts.concat()) };
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    let thought = answer.blocks.iter().find_map(|block| match block {
        Said::Thought { text, .. } => Some(text),
        _ => None,
    });
    if let Some(thought) = thought {
        message["reasoning_content"] = json!(thought);
    }
    let mut body = json!({
        "id": format!("chatcmpl-{}", answer.id),
        "object": "chat.completion",
        "created": CREATED,
        "model": asked.model,
        "choices": [{
            "index": 0, "message": message, "logprobs": logprobs(asked.logprobs, &texts.concat()),
            "finish_reason": answer.stop.openai(),
        }],
        "usage": usage(answer),
        "service_tier": "default",
        "system_fingerprint": null,
    });
    if let Some(flaw) = flaw {
        spoil_body(flaw, &mut body);
    }
    body
}

/// How likely the tokens of a text were: made up, and the same each time.
fn logprobs(top: Option<usize>, text: &str) -> Value {
    let Some(top) = top.filter(|_| !text.is_empty()) else { return Value::Null };
    let entry = |token: &str, rank: usize| {
        let likely = -0.25 - f64::from(u8::try_from(rank).unwrap_or(u8::MAX));
        json!({"token": token, "logprob": likely, "bytes": token.as_bytes()})
    };
    let entries: Vec<Value> = tokens::tokens(text)
        .map(|token| {
            let mut told = entry(token, 0);
            let others = (1..top).map(|rank| entry(&format!("{token}{rank}"), rank));
            let all: Vec<Value> = [entry(token, 0)].into_iter().chain(others).take(top).collect();
            told["top_logprobs"] = json!(all);
            told
        })
        .collect();
    json!({"content": entries, "refusal": null})
}

fn visible(said: &Said) -> Option<&str> {
    match said {
        Said::Text(text) | Said::Cited { text, .. } => Some(text),
        Said::Thought { .. } | Said::Hidden(_) | Said::Call { .. } => None,
    }
}

fn call(said: &Said) -> Option<Value> {
    let Said::Call { id, name, input } = said else { return None };
    let function = json!({"name": name, "arguments": input});
    Some(json!({"id": call_id(id), "type": "function", "function": function}))
}

/// The chunks of a streamed answer.
pub(super) fn chunks(asked: &Asked, answer: Answer, flaw: Option<Flaw>) -> Pieces {
    let top = asked.logprobs;
    let frame = Frame {
        id: format!("chatcmpl-{}", answer.id),
        model: asked.model.clone(),
        tells_usage: asked.tells_usage && flaw != Some(Flaw::NoUsage),
        flaw,
    };
    let finish = answer.stop.openai();
    let told = frame.tells_usage.then(|| usage(&answer));
    let begins_with_call = matches!(answer.blocks.first(), Some(Said::Call { .. }));
    let content = if begins_with_call { Value::Null } else { json!("") };
    let role = json!({"role": "assistant", "content": content, "refusal": null});
    let mut calls = 0;
    let deltas = answer.blocks.into_iter().flat_map(move |said| {
        let number = calls;
        calls += usize::from(matches!(said, Said::Call { .. }));
        deltas(said, number)
    });
    let chunk = {
        let frame = frame.clone();
        move |delta: Value| {
            let told = logprobs(top, delta["content"].as_str().unwrap_or_default());
            let is_chunk = is_answer(&delta);
            Piece { is_chunk, bytes: frame.chunk(delta, told, None) }
        }
    };
    let first = Piece { bytes: frame.chunk(role, Value::Null, None), is_chunk: false };
    let end = move || {
        let last = frame.chunk(Value::Object(Map::new()), Value::Null, Some(finish));
        let usage = told.map(|told| frame.usage(told));
        let done = Bytes::from_static(b"data: [DONE]\n\n");
        let done = (flaw != Some(Flaw::NoDone)).then_some(done);
        std::iter::once(last).chain(usage).chain(done)
    };
    let end = std::iter::once_with(end).flatten();
    let end = end.map(|bytes| Piece { bytes, is_chunk: false });
    Box::new(std::iter::once(first).chain(deltas.map(chunk)).chain(end))
}

/// The start of a call brings no part of the answer yet.
fn is_answer(delta: &Value) -> bool {
    delta["tool_calls"][0]["id"].is_null()
}

fn deltas(said: Said, number: usize) -> Box<dyn Iterator<Item = Value> + Send> {
    match said {
        Said::Thought { text, .. } => {
            Box::new(pieces(text).map(|piece| json!({"reasoning_content": piece})))
        }
        Said::Hidden(_) => Box::new(std::iter::empty()),
        Said::Text(text) | Said::Cited { text, .. } => {
            Box::new(pieces(text).map(|piece| json!({"content": piece})))
        }
        Said::Call { id, name, input } => {
            let function = json!({"name": name, "arguments": ""});
            let start = json!({"tool_calls": [{
                "index": number, "id": call_id(&id), "type": "function", "function": function,
            }]});
            let rest = fragments(input).map(move |piece| {
                json!({"tool_calls": [{"index": number, "function": {"arguments": piece}}]})
            });
            Box::new(std::iter::once(start).chain(rest))
        }
    }
}

/// What all chunks of an answer share.
#[derive(Debug, Clone)]
struct Frame {
    id: String,
    model: String,
    tells_usage: bool,
    flaw: Option<Flaw>,
}

impl Frame {
    fn chunk(&self, delta: Value, logprobs: Value, finish: Option<&str>) -> Bytes {
        let choice =
            json!({"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish});
        self.event(json!([choice]), Value::Null)
    }

    fn usage(&self, usage: Value) -> Bytes {
        self.event(json!([]), usage)
    }

    fn event(&self, choices: Value, usage: Value) -> Bytes {
        let mut event = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": null,
            "choices": choices,
        });
        if self.tells_usage {
            event["usage"] = usage;
        }
        if let Some(flaw) = self.flaw {
            spoil_chunk(flaw, &mut event);
        }
        format!("data: {event}\n\n").into()
    }
}
