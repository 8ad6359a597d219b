//! Converse and `ConverseStream` as the SDK sees them: what is refused, and what goes wrong.

use aws_sdk_bedrockruntime::error::ProvideErrorMetadata;
use aws_sdk_bedrockruntime::types::{StopReason, SystemContentBlock};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::bedrock::{HAIKU, refused, runtime, sent, streamed, user};
use crate::harness::{SIGNED, start};

fn text(role: &str, text: &str) -> Value {
    json!({"role": role, "content": [{"text": text}]})
}

/// Transcripts that break a rule, with what is told of it.
fn sloppy_transcripts() -> Vec<(Value, &'static str)> {
    let use_of = |id: &str| {
        json!({"role": "assistant",
               "content": [{"toolUse": {"toolUseId": id, "name": "t", "input": {}}}]})
    };
    let result_of = |id: &str| {
        json!({"role": "user",
               "content": [{"toolResult": {"toolUseId": id, "content": [{"text": "x"}]}}]})
    };
    let spec = json!({"tools": [{"toolSpec": {
        "name": "t", "inputSchema": {"json": {"type": "object"}},
    }}]});
    vec![
        (json!({"messages": []}), "must start with a user message"),
        (json!({"messages": [text("assistant", "a")]}), "must start with a user message"),
        (json!({"messages": [text("user", "a"), text("user", "b")]}), "roles must alternate"),
        (json!({"messages": [text("user", " ")]}), "is blank"),
        (json!({"messages": [{"role": "user", "content": []}]}), "is empty"),
        (
            json!({"messages": [text("user", "a")], "system": [{"text": ""}]}),
            "SystemContentBlock object at system.0 is blank",
        ),
        (
            json!({"messages": [text("user", "a"), use_of("1"), result_of("1")]}),
            "The toolConfig field must be defined",
        ),
        (
            json!({"messages": [text("user", "a"), use_of("1"), text("user", "b")],
                   "toolConfig": spec}),
            "Expected toolResult blocks at messages.2.content for the following Ids: 1",
        ),
        (
            json!({"messages": [result_of("1")], "toolConfig": spec}),
            "exceeds the number of toolUse blocks",
        ),
        (
            json!({"messages": [text("user", "a"), use_of("call/1"), result_of("call/1")],
                   "toolConfig": spec}),
            "regular expression pattern: [a-zA-Z0-9_.:-]+",
        ),
        (json!({"messages": [text("user", "a"), text("assistant", "b ")]}), "trailing whitespace"),
    ]
}

/// Requests whose transcript is well and whose terms are not.
fn sloppy_terms() -> Vec<(Value, &'static str)> {
    vec![
        (
            json!({"messages": [text("user", "a")], "inferenceConfig": {"maxTokens": 0}}),
            "inferenceConfig.maxTokens",
        ),
        (
            json!({"messages": [text("user", "a")], "inferenceConfig": {"maxTokens": 9999}}),
            "exceeds the model limit",
        ),
        (
            json!({"messages": [text("user", "a")],
                   "additionalModelRequestFields": {"presence_penalty": 1}}),
            "Malformed input request: extraneous key [presence_penalty]",
        ),
        (json!({"messages": [text("user", "a")], "toolConfig": {"tools": []}}), "toolConfig.tools"),
    ]
}

