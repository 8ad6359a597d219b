//! A tool's JSON schema as the parameters of a function.
//!
//! The service's functions have flat parameters: a type of string, number, integer, boolean or
//! array, a description of 500 characters, and whether it is required (`ParameterDetail` in the
//! API model). Enumerations, formats and bounds of a flat schema go into the descriptions. A
//! deeper schema is carried as one string parameter, [`PACKED`], which holds the arguments as
//! JSON text and is described by the schema.

use std::collections::HashMap;

use aws_sdk_bedrockagentruntime::types::{ParameterDetail, ParameterType};
use serde_json::{Map, Value};

use super::service_names::is_service_name;

/// The parameter that carries arguments that do not fit flat ones.
pub(super) const PACKED: &str = "arguments_json";
/// Characters of a parameter's description.
const DESCRIPTION_LIMIT: usize = 500;
/// What stands before the schema in the description of packed arguments.
const PREFACE: &str = "The arguments as the text of one JSON object that fits this JSON schema: ";
/// Members that say of a value what its type does not.
const NOTES: &[(&str, &str)] = &[
    ("enum", "one of"),
    ("const", "always"),
    ("format", "format"),
    ("pattern", "pattern"),
    ("minimum", "at least"),
    ("maximum", "at most"),
    ("default", "default"),
];
/// Members that only explain; left out of a schema that is too long.
const EXPLAIN: &[&str] = &["$schema", "title", "description", "examples", "default"];

/// The parameters of a function.
#[derive(Debug)]
pub(super) enum Parameters {
    /// One for each property.
    Flat(HashMap<String, ParameterDetail>),
    /// One for all of them.
    Packed(ParameterDetail),
}

/// The parameters that carry the arguments of a schema.
pub(super) fn parameters(schema: Option<&Value>) -> Parameters {
    match schema.map_or_else(|| Some(HashMap::new()), flat) {
        Some(details) => Parameters::Flat(details),
        None => Parameters::Packed(packed(schema.unwrap_or(&Value::Null))),
    }
}

/// A parameter of this type; `None` never comes of it in fact.
pub(super) fn detail(
    kind: ParameterType,
    description: String,
    is_required: bool,
) -> Option<ParameterDetail> {
    ParameterDetail::builder()
        .r#type(kind)
        .set_description((!description.is_empty()).then_some(description))
        .required(is_required)
        .build()
        .ok()
}

fn packed(schema: &Value) -> ParameterDetail {
    let room = DESCRIPTION_LIMIT - PREFACE.len();
    let mut told = schema.to_string();
    if told.chars().count() > room {
        let mut bare = schema.clone();
        leave_out(&mut bare, false);
        told = bare.to_string();
    }
    let description = format!("{PREFACE}{}", cut(&told, room));
    detail(ParameterType::String, description, true).expect("a type is all that a parameter needs")
}

/// Takes what only explains out of a schema; of `properties`, the names are not the schema's.
fn leave_out(schema: &mut Value, are_names: bool) {
    match schema {
        Value::Object(members) => {
            if !are_names {
                members.retain(|name, _| !EXPLAIN.contains(&name.as_str()));
            }
            for (name, member) in members {
                let are_names = !are_names && matches!(name.as_str(), "properties" | "$defs");
                leave_out(member, are_names);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| leave_out(item, false)),
        _ => {}
    }
}

/// `None` where the schema does not fit flat parameters.
fn flat(schema: &Value) -> Option<HashMap<String, ParameterDetail>> {
    let members = schema.as_object()?;
    let is_object = members.get("type").is_none_or(|kind| kind == "object");
    let is_combined = ["$ref", "allOf", "anyOf", "oneOf", "not", "if", "patternProperties"]
        .iter()
        .any(|name| members.contains_key(*name));
    if !is_object || is_combined {
        return None;
    }
    let no_properties = Map::new();
    let properties = match members.get("properties") {
        Some(properties) => properties.as_object()?,
        None => &no_properties,
    };
    let takes_others = match members.get("additionalProperties") {
        None => false,
        Some(Value::Bool(takes)) => *takes && properties.is_empty(),
        Some(_) => true,
    };
    if takes_others {
        return None;
    }
    let required = members.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|list| list.iter().any(|it| it == name));
    let property = |(name, schema): (&String, &Value)| {
        let is_name = is_service_name(name);
        Some((is_name.then(|| name.clone())?, property(schema, is_required(name))?))
    };
    properties.iter().map(property).collect()
}

