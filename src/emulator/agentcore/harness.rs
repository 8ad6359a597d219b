//! `InvokeHarness`: the demo agent in the service's own loop.
//!
//! As on AWS, a call of an inline function ends the answer, and what the session keeps is
//! without it: results must come together with the tool uses that they answer, in the message
//! before. Results as JSON blocks fail in the stream, as callers of the service have found.
//!
//! A harness has one inline function of its own, `lookup`; tools that a call brings stand in its
//! place.

use std::collections::HashSet;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::emulator::course::{Dialect as _, EventStream};
use crate::emulator::demo_agent;
use crate::emulator::frames;
use crate::emulator::refusal::Refusal;
use crate::emulator::sessions::Session;

use super::runtime::tokens;
use super::script::script;
use super::wish::{Wanted, Wish, wanted};
use super::{Begun, Call, Emulated, check_session, refused};

/// The inline function that a harness has of its own.
const OWN_FUNCTION: &str = "lookup";
const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// A request body.
#[derive(Debug, Deserialize)]
struct Asked {
    messages: Vec<Message>,
    #[serde(default)]
    tools: Vec<Tool>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Vec<Block>,
}

/// A block of a message: exactly one of these.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Block {
    Text(String),
    ToolUse(ToolUse),
    ToolResult(ToolResult),
    ReasoningContent(serde::de::IgnoredAny),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUse {
    tool_use_id: String,
    name: String,
    input: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolResult {
    tool_use_id: String,
    content: Vec<Value>,
    status: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Tool {
    r#type: String,
    name: Option<String>,
    config: Option<Value>,
}

impl Message {
    fn texts(&self) -> String {
        let texts = self.content.iter().filter_map(|block| match block {
            Block::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect::<Vec<_>>().join("\n\n")
    }

    fn uses(&self) -> impl Iterator<Item = &ToolUse> {
        self.content.iter().filter_map(|block| match block {
            Block::ToolUse(used) => Some(used),
            _ => None,
        })
    }

    fn results(&self) -> impl Iterator<Item = &ToolResult> {
        self.content.iter().filter_map(|block| match block {
            Block::ToolResult(result) => Some(result),
            _ => None,
        })
    }
}

/// Takes a call into its session.
pub(super) fn begin(
    emulated: &Emulated,
    call: &Call,
    session: &mut Session,
) -> Result<Begun, Refusal> {
    check_session(&call.key, 100)?;
    let asked: Asked = serde_json::from_slice(&call.body)
        .map_err(|error| Refusal::serialization(format!("the body cannot be read: {error}")))?;
    let (earlier, last) = check(&asked)?;
    let text = last.texts();
    let wish = Wish::of(&text, &emulated.behaviour)?;
    refused(wish.behaviour.fault.as_ref(), session)?;
    if session.memory.turns == 0 {
        let users = earlier.iter().filter(|message| message.role == "user");
        let texts = users.map(Message::texts).filter(|text| !text.is_empty());
        texts.for_each(|text| session.memory.listen(&text));
    }
    let turns = session.memory.turns as usize;
    let plan = plan(&asked, earlier, last, &wish, session);
    session.turns = session.turns.saturating_add(1);
    let input_tokens = 20 * turns + tokens(&text);
    let events = events(&plan, &wish, session.calls, input_tokens);
    let script = script(events, &wish.behaviour, |name| EventStream.exception(name));
    Ok(Begun { content_type: CONTENT_TYPE, script, fault: wish.behaviour.fault })
}

/// Holds the messages to what the service wants of them; gives the last apart.
fn check(asked: &Asked) -> Result<(&[Message], &Message), Refusal> {
    let Some((last, earlier)) = asked.messages.split_last() else {
        return Err(Refusal::validation("messages must have at least one member"));
    };
    let roles_fit =
        asked.messages.iter().all(|message| matches!(&*message.role, "user" | "assistant"));
    if !roles_fit || last.role != "user" {
        return Err(Refusal::validation("a role is user or assistant, and the last one user"));
    }
    let blocks = || asked.messages.iter().flat_map(|message| &message.content);
    if blocks().any(|block| matches!(block, Block::Text(text) if text.is_empty())) {
        return Err(Refusal::validation("a text has at least one character"));
    }
    let mut used: HashSet<&str> = HashSet::new();
    for message in &asked.messages {
        let answered: HashSet<&str> = message.results().map(|r| &*r.tool_use_id).collect();
        if answered != used {
            return Err(Refusal::validation(
                "the toolResult blocks of a message must answer the toolUse blocks of the turn \
                 before it, all of them and no others",
            ));
        }
        used = message.uses().map(|used| &*used.tool_use_id).collect();
        if message.uses().any(|used| !used.input.is_object() || used.name.is_empty()) {
            return Err(Refusal::validation("a toolUse has a name and an object as its input"));
        }
    }
    let inline = asked.tools.iter().filter(|tool| tool.r#type == "inline_function");
    let described = |tool: &Tool| {
        let config = tool.config.as_ref().and_then(|config| config.get("inlineFunction"));
        config.is_some_and(|config| {
            config["description"].as_str().is_some_and(|text| !text.is_empty())
                && config["inputSchema"].is_object()
        })
    };
    if !inline.into_iter().all(described) {
        return Err(Refusal::validation("an inline function has a description and an inputSchema"));
    }
    Ok((earlier, last))
}

/// What is answered.
#[derive(Debug, Default)]
struct Plan {
    text: String,
    /// Calls that the caller is to run.
    calls: Vec<Wanted>,
    /// Calls that the service runs itself.
    runs: Vec<Wanted>,
    /// Results were such as the service does not take.
    is_refused: bool,
}

fn plan(
    asked: &Asked,
    earlier: &[Message],
    last: &Message,
    wish: &Wish<'_>,
    session: &mut Session,
) -> Plan {
    let is_refused = last.results().any(|r| r.content.iter().any(|b| b.get("json").is_some()));
    let told: Vec<_> = last.results().map(|result| told(result, earlier)).collect();
    let mut plan = Plan { is_refused, ..Plan::default() };
    if !told.is_empty() && wish.text.is_empty() {
        plan.text = told.join(" ");
        return plan;
    }
    let calls = wanted(wish.text, "call:");
    let is_offered = |call: &Wanted| match &asked.tools[..] {
        [] => call.name == OWN_FUNCTION,
        tools => tools.iter().any(|tool| {
            tool.r#type == "inline_function" && tool.name.as_deref() == Some(&*call.name)
        }),
    };
    let (offered, others): (Vec<_>, Vec<_>) = calls.into_iter().partition(is_offered);
    let runs: Vec<_> = others.into_iter().chain(wanted(wish.text, "run:")).collect();
    if offered.is_empty() && runs.is_empty() {
        plan.text = demo_agent::answer(&mut session.memory, wish.text, None).text;
        return plan;
    }
    session.memory.listen(wish.text);
    if let Some(run) = runs.first().filter(|_| offered.is_empty()) {
        plan.text = format!("{} has run.", run.name);
    }
    Plan { calls: offered, runs, ..plan }
}

/// What the agent makes of a result.
fn told(result: &ToolResult, earlier: &[Message]) -> String {
    let uses = earlier.iter().rev().flat_map(Message::uses);
    let name = uses.filter(|used| used.tool_use_id == result.tool_use_id).map(|used| &*used.name);
    let name = name.into_iter().next().unwrap_or("the tool");
    let texts: Vec<_> = result.content.iter().filter_map(|block| block["text"].as_str()).collect();
    let verb = if result.status.as_deref() == Some("error") { "failed" } else { "says" };
    format!("{name} {verb}: {}", texts.join(" "))
}

fn events(plan: &Plan, wish: &Wish<'_>, number: u64, input_tokens: usize) -> Vec<Bytes> {
    let mut events = Vec::new();
    let mut send = |name: &'static str, payload: Value| {
        events.push(frames::event(name, payload.to_string()));
    };
    for (place, run) in plan.runs.iter().enumerate() {
        let id = format!("server_{number}_{place}");
        send("messageStart", json!({ "role": "assistant" }));
        call(&mut send, 0, (&id, "server_tool_use"), run);
        send("messageStop", json!({ "stopReason": "tool_use" }));
        send("messageStart", json!({ "role": "user" }));
        let start = json!({ "toolResult": { "toolUseId": id, "status": "success" } });
        send("contentBlockStart", json!({ "contentBlockIndex": 0, "start": start }));
        let delta = json!({ "toolResult": [{ "text": "ran" }] });
        send("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": delta }));
        send("contentBlockStop", json!({ "contentBlockIndex": 0 }));
        send("messageStop", json!({ "stopReason": "tool_result" }));
    }
    send("messageStart", json!({ "role": "assistant" }));
    if wish.is_aloud {
        let delta = json!({ "reasoningContent": { "text": "The user wants an answer." } });
        send("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": delta }));
        send("contentBlockStop", json!({ "contentBlockIndex": 0 }));
    }
    let index = u64::from(wish.is_aloud);
    for word in plan.text.split_inclusive(' ') {
        let delta = json!({ "text": word });
        send("contentBlockDelta", json!({ "contentBlockIndex": index, "delta": delta }));
    }
    send("contentBlockStop", json!({ "contentBlockIndex": index }));
    for (place, wanted) in (1..).zip(&plan.calls) {
        let id = format!("tooluse_{number}_{place}");
        call(&mut send, index + place, (&id, "tool_use"), wanted);
    }
    let reason = if plan.calls.is_empty() { "end_turn" } else { "tool_use" };
    send("messageStop", json!({ "stopReason": wish.ending.unwrap_or(reason) }));
    let output_tokens = tokens(&plan.text);
    let usage = json!({
        "inputTokens": input_tokens,
        "outputTokens": output_tokens,
        "totalTokens": input_tokens + output_tokens,
    });
    send("metadata", json!({ "usage": usage, "metrics": { "latencyMs": 1 } }));
    if plan.is_refused {
        return vec![frames::exception(
            "runtimeClientError",
            "content_type=<json> | unsupported type",
        )];
    }
    events
}

/// A tool use, its input in two pieces.
fn call(
    send: &mut impl FnMut(&'static str, Value),
    index: u64,
    (id, kind): (&str, &str),
    wanted: &Wanted,
) {
    let used = json!({ "toolUseId": id, "name": wanted.name, "type": kind });
    send("contentBlockStart", json!({ "contentBlockIndex": index, "start": { "toolUse": used } }));
    let input = wanted.arguments.to_string();
    let (head, tail) = input.split_at(1);
    for piece in [head, tail] {
        let delta = json!({ "toolUse": { "input": piece } });
        send("contentBlockDelta", json!({ "contentBlockIndex": index, "delta": delta }));
    }
    send("contentBlockStop", json!({ "contentBlockIndex": index }));
}
