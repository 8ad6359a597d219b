//! Other vendors' dialects, spoken to an agent.

use serde_json::{Value, json};

use super::broker::{Broker, Setup};
use super::client::{Frame, Reply, Request};
use super::frames::EventFrame;

const KEY: &str = "sk-acme-first-key";
/// What the agent answers to a greeting by name.
const NAMED: &str = "Nice to meet you, Ann. How can I help you today?";
const ASKED: &str = "What is my name?";
const REMEMBERED: &str = "Your name is Ann.";

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

fn anthropic(messages: &[Value]) -> Value {
    json!({ "model": "agent", "max_tokens": 100, "messages": messages })
}

fn converse(text: &str) -> Value {
    json!({ "messages": [{ "role": "user", "content": [{ "text": text }] }] })
}

fn native(text: &str) -> Value {
    json!({
        "anthropic_version": "bedrock-2023-05-31", "model": "agent", "max_tokens": 100,
        "messages": [user(text)],
    })
}

/// The same request with a fault upstream.
fn faulty(mut body: Value, fault: &str) -> Value {
    body["outcrop"] = json!({ "prompt_session_attributes": { "outcrop-emulator-fault": fault } });
    body
}

async fn frames(reply: &mut Reply) -> Vec<Frame> {
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, "text/event-stream; charset=utf-8")
    );
    let mut frames = Vec::new();
    while let Some(frame) = reply.frame().await {
        frames.push(frame);
    }
    assert!(reply.is_whole());
    frames
}

fn names(frames: &[Frame]) -> Vec<&str> {
    let mut names: Vec<_> = frames.iter().map(|frame| frame.event.as_str()).collect();
    names.dedup();
    names
}

/// The text in the members that a dialect has for it.
fn said(frames: &[Frame], pointer: &str) -> String {
    let pieces =
        frames.iter().filter_map(|frame| Some(frame.json().pointer(pointer)?.as_str()?.to_owned()));
    pieces.collect()
}

/// The frames of a binary stream: the event or exception, and its payload.
async fn binary_frames(mut reply: Reply) -> Vec<(String, Value)> {
    let frames = EventFrame::all(&mut reply).await;
    frames.into_iter().map(|frame| (frame.name.clone(), frame.json())).collect()
}

/// What is in the chunks of a native stream.
async fn chunks(mut reply: Reply) -> Vec<Value> {
    let frames = EventFrame::all(&mut reply).await;
    let chunks = frames.iter().map(|frame| frame.chunk().unwrap());
    chunks.map(|chunk| serde_json::from_str(&chunk).unwrap()).collect()
}

#[tokio::test]
async fn anthropics_messages_are_answered_whole_and_find_their_session() {
    let broker = Broker::start().await;
    let body = anthropic(&[user("My name is Ann.")]);
    let mut first = broker.post("/v1/messages", &body).send().await;
    assert_eq!(first.header("request-id"), first.header("x-request-id"));
    let session = first.header("x-session-id").to_owned();
    let first = first.json().await;
    assert_eq!((&first["type"], &first["role"]), (&json!("message"), &json!("assistant")));
    assert_eq!(first["content"], json!([{ "type": "text", "text": NAMED }]));
    assert_eq!(first["stop_reason"], "end_turn");
    assert!(first["usage"]["output_tokens"].as_u64() > Some(0), "{first}");
    let again = json!({ "role": "assistant", "content": first["content"] });
    let body = anthropic(&[user("My name is Ann."), again, user(ASKED)]);
    let mut second = broker.post("/v1/messages", &body).send().await;
    assert_eq!(second.header("x-session-id"), session);
    assert_eq!(second.header("x-outcrop-session"), "continued");
    assert_eq!(second.json().await["content"][0]["text"], REMEMBERED);
    let inputs: Vec<_> =
        broker.calls().await.iter().map(|call| call["input_text"].clone()).collect();
    assert_eq!(inputs, [json!("My name is Ann."), json!(ASKED)]);
}

