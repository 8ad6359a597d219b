//! A turn as Claude's events, over server-sent events or in frames.
//!
//! ```text
//! stream = message_start { block | ping } ( message_delta message_stop | error )
//! block  = content_block_start { content_block_delta } content_block_stop
//! ```
//!
//! An error may come within a block, which then has no end.
//! Input tokens are known at the end only, so `message_start` says 0, and `message_delta` has the
//! usage whole. Over server-sent events each event has an [id](crate::wire::sse). In frames, each
//! is the payload of a `chunk`, the last one with the metrics that Bedrock adds, and an error is
//! an exception.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};
use serde::Serialize;

use crate::turn::{Failure, FinishReason, TurnEvent, Usage};
use crate::wire::blocks::{Blocks, Opening, Piece, Step};
use crate::wire::sse::EventIds;
use crate::wire::{Encoder, Head, bedrock_frames, json_text};

use super::message::UsageBody;
use super::{error, message_id, stop_reason};

const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

static PING_FRAME: LazyLock<BytesMut> = LazyLock::new(|| {
    let mut out = BytesMut::new();
    bedrock_frames::chunk(br#"{"type":"ping"}"#, &mut out);
    out
});

/// How events travel.
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
pub(super) struct Events {
    framing: Framing,
    id: String,
    model: String,
    blocks: Blocks,
    /// The event that is being made, where it is not written in place.
    scratch: BytesMut,
    clock: Clock,
}

/// How long things took, for the metrics that Bedrock adds.
#[derive(Debug)]
struct Clock {
    began: SystemTime,
    now: fn() -> SystemTime,
    first: Option<Duration>,
}

impl Clock {
    fn elapsed(&self) -> Duration {
        (self.now)().duration_since(self.began).unwrap_or_default()
    }
}

/// What Bedrock adds to the last event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InvocationMetrics {
    input_token_count: u64,
    output_token_count: u64,
    invocation_latency: u128,
    first_byte_latency: u128,
    cache_read_input_token_count: u64,
    cache_write_input_token_count: u64,
}

impl Events {
    pub(super) fn new(head: &Head, framing: Framing, now: fn() -> SystemTime) -> Self {
        Self {
            framing,
            id: message_id(head),
            model: head.model.to_string(),
            blocks: Blocks::default(),
            scratch: BytesMut::new(),
            clock: Clock { began: head.created, now, first: None },
        }
    }

