//! The rules of tools: how they are declared, and that every call has its result.

use std::collections::HashSet;

use serde_json::Value;

use crate::emulator::refusal::Refusal;

use super::cards::{Can, Card};
use super::prompt::{Message, Prompt, Role};
use super::rules::out_of_bounds;
use super::schema;
use super::terms::{InputSchema, Structure, ToolChoice, ToolSpec};

/// The longest name of a tool and the longest id of a call.
const MAX_NAME: usize = 64;
/// What Nova takes at the root of a tool's schema.
const NOVA_ROOT: &[&str] = &["type", "properties", "required"];

/// Checks tools, their choice, and the calls and results of a transcript.
///
/// # Errors
/// `ValidationException`
pub(super) fn check(card: &Card, prompt: &Prompt) -> Result<(), Refusal> {
    let traffic = prompt
        .messages
        .iter()
        .any(|message| message.calls().next().is_some() || message.results().next().is_some());
    if traffic && prompt.tool_config.is_none() {
        return Err(Refusal::validation(
            "The toolConfig field must be defined when using toolUse and toolResult content \
             blocks.",
        ));
    }
    if let Some(config) = &prompt.tool_config {
        if !card.can(Can::Tools) {
            return Err(Refusal::validation(
                "This model doesn't support tool use. Remove the toolConfig field and try again.",
            ));
        }
        if config.tools.is_empty() {
            let rule = "Member must have length greater than or equal to 1";
            return Err(out_of_bounds("toolConfig.tools", rule));
        }
        check_declared(card, prompt)?;
        check_choice(card, prompt)?;
    }
    check_pairs(&prompt.messages)?;
    check_format(prompt)
}

fn check_declared(card: &Card, prompt: &Prompt) -> Result<(), Refusal> {
    let mut names = HashSet::new();
    for spec in prompt.tools() {
        if !is_name(&spec.name) {
            return Err(pattern("toolConfig.tools.member.toolSpec.name", "[a-zA-Z0-9_-]+"));
        }
        if !names.insert(&spec.name) {
            return Err(Refusal::validation(format!(
                "The tool names must be unique: {} is declared twice.",
                spec.name,
            )));
        }
        if spec.description.as_ref().is_some_and(String::is_empty) {
            let rule = "Member must have length greater than or equal to 1";
            return Err(out_of_bounds("toolConfig.tools.member.toolSpec.description", rule));
        }
        check_schema(card, spec)?;
    }
    Ok(())
}

fn check_schema(card: &Card, spec: &ToolSpec) -> Result<(), Refusal> {
    let name = &spec.name;
    let InputSchema::Json(schema) = &spec.input_schema;
    let bad = |why: String| {
        Refusal::validation(format!(
            "The value at toolConfig.tools.toolSpec.inputSchema.json of {name} is invalid: {why}"
        ))
    };
    let Some(root) = schema.as_object() else {
        return Err(bad("Provide a json object for the field and try again.".to_owned()));
    };
    if root.get("type").and_then(Value::as_str) != Some("object") {
        return Err(bad("The type must be object.".to_owned()));
    }
    schema::check(schema).map_err(bad)?;
    if spec.strict == Some(true) {
        if !card.can(Can::FollowSchema) {
            return Err(Refusal::validation("This model doesn't support strict tool use."));
        }
        schema::check_closed(schema).map_err(bad)?;
    }
    let strange = root.keys().find(|key| !NOVA_ROOT.contains(&key.as_str()));
    match strange.filter(|_| card.is_nova()) {
        Some(key) => Err(bad(format!(
            "Only type, properties and required may stand at the root, \
                                      not {key}."
        ))),
        None => Ok(()),
    }
}

fn check_choice(card: &Card, prompt: &Prompt) -> Result<(), Refusal> {
    let choice = match prompt.tool_choice() {
        None | Some(ToolChoice::Auto(_) | ToolChoice::None) => return Ok(()),
        Some(choice) => choice,
    };
    if !card.can(Can::BeForced) {
        return Err(Refusal::validation(
            "This model doesn't support the toolConfig.toolChoice field. Remove \
             toolConfig.toolChoice and try again.",
        ));
    }
    match choice {
        ToolChoice::Tool(named) if prompt.tools().all(|spec| spec.name != named.name) => {
            Err(Refusal::validation(format!(
                "The provided tool choice {} is not among the tools of toolConfig.tools.",
                named.name,
            )))
        }
        _ => Ok(()),
    }
}

