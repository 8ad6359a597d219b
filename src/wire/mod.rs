//! Bytes ↔ vocabulary: one file a format, all pure, no I/O.
//!
//! A format decodes a request body into [`Asked`] and writes [`TurnEvent`]s down as bytes, as a
//! stream or whole. Nothing translates format to format: the answer to a request in one format
//! may be written in another. To add one, write `wire/<format>.rs` with a type that is a
//! [`WireFormat`] and list it in [`FORMATS`]; its paths come with it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};

use crate::turn::{
    Failure, FailureKind, ModelName, RequestId, SessionId, TurnEvent, TurnId, TurnRequest,
};

mod agent_fields;
mod asking;
mod bedrock_error;
mod bedrock_frames;
mod blocks;
mod body;
mod bounded;
mod cache_mark;
pub mod caller;
mod citations;
pub mod claude;
mod conversation;
pub mod converse;
pub mod endpoint;
mod extension;
mod extras;
mod json_schema;
mod json_text;
mod member;
pub mod ndjson;
pub mod openai_chat;
pub mod openai_embeddings;
pub mod openai_error;
pub mod openai_responses;
#[cfg(test)]
mod round_trip;
mod said;
pub mod sessions;
mod sieve;
pub mod sse;
#[cfg(test)]
mod tests;
pub mod titan;
pub mod vapi;
mod whole;

pub use endpoint::{Asks, Endpoint, Streams};

/// Every format. Of those that share an endpoint, the first that recognises a body reads it, and
/// the last one reads what none recognises.
pub const FORMATS: &[&dyn WireFormat] = &[
    &claude::ClaudeNative,
    &titan::TitanNative,
    &openai_chat::OpenAiChat,
    &openai_responses::Responses,
    &ndjson::Ndjson,
    &claude::Anthropic,
    &converse::Converse,
    &titan::TitanInvoke,
    &claude::ClaudeInvoke,
];

/// What is spoken where nobody chose: OpenAI's chat.
pub const USUAL: &dyn WireFormat = &openai_chat::OpenAiChat;

/// The format that `target_format` names.
///
/// # Errors
/// [`FailureKind::BadRequest`] for a name that no format has.
pub fn target(name: &str) -> Result<&'static dyn WireFormat, Failure> {
    let named = FORMATS.iter().copied().find(|format| format.target() == Some(name));
    named.ok_or_else(|| {
        let known: Vec<_> = FORMATS.iter().filter_map(|format| format.target()).collect();
        let message = format!("target_format must be one of {}", known.join(", "));
        Failure::bad_field("target_format", message)
    })
}

/// A dialect that clients speak.
pub trait WireFormat: Sync {
    /// Its name in logs.
    fn name(&self) -> &'static str;

    /// Where it is spoken.
    fn endpoints(&self) -> &'static [Endpoint];

