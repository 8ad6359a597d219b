//! What OpenAI's clients rely on, as rules; each has a name, and says what would happen.
//!
//! The rules are those that the official SDKs for Python and Node, LangChain, Vercel's AI SDK,
//! LiveKit and Pipecat were seen to need.

use std::collections::BTreeSet;

use serde_json::Value;

use super::chunks::{ToolCall, calls, finish_reason, usage};
use super::exchange::{Body, Data, Event, Exchange};
use super::{Finding, Weight};

/// Why an answer may end.
const REASONS: [&str; 5] = ["stop", "length", "tool_calls", "content_filter", "function_call"];

/// Where findings about one exchange go.
struct Findings<'a> {
    server: &'static str,
    request: &'static str,
    all: &'a mut Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, weight: Weight, rule: &'static str, message: impl Into<String>) {
        let message = message.into();
        let (server, request) = (self.server, self.request);
        let finding = Finding { weight, server, request, rule, message };
        // One chunk of a stream is like the next.
        if !self.all.contains(&finding) {
            self.all.push(finding);
        }
    }

    /// Takes down what a client could notice, unless it is as it should be.
    fn expect(&mut self, holds: bool, rule: &'static str, message: impl Into<String>) {
        if !holds {
            self.add(Weight::Noticed, rule, message);
        }
    }
}

/// Checks an exchange by every rule.
pub(super) fn check(server: &'static str, exchange: &Exchange, all: &mut Vec<Finding>) {
    let mut findings = Findings { server, request: exchange.request, all };
    if exchange.status != 200 {
        let message = format!("the status is {}: {}", exchange.status, said(&exchange.body));
        return findings.add(Weight::Noticed, "status", message);
    }
    if let Some(why) = &exchange.broke_off {
        findings.add(Weight::Noticed, "broke-off", format!("the answer broke off: {why}"));
    }
    head(exchange, &mut findings);
    match (&exchange.body, exchange.is_streamed()) {
        (Body::Stream(events), true) => stream(exchange, events, &mut findings),
        (Body::Whole(body), false) => whole(body, &mut findings),
        (Body::Whole(_), true) => {
            findings.add(
                Weight::Noticed,
                "not-a-stream",
                "a stream was asked for, one document came",
            );
        }
        (Body::Stream(_), false) => {
            findings.add(Weight::Noticed, "not-whole", "one document was asked for, a stream came");
        }
        (Body::Other(_), _) => {
            let message =
                format!("the body is neither JSON nor a stream: {}", said(&exchange.body));
            findings.add(Weight::Noticed, "no-answer", message);
        }
    }
    tools(exchange, &mut findings);
}

/// The beginning of a body, for people.
fn said(body: &Body) -> String {
    let text = match body {
        Body::Whole(body) => {
            body["error"]["message"].as_str().map_or(body.to_string(), str::to_owned)
        }
        Body::Other(text) => text.clone(),
        Body::Stream(_) => "a stream".to_owned(),
    };
    text.chars().take(200).collect()
}

fn head(exchange: &Exchange, findings: &mut Findings<'_>) {
    let expected = if exchange.is_streamed() { "text/event-stream" } else { "application/json" };
    let came = exchange.media_type();
    let message =
        format!("the content type is {came:?}, not {expected:?}: some clients do not read it");
    findings.expect(came == expected, "content-type", message);
    if exchange.header("x-request-id").is_empty() {
        let message = "no x-request-id: the SDKs have nothing to show for support";
        findings.add(Weight::Note, "request-id", message);
    }
    if exchange.is_streamed() && !exchange.header("content-encoding").is_empty() {
        let message = "the stream is compressed: proxies may hold it back";
        findings.add(Weight::Note, "compressed", message);
    }
}

