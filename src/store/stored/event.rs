//! What happened in a turn, as it is written.
//!
//! Most of it is pieces of text, and clients number them: so a piece is a JSON string and stays
//! the piece that it was, and everything else is an object of one member.
//!
//! ```text
//! [{"started":{}},"Hel","lo",{"finished":"stop"}]
//! ```

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::store::StoreError;
use crate::turn::{
    Citation, CollaboratorUsage, Confirmation, FileId, FinishReason, Logprobs, OutputFile,
    Reference, ReturnControl, Span, Trace, TurnEvent, Usage,
};

use super::failure::StoredFailure;
use super::message::{StoredConfirmation, StoredThought};
use super::{Base64, decode, encode, is_no};

/// The steps that traces are about; one that is not known any more is read as the last.
const STEPS: &[&str] = &[
    "pre_processing",
    "orchestration",
    "post_processing",
    "routing_classifier",
    "custom_orchestration",
    "guardrail",
    "failure",
    "other",
];

#[derive(Serialize, Deserialize)]
#[serde(remote = "FinishReason", rename_all = "snake_case")]
enum StoredReason {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
    Interrupted,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Usage", deny_unknown_fields)]
struct StoredUsage {
    input_tokens: u64,
    output_tokens: u64,
    #[serde(default, skip_serializing_if = "is_no")]
    cached_input_tokens: u64,
    #[serde(default, skip_serializing_if = "is_no")]
    cache_written_tokens: u64,
    #[serde(default, skip_serializing_if = "is_no")]
    reasoning_tokens: u64,
    #[serde(default, skip_serializing_if = "is_no")]
    estimated: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredShare<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    collaborator: Option<Cow<'a, str>>,
    #[serde(with = "StoredUsage")]
    usage: Usage,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredReference<'a> {
    kind: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Cow<'a, Value>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Other<'a> {
    Started {},
    Filler(Cow<'a, str>),
    Reasoning(Cow<'a, str>),
    Thought(StoredThought<'a>),
    ToolCall {
        index: u32,
        id: Cow<'a, str>,
        name: Cow<'a, str>,
        #[serde(default, with = "StoredConfirmation", skip_serializing_if = "is_no")]
        confirmation: Confirmation,
    },
    Arguments(u32, Cow<'a, str>),
    ReturnControl {
        invocation_id: Cow<'a, str>,
        inputs: Cow<'a, [Value]>,
        weight: usize,
    },
    Citation {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<Cow<'a, str>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        span: Option<(usize, usize)>,
        references: Vec<StoredReference<'a>>,
    },
    Trace {
        step: Cow<'a, str>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        collaborator: Option<Cow<'a, str>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        raw: Option<Cow<'a, Value>>,
        weight: usize,
    },
    File {
        id: Cow<'a, str>,
        name: Cow<'a, str>,
        media_type: Cow<'a, str>,
        bytes: Base64<'a>,
    },
    StopSequence(Option<Cow<'a, str>>),
    Logprobs {
        content: Cow<'a, [Value]>,
        refusal: Cow<'a, [Value]>,
        weight: usize,
    },
    Usage(#[serde(with = "StoredUsage")] Usage),
    UsageByCollaborator(Vec<StoredShare<'a>>),
    Finished(#[serde(with = "StoredReason")] FinishReason),
    Failed(StoredFailure<'a>),
}

/// An event: a piece of text, or something else.
pub(super) enum StoredEvent<'a> {
    Text(Cow<'a, str>),
    Other(Other<'a>),
}

impl Serialize for StoredEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Other(other) => other.serialize(serializer),
        }
    }
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = StoredEvent<'static>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a piece of text or an object of one member")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(StoredEvent::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(StoredEvent::Text(Cow::Owned(text)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Other::deserialize(MapAccessDeserializer::new(map)).map(StoredEvent::Other)
    }
}

impl<'de> Deserialize<'de> for StoredEvent<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EventVisitor)
    }
}

impl<'a> From<&'a TurnEvent> for StoredEvent<'a> {
    fn from(event: &'a TurnEvent) -> Self {
        let other = match event {
            TurnEvent::Text(text) => return Self::Text(Cow::Borrowed(text)),
            TurnEvent::Started => Other::Started {},
            TurnEvent::Filler(text) => Other::Filler(Cow::Borrowed(text)),
            TurnEvent::Reasoning(text) => Other::Reasoning(Cow::Borrowed(text)),
            TurnEvent::Thought(thought) => Other::Thought((&**thought).into()),
            TurnEvent::ToolCallStarted { index, id, name, confirmation } => Other::ToolCall {
                index: *index,
                id: Cow::Borrowed(id),
                name: Cow::Borrowed(name),
                confirmation: *confirmation,
            },
            TurnEvent::ToolCallArguments { index, delta } => {
                Other::Arguments(*index, Cow::Borrowed(delta))
            }
            TurnEvent::ReturnControl(handed) => {
                let ReturnControl { invocation_id, inputs, weight } = &**handed;
                Other::ReturnControl {
                    invocation_id: invocation_id.into(),
                    inputs: Cow::Borrowed(inputs),
                    weight: *weight,
                }
            }
            TurnEvent::Citation(citation) => stored_citation(citation),
            TurnEvent::Trace(trace) => {
                let Trace { step, collaborator, raw, weight } = &**trace;
                Other::Trace {
                    step: Cow::Borrowed(step),
                    collaborator: collaborator.as_deref().map(Cow::Borrowed),
                    raw: raw.as_ref().map(Cow::Borrowed),
                    weight: *weight,
                }
            }
            TurnEvent::File(file) => {
                let OutputFile { id, name, media_type, bytes } = &**file;
                Other::File {
                    id: id.as_str().into(),
                    name: name.into(),
                    media_type: media_type.into(),
                    bytes: Base64(Cow::Borrowed(bytes)),
                }
            }
            TurnEvent::StopSequence(text) => {
                Other::StopSequence(text.as_deref().map(Cow::Borrowed))
            }
            TurnEvent::Logprobs(logprobs) => stored_logprobs(logprobs),
            TurnEvent::Usage(usage) => Other::Usage(*usage),
            TurnEvent::UsageByCollaborator(shares) => {
                let share = |share: &'a CollaboratorUsage| StoredShare {
                    collaborator: share.collaborator.as_deref().map(Cow::Borrowed),
                    usage: share.usage,
                };
                Other::UsageByCollaborator(shares.iter().map(share).collect())
            }
            TurnEvent::Finished(reason) => Other::Finished(*reason),
            TurnEvent::Failed(failure) => Other::Failed(failure.into()),
        };
        Self::Other(other)
    }
}

fn stored_logprobs(logprobs: &Logprobs) -> Other<'_> {
    let Logprobs { content, refusal, weight } = logprobs;
    let (content, refusal) = (Cow::Borrowed(&**content), Cow::Borrowed(&**refusal));
    Other::Logprobs { content, refusal, weight: *weight }
}

fn stored_citation<'a>(citation: &'a Citation) -> Other<'a> {
    let Citation { text, span, references } = citation;
    let reference = |reference: &'a Reference| {
        let Reference { kind, location, text, metadata } = reference;
        StoredReference {
            kind: Cow::Borrowed(kind.as_str()),
            location: location.as_deref().map(Cow::Borrowed),
            text: text.as_deref().map(Cow::Borrowed),
            metadata: metadata.as_ref().map(Cow::Borrowed),
        }
    };
    Other::Citation {
        text: text.as_deref().map(Cow::Borrowed),
        span: span.map(|span| (span.start, span.end)),
        references: references.iter().map(reference).collect(),
    }
}