/// Every call is answered once in the very next message, and nothing else is.
fn check_pairs(messages: &[Message]) -> Result<(), Refusal> {
    let nobody = HashSet::new();
    let mut open = nobody.clone();
    for (place, message) in messages.iter().enumerate() {
        let mut answered = HashSet::new();
        for result in message.results() {
            check_id(&result.tool_use_id, place)?;
            let status = result.status.as_deref();
            if !matches!(status, None | Some("success" | "error")) {
                return Err(out_of_bounds(
                    "toolResult.status",
                    "Member must satisfy enum value set: [success, error]",
                ));
            }
            let id = result.tool_use_id.as_str();
            if message.role != Role::User || !open.contains(id) {
                return Err(Refusal::validation(format!(
                    "The number of toolResult blocks at messages.{place}.content exceeds the \
                     number of toolUse blocks of previous turn."
                )));
            }
            if !answered.insert(id) {
                return Err(Refusal::validation(format!(
                    "The toolResult blocks at messages.{place}.content contain duplicate Ids: {id}"
                )));
            }
        }
        let missing: Vec<&str> = open.difference(&answered).copied().collect();
        if !missing.is_empty() {
            return Err(Refusal::validation(format!(
                "Expected toolResult blocks at messages.{place}.content for the following Ids: {}",
                missing.join(", "),
            )));
        }
        open = asked_in(message, place)?;
    }
    match open.is_empty() {
        true => Ok(()),
        false => Err(Refusal::validation(
            "The conversation ends with toolUse blocks. Add their toolResult blocks in a user \
             message and try again.",
        )),
    }
}

/// The ids of the calls that a message asks for.
fn asked_in(message: &Message, place: usize) -> Result<HashSet<&str>, Refusal> {
    let mut ids = HashSet::new();
    for call in message.calls() {
        check_id(&call.tool_use_id, place)?;
        if !is_name(&call.name) {
            return Err(pattern(&format!("messages.{place}.toolUse.name"), "[a-zA-Z0-9_-]+"));
        }
        if !call.input.is_object() {
            return Err(Refusal::validation(format!(
                "The value at messages.{place}.content.toolUse.input is invalid. Provide a json \
                 object for the field and try again."
            )));
        }
        if message.role != Role::Assistant {
            return Err(Refusal::validation("User messages cannot contain tool uses."));
        }
        if !ids.insert(call.tool_use_id.as_str()) {
            return Err(Refusal::validation(format!(
                "The toolUse blocks at messages.{place}.content contain duplicate Ids: {}",
                call.tool_use_id,
            )));
        }
    }
    Ok(ids)
}

fn check_id(id: &str, place: usize) -> Result<(), Refusal> {
    let allows = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    if (1..=MAX_NAME).contains(&id.len()) && id.bytes().all(allows) {
        return Ok(());
    }
    Err(pattern(&format!("messages.{place}.toolUseId"), "[a-zA-Z0-9_.:-]+"))
}

fn is_name(name: &str) -> bool {
    let allows = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allows)
}

fn pattern(member: &str, pattern: &str) -> Refusal {
    let rule = format!(
        "Member must satisfy regular expression pattern: {pattern} and have length less than or \
         equal to {MAX_NAME}"
    );
    out_of_bounds(member, &rule)
}

/// The schema for the answer's text is JSON, and closed as native schemas have to be.
fn check_format(prompt: &Prompt) -> Result<(), Refusal> {
    let Some(format) = &prompt.output_config.text_format else { return Ok(()) };
    let Structure::JsonSchema(text) = &format.structure;
    let bad = |why: String| {
        Refusal::validation(format!(
            "The value at outputConfig.textFormat.structure.jsonSchema.schema is invalid: {why}"
        ))
    };
    if format.kind != "json_schema" {
        return Err(out_of_bounds("outputConfig.textFormat.type", "json_schema"));
    }
    let schema: Value =
        serde_json::from_str(&text.schema).map_err(|error| bad(error.to_string()))?;
    schema::check(&schema).and_then(|()| schema::check_closed(&schema)).map_err(bad)
}
