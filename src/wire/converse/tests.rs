use std::time::{Duration, SystemTime};

use aws_smithy_eventstream::frame::read_message_from;
use bytes::BytesMut;
use serde_json::{Value, json};

use crate::turn::{
    CacheLife, Confirmation, Effort, Failure, FailureKind, FinishReason, Latency, Part, Role,
    Status, Thought, ToolChoice, TurnEvent, TurnRequest, Usage,
};
use crate::wire::{Defaults, Encoder as _, Options, WireFormat as _};

use super::reply::latency;
use super::stream::Stream;
use super::{Converse, reply};

fn decode(body: &Value) -> TurnRequest {
    Converse.decode(body.to_string().as_bytes(), &Defaults::default()).unwrap().request
}

fn asking(members: Value) -> Value {
    let mut body = json!({ "messages": [{ "role": "user", "content": [{ "text": "hi" }] }] });
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

fn full_turn() -> Vec<TurnEvent> {
    let signed = Thought::Text { text: "hm".to_owned(), signature: Some("sig".to_owned()) };
    vec![
        TurnEvent::Started,
        TurnEvent::Reasoning("hm".into()),
        TurnEvent::Thought(signed.into()),
        TurnEvent::Thought(Thought::Redacted(b"hi".as_slice().into()).into()),
        TurnEvent::Text("Let me see.".into()),
        TurnEvent::ToolCallStarted {
            index: 0,
            id: "t1".into(),
            name: "look_up".into(),
            confirmation: Confirmation::None,
        },
        TurnEvent::ToolCallArguments { index: 0, delta: "{\"a\":1}".into() },
        TurnEvent::Usage(Usage {
            input_tokens: 30,
            output_tokens: 12,
            cached_input_tokens: 10,
            ..Usage::default()
        }),
        TurnEvent::Finished(FinishReason::ToolCalls),
    ]
}

/// The names of a stream's frames with their payloads.
fn frames(events: &[TurnEvent]) -> Vec<String> {
    let now = || SystemTime::UNIX_EPOCH + Duration::from_millis(7);
    frames_with(Options::default(), events, now)
}

fn frames_with(options: Options, events: &[TurnEvent], now: fn() -> SystemTime) -> Vec<String> {
    let mut encoder = Stream::new(SystemTime::UNIX_EPOCH, options, now);
    let mut out = BytesMut::new();
    encoder.open(&mut out);
    for (sequence, event) in (1..).zip(events) {
        encoder.event(sequence, event, &mut out);
    }
    let mut rest = out.freeze();
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let message = read_message_from(&mut rest).unwrap();
        let headers = message.headers();
        let [name, content_type, _] = headers else { panic!("{headers:?}") };
        assert_eq!(content_type.value().as_string().unwrap().as_str(), "application/json");
        let name = name.value().as_string().unwrap().as_str().to_owned();
        frames.push(format!("{name} {}", std::str::from_utf8(message.payload()).unwrap()));
    }
    frames
}

#[test]
fn a_stream_is_these_frames() {
    let expected = [
        r#"messageStart {"role":"assistant"}"#,
        r#"contentBlockDelta {"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}}}"#,
        r#"contentBlockDelta {"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"sig"}}}"#,
        r#"contentBlockStop {"contentBlockIndex":0}"#,
        r#"contentBlockDelta {"contentBlockIndex":1,"delta":{"reasoningContent":{"redactedContent":"aGk="}}}"#,
        r#"contentBlockStop {"contentBlockIndex":1}"#,
        r#"contentBlockDelta {"contentBlockIndex":2,"delta":{"text":"Let me see."}}"#,
        r#"contentBlockStop {"contentBlockIndex":2}"#,
        r#"contentBlockStart {"contentBlockIndex":3,"start":{"toolUse":{"toolUseId":"t1","name":"look_up"}}}"#,
        r#"contentBlockDelta {"contentBlockIndex":3,"delta":{"toolUse":{"input":"{\"a\":1}"}}}"#,
        r#"contentBlockStop {"contentBlockIndex":3}"#,
        r#"messageStop {"stopReason":"tool_use"}"#,
        r#"metadata {"usage":{"inputTokens":20,"outputTokens":12,"totalTokens":42,"cacheReadInputTokens":10,"cacheWriteInputTokens":0},"metrics":{"latencyMs":7}}"#,
    ];
    assert_eq!(frames(&full_turn()), expected);
}

