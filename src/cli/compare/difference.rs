//! Where two answers to the same request part.
//!
//! What models say differs every time, and so do lengths and times; compared is the form alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::chunks::{calls, finish_reason, order, usage};
use super::exchange::{Body, Exchange};
use super::{Finding, Weight};

/// Members that clients read, by their paths.
const READ: [&str; 20] = [
    "id",
    "object",
    "created",
    "model",
    "choices",
    "choices[]",
    "choices[].index",
    "choices[].delta",
    "choices[].delta.role",
    "choices[].delta.content",
    "choices[].message",
    "choices[].message.role",
    "choices[].message.content",
    "choices[].finish_reason",
    "usage.prompt_tokens",
    "usage.completion_tokens",
    "usage.total_tokens",
    "choices[].delta.tool_calls[].function.arguments",
    "choices[].message.tool_calls[].function.arguments",
    "error",
];
/// Headers that some clients read.
const HEADERS: [&str; 6] = [
    "x-request-id",
    "openai-processing-ms",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-limit-tokens",
    "cache-control",
];
/// Members deeper than this are not looked at.
const DEPTH: usize = 6;

/// Which JSON types stand at which path.
type Shape = BTreeMap<String, BTreeSet<&'static str>>;

/// Finds what a client of one server would notice with the other.
pub(super) fn find(a: &Exchange, b: &Exchange, all: &mut Vec<Finding>) {
    let mut add = |weight, rule, message: String| {
        all.push(Finding { weight, server: "A and B", request: a.request, rule, message });
    };
    let mut differ = |rule, name: &str, of_a: String, of_b: String| {
        if of_a != of_b {
            add(Weight::Noticed, rule, format!("{name}: {of_a} of A, {of_b} of B"));
        }
        of_a == of_b
    };
    let told = |exchange: &Exchange| exchange.status.to_string();
    // What follows would only repeat it.
    if !differ("status-differs", "status", told(a), told(b)) {
        return;
    }
    differ("content-type-differs", "content type", a.media_type(), b.media_type());
    if !differ("body-differs", "body", kind(&a.body), kind(&b.body)) {
        return;
    }
    let told = |exchange: &Exchange| sequence(exchange);
    differ("order-differs", "order of the chunks", told(a), told(b));
    let told = |exchange: &Exchange| finish_reason(exchange).unwrap_or("none").to_owned();
    differ("finish-reason-differs", "finish_reason", told(a), told(b));
    let told = |exchange: &Exchange| usage(exchange).map_or("none", |_| "there").to_owned();
    differ("usage-differs", "usage", told(a), told(b));
    members(a, b, &mut add);
    for name in HEADERS {
        let has = [a, b].map(|exchange| !exchange.header(name).is_empty());
        if has[0] != has[1] {
            let (with, without) = if has[0] { ("A", "B") } else { ("B", "A") };
            let message = format!("the header {name} is sent by {with}, not by {without}");
            add(Weight::Note, "header-differs", message);
        }
    }
}

fn kind(body: &Body) -> String {
    let kind = match body {
        Body::Whole(_) => "one document",
        Body::Stream(_) => "a stream",
        Body::Other(_) => "neither JSON nor a stream",
    };
    kind.to_owned()
}

/// The order without counts, and without what depends on the model: whether it thinks first,
/// and chunks that bring nothing.
fn sequence(exchange: &Exchange) -> String {
    let order = order(exchange).into_iter().map(|(kind, _)| kind);
    // A role comes alone or with the first word; what a client reads of it is the same.
    let mut kinds: Vec<&str> =
        order.filter(|kind| !["thought", "nothing", "role"].contains(kind)).collect();
    kinds.dedup();
    kinds.join(", ")
}

fn members(a: &Exchange, b: &Exchange, add: &mut impl FnMut(Weight, &'static str, String)) {
    let (of_a, of_b) = (shape(a), shape(b));
    let both_call = !calls(a).is_empty() && !calls(b).is_empty();
    let paths: BTreeSet<&String> = of_a.keys().chain(of_b.keys()).collect();
    let mut told: Vec<&str> = Vec::new();
    for path in paths {
        let is_told = told.iter().any(|above| path.starts_with(above));
        let depends = path.contains("tool_calls") && !both_call;
        if is_told || depends || (path.starts_with("usage") && missing_usage(a, b)) {
            continue;
        }
        let weight = if READ.contains(&path.as_str()) { Weight::Noticed } else { Weight::Note };
        match (of_a.get(path), of_b.get(path)) {
            (Some(a), Some(b)) if !a.is_disjoint(b) => {}
            (Some(a), Some(b)) => {
                // A member that is null as well as absent is no difference.
                let (a, b) = (types(a), types(b));
                let weight =
                    if [&a, &b].iter().any(|kind| *kind == "null") { Weight::Note } else { weight };
                add(weight, "type-differs", format!("{path} is {a} of A, {b} of B"));
                told.push(path);
            }
            (of_a, _) => {
                let (with, without) = if of_a.is_some() { ("A", "B") } else { ("B", "A") };
                let message = format!("{path} is sent by {with}, not by {without}");
                add(weight, "member-differs", message);
                told.push(path);
            }
        }
    }
}

fn missing_usage(a: &Exchange, b: &Exchange) -> bool {
    usage(a).is_none() || usage(b).is_none()
}

fn types(types: &BTreeSet<&'static str>) -> String {
    types.iter().copied().collect::<Vec<_>>().join(" or ")
}

/// The shape of a document, or of all chunks of a stream together.
fn shape(exchange: &Exchange) -> Shape {
    let mut shape = Shape::new();
    match &exchange.body {
        Body::Whole(body) => note(body, String::new(), DEPTH, &mut shape),
        Body::Stream(_) => {
            exchange.chunks().for_each(|chunk| note(chunk, String::new(), DEPTH, &mut shape));
        }
        Body::Other(_) => {}
    }
    shape
}

fn note(value: &Value, path: String, depth: usize, shape: &mut Shape) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    if !path.is_empty() {
        shape.entry(path.clone()).or_default().insert(kind);
    }
    let Some(depth) = depth.checked_sub(1) else { return };
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let dot = if path.is_empty() { "" } else { "." };
                note(value, format!("{path}{dot}{name}"), depth, shape);
            }
        }
        Value::Array(values) => {
            for value in values {
                note(value, format!("{path}[]"), depth, shape);
            }
        }
        _ => {}
    }
}
