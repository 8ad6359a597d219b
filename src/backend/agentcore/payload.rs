//! What an `InvokeAgentRuntime` call carries: the operator's JSON with a turn put into it.
//!
//! Every runtime defines its own payload; those of the AgentCore starter kits take
//! `{"prompt": "…"}`. A string of the template that is exactly one placeholder becomes that
//! value, whatever its type; `{input}`, `{session}`, `{user}` and `{tenant}` within a longer
//! string are replaced in place. Nothing of what is put in is read as a template again.
//!
//! A runtime that begins a session knows nothing of what was said before. Where the template has
//! a place for it (`{history}`), it goes there; else it stands before the input, as
//!
//! ```text
//! This is what was said before:
//!
//! User: my name is Ann
//!
//! Assistant: Nice to meet you, Ann.
//!
//! This is what is said now:
//!
//! what is my name?
//! ```

use serde_json::{Map, Value, json};

use crate::backend::Ask;
use crate::turn::{Failure, FailureKind, Message, Part, Role, Status};

use super::spelling;

/// What a runtime is sent unless told otherwise.
const DEFAULT: &str = "{\"prompt\":\"{input}\"}";
/// Bytes of earlier messages that are put before the input; the newest are kept.
const TOLD_HISTORY: usize = 100_000;

/// A payload with placeholders.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Template {
    json: Value,
    tells_messages: bool,
    tells_history: bool,
}

impl Template {
    /// Reads a template; none is the default one.
    ///
    /// # Errors
    /// When it is not JSON, or has no place for what the user says.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, String> {
        let text = text.unwrap_or(DEFAULT);
        let json: Value =
            serde_json::from_str(text).map_err(|error| format!("payload is not JSON: {error}"))?;
        let tells_messages = is_anywhere(&json, &|text| text == "{messages}");
        let tells_input = is_anywhere(&json, &|text| text.contains("{input}"));
        if !tells_messages && !tells_input {
            return Err("payload needs \"{input}\" or \"{messages}\" somewhere: nothing of what \
                        the user says would reach the runtime"
                .to_owned());
        }
        let tells_history = is_anywhere(&json, &|text| text == "{history}");
        Ok(Self { json, tells_messages, tells_history })
    }

    /// The payload of a turn.
    ///
    /// # Errors
    /// `UnsupportedParameter` when the turn has attachments and the template no place for them.
    pub(super) fn fill(&self, ask: &Ask) -> Result<Value, Failure> {
        let has_attachments = ask.input.iter().flat_map(|message| &message.parts).any(is_attached);
        if has_attachments && !self.tells_messages {
            return Err(no_attachments());
        }
        let input = input(&ask.input);
        let told = if self.tells_history { String::new() } else { told_history(ask) };
        let filled = Filled { ask, input: format!("{told}{input}") };
        Ok(filled.value(&self.json))
    }
}

fn is_anywhere(json: &Value, fits: &impl Fn(&str) -> bool) -> bool {
    match json {
        Value::String(text) => fits(text),
        Value::Array(items) => items.iter().any(|item| is_anywhere(item, fits)),
        Value::Object(fields) => fields.values().any(|field| is_anywhere(field, fits)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn is_attached(part: &Part) -> bool {
    matches!(part, Part::Attachment { .. })
}

fn no_attachments() -> Failure {
    Failure::new(
        FailureKind::UnsupportedParameter,
        "this agent runtime is sent text only; send images, audio and files to a model that reads \
         them, or have the operator put \"{messages}\" into the model's payload",
    )
    .at("messages")
}

/// A turn's values.
struct Filled<'a> {
    ask: &'a Ask,
    input: String,
}

impl Filled<'_> {
    fn value(&self, template: &Value) -> Value {
        match template {
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => {
                let filled = fields.iter().map(|(name, field)| (name.clone(), self.value(field)));
                filled.collect::<Map<_, _>>().into()
            }
            plain => plain.clone(),
        }
    }

    fn text(&self, text: &str) -> Value {
        let ask = self.ask;
        match text {
            "{messages}" => ask.input.iter().map(spelling::message).collect(),
            "{history}" => ask.history.iter().map(|said| spelling::message(said)).collect(),
            "{tools}" => ask.request.offered().iter().map(spelling::tool).collect(),
            "{metadata}" => json!(ask.request.metadata),
            _ => match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(name) => match self.word(name) {
                    Some(value) => value.map_or(Value::Null, Value::from),
                    None => self.in_place(text).into(),
                },
                None => self.in_place(text).into(),
            },
        }
    }

    /// The value of a placeholder that is a word: nothing where there is no such placeholder,
    /// `None` within where this turn has no value for it.
    fn word(&self, name: &str) -> Option<Option<&str>> {
        match name {
            "input" => Some(Some(&self.input)),
            "session" => Some(Some(self.ask.key.id.as_str())),
            "tenant" => Some(Some(self.ask.key.tenant.as_str())),
            "user" => Some(self.ask.request.hints.speaker.as_deref()),
            _ => None,
        }
    }

    fn in_place(&self, template: &str) -> String {
        let mut filled = String::with_capacity(template.len() + self.input.len());
        let mut rest = template;
        while let Some((before, from)) = rest.split_once('{') {
            filled.push_str(before);
            let word = from.split_once('}');
            let found = word.and_then(|(name, after)| Some((self.word(name)?, after)));
            let (value, after) = found.unwrap_or((Some("{"), from));
            filled.push_str(value.unwrap_or_default());
            rest = after;
        }
        filled.push_str(rest);
        filled
    }
}

/// What is new, as text: what the user said, and the results of tools.
fn input(messages: &[Message]) -> String {
    let texts = messages.iter().filter_map(|message| match message.role {
        Role::User => Some(message.plain_text()),
        Role::Tool => Some(result(message)),
        Role::System | Role::Assistant => None,
    });
    texts.collect::<Vec<_>>().join("\n\n")
}