#[tokio::test]
async fn anthropics_messages_stream_as_events_and_can_be_resumed() {
    let broker = Broker::start().await;
    let mut body = anthropic(&[user("count to 5")]);
    body["stream"] = true.into();
    let mut reply = broker.post("/v1/messages", &body).send().await;
    let all = frames(&mut reply).await;
    let expected = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names(&all), expected);
    assert_eq!(said(&all, "/delta/text"), "1 2 3 4 5 ");
    let seen = &all[3];
    let resume = broker.get("/v1/messages").header("last-event-id", &seen.id);
    let rest = frames(&mut resume.send().await).await;
    assert_eq!(rest, all[4..]);
    let without = broker.get("/v1/messages").send().await;
    assert_eq!((without.status, without.header("allow")), (405, "POST"));
}

#[tokio::test]
async fn errors_before_and_in_a_stream_are_anthropics_own() {
    let broker = Broker::start().await;
    let error = async |body: &Value| {
        let mut reply = broker.post("/v1/messages", body).send().await;
        let status = reply.status;
        let error = reply.json().await;
        assert_eq!(error["type"], "error");
        (status, error["error"]["type"].as_str().unwrap().to_owned())
    };
    let unknown = json!({ "model": "no-such", "messages": [user("hello there")] });
    assert_eq!(error(&unknown).await, (404, "not_found_error".to_owned()));
    assert_eq!(error(&json!({})).await, (400, "invalid_request_error".to_owned()));
    let hologram = json!({ "role": "user", "content": [{ "type": "hologram" }] });
    let hologram = anthropic(&[hologram]);
    assert_eq!(error(&hologram).await, (400, "invalid_request_error".to_owned()));
    let mut cut = faulty(anthropic(&[user("count to 5")]), "cut:2");
    cut["stream"] = true.into();
    let frames = frames(&mut broker.post("/v1/messages", &cut).send().await).await;
    let last = frames.last().unwrap();
    assert_eq!(
        (last.event.as_str(), &last.json()["error"]["type"]),
        ("error", &json!("api_error"))
    );
}

#[tokio::test]
async fn tokens_are_counted_without_asking_anybody() {
    let broker = Broker::start().await;
    let body = anthropic(&[user("How much wood would a woodchuck chuck?")]);
    let mut reply = broker.post("/v1/messages/count_tokens", &body).send().await;
    assert_eq!(reply.status, 200);
    let counted = reply.json().await["input_tokens"].as_u64().unwrap();
    assert!((5..=30).contains(&counted), "{counted}");
    let unknown = json!({ "model": "no-such", "messages": [user("hello there")] });
    let unknown = broker.post("/v1/messages/count_tokens", &unknown).send().await;
    assert_eq!(unknown.status, 404);
    assert_eq!(broker.calls().await.len(), 0);
}

#[tokio::test]
async fn a_call_that_an_agent_hands_over_is_a_tool_use_block() {
    let broker = Broker::start().await;
    let text = "call: get_forecast city=Oslo days=3";
    let mut whole = broker.post("/v1/messages", &anthropic(&[user(text)])).send().await;
    let whole = whole.json().await;
    let call = &whole["content"][0];
    assert_eq!((&call["type"], &whole["stop_reason"]), (&json!("tool_use"), &json!("tool_use")));
    assert_eq!(call["input"]["city"], "Oslo");
    let reply = broker.post("/model/agent/converse-stream", &converse(text)).send().await;
    let frames = binary_frames(reply).await;
    let find = |wanted: &str| {
        let frame = frames.iter().find(|(name, _)| name == wanted);
        frame.unwrap_or_else(|| panic!("no {wanted} in {frames:?}")).1.clone()
    };
    let start = find("contentBlockStart");
    assert_eq!(start["start"]["toolUse"]["name"], call["name"]);
    let input = find("contentBlockDelta")["delta"]["toolUse"]["input"].clone();
    let input: Value = serde_json::from_str(input.as_str().unwrap()).unwrap();
    assert_eq!(input["city"], "Oslo");
    assert_eq!(find("messageStop")["stopReason"], "tool_use");
}