#[test]
fn a_failure_in_a_stream_is_an_exception_of_its_union() {
    let cases = [
        (FailureKind::UpstreamThrottled, "throttlingException"),
        (FailureKind::Overloaded, "serviceUnavailableException"),
        (FailureKind::Internal, "internalServerException"),
        (FailureKind::UpstreamProtocol, "modelStreamErrorException"),
        (FailureKind::UpstreamTimeout, "modelStreamErrorException"),
        (FailureKind::UpstreamRejected, "validationException"),
    ];
    for (kind, name) in cases {
        let failed = TurnEvent::Failed(Failure::new(kind, "so"));
        let frames = frames(&[TurnEvent::Started, TurnEvent::Text("a".into()), failed]);
        assert_eq!(frames.last().unwrap(), &format!("{name} {{\"message\":\"so\"}}"));
    }
}

#[test]
fn a_whole_turn_is_these_bytes() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(7);
    let written =
        reply::write(&full_turn(), Options::default(), latency(SystemTime::UNIX_EPOCH, now));
    let expected = concat!(
        r#"{"output":{"message":{"role":"assistant","content":["#,
        r#"{"reasoningContent":{"reasoningText":{"text":"hm","signature":"sig"}}},"#,
        r#"{"reasoningContent":{"redactedContent":"aGk="}},"#,
        r#"{"text":"Let me see."},"#,
        r#"{"toolUse":{"toolUseId":"t1","name":"look_up","input":{"a":1}}}]}},"#,
        r#""stopReason":"tool_use","usage":{"inputTokens":20,"outputTokens":12,"#,
        r#""totalTokens":42,"cacheReadInputTokens":10,"cacheWriteInputTokens":0},"#,
        r#""metrics":{"latencyMs":7}}"#,
    );
    assert_eq!(written, expected);
}

#[test]
fn every_reason_is_told() {
    let cases = [
        (FinishReason::Stop, "end_turn"),
        (FinishReason::Length, "max_tokens"),
        (FinishReason::ToolCalls, "tool_use"),
        (FinishReason::ContentFilter, "content_filtered"),
        (FinishReason::Interrupted, "end_turn"),
    ];
    for (reason, expected) in cases {
        let frames = frames(&[TurnEvent::Started, TurnEvent::Finished(reason)]);
        assert_eq!(frames[1], format!("messageStop {{\"stopReason\":\"{expected}\"}}"));
    }
}

