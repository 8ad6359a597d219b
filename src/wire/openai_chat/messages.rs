//! The `messages` of a chat request.
//!
//! Strict about types, lenient about what real clients do: `content` missing or null anywhere,
//! parts in the Responses API's spelling, the legacy `function` role and `function_call`.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::turn::{Confirmation, Failure, Message, Part, Role, Status, ToolCall};

/// Messages in one request.
const MAX_MESSAGES: usize = 10_000;
/// Attachments in one request.
const MAX_ATTACHMENTS: usize = 1_000;
/// Objects within the attachments of one request: each takes hundreds of bytes in memory where
/// two in the body make it.
const MAX_ATTACHMENT_OBJECTS: usize = 20_000;

/// The messages as sent.
#[derive(Debug)]
pub(super) struct Messages<'a>(Vec<Sent<'a>>);

impl Messages<'_> {
    /// The messages in our own vocabulary.
    ///
    /// # Errors
    /// [`FailureKind::BadRequest`](crate::turn::FailureKind) at the message at fault.
    pub(super) fn into_messages(self) -> Result<Vec<Message>, Failure> {
        let mut allowance = Allowance::default();
        let messages = self.0.into_iter().enumerate();
        messages.map(|(index, sent)| sent.into_message(index, &mut allowance)).collect()
    }
}

/// One message as sent.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Sent<'a> {
    role: Option<SentRole>,
    #[serde(borrow, default)]
    content: Content<'a>,
    refusal: Option<String>,
    tool_calls: Option<Vec<SentCall>>,
    function_call: Option<Function>,
    tool_call_id: Option<String>,
    name: Option<String>,
}

impl Sent<'_> {
    fn into_message(self, index: usize, allowance: &mut Allowance) -> Result<Message, Failure> {
        let missing = |member: &str| {
            let param = format!("messages[{index}].{member}");
            Failure::bad_field(param.clone(), format!("{param} is required"))
        };
        let role = self.role.ok_or_else(|| missing("role"))?;
        let tool_call_id = match role {
            SentRole::Tool => Some(self.tool_call_id.ok_or_else(|| missing("tool_call_id"))?),
            // A legacy call has no id: its name pairs call and result.
            SentRole::Function => Some(self.name.ok_or_else(|| missing("name"))?),
            SentRole::System | SentRole::User | SentRole::Assistant => None,
        };
        let mut parts = self.content.into_parts(allowance).map_err(|why| {
            let param = format!("messages[{index}].content");
            Failure::bad_field(param.clone(), format!("{param}: {why}"))
        })?;
        let mut tool_calls = Vec::new();
        if let SentRole::Assistant = role {
            parts.extend(self.refusal.filter(|text| !text.is_empty()).map(Part::Text));
            for (place, call) in self.tool_calls.into_iter().flatten().enumerate() {
                let at = |member: &str| missing(&format!("tool_calls[{place}].{member}"));
                tool_calls.push(call.into_call(at)?);
            }
            tool_calls.extend(self.function_call.map(|call| call.with_id(str::to_owned)));
        }
        let status = Status::Completed;
        let thoughts = Vec::new();
        Ok(Message { role: role.into(), parts, thoughts, tool_calls, tool_call_id, status })
    }
}

/// A role as clients name it.
#[derive(Debug, Clone, Copy)]
enum SentRole {
    System,
    User,
    Assistant,
    Tool,
    Function,
}

impl From<SentRole> for Role {
    fn from(sent: SentRole) -> Self {
        match sent {
            SentRole::System => Self::System,
            SentRole::User => Self::User,
            SentRole::Assistant => Self::Assistant,
            SentRole::Tool | SentRole::Function => Self::Tool,
        }
    }
}

impl<'de> Deserialize<'de> for SentRole {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_str(RoleVisitor)
    }
}

struct RoleVisitor;

impl Visitor<'_> for RoleVisitor {
    type Value = SentRole;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("developer, system, user, assistant, tool or function")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<SentRole, E> {
        match name {
            "developer" | "system" => Ok(SentRole::System),
            "user" => Ok(SentRole::User),
            "assistant" => Ok(SentRole::Assistant),
            "tool" => Ok(SentRole::Tool),
            "function" => Ok(SentRole::Function),
            other => Err(E::invalid_value(Unexpected::Str(other), &self)),
        }
    }
}

/// A tool call as sent: `function`, or `custom` with free text for its input.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct SentCall {
    id: Option<String>,
    function: Option<Function>,
    custom: Option<Custom>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Function {
    name: String,
    arguments: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Custom {
    name: String,
    input: Option<String>,
}

impl SentCall {
    fn into_call(self, missing: impl Fn(&str) -> Failure) -> Result<ToolCall, Failure> {
        let id = self.id.ok_or_else(|| missing("id"))?;
        if let Some(function) = self.function {
            return Ok(function.with_id(|_| id));
        }
        let custom = self.custom.ok_or_else(|| missing("function"))?;
        let input = Value::String(custom.input.unwrap_or_default());
        Ok(ToolCall {
            id,
            name: custom.name,
            arguments: input.to_string(),
            confirmation: Confirmation::None,
        })
    }
}

impl Function {
    /// The call; `id` makes its id from its name.
    fn with_id(self, id: impl FnOnce(&str) -> String) -> ToolCall {
        ToolCall {
            id: id(&self.name),
            name: self.name,
            arguments: self.arguments.unwrap_or_default(),
            confirmation: Confirmation::None,
        }
    }
}

/// A message's content: a text is one part, null is none.
#[derive(Debug, Default)]
struct Content<'a>(Vec<SentPart<'a>>);

