//! Whether a JSON schema is one, as far as a model's service would refuse it otherwise.
//!
//! After JSON Schema 2020-12: only keywords whose misuse leaves no schema at all are looked at;
//! which of the others a model knows is its service's to say.

use serde_json::Value;

/// Schemas within schemas; services allow far fewer.
const DEEPEST: usize = 64;

const TYPES: &[&str] = &["array", "boolean", "integer", "null", "number", "object", "string"];
/// Keywords that hold one schema.
const ONE: &[&str] = &[
    "additionalProperties",
    "contains",
    "else",
    "if",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords that hold a list of schemas.
const LIST: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords that hold schemas by name.
const NAMED: &[&str] =
    &["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"];

/// Looks for what makes an object no schema.
///
/// # Errors
/// Where in the schema, as `.properties.age`, and what is wrong there, fit for a client.
pub(super) fn check(schema: &Value) -> Result<(), (String, &'static str)> {
    check_schema(schema, 0).map_err(|wrong| {
        let at = wrong.steps.iter().rev().map(|step| format!(".{step}"));
        (at.collect(), wrong.why)
    })
}

/// A mistake, and the way to it from its end.
struct Wrong {
    steps: Vec<String>,
    why: &'static str,
}

impl Wrong {
    fn new(why: &'static str) -> Self {
        Self { steps: Vec::new(), why }
    }

    /// The same, seen from one level further out.
    fn within(mut self, step: &str) -> Self {
        // Clients name their properties as they like; messages stay short.
        self.steps.push(step.chars().take(64).collect());
        self
    }
}

fn check_schema(schema: &Value, depth: usize) -> Result<(), Wrong> {
    let members = match schema {
        Value::Bool(_) => return Ok(()),
        Value::Object(members) => members,
        _ => return Err(Wrong::new("must be a schema: an object, true or false")),
    };
    if depth == DEEPEST {
        return Err(Wrong::new("is nested too deeply"));
    }
    for (name, value) in members {
        check_keyword(name, value, depth + 1).map_err(|wrong| wrong.within(name))?;
    }
    Ok(())
}

fn check_keyword(name: &str, value: &Value, depth: usize) -> Result<(), Wrong> {
    match name {
        "type" => check_type(value),
        "enum" if !value.is_array() => Err(Wrong::new("must be a list")),
        "required" if !is_list_of_names(value) => Err(Wrong::new("must be a list of names")),
        "$ref" if !value.is_string() => Err(Wrong::new("must be a string")),
        // A list of schemas in drafts before 2020-12.
        "items" if value.is_array() => check_list(value, depth),
        "items" => check_schema(value, depth),
        _ if ONE.contains(&name) => check_schema(value, depth),
        _ if LIST.contains(&name) => check_list(value, depth),
        _ if NAMED.contains(&name) => check_named(value, depth),
        _ => Ok(()),
    }
}

fn check_type(value: &Value) -> Result<(), Wrong> {
    let is_type = |name: &Value| name.as_str().is_some_and(|name| TYPES.contains(&name));
    let is_fine = match value {
        Value::Array(names) => !names.is_empty() && names.iter().all(is_type),
        name => is_type(name),
    };
    if is_fine {
        return Ok(());
    }
    let why = "must be one of array, boolean, integer, null, number, object, string, or a list";
    Err(Wrong::new(why))
}

fn check_list(value: &Value, depth: usize) -> Result<(), Wrong> {
    let Value::Array(schemas) = value else { return Err(Wrong::new("must be a list")) };
    schemas.iter().try_for_each(|schema| check_schema(schema, depth))
}

fn check_named(value: &Value, depth: usize) -> Result<(), Wrong> {
    let Value::Object(schemas) = value else { return Err(Wrong::new("must be an object")) };
    let mut schemas = schemas.iter();
    schemas.try_for_each(|(name, schema)| {
        check_schema(schema, depth).map_err(|wrong| wrong.within(name))
    })
}

fn is_list_of_names(value: &Value) -> bool {
    value.as_array().is_some_and(|names| names.iter().all(Value::is_string))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong_at(schema: Value) -> String {
        check(&schema).unwrap_err().0
    }

    #[test]
    fn schemas_as_generators_write_them_are_schemas() {
        for schema in [
            json!({}),
            json!({"type": "object", "properties": {"type": {"type": ["string", "null"]},
                "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "uniqueItems": true}},
                "required": ["type"], "additionalProperties": false,
                "$defs": {"tag": {"enum": ["a", 1, null], "title": "Tag"}}}),
            json!({"anyOf": [{"const": 1}, true], "if": {}, "then": {"not": {}}}),
            json!({"items": [{}, {"type": "number"}], "x-order": 5, "format": "date"}),
        ] {
            assert_eq!(check(&schema), Ok(()), "{schema}");
        }
    }

    #[test]
    fn what_is_no_schema_is_found_where_it_stands() {
        assert_eq!(wrong_at(json!({"type": "text"})), ".type");
        assert_eq!(wrong_at(json!({"type": []})), ".type");
        assert_eq!(wrong_at(json!({"properties": []})), ".properties");
        let deeper = json!({"properties": {"age": {"anyOf": [{}, {"type": 5}]}}});
        assert_eq!(wrong_at(deeper), ".properties.age.anyOf.type");
        assert_eq!(wrong_at(json!({"items": "string"})), ".items");
        assert_eq!(wrong_at(json!({"required": "age"})), ".required");
        assert_eq!(wrong_at(json!({"enum": {"a": 1}})), ".enum");
        assert_eq!(wrong_at(json!({"$ref": {}})), ".$ref");
    }

    #[test]
    fn nesting_is_bounded() {
        let nested =
            |levels: usize| (0..levels).fold(json!({}), |inner, _| json!({ "items": inner }));
        assert_eq!(check(&nested(DEEPEST - 1)), Ok(()));
        assert_eq!(check(&nested(DEEPEST)).unwrap_err().1, "is nested too deeply");
    }
}
