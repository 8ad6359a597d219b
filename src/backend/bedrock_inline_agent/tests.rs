//! Inline agents through the real SDK against a server that was told what to say.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::backend::canned::{Canned, Reply, chunk};
use crate::turn::{
    Confirmation, PendingCall, Role, SessionKey, Tool, ToolCall, TurnEvent, TurnRequest,
};

use super::*;

fn model() -> Model {
    let mut model = Model::new("m".parse().unwrap(), NAME);
    model.inline.foundation_model = Some("anthropic.claude".to_owned());
    model.inline.instruction = Some("x".repeat(SHORTEST));
    model
}

#[test]
fn an_inline_agent_needs_a_model_and_an_instruction() {
    assert!(check(&model()).is_empty());
    let settings = |model: &Model| -> Vec<_> {
        check(model).into_iter().map(|mistake| mistake.setting).collect()
    };
    let mut bare = model();
    bare.inline.foundation_model = None;
    bare.inline.instruction = Some("Be kind.".to_owned());
    assert_eq!(settings(&bare), ["foundation_model", "instruction"]);
}

#[test]
fn wrong_groups_bases_and_guardrails_are_mistakes_with_their_place() {
    let mut model = model();
    model.inline.action_groups = vec![json!({ "actionGroupName": "client_tools" })];
    model.agents.knowledge_bases = vec![json!({ "knowledgeBaseId": "KB1" })];
    model.guardrail.version = Some("1".to_owned());
    model.agents.memory_id = Some("{user}".to_owned());
    let mistakes = check(&model);
    let settings: Vec<_> = mistakes.iter().map(|mistake| mistake.setting).collect();
    let wrong = ["action_groups", "knowledge_bases", "guardrail_version", "memory_id"];
    assert_eq!(settings, wrong);
    assert_eq!(mistakes[1].message, "knowledge_bases[0].description must be a text");
    model.inline.action_groups = vec![json!({ "name": "G" })];
    assert!(check(&model)[0].message.starts_with("action_groups[0]"));
}

fn ask(request: TurnRequest) -> Ask {
    Ask {
        key: SessionKey { tenant: "acme".parse().unwrap(), id: "s1".parse().unwrap() },
        upstream: UpstreamSessionId::generate(),
        system: request.messages.clone().into(),
        history: Vec::new(),
        input: vec![Message::text(Role::User, "hi")],
        pending: None,
        request: Arc::new(request),
    }
}

async fn run(
    model: &Model,
    ask: Ask,
    reply: Reply,
) -> (Result<FinishReason, Failure>, Vec<TurnEvent>, Option<Value>) {
    let canned = Canned::start(vec![reply]).await;
    let backend = (KIND.open)(model, &canned.deps());
    let outlet = Outlet::default();
    let ended = backend.answer(ask, outlet.clone()).await;
    let call = canned.calls().into_iter().next();
    (ended, outlet.take(), call.map(|call| call.body))
}

fn deep_tool() -> Tool {
    Tool {
        name: "__book".to_owned(),
        description: Some("Books.".to_owned()),
        parameters: Some(json!({ "type": "object",
            "properties": { "who": { "type": "object", "properties": {} } } })),
        ..Tool::default()
    }
}

#[tokio::test]
async fn an_agent_is_made_of_settings_system_messages_and_tools() {
    let mut model = model();
    model.guardrail.id = Some("gr1".to_owned());
    model.inline.action_groups = vec![json!({ "actionGroupName": "Code",
        "parentActionGroupSignature": "AMAZON.CodeInterpreter" })];
    let base = json!({ "knowledgeBaseId": "KB12345678", "description": "Fees." });
    model.agents.knowledge_bases = vec![base.clone()];
    model.idle_session_ttl = Duration::from_secs(5_000);
    let request = TurnRequest {
        messages: vec![Message::text(Role::System, "Speak Norwegian.")],
        tools: vec![deep_tool()],
        ..TurnRequest::default()
    };
    let reply = Reply::Events(vec![chunk("Hei.")]);
    let (ended, events, body) = run(&model, ask(request), reply).await;
    assert_eq!(ended, Ok(FinishReason::Stop));
    assert!(events.contains(&TurnEvent::Text("Hei.".into())));
    let body = body.unwrap();
    assert_eq!(body["foundationModel"], "anthropic.claude");
    let instruction = format!("{}\n\nSpeak Norwegian.", "x".repeat(SHORTEST));
    assert_eq!(body["instruction"], instruction);
    assert_eq!(body["idleSessionTTLInSeconds"], 3_600);
    let guardrail = json!({ "guardrailIdentifier": "gr1", "guardrailVersion": "DRAFT" });
    assert_eq!(body["guardrailConfiguration"], guardrail);
    assert_eq!(body["knowledgeBases"], json!([base]));
    let groups = body["actionGroups"].as_array().unwrap();
    assert_eq!(groups[0]["parentActionGroupSignature"], "AMAZON.CodeInterpreter");
    assert_eq!(groups[1]["actionGroupExecutor"]["customControl"], "RETURN_CONTROL");
    let function = &groups[1]["functionSchema"]["functions"][0];
    assert_eq!(function["description"], "Books.");
    assert_eq!(function["parameters"]["arguments_json"]["type"], "string");
}

