use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::turn::{
    Citation, CollaboratorUsage, Confirmation, FailureKind, FileUse, FinishReason, Latency,
    OutputFile, Reference, ReturnControl, Role, Span, ToolErrors, Trace, TurnPolicy, Usage,
};

use super::*;

fn decode(body: &str) -> Result<Asked, Failure> {
    Ndjson.decode(body.as_bytes(), &Defaults::default())
}

fn asked(members: &str) -> Asked {
    decode(&format!(r#"{{"input_text":"hi",{members}}}"#)).unwrap()
}

fn head() -> Head {
    Head {
        turn: "turn_0a1b".parse().unwrap(),
        session: "session-123".parse().unwrap(),
        request: "req_1".parse().unwrap(),
        model: "bedrock/agent/AGENT123/TSTALIASID".parse().unwrap(),
        created: SystemTime::UNIX_EPOCH,
        agent: Some(("AGENT123".into(), "TSTALIASID".into())),
        previous: None,
        is_background: false,
        echo: None,
    }
}

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(1_767_268_800_007_900)
}

fn streamed(options: Options, events: &[TurnEvent]) -> String {
    let mut encoder = lines::Lines::new(head(), options, noon);
    let mut out = BytesMut::new();
    encoder.open(&mut out);
    for (sequence, event) in (1..).zip(events) {
        encoder.event(sequence, event, &mut out);
    }
    String::from_utf8(out.to_vec()).unwrap()
}

#[expect(clippy::too_many_lines, reason = "a list of one event of each sort")]
fn full_turn() -> Vec<TurnEvent> {
    vec![
        TurnEvent::Started,
        TurnEvent::Reasoning("Hm.".into()),
        TurnEvent::Trace(Arc::new(Trace {
            step: "orchestration",
            collaborator: None,
            raw: None,
            weight: 1,
        })),
        TurnEvent::Trace(Arc::new(Trace {
            step: "orchestration",
            collaborator: None,
            raw: Some(json!({"trace": {"orchestrationTrace": {"rationale": {"text": "…"}}}})),
            weight: 1,
        })),
        TurnEvent::Text("Größe".into()),
        TurnEvent::Text("".into()),
        TurnEvent::Text(" \"5\"\u{2028}".into()),
        TurnEvent::Citation(Arc::new(Citation {
            text: Some("5".into()),
            span: Some(Span { start: 7, end: 8 }),
            references: vec![
                Reference {
                    kind: "S3".into(),
                    location: Some("s3://kb/sizes.pdf".into()),
                    text: Some("5 m".into()),
                    metadata: Some(json!({"page": 4})),
                },
                Reference {
                    kind: "NOVEL".into(),
                    location: Some("x".into()),
                    text: None,
                    metadata: None,
                },
            ],
        })),
        TurnEvent::File(Arc::new(OutputFile {
            id: "file-1".parse().unwrap(),
            name: "a.csv".into(),
            media_type: "text/csv".into(),
            bytes: Bytes::from_static(b"1,2\n"),
        })),
        TurnEvent::File(Arc::new(OutputFile {
            id: "file-2".parse().unwrap(),
            name: "b".into(),
            media_type: "text/plain".into(),
            bytes: Bytes::new(),
        })),
        TurnEvent::ToolCallStarted {
            index: 0,
            id: "call_1".into(),
            name: "f".into(),
            confirmation: Confirmation::None,
        },
        TurnEvent::ToolCallArguments { index: 0, delta: "{}".into() },
        TurnEvent::ReturnControl(Arc::new(ReturnControl {
            invocation_id: "79e0".into(),
            inputs: vec![json!({"functionInvocationInput": {"actionGroup": "Weather"}})],
            weight: 1,
        })),
        TurnEvent::Usage(Usage {
            input_tokens: 9,
            output_tokens: 3,
            estimated: true,
            ..Usage::default()
        }),
        TurnEvent::UsageByCollaborator(
            [CollaboratorUsage {
                collaborator: Some("fees".into()),
                usage: Usage { input_tokens: 4, output_tokens: 2, ..Usage::default() },
            }]
            .into(),
        ),
        TurnEvent::Finished(FinishReason::ToolCalls),
    ]
}

#[test]
fn a_full_turn_is_these_bytes() {
    let expected = r#"{"type":"start","session_id":"session-123","agent_id":"AGENT123","agent_alias_id":"TSTALIASID","request_id":"req_1","done":false,"timestamp":"2026-01-01T12:00:00.007Z"}
{"type":"trace","trace":{"trace":{"orchestrationTrace":{"rationale":{"text":"…"}}}},"done":false,"timestamp":"2026-01-01T12:00:00.007Z"}
{"type":"chunk","content":"Größe","accumulated_content":"Größe","done":false,"timestamp":"2026-01-01T12:00:00.007Z"}
{"type":"chunk","content":" \"5\"\u2028","accumulated_content":"Größe \"5\"\u2028","done":false,"timestamp":"2026-01-01T12:00:00.007Z"}
{"type":"return_control","invocation_id":"79e0","invocation_inputs":[{"functionInvocationInput":{"actionGroup":"Weather"}}],"done":false,"timestamp":"2026-01-01T12:00:00.007Z"}
{"type":"completion","final_content":"Größe \"5\"\u2028","session_id":"session-123","usage":{"input_tokens":9,"output_tokens":3,"estimated":true,"collaborators":[{"name":"fees","input_tokens":4,"output_tokens":2}]},"citations":[{"generatedResponsePart":{"textResponsePart":{"text":"5","span":{"start":7,"end":8}}},"retrievedReferences":[{"content":{"type":"TEXT","text":"5 m"},"location":{"type":"S3","s3Location":{"uri":"s3://kb/sizes.pdf"}},"metadata":{"page":4}},{"location":{"type":"NOVEL"}}]}],"files":[{"id":"file-1","name":"a.csv","type":"text/csv","bytes":"MSwyCg=="},{"id":"file-2","name":"b","type":"text/plain","bytes":""}],"stop_reason":"return_control","done":true,"timestamp":"2026-01-01T12:00:00.007Z"}
"#;
    assert_eq!(streamed(Options::default(), &full_turn()), expected);
}

#[test]
fn a_silent_turn_completes_with_what_there_is() {
    let stream = streamed(
        Options::default(),
        &[TurnEvent::Started, TurnEvent::Finished(FinishReason::Stop)],
    );
    let last = stream.lines().last().unwrap();
    let expected = r#"{"type":"completion","final_content":"","session_id":"session-123","stop_reason":"end_turn","done":true,"timestamp":"2026-01-01T12:00:00.007Z"}"#;
    assert_eq!(last, expected);
}

#[test]
fn a_failure_is_the_last_line_and_there_is_no_completion() {
    let failure = Failure::new(FailureKind::UpstreamThrottled, "the agent is throttled");
    let events = [TurnEvent::Started, TurnEvent::Text("x".into()), TurnEvent::Failed(failure)];
    let stream = streamed(Options::default(), &events);
    let last = "{\"type\":\"error\",\"error\":\"the agent is throttled\",\"error_code\":\"throttled\",\
                \"retryable\":true,\"done\":true,\"timestamp\":\"2026-01-01T12:00:00.007Z\",\
                \"request_id\":\"req_1\"}\n";
    assert!(stream.ends_with(last), "{stream}");
    assert!(!stream.contains("completion"));
}

#[test]
fn without_an_agent_the_model_stands_in_for_it() {
    let mut lines = lines::Lines::new(Head { agent: None, ..head() }, Options::default(), noon);
    let mut out = BytesMut::new();
    lines.open(&mut out);
    let line: Value = serde_json::from_slice(&out).unwrap();
    // As the client named it, though the model's name is that of an agent's alias.
    assert_eq!(line["agent_id"], "AGENT123");
    assert!(line.get("agent_alias_id").is_none());
}

#[test]
fn calls_that_no_agent_handed_over_are_no_return_of_control() {
    let confirmation = Confirmation::None;
    let call = |name: &str| TurnEvent::ToolCallStarted {
        index: 0,
        id: "call_1".into(),
        name: name.into(),
        confirmation,
    };
    let events = [TurnEvent::Started, call("f"), TurnEvent::Finished(FinishReason::ToolCalls)];
    let stream = streamed(Options::default(), &events);
    assert!(stream.contains("\"stop_reason\":\"tool_use\""), "{stream}");
}

#[test]
fn accumulation_can_be_switched_off_and_gives_way_when_it_grows() {
    let text = "x".repeat(200 << 10);
    let events = [
        TurnEvent::Started,
        TurnEvent::Text(text.as_str().into()),
        TurnEvent::Text(text.as_str().into()),
        TurnEvent::Finished(FinishReason::Length),
    ];
    let lines = |accumulated: bool| -> Vec<Value> {
        let options = Options { accumulated, ..Options::default() };
        let stream = streamed(options, &events);
        stream.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let with = lines(true);
    assert_eq!(with[1]["accumulated_content"], text);
    assert_eq!(with[2].get("accumulated_content"), None);
    assert_eq!(with[2]["accumulated_truncated"], true);
    assert_eq!(with[3]["final_content"], text.clone() + &text);
    assert_eq!(with[3]["stop_reason"], "max_tokens");
    let without = lines(false);
    assert!(without.iter().all(|line| line.get("accumulated_content").is_none()));
    assert!(without.iter().all(|line| line.get("accumulated_truncated").is_none()));
}

#[test]
fn a_stream_that_is_resumed_anywhere_is_the_tail_of_the_whole_one() {
    let events = full_turn();
    let whole = streamed(Options::default(), &events);
    for resumed_after in 0..=events.len() {
        let mut encoder = lines::Lines::new(head(), Options::default(), noon);
        let mut out = BytesMut::new();
        let (seen, rest) = events.split_at(resumed_after);
        seen.iter().for_each(|event| encoder.skip(event));
        rest.iter().for_each(|event| encoder.event(0, event, &mut out));
        let resumed = std::str::from_utf8(&out).unwrap();
        assert!(whole.ends_with(resumed), "after {resumed_after}");
        assert_eq!(resumed.is_empty(), rest.is_empty());
    }
}

#[test]
fn a_refusal_is_openais_and_says_it_again_as_detail() {
    let failure = Failure::bad_field("input_text", "input_text is required");
    assert_eq!(
        Ndjson.refusal(&failure),
        r#"{"error":{"message":"input_text is required","type":"invalid_request_error","param":"input_text","code":"invalid_request"},"detail":"input_text is required"}"#
    );
}

#[test]
fn a_request_is_read() {
    let asked = decode(
        r#"{"input_text":"What is machine learning?","agent_id":"AGENT12345","agent_alias_id":"ALIAS12345",
        "session_id":"session-123","session_attributes":{"tier":"gold","n":5,"on":true,"o":{"a":1}},
        "prompt_session_attributes":{"x":null,"y":"z"},"enable_trace":true,"memory_id":"ann",
        "accumulated":false,"unheard_of":[]}"#,
    )
    .unwrap();
    assert!(asked.stream && !asked.options.accumulated);
    let request = asked.request;
    assert_eq!(request.model.unwrap().as_str(), "bedrock/agent/AGENT12345/ALIAS12345");
    assert_eq!(request.hints.named.unwrap().as_str(), "session-123");
    assert_eq!(request.messages.len(), 1);
    assert_eq!(request.messages[0].role, Role::User);
    assert_eq!(request.messages[0].plain_text(), "What is machine learning?");
    let attributes: Vec<_> =
        request.session_attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(attributes, [("n", "5"), ("o", r#"{"a":1}"#), ("on", "true"), ("tier", "gold")]);
    assert_eq!(request.prompt_attributes.len(), 1);
    assert_eq!(request.memory_id.as_deref(), Some("ann"));
    assert!(request.wants_traces && !request.end_session);
}

#[test]
fn the_agent_has_defaults_and_may_be_a_configured_model() {
    let model = |members: &str| asked(members).request.model.map(|model| model.to_string());
    assert_eq!(model(r#""x":1"#), None);
    assert_eq!(model(r#""agent_id":"A1""#).unwrap(), "bedrock/agent/A1/TSTALIASID");
    assert_eq!(model(r#""agent_id":"loan-advisor""#).unwrap(), "loan-advisor");
    assert!(asked(r#""accumulated":null"#).options.accumulated);
}

#[test]
fn a_session_may_end_without_a_word() {
    let asked = decode(r#"{"end_session":true,"session_id":"s1"}"#).unwrap();
    assert!(asked.request.end_session && asked.request.messages.is_empty());
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        (r#"{}"#, "input_text"),
        (r#"{"input_text":null}"#, "input_text"),
        (r#"{"input_text":" \t"}"#, "input_text"),
        (r#"{"input_text":5}"#, "input_text"),
        (r#"{"input_text":"x","agent_id":"two words"}"#, "agent_id"),
        (r#"{"input_text":"x","agent_id":""}"#, "agent_id"),
        (r#"{"input_text":"x","agent_id":"A1","agent_alias_id":"a-b"}"#, "agent_alias_id"),
        (r#"{"input_text":"x","session_id":"s"}"#, "session_id"),
        (r#"{"input_text":"x","session_id":"a/b"}"#, "session_id"),
        (r#"{"input_text":"x","session_attributes":"a"}"#, "session_attributes"),
        (r#"{"input_text":"x","memory_id":"a b"}"#, "memory_id"),
        (r#"{"input_text":"x","enable_trace":"yes"}"#, "enable_trace"),
    ];
    for (body, param) in cases {
        let failure = decode(body).unwrap_err();
        assert_eq!(failure.kind, FailureKind::BadRequest, "{body}");
        assert_eq!(failure.param.as_deref(), Some(param), "{body}");
    }
}

fn function_result() -> Value {
    json!({"functionResult": {"actionGroup": "Weather", "function": "get_forecast",
        "responseBody": {"TEXT": {"body": "sunny"}}}})
}

fn handing_back(results: &Value) -> Result<Asked, Failure> {
    decode(&json!({"invocation_id": "79e0", "return_control_results": results}).to_string())
}

#[test]
fn results_of_a_hand_over_are_kept_as_they_are() {
    let api = json!({"apiResult": {"actionGroup": "Loans", "httpMethod": "GET", "apiPath": "/a"},
        "functionResult": null});
    let results = [function_result(), api];
    let request = handing_back(&json!(results)).unwrap().request;
    assert!(request.messages.is_empty());
    let handed = request.handed_back.unwrap();
    assert_eq!(handed.invocation_id, "79e0");
    assert_eq!(handed.results, results);
    let body = json!({"invocation_id": "79e0", "return_control_results": results,
        "input_text": "And tomorrow?"});
    let request = decode(&body.to_string()).unwrap().request;
    assert_eq!(request.messages[0].plain_text(), "And tomorrow?");
    assert!(request.handed_back.is_some());
    let nulls = asked(r#""invocation_id":null,"return_control_results":null"#).request;
    assert!(nulls.handed_back.is_none());
}

#[test]
fn results_that_cannot_be_handed_back_are_named() {
    let both = json!({"functionResult": {}, "apiResult": {}});
    for (results, param) in [
        (json!([]), "return_control_results"),
        (json!({}), "return_control_results"),
        (json!("x"), "return_control_results"),
        (json!(vec![function_result(); 6]), "return_control_results"),
        (json!([function_result(), "x"]), "return_control_results[1]"),
        (json!([function_result(), null]), "return_control_results[1]"),
        (json!([{}]), "return_control_results[0]"),
        (json!([both]), "return_control_results[0]"),
        (json!([{"functionResult": "x"}]), "return_control_results[0]"),
        (json!([{"apiResult": [1]}]), "return_control_results[0]"),
    ] {
        let failure = handing_back(&results).unwrap_err();
        assert_eq!(failure.kind, FailureKind::BadRequest, "{results}");
        assert_eq!(failure.param.as_deref(), Some(param), "{results}: {failure}");
    }
    let result = function_result();
    for (body, param) in [
        (json!({"return_control_results": [result]}), "invocation_id"),
        (json!({"invocation_id": "", "return_control_results": [result]}), "invocation_id"),
        (json!({"invocation_id": 5, "return_control_results": [result]}), "invocation_id"),
        (json!({"invocation_id": "79e0", "input_text": "x"}), "return_control_results"),
    ] {
        let failure = decode(&body.to_string()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::BadRequest, "{body}");
        assert_eq!(failure.param.as_deref(), Some(param), "{body}: {failure}");
    }
}

#[test]
fn the_extension_stands_at_the_top_level() {
    let request = asked(
        r#""latency":"optimized","tool_errors":"failure","file_use":"code_interpreter",
        "reasoning":true,"guardrail_interval":20,"turn_policy":"reject","traces":false,
        "knowledge_base_configurations":[{"knowledgeBaseId":"KB"}],"enable_trace":true,
        "prompt_creation_configurations":{"previous_conversation_turns_to_include":2}"#,
    )
    .request;
    assert_eq!(request.agent.latency, Some(Latency::Optimized));
    assert_eq!(request.agent.tool_errors, Some(ToolErrors::Failure));
    assert_eq!(request.agent.file_use, Some(FileUse::CodeInterpreter));
    assert_eq!(request.agent.guardrail_interval.unwrap().get(), 20);
    assert_eq!(request.agent.previous_turns, Some(2));
    assert_eq!(request.agent.knowledge_bases.unwrap(), [json!({"knowledgeBaseId": "KB"})]);
    assert_eq!(request.turn_policy, Some(TurnPolicy::Reject));
    assert_eq!(request.wants_reasoning, Some(true));
    assert!(!request.wants_traces);
    let failure = decode(r#"{"input_text":"x","latency":"fast"}"#).unwrap_err();
    assert_eq!(failure.message, "latency must be one of standard, optimized");
}
