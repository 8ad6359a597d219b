//! Results: what goes back to an agent that handed control over.
//!
//! All results of a hand-over go together, each quoting the input that it answers: its action
//! group, its function or path and method, and the collaborator that asked, if one did. The
//! result of a function stands under `TEXT`, that of an API operation under `application/json`.
//! (`returnControlInvocationResults` of `sessionState`, Amazon Bedrock API Reference.)

use std::sync::Arc;

use aws_sdk_bedrockagentruntime::types::{
    ApiResult, ConfirmationState, ContentBody, FunctionResult, InvocationResultMember,
    ResponseState,
};
use serde_json::Value;

use crate::turn::{
    Confirmation, Failure, FailureKind, HandedBack, Message, Part, Pending, PendingCall,
    ReturnControl, Role, Status, ToolErrors,
};

use super::target::Target;
use super::{confirmation, spelled_result};

/// A part of a tool message that is a result in the service's own spelling.
pub(super) const SPELLED: &str = "bedrock_result";
/// What an agent is told of calls that its user did not wait for.
const INTERRUPTED: &str = "The user interrupted before there was a result.";

/// The results that answer one hand-over.
#[derive(Debug, Clone)]
pub(in crate::backend) struct Results {
    /// The hand-over.
    pub(in crate::backend) invocation_id: String,
    /// A result for each of its calls.
    pub(in crate::backend) members: Vec<InvocationResultMember>,
}

impl Results {
    /// The hand-over's id and the results, for the two members that they go into.
    pub(super) fn into_parts(self) -> (String, Vec<InvocationResultMember>) {
        (self.invocation_id, self.members)
    }
}

/// The results that came; a call without one is answered as interrupted.
///
/// # Errors
/// `BadRequest` for a result that does not say what it should.
pub(super) fn of(pending: &Pending, errors: ToolErrors) -> Result<Results, Failure> {
    let member = |call: &PendingCall| {
        let target = target_of_input(&call.input)?;
        match &call.result {
            None => interruption(&target, call.call.confirmation),
            Some(message) => result(&target, call.call.confirmation, message, errors),
        }
    };
    let members = pending.calls.iter().map(member).collect::<Result<_, _>>()?;
    Ok(Results { invocation_id: pending.invocation_id.clone(), members })
}

/// Answers every call of a hand-over as interrupted.
///
/// # Errors
/// Never for a hand-over that was read from an agent.
pub(super) fn interrupted(control: &ReturnControl) -> Result<Results, Failure> {
    let member = |input: &Value| {
        let target = target_of_input(input)?;
        interruption(&target, target.confirmation())
    };
    let members = control.inputs.iter().map(member).collect::<Result<_, _>>()?;
    Ok(Results { invocation_id: control.invocation_id.clone(), members })
}

/// Reads results in the service's own spelling: a tool message for each, with the id of the call
/// that it answers.
///
/// # Errors
/// `BadRequest` for results of another hand-over, or that answer no open call of this one.
pub(in crate::backend) fn read(
    pending: &Pending,
    handed_back: &HandedBack,
) -> Result<Vec<Message>, Failure> {
    if handed_back.invocation_id != pending.invocation_id {
        let message = "the agent waits for the results of another invocation_id";
        return Err(Failure::bad_field("invocation_id", message));
    }
    let mut open: Vec<_> = pending.calls.iter().filter(|call| call.result.is_none()).collect();
    let mut messages = Vec::with_capacity(handed_back.results.len());
    for (place, value) in handed_back.results.iter().enumerate() {
        let refused = |message: String| {
            let message = format!("return_control_results[{place}]: {message}");
            Failure::bad_field("return_control_results", message)
        };
        let member = spelled_result::read(value).map_err(refused)?;
        let target = Target::read(value).ok_or_else(|| refused("names no action".to_owned()))?;
        let answered = open
            .iter()
            .position(|call| Target::read(&call.input).is_some_and(|asked| target.answers(&asked)));
        let answered = answered.ok_or_else(|| {
            refused(format!("{} is no call that the agent still waits for", target.name()))
        })?;
        messages.push(spelled_message(&open.remove(answered).call.id, value, &member));
    }
    Ok(messages)
}

