//! Claude's own dialect: Anthropic's Messages API, and the same bodies as Bedrock's `InvokeModel`
//! takes them for Claude.
//!
//! | format | where | how it is told | streams as |
//! |---|---|---|---|
//! | [`Anthropic`] | `POST /v1/messages` and its `/count_tokens` | by the path | server-sent events |
//! | [`ClaudeNative`] | the paths of OpenAI's chat | by `anthropic_version` in the body | the same |
//! | [`ClaudeInvoke`] | `POST /model/{id}/invoke` and its stream | by the same | event stream frames |
//!
//! After Anthropic's published API reference (version 2023-06-01), and after what its SDK for
//! Python is seen to send and to read. A request may say beyond it:
//!
//! | member | what |
//! |---|---|
//! | `session_id`, `metadata.session_id` | which session it is; the first of these counts |
//! | `metadata.user_id` | who speaks |
//! | `outcrop` | as in a [chat request](super::openai_chat) |
//!
//! `model` and `max_tokens` may be left out. `thinking` with a budget is an effort to models that
//! know no budgets: below 2048 tokens low, below 4096 medium, below 8192 high, below 16384
//! xhigh, else max. `anthropic_beta`, `container`, `context_management` and
//! `inference_geo` change nothing; tools that run on Anthropic's side, `mcp_servers` and blocks
//! that belong to either are refused.
//!
//! Answers leave out citations and files. `stop_sequence` is null where the upstream does not tell
//! which text ended an answer. An interrupted turn ends with `end_turn`, since the client knows. Thinking
//! comes as blocks, with its signature where the upstream gave one; in the next request they may
//! come back, as SDKs send them, or not: the session keeps them for the upstream.
//!
//! `count_tokens` estimates: it counts the texts, calls and tools of the request with a
//! vocabulary that is not Claude's, no attachments, and nothing of what the session holds.

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use crate::turn::{Failure, FailureKind, FinishReason, RequestId, TurnEvent};

use super::blocks::End;
use super::{
    Asked, Asks, Defaults, Encoder, Endpoint, Head, Options, Replied, Streams, WireFormat,
    bedrock_error, endpoint, json_text, member, sse,
};

mod asked;
mod content;
mod error;
mod events;
mod message;
#[cfg(test)]
mod tests;

use events::{Events, Framing};

/// The member that tells a body of Claude's from others.
const VERSION: &str = "anthropic_version";

/// Anthropic's Messages API.
#[derive(Debug, Clone, Copy)]
pub struct Anthropic;

/// Claude's bodies where OpenAI's are usual.
#[derive(Debug, Clone, Copy)]
pub struct ClaudeNative;

/// Claude's bodies by way of `InvokeModel`.
#[derive(Debug, Clone, Copy)]
pub struct ClaudeInvoke;

impl WireFormat for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn endpoints(&self) -> &'static [Endpoint] {
        &[
            Endpoint {
                name: "/v1/messages",
                paths: &["/v1/messages"],
                streams: Streams::IfAsked,
                is_for_voice: false,
                asks: Asks::Turn,
            },
            Endpoint {
                name: "/v1/messages/count_tokens",
                paths: &["/v1/messages/count_tokens"],
                streams: Streams::Never,
                is_for_voice: false,
                asks: Asks::Tokens(counted),
            },
        ]
    }

    fn stream_type(&self) -> &'static str {
        sse::MEDIA_TYPE
    }

    fn decode(&self, body: &[u8], defaults: &Defaults) -> Result<Asked, Failure> {
        asked::decode(body, defaults)
    }

    fn encoder(&self, head: Head, _options: Options) -> Box<dyn Encoder> {
        Box::new(Events::new(&head, Framing::sse(&head), SystemTime::now))
    }

    fn whole(&self, head: &Head, _options: Options, events: &[TurnEvent]) -> Bytes {
        message::write(head, events)
    }

    fn refusal(&self, failure: &Failure) -> Bytes {
        error::body(failure)
    }

    fn status(&self, kind: FailureKind) -> u16 {
        error::status(kind)
    }

    fn headers(&self, request: &RequestId, _reply: Replied<'_>) -> Vec<(&'static str, String)> {
        vec![("request-id", request.to_string())]
    }
}

