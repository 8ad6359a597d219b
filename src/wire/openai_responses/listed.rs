//! What was said, as items: the input of a response, its output, and what a conversation holds.
//!
//! An answer is listed from its events where these are kept, and else from the message that the
//! session holds of it. The message has all text in one piece, so then the answer has one text;
//! its id is that of the first. Thinking is not listed from messages: whether it may be shown is
//! not known there. Nor is which tools take free text, so all calls are function calls.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use serde_json::{Map, Value, json};

use crate::turn::{ItemId, Message, Part, Place, Role, Status, ToolCall, TurnEvent, TurnId};

use super::answer::Answer;
use super::content::shown;
use super::{echo, item};

/// What a turn's messages said that were sent in, as items in their order.
#[must_use]
pub fn input_items(turn: &TurnId, said: &[Arc<Message>]) -> Vec<(ItemId, Value)> {
    let mut listing = Listing::of(turn);
    for (index, message) in (0..).zip(said) {
        listing.input(index, message);
    }
    listing.items
}

/// What a turn brought to its session, as items in their order: what was said to it and, where
/// it `is_answered`, its answer, which is the last message then.
#[must_use]
pub fn items_of(
    turn: &TurnId,
    messages: &[Arc<Message>],
    is_answered: bool,
) -> Vec<(ItemId, Value)> {
    let answer = messages.split_last().filter(|_| is_answered);
    let Some((answer, said)) = answer else { return input_items(turn, messages) };
    let mut listing = Listing { items: input_items(turn, said), ..Listing::of(turn) };
    listing.spoken(answer, Place::Text(0), Place::Call);
    listing.items
}

/// What a turn answered, as items in their order: exactly what its response holds. `echo` is what
/// was kept of its request.
#[must_use]
pub fn output_items(
    turn: &TurnId,
    echo: Option<&str>,
    events: &[TurnEvent],
) -> Vec<(ItemId, Value)> {
    let (manner, _) = echo::read(echo);
    let mut answer = Answer::new(turn, manner);
    events.iter().for_each(|event| answer.take(event, |_| {}));
    let mut written = BytesMut::from("[");
    answer.write_items(&mut written);
    written.put_u8(b']');
    let items: Vec<Value> = serde_json::from_slice(&written).unwrap_or_default();
    answer.ids().iter().cloned().zip(items).collect()
}

/// Items on the way to a list.
struct Listing<'a> {
    turn: &'a TurnId,
    items: Vec<(ItemId, Value)>,
}

impl<'a> Listing<'a> {
    fn of(turn: &'a TurnId) -> Self {
        Self { turn, items: Vec::new() }
    }

    fn input(&mut self, index: u32, message: &Message) {
        match message.role {
            Role::Assistant => {
                let call = |call| Place::InputCall(index, call);
                self.spoken(message, Place::Input(index), call);
            }
            Role::Tool => self.push(Place::InputResult(index), "function_call_output", |item| {
                item.insert("call_id".to_owned(), json!(message.tool_call_id));
                item.insert("status".to_owned(), json!(status(message.status)));
                item.insert("output".to_owned(), output(&message.parts));
            }),
            Role::User | Role::System => self.push(Place::Input(index), "message", |item| {
                item.insert("role".to_owned(), json!(message.role.as_str()));
                item.insert("status".to_owned(), json!(status(message.status)));
                item.insert("content".to_owned(), message.parts.iter().map(shown).collect());
            }),
        }
    }

    /// What the assistant said: its text, and its calls.
    fn spoken(&mut self, message: &Message, text: Place, call: impl Fn(u32) -> Place) {
        if !message.parts.is_empty() {
            self.push(text, "message", |item| {
                item.insert("role".to_owned(), json!("assistant"));
                item.insert("status".to_owned(), json!(status(message.status)));
                item.insert("content".to_owned(), message.parts.iter().map(spoken_part).collect());
            });
        }
        for (index, made) in (0..).zip(&message.tool_calls) {
            self.push(call(index), "function_call", |item| {
                item.insert("status".to_owned(), json!("completed"));
                item.extend(call_members(made));
            });
        }
    }

    fn push(
        &mut self,
        place: Place,
        kind: &'static str,
        fill: impl FnOnce(&mut Map<String, Value>),
    ) {
        let id = ItemId { turn: self.turn.clone(), place };
        let mut item = Map::new();
        item.insert("id".to_owned(), json!(id.to_string()));
        item.insert("type".to_owned(), json!(kind));
        fill(&mut item);
        self.items.push((id, Value::Object(item)));
    }
}

fn call_members(call: &ToolCall) -> [(String, Value); 3] {
    let arguments = if call.arguments.is_empty() { "{}" } else { &call.arguments };
    [
        ("call_id".to_owned(), json!(call.id)),
        ("name".to_owned(), json!(call.name)),
        ("arguments".to_owned(), json!(arguments)),
    ]
}

fn spoken_part(part: &Part) -> Value {
    match part {
        Part::Text(text) => {
            json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
        }
        Part::Attachment { .. } => shown(part),
    }
}

/// What a tool reported: a text where it is one, else its parts.
fn output(parts: &[Part]) -> Value {
    match parts {
        [] => json!(""),
        [Part::Text(text)] => json!(text),
        parts => parts.iter().map(shown).collect(),
    }
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Completed => item::Progress::Complete,
        Status::Interrupted | Status::Failed => item::Progress::Cut,
    }
    .as_str()
}