fn property(schema: &Value, is_required: bool) -> Option<ParameterDetail> {
    let said = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let schema = present(schema)?;
    let kind = kind(schema)?;
    let mut notes = notes(schema);
    if kind == ParameterType::Array
        && let Some(items) = schema.get("items")
    {
        let items = present(items)?;
        let item = self::kind(items).filter(|kind| *kind != ParameterType::Array)?;
        notes.push(format!("items of type {}", item.as_str()));
        notes.extend(self::notes(items));
    }
    let inner = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let said = if said.is_empty() { inner } else { said };
    detail(kind, describe(said, &notes.join("; ")), is_required)
}

/// The schema of the value itself, where the schema says that it may also be null.
fn present(schema: &Value) -> Option<&Value> {
    let choices = schema.get("anyOf").or_else(|| schema.get("oneOf"));
    let Some(choices) = choices else { return Some(schema) };
    let is_null = |choice: &&Value| choice.get("type").is_some_and(|kind| kind == "null");
    let mut others = choices.as_array()?.iter().filter(|choice| !is_null(choice));
    let only = others.next()?;
    others.next().is_none().then_some(only)
}

/// `None` for types that the service has not, and for combinations.
fn kind(schema: &Value) -> Option<ParameterType> {
    let is_combined =
        ["$ref", "allOf", "anyOf", "oneOf"].iter().any(|name| schema.get(name).is_some());
    if is_combined {
        return None;
    }
    let name = match schema.get("type") {
        Some(Value::String(name)) => name.as_str(),
        Some(Value::Array(names)) => {
            let mut names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            let only = names.next()?;
            names.next().is_none().then_some(only)?
        }
        Some(_) => return None,
        None => {
            let values = schema.get("enum")?.as_array()?;
            values.iter().all(Value::is_string).then_some("string")?
        }
    };
    match name {
        "string" => Some(ParameterType::String),
        "number" => Some(ParameterType::Number),
        "integer" => Some(ParameterType::Integer),
        "boolean" => Some(ParameterType::Boolean),
        "array" => Some(ParameterType::Array),
        _ => None,
    }
}

fn notes(schema: &Value) -> Vec<String> {
    let note = |(member, words): &(&str, &str)| {
        let value = match schema.get(member)? {
            Value::Null => return None,
            Value::Array(values) => {
                values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")
            }
            Value::String(text) if *member != "const" => text.clone(),
            value => value.to_string(),
        };
        Some(format!("{words} {value}"))
    };
    NOTES.iter().filter_map(note).collect()
}

/// What is said, then the notes: of the two, what is said is shortened.
fn describe(said: &str, notes: &str) -> String {
    if notes.is_empty() {
        return cut(said, DESCRIPTION_LIMIT);
    }
    let notes = cut(&format!("({notes})"), DESCRIPTION_LIMIT);
    let room = DESCRIPTION_LIMIT.saturating_sub(notes.chars().count() + 1);
    let said = cut(said, room);
    if said.is_empty() { notes } else { format!("{said} {notes}") }
}

