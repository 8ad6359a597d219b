//! What was said, as the messages of a harness.
//!
//! A harness takes messages as Bedrock's Converse does: user and assistant in turn, the user
//! first, and every tool use answered in the message that follows it. A call of an inline
//! function ends its answer, and what the harness keeps of the session is without it: the next
//! call has to bring the assistant's message with the tool uses again, before the one with their
//! results. (No word of that in the API reference; clients of the service found that results
//! alone are refused, as answering to nothing, and that results as JSON blocks are refused too.)

use std::collections::HashMap;

use aws_sdk_bedrockagentcore::types::{
    HarnessContentBlock as Block, HarnessConversationRole as Speaker, HarnessMessage,
    HarnessToolResultBlock, HarnessToolResultContentBlock as ResultBlock, HarnessToolUseBlock,
    HarnessToolUseStatus,
};
use serde_json::Value;

use crate::backend::Ask;
use crate::turn::{
    Failure, FailureKind, Message, Part, Pending, PendingCall, Role, Status, ToolCall,
};

use super::document::document;
use super::handed::RESULT_KIND;

/// What a call is told that nobody answered.
const INTERRUPTED: &str = "the user interrupted";
/// The longest id of a tool use (`HarnessToolUseId` in the API model).
const ID_LENGTH: usize = 64;

/// The messages of a turn.
///
/// # Errors
/// `UnsupportedParameter` for attachments: there is no block for them.
pub(super) fn messages(ask: &Ask) -> Result<Vec<HarnessMessage>, Failure> {
    let mut told = Told::default();
    for message in &ask.history {
        told.message(message, false)?;
    }
    if let Some(pending) = &ask.pending {
        told.pending(pending);
    }
    for message in &ask.input {
        told.message(message, true)?;
    }
    Ok(told.finish())
}

/// The conversation so far.
#[derive(Debug, Default)]
struct Told {
    turns: Vec<(Speaker, Vec<Block>)>,
    /// Tool uses of the assistant's last turn that are not answered yet, in order.
    open: Vec<String>,
    /// The functions of all calls, by id.
    names: HashMap<String, String>,
}

impl Told {
    /// `is_new` says that the message is part of what is asked now.
    fn message(&mut self, message: &Message, is_new: bool) -> Result<(), Failure> {
        match message.role {
            // The harness has instructions of its own.
            Role::System => {}
            Role::User => {
                let texts = texts(message, is_new)?;
                self.close();
                self.add(Speaker::User, texts);
            }
            Role::Assistant => {
                self.close();
                let uses = message.tool_calls.iter().map(use_of).collect::<Vec<_>>();
                self.uses(texts(message, false)?, uses);
            }
            Role::Tool => self.result(message),
        }
        Ok(())
    }

    fn pending(&mut self, pending: &Pending) {
        self.uses(Vec::new(), pending.calls.iter().map(use_of_pending).collect());
        for call in &pending.calls {
            let id = tool_use_id(call);
            let block = match &call.result {
                Some(result) => result_block(&id, result),
                None => interrupted(&id),
            };
            self.answer(&id, block);
        }
    }

    fn uses(&mut self, mut blocks: Vec<Block>, uses: Vec<HarnessToolUseBlock>) {
        for used in uses {
            self.open.push(used.tool_use_id.clone());
            self.names.insert(used.tool_use_id.clone(), used.name.clone());
            blocks.push(Block::ToolUse(used));
        }
        self.add(Speaker::Assistant, blocks);
    }

    fn result(&mut self, message: &Message) {
        let id = clean_id(message.tool_call_id.as_deref().unwrap_or_default());
        if self.open.contains(&id) {
            let block = result_block(&id, message);
            return self.answer(&id, block);
        }
        // A result whose call is not here, as where the history was cut: told as text.
        let of = self.names.get(&id).map_or("a tool", String::as_str);
        let text = format!("The result of {of}: {}", message.plain_text());
        self.close();
        self.add(Speaker::User, vec![Block::Text(text)]);
    }

    fn answer(&mut self, id: &str, block: Block) {
        self.open.retain(|open| open != id);
        self.add(Speaker::User, vec![block]);
    }

    /// Answers what nobody did: somebody else speaks now.
    fn close(&mut self) {
        let left: Vec<_> =
            std::mem::take(&mut self.open).iter().map(|id| interrupted(id)).collect();
        self.add(Speaker::User, left);
    }

    fn add(&mut self, speaker: Speaker, blocks: Vec<Block>) {
        if blocks.is_empty() {
            return;
        }
        match self.turns.last_mut() {
            Some((last, said)) if *last == speaker => said.extend(blocks),
            _ => self.turns.push((speaker, blocks)),
        }
    }

    fn finish(mut self) -> Vec<HarnessMessage> {
        self.close();
        let has_pending_only = matches!(
            self.turns.first(),
            Some((Speaker::Assistant, blocks)) if blocks.iter().any(Block::is_tool_use)
        );
        // A conversation begins with the user, but for calls that are answered now.
        let from = if has_pending_only {
            0
        } else {
            self.turns.iter().position(|(speaker, _)| *speaker == Speaker::User).unwrap_or_default()
        };
        let turns = self.turns.drain(from..);
        // Role and content are all that the builder asks for.
        let message = |(role, content)| {
            HarnessMessage::builder().role(role).set_content(Some(content)).build().ok()
        };
        turns.filter_map(message).collect()
    }
}

