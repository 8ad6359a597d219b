//! A request that goes to the SDK, read back: what the model is told, in our own vocabulary.

use std::sync::Arc;

use aws_sdk_bedrockruntime::types::{
    CachePointBlock, CacheTtl, ContentBlock, ConversationRole, DocumentSource, ImageSource,
    ReasoningContentBlock, SystemContentBlock, Tool as AwsTool, ToolInputSchema, ToolResultBlock,
    ToolResultContentBlock, ToolResultStatus,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::super::call::{Call, Contents, prepare};
use super::super::families;
use crate::config::{Model, PromptCache};
use crate::turn::{
    CacheLife, Confirmation, Message, Part, Role, Status, Thought, Tool, ToolCall, TurnRequest,
};

/// Says a request to a model that can take all of it, and reads back what it is told: messages,
/// instructions first, and tools.
pub(crate) fn there_and_back(request: &TurnRequest) -> (Vec<Message>, Vec<Tool>) {
    const ABLE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    let mut model = Model::new("m".parse().unwrap(), "bedrock");
    model.text.model_id = Some(ABLE.to_owned());
    model.text.prompt_cache = PromptCache::Off;
    let said = request.messages.iter().filter(|message| message.role != Role::System);
    let said: Vec<_> = said.cloned().collect();
    let answers = said.iter().rposition(|message| message.role == Role::Assistant);
    let (history, input) = said.split_at(answers.map_or(0, |place| place + 1));
    let ask = super::ask(history.to_vec(), input.to_vec(), request.clone());
    let call = prepare(&model, families::of(ABLE), &ask, &Contents::new()).unwrap();
    let mut messages: Vec<_> = instructions(&call).into_iter().collect();
    for message in &call.messages {
        Side { call: &call, role: &message.role }.read(&message.content, &mut messages);
    }
    (messages, tools(&call))
}

fn life(point: &CachePointBlock) -> CacheLife {
    if point.ttl == Some(CacheTtl::OneHour) { CacheLife::Hour } else { CacheLife::FiveMinutes }
}

/// The instructions as one message.
fn instructions(call: &Call) -> Option<Message> {
    let mut told = Message { parts: Vec::new(), ..Message::text(Role::System, "") };
    for block in call.system.as_deref()? {
        match block {
            SystemContentBlock::Text(text) => told.parts.push(Part::Text(text.clone())),
            SystemContentBlock::CachePoint(point) => told.keep_to_here(life(point)),
            other => panic!("{other:?}"),
        }
    }
    Some(told)
}

fn tools(call: &Call) -> Vec<Tool> {
    let mut tools: Vec<Tool> = Vec::new();
    for tool in call.tools.iter().flat_map(|tools| &tools.tools) {
        match tool {
            AwsTool::ToolSpec(spec) => {
                let Some(ToolInputSchema::Json(schema)) = &spec.input_schema else { panic!() };
                tools.push(Tool {
                    name: spec.name.clone(),
                    description: spec.description.clone(),
                    parameters: Some(call.json.value(schema)),
                    strict: spec.strict,
                    cache: None,
                });
            }
            AwsTool::CachePoint(point) => tools.last_mut().unwrap().cache = Some(life(point)),
            other => panic!("{other:?}"),
        }
    }
    tools
}

/// What one side says until the other speaks.
struct Side<'a> {
    call: &'a Call,
    role: &'a ConversationRole,
}

impl Side<'_> {
    /// Results become messages of their own, before what the user says besides.
    fn read(&self, blocks: &[ContentBlock], messages: &mut Vec<Message>) {
        let is_user = *self.role == ConversationRole::User;
        let role = if is_user { Role::User } else { Role::Assistant };
        let mut own = Message { parts: Vec::new(), ..Message::text(role, "") };
        let results = messages.len();
        for block in blocks {
            match block {
                ContentBlock::ToolResult(result) => messages.push(read_result(result)),
                ContentBlock::ToolUse(used) => own.tool_calls.push(ToolCall {
                    id: used.tool_use_id.clone(),
                    name: used.name.clone(),
                    arguments: self.call.json.value(&used.input).to_string(),
                    confirmation: Confirmation::None,
                }),
                ContentBlock::ReasoningContent(block) => own.thoughts.push(thought(block)),
                ContentBlock::CachePoint(point) if own.is_empty() && messages.len() > results => {
                    messages.last_mut().unwrap().keep_to_here(life(point));
                }
                ContentBlock::CachePoint(point) => own.keep_to_here(life(point)),
                other => own.parts.push(part(other)),
            }
        }
        messages.extend(Some(own).filter(|own| !own.is_empty()));
    }
}

fn read_result(result: &ToolResultBlock) -> Message {
    let parts = result.content.iter().map(|content| match content {
        ToolResultContentBlock::Text(text) => Part::Text(text.clone()),
        ToolResultContentBlock::Image(image) => part(&ContentBlock::Image(image.clone())),
        other => panic!("{other:?}"),
    });
    let has_failed = result.status == Some(ToolResultStatus::Error);
    Message {
        parts: parts.collect(),
        tool_call_id: Some(result.tool_use_id.clone()),
        status: if has_failed { Status::Failed } else { Status::Completed },
        ..Message::text(Role::Tool, "")
    }
}

fn thought(block: &ReasoningContentBlock) -> Thought {
    match block {
        ReasoningContentBlock::ReasoningText(thought) => {
            Thought::Text { text: thought.text.clone(), signature: thought.signature.clone() }
        }
        ReasoningContentBlock::RedactedContent(sealed) => {
            Thought::Redacted(sealed.as_ref().to_vec().into())
        }
        other => panic!("{other:?}"),
    }
}

/// A text, or an attachment in OpenAI's spelling.
fn part(block: &ContentBlock) -> Part {
    let data = |media_type: &str, bytes: &[u8]| {
        format!("data:{media_type};base64,{}", STANDARD.encode(bytes))
    };
    let value = match block {
        ContentBlock::Text(text) => return Part::Text(text.clone()),
        ContentBlock::Image(image) => {
            let Some(ImageSource::Bytes(bytes)) = &image.source else { panic!() };
            let url = data(&format!("image/{}", image.format.as_str()), bytes.as_ref());
            json!({ "type": "image_url", "image_url": { "url": url } })
        }
        ContentBlock::Document(document) => {
            let Some(DocumentSource::Bytes(bytes)) = &document.source else { panic!() };
            assert_eq!(document.format.as_str(), "txt");
            let file_data = data("text/plain", bytes.as_ref());
            let filename = format!("{}.txt", document.name);
            json!({ "type": "file", "file": { "filename": filename, "file_data": file_data } })
        }
        other => panic!("{other:?}"),
    };
    let kind = value["type"].as_str().unwrap().to_owned();
    Part::Attachment { kind, value: Arc::new(value) }
}
