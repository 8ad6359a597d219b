//! The arguments of a call: the parameters that an agent gives as strings, as JSON.
//!
//! Every value comes as a string, beside the type that its schema declares. A value that does
//! not parse as its type stays a string: a turn never fails for it.

use aws_sdk_bedrockagentruntime::types::{ApiRequestBody, Parameter};
use serde_json::{Map, Value, json};

/// Where body properties go whose names are taken by parameters.
const BODY: &str = "requestBody";

/// Name, type and value of a parameter, each as far as the agent says it.
pub(super) type Parts = (Option<String>, Option<String>, Option<String>);

/// The parameters in the service's spelling, and as arguments.
pub(super) fn spell(parameters: impl Iterator<Item = Parts>) -> (Vec<Value>, Map<String, Value>) {
    let mut arguments = Map::new();
    let mut spelled = Vec::new();
    for (name, kind, value) in parameters {
        spelled.push(json!({ "name": name, "type": kind, "value": value }));
        put(&mut arguments, name, kind.as_deref(), value);
    }
    (spelled, arguments)
}

/// Spells the body, and adds its properties to the arguments. Of several content types JSON
/// counts, else the first by name.
pub(super) fn request_body(body: ApiRequestBody, arguments: &mut Map<String, Value>) -> Value {
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
        arguments.insert(BODY.to_owned(), clashing.into());
    }
}

fn property(parameter: &Parameter) -> Value {
    json!({ "name": parameter.name, "type": parameter.r#type, "value": parameter.value })
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

fn typed(kind: &str, value: String) -> Value {
    let parsed = match kind.to_ascii_lowercase().as_str() {
        "integer" | "number" => serde_json::from_str(&value).ok().filter(Value::is_number),
        "boolean" => value.trim().to_ascii_lowercase().parse().ok().map(Value::Bool),
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

/// An array written without JSON's quotes (`[a, 'b, c']`), else an array of the one text.
fn listed(value: &str) -> Value {
    let inner = value.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(inner) if inner.trim().is_empty() => Value::Array(Vec::new()),
        Some(inner) => split(inner).into_iter().map(item).collect(),
        None => Value::Array(vec![value.into()]),
    }
}

/// The text between commas that stand outside quotes.
fn split(list: &str) -> Vec<&str> {
    let mut quote = None;
    // Whether nothing but space stands before it.
    let mut is_first = true;
    let ends_item = |character: char| {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            // A quote within a word is an apostrophe.
            (None, '"' | '\'') if is_first => quote = Some(character),
            (None, ',') => {
                is_first = true;
                return true;
            }
            _ => {}
        }
        is_first &= character.is_whitespace();
        false
    };
    list.split(ends_item).collect()
}

fn item(text: &str) -> Value {
    let text = text.trim();
    let unquoted = ['"', '\'']
        .iter()
        .find_map(|quote| text.strip_prefix(*quote).and_then(|rest| rest.strip_suffix(*quote)));
    Value::from(unquoted.unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use aws_sdk_bedrockagentruntime::types::PropertyParameters;

    use super::*;

    #[test]
    fn values_take_their_declared_type_where_they_can() {
        assert_eq!(typed("integer", "3".to_owned()), json!(3));
        assert_eq!(typed("number", "3.50".to_owned()), json!(3.5));
        assert_eq!(typed("boolean", "True".to_owned()), json!(true));
        assert_eq!(typed("integer", "three".to_owned()), json!("three"));
        assert_eq!(typed("string", "7".to_owned()), json!("7"));
        assert_eq!(typed("object", r#"{"a": 1}"#.to_owned()), json!({ "a": 1 }));
        assert_eq!(typed("object", "a: 1".to_owned()), json!("a: 1"));
    }

    #[test]
    fn arrays_split_on_commas_outside_quotes() {
        let array = |text: &str| typed("array", text.to_owned());
        assert_eq!(array("[1,2]"), json!([1, 2]));
        assert_eq!(array("[a, b]"), json!(["a", "b"]));
        assert_eq!(
            array("['Oslo, Norway', \"Rome\", it's]"),
            json!(["Oslo, Norway", "Rome", "it's"])
        );
        assert_eq!(array("[]"), json!([]));
        assert_eq!(array("[ ]"), json!([]));
        assert_eq!(array("alone"), json!(["alone"]));
    }

    #[test]
    fn a_body_property_whose_name_is_taken_goes_under_the_body() {
        let parameter = |name: &str, value: &str| {
            Parameter::builder().name(name).r#type("string").value(value).build()
        };
        let json = PropertyParameters::builder()
            .properties(parameter("id", "2"))
            .properties(parameter("note", "call back"))
            .build();
        let body = ApiRequestBody::builder()
            .content("application/json", json)
            .content("a/a", PropertyParameters::builder().properties(parameter("x", "y")).build())
            .build();
        let mut arguments = Map::from_iter([("id".to_owned(), json!("1"))]);
        let spelled = request_body(body, &mut arguments);
        assert_eq!(
            Value::Object(arguments),
            json!({ "id": "1", "note": "call back", "requestBody": { "id": "2" } })
        );
        assert!(spelled["content"]["a/a"]["properties"].is_array());
    }
}