fn spelled_message(call_id: &str, value: &Value, member: &InvocationResultMember) -> Message {
    let (body, confirmation, state) = match member {
        InvocationResultMember::ApiResult(result) => {
            (result.response_body(), result.confirmation_state(), result.response_state())
        }
        InvocationResultMember::FunctionResult(result) => {
            (result.response_body(), result.confirmation_state(), result.response_state())
        }
        _ => (None, None, None),
    };
    let body = body.and_then(|body| body.values().find_map(ContentBody::body));
    let text = body.or_else(|| confirmation.map(ConfirmationState::as_str)).unwrap_or_default();
    let attachment = Part::Attachment { kind: SPELLED.to_owned(), value: Arc::new(value.clone()) };
    Message {
        parts: vec![attachment, Part::Text(text.to_owned())],
        tool_call_id: Some(call_id.to_owned()),
        status: if state.is_some() { Status::Failed } else { Status::Completed },
        ..Message::text(Role::Tool, "")
    }
}

fn target_of_input(input: &Value) -> Result<Target<'_>, Failure> {
    Target::read(input).ok_or_else(|| {
        tracing::error!("a hand-over was kept that its results cannot quote");
        Failure::internal()
    })
}

/// What a result says besides what it quotes.
#[derive(Debug, Default)]
struct Outcome {
    confirmation: Option<ConfirmationState>,
    error: Option<ResponseState>,
    body: Option<String>,
}

/// Nobody agreed to what somebody was asked to agree to.
fn interruption(
    target: &Target<'_>,
    confirmation: Confirmation,
) -> Result<InvocationResultMember, Failure> {
    let denied = confirmation != Confirmation::None;
    let outcome = Outcome {
        confirmation: denied.then_some(ConfirmationState::Deny),
        error: Some(ResponseState::Reprompt),
        body: Some(INTERRUPTED.to_owned()),
    };
    member(target, outcome)
}

fn result(
    target: &Target<'_>,
    confirmation: Confirmation,
    message: &Message,
    errors: ToolErrors,
) -> Result<InvocationResultMember, Failure> {
    for part in &message.parts {
        match part {
            Part::Attachment { kind, value } if kind == SPELLED => return spelled(target, value),
            Part::Attachment { kind, .. } => return Err(no_attachment(kind)),
            Part::Text(_) => {}
        }
    }
    let content = message.plain_text();
    let error = match errors {
        _ if message.status != Status::Failed => None,
        ToolErrors::Reprompt => Some(ResponseState::Reprompt),
        ToolErrors::Failure => Some(ResponseState::Failure),
    };
    let outcome = match confirmation {
        Confirmation::None => Outcome { confirmation: None, error, body: Some(content) },
        Confirmation::Decision => {
            let state = confirmation::decision(&content)?;
            Outcome { confirmation: Some(state), ..Outcome::default() }
        }
        Confirmation::DecisionAndResult => {
            let decided = confirmation::decision_and_result(content)?;
            let error = error.filter(|_| decided.state == ConfirmationState::Confirm);
            Outcome { confirmation: Some(decided.state), error, body: decided.body }
        }
    };
    member(target, outcome)
}

fn spelled(target: &Target<'_>, value: &Value) -> Result<InvocationResultMember, Failure> {
    let refused = |message: String| Failure::bad_field("messages", message);
    if !Target::read(value).is_some_and(|said| said.answers(target)) {
        return Err(refused(format!("a {SPELLED} part does not answer {}", target.name())));
    }
    spelled_result::read(value).map_err(|error| refused(format!("a {SPELLED} part: {error}")))
}

/// A result that comes with more than text.
pub(super) fn no_attachment(kind: &str) -> Failure {
    let kind: String = kind.chars().take(40).collect();
    let message = format!("a tool's result goes to a Bedrock agent as text, not as {kind:?} parts");
    Failure::new(FailureKind::UnsupportedParameter, message).at("messages")
}

fn member(target: &Target<'_>, outcome: Outcome) -> Result<InvocationResultMember, Failure> {
    let built = if target.is_api() {
        api_result(target, outcome).map(InvocationResultMember::ApiResult)
    } else {
        function_result(target, outcome).map(InvocationResultMember::FunctionResult)
    };
    built.ok_or_else(Failure::internal)
}

fn function_result(target: &Target<'_>, outcome: Outcome) -> Option<FunctionResult> {
    let mut result = FunctionResult::builder()
        .action_group(target.group())
        .set_function(target.text("function").map(str::to_owned))
        .set_agent_id(target.text("agentId").map(str::to_owned))
        .set_confirmation_state(outcome.confirmation)
        .set_response_state(outcome.error);
    if let Some(body) = outcome.body {
        result = result.response_body("TEXT", ContentBody::builder().body(body).build());
    }
    // An action group is all that the builder asks for.
    result.build().ok()
}

