use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use serde_json::{Value, json};

use crate::turn::{
    Citation, DisconnectPolicy, FailureKind, Message, OutputFile, Part, Reference, ReturnControl,
    Role, Trace, TurnPolicy, Usage,
};

use super::*;

fn decode(body: &str) -> Result<Asked, Failure> {
    OpenAiChat.decode(body.as_bytes(), &Defaults::default())
}

fn asked(members: &str) -> Asked {
    decode(&format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],{members}}}"#)).unwrap()
}

fn refused(members: &str) -> (FailureKind, String) {
    let body = format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],{members}}}"#);
    let failure = decode(&body).unwrap_err();
    (failure.kind, failure.param.unwrap_or_default().into())
}

fn head() -> Head {
    Head {
        turn: "turn_0a1b".parse().unwrap(),
        session: "s-1".parse().unwrap(),
        request: "req_1".parse().unwrap(),
        model: "agent-\"x\"".parse().unwrap(),
        created: SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_999),
        agent: None,
    }
}

fn streamed(options: Options, events: &[TurnEvent]) -> String {
    let mut encoder = OpenAiChat.encoder(head(), options);
    let mut out = BytesMut::new();
    encoder.open(&mut out);
    for (sequence, event) in (1..).zip(events) {
        encoder.event(sequence, event, &mut out);
    }
    String::from_utf8(out.to_vec()).unwrap()
}

/// The frames of a stream by their sequence, without what all of them share.
fn frames(stream: &str) -> Vec<(u64, String)> {
    const SHARED: &str = r#"{"id":"chatcmpl-0a1b","object":"chat.completion.chunk","created":1767225600,"model":"agent-\"x\"","choices":["#;
    const DELTA: &str = r#"{"index":0,"delta":"#;
    let frames = stream.split_terminator("\n\n").map(|frame| {
        let (id, data) = frame.split_once("\ndata: ").unwrap();
        let (turn, sequence) = parse_event_id(id.strip_prefix("id: ").unwrap()).unwrap();
        assert_eq!(turn.as_str(), "turn_0a1b");
        let rest = data.strip_prefix(SHARED).unwrap_or(data);
        (sequence, rest.strip_prefix(DELTA).unwrap_or(rest).to_owned())
    });
    frames.collect()
}

fn expect_frames(stream: &str, expected: &[(u64, &str)]) {
    let got = frames(stream);
    let got: Vec<_> = got.iter().map(|(sequence, data)| (*sequence, data.as_str())).collect();
    assert_eq!(got, expected);
}

fn usage(estimated: bool) -> TurnEvent {
    TurnEvent::Usage(Usage {
        input_tokens: 9,
        output_tokens: 3,
        cached_input_tokens: 4,
        reasoning_tokens: 1,
        estimated,
    })
}

fn citation(text: &str, locations: &[Option<&str>]) -> TurnEvent {
    let reference = |location: &Option<&str>| Reference {
        kind: "S3".into(),
        location: location.map(str::to_owned),
        text: None,
    };
    TurnEvent::Citation(Arc::new(Citation {
        text: Some(text.to_owned()),
        span: None,
        references: locations.iter().map(reference).collect(),
    }))
}

fn call(index: u32, id: &str) -> TurnEvent {
    TurnEvent::ToolCallStarted { index, id: id.into(), name: "get_time".into() }
}

fn arguments(index: u32, delta: &str) -> TurnEvent {
    TurnEvent::ToolCallArguments { index, delta: delta.into() }
}

