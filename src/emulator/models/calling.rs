//! Which tool a message calls for, and with what arguments.
//!
//! A tool fits when the message has a word of its name that says what it is about, or enough of
//! its description. Arguments are looked for in the message and made up where it has none.

use serde_json::{Map, Value, json};

use crate::emulator::facts;

use super::schema::{self, Seed};
use super::terms::{InputSchema, ToolSpec};

/// Words of a name that do not say what the tool is about.
const VERBS: &[&str] = &[
    "get", "set", "list", "find", "fetch", "call", "tool", "current", "create", "send", "make",
    "do", "run", "use", "add", "new", "the", "for", "by", "my", "a", "to", "of", "in", "on", "and",
    "is", "user", "data", "info", "function",
];
/// The shortest word of a description that counts.
const TELLING: usize = 5;
/// Words of a description that make a tool fit.
const ENOUGH: usize = 2;
/// Names of parameters that stand for a place.
const PLACES: &[&str] = &["city", "location", "place", "town", "country", "where", "destination"];
/// Names of parameters that stand for the message itself.
const WHOLE: &[&str] = &["query", "question", "prompt", "text", "message", "input", "q", "request"];

/// The tools that a message calls for, the best fit first; several only when it asks for several
/// things.
pub(in crate::emulator) fn fitting<'a>(
    tools: impl Iterator<Item = &'a ToolSpec>,
    text: &str,
) -> Vec<&'a ToolSpec> {
    let words = words(text);
    let mut found: Vec<(usize, &ToolSpec)> =
        tools.map(|tool| (fit(tool, &words), tool)).filter(|(fit, _)| *fit > 0).collect();
    found.sort_by_key(|(fit, _)| std::cmp::Reverse(*fit));
    let asks_for_several = words.iter().any(|word| word == "and");
    let most = if asks_for_several { found.len() } else { 1 };
    found.into_iter().take(most).map(|(_, tool)| tool).collect()
}

fn fit(tool: &ToolSpec, message: &[String]) -> usize {
    let holds = |word: &String| message.contains(word);
    let name = words(&spaced(&tool.name));
    let telling_names: Vec<_> =
        name.iter().filter(|word| !VERBS.contains(&word.as_str())).collect();
    let named = telling_names.iter().filter(|word| holds(word)).count();
    let mut description = words(tool.description.as_deref().unwrap_or_default());
    description.sort_unstable();
    description.dedup();
    description.retain(|word| word.len() >= TELLING && !VERBS.contains(&word.as_str()));
    let described = description.iter().filter(|word| holds(word)).count();
    match (named, described) {
        (0, described) if described < ENOUGH => 0,
        (named, described) => named * 2 + described,
    }
}

/// A name with spaces between its words.
fn spaced(name: &str) -> String {
    let mut spaced = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_uppercase() {
            spaced.push(' ');
        }
        spaced.push(if letter.is_alphanumeric() { letter } else { ' ' });
    }
    spaced
}

/// The words of a text in lower case, without a plural's s.
fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|letter: char| !letter.is_alphanumeric());
    let singular = |word: &str| match word.strip_suffix('s') {
        Some(stem) if stem.len() >= 3 && !stem.ends_with('s') => stem.to_owned(),
        _ => word.to_owned(),
    };
    words.filter(|word| !word.is_empty()).map(singular).collect()
}

/// Arguments for a call that the message asks for without saying how.
pub(in crate::emulator) fn arguments(tool: &ToolSpec, text: &str) -> Map<String, Value> {
    let InputSchema::Json(schema) = &tool.input_schema;
    let mut made = match schema::fitting(schema, &mut Seed::new(text)) {
        Value::Object(made) => made,
        _ => Map::new(),
    };
    let properties = schema["properties"].as_object();
    for (name, schema) in properties.into_iter().flatten() {
        if let Some(found) = found(name, schema, text) {
            made.insert(name.clone(), found);
        }
    }
    made
}

