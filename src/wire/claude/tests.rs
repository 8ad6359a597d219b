use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use serde_json::{Value, json};

use crate::turn::{
    AnswerFormat, CacheLife, CachePoint, Confirmation, Effort, FailureKind, FinishReason,
    ModelName, Part, Role, Status, Thought, ToolChoice, TurnEvent, Usage,
};
use crate::wire::{Asked, Defaults, Encoder as _, FORMATS, Head, Options, WireFormat as _};

use super::events::{Events, Framing};
use super::{Anthropic, ClaudeInvoke, ClaudeNative};

fn head() -> Head {
    Head {
        turn: "turn_0a1b".parse().unwrap(),
        session: "s-1".parse().unwrap(),
        request: "req_1".parse().unwrap(),
        model: "claude".parse().unwrap(),
        created: SystemTime::UNIX_EPOCH,
        agent: None,
        previous: None,
        is_background: false,
        echo: None,
    }
}

fn decode(body: &Value) -> Asked {
    Anthropic.decode(body.to_string().as_bytes(), &Defaults::default()).unwrap()
}

/// The member at fault, and what is said of it.
fn refusal(body: &Value) -> (String, String) {
    let failure = Anthropic.decode(body.to_string().as_bytes(), &Defaults::default()).unwrap_err();
    (failure.param.unwrap_or_default().into(), failure.message.into())
}

