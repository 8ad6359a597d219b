//! Bedrock's Converse: `POST /model/{id}/converse` and `/model/{id}/converse-stream`.
//!
//! After the API model of `bedrock-runtime` (2023-09-30); so any SDK of AWS can be pointed at the
//! broker by its endpoint URL. The model's name is the id in the path: a configured name, or what
//! the broker takes directly. Signatures are not checked; a key of the broker comes as
//! `x-api-key` or as a bearer token, which SDKs send for `AWS_BEARER_TOKEN_BEDROCK`.
//!
//! A request may say beyond the API:
//!
//! | member | what |
//! |---|---|
//! | `requestMetadata.session_id` | which session it is |
//! | `requestMetadata.user_id` | who speaks |
//! | `additionalModelRequestFields.outcrop` | as in a [chat request](super::openai_chat) |
//!
//! Of `additionalModelRequestFields` are read besides: `top_k`, `thinking` or `reasoning_config`
//! (Claude's spelling) and `reasoning_effort`; the others change nothing, nor do
//! citations asked of documents. Of `additionalModelResponseFieldPaths` there is
//! `/stop_sequence`, answered where a stop text ended the answer and it is known which; other
//! paths find nothing. `guardrailConfig` and
//! `promptVariables` are refused: guardrails are set where models are configured. `serviceTier`
//! and `performanceConfig` are handed on.
//!
//! Answers have text, tool calls and thinking, and leave out citations, files and traces. After
//! `messageStop` comes `metadata` with the usage. A stream is silent while the model thinks:
//! there is nothing in this format that a client would pass over.

use std::time::SystemTime;

use bytes::Bytes;

use crate::turn::{Failure, FailureKind, FinishReason, RequestId, TurnEvent};

use super::blocks::End;
use super::{
    Asked, Asks, Defaults, Encoder, Endpoint, Head, Options, Replied, Streams, WireFormat,
    bedrock_error, bedrock_frames,
};

mod asked;
mod content;
mod reply;
mod stream;
#[cfg(test)]
mod tests;

/// The format.
#[derive(Debug, Clone, Copy)]
pub struct Converse;

impl WireFormat for Converse {
    fn name(&self) -> &'static str {
        "converse"
    }

    fn endpoints(&self) -> &'static [Endpoint] {
        &[
            Endpoint {
                name: "/model/{id}/converse",
                paths: &["/model/{}/converse"],
                streams: Streams::Never,
                is_for_voice: false,
                asks: Asks::Turn,
            },
            Endpoint {
                name: "/model/{id}/converse-stream",
                paths: &["/model/{}/converse-stream"],
                streams: Streams::Always,
                is_for_voice: false,
                asks: Asks::Turn,
            },
        ]
    }

    fn stream_type(&self) -> &'static str {
        bedrock_frames::MEDIA_TYPE
    }

    fn decode(&self, body: &[u8], defaults: &Defaults) -> Result<Asked, Failure> {
        asked::decode(body, defaults)
    }

    fn encoder(&self, head: Head, options: Options) -> Box<dyn Encoder> {
        Box::new(stream::Stream::new(head.created, options, SystemTime::now))
    }

    fn whole(&self, head: &Head, options: Options, events: &[TurnEvent]) -> Bytes {
        reply::write(events, options, reply::latency(head.created, SystemTime::now()))
    }

    fn refusal(&self, failure: &Failure) -> Bytes {
        bedrock_error::body(failure)
    }

    fn status(&self, kind: FailureKind) -> u16 {
        bedrock_error::status(kind)
    }

    fn headers(&self, request: &RequestId, reply: Replied<'_>) -> Vec<(&'static str, String)> {
        bedrock_error::headers(request, reply)
    }
}

/// The reason on the wire.
fn stop_reason(end: &End) -> &'static str {
    match end.reason {
        FinishReason::Stop if end.is_stopped => "stop_sequence",
        FinishReason::Stop | FinishReason::Interrupted => "end_turn",
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter => "content_filtered",
    }
}
