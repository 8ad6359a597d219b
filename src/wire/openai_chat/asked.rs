//! The body of a chat request, but for its messages.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Unexpected, Visitor};
use serde_json::value::RawValue;

use crate::turn::request::named;
use crate::turn::{
    AgentOptions, DisconnectPolicy, Failure, FailureKind, Generation, Message, Role, SessionHints,
    SessionId, TurnPolicy, TurnRequest,
};
use crate::wire::agent_fields::{Attributes, memory_id};
use crate::wire::{Asked, Defaults, Options, body};

use super::messages::Messages;

/// `metadata` by OpenAI's rule: pairs, characters in a key, characters in a value.
const METADATA_LIMITS: (usize, usize, usize) = (16, 64, 512);
/// Characters of a text that says who speaks.
const LONGEST_SPEAKER: usize = 512;

/// Reads a chat request.
pub(super) fn decode(sent: &[u8], defaults: &Defaults) -> Result<Asked, Failure> {
    let body: Body<'_> = body::read(sent)?;
    body.refuse_what_cannot_be_honoured()?;
    let metadata = body.metadata()?;
    let hints = SessionHints { named: body.session(&metadata)?, speaker: body.speaker()? };
    let extension = body.outcrop.unwrap_or_default();
    let model = body.model.map(|name| parsed("model", &name)).transpose()?;
    let messages = match body.messages {
        Some(messages) => messages.into_messages()?,
        None => return Err(Failure::bad_field("messages", "messages is required")),
    };
    let end_session = extension.end_session.unwrap_or(false);
    check_that_something_is_asked(&messages, end_session)?;
    let request = TurnRequest {
        model,
        messages,
        hints,
        metadata,
        caller: None,
        session_attributes: extension.session_attributes.unwrap_or_default().0,
        prompt_attributes: extension.prompt_session_attributes.unwrap_or_default().0,
        memory_id: extension.memory_id.map(|id| memory_id("outcrop.memory_id", id)).transpose()?,
        end_session,
        wants_traces: extension.traces.unwrap_or(false),
        wants_reasoning: None,
        tools: Vec::new(),
        handed_back: None,
        generation: Generation::default(),
        agent: AgentOptions::default(),
        turn_policy: policy("outcrop.turn_policy", TurnPolicy::NAMES, extension.turn_policy)?,
        disconnect_policy: policy(
            "outcrop.disconnect_policy",
            DisconnectPolicy::NAMES,
            extension.disconnect_policy,
        )?,
    };
    let include_usage = body.stream_options.and_then(|options| options.include_usage);
    Ok(Asked {
        request,
        stream: body.stream.unwrap_or(defaults.stream),
        options: Options { include_usage: include_usage.unwrap_or(false), ..Options::default() },
    })
}

/// The members that are read; every other one is skipped.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Body<'a> {
    model: Option<String>,
    #[serde(borrow)]
    messages: Option<Messages<'a>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<Whole>,
    modalities: Option<Vec<String>>,
    audio: Option<IgnoredAny>,
    response_format: Option<ResponseFormat>,
    session_id: Option<String>,
    conversation: Option<Conversation>,
    conversation_id: Option<String>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    call: Option<&'a RawValue>,
    #[serde(borrow)]
    elevenlabs_extra_body: Option<&'a RawValue>,
    user: Option<String>,
    safety_identifier: Option<String>,
    user_id: Option<String>,
    outcrop: Option<Extension>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct ResponseFormat {
    r#type: Option<String>,
}

/// Our own member, `outcrop`.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "an object")]
struct Extension {
    session_attributes: Option<Attributes>,
    prompt_session_attributes: Option<Attributes>,
    memory_id: Option<String>,
    end_session: Option<bool>,
    traces: Option<bool>,
    turn_policy: Option<String>,
    disconnect_policy: Option<String>,
}

/// What voice platforms add: of the many members, those that name the conversation. A platform
/// may send any shape, so what does not fit counts as absent.
#[derive(Debug, Default, Deserialize)]
struct Platform {
    id: Option<String>,
    session_id: Option<String>,
    conversation_id: Option<String>,
}

impl Platform {
    fn read(raw: Option<&RawValue>) -> Self {
        raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }
}

