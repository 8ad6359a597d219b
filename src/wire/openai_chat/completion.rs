//! A whole turn as one `chat.completion`.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use crate::turn::{Fold, Message, TurnEvent};
use crate::wire::citations::{Annotation, cited};
use crate::wire::extras::{CallExtras, MessageExtras};
use crate::wire::{Head, json_text};

use super::logprobs::LogprobsBody;
use super::usage::UsageBody;
use super::{completion_id, created_seconds, finish_reason};

#[derive(Debug, Serialize)]
struct Completion<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [Choice<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageBody<'a>>,
}

#[derive(Debug, Serialize)]
struct Choice<'a> {
    index: u32,
    message: Answer<'a>,
    logprobs: Option<LogprobsBody<'a>>,
    finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    role: &'static str,
    content: Option<&'a str>,
    refusal: (),
    annotations: Vec<Annotation<'a>>,
    /// Absent rather than empty: clients test for presence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning_content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcrop: Option<MessageExtras<'a>>,
}

#[derive(Debug, Serialize)]
struct Call<'a> {
    id: &'a str,
    r#type: &'static str,
    function: Function<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcrop: Option<CallExtras>,
}

#[derive(Debug, Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

/// Writes the turn.
pub(super) fn write(head: &Head, events: &[TurnEvent]) -> Bytes {
    let (mut fold, mut reasoning, mut shares) = (Fold::default(), String::new(), None);
    let (mut citations, mut files, mut logprobs) = (Vec::new(), Vec::new(), Vec::new());
    for event in events {
        match event {
            TurnEvent::Reasoning(text) => reasoning.push_str(text),
            TurnEvent::Citation(citation) => citations.push(Arc::clone(citation)),
            TurnEvent::File(file) => files.push(Arc::clone(file)),
            TurnEvent::Logprobs(told) => logprobs.push(told.as_ref()),
            TurnEvent::UsageByCollaborator(told) => shares = Some(told.as_ref()),
            // An event out of place is left out; the log that it came from has checked them all.
            other => drop(fold.push(other)),
        }
    }
    let (usage, finish) = (fold.usage(), fold.finish());
    let message = fold.into_message();
    let text = message.plain_text();
    let cited = cited(&text, &citations);
    let completion = Completion {
        id: completion_id(head),
        object: "chat.completion",
        created: created_seconds(head),
        model: head.model.as_str(),
        choices: [Choice {
            index: 0,
            message: Answer {
                role: "assistant",
                content: (!text.is_empty() || message.tool_calls.is_empty()).then_some(&text),
                refusal: (),
                annotations: cited.annotations,
                tool_calls: calls(&message),
                reasoning_content: &reasoning,
                outcrop: MessageExtras::of(cited.citations, &files),
            },
            logprobs: (!logprobs.is_empty()).then(|| LogprobsBody::of(logprobs)),
            finish_reason: finish_reason(finish, !message.tool_calls.is_empty()),
        }],
        usage: usage.map(|usage| UsageBody::new(usage, shares)),
    };
    let mut out = BytesMut::with_capacity(text.len() + reasoning.len() + 768);
    json_text::value(&completion, &mut out);
    out.freeze()
}

fn calls(message: &Message) -> Vec<Call<'_>> {
    let written = message.tool_calls.iter().map(|call| Call {
        id: &call.id,
        r#type: "function",
        // Clients parse the arguments, so they are never an empty text.
        function: Function {
            name: &call.name,
            arguments: if call.arguments.is_empty() { "{}" } else { &call.arguments },
        },
        outcrop: CallExtras::of(call.confirmation),
    });
    written.collect()
}
