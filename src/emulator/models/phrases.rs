//! The phrases by which a message scripts its own answer.
//!
//! A message that begins with a phrase holds several of them, separated by semicolons; those
//! after `then` wait until the calls before have their results. A value may stand in quotes, and
//! a semicolon or a space within them is a part of it. `docs/emulator.md` has the table.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::emulator::words;

use super::answer::Stop;

/// The furthest that `words: N` goes.
const MAX_WORDS: usize = 200_000;
/// What the settings of the emulator begin with, wherever they stand.
const SETTING: &str = "outcrop-emulator-";

/// One thing that a message asks for.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::emulator) enum Wish {
    /// `say: TEXT`
    Say(String),
    /// `call: NAME key=value …`
    Call(String, Map<String, Value>),
    /// `words: N`
    Words(usize),
    /// `think: TEXT`
    Think(String),
    /// `hide: TEXT`: a thought that stays hidden.
    Hide(String),
    /// `cite: URL TEXT`
    Cite(String, String),
    /// `stop: REASON`
    Stop(Stop),
}

/// Reads a message's wishes, stage by stage; `None` when it does not begin with a phrase.
pub(in crate::emulator) fn stages(text: &str) -> Option<Vec<Vec<Wish>>> {
    let mut stages = vec![Vec::new()];
    for (place, clause) in words::clauses(text).into_iter().enumerate() {
        let mut clause = clause.trim();
        if let Some(rest) = then(clause).filter(|_| place > 0) {
            stages.push(Vec::new());
            clause = rest.trim();
        }
        match wish(clause) {
            Some(wish) => stages.last_mut()?.push(wish),
            None if place == 0 => return None,
            None if clause.is_empty() => {}
            None => stages.last_mut()?.push(Wish::Say(format!("I cannot read \"{clause}\"."))),
        }
    }
    Some(stages)
}

/// What follows the word `then`.
fn then(clause: &str) -> Option<&str> {
    let rest = clause.strip_prefix("then")?;
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then_some(rest)
}

fn wish(clause: &str) -> Option<Wish> {
    let (phrase, rest) = clause.split_once(':')?;
    let rest = rest.trim();
    match phrase.trim().to_ascii_lowercase().as_str() {
        "say" => Some(Wish::Say(rest.to_owned())),
        "call" => call(rest),
        "words" => rest.parse().ok().filter(|most| *most <= MAX_WORDS).map(Wish::Words),
        "think" => Some(Wish::Think(rest.to_owned())),
        "hide" => Some(Wish::Hide(rest.to_owned())),
        "cite" => {
            let (url, text) = rest.split_once(' ')?;
            Some(Wish::Cite(url.to_owned(), text.trim().to_owned()))
        }
        "stop" => Stop::named(rest).map(Wish::Stop),
        _ => None,
    }
}

fn call(rest: &str) -> Option<Wish> {
    let mut words = words::split(rest).into_iter();
    let name = words.next()?.to_owned();
    let pairs = words.filter_map(|word| word.split_once('='));
    let arguments = pairs.map(|(key, value)| (key.to_owned(), argument(value)));
    Some(Wish::Call(name, arguments.collect()))
}

/// A value is JSON where it reads as JSON, and a string otherwise. In single quotes it is a
/// string too, unless it is an object or a list.
fn argument(value: &str) -> Value {
    let inner = words::unquoted(value);
    let read = || serde_json::from_str(inner).ok();
    let found = match value.starts_with('\'') {
        true => read().filter(|value: &Value| value.is_object() || value.is_array()),
        false => serde_json::from_str(value).ok(),
    };
    found.unwrap_or_else(|| inner.into())
}

/// Takes the settings out of a text: `outcrop-emulator-NAME: VALUE`, wherever they stand.
pub(in crate::emulator) fn settings(text: &str) -> (BTreeMap<String, String>, String) {
    let mut settings = BTreeMap::new();
    let mut left = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(SETTING) {
        let (before, found) = rest.split_at(at);
        let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '-';
        let name_end = found.find(|letter| !is_name(letter)).unwrap_or(found.len());
        let (name, after) = found.split_at(name_end);
        left.push_str(before);
        let Some(after) = after.strip_prefix([':', '=']) else {
            left.push_str(name);
            rest = after;
            continue;
        };
        let value = after.trim_start();
        let is_end = |letter: char| letter.is_whitespace() || ";,".contains(letter);
        let (value, after) = value.split_at(value.find(is_end).unwrap_or(value.len()));
        settings.insert(name.to_owned(), value.to_owned());
        rest = after;
    }
    left.push_str(rest);
    if settings.is_empty() {
        return (settings, left);
    }
    let is_edge = |letter: char| letter.is_whitespace() || letter == ';' || letter == ',';
    let left = left.trim_matches(is_edge).to_owned();
    (settings, left)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_holds_several_wishes_in_stages() {
        let text = "say: Let me look; call: get_weather city=Paris days=3; \
                    call: book note='a; b' data='{\"a\": 1}'; then call: pay; then; stop: max_tokens";
        let stages = stages(text).unwrap();
        assert_eq!(stages.len(), 3);
        assert_eq!(stages[0][0], Wish::Say("Let me look".to_owned()));
        let Wish::Call(name, arguments) = &stages[0][2] else { panic!("{stages:?}") };
        assert_eq!(
            (name.as_str(), json!(arguments)),
            ("book", json!({"note": "a; b", "data": {"a": 1}}))
        );
        assert_eq!(stages[1], [Wish::Call("pay".to_owned(), Map::new())]);
        assert_eq!(stages[2], [Wish::Stop(Stop::MaxTokens)]);
    }

    #[test]
    fn other_messages_hold_none() {
        for text in
            ["call me Ann", "What do you say: yes or no?", "", "stop: nonsense", "words: 9999999"]
        {
            assert_eq!(stages(text), None, "{text}");
        }
    }

    #[test]
    fn arguments_are_json_where_they_read_so() {
        let values = ["3", "2.5", "true", "[1]", "Oslo", "\"7\"", "'7'"].map(argument);
        let expected =
            [json!(3), json!(2.5), json!(true), json!([1]), json!("Oslo"), json!("7"), json!("7")];
        assert_eq!(values, expected);
    }

    #[test]
    fn settings_are_taken_out_of_a_text() {
        let (found, left) =
            settings("count to 3; outcrop-emulator-fault: stall:2, outcrop-emulator-chunk-ms=5");
        assert_eq!(left, "count to 3");
        assert_eq!(found["outcrop-emulator-fault"], "stall:2");
        assert_eq!(found["outcrop-emulator-chunk-ms"], "5");
        let untouched = "an outcrop-emulator- of  mine ";
        assert_eq!(settings(untouched), (BTreeMap::new(), untouched.to_owned()));
    }
}
