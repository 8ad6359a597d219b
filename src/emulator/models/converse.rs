//! How Converse and `ConverseStream` write an answer down.

use serde_json::{Map, Value, json};

use crate::emulator::frames;

use super::answer::{Answer, Said, Usage};
use super::prompt::Prompt;
use super::script::{Piece, Pieces};
use super::tokens;

/// What the service says that an answer took.
const LATENCY_MS: u32 = 25;
/// Bytes of a call's arguments in one event, about.
const FRAGMENT: usize = 12;

/// The body of a Converse answer.
pub(super) fn body(prompt: &Prompt, answer: &Answer) -> Value {
    let content: Vec<Value> = answer.blocks.iter().map(block).collect();
    let mut body = json!({
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": answer.stop.converse(),
        "usage": usage(answer.usage),
        "metrics": {"latencyMs": LATENCY_MS},
    });
    if let Some(fields) = response_fields(prompt, answer) {
        body["additionalModelResponseFields"] = fields;
    }
    add_company(&mut body, prompt, answer);
    body
}

fn block(said: &Said) -> Value {
    match said {
        Said::Thought { text, signature } => {
            let mut thought = json!({"text": text});
            if let Some(signature) = signature {
                thought["signature"] = json!(signature);
            }
            json!({"reasoningContent": {"reasoningText": thought}})
        }
        Said::Hidden(base64) => json!({"reasoningContent": {"redactedContent": base64}}),
        Said::Text(text) => json!({"text": text}),
        Said::Cited { text, citation } => {
            json!({"citationsContent": {"content": [{"text": text}], "citations": [citation]}})
        }
        Said::Call { id, name, input } => {
            json!({"toolUse": {"toolUseId": id, "name": name, "input": Said::arguments(input)}})
        }
    }
}

fn usage(usage: Usage) -> Value {
    let prompt = usage.prompt;
    let mut told = json!({
        "inputTokens": prompt.input,
        "outputTokens": usage.output,
        "totalTokens": usage.prompt_total() + usage.output,
        "cacheReadInputTokens": prompt.cache_read,
        "cacheWriteInputTokens": prompt.cache_write(),
    });
    let details: Vec<Value> = [("5m", prompt.written_5m), ("1h", prompt.written_1h)]
        .into_iter()
        .filter(|(_, written)| *written > 0)
        .map(|(ttl, written)| json!({"ttl": ttl, "inputTokens": written}))
        .collect();
    if !details.is_empty() {
        told["cacheDetails"] = json!(details);
    }
    told
}

/// What the model's own answer has at the pointers asked for.
fn response_fields(prompt: &Prompt, answer: &Answer) -> Option<Value> {
    let native = json!({
        "stop_sequence": answer.stop_sequence,
        "stop_reason": answer.stop.claude(),
    });
    let found = prompt.additional_model_response_field_paths.iter().filter_map(|path| {
        let name = path.strip_prefix('/')?;
        Some((name.to_owned(), native.pointer(path).filter(|value| !value.is_null())?.clone()))
    });
    let fields: Map<String, Value> = found.collect();
    (!fields.is_empty()).then_some(Value::Object(fields))
}

/// What comes along with the usage.
fn add_company(body: &mut Value, prompt: &Prompt, answer: &Answer) {
    if let Some(guardrail) = &answer.guardrail {
        body["trace"] = json!({"guardrail": guardrail});
    }
    if let Some(performance) = &prompt.performance_config {
        body["performanceConfig"] = json!({"latency": performance.latency});
    }
    if let Some(tier) = &prompt.service_tier {
        body["serviceTier"] = json!({"type": tier.kind});
    }
}