/// A turn with everything in it that the format shows.
fn full_turn() -> Vec<TurnEvent> {
    vec![
        TurnEvent::Started,
        TurnEvent::Reasoning("Hm.".into()),
        TurnEvent::Trace(Arc::new(Trace {
            step: "orchestration",
            collaborator: None,
            raw: Some(json!({"secret": 1})),
            weight: 1,
        })),
        TurnEvent::Text("Größe: ".into()),
        TurnEvent::Text("5 \"m\"\n😀".into()),
        citation("5 \"m\"", &[Some("s3://kb/sizes.pdf"), None]),
        TurnEvent::File(Arc::new(OutputFile {
            name: "a".into(),
            media_type: "text/plain".into(),
            bytes: Bytes::from_static(b"x"),
        })),
        call(0, "call_1"),
        arguments(0, "{\"tz\":"),
        arguments(0, "1}"),
        call(1, "call_2"),
        TurnEvent::ReturnControl(Arc::new(ReturnControl {
            invocation_id: "i".into(),
            inputs: vec![],
            weight: 1,
        })),
        usage(false),
        TurnEvent::Finished(FinishReason::ToolCalls),
    ]
}

#[test]
fn a_text_turn_is_these_bytes() {
    let events = [
        TurnEvent::Started,
        TurnEvent::Text("Hel".into()),
        TurnEvent::Text("lo.\u{2028}".into()),
        TurnEvent::Finished(FinishReason::Stop),
    ];
    let expected = r#"id: turn_0a1b:0
data: {"id":"chatcmpl-0a1b","object":"chat.completion.chunk","created":1767225600,"model":"agent-\"x\"","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}]}

id: turn_0a1b:2
data: {"id":"chatcmpl-0a1b","object":"chat.completion.chunk","created":1767225600,"model":"agent-\"x\"","choices":[{"index":0,"delta":{"content":"Hel"},"logprobs":null,"finish_reason":null}]}

id: turn_0a1b:3
data: {"id":"chatcmpl-0a1b","object":"chat.completion.chunk","created":1767225600,"model":"agent-\"x\"","choices":[{"index":0,"delta":{"content":"lo.\u2028"},"logprobs":null,"finish_reason":null}]}

id: turn_0a1b:3
data: {"id":"chatcmpl-0a1b","object":"chat.completion.chunk","created":1767225600,"model":"agent-\"x\"","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}

id: turn_0a1b:4
data: [DONE]

"#;
    assert_eq!(streamed(Options::default(), &events), expected);
}

#[test]
fn every_event_of_a_full_turn_has_its_frames() {
    let options = Options { include_usage: true, ..Options::default() };
    let end = r#","logprobs":null,"finish_reason":null}],"usage":null}"#;
    let open = |delta: &str| format!("{delta}{end}");
    expect_frames(
        &streamed(options, &full_turn()),
        &[
            (0, &open(r#"{"role":"assistant","content":"","refusal":null}"#)),
            (2, &open(r#"{"reasoning_content":"Hm."}"#)),
            (4, &open(r#"{"content":"Größe: "}"#)),
            (5, &open(r#"{"content":"5 \"m\"\n😀"}"#)),
            (
                8,
                &open(
                    r#"{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"get_time","arguments":""}}]}"#,
                ),
            ),
            (9, &open(r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"tz\":"}}]}"#)),
            (10, &open(r#"{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}"#)),
            (
                11,
                &open(
                    r#"{"tool_calls":[{"index":1,"id":"call_2","type":"function","function":{"name":"get_time","arguments":""}}]}"#,
                ),
            ),
            (13, &open(r#"{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}"#)),
            (
                13,
                &open(
                    r#"{"annotations":[{"type":"url_citation","url_citation":{"start_index":7,"end_index":12,"url":"s3://kb/sizes.pdf","title":"sizes.pdf"}}]}"#,
                ),
            ),
            (13, r#"{},"logprobs":null,"finish_reason":"tool_calls"}],"usage":null}"#),
            (
                13,
                r#"],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":1,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}"#,
            ),
            (14, "[DONE]"),
        ],
    );
}

#[test]
fn a_call_without_arguments_gets_an_empty_object_before_the_next_one() {
    let events = [TurnEvent::Started, call(0, "a"), arguments(0, ""), call(1, "b")];
    let got = frames(&streamed(Options::default(), &events));
    let sequences: Vec<_> = got.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(sequences, [0, 2, 3, 4]);
    assert!(got[2].1.starts_with(r#"{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}"#));
}

#[test]
fn a_failed_stream_ends_with_one_error_and_no_done() {
    let failure = Failure::new(FailureKind::UpstreamThrottled, "the agent is throttled");
    let events = [TurnEvent::Started, TurnEvent::Text("x".into()), TurnEvent::Failed(failure)];
    let stream = streamed(Options::default(), &events);
    let tail = "id: turn_0a1b:3\ndata: {\"error\":{\"message\":\"the agent is throttled\",\
                \"type\":\"rate_limit_error\",\"param\":null,\"code\":\"upstream_throttled\"}}\n\n";
    assert!(stream.ends_with(tail), "{stream}");
    assert!(!stream.contains("[DONE]") && !stream.contains("finish_reason\":\""));
}

#[test]
fn a_stream_that_is_resumed_anywhere_is_the_tail_of_the_whole_one() {
    let options = Options { include_usage: true, ..Options::default() };
    let events = full_turn();
    let whole = frames(&streamed(options, &events));
    for resumed_after in 0..=events.len() {
        let mut encoder = OpenAiChat.encoder(head(), options);
        let mut out = BytesMut::new();
        let (seen, rest) = events.split_at(resumed_after);
        for event in seen {
            encoder.skip(event);
        }
        let first = u64::try_from(resumed_after).unwrap() + 1;
        for (sequence, event) in (first..).zip(rest) {
            encoder.event(sequence, event, &mut out);
        }
        let resumed = frames(std::str::from_utf8(&out).unwrap());
        assert_eq!(resumed, whole[whole.len() - resumed.len()..], "after {resumed_after}");
        // Before the tail stands exactly what the id says is delivered.
        let delivered = &whole[..whole.len() - resumed.len()];
        assert!(delivered.iter().all(|(sequence, _)| *sequence < first));
    }
}

#[test]
fn every_reason_to_finish_has_its_name() {
    let cases = [
        (FinishReason::Stop, false, "stop"),
        (FinishReason::Stop, true, "tool_calls"),
        (FinishReason::ToolCalls, true, "tool_calls"),
        (FinishReason::Length, true, "length"),
        (FinishReason::ContentFilter, false, "content_filter"),
        (FinishReason::Interrupted, true, "stop"),
    ];
    for (reason, has_calls, expected) in cases {
        assert_eq!(finish_reason(Some(reason), has_calls), expected, "{reason:?}");
    }
}

#[test]
fn the_keep_alive_is_a_comment_that_ends_no_event() {
    let encoder = OpenAiChat.encoder(head(), Options::default());
    assert_eq!(encoder.keep_alive(), b": keep-alive\n");
}

#[test]
fn an_event_id_reads_back_and_nothing_else_does() {
    let (turn, sequence) = parse_event_id(" turn_0a:b:17 ").unwrap();
    assert_eq!((turn.as_str(), sequence), ("turn_0a:b", 17));
    for wrong in [
        "",
        ":",
        "17",
        "turn_1:",
        ":1",
        "turn_1:+1",
        "turn_1:-1",
        "a b:1",
        "t:99999999999999999999",
    ] {
        assert_eq!(parse_event_id(wrong), None, "{wrong}");
    }
}

#[test]
fn a_whole_turn_is_these_bytes() {
    let bytes = OpenAiChat.whole(&head(), Options::default(), &full_turn());
    let expected = concat!(
        r#"{"id":"chatcmpl-0a1b","object":"chat.completion","created":1767225600,"#,
        r#""model":"agent-\"x\"","choices":[{"index":0,"message":{"role":"assistant","#,
        r#""content":"Größe: 5 \"m\"\n😀","refusal":null,"annotations":[{"type":"url_citation","#,
        r#""url_citation":{"start_index":7,"end_index":12,"url":"s3://kb/sizes.pdf","#,
        r#""title":"sizes.pdf"}}],"tool_calls":[{"id":"call_1","type":"function","function":"#,
        r#"{"name":"get_time","arguments":"{\"tz\":1}"}},{"id":"call_2","type":"function","#,
        r#""function":{"name":"get_time","arguments":"{}"}}],"reasoning_content":"Hm."},"#,
        r#""logprobs":null,"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":9,"#,
        r#""completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":4,"#,
        r#""audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":1,"audio_tokens":0,"#,
        r#""accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}"#,
    );
    assert_eq!(std::str::from_utf8(&bytes).unwrap(), expected);
}

#[test]
fn a_whole_turn_leaves_out_what_there_is_not() {
    let whole = |events: &[TurnEvent]| -> Value {
        let bytes = OpenAiChat.whole(&head(), Options::default(), events);
        serde_json::from_slice(&bytes).unwrap()
    };
    let silent = whole(&[TurnEvent::Started, TurnEvent::Finished(FinishReason::Stop)]);
    let message = &silent["choices"][0]["message"];
    let expected = json!({"role": "assistant", "content": "", "refusal": null, "annotations": []});
    assert_eq!(message, &expected);
    assert!(silent.get("usage").is_none());
    let only_calls = [TurnEvent::Started, call(0, "a"), usage(true)];
    let called = whole(&only_calls);
    assert_eq!(called["choices"][0]["message"]["content"], Value::Null);
    assert_eq!(called["usage"]["estimated"], json!(true));
}

#[test]
fn a_plain_request_is_read() {
    let body = r#"{"model":"claude","stream":true,"stream_options":{"include_usage":true},
        "temperature":0.5,"messages":[
        {"role":"developer","content":"Be brief."},
        {"role":"user","content":"What is on the slip?","name":"ann"},
        {"role":"assistant","content":"","tool_calls":[
            {"id":"call_1","type":"function","function":{"name":"read","arguments":"{}"}},
            {"id":"call_2","type":"custom","custom":{"name":"say","input":"a\"b"}}]},
        {"role":"tool","tool_call_id":"call_1","content":[{"type":"text","text":"a"},{"text":"b","type":"input_text"}]},
        {"role":"tool","tool_call_id":"call_2"}]}"#;
    let asked = decode(body).unwrap();
    assert!(asked.stream && asked.options.include_usage);
    assert_eq!(asked.request.model.unwrap().as_str(), "claude");
    let messages = asked.request.messages;
    let roles: Vec<_> = messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool, Role::Tool]);
    assert_eq!(messages[1].plain_text(), "What is on the slip?");
    assert!(messages[2].parts.is_empty());
    assert_eq!(messages[2].tool_calls[0].name, "read");
    assert_eq!(messages[2].tool_calls[1].arguments, r#""a\"b""#);
    assert_eq!(messages[3].plain_text(), "a\n\nb");
    assert_eq!(messages[3].tool_call_id.as_deref(), Some("call_1"));
}

#[test]
fn what_real_clients_send_is_absorbed() {
    let body = "\u{feff}".to_owned()
        + r#"{"messages":[
        {"role":"system","content":null},{"role":"system","content":"Two of them."},
        {"role":"assistant","content":"Hello! How can I help?","created_at":"2026-01-01"},
        {"role":"user"},
        {"role":"assistant","refusal":"I would rather not.","content":null,"tool_calls":null,
         "function_call":{"name":"look_up","arguments":""}},
        {"role":"function","name":"look_up","content":"found"},
        {"role":"user","content":[{"type":"input_text","text":""},{"type":"refusal","refusal":"no"}]},
        {"role":"user","content":"My card is blocked.","tool_calls":[{}]}],
        "n":1.0,"stop":["a"],"modalities":["text"],"audio":null,"response_format":{"type":"text"},
        "stream":null,"stream_options":null,"model":null,"metadata":null,"user":"","unheard_of":{}}"#;
    let asked = decode(&body).unwrap();
    assert!(!asked.stream && asked.request.model.is_none());
    assert_eq!(asked.request.hints.speaker, None);
    let messages = asked.request.messages;
    let said: Vec<_> = messages.iter().map(Message::plain_text).collect();
    assert_eq!(
        said,
        [
            "",
            "Two of them.",
            "Hello! How can I help?",
            "",
            "I would rather not.",
            "found",
            "no",
            "My card is blocked."
        ]
    );
    assert_eq!(messages[4].tool_calls[0].id, "look_up");
    assert_eq!(messages[5].role, Role::Tool);
    assert_eq!(messages[5].tool_call_id.as_deref(), Some("look_up"));
    assert!(messages[7].tool_calls.is_empty());
}

#[test]
fn what_is_no_text_is_an_attachment_in_the_clients_own_spelling() {
    let image = json!({"image_url": {"url": "data:,x", "detail": "low"}, "type": "image_url"});
    let odd = json!({"text": "caption", "type": "hologram", "depth": [1.5, null]});
    let body = json!({"messages": [{"role": "user", "content": [image, odd]}]}).to_string();
    let parts = decode(&body).unwrap().request.messages.remove(0).parts;
    let attachment = |kind: &str, value: &Value| Part::Attachment {
        kind: kind.to_owned(),
        value: Arc::new(value.clone()),
    };
    assert_eq!(parts, [attachment("image_url", &image), attachment("hologram", &odd)]);
}

#[test]
fn a_member_of_the_wrong_shape_is_named() {
    let cases = [
        (r#"{}"#, "messages"),
        (r#"{"messages":null}"#, "messages"),
        (r#"{"messages":[]}"#, "messages"),
        (r#"{"messages":"hi"}"#, "messages"),
        (r#"{"messages":["hi"]}"#, "messages[0]"),
        (r#"{"messages":[{"content":"hi"}]}"#, "messages[0].role"),
        (r#"{"messages":[{"role":"robot","content":"hi"}]}"#, "messages[0].role"),
        (r#"{"messages":[{"role":"user","content":"hi"},{"role":1}]}"#, "messages[1].role"),
        (r#"{"messages":[{"role":"user","content":5}]}"#, "messages[0].content"),
        (r#"{"messages":[{"role":"user","content":{"type":"text"}}]}"#, "messages[0].content"),
        (r#"{"messages":[{"role":"user","content":["hi"]}]}"#, "messages[0].content[0]"),
        (r#"{"messages":[{"role":"user","content":[{"text":"x"}]}]}"#, "messages[0].content[0]"),
        (r#"{"messages":[{"role":"user","content":[{"type":"text"}]}]}"#, "messages[0].content[0]"),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":1}]}]}"#,
            "messages[0].content[0].text",
        ),
        (r#"{"messages":[{"role":"tool","content":"x"}]}"#, "messages[0].tool_call_id"),
        (r#"{"messages":[{"role":"function","content":"x"}]}"#, "messages[0].name"),
        (
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"a"}]}]}"#,
            "messages[0].tool_calls[0].function",
        ),
        (
            r#"{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f"}}]}]}"#,
            "messages[0].tool_calls[0].id",
        ),
        (
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":{}}}]}]}"#,
            "messages[0].tool_calls[0].function.arguments",
        ),
        (r#"{"messages":[{"role":"user","content":" \n"}]}"#, "messages[0].content"),
        (
            r#"{"messages":[{"role":"assistant","content":"hi"},{"role":"user"}]}"#,
            "messages[1].content",
        ),
        (r#"{"messages":[{"role":"system","content":""}]}"#, "messages"),
    ];
    for (body, param) in cases {
        let failure = decode(body).unwrap_err();
        assert_eq!(failure.kind, FailureKind::BadRequest, "{body}");
        assert_eq!(failure.param.as_deref(), Some(param), "{body}: {failure}");
    }
}

#[test]
fn a_top_level_member_of_the_wrong_shape_is_named() {
    for (members, param) in [
        (r#""stream":"true""#, "stream"),
        (r#""stream_options":{"include_usage":1}"#, "stream_options.include_usage"),
        (r#""n":"1""#, "n"),
        (r#""n":1.5"#, "n"),
        (r#""n":0"#, "n"),
        (r#""model":5"#, "model"),
        (r#""model":"two words""#, "model"),
        (r#""user":7"#, "user"),
        (r#""session_id":"two words""#, "session_id"),
        (r#""session_id":5"#, "session_id"),
        (r#""conversation":5"#, "conversation"),
        (r#""conversation":{"id":5}"#, "conversation.id"),
        (r#""call":{"id":"two words"}"#, "call.id"),
        (r#""metadata":{"session_id":""}"#, "metadata.session_id"),
        (r#""elevenlabs_extra_body":{"session_id":"é"}"#, "elevenlabs_extra_body.session_id"),
        (r#""metadata":"x""#, "metadata"),
        (r#""outcrop":{"turn_policy":"barge"}"#, "outcrop.turn_policy"),
        (r#""outcrop":{"memory_id":"x"}"#, "outcrop.memory_id"),
        (r#""outcrop":{"session_attributes":[]}"#, "outcrop.session_attributes"),
    ] {
        assert_eq!(refused(members), (FailureKind::BadRequest, param.to_owned()), "{members}");
    }
}

#[test]
fn what_would_change_the_meaning_is_refused_by_name() {
    for (members, param) in [
        (r#""n":2"#, "n"),
        (r#""n":128.0"#, "n"),
        (r#""modalities":["text","audio"]"#, "modalities"),
        (r#""audio":{"voice":"x"}"#, "audio"),
        (r#""response_format":{"type":"json_object"}"#, "response_format"),
        (r#""response_format":{"type":"json_schema","json_schema":{}}"#, "response_format"),
    ] {
        let expected = (FailureKind::UnsupportedParameter, param.to_owned());
        assert_eq!(refused(members), expected, "{members}");
    }
}

#[test]
fn ignored_members_are_ignored_whatever_they_hold() {
    for member in IGNORED {
        for value in ["null", "\"x\"", "[{}]", "{\"a\":1}", "-1e300"] {
            asked(&format!("\"{member}\":{value}"));
        }
    }
}

#[test]
fn the_first_way_to_name_a_session_counts() {
    let ways = [
        (r#""session_id":"a""#, "a"),
        (r#""conversation":{"id":"b"}"#, "b"),
        (r#""conversation_id":"c""#, "c"),
        (r#""metadata":{"session_id":"d"}"#, "d"),
        (r#""call":{"id":"e","customer":{"number":"+15550100199"}}"#, "e"),
        (r#""elevenlabs_extra_body":{"conversation_id":"f"}"#, "f"),
    ];
    for first in 0..ways.len() {
        let members: Vec<_> = ways[first..].iter().rev().map(|(member, _)| *member).collect();
        let named = asked(&members.join(",")).request.hints.named.unwrap();
        assert_eq!(named.as_str(), ways[first].1);
    }
    let by_name = asked(r#""conversation":"conv_1""#).request.hints.named.unwrap();
    assert_eq!(by_name.as_str(), "conv_1");
    let none = asked(r#""call":"x","elevenlabs_extra_body":[],"user":"u","user_id":"v""#);
    assert_eq!(none.request.hints.named, None);
    assert_eq!(none.request.hints.speaker.as_deref(), Some("u"));
    let other = asked(r#""safety_identifier":"s","user_id":"v""#);
    assert_eq!(other.request.hints.speaker.as_deref(), Some("s"));
}

#[test]
fn metadata_is_bounded_but_for_voice_platforms() {
    let small = asked(r#""metadata":{"tier":"gold","plan":{"a": [1]},"n":5,"none":null}"#);
    let metadata = small.request.metadata;
    let listed: Vec<_> = metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(listed, [("n", "5"), ("plan", r#"{"a": [1]}"#), ("tier", "gold")]);
    let long_key = format!(r#""metadata":{{"{}":"v"}}"#, "k".repeat(65));
    let long_value = format!(r#""metadata":{{"k":"{}"}}"#, "é".repeat(513));
    let pairs: Vec<_> = (0..17).map(|n| format!("\"k{n}\":\"v\"")).collect();
    let too_many = format!(r#""metadata":{{{}}}"#, pairs.join(","));
    for members in [long_key, long_value, too_many] {
        assert_eq!(refused(&members), (FailureKind::BadRequest, "metadata".to_owned()));
        asked(&format!(r#"{members},"call":{{"id":"7f"}}"#));
    }
    assert_eq!(
        asked(&format!(r#""metadata":{{"k":"{}"}}"#, "é".repeat(512))).request.metadata.len(),
        1
    );
    asked(r#""metadata":["x"],"call":{}"#);
}

#[test]
fn our_own_member_reaches_the_turn() {
    let request = asked(
        r#""outcrop":{"session_attributes":{"a":1},"prompt_session_attributes":{"b":"x"},
        "memory_id":"ann","end_session":true,"traces":true,"turn_policy":"interrupt",
        "disconnect_policy":"detach","later":1}"#,
    )
    .request;
    assert_eq!(request.session_attributes["a"], "1");
    assert_eq!(request.prompt_attributes["b"], "x");
    assert_eq!(request.memory_id.as_deref(), Some("ann"));
    assert!(request.end_session && request.wants_traces);
    assert_eq!(request.turn_policy, Some(TurnPolicy::Interrupt));
    assert_eq!(request.disconnect_policy, Some(DisconnectPolicy::Detach));
}

#[test]
fn a_route_says_whether_silence_means_to_stream() {
    let defaults = Defaults { stream: true };
    let stream = |members: &str| {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"hi"}}]{members}}}"#);
        OpenAiChat.decode(body.as_bytes(), &defaults).unwrap().stream
    };
    assert!(stream("") && stream(r#","stream":null"#) && stream(r#","stream":true"#));
    assert!(!stream(r#","stream":false"#));
}

#[test]
fn bodies_beyond_the_bounds_are_refused() {
    let message = r#"{"role":"user","content":"x"}"#;
    let list = |count: usize| format!(r#"{{"messages":[{}]}}"#, vec![message; count].join(","));
    assert_eq!(decode(&list(10_000)).unwrap().request.messages.len(), 10_000);
    assert_eq!(decode(&list(10_001)).unwrap_err().param.as_deref(), Some("messages"));

    let parts = |part: &str, count: usize| {
        let parts = vec![part; count].join(",");
        decode(&format!(r#"{{"messages":[{{"role":"user","content":[{parts}]}}]}}"#))
    };
    assert!(parts(r#"{"type":"x"}"#, 1_000).is_ok());
    let complex = format!(r#"{{"type":"x","y":[{}]}}"#, vec!["{}"; 20_000].join(","));
    let deep = format!(r#"{{"type":"x","y":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    for refused in [parts(r#"{"type":"x"}"#, 1_001), parts(&complex, 1), parts(&deep, 1)] {
        let failure = refused.unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("messages[0].content"));
    }

    let deep = format!(r#"{{"unknown":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(decode(&deep).unwrap_err().param.as_deref(), Some("messages"));
}

#[test]
fn no_message_quotes_what_the_client_sent() {
    for body in [
        r#"{"messages":"my PIN is 1234"}"#,
        r#"{"messages":[{"role":"my PIN is 1234"}]}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"stream":"my PIN is 1234"}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"n":1234.5}"#,
        r#"{"messages":[{"role":"user","content":"my PIN is 1234"}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"session_id":"my PIN is 1234"}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"outcrop":{"turn_policy":"my PIN is 1234"}}"#,
    ] {
        let failure = decode(body).unwrap_err();
        assert!(!failure.message.contains("1234"), "{failure}");
    }
}
