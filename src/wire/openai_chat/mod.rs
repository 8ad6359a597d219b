//! OpenAI Chat Completions: `POST /v1/chat/completions` and its aliases.
//!
//! After OpenAI's published API description 2.3.0, and after what its SDKs and the voice
//! platforms are seen to send and to read. Beyond it, a request may carry:
//!
//! | member | what |
//! |---|---|
//! | `session_id`, `conversation` (an id or `{"id"}`), `conversation_id`, `metadata.session_id`, `call.id`, `elevenlabs_extra_body.session_id` or `.conversation_id` | which session it is; the first of these counts |
//! | `user`, `safety_identifier`, `user_id` | who speaks; the first of these counts |
//! | `is_error: true` or `status: "error"` on a tool message | that the tool failed |
//! | `outcrop.session_attributes`, `outcrop.prompt_session_attributes` | attributes for an agent, objects of strings |
//! | `outcrop.memory_id` | the key of the agent's long-term memory |
//! | `outcrop.end_session` | whether the upstream session ends with this turn |
//! | `outcrop.turn_policy`, `outcrop.disconnect_policy` | as in the configuration |
//! | `outcrop.traces`, `outcrop.reasoning` | whether raw traces and reasoning are wanted |
//! | `outcrop.knowledge_base_configurations` | a list of objects in the service's own spelling |
//! | `outcrop.prompt_creation_configurations` | `previous_conversation_turns_to_include`, `exclude_previous_thinking_steps` |
//! | `outcrop.latency` | `standard` or `optimized` |
//! | `outcrop.guardrail_interval` | characters between two checks of a streamed answer, 1 or more |
//! | `outcrop.tool_errors` | `reprompt` or `failure`: what a tool's error means to the agent |
//! | `outcrop.file_use` | `chat` or `code_interpreter`: what the files of this turn are for |
//!
//! What stands in `outcrop` overrides the model's settings for this turn.
//!
//! Tools are functions, by `tools` or by the older `functions`, chosen by `tool_choice` or
//! `function_call`. Calls come as `tool_calls` either way.
//!
//! What becomes of the members that say how an answer is made is for the backend to say
//! (`docs/formats.md`); here they are only checked.
//!
//! Replies may carry more than OpenAI's, what is empty left out:
//!
//! | member of a whole answer | in a stream | what |
//! |---|---|---|
//! | `message.reasoning_content` | deltas of it | what the model thought on the way |
//! | `message.annotations` | one late delta | `url_citation`s, offsets in code points, end exclusive; OpenAI has them in whole answers only |
//! | `message.outcrop` | one late delta | `citations: [{text, start_index, end_index, references: [{type, location, text, metadata}]}]` and `files: [{id, filename, media_type, bytes}]`, `bytes` being the size |
//! | none | `outcrop: {filler: true}` in a delta beside its `content` | a sentence that bridges the silence before the answer, and is no part of it |
//! | `message.tool_calls[].outcrop.confirmation` | in the chunk that starts the call | `decision` or `decision_and_result`, where a person has to agree |
//! | `usage.estimated` | in the chunk with the usage | that the upstream did not tell |
//! | `usage.outcrop.collaborators` | the same | `[{name, prompt_tokens, completion_tokens}]`; `name` is null for the agent that was asked |
//!
//! `logprobs` are those of the upstream, where it tells them; in a stream they come in chunks of
//! their own, right behind their text.
//!
//! They leave out what is optional and not known here: `service_tier`, `system_fingerprint`, and
//! `usage` where nobody counted.

use std::time::UNIX_EPOCH;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::turn::{Failure, FinishReason, Message, TurnEvent};

use super::bounded::Allowance;
use super::{
    Asked, Defaults, Encoder, Endpoint, Head, Options, WireFormat, body, endpoint, openai_error,
    sse,
};

mod asked;
mod choice;
mod completion;
mod content;
mod generation;
mod logprobs;
mod messages;
mod passed_on;
mod platform;
mod stream;
#[cfg(test)]
mod tests;
mod tools;
mod usage;

/// Members that ask for what no session gives, refused whoever answers.
pub const REFUSED: &[&str] = &["audio", "modalities", "n"];

/// The format.
#[derive(Debug, Clone, Copy)]
pub struct OpenAiChat;

impl WireFormat for OpenAiChat {
    fn name(&self) -> &'static str {
        "openai-chat"
    }

    fn endpoints(&self) -> &'static [Endpoint] {
        endpoint::CHAT
    }

    fn target(&self) -> Option<&'static str> {
        Some("openai")
    }

    fn stream_type(&self) -> &'static str {
        sse::MEDIA_TYPE
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

/// A conversation as the `messages` of a request spell it; it may be empty.
///
/// # Errors
/// [`FailureKind::BadRequest`](crate::turn::FailureKind) at the message at fault.
pub(super) fn transcript(raw: &RawValue) -> Result<Vec<Message>, Failure> {
    let sent: messages::Messages<'_> = body::read_at(raw, "messages")?;
    sent.into_messages(&mut Allowance::default())
}

/// One message, spelled as in a request.
///
/// # Errors
/// [`FailureKind::BadRequest`](crate::turn::FailureKind) at the member at fault.
pub(super) fn message(body: &[u8]) -> Result<Message, Failure> {
    messages::alone(body)
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
