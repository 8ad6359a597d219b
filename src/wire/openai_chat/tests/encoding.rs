use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use serde_json::{Value, json};

use crate::turn::{
    Citation, CollaboratorUsage, Confirmation, FailureKind, Logprobs, OutputFile, Reference,
    ReturnControl, Trace, Usage,
};

use super::super::*;
use crate::wire::sse::parse_event_id;

fn head() -> Head {
    Head {
        turn: "turn_0a1b".parse().unwrap(),
        session: "s-1".parse().unwrap(),
        request: "req_1".parse().unwrap(),
        model: "agent-\"x\"".parse().unwrap(),
        created: SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_999),
        agent: None,
        previous: None,
        is_background: false,
        echo: None,
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
        ..Usage::default()
    })
}

fn citation(text: &str, locations: &[Option<&str>]) -> TurnEvent {
    let reference = |location: &Option<&str>| Reference {
        kind: "S3".into(),
        location: location.map(str::to_owned),
        text: None,
        metadata: None,
    };
    TurnEvent::Citation(Arc::new(Citation {
        text: Some(text.to_owned()),
        span: None,
        references: locations.iter().map(reference).collect(),
    }))
}

fn call(index: u32, id: &str) -> TurnEvent {
    marked(index, id, Confirmation::None)
}

fn marked(index: u32, id: &str, confirmation: Confirmation) -> TurnEvent {
    TurnEvent::ToolCallStarted { index, id: id.into(), name: "get_time".into(), confirmation }
}