fn asking(members: Value) -> Value {
    let mut body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

fn thought(text: &str) -> TurnEvent {
    let signature = Some("sig".to_owned());
    TurnEvent::Thought(Thought::Text { text: text.to_owned(), signature }.into())
}

fn call(index: u32) -> TurnEvent {
    TurnEvent::ToolCallStarted {
        index,
        id: format!("call_{index}").into(),
        name: "look_up".into(),
        confirmation: Confirmation::None,
    }
}

/// A turn with some of everything that the format can say.
fn full_turn() -> Vec<TurnEvent> {
    vec![
        TurnEvent::Started,
        TurnEvent::Reasoning("hm".into()),
        thought("hm"),
        TurnEvent::Thought(Thought::Redacted(b"hi".as_slice().into()).into()),
        TurnEvent::Text("Let me ".into()),
        TurnEvent::Text("see.\n".into()),
        call(0),
        TurnEvent::ToolCallArguments { index: 0, delta: "{\"a\":".into() },
        TurnEvent::ToolCallArguments { index: 0, delta: "1}".into() },
        call(1),
        TurnEvent::Usage(Usage {
            input_tokens: 30,
            output_tokens: 12,
            cached_input_tokens: 10,
            ..Usage::default()
        }),
        TurnEvent::Finished(FinishReason::ToolCalls),
    ]
}

fn stream(events: &[TurnEvent]) -> String {
    let mut encoder = Anthropic.encoder(head(), Options::default());
    let mut out = BytesMut::new();
    encoder.open(&mut out);
    for (sequence, event) in (1..).zip(events) {
        encoder.event(sequence, event, &mut out);
    }
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn a_stream_is_these_bytes() {
    let frame = |id: u32, kind: &str, data: &str| {
        format!("id: turn_0a1b:{id}\nevent: {kind}\ndata: {{\"type\":\"{kind}\"{data}}}\n\n")
    };
    let usage = |input: u32, cached: u32, output: u32| {
        format!(
            "{{\"input_tokens\":{input},\"cache_creation_input_tokens\":0,\
             \"cache_read_input_tokens\":{cached},\"output_tokens\":{output}}}"
        )
    };
    let start = |id, at, block: &str| {
        frame(id, "content_block_start", &format!(",\"index\":{at},\"content_block\":{{{block}}}"))
    };
    let delta = |id, at, piece: &str| {
        frame(id, "content_block_delta", &format!(",\"index\":{at},\"delta\":{{{piece}}}"))
    };
    let stop = |id, at| frame(id, "content_block_stop", &format!(",\"index\":{at}"));
    let opening = format!(
        ",\"message\":{{\"id\":\"msg_0a1b\",\"type\":\"message\",\"role\":\"assistant\",\
         \"model\":\"claude\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\
         \"usage\":{}}}",
        usage(0, 0, 0)
    );
    let ending = format!(
        ",\"delta\":{{\"stop_reason\":\"tool_use\",\"stop_sequence\":null}},\"usage\":{}",
        usage(20, 10, 12)
    );
    let expected = [
        frame(0, "message_start", &opening),
        start(1, 0, r#""type":"thinking","thinking":"","signature":"""#),
        delta(2, 0, r#""type":"thinking_delta","thinking":"hm""#),
        delta(2, 0, r#""type":"signature_delta","signature":"sig""#),
        stop(3, 0),
        start(3, 1, r#""type":"redacted_thinking","data":"aGk=""#),
        stop(4, 1),
        start(4, 2, r#""type":"text","text":"""#),
        delta(5, 2, r#""type":"text_delta","text":"Let me ""#),
        delta(6, 2, r#""type":"text_delta","text":"see.\n""#),
        stop(6, 2),
        start(7, 3, r#""type":"tool_use","id":"call_0","name":"look_up","input":{}"#),
        delta(8, 3, r#""type":"input_json_delta","partial_json":"{\"a\":""#),
        delta(9, 3, r#""type":"input_json_delta","partial_json":"1}""#),
        stop(9, 3),
        start(10, 4, r#""type":"tool_use","id":"call_1","name":"look_up","input":{}"#),
        stop(11, 4),
        frame(11, "message_delta", &ending),
        frame(12, "message_stop", ""),
    ];
    let written = stream(&full_turn());
    let frames: Vec<_> = written.split_inclusive("\n\n").collect();
    assert_eq!(frames, expected);
}

#[test]
fn a_whole_turn_is_these_bytes() {
    let expected = concat!(
        r#"{"id":"msg_0a1b","type":"message","role":"assistant","model":"claude","content":["#,
        r#"{"type":"thinking","thinking":"hm","signature":"sig"},"#,
        r#"{"type":"redacted_thinking","data":"aGk="},"#,
        r#"{"type":"text","text":"Let me see.\n"},"#,
        r#"{"type":"tool_use","id":"call_0","name":"look_up","input":{"a":1}},"#,
        r#"{"type":"tool_use","id":"call_1","name":"look_up","input":{}}],"#,
        r#""stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":20,"#,
        r#""cache_creation_input_tokens":0,"cache_read_input_tokens":10,"output_tokens":12}}"#,
    );
    assert_eq!(Anthropic.whole(&head(), Options::default(), &full_turn()), expected);
}

#[test]
fn every_reason_is_told() {
    let cases = [
        (FinishReason::Stop, "end_turn"),
        (FinishReason::Length, "max_tokens"),
        (FinishReason::ToolCalls, "tool_use"),
        (FinishReason::ContentFilter, "refusal"),
        (FinishReason::Interrupted, "end_turn"),
    ];
    for (reason, expected) in cases {
        let events = [TurnEvent::Started, TurnEvent::Finished(reason)];
        let whole = Anthropic.whole(&head(), Options::default(), &events);
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!(whole["stop_reason"], expected);
        let streamed = stream(&events);
        assert!(streamed.contains(&format!("\"stop_reason\":\"{expected}\"")), "{streamed}");
    }
}

#[test]
fn an_error_in_a_stream_leaves_the_block_open_and_stands_in_a_frame_of_its_own() {
    let failure = crate::turn::Failure::new(FailureKind::UpstreamProtocol, "cut off");
    let events = [TurnEvent::Started, TurnEvent::Text("a".into()), TurnEvent::Failed(failure)];
    let written = stream(&events);
    let expected = concat!(
        "\"text\":\"a\"}}\n\n",
        "id: turn_0a1b:3\nevent: error\n",
        "data: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"cut off\"}}\n\n",
    );
    assert!(written.ends_with(expected), "{written}");
}

#[test]
fn a_resumed_stream_goes_on_in_the_block_where_it_broke_off() {
    let events = full_turn();
    let written = stream(&events);
    let mut encoder = Anthropic.encoder(head(), Options::default());
    events[..5].iter().for_each(|event| encoder.skip(event));
    let mut out = BytesMut::new();
    for (sequence, event) in (6..).zip(&events[5..]) {
        encoder.event(sequence, event, &mut out);
    }
    let (_, rest) = written.split_once("\"text\":\"Let me \"}}\n\n").unwrap();
    assert_eq!(std::str::from_utf8(&out).unwrap(), rest);
}

#[test]
fn in_frames_the_last_event_tells_how_long_it_took() {
    let now = || SystemTime::UNIX_EPOCH + Duration::from_millis(70);
    let mut encoder = Events::new(&head(), Framing::Frames, now);
    let mut out = BytesMut::new();
    for (sequence, event) in (1..).zip(&full_turn()) {
        encoder.event(sequence, event, &mut out);
    }
    let payloads = crate::wire::tests::payloads(&out);
    let last: Value = serde_json::from_str(payloads.last().unwrap()).unwrap();
    let metrics = json!({
        "inputTokenCount": 20, "outputTokenCount": 12, "invocationLatency": 70,
        "firstByteLatency": 70, "cacheReadInputTokenCount": 10, "cacheWriteInputTokenCount": 0,
    });
    let expected = json!({ "type": "message_stop", "amazon-bedrock-invocationMetrics": metrics });
    assert_eq!(last, expected);
    assert!(crate::wire::tests::payloads(encoder.keep_alive())[0].contains("ping"));
}

#[test]
fn a_failure_has_the_apis_types_and_statuses() {
    let cases = [
        (FailureKind::BadRequest, 400, "invalid_request_error"),
        (FailureKind::InvalidApiKey, 401, "authentication_error"),
        (FailureKind::ModelNotAllowed, 403, "permission_error"),
        (FailureKind::ModelNotFound, 404, "not_found_error"),
        (FailureKind::TooLarge, 413, "request_too_large"),
        (FailureKind::RateLimited, 429, "rate_limit_error"),
        (FailureKind::Internal, 500, "api_error"),
        (FailureKind::UpstreamTimeout, 504, "timeout_error"),
        (FailureKind::Overloaded, 529, "overloaded_error"),
    ];
    for (kind, status, error_type) in cases {
        assert_eq!(Anthropic.status(kind), status);
        let body = Anthropic.refusal(&crate::turn::Failure::new(kind, "so"));
        let expected = json!({ "type": "error", "error": { "type": error_type, "message": "so" } });
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
    }
}

#[test]
fn messages_of_blocks_become_our_own() {
    let body = json!({
        "model": "claude", "max_tokens": 100, "stream": true, "system": "Be brief.",
        "messages": [
            { "role": "user", "content": [
                { "type": "text", "text": "What is this?", "cache_control": { "type": "ephemeral" } },
                { "type": "image", "source":
                    { "type": "base64", "media_type": "image/png", "data": "aGk=" } },
            ] },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "hm", "signature": "sig" },
                { "type": "redacted_thinking", "data": "aGk=" },
                { "type": "text", "text": "Let me " },
                { "type": "tool_use", "id": "t1", "name": "look_up", "input": { "a": 1 } },
                { "type": "text", "text": "see." },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t1", "is_error": true, "content": "no" },
                { "type": "text", "text": "Again." },
            ] },
        ],
    });
    let Asked { request, stream, options } = decode(&body);
    assert!(stream && options.include_usage);
    assert_eq!(request.model, Some("claude".parse::<ModelName>().unwrap()));
    let [system, user, assistant, result, again] = &request.messages[..] else {
        panic!("{:?}", request.messages)
    };
    assert_eq!((system.role, system.plain_text().as_str()), (Role::System, "Be brief."));
    let Part::Attachment { kind, value } = &user.parts[1] else { panic!("{user:?}") };
    assert_eq!(kind, "image_url");
    assert_eq!(value["image_url"]["url"], "data:image/png;base64,aGk=");
    assert_eq!(assistant.parts, [Part::Text("Let me see.".to_owned())]);
    let signature = Some("sig".to_owned());
    let expected = [
        Thought::Text { text: "hm".to_owned(), signature },
        Thought::Redacted(b"hi".as_slice().into()),
    ];
    assert_eq!(assistant.thoughts, expected);
    assert_eq!(assistant.tool_calls[0].arguments, r#"{"a":1}"#);
    assert_eq!((result.role, result.status), (Role::Tool, Status::Failed));
    assert_eq!(result.tool_call_id.as_deref(), Some("t1"));
    assert_eq!((again.role, again.plain_text().as_str()), (Role::User, "Again."));
}

#[test]
fn how_the_answer_is_made_is_read() {
    let body = asking(json!({
        "max_tokens": 20_000, "temperature": 0.5, "top_p": 1, "top_k": 40,
        "stop_sequences": ["END"], "service_tier": "standard_only",
        "tools": [{ "type": "custom", "name": "f", "description": "d", "input_schema": {} }],
        "tool_choice": { "type": "any", "disable_parallel_tool_use": true },
        "thinking": { "type": "enabled", "budget_tokens": 5_000 },
        "output_config": { "format": { "type": "json_schema", "schema": { "type": "object" } } },
        "metadata": { "user_id": "ann", "session_id": "s-9" },
    }));
    let request = decode(&body).request;
    let generation = &request.generation;
    assert_eq!((generation.max_tokens, generation.top_k), (Some(20_000), Some(40)));
    assert_eq!((generation.temperature, generation.top_p), (Some(0.5), Some(1.0)));
    assert_eq!(generation.stop, ["END"]);
    assert_eq!(generation.service_tier.as_deref(), Some("default"));
    assert_eq!(generation.tool_choice, ToolChoice::Required);
    assert_eq!(generation.parallel_tool_calls, Some(false));
    assert_eq!(generation.effort, Some(Effort::High));
    assert_eq!((generation.thinking_budget, generation.extra.len()), (Some(5_000), 0));
    assert!(matches!(&generation.format, AnswerFormat::JsonSchema(schema) if schema.strict));
    assert_eq!(request.tools[0].name, "f");
    assert_eq!(request.hints.speaker.as_deref(), Some("ann"));
    assert_eq!(request.hints.named.unwrap().as_str(), "s-9");
}

#[test]
fn a_choice_of_none_takes_the_offer_back() {
    let body = asking(json!({
        "tools": [{ "name": "f", "input_schema": {} }], "tool_choice": { "type": "none" },
    }));
    let request = decode(&body).request;
    assert_eq!((request.tools.len(), request.generation.tool_choice), (0, ToolChoice::None));
}

#[test]
fn thinking_can_be_adaptive_hidden_or_off() {
    let effort = |thinking: Value| {
        let request = decode(&asking(json!({ "thinking": thinking }))).request;
        (request.generation.effort, request.wants_reasoning)
    };
    assert_eq!(effort(json!({ "type": "disabled" })), (Some(Effort::None), None));
    assert_eq!(effort(json!({ "type": "adaptive" })), (Some(Effort::High), None));
    let hidden = json!({ "type": "adaptive", "display": "omitted" });
    assert_eq!(effort(hidden), (Some(Effort::High), Some(false)));
}

#[test]
fn what_is_wrong_is_named_where_it_stands() {
    let with = |block: Value| json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "a" }, block] }] });
    let cases = [
        (json!({}), "messages"),
        (json!({ "messages": [] }), "messages"),
        (asking(json!({ "max_tokens": 0 })), "max_tokens"),
        (asking(json!({ "temperature": 1.5 })), "temperature"),
        (asking(json!({ "stop_sequences": ["a", ""] })), "stop_sequences[1]"),
        (asking(json!({ "tools": [{ "type": "web_search_20250305" }] })), "tools[0].type"),
        (asking(json!({ "tools": [{ "name": "a b" }] })), "tools[0].name"),
        (asking(json!({ "tool_choice": { "type": "any" } })), "tool_choice"),
        (asking(json!({ "thinking": { "type": "enabled" } })), "thinking.budget_tokens"),
        (asking(json!({ "mcp_servers": [] })), "mcp_servers"),
        (asking(json!({ "session_id": "a b" })), "session_id"),
        (with(json!({ "type": "text" })), "messages[0].content[1].text"),
        (with(json!({ "type": "text", "text": 5 })), "messages[0].content[1].text"),
        (with(json!({ "type": "server_tool_use" })), "messages[0].content[1]"),
        (with(json!("text")), "messages[0].content[1]"),
        (
            with(json!({ "type": "tool_use", "id": "a", "name": "f", "input": [] })),
            "messages[0].content[1].input",
        ),
        (
            with(json!({ "type": "tool_use", "id": "a", "name": "f", "input": {} })),
            "messages[0].content[1]",
        ),
        (
            with(json!({ "type": "image", "source": { "type": "file", "file_id": "f" } })),
            "messages[0].content[1].source.type",
        ),
    ];
    for (body, param) in cases {
        let (at, message) = refusal(&body);
        assert_eq!(at, param, "{message} for {body}");
    }
}

#[test]
fn a_call_has_one_result() {
    let result = json!({ "type": "tool_result", "tool_use_id": "a", "content": "x" });
    let body = json!({ "messages": [{ "role": "user", "content": [result, result] }] });
    assert_eq!(refusal(&body).0, "messages[0].content[1]");
}

#[test]
fn a_body_of_claudes_is_told_by_its_version() {
    let body = asking(json!({ "anthropic_version": "bedrock-2023-05-31" })).to_string();
    assert!(ClaudeNative.recognises(body.as_bytes()));
    let other = asking(json!({})).to_string();
    assert!(!ClaudeNative.recognises(other.as_bytes()));
    let refused = ClaudeInvoke.decode(other.as_bytes(), &Defaults::default()).unwrap_err();
    assert_eq!(refused.param.as_deref(), Some("anthropic_version"));
}

#[test]
fn an_answer_that_comes_back_reads_as_the_session_holds_it() {
    let whole = Anthropic.whole(&head(), Options::default(), &full_turn());
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    let body = json!({ "messages": [
        { "role": "user", "content": "hi" },
        { "role": "assistant", "content": whole["content"] },
    ] });
    let came_back = decode(&body).request.messages.pop().unwrap();
    let mut fold = crate::turn::Fold::default();
    full_turn().iter().for_each(|event| fold.push(event).unwrap());
    let mut held = fold.into_message();
    // A call without arguments is one with none.
    held.tool_calls[1].arguments = "{}".to_owned();
    assert_eq!(came_back, held);
}

#[test]
fn every_target_has_a_format_of_its_own() {
    let targets: Vec<_> = FORMATS.iter().filter_map(|format| format.target()).collect();
    assert_eq!(targets, ["bedrock_claude", "bedrock_titan", "openai"]);
    assert_eq!(crate::wire::target("openai").unwrap().name(), "openai-chat");
    let unknown = crate::wire::target("gemini").unwrap_err();
    assert_eq!(
        unknown.message,
        "target_format must be one of bedrock_claude, bedrock_titan, openai"
    );
}

#[test]
fn the_text_that_ended_an_answer_is_told_where_nothing_else_is_waited_for() {
    let ended = |before: Vec<TurnEvent>, reason| {
        let end = [TurnEvent::StopSequence(Some("END".into())), TurnEvent::Finished(reason)];
        let events: Vec<_> = [TurnEvent::Started].into_iter().chain(before).chain(end).collect();
        let whole = Anthropic.whole(&head(), Options::default(), &events);
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        let streamed = stream(&events);
        let told = [&whole["stop_reason"], &whole["stop_sequence"]].map(Value::to_string);
        let same = format!(r#""delta":{{"stop_reason":{},"stop_sequence":{}}}"#, told[0], told[1]);
        assert!(streamed.contains(&same), "{streamed}");
        told.join(" ")
    };
    assert_eq!(ended(vec![], FinishReason::Stop), r#""stop_sequence" "END""#);
    assert_eq!(ended(vec![call(0)], FinishReason::Stop), r#""tool_use" null"#);
    assert_eq!(ended(vec![], FinishReason::Length), r#""max_tokens" null"#);
}

#[test]
fn marks_for_the_cache_stand_behind_what_they_mark() {
    let mark = json!({ "type": "ephemeral" });
    let hour = json!({ "type": "ephemeral", "ttl": "1h" });
    let asked = decode(&json!({
        "system": [
            { "type": "text", "text": "Be kind.", "cache_control": hour },
            { "type": "text", "text": "It is noon." },
        ],
        "tools": [{ "name": "f", "input_schema": {}, "strict": true, "cache_control": mark }],
        "messages": [
            { "role": "user", "content": [
                { "type": "text", "text": "Long.", "cache_control": mark },
                { "type": "text", "text": "Short." },
            ] },
            { "role": "assistant", "content": [
                { "type": "tool_use", "id": "t", "name": "f", "input": {}, "cache_control": mark },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t", "content": "x", "cache_control": hour },
            ] },
        ],
    }));
    let point = |after, life| CachePoint { after, life };
    let points = asked.request.messages.iter().map(|message| message.cache_points.as_slice());
    let expected: [&[CachePoint]; 4] = [
        &[point(1, CacheLife::Hour)],
        &[point(1, CacheLife::FiveMinutes)],
        &[point(0, CacheLife::FiveMinutes)],
        &[point(1, CacheLife::Hour)],
    ];
    assert_eq!(points.collect::<Vec<_>>(), expected);
    let tool = &asked.request.tools[0];
    assert_eq!((tool.cache, tool.strict), (Some(CacheLife::FiveMinutes), Some(true)));
    let wrong = asking(json!({ "tools": [
        { "name": "f", "input_schema": {}, "cache_control": { "type": "ephemeral", "ttl": "2d" } },
    ] }));
    assert_eq!(refusal(&wrong).0, "tools[0].cache_control");
}
