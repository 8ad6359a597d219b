//! Return of control: what the agent hands over, and what it makes of the results.

use aws_sdk_bedrockagentruntime::error::ProvideErrorMetadata;
use aws_sdk_bedrockagentruntime::types::builders::FunctionResultBuilder;
use aws_sdk_bedrockagentruntime::types::error::ResponseStreamError;
use aws_sdk_bedrockagentruntime::types::{
    ActionInvocationType, ApiResult, ConfirmationState, ContentBody, FunctionInvocationInput,
    FunctionResult, InvocationResultMember, ResponseState, ReturnControlPayload, SessionState,
};

use crate::harness::{Heard, Running, hear, start, streamed};

/// Says something that ends in a hand-over.
async fn handed(emulator: &Running, session: &str, text: &str) -> (Heard, ReturnControlPayload) {
    let call = emulator.call(session).input_text(text).streaming_configurations(streamed());
    let mut heard = hear(call).await.unwrap();
    let control = heard.returned.pop().unwrap();
    assert!(heard.returned.is_empty());
    (heard, control)
}

fn body(text: &str) -> ContentBody {
    ContentBody::builder().body(text).build()
}

fn result(
    name: &str,
    add: impl FnOnce(FunctionResultBuilder) -> FunctionResultBuilder,
) -> InvocationResultMember {
    let result = add(FunctionResult::builder().action_group("demo").function(name));
    InvocationResultMember::FunctionResult(result.build().unwrap())
}

fn says(name: &str, text: &str) -> InvocationResultMember {
    result(name, |result| result.response_body("TEXT", body(text)))
}

fn decides(name: &str, state: ConfirmationState) -> InvocationResultMember {
    result(name, |result| result.confirmation_state(state))
}

fn states(name: &str, state: ResponseState) -> InvocationResultMember {
    result(name, |result| result.response_state(state).response_body("TEXT", body("no luck")))
}

/// The state that brings back results under the id of a hand-over.
fn results(id: &str, list: &[InvocationResultMember]) -> SessionState {
    SessionState::builder()
        .invocation_id(id)
        .set_return_control_invocation_results(Some(list.to_vec()))
        .build()
}

impl Running {
    async fn bring(
        &self,
        session: &str,
        control: &ReturnControlPayload,
        list: &[InvocationResultMember],
    ) -> Heard {
        let state = results(control.invocation_id().unwrap(), list);
        hear(self.call(session).session_state(state)).await.unwrap()
    }

    async fn refused(&self, session: &str, state: SessionState) -> String {
        let error = hear(self.call(session).session_state(state)).await.unwrap_err();
        assert_eq!(error.code(), Some("ValidationException"));
        error.message().unwrap().to_owned()
    }
}

fn functions(control: &ReturnControlPayload) -> Vec<&FunctionInvocationInput> {
    let inputs = control.invocation_inputs().iter();
    inputs.map(|input| input.as_function_invocation_input().unwrap()).collect()
}