/// What a message says of a parameter.
fn found(name: &str, schema: &Value, text: &str) -> Option<Value> {
    let lower_name = name.to_lowercase();
    if let Some(values) = schema["enum"].as_array() {
        let lower = text.to_lowercase();
        let is_said = |value: &&Value| {
            value.as_str().is_some_and(|value| lower.contains(&value.to_lowercase()))
        };
        return values.iter().find(is_said).cloned();
    }
    let is_text = schema["type"] == "string" || schema["type"][0] == "string";
    if !is_text || schema.get("const").is_some() {
        return None;
    }
    let names = |known: &[&str]| known.iter().any(|known| lower_name.contains(known));
    let found = match lower_name.as_str() {
        _ if names(PLACES) => place(text),
        _ if WHOLE.contains(&lower_name.as_str()) => Some(text.to_owned()),
        _ if lower_name.contains("email") => text
            .split_whitespace()
            .find(|word| word.contains('@'))
            .map(|word| word.trim_matches(|letter: char| !letter.is_alphanumeric()).to_owned()),
        _ if lower_name.contains("name") => facts::name_in(text),
        "day" | "date" | "when" => {
            let days = ["today", "tomorrow", "yesterday"];
            days.iter().find(|day| text.to_lowercase().contains(*day)).map(|day| (*day).to_owned())
        }
        _ => None,
    };
    let quoted = || text.split('"').nth(1).filter(|quoted| !quoted.is_empty()).map(str::to_owned);
    found.or_else(quoted).map(|found| json!(found))
}

/// The place that a message names: capitalised words after "in", "for", "at", "to" or "of".
fn place(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_capital = |word: &str| word.starts_with(char::is_uppercase);
    let at = words.windows(2).position(|pair| {
        ["in", "for", "at", "to", "of"].contains(&pair[0].to_lowercase().as_str())
            && is_capital(pair[1])
    })?;
    let mut place = Vec::new();
    for word in &words[at + 1..] {
        let bare = word.trim_matches(|letter: char| !letter.is_alphanumeric());
        if !is_capital(bare) {
            break;
        }
        place.push(bare);
        if word.ends_with(|letter: char| !letter.is_alphanumeric()) {
            break;
        }
    }
    (!place.is_empty()).then(|| place.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, description: &str, schema: Value) -> ToolSpec {
        let body =
            json!({"name": name, "description": description, "inputSchema": {"json": schema}});
        serde_json::from_value(body).unwrap()
    }

    fn tools() -> [ToolSpec; 3] {
        let city = json!({"type": "object", "properties": {"city": {"type": "string"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}}, "required": ["city"]});
        [
            tool("get_weather", "Get the current weather in a city", city.clone()),
            tool("get_time", "Tell what time it is somewhere", city),
            tool("lookup", "Search the customer database for orders", json!({"type": "object"})),
        ]
    }

    fn called(text: &str) -> Vec<String> {
        fitting(tools().iter(), text).into_iter().map(|tool| tool.name.clone()).collect()
    }

    #[test]
    fn the_tool_that_a_message_is_about_fits() {
        assert_eq!(called("What's the weather in Paris?"), ["get_weather"]);
        assert_eq!(
            called("the weather in Paris and the time in Rome"),
            ["get_weather", "get_time"]
        );
        assert_eq!(called("search for my orders please"), ["lookup"]);
        assert!(called("Tell me a joke").is_empty());
        assert!(called("").is_empty());
    }

    #[test]
    fn arguments_come_from_the_message() {
        let [weather, ..] = tools();
        let found = arguments(&weather, "What's the weather in New York, in Fahrenheit?");
        assert_eq!(json!(found), json!({"city": "New York", "unit": "fahrenheit"}));
        let made = arguments(&weather, "weather please");
        assert!(made["city"].is_string() && made["unit"] == "celsius");
    }
}
