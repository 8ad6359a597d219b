//! Events of the Agent User Interaction Protocol (AG-UI).

use serde_json::{Map, Value};

use super::{CallPart, Said, text_of};

/// Reads an event; says whether it is one: its types are the only ones in capitals.
pub(super) fn read(said: &mut Vec<Said>, kind: &str, fields: &Map<String, Value>) -> bool {
    let is_agui = kind.contains('_')
        && kind.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        || matches!(kind, "RAW" | "CUSTOM");
    if !is_agui {
        return false;
    }
    let text = |name| text_of(fields, name).map(str::to_owned);
    match kind {
        "TEXT_MESSAGE_START" => {
            let by_agent = text_of(fields, "role") != Some("user");
            said.push(Said::Message { by_agent });
        }
        "TEXT_MESSAGE_CONTENT" | "TEXT_MESSAGE_CHUNK" => {
            said.extend(text("delta").map(Said::Piece))
        }
        "THINKING_TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT" => {
            said.extend(text("delta").map(Said::Thought));
        }
        "TOOL_CALL_START" | "TOOL_CALL_ARGS" | "TOOL_CALL_CHUNK" => {
            said.push(Said::Call(CallPart {
                key: text("toolCallId").unwrap_or_default(),
                id: text("toolCallId"),
                name: text("toolCallName"),
                arguments: text("delta").unwrap_or_default(),
                is_whole: false,
            }));
        }
        "TOOL_CALL_RESULT" => said.extend(text("toolCallId").map(|id| Said::Result { id })),
        _ => {}
    }
    true
}