fn shares() -> TurnEvent {
    let share = |name: Option<&str>, input_tokens, output_tokens| CollaboratorUsage {
        collaborator: name.map(str::to_owned),
        usage: Usage { input_tokens, output_tokens, ..Usage::default() },
    };
    TurnEvent::UsageByCollaborator([share(None, 5, 1), share(Some("fees"), 4, 2)].into())
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
            id: "file-1".parse().unwrap(),
            name: "a".into(),
            media_type: "text/plain".into(),
            bytes: Bytes::from_static(b"x"),
        })),
        call(0, "call_1"),
        arguments(0, "{\"tz\":"),
        arguments(0, "1}"),
        marked(1, "call_2", Confirmation::Decision),
        TurnEvent::ReturnControl(Arc::new(ReturnControl {
            invocation_id: "i".into(),
            inputs: vec![],
            weight: 1,
        })),
        usage(false),
        shares(),
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
                    r#"{"tool_calls":[{"index":1,"id":"call_2","type":"function","function":{"name":"get_time","arguments":""},"outcrop":{"confirmation":"decision"}}]}"#,
                ),
            ),
            (14, &open(r#"{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}"#)),
            (
                14,
                &open(
                    r#"{"annotations":[{"type":"url_citation","url_citation":{"start_index":7,"end_index":12,"url":"s3://kb/sizes.pdf","title":"sizes.pdf"}}]}"#,
                ),
            ),
            (
                14,
                &open(
                    r#"{"outcrop":{"citations":[{"text":"5 \"m\"","start_index":7,"end_index":12,"references":[{"type":"S3","location":"s3://kb/sizes.pdf"},{"type":"S3"}]}],"files":[{"id":"file-1","filename":"a","media_type":"text/plain","bytes":1}]}}"#,
                ),
            ),
            (14, r#"{},"logprobs":null,"finish_reason":"tool_calls"}],"usage":null}"#),
            (
                14,
                r#"],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":1,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0},"outcrop":{"collaborators":[{"name":null,"prompt_tokens":5,"completion_tokens":1},{"name":"fees","prompt_tokens":4,"completion_tokens":2}]}}}"#,
            ),
            (15, "[DONE]"),
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
fn a_call_that_wants_consent_says_which() {
    let events = [
        TurnEvent::Started,
        marked(0, "a", Confirmation::DecisionAndResult),
        TurnEvent::Finished(FinishReason::ToolCalls),
    ];
    let mark = json!({"confirmation": "decision_and_result"});
    let got = frames(&streamed(Options::default(), &events));
    assert!(got[1].1.contains(&format!(r#""arguments":""}},"outcrop":{mark}}}]"#)), "{}", got[1].1);
    assert!(!got[2].1.contains("outcrop"));
    let whole = OpenAiChat.whole(&head(), Options::default(), &events);
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(whole["choices"][0]["message"]["tool_calls"][0]["outcrop"], mark);
    assert!(whole["choices"][0]["message"].get("outcrop").is_none());
}

#[test]
fn what_an_answer_cites_without_an_address_comes_in_our_member_alone() {
    let events = [
        TurnEvent::Started,
        TurnEvent::Text("So it is.".into()),
        citation("it", &[None]),
        TurnEvent::Finished(FinishReason::Stop),
    ];
    let got = frames(&streamed(Options::default(), &events));
    assert_eq!(got.len(), 5);
    assert!(got[2].1.starts_with(
        r#"{"outcrop":{"citations":[{"text":"it","start_index":3,"end_index":5,"references":[{"type":"S3"}]}]}}"#
    ));
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
        r#""function":{"name":"get_time","arguments":"{}"},"outcrop":{"confirmation":"decision"}}],"#,
        r#""reasoning_content":"Hm.","outcrop":{"citations":[{"text":"5 \"m\"","#,
        r#""start_index":7,"end_index":12,"references":[{"type":"S3","#,
        r#""location":"s3://kb/sizes.pdf"},{"type":"S3"}]}],"files":[{"id":"file-1","#,
        r#""filename":"a","media_type":"text/plain","bytes":1}]}},"#,
        r#""logprobs":null,"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":9,"#,
        r#""completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":4,"#,
        r#""audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":1,"audio_tokens":0,"#,
        r#""accepted_prediction_tokens":0,"rejected_prediction_tokens":0},"#,
        r#""outcrop":{"collaborators":[{"name":null,"prompt_tokens":5,"completion_tokens":1},"#,
        r#"{"name":"fees","prompt_tokens":4,"completion_tokens":2}]}}}"#,
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
fn how_likely_tokens_were_is_told_behind_their_text() {
    let told = |token: &str| {
        let entry = json!({"token": token, "logprob": -0.5, "bytes": null, "top_logprobs": []});
        let logprobs = Logprobs { content: vec![entry], refusal: Vec::new(), weight: 99 };
        TurnEvent::Logprobs(Arc::new(logprobs))
    };
    let events = [
        TurnEvent::Started,
        TurnEvent::Text("Hel".into()),
        told("Hel"),
        TurnEvent::Text("lo".into()),
        told("lo"),
        TurnEvent::Finished(FinishReason::Stop),
    ];
    let whole = OpenAiChat.whole(&head(), Options::default(), &events);
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    let logprobs = &whole["choices"][0]["logprobs"];
    let entries = logprobs["content"].as_array().unwrap().iter();
    let tokens: Vec<_> = entries.map(|entry| entry["token"].as_str().unwrap()).collect();
    assert_eq!((tokens, &logprobs["refusal"]), (vec!["Hel", "lo"], &Value::Null));
    let stream = streamed(Options::default(), &events);
    let chunk = r#""choices":[{"index":0,"delta":{},"logprobs":{"content":[{"token":"lo","logprob":-0.5,"bytes":null,"top_logprobs":[]}],"refusal":null},"finish_reason":null}]"#;
    assert!(stream.contains(chunk), "{stream}");
}

#[test]
fn a_filler_is_spoken_as_text_and_counts_in_what_the_client_has() {
    let events = [
        TurnEvent::Started,
        TurnEvent::Filler("One moment. ".into()),
        TurnEvent::Text("We offer loans.".into()),
        citation("offer", &[Some("s3://b/a.txt")]),
        TurnEvent::Finished(FinishReason::Stop),
    ];
    let stream = streamed(Options::default(), &events);
    let frames = frames(&stream);
    assert_eq!(
        frames[1],
        (
            2,
            concat!(
                r#"{"content":"One moment. ","outcrop":{"filler":true}},"#,
                r#""logprobs":null,"finish_reason":null}]}"#
            )
            .to_owned()
        )
    );
    let place = r#""start_index":15,"end_index":20"#;
    assert!(frames.iter().any(|(_, data)| data.contains(place)), "{stream}");
    let whole = OpenAiChat.whole(&head(), Options::default(), &events);
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(whole["choices"][0]["message"]["content"], "We offer loans.");
}