/// The texts of a message; what is new must have nothing else.
fn texts(message: &Message, is_new: bool) -> Result<Vec<Block>, Failure> {
    let mut blocks = Vec::new();
    for part in &message.parts {
        match part {
            Part::Text(text) if text.trim().is_empty() => {}
            Part::Text(text) => blocks.push(Block::Text(text.clone())),
            Part::Attachment { .. } if is_new => return Err(no_attachments()),
            Part::Attachment { .. } => {}
        }
    }
    Ok(blocks)
}

fn no_attachments() -> Failure {
    Failure::new(
        FailureKind::UnsupportedParameter,
        "an AgentCore harness takes text; send images, audio and files to a model that reads them",
    )
    .at("messages")
}

fn use_of(call: &ToolCall) -> HarnessToolUseBlock {
    let input = serde_json::from_str(&call.arguments).unwrap_or_default();
    used(clean_id(&call.id), &call.name, &input)
}

fn use_of_pending(pending: &PendingCall) -> HarnessToolUseBlock {
    let used_before = &pending.input["toolUse"];
    let name = used_before["name"].as_str().unwrap_or(&pending.call.name);
    used(tool_use_id(pending), name, &used_before["input"])
}

fn used(id: String, name: &str, input: &Value) -> HarnessToolUseBlock {
    // Arguments that are no object are nothing that a tool can be called with.
    let input = if input.is_object() {
        document(input)
    } else {
        document(&Value::Object(Default::default()))
    };
    HarnessToolUseBlock::builder()
        .tool_use_id(id)
        .name(clean(name))
        .input(input)
        .build()
        .expect("id, name and input are all that a tool use needs")
}

/// The harness's own id of a pending call.
pub(super) fn tool_use_id(pending: &PendingCall) -> String {
    let id = pending.input["toolUse"]["toolUseId"].as_str();
    id.map_or_else(|| clean_id(&pending.call.id), str::to_owned)
}

fn result_block(id: &str, message: &Message) -> Block {
    let status = match message.status {
        Status::Failed => HarnessToolUseStatus::Error,
        Status::Completed | Status::Interrupted => HarnessToolUseStatus::Success,
    };
    let verbatim = message.parts.iter().find_map(|part| match part {
        Part::Attachment { kind, value } if kind == RESULT_KIND => Some(contents(value)),
        _ => None,
    });
    let content = verbatim.unwrap_or_else(|| vec![ResultBlock::Text(said(message.plain_text()))]);
    block(id, content, status)
}

/// The content of a result in the service's own spelling.
fn contents(result: &Value) -> Vec<ResultBlock> {
    let blocks = result.pointer("/toolResult/content").or_else(|| result.get("content"));
    let blocks = blocks.and_then(Value::as_array).into_iter().flatten();
    let content: Vec<_> = blocks
        .filter_map(|block| match (block.get("text").and_then(Value::as_str), block.get("json")) {
            (Some(text), _) => Some(ResultBlock::Text(said(text.to_owned()))),
            (None, Some(json)) => Some(ResultBlock::Json(document(json))),
            (None, None) => None,
        })
        .collect();
    if content.is_empty() { vec![ResultBlock::Text(said(String::new()))] } else { content }
}

/// A text block has at least one character.
fn said(text: String) -> String {
    if text.is_empty() { "(nothing)".to_owned() } else { text }
}

fn interrupted(id: &str) -> Block {
    let content = vec![ResultBlock::Text(INTERRUPTED.to_owned())];
    block(id, content, HarnessToolUseStatus::Error)
}

fn block(id: &str, content: Vec<ResultBlock>, status: HarnessToolUseStatus) -> Block {
    let result = HarnessToolResultBlock::builder()
        .tool_use_id(id)
        .set_content(Some(content))
        .status(status)
        .build()
        .expect("id and content are all that a tool result needs");
    Block::ToolResult(result)
}

/// An id that the service takes: 1 to 64 of `[a-zA-Z0-9_-]`. Clients may have ids of their own.
fn clean_id(id: &str) -> String {
    if id.is_empty() { "unknown".to_owned() } else { clean(id) }
}

