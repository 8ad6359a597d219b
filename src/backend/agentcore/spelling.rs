//! What runtimes are told, in the spelling of OpenAI's chat API, which agent frameworks read.

use serde_json::{Map, Value, json};

use crate::turn::{Message, Part, Tool};

/// A message as `messages` of a chat request would have it.
pub(super) fn message(message: &Message) -> Value {
    let mut fields = Map::new();
    fields.insert("role".to_owned(), message.role.as_str().into());
    fields.insert("content".to_owned(), content(&message.parts));
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(|call| {
            let function = json!({ "name": call.name, "arguments": call.arguments });
            json!({ "id": call.id, "type": "function", "function": function })
        });
        fields.insert("tool_calls".to_owned(), calls.collect());
    }
    if let Some(id) = &message.tool_call_id {
        fields.insert("tool_call_id".to_owned(), id.as_str().into());
    }
    fields.into()
}

/// One text is a string; anything else is a list of parts.
fn content(parts: &[Part]) -> Value {
    match parts {
        [] => Value::Null,
        [Part::Text(text)] => text.as_str().into(),
        parts => parts.iter().map(part).collect(),
    }
}

fn part(part: &Part) -> Value {
    match part {
        Part::Text(text) => json!({ "type": "text", "text": text }),
        Part::Attachment { value, .. } => Value::clone(value),
    }
}

/// A tool as `tools` of a chat request would have it.
pub(super) fn tool(tool: &Tool) -> Value {
    let mut function = Map::new();
    function.insert("name".to_owned(), tool.name.as_str().into());
    if let Some(description) = &tool.description {
        function.insert("description".to_owned(), description.as_str().into());
    }
    if let Some(parameters) = &tool.parameters {
        function.insert("parameters".to_owned(), parameters.clone());
    }
    json!({ "type": "function", "function": function })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::turn::{Confirmation, Role, ToolCall};

    use super::*;

    #[test]
    fn messages_are_spelled_as_a_chat_request_has_them() {
        let plain = Message::text(Role::User, "hello");
        assert_eq!(message(&plain), json!({ "role": "user", "content": "hello" }));
        let image = json!({ "type": "image_url", "image_url": { "url": "https://x/y.png" } });
        let mut seen = Message::text(Role::User, "what is it?");
        let value = Arc::new(image.clone());
        seen.parts.push(Part::Attachment { kind: "image_url".to_owned(), value });
        let text = json!({ "type": "text", "text": "what is it?" });
        assert_eq!(message(&seen)["content"], json!([text, image]));
    }

    #[test]
    fn calls_and_their_results_keep_their_ids() {
        let call = ToolCall {
            id: "call_1".to_owned(),
            name: "weather".to_owned(),
            arguments: "{}".to_owned(),
            confirmation: Confirmation::None,
        };
        let asked = Message {
            parts: Vec::new(),
            tool_calls: vec![call],
            ..Message::text(Role::Assistant, "")
        };
        let spelled = message(&asked);
        assert_eq!(spelled["content"], Value::Null);
        let function = json!({ "name": "weather", "arguments": "{}" });
        let expected = json!([{ "id": "call_1", "type": "function", "function": function }]);
        assert_eq!(spelled["tool_calls"], expected);
        let mut told = Message::text(Role::Tool, "rain");
        told.tool_call_id = Some("call_1".to_owned());
        let expected = json!({ "role": "tool", "content": "rain", "tool_call_id": "call_1" });
        assert_eq!(message(&told), expected);
    }
}
