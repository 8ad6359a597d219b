//! Claude's own request format, as `InvokeModel` takes it: read into Converse's shape.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::emulator::refusal::Refusal;

use super::prompt::Prompt;
use super::rules::told;
use super::terms::ToolChoice;

/// What `anthropic_version` has to be on Bedrock.
const VERSION: &str = "bedrock-2023-05-31";

/// The members there are; any other is refused by its name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    anthropic_version: String,
    #[serde(default)]
    anthropic_beta: Option<Value>,
    #[serde(default)]
    context_management: Option<Value>,
    max_tokens: i64,
    messages: Vec<Message>,
    #[serde(default)]
    metadata: Option<Value>,
    #[serde(default)]
    output_config: Option<Value>,
    #[serde(default)]
    stop_sequences: Vec<String>,
    #[serde(default)]
    system: Option<Content>,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    thinking: Option<Value>,
    #[serde(default)]
    tool_choice: Option<Value>,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    top_k: Option<u64>,
    #[serde(default)]
    top_p: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Content,
}

/// A text, or blocks of it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<Value>),
}

impl Content {
    fn blocks(self) -> Vec<Value> {
        match self {
            Self::Text(text) => vec![json!({"type": "text", "text": text})],
            Self::Blocks(blocks) => blocks,
        }
    }
}

/// Reads a body.
///
/// # Errors
/// `ValidationException`
pub(super) fn prompt(body: &[u8]) -> Result<Prompt, Refusal> {
    let body: Body = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    if body.anthropic_version != VERSION {
        return Err(told("anthropic_version: Input should be 'bedrock-2023-05-31'"));
    }
    let mut documents = 0;
    let mut messages = Vec::new();
    for message in body.messages {
        let content = converted(message.content.blocks(), &mut documents)?;
        messages.push(json!({"role": message.role, "content": content}));
    }
    let system = converted(body.system.map(Content::blocks).unwrap_or_default(), &mut documents)?;
    let mut inference = json!({"maxTokens": body.max_tokens, "stopSequences": body.stop_sequences});
    for (name, value) in [("temperature", body.temperature), ("topP", body.top_p)] {
        if let Some(value) = value {
            inference[name] = json!(value);
        }
    }
    let mut fields = Map::new();
    for (name, value) in [
        ("anthropic_beta", body.anthropic_beta),
        ("context_management", body.context_management),
        ("metadata", body.metadata),
        ("thinking", body.thinking),
        ("tool_choice", body.tool_choice.clone()),
        ("top_k", body.top_k.map(|k| json!(k))),
    ] {
        fields.extend(value.map(|value| (name.to_owned(), value)));
    }
    let mut converse = json!({
        "messages": messages,
        "system": system,
        "inferenceConfig": inference,
        "additionalModelRequestFields": fields,
    });
    if let Some(output) = body.output_config.as_ref() {
        converse["outputConfig"] = output_config(output);
    }
    if !body.tools.is_empty() {
        converse["toolConfig"] = tool_config(&body.tools, body.tool_choice.as_ref())?;
    }
    let mut prompt: Prompt =
        serde_json::from_value(converse).map_err(|error| told(&error.to_string()))?;
    if body.tool_choice.is_some_and(|choice| choice["type"] == "none")
        && let Some(config) = &mut prompt.tool_config
    {
        config.tool_choice = Some(ToolChoice::None);
    }
    Ok(prompt)
}

/// The service's words for a body that the model cannot read.
pub(super) fn malformed(error: &serde_json::Error) -> Refusal {
    let text = error.to_string();
    let quoted = text.split('`').nth(1).unwrap_or_default();
    let why = match text.as_str() {
        text if text.starts_with("unknown field") => {
            format!("extraneous key [{quoted}] is not permitted")
        }
        text if text.starts_with("missing field") => format!("required key [{quoted}] not found"),
        text => text.to_owned(),
    };
    Refusal::validation(format!(
        "Malformed input request: {why}, please reformat your input and try again."
    ))
}

fn converted(blocks: Vec<Value>, documents: &mut usize) -> Result<Vec<Value>, Refusal> {
    let mut converted = Vec::new();
    for block in blocks {
        converted.push(self::block(&block, documents)?);
        converted.extend(cache_point(&block));
    }
    Ok(converted)
}

/// Claude marks the last block of a prefix, where Converse has a block after it.
fn cache_point(marked: &Value) -> Option<Value> {
    let control = marked.get("cache_control").filter(|control| control.is_object())?;
    let mut point = json!({"type": "default"});
    if let Some(ttl) = control.get("ttl") {
        point["ttl"] = ttl.clone();
    }
    Some(json!({"cachePoint": point}))
}

fn block(block: &Value, documents: &mut usize) -> Result<Value, Refusal> {
    let kind = block["type"].as_str().unwrap_or_default();
    Ok(match kind {
        "text" => json!({"text": block["text"]}),
        "image" => image(block)?,
        "document" => {
            *documents += 1;
            document(block, *documents)?
        }
        "thinking" => json!({"reasoningContent": {"reasoningText": {
            "text": block["thinking"], "signature": block["signature"],
        }}}),
        "redacted_thinking" => json!({"reasoningContent": {"redactedContent": block["data"]}}),
        "tool_use" => json!({"toolUse": {
            "toolUseId": block["id"], "name": block["name"], "input": block["input"],
        }}),
        "tool_result" => tool_result(block, documents)?,
        other => {
            return Err(told(&format!(
                "messages: Input tag '{other}' found using 'type' does not match any of the \
                 expected tags"
            )));
        }
    })
}