/// The events of a `ConverseStream` answer.
pub(super) fn events(prompt: &Prompt, answer: Answer) -> Pieces {
    let mut stop = json!({"stopReason": answer.stop.converse()});
    if let Some(fields) = response_fields(prompt, &answer) {
        stop["additionalModelResponseFields"] = fields;
    }
    let mut metadata = json!({"usage": usage(answer.usage), "metrics": {"latencyMs": LATENCY_MS}});
    add_company(&mut metadata, prompt, &answer);
    let start = frame("messageStart", &json!({"role": "assistant", "p": "abcdefgh"}));
    let ends = [frame("messageStop", &stop), frame("metadata", &metadata)];
    let blocks = answer.blocks.into_iter().enumerate();
    let blocks = blocks.flat_map(|(place, said)| block_events(place, said));
    Box::new(std::iter::once(start).chain(blocks).chain(ends))
}

fn frame(event: &'static str, payload: &Value) -> Piece {
    let is_chunk = event == "contentBlockDelta";
    Piece { bytes: frames::event(event, payload.to_string()), is_chunk }
}

/// Start, deltas and stop of a block. Only calls have a start, as on the service.
fn block_events(place: usize, said: Said) -> impl Iterator<Item = Piece> + Send {
    let start = match &said {
        Said::Call { id, name, .. } => Some(frame(
            "contentBlockStart",
            &json!({
                "contentBlockIndex": place, "start": {"toolUse": {"toolUseId": id, "name": name}},
            }),
        )),
        _ => None,
    };
    let stop = frame("contentBlockStop", &json!({"contentBlockIndex": place}));
    start.into_iter().chain(deltas(place, said)).chain([stop])
}

fn deltas(place: usize, said: Said) -> Box<dyn Iterator<Item = Piece> + Send> {
    let delta = move |delta: Value| {
        frame("contentBlockDelta", &json!({"contentBlockIndex": place, "delta": delta}))
    };
    match said {
        Said::Thought { text, signature } => {
            let words =
                pieces(text).map(move |piece| delta(json!({"reasoningContent": {"text": piece}})));
            let seal =
                signature.map(move |seal| delta(json!({"reasoningContent": {"signature": seal}})));
            Box::new(words.chain(seal))
        }
        Said::Hidden(base64) => {
            let hidden = delta(json!({"reasoningContent": {"redactedContent": base64}}));
            Box::new(std::iter::once(hidden))
        }
        Said::Text(text) => Box::new(pieces(text).map(move |piece| text_delta(place, piece))),
        Said::Cited { text, citation } => {
            let words = pieces(text).map(move |piece| text_delta(place, piece));
            Box::new(words.chain([delta(json!({"citation": citation}))]))
        }
        // A call without arguments may come without any fragment.
        Said::Call { input, .. } if input == "{}" => Box::new(std::iter::empty()),
        Said::Call { input, .. } => {
            Box::new(fragments(input).map(move |piece| delta(json!({"toolUse": {"input": piece}}))))
        }
    }
}

/// Most events are these, so they are not built member by member.
fn text_delta(place: usize, piece: String) -> Piece {
    let text = Value::String(piece);
    let payload = format!("{{\"contentBlockIndex\":{place},\"delta\":{{\"text\":{text}}}}}");
    Piece { bytes: frames::event("contentBlockDelta", payload), is_chunk: true }
}

/// The tokens of a text, each a piece of its own.
pub(in crate::emulator) fn pieces(text: String) -> impl Iterator<Item = String> + Send {
    let mut at = 0;
    std::iter::from_fn(move || {
        let piece = tokens::next_token(text.get(at..)?)?.0.to_owned();
        at += piece.len();
        Some(piece)
    })
}

/// Arguments in fragments, cut anywhere but inside a character.
pub(in crate::emulator) fn fragments(input: String) -> impl Iterator<Item = String> + Send {
    let mut at = 0;
    std::iter::from_fn(move || {
        let mut end = (at + FRAGMENT).min(input.len());
        while !input.is_char_boundary(end) {
            end += 1;
        }
        let fragment = input[at..end].to_owned();
        at = end;
        (!fragment.is_empty()).then_some(fragment)
    })
}
