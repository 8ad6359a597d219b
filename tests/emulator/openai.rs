//! The OpenAI upstream over plain HTTP; the SDK drives it in the clients' suite.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{PATIENCE, Running, start};

const CHAT: &str = "/v1/chat/completions";

fn saying(text: &str) -> Value {
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]})
}

/// The events of a stream, and whether it ended cleanly.
async fn streamed(emulator: &Running, mut body: Value) -> (Vec<String>, bool) {
    body["stream"] = json!(true);
    let request = Request::builder().method(Method::POST).uri(format!("{}{CHAT}", emulator.url));
    let request = request.body(Full::new(Bytes::from(body.to_string()))).unwrap();
    let client = legacy::Client::builder(TokioExecutor::new()).build_http();
    let listen = async {
        let mut body = client.request(request).await.unwrap().into_body();
        let mut text = Vec::new();
        let mut ended_well = true;
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => text.extend_from_slice(frame.data_ref().unwrap()),
                Err(_) => {
                    ended_well = false;
                    break;
                }
            }
        }
        let text = String::from_utf8(text).unwrap();
        (text.split_terminator("\n\n").map(str::to_owned).collect(), ended_well)
    };
    timeout(PATIENCE, listen).await.unwrap()
}

fn chunks(events: &[String]) -> Vec<Value> {
    let data = events.iter().filter_map(|event| event.strip_prefix("data: "));
    data.filter_map(|data| serde_json::from_str(data).ok()).collect()
}

#[tokio::test]
async fn an_answer_is_a_chat_completion() {
    let emulator = start().await;
    let body = json!({"model": "gpt-4o", "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "My name is Ann"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "What is my name?"},
    ]});
    let (head, answer) = emulator.post(CHAT, None, body.to_string()).await;
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(answer["choices"][0]["message"]["content"], "Your name is Ann.");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        (&answer["object"], &answer["model"]),
        (&json!("chat.completion"), &json!("gpt-4o"))
    );
    assert!(answer["choices"][0]["message"].get("tool_calls").is_none());
    let state = emulator.state().await;
    assert_eq!(state["models"]["calls"][0]["api"], "chat.completions");
    assert_eq!(state["models"]["calls"][0]["model"], "gpt-4o");
}

#[tokio::test]
async fn a_stream_has_its_role_first_and_its_usage_last() {
    let emulator = start().await;
    let mut body = saying("count to 3");
    body["stream_options"] = json!({"include_usage": true});
    let (events, ended_well) = streamed(&emulator, body).await;
    assert_eq!((events.last().map(String::as_str), ended_well), (Some("data: [DONE]"), true));
    let chunks = chunks(&events);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let text: String =
        chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "1 2 3 ");
    assert_eq!(chunks[4]["choices"][0]["finish_reason"], "stop");
    assert_eq!((&chunks[4]["usage"], &chunks[5]["choices"]), (&Value::Null, &json!([])));
    assert_eq!(chunks[5]["usage"]["completion_tokens"], 3);
    let (events, _) = streamed(&emulator, saying("count to 3")).await;
    assert!(self::chunks(&events).iter().all(|chunk| chunk.get("usage").is_none()));
}

