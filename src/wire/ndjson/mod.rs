//! The native agent stream: `POST /api/agent/stream`, one JSON object a line.
//!
//! ```text
//! stream = start { trace | chunk | return_control | blank } ( completion | error )
//! ```
//!
//! `done` is true on the last line only; a stream that ends without such a line was cut off.
//! `type` is always the first member, without a space after its colon, since log filters look
//! for it as text. Lines are written whole; a blank line is the keep-alive.
//!
//! Chunks repeat all text so far as `accumulated_content`, as clients of this stream expect. It
//! grows as n²: a request may switch it off (`"accumulated": false`), and beyond 256 KiB it
//! gives way to `"accumulated_truncated": true`. The completion has the whole text either way.

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};

use crate::turn::{Failure, TurnEvent};

use super::openai_error::ErrorBody;
use super::{Asked, Defaults, Encoder, Head, Options, WireFormat};

mod asked;
mod citations;
mod lines;
#[cfg(test)]
mod tests;
mod usage;

/// The format.
#[derive(Debug, Clone, Copy)]
pub struct Ndjson;

impl WireFormat for Ndjson {
    fn name(&self) -> &'static str {
        "ndjson"
    }

    fn stream_type(&self) -> &'static str {
        "application/x-ndjson; charset=utf-8"
    }

    fn decode(&self, body: &[u8], _defaults: &Defaults) -> Result<Asked, Failure> {
        asked::decode(body)
    }

    fn encoder(&self, head: Head, options: Options) -> Box<dyn Encoder> {
        Box::new(lines::Lines::new(head, options, SystemTime::now))
    }

    /// The lines of the stream, joined: the format has no other shape.
    fn whole(&self, head: &Head, options: Options, events: &[TurnEvent]) -> Bytes {
        let mut lines = lines::Lines::new(head.clone(), options, SystemTime::now);
        let mut out = BytesMut::new();
        lines.open(&mut out);
        for (sequence, event) in (1..).zip(events) {
            lines.event(sequence, event, &mut out);
        }
        out.freeze()
    }

    fn refusal(&self, failure: &Failure) -> Bytes {
        ErrorBody::with_detail(failure).to_bytes()
    }
}