impl Content<'_> {
    /// The parts in our own vocabulary. A text that says nothing is left out, so that a
    /// transcript reads the same whether a client writes it as `""`, as `null` or not at all.
    fn into_parts(self, allowance: &mut Allowance) -> Result<Vec<Part>, &'static str> {
        let mut parts = Vec::with_capacity(self.0.len());
        for part in self.0 {
            match part {
                SentPart::Text(text) if text.is_empty() => {}
                SentPart::Text(text) => parts.push(Part::Text(text)),
                SentPart::Other(other) => parts.push(allowance.attachment(other)?),
            }
        }
        Ok(parts)
    }
}

/// A part as sent. What is no text stays as it came, to be looked at within an [`Allowance`].
#[derive(Debug)]
enum SentPart<'a> {
    Text(String),
    Other(Other<'a>),
}

#[derive(Debug)]
struct Other<'a> {
    kind: String,
    text: Option<String>,
    refusal: Option<String>,
    members: Vec<(String, &'a RawValue)>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string, null or a list of parts")
    }

    fn visit_unit<E>(self) -> Result<Content<'de>, E> {
        Ok(Content::default())
    }

    fn visit_str<E>(self, text: &str) -> Result<Content<'de>, E> {
        Ok(Content(vec![SentPart::Text(text.to_owned())]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Content<'de>, A::Error> {
        let mut content = Vec::new();
        while let Some(part) = parts.next_element()? {
            content.push(part);
        }
        Ok(Content(content))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for SentPart<'a> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_map(PartVisitor)
    }
}

/// The members of a part that are looked into here.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum PartMember {
    Type,
    Text,
    Refusal,
    Other(String),
}

struct PartVisitor;

impl<'de> Visitor<'de> for PartVisitor {
    type Value = SentPart<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a part (an object with a type)")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut part: A) -> Result<SentPart<'de>, A::Error> {
        let (mut kind, mut text, mut refusal) = (None::<String>, None, None);
        let mut members = Vec::new();
        while let Some(member) = part.next_key()? {
            match member {
                PartMember::Type => kind = part.next_value()?,
                PartMember::Text => text = part.next_value()?,
                PartMember::Refusal => refusal = part.next_value()?,
                PartMember::Other(name) => members.push((name, part.next_value::<&RawValue>()?)),
            }
        }
        let kind = kind.ok_or_else(|| A::Error::missing_field("type"))?;
        match kind.as_str() {
            "text" | "input_text" | "output_text" => {
                text.map(SentPart::Text).ok_or_else(|| A::Error::missing_field("text"))
            }
            "refusal" => {
                refusal.map(SentPart::Text).ok_or_else(|| A::Error::missing_field("refusal"))
            }
            _ => Ok(SentPart::Other(Other { kind, text, refusal, members })),
        }
    }
}

/// What the attachments of one request may still add up to.
struct Allowance {
    attachments: usize,
    objects: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { attachments: MAX_ATTACHMENTS, objects: MAX_ATTACHMENT_OBJECTS }
    }
}

impl Allowance {
    fn attachment(&mut self, sent: Other<'_>) -> Result<Part, &'static str> {
        const TOO_MANY: &str = "the attachments are too many or too complex";
        self.attachments = self.attachments.checked_sub(1).ok_or(TOO_MANY)?;
        let texts =
            [("type", Some(sent.kind.clone())), ("text", sent.text), ("refusal", sent.refusal)];
        let texts =
            texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into())));
        let mut value: Map<String, Value> = texts.collect();
        for (name, raw) in sent.members {
            let objects = memchr::memchr_iter(b'{', raw.get().as_bytes()).count() + 1;
            self.objects = self.objects.checked_sub(objects).ok_or(TOO_MANY)?;
            let member = serde_json::from_str(raw.get())
                .map_err(|_| "an attachment is nested too deeply or broken")?;
            value.insert(name, member);
        }
        Ok(Part::Attachment { kind: sent.kind, value: Arc::new(Value::Object(value)) })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Messages<'a> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_seq(MessagesVisitor)
    }
}

struct MessagesVisitor;

impl<'de> Visitor<'de> for MessagesVisitor {
    type Value = Messages<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Messages<'de>, A::Error> {
        let mut messages = Vec::new();
        while let Some(message) = list.next_element()? {
            if messages.len() == MAX_MESSAGES {
                return Err(A::Error::custom("more than 10000 messages; send fewer"));
            }
            messages.push(message);
        }
        Ok(Messages(messages))
    }
}
