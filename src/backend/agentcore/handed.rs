//! Results that a client sent in the spelling of a harness.
//!
//! `{"toolResult": {"toolUseId", "content": [{"text"} | {"json"}], "status"}}` each, as the
//! messages of `InvokeHarness` have them; the envelope may be left out.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use crate::turn::{Failure, HandedBack, Message, Part, Pending, Role, Status};

use super::transcript::tool_use_id;

/// The kind of a part that is a result, verbatim.
pub(super) const RESULT_KIND: &str = "bedrock_result";
/// The request's member with the results.
const PARAM: &str = "return_control_results";

/// A tool message for each result.
///
/// # Errors
/// `BadRequest` for a result that answers no call of the hand-over, or one a second time.
pub(super) fn read(pending: &Pending, handed_back: &HandedBack) -> Result<Vec<Message>, Failure> {
    if handed_back.invocation_id != pending.invocation_id {
        return Err(Failure::bad_field(
            "invocation_id",
            "the session waits for the results of another invocation",
        ));
    }
    let mut seen = HashSet::new();
    handed_back.results.iter().map(|result| message(pending, result, &mut seen)).collect()
}

fn message(
    pending: &Pending,
    result: &Value,
    seen: &mut HashSet<String>,
) -> Result<Message, Failure> {
    let fields = result.get("toolResult").unwrap_or(result);
    let id = fields["toolUseId"].as_str().ok_or_else(|| {
        Failure::bad_field(PARAM, "each result must name its toolUseId and have a content")
    })?;
    let call = pending.calls.iter().find(|call| tool_use_id(call) == id).ok_or_else(|| {
        Failure::bad_field(PARAM, "a result names a toolUseId that the session does not wait for")
    })?;
    if !seen.insert(id.to_owned()) {
        return Err(Failure::bad_field(PARAM, "two results name the same toolUseId"));
    }
    let status = match fields["status"].as_str() {
        None | Some("success") => Status::Completed,
        Some("error") => Status::Failed,
        Some(_) => {
            return Err(Failure::bad_field(PARAM, "a result's status is \"success\" or \"error\""));
        }
    };
    let value = Arc::new(result.clone());
    Ok(Message {
        role: Role::Tool,
        parts: vec![
            Part::Attachment { kind: RESULT_KIND.to_owned(), value },
            Part::Text(text(&fields["content"])),
        ],
        tool_call_id: Some(call.call.id.clone()),
        status,
        ..Message::text(Role::Tool, "")
    })
}

/// The content for transcripts.
fn text(content: &Value) -> String {
    let blocks = content.as_array().into_iter().flatten();
    let texts = blocks.filter_map(|block| match block["text"].as_str() {
        Some(text) => Some(text.to_owned()),
        None => block.get("json").map(Value::to_string),
    });
    texts.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::turn::{Confirmation, PendingCall, ToolCall};

    use super::*;

    fn pending() -> Pending {
        let call = ToolCall {
            id: "call_1".to_owned(),
            name: "weather".to_owned(),
            arguments: "{}".to_owned(),
            confirmation: Confirmation::None,
        };
        let input = json!({ "toolUse": { "toolUseId": "use-1", "name": "weather", "input": {} } });
        let calls = vec![PendingCall { call, input, result: None }];
        Pending { invocation_id: "inv-1".to_owned(), calls }
    }

    fn handed(invocation_id: &str, results: &[Value]) -> HandedBack {
        HandedBack { invocation_id: invocation_id.to_owned(), results: results.to_vec() }
    }

    #[test]
    fn a_result_becomes_the_tool_message_of_its_call() {
        let result = json!({ "toolResult": { "toolUseId": "use-1", "status": "error",
            "content": [{ "text": "rain" }, { "json": { "mm": 3 } }] } });
        let messages = read(&pending(), &handed("inv-1", &[result])).unwrap();
        assert_eq!(messages[0].tool_call_id.as_deref(), Some("call_1"));
        assert_eq!(messages[0].status, Status::Failed);
        assert_eq!(messages[0].plain_text(), "rain\n{\"mm\":3}");
        let bare = json!({ "toolUseId": "use-1", "content": [{ "text": "rain" }] });
        assert_eq!(read(&pending(), &handed("inv-1", &[bare])).unwrap()[0].plain_text(), "rain");
    }

    #[test]
    fn results_that_answer_nothing_are_refused() {
        let good = json!({ "toolUseId": "use-1", "content": [] });
        let unknown = json!({ "toolUseId": "use-9", "content": [] });
        let odd = json!({ "toolUseId": "use-1", "status": "maybe" });
        for (invocation, results) in [
            ("inv-9", vec![good.clone()]),
            ("inv-1", vec![unknown]),
            ("inv-1", vec![good.clone(), good]),
            ("inv-1", vec![json!({ "content": [] })]),
            ("inv-1", vec![odd]),
        ] {
            assert!(read(&pending(), &handed(invocation, &results)).is_err(), "{results:?}");
        }
    }
}
