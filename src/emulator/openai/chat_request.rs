//! What a chat completions request says, checked about as strictly as OpenAI does.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::emulator::models::prompt::{Block, ResultBlock, ToolResult, ToolUse};
use crate::emulator::models::prompt::{Message, Prompt, Role, SystemBlock};
use crate::emulator::models::schema;
use crate::emulator::models::terms::Empty;
use crate::emulator::models::terms::{
    Inference, InputSchema, Named, OutputConfig, SchemaText, Structure, TextFormat, Tool,
    ToolChoice, ToolConfig, ToolSpec,
};

use super::parts;
use super::wrong::Wrong;

/// Stop texts, at most.
const MAX_STOPS: usize = 4;
/// The longest name of a function.
const MAX_NAME: usize = 64;

/// A request that makes sense.
#[derive(Debug)]
pub(super) struct Asked {
    /// The model, as it is called.
    pub(super) model: String,
    /// What the demo model is to read.
    pub(super) prompt: Prompt,
    /// Whether the text has to be a JSON object, of no particular shape.
    pub(super) wants_object: bool,
    /// Whether the model is to think.
    pub(super) thinks: bool,
    /// Whether the answer is to be streamed.
    pub(super) streams: bool,
    /// Whether a stream is to end with its usage.
    pub(super) tells_usage: bool,
    /// How many other tokens are told beside each, where it is told how likely they were.
    pub(super) logprobs: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct Body {
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
    model: String,
    messages: Vec<Sent>,
    max_completion_tokens: Option<i64>,
    max_tokens: Option<i64>,
    n: Option<u64>,
    parallel_tool_calls: Option<bool>,
    reasoning_effort: Option<String>,
    response_format: Option<Value>,
    stop: Option<Value>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    temperature: Option<f64>,
    tool_choice: Option<Value>,
    tools: Option<Vec<Value>>,
    top_p: Option<f64>,
    metadata: Option<Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Sent {
    role: String,
    content: Option<Value>,
    tool_calls: Option<Vec<SentCall>>,
    tool_call_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct SentCall {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    function: SentFunction,
}

#[derive(Debug, Deserialize)]
struct SentFunction {
    name: String,
    arguments: String,
}

/// Reads a request.
///
/// # Errors
/// 400, with the member that makes no sense.
pub(super) fn read(body: &[u8]) -> Result<Asked, Wrong> {
    let body: Body = serde_json::from_slice(body)
        .map_err(|error| Wrong::at("", format!("the body cannot be read: {error}")))?;
    check_numbers(&body)?;
    if body.messages.is_empty() {
        return Err(Wrong::at("messages", "Invalid 'messages': empty array."));
    }
    check_calls(&body.messages)?;
    let (output_config, wants_object) = format(&body)?;
    let (system, messages) = transcript(&body.messages)?;
    let mut prompt = Prompt {
        messages,
        system,
        inference_config: Inference {
            max_tokens: body.max_completion_tokens.or(body.max_tokens),
            stop_sequences: stops(body.stop.as_ref())?,
            ..Inference::default()
        },
        tool_config: tools(&body)?,
        output_config,
        ..Prompt::default()
    };
    if body.parallel_tool_calls == Some(false) {
        let choice = json!({"disable_parallel_tool_use": true});
        prompt.additional_model_request_fields.insert("tool_choice".to_owned(), choice);
    }
    let settings = body.metadata.into_iter().flatten();
    prompt.request_metadata =
        settings.filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect();
    Ok(Asked {
        model: body.model,
        prompt,
        wants_object,
        logprobs: (body.logprobs == Some(true)).then(|| body.top_logprobs.unwrap_or_default()),
        thinks: body.reasoning_effort.is_some_and(|effort| effort != "none"),
        streams: body.stream == Some(true),
        tells_usage: body.stream_options.is_some_and(|options| options.include_usage == Some(true)),
    })
}

fn check_numbers(body: &Body) -> Result<(), Wrong> {
    let within = |value: Option<f64>, most: f64| value.is_none_or(|v| (0.0..=most).contains(&v));
    let at_least_one = |value: Option<i64>| value.is_none_or(|value| value >= 1);
    let efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
    let effort = body.reasoning_effort.as_deref();
    for (holds, param, message) in [
        (within(body.temperature, 2.0), "temperature", "must be 0 to 2"),
        (within(body.top_p, 1.0), "top_p", "must be 0 to 1"),
        (at_least_one(body.max_tokens), "max_tokens", "must be at least 1"),
        (at_least_one(body.max_completion_tokens), "max_completion_tokens", "must be at least 1"),
        (
            body.top_logprobs.is_none_or(|top| top <= 20 && body.logprobs == Some(true)),
            "top_logprobs",
            "must be 0 to 20, with 'logprobs'",
        ),
        (body.n.is_none_or(|n| n == 1), "n", "only one choice is emulated"),
        (effort.is_none_or(|effort| efforts.contains(&effort)), "reasoning_effort", "is unknown"),
        (
            body.stream_options.is_none() || body.stream == Some(true),
            "stream_options",
            "is only allowed when 'stream' is enabled",
        ),
        (
            body.max_tokens.is_none() || body.max_completion_tokens.is_none(),
            "max_tokens",
            "and 'max_completion_tokens' cannot both be set",
        ),
    ] {
        if !holds {
            let message = format!("Invalid value: '{param}' {message}.");
            return Err(Wrong::at(param, message).coded("invalid_value"));
        }
    }
    Ok(())
}

/// Every call has its answer right after it, and nothing else is one.
fn check_calls(messages: &[Sent]) -> Result<(), Wrong> {
    let mut open: Vec<&str> = Vec::new();
    let mut may_answer = false;
    for (place, message) in messages.iter().enumerate() {
        let param = format!("messages.[{place}].role");
        if message.role == "tool" {
            let id = message.tool_call_id.as_deref().ok_or_else(|| {
                let param = format!("messages.[{place}].tool_call_id");
                Wrong::at(param, "Missing required parameter: 'tool_call_id'.")
            })?;
            if !may_answer {
                let message = "messages with role 'tool' must be a response to a preceding \
                               message with 'tool_calls'.";
                return Err(Wrong::at(param, format!("Invalid parameter: {message}")));
            }
            open.retain(|called| *called != id);
            continue;
        }
        if !open.is_empty() {
            return Err(unanswered(&open, place));
        }
        let calls = message.tool_calls.iter().flatten();
        open = calls.map(|call| call.id.as_str()).collect();
        may_answer = !open.is_empty();
        if may_answer && message.role != "assistant" {
            return Err(Wrong::at(param, "'tool_calls' belong to the assistant."));
        }
    }
    if open.is_empty() { Ok(()) } else { Err(unanswered(&open, messages.len())) }
}

fn unanswered(ids: &[&str], place: usize) -> Wrong {
    let message = format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to \
         each 'tool_call_id'. The following tool_call_ids did not have response messages: {}",
        ids.join(", "),
    );
    Wrong::at(format!("messages.[{place}].role"), message)
}

fn stops(stop: Option<&Value>) -> Result<Vec<String>, Wrong> {
    let stops = match stop {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![text.clone()],
        Some(other) => serde_json::from_value(other.clone())
            .map_err(|_| Wrong::at("stop", "'stop' is a string or a list of strings."))?,
    };
    if stops.len() > MAX_STOPS || stops.iter().any(String::is_empty) {
        return Err(Wrong::at("stop", "'stop' has 1 to 4 strings, none of them empty."));
    }
    Ok(stops)
}

/// The shape of the answer, and whether it is any JSON object.
fn format(body: &Body) -> Result<(OutputConfig, bool), Wrong> {
    let Some(format) = &body.response_format else { return Ok((OutputConfig::default(), false)) };
    match format["type"].as_str() {
        Some("text") => Ok((OutputConfig::default(), false)),
        Some("json_object") => {
            let said = body.messages.iter().filter_map(|message| message.content.as_ref());
            let is_told =
                said.map(Value::to_string).any(|text| text.to_lowercase().contains("json"));
            match is_told {
                true => Ok((OutputConfig::default(), true)),
                false => Err(Wrong::at(
                    "messages",
                    "'messages' must contain the word 'json' in some form, to use \
                     'response_format' of type 'json_object'.",
                )),
            }
        }
        Some("json_schema") => Ok((schema_format(&format["json_schema"])?, false)),
        _ => Err(Wrong::at("response_format.type", "Invalid value: 'response_format.type'.")),
    }
}

fn schema_format(told: &Value) -> Result<OutputConfig, Wrong> {
    let param = "response_format";
    let name = told["name"].as_str().unwrap_or_default();
    if !is_name(name) {
        return Err(Wrong::at(
            "response_format.json_schema.name",
            "'response_format.json_schema.name' has 1 to 64 of [a-zA-Z0-9_-].",
        ));
    }
    let given = &told["schema"];
    let bad = |why: String| {
        Wrong::at(param, format!("Invalid schema for response_format '{name}': {why}"))
            .coded("invalid_json_schema")
    };
    schema::check(given).map_err(bad)?;
    if told["strict"] == true {
        schema::check_closed(given).map_err(bad)?;
    }
    let structure = Structure::JsonSchema(SchemaText { schema: given.to_string() });
    let text_format = Some(TextFormat { kind: "json_schema".to_owned(), structure });
    Ok(OutputConfig { text_format, ..OutputConfig::default() })
}

fn is_name(name: &str) -> bool {
    let allows = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allows)
}

fn tools(body: &Body) -> Result<Option<ToolConfig>, Wrong> {
    let Some(given) = body.tools.as_ref().filter(|given| !given.is_empty()) else {
        return match &body.tool_choice {
            None => Ok(None),
            Some(choice) if choice == "none" => Ok(None),
            Some(_) => Err(Wrong::at(
                "tool_choice",
                "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are \
                 specified.",
            )),
        };
    };
    let mut specs = Vec::new();
    for (place, tool) in given.iter().enumerate() {
        let function = &tool["function"];
        let name = function["name"].as_str().unwrap_or_default();
        let param = format!("tools[{place}].function.name");
        if tool["type"] != "function" || !is_name(name) {
            return Err(Wrong::at(param, "a function has a name: 1 to 64 of [a-zA-Z0-9_-]."));
        }
        let parameters = function.get("parameters").cloned();
        let schema = parameters.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        let checked = schema::check(&schema).and_then(|()| match function["strict"] == true {
            true => schema::check_closed(&schema),
            false => Ok(()),
        });
        checked.map_err(|why| {
            let param = format!("tools[{place}].function.parameters");
            Wrong::at(param, format!("Invalid schema for function '{name}': {why}"))
                .coded("invalid_function_parameters")
        })?;
        specs.push(ToolSpec {
            name: name.to_owned(),
            description: function["description"].as_str().map(str::to_owned),
            input_schema: InputSchema::Json(schema),
            strict: function["strict"].as_bool(),
        });
    }
    let tool_choice = choice(body.tool_choice.as_ref(), &specs)?;
    let tools = specs.into_iter().map(Tool::Spec).collect();
    Ok(Some(ToolConfig { tools, tool_choice }))
}

fn choice(choice: Option<&Value>, tools: &[ToolSpec]) -> Result<Option<ToolChoice>, Wrong> {
    let Some(choice) = choice else { return Ok(None) };
    let named = choice["function"]["name"].as_str();
    match (choice.as_str(), named) {
        (Some("auto"), _) => Ok(None),
        (Some("none"), _) => Ok(Some(ToolChoice::None)),
        (Some("required"), _) => Ok(Some(ToolChoice::Any(Empty {}))),
        (None, Some(name)) if tools.iter().any(|tool| tool.name == name) => {
            Ok(Some(ToolChoice::Tool(Named { name: name.to_owned() })))
        }
        _ => Err(Wrong::at(
            "tool_choice",
            "Invalid value for 'tool_choice': it names none of the 'tools'.",
        )),
    }
}

/// The transcript in the demo model's words, messages of one side joined.
fn transcript(sent: &[Sent]) -> Result<(Vec<SystemBlock>, Vec<Message>), Wrong> {
    let (mut system, mut messages): (Vec<SystemBlock>, Vec<Message>) = (Vec::new(), Vec::new());
    for (place, message) in sent.iter().enumerate() {
        let (role, content) = match message.role.as_str() {
            "system" | "developer" => {
                let text = parts::text(message.content.as_ref(), place)?;
                system.push(SystemBlock::Text(text));
                continue;
            }
            "user" => (Role::User, parts::of_user(message.content.as_ref(), place)?),
            "assistant" => (Role::Assistant, assistant(message, place)?),
            "tool" => (Role::User, vec![result(message, place)?]),
            other => {
                let param = format!("messages[{place}].role");
                return Err(
                    Wrong::at(param, format!("Invalid value: '{other}'.")).coded("invalid_value")
                );
            }
        };
        match messages.last_mut() {
            Some(before) if before.role == role => before.content.extend(content),
            _ => messages.push(Message { role, content }),
        }
    }
    Ok((system, messages))
}

fn assistant(message: &Sent, place: usize) -> Result<Vec<Block>, Wrong> {
    let calls = message.tool_calls.as_deref().unwrap_or_default();
    let mut blocks = Vec::new();
    match message.content.as_ref().filter(|content| !content.is_null()) {
        Some(content) => blocks.push(Block::Text(parts::text(Some(content), place)?)),
        None if calls.is_empty() => {
            let param = format!("messages.[{place}].content");
            let message = "Invalid value for 'content': expected a string, got null.";
            return Err(Wrong::at(param, message));
        }
        None => {}
    }
    for call in calls {
        if call.kind != "function" || !is_name(&call.function.name) {
            let param = format!("messages[{place}].tool_calls");
            return Err(Wrong::at(param, "a call is one of a function with a name."));
        }
        let input = serde_json::from_str(&call.function.arguments).unwrap_or_else(|_| json!({}));
        blocks.push(Block::ToolUse(ToolUse {
            tool_use_id: call.id.clone(),
            name: call.function.name.clone(),
            input,
        }));
    }
    Ok(blocks)
}

fn result(message: &Sent, place: usize) -> Result<Block, Wrong> {
    let text = parts::text(message.content.as_ref(), place)?;
    Ok(Block::ToolResult(ToolResult {
        tool_use_id: message.tool_call_id.clone().unwrap_or_default(),
        content: vec![ResultBlock::Text(text)],
        status: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_sent_is_read_or_refused() {
        let body = r#"{"model":"m","stream":true,"stop":"x","messages":[{"role":"system","content":"é"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:image/gif;base64,R0lGODlh"}}]},{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"t","arguments":"{"}}]},{"role":"tool","tool_call_id":"1","content":"x"}],"tools":[{"type":"function","function":{"name":"t"}}],"tool_choice":"required"}"#;
        let asked = read(body.as_bytes()).unwrap();
        assert!(asked.streams && asked.prompt.messages.len() == 3);
        for place in 0..body.len() {
            assert!(read(&body.as_bytes()[..place]).is_err());
            for byte in [b'"', b'0', b' ', b'}', 0xff] {
                let mut changed = body.as_bytes().to_vec();
                changed[place] = byte;
                // Read or refused, either will do.
                let _ = read(&changed);
            }
        }
    }

    #[test]
    fn messages_of_one_side_are_joined() {
        let body = json!({"model": "m", "messages": [
            {"role": "user", "content": "one"}, {"role": "user", "content": "two"},
            {"role": "assistant", "content": "three", "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "t", "arguments": ""}},
            ]},
            {"role": "tool", "tool_call_id": "1", "content": "four"},
            {"role": "user", "content": "five"},
        ]});
        let asked = read(body.to_string().as_bytes()).unwrap();
        let texts: Vec<String> = asked.prompt.messages.iter().map(Message::text).collect();
        assert_eq!(texts, ["one\ntwo", "three", "five"]);
        assert_eq!(asked.prompt.messages[2].results().count(), 1);
    }
}
