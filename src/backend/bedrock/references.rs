//! References within a JSON schema: `$ref` to another place of the same document.
//!
//! Schemas that programs write hold their definitions beside them, at the root. A reference is a
//! path from there (RFC 6901), so a schema that is put elsewhere, or loses what its root held,
//! has to be written anew.

use serde_json::{Map, Value, json};

/// The member that refers to another place.
const REFERENCE: &str = "$ref";
/// How deep a reference may still stand to be replaced.
const DEEPEST: usize = 32;
/// Bytes of texts and names after which no further reference is replaced; one that is read ten
/// thousand times could make a request of gigabytes otherwise.
const MOST_BYTES: usize = 256 << 10;
/// What a value counts besides its texts and names, in bytes.
const VALUE_BYTES: usize = 8;

/// A schema that is to stand at `place` of another one, such as `/properties/value`, and to refer
/// to itself there.
pub(super) fn moved(schema: &Value, place: &str) -> Value {
    match schema {
        Value::Object(members) => {
            let moved = members.iter().map(|(name, value)| match value {
                Value::String(path) if name == REFERENCE => {
                    let path = within(path).map(|path| format!("#{place}{path}"));
                    (name.clone(), path.map_or_else(|| value.clone(), Value::String))
                }
                value => (name.clone(), self::moved(value, place)),
            });
            Value::Object(moved.collect())
        }
        Value::Array(entries) => entries.iter().map(|entry| moved(entry, place)).collect(),
        other => other.clone(),
    }
}

/// The members `kept` of a schema's root, with every reference replaced by what it refers to.
///
/// A schema within itself is written once; where it would come again, or where the whole grows
/// too deep or too large, no more is said than its type. What refers to nothing stays as it is.
pub(super) fn replaced(schema: &Value, kept: &[&str]) -> Value {
    let Value::Object(members) = schema else { return schema.clone() };
    let mut inside = Vec::new();
    let mut replacing = Replacing { root: schema, left: MOST_BYTES };
    let kept = members.iter().filter(|(name, _)| kept.contains(&name.as_str()));
    let kept = kept.map(|(name, value)| (name.clone(), replacing.value(value, &mut inside, 1)));
    Value::Object(kept.collect())
}

struct Replacing<'a> {
    root: &'a Value,
    /// Bytes until references stay short.
    left: usize,
}

impl<'a> Replacing<'a> {
    /// A value without references; `inside` are those that led here.
    fn value(&mut self, value: &'a Value, inside: &mut Vec<&'a str>, depth: usize) -> Value {
        self.left = self.left.saturating_sub(size(value));
        match value {
            Value::Object(members) => match members.get(REFERENCE).and_then(Value::as_str) {
                Some(path) => self.target(path, members, inside, depth),
                None => Value::Object(self.members(members, inside, depth)),
            },
            Value::Array(entries) => {
                entries.iter().map(|entry| self.value(entry, inside, depth + 1)).collect()
            }
            other => other.clone(),
        }
    }

    fn members(
        &mut self,
        members: &'a Map<String, Value>,
        inside: &mut Vec<&'a str>,
        depth: usize,
    ) -> Map<String, Value> {
        let members = members.iter();
        let written =
            members.map(|(name, value)| (name.clone(), self.value(value, inside, depth + 1)));
        written.collect()
    }

    /// What a reference refers to, and the members that stand beside it.
    fn target(
        &mut self,
        path: &'a str,
        beside: &'a Map<String, Value>,
        inside: &mut Vec<&'a str>,
        depth: usize,
    ) -> Value {
        let found = within(path).and_then(|path| self.root.pointer(path));
        let Some(found) = found else { return Value::Object(beside.clone()) };
        let is_over = inside.contains(&path) || depth > DEEPEST || self.left == 0;
        let mut schema = if is_over {
            let kind = found.get("type").map(|kind| json!({ "type": kind }));
            kind.unwrap_or_else(|| json!({}))
        } else {
            inside.push(path);
            let schema = self.value(found, inside, depth + 1);
            inside.pop();
            schema
        };
        if let Value::Object(schema) = &mut schema {
            let beside = self.members(beside, inside, depth);
            schema.extend(beside.into_iter().filter(|(name, _)| name != REFERENCE));
        }
        schema
    }
}