fn clean(name: &str) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    name.chars().take(ID_LENGTH).map(|letter| if fits(letter) { letter } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use crate::turn::{Confirmation, SessionKey, TurnRequest, UpstreamSessionId};

    use super::*;

    fn call(id: &str) -> ToolCall {
        ToolCall {
            id: id.to_owned(),
            name: "weather".to_owned(),
            arguments: "{\"city\":\"Oslo\"}".to_owned(),
            confirmation: Confirmation::None,
        }
    }

    fn calling(text: &str, ids: &[&str]) -> Message {
        let tool_calls = ids.iter().map(|id| call(id)).collect();
        Message { tool_calls, ..Message::text(Role::Assistant, text) }
    }

    fn result(id: &str, text: &str) -> Message {
        Message { tool_call_id: Some(id.to_owned()), ..Message::text(Role::Tool, text) }
    }

    fn user(text: &str) -> Message {
        Message::text(Role::User, text)
    }

    fn pending(results: &[Option<Message>]) -> Pending {
        let calls = (1..).zip(results).map(|(number, result)| {
            let used = json!({ "toolUseId": format!("use-{number}"), "name": "weather",
                "input": { "city": "Oslo" } });
            PendingCall {
                call: call(&format!("call_{number}")),
                input: json!({ "toolUse": used }),
                result: result.clone().map(Arc::new),
            }
        });
        Pending { invocation_id: "inv".to_owned(), calls: calls.collect() }
    }

    /// The turn's messages, a line each: `user text(…) result(id, ok, …)`.
    fn told(history: Vec<Message>, pending: Option<Pending>, input: Vec<Message>) -> Vec<String> {
        let ask = Ask {
            key: SessionKey { tenant: "acme".parse().unwrap(), id: "s1".parse().unwrap() },
            upstream: UpstreamSessionId::generate(),
            history: history.into_iter().map(Arc::new).collect(),
            input,
            pending,
            request: Arc::new(TurnRequest::default()),
        };
        messages(&ask).unwrap().iter().map(line).collect()
    }

    fn line(message: &HarnessMessage) -> String {
        let blocks = message.content().iter().map(|block| match block {
            Block::Text(text) => format!(" text({text})"),
            Block::ToolUse(used) => {
                assert!(used.input.as_object().is_some());
                format!(" use({})", used.tool_use_id())
            }
            Block::ToolResult(result) => {
                let status = result.status().unwrap().as_str();
                let text = result.content()[0].as_text().unwrap();
                format!(" result({}, {status}, {text})", result.tool_use_id())
            }
            other => panic!("{other:?}"),
        });
        format!("{}{}", message.role().as_str(), blocks.collect::<String>())
    }

    #[test]
    fn a_warm_session_is_told_what_is_new() {
        assert_eq!(
            told(vec![], None, vec![user("hi"), user("there")]),
            ["user text(hi) text(there)"]
        );
    }

    #[test]
    fn results_come_after_the_calls_that_they_answer() {
        let mut failed = result("call_2", "no such city");
        failed.status = Status::Failed;
        let pending = pending(&[Some(result("call_1", "rain")), Some(failed)]);
        let expected = [
            "assistant use(use-1) use(use-2)",
            "user result(use-1, success, rain) result(use-2, error, no such city)",
        ];
        assert_eq!(told(vec![], Some(pending), vec![]), expected);
    }

    #[test]
    fn a_call_without_a_result_was_interrupted_by_what_the_user_says() {
        let pending = pending(&[Some(result("call_1", "rain")), None]);
        let expected = [
            "assistant use(use-1) use(use-2)",
            "user result(use-1, success, rain) result(use-2, error, the user interrupted) \
             text(never mind)",
        ];
        assert_eq!(told(vec![], Some(pending), vec![user("never mind")]), expected);
    }

    #[test]
    fn a_transcript_alternates_begins_with_the_user_and_leaves_no_call_open() {
        let history = vec![
            Message::text(Role::System, "be kind"),
            Message::text(Role::Assistant, "Welcome!"),
            user("weather?"),
            calling("Let me see.", &["a", "b"]),
            result("a", "rain"),
            user("and now?"),
            calling("", &["c"]),
        ];
        let expected = [
            "user text(weather?)",
            "assistant text(Let me see.) use(a) use(b)",
            "user result(a, success, rain) result(b, error, the user interrupted) text(and now?)",
            "assistant use(c)",
            "user result(c, success, sun)",
        ];
        assert_eq!(told(history, None, vec![result("c", "sun")]), expected);
    }

    #[test]
    fn a_result_without_its_call_is_told_as_text() {
        let lines = told(vec![], None, vec![result("gone", "rain"), user("so?")]);
        assert_eq!(lines, ["user text(The result of a tool: rain) text(so?)"]);
    }

    #[test]
    fn ids_of_clients_become_ids_of_the_service() {
        assert_eq!(clean_id("call:1/ü"), "call_1__");
        assert_eq!(clean_id(&"x".repeat(100)).len(), 64);
        assert_eq!(clean_id(""), "unknown");
    }

    #[test]
    fn results_in_the_services_own_spelling_go_back_as_they_came() {
        let value = json!({ "toolResult": { "toolUseId": "use-1",
            "content": [{ "text": "a" }, { "json": { "b": 1 } }] } });
        let Block::ToolResult(built) = result_block(
            "use-1",
            &Message {
                parts: vec![
                    Part::Attachment { kind: RESULT_KIND.to_owned(), value: Arc::new(value) },
                    Part::Text("a".to_owned()),
                ],
                ..result("call_1", "")
            },
        ) else {
            panic!("no result")
        };
        assert!(built.content()[0].is_text() && built.content()[1].is_json());
    }
}
