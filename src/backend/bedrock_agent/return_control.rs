//! Return of control: the calls that an agent wants its caller to make.
//!
//! They become tool calls for formats that know those, and stay in the service's own spelling
//! for the agent stream and for the results, which must quote it. The inputs carry no ids; the
//! calls get ids of ours. (`returnControl` in the streams of `InvokeAgent` and
//! `InvokeInlineAgent`: one to five inputs under one `invocationId`.)

use std::fmt;
use std::sync::Arc;

use aws_sdk_bedrockagentruntime::types::{
    ActionInvocationType, ApiInvocationInput, FunctionInvocationInput, InvocationInputMember,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::turn::{Confirmation, Failure, FailureKind, ReturnControl, Tool, TurnEvent};

use super::arguments::{request_body, spell};
use super::call_names::{Callee, names};

/// What the client can run, and how it knows it.
pub(in crate::backend) trait Toolbox: Send + Sync + fmt::Debug {
    /// Whether the client has a function of this name.
    fn declares(&self, name: &str) -> bool;

    /// The client's own name and arguments for a call, where the function is one that it brought
    /// along.
    fn unpack(
        &self,
        group: &str,
        function: &str,
        arguments: &Map<String, Value>,
    ) -> Option<(String, Map<String, Value>)> {
        let _ = (group, function, arguments);
        None
    }
}

impl Toolbox for Vec<Tool> {
    fn declares(&self, name: &str) -> bool {
        self.iter().any(|tool| tool.name == name)
    }
}

/// A hand-over that was understood.
#[derive(Debug)]
pub(super) struct HandOver {
    /// In the service's spelling.
    pub(super) control: ReturnControl,
    calls: Vec<Call>,
}

/// One call of a hand-over, as clients know it.
#[derive(Debug)]
struct Call {
    name: String,
    arguments: Map<String, Value>,
    confirmation: Confirmation,
}

impl HandOver {
    /// The events for it; its calls are numbered from `first`.
    pub(super) fn events(self, first: u32) -> Vec<TurnEvent> {
        let mut events = Vec::with_capacity(self.calls.len() * 2 + 1);
        for (index, call) in (first..).zip(self.calls) {
            let id = format!("call_{:.24}", Uuid::new_v4().simple().to_string());
            events.push(TurnEvent::ToolCallStarted {
                index,
                id: id.into(),
                name: call.name.into(),
                confirmation: call.confirmation,
            });
            let delta = Value::Object(call.arguments).to_string().into();
            events.push(TurnEvent::ToolCallArguments { index, delta });
        }
        events.push(TurnEvent::ReturnControl(Arc::new(self.control)));
        events
    }
}

/// Reads a hand-over.
///
/// # Errors
/// `UpstreamProtocol` where it could not be answered: without an id, without a call, or with
/// one of a kind that we do not know.
pub(super) fn read(
    invocation_id: Option<String>,
    members: Vec<InvocationInputMember>,
    toolbox: &dyn Toolbox,
) -> Result<HandOver, Failure> {
    let invocation_id = invocation_id.filter(|id| !id.is_empty());
    let invocation_id =
        invocation_id.ok_or_else(|| broken("the agent handed control over without an id"))?;
    if members.is_empty() {
        return Err(broken("the agent handed control over without a call"));
    }
    let inputs: Option<Vec<_>> = members.into_iter().map(input).collect();
    let inputs = inputs
        .ok_or_else(|| broken("the agent asked for a kind of call that is not known here"))?;
    let callees: Vec<_> = inputs.iter().map(|input| input.callee.clone()).collect();
    let names = names(&callees, |name| toolbox.declares(name));
    let weight = inputs.iter().map(|input| input.spelled.to_string().len()).sum();
    let mut control = ReturnControl { invocation_id, inputs: Vec::new(), weight };
    let mut calls = Vec::with_capacity(inputs.len());
    for (input, name) in inputs.into_iter().zip(names) {
        let Input { spelled, function, arguments, confirmation, .. } = input;
        let own =
            function.and_then(|(group, function)| toolbox.unpack(&group, &function, &arguments));
        let (name, arguments) = own.unwrap_or((name, arguments));
        control.inputs.push(spelled);
        calls.push(Call { name, arguments, confirmation });
    }
    Ok(HandOver { control, calls })
}

fn broken(message: &'static str) -> Failure {
    Failure::new(FailureKind::UpstreamProtocol, message)
}

struct Input {
    spelled: Value,
    callee: Callee,
    /// Its action group and function, where it is one.
    function: Option<(String, String)>,
    arguments: Map<String, Value>,
    confirmation: Confirmation,
}

/// `None` for a kind that this version of the SDK does not know.
fn input(member: InvocationInputMember) -> Option<Input> {
    match member {
        InvocationInputMember::FunctionInvocationInput(input) => Some(function(input)),
        InvocationInputMember::ApiInvocationInput(input) => Some(api(input)),
        _ => None,
    }
}

fn function(input: FunctionInvocationInput) -> Input {
    let parameters = input.parameters.unwrap_or_default().into_iter();
    let (parameters, arguments) =
        spell(parameters.map(|parameter| (parameter.name, parameter.r#type, parameter.value)));
    let callee = Callee::function(&input.action_group, input.function.as_deref());
    let function = input.function.clone().map(|name| (input.action_group.clone(), name));
    let confirmation = confirmation(input.action_invocation_type.as_ref());
    let mut fields = Map::new();
    fields.insert("actionGroup".to_owned(), input.action_group.into());
    set(&mut fields, "function", input.function);
    fields.insert("parameters".to_owned(), parameters.into());
    set_invocation(&mut fields, input.action_invocation_type);
    set(&mut fields, "agentId", input.agent_id);
    set(&mut fields, "collaboratorName", input.collaborator_name);
    let spelled = json!({ "functionInvocationInput": fields });
    Input { spelled, callee, function, arguments, confirmation }
}

fn api(input: ApiInvocationInput) -> Input {
    let parameters = input.parameters.unwrap_or_default().into_iter();
    let (parameters, mut arguments) =
        spell(parameters.map(|parameter| (parameter.name, parameter.r#type, parameter.value)));
    let (method, path) = (input.http_method.as_deref(), input.api_path.as_deref());
    let callee = Callee::operation(
        &input.action_group,
        method.unwrap_or_default(),
        path.unwrap_or_default(),
    );
    let confirmation = confirmation(input.action_invocation_type.as_ref());
    let mut fields = Map::new();
    fields.insert("actionGroup".to_owned(), input.action_group.into());
    set(&mut fields, "apiPath", input.api_path);
    set(&mut fields, "httpMethod", input.http_method);
    fields.insert("parameters".to_owned(), parameters.into());
    if let Some(body) = input.request_body {
        fields.insert("requestBody".to_owned(), request_body(body, &mut arguments));
    }
    set_invocation(&mut fields, input.action_invocation_type);
    set(&mut fields, "agentId", input.agent_id);
    set(&mut fields, "collaboratorName", input.collaborator_name);
    let spelled = json!({ "apiInvocationInput": fields });
    Input { spelled, callee, function: None, arguments, confirmation }
}

fn confirmation(invocation: Option<&ActionInvocationType>) -> Confirmation {
    match invocation {
        Some(ActionInvocationType::UserConfirmation) => Confirmation::Decision,
        Some(ActionInvocationType::UserConfirmationAndResult) => Confirmation::DecisionAndResult,
        _ => Confirmation::None,
    }
}

fn set_invocation(fields: &mut Map<String, Value>, invocation: Option<ActionInvocationType>) {
    let invocation = invocation.map(|invocation| invocation.as_str().to_owned());
    set(fields, "actionInvocationType", invocation);
}

fn set(fields: &mut Map<String, Value>, name: &str, value: Option<String>) {
    if let Some(value) = value {
        fields.insert(name.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_bedrockagentruntime::types::FunctionParameter;

    use super::*;

    fn forecast(city: &str) -> InvocationInputMember {
        let city = FunctionParameter::builder().name("city").r#type("string").value(city).build();
        InvocationInputMember::FunctionInvocationInput(
            FunctionInvocationInput::builder()
                .action_group("Weather")
                .function("get_forecast")
                .parameters(city)
                .agent_id("AGENT12345")
                .build()
                .unwrap(),
        )
    }

    fn order(invocation: ActionInvocationType) -> InvocationInputMember {
        InvocationInputMember::ApiInvocationInput(
            ApiInvocationInput::builder()
                .action_group("Orders")
                .api_path("/orders/{id}")
                .http_method("DELETE")
                .action_invocation_type(invocation)
                .build()
                .unwrap(),
        )
    }

    fn read_all(members: Vec<InvocationInputMember>) -> Result<HandOver, Failure> {
        read(Some("inv-1".to_owned()), members, &Vec::<Tool>::new())
    }

    #[test]
    fn each_input_is_a_call_and_the_hand_over_comes_last() {
        let both = vec![forecast("Oslo"), order(ActionInvocationType::UserConfirmation)];
        let events = read_all(both).unwrap().events(2);
        let TurnEvent::ToolCallStarted { index: 2, id, name, confirmation } = &events[0] else {
            panic!("{:?}", events[0])
        };
        assert!(id.starts_with("call_") && id.len() == 29);
        assert_eq!((&**name, *confirmation), ("get_forecast", Confirmation::None));
        let delta = r#"{"city":"Oslo"}"#.into();
        assert_eq!(events[1], TurnEvent::ToolCallArguments { index: 2, delta });
        let TurnEvent::ToolCallStarted { index: 3, name, confirmation, .. } = &events[2] else {
            panic!("{:?}", events[2])
        };
        assert_eq!((&**name, *confirmation), ("Orders__delete_orders_id", Confirmation::Decision));
        let TurnEvent::ReturnControl(control) = &events[4] else { panic!("{:?}", events[4]) };
        assert_eq!(control.invocation_id, "inv-1");
        assert_eq!(control.inputs[0]["functionInvocationInput"]["agentId"], "AGENT12345");
        assert_eq!(
            control.inputs[1]["apiInvocationInput"]["actionInvocationType"],
            "USER_CONFIRMATION"
        );
    }

    #[test]
    fn a_call_may_want_a_decision_and_a_result() {
        let member = order(ActionInvocationType::UserConfirmationAndResult);
        let events = read_all(vec![member]).unwrap().events(0);
        assert!(matches!(
            events[0],
            TurnEvent::ToolCallStarted { confirmation: Confirmation::DecisionAndResult, .. }
        ));
    }

    #[test]
    fn a_hand_over_that_could_not_be_answered_breaks_the_protocol() {
        for failed in
            [read_all(Vec::new()), read(None, vec![forecast("Oslo")], &Vec::<Tool>::new())]
        {
            assert_eq!(failed.unwrap_err().kind, FailureKind::UpstreamProtocol);
        }
    }
}
