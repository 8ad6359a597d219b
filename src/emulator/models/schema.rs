//! JSON schemas: whether one is one, and a value that fits it.
//!
//! The value is a function of the schema and of the text that asked for it: its strings and
//! numbers are taken from there, in order, as long as there are any.

use serde_json::{Map, Value, json};

/// How deep a value goes, at most; what is optional is left out below.
const MAX_DEPTH: usize = 12;
/// Values within a value, at most: a schema that refers to itself could go on for ever.
const MAX_VALUES: usize = 10_000;
/// Members that a list gets when its schema does not say.
const USUAL_LENGTH: usize = 2;
/// Members that a list gets, at most.
const MAX_LENGTH: usize = 100;

const TYPES: &[&str] = &["object", "array", "string", "number", "integer", "boolean", "null"];

/// Checks that a schema is one.
///
/// # Errors
/// Says what is wrong.
pub(in crate::emulator) fn check(schema: &Value) -> Result<(), String> {
    check_at(schema, MAX_DEPTH * 2)
}

fn check_at(schema: &Value, depth: usize) -> Result<(), String> {
    let members = match schema {
        Value::Object(members) => members,
        Value::Bool(_) => return Ok(()),
        other => return Err(format!("a schema is an object, not {other}")),
    };
    if depth == 0 {
        return Err("the schema is too deep".to_owned());
    }
    let kinds = match members.get("type") {
        None => &[],
        Some(Value::Array(kinds)) => kinds.as_slice(),
        Some(kind) => std::slice::from_ref(kind),
    };
    let strange =
        kinds.iter().find(|kind| !kind.as_str().is_some_and(|kind| TYPES.contains(&kind)));
    if let Some(kind) = strange {
        return Err(format!("{kind} is not a type"));
    }
    if let Some(required) = members.get("required")
        && !required.as_array().is_some_and(|names| names.iter().all(Value::is_string))
    {
        return Err("required is a list of names".to_owned());
    }
    if members.get("enum").is_some_and(|values| values.as_array().is_none_or(Vec::is_empty)) {
        return Err("enum is a list of values".to_owned());
    }
    for keyword in ["properties", "$defs", "definitions"] {
        let Some(inner) = members.get(keyword) else { continue };
        let Some(inner) = inner.as_object() else { return Err(format!("{keyword} is an object")) };
        inner.values().try_for_each(|schema| check_at(schema, depth - 1))?;
    }
    for keyword in ["anyOf", "oneOf", "allOf"] {
        let Some(inner) = members.get(keyword) else { continue };
        let Some(inner) = inner.as_array() else { return Err(format!("{keyword} is a list")) };
        inner.iter().try_for_each(|schema| check_at(schema, depth - 1))?;
    }
    members.get("items").map_or(Ok(()), |items| check_at(items, depth - 1))
}

/// Checks that every object in a schema says that it has no other members, as models that follow
/// schemas natively demand.
///
/// # Errors
/// Says what is missing.
pub(in crate::emulator) fn check_closed(schema: &Value) -> Result<(), String> {
    let children: Vec<&Value> = match schema {
        Value::Object(members) => {
            let is_object = members.get("type").and_then(Value::as_str) == Some("object");
            if is_object && members.get("additionalProperties") != Some(&Value::Bool(false)) {
                return Err("For 'object' type, 'additionalProperties' must be explicitly set to \
                            false"
                    .to_owned());
            }
            members.values().collect()
        }
        Value::Array(values) => values.iter().collect(),
        _ => return Ok(()),
    };
    children.into_iter().try_for_each(check_closed)
}

/// What is left of a text to make values of.
#[derive(Debug)]
pub(in crate::emulator) struct Seed {
    words: std::vec::IntoIter<String>,
    numbers: std::vec::IntoIter<f64>,
    count: u32,
}

impl Seed {
    /// The words and numbers of a text.
    pub(in crate::emulator) fn new(text: &str) -> Self {
        let is_edge = |letter: char| !letter.is_alphanumeric();
        let all = || text.split_whitespace().map(|word| word.trim_matches(is_edge));
        let numbers: Vec<f64> = all().filter_map(number).collect();
        let is_word = |word: &&str| word.len() > 3 && number(word).is_none();
        let words: Vec<String> = all().filter(is_word).map(str::to_owned).collect();
        Self { words: words.into_iter(), numbers: numbers.into_iter(), count: 0 }
    }

    fn word(&mut self) -> String {
        self.count += 1;
        self.words.next().unwrap_or_else(|| format!("value {}", self.count))
    }

    fn number(&mut self) -> f64 {
        self.count += 1;
        self.numbers.next().unwrap_or_else(|| self.count.into())
    }
}

fn number(word: &str) -> Option<f64> {
    let begins = word.starts_with(|letter: char| letter.is_ascii_digit());
    word.parse().ok().filter(|number: &f64| begins && number.is_finite())
}