fn stream(exchange: &Exchange, events: &[Event], findings: &mut Findings<'_>) {
    framing(events, findings);
    let chunks: Vec<&Value> = exchange.chunks().collect();
    if let Some(error) = chunks.iter().find(|chunk| !chunk["error"].is_null()) {
        let message = format!("the stream holds an error: {}", error["error"]);
        return findings.add(Weight::Noticed, "error-in-stream", message);
    }
    let chunks: Vec<&Value> = chunks.into_iter().filter(|chunk| !is_preface(chunk)).collect();
    for chunk in &chunks {
        shape(chunk, findings);
    }
    // Ollama stamps each chunk with its own second, and no client reads it.
    for (member, weight) in
        [("id", Weight::Noticed), ("model", Weight::Noticed), ("created", Weight::Note)]
    {
        let values: BTreeSet<String> =
            chunks.iter().map(|chunk| chunk[member].to_string()).collect();
        if values.len() > 1 {
            let message = format!("{member} differs between chunks; it is one answer");
            findings.add(weight, "changing-member", message);
        }
    }
    roles(&chunks, findings);
    ending(&chunks, findings);
    let is_done = |event: &Event| event.data == Some(Data::Done);
    let done = events.iter().position(is_done);
    findings.expect(done.is_some(), "missing-done", "the stream does not end with data: [DONE]");
    let after = done.and_then(|done| events.get(done + 1..)).unwrap_or_default();
    let is_quiet = after.iter().all(|event| event.data.is_none());
    findings.expect(is_quiet, "after-done", "something comes after [DONE]");
}

/// Whether a chunk only tells of the prompt: Azure's first one, which has no choice and whose
/// other members are empty.
fn is_preface(chunk: &Value) -> bool {
    let has_none = chunk["choices"].as_array().is_some_and(Vec::is_empty);
    has_none && chunk["id"] == "" && chunk["usage"].is_null()
}

/// Whether a choice says nothing: LiteLLM's and OpenRouter's chunk with the usage has such a one.
fn is_empty(choice: &Value) -> bool {
    let delta = &choice["delta"];
    let says = |name: &str| delta[name].as_str().is_some_and(|text| !text.is_empty());
    let has_calls = delta["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty());
    let says_more = ["content", "refusal", "reasoning", "reasoning_content"].into_iter().any(says);
    !says_more && !has_calls && choice["finish_reason"].is_null()
}

/// What decoders of server-sent events were seen to fail on.
fn framing(events: &[Event], findings: &mut Findings<'_>) {
    let mut has_id = false;
    for event in events {
        let has = |name: &str| event.fields.iter().any(|field| field == name);
        has_id |= has("id");
        match &event.data {
            Some(Data::Other(text)) => {
                let shown: String = text.chars().take(80).collect();
                let message = format!("an event's data is no JSON: {shown:?}");
                findings.add(Weight::Noticed, "unreadable-chunk", message);
            }
            None if has("event") || has("retry") => {
                let message = "an event has no data: openai-python fails on it";
                findings.add(Weight::Noticed, "empty-event", message);
            }
            None if has_id => {
                let message = "a comment stands alone after an id: openai-python takes it for an \
                               event without data, and fails";
                findings.add(Weight::Noticed, "comment-after-id", message);
            }
            Some(_) if has("event") => {
                let message = "a chunk is a named event, which OpenAI's are not";
                findings.add(Weight::Note, "named-event", message);
            }
            _ => {}
        }
    }
}

/// What every chunk has.
fn shape(chunk: &Value, findings: &mut Findings<'_>) {
    let object = &chunk["object"];
    let message = format!("object is {object}, not \"chat.completion.chunk\"");
    findings.expect(object == "chat.completion.chunk", "object", message);
    for (member, is_right) in [
        ("id", chunk["id"].is_string()),
        ("created", chunk["created"].is_u64()),
        ("model", chunk["model"].is_string()),
    ] {
        let message = format!("{member} is {} in a chunk", chunk[member]);
        findings.expect(is_right, "missing-member", message);
    }
    let Some(choices) = chunk["choices"].as_array() else {
        let message = format!("choices is {}, not a list: SDKs crash", chunk["choices"]);
        return findings.add(Weight::Noticed, "choices", message);
    };
    for choice in choices {
        index(&choice["index"], findings);
        let delta = &choice["delta"];
        let message = format!("delta is {delta}, not an object: openai-python crashes");
        findings.expect(delta.is_object(), "delta", message);
    }
}

fn index(index: &Value, findings: &mut Findings<'_>) {
    let message = format!("the only choice has the index {index}, not 0: clients look for 0");
    findings.expect(index == &Value::from(0), "wrong-index", message);
}

fn roles(chunks: &[&Value], findings: &mut Findings<'_>) {
    let deltas = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]);
    let roles: Vec<&str> = deltas.clone().filter_map(|delta| delta["role"].as_str()).collect();
    let mut deltas = deltas.filter(|delta| delta.is_object());
    let first = deltas.next().map(|delta| &delta["role"]);
    let message = "the first chunk does not say role \"assistant\"";
    findings.expect(first == Some(&Value::from("assistant")), "missing-role", message);
    let is_known = roles.iter().all(|role| ["assistant", ""].contains(role));
    let message = format!("a role is none of assistant's: {roles:?}");
    findings.expect(is_known, "role", message);
    // Ollama and OpenRouter do so; who reads the chunks one by one does not mind.
    if roles.iter().filter(|role| !role.is_empty()).count() > 1 {
        let message = "the role comes more than once: openai-python's own stream helper joins them \
                       to one word";
        findings.add(Weight::Note, "repeated-role", message);
    }
}