#[tokio::test]
async fn a_function_is_handed_over_and_its_result_taken_back() {
    let emulator = start().await;
    let (heard, control) =
        handed(&emulator, "one", "call: get_forecast city=Oslo days=3 @group=Weather").await;
    assert!(heard.chunks.is_empty() && heard.failure.is_none());
    let [input] = functions(&control)[..] else { panic!("not one input") };
    assert_eq!((input.action_group(), input.function()), ("Weather", Some("get_forecast")));
    assert_eq!(input.action_invocation_type(), Some(&ActionInvocationType::Result));
    let days = &input.parameters()[1];
    let expected = (Some("days"), Some("integer"), Some("3"));
    assert_eq!((days.name(), days.r#type(), days.value()), expected);

    let result = result("get_forecast", |result| {
        result.action_group("Weather").response_body("TEXT", body("rain"))
    });
    let heard = emulator.bring("one", &control, &[result]).await;
    assert_eq!(heard.text(), "get_forecast says: rain");
}

#[tokio::test]
async fn two_calls_then_a_confirmation_then_an_answer_that_quotes_them_all() {
    let emulator = start().await;
    let script = "say: One moment.; call: forecast city=Oslo; call: flights to=Oslo max:string=3; \
                  then say: Shall I?; call: book to=Oslo @confirm; then say: Done.";
    let (heard, control) = handed(&emulator, "chain", script).await;
    assert_eq!(heard.text(), "One moment.");
    let inputs = functions(&control);
    assert_eq!(inputs.len(), 2);
    assert_eq!(inputs[1].parameters()[1].r#type(), Some("string"));

    let both = [says("flights", "two"), says("forecast", "rain")];
    let mut heard = emulator.bring("chain", &control, &both).await;
    assert_eq!(heard.text(), "Shall I?");
    let second = heard.returned.pop().unwrap();
    assert_ne!(second.invocation_id(), control.invocation_id());
    let [input] = functions(&second)[..] else { panic!("not one input") };
    assert_eq!(input.action_invocation_type(), Some(&ActionInvocationType::UserConfirmation));

    let decision = [decides("book", ConfirmationState::Confirm)];
    let heard = emulator.bring("chain", &second, &decision).await;
    let expected = "forecast says: rain\nflights says: two\nbook was confirmed Done.";
    assert_eq!(heard.text(), expected);
    assert!(emulator.say("chain", "How many turns do you hold?").await.contains("I hold 1 turn "));
}

#[tokio::test]
async fn an_operation_of_an_api_is_handed_over_with_its_body() {
    let emulator = start().await;
    let script = "api: POST /orders/{orderId}/notes orderId:string=42 body note='call back' \
                  urgent=true @group=Orders @by=Night-Desk @confirm-run";
    let (_, control) = handed(&emulator, "api", script).await;
    let input = control.invocation_inputs()[0].as_api_invocation_input().unwrap();
    assert_eq!((input.http_method(), input.agent_id()), (Some("POST"), Some("NIGHTDESK0")));
    assert_eq!(input.collaborator_name(), Some("Night-Desk"));
    let content = input.request_body().unwrap().content().unwrap();
    let urgent = &content["application/json"].properties()[1];
    assert_eq!((urgent.r#type(), urgent.value()), (Some("boolean"), Some("true")));

    let result = ApiResult::builder()
        .action_group("Orders")
        .http_method("POST")
        .api_path("/orders/{orderId}/notes")
        .http_status_code(201)
        .agent_id("NIGHTDESK0")
        .confirmation_state(ConfirmationState::Confirm)
        .response_body("application/json", body("{\"ok\":true}"))
        .build()
        .unwrap();
    let mut anonymous = result.clone();
    anonymous.agent_id = None;
    let id = control.invocation_id().unwrap();
    let message =
        emulator.refused("api", results(id, &[InvocationResultMember::ApiResult(anonymous)])).await;
    assert!(message.contains("no result"), "{message}");
    let heard = emulator.bring("api", &control, &[InvocationResultMember::ApiResult(result)]).await;
    let expected = "POST /orders/{orderId}/notes (201) was confirmed and says: {\"ok\":true}";
    assert_eq!(heard.text(), expected);
}

#[tokio::test]
async fn results_that_do_not_fit_are_refused_and_are_still_waited_for() {
    let emulator = start().await;
    let (_, control) = handed(&emulator, "strict", "call: a; call: b @confirm").await;
    let id = control.invocation_id().unwrap();
    let right = [says("a", "1"), decides("b", ConfirmationState::Deny)];
    let state = |list: &[InvocationResultMember]| results(id, list);
    for wrong in [
        results("another", &right),
        state(&right[..1]),
        state(&[says("a", "1"), says("a", "1")]),
        state(&[says("a", "1"), says("b", "2")]),
        state(&[right[0].clone(), right[1].clone(), says("c", "3")]),
        state(&[]),
        state(&vec![says("a", "1"); 6]),
    ] {
        emulator.refused("strict", wrong).await;
    }
    let shown = emulator.state().await;
    assert_eq!(shown["sessions"][0]["pending"], serde_json::json!(["a", "b"]));
    let text = hear(emulator.call("strict").input_text("never mind")).await.unwrap_err();
    assert!(text.message().unwrap().contains("a, b"), "{text:?}");
    let call = emulator.call("strict").session_state(state(&right)).input_text("ignored");
    assert_eq!(hear(call).await.unwrap().text(), "a says: 1\nb was denied");
    let late = emulator.refused("strict", state(&right)).await;
    assert!(late.contains("waits for no results"), "{late}");
}

#[tokio::test]
async fn a_failed_action_ends_the_call_and_a_reprompt_goes_on() {
    let emulator = start().await;
    let (_, control) = handed(&emulator, "fails", "call: a; then call: b").await;
    let heard = emulator.bring("fails", &control, &[states("a", ResponseState::Failure)]).await;
    let failure = heard.failure.unwrap().into_service_error();
    assert!(matches!(failure, ResponseStreamError::DependencyFailedException(_)), "{failure:?}");
    assert_ne!(emulator.say("fails", "hello").await, "");

    let (_, control) = handed(&emulator, "again", "call: a; then call: b").await;
    let mut heard =
        emulator.bring("again", &control, &[states("a", ResponseState::Reprompt)]).await;
    let control = heard.returned.pop().unwrap();
    let heard = emulator.bring("again", &control, &[says("b", "better")]).await;
    let expected = "a did not work, so I try it otherwise: no luck\nb says: better";
    assert_eq!(heard.text(), expected);
}

#[tokio::test]
async fn a_hand_over_is_traced_and_nothing_is_thought_after_it() {
    let emulator = start().await;
    let call = emulator.call("traced").input_text("call: a x=1; call: b @by=Helper");
    let heard = hear(call.enable_trace(true)).await.unwrap();
    assert_eq!((heard.traces.len(), heard.returned.len()), (4, 1));
    let inputs = heard.traces.iter().filter_map(|part| {
        let trace = part.trace.as_ref()?.as_orchestration_trace().ok()?;
        let input = trace.as_invocation_input().ok()?.action_group_invocation_input()?;
        Some((part.collaborator_name(), input.function(), input.invocation_id()))
    });
    let id = heard.returned[0].invocation_id();
    assert_eq!(
        inputs.collect::<Vec<_>>(),
        [(None, Some("a"), id), (Some("Helper"), Some("b"), id)]
    );
}
