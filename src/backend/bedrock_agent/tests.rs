//! Turns through the real SDK against a server that was told what to say.

use std::num::NonZeroU32;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::backend::canned::{Call, Canned, Reply, chunk};
use crate::config::Reasoning;
use crate::turn::{
    Confirmation, FailureKind, Part, PendingCall, Role, SessionKey, Status, ToolCall, TurnEvent,
    TurnRequest, UpstreamSessionId, Usage,
};

use super::*;

fn model() -> Model {
    let mut model = Model::new("m".parse().unwrap(), NAME);
    model.agent_id = Some("AGENT12345".to_owned());
    model
}

fn ask(input: Vec<Message>) -> Ask {
    Ask {
        key: SessionKey { tenant: "acme".parse().unwrap(), id: "s1".parse().unwrap() },
        upstream: UpstreamSessionId::generate(),
        history: Vec::new(),
        input,
        pending: None,
        request: Arc::new(TurnRequest::default()),
    }
}

fn says(text: &str) -> Message {
    Message::text(Role::User, text)
}

/// A hand-over of one call, with the result that came or none.
fn waits(result: Option<&str>) -> Pending {
    let call = ToolCall {
        id: "call_1".to_owned(),
        name: "forecast".to_owned(),
        arguments: "{}".to_owned(),
        confirmation: Confirmation::None,
    };
    let input =
        json!({ "functionInvocationInput": { "actionGroup": "G", "function": "forecast" } });
    let result = result.map(|content| Arc::new(Message::text(Role::Tool, content)));
    let call = PendingCall { call, input, result };
    Pending { invocation_id: "inv-1".to_owned(), calls: vec![call] }
}

fn hand_over(invocation_id: &str) -> (&'static str, Value) {
    let input = json!({ "functionInvocationInput": { "actionGroup": "G", "function": "forecast",
        "parameters": [{ "name": "days", "type": "integer", "value": "3" }] } });
    ("returnControl", json!({ "invocationId": invocation_id, "invocationInputs": [input] }))
}

fn used(input: u64, output: u64, collaborator: Option<&str>) -> (&'static str, Value) {
    let output =
        json!({ "metadata": { "usage": { "inputTokens": input, "outputTokens": output } } });
    let trace = json!({ "orchestrationTrace": { "modelInvocationOutput": output } });
    ("trace", json!({ "trace": trace, "collaboratorName": collaborator }))
}

fn rationale(text: &str) -> (&'static str, Value) {
    ("trace", json!({ "trace": { "orchestrationTrace": { "rationale": { "text": text } } } }))
}

/// What came of a turn: its end, its events, and the calls that it took.
struct Came {
    ended: Result<FinishReason, Failure>,
    events: Vec<TurnEvent>,
    calls: Vec<Call>,
}

impl Came {
    fn text(&self) -> String {
        let text = |event: &TurnEvent| match event {
            TurnEvent::Text(text) => Some(text.to_string()),
            _ => None,
        };
        self.events.iter().filter_map(text).collect()
    }

    fn usage(&self) -> Option<Usage> {
        self.events.iter().rev().find_map(|event| match event {
            TurnEvent::Usage(usage) => Some(*usage),
            _ => None,
        })
    }

    fn failure(&self) -> &Failure {
        self.ended.as_ref().unwrap_err()
    }
}

async fn run(model: &Model, ask: Ask, replies: Vec<Reply>) -> Came {
    let canned = Canned::start(replies).await;
    let backend = (KIND.open)(model, &canned.deps());
    let outlet = Outlet::default();
    let ended = backend.answer(ask, outlet.clone()).await;
    Came { ended, events: outlet.take(), calls: canned.calls() }
}

fn results(call: &Call) -> &Value {
    &call.body["sessionState"]["returnControlInvocationResults"]
}