#[tokio::test]
async fn a_sloppy_request_is_refused() {
    let emulator = start().await;
    for (body, told) in sloppy_transcripts().into_iter().chain(sloppy_terms()) {
        let path = format!("/model/{HAIKU}/converse");
        let (head, body) = emulator.post(&path, Some(SIGNED), body.to_string()).await;
        assert_eq!(head.status(), StatusCode::BAD_REQUEST, "{told}");
        assert_eq!(head.headers()["x-amzn-errortype"], "ValidationException", "{body}");
        let message = body["message"].as_str().unwrap();
        assert!(message.contains(told), "{message}\n  not: {told}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_request_is_not_read() {
    let emulator = start().await;
    let path = format!("/model/{HAIKU}/converse");
    for body in [
        "{",
        r#"{"messages":{}}"#,
        r#"{"messages":[{"role":"bot","content":[]}]}"#,
        r#"{"messages":[{"role":"user","content":[{"text":"a","image":{}}]}]}"#,
        r#"{"messages":[{"role":"user","content":[{"emoji":"x"}]}]}"#,
    ] {
        let (head, _) = emulator.post(&path, Some(SIGNED), body.to_owned()).await;
        assert_eq!(head.headers()["x-amzn-errortype"], "SerializationException", "{body}");
    }
    let (head, _) = emulator.post(&path, None, "{}".to_owned()).await;
    assert_eq!(head.status(), StatusCode::FORBIDDEN);
    let (head, _) = emulator.post(&path, Some("Bearer a-bedrock-key"), "{}".to_owned()).await;
    assert_eq!(head.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_model_that_is_not_there_is_an_invalid_identifier() {
    let emulator = start().await;
    for (model, told) in [
        ("gpt-4o", "The provided model identifier is invalid."),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "on-demand throughput"),
        ("amazon.titan-embed-text-v2:0", "doesn't support this operation"),
    ] {
        let call = runtime(&emulator).converse().model_id(model).messages(user("hello"));
        assert!(refused(call).await.contains(told), "{model}");
    }
    let long = user(&"word ".repeat(5_000));
    let call = runtime(&emulator).converse().model_id("amazon.titan-text-lite-v1").messages(long);
    assert_eq!(refused(call).await, "Input is too long for requested model.");
}

#[tokio::test]
async fn faults_of_a_stream_come_where_they_are_asked_for() {
    let emulator = start().await;
    let call = |fault: &str| {
        let call = runtime(&emulator).converse_stream().model_id(HAIKU);
        call.messages(user("count to 9")).request_metadata("outcrop-emulator-fault", fault)
    };
    let exception = streamed(call("exception:modelStreamErrorException:2")).await;
    assert_eq!((exception.text.as_str(), exception.deltas), ("1 2 ", 2));
    let failure = exception.failure.unwrap();
    assert!(failure.is_model_stream_error_exception(), "{failure:?}");
    for fault in ["cut:3", "garbage:3", "error-frame:3"] {
        let broken = streamed(call(fault)).await;
        assert!(broken.broken && broken.stop.is_none(), "{fault}");
        assert_eq!(broken.text, "1 2 3 ");
    }
    let ended = streamed(call("end:3")).await;
    assert!(!ended.broken && ended.stop.is_none() && ended.usage.is_none());
    for fault in ["slow", "unknown-event", "thinking:20"] {
        let whole = streamed(call(fault)).await;
        assert_eq!((whole.deltas, whole.stop), (9, Some(StopReason::EndTurn)), "{fault}");
    }
}

#[tokio::test]
async fn refusals_have_the_models_own_types_and_end_when_they_are_counted() {
    let emulator = start().await;
    for (fault, status, kind) in [
        ("throttle", 429, "ThrottlingException"),
        ("model-not-ready", 429, "ModelNotReadyException"),
        ("model-timeout", 408, "ModelTimeoutException"),
        ("model-error", 424, "ModelErrorException"),
        ("context-overflow", 400, "ValidationException"),
        ("access-denied", 403, "AccessDeniedException"),
        ("internal", 500, "InternalServerException"),
        ("exception:serviceUnavailableException", 503, "ServiceUnavailableException"),
    ] {
        let text = format!("hello outcrop-emulator-fault: {fault}");
        let body = json!({"messages": [{"role": "user", "content": [{"text": text}]}]});
        let path = format!("/model/{HAIKU}/converse");
        let (head, _) = emulator.post(&path, Some(SIGNED), body.to_string()).await;
        assert_eq!(head.status().as_u16(), status, "{fault}");
        assert_eq!(head.headers()["x-amzn-errortype"], kind);
    }
    let call = || {
        let system = SystemContentBlock::Text("outcrop-emulator-fault: throttle:2".to_owned());
        runtime(&emulator).converse().model_id(HAIKU).system(system).messages(user("again"))
    };
    for _ in 0..2 {
        let error = call().send().await.unwrap_err();
        assert_eq!(error.code(), Some("ThrottlingException"));
    }
    sent(call()).await;
}

#[tokio::test]
async fn what_was_sent_can_be_looked_up() {
    let emulator = start().await;
    let call = runtime(&emulator).converse().model_id(HAIKU).messages(user("count to 3"));
    sent(call.request_metadata("session", "one")).await;
    let call = runtime(&emulator).converse_stream().model_id(HAIKU).messages(user("count to 9"));
    let open = call.request_metadata("outcrop-emulator-fault", "stall:1").send().await.unwrap();
    drop(open);
    let state = emulator.state_when(|state| state["models"]["disconnected"] == 1).await;
    let calls = &state["models"]["calls"];
    assert_eq!(calls[0]["api"], "converse");
    assert_eq!(calls[0]["model"], HAIKU);
    assert_eq!(calls[0]["text"], "count to 3");
    assert_eq!(calls[0]["authorization"], "sigv4");
    assert_eq!(calls[0]["request"]["requestMetadata"]["session"], "one");
    assert_eq!(calls[0]["tokens"]["output"], 3);
    assert_eq!(calls[0]["ended"], "ok");
    assert_eq!((&calls[1]["ended"], &calls[1]["status"]), (&json!("disconnected"), &json!(200)));
    emulator.request(Method::POST, "/_emulator/reset", None, "").await;
    assert_eq!(emulator.state().await["models"]["calls"], json!([]));
}