impl WireFormat for ClaudeNative {
    fn name(&self) -> &'static str {
        "claude-native"
    }

    fn endpoints(&self) -> &'static [Endpoint] {
        endpoint::CHAT
    }

    fn target(&self) -> Option<&'static str> {
        Some("bedrock_claude")
    }

    fn recognises(&self, body: &[u8]) -> bool {
        member::has(body, VERSION)
    }

    fn stream_type(&self) -> &'static str {
        Anthropic.stream_type()
    }

    fn decode(&self, body: &[u8], defaults: &Defaults) -> Result<Asked, Failure> {
        Anthropic.decode(body, defaults)
    }

    fn encoder(&self, head: Head, options: Options) -> Box<dyn Encoder> {
        Anthropic.encoder(head, options)
    }

    fn whole(&self, head: &Head, options: Options, events: &[TurnEvent]) -> Bytes {
        Anthropic.whole(head, options, events)
    }

    fn refusal(&self, failure: &Failure) -> Bytes {
        Anthropic.refusal(failure)
    }

    fn status(&self, kind: FailureKind) -> u16 {
        Anthropic.status(kind)
    }

    fn headers(&self, request: &RequestId, reply: Replied<'_>) -> Vec<(&'static str, String)> {
        Anthropic.headers(request, reply)
    }
}

impl WireFormat for ClaudeInvoke {
    fn name(&self) -> &'static str {
        "claude-invoke"
    }

    fn endpoints(&self) -> &'static [Endpoint] {
        endpoint::INVOKE
    }

    fn recognises(&self, body: &[u8]) -> bool {
        ClaudeNative.recognises(body)
    }

    fn refused_headers(&self) -> &'static [&'static str] {
        endpoint::GUARDRAIL
    }

    fn stream_type(&self) -> &'static str {
        super::bedrock_frames::MEDIA_TYPE
    }

    fn decode(&self, body: &[u8], defaults: &Defaults) -> Result<Asked, Failure> {
        let asked = asked::decode(body, defaults);
        // What is wrong with a member matters only in a body of this dialect.
        let is_json = !matches!(&asked, Err(failure) if failure.param.is_none());
        if is_json && !self.recognises(body) {
            let message = "anthropic_version is required: the body is neither Claude's nor Titan's";
            return Err(Failure::bad_field(VERSION, message));
        }
        asked
    }

    fn encoder(&self, head: Head, _options: Options) -> Box<dyn Encoder> {
        Box::new(Events::new(&head, Framing::Frames, SystemTime::now))
    }

    fn whole(&self, head: &Head, _options: Options, events: &[TurnEvent]) -> Bytes {
        message::write(head, events)
    }

    fn refusal(&self, failure: &Failure) -> Bytes {
        bedrock_error::body(failure)
    }

    fn status(&self, kind: FailureKind) -> u16 {
        bedrock_error::status(kind)
    }

    fn headers(&self, request: &RequestId, reply: Replied<'_>) -> Vec<(&'static str, String)> {
        bedrock_error::invoke_headers(request, reply)
    }
}

/// The answer of `count_tokens`.
fn counted(tokens: u64) -> Bytes {
    #[derive(Debug, Serialize)]
    struct Counted {
        input_tokens: u64,
    }
    let mut out = BytesMut::new();
    json_text::value(&Counted { input_tokens: tokens }, &mut out);
    out.freeze()
}

/// The id of the answer.
fn message_id(head: &Head) -> String {
    format!("msg_{}", head.turn.suffix())
}

/// The reason on the wire.
fn stop_reason(end: &End) -> &'static str {
    match end.reason {
        FinishReason::Stop if end.is_stopped => "stop_sequence",
        FinishReason::Stop | FinishReason::Interrupted => "end_turn",
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter => "refusal",
    }
}