#[tokio::test]
async fn results_go_alone_and_the_users_text_in_a_second_call() {
    let mut ask = ask(vec![says("and tomorrow?")]);
    ask.pending = Some(waits(Some("rain")));
    let replies = vec![
        Reply::Events(vec![used(5, 1, None), chunk("It rains.")]),
        Reply::Events(vec![used(7, 2, None), chunk("The sun"), chunk(" shines.")]),
    ];
    let came = run(&model(), ask, replies).await;
    assert_eq!(came.ended, Ok(FinishReason::Stop));
    assert_eq!(came.text(), "It rains.\n\nThe sun shines.");
    let total = Usage { input_tokens: 12, output_tokens: 3, ..Usage::default() };
    assert_eq!(came.usage(), Some(total));
    let [first, second] = &came.calls[..] else { panic!("{:?}", came.calls) };
    assert!(first.body.get("inputText").is_none());
    assert_eq!(first.body["sessionState"]["invocationId"], "inv-1");
    let result = &results(first)[0]["functionResult"];
    assert_eq!(result["responseBody"]["TEXT"]["body"], "rain");
    assert_eq!(second.body["inputText"], "and tomorrow?");
    assert!(results(second).is_null());
}

#[tokio::test]
async fn a_text_in_place_of_results_interrupts_what_the_agent_waits_for_unheard() {
    let mut ask = ask(vec![says("never mind")]);
    ask.pending = Some(waits(None));
    let replies = vec![
        Reply::Events(vec![used(1, 1, None), chunk("So?"), hand_over("inv-2")]),
        Reply::Events(vec![used(1, 1, None), chunk("Well.")]),
        Reply::Events(vec![used(1, 1, None), chunk("As you wish.")]),
    ];
    let came = run(&model(), ask, replies).await;
    assert_eq!(came.ended, Ok(FinishReason::Stop));
    assert_eq!(came.text(), "As you wish.");
    assert_eq!(came.usage().map(|usage| usage.total_tokens()), Some(6));
    let is_call = |event: &TurnEvent| matches!(event, TurnEvent::ToolCallStarted { .. });
    assert!(!came.events.iter().any(is_call));
    for (call, invocation) in came.calls.iter().zip(["inv-1", "inv-2"]) {
        assert_eq!(call.body["sessionState"]["invocationId"], invocation);
        let result = &results(call)[0]["functionResult"];
        assert_eq!(result["responseState"], "REPROMPT");
        let body = result["responseBody"]["TEXT"]["body"].as_str().unwrap();
        assert!(body.contains("interrupted"));
    }
    assert_eq!(came.calls[2].body["inputText"], "never mind");
}

#[tokio::test]
async fn an_agent_that_goes_on_handing_over_is_stuck() {
    let mut ask = ask(vec![says("never mind")]);
    ask.pending = Some(waits(None));
    let replies = (0..9).map(|_| Reply::Events(vec![hand_over("inv")])).collect();
    let came = run(&model(), ask, replies).await;
    assert_eq!(came.failure().kind, FailureKind::UpstreamProtocol);
    assert!(came.failure().may_have_run);
    assert_eq!(came.calls.len(), 4);
}