/// At most so many characters of a text.
pub(super) fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let Some(kept) = room.checked_sub(1) else { return String::new() };
    let mut short: String = text.chars().take(kept).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flat_of(schema: Value) -> HashMap<String, ParameterDetail> {
        match parameters(Some(&schema)) {
            Parameters::Flat(details) => details,
            Parameters::Packed(_) => panic!("packed: {schema}"),
        }
    }

    fn packed_of(schema: Value) -> String {
        match parameters(Some(&schema)) {
            Parameters::Packed(detail) => detail.description().unwrap().to_owned(),
            Parameters::Flat(_) => panic!("flat: {schema}"),
        }
    }

    fn with(property: Value) -> Value {
        json!({ "type": "object", "properties": { "p": property } })
    }

    #[test]
    fn a_flat_schema_has_a_parameter_for_each_property() {
        let details = flat_of(json!({ "type": "object", "required": ["city"], "properties": {
            "city": { "type": "string", "description": "Where." },
            "unit": { "type": "string", "enum": ["C", "F"], "description": "Unit." },
            "days": { "type": ["integer", "null"], "minimum": 1, "maximum": 7 },
            "tags": { "type": "array", "items": { "type": "string" } },
            "when": { "anyOf": [{ "type": "string", "format": "date" }, { "type": "null" }],
                "description": "Day." } } }));
        let described = |name: &str| details[name].description().unwrap_or_default();
        assert_eq!((details["city"].required(), described("city")), (Some(true), "Where."));
        assert_eq!(described("unit"), r#"Unit. (one of "C", "F")"#);
        assert_eq!(details["days"].r#type(), &ParameterType::Integer);
        assert_eq!(described("days"), "(at least 1; at most 7)");
        assert_eq!(described("tags"), "(items of type string)");
        assert_eq!(described("when"), "Day. (format date)");
    }

    #[test]
    fn a_tool_without_arguments_has_no_parameters() {
        assert!(flat_of(json!({ "type": "object", "properties": {} })).is_empty());
        assert!(flat_of(json!({})).is_empty());
        assert!(matches!(parameters(None), Parameters::Flat(details) if details.is_empty()));
    }

    #[test]
    fn what_the_service_has_no_type_for_is_packed() {
        for deep in [
            with(json!({ "type": "object", "properties": {} })),
            with(json!({ "type": "array", "items": { "type": "object" } })),
            with(json!({ "type": "array", "items": { "type": "array" } })),
            with(json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] })),
            with(json!({ "$ref": "#/$defs/A" })),
            with(json!({})),
            with(json!(true)),
            json!({ "type": "object", "properties": { "a b": { "type": "string" } } }),
            json!({ "type": "object", "additionalProperties": { "type": "string" } }),
            json!({ "anyOf": [] }),
            json!("text"),
        ] {
            assert!(packed_of(deep.clone()).ends_with(&deep.to_string()), "{deep}");
        }
    }

    #[test]
    fn a_long_schema_loses_its_explanations_first_and_its_end_then() {
        let long = "x".repeat(600);
        let told = packed_of(with(json!({ "type": "object", "description": long })));
        assert!(told.ends_with(r#"{"p":{"type":"object"}}}"#), "{told}");
        let names = (0..100).map(|n| (format!("n{n}"), json!({ "type": "object" })));
        let properties: Map<_, _> = names.collect();
        let told = packed_of(json!({ "type": "object", "properties": properties }));
        assert_eq!(told.chars().count(), DESCRIPTION_LIMIT);
        assert!(told.ends_with('…'));
        let named = with(json!({ "type": "object", "properties": { "title": {} }, "title": long }));
        assert!(packed_of(named).contains(r#""title":{}"#));
    }

    #[test]
    fn of_a_long_description_the_notes_are_kept() {
        let long = "x".repeat(600);
        let property = json!({ "type": "string", "enum": ["a", "b"], "description": long });
        let details = flat_of(with(property));
        let description = details["p"].description().unwrap();
        assert_eq!(description.chars().count(), DESCRIPTION_LIMIT);
        assert!(description.ends_with(r#"… (one of "a", "b")"#));
    }
}