impl Body<'_> {
    fn refuse_what_cannot_be_honoured(&self) -> Result<(), Failure> {
        let unsupported = |param: &'static str, message: &'static str| {
            Err(Failure::new(FailureKind::UnsupportedParameter, message).at(param))
        };
        match self.n {
            Some(Whole(n)) if n < 1 => return Err(Failure::bad_field("n", "n must be 1")),
            Some(Whole(n)) if n > 1 => {
                return unsupported("n", "n must be 1: a session gives one answer a turn");
            }
            _ => {}
        }
        let modalities = self.modalities.as_deref().unwrap_or_default();
        if modalities.iter().any(|modality| modality == "audio") {
            return unsupported("modalities", "modalities must be text: audio is not produced");
        }
        if self.audio.is_some() {
            return unsupported("audio", "audio is not produced; leave audio out");
        }
        let format = self.response_format.as_ref().and_then(|format| format.r#type.as_deref());
        if format.is_some_and(|format| format != "text") {
            let message = "response_format must be text: agents cannot be held to a schema";
            return unsupported("response_format", message);
        }
        Ok(())
    }

    /// `metadata` as strings. OpenAI's limits hold, but not for voice platforms, which put
    /// objects of their own there: these send `call` as well.
    fn metadata(&self) -> Result<BTreeMap<String, String>, Failure> {
        let Some(raw) = self.metadata else { return Ok(BTreeMap::new()) };
        let read = serde_json::from_str(raw.get());
        if self.call.is_some() {
            let Attributes(metadata) = read.unwrap_or_default();
            return Ok(metadata);
        }
        let refused = |message: String| Failure::bad_field("metadata", message);
        let Attributes(metadata) =
            read.map_err(|_| refused("metadata must be an object of valid strings".to_owned()))?;
        let (pairs, key, value) = METADATA_LIMITS;
        let fits = metadata.len() <= pairs
            && metadata.iter().all(|(k, v)| !is_longer(k, key) && !is_longer(v, value));
        if fits {
            return Ok(metadata);
        }
        Err(refused(format!(
            "metadata must be at most {pairs} pairs, keys of at most {key} and values of at most \
             {value} characters"
        )))
    }

    fn session(&self, metadata: &BTreeMap<String, String>) -> Result<Option<SessionId>, Failure> {
        let call = Platform::read(self.call);
        let extra = Platform::read(self.elevenlabs_extra_body);
        let conversation = self.conversation.as_ref().and_then(|named| named.0.as_ref());
        let ways = [
            ("session_id", self.session_id.as_ref()),
            ("conversation", conversation),
            ("conversation_id", self.conversation_id.as_ref()),
            ("metadata.session_id", metadata.get("session_id")),
            ("call.id", call.id.as_ref()),
            ("elevenlabs_extra_body.session_id", extra.session_id.as_ref()),
            ("elevenlabs_extra_body.conversation_id", extra.conversation_id.as_ref()),
        ];
        let first = ways.into_iter().find_map(|(param, id)| Some((param, id?)));
        first.map(|(param, id)| parsed(param, id)).transpose()
    }

    fn speaker(&self) -> Result<Option<String>, Failure> {
        let ways = [
            ("user", &self.user),
            ("safety_identifier", &self.safety_identifier),
            ("user_id", &self.user_id),
        ];
        for (param, speaker) in ways {
            match speaker.as_deref() {
                None | Some("") => {}
                Some(speaker) if is_longer(speaker, LONGEST_SPEAKER) => {
                    let message = format!("{param} must be at most {LONGEST_SPEAKER} characters");
                    return Err(Failure::bad_field(param, message));
                }
                Some(speaker) => return Ok(Some(speaker.to_owned())),
            }
        }
        Ok(None)
    }
}

fn is_longer(text: &str, characters: usize) -> bool {
    text.len() > characters && text.chars().count() > characters
}

fn parsed<T: std::str::FromStr<Err: fmt::Display>>(
    param: &'static str,
    text: &str,
) -> Result<T, Failure> {
    text.parse().map_err(|error| Failure::bad_field(param, format!("{param}: {error}")))
}

fn policy<P: Copy>(
    param: &'static str,
    names: &[(&'static str, P)],
    asked: Option<String>,
) -> Result<Option<P>, Failure> {
    let Some(name) = asked else { return Ok(None) };
    named(names, &name).map(Some).ok_or_else(|| {
        let known: Vec<_> = names.iter().map(|(known, _)| *known).collect();
        Failure::bad_field(param, format!("{param} must be one of {}", known.join(", ")))
    })
}

/// Refuses a request that leaves nothing to answer: no message, or a last word that is blank.
/// One that ends its session may be silent.
fn check_that_something_is_asked(messages: &[Message], end_session: bool) -> Result<(), Failure> {
    if messages.is_empty() {
        return Err(Failure::bad_field("messages", "messages must hold at least one message"));
    }
    let has_result = messages.iter().any(|message| message.role == Role::Tool);
    if has_result || end_session {
        return Ok(());
    }
    let last_user = messages.iter().rposition(|message| message.role == Role::User);
    match last_user {
        Some(index) if messages[index].is_empty() => {
            let param = format!("messages[{index}].content");
            let message = format!("{param} is blank: nothing is asked");
            Err(Failure::bad_field(param, message))
        }
        None if messages.iter().all(Message::is_empty) => {
            Err(Failure::bad_field("messages", "every message is blank: nothing is asked"))
        }
        _ => Ok(()),
    }
}

/// A whole number, which some clients write as `256.0`.
#[derive(Debug, Clone, Copy)]
struct Whole(i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(WholeVisitor)
    }
}

struct WholeVisitor;

impl Visitor<'_> for WholeVisitor {
    type Value = Whole;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a whole number")
    }

    fn visit_i64<E>(self, number: i64) -> Result<Whole, E> {
        Ok(Whole(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Whole, E> {
        Ok(Whole(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Whole, E> {
        if number.fract() != 0.0 {
            return Err(E::invalid_type(Unexpected::Float(number), &self));
        }
        // Saturates, which no use of these numbers can tell from the truth.
        Ok(Whole(number as i64))
    }
}

/// `conversation`: an id, or an object with one.
#[derive(Debug)]
struct Conversation(Option<String>);

impl<'de> Deserialize<'de> for Conversation {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(ConversationVisitor)
    }
}

struct ConversationVisitor;

impl<'de> Visitor<'de> for ConversationVisitor {
    type Value = Conversation;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string or an object with an id")
    }

    fn visit_str<E>(self, id: &str) -> Result<Conversation, E> {
        Ok(Conversation(Some(id.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Conversation, A::Error> {
        let mut id = None;
        while let Some(name) = members.next_key::<String>()? {
            if name == "id" {
                id = members.next_value()?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Conversation(id))
    }
}
