//! A conversation as the service's history, repaired where it would refuse it.
//!
//! What the service insists on, and answers "Improperly formed request." to otherwise: the user
//! speaks first and last, sides alternate, no content is empty, all calls of an answer have their
//! results in the very next entry, and no call is of a tool that is not declared now. All of this
//! is pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};

use crate::backend::bedrock::attachment::Attachment;
use crate::backend::bedrock::names::{ToolNames, call_id};
use crate::turn::{Failure, Message, Part, Role, Status, Thought, ToolCall};

use super::image::{Image, Images, MOST, Shown};

/// Stands where somebody says nothing, since no content may be empty.
const NOTHING: &str = " ";
/// Stands where the user said nothing, yet must have spoken.
const NOTHING_SAID: &str = "(no message)";
/// Stands after an answer that was to be gone on with.
const GO_ON: &str = "Continue.";
/// Stands where a call has no result, since something else came instead.
const NO_RESULT: &str = "(no result: the call was not carried out)";
/// Stands where a tool gave nothing.
const NO_OUTPUT: &str = "(no output)";
/// Stands where something was shown earlier that cannot be shown now.
const NOT_SHOWN: &str = "(an attachment that cannot be shown any more)";

/// All that one side says until the other speaks.
#[derive(Debug, Serialize)]
pub(super) enum Entry {
    #[serde(rename = "userInputMessage")]
    User {
        #[serde(flatten)]
        said: Said,
    },
    #[serde(rename = "assistantResponseMessage")]
    Assistant {
        #[serde(flatten)]
        answered: Answered,
    },
}

/// What the user says.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Said {
    pub(super) content: String,
    #[serde(skip_serializing_if = "Context::is_empty")]
    #[serde(rename = "userInputMessageContext")]
    pub(super) context: Context,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<Image>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<&'static str>,
}

/// What stands beside it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Context {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_results: Vec<Value>,
    /// Only beside the last entry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tools: Vec<Value>,
}

impl Context {
    fn is_empty(&self) -> bool {
        self.tool_results.is_empty() && self.tools.is_empty()
    }
}

/// What the model says.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answered {
    content: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_uses: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<Value>,
}