fn api_result(target: &Target<'_>, outcome: Outcome) -> Option<ApiResult> {
    let status = match (&outcome.error, &outcome.body) {
        (Some(_), _) => Some(500),
        (None, Some(_)) => Some(200),
        (None, None) => None,
    };
    let mut result = ApiResult::builder()
        .action_group(target.group())
        .set_api_path(target.text("apiPath").map(str::to_owned))
        .set_http_method(target.text("httpMethod").map(str::to_owned))
        .set_http_status_code(status)
        .set_agent_id(target.text("agentId").map(str::to_owned))
        .set_confirmation_state(outcome.confirmation)
        .set_response_state(outcome.error);
    if let Some(body) = outcome.body {
        let body = ContentBody::builder().body(body).build();
        result = result.response_body("application/json", body);
    }
    // An action group is all that the builder asks for.
    result.build().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::turn::ToolCall;

    use super::*;

    fn forecast() -> Value {
        json!({ "functionInvocationInput": { "actionGroup": "Weather", "function": "get",
            "parameters": [], "agentId": "AGENT12345" } })
    }

    fn order() -> Value {
        json!({ "apiInvocationInput": { "actionGroup": "Orders", "apiPath": "/orders/{id}",
            "httpMethod": "GET", "parameters": [] } })
    }

    fn call(id: &str, input: Value, confirmation: Confirmation) -> PendingCall {
        let call = ToolCall {
            id: id.to_owned(),
            name: "n".to_owned(),
            arguments: "{}".to_owned(),
            confirmation,
        };
        PendingCall { call, input, result: None }
    }

    fn answered(mut call: PendingCall, content: &str, status: Status) -> PendingCall {
        let message = Message { status, ..Message::text(Role::Tool, content) };
        call.result = Some(Arc::new(message));
        call
    }

    fn pending(calls: Vec<PendingCall>) -> Pending {
        Pending { invocation_id: "inv".to_owned(), calls }
    }

    fn function(member: &InvocationResultMember) -> &FunctionResult {
        member.as_function_result().unwrap()
    }

    fn body<'a>(
        body: Option<&'a std::collections::HashMap<String, ContentBody>>,
        key: &str,
    ) -> &'a str {
        body.unwrap()[key].body().unwrap()
    }

    #[test]
    fn a_result_quotes_the_input_that_it_answers() {
        let calls = vec![
            answered(call("a", forecast(), Confirmation::None), "rain", Status::Completed),
            answered(call("b", order(), Confirmation::None), "{}", Status::Completed),
        ];
        let results = of(&pending(calls), ToolErrors::Reprompt).unwrap();
        assert_eq!(results.invocation_id, "inv");
        let first = function(&results.members[0]);
        assert_eq!((first.action_group(), first.function()), ("Weather", Some("get")));
        assert_eq!(first.agent_id(), Some("AGENT12345"));
        assert_eq!(body(first.response_body(), "TEXT"), "rain");
        let second = results.members[1].as_api_result().unwrap();
        assert_eq!(second.api_path(), Some("/orders/{id}"));
        assert_eq!((second.http_method(), second.http_status_code()), (Some("GET"), Some(200)));
        assert_eq!(body(second.response_body(), "application/json"), "{}");
    }

    #[test]
    fn a_tools_error_is_told_to_the_model_or_fails_the_turn() {
        let calls =
            |input| vec![answered(call("a", input, Confirmation::None), "no", Status::Failed)];
        let told = of(&pending(calls(order())), ToolErrors::Reprompt).unwrap();
        let told = told.members[0].as_api_result().unwrap();
        assert_eq!(told.response_state(), Some(&ResponseState::Reprompt));
        assert_eq!(told.http_status_code(), Some(500));
        let failed = of(&pending(calls(forecast())), ToolErrors::Failure).unwrap();
        let failed = function(&failed.members[0]);
        assert_eq!(failed.response_state(), Some(&ResponseState::Failure));
        assert_eq!(body(failed.response_body(), "TEXT"), "no");
    }

    #[test]
    fn a_call_without_a_result_is_answered_as_interrupted() {
        let calls = vec![
            call("a", forecast(), Confirmation::None),
            call("b", forecast(), Confirmation::Decision),
        ];
        let results = of(&pending(calls), ToolErrors::Failure).unwrap();
        let open = function(&results.members[0]);
        assert_eq!(open.response_state(), Some(&ResponseState::Reprompt));
        assert_eq!(body(open.response_body(), "TEXT"), INTERRUPTED);
        assert_eq!(open.confirmation_state(), None);
        let undecided = function(&results.members[1]);
        assert_eq!(undecided.confirmation_state(), Some(&ConfirmationState::Deny));
    }

    #[test]
    fn a_decision_goes_without_a_body() {
        let said = |content| {
            let decided = call("a", forecast(), Confirmation::Decision);
            of(&pending(vec![answered(decided, content, Status::Completed)]), ToolErrors::Reprompt)
        };
        let results = said("yes").unwrap();
        let result = function(&results.members[0]);
        assert_eq!(result.confirmation_state(), Some(&ConfirmationState::Confirm));
        assert!(result.response_body().is_none());
        assert_eq!(said("perhaps").unwrap_err().kind, FailureKind::BadRequest);
    }

    #[test]
    fn results_in_the_services_spelling_go_as_they_are() {
        let calls = vec![
            call("a", forecast(), Confirmation::None),
            call("b", forecast(), Confirmation::None),
            call("c", order(), Confirmation::None),
        ];
        let mut waiting = pending(calls);
        let rain = json!({ "functionResult": { "actionGroup": "Weather", "function": "get",
            "responseBody": { "TEXT": { "body": "rain" } } } });
        let gone = json!({ "apiResult": { "actionGroup": "Orders", "apiPath": "/orders/{id}",
            "httpMethod": "get", "httpStatusCode": 404, "responseState": "REPROMPT" } });
        let handed_back =
            HandedBack { invocation_id: "inv".to_owned(), results: vec![rain.clone(), gone, rain] };
        let messages = read(&waiting, &handed_back).unwrap();
        let ids: Vec<_> = messages.iter().map(|message| message.tool_call_id.as_deref()).collect();
        assert_eq!(ids, [Some("a"), Some("c"), Some("b")]);
        assert_eq!(messages[0].plain_text(), "rain");
        assert_eq!(messages[1].status, Status::Failed);
        waiting.calls[0].result = Some(Arc::new(messages[0].clone()));
        waiting.calls[1].result = Some(Arc::new(messages[2].clone()));
        waiting.calls[2].result = Some(Arc::new(messages[1].clone()));
        let results = of(&waiting, ToolErrors::Failure).unwrap();
        assert_eq!(function(&results.members[0]).agent_id(), None);
        assert_eq!(results.members[2].as_api_result().unwrap().http_status_code(), Some(404));
    }

    #[test]
    fn results_that_answer_no_open_call_are_refused_by_name() {
        let waiting = pending(vec![call("a", forecast(), Confirmation::None)]);
        let read = |id: &str, results| {
            read(&waiting, &HandedBack { invocation_id: id.to_owned(), results }).unwrap_err()
        };
        let rain = || json!({ "functionResult": { "actionGroup": "Weather", "function": "get" } });
        let other = read("another", vec![rain()]);
        assert_eq!(other.param.as_deref(), Some("invocation_id"));
        let twice = read("inv", vec![rain(), rain()]);
        assert!(twice.message.contains("return_control_results[1]: \"Weather.get\""), "{twice}");
        let unknown = json!({ "functionResult": { "actionGroup": "Weather", "function": "set" } });
        assert!(read("inv", vec![unknown]).message.contains("Weather.set"));
        let wrong = read("inv", vec![json!({ "functionResult": { "actionGroup": 1 } })]);
        assert_eq!(wrong.kind, FailureKind::BadRequest);
    }

    #[test]
    fn a_spelled_result_for_another_call_is_refused() {
        let other = json!({ "functionResult": { "actionGroup": "Weather", "function": "set" } });
        let mut waiting = call("a", forecast(), Confirmation::None);
        let attachment = Part::Attachment { kind: SPELLED.to_owned(), value: Arc::new(other) };
        let message = Message { parts: vec![attachment], ..Message::text(Role::Tool, "") };
        waiting.result = Some(Arc::new(message));
        let failure = of(&pending(vec![waiting]), ToolErrors::Reprompt).unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("messages"));
    }
}
