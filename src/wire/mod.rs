//! Bytes ↔ vocabulary: one file a format, all pure, no I/O.
//!
//! A format decodes a request body into [`Asked`] and writes [`TurnEvent`]s down as bytes, as a
//! stream or whole. Nothing translates format to format. To add one, write `wire/<format>.rs`
//! with a type that is a [`WireFormat`] and list it in [`FORMATS`].

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};

use crate::turn::{Failure, ModelName, RequestId, SessionId, TurnEvent, TurnId, TurnRequest};

mod agent_fields;
mod body;
mod bounded;
pub mod caller;
mod extension;
mod json_schema;
mod json_text;
pub mod ndjson;
pub mod openai_chat;
pub mod openai_embeddings;
pub mod openai_error;
mod sieve;
#[cfg(test)]
mod tests;
mod whole;

/// Every format.
pub const FORMATS: &[&dyn WireFormat] = &[&openai_chat::OpenAiChat, &ndjson::Ndjson];

/// A dialect that clients speak.
pub trait WireFormat: Sync {
    /// Its name in logs.
    fn name(&self) -> &'static str;

    /// The `content-type` of its streams.
    fn stream_type(&self) -> &'static str;

    /// Reads a request body.
    ///
    /// # Errors
    /// [`FailureKind::BadRequest`](crate::turn::FailureKind) with the field at fault,
    /// [`FailureKind::UnsupportedParameter`](crate::turn::FailureKind) for one that cannot be
    /// honoured.
    fn decode(&self, body: &[u8], defaults: &Defaults) -> Result<Asked, Failure>;

    /// A writer for one turn as a stream.
    fn encoder(&self, head: Head, options: Options) -> Box<dyn Encoder>;

    /// A whole turn as one JSON document; `events` ends with its last event, which is not
    /// `Failed`.
    fn whole(&self, head: &Head, options: Options, events: &[TurnEvent]) -> Bytes;

    /// The JSON body of a failure that is known before the first byte.
    fn refusal(&self, failure: &Failure) -> Bytes;
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

    /// What to send when nothing was sent for a while.
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
}

impl Default for Options {
    fn default() -> Self {
        Self { include_usage: false, accumulated: true }
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
}