#[tokio::test]
async fn a_hand_over_after_results_is_shown_unless_a_text_follows_them() {
    let mut silent = ask(Vec::new());
    silent.pending = Some(waits(Some("rain")));
    let came = run(&model(), silent, vec![Reply::Events(vec![hand_over("inv-2")])]).await;
    assert_eq!(came.ended, Ok(FinishReason::ToolCalls));
    let arguments = TurnEvent::ToolCallArguments { index: 0, delta: r#"{"days":3}"#.into() };
    assert!(came.events.contains(&arguments));
    let mut speaking = ask(vec![says("stop")]);
    speaking.pending = Some(waits(Some("rain")));
    let replies = vec![
        Reply::Events(vec![chunk("It rains."), hand_over("inv-2")]),
        Reply::Events(vec![chunk("unheard")]),
        Reply::Events(vec![chunk("Stopped.")]),
    ];
    let came = run(&model(), speaking, replies).await;
    assert_eq!(came.ended, Ok(FinishReason::Stop));
    assert_eq!(came.text(), "It rains.\n\nStopped.");
}

#[tokio::test]
async fn results_are_sent_again_only_while_the_service_has_not_taken_them() {
    let with_results = || {
        let mut ask = ask(Vec::new());
        ask.pending = Some(waits(Some("rain")));
        ask
    };
    let refused = Reply::Refusal(429, "ThrottlingException");
    let replies = vec![refused, Reply::Events(vec![chunk("It rains.")])];
    let came = run(&model(), with_results(), replies).await;
    assert_eq!((came.calls.len(), came.text().as_str()), (2, "It rains."));
    let throttled = || Reply::Events(vec![("throttlingException", json!({ "message": "slow" }))]);
    let replies = vec![throttled(), Reply::Events(vec![chunk("twice")])];
    let came = run(&model(), with_results(), replies).await;
    assert_eq!(came.calls.len(), 1);
    assert!(came.failure().may_have_run);
    // A text may be sent again.
    let replies = vec![throttled(), Reply::Events(vec![chunk("Hello.")])];
    let came = run(&model(), ask(vec![says("hi")]), replies).await;
    assert_eq!((came.calls.len(), came.text().as_str()), (2, "Hello."));
}

#[tokio::test]
async fn results_that_nobody_waits_for_tell_the_client_to_send_again() {
    let mut ask = ask(Vec::new());
    ask.pending = Some(waits(Some("rain")));
    let came = run(&model(), ask, vec![Reply::Refusal(400, "ValidationException")]).await;
    let failure = came.failure();
    assert_eq!(failure.kind, FailureKind::UpstreamRejected);
    assert!(failure.message.contains("no longer waits"), "{failure}");
    assert_eq!(failure.param.as_deref(), Some("messages"));
}

#[tokio::test]
async fn a_session_that_ends_without_a_word_leaves_its_hand_over() {
    let mut ask = ask(Vec::new());
    ask.pending = Some(waits(None));
    let request = TurnRequest { end_session: true, ..TurnRequest::default() };
    ask.request = Arc::new(request);
    let came = run(&model(), ask, vec![Reply::Events(Vec::new())]).await;
    assert_eq!(came.ended, Ok(FinishReason::Stop));
    assert_eq!(came.calls[0].body["endSession"], true);
    assert!(results(&came.calls[0]).is_null());
}

#[tokio::test]
async fn settings_of_model_and_request_stand_in_the_call() {
    let mut model = model();
    let search = json!({ "knowledgeBaseId": "KB12345678", "retrievalConfiguration": {
        "vectorSearchConfiguration": { "numberOfResults": 3,
            "filter": { "equals": { "key": "tenant", "value": "acme" } } } } });
    model.agents.knowledge_bases = vec![search.clone()];
    model.agents.memory_id = Some("{tenant}.{user}".to_owned());
    model.agents.exclude_thinking = true;
    let mut request = TurnRequest::default();
    request.hints.speaker = Some("ann".to_owned());
    request.agent.latency = Some(crate::turn::Latency::Optimized);
    request.agent.guardrail_interval = NonZeroU32::new(80);
    request.agent.file_use = Some(crate::turn::FileUse::CodeInterpreter);
    let file = json!({ "file": { "file_data": "data:text/csv;base64,YSxi", "filename": "a.csv" } });
    let attachment = Part::Attachment { kind: "file".to_owned(), value: Arc::new(file) };
    let mut said = says("sum it up");
    said.parts.push(attachment);
    let mut ask = ask(vec![said]);
    ask.request = Arc::new(request);
    let agent = (model.clone(), ask);
    let came = run(&agent.0, agent.1, vec![Reply::Events(vec![chunk("Done.")])]).await;
    assert_eq!(came.text(), "Done.");
    let body = &came.calls[0].body;
    assert!(came.calls[0].path.starts_with("/agents/agent12345/agentaliases/tstaliasid/"));
    assert_eq!(body["memoryId"], "acme.ann");
    assert_eq!(body["sessionState"]["knowledgeBaseConfigurations"], json!([search]));
    let performance = &body["bedrockModelConfigurations"]["performanceConfig"];
    assert_eq!(performance["latency"], "optimized");
    assert_eq!(body["promptCreationConfigurations"]["excludePreviousThinkingSteps"], true);
    assert_eq!(body["streamingConfigurations"]["applyGuardrailInterval"], 80);
    let file = &body["sessionState"]["files"][0];
    assert_eq!((&file["name"], &file["useCase"]), (&json!("a.csv"), &json!("CODE_INTERPRETER")));
    let content = &file["source"]["byteContent"];
    assert_eq!(content, &json!({ "mediaType": "text/csv", "data": "YSxi" }));
    assert_eq!(body["inputText"], "sum it up");
}

#[tokio::test]
async fn traces_are_reasoning_usage_of_each_and_themselves() {
    let mut model = model();
    model.agents.reasoning = Reasoning::Always;
    model.agents.expose_traces = true;
    let request = TurnRequest { wants_traces: true, ..TurnRequest::default() };
    let mut ask = ask(vec![says("hi")]);
    ask.request = Arc::new(request);
    let stream = vec![
        rationale("Ask the loans desk."),
        used(10, 2, Some("loans")),
        used(4, 1, None),
        chunk("Hello."),
    ];
    let came = run(&model, ask, vec![Reply::Events(stream)]).await;
    let reasoning = TurnEvent::Reasoning("Ask the loans desk.\n\n".into());
    assert!(came.events.contains(&reasoning));
    let raw = came.events.iter().filter(|event| matches!(event, TurnEvent::Trace(_)));
    assert_eq!(raw.count(), 3);
    let [.., TurnEvent::UsageByCollaborator(shares), TurnEvent::Usage(total)] = &came.events[..]
    else {
        panic!("{:?}", came.events)
    };
    assert_eq!(shares[0].collaborator.as_deref(), Some("loans"));
    assert_eq!((shares.len(), total.input_tokens, total.output_tokens), (2, 14, 3));
}

#[tokio::test]
async fn results_that_a_fresh_session_does_not_wait_for_are_told_as_text() {
    let call = ToolCall {
        id: "c1".to_owned(),
        name: "forecast".to_owned(),
        arguments: r#"{"days":3}"#.to_owned(),
        confirmation: Confirmation::None,
    };
    let calling = Message { tool_calls: vec![call], ..Message::text(Role::Assistant, "") };
    let result = Message {
        tool_call_id: Some("c1".to_owned()),
        status: Status::Completed,
        ..Message::text(Role::Tool, "rain")
    };
    let mut ask = ask(vec![result]);
    ask.history = vec![Arc::new(says("weather?")), Arc::new(calling)];
    let came = run(&model(), ask, vec![Reply::Events(vec![chunk("It rains.")])]).await;
    let body = &came.calls[0].body;
    assert_eq!(body["inputText"], "Result of forecast ({\"days\":3}): rain");
    let told = &body["sessionState"]["conversationHistory"]["messages"][1]["content"][0]["text"];
    assert_eq!(told, "Called forecast ({\"days\":3})");
}

#[test]
fn agent_ids_that_the_service_would_not_take_are_mistakes() {
    let mut model = Model::new("m".parse().unwrap(), NAME);
    assert_eq!(check(&model)[0].setting, "agent_id");
    model.agent_id = Some("AGENT/../X".to_owned());
    assert_eq!(check(&model)[0].setting, "agent_id");
    model.agent_id = Some("AGENT12345".to_owned());
    assert!(check(&model).is_empty());
}

#[test]
fn a_knowledge_base_without_its_search_is_a_mistake() {
    let mut model = model();
    model.agents.knowledge_bases = vec![json!({ "knowledgeBaseId": "KB12345678" })];
    let mistakes = check(&model);
    assert_eq!(mistakes[0].setting, "knowledge_bases");
    assert!(mistakes[0].message.contains("knowledge_bases[0].retrievalConfiguration"));
}