/// The path of a reference from the root, unless it leads to another document. LiteLLM's have no
/// `#` at the beginning.
fn within(path: &str) -> Option<&str> {
    path.strip_prefix('#').or_else(|| path.starts_with('/').then_some(path))
}

/// What a value adds to a schema, without what is within it.
fn size(value: &Value) -> usize {
    let own = match value {
        Value::String(text) => text.len(),
        Value::Object(members) => members.keys().map(String::len).sum(),
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Number(_) => 0,
    };
    own + VALUE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &[&str] = &["type", "properties", "required"];

    fn trip() -> Value {
        json!({
            "type": "object",
            "properties": {
                "stops": {"type": "array", "items": {"$ref": "#/$defs/Stop"}},
                "home": {"$ref": "/$defs/Stop", "description": "where it begins"},
            },
            "required": ["stops"],
            "$defs": {
                "Stop": {"type": "object", "properties": {"country": {"$ref": "#/$defs/Country"}}},
                "Country": {"enum": ["NO", "SE"]},
            },
        })
    }

    #[test]
    fn what_is_referred_to_takes_the_place_of_the_reference() {
        let mut stop = json!({"type": "object", "properties": {"country": {"enum": ["NO", "SE"]}}});
        let stops = json!({"type": "array", "items": stop});
        stop["description"] = json!("where it begins");
        let expected = json!({"type": "object", "properties": {"stops": stops, "home": stop},
                              "required": ["stops"]});
        assert_eq!(replaced(&trip(), ROOT), expected);
    }

    #[test]
    fn a_schema_within_itself_is_written_once() {
        let node = json!({"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}});
        let tree = json!({"type": "object", "properties": {"first": {"$ref": "#/$defs/Node"},
                          "whole": {"$ref": "#"}}, "$defs": {"Node": node}});
        let written = replaced(&tree, ROOT);
        let node = json!({"type": "object", "properties": {"next": {"type": "object"}}});
        assert_eq!(written["properties"]["first"], node);
        assert_eq!(
            written["properties"]["whole"]["properties"]["whole"],
            json!({"type": "object"})
        );
        assert!(!written["properties"].to_string().contains("\"$ref\""));
    }

    #[test]
    fn schemas_that_grow_without_end_are_cut_short() {
        let about = "x".repeat(10_000);
        let twice = |next: usize| {
            let next = json!({"$ref": format!("#/$defs/{next}")});
            json!({"type": "object", "description": about, "properties": {"a": next, "b": next}})
        };
        let defs: Map<String, Value> = (0..100).map(|at| (at.to_string(), twice(at + 1))).collect();
        let wide = json!({"type": "object", "properties": {"x": {"$ref": "#/$defs/0"}},
                          "$defs": defs});
        assert!(replaced(&wide, ROOT).to_string().len() < 2 * MOST_BYTES);
    }

    #[test]
    fn what_refers_to_nothing_stays() {
        for path in ["#/$defs/Missing", "https://example.com/schema"] {
            let schema = json!({"type": "object", "properties": {"x": {"$ref": path}}});
            assert_eq!(replaced(&schema, ROOT), schema);
        }
        let property = json!({"type": "object", "properties": {"$ref": {"type": "string"}}});
        assert_eq!(replaced(&property, ROOT), property);
    }

    #[test]
    fn a_schema_that_moves_refers_to_its_new_place() {
        let list = json!({"type": "array", "items": {"$ref": "#/$defs/Stop"},
                          "contains": {"$ref": "https://example.com"},
                          "anyOf": [{"$ref": "#"}, {"$ref": "/$defs/Stop"}],
                          "$defs": {"Stop": {"type": "string"}}});
        let moved = moved(&list, "/properties/value");
        assert_eq!(moved["items"]["$ref"], "#/properties/value/$defs/Stop");
        assert_eq!(moved["contains"]["$ref"], "https://example.com");
        assert_eq!(moved["anyOf"][0]["$ref"], "#/properties/value");
        assert_eq!(moved["anyOf"][1], moved["items"]);
        assert_eq!(moved["$defs"], list["$defs"]);
        let whole = json!({"type": "object", "properties": {"value": moved}});
        let items = &replaced(&whole, ROOT)["properties"]["value"]["items"];
        assert_eq!(*items, json!({"type": "string"}));
    }
}
