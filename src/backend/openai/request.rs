//! A turn as a Chat Completions request.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use crate::backend::Ask;
use crate::config::{Model, TextModel};
use crate::turn::{AnswerFormat, Effort, Generation, Tool, ToolChoice};

use super::messages::{self, Sent};
use super::server::Spelling;

/// Members that are written here, or that would make of the answer what a session cannot take.
const RESERVED: &[&str] = &[
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "modalities",
    "model",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "seed",
    "service_tier",
    "stop",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

#[derive(Debug, Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Sent<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
    #[serde(flatten)]
    extra: Extra<'a>,
}

/// Members that go along as they are.
#[derive(Debug)]
struct Extra<'a> {
    members: &'a Map<String, Value>,
    /// Where callers' phone numbers stand, as dotted paths: those members stay here.
    private: &'a [String],
}

impl Serialize for Extra<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(None)?;
        for (name, value) in self.members {
            let is_private = self.private.iter().any(|path| path.split('.').next() == Some(name));
            if !is_private && !RESERVED.contains(&name.as_str()) {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

/// Writes the request for a turn.
pub(super) fn write(model: &Model, ask: &Ask, spelling: Spelling) -> serde_json::Result<Vec<u8>> {
    let TextModel { model_id, max_tokens, service_tier, .. } = &model.text;
    let Generation { tool_choice, .. } = &ask.request.generation;
    let generation = &ask.request.generation;
    let tools: Vec<_> = ask.request.tools.iter().map(tool).collect();
    let has_tools = !tools.is_empty();
    let limit = generation.max_tokens.or(max_tokens.map(std::num::NonZeroU32::get));
    let body = Body {
        model: model_id.as_deref().unwrap_or_default(),
        messages: messages::of(ask, spelling.thoughts),
        stream: true,
        stream_options: spelling.include_usage.then(|| json!({ "include_usage": true })),
        tools,
        tool_choice: choice(tool_choice).filter(|_| has_tools),
        parallel_tool_calls: generation.parallel_tool_calls.filter(|_| has_tools),
        max_completion_tokens: limit.filter(|_| spelling.newer_limit),
        max_tokens: limit.filter(|_| !spelling.newer_limit),
        temperature: generation.temperature,
        top_p: generation.top_p,
        top_k: generation.top_k,
        stop: &generation.stop,
        seed: generation.seed,
        frequency_penalty: generation.frequency_penalty,
        presence_penalty: generation.presence_penalty,
        response_format: format(&generation.format),
        reasoning_effort: generation.effort.map(effort),
        service_tier: generation.service_tier.as_deref().or(service_tier.as_deref()),
        extra: Extra { members: &generation.extra, private: &model.caller_fields },
    };
    serde_json::to_vec(&body)
}

fn tool(tool: &Tool) -> Value {
    let mut function = Map::new();
    function.insert("name".to_owned(), tool.name.clone().into());
    if let Some(description) = &tool.description {
        function.insert("description".to_owned(), description.clone().into());
    }
    if let Some(parameters) = &tool.parameters {
        function.insert("parameters".to_owned(), parameters.clone());
    }
    if let Some(strict) = tool.strict {
        function.insert("strict".to_owned(), strict.into());
    }
    json!({ "type": "function", "function": function })
}

fn choice(choice: &ToolChoice) -> Option<Value> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some("none".into()),
        ToolChoice::Required => Some("required".into()),
        ToolChoice::Named(name) => {
            Some(json!({ "type": "function", "function": { "name": name } }))
        }
    }
}

fn format(format: &AnswerFormat) -> Option<Value> {
    match format {
        AnswerFormat::Text => None,
        AnswerFormat::JsonObject => Some(json!({ "type": "json_object" })),
        AnswerFormat::JsonSchema(wanted) => {
            let mut schema = Map::new();
            schema.insert("name".to_owned(), wanted.name.clone().into());
            if let Some(description) = &wanted.description {
                schema.insert("description".to_owned(), description.clone().into());
            }
            schema.insert("schema".to_owned(), wanted.schema.clone());
            schema.insert("strict".to_owned(), wanted.strict.into());
            Some(json!({ "type": "json_schema", "json_schema": schema }))
        }
    }
}

fn effort(effort: Effort) -> &'static str {
    let name = Effort::NAMES.iter().find(|(_, known)| *known == effort);
    name.map_or("medium", |(name, _)| name)
}
