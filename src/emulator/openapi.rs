//! Operations of an OpenAPI schema, as far as an agent needs them to hand one over.

use serde_json::Value;

use super::refusal::Refusal;
use super::tool_box::Operation;

/// The methods of a path.
const METHODS: &[&str] = &["get", "put", "post", "patch", "delete", "head", "options"];

/// Reads the operations of a schema.
///
/// # Errors
/// `ValidationException` for a schema that cannot be read: the emulator reads JSON only.
pub(super) fn operations(payload: &str, group: &str) -> Result<Vec<Operation>, Refusal> {
    let schema: Value = serde_json::from_str(payload).map_err(|error| {
        Refusal::validation(format!("the OpenAPI schema cannot be read as JSON: {error}"))
    })?;
    let Some(paths) = schema["paths"].as_object().filter(|paths| !paths.is_empty()) else {
        return Err(Refusal::validation("the OpenAPI schema has no paths"));
    };
    let mut operations = Vec::new();
    for (path, item) in paths {
        for method in METHODS {
            if let Some(definition) = item.get(method) {
                operations.push(operation(group, path, method, definition));
            }
        }
    }
    Ok(operations)
}

fn operation(group: &str, path: &str, method: &str, definition: &Value) -> Operation {
    let listed = definition["parameters"].as_array().into_iter().flatten();
    let parameters = listed.filter_map(|parameter| {
        Some((parameter["name"].as_str()?.to_owned(), kind(&parameter["schema"])))
    });
    let schema = &definition["requestBody"]["content"]["application/json"]["schema"];
    let properties = schema["properties"].as_object().into_iter().flatten();
    Operation {
        group: group.to_owned(),
        id: definition["operationId"].as_str().map(str::to_owned),
        method: method.to_ascii_uppercase(),
        path: path.to_owned(),
        parameters: parameters.collect(),
        body: properties.map(|(name, schema)| (name.clone(), kind(schema))).collect(),
        has_body: !schema.is_null(),
        is_confirmed: definition["x-requireConfirmation"] == "ENABLED",
    }
}

fn kind(schema: &Value) -> String {
    schema["type"].as_str().unwrap_or("string").to_owned()
}