#[tokio::test]
async fn tools_are_called_by_index_and_their_results_told() {
    let emulator = start().await;
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}});
    let mut body = saying("call: first a=1; call: second");
    body["tools"] = json!([tool("first"), tool("second")]);
    let (events, _) = streamed(&emulator, body.clone()).await;
    let chunks = chunks(&events);
    assert_eq!(chunks[0]["choices"][0]["delta"]["content"], Value::Null);
    let calls = |chunk: &Value| chunk["choices"][0]["delta"]["tool_calls"][0].clone();
    let parts: Vec<Value> = chunks.iter().map(calls).filter(|call| !call.is_null()).collect();
    let index = |call: &Value| call["index"].as_u64().unwrap();
    assert_eq!(parts.iter().map(index).collect::<Vec<_>>(), [0, 0, 1, 1]);
    assert_eq!(parts[1]["function"]["arguments"], r#"{"a":1}"#);
    assert_eq!(parts[3]["function"]["arguments"], "{}");
    let (_, answer) = emulator.post(CHAT, None, body.to_string()).await;
    let message = answer["choices"][0]["message"].clone();
    assert_eq!(message["tool_calls"][0]["id"], parts[0]["id"]);
    let results = ["one", "two"].iter().zip(message["tool_calls"].as_array().unwrap());
    let results: Vec<Value> = results
        .map(|(text, call)| json!({"role": "tool", "tool_call_id": call["id"], "content": text}))
        .collect();
    body["messages"].as_array_mut().unwrap().push(message);
    let half = [body["messages"].as_array().unwrap().as_slice(), &results[..1]].concat();
    body["messages"].as_array_mut().unwrap().extend(results);
    let (_, answer) = emulator.post(CHAT, None, body.to_string()).await;
    let told = &answer["choices"][0]["message"]["content"];
    assert_eq!(told, "first says: one second says: two");
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let mut shaped = body.clone();
    shaped["response_format"] =
        json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let (_, answer) = emulator.post(CHAT, None, shaped.to_string()).await;
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["n"].is_i64(), "{text}");
    body["messages"] = json!(half);
    let (head, error) = emulator.post(CHAT, None, body.to_string()).await;
    assert_eq!(head.status(), StatusCode::BAD_REQUEST);
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("did not have response messages"), "{message}");
}