#[test]
fn messages_of_blocks_become_our_own() {
    let request = decode(&json!({
        "system": [{ "text": "Be brief." }, { "cachePoint": { "type": "default" } }],
        "messages": [
            { "role": "user", "content": [
                { "text": "What is this?" },
                { "image": { "format": "png", "source": { "bytes": "aGk=" } } },
                { "document": { "format": "pdf", "name": "a", "source":
                    { "s3Location": { "uri": "s3://b/k" } } } },
            ] },
            { "role": "assistant", "content": [
                { "reasoningContent": { "reasoningText": { "text": "hm", "signature": "sig" } } },
                { "text": "Let me see." },
                { "toolUse": { "toolUseId": "t1", "name": "look_up", "input": { "a": 1 } } },
            ] },
            { "role": "user", "content": [{ "toolResult": {
                "toolUseId": "t1", "status": "error", "content": [{ "json": { "b": 2 } }],
            } }] },
        ],
    }));
    let [system, user, assistant, result] = &request.messages[..] else {
        panic!("{:?}", request.messages)
    };
    assert_eq!((system.role, system.plain_text().as_str()), (Role::System, "Be brief."));
    let value = |part: &Part| match part {
        Part::Attachment { value, .. } => Value::clone(value),
        Part::Text(text) => panic!("{text}"),
    };
    assert_eq!(value(&user.parts[1])["image_url"]["url"], "data:image/png;base64,aGk=");
    let document = json!({ "filename": "a.pdf", "file_url": "s3://b/k" });
    assert_eq!(value(&user.parts[2]), json!({ "type": "file", "file": document }));
    assert_eq!(assistant.thoughts.len(), 1);
    assert_eq!(assistant.tool_calls[0].arguments, r#"{"a":1}"#);
    assert_eq!((result.role, result.status), (Role::Tool, Status::Failed));
    assert_eq!(result.parts, [Part::Text(r#"{"b":2}"#.to_owned())]);
}

#[test]
fn how_the_answer_is_made_is_read() {
    let request = decode(&asking(json!({
        "inferenceConfig": { "maxTokens": 9_000, "temperature": 0.2, "stopSequences": ["END"] },
        "toolConfig": {
            "tools": [
                { "toolSpec": { "name": "f", "inputSchema": { "json": { "type": "object" } } } },
                { "cachePoint": { "type": "default" } },
            ],
            "toolChoice": { "tool": { "name": "f" } },
        },
        "additionalModelRequestFields": {
            "top_k": 40, "reasoning_config": { "type": "enabled", "budget_tokens": 2_048 },
            "outcrop": { "session_attributes": { "a": "b" } },
        },
        "requestMetadata": { "session_id": "s-9", "user_id": "ann" },
        "performanceConfig": { "latency": "optimized" },
        "serviceTier": { "type": "priority" },
    })));
    let generation = &request.generation;
    assert_eq!((generation.max_tokens, generation.top_k), (Some(9_000), Some(40)));
    assert_eq!(generation.tool_choice, ToolChoice::Named("f".to_owned()));
    assert_eq!(generation.effort, Some(Effort::Medium));
    assert_eq!(generation.service_tier.as_deref(), Some("priority"));
    assert_eq!(request.agent.latency, Some(Latency::Optimized));
    assert_eq!(request.session_attributes["a"], "b");
    assert_eq!(request.tools.len(), 1);
    assert_eq!(request.hints.named.unwrap().as_str(), "s-9");
    assert_eq!(request.hints.speaker.as_deref(), Some("ann"));
}

#[test]
fn what_is_wrong_is_named_where_it_stands() {
    let with = |block: Value| json!({ "messages": [{ "role": "user", "content": [block] }] });
    let cases = [
        (json!({}), "messages"),
        (json!({ "messages": [{ "role": "user" }] }), "messages[0].content"),
        (json!({ "messages": [{ "role": "bot", "content": [] }] }), "messages[0].role"),
        (asking(json!({ "inferenceConfig": { "topP": 2 } })), "inferenceConfig.topP"),
        (asking(json!({ "guardrailConfig": {} })), "guardrailConfig"),
        (
            asking(json!({ "toolConfig": { "tools": [{ "systemTool": { "name": "x" } }] } })),
            "toolConfig.tools[0]",
        ),
        (asking(json!({ "toolConfig": { "toolChoice": { "any": {} } } })), "toolConfig.toolChoice"),
        (with(json!({ "unknown": {} })), "messages[0].content[0]"),
        (with(json!({ "text": 5 })), "messages[0].content[0].text"),
        (
            with(json!({ "image": { "format": "png", "source": {} } })),
            "messages[0].content[0].image.source",
        ),
        (
            with(json!({ "toolUse": { "toolUseId": "a", "name": "f", "input": 5 } })),
            "messages[0].content[0].toolUse.input",
        ),
    ];
    for (body, param) in cases {
        let refused = Converse.decode(body.to_string().as_bytes(), &Defaults::default());
        assert_eq!(refused.unwrap_err().param.as_deref(), Some(param), "{body}");
    }
}

#[test]
fn a_refusal_is_told_as_the_service_tells_it() {
    let cases = [
        (FailureKind::BadRequest, 400, "ValidationException"),
        (FailureKind::InvalidApiKey, 401, "AccessDeniedException"),
        (FailureKind::ModelNotFound, 404, "ResourceNotFoundException"),
        (FailureKind::UpstreamTimeout, 408, "ModelTimeoutException"),
        (FailureKind::UpstreamProtocol, 424, "ModelErrorException"),
        (FailureKind::RateLimited, 429, "ThrottlingException"),
        (FailureKind::Draining, 503, "ServiceUnavailableException"),
    ];
    let request = "req_1".parse().unwrap();
    for (kind, status, name) in cases {
        let failure = Failure::new(kind, "so");
        assert_eq!(Converse.status(kind), status);
        assert_eq!(Converse.refusal(&failure), r#"{"message":"so"}"#);
        let headers = Converse.headers(&request, crate::wire::Replied::Refusal(&failure));
        let expected =
            [("x-amzn-requestid", "req_1".to_owned()), ("x-amzn-errortype", name.to_owned())];
        assert_eq!(headers, expected);
    }
}

#[test]
fn the_text_that_ended_an_answer_is_told_to_who_asked_for_it() {
    let asked = asking(json!({ "additionalModelResponseFieldPaths": ["/stop_sequence", "/x"] }));
    let asked = Converse.decode(asked.to_string().as_bytes(), &Defaults::default()).unwrap();
    let told = |text: Option<&str>, options| {
        let stopped = TurnEvent::StopSequence(text.map(Into::into));
        let events = [TurnEvent::Started, stopped, TurnEvent::Finished(FinishReason::Stop)];
        let whole = reply::write(&events, options, latency(SystemTime::now(), SystemTime::now()));
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        let frames = frames_with(options, &events, SystemTime::now);
        let stop = frames.iter().find_map(|frame| frame.strip_prefix("messageStop "));
        let stop: Value = serde_json::from_str(stop.unwrap()).unwrap();
        for member in ["stopReason", "additionalModelResponseFields"] {
            assert_eq!(stop.get(member), whole.get(member), "{stop} {whole}");
        }
        stop
    };
    let fields = json!({ "stop_sequence": "END" });
    let expected =
        json!({ "stopReason": "stop_sequence", "additionalModelResponseFields": fields });
    assert_eq!(told(Some("END"), asked.options), expected);
    let alone = json!({ "stopReason": "stop_sequence" });
    assert_eq!(told(Some("END"), Options::default()), alone);
    assert_eq!(told(None, asked.options), alone);
}

#[test]
fn cache_points_stand_behind_what_comes_before_them() {
    let point = json!({ "cachePoint": { "type": "default" } });
    let hour = json!({ "cachePoint": { "type": "default", "ttl": "1h" } });
    let request = decode(&json!({
        "system": [{ "text": "Be kind." }, hour],
        "toolConfig": { "tools": [
            { "toolSpec": { "name": "f", "inputSchema": { "json": {} }, "strict": true } }, point,
        ] },
        "messages": [
            { "role": "user", "content": [{ "text": "Long." }, point, { "text": "Short." }] },
            { "role": "assistant", "content": [
                { "toolUse": { "toolUseId": "t", "name": "f", "input": {} } },
            ] },
            { "role": "user", "content": [
                { "toolResult": { "toolUseId": "t", "content": [{ "text": "x" }] } }, hour,
            ] },
        ],
    }));
    let points = request.messages.iter().map(|message| {
        let points = message.cache_points.iter();
        points.map(|point| (point.after, point.life)).collect::<Vec<_>>()
    });
    let (usual, hour) = (CacheLife::FiveMinutes, CacheLife::Hour);
    let expected = [vec![(1, hour)], vec![(1, usual)], vec![], vec![(1, hour)]];
    assert_eq!(points.collect::<Vec<_>>(), expected);
    assert_eq!((request.tools[0].cache, request.tools[0].strict), (Some(usual), Some(true)));
}
