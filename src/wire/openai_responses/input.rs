//! `input`: a text, or the items of a conversation.
//!
//! An answer of ours is one message with its thinking, text and calls; on the wire it is several
//! items. Those that come back in a row are put together again: a call joins whatever the
//! assistant says before it, and so does thinking or text, where the ids tell that it is of the
//! same turn or where nothing but thinking came before.
//!
//! Thinking comes back by its [`carrier`], or unsigned where a client sends its
//! text alone. A summary is none of it.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::json;
use serde_json::value::RawValue;

use crate::turn::{
    Confirmation, Failure, FailureKind, ItemId, ItemReference, Message, Part, Role, Status,
    Thought, ToolCall, TurnId,
};
use crate::wire::body::{self, wrong};
use crate::wire::bounded::{Allowance, AtMost};

use super::carrier;
use super::content::Contents;
use super::tools::FREE_TEXT;

/// Items in one request.
const MAX_ITEMS: usize = 10_000;
/// Results in a row: as many as tools can be offered.
const MAX_RESULTS: usize = 128;
/// Pieces of text in one item of thinking.
const MAX_PIECES: usize = 1_000;

/// `input` as sent.
#[derive(Debug)]
pub(super) enum Input<'a> {
    Text(String),
    Items(Vec<&'a RawValue>),
}

impl Input<'_> {
    /// The input in our own vocabulary, in the places that it names them by.
    ///
    /// # Errors
    /// [`FailureKind::BadRequest`] at the member at fault, [`FailureKind::UnsupportedParameter`]
    /// for items of tools that nobody here runs.
    pub(super) fn gather(self, allowance: &mut Allowance) -> Result<Gathered, Failure> {
        let items = match self {
            Self::Text(text) => {
                return Ok(Gathered {
                    messages: vec![Message::text(Role::User, text)],
                    references: Vec::new(),
                });
            }
            Self::Items(items) => items,
        };
        let mut gathering = Gathering::within(allowance);
        for (index, item) in items.into_iter().enumerate() {
            gathering.take(item, &format!("input[{index}]"))?;
        }
        Ok(gathering.gathered)
    }
}

/// What an input holds.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) messages: Vec<Message>,
    pub(super) references: Vec<ItemReference>,
}

/// One item as sent: the members that are read, whichever kind has them.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an item (an object)")]
struct Sent<'a> {
    id: Option<String>,
    role: Option<String>,
    status: Option<String>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    call_id: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    encrypted_content: Option<String>,
    /// Ours, as in the chat: OpenAI has no word for a tool that failed.
    is_error: Option<bool>,
}

/// What tells the kind of an item.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an item (an object)")]
struct Kind<'a> {
    r#type: Option<String>,
    #[serde(borrow)]
    role: Option<&'a RawValue>,
}

/// A piece of thinking as sent.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Piece {
    text: Option<String>,
}

/// Items on the way to messages.
#[derive(Debug)]
pub(super) struct Gathering<'a> {
    gathered: Gathered,
    contents: Contents<'a>,
    /// The turn that the assistant's last message is of, where its items tell.
    speaker: Option<TurnId>,
    /// The calls that have a result since the assistant last spoke.
    answered: HashSet<String>,
}

impl<'a> Gathering<'a> {
    pub(super) fn within(allowance: &'a mut Allowance) -> Self {
        Self {
            gathered: Gathered::default(),
            contents: Contents::within(allowance),
            speaker: None,
            answered: HashSet::new(),
        }
    }

    pub(super) fn finish(self) -> Gathered {
        self.gathered
    }

