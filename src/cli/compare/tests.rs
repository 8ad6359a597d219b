//! Rules and differences, over answers that are written out.

use serde_json::{Value, json};

use crate::config::Environment;

use super::exchange::{Exchange, recorded};
use super::{Compare, Finding, Weight, difference, rules};

fn chunk(choice: &Value) -> Value {
    json!({
        "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [choice], "usage": null,
    })
}

fn delta(delta: &Value) -> Value {
    chunk(&json!({ "index": 0, "delta": delta, "finish_reason": null }))
}

/// A stream as it should be.
fn right() -> Vec<Value> {
    let mut usage = chunk(&Value::Null);
    usage["choices"] = json!([]);
    usage["usage"] = json!({ "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 });
    vec![
        delta(&json!({ "role": "assistant", "content": "" })),
        delta(&json!({ "content": "hi" })),
        chunk(&json!({ "index": 0, "delta": {}, "finish_reason": "stop" })),
        usage,
    ]
}

fn with_calls(parts: &[Value]) -> Vec<Value> {
    let mut chunks = right();
    let calls = parts.iter().map(|part| delta(&json!({ "tool_calls": [part] })));
    chunks.splice(1..2, calls);
    let end = chunks.len() - 2;
    chunks[end]["choices"][0]["finish_reason"] = json!("tool_calls");
    chunks
}

fn call(index: i64, id: &str) -> Value {
    let function = json!({ "name": "f", "arguments": "{}" });
    json!({ "index": index, "id": id, "type": "function", "function": function })
}

fn stream(chunks: &[Value]) -> Exchange {
    let events: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    recorded("stream", &format!("{events}data: [DONE]\n\n"))
}

/// The names of the rules that an exchange breaks.
fn broken(exchange: &Exchange) -> Vec<&'static str> {
    let mut found = Vec::new();
    rules::check("A", exchange, &mut found);
    found.into_iter().filter(|one| one.weight == Weight::Noticed).map(|one| one.rule).collect()
}

fn broken_with(change: impl FnOnce(&mut Vec<Value>)) -> Vec<&'static str> {
    let mut chunks = right();
    change(&mut chunks);
    broken(&stream(&chunks))
}

fn answer() -> Value {
    json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{ "index": 0, "finish_reason": "stop",
                      "message": { "role": "assistant", "content": "hi" } }],
        "usage": { "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 },
    })
}

fn differences(a: &Exchange, b: &Exchange) -> Vec<Finding> {
    let mut found = Vec::new();
    difference::find(a, b, &mut found);
    found
}

#[test]
fn a_right_answer_breaks_no_rule() {
    assert!(broken(&stream(&right())).is_empty());
    assert!(broken(&recorded("whole", &answer().to_string())).is_empty());
    let two = with_calls(&[call(0, "a"), call(1, "b")]);
    assert!(broken(&stream(&two)).is_empty());
}

#[test]
fn each_defect_of_a_stream_has_its_name() {
    let first =
        |member: &'static str, value: Value| broken_with(move |chunks| chunks[0][member] = value);
    assert_eq!(first("id", json!("d")), ["changing-member"]);
    assert_eq!(first("object", json!("x")), ["object"]);
    assert_eq!(first("choices", Value::Null)[0], "choices");
    let choice = |path: &'static str, value: Value| {
        broken_with(move |chunks| *chunks[1].pointer_mut(path).unwrap() = value)
    };
    assert_eq!(choice("/choices/0/index", json!(1)), ["wrong-index"]);
    assert_eq!(choice("/choices/0/delta", Value::Null), ["delta"]);
    let said_again = json!({ "content": "hi", "finish_reason": "stop" });
    assert_eq!(choice("/choices/0/finish_reason", json!("stop"))[0], "repeated-finish-reason");
    assert_eq!(broken_with(|chunks| chunks.insert(3, delta(&said_again))), ["after-finish"]);
    assert_eq!(broken_with(|chunks| drop(chunks.remove(0))), ["missing-role"]);
    assert_eq!(broken_with(|chunks| drop(chunks.remove(2))), ["missing-finish-reason"]);
    assert_eq!(broken_with(|chunks| drop(chunks.remove(3))), ["missing-usage"]);
    assert_eq!(broken_with(|chunks| chunks.swap(1, 2)), ["after-finish"]);
}

#[test]
fn each_defect_of_calls_has_its_name() {
    let broken = |parts: &[Value]| broken(&stream(&with_calls(parts)));
    assert_eq!(broken(&[call(-1, "a")]), ["tool-index"]);
    assert_eq!(broken(&[call(0, "a"), call(2, "b")]), ["tool-index"]);
    assert_eq!(broken(&[call(0, "a"), call(1, "a")]), ["duplicate-call-id"]);
    assert_eq!(broken(&[call(0, "a"), call(0, "a")])[0], "call-arguments");
    let mut bare = call(0, "a");
    bare["function"] = json!({ "name": "f" });
    bare["type"] = Value::Null;
    assert_eq!(broken(&[bare]), ["call-type", "call-arguments"]);
}

