//! Agents that come with the call: `InvokeInlineAgent`.

use std::collections::HashMap;

use aws_sdk_bedrockagentruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockagentruntime::operation::invoke_inline_agent::InvokeInlineAgentError;
use aws_sdk_bedrockagentruntime::operation::invoke_inline_agent::builders::InvokeInlineAgentFluentBuilder;
use aws_sdk_bedrockagentruntime::types::{
    ActionGroupExecutor, ActionInvocationType, AgentActionGroup, ApiSchema, ContentBody,
    CustomControlMethod, FunctionDefinition, FunctionResult, FunctionSchema,
    InlineAgentResponseStream, InlineAgentReturnControlPayload, InlineSessionState,
    InvocationResultMember, ParameterDetail, ParameterType, RequireConfirmation,
};
use serde_json::json;
use tokio::time::timeout;

use crate::harness::{PATIENCE, Running, pairs, start};

const INSTRUCTION: &str = "You are an assistant that helps people to plan their travels.";

#[derive(Debug, Default)]
struct Heard {
    text: String,
    traces: usize,
    returned: Vec<InlineAgentReturnControlPayload>,
    files: usize,
}

impl Running {
    fn inline(&self, session: &str) -> InvokeInlineAgentFluentBuilder {
        self.client
            .invoke_inline_agent()
            .session_id(session)
            .foundation_model("anthropic.claude-3-haiku")
            .instruction(INSTRUCTION)
    }
}

async fn hear(
    call: InvokeInlineAgentFluentBuilder,
) -> Result<Heard, Box<SdkError<InvokeInlineAgentError>>> {
    let mut answer = call.send().await?;
    let mut heard = Heard::default();
    while let Some(event) = timeout(PATIENCE, answer.completion.recv()).await.unwrap().unwrap() {
        match event {
            InlineAgentResponseStream::Chunk(part) => {
                heard.text += std::str::from_utf8(part.bytes.unwrap().as_ref()).unwrap();
            }
            InlineAgentResponseStream::Trace(_) => heard.traces += 1,
            InlineAgentResponseStream::ReturnControl(payload) => heard.returned.push(payload),
            InlineAgentResponseStream::Files(part) => heard.files += part.files().len(),
            other => panic!("unknown event {other:?}"),
        }
    }
    Ok(heard)
}

fn control() -> ActionGroupExecutor {
    ActionGroupExecutor::CustomControl(CustomControlMethod::ReturnControl)
}

fn travel() -> AgentActionGroup {
    let days = ParameterDetail::builder().r#type(ParameterType::String).build().unwrap();
    let forecast = FunctionDefinition::builder()
        .name("forecast")
        .set_parameters(Some(HashMap::from([("days".to_owned(), days)])))
        .build()
        .unwrap();
    let book = FunctionDefinition::builder()
        .name("book")
        .require_confirmation(RequireConfirmation::Enabled)
        .build()
        .unwrap();
    AgentActionGroup::builder()
        .action_group_name("Travel")
        .action_group_executor(control())
        .function_schema(FunctionSchema::Functions(vec![forecast, book]))
        .build()
        .unwrap()
}

fn routes() -> AgentActionGroup {
    let body = json!({"type": "object", "properties": {"stops": {"type": "array"}}});
    let route = json!({
        "operationId": "plan_route",
        "requestBody": {"content": {"application/json": {"schema": body}}},
    });
    let schema = json!({"openapi": "3.0.0", "paths": {"/routes": {"post": route}}});
    AgentActionGroup::builder()
        .action_group_name("Routes")
        .action_group_executor(control())
        .api_schema(ApiSchema::Payload(schema.to_string()))
        .build()
        .unwrap()
}