#[tokio::test]
async fn tool_choice_shape_and_effort_are_obeyed() {
    let emulator = start().await;
    let with = |more: Value| {
        let mut body = saying("What is the weather in Paris? Answer in JSON");
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        emulator.post(CHAT, None, body.to_string())
    };
    let tools = json!([
        {"type": "function", "function": {"name": "get_weather"}},
        {"type": "function", "function": {"name": "get_time"}},
    ]);
    let (_, none) = with(json!({"tools": tools, "tool_choice": "none"})).await;
    assert_eq!(none["choices"][0]["finish_reason"], "stop");
    let named = json!({"type": "function", "function": {"name": "get_time"}});
    let (_, named) = with(json!({"tools": tools, "tool_choice": named})).await;
    let calls = &named["choices"][0]["message"]["tool_calls"];
    assert_eq!(calls[0]["function"]["name"], "get_time");
    let (_, object) = with(json!({"response_format": {"type": "json_object"}})).await;
    let text = object["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap().is_object());
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let (_, fitting) = with(json!({"response_format": format})).await;
    let text = fitting["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["city"].is_string());
    let (_, thought) = with(json!({"reasoning_effort": "high"})).await;
    assert!(thought["choices"][0]["message"]["reasoning_content"].is_string());
    assert!(thought["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64() > Some(0));
}

#[tokio::test]
async fn a_call_of_any_tool_is_one_that_fits_or_gives_the_answer() {
    let emulator = start().await;
    let tools = ["get_weather", "give_answer"];
    let tools = tools.map(|name| json!({"type": "function", "function": {"name": name}}));
    for (words, expected) in [("What is the weather?", "get_weather"), ("Well?", "give_answer")] {
        let mut body = saying(words);
        body["tools"] = json!(tools);
        body["tool_choice"] = json!("required");
        let (_, answer) = emulator.post(CHAT, None, body.to_string()).await;
        let calls = answer["choices"][0]["message"]["tool_calls"].as_array().unwrap().clone();
        assert_eq!((calls.len(), &calls[0]["function"]["name"]), (1, &json!(expected)));
    }
}

#[tokio::test]
async fn bad_requests_name_the_member() {
    let emulator = start().await;
    for (more, param) in [
        (json!({"messages": []}), "messages"),
        (json!({"n": 2}), "n"),
        (json!({"temperature": 3}), "temperature"),
        (json!({"stream_options": {"include_usage": true}}), "stream_options"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"response_format": {"type": "json_object"}}), "messages"),
        (json!({"messages": [{"role": "bot", "content": "a"}]}), "messages[0].role"),
        (
            json!({"messages": [{"role": "tool", "content": "a", "tool_call_id": "1"}]}),
            "messages.[0].role",
        ),
        (
            json!({"messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]}),
            "messages[0].content[0].image_url.url",
        ),
    ] {
        let mut body = saying("hello");
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let (head, error) = emulator.post(CHAT, None, body.to_string()).await;
        assert_eq!(head.status(), StatusCode::BAD_REQUEST, "{param}");
        assert_eq!(error["error"]["param"], param, "{error}");
    }
    let (head, error) = emulator.post(CHAT, None, "{".to_owned()).await;
    assert_eq!(head.status(), StatusCode::BAD_REQUEST);
    assert_eq!(error["error"]["type"], "invalid_request_error");
}

#[tokio::test]
async fn a_key_is_checked_where_one_is_expected() {
    let emulator = start().await;
    let body = saying("hello").to_string();
    for (path, key, status) in [
        (CHAT, None, 200),
        (CHAT, Some("Bearer anything"), 200),
        (CHAT, Some("Bearer denied"), 401),
        ("/key/secret/v1/chat/completions", Some("Bearer secret"), 200),
        ("/key/secret/v1/chat/completions", Some("Bearer other"), 401),
        ("/key/secret/v1/chat/completions", None, 401),
    ] {
        let (head, _) = emulator.post(path, key, body.clone()).await;
        assert_eq!(head.status().as_u16(), status, "{path} {key:?}");
    }
    let (head, models) = emulator.request(Method::GET, "/v1/models", None, "").await;
    assert_eq!((head.status(), &models["object"]), (StatusCode::OK, &json!("list")));
    let (head, _) = emulator.request(Method::GET, "/v1/models/missing", None, "").await;
    assert_eq!(head.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn faults_are_told_in_openais_words() {
    let emulator = start().await;
    for (fault, status, code) in [
        ("throttle", 429, json!("rate_limit_exceeded")),
        ("context-overflow", 400, json!("context_length_exceeded")),
        ("quota", 429, json!("insufficient_quota")),
        ("internal", 500, Value::Null),
        ("503", 503, Value::Null),
        ("error-frame", 500, Value::Null),
    ] {
        let body = saying(&format!("hello outcrop-emulator-fault: {fault}"));
        let (head, error) = emulator.post(CHAT, None, body.to_string()).await;
        assert_eq!(head.status().as_u16(), status, "{fault}");
        assert_eq!(error["error"]["code"], code, "{fault}");
    }
    let faulty = |fault: &str| {
        let mut body = saying("count to 9");
        body["metadata"] = json!({"outcrop-emulator-fault": fault});
        body
    };
    let (events, ended_well) = streamed(&emulator, faulty("end:2")).await;
    assert!(ended_well && !events.iter().any(|event| event.contains("[DONE]")));
    assert_eq!(events.len(), 3);
    let (events, _) = streamed(&emulator, faulty("exception:overloaded:2")).await;
    assert_eq!(chunks(&events)[3]["error"]["code"], "overloaded");
    assert!(!streamed(&emulator, faulty("cut:1")).await.1);
    let (events, _) = streamed(&emulator, faulty("garbage:1")).await;
    assert!(events.last().unwrap().ends_with("[garbage"));
}

#[tokio::test]
async fn embeddings_come_in_order() {
    let emulator = start().await;
    let body = json!({"model": "text-embedding-3-small", "input": ["a", "b"], "dimensions": 8});
    let (head, answer) = emulator.post("/v1/embeddings", None, body.to_string()).await;
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(answer["data"][1]["index"], 1);
    assert_eq!(answer["data"][0]["embedding"].as_array().unwrap().len(), 8);
    assert_eq!(answer["usage"]["prompt_tokens"], 2);
}