#[test]
fn defects_of_framing_have_their_names() {
    let with = |before: &str, after: &str| {
        let events: String = right().iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
        broken(&recorded("stream", &format!("{before}{events}{after}")))
    };
    assert_eq!(with("", ""), ["missing-done"]);
    assert_eq!(with("", "data: [DONE]\n\ndata: {}\n\n").last(), Some(&"after-done"));
    assert_eq!(with("data: {\n\n", "data: [DONE]\n\n"), ["unreadable-chunk"]);
    assert_eq!(with("event: ping\n\n", "data: [DONE]\n\n"), ["empty-event"]);
    assert_eq!(with("id: 1\n\n: ping\n\n", "data: [DONE]\n\n"), ["comment-after-id"]);
    // As Outcrop sends it: a comment that no blank line follows.
    assert!(with("id: 1\n: ping\n", "data: [DONE]\n\n").is_empty());
    let error = "data: {\"error\":{\"message\":\"no\"}}\n\n";
    assert_eq!(broken(&recorded("stream", error)), ["error-in-stream"]);
}

#[test]
fn each_defect_of_a_document_has_its_name() {
    let broken = |path: &str, value: Value| {
        let mut answer = answer();
        *answer.pointer_mut(path).unwrap() = value;
        broken(&recorded("whole", &answer.to_string()))
    };
    assert_eq!(broken("/choices/0/message/role", Value::Null), ["missing-role"]);
    assert_eq!(broken("/choices/0/index", json!(1)), ["wrong-index"]);
    assert_eq!(broken("/choices/0/finish_reason", Value::Null), ["missing-finish-reason"]);
    assert_eq!(broken("/choices/0/finish_reason", json!("done")), ["finish-reason"]);
    assert_eq!(broken("/usage", Value::Null), ["missing-usage"]);
    assert_eq!(broken("/usage", json!({ "total_tokens": 3 })), ["usage"]);
    assert_eq!(broken("/choices", json!([])), ["choices"]);
    assert_eq!(broken("/choices/0/message/content", json!(7)), ["content"]);
}

#[test]
fn what_is_no_answer_at_all_is_told() {
    let mut refused = recorded("whole", "{\"error\":{\"message\":\"no\"}}");
    refused.status = 401;
    assert_eq!(broken(&refused), ["status"]);
    assert_eq!(broken(&recorded("stream", &answer().to_string())), ["not-a-stream"]);
    assert_eq!(broken(&recorded("whole", "<html>")), ["no-answer"]);
    let mut html = recorded("whole", &answer().to_string());
    html.headers.insert("content-type", "text/html".parse().unwrap());
    assert_eq!(broken(&html), ["content-type"]);
}

#[test]
fn answers_that_differ_in_words_alone_do_not_differ() {
    let mut other = right();
    other.insert(2, delta(&json!({ "content": " there" })));
    other[3]["id"] = json!("another");
    assert_eq!(differences(&stream(&right()), &stream(&other)), []);
}

#[test]
fn what_a_client_would_notice_is_told_apart_from_what_it_would_not() {
    let mut other = right();
    for chunk in &mut other {
        chunk["created"] = json!("1");
        chunk["vendor"] = json!({ "x": 1 });
    }
    let found = differences(&stream(&right()), &stream(&other));
    let told: Vec<_> = found.iter().map(|one| (one.weight, one.message.as_str())).collect();
    let expected = [
        (Weight::Noticed, "created is a number of A, a text of B"),
        (Weight::Note, "vendor is sent by B, not by A"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn order_and_ends_are_compared() {
    let mut cut = right();
    cut.remove(3);
    cut[2]["choices"][0]["finish_reason"] = json!("length");
    let found = differences(&stream(&right()), &stream(&cut));
    let rules: Vec<_> = found.iter().map(|one| one.rule).collect();
    assert_eq!(rules, ["order-differs", "finish-reason-differs", "usage-differs"]);
    assert!(found[0].message.contains("content, finish, usage, [DONE] of A"));
}

fn compare(url: &str) -> Compare {
    Compare {
        url_a: url.to_owned(),
        url_b: Some("http://b".to_owned()),
        model: Some("m".to_owned()),
        model_b: None,
        api_key: None,
        api_key_b: None,
        message: "hi".to_owned(),
        tools: Some("weather?".to_owned()),
        json: false,
        quiet: false,
    }
}

#[test]
fn a_key_of_openai_goes_to_openai_alone() {
    let environment = Environment::from([("OPENAI_API_KEY", "sk-secret")]);
    let servers = compare("https://api.openai.com").servers(&environment).unwrap();
    let told: Vec<_> = servers.iter().map(|asked| asked.server.has_key()).collect();
    assert_eq!(told, [true, false]);
}

#[test]
fn each_request_is_sent_whole_and_streamed() {
    let requests = compare("http://a").requests("m");
    let names: Vec<_> = requests.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["whole", "stream", "whole with tools", "stream with tools"]);
    assert_eq!(requests[1].1["stream_options"]["include_usage"], true);
    assert!(requests[2].1.get("stream").is_none() && requests[2].1["tools"].is_array());
}
