//! The body of a chat request, but for its messages.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::turn::{Failure, FailureKind, Message, Role, SessionHints, SessionId, TurnRequest};
use crate::wire::agent_fields::{Attributes, Texts};
use crate::wire::bounded::{Allowance, AtMost};
use crate::wire::conversation::Conversation;
use crate::wire::extension::Extension;
use crate::wire::sieve::Sieved;
use crate::wire::whole::Whole;
use crate::wire::{Asked, Defaults, Options, agent_fields, body};

use super::generation::{Making, ResponseFormat, Stop};
use super::messages::Messages;
use super::passed_on;
use super::platform::{self, Id, Platform};
use super::tools::{Choice, Functions, Offer, Tools};

/// Entries of `modalities`; there are two to choose from.
const MAX_MODALITIES: usize = 16;
/// Characters of a text that says who speaks.
const LONGEST_SPEAKER: usize = 512;

/// Reads a chat request.
pub(super) fn decode(sent: &[u8], defaults: &Defaults) -> Result<Asked, Failure> {
    let read = |body: &[u8]| decode_whole(body, defaults);
    read(sent).or_else(|failure| platform::read_without_strange_members(sent, failure, read))
}

fn decode_whole(sent: &[u8], defaults: &Defaults) -> Result<Asked, Failure> {
    let Sieved { known: mut body, rest } = body::read::<Sieved<'_, Body<'_>>>(sent)?;
    body.refuse_what_cannot_be_honoured()?;
    let metadata = body.metadata()?;
    let named = body.session(&metadata)?;
    let hints = SessionHints { named, speaker: body.speaker()?, ..SessionHints::default() };
    let mut allowance = Allowance::default();
    let Some(messages) = body.messages.take() else {
        return Err(Failure::bad_field("messages", "messages is required"));
    };
    let messages = messages.into_messages(&mut allowance)?;
    let offer = body.offer().into_tools(&mut allowance)?;
    let mut generation = body.making().into_generation(&mut allowance)?;
    generation.tool_choice = offer.choice;
    generation.extra = passed_on::collect(rest, body.call.is_some(), &mut allowance)?;
    body.pass_speaker_on(&mut generation.extra);
    let mut request = TurnRequest {
        model: body.model.map(|name| parsed("model", &name)).transpose()?,
        messages,
        hints,
        metadata,
        tools: offer.tools,
        generation,
        ..TurnRequest::default()
    };
    if let Some(extension) = body.outcrop {
        extension.fill("outcrop.", &mut allowance, &mut request)?;
    }
    check_that_something_is_asked(&request.messages, request.end_session)?;
    let include_usage = body.stream_options.and_then(|options| options.include_usage);
    Ok(Asked {
        request,
        stream: body.stream.unwrap_or(defaults.stream),
        options: Options { include_usage: include_usage.unwrap_or(false), ..Options::default() },
    })
}

/// The members that are read; the others may be passed on.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Body<'a> {
    model: Option<String>,
    #[serde(borrow)]
    messages: Option<Messages<'a>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<Whole>,
    modalities: Option<AtMost<String, MAX_MODALITIES>>,
    audio: Option<IgnoredAny>,
    #[serde(borrow)]
    tools: Option<Tools<'a>>,
    tool_choice: Option<Choice>,
    parallel_tool_calls: Option<bool>,
    #[serde(borrow)]
    functions: Option<Functions<'a>>,
    function_call: Option<Choice>,
    max_completion_tokens: Option<Whole>,
    max_tokens: Option<Whole>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<Whole>,
    stop: Option<Stop>,
    seed: Option<Whole>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
    reasoning_effort: Option<String>,
    service_tier: Option<String>,
    #[serde(borrow)]
    response_format: Option<ResponseFormat<'a>>,
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
    #[serde(borrow)]
    outcrop: Option<Extension<'a, Texts>>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct StreamOptions {
    include_usage: Option<bool>,
}

impl<'a> Body<'a> {
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
        let mut modalities = self.modalities.iter().flat_map(|modalities| &modalities.0);
        if modalities.any(|modality| modality == "audio") {
            return unsupported("modalities", "modalities must be text: audio is not produced");
        }
        if self.audio.is_some() {
            return unsupported("audio", "audio is not produced; leave audio out");
        }
        Ok(())
    }

    fn offer(&mut self) -> Offer<'a> {
        Offer {
            tools: self.tools.take(),
            tool_choice: self.tool_choice.take(),
            functions: self.functions.take(),
            function_call: self.function_call.take(),
        }
    }

    fn making(&mut self) -> Making<'a> {
        Making {
            max_completion_tokens: self.max_completion_tokens,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            stop: self.stop.take(),
            seed: self.seed,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            parallel_tool_calls: self.parallel_tool_calls,
            reasoning_effort: self.reasoning_effort.take(),
            service_tier: self.service_tier.take(),
            response_format: self.response_format.take(),
        }
    }

    /// Who speaks is read here, and upstreams of OpenAI's dialect take it by the same names.
    fn pass_speaker_on(&self, passed: &mut Map<String, Value>) {
        let ways = [("user", &self.user), ("safety_identifier", &self.safety_identifier)];
        for (name, speaker) in ways {
            if let Some(speaker) = speaker.as_ref().filter(|speaker| !speaker.is_empty()) {
                passed.insert(name.to_owned(), Value::String(speaker.clone()));
            }
        }
    }

    /// `metadata` as strings. OpenAI's limits hold, but not for voice platforms, which put
    /// objects of their own there: these send `call` as well.
    fn metadata(&self) -> Result<BTreeMap<String, String>, Failure> {
        let Some(raw) = self.metadata else { return Ok(BTreeMap::new()) };
        if self.call.is_some() {
            let Attributes(metadata) = serde_json::from_str(raw.get()).unwrap_or_default();
            return Ok(metadata);
        }
        agent_fields::metadata(raw)
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
            ("call.id", Id::text(call.id.as_ref())),
            ("elevenlabs_extra_body.session_id", Id::text(extra.session_id.as_ref())),
            ("elevenlabs_extra_body.conversation_id", Id::text(extra.conversation_id.as_ref())),
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