impl StoredEvent<'_> {
    pub(super) fn into_event(self) -> Result<TurnEvent, StoreError> {
        let other = match self {
            Self::Text(text) => return Ok(TurnEvent::Text(text.into())),
            Self::Other(other) => other,
        };
        Ok(match other {
            Other::Started {} => TurnEvent::Started,
            Other::Filler(text) => TurnEvent::Filler(text.into()),
            Other::Reasoning(text) => TurnEvent::Reasoning(text.into()),
            Other::Thought(thought) => TurnEvent::Thought(Arc::new(thought.into())),
            Other::StopSequence(text) => TurnEvent::StopSequence(text.map(Into::into)),
            Other::Logprobs { content, refusal, weight } => {
                let (content, refusal) = (content.into_owned(), refusal.into_owned());
                TurnEvent::Logprobs(Arc::new(Logprobs { content, refusal, weight }))
            }
            Other::ToolCall { index, id, name, confirmation } => {
                TurnEvent::ToolCallStarted { index, id: id.into(), name: name.into(), confirmation }
            }
            Other::Arguments(index, delta) => {
                TurnEvent::ToolCallArguments { index, delta: delta.into() }
            }
            Other::ReturnControl { invocation_id, inputs, weight } => {
                TurnEvent::ReturnControl(Arc::new(ReturnControl {
                    invocation_id: invocation_id.into_owned(),
                    inputs: inputs.into_owned(),
                    weight,
                }))
            }
            Other::Citation { text, span, references } => {
                let span = span.map(|(start, end)| Span { start, end });
                let references = references.into_iter().map(Reference::from).collect();
                let text = text.map(Cow::into_owned);
                TurnEvent::Citation(Arc::new(Citation { text, span, references }))
            }
            Other::Trace { step, collaborator, raw, weight } => {
                let known = STEPS.iter().find(|known| **known == step);
                TurnEvent::Trace(Arc::new(Trace {
                    step: known.copied().unwrap_or("other"),
                    collaborator: collaborator.map(Cow::into_owned),
                    raw: raw.map(Cow::into_owned),
                    weight,
                }))
            }
            Other::File { id, name, media_type, bytes } => {
                TurnEvent::File(Arc::new(read_file((id, name, media_type), bytes)?))
            }
            Other::Usage(usage) => TurnEvent::Usage(usage),
            Other::UsageByCollaborator(shares) => {
                TurnEvent::UsageByCollaborator(shares.into_iter().map(Into::into).collect())
            }
            Other::Finished(reason) => TurnEvent::Finished(reason),
            Other::Failed(failure) => TurnEvent::Failed(failure.into()),
        })
    }
}

