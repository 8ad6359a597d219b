//! A turn as Titan's stream objects, over server-sent events or in frames.

use std::time::{Duration, SystemTime};

use bytes::{BufMut, BytesMut};
use serde::Serialize;

use crate::turn::{Failure, FinishReason, TurnEvent, Usage};
use crate::wire::sse::EventIds;
use crate::wire::{Encoder, Head, bedrock_error, bedrock_frames, json_text};

use super::completion_reason;

/// How objects travel.
#[derive(Debug)]
pub(super) enum Framing {
    /// As server-sent events.
    Sse(EventIds),
    /// As `chunk`s of an event stream.
    Frames,
}

impl Framing {
    /// Server-sent events of one turn.
    pub(super) fn sse(head: &Head) -> Self {
        Self::Sse(EventIds::of(&head.turn))
    }
}

/// Writes one turn.
#[derive(Debug)]
pub(super) struct Stream {
    framing: Framing,
    usage: Usage,
    /// Whether one of the request's stop texts ended the answer.
    is_stopped: bool,
    began: SystemTime,
    now: fn() -> SystemTime,
    first: Option<Duration>,
    /// The object that is being made, where it is not written in place.
    scratch: BytesMut,
}

/// The object that ends a stream, without its text.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct End {
    index: u32,
    input_text_token_count: u64,
    total_output_text_token_count: u64,
    output_text: &'static str,
    completion_reason: &'static str,
    #[serde(rename = "amazon-bedrock-invocationMetrics")]
    metrics: Metrics,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    input_token_count: u64,
    output_token_count: u64,
    invocation_latency: u128,
    first_byte_latency: u128,
}

impl Stream {
    pub(super) fn new(framing: Framing, began: SystemTime, now: fn() -> SystemTime) -> Self {
        let (usage, scratch) = (Usage::default(), BytesMut::new());
        Self { framing, usage, is_stopped: false, began, now, first: None, scratch }
    }

    fn elapsed(&self) -> Duration {
        (self.now)().duration_since(self.began).unwrap_or_default()
    }

    fn object(&mut self, sequence: u64, write: impl FnOnce(&mut BytesMut), out: &mut BytesMut) {
        match &self.framing {
            Framing::Sse(ids) => {
                ids.write(sequence, out);
                out.put_slice(b"\ndata: ");
                write(out);
                out.put_slice(b"\n\n");
            }
            Framing::Frames => {
                self.scratch.clear();
                write(&mut self.scratch);
                bedrock_frames::chunk(&self.scratch, out);
            }
        }
    }

    fn text(&mut self, sequence: u64, text: &str, out: &mut BytesMut) {
        if self.first.is_none() {
            self.first = Some(self.elapsed());
        }
        let write = |out: &mut BytesMut| {
            out.reserve(text.len() + 160);
            out.put_slice(br#"{"index":0,"inputTextTokenCount":null,"#);
            out.put_slice(br#""totalOutputTextTokenCount":null,"outputText":"#);
            json_text::string(text, out);
            out.put_slice(br#","completionReason":null}"#);
        };
        self.object(sequence, write, out);
    }

    fn finished(&mut self, sequence: u64, reason: FinishReason, out: &mut BytesMut) {
        let elapsed = self.elapsed();
        let end = End {
            index: 0,
            input_text_token_count: self.usage.input_tokens,
            total_output_text_token_count: self.usage.output_tokens,
            output_text: "",
            completion_reason: completion_reason(reason, self.is_stopped),
            metrics: Metrics {
                input_token_count: self.usage.input_tokens,
                output_token_count: self.usage.output_tokens,
                invocation_latency: elapsed.as_millis(),
                first_byte_latency: self.first.unwrap_or(elapsed).as_millis(),
            },
        };
        self.object(sequence, |out| json_text::value(&end, out), out);
    }

    fn failed(&self, sequence: u64, failure: &Failure, out: &mut BytesMut) {
        match &self.framing {
            Framing::Sse(ids) => {
                ids.write(sequence, out);
                out.put_slice(b"\nevent: error\ndata: ");
                out.put_slice(&bedrock_error::body(failure));
                out.put_slice(b"\n\n");
            }
            Framing::Frames => bedrock_frames::exception(failure, out),
        }
    }
}

impl Encoder for Stream {
    /// Nothing: the first object has text already.
    fn open(&mut self, _out: &mut BytesMut) {}

    fn event(&mut self, sequence: u64, event: &TurnEvent, out: &mut BytesMut) {
        match event {
            TurnEvent::Text(text) if !text.is_empty() => self.text(sequence, text, out),
            TurnEvent::Finished(reason) => self.finished(sequence, *reason, out),
            TurnEvent::Failed(failure) => self.failed(sequence, failure, out),
            other => self.skip(other),
        }
    }

    fn skip(&mut self, event: &TurnEvent) {
        match event {
            TurnEvent::Usage(usage) => self.usage = *usage,
            TurnEvent::StopSequence(_) => self.is_stopped = true,
            _ => {}
        }
    }

    fn keep_alive(&self) -> &'static [u8] {
        match self.framing {
            Framing::Sse(_) => b": keep-alive\n",
            Framing::Frames => b"",
        }
    }
}