/// How the choice ends, and what follows.
fn ending(chunks: &[&Value], findings: &mut Findings<'_>) {
    let ends = |chunk: &&&Value| !chunk["choices"][0]["finish_reason"].is_null();
    let count = chunks.iter().filter(ends).count();
    let message = "no chunk has a finish_reason: openai-node and Vercel's SDK fail";
    findings.expect(count > 0, "missing-finish-reason", message);
    let message = format!("{count} chunks have a finish_reason, one is due");
    findings.expect(count <= 1, "repeated-finish-reason", message);
    let end = chunks.iter().position(|chunk| ends(&chunk));
    if let Some(end) = end {
        reason(&chunks[end]["choices"][0]["finish_reason"], findings);
        let after = chunks.get(end + 1..).unwrap_or_default();
        let is_last = after.iter().all(|chunk| is_empty(&chunk["choices"][0]));
        findings.expect(is_last, "after-finish", "a choice goes on after its finish_reason");
    }
    let Some(at) = chunks.iter().position(|chunk| chunk["usage"].is_object()) else {
        let message = "no usage, though stream_options asked for it";
        return findings.add(Weight::Noticed, "missing-usage", message);
    };
    counts(&chunks[at]["usage"], findings);
    let last = chunks.iter().rposition(|chunk| chunk["usage"].is_object());
    if last.is_some_and(|last| last + 1 < chunks.len()) {
        findings.add(Weight::Note, "usage-not-last", "usage is not in the last chunk");
    }
    if !chunks[at]["choices"].as_array().is_some_and(Vec::is_empty) {
        findings.add(Weight::Note, "usage-choices", "the chunk with the usage has choices too");
    }
}

fn reason(reason: &Value, findings: &mut Findings<'_>) {
    let is_known = reason.as_str().is_some_and(|reason| REASONS.contains(&reason));
    let message = format!("finish_reason is {reason}, which clients do not know");
    findings.expect(is_known, "finish-reason", message);
}

fn counts(usage: &Value, findings: &mut Findings<'_>) {
    let count = |name: &str| usage[name].as_u64();
    let (prompt, completion) = (count("prompt_tokens"), count("completion_tokens"));
    let (Some(prompt), Some(completion), Some(total)) = (prompt, completion, count("total_tokens"))
    else {
        let message = format!("usage has no whole numbers of tokens: {usage}");
        return findings.add(Weight::Noticed, "usage", message);
    };
    if prompt + completion != total {
        let message = format!("{prompt} and {completion} tokens are not {total}");
        findings.add(Weight::Note, "usage-sum", message);
    }
}