#[tokio::test]
async fn an_inline_agent_answers_and_remembers_its_session() {
    let emulator = start().await;
    let heard = hear(emulator.inline("talks").input_text("I am Ann").enable_trace(true)).await;
    let heard = heard.unwrap();
    assert!(heard.text.starts_with("Nice to meet you, Ann.") && heard.traces == 3);
    let heard = hear(emulator.inline("talks").input_text("Who am I?")).await.unwrap();
    assert_eq!(heard.text, "Your name is Ann.");
    let heard = hear(emulator.inline("talks").input_text("cite: s3; file: a")).await.unwrap();
    assert_eq!(heard.files, 1);
    let state = InlineSessionState::builder().set_session_attributes(pairs(&[("a", "b")])).build();
    let asked = emulator.inline("talks").input_text("What are my attributes?");
    let heard = hear(asked.inline_session_state(state)).await.unwrap();
    assert!(heard.text.contains("a=b"), "{}", heard.text);
    let shown = emulator.state().await;
    assert_eq!(shown["calls"][0]["operation"], "InvokeInlineAgent");
    assert_eq!(shown["calls"][0]["body"]["instruction"], INSTRUCTION);
    assert_eq!(shown["sessions"][0]["agent"], "inline");
}

#[tokio::test]
async fn declared_functions_are_handed_over_as_they_are_declared() {
    let emulator = start().await;
    let call = || emulator.inline("tools").action_groups(travel()).action_groups(routes());
    let text = "call: forecast days=3; call: book; call: plan_route stops=[]";
    let heard = hear(call().input_text(text)).await.unwrap();
    let inputs = heard.returned[0].invocation_inputs();
    let forecast = inputs[0].as_function_invocation_input().unwrap();
    assert_eq!(forecast.action_group(), "Travel");
    assert_eq!(forecast.parameters()[0].r#type(), Some("string"));
    let book = inputs[1].as_function_invocation_input().unwrap();
    let both = Some(&ActionInvocationType::UserConfirmationAndResult);
    assert_eq!(book.action_invocation_type(), both);
    let route = inputs[2].as_api_invocation_input().unwrap();
    assert_eq!((route.http_method(), route.api_path()), (Some("POST"), Some("/routes")));
    let content = route.request_body().unwrap().content().unwrap();
    assert_eq!(content["application/json"].properties()[0].r#type(), Some("array"));
}

#[tokio::test]
async fn results_go_back_in_the_inline_session_state() {
    let emulator = start().await;
    let call = || emulator.inline("loop").action_groups(travel());
    let heard = hear(call().input_text("call: forecast; then call: forecast")).await.unwrap();
    let bring = |id: Option<&str>| {
        let result = FunctionResult::builder()
            .action_group("Travel")
            .function("forecast")
            .response_body("TEXT", ContentBody::builder().body("rain").build())
            .build()
            .unwrap();
        let state = InlineSessionState::builder()
            .set_invocation_id(id.map(str::to_owned))
            .return_control_invocation_results(InvocationResultMember::FunctionResult(result));
        call().inline_session_state(state.build())
    };
    let heard = hear(bring(heard.returned[0].invocation_id())).await.unwrap();
    let heard = hear(bring(heard.returned[0].invocation_id())).await.unwrap();
    assert_eq!(heard.text, "forecast says: rain\nforecast says: rain");
}

#[tokio::test]
async fn a_function_that_is_not_declared_is_not_known() {
    let emulator = start().await;
    let call = emulator.inline("unknown").action_groups(travel()).input_text("call: weather");
    let heard = hear(call).await.unwrap();
    assert!(heard.returned.is_empty());
    assert_eq!(heard.text, "I do not know the function weather.");
}

#[tokio::test]
async fn what_breaks_a_rule_of_the_model_is_refused() {
    let emulator = start().await;
    let short = emulator.inline("refused").instruction("Too short.").input_text("hello");
    let group = AgentActionGroup::builder().action_group_name("a b").build().unwrap();
    let named = emulator.inline("refused").action_groups(group).input_text("hello");
    let twice = emulator.inline("refused").action_groups(travel()).action_groups(travel());
    for call in [short, named, twice.input_text("hello")] {
        assert_eq!(hear(call).await.unwrap_err().code(), Some("ValidationException"));
    }
}