    /// Its name as `target_format`, if an answer to another format's request can be had in it.
    fn target(&self) -> Option<&'static str> {
        None
    }

    /// Whether a body looks like one of its own, at an endpoint that it shares; a glance, not a
    /// reading.
    fn recognises(&self, _body: &[u8]) -> bool {
        true
    }

    /// Whether an answer in it can hold tool calls. Where it cannot, they are left out, and a
    /// request that offers tools is refused.
    fn says_calls(&self) -> bool {
        true
    }

    /// Headers by which its clients ask for what cannot be given; a request with one of them is
    /// refused.
    fn refused_headers(&self) -> &'static [&'static str] {
        &[]
    }

    /// The `content-type` of its streams.
    fn stream_type(&self) -> &'static str;

    /// Reads a request body.
    ///
    /// # Errors
    /// [`FailureKind::BadRequest`](crate::turn::FailureKind) with the field at fault,
    /// [`FailureKind::UnsupportedParameter`](crate::turn::FailureKind) for one that cannot be
    /// honoured, [`FailureKind::PreviousResponseNotFound`](crate::turn::FailureKind) for a name of
    /// a response that none of ours can have.
    fn decode(&self, body: &[u8], defaults: &Defaults) -> Result<Asked, Failure>;

    /// A writer for one turn as a stream.
    fn encoder(&self, head: Head, options: Options) -> Box<dyn Encoder>;

    /// A whole turn as one JSON document; `events` ends with its last event, which is not
    /// `Failed`.
    fn whole(&self, head: &Head, options: Options, events: &[TurnEvent]) -> Bytes;

    /// A turn that runs without its client as a JSON document, as far as it came; `None` where the
    /// format knows no such thing.
    fn unfinished(&self, _head: &Head, _events: &[TurnEvent]) -> Option<Bytes> {
        None
    }

    /// Whether the `id:` of its frames counts frames and not events, so that a stream is resumed
    /// by [`Options::starting_after`].
    fn counts_frames(&self) -> bool {
        false
    }

    /// The JSON body of a failure that is known before the first byte.
    fn refusal(&self, failure: &Failure) -> Bytes;

    /// The HTTP status of such a failure.
    fn status(&self, kind: FailureKind) -> u16 {
        kind.status()
    }

    /// Headers that its clients look for, besides those that every reply has.
    fn headers(&self, _request: &RequestId, _reply: Replied<'_>) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

impl fmt::Debug for dyn WireFormat + '_ {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A reply whose head is written.
#[derive(Debug, Clone, Copy)]
pub enum Replied<'a> {
    /// A failure, before the first byte.
    Refusal(&'a Failure),
    /// A stream that begins.
    Stream,
    /// A whole turn, by its events.
    Whole(&'a [TurnEvent]),
}

/// Writes one turn down, event by event.
pub trait Encoder: Send + Sync {
    /// Writes what comes before the first event. Called once, unless the stream is resumed.
    fn open(&mut self, out: &mut BytesMut);

    /// Writes an event, or nothing where the format does not show it. `sequence` is its place in
    /// the turn log, counted from 1: `Started` is 1, and 0 stands for what [`open`](Self::open)
    /// writes.
    fn event(&mut self, sequence: u64, event: &TurnEvent, out: &mut BytesMut);

    /// Takes an event that the client has already seen, so that what accumulates is right when a
    /// stream is resumed. Writes nothing.
    fn skip(&mut self, event: &TurnEvent);

    /// What to send when nothing was sent for a while; empty where the format has nothing that
    /// its readers would pass over.
    fn keep_alive(&self) -> &'static [u8];
}

/// What a route presumes where the body is silent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Defaults {
    /// Whether to stream.
    pub stream: bool,
}

/// A decoded request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The turn.
    pub request: TurnRequest,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// How the answer is to be written.
    pub options: Options,
}

/// How an answer is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// OpenAI chat, `stream_options.include_usage`: a last chunk with the usage.
    pub include_usage: bool,
    /// NDJSON, `accumulated`: whether chunks repeat all text so far (grows as n²).
    pub accumulated: bool,
    /// OpenAI responses, `starting_after`: the number of the last frame that the client has.
    /// Such an encoder is given every event from the first, and writes what is new.
    pub starting_after: Option<u64>,
    /// OpenAI responses, `include` of a request that reads one: whether thinking comes with what
    /// its upstream wants back, also where the request that made it did not ask for that.
    pub seals_thinking: bool,
    /// Converse, `/stop_sequence` among `additionalModelResponseFieldPaths`: whether the answer
    /// says which text ended it.
    pub tells_stop: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            include_usage: false,
            accumulated: true,
            starting_after: None,
            seals_thinking: false,
            tells_stop: false,
        }
    }
}

/// What all parts of one answer share.
#[derive(Debug, Clone)]
pub struct Head {
    /// The turn.
    pub turn: TurnId,
    /// Its session.
    pub session: SessionId,
    /// The HTTP request that asked for it.
    pub request: RequestId,
    /// The model as the client asked for it.
    pub model: ModelName,
    /// When the turn began.
    pub created: SystemTime,
    /// The agent and its alias, where the backend has them.
    pub agent: Option<(String, String)>,
    /// The turn that it goes on from, where the client named one.
    pub previous: Option<TurnId>,
    /// Whether it runs without its client.
    pub is_background: bool,
    /// What the format keeps of the request to repeat it: see
    /// [`TurnRequest::echo`](crate::turn::TurnRequest::echo).
    pub echo: Option<Arc<str>>,
}