fn whole(body: &Value, findings: &mut Findings<'_>) {
    let message = format!("object is {}, not \"chat.completion\"", body["object"]);
    findings.expect(body["object"] == "chat.completion", "object", message);
    for (member, is_right) in [
        ("id", body["id"].is_string()),
        ("created", body["created"].is_u64()),
        ("model", body["model"].is_string()),
    ] {
        findings.expect(is_right, "missing-member", format!("{member} is {}", body[member]));
    }
    let choices = body["choices"].as_array().map_or(&[][..], Vec::as_slice);
    let [choice] = choices else {
        let message = format!("there are {} choices, one was asked for", choices.len());
        return findings.add(Weight::Noticed, "choices", message);
    };
    index(&choice["index"], findings);
    let message = &choice["message"];
    let told = format!("message.role is {}, not \"assistant\"", message["role"]);
    findings.expect(message["role"] == "assistant", "missing-role", told);
    let content = &message["content"];
    let told = format!("message.content is {content}, neither a text nor null");
    findings.expect(content.is_string() || content.is_null(), "content", told);
    match &choice["finish_reason"] {
        Value::Null => {
            findings.add(
                Weight::Noticed,
                "missing-finish-reason",
                "finish_reason is missing or null",
            );
        }
        told => reason(told, findings),
    }
    match body.get("usage") {
        Some(usage) if usage.is_object() => counts(usage, findings),
        _ => findings.add(Weight::Noticed, "missing-usage", "no usage: some older SDKs need it"),
    }
    if message["tool_calls"].as_array().is_some_and(Vec::is_empty) {
        let told = "tool_calls is an empty list: some clients take its presence for calls";
        findings.add(Weight::Note, "empty-tool-calls", told);
    }
}

/// What holds of calls, streamed or not.
fn tools(exchange: &Exchange, findings: &mut Findings<'_>) {
    let calls = calls(exchange);
    for (place, call) in calls.iter().enumerate() {
        tool(call, findings);
        if exchange.is_streamed() {
            fragments(call, place, findings);
        }
    }
    let ids: Vec<&str> = calls.iter().filter_map(|call| call.id.as_deref()).collect();
    let distinct: BTreeSet<&str> = ids.iter().copied().collect();
    let message = "two calls have the same id: their results cannot be told apart";
    findings.expect(distinct.len() == ids.len(), "duplicate-call-id", message);
    let reason = finish_reason(exchange);
    if !calls.is_empty() && reason == Some("stop") {
        let message = "tools are called, and finish_reason is \"stop\": loops over tools end here";
        findings.add(Weight::Noticed, "finish-reason", message);
    }
    if calls.is_empty() && reason == Some("tool_calls") {
        let message = "finish_reason is \"tool_calls\", and no tool is called";
        findings.add(Weight::Noticed, "finish-reason", message);
    }
    if exchange.has_tools() && calls.is_empty() && usage(exchange).is_some() {
        let message = "the model called no tool, so nothing is known of its calls";
        findings.add(Weight::Note, "no-calls", message);
    }
}

fn tool(call: &ToolCall, findings: &mut Findings<'_>) {
    let name = call.name.as_deref().unwrap_or("a call");
    let has = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    findings.expect(has(&call.id), "call-id", format!("{name} has no id"));
    findings.expect(has(&call.name), "call-name", "a call names no function");
    let is_function = call.kind.as_deref() == Some("function");
    let message = format!("{name} has the type {:?}, not \"function\"", call.kind);
    findings.expect(is_function, "call-type", message);
    let Some(arguments) = &call.arguments else {
        let message = format!("{name} has no arguments, not even an empty text");
        return findings.add(Weight::Noticed, "call-arguments", message);
    };
    let parsed = serde_json::from_str::<Value>(arguments);
    let message = format!("the arguments of {name} are no JSON object: {arguments:?}");
    findings.expect(parsed.is_ok_and(|parsed| parsed.is_object()), "call-arguments", message);
}

/// What holds of calls in a stream alone.
fn fragments(call: &ToolCall, place: usize, findings: &mut Findings<'_>) {
    let name = call.name.as_deref().unwrap_or("a call");
    let expected = i64::try_from(place).ok();
    let index = call.index.map_or("none".to_owned(), |index| index.to_string());
    let message =
        format!("{name} has the index {index}, not {place}: clients mix calls up, or crash");
    findings.expect(call.index.is_some() && call.index == expected, "tool-index", message);
    let message = format!("the id or name of {name} comes again: openai-python joins them");
    findings.expect(call.ids <= 1 && call.names <= 1, "repeated-call-id", message);
}