#[tokio::test]
async fn on_the_chat_paths_the_body_tells_the_dialect() {
    let broker = Broker::start().await;
    let titan = json!({ "model": "agent", "inputText": "User: My name is Ann.\nBot:" });
    let openai = json!({ "model": "agent", "messages": [user("My name is Ann.")] });
    let cases = [
        (native("My name is Ann."), "/content/0/text", "/stop_reason", "end_turn"),
        (titan, "/results/0/outputText", "/results/0/completionReason", "FINISH"),
        (openai, "/choices/0/message/content", "/choices/0/finish_reason", "stop"),
    ];
    for (mut body, text, reason, expected) in cases {
        let whole = broker.post("/v1/chat/completions", &body).send().await.json().await;
        assert_eq!(whole.pointer(text), Some(&json!(NAMED)), "{whole}");
        assert_eq!(whole.pointer(reason), Some(&json!(expected)), "{whole}");
        body["stream"] = true.into();
        let reply = &mut broker.post("/v1/chat/completions", &body).send().await;
        let frames = frames(reply).await;
        let pieces = ["/delta/text", "/outputText", "/choices/0/delta/content"];
        let heard: String = pieces.iter().map(|pointer| said(&frames, pointer)).collect();
        assert_eq!(heard, NAMED);
    }
}

#[tokio::test]
async fn the_answer_comes_in_the_format_that_is_asked_for() {
    let broker = Broker::start().await;
    let openai = json!({ "model": "agent", "messages": [user("My name is Ann.")] });
    let ask = async |body: &Value, target: &str| {
        let path = format!("/v1/chat/completions?target_format={target}");
        let mut reply = broker.post(&path, body).send().await;
        (reply.status, reply.json().await)
    };
    let (_, claude) = ask(&openai, "bedrock_claude").await;
    assert_eq!(claude["content"][0]["text"], NAMED);
    let (_, titan) = ask(&native("My name is Ann."), "bedrock_titan").await;
    assert_eq!(titan["results"][0]["outputText"], NAMED);
    let (_, chat) = ask(&native("My name is Ann."), "openai").await;
    assert_eq!(chat["choices"][0]["message"]["content"], NAMED);
    let (status, error) = ask(&openai, "gemini").await;
    assert_eq!((status, &error["error"]["param"]), (400, &json!("target_format")));
    let message = error["error"]["message"].as_str().unwrap();
    for target in ["openai", "bedrock_claude", "bedrock_titan"] {
        assert!(message.contains(target), "{message}");
    }
    let mut tools = openai.clone();
    tools["tools"] = json!([{ "type": "function", "function": { "name": "f" } }]);
    let (status, error) = ask(&tools, "bedrock_titan").await;
    assert_eq!(status, 400, "{error}");
    assert!(error["message"].as_str().unwrap().starts_with("tools must be left out"), "{error}");
    let (status, error) = ask(&json!({ "model": "agent" }), "bedrock_claude").await;
    assert_eq!((status, &error["error"]["type"]), (400, &json!("invalid_request_error")));
    assert_eq!(error["type"], "error");
}

#[tokio::test]
async fn a_converted_stream_goes_on_where_it_broke_off_in_its_own_format() {
    let broker = Broker::start().await;
    let body = json!({ "model": "agent", "stream": true, "messages": [user("count to 5")] });
    let path = "/v1/chat/completions?target_format=bedrock_claude";
    let all = frames(&mut broker.post(path, &body).send().await).await;
    let resume = broker.get(path).header("last-event-id", &all[4].id);
    assert_eq!(frames(&mut resume.send().await).await, all[5..]);
}

#[tokio::test]
async fn converse_is_answered_whole_and_as_frames() {
    let broker = Broker::start().await;
    let mut body = converse("My name is Ann.");
    body["requestMetadata"] = json!({ "session_id": "ann-1" });
    let mut reply = broker.post("/model/agent/converse", &body).send().await;
    assert_eq!(reply.header("x-amzn-requestid"), reply.header("x-request-id"));
    assert_eq!(reply.header("x-session-id"), "ann-1");
    let whole = reply.json().await;
    let message = &whole["output"]["message"];
    assert_eq!(message, &json!({ "role": "assistant", "content": [{ "text": NAMED }] }));
    assert_eq!(whole["stopReason"], "end_turn");
    assert!(whole["usage"]["totalTokens"].as_u64() > Some(0), "{whole}");
    body["messages"][0]["content"][0]["text"] = ASKED.into();
    let reply = broker.post("/model/agent/converse-stream", &body).send().await;
    let frames = binary_frames(reply).await;
    let mut names: Vec<_> = frames.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    let expected =
        ["messageStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"];
    assert_eq!(names, expected);
    let text = frames.iter().filter_map(|(_, payload)| payload["delta"]["text"].as_str());
    assert_eq!(text.collect::<String>(), REMEMBERED);
}

