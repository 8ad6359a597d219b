//! How each format is asked for an answer: a line a way.

use serde_json::{Value, json};

use crate::broker::Broker;
use crate::client::{Reply, Request};
use crate::frames::EventFrame;

use super::QUESTION;

/// A way to ask, and the file that holds what is answered. Ways that are answered alike, byte by
/// byte, share a file.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) file: &'static str,
    /// `{}` stands for the model.
    path: &'static str,
    body: fn(&Question<'_>) -> Value,
}

/// What bodies are made of.
#[derive(Debug)]
struct Question<'a> {
    model: &'a str,
    options: &'a Value,
    is_sse: bool,
}

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const AGENT: &str = "/api/agent/stream";
const TO_OPENAI: &str = "/v1/chat/completions?target_format=openai";
const TO_CLAUDE: &str = "/v1/chat/completions?target_format=bedrock_claude";
const TO_TITAN: &str = "/v1/chat/completions?target_format=bedrock_titan";
const INVOKE: &str = "/model/{}/invoke";
const INVOKE_STREAM: &str = "/model/{}/invoke-with-response-stream";

/// Agents have tools of their own.
pub(super) const OF_AGENTS: &[Way] = &[
    Way::new("chat.sse", CHAT, chat_without_tools),
    Way::new("chat.json", CHAT, chat_without_tools),
    Way::new("agent.ndjson", AGENT, agent),
];

/// What comes of Bedrock's models, in every format.
pub(super) const OF_MODELS: &[Way] = &[
    Way::new("chat.sse", CHAT, chat),
    Way::new("chat.sse", TO_OPENAI, claude),
    Way::new("chat.json", CHAT, chat),
    Way::new("chat.json", TO_OPENAI, claude),
    Way::new("agent.ndjson", AGENT, agent),
    Way::new("claude.sse", MESSAGES, claude),
    Way::new("claude.sse", CHAT, claude),
    Way::new("claude.sse", TO_CLAUDE, chat),
    Way::new("claude.json", MESSAGES, claude),
    Way::new("claude.json", CHAT, claude),
    Way::new("claude.json", TO_CLAUDE, chat),
    Way::new("claude-invoke.jsonl", INVOKE_STREAM, claude),
    Way::new("claude-invoke.json", INVOKE, claude),
    Way::new("titan.sse", CHAT, titan),
    Way::new("titan.sse", TO_TITAN, chat_without_tools),
    Way::new("titan.json", CHAT, titan),
    Way::new("titan.json", TO_TITAN, chat_without_tools),
    Way::new("titan.json", INVOKE, titan),
    Way::new("titan-invoke.jsonl", INVOKE_STREAM, titan),
    Way::new("converse.jsonl", "/model/{}/converse-stream", converse),
    Way::new("converse.json", "/model/{}/converse", converse),
];

/// The formats hang on the events alone, so one shows what is read of another upstream.
pub(super) const OF_OPENAI: &[Way] =
    &[Way::new("chat.sse", CHAT, chat), Way::new("chat.json", CHAT, chat)];

impl Way {
    const fn new(file: &'static str, path: &'static str, body: fn(&Question<'_>) -> Value) -> Self {
        Self { file, path, body }
    }

    /// The question asked in this way; `options` are members of the extension `outcrop`.
    pub(super) fn request(&self, broker: &Broker, model: &str, options: &Value) -> Request {
        let is_sse = self.file.ends_with(".sse");
        let mut body = (self.body)(&Question { model, options, is_sse });
        // In other streams the path says so, and in some paths stands the model.
        if is_sse {
            body["stream"] = true.into();
        }
        if self.path.starts_with(CHAT) || self.path == MESSAGES {
            body["model"] = model.into();
        }
        broker.post(&self.path.replace("{}", model), &body)
    }

    /// What was answered, as the file has it.
    pub(super) async fn read(&self, reply: &mut Reply) -> String {
        if reply.status != 200 {
            assert_eq!(reply.header("content-type"), "application/json", "{self:?}");
            let status = format!("{} {}", reply.status, reply.header("x-amzn-errortype"));
            return format!("{}\n{}", status.trim_end(), text(reply).await);
        }
        let (_, extension) = self.file.rsplit_once('.').unwrap();
        let media_type = match extension {
            "sse" => "text/event-stream; charset=utf-8",
            "ndjson" => "application/x-ndjson; charset=utf-8",
            "json" => "application/json",
            _ => {
                let frames = EventFrame::all(reply).await;
                return frames.iter().map(|frame| frame.line() + "\n").collect();
            }
        };
        assert_eq!(reply.header("content-type"), media_type, "{self:?}");
        text(reply).await
    }
}

/// The body, with a line break at its end.
async fn text(reply: &mut Reply) -> String {
    let body = reply.text().await;
    assert!(reply.is_whole());
    let end = if body.ends_with('\n') { "" } else { "\n" };
    format!("{body}{end}")
}

/// The tools that are offered, each with the one argument that it takes.
const TOOLS: [(&str, &str); 2] = [("get_weather", "city"), ("get_time", "tz")];

fn tools(write: fn(&str, Value) -> Value) -> Value {
    let schema = |argument: &str| json!({ "type": "object", "properties": { argument: { "type": "string" } } });
    TOOLS.iter().map(|(name, argument)| write(name, schema(argument))).collect()
}

fn chat(question: &Question<'_>) -> Value {
    let mut body = chat_without_tools(question);
    body["tools"] = tools(
        |name, schema| json!({ "type": "function", "function": { "name": name, "parameters": schema } }),
    );
    body
}

fn chat_without_tools(question: &Question<'_>) -> Value {
    let messages = json!([{ "role": "user", "content": QUESTION }]);
    let mut body = json!({ "messages": messages, "outcrop": question.options });
    if question.is_sse {
        body["stream_options"] = json!({ "include_usage": true });
    }
    body
}

fn agent(question: &Question<'_>) -> Value {
    let mut body = question.options.clone();
    body["agent_id"] = question.model.into();
    body["input_text"] = QUESTION.into();
    body
}

fn claude(question: &Question<'_>) -> Value {
    json!({
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 1_000,
        "messages": [{ "role": "user", "content": QUESTION }],
        "tools": tools(|name, schema| json!({ "name": name, "input_schema": schema })),
        "outcrop": question.options,
    })
}

fn titan(question: &Question<'_>) -> Value {
    json!({ "inputText": QUESTION, "outcrop": question.options })
}

fn converse(question: &Question<'_>) -> Value {
    let tools = tools(
        |name, schema| json!({ "toolSpec": { "name": name, "inputSchema": { "json": schema } } }),
    );
    json!({
        "messages": [{ "role": "user", "content": [{ "text": QUESTION }] }],
        "toolConfig": { "tools": tools },
        "additionalModelRequestFields": { "outcrop": question.options },
    })
}
