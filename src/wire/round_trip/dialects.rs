//! Transcripts in the dialects whose clients resend them: the answers as the format's own writer
//! has them, all else as its clients write it.

use serde_json::{Map, Value, json};

use crate::turn::{CacheLife, Message, Part, Role, Status, Tool};
use crate::wire::{Options, WireFormat, claude, converse, openai_chat};

use super::{events, head};

/// A dialect whose clients resend the transcript.
pub(super) trait Dialect {
    fn format(&self) -> &'static dyn WireFormat;

    /// What of a message the dialect has words for.
    fn sayable(&self, message: &Message) -> Message {
        message.clone()
    }

    fn request(&self, messages: &[Message], tools: &[Tool]) -> Value;
}

fn ttl(life: CacheLife) -> &'static str {
    CacheLife::NAMES.iter().find(|(_, known)| *known == life).unwrap().0
}

fn mark(life: Option<CacheLife>) -> Map<String, Value> {
    let mark = |life| json!({ "type": "ephemeral", "ttl": ttl(life) });
    life.map(|life| ("cache_control".to_owned(), mark(life))).into_iter().collect()
}

/// The mark that stands behind so many parts of a message.
fn mark_after(message: &Message, parts: usize) -> Option<CacheLife> {
    message.cache_points.iter().find(|point| point.after == parts).map(|point| point.life)
}

fn with(mut value: Value, members: Map<String, Value>) -> Value {
    value.as_object_mut().unwrap().extend(members);
    value
}

/// What a format's own writer makes of an answer.
fn written(format: &dyn WireFormat, message: &Message, place: &str) -> Value {
    let whole = format.whole(&head(), Options::default(), &events(message));
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    whole.pointer(place).unwrap().clone()
}

/// The parts of a message, each with its mark.
fn parts(message: &Message, write: fn(&Part) -> Value) -> Vec<Value> {
    let parts = message.parts.iter().zip(1..);
    parts.map(|(part, nth)| with(write(part), mark(mark_after(message, nth)))).collect()
}

pub(super) struct OpenAis;

impl Dialect for OpenAis {
    fn format(&self) -> &'static dyn WireFormat {
        &openai_chat::OpenAiChat
    }

    /// Thoughts are shown and not taken back.
    fn sayable(&self, message: &Message) -> Message {
        Message { thoughts: Vec::new(), ..message.clone() }
    }

    fn request(&self, messages: &[Message], tools: &[Tool]) -> Value {
        let messages = messages.iter().map(|message| {
            let content = parts(message, |part| match part {
                Part::Text(text) => json!({ "type": "text", "text": text }),
                Part::Attachment { value, .. } => Value::clone(value),
            });
            let end = mark(mark_after(message, message.parts.len()));
            match message.role {
                Role::Assistant => with(written(self.format(), message, "/choices/0/message"), end),
                Role::Tool => with(
                    json!({
                        "role": "tool", "tool_call_id": message.tool_call_id, "content": content,
                        "is_error": message.status == Status::Failed,
                    }),
                    end,
                ),
                Role::User | Role::System => {
                    json!({ "role": message.role.as_str(), "content": content })
                }
            }
        });
        let tools = tools.iter().map(|tool| {
            let function = json!({
                "name": tool.name, "description": tool.description,
                "parameters": tool.parameters, "strict": tool.strict,
            });
            with(json!({ "type": "function", "function": function }), mark(tool.cache))
        });
        json!({ "messages": messages.collect::<Vec<_>>(), "tools": tools.collect::<Vec<_>>() })
    }
}

/// The bytes of an attachment of these tests, and its name where it is a file.
fn data(part: &Value) -> (&str, Option<&str>) {
    let url = part["image_url"]["url"].as_str().or(part["file"]["file_data"].as_str());
    (url.unwrap().split_once(',').unwrap().1, part["file"]["filename"].as_str())
}

/// Messages as the dialects have them whose results stand in messages of the user.
fn sides(messages: &[Message], write: impl Fn(&Message) -> Vec<Value>) -> Vec<Value> {
    let is_user = |message: &Message| message.role != Role::Assistant;
    let said: Vec<_> = messages.iter().filter(|message| message.role != Role::System).collect();
    let sides = said.chunk_by(|one, other| is_user(one) && is_user(other)).map(|side| {
        let role = if is_user(side[0]) { "user" } else { "assistant" };
        let content: Vec<_> = side.iter().flat_map(|message| write(message)).collect();
        json!({ "role": role, "content": content })
    });
    sides.collect()
}

pub(super) struct Claudes;