#[tokio::test]
async fn the_id_in_the_path_is_the_model_percent_encoded() {
    let broker =
        Broker::with(Setup { settings: "routing.allow_direct = true", ..Setup::default() }).await;
    let path = "/model/bedrock%2Fagent%2FOTHER12345%2FTSTALIASID/converse";
    let mut reply = broker.post(path, &converse("My name is Ann.")).send().await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json().await["output"]["message"]["content"][0]["text"], NAMED);
    let unknown = broker.post("/model/no%3Asuch/converse", &converse("hello there")).send().await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.header("x-amzn-errortype"), "ResourceNotFoundException");
}

#[tokio::test]
async fn native_bodies_are_invoked_whole_and_as_chunks() {
    let broker = Broker::start().await;
    let claude = native("My name is Ann.");
    let titan = json!({ "inputText": "My name is Ann." });
    let cases = [
        (claude, "/content/0/text", "/delta/text"),
        (titan, "/results/0/outputText", "/outputText"),
    ];
    for (body, whole_text, piece) in cases {
        let mut reply = broker.post("/model/agent/invoke", &body).send().await;
        assert_ne!(reply.header("x-amzn-bedrock-output-token-count"), "");
        assert_eq!(reply.json().await.pointer(whole_text), Some(&json!(NAMED)));
        let path = "/model/agent/invoke-with-response-stream";
        let reply = broker.post(path, &body).send().await;
        assert_eq!(reply.header("x-amzn-bedrock-content-type"), "application/json");
        let chunks = chunks(reply).await;
        let pieces = chunks.iter().filter_map(|chunk| chunk.pointer(piece)?.as_str());
        assert_eq!(pieces.collect::<String>(), NAMED);
        let last = chunks.last().unwrap();
        assert!(last["amazon-bedrock-invocationMetrics"].is_object(), "{last}");
    }
    let guarded = broker.post("/model/agent/invoke", &native("hello there"));
    let guarded = guarded.header("x-amzn-bedrock-guardrailidentifier", "abc").send().await;
    assert_eq!(guarded.status, 400);
    let neither = broker.post("/model/agent/invoke", &json!({ "prompt": "hi" })).send().await;
    assert_eq!(neither.status, 400);
    assert_eq!(neither.header("x-amzn-errortype"), "ValidationException");
}

#[tokio::test]
async fn what_fails_in_a_binary_stream_is_an_exception() {
    let broker = Broker::start().await;
    let attributes = json!({ "prompt_session_attributes": { "outcrop-emulator-fault": "cut:2" } });
    let mut body = converse("count to 5");
    body["additionalModelRequestFields"] = json!({ "outcrop": attributes });
    let reply = broker.post("/model/agent/converse-stream", &body).send().await;
    let frames = binary_frames(reply).await;
    let (name, payload) = frames.last().unwrap();
    assert_eq!(name, "modelStreamErrorException");
    assert!(payload["message"].is_string());
    let body = faulty(native("count to 5"), "cut:2");
    let path = "/model/agent/invoke-with-response-stream";
    let frames = binary_frames(broker.post(path, &body).send().await).await;
    assert_eq!(frames.last().unwrap().0, "modelStreamErrorException");
}

