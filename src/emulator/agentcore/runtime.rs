//! `InvokeAgentRuntime`: a container whose agent is the demo agent.
//!
//! The payload is read as agents of the starter kits read theirs: the message is in `prompt`,
//! `input` or `message`, or in the last of `messages`; what was said before may be in `history`,
//! or told at the beginning of the message.

use serde_json::Value;

use crate::emulator::demo_agent;
use crate::emulator::demo_agent::Memory;
use crate::emulator::refusal::Refusal;
use crate::emulator::sessions::Session;

use super::script::script;
use super::shapes::{self, Answer, Shape};
use super::wish::{Wish, wanted};
use super::{Begun, Call, Emulated, check_session, refused};

/// What stands before what is said now, where the message tells what was said before.
const NOW: &str = "This is what is said now:\n\n";

/// Takes a call into its session.
pub(super) fn begin(
    emulated: &Emulated,
    call: &Call,
    session: &mut Session,
) -> Result<Begun, Refusal> {
    if call.is_named {
        check_session(&call.key, 256)?;
    }
    let payload: Value = serde_json::from_slice(&call.body)
        .map_err(|error| Refusal::runtime_client(format!("400 from the runtime: {error}")))?;
    let message = message(&payload)
        .ok_or_else(|| Refusal::runtime_client("400 from the runtime: no prompt in the payload"))?;
    let (before, now) = message.rsplit_once(NOW).unwrap_or(("", message));
    let wish = Wish::of(now, &emulated.behaviour)?;
    refused(wish.behaviour.fault.as_ref(), session)?;
    if session.memory.turns == 0 {
        learn(&mut session.memory, before, &payload);
    }
    let turns = session.memory.turns as usize;
    let said = said(session, &wish);
    session.turns = session.turns.saturating_add(1);
    let calls = wanted(wish.text, "call:");
    let answer = Answer {
        thought: wish.is_aloud.then_some("The user wants an answer."),
        text: &said,
        calls: &calls,
        runs: &wanted(wish.text, "run:"),
        number: session.calls,
        ending: wish.ending,
        input_tokens: 20 * turns + tokens(wish.text),
        output_tokens: tokens(&said),
    };
    let (content_type, frames) = shapes::frames(wish.shape, &answer);
    let is_event_stream = wish.shape != Shape::Plain;
    let script = script(frames, &wish.behaviour, move |name| {
        if is_event_stream { shapes::error(name) } else { bytes::Bytes::new() }
    });
    Ok(Begun { content_type, script, fault: wish.behaviour.fault })
}

fn message(payload: &Value) -> Option<&str> {
    let named = ["prompt", "input", "message"].iter().find_map(|name| payload[*name].as_str());
    let last = payload["messages"].as_array().and_then(|messages| messages.last());
    named.or_else(|| last.and_then(|message| text(&message["content"])))
}

/// The text of a message's content, or the first of its texts.
fn text(content: &Value) -> Option<&str> {
    let parts = || content.as_array()?.iter().find_map(|part| part["text"].as_str());
    content.as_str().or_else(parts)
}

/// Takes up what was said before the session began.
fn learn(memory: &mut Memory, before: &str, payload: &Value) {
    let told = before.split("\n\n").filter_map(|line| line.strip_prefix("User: "));
    told.for_each(|text| memory.listen(text));
    let history = payload["history"].as_array().into_iter().flatten();
    let users = history.filter(|message| message["role"] == "user");
    users.filter_map(|message| text(&message["content"])).for_each(|text| memory.listen(text));
}

/// What the agent says to a message.
fn said(session: &mut Session, wish: &Wish<'_>) -> String {
    let text = wish.text;
    if text.starts_with("call:") {
        session.memory.listen(text);
        return String::new();
    }
    if let Some(run) = wanted(text, "run:").first() {
        session.memory.listen(text);
        return format!("{} has run.", run.name);
    }
    let results = results(text);
    if !results.is_empty() {
        session.memory.listen(text);
        return format!("The tools say: {}", results.join(", "));
    }
    demo_agent::answer(&mut session.memory, text, None).text
}

/// The results of tools that a message tells, a paragraph each.
fn results(text: &str) -> Vec<&str> {
    const RESULT: &str = "The result of the tool call ";
    let told = text.split("\n\n").filter_map(|paragraph| paragraph.strip_prefix(RESULT));
    told.filter_map(|told| Some(told.split_once(": ")?.1)).collect()
}

/// About as many as a model would count.
pub(super) fn tokens(text: &str) -> usize {
    text.len().div_ceil(4).max(1)
}