/// A value that fits a schema.
pub(in crate::emulator) fn fitting(schema: &Value, seed: &mut Seed) -> Value {
    Generator { root: schema, seed, left: MAX_VALUES }.value(schema, 0)
}

struct Generator<'a> {
    root: &'a Value,
    seed: &'a mut Seed,
    /// Values that may still be made.
    left: usize,
}

impl Generator<'_> {
    fn value(&mut self, schema: &Value, depth: usize) -> Value {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return Value::Null;
        }
        let Some(members) = schema.as_object() else { return json!(self.seed.word()) };
        if let Some(fixed) = members.get("const") {
            return fixed.clone();
        }
        if let Some(chosen) = members.get("enum").and_then(|values| values.get(0)) {
            return chosen.clone();
        }
        if let Some(target) = members.get("$ref").and_then(Value::as_str) {
            // A model understands a path without the `#` as well, which LiteLLM leaves out.
            let path = target.strip_prefix('#').unwrap_or(target);
            let target = self.root.pointer(path).cloned();
            return match target {
                Some(target) if depth < MAX_DEPTH => self.value(&target, depth + 1),
                _ => Value::Null,
            };
        }
        if let Some(parts) = members.get("allOf").and_then(Value::as_array) {
            return self.all_of(members, parts, depth);
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(choices) = members.get(keyword).and_then(Value::as_array) {
                return self.simplest(choices, depth);
            }
        }
        self.typed(members, depth)
    }

    /// The first choice, or one that ends a recursion when it has gone deep.
    fn simplest(&mut self, choices: &[Value], depth: usize) -> Value {
        let is_flat = |choice: &&Value| choice.get("$ref").is_none() && choice["type"] != "object";
        let flat = choices.iter().find(is_flat).filter(|_| depth > MAX_DEPTH / 3);
        match flat.or(choices.first()) {
            Some(choice) => self.value(choice, depth + 1),
            None => Value::Null,
        }
    }

    fn all_of(&mut self, members: &Map<String, Value>, parts: &[Value], depth: usize) -> Value {
        let mut rest = members.clone();
        rest.remove("allOf");
        let mut merged = Map::new();
        for part in parts.iter().chain([&Value::Object(rest)]) {
            if part.as_object().is_some_and(Map::is_empty) {
                continue;
            }
            match self.value(part, depth + 1) {
                Value::Object(found) => merged.extend(found),
                other if merged.is_empty() => return other,
                _ => {}
            }
        }
        Value::Object(merged)
    }

    fn typed(&mut self, members: &Map<String, Value>, depth: usize) -> Value {
        let kind = match members.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or("null"),
            _ if members.contains_key("properties") => "object",
            _ if members.contains_key("items") => "array",
            _ => "string",
        };
        match kind {
            "object" => self.object(members, depth),
            "array" => self.list(members, depth),
            "integer" => json!(self.whole(members)),
            "number" => json!(self.fraction(members)),
            "boolean" => json!(true),
            "null" => Value::Null,
            _ => json!(self.text(members)),
        }
    }

    fn object(&mut self, members: &Map<String, Value>, depth: usize) -> Value {
        let required: Vec<&str> = match members.get("required").and_then(Value::as_array) {
            Some(names) => names.iter().filter_map(Value::as_str).collect(),
            None => Vec::new(),
        };
        let nothing = Map::new();
        let properties = members.get("properties").and_then(Value::as_object).unwrap_or(&nothing);
        let mut object = Map::new();
        for (name, schema) in properties {
            if required.contains(&name.as_str()) || depth < MAX_DEPTH / 3 {
                object.insert(name.clone(), self.value(schema, depth + 1));
            }
        }
        for name in required {
            if !object.contains_key(name) {
                object.insert(name.to_owned(), json!(self.seed.word()));
            }
        }
        Value::Object(object)
    }

    fn list(&mut self, members: &Map<String, Value>, depth: usize) -> Value {
        if let Some(schemas) = members.get("prefixItems").and_then(Value::as_array) {
            return schemas.iter().map(|schema| self.value(schema, depth + 1)).collect();
        }
        let bound = |name: &str| {
            members
                .get(name)
                .and_then(Value::as_u64)
                .and_then(|length| usize::try_from(length).ok())
        };
        let least = bound("minItems").unwrap_or(0);
        let usual = if depth < MAX_DEPTH / 3 { USUAL_LENGTH } else { 0 };
        let length = usual.min(bound("maxItems").unwrap_or(usize::MAX)).max(least).min(MAX_LENGTH);
        let any = json!({"type": "string"});
        let items = members.get("items").unwrap_or(&any);
        (0..length).map(|_| self.value(items, depth + 1)).collect()
    }

    fn whole(&mut self, members: &Map<String, Value>) -> i64 {
        let bound = |name: &str, by: i64| {
            members
                .get(name)
                .and_then(Value::as_f64)
                .map(|bound| to_whole(bound).saturating_add(by))
        };
        let least = bound("minimum", 0).or_else(|| bound("exclusiveMinimum", 1));
        let most = bound("maximum", 0).or_else(|| bound("exclusiveMaximum", -1));
        let found = to_whole(self.seed.number());
        let found = found.min(most.unwrap_or(i64::MAX)).max(least.unwrap_or(i64::MIN));
        match bound("multipleOf", 0) {
            Some(step) if step > 1 => {
                let below = found.div_euclid(step).saturating_mul(step);
                if least.is_some_and(|least| below < least) {
                    below.saturating_add(step)
                } else {
                    below
                }
            }
            _ => found,
        }
    }

    fn fraction(&mut self, members: &Map<String, Value>) -> f64 {
        let bound = |name: &str, by: f64| members.get(name).and_then(Value::as_f64).map(|b| b + by);
        let least = bound("minimum", 0.0).or_else(|| bound("exclusiveMinimum", 0.5));
        let most = bound("maximum", 0.0).or_else(|| bound("exclusiveMaximum", -0.5));
        let found = self.seed.number();
        found.min(most.unwrap_or(f64::MAX)).max(least.unwrap_or(f64::MIN))
    }

    fn text(&mut self, members: &Map<String, Value>) -> String {
        let fixed = match members.get("format").and_then(Value::as_str) {
            Some("date-time") => Some("2026-01-31T12:00:00Z"),
            Some("date") => Some("2026-01-31"),
            Some("time") => Some("12:00:00Z"),
            Some("email") => Some("ann@example.com"),
            Some("uri" | "url") => Some("https://example.com/"),
            Some("uuid") => Some("6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b"),
            Some("ipv4") => Some("192.0.2.1"),
            _ => None,
        };
        if let Some(fixed) = fixed {
            return fixed.to_owned();
        }
        let bound = |name: &str| {
            members
                .get(name)
                .and_then(Value::as_u64)
                .and_then(|length| usize::try_from(length).ok())
        };
        let mut text = self.seed.word();
        let least = bound("minLength").unwrap_or(0).min(10_000);
        let missing = least.saturating_sub(text.chars().count());
        text.extend(std::iter::repeat_n('x', missing));
        text.chars().take(bound("maxLength").unwrap_or(usize::MAX)).collect()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a cast from a float saturates")]
fn to_whole(number: f64) -> i64 {
    number.round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(schema: &Value) -> Value {
        check(schema).unwrap();
        fitting(schema, &mut Seed::new("Please send 42 apples to Paris, 7 days"))
    }

    #[test]
    fn a_value_has_what_its_schema_asks_for() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 6},
                "days": {"type": "integer", "minimum": 1, "maximum": 10},
                "score": {"type": "number", "exclusiveMaximum": 2},
                "kind": {"enum": ["a", "b"]},
                "tags": {"type": "array", "items": {"type": "string"}, "minItems": 3},
                "when": {"type": ["string", "null"], "format": "date"},
                "ok": {"type": "boolean"},
            },
            "required": ["city", "note"],
        });
        assert_eq!(
            made(&schema),
            json!({
                "city": "Please", "days": 10, "score": 1.5, "kind": "a",
                "tags": ["send", "apples", "Paris"], "when": "2026-01-31", "ok": true,
                "note": "days",
            })
        );
    }

    #[test]
    fn references_and_choices_end() {
        let schema = json!({
            "type": "object",
            "$defs": {"node": {"type": "object", "properties": {
                "name": {"type": "string"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            }, "required": ["name", "next"]}},
            "properties": {"first": {"$ref": "#/$defs/node"}},
            "required": ["first"],
        });
        let made = made(&schema);
        assert!(made["first"]["name"].is_string());
        assert!(made.to_string().contains("\"next\":null"));
    }

    #[test]
    fn a_schema_that_grows_without_end_is_given_up() {
        let node = json!({"$ref": "#/$defs/node"});
        let list = json!({"type": "array", "minItems": 100, "items": node});
        let schema = json!({"$ref": "#/$defs/node", "$defs": {"node": {
            "type": "object", "properties": {"a": list, "b": list}, "required": ["a", "b"],
        }}});
        let length = made(&schema).to_string().len();
        assert!((10_000..1_000_000).contains(&length), "{length}");
        let huge = json!({"type": "integer", "multipleOf": 9e18, "minimum": 9e18});
        assert!(made(&huge).is_i64());
    }

    #[test]
    fn what_is_no_schema_is_said_to_be_none() {
        for bad in [
            json!(1),
            json!({"type": "strnig"}),
            json!({"properties": []}),
            json!({"required": "a"}),
            json!({"type": "object", "properties": {"a": {"type": 3}}}),
            json!({"anyOf": {}}),
            json!({"enum": []}),
        ] {
            assert!(check(&bad).is_err(), "{bad}");
        }
        let open = json!({"type": "array", "items": {"type": "object"}});
        assert!(check_closed(&open).unwrap_err().contains("additionalProperties"));
    }
}