#[tokio::test]
async fn a_refusal_at_the_gate_is_in_the_dialect_of_the_path() {
    let tables = format!("[[keys]]\ntenant = \"acme\"\nkey = \"{KEY}\"\nrequests_per_minute = 1\n");
    let broker = Broker::with(Setup { tables: &tables, ..Setup::default() }).await;
    broker.keep_secret(KEY);
    let converse = broker.post("/model/agent/converse", &converse("hello there"));
    let messages = broker.post("/v1/messages", &anthropic(&[user("hello there")]));
    let signed = "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260101/us-east-1/bedrock/aws4_request, \
                  SignedHeaders=host, Signature=00";
    let mut refused = converse.clone().header("authorization", signed).send().await;
    assert_eq!(
        (refused.status, refused.header("x-amzn-errortype")),
        (401, "AccessDeniedException")
    );
    let message = refused.json().await["message"].as_str().unwrap().to_owned();
    assert!(message.contains("x-api-key") && message.contains("AWS_BEARER_TOKEN_BEDROCK"));
    let error = async |request: Request| {
        let mut reply = request.send().await;
        (reply.status, reply.json().await["error"]["type"].clone())
    };
    assert_eq!(error(messages.clone()).await, (401, json!("authentication_error")));
    let both = converse.header("authorization", signed).header("x-api-key", KEY);
    assert_eq!(both.clone().send().await.status, 200);
    assert_eq!(error(messages.header("x-api-key", KEY)).await, (429, json!("rate_limit_error")));
    let limited = both.send().await;
    assert_eq!((limited.status, limited.header("x-amzn-errortype")), (429, "ThrottlingException"));
    let wrong = broker.request("PUT", "/v1/messages").send().await.json().await;
    assert_eq!(wrong["error"]["type"], "invalid_request_error");
    assert_eq!(wrong["type"], "error");
}

#[tokio::test]
async fn a_silent_agent_is_covered_by_pings() {
    let settings = "server.keep_alive_seconds = 0.05";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let mut body = faulty(anthropic(&[user("hello there")]), "thinking:300");
    body["stream"] = true.into();
    let frames = frames(&mut broker.post("/v1/messages", &body).send().await).await;
    let names = names(&frames);
    assert_eq!(names[..2], ["message_start", "ping"]);
    assert_eq!(names.last(), Some(&"message_stop"));
}

const MODEL: &str = "[[models]]\nname = \"claude\"\nbackend = \"bedrock\"\n\
                     model_id = \"us.anthropic.claude-sonnet-4-20250514-v1:0\"\n";
/// What a model thinks, says and calls, and says again when it has the results.
const SCRIPT: &str = "think: I should look.; say: Let me look.; \
                      call: get_weather city=Oslo; call: get_time city=Oslo; then say: It rains.";

async fn with_model() -> Broker {
    Broker::with(Setup { tables: MODEL, ..Setup::default() }).await
}

