//! A turn as a stream of `chat.completion.chunk` frames, each with an [event id](crate::wire::sse).
//!
//! # Keep-alive
//!
//! The keep-alive is a comment line *without* the blank line that usually follows one. A blank
//! line ends an event, and the decoder of openai-python (seen in 3.52), once it has seen an
//! `id:`, takes the pair for an event with empty data and fails on it as JSON. A comment alone
//! ends nothing: it is the first line of the next frame, and decoders drop it.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use serde::Serialize;

use crate::turn::{
    Citation, CollaboratorUsage, Confirmation, Failure, FinishReason, Logprobs, OutputFile,
    TurnEvent, Usage,
};
use crate::wire::citations::cited;
use crate::wire::extras::{CallExtras, MessageExtras};
use crate::wire::openai_error::ErrorBody;
use crate::wire::sse::EventIds;
use crate::wire::{Encoder, Head, Options, json_text};

use super::logprobs::LogprobsBody;
use super::usage::UsageBody;
use super::{completion_id, created_seconds, finish_reason};

const KEEP_ALIVE: &[u8] = b": keep-alive\n";
const DELTA: &[u8] = br#"{"index":0,"delta":{"#;
const NO_FINISH: &[u8] = br#"},"logprobs":null,"finish_reason":null}"#;

/// Writes one turn; the constant parts of a frame are made once.
#[derive(Debug)]
pub(super) struct Stream {
    event_ids: EventIds,
    /// From the end of the sequence to the opening bracket of `choices`.
    opening: Vec<u8>,
    /// From the closing bracket of `choices` to the blank line.
    closing: &'static [u8],
    include_usage: bool,
    seen: Seen,
}

/// What later frames need of the events so far.
#[derive(Debug, Default)]
struct Seen {
    text: String,
    citations: Vec<Arc<Citation>>,
    files: Vec<Arc<OutputFile>>,
    usage: Option<Usage>,
    shares: Option<Arc<[CollaboratorUsage]>>,
    has_calls: bool,
    /// The call last started, as long as none of its arguments came.
    bare_call: Option<u32>,
}

impl Seen {
    fn take(&mut self, event: &TurnEvent) {
        match event {
            // The client has it before the answer, and counts from there.
            TurnEvent::Filler(text) | TurnEvent::Text(text) => self.text.push_str(text),
            TurnEvent::Citation(citation) => self.citations.push(Arc::clone(citation)),
            TurnEvent::File(file) => self.files.push(Arc::clone(file)),
            TurnEvent::Usage(usage) => self.usage = Some(*usage),
            TurnEvent::UsageByCollaborator(shares) => self.shares = Some(Arc::clone(shares)),
            TurnEvent::ToolCallStarted { index, .. } => {
                self.has_calls = true;
                self.bare_call = Some(*index);
            }
            TurnEvent::ToolCallArguments { delta, .. } if !delta.is_empty() => {
                self.bare_call = None;
            }
            TurnEvent::ToolCallArguments { .. }
            | TurnEvent::Started
            | TurnEvent::Reasoning(_)
            | TurnEvent::Thought(_)
            | TurnEvent::ReturnControl(_)
            | TurnEvent::Trace(_)
            | TurnEvent::StopSequence(_)
            | TurnEvent::Logprobs(_)
            | TurnEvent::Finished(_)
            | TurnEvent::Failed(_) => {}
        }
    }
}

/// A call as the frame that starts it shows it.
struct Started<'a> {
    index: u32,
    id: &'a str,
    name: &'a str,
    confirmation: Confirmation,
}

