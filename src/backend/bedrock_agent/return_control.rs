//! Return of control: the calls that an agent wants its caller to make.
//!
//! They become tool calls for formats that know those, and stay in the service's own spelling
//! for the agent stream.

use std::sync::Arc;

use aws_sdk_bedrockagentruntime::types::{
    ApiInvocationInput, ApiRequestBody, FunctionInvocationInput, InvocationInputMember, Parameter,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::turn::{Confirmation, ReturnControl, TurnEvent};

/// The events for one hand-over; its calls are numbered from `first`.
pub(in crate::backend) fn events(
    invocation_id: Option<String>,
    members: Vec<InvocationInputMember>,
    first: u32,
) -> Vec<TurnEvent> {
    let mut inputs = Vec::new();
    let mut calls = Vec::new();
    for member in members {
        let index = u32::try_from(inputs.len()).unwrap_or(u32::MAX).saturating_add(first);
        let (input, name, arguments) = match member {
            InvocationInputMember::FunctionInvocationInput(input) => function(input),
            InvocationInputMember::ApiInvocationInput(input) => api(input),
            _ => continue,
        };
        inputs.push(input);
        let id: Arc<str> = format!("call_{}", &Uuid::new_v4().simple().to_string()[..24]).into();
        let delta = Value::Object(arguments).to_string().into();
        let confirmation = Confirmation::None;
        calls.push(TurnEvent::ToolCallStarted { index, id, name: name.into(), confirmation });
        calls.push(TurnEvent::ToolCallArguments { index, delta });
    }
    let weight = inputs.iter().map(|input| input.to_string().len()).sum();
    let invocation_id = invocation_id.unwrap_or_default();
    calls.push(TurnEvent::ReturnControl(Arc::new(ReturnControl { invocation_id, inputs, weight })));
    calls
}

/// Input, function name and arguments.
type Call = (Value, String, Map<String, Value>);

fn function(input: FunctionInvocationInput) -> Call {
    let parameters = input.parameters.unwrap_or_default().into_iter();
    let (spelled, arguments) =
        spell(parameters.map(|parameter| (parameter.name, parameter.r#type, parameter.value)));
    let name = input.function.clone().unwrap_or_else(|| input.action_group.clone());
    let mut fields = Map::new();
    fields.insert("actionGroup".to_owned(), input.action_group.into());
    set(&mut fields, "function", input.function);
    fields.insert("parameters".to_owned(), spelled.into());
    set(
        &mut fields,
        "actionInvocationType",
        input.action_invocation_type.map(|t| t.as_str().to_owned()),
    );
    set(&mut fields, "agentId", input.agent_id);
    set(&mut fields, "collaboratorName", input.collaborator_name);
    (json!({ "functionInvocationInput": fields }), tool_name(&name), arguments)
}

fn api(input: ApiInvocationInput) -> Call {
    let parameters = input.parameters.unwrap_or_default().into_iter();
    let (spelled, mut arguments) =
        spell(parameters.map(|parameter| (parameter.name, parameter.r#type, parameter.value)));
    let method = input.http_method.clone().unwrap_or_default().to_lowercase();
    let path = input.api_path.clone().unwrap_or_default();
    let name = format!("{}__{method}_{}", input.action_group, path.trim_matches('/'));
    let mut fields = Map::new();
    fields.insert("actionGroup".to_owned(), input.action_group.into());
    set(&mut fields, "apiPath", input.api_path);
    set(&mut fields, "httpMethod", input.http_method);
    fields.insert("parameters".to_owned(), spelled.into());
    if let Some(body) = input.request_body {
        fields.insert("requestBody".to_owned(), request_body(body, &mut arguments));
    }
    set(
        &mut fields,
        "actionInvocationType",
        input.action_invocation_type.map(|t| t.as_str().to_owned()),
    );
    set(&mut fields, "agentId", input.agent_id);
    set(&mut fields, "collaboratorName", input.collaborator_name);
    (json!({ "apiInvocationInput": fields }), tool_name(&name), arguments)
}

/// Name, type and value of a parameter, each as far as the agent says it.
type Parts = (Option<String>, Option<String>, Option<String>);

/// The parameters in the service's spelling, and as arguments.
fn spell(parameters: impl Iterator<Item = Parts>) -> (Vec<Value>, Map<String, Value>) {
    let mut arguments = Map::new();
    let mut spelled = Vec::new();
    for (name, kind, value) in parameters {
        spelled.push(json!({ "name": name, "type": kind, "value": value }));
        put(&mut arguments, name, kind.as_deref(), value);
    }
    (spelled, arguments)
}

/// Spells the body, and adds its properties to the arguments; a name that is taken goes under
/// `requestBody`.
fn request_body(body: ApiRequestBody, arguments: &mut Map<String, Value>) -> Value {
    let mut content = Map::new();
    let mut types: Vec<_> = body.content.unwrap_or_default().into_iter().collect();
    types.sort_by_key(|(media_type, _)| (media_type != "application/json", media_type.clone()));
    for (place, (media_type, properties)) in types.into_iter().enumerate() {
        let properties = properties.properties.unwrap_or_default();
        let spelled: Vec<_> = properties.iter().map(property).collect();
        content.insert(media_type, json!({ "properties": spelled }));
        if place == 0 {
            add_properties(properties, arguments);
        }
    }
    json!({ "content": content })
}

fn add_properties(properties: Vec<Parameter>, arguments: &mut Map<String, Value>) {
    let mut clashing = Map::new();
    for parameter in properties {
        let Parameter { name, r#type, value, .. } = parameter;
        let is_taken = name.as_ref().is_some_and(|name| arguments.contains_key(name));
        let target = if is_taken { &mut clashing } else { &mut *arguments };
        put(target, name, r#type.as_deref(), value);
    }
    if !clashing.is_empty() {
        arguments.insert("requestBody".to_owned(), clashing.into());
    }
}

fn property(parameter: &Parameter) -> Value {
    json!({ "name": parameter.name, "type": parameter.r#type, "value": parameter.value })
}

fn set(fields: &mut Map<String, Value>, name: &str, value: Option<String>) {
    if let Some(value) = value {
        fields.insert(name.to_owned(), value.into());
    }
}

fn put(
    arguments: &mut Map<String, Value>,
    name: Option<String>,
    kind: Option<&str>,
    value: Option<String>,
) {
    if let (Some(name), Some(value)) = (name, value) {
        arguments.insert(name, typed(kind.unwrap_or("string"), value));
    }
}

/// Every value comes as a string; its declared type says what it is. One that does not parse
/// stays a string.
fn typed(kind: &str, value: String) -> Value {
    let parsed = match kind.to_ascii_lowercase().as_str() {
        "integer" | "number" => serde_json::from_str(&value).ok().filter(Value::is_number),
        "boolean" => value.to_ascii_lowercase().parse().ok().map(Value::Bool),
        "array" => serde_json::from_str(&value).ok().filter(Value::is_array),
        "object" => serde_json::from_str(&value).ok().filter(Value::is_object),
        _ => None,
    };
    match parsed {
        Some(parsed) => parsed,
        None if kind.eq_ignore_ascii_case("array") => listed(&value),
        None => Value::String(value),
    }
}

/// An array written without quotes (`[a, b]`), else an array of the one text.
fn listed(value: &str) -> Value {
    let inner = value.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(inner) => inner.split(',').map(|item| Value::from(item.trim())).collect(),
        None => Value::Array(vec![value.into()]),
    }
}

/// A name that OpenAI's clients take: at most 64 of `[a-zA-Z0-9_-]`.
fn tool_name(name: &str) -> String {
    let mut clean = String::with_capacity(name.len().min(64));
    for character in name.chars() {
        let fits = character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
        if fits {
            clean.push(character);
        } else if !clean.ends_with('_') {
            clean.push('_');
        }
    }
    clean.truncate(64);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_their_declared_type_where_they_can() {
        assert_eq!(typed("integer", "3".to_owned()), json!(3));
        assert_eq!(typed("number", "3.50".to_owned()), json!(3.5));
        assert_eq!(typed("boolean", "True".to_owned()), json!(true));
        assert_eq!(typed("integer", "three".to_owned()), json!("three"));
        assert_eq!(typed("array", "[a, b]".to_owned()), json!(["a", "b"]));
        assert_eq!(typed("array", "[1,2]".to_owned()), json!([1, 2]));
        assert_eq!(typed("string", "7".to_owned()), json!("7"));
    }

    #[test]
    fn tool_names_fit_openai_clients() {
        assert_eq!(
            tool_name("Orders__post_orders/{orderId}/notes"),
            "Orders__post_orders_orderId_notes"
        );
        assert_eq!(tool_name(&"x".repeat(100)).len(), 64);
    }
}
