//! Transcripts on their whole way: OpenAI's JSON, our vocabulary, what the SDK of Bedrock is
//! given, our vocabulary again, and every format that can say them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::backend::there_and_back;
use crate::turn::{
    FinishReason, Message, Part, RequestId, Role, SessionId, Thought, TurnEvent, TurnId,
    TurnRequest,
};

use super::{Defaults, FORMATS, Head};

mod client;
mod dialects;
mod hearing;

use client::request;
use dialects::{Claudes, Converses, Dialect, OpenAis};
use hearing::{hearable, heard, sayable};

/// As Converse has it: results in the order of their calls, and at the end of an answer or of a
/// result one mark.
fn expected(request: &TurnRequest) -> Vec<Message> {
    let calls = request.messages.iter().flat_map(|message| &message.tool_calls);
    let order: HashMap<_, _> =
        calls.enumerate().map(|(nth, call)| (call.id.clone(), nth)).collect();
    let mut messages = request.messages.clone();
    for turn in messages.chunk_by_mut(|one, other| one.role == other.role) {
        turn.sort_by_key(|message| message.tool_call_id.as_ref().map(|id| order[id]));
    }
    // Instructions that stand together are one text.
    if let Some(system) = messages.first_mut().filter(|first| first.role == Role::System)
        && system.cache_points.iter().all(|point| point.after == system.parts.len())
    {
        system.parts = vec![Part::Text(system.plain_text())];
        system.cache_points.iter_mut().for_each(|point| point.after = 1);
    }
    messages
}

#[test]
fn a_transcript_survives_from_openai_to_converse_and_back() {
    for seed in 1..600 {
        let request = request(seed);
        let (messages, tools) = there_and_back(&request);
        assert_eq!(messages, expected(&request), "seed {seed}");
        assert_eq!(tools, request.tools, "seed {seed}");
    }
}

#[test]
fn a_transcript_that_came_back_survives_in_every_dialect_that_sends_transcripts() {
    let dialects: [&dyn Dialect; 3] = [&OpenAis, &Claudes, &Converses];
    for seed in 1..300 {
        let (messages, tools) = there_and_back(&request(seed));
        for dialect in dialects {
            let body = dialect.request(&messages, &tools).to_string();
            let decoded = dialect.format().decode(body.as_bytes(), &Defaults::default());
            let request = decoded.unwrap_or_else(|failure| panic!("{failure}: {body}")).request;
            let said: Vec<_> = messages.iter().map(|message| dialect.sayable(message)).collect();
            assert_eq!(request.messages, said, "{} of seed {seed}", dialect.format().name());
            assert_eq!(request.tools, tools, "{} of seed {seed}", dialect.format().name());
        }
    }
}

#[test]
fn an_answer_that_came_back_is_heard_in_every_format_as_far_as_it_can_say_it() {
    for seed in 1..150 {
        let (messages, _) = there_and_back(&request(seed));
        for message in messages.iter().filter(|message| message.role == Role::Assistant) {
            for format in FORMATS {
                let expected = hearable(message, &sayable(*format)).settled();
                assert_eq!(heard(*format, message), expected, "{} of seed {seed}", format.name());
            }
        }
    }
}

fn head() -> Head {
    Head {
        turn: TurnId::generate(),
        session: SessionId::generate(),
        request: RequestId::generate(),
        model: "m".parse().unwrap(),
        created: SystemTime::now(),
        agent: None,
        previous: None,
        is_background: false,
        echo: None,
    }
}

/// The turn that an answer came of.
fn events(message: &Message) -> Vec<TurnEvent> {
    let mut events = vec![TurnEvent::Started];
    for thought in &message.thoughts {
        if let Thought::Text { text, .. } = thought {
            events.push(TurnEvent::Reasoning(text.as_str().into()));
        }
        events.push(TurnEvent::Thought(Arc::new(thought.clone())));
    }
    events.extend(message.parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(TurnEvent::Text(text.as_str().into())),
        Part::Attachment { .. } => None,
    }));
    for (call, index) in message.tool_calls.iter().zip(0..) {
        events.push(TurnEvent::ToolCallStarted {
            index,
            id: call.id.as_str().into(),
            name: call.name.as_str().into(),
            confirmation: call.confirmation,
        });
        let delta = call.arguments.as_str().into();
        events.push(TurnEvent::ToolCallArguments { index, delta });
    }
    let has_calls = !message.tool_calls.is_empty();
    let reason = if has_calls { FinishReason::ToolCalls } else { FinishReason::Stop };
    events.push(TurnEvent::Finished(reason));
    events
}