fn image(block: &Value) -> Result<Value, Refusal> {
    let source = &block["source"];
    let format = source["media_type"].as_str().and_then(|kind| kind.strip_prefix("image/"));
    let (Some(format), "base64") = (format, source["type"].as_str().unwrap_or_default()) else {
        return Err(told("messages.image.source: Input should be base64 with a media_type"));
    };
    Ok(json!({"image": {"format": format, "source": {"bytes": source["data"]}}}))
}

fn document(block: &Value, number: usize) -> Result<Value, Refusal> {
    let source = &block["source"];
    let (format, converted) = match source["type"].as_str() {
        Some("base64") if source["media_type"] == "application/pdf" => {
            ("pdf", json!({"bytes": source["data"]}))
        }
        Some("text") => ("txt", json!({"text": source["data"]})),
        _ => return Err(told("messages.document.source: Input should be a PDF or a text")),
    };
    // Titles are free here, names are not there.
    let plain = |letter: &char| letter.is_alphanumeric();
    let title: String = block["title"].as_str().unwrap_or_default().chars().filter(plain).collect();
    let name = format!("{} {number}", if title.is_empty() { "document" } else { &title });
    let mut document = json!({"format": format, "name": name, "source": converted});
    if block["citations"]["enabled"].is_boolean() {
        document["citations"] = json!({"enabled": block["citations"]["enabled"]});
    }
    Ok(json!({"document": document}))
}

fn tool_result(block: &Value, documents: &mut usize) -> Result<Value, Refusal> {
    let content = match &block["content"] {
        Value::String(text) if !text.is_empty() => vec![json!({"text": text})],
        Value::Array(blocks) if !blocks.is_empty() => converted(blocks.clone(), documents)?,
        // Only Claude's own format allows a result without content.
        _ => vec![json!({"text": "(nothing)"})],
    };
    let status = if block["is_error"] == true { "error" } else { "success" };
    Ok(json!({"toolResult": {
        "toolUseId": block["tool_use_id"], "content": content, "status": status,
    }}))
}

fn tool_config(tools: &[Value], choice: Option<&Value>) -> Result<Value, Refusal> {
    let mut converted = Vec::new();
    for tool in tools {
        let mut spec = json!({
            "name": tool["name"], "inputSchema": {"json": tool["input_schema"]},
        });
        if let Some(description) = tool.get("description") {
            spec["description"] = description.clone();
        }
        if let Some(strict) = tool.get("strict") {
            spec["strict"] = strict.clone();
        }
        converted.push(json!({"toolSpec": spec}));
        converted.extend(cache_point(tool));
    }
    let mut config = json!({"tools": converted});
    match choice.map(|choice| (choice["type"].as_str(), choice)) {
        None | Some((Some("none"), _)) => {}
        Some((Some("auto"), _)) => config["toolChoice"] = json!({"auto": {}}),
        Some((Some("any"), _)) => config["toolChoice"] = json!({"any": {}}),
        Some((Some("tool"), choice)) => {
            config["toolChoice"] = json!({"tool": {"name": choice["name"]}});
        }
        Some(_) => return Err(told("tool_choice.type: Input should be auto, any, tool or none")),
    }
    Ok(config)
}

fn output_config(output: &Value) -> Value {
    let mut config = json!({});
    if output["effort"].is_string() {
        config["effort"] = output["effort"].clone();
    }
    if output["format"]["type"] == "json_schema" {
        let schema = output["format"]["schema"].to_string();
        config["textFormat"] =
            json!({"type": "json_schema", "structure": {"jsonSchema": {"schema": schema}}});
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::models::prompt::Block;

    fn refused(body: &Value) -> String {
        prompt(body.to_string().as_bytes()).unwrap_err().message.into_owned()
    }

    #[test]
    fn a_body_is_read_with_everything_in_it() {
        let body = json!({
            "anthropic_version": VERSION, "max_tokens": 10, "system": "Be brief.",
            "tools": [{"name": "t", "input_schema": {"type": "object"},
                       "cache_control": {"type": "ephemeral"}}],
            "tool_choice": {"type": "none"},
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "tool_use", "id": "1", "name": "t", "input": {}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "1", "is_error": true},
                    {"type": "text", "text": "so?", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                ]},
            ],
        });
        let prompt = prompt(body.to_string().as_bytes()).unwrap();
        assert_eq!(prompt.system_texts().collect::<Vec<_>>(), ["Be brief."]);
        assert!(matches!(prompt.tool_choice(), Some(ToolChoice::None)));
        let [Block::ToolResult(result), Block::Text(text), Block::CachePoint(point)] =
            prompt.messages[2].content.as_slice()
        else {
            panic!("{:?}", prompt.messages[2])
        };
        assert_eq!((result.status.as_deref(), text.as_str()), (Some("error"), "so?"));
        assert_eq!(point.ttl.as_deref(), Some("1h"));
    }

    #[test]
    fn members_that_bedrock_does_not_know_are_named() {
        let body = json!({"anthropic_version": VERSION, "max_tokens": 1, "messages": []});
        let with = |name: &str, value: Value| {
            let mut body = body.clone();
            body[name] = value;
            body
        };
        assert!(refused(&with("model", json!("x"))).contains("extraneous key [model]"));
        assert!(refused(&with("stream", json!(true))).contains("extraneous key [stream]"));
        assert!(refused(&with("anthropic_version", json!("2023"))).contains("anthropic_version"));
        assert!(refused(&json!({"messages": []})).contains("required key [anthropic_version]"));
    }
}
