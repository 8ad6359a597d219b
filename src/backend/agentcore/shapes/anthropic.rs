//! Events of Anthropic's Messages.

use serde_json::{Map, Value};

use crate::turn::Usage;

use super::{CallPart, Said, Stop, Tokens, count};

/// Reads an event; says whether it is one.
pub(super) fn read(said: &mut Vec<Said>, kind: &str, fields: &Map<String, Value>) -> bool {
    let member = |name| fields.get(name).unwrap_or(&Value::Null);
    let key = member("index").as_u64().unwrap_or_default().to_string();
    match kind {
        "message_start" => {
            said.push(Said::Message { by_agent: true });
            said.push(Said::Used(asked(member("message"))));
        }
        "content_block_start" => said.extend(start(member("content_block"), key)),
        "content_block_delta" => said.extend(delta(member("delta"), key)),
        "message_delta" => {
            let reason = member("delta").get("stop_reason").and_then(Value::as_str);
            said.extend(reason.map(|reason| Said::Stopped(Stop::named(reason))));
            let output_tokens = count(member("usage"), "/output_tokens");
            said.push(Said::Used(Tokens::More(Usage { output_tokens, ..Usage::default() })));
        }
        "content_block_stop" | "message_stop" | "ping" => {}
        _ => return false,
    }
    true
}

fn start(block: &Value, key: String) -> Option<Said> {
    let text = |name: &str| block.get(name).and_then(Value::as_str).map(str::to_owned);
    match text("type")?.as_str() {
        "text" => text("text").filter(|text| !text.is_empty()).map(Said::Piece),
        "tool_use" => {
            let (id, name) = (text("id"), text("name"));
            Some(Said::Call(CallPart { key, id, name, ..CallPart::default() }))
        }
        "tool_result" => text("tool_use_id").map(|id| Said::Result { id }),
        _ => None,
    }
}

fn delta(delta: &Value, key: String) -> Option<Said> {
    let text = |name: &str| delta.get(name).and_then(Value::as_str).map(str::to_owned);
    if let Some(arguments) = text("partial_json") {
        return Some(Said::Call(CallPart { key, arguments, ..CallPart::default() }));
    }
    text("text").map(Said::Piece).or_else(|| text("thinking").map(Said::Thought))
}

/// What was read; what is written is told at the end. `input_tokens` leaves the cache out.
fn asked(message: &Value) -> Tokens {
    let cached = count(message, "/usage/cache_read_input_tokens");
    let written = count(message, "/usage/cache_creation_input_tokens");
    Tokens::More(Usage {
        input_tokens: count(message, "/usage/input_tokens") + cached + written,
        cached_input_tokens: cached,
        cache_written_tokens: written,
        ..Usage::default()
    })
}
