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
//!
//! A request carries, all but the first optional:
//!
//! | member | what |
//! |---|---|
//! | `input_text` | what the person says; may be left out where results are handed back or the session ends |
//! | `agent_id`, `agent_alias_id` | the agent, or the name of a configured model |
//! | `session_id` | which session it is |
//! | `invocation_id` and `return_control_results` | the answer to a `return_control` line: 1 to 5 of `{"functionResult"}` or `{"apiResult"}`, in the service's own spelling |
//! | `enable_trace` | whether raw traces are wanted, where they are allowed; unless told, they are |
//! | `accumulated` | whether chunks repeat all text so far |
//!
//! and beside them what a chat request has in its `outcrop` object (the table is in
//! [`openai_chat`](super::openai_chat)). Attributes need not be strings here: what is none
//! becomes its JSON text. `traces` counts before `enable_trace`.
//!
//! The completion line tells `stop_reason` and, where there are any, `usage` (with
//! `collaborators: [{name, input_tokens, output_tokens}]` where several agents worked), the
//! `citations` in the service's own spelling, and the `files` with their content in base64 and the
//! `id` by which they can be fetched again. Tool calls are shown as the service's own
//! `return_control`, reasoning in raw traces only. Calls that are no hand-over of an agent's, but
//! those of a model with tools, are left out: `stop_reason` is `tool_use` then.

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};

use crate::turn::{Failure, TurnEvent};

use super::openai_error::ErrorBody;
use super::{Asked, Asks, Defaults, Encoder, Endpoint, Head, Options, Streams, WireFormat};

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

    fn endpoints(&self) -> &'static [Endpoint] {
        &[Endpoint {
            name: "/api/agent/stream",
            paths: &["/api/agent/stream"],
            streams: Streams::Always,
            is_for_voice: false,
            asks: Asks::Turn,
        }]
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