/// Writes a conversation.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    /// The client's names of the tools that are declared.
    declared: HashSet<&'a str>,
    images: Images<'a>,
    names: &'a mut ToolNames,
    entries: Vec<Entry>,
    /// How often each id of a call has come.
    ids: HashMap<String, usize>,
    /// Results that have been put behind their calls, by their place.
    placed: HashSet<usize>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        declared: HashSet<&'a str>,
        images: Images<'a>,
        names: &'a mut ToolNames,
    ) -> Self {
        let (ids, placed) = (HashMap::new(), HashSet::new());
        Self { declared, images, names, entries: Vec::new(), ids, placed }
    }

    /// Writes what was said before, and what is new; the last entry is the user's.
    ///
    /// # Errors
    /// For an attachment of the new messages that cannot be sent; one that was said before is
    /// left out instead.
    pub(super) fn write(
        &mut self,
        history: &[Arc<Message>],
        input: &[Message],
    ) -> Result<Vec<Entry>, Failure> {
        let messages: Vec<&Message> = history.iter().map(AsRef::as_ref).chain(input).collect();
        for (at, message) in messages.iter().enumerate() {
            let is_new = at >= history.len();
            match message.role {
                // Instructions stand elsewhere.
                Role::System => {}
                Role::User => self.say(message, is_new)?,
                Role::Assistant => {
                    self.answer(message);
                    self.results(&messages, at, history.len())?;
                }
                Role::Tool if self.placed.contains(&at) => {}
                Role::Tool => {
                    let name = message.tool_call_id.as_deref().unwrap_or("a tool");
                    add(&mut self.user().content, &result_as_text(name, Some(message)));
                }
            }
        }
        Ok(self.repaired())
    }

    /// The entry of the user's that is being written.
    fn user(&mut self) -> &mut Said {
        if !matches!(self.entries.last(), Some(Entry::User { .. })) {
            self.entries.push(Entry::User { said: Said::default() });
        }
        match self.entries.last_mut() {
            Some(Entry::User { said }) => said,
            _ => unreachable!("such an entry was just put there"),
        }
    }

    fn say(&mut self, message: &Message, is_new: bool) -> Result<(), Failure> {
        let before = self.user().images.len();
        let (text, mut images) = self.parts(message, is_new)?;
        let room = MOST.saturating_sub(before);
        if images.len() > room {
            if is_new {
                let message = format!("a message may have {MOST} images at most");
                return Err(Failure::bad_field("messages", message));
            }
            images.truncate(room);
        }
        let said = self.user();
        add(
            &mut said.content,
            if text.is_empty() && images.is_empty() { NOTHING_SAID } else { &text },
        );
        said.images.extend(images);
        Ok(())
    }

    fn answer(&mut self, message: &Message) {
        let mut content = message.plain_text();
        let mut tool_uses = Vec::new();
        for call in &message.tool_calls {
            if !self.declared.contains(call.name.as_str()) {
                add(&mut content, &format!("[called {} with {}]", call.name, call.arguments));
                continue;
            }
            let nth = self.ids.get(&call.id).copied().unwrap_or_default();
            tool_uses.push(json!({
                "toolUseId": call_id(&call.id, nth),
                "name": self.names.upstream(&call.name),
                "input": arguments(&call.arguments),
            }));
        }
        if content.trim().is_empty() && tool_uses.is_empty() {
            return;
        }
        let reasoning_content = message.thoughts.iter().find_map(thought);
        match self.entries.last_mut() {
            Some(Entry::Assistant { answered }) => {
                add(&mut answered.content, &content);
                answered.tool_uses.extend(tool_uses);
            }
            _ => {
                let answered = Answered { content, tool_uses, reasoning_content };
                self.entries.push(Entry::Assistant { answered });
            }
        }
    }

    /// The results of the calls that the message at this place makes, all in one entry.
    fn results(&mut self, messages: &[&Message], at: usize, new: usize) -> Result<(), Failure> {
        let from = messages.get(at..).unwrap_or_default();
        let Some((asking, after)) = from.split_first() else { return Ok(()) };
        for call in &asking.tool_calls {
            let found = result_of(after, call).map(|(ahead, result)| (at + 1 + ahead, result));
            let found = found.filter(|(place, _)| self.placed.insert(*place));
            if !self.declared.contains(call.name.as_str()) {
                let text = result_as_text(&call.name, found.map(|(_, result)| result));
                add(&mut self.user().content, &text);
                continue;
            }
            let nth = self.ids.entry(call.id.clone()).or_default();
            let id = call_id(&call.id, *nth);
            *nth += 1;
            let (text, images) = match found {
                Some((place, result)) => self.parts(result, place >= new)?,
                None => (NO_RESULT.to_owned(), Vec::new()),
            };
            let has_failed = found.is_none_or(|(_, result)| result.status == Status::Failed);
            let text = if text.is_empty() { NO_OUTPUT } else { &text };
            let said = self.user();
            said.context.tool_results.push(json!({
                "toolUseId": id,
                "content": [{ "text": text }],
                "status": if has_failed { "error" } else { "success" },
            }));
            let room = MOST.saturating_sub(said.images.len());
            said.images.extend(images.into_iter().take(room));
        }
        Ok(())
    }

    fn parts(&self, message: &Message, is_new: bool) -> Result<(String, Vec<Image>), Failure> {
        let (mut text, mut images) = (String::new(), Vec::new());
        for part in &message.parts {
            let (kind, value) = match part {
                Part::Text(said) => {
                    add(&mut text, said);
                    continue;
                }
                Part::Attachment { kind, value } => (kind, value),
            };
            let shown = Attachment::read(kind, value).and_then(|found| self.images.show(&found));
            match shown {
                Ok(Shown::Image(image)) => images.push(image),
                Ok(Shown::Text(said)) => add(&mut text, &said),
                Err(failure) if is_new => return Err(failure),
                Err(_) => add(&mut text, NOT_SHOWN),
            }
        }
        Ok((text, images))
    }

    /// Lets the user speak first and last, and everybody say something.
    fn repaired(&mut self) -> Vec<Entry> {
        let mut entries = std::mem::take(&mut self.entries);
        let user = |text: &str| {
            let said = Said { content: text.to_owned(), ..Said::default() };
            Entry::User { said }
        };
        if !matches!(entries.first(), Some(Entry::User { .. })) {
            entries.insert(0, user(NOTHING_SAID));
        }
        if !matches!(entries.last(), Some(Entry::User { .. })) {
            entries.push(user(GO_ON));
        }
        for entry in &mut entries {
            let content = match entry {
                Entry::User { said } => &mut said.content,
                Entry::Assistant { answered } => &mut answered.content,
            };
            if content.is_empty() {
                content.push_str(NOTHING);
            }
        }
        entries
    }
}

/// Adds a text after a blank line; one without letters adds nothing.
fn add(text: &mut String, more: &str) {
    if more.trim().is_empty() {
        return;
    }
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str(more);
}

/// A thought that its model knows for its own.
fn thought(thought: &Thought) -> Option<Value> {
    match thought {
        Thought::Text { text, signature: Some(signature) } => {
            Some(json!({ "reasoningText": { "text": text, "signature": signature } }))
        }
        Thought::Text { signature: None, .. } => None,
        Thought::Redacted(bytes) => Some(json!({ "redactedContent": STANDARD.encode(bytes) })),
    }
}

/// The arguments of a call as an object, which is all that the service takes.
fn arguments(written: &str) -> Value {
    match serde_json::from_str(written) {
        Ok(Value::Object(members)) => Value::Object(members),
        Ok(other) => json!({ "input": other }),
        Err(_) if written.trim().is_empty() => json!({}),
        Err(_) => json!({ "input": written }),
    }
}

/// The result of a call and where among those `after` it, which is before the assistant speaks
/// again.
fn result_of<'m>(after: &[&'m Message], call: &ToolCall) -> Option<(usize, &'m Message)> {
    let until_next = after.iter().copied().enumerate();
    let mut until_next = until_next.take_while(|(_, message)| message.role != Role::Assistant);
    until_next.find(|(_, message)| {
        message.role == Role::Tool && message.tool_call_id.as_deref() == Some(call.id.as_str())
    })
}

fn result_as_text(name: &str, result: Option<&Message>) -> String {
    let said = result.map_or_else(|| NO_RESULT.to_owned(), Message::plain_text);
    let verb = match result.map(|result| result.status) {
        Some(Status::Failed) => "failed with",
        _ => "gave",
    };
    let said = if said.trim().is_empty() { NO_OUTPUT } else { said.as_str() };
    format!("[{name} {verb}: {said}]")
}
