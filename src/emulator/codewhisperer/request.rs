//! What a conversation says, held to the service's rules.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::emulator::models::prompt::{
    Block, Media, Message, Prompt, ResultBlock, Role, SystemBlock, ToolResult, ToolUse,
};
use crate::emulator::models::terms::{InputSchema, Tool, ToolConfig, ToolSpec};

use super::Wrong;

/// Entries of a history, at most.
const MAX_HISTORY: usize = 10_000;
/// Images of a message, at most.
const MAX_IMAGES: usize = 10;
/// The longest name of a tool.
const MAX_NAME: usize = 64;
/// The longest description of a tool, in characters.
const MAX_DESCRIPTION: usize = 10_000;
/// Marks of instructions in the first message.
const MARKS: (&str, &str) = ("<instructions>\n", "\n</instructions>");

/// A request that makes sense.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) conversation: String,
    pub(super) model: Option<String>,
    pub(super) prompt: Prompt,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    conversation_state: State,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    conversation_id: Option<String>,
    chat_trigger_type: String,
    #[serde(default)]
    history: Vec<Entry>,
    current_message: Entry,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Entry {
    UserInputMessage(Said),
    AssistantResponseMessage(Answered),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    content: String,
    #[serde(default)]
    user_input_message_context: Context,
    #[serde(default)]
    /// In the shape that Converse has for them.
    images: Vec<Media>,
    model_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Context {
    tool_results: Vec<Returned>,
    tools: Vec<Offered>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Returned {
    tool_use_id: String,
    content: Vec<ResultBlock>,
    status: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Offered {
    tool_specification: Specification,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Specification {
    name: String,
    description: Option<String>,
    input_schema: InputSchema,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    content: String,
    #[serde(default)]
    tool_uses: Vec<Used>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Used {
    tool_use_id: String,
    name: String,
    input: Value,
}

/// Reads a request.
///
/// # Errors
/// As the service: `ValidationException`, mostly without saying why.
pub(super) fn read(body: &[u8]) -> Result<Asked, Wrong> {
    let body: Body = serde_json::from_slice(body).map_err(|_| Wrong::improper())?;
    let State { conversation_id, chat_trigger_type, mut history, current_message } =
        body.conversation_state;
    let Entry::UserInputMessage(current) = &current_message else { return Err(Wrong::improper()) };
    let model = current.model_id.clone();
    let config = tools(current)?;
    history.push(current_message);
    let is_proper = chat_trigger_type == "MANUAL" && is_proper(&history, config.as_ref());
    if !is_proper {
        return Err(Wrong::improper());
    }
    let messages: Vec<Message> = history.into_iter().map(message).collect();
    let mut prompt = Prompt { messages, tool_config: config, ..Prompt::default() };
    take_instructions(&mut prompt);
    let conversation = conversation_id.unwrap_or_else(|| Uuid::new_v4().hyphenated().to_string());
    Ok(Asked { conversation, model, prompt })
}

fn tools(current: &Said) -> Result<Option<ToolConfig>, Wrong> {
    let offered = &current.user_input_message_context.tools;
    let mut names = HashSet::new();
    for Offered { tool_specification: spec } in offered {
        let about = spec.description.as_deref().unwrap_or_default();
        let is_fine = (1..=MAX_NAME).contains(&spec.name.len())
            && names.insert(&spec.name)
            && (1..=MAX_DESCRIPTION).contains(&about.chars().count());
        if !is_fine {
            let message = "A tool specification is not valid.";
            return Err(Wrong::invalid(message, Some("TOOL_SPECIFICATION_INVALID")));
        }
    }
    let tools = offered.iter().map(|Offered { tool_specification: spec }| {
        Tool::Spec(ToolSpec {
            strict: None,
            name: spec.name.clone(),
            description: spec.description.clone(),
            input_schema: spec.input_schema.clone(),
        })
    });
    let tools: Vec<Tool> = tools.collect();
    Ok((!tools.is_empty()).then_some(ToolConfig { tools, tool_choice: None }))
}

/// Whether the entries are as the service wants them; the last is the current message.
fn is_proper(entries: &[Entry], config: Option<&ToolConfig>) -> bool {
    let declared: HashSet<&str> = config
        .iter()
        .flat_map(|config| &config.tools)
        .filter_map(|tool| match tool {
            Tool::Spec(spec) => Some(spec.name.as_str()),
            Tool::System(_) | Tool::CachePoint(_) => None,
        })
        .collect();
    let mut open: HashSet<&str> = HashSet::new();
    let last = entries.len() - 1;
    entries.len() <= MAX_HISTORY
        && entries.iter().enumerate().all(|(place, entry)| match entry {
            Entry::UserInputMessage(said) => {
                let context = &said.user_input_message_context;
                let results: HashSet<&str> =
                    context.tool_results.iter().map(|result| &*result.tool_use_id).collect();
                let answers = results == std::mem::take(&mut open);
                let has_tools = !context.tools.is_empty();
                place % 2 == 0
                    && !said.content.is_empty()
                    && answers
                    && (place == last || !has_tools)
                    && said.images.len() <= MAX_IMAGES
                    && context.tool_results.iter().all(|result| !result.content.is_empty())
            }
            Entry::AssistantResponseMessage(answered) => {
                open = answered.tool_uses.iter().map(|used| &*used.tool_use_id).collect();
                place % 2 == 1
                    && !answered.content.is_empty()
                    && open.len() == answered.tool_uses.len()
                    && answered
                        .tool_uses
                        .iter()
                        .all(|used| used.input.is_object() && declared.contains(used.name.as_str()))
            }
        })
}

fn message(entry: Entry) -> Message {
    let mut content = Vec::new();
    // A space stands where nothing is said.
    let spoken = |text: String| (!text.trim().is_empty()).then_some(Block::Text(text));
    match entry {
        Entry::UserInputMessage(said) => {
            let results = said.user_input_message_context.tool_results.into_iter();
            content.extend(results.map(|result| {
                Block::ToolResult(ToolResult {
                    tool_use_id: result.tool_use_id,
                    content: result.content,
                    status: result.status,
                })
            }));
            content.extend(said.images.into_iter().map(Block::Image));
            content.extend(spoken(said.content));
            Message { role: Role::User, content }
        }
        Entry::AssistantResponseMessage(answered) => {
            content.extend(spoken(answered.content));
            content.extend(answered.tool_uses.into_iter().map(|used| {
                let Used { tool_use_id, name, input } = used;
                Block::ToolUse(ToolUse { tool_use_id, name, input })
            }));
            Message { role: Role::Assistant, content }
        }
    }
}

/// What stands between marks in the first message is not a part of what is said.
fn take_instructions(prompt: &mut Prompt) {
    let first = prompt.messages.first_mut().into_iter().flat_map(|first| &mut first.content);
    let Some(text) = { first }.find_map(|block| match block {
        Block::Text(text) => Some(text),
        _ => None,
    }) else {
        return;
    };
    let Some((told, said)) = text.strip_prefix(MARKS.0).and_then(|text| text.split_once(MARKS.1))
    else {
        return;
    };
    prompt.system.push(SystemBlock::Text(told.to_owned()));
    *text = said.trim_start().to_owned();
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(history: Value, current: Value) -> Value {
        json!({"conversationState": {
            "conversationId": "c", "chatTriggerType": "MANUAL", "history": history,
            "currentMessage": {"userInputMessage": current},
        }})
    }

    fn is_taken(history: Value, current: Value) -> bool {
        read(body(history, current).to_string().as_bytes()).is_ok()
    }

    fn user(text: &str) -> Value {
        json!({"userInputMessage": {"content": text}})
    }

    fn assistant(text: &str, uses: Value) -> Value {
        json!({"assistantResponseMessage": {"content": text, "toolUses": uses}})
    }

    #[test]
    fn a_conversation_is_held_to_the_services_rules() {
        let now = json!({"content": "x"});
        assert!(is_taken(json!([]), now.clone()));
        assert!(is_taken(json!([user("a"), assistant("b", json!([]))]), now.clone()));
        assert!(!is_taken(json!([user("a")]), now.clone()), "sides must alternate");
        assert!(!is_taken(json!([assistant("b", json!([]))]), now.clone()));
        assert!(!is_taken(json!([]), json!({"content": ""})), "something must be said");
        let result = json!({"toolResults": [{"toolUseId": "1", "content": [{"text": "x"}]}]});
        let stray = json!({"content": " ", "userInputMessageContext": result});
        assert!(!is_taken(json!([]), stray), "a result needs its call");
    }

    #[test]
    fn calls_are_of_tools_that_are_offered_now_and_all_are_answered() {
        let called = json!([{"toolUseId": "1", "name": "look", "input": {}}]);
        let history = || json!([user("a"), assistant(" ", called.clone())]);
        let current = |results: Value, tool: &str| {
            let tool = json!({"toolSpecification": {
                "name": tool, "description": "x", "inputSchema": {"json": {"type": "object"}},
            }});
            json!({"content": " ", "userInputMessageContext": {
                "toolResults": results, "tools": [tool],
            }})
        };
        let result = json!([{"toolUseId": "1", "content": [{"text": "x"}], "status": "success"}]);
        assert!(is_taken(history(), current(result.clone(), "look")));
        assert!(!is_taken(history(), current(json!([]), "look")));
        assert!(!is_taken(history(), current(result, "other")));
    }

    #[test]
    fn instructions_are_taken_out_of_the_first_message() {
        let said = json!({"content": "<instructions>\nBe kind.\n</instructions>\n\nsay: hi"});
        let asked = read(body(json!([]), said).to_string().as_bytes()).unwrap();
        assert_eq!(asked.prompt.system_texts().collect::<Vec<_>>(), ["Be kind."]);
        assert_eq!(asked.prompt.last_words(), "say: hi");
    }
}
