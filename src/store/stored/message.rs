//! Messages as they are written.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::IntoDeserializer as _;
use serde::de::value::Error as NameError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::StoreError;
use crate::turn::{
    CacheLife, CachePoint, Confirmation, Message, Part, Role, Status, Thought, ToolCall,
};

use super::{Base64, decode, encode, is_no};

#[derive(Serialize, Deserialize)]
#[serde(remote = "Role", rename_all = "snake_case")]
enum StoredRole {
    System,
    User,
    Assistant,
    Tool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Status", rename_all = "snake_case")]
enum StoredStatus {
    Completed,
    Interrupted,
    Failed,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "CacheLife", rename_all = "snake_case")]
enum StoredLife {
    FiveMinutes,
    Hour,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "CachePoint", deny_unknown_fields)]
struct StoredPoint {
    after: usize,
    #[serde(with = "StoredLife")]
    life: CacheLife,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Point(#[serde(with = "StoredPoint")] CachePoint);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Confirmation", rename_all = "snake_case")]
pub(super) enum StoredConfirmation {
    None,
    Decision,
    DecisionAndResult,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum StoredPart<'a> {
    Text(Cow<'a, str>),
    Attachment { kind: Cow<'a, str>, value: Cow<'a, Value> },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum StoredThought<'a> {
    Text {
        text: Cow<'a, str>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<Cow<'a, str>>,
    },
    Redacted(Base64<'a>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredCall<'a> {
    id: Cow<'a, str>,
    name: Cow<'a, str>,
    arguments: Cow<'a, str>,
    #[serde(default, with = "StoredConfirmation", skip_serializing_if = "is_no")]
    confirmation: Confirmation,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredMessage<'a> {
    #[serde(with = "StoredRole")]
    role: Role,
    #[serde(default, with = "StoredStatus", skip_serializing_if = "is_no")]
    status: Status,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<StoredPart<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    thoughts: Vec<StoredThought<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<StoredCall<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cache_points: Vec<Point>,
}

impl<'a> From<&'a Thought> for StoredThought<'a> {
    fn from(thought: &'a Thought) -> Self {
        match thought {
            Thought::Text { text, signature } => {
                Self::Text { text: text.into(), signature: signature.as_deref().map(Cow::Borrowed) }
            }
            Thought::Redacted(bytes) => Self::Redacted(Base64(Cow::Borrowed(bytes))),
        }
    }
}

impl From<StoredThought<'_>> for Thought {
    fn from(stored: StoredThought<'_>) -> Self {
        match stored {
            StoredThought::Text { text, signature } => {
                Self::Text { text: text.into_owned(), signature: signature.map(Cow::into_owned) }
            }
            StoredThought::Redacted(bytes) => Self::Redacted(Bytes::from(bytes.0.into_owned())),
        }
    }
}

impl<'a> From<&'a ToolCall> for StoredCall<'a> {
    fn from(call: &'a ToolCall) -> Self {
        let ToolCall { id, name, arguments, confirmation } = call;
        Self {
            id: id.into(),
            name: name.into(),
            arguments: arguments.into(),
            confirmation: *confirmation,
        }
    }
}

impl From<StoredCall<'_>> for ToolCall {
    fn from(stored: StoredCall<'_>) -> Self {
        let StoredCall { id, name, arguments, confirmation } = stored;
        Self {
            id: id.into_owned(),
            name: name.into_owned(),
            arguments: arguments.into_owned(),
            confirmation,
        }
    }
}

impl<'a> From<&'a Message> for StoredMessage<'a> {
    fn from(message: &'a Message) -> Self {
        let Message { role, parts, thoughts, tool_calls, tool_call_id, cache_points, status } =
            message;
        let part = |part: &'a Part| match part {
            Part::Text(text) => StoredPart::Text(text.into()),
            Part::Attachment { kind, value } => {
                StoredPart::Attachment { kind: kind.into(), value: Cow::Borrowed(value) }
            }
        };
        Self {
            role: *role,
            status: *status,
            parts: parts.iter().map(part).collect(),
            thoughts: thoughts.iter().map(StoredThought::from).collect(),
            tool_calls: tool_calls.iter().map(StoredCall::from).collect(),
            tool_call_id: tool_call_id.as_deref().map(Cow::Borrowed),
            cache_points: cache_points.iter().copied().map(Point).collect(),
        }
    }
}

