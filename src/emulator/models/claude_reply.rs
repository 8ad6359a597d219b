//! Claude's own answer format: the message, and its stream of typed objects.

use serde_json::{Value, json};

use super::answer::{Answer, Said, Usage};
use super::cards::Card;
use super::converse::{fragments, pieces};
use super::native::{self, Chunk};
use super::thinking;

/// The message that answers.
pub(super) fn body(card: &Card, answer: &Answer) -> Value {
    let content: Vec<Value> = answer.blocks.iter().map(block).collect();
    json!({
        "id": format!("msg_bdrk_{}", answer.id),
        "type": "message",
        "role": "assistant",
        "model": model(card),
        "content": content,
        "stop_reason": answer.stop.claude(),
        "stop_sequence": answer.stop_sequence,
        "usage": usage(answer.usage, answer.usage.output),
    })
}

/// The model's name without what Bedrock adds.
fn model(card: &Card) -> &'static str {
    let name = card.id.split_once('.').map_or(card.id, |(_, name)| name);
    name.find("-v").map_or(name, |end| &name[..end])
}

fn block(said: &Said) -> Value {
    match said {
        Said::Thought { text, signature } => {
            json!({"type": "thinking", "thinking": text, "signature": signature})
        }
        Said::Hidden(base64) => json!({"type": "redacted_thinking", "data": base64}),
        Said::Text(text) => json!({"type": "text", "text": text}),
        Said::Cited { text, citation } => {
            json!({"type": "text", "text": text, "citations": [cited(citation)]})
        }
        Said::Call { id, name, input } => json!({
            "type": "tool_use", "id": native_id(id), "name": name,
            "input": Said::arguments(input),
        }),
    }
}

/// The id of a call as Claude's own format begins it.
fn native_id(id: &str) -> String {
    id.replacen(thinking::CALLS[0], thinking::CALLS[1], 1)
}

/// A citation in Claude's words.
fn cited(citation: &Value) -> Value {
    let place = &citation["location"]["documentChar"];
    let page = &citation["location"]["documentPage"];
    let text = &citation["sourceContent"][0]["text"];
    let title = &citation["title"];
    if place.is_object() {
        return json!({
            "type": "char_location", "cited_text": text, "document_title": title,
            "document_index": place["documentIndex"], "start_char_index": place["start"],
            "end_char_index": place["end"],
        });
    }
    if page.is_object() {
        return json!({
            "type": "page_location", "cited_text": text, "document_title": title,
            "document_index": page["documentIndex"], "start_page_number": page["start"],
            "end_page_number": page["end"],
        });
    }
    json!({
        "type": "web_search_result_location", "cited_text": text, "title": title,
        "url": citation["source"],
    })
}

fn usage(usage: Usage, output: u64) -> Value {
    let prompt = usage.prompt;
    json!({
        "input_tokens": prompt.input,
        "cache_creation_input_tokens": prompt.cache_write(),
        "cache_read_input_tokens": prompt.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": prompt.written_5m,
            "ephemeral_1h_input_tokens": prompt.written_1h,
        },
        "output_tokens": output,
    })
}

/// The objects of a streamed answer.
pub(super) fn chunks(card: &Card, answer: Answer) -> impl Iterator<Item = Chunk> + Send + use<> {
    let start = json!({"type": "message_start", "message": {
        "id": format!("msg_bdrk_{}", answer.id), "type": "message", "role": "assistant",
        "model": model(card), "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": usage(answer.usage, 1),
    }});
    let delta = json!({
        "type": "message_delta",
        "delta": {"stop_reason": answer.stop.claude(), "stop_sequence": answer.stop_sequence},
        "usage": {"output_tokens": answer.usage.output},
    });
    let mut stop = json!({"type": "message_stop"});
    stop[native::METRICS] = native::metrics(answer.usage);
    let blocks = answer.blocks.into_iter().enumerate();
    std::iter::once(Chunk::frame(start))
        .chain(blocks.flat_map(|(place, said)| block_chunks(place, said)))
        .chain([Chunk::frame(delta), Chunk::frame(stop)])
}

fn block_chunks(place: usize, said: Said) -> impl Iterator<Item = Chunk> + Send {
    let empty = match &said {
        Said::Thought { .. } => json!({"type": "thinking", "thinking": "", "signature": ""}),
        Said::Hidden(base64) => json!({"type": "redacted_thinking", "data": base64}),
        Said::Text(_) => json!({"type": "text", "text": ""}),
        Said::Cited { .. } => json!({"type": "text", "text": "", "citations": []}),
        Said::Call { id, name, .. } => json!({
            "type": "tool_use", "id": native_id(id), "name": name,
            "input": {},
        }),
    };
    let start = json!({"type": "content_block_start", "index": place, "content_block": empty});
    let ping = (place == 0).then(|| Chunk::frame(json!({"type": "ping"})));
    let stop = json!({"type": "content_block_stop", "index": place});
    let deltas = deltas(said).map(move |delta| Chunk {
        object: json!({"type": "content_block_delta", "index": place, "delta": delta}),
        is_chunk: true,
    });
    std::iter::once(Chunk::frame(start)).chain(ping).chain(deltas).chain([Chunk::frame(stop)])
}

fn deltas(said: Said) -> Box<dyn Iterator<Item = Value> + Send> {
    let words = |text| pieces(text).map(|piece| json!({"type": "text_delta", "text": piece}));
    match said {
        Said::Thought { text, signature } => {
            let thought =
                pieces(text).map(|piece| json!({"type": "thinking_delta", "thinking": piece}));
            let seal = signature.map(|seal| json!({"type": "signature_delta", "signature": seal}));
            Box::new(thought.chain(seal))
        }
        Said::Hidden(_) => Box::new(std::iter::empty()),
        Said::Text(text) => Box::new(words(text)),
        Said::Cited { text, citation } => {
            let citation = json!({"type": "citations_delta", "citation": cited(&citation)});
            Box::new(words(text).chain([citation]))
        }
        Said::Call { input, .. } => {
            let first = json!({"type": "input_json_delta", "partial_json": ""});
            let rest = fragments(input)
                .map(|piece| json!({"type": "input_json_delta", "partial_json": piece}));
            Box::new(std::iter::once(first).chain(rest))
        }
    }
}
