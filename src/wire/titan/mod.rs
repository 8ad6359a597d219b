//! Titan's dialect, as Bedrock's `InvokeModel` takes it for Titan text models.
//!
//! | format | where | how it is told | streams as |
//! |---|---|---|---|
//! | [`TitanNative`] | the paths of OpenAI's chat | by `inputText` in the body | server-sent events without names |
//! | [`TitanInvoke`] | `POST /model/{id}/invoke` and its stream | by the same | event stream frames |
//!
//! After the parameters that the Bedrock user guide has for Amazon Titan text models. A request
//! has `inputText` and `textGenerationConfig` (`maxTokenCount`, `temperature`, `topP`,
//! `stopSequences`), and may say beyond it `model`, `stream`, `session_id` and `outcrop`, as in
//! a [chat request](super::openai_chat).
//!
//! `inputText` is what the user says. Written as Titan's prompts for conversations are, lines
//! that begin with `User:` and `Bot:` and a last `Bot:` with nothing behind it, it is a
//! transcript; what stands before the first of them are instructions.
//!
//! Titan knows text and nothing else. Tool calls, thinking, citations and files are left out of
//! answers in it; so a request that offers tools is refused where the answer would be Titan's,
//! and of an agent that makes calls by itself only the text is seen, with the reason `FINISH`.
//!
//! In a stream each piece of text is an object with `completionReason: null`; a last one, without
//! text, has the reason and the counts. An error in a stream is an object with `message`, under
//! the event name `error`, or an exception where there are frames.

use std::time::SystemTime;

use bytes::Bytes;

use crate::turn::{Failure, FailureKind, FinishReason, RequestId, TurnEvent};

use super::{
    Asked, Defaults, Encoder, Endpoint, Head, Options, Replied, WireFormat, bedrock_error,
    bedrock_frames, endpoint, member, sse,
};

mod asked;
mod result;
mod stream;
#[cfg(test)]
mod tests;

use stream::{Framing, Stream};

/// The member that tells a body of Titan's from others.
const INPUT: &str = "inputText";

/// Titan's bodies where OpenAI's are usual.
#[derive(Debug, Clone, Copy)]
pub struct TitanNative;

/// Titan's bodies by way of `InvokeModel`.
#[derive(Debug, Clone, Copy)]
pub struct TitanInvoke;

impl WireFormat for TitanNative {
    fn name(&self) -> &'static str {
        "titan-native"
    }

    fn endpoints(&self) -> &'static [Endpoint] {
        endpoint::CHAT
    }

    fn target(&self) -> Option<&'static str> {
        Some("bedrock_titan")
    }

    fn recognises(&self, body: &[u8]) -> bool {
        member::has(body, INPUT)
    }

    fn says_calls(&self) -> bool {
        false
    }

    fn stream_type(&self) -> &'static str {
        sse::MEDIA_TYPE
    }

    fn decode(&self, body: &[u8], defaults: &Defaults) -> Result<Asked, Failure> {
        asked::decode(body, defaults)
    }

    fn encoder(&self, head: Head, _options: Options) -> Box<dyn Encoder> {
        Box::new(Stream::new(Framing::sse(&head), head.created, SystemTime::now))
    }

    fn whole(&self, _head: &Head, _options: Options, events: &[TurnEvent]) -> Bytes {
        result::write(events)
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

impl WireFormat for TitanInvoke {
    fn name(&self) -> &'static str {
        "titan-invoke"
    }

    fn endpoints(&self) -> &'static [Endpoint] {
        endpoint::INVOKE
    }

    fn recognises(&self, body: &[u8]) -> bool {
        TitanNative.recognises(body)
    }

    fn says_calls(&self) -> bool {
        false
    }

    fn refused_headers(&self) -> &'static [&'static str] {
        endpoint::GUARDRAIL
    }

    fn stream_type(&self) -> &'static str {
        bedrock_frames::MEDIA_TYPE
    }

    fn decode(&self, body: &[u8], defaults: &Defaults) -> Result<Asked, Failure> {
        asked::decode(body, defaults)
    }

    fn encoder(&self, head: Head, _options: Options) -> Box<dyn Encoder> {
        Box::new(Stream::new(Framing::Frames, head.created, SystemTime::now))
    }

    fn whole(&self, _head: &Head, _options: Options, events: &[TurnEvent]) -> Bytes {
        result::write(events)
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

/// The reason on the wire.
fn completion_reason(reason: FinishReason, is_stopped: bool) -> &'static str {
    match reason {
        FinishReason::Stop if is_stopped => "STOP_CRITERIA_MET",
        FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Interrupted => "FINISH",
        FinishReason::Length => "LENGTH",
        FinishReason::ContentFilter => "CONTENT_FILTERED",
    }
}