    /// Takes one item; `at` is its place in the request.
    ///
    /// # Errors
    /// As [`Input::gather`].
    pub(super) fn take(&mut self, raw: &RawValue, at: &str) -> Result<(), Failure> {
        let Kind { r#type: kind, role } = body::read_at(raw, at)?;
        let kind = kind.as_deref().unwrap_or(match role {
            Some(_) => "message",
            None => "item_reference",
        });
        if !KINDS.contains(&kind) {
            return Err(unknown(at, kind));
        }
        let sent: Sent<'_> = body::read_at(raw, at)?;
        match kind {
            "message" => self.message(sent, at),
            "function_call" => {
                let arguments = sent.arguments.map_or(Ok("{}".to_owned()), |raw| {
                    text_or_json(raw, &format!("{at}.arguments"))
                });
                self.call(sent, at, arguments?)
            }
            "custom_tool_call" => {
                let input = sent.input.map(|raw| text_or_json(raw, &format!("{at}.input")));
                let arguments = json!({ FREE_TEXT: input.transpose()?.unwrap_or_default() });
                self.call(sent, at, arguments.to_string())
            }
            "function_call_output" | "custom_tool_call_output" => self.result(sent, at),
            "reasoning" => self.thinking(sent, at),
            _ => self.reference(sent, at),
        }
    }

    fn message(&mut self, sent: Sent<'_>, at: &str) -> Result<(), Failure> {
        let role = match sent.role.as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system" | "developer") => Role::System,
            Some(_) => {
                let why = "must be user, assistant, system or developer";
                return Err(wrong(format!("{at}.role"), why));
            }
            None => return Err(wrong(format!("{at}.role"), "is required")),
        };
        let content = sent.content.map(|raw| self.contents.read(raw, &format!("{at}.content")));
        let content = content.transpose()?;
        // An assistant that only makes calls may come without, as it does in the chat.
        if content.is_none() && role != Role::Assistant {
            return Err(wrong(format!("{at}.content"), "is required"));
        }
        let parts = content.unwrap_or_default();
        if role != Role::Assistant {
            self.gathered.messages.push(Message { parts, ..Message::text(role, "") });
            return Ok(());
        }
        let message = self.assistant(sent.id.as_deref(), false);
        if sent.status.as_deref() == Some("incomplete") {
            message.status = Status::Interrupted;
        }
        for part in parts {
            match (message.parts.last_mut(), part) {
                (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
                (_, part) => message.parts.push(part),
            }
        }
        Ok(())
    }

    fn call(&mut self, sent: Sent<'_>, at: &str, arguments: String) -> Result<(), Failure> {
        let missing = |member: &str| wrong(format!("{at}.{member}"), "is required");
        let id = sent.call_id.filter(|id| !id.is_empty()).ok_or_else(|| missing("call_id"))?;
        let name = sent.name.filter(|name| !name.is_empty()).ok_or_else(|| missing("name"))?;
        let confirmation = Confirmation::None;
        let call = ToolCall { id, name, arguments, confirmation };
        self.assistant(sent.id.as_deref(), true).tool_calls.push(call);
        Ok(())
    }

    fn result(&mut self, sent: Sent<'_>, at: &str) -> Result<(), Failure> {
        let missing = |member: &str| wrong(format!("{at}.{member}"), "is required");
        let call = sent.call_id.filter(|id| !id.is_empty()).ok_or_else(|| missing("call_id"))?;
        let output = sent.output.ok_or_else(|| missing("output"))?;
        let parts = self.contents.read(output, &format!("{at}.output"))?;
        if !self.answered.insert(call.clone()) {
            let why = "is of a call that has its output already: a call has one";
            return Err(wrong(format!("{at}.call_id"), why));
        }
        if self.answered.len() > MAX_RESULTS {
            return Err(wrong(at, &format!("is more than {MAX_RESULTS} tool outputs in a row")));
        }
        let has_failed = sent.is_error == Some(true)
            || matches!(sent.status.as_deref(), Some("error" | "incomplete"));
        let status = if has_failed { Status::Failed } else { Status::Completed };
        let message =
            Message { parts, tool_call_id: Some(call), status, ..Message::text(Role::Tool, "") };
        self.gathered.messages.push(message);
        Ok(())
    }

    fn thinking(&mut self, sent: Sent<'_>, at: &str) -> Result<(), Failure> {
        let carried = sent.encrypted_content.as_deref().map(carrier::open).transpose();
        let carried = carried.map_err(|_| {
            let why = "is not as this service wrote it; send it back unchanged, or leave it out";
            wrong(format!("{at}.encrypted_content"), why)
        })?;
        let thought = match carried.flatten() {
            Some(thought) => Some(thought),
            None => unsigned(sent.content, at)?,
        };
        if let Some(thought) = thought {
            self.assistant(sent.id.as_deref(), false).thoughts.push(thought);
        }
        Ok(())
    }

    fn reference(&mut self, sent: Sent<'_>, at: &str) -> Result<(), Failure> {
        let named_at = format!("{at}.id");
        let id = sent.id.ok_or_else(|| wrong(&named_at, "is required"))?;
        let item = ItemId::parse(&id).ok_or_else(|| wrong(&named_at, NO_ITEM))?;
        let before = self.gathered.messages.len();
        self.gathered.references.push(ItemReference { item, before, named_at });
        Ok(())
    }

    /// The message of the assistant's that an item of this id belongs to. `joins` says that it
    /// belongs to whatever the assistant said last.
    fn assistant(&mut self, id: Option<&str>, joins: bool) -> &mut Message {
        let turn = id.and_then(ItemId::parse).map(|id| id.turn);
        let Gathered { messages, references } = &mut self.gathered;
        let is_cut_off = references.last().is_some_and(|last| last.before == messages.len());
        let goes_on = messages.last().is_some_and(|last| {
            let is_of_turn = turn.is_some() && turn == self.speaker;
            let is_of_another = turn.is_some() && self.speaker.is_some() && !is_of_turn;
            let has_only_thought = last.parts.is_empty() && last.tool_calls.is_empty();
            let fits = is_of_turn || (!is_of_another && (joins || has_only_thought));
            last.role == Role::Assistant && fits
        });
        if !goes_on || is_cut_off {
            self.answered.clear();
            self.speaker = None;
            messages.push(Message { parts: Vec::new(), ..Message::text(Role::Assistant, "") });
        }
        self.speaker = turn.or(self.speaker.take());
        let last = messages.len() - 1;
        &mut messages[last]
    }
}

/// What is said of an id that no item has.
pub(super) const NO_ITEM: &str = "names no item that is kept";

/// Items that are read.
const KINDS: &[&str] = &[
    "message",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "reasoning",
    "item_reference",
];

/// A text, or the JSON text of an object or a list: some clients send arguments parsed.
fn text_or_json(raw: &RawValue, at: &str) -> Result<String, Failure> {
    match raw.get().as_bytes().first() {
        Some(b'{' | b'[') => Ok(raw.get().to_owned()),
        _ => body::read_at(raw, at),
    }
}

/// Thinking whose text alone came back.
fn unsigned(content: Option<&RawValue>, at: &str) -> Result<Option<Thought>, Failure> {
    let Some(raw) = content else { return Ok(None) };
    let pieces: AtMost<Piece, MAX_PIECES> = body::read_at(raw, &format!("{at}.content"))?;
    let text: String = pieces.0.into_iter().filter_map(|piece| piece.text).collect();
    Ok((!text.is_empty()).then_some(Thought::Text { text, signature: None }))
}

/// A refusal of an item that nobody here could have made or can use.
fn unknown(at: &str, kind: &str) -> Failure {
    let shown: String = kind.chars().filter(|c| !c.is_control()).take(40).collect();
    let message = format!("{at}.type: items of type \"{shown}\" are not taken; leave it out");
    Failure::new(FailureKind::UnsupportedParameter, message).at(format!("{at}.type"))
}

impl<'de: 'a, 'a> Deserialize<'de> for Input<'a> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(InputVisitor)
    }
}

struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = Input<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string or a list of items")
    }

    fn visit_str<E>(self, text: &str) -> Result<Input<'de>, E> {
        Ok(Input::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Input<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            if items.len() == MAX_ITEMS {
                return Err(A::Error::custom("more than 10000 items; send fewer"));
            }
            items.push(item);
        }
        Ok(Input::Items(items))
    }
}
