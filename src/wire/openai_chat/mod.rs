//! OpenAI Chat Completions: `POST /v1/chat/completions` and its aliases.
//!
//! After OpenAI's published API description 2.3.0, and after what its SDKs and the voice
//! platforms are seen to send and to read. Beyond it, a request may carry:
//!
//! | member | what |
//! |---|---|
//! | `session_id`, `conversation` (an id or `{"id"}`), `conversation_id`, `metadata.session_id`, `call.id`, `elevenlabs_extra_body.session_id` or `.conversation_id` | which session it is; the first of these counts |
//! | `user`, `safety_identifier`, `user_id` | who speaks; the first of these counts |
//! | `outcrop.session_attributes`, `outcrop.prompt_session_attributes` | attributes for an agent |
//! | `outcrop.memory_id` | the key of the agent's long-term memory |
//! | `outcrop.end_session` | whether the upstream session ends with this turn |
//! | `outcrop.traces` | whether raw traces are wanted |
//! | `outcrop.turn_policy`, `outcrop.disconnect_policy` | as in the configuration |
//!
//! Replies may carry more than OpenAI's: `reasoning_content`, `annotations` on a late chunk of a
//! stream, and `usage.estimated`. They leave out what is optional and not known here:
//! `service_tier`, `system_fingerprint`, and `usage` where nobody counted.

use std::time::UNIX_EPOCH;

use bytes::Bytes;

use crate::turn::{Failure, FinishReason, TurnEvent};

use super::{Asked, Defaults, Encoder, Head, Options, WireFormat, openai_error};

mod asked;
mod citations;
mod completion;
mod extras;
mod messages;
mod stream;
#[cfg(test)]
mod tests;
mod usage;

pub use stream::parse_event_id;

/// Members of OpenAI's that are accepted, whatever their value, and change nothing.
pub const IGNORED: &[&str] = &[
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "moderation",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "previous_response_id",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream_options.include_obfuscation",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "verbosity",
    "web_search_options",
];

/// The format.
#[derive(Debug, Clone, Copy)]
pub struct OpenAiChat;

impl WireFormat for OpenAiChat {
    fn name(&self) -> &'static str {
        "openai-chat"
    }

    fn stream_type(&self) -> &'static str {
        "text/event-stream; charset=utf-8"
    }

    fn decode(&self, body: &[u8], defaults: &Defaults) -> Result<Asked, Failure> {
        asked::decode(body, defaults)
    }

    fn encoder(&self, head: Head, options: Options) -> Box<dyn Encoder> {
        Box::new(stream::Stream::new(&head, options))
    }

    fn whole(&self, head: &Head, _options: Options, events: &[TurnEvent]) -> Bytes {
        completion::write(head, events)
    }

    fn refusal(&self, failure: &Failure) -> Bytes {
        openai_error::body(failure)
    }
}

/// The id of the answer, the same in all its chunks.
fn completion_id(head: &Head) -> String {
    format!("chatcmpl-{}", head.turn.suffix())
}

fn created_seconds(head: &Head) -> u64 {
    head.created.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The reason on the wire. A turn that made calls always ends with `tool_calls`, since clients
/// run their tools on nothing else; an interrupted one with `stop`, since the client knows.
fn finish_reason(reason: Option<FinishReason>, has_calls: bool) -> &'static str {
    match reason {
        Some(FinishReason::Length) => "length",
        Some(FinishReason::ContentFilter) => "content_filter",
        Some(FinishReason::ToolCalls) => "tool_calls",
        Some(FinishReason::Stop) if has_calls => "tool_calls",
        Some(FinishReason::Stop | FinishReason::Interrupted) | None => "stop",
    }
}
