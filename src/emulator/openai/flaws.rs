//! Answers that are complete and yet not as OpenAI writes them: what clients trip over.

use serde_json::{Value, json};

use crate::emulator::faults::Flaw;

/// The index of a choice that nobody asked for.
const WRONG_INDEX: u64 = 1;
/// The index of a call that no list has.
const WRONG_TOOL_INDEX: i64 = -1;
/// The id that all calls of an answer share.
const SHARED_ID: &str = "call_shared";

/// Spoils a chunk of a stream.
pub(super) fn spoil_chunk(flaw: Flaw, chunk: &mut Value) {
    let Some(choice) = chunk["choices"].get_mut(0) else { return };
    match flaw {
        Flaw::NoRole => remove(&mut choice["delta"], "role"),
        Flaw::WrongIndex => choice["index"] = json!(WRONG_INDEX),
        Flaw::NoFinish => choice["finish_reason"] = Value::Null,
        Flaw::ToolIndex => {
            for call in calls(&mut choice["delta"]) {
                call["index"] = json!(WRONG_TOOL_INDEX);
            }
        }
        Flaw::SharedCallId => share_id(&mut choice["delta"]),
        // Of these the stream's end or the head is spoilt.
        Flaw::NoUsage | Flaw::NoDone | Flaw::WrongContentType => {}
    }
}

/// Spoils an answer in one piece.
pub(super) fn spoil_body(flaw: Flaw, body: &mut Value) {
    match flaw {
        Flaw::NoUsage => return remove(body, "usage"),
        Flaw::NoRole => return remove(&mut body["choices"][0]["message"], "role"),
        _ => {}
    }
    let choice = &mut body["choices"][0];
    match flaw {
        Flaw::WrongIndex => choice["index"] = json!(WRONG_INDEX),
        Flaw::NoFinish => choice["finish_reason"] = Value::Null,
        Flaw::SharedCallId => share_id(&mut choice["message"]),
        // Those are of streams, or of the head.
        Flaw::NoRole | Flaw::NoUsage | Flaw::NoDone | Flaw::ToolIndex | Flaw::WrongContentType => {}
    }
}

fn share_id(said: &mut Value) {
    for call in calls(said).filter(|call| call["id"].is_string()) {
        call["id"] = json!(SHARED_ID);
    }
}

fn calls(said: &mut Value) -> impl Iterator<Item = &mut Value> {
    said.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten()
}

fn remove(object: &mut Value, member: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_loses_just_what_the_flaw_says() {
        let chunk = json!({"choices": [{"index": 0, "finish_reason": "stop", "delta": {
            "role": "assistant", "tool_calls": [{"index": 0, "id": "a"}, {"index": 1}],
        }}]});
        let spoilt = |flaw| {
            let mut chunk = chunk.clone();
            spoil_chunk(flaw, &mut chunk);
            chunk["choices"][0].clone()
        };
        assert_eq!(spoilt(Flaw::NoDone), chunk["choices"][0]);
        assert_eq!(spoilt(Flaw::NoRole)["delta"].get("role"), None);
        assert_eq!(spoilt(Flaw::WrongIndex)["index"], 1);
        assert_eq!(spoilt(Flaw::NoFinish)["finish_reason"], Value::Null);
        assert_eq!(spoilt(Flaw::ToolIndex)["delta"]["tool_calls"][1]["index"], -1);
        let calls = spoilt(Flaw::SharedCallId)["delta"]["tool_calls"].clone();
        assert_eq!(calls, json!([{"index": 0, "id": "call_shared"}, {"index": 1}]));
        let mut empty = json!({"choices": [], "usage": {}});
        spoil_chunk(Flaw::NoRole, &mut empty);
        assert_eq!(empty, json!({"choices": [], "usage": {}}));
    }

    #[test]
    fn a_body_loses_just_what_the_flaw_says() {
        let body = json!({"usage": {}, "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "x"}}]});
        let spoilt = |flaw| {
            let mut body = body.clone();
            spoil_body(flaw, &mut body);
            body
        };
        assert_eq!(spoilt(Flaw::NoUsage).get("usage"), None);
        assert_eq!(spoilt(Flaw::NoRole)["choices"][0]["message"], json!({"content": "x"}));
        assert_eq!(spoilt(Flaw::WrongIndex)["choices"][0]["index"], 1);
        assert_eq!(spoilt(Flaw::NoFinish)["choices"][0]["finish_reason"], Value::Null);
        assert_eq!(spoilt(Flaw::ToolIndex), body);
    }
}