impl Claudes {
    fn part(part: &Part) -> Value {
        let value = match part {
            Part::Text(text) => return json!({ "type": "text", "text": text }),
            Part::Attachment { value, .. } => value,
        };
        let source = |media_type: &str, data: &str| json!({ "type": "base64", "media_type": media_type, "data": data });
        match data(value) {
            (data, None) => json!({ "type": "image", "source": source("image/png", data) }),
            (data, Some(name)) => {
                json!({ "type": "document", "title": name, "source": source("text/plain", data) })
            }
        }
    }

    fn blocks(message: &Message) -> Vec<Value> {
        let end = mark(mark_after(message, message.parts.len()));
        match message.role {
            Role::Assistant => {
                let blocks = written(&claude::Anthropic, message, "/content");
                let Value::Array(mut blocks) = blocks else { panic!() };
                let last = blocks.pop().unwrap();
                blocks.push(with(last, end));
                blocks
            }
            Role::Tool => {
                let content: Vec<_> = message.parts.iter().map(Self::part).collect();
                let result = json!({
                    "type": "tool_result", "tool_use_id": message.tool_call_id,
                    "content": content, "is_error": message.status == Status::Failed,
                });
                vec![with(result, end)]
            }
            Role::User | Role::System => parts(message, Self::part),
        }
    }
}

impl Dialect for Claudes {
    fn format(&self) -> &'static dyn WireFormat {
        &claude::Anthropic
    }

    fn request(&self, messages: &[Message], tools: &[Tool]) -> Value {
        let system = messages.iter().filter(|message| message.role == Role::System);
        let tools = tools.iter().map(|tool| {
            let told = json!({
                "name": tool.name, "description": tool.description,
                "input_schema": tool.parameters, "strict": tool.strict,
            });
            with(told, mark(tool.cache))
        });
        let system: Vec<_> = system.flat_map(Self::blocks).collect();
        let system = (!system.is_empty()).then(|| ("system".to_owned(), json!(system)));
        let body = json!({
            "messages": sides(messages, Self::blocks),
            "tools": tools.collect::<Vec<_>>(),
        });
        with(body, system.into_iter().collect())
    }
}

pub(super) struct Converses;

impl Converses {
    fn part(part: &Part) -> Value {
        let value = match part {
            Part::Text(text) => return json!({ "text": text }),
            Part::Attachment { value, .. } => value,
        };
        match data(value) {
            (bytes, None) => json!({ "image": { "format": "png", "source": { "bytes": bytes } } }),
            (bytes, Some(name)) => {
                let name = name.strip_suffix(".txt").unwrap();
                let source = json!({ "bytes": bytes });
                json!({ "document": { "format": "txt", "name": name, "source": source } })
            }
        }
    }

    fn point(life: Option<CacheLife>) -> Option<Value> {
        life.map(|life| json!({ "cachePoint": { "type": "default", "ttl": ttl(life) } }))
    }

    fn blocks(message: &Message) -> Vec<Value> {
        let end = Self::point(mark_after(message, message.parts.len()));
        match message.role {
            Role::Assistant => {
                let blocks = written(&converse::Converse, message, "/output/message/content");
                let Value::Array(mut blocks) = blocks else { panic!() };
                blocks.extend(end);
                blocks
            }
            Role::Tool => {
                let content: Vec<_> = message.parts.iter().map(Self::part).collect();
                let status = if message.status == Status::Failed { "error" } else { "success" };
                let result = json!({
                    "toolUseId": message.tool_call_id, "content": content, "status": status,
                });
                std::iter::once(json!({ "toolResult": result })).chain(end).collect()
            }
            Role::User | Role::System => {
                let parts = message.parts.iter().zip(1..);
                let marked = parts.flat_map(|(part, nth)| {
                    let point = Self::point(mark_after(message, nth));
                    std::iter::once(Self::part(part)).chain(point)
                });
                marked.collect()
            }
        }
    }
}

impl Dialect for Converses {
    fn format(&self) -> &'static dyn WireFormat {
        &converse::Converse
    }

    fn request(&self, messages: &[Message], tools: &[Tool]) -> Value {
        let system = messages.iter().filter(|message| message.role == Role::System);
        let tools = tools.iter().flat_map(|tool| {
            let spec = json!({
                "name": tool.name, "description": tool.description,
                "inputSchema": { "json": tool.parameters }, "strict": tool.strict,
            });
            std::iter::once(json!({ "toolSpec": spec })).chain(Self::point(tool.cache))
        });
        let system: Vec<_> = system.flat_map(Self::blocks).collect();
        let system = (!system.is_empty()).then(|| ("system".to_owned(), json!(system)));
        let body = json!({
            "messages": sides(messages, Self::blocks),
            "toolConfig": { "tools": tools.collect::<Vec<_>>() },
        });
        with(body, system.into_iter().collect())
    }
}