impl From<StoredMessage<'_>> for Message {
    fn from(stored: StoredMessage<'_>) -> Self {
        let StoredMessage { role, status, parts, thoughts, tool_calls, tool_call_id, cache_points } =
            stored;
        let part = |part| match part {
            StoredPart::Text(text) => Part::Text(text.into_owned()),
            StoredPart::Attachment { kind, value } => {
                Part::Attachment { kind: kind.into_owned(), value: Arc::new(value.into_owned()) }
            }
        };
        Self {
            role,
            parts: parts.into_iter().map(part).collect(),
            thoughts: thoughts.into_iter().map(Thought::from).collect(),
            tool_calls: tool_calls.into_iter().map(ToolCall::from).collect(),
            tool_call_id: tool_call_id.map(Cow::into_owned),
            cache_points: cache_points.into_iter().map(|Point(point)| point).collect(),
            status,
        }
    }
}

/// Messages as one document.
pub(in crate::store) fn write_messages<'a>(
    messages: impl IntoIterator<Item = &'a Message>,
) -> Result<String, StoreError> {
    let stored: Vec<_> = messages.into_iter().map(StoredMessage::from).collect();
    encode("a list of messages", stored)
}

/// The messages of a document.
pub(in crate::store) fn read_messages(json: &str) -> Result<Vec<Message>, StoreError> {
    let stored: Vec<StoredMessage<'_>> = decode("a list of messages", json)?;
    Ok(stored.into_iter().map(Message::from).collect())
}

/// A message as a row of a table: what people look for in columns, the rest as a document.
#[derive(Debug)]
pub(in crate::store) struct Row<'a> {
    /// [`Role::as_str`].
    pub(in crate::store) role: Cow<'a, str>,
    /// [`Status::as_str`].
    pub(in crate::store) status: Cow<'a, str>,
    /// Its texts; nothing where it has none.
    pub(in crate::store) text: Option<Cow<'a, str>>,
    /// All of it but a text that is all that it says; nothing where that is all there is.
    pub(in crate::store) rest: Option<Cow<'a, str>>,
}

impl<'a> Row<'a> {
    /// Lays a message out.
    pub(in crate::store) fn of(message: &'a Message) -> Result<Self, StoreError> {
        let text = match message.parts.as_slice() {
            [Part::Text(text)] => Some(Cow::Borrowed(text.as_str())),
            parts if parts.iter().any(|part| matches!(part, Part::Text(_))) => {
                Some(message.plain_text().into())
            }
            _ => None,
        };
        let mut stored = StoredMessage::from(message);
        if let [StoredPart::Text(_)] = stored.parts.as_slice() {
            stored.parts.clear();
        }
        let StoredMessage { parts, thoughts, tool_calls, tool_call_id, cache_points, .. } = &stored;
        let is_plain = parts.is_empty()
            && thoughts.is_empty()
            && tool_calls.is_empty()
            && tool_call_id.is_none()
            && cache_points.is_empty();
        let rest = if is_plain { None } else { Some(encode("a message", stored)?.into()) };
        let (role, status) = (message.role.as_str().into(), message.status.as_str().into());
        Ok(Self { role, status, text, rest })
    }

    /// The message that was laid out so.
    pub(in crate::store) fn into_message(self) -> Result<Message, StoreError> {
        let Self { role, status, text, rest } = self;
        let mut message = match rest {
            Some(rest) => Message::from(decode::<StoredMessage<'_>>("a message", &rest)?),
            None => Message {
                role: StoredRole::deserialize((*role).into_deserializer()).map_err(unknown)?,
                parts: Vec::new(),
                thoughts: Vec::new(),
                tool_calls: Vec::new(),
                tool_call_id: None,
                cache_points: Vec::new(),
                status: StoredStatus::deserialize((*status).into_deserializer())
                    .map_err(unknown)?,
            },
        };
        if message.parts.is_empty() {
            message.parts.extend(text.map(|text| Part::Text(text.into_owned())));
        }
        Ok(message)
    }
}

fn unknown(error: NameError) -> StoreError {
    let said: String = error.to_string().chars().take(80).collect();
    StoreError(format!("a message cannot be read: {said}"))
}