    /// Writes an event of this type, whose JSON `write` makes.
    fn event(
        &mut self,
        sequence: u64,
        kind: &'static str,
        write: impl FnOnce(&mut BytesMut),
        out: &mut BytesMut,
    ) {
        match &self.framing {
            Framing::Sse(ids) => {
                ids.write(sequence, out);
                out.put_slice(b"\nevent: ");
                out.put_slice(kind.as_bytes());
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

    fn step(&mut self, sequence: u64, step: Step<'_>, out: &mut BytesMut) {
        match step {
            Step::Start(at, opening) => {
                let write = |out: &mut BytesMut| start(at, opening, out);
                self.event(sequence, "content_block_start", write, out);
            }
            Step::Grow(at, piece) => {
                let write = |out: &mut BytesMut| grow(at, piece, out);
                self.event(sequence, "content_block_delta", write, out);
            }
            Step::Stop(at) => {
                let write = |out: &mut BytesMut| {
                    out.put_slice(br#"{"type":"content_block_stop","index":"#);
                    json_text::value(&at, out);
                    out.put_u8(b'}');
                };
                self.event(sequence, "content_block_stop", write, out);
            }
        }
    }

    fn finished(&mut self, sequence: u64, reason: FinishReason, out: &mut BytesMut) {
        let usage = self.blocks.usage();
        let end = self.blocks.end(reason);
        let delta = |out: &mut BytesMut| {
            out.put_slice(br#"{"type":"message_delta","delta":{"stop_reason":"#);
            json_text::string(stop_reason(&end), out);
            out.put_slice(br#","stop_sequence":"#);
            json_text::value(&end.stop_sequence.as_deref(), out);
            out.put_slice(br#"},"usage":"#);
            json_text::value(&UsageBody::from(usage), out);
            out.put_u8(b'}');
        };
        self.event(sequence.saturating_sub(1), "message_delta", delta, out);
        let metrics = matches!(self.framing, Framing::Frames).then(|| self.metrics(usage));
        let stop = |out: &mut BytesMut| {
            out.put_slice(br#"{"type":"message_stop""#);
            if let Some(metrics) = metrics {
                out.put_slice(br#","amazon-bedrock-invocationMetrics":"#);
                json_text::value(&metrics, out);
            }
            out.put_u8(b'}');
        };
        self.event(sequence, "message_stop", stop, out);
    }

    fn metrics(&self, usage: Usage) -> InvocationMetrics {
        let elapsed = self.clock.elapsed();
        InvocationMetrics {
            input_token_count: usage.uncached_tokens(),
            output_token_count: usage.output_tokens,
            invocation_latency: elapsed.as_millis(),
            first_byte_latency: self.clock.first.unwrap_or(elapsed).as_millis(),
            cache_read_input_token_count: usage.cached_input_tokens,
            cache_write_input_token_count: usage.cache_written_tokens,
        }
    }

    fn failed(&mut self, sequence: u64, failure: &Failure, out: &mut BytesMut) {
        match self.framing {
            Framing::Sse(_) => {
                self.event(sequence, "error", |out| error::write(failure, out), out);
            }
            Framing::Frames => bedrock_frames::exception(failure, out),
        }
    }
}

impl Encoder for Events {
    fn open(&mut self, out: &mut BytesMut) {
        let (id, model) = (std::mem::take(&mut self.id), std::mem::take(&mut self.model));
        let write = |out: &mut BytesMut| {
            out.put_slice(br#"{"type":"message_start","message":{"id":"#);
            json_text::string(&id, out);
            out.put_slice(br#","type":"message","role":"assistant","model":"#);
            json_text::string(&model, out);
            out.put_slice(br#","content":[],"stop_reason":null,"stop_sequence":null,"usage":"#);
            json_text::value(&UsageBody::from(Usage::default()), out);
            out.put_slice(b"}}");
        };
        self.event(0, "message_start", write, out);
    }

    fn event(&mut self, sequence: u64, event: &TurnEvent, out: &mut BytesMut) {
        let is_last = event.is_last();
        let mut steps = self.blocks.take(event).peekable();
        while let Some(step) = steps.next() {
            if self.clock.first.is_none() {
                self.clock.first = Some(self.clock.elapsed());
            }
            let is_done = steps.peek().is_none() && !is_last;
            self.step(if is_done { sequence } else { sequence.saturating_sub(1) }, step, out);
        }
        match event {
            TurnEvent::Finished(reason) => self.finished(sequence, *reason, out),
            TurnEvent::Failed(failure) => self.failed(sequence, failure, out),
            _ => {}
        }
    }

    fn skip(&mut self, event: &TurnEvent) {
        self.blocks.take(event).for_each(drop);
    }

    fn keep_alive(&self) -> &'static [u8] {
        match self.framing {
            Framing::Sse(_) => PING,
            Framing::Frames => &PING_FRAME,
        }
    }
}

fn start(at: usize, opening: Opening<'_>, out: &mut BytesMut) {
    out.put_slice(br#"{"type":"content_block_start","index":"#);
    json_text::value(&at, out);
    out.put_slice(br#","content_block":{"type":"#);
    match opening {
        Opening::Text => out.put_slice(br#""text","text":"""#),
        Opening::Thinking => out.put_slice(br#""thinking","thinking":"","signature":"""#),
        Opening::Redacted(bytes) => {
            out.put_slice(br#""redacted_thinking","data":"#);
            json_text::string(&STANDARD.encode(bytes), out);
        }
        Opening::Call { id, name } => {
            out.put_slice(br#""tool_use","id":"#);
            json_text::string(id, out);
            out.put_slice(br#","name":"#);
            json_text::string(name, out);
            out.put_slice(br#","input":{}"#);
        }
    }
    out.put_slice(b"}}");
}

fn grow(at: usize, piece: Piece<'_>, out: &mut BytesMut) {
    let (member, text): (&[u8], _) = match piece {
        Piece::Text(text) => (br#""text_delta","text":"#, text),
        Piece::Thinking(text) => (br#""thinking_delta","thinking":"#, text),
        Piece::Signature(text) => (br#""signature_delta","signature":"#, text),
        Piece::Arguments(text) => (br#""input_json_delta","partial_json":"#, text),
    };
    out.reserve(text.len() + 160);
    out.put_slice(br#"{"type":"content_block_delta","index":"#);
    json_text::value(&at, out);
    out.put_slice(br#","delta":{"type":"#);
    out.put_slice(member);
    json_text::string(text, out);
    out.put_slice(b"}}");
}