fn kinds(content: &Value) -> Vec<&str> {
    content.as_array().unwrap().iter().map(|block| block["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_model_thinks_calls_and_goes_on_in_anthropics_dialect() {
    let broker = with_model().await;
    let tool = |name| json!({ "name": name, "input_schema": { "type": "object" } });
    let body = |messages: &[Value]| {
        json!({
            "model": "claude", "max_tokens": 4_000, "messages": messages,
            "thinking": { "type": "enabled", "budget_tokens": 1_500 },
            "tools": [tool("get_weather"), tool("get_time")],
        })
    };
    let first = broker.post("/v1/messages", &body(&[user(SCRIPT)])).send().await.json().await;
    let content = &first["content"];
    let expected = ["thinking", "text", "tool_use", "tool_use"];
    assert_eq!(kinds(content), expected, "{first}");
    assert_eq!(content[0]["thinking"], "I should look.");
    assert_ne!(content[0]["signature"], "");
    assert_eq!(content[2]["input"], json!({ "city": "Oslo" }));
    assert_eq!(first["stop_reason"], "tool_use");
    let result = |at: usize, text: &str| {
        let call = content[at]["id"].clone();
        json!({ "type": "tool_result", "tool_use_id": call, "content": text })
    };
    let assistant = json!({ "role": "assistant", "content": content });
    let results = json!({ "role": "user", "content": [result(2, "rain"), result(3, "noon")] });
    let mut second = body(&[user(SCRIPT), assistant, results]);
    second["stream"] = true.into();
    let mut reply = broker.post("/v1/messages", &second).send().await;
    assert_eq!(reply.header("x-outcrop-session"), "continued");
    let frames = frames(&mut reply).await;
    assert_eq!(
        said(&frames, "/delta/text"),
        "get_weather says: rain get_time says: noon It rains."
    );
    assert_eq!(names(&frames).last(), Some(&"message_stop"));
}

#[tokio::test]
async fn a_model_thinks_calls_and_goes_on_by_converse() {
    let broker = with_model().await;
    let tool = |name| json!({ "toolSpec": { "name": name, "inputSchema": { "json": { "type": "object" } } } });
    let body = |messages: &[Value]| {
        json!({
            "messages": messages,
            "inferenceConfig": { "maxTokens": 4_000 },
            "toolConfig": { "tools": [tool("get_weather"), tool("get_time")] },
            "additionalModelRequestFields": {
                "thinking": { "type": "enabled", "budget_tokens": 1_500 },
            },
        })
    };
    let asked = json!({ "role": "user", "content": [{ "text": SCRIPT }] });
    let mut first =
        broker.post("/model/claude/converse", &body(std::slice::from_ref(&asked))).send().await;
    let first = first.json().await;
    let message = &first["output"]["message"];
    let thought = &message["content"][0]["reasoningContent"]["reasoningText"];
    assert_eq!(thought["text"], "I should look.", "{first}");
    assert!(thought["signature"].is_string());
    assert_eq!(first["stopReason"], "tool_use");
    let calls = message["content"].as_array().unwrap();
    let results = calls.iter().filter_map(|block| block["toolUse"]["toolUseId"].as_str());
    let results = results.map(
        |call| json!({ "toolResult": { "toolUseId": call, "content": [{ "text": "rain" }] } }),
    );
    let results = json!({ "role": "user", "content": results.collect::<Vec<_>>() });
    let second = body(&[asked, message.clone(), results]);
    let reply = broker.post("/model/claude/converse-stream", &second).send().await;
    let frames = binary_frames(reply).await;
    let text = frames.iter().filter_map(|(_, payload)| payload["delta"]["text"].as_str());
    assert_eq!(text.collect::<String>(), "get_weather says: rain get_time says: rain It rains.");
    assert_eq!(frames.last().unwrap().0, "metadata");
}

#[tokio::test]
async fn a_model_sees_the_pictures_and_documents_of_every_dialect() {
    const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let broker = with_model().await;
    let mut body = json!({ "model": "claude", "max_tokens": 500, "messages": [{ "role": "user", "content": [
        { "type": "text", "text": "Look at this." },
        { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": PIXEL } },
        { "type": "document", "title": "House rules",
          "source": { "type": "text", "media_type": "text/plain", "data": "Be kind." } },
    ] }] });
    let seen = |text: &str| text.contains("image (png") && text.contains("document");
    let answer = broker.post("/v1/messages", &body).send().await.json().await;
    assert!(seen(answer["content"][0]["text"].as_str().unwrap()), "{answer}");
    body["anthropic_version"] = "bedrock-2023-05-31".into();
    let answer = broker.post("/model/claude/invoke", &body).send().await.json().await;
    assert!(seen(answer["content"][0]["text"].as_str().unwrap()), "{answer}");
    let body = json!({ "messages": [{ "role": "user", "content": [
        { "text": "Look at this." },
        { "image": { "format": "png", "source": { "bytes": PIXEL } } },
        { "document": { "format": "txt", "name": "House rules", "source": { "bytes": "QmUga2luZC4=" } } },
    ] }] });
    let answer = broker.post("/model/claude/converse", &body).send().await.json().await;
    let text = answer["output"]["message"]["content"][0]["text"].as_str().unwrap();
    assert!(seen(text), "{answer}");
}

#[tokio::test]
async fn every_dialect_tells_why_a_model_stopped() {
    let broker = with_model().await;
    let cases = [
        ("max_tokens", "max_tokens", "max_tokens", "LENGTH"),
        ("content_filtered", "refusal", "content_filtered", "CONTENT_FILTERED"),
    ];
    for (reason, claude, converse_reason, titan) in cases {
        let text = format!("say: We offer loans; stop: {reason}");
        let mut body = native(&text);
        body["model"] = "claude".into();
        let path = "/v1/chat/completions";
        let answer = broker.post(path, &body).send().await.json().await;
        assert_eq!(answer["stop_reason"], claude, "{answer}");
        let body = json!({ "model": "claude", "inputText": text });
        let answer = broker.post(path, &body).send().await.json().await;
        assert_eq!(answer["results"][0]["completionReason"], titan, "{answer}");
        let path = "/model/claude/converse";
        let answer = broker.post(path, &converse(&text)).send().await.json().await;
        assert_eq!(answer["stopReason"], converse_reason, "{answer}");
    }
}
