//! A turn as the events of `ConverseStream`.
//!
//! ```text
//! stream = messageStart { block } ( messageStop metadata | exception )
//! block  = [ contentBlockStart ] { contentBlockDelta } contentBlockStop
//! ```
//!
//! Only blocks of tool calls have a start. An exception may come within a block, which then has
//! no end.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};

use crate::turn::{FinishReason, TurnEvent};
use crate::wire::blocks::{Blocks, Opening, Piece, Step};
use crate::wire::{Encoder, Options, bedrock_frames, json_text};

use super::reply::{ModelFields, UsageBody, latency};
use super::stop_reason;

/// Writes one turn.
#[derive(Debug)]
pub(super) struct Stream {
    blocks: Blocks,
    options: Options,
    began: SystemTime,
    now: fn() -> SystemTime,
}

impl Stream {
    pub(super) fn new(began: SystemTime, options: Options, now: fn() -> SystemTime) -> Self {
        Self { blocks: Blocks::default(), options, began, now }
    }

    fn finished(&self, reason: FinishReason, out: &mut BytesMut) {
        let mut stop = BytesMut::from(r#"{"stopReason":"#);
        let end = self.blocks.end(reason);
        json_text::string(stop_reason(&end), &mut stop);
        if let Some(fields) = ModelFields::of(&end, self.options) {
            stop.put_slice(br#","additionalModelResponseFields":"#);
            json_text::value(&fields, &mut stop);
        }
        stop.put_u8(b'}');
        bedrock_frames::event("messageStop", stop.freeze(), out);
        let mut metadata = BytesMut::from(r#"{"usage":"#);
        json_text::value(&UsageBody::from(self.blocks.usage()), &mut metadata);
        metadata.put_slice(br#","metrics":"#);
        json_text::value(&latency(self.began, (self.now)()), &mut metadata);
        metadata.put_u8(b'}');
        bedrock_frames::event("metadata", metadata.freeze(), out);
    }
}

impl Encoder for Stream {
    fn open(&mut self, out: &mut BytesMut) {
        bedrock_frames::event("messageStart", Bytes::from_static(br#"{"role":"assistant"}"#), out);
    }

    fn event(&mut self, _sequence: u64, event: &TurnEvent, out: &mut BytesMut) {
        self.blocks.take(event).for_each(|step| write(step, out));
        match event {
            TurnEvent::Finished(reason) => self.finished(*reason, out),
            TurnEvent::Failed(failure) => bedrock_frames::exception(failure, out),
            _ => {}
        }
    }

    fn skip(&mut self, event: &TurnEvent) {
        self.blocks.take(event).for_each(drop);
    }

    fn keep_alive(&self) -> &'static [u8] {
        b""
    }
}

fn write(step: Step<'_>, out: &mut BytesMut) {
    match step {
        Step::Start(_, Opening::Text | Opening::Thinking) => {}
        Step::Start(at, Opening::Redacted(bytes)) => {
            let mut payload = opened(at);
            payload.put_slice(br#","delta":{"reasoningContent":{"redactedContent":"#);
            json_text::string(&STANDARD.encode(bytes), &mut payload);
            payload.put_slice(b"}}}");
            bedrock_frames::event("contentBlockDelta", payload.freeze(), out);
        }
        Step::Start(at, Opening::Call { id, name }) => {
            let mut payload = opened(at);
            payload.put_slice(br#","start":{"toolUse":{"toolUseId":"#);
            json_text::string(id, &mut payload);
            payload.put_slice(br#","name":"#);
            json_text::string(name, &mut payload);
            payload.put_slice(b"}}}");
            bedrock_frames::event("contentBlockStart", payload.freeze(), out);
        }
        Step::Grow(at, piece) => {
            let (before, text, after): (&[u8], _, &[u8]) = match piece {
                Piece::Text(text) => (br#"{"text":"#, text, b"}}"),
                Piece::Thinking(text) => (br#"{"reasoningContent":{"text":"#, text, b"}}}"),
                Piece::Signature(text) => (br#"{"reasoningContent":{"signature":"#, text, b"}}}"),
                Piece::Arguments(text) => (br#"{"toolUse":{"input":"#, text, b"}}}"),
            };
            let mut payload = opened(at);
            payload.reserve(text.len() + 64);
            payload.put_slice(br#","delta":"#);
            payload.put_slice(before);
            json_text::string(text, &mut payload);
            payload.put_slice(after);
            bedrock_frames::event("contentBlockDelta", payload.freeze(), out);
        }
        Step::Stop(at) => {
            let mut payload = opened(at);
            payload.put_u8(b'}');
            bedrock_frames::event("contentBlockStop", payload.freeze(), out);
        }
    }
}

/// The beginning of what concerns a block.
fn opened(at: usize) -> BytesMut {
    let mut payload = BytesMut::from(r#"{"contentBlockIndex":"#);
    json_text::value(&at, &mut payload);
    payload
}
