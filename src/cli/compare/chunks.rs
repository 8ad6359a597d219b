//! What the chunks of a stream amount to: their order, and the calls in them.

use serde_json::Value;

use super::exchange::{Body, Data, Exchange};

/// A call as the fragments of a stream tell it, or a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ToolCall {
    /// As it stands in the first fragment; none when it is absent or no number.
    pub(super) index: Option<i64>,
    pub(super) id: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) name: Option<String>,
    /// None when there were no arguments, not even empty ones.
    pub(super) arguments: Option<String>,
    /// How often an id came.
    pub(super) ids: usize,
    /// How often a name came.
    pub(super) names: usize,
}

impl ToolCall {
    fn take(&mut self, part: &Value) {
        if let Some(id) = part["id"].as_str() {
            self.ids += 1;
            self.id.get_or_insert_with(|| id.to_owned());
        }
        if let Some(name) = part["function"]["name"].as_str() {
            self.names += 1;
            self.name.get_or_insert_with(|| name.to_owned());
        }
        if let Some(kind) = part["type"].as_str() {
            self.kind.get_or_insert_with(|| kind.to_owned());
        }
        if let Some(arguments) = part["function"]["arguments"].as_str() {
            self.arguments.get_or_insert_default().push_str(arguments);
        }
    }
}

/// The fragments of calls in a chunk or a message.
fn parts(said: &Value) -> impl Iterator<Item = &Value> {
    said["tool_calls"].as_array().into_iter().flatten()
}

/// The calls of an answer, in the order in which they began.
pub(super) fn calls(exchange: &Exchange) -> Vec<ToolCall> {
    if let Body::Whole(body) = &exchange.body {
        let message = &body["choices"][0]["message"];
        let whole = |part| {
            let mut call = ToolCall::default();
            call.take(part);
            call
        };
        return parts(message).map(whole).collect();
    }
    let mut calls: Vec<ToolCall> = Vec::new();
    for part in exchange.chunks().flat_map(|chunk| parts(&chunk["choices"][0]["delta"])) {
        let index = part["index"].as_i64();
        // A name begins a call, also where the index stays the same.
        let begins = part["function"]["name"].is_string()
            && calls.last().is_none_or(|last| {
                last.index != index || last.id.as_deref() != part["id"].as_str()
            });
        if begins || calls.is_empty() {
            calls.push(ToolCall { index, ..ToolCall::default() });
        }
        let known = calls.iter_mut().rev().find(|call| call.index == index);
        if let Some(call) = known {
            call.take(part);
        }
    }
    calls
}

/// Why the answer ended, by its choice; the last that was told.
pub(super) fn finish_reason(exchange: &Exchange) -> Option<&str> {
    let reason = |answer: &'_ Value| answer["choices"][0]["finish_reason"].is_string();
    let answer = match &exchange.body {
        Body::Whole(body) => Some(body),
        Body::Stream(_) => exchange.chunks().filter(|chunk| reason(chunk)).last(),
        Body::Other(_) => None,
    };
    answer.and_then(|answer| answer["choices"][0]["finish_reason"].as_str())
}

/// The usage that was told.
pub(super) fn usage(exchange: &Exchange) -> Option<&Value> {
    let answer = match &exchange.body {
        Body::Whole(body) => Some(body),
        Body::Stream(_) => exchange.chunks().filter(|chunk| chunk["usage"].is_object()).last(),
        Body::Other(_) => None,
    };
    answer.map(|answer| &answer["usage"]).filter(|usage| usage.is_object())
}

/// What a chunk is for, in one word; some servers count tokens in each, and tell all of them in a
/// chunk whose choice says nothing, once it has ended.
fn purpose(chunk: &Value, has_ended: bool) -> &'static str {
    if !chunk["error"].is_null() {
        return "error";
    }
    let choice = &chunk["choices"][0];
    if choice.is_null() {
        return if chunk["usage"].is_object() { "usage" } else { "nothing" };
    }
    let delta = &choice["delta"];
    let has = |name: &str| delta[name].as_str().is_some_and(|text| !text.is_empty());
    if choice["finish_reason"].is_string() {
        return "finish";
    }
    if parts(delta).next().is_some() {
        return "call";
    }
    match () {
        () if has("reasoning_content") || has("reasoning") => "thought",
        () if has("content") => "content",
        () if has("refusal") => "refusal",
        () if has_ended && chunk["usage"].is_object() => "usage",
        () if has("role") => "role",
        () => "nothing",
    }
}

/// What came in which order, each kind once in a row with how often: `content` 5.
pub(super) fn order(exchange: &Exchange) -> Vec<(&'static str, usize)> {
    let Body::Stream(events) = &exchange.body else { return Vec::new() };
    let mut order: Vec<(&'static str, usize)> = Vec::new();
    for event in events {
        let kind = match &event.data {
            Some(Data::Done) => "[DONE]",
            Some(Data::Json(chunk)) => {
                purpose(chunk, order.iter().any(|(kind, _)| *kind == "finish"))
            }
            Some(Data::Other(_)) => "no JSON",
            None => continue,
        };
        match order.last_mut() {
            Some((last, count)) if *last == kind => *count += 1,
            _ => order.push((kind, 1)),
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::super::exchange::recorded;
    use super::*;

    #[test]
    fn the_order_is_told_without_repeating_it() {
        let stream = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
                      data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n\
                      : ping\n\n\
                      data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n\
                      data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
                      data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n\
                      data: [DONE]\n\n";
        let exchange = recorded("stream", stream);
        let expected = [("role", 1), ("content", 2), ("finish", 1), ("usage", 1), ("[DONE]", 1)];
        assert_eq!(order(&exchange), expected);
        assert_eq!(finish_reason(&exchange), Some("stop"));
        assert_eq!(usage(&exchange).unwrap()["total_tokens"], 3);
    }

    #[test]
    fn fragments_become_the_calls_that_they_are_of() {
        let part = |part: &str| {
            format!("data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{part}]}}}}]}}\n\n")
        };
        let stream = [
            r#"{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}"#,
            r#"{"index":0,"function":{"arguments":"{}"}}"#,
            r#"{"index":1,"id":"b","type":"function","function":{"name":"g"}}"#,
        ];
        let exchange = recorded("stream", &stream.map(part).concat());
        let calls = calls(&exchange);
        assert_eq!(calls.len(), 2);
        assert_eq!((calls[0].arguments.as_deref(), calls[0].ids), (Some("{}"), 1));
        assert_eq!((calls[1].index, calls[1].arguments.as_deref()), (Some(1), None));
    }
}