fn result(message: &Message) -> String {
    let id = message.tool_call_id.as_deref().unwrap_or("unknown");
    let what = if message.status == Status::Failed { "error" } else { "result" };
    format!("The {what} of the tool call {id}: {}", message.plain_text())
}

/// What was said before, to be put before the input; empty when nothing was.
fn told_history(ask: &Ask) -> String {
    let mut room = TOLD_HISTORY;
    let mut told: Vec<_> = ask
        .history
        .iter()
        .rev()
        .filter_map(|message| line(message))
        .take_while(|line| {
            room = room.saturating_sub(line.len());
            room > 0
        })
        .collect();
    if told.is_empty() {
        return String::new();
    }
    told.reverse();
    let told = told.join("\n\n");
    format!("This is what was said before:\n\n{told}\n\nThis is what is said now:\n\n")
}

fn line(message: &Message) -> Option<String> {
    let text = message.plain_text();
    match message.role {
        Role::User => Some(format!("User: {text}")),
        Role::Assistant if !text.is_empty() => Some(format!("Assistant: {text}")),
        Role::Tool => Some(result(message)),
        Role::System | Role::Assistant => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::turn::{SessionKey, Tool, TurnRequest, UpstreamSessionId};

    use super::*;

    fn ask(history: &[(Role, &str)], input: &[Message]) -> Ask {
        let mut request = TurnRequest::default();
        request.hints.speaker = Some("ann".to_owned());
        request.metadata.insert("plan".to_owned(), "gold".to_owned());
        request.tools.push(Tool { name: "weather".to_owned(), ..Tool::default() });
        let history = history.iter().map(|(role, text)| Arc::new(Message::text(*role, *text)));
        Ask {
            system: Arc::default(),
            key: SessionKey { tenant: "acme".parse().unwrap(), id: "s1".parse().unwrap() },
            upstream: UpstreamSessionId::generate(),
            history: history.collect(),
            input: input.to_vec(),
            pending: None,
            request: Arc::new(request),
        }
    }

    fn user(text: &str) -> Message {
        Message::text(Role::User, text)
    }

    fn filled(template: Option<&str>, ask: &Ask) -> Value {
        Template::parse(template).unwrap().fill(ask).unwrap()
    }

    #[test]
    fn the_default_is_a_prompt() {
        assert_eq!(filled(None, &ask(&[], &[user("hi")])), json!({ "prompt": "hi" }));
    }

    #[test]
    fn each_placeholder_stands_for_its_value() {
        let template = r#"{"text":"{input}","new":"{messages}","old":"{history}","tools":"{tools}",
            "who":["{session}","{user}","{tenant}"],"notes":"{metadata}","depth":3,"x":"{other}"}"#;
        let payload = filled(Some(template), &ask(&[(Role::User, "before")], &[user("hi")]));
        assert_eq!(payload["text"], "hi");
        assert_eq!(payload["new"], json!([{ "role": "user", "content": "hi" }]));
        assert_eq!(payload["old"], json!([{ "role": "user", "content": "before" }]));
        assert_eq!(payload["tools"][0]["function"]["name"], "weather");
        assert_eq!(payload["who"], json!(["s1", "ann", "acme"]));
        assert_eq!(payload["notes"], json!({ "plan": "gold" }));
        assert_eq!((&payload["depth"], &payload["x"]), (&json!(3), &json!("{other}")));
    }

    #[test]
    fn a_placeholder_within_a_text_is_replaced_once_and_in_place() {
        let payload = filled(
            Some(r#"["{user} of {tenant} says: {input} {x} {"]"#),
            &ask(&[], &[user("{user}")]),
        );
        assert_eq!(payload, json!(["ann of acme says: {user} {x} {"]));
    }

    #[test]
    fn a_history_without_a_place_of_its_own_is_told_before_the_input() {
        let history = [(Role::User, "my name is Ann"), (Role::Assistant, "Hello Ann.")];
        let payload = filled(None, &ask(&history, &[user("and now?")]));
        let expected = "This is what was said before:\n\nUser: my name is Ann\n\n\
            Assistant: Hello Ann.\n\nThis is what is said now:\n\nand now?";
        assert_eq!(payload["prompt"], expected);
    }

    #[test]
    fn results_of_tools_are_told_by_their_call() {
        let mut told = Message::text(Role::Tool, "rain");
        told.tool_call_id = Some("call_1".to_owned());
        let mut failed = told.clone();
        failed.status = Status::Failed;
        let payload = filled(None, &ask(&[], &[told, failed]));
        let expected = "The result of the tool call call_1: rain\n\n\
            The error of the tool call call_1: rain";
        assert_eq!(payload["prompt"], expected);
    }

    #[test]
    fn attachments_need_a_place() {
        let mut seen = user("what is it?");
        let value = Arc::new(json!({ "type": "image_url" }));
        seen.parts.push(Part::Attachment { kind: "image_url".to_owned(), value });
        let ask = ask(&[], &[seen]);
        let refused = Template::parse(None).unwrap().fill(&ask).unwrap_err();
        assert_eq!(refused.kind, FailureKind::UnsupportedParameter);
        let payload = filled(Some(r#"{"messages":"{messages}"}"#), &ask);
        assert_eq!(payload["messages"][0]["content"][1]["type"], "image_url");
    }

    #[test]
    fn a_template_must_be_json_and_hold_what_the_user_says() {
        assert!(Template::parse(Some("{input}")).unwrap_err().contains("not JSON"));
        assert!(Template::parse(Some(r#"{"prompt":"hello"}"#)).unwrap_err().contains("{input}"));
    }
}
