//! Events of Bedrock's Converse, which Strands Agents hand on as they are.

use serde_json::{Map, Value};

use crate::turn::Usage;

use super::{CallPart, Said, Stop, Tokens, count, text_of};

/// Reads an event; says whether it is one.
pub(super) fn read(said: &mut Vec<Said>, fields: &Map<String, Value>) -> bool {
    // An event is the only member of its envelope.
    let (Some((name, event)), 1) = (fields.iter().next(), fields.len()) else { return false };
    match name.as_str() {
        "messageStart" => {
            let by_agent = event.get("role").and_then(Value::as_str) != Some("user");
            said.push(Said::Message { by_agent });
        }
        "contentBlockStart" => said.extend(start(event)),
        "contentBlockDelta" => said.extend(delta(event)),
        "contentBlockStop" => {}
        "messageStop" => {
            let reason = event.get("stopReason").and_then(Value::as_str);
            said.extend(reason.map(|reason| Said::Stopped(Stop::named(reason))));
        }
        "metadata" if event.get("usage").is_some() => said.push(Said::Used(used(event))),
        "internalServerException"
        | "modelStreamErrorException"
        | "serviceUnavailableException"
        | "throttlingException"
        | "validationException" => said.push(Said::Failed),
        _ => return false,
    }
    true
}

fn key(event: &Value) -> String {
    count(event, "/contentBlockIndex").to_string()
}

fn start(event: &Value) -> Option<Said> {
    let start = event.get("start")?.as_object()?;
    if let Some(id) = start.get("toolResult").and_then(|result| result.get("toolUseId")) {
        return Some(Said::Result { id: id.as_str()?.to_owned() });
    }
    let used = start.get("toolUse")?.as_object()?;
    Some(Said::Call(CallPart {
        key: key(event),
        id: text_of(used, "toolUseId").map(str::to_owned),
        name: text_of(used, "name").map(str::to_owned),
        ..CallPart::default()
    }))
}

fn delta(event: &Value) -> Option<Said> {
    let delta = event.get("delta")?;
    if let Some(text) = delta.get("text").and_then(Value::as_str) {
        return Some(Said::Piece(text.to_owned()));
    }
    if let Some(text) = delta.pointer("/reasoningContent/text").and_then(Value::as_str) {
        return Some(Said::Thought(text.to_owned()));
    }
    let arguments = delta.pointer("/toolUse/input")?.as_str()?.to_owned();
    Some(Said::Call(CallPart { key: key(event), arguments, ..CallPart::default() }))
}

/// `inputTokens` leaves out what was read from the cache or written to it.
fn used(event: &Value) -> Tokens {
    let cached = count(event, "/usage/cacheReadInputTokens");
    let written = count(event, "/usage/cacheWriteInputTokens");
    Tokens::More(Usage {
        input_tokens: count(event, "/usage/inputTokens") + cached + written,
        output_tokens: count(event, "/usage/outputTokens"),
        cached_input_tokens: cached,
        cache_written_tokens: written,
        ..Usage::default()
    })
}