#[tokio::test]
async fn an_agent_without_tools_or_bases_sends_none() {
    let reply = Reply::Events(vec![chunk("Hei.")]);
    let (_, _, body) = run(&model(), ask(TurnRequest::default()), reply).await;
    let body = body.unwrap();
    assert!(body.get("actionGroups").is_none() && body.get("knowledgeBases").is_none());
    assert_eq!(body["idleSessionTTLInSeconds"], 600);
}

#[tokio::test]
async fn a_call_of_a_tool_goes_out_under_the_clients_name_with_its_arguments_unpacked() {
    let tools = ClientTools::of(&[deep_tool()], None, |_| false).unwrap();
    let group = tools.group().unwrap();
    let function = action_groups::functions(&group).next().unwrap();
    let input = json!({ "functionInvocationInput": { "actionGroup": "client_tools",
        "function": function, "parameters": [
            { "name": "arguments_json", "type": "string", "value": "{\"who\":{\"n\":1}}" }] } });
    let control = json!({ "invocationId": "inv-1", "invocationInputs": [input] });
    let request = TurnRequest { tools: vec![deep_tool()], ..TurnRequest::default() };
    let reply = Reply::Events(vec![("returnControl", control)]);
    let (ended, events, _) = run(&model(), ask(request), reply).await;
    assert_eq!(ended, Ok(FinishReason::ToolCalls));
    let TurnEvent::ToolCallStarted { name, .. } = &events[0] else { panic!("{events:?}") };
    assert_eq!(&**name, "__book");
    let arguments = TurnEvent::ToolCallArguments { index: 0, delta: r#"{"who":{"n":1}}"#.into() };
    assert_eq!(events[1], arguments);
}

#[tokio::test]
async fn results_bring_the_functions_that_they_are_of_along() {
    let call = ToolCall {
        id: "c".to_owned(),
        name: "look".to_owned(),
        arguments: "{}".to_owned(),
        confirmation: Confirmation::None,
    };
    let input = json!({ "functionInvocationInput":
        { "actionGroup": "client_tools", "function": "look", "parameters": [] } });
    let result = Some(Arc::new(Message::text(Role::Tool, "blue")));
    let call = PendingCall { call, input, result };
    let mut ask = ask(TurnRequest::default());
    ask.input = Vec::new();
    ask.pending = Some(Pending { invocation_id: "inv-1".to_owned(), calls: vec![call] });
    let reply = Reply::Events(vec![chunk("Blue.")]);
    let (ended, _, body) = run(&model(), ask, reply).await;
    assert_eq!(ended, Ok(FinishReason::Stop));
    let body = body.unwrap();
    let state = &body["inlineSessionState"];
    assert_eq!(state["invocationId"], "inv-1");
    let result = &state["returnControlInvocationResults"][0]["functionResult"];
    assert_eq!(result["responseBody"]["TEXT"]["body"], "blue");
    assert_eq!(body["actionGroups"][0]["functionSchema"]["functions"][0]["name"], "look");
}

#[tokio::test]
async fn what_inline_agents_do_not_have_is_refused() {
    let nothing = || Reply::Events(Vec::new());
    let request = TurnRequest { memory_id: Some("ann".to_owned()), ..TurnRequest::default() };
    let (ended, _, call) = run(&model(), ask(request), nothing()).await;
    assert_eq!(ended.unwrap_err().kind, FailureKind::UnsupportedParameter);
    assert!(call.is_none());
    let system = vec![Message::text(Role::System, "x".repeat(LONGEST))];
    let request = TurnRequest { messages: system, ..TurnRequest::default() };
    let (ended, ..) = run(&model(), ask(request), nothing()).await;
    assert_eq!(ended.unwrap_err().kind, FailureKind::BadRequest);
}

#[tokio::test]
async fn errors_of_an_inline_agent_are_those_of_an_agent() {
    let denied = Reply::Refusal(403, "AccessDeniedException");
    let (ended, ..) = run(&model(), ask(TurnRequest::default()), denied).await;
    assert_eq!(ended.unwrap_err().kind, FailureKind::UpstreamDenied);
    let failed = ("dependencyFailedException", json!({ "message": "lambda" }));
    let (ended, ..) = run(&model(), ask(TurnRequest::default()), Reply::Events(vec![failed])).await;
    assert_eq!(ended.unwrap_err().kind, FailureKind::UpstreamDependency);
}
