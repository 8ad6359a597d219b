//! The Response object: around the items of an answer, what is known of its turn and what it
//! repeats of its request.

use std::time::SystemTime;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use crate::turn::{Failure, FailureKind, FinishReason, TurnEvent};
use crate::wire::extras::MessageExtras;
use crate::wire::{Head, Options, json_text};

use super::answer::{Answer, State};
use super::usage::UsageBody;
use super::{echo, response_id, seconds};

/// A response, but for what changes in it.
#[derive(Debug)]
pub(super) struct Sheet {
    /// From the first brace up to `created_at`.
    opening: BytesMut,
    /// What comes behind the state, with a comma at its end.
    middle: BytesMut,
    is_background: bool,
}

#[derive(Debug, Serialize)]
struct ErrorMember<'a> {
    code: &'static str,
    message: &'a str,
}

#[derive(Debug, Serialize)]
struct Incomplete {
    reason: &'static str,
}

impl Sheet {
    /// The response of this turn, and the answer that will stand in it.
    pub(super) fn of(head: &Head, options: Options) -> (Self, Answer) {
        let (mut manner, shown) = echo::read(head.echo.as_deref());
        manner.seals |= options.seals_thinking;
        let mut opening = BytesMut::from(r#"{"id":"#);
        json_text::string(&response_id(&head.turn), &mut opening);
        opening.put_slice(br#","object":"response","created_at":"#);
        json_text::value(&seconds(head.created), &mut opening);
        let mut middle = BytesMut::from(r#","background":"#);
        json_text::value(&head.is_background, &mut middle);
        middle.put_slice(br#","model":"#);
        json_text::string(head.model.as_str(), &mut middle);
        middle.put_slice(br#","previous_response_id":"#);
        json_text::value(&head.previous.as_ref().map(response_id), &mut middle);
        middle.put_u8(b',');
        middle.put_slice(shown.as_bytes());
        let sheet = Self { opening, middle, is_background: head.is_background };
        (sheet, Answer::new(&head.turn, manner))
    }

    /// Writes the response as far as it has come. When it ended is told only of what is complete.
    pub(super) fn write(&self, answer: &Answer, ended: Option<SystemTime>, out: &mut BytesMut) {
        let state = answer.state();
        out.put_slice(&self.opening);
        out.put_slice(br#","status":"#);
        json_text::string(self.status(state), out);
        if let (State::Finished(FinishReason::Stop | FinishReason::ToolCalls), Some(ended)) =
            (state, ended)
        {
            out.put_slice(br#","completed_at":"#);
            json_text::value(&seconds(ended), out);
        }
        let failure = match state {
            State::Failed(failure) => Some(failure),
            State::Waiting | State::Running | State::Finished(_) => None,
        };
        out.put_slice(br#","error":"#);
        json_text::value(&failure.map(ErrorMember::of), out);
        out.put_slice(br#","incomplete_details":"#);
        json_text::value(&incomplete(state), out);
        out.put_slice(&self.middle);
        out.put_slice(br#""output":["#);
        answer.write_items(out);
        out.put_slice(br#"],"usage":"#);
        let usage = answer.usage().filter(|_| answer.is_over());
        json_text::value(&usage.map(UsageBody::new), out);
        if let Some(extras) = MessageExtras::of(Vec::new(), answer.files()) {
            out.put_slice(br#","outcrop":"#);
            json_text::value(&extras, out);
        }
        out.put_u8(b'}');
    }

    /// Whether the response is made without its client.
    pub(super) fn is_background(&self) -> bool {
        self.is_background
    }

    fn status(&self, state: &State) -> &'static str {
        match state {
            State::Waiting if self.is_background => "queued",
            State::Waiting | State::Running => "in_progress",
            State::Finished(FinishReason::Stop | FinishReason::ToolCalls) => "completed",
            State::Finished(FinishReason::Length | FinishReason::ContentFilter) => "incomplete",
            State::Finished(FinishReason::Interrupted) => "cancelled",
            State::Failed(_) => "failed",
        }
    }
}

/// Writes a turn down as far as it has come.
pub(super) fn write(
    (head, options): (&Head, Options),
    events: &[TurnEvent],
    ended: Option<SystemTime>,
) -> Bytes {
    let (sheet, mut answer) = Sheet::of(head, options);
    events.iter().for_each(|event| answer.take(event, |_| {}));
    let mut out = BytesMut::with_capacity(1_024);
    sheet.write(&answer, ended, &mut out);
    out.freeze()
}

fn incomplete(state: &State) -> Option<Incomplete> {
    let reason = match state {
        State::Finished(FinishReason::Length) => "max_output_tokens",
        State::Finished(FinishReason::ContentFilter) => "content_filter",
        State::Waiting | State::Running | State::Finished(_) | State::Failed(_) => return None,
    };
    Some(Incomplete { reason })
}

impl<'a> ErrorMember<'a> {
    fn of(failure: &'a Failure) -> Self {
        Self { code: error_code(failure.kind), message: &failure.message }
    }
}

/// The failure in the closed set that OpenAI has for responses.
fn error_code(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::RateLimited | FailureKind::QueueFull | FailureKind::UpstreamThrottled => {
            "rate_limit_exceeded"
        }
        FailureKind::BadRequest
        | FailureKind::UnsupportedParameter
        | FailureKind::TooLarge
        | FailureKind::UpstreamRejected
        | FailureKind::ContextLengthExceeded => "invalid_prompt",
        FailureKind::UnsupportedMediaType
        | FailureKind::RequestTimeout
        | FailureKind::InvalidApiKey
        | FailureKind::ModelNotAllowed
        | FailureKind::NotAllowed
        | FailureKind::NotFound
        | FailureKind::ModelNotFound
        | FailureKind::SessionNotFound
        | FailureKind::TurnNotFound
        | FailureKind::FileNotFound
        | FailureKind::ResponseNotFound
        | FailureKind::ConversationNotFound
        | FailureKind::PreviousResponseNotFound
        | FailureKind::IdempotencyKeyReused
        | FailureKind::MethodNotAllowed
        | FailureKind::SessionBusy
        | FailureKind::UpstreamDenied
        | FailureKind::UpstreamProtocol
        | FailureKind::UpstreamDependency
        | FailureKind::UpstreamUnavailable
        | FailureKind::UpstreamTimeout
        | FailureKind::Draining
        | FailureKind::Overloaded
        | FailureKind::StoreUnavailable
        | FailureKind::Internal => "server_error",
    }
}