impl Stream {
    pub(super) fn new(head: &Head, options: Options) -> Self {
        let mut opening = BytesMut::from("\ndata: {\"id\":");
        json_text::string(&completion_id(head), &mut opening);
        opening.put_slice(br#","object":"chat.completion.chunk","created":"#);
        json_text::value(&created_seconds(head), &mut opening);
        opening.put_slice(br#","model":"#);
        json_text::string(head.model.as_str(), &mut opening);
        opening.put_slice(br#","choices":["#);
        Self {
            event_ids: EventIds::of(&head.turn),
            opening: opening.to_vec(),
            closing: if options.include_usage { b"],\"usage\":null}\n\n" } else { b"]}\n\n" },
            include_usage: options.include_usage,
            seen: Seen::default(),
        }
    }

    /// Opens a frame that goes on with the members of a delta.
    fn open_delta(&self, sequence: u64, text_bytes: usize, out: &mut BytesMut) {
        const ROOM: usize = 160;
        out.reserve(self.event_ids.len() + self.opening.len() + ROOM + text_bytes);
        self.event_ids.write(sequence, out);
        out.put_slice(&self.opening);
        out.put_slice(DELTA);
    }

    fn close_delta(&self, out: &mut BytesMut) {
        out.put_slice(NO_FINISH);
        out.put_slice(self.closing);
    }

    /// Writes a delta that is one text: `name` comes with its quotes and colon.
    fn text_delta(&self, sequence: u64, name: &[u8], text: &str, out: &mut BytesMut) {
        self.open_delta(sequence, text.len(), out);
        out.put_slice(name);
        json_text::string(text, out);
        self.close_delta(out);
    }

    /// Writes a sentence that is spoken like any other, and says that it is no part of the answer.
    fn filler(&self, sequence: u64, text: &str, out: &mut BytesMut) {
        self.open_delta(sequence, text.len(), out);
        out.put_slice(br#""content":"#);
        json_text::string(text, out);
        out.put_slice(br#","outcrop":{"filler":true}"#);
        self.close_delta(out);
    }

    /// Writes a delta that is one member of more than text; for what comes at the end only.
    fn value_delta<T: Serialize>(&self, sequence: u64, name: &[u8], value: &T, out: &mut BytesMut) {
        self.open_delta(sequence, 0, out);
        out.put_slice(name);
        json_text::value(value, out);
        self.close_delta(out);
    }

    /// Writes them without a text, which has gone out before.
    fn logprobs(&self, sequence: u64, logprobs: &Logprobs, out: &mut BytesMut) {
        self.open_delta(sequence, logprobs.weight, out);
        out.put_slice(br#"},"logprobs":"#);
        json_text::value(&LogprobsBody::of([logprobs]), out);
        out.put_slice(br#","finish_reason":null}"#);
        out.put_slice(self.closing);
    }

    fn call_started(&self, sequence: u64, call: &Started<'_>, out: &mut BytesMut) {
        self.open_delta(sequence, call.id.len() + call.name.len(), out);
        out.put_slice(br#""tool_calls":[{"index":"#);
        json_text::value(&call.index, out);
        out.put_slice(br#","id":"#);
        json_text::string(call.id, out);
        out.put_slice(br#","type":"function","function":{"name":"#);
        json_text::string(call.name, out);
        out.put_slice(br#","arguments":""}"#);
        if let Some(extras) = CallExtras::of(call.confirmation) {
            out.put_slice(br#","outcrop":"#);
            json_text::value(&extras, out);
        }
        out.put_slice(b"}]");
        self.close_delta(out);
    }

    fn call_arguments(&self, sequence: u64, index: u32, delta: &str, out: &mut BytesMut) {
        self.open_delta(sequence, delta.len(), out);
        out.put_slice(br#""tool_calls":[{"index":"#);
        json_text::value(&index, out);
        out.put_slice(br#","function":{"arguments":"#);
        json_text::string(delta, out);
        out.put_slice(b"}}]");
        self.close_delta(out);
    }

    /// Clients parse the arguments of a call, so one that got none gets an empty object.
    fn complete_call(&mut self, sequence: u64, out: &mut BytesMut) {
        if let Some(index) = self.seen.bare_call.take() {
            self.call_arguments(sequence, index, "{}", out);
        }
    }

    fn finished(&mut self, sequence: u64, reason: FinishReason, out: &mut BytesMut) {
        let before = sequence.saturating_sub(1);
        self.complete_call(before, out);
        let cited = cited(&self.seen.text, &self.seen.citations);
        if !cited.annotations.is_empty() {
            self.value_delta(before, br#""annotations":"#, &cited.annotations, out);
        }
        if let Some(extras) = MessageExtras::of(cited.citations, &self.seen.files) {
            self.value_delta(before, br#""outcrop":"#, &extras, out);
        }
        self.open_delta(before, 0, out);
        out.put_slice(br#"},"logprobs":null,"finish_reason":"#);
        json_text::string(finish_reason(Some(reason), self.seen.has_calls), out);
        out.put_u8(b'}');
        out.put_slice(self.closing);
        if let Some(usage) = self.seen.usage.filter(|_| self.include_usage) {
            self.event_ids.write(before, out);
            out.put_slice(&self.opening);
            out.put_slice(br#"],"usage":"#);
            json_text::value(&UsageBody::new(usage, self.seen.shares.as_deref()), out);
            out.put_slice(b"}\n\n");
        }
        self.event_ids.write(sequence, out);
        out.put_slice(b"\ndata: [DONE]\n\n");
    }

    fn failed(&self, sequence: u64, failure: &Failure, out: &mut BytesMut) {
        self.event_ids.write(sequence, out);
        out.put_slice(b"\ndata: ");
        json_text::value(&ErrorBody::new(failure), out);
        out.put_slice(b"\n\n");
    }
}

impl Encoder for Stream {
    fn open(&mut self, out: &mut BytesMut) {
        self.open_delta(0, 0, out);
        out.put_slice(br#""role":"assistant","content":"","refusal":null"#);
        self.close_delta(out);
    }

    fn event(&mut self, sequence: u64, event: &TurnEvent, out: &mut BytesMut) {
        match event {
            TurnEvent::Text(text) if !text.is_empty() => {
                self.text_delta(sequence, br#""content":"#, text, out);
            }
            TurnEvent::Filler(text) => self.filler(sequence, text, out),
            TurnEvent::Reasoning(text) if !text.is_empty() => {
                self.text_delta(sequence, br#""reasoning_content":"#, text, out);
            }
            TurnEvent::ToolCallStarted { index, id, name, confirmation } => {
                self.complete_call(sequence.saturating_sub(1), out);
                let (index, confirmation) = (*index, *confirmation);
                self.call_started(sequence, &Started { index, id, name, confirmation }, out);
            }
            TurnEvent::ToolCallArguments { index, delta } if !delta.is_empty() => {
                self.call_arguments(sequence, *index, delta, out);
            }
            TurnEvent::Logprobs(logprobs) => self.logprobs(sequence, logprobs, out),
            TurnEvent::Finished(reason) => self.finished(sequence, *reason, out),
            TurnEvent::Failed(failure) => self.failed(sequence, failure, out),
            // Empty pieces, and what the format has no member for or shows at the end only.
            TurnEvent::Text(_)
            | TurnEvent::Reasoning(_)
            | TurnEvent::Thought(_)
            | TurnEvent::ToolCallArguments { .. }
            | TurnEvent::Started
            | TurnEvent::ReturnControl(_)
            | TurnEvent::Citation(_)
            | TurnEvent::Trace(_)
            | TurnEvent::File(_)
            | TurnEvent::Usage(_)
            | TurnEvent::UsageByCollaborator(_)
            | TurnEvent::StopSequence(_) => {}
        }
        self.seen.take(event);
    }

    fn skip(&mut self, event: &TurnEvent) {
        self.seen.take(event);
    }

    fn keep_alive(&self) -> &'static [u8] {
        KEEP_ALIVE
    }
}
