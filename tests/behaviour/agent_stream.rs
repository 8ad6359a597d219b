//! The native agent stream: one JSON object a line.

use serde_json::{Value, json};

use super::ask::Answer;
use super::broker::{Broker, Setup};
use super::client::{Reply, Request};

const PATH: &str = "/api/agent/stream";

fn ask(broker: &Broker, body: &Value) -> Request {
    if let Some(text) = body["input_text"].as_str() {
        broker.keep_secret(text);
    }
    broker.post(PATH, body)
}

/// The lines of a stream, each held to what all have.
async fn lines(mut reply: Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), "application/x-ndjson; charset=utf-8");
    assert_eq!(reply.header("x-accel-buffering"), "no");
    assert_ne!(reply.header("x-request-id"), "");
    let mut lines = Vec::new();
    while let Some(line) = reply.line().await {
        assert!(line.starts_with("{\"type\":\""), "{line}");
        lines.push(serde_json::from_str::<Value>(&line).unwrap());
    }
    assert!(reply.is_whole());
    for (place, line) in (1..).zip(&lines) {
        assert_eq!(line["done"], place == lines.len(), "{line}");
        let timestamp = line["timestamp"].as_str().unwrap();
        assert!(timestamp.len() == 24 && timestamp.ends_with('Z'), "{timestamp}");
    }
    lines
}

fn types(lines: &[Value]) -> Vec<&str> {
    let mut types: Vec<_> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    types.dedup();
    types
}

#[tokio::test]
async fn a_turn_is_a_start_its_chunks_and_a_completion() {
    let broker = Broker::start().await;
    let session = "session-123";
    let body =
        json!({ "agent_id": "AGENT12345", "session_id": session, "input_text": "count to 5" });
    let lines = lines(ask(&broker, &body).send().await).await;
    assert_eq!(types(&lines), ["start", "chunk", "completion"]);
    assert_eq!(
        (&lines[0]["session_id"], &lines[0]["agent_id"]),
        (&json!("session-123"), &json!("AGENT12345"))
    );
    assert_eq!(lines[0]["agent_alias_id"], "TSTALIASID");
    let mut all = String::new();
    for chunk in &lines[1..lines.len() - 1] {
        all.push_str(chunk["content"].as_str().unwrap());
        assert_eq!(chunk["accumulated_content"], all);
    }
    let last = lines.last().unwrap();
    assert_eq!((&last["final_content"], &last["session_id"]), (&json!(all), &json!("session-123")));
    assert!(last["usage"]["output_tokens"].as_u64() > Some(0), "{last}");
}

#[tokio::test]
async fn what_was_said_so_far_is_left_out_on_request() {
    let broker = Broker::start().await;
    let body = json!({ "agent_id": "agent", "input_text": "count to 5", "accumulated": false });
    let lines = lines(ask(&broker, &body).send().await).await;
    assert_eq!(types(&lines), ["start", "chunk", "completion"]);
    assert!(lines.iter().all(|line| line.get("accumulated_content").is_none()));
    assert_eq!(lines.last().unwrap()["final_content"].as_str().unwrap().trim(), "1 2 3 4 5");
}

#[tokio::test]
async fn the_session_id_of_the_start_leads_back_to_the_session() {
    let broker = Broker::start().await;
    let first = lines(ask(&broker, &json!({ "input_text": "my name is Ann" })).send().await).await;
    let session = first[0]["session_id"].as_str().unwrap();
    let body = json!({ "input_text": "what is my name?", "session_id": session });
    let second = lines(ask(&broker, &body).send().await).await;
    assert_eq!(second.last().unwrap()["final_content"], "Your name is Ann.");
    let stranger =
        lines(ask(&broker, &json!({ "input_text": "what is my name?" })).send().await).await;
    assert_ne!(stranger[0]["session_id"], session);
    assert_eq!(stranger.last().unwrap()["final_content"], "You have not told me your name yet.");
}

#[tokio::test]
async fn traces_come_in_debug_mode_only_and_not_if_unwanted() {
    let body = json!({ "agent_id": "agent", "input_text": "count to 2" });
    let quiet = Broker::start().await;
    assert_eq!(
        types(&lines(ask(&quiet, &body).send().await).await),
        ["start", "chunk", "completion"]
    );
    let settings = "routing.debug_traces = true";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let traced = lines(ask(&broker, &body).send().await).await;
    assert_eq!(types(&traced), ["start", "trace", "chunk", "trace", "completion"]);
    assert!(traced[1]["trace"]["trace"]["orchestrationTrace"].is_object(), "{}", traced[1]);
    let unwanted =
        json!({ "agent_id": "agent", "input_text": "count to 2", "enable_trace": false });
    assert_eq!(
        types(&lines(ask(&broker, &unwanted).send().await).await),
        ["start", "chunk", "completion"]
    );
}

