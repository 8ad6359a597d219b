//! The `messages` of a chat request.
//!
//! Strict about types, lenient about what real clients do: `content` missing or null anywhere,
//! the legacy `function` role and `function_call`.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Unexpected, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::turn::{Confirmation, Failure, Message, Part, Role, Status, ToolCall};
use crate::wire::body::{self, wrong};
use crate::wire::bounded::{Allowance, AtMost};
use crate::wire::cache_mark::CacheMark;

use super::content::{Attachments, Content};

/// Messages in one request.
const MAX_MESSAGES: usize = 10_000;
/// Tool calls in one request.
const MAX_CALLS: usize = 20_000;
/// Tool calls in one message, and results of them: as many as tools can be offered.
const MAX_CALLS_AT_ONCE: usize = 128;

/// The messages as sent.
#[derive(Debug)]
pub(super) struct Messages<'a>(Vec<Sent<'a>>);

impl Messages<'_> {
    /// The messages in our own vocabulary.
    ///
    /// # Errors
    /// [`FailureKind::BadRequest`](crate::turn::FailureKind) at the message at fault.
    pub(super) fn into_messages(self, allowance: &mut Allowance) -> Result<Vec<Message>, Failure> {
        let mut attachments = Attachments::within(allowance);
        let messages = self.0.into_iter().enumerate();
        let messages = messages.map(|(index, sent)| {
            sent.into_message(format_args!("messages[{index}]."), &mut attachments)
        });
        let messages: Vec<_> = messages.collect::<Result<_, _>>()?;
        check_results(&messages)?;
        Ok(messages)
    }
}

/// Reads a message that comes without others, as the body of a request.
///
/// # Errors
/// [`FailureKind::BadRequest`](crate::turn::FailureKind) at the member at fault.
pub(super) fn alone(body: &[u8]) -> Result<Message, Failure> {
    let sent: Sent<'_> = body::read(body)?;
    let mut allowance = Allowance::default();
    sent.into_message(format_args!(""), &mut Attachments::within(&mut allowance))
}

/// Refuses a second result of one call, and more results than calls can be made at once.
fn check_results(messages: &[Message]) -> Result<(), Failure> {
    let mut answered = HashMap::new();
    for (index, message) in messages.iter().enumerate() {
        if message.role == Role::Assistant {
            answered.clear();
        }
        let Some(call) = message.tool_call_id.as_deref() else { continue };
        if let Some(earlier) = answered.insert(call, index) {
            let why = format!("is the one of messages[{earlier}] again: a call has one result");
            return Err(wrong(format!("messages[{index}].tool_call_id"), &why));
        }
        if answered.len() > MAX_CALLS_AT_ONCE {
            let why = format!("is more than {MAX_CALLS_AT_ONCE} tool results in a row");
            return Err(wrong(format!("messages[{index}]"), &why));
        }
    }
    Ok(())
}

/// One message as sent.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Sent<'a> {
    role: Option<SentRole>,
    #[serde(borrow, default)]
    content: Content<'a>,
    refusal: Option<String>,
    tool_calls: Option<AtMost<SentCall, MAX_CALLS_AT_ONCE>>,
    function_call: Option<Function>,
    tool_call_id: Option<String>,
    name: Option<String>,
    /// As gateways take it for messages whose content is no list.
    cache_control: Option<CacheMark>,
    /// Looked at in tool messages only, as is `status`.
    #[serde(borrow)]
    is_error: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

impl Sent<'_> {
    /// `at` is what stands before the names of its members.
    fn into_message(
        self,
        at: fmt::Arguments<'_>,
        attachments: &mut Attachments<'_>,
    ) -> Result<Message, Failure> {
        let missing = |member: &str| wrong(format!("{at}{member}"), "is required");
        let role = self.role.ok_or_else(|| missing("role"))?;
        let status = match role {
            SentRole::Tool | SentRole::Function => self.result_status(at)?,
            SentRole::System | SentRole::User | SentRole::Assistant => Status::Completed,
        };
        let tool_call_id = match role {
            SentRole::Tool => Some(self.tool_call_id.ok_or_else(|| missing("tool_call_id"))?),
            // A legacy call has no id: its name pairs call and result.
            SentRole::Function => Some(self.name.ok_or_else(|| missing("name"))?),
            SentRole::System | SentRole::User | SentRole::Assistant => None,
        };
        let parts = self.content.into_parts(attachments);
        let (mut parts, cache_points) = parts.map_err(|why| wrong(format!("{at}content"), why))?;
        let mut tool_calls = Vec::new();
        if let SentRole::Assistant = role {
            parts.extend(self.refusal.filter(|text| !text.is_empty()).map(Part::Text));
            let calls = self.tool_calls.into_iter().flat_map(|calls| calls.0);
            for (place, call) in calls.enumerate() {
                let lacks = |member: &str| missing(&format!("tool_calls[{place}].{member}"));
                tool_calls.push(call.into_call(lacks)?);
            }
            tool_calls.extend(self.function_call.map(|call| call.with_id(str::to_owned)));
        }
        let (role, thoughts) = (role.into(), Vec::new());
        let mut message =
            Message { role, parts, thoughts, tool_calls, tool_call_id, cache_points, status };
        // Behind the whole message, which is of one piece for a tool and an assistant.
        let inner =
            message.cache_points.last().filter(|_| role == Role::Assistant || role == Role::Tool);
        let end = self.cache_control.map(|mark| mark.0).or(inner.map(|point| point.life));
        if role == Role::Assistant || role == Role::Tool {
            message.cache_points.clear();
        }
        if let Some(life) = end {
            message.keep_to_here(life);
        }
        Ok(message)
    }

    /// Whether the tool reports an error: `is_error`, or a `status` of `error`. OpenAI has no
    /// word for it, and the content is the tool's own.
    fn result_status(&self, at: fmt::Arguments<'_>) -> Result<Status, Failure> {
        let refused = |member: &str, why: &str| wrong(format!("{at}{member}"), why);
        let is_error = self.is_error.map(|raw| serde_json::from_str(raw.get())).transpose();
        let is_error: Option<bool> =
            is_error.map_err(|_| refused("is_error", "must be true or false"))?;
        let status = self.status.map(|raw| serde_json::from_str(raw.get())).transpose();
        let status: Option<String> = status.map_err(|_| refused("status", "must be a string"))?;
        let failed = is_error == Some(true) || status.as_deref() == Some("error");
        Ok(if failed { Status::Failed } else { Status::Completed })
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
        let mut messages: Vec<Sent<'de>> = Vec::new();
        let mut calls = 0;
        while let Some(message) = list.next_element::<Sent<'de>>()? {
            if messages.len() == MAX_MESSAGES {
                return Err(A::Error::custom("more than 10000 messages; send fewer"));
            }
            calls += message.tool_calls.as_ref().map_or(0, |calls| calls.0.len());
            if calls > MAX_CALLS {
                return Err(A::Error::custom("more than 20000 tool calls; send fewer"));
            }
            messages.push(message);
        }
        Ok(Messages(messages))
    }
}