type Named<'a> = (Cow<'a, str>, Cow<'a, str>, Cow<'a, str>);

fn read_file(
    (id, name, media_type): Named<'_>,
    bytes: Base64<'_>,
) -> Result<OutputFile, StoreError> {
    let id: Result<FileId, _> = id.parse();
    Ok(OutputFile {
        id: id.map_err(|error| StoreError(format!("a file of a turn cannot be read: {error}")))?,
        name: name.into_owned(),
        media_type: media_type.into_owned(),
        bytes: Bytes::from(bytes.0.into_owned()),
    })
}

impl From<StoredReference<'_>> for Reference {
    fn from(stored: StoredReference<'_>) -> Self {
        let StoredReference { kind, location, text, metadata } = stored;
        Self {
            kind: kind.into_owned(),
            location: location.map(Cow::into_owned),
            text: text.map(Cow::into_owned),
            metadata: metadata.map(Cow::into_owned),
        }
    }
}

impl From<StoredShare<'_>> for CollaboratorUsage {
    fn from(stored: StoredShare<'_>) -> Self {
        let StoredShare { collaborator, usage } = stored;
        Self { collaborator: collaborator.map(Cow::into_owned), usage }
    }
}

/// Events in a row, as one document.
pub(in crate::store) fn write_events(events: &[TurnEvent]) -> Result<String, StoreError> {
    let stored: Vec<_> = events.iter().map(StoredEvent::from).collect();
    encode("the events of a turn", stored)
}

/// The events of a document.
pub(in crate::store) fn read_events(json: &str) -> Result<Vec<TurnEvent>, StoreError> {
    let stored: Vec<StoredEvent<'_>> = decode("the events of a turn", json)?;
    stored.into_iter().map(StoredEvent::into_event).collect()
}