#[tokio::test]
async fn a_failure_in_mid_stream_is_the_last_line() {
    let broker = Broker::start().await;
    let cases = [
        ("exception:throttlingException:2", "throttled", true),
        ("exception:dependencyFailedException:2", "dependency_failed", false),
        ("cut:2", "upstream_error", false),
    ];
    for (fault, code, retryable) in cases {
        let attributes = json!({ "outcrop-emulator-fault": fault });
        let body = json!({ "input_text": "count to 9", "prompt_session_attributes": attributes });
        let lines = lines(ask(&broker, &body).send().await).await;
        assert_eq!(types(&lines), ["start", "chunk", "error"], "{fault}");
        let last = lines.last().unwrap();
        assert_eq!(
            (&last["error_code"], &last["retryable"]),
            (&json!(code), &json!(retryable)),
            "{fault}"
        );
        assert_eq!(last["request_id"], lines[0]["request_id"]);
        let told = last["error"].as_str().unwrap();
        assert!(!told.contains("Exception") && !told.contains("arn:"), "{told}");
    }
}

#[tokio::test]
async fn a_failure_before_the_first_word_is_a_status_with_a_detail() {
    let broker = Broker::start().await;
    for (fault, status) in
        [("access-denied", 502), ("not-found", 404), ("throttle", 429), ("internal", 503)]
    {
        let attributes = json!({ "outcrop-emulator-fault": fault });
        let body = json!({ "input_text": "count to 9", "prompt_session_attributes": attributes });
        let answer = Answer::of(ask(&broker, &body).send().await).await;
        assert_eq!(answer.status, status, "{fault}");
        assert_eq!(answer.body["detail"], answer.body["error"]["message"], "{fault}");
    }
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_with_a_detail() {
    let broker = Broker::start().await;
    let cases = [
        (json!({}), 400, "input_text"),
        (json!({ "input_text": "   " }), 400, "input_text"),
        (json!({ "input_text": 7 }), 400, "input_text"),
        (json!({ "input_text": "hello", "session_id": "x" }), 400, "session_id"),
        (json!({ "input_text": "hello", "session_id": "not/one" }), 400, "session_id"),
        (
            json!({ "input_text": "hello", "agent_alias_id": "not one", "agent_id": "AGENT12345" }),
            400,
            "agent_alias_id",
        ),
        (json!({ "input_text": "hello", "agent_id": "NOBODY1234" }), 404, "model"),
        (json!({ "input_text": "hello", "session_attributes": 7 }), 400, "session_attributes"),
    ];
    for (body, status, param) in cases {
        let answer = Answer::of(broker.post(PATH, &body).send().await).await;
        assert_eq!(
            (answer.status, answer.error()["param"].as_str()),
            (status, Some(param)),
            "{body}"
        );
        assert_eq!(answer.body["detail"], answer.body["error"]["message"], "{body}");
        assert_ne!(answer.header("x-request-id"), "");
    }
}

#[tokio::test]
async fn attributes_reach_the_agent_as_text() {
    let broker = Broker::start().await;
    let body = json!({
        "input_text": "count to 2",
        "session_attributes": { "tier": "gold", "age": 42, "is_new": true },
        "prompt_session_attributes": { "today": "Monday" },
    });
    lines(ask(&broker, &body).send().await).await;
    let call = &broker.calls().await[0];
    assert_eq!(call["attributes"], json!({ "tier": "gold", "age": "42", "is_new": "true" }));
    assert_eq!(call["prompt_attributes"], json!({ "today": "Monday" }));
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_upstream_call() {
    let broker = Broker::start().await;
    let pace = json!({ "outcrop-emulator-chunk-ms": "20" });
    let body = json!({ "input_text": "count to 400", "prompt_session_attributes": pace });
    let mut reply = ask(&broker, &body).send().await;
    reply.line().await.unwrap();
    reply.line().await.unwrap();
    reply.hang_up();
    broker.open_calls_become(0).await;
    assert_eq!(broker.upstream().await["disconnected"], 1);
}
