//! A conversation in Converse's messages, repaired where Bedrock would refuse it.
//!
//! What the service insists on: the user speaks first, roles alternate, no text is blank, every
//! call is answered in the very next user message and nothing else is, ids of calls are unique,
//! and a document stands beside a text. What a client resends need not be so: turns are cut,
//! users speak where results were due, oldest messages are dropped. All of this is pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ConversationRole, Message as AwsMessage, ReasoningContentBlock,
    ReasoningTextBlock, ToolResultBlock, ToolResultContentBlock, ToolResultStatus, ToolUseBlock,
};
use serde_json::{Value, json};

use crate::turn::{CacheLife, CachePoint, Failure, Message, Part, Role, Status, Thought, ToolCall};

use super::attachment::Attachment;
use super::cache;
use super::families::Family;
use super::media::{Block, Media};
use super::names::{ToolNames, call_id};
use super::raw_json::RawJson;

/// Stands where the user said nothing, yet must have spoken.
const NOTHING_SAID: &str = "(no message)";
/// Stands where a call has no result, since something else came instead.
const NO_RESULT: &str = "(no result: the call was not carried out)";
/// Stands where a tool gave nothing.
const NO_OUTPUT: &str = "(no output)";
/// Stands beside a document that came without a word.
const SEE_DOCUMENT: &str = "See the document.";
/// Stands where something was shown earlier that cannot be shown to this model now.
const NOT_SHOWN: &str = "(an attachment that cannot be shown any more)";

/// All that one side says until the other speaks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub(super) role: ConversationRole,
    pub(super) blocks: Vec<ContentBlock>,
}

impl Said {
    /// The message as the service takes it.
    pub(super) fn message(self) -> Result<AwsMessage, Failure> {
        let message = AwsMessage::builder().role(self.role).set_content(Some(self.blocks));
        message.build().map_err(|_| Failure::internal())
    }
}

/// How a conversation is to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub(super) family: &'static Family,
    /// Whether calls and results are told as text: the model has no tools, or none now.
    pub(super) calls_as_text: bool,
    /// Whether the model gets its signed thoughts back.
    pub(super) thoughts: bool,
}

/// Writes a conversation.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    manner: Manner,
    media: Media<'a>,
    names: &'a mut ToolNames,
    json: &'a mut RawJson,
    said: Vec<Said>,
    /// How often each id of a call has come.
    ids: HashMap<String, usize>,
    /// Results that have been put behind their calls, by their place.
    placed: HashSet<usize>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        manner: Manner,
        media: Media<'a>,
        names: &'a mut ToolNames,
        json: &'a mut RawJson,
    ) -> Self {
        let (said, ids, placed) = (Vec::new(), HashMap::new(), HashSet::new());
        Self { manner, media, names, json, said, ids, placed }
    }

    /// Writes what was said before, and what is new.
    ///
    /// # Errors
    /// For an attachment of the new messages that cannot be sent; one that was said before is
    /// left out instead.
    pub(super) fn write(
        mut self,
        history: &[Arc<Message>],
        input: &[Message],
    ) -> Result<Vec<Said>, Failure> {
        let messages: Vec<&Message> = history.iter().map(AsRef::as_ref).chain(input).collect();
        for (at, message) in messages.iter().enumerate() {
            let is_new = at >= history.len();
            match message.role {
                // Instructions stand beside the conversation.
                Role::System => {}
                Role::User => self.user(message, is_new)?,
                Role::Assistant => {
                    self.assistant(message, is_new)?;
                    self.results(&messages, at, history.len())?;
                }
                Role::Tool if self.placed.contains(&at) => {}
                Role::Tool => self.stray_result(message),
            }
        }
        Ok(repaired(self.said))
    }

    fn push(&mut self, role: ConversationRole, blocks: Vec<ContentBlock>) {
        if blocks.is_empty() {
            return;
        }
        match self.said.last_mut() {
            Some(last) if last.role == role => last.blocks.extend(blocks),
            _ => self.said.push(Said { role, blocks }),
        }
    }

    fn user(&mut self, message: &Message, is_new: bool) -> Result<(), Failure> {
        let mut blocks = self.parts(message, is_new)?;
        if blocks.is_empty() {
            blocks.push(ContentBlock::Text(NOTHING_SAID.to_owned()));
        }
        self.push(ConversationRole::User, blocks);
        Ok(())
    }

    fn assistant(&mut self, message: &Message, is_new: bool) -> Result<(), Failure> {
        let mut blocks = Vec::new();
        if self.manner.thoughts {
            blocks.extend(message.thoughts.iter().filter_map(thought));
        }
        blocks.extend(self.parts(message, is_new)?);
        if self.manner.calls_as_text {
            blocks.extend(message.tool_calls.iter().map(call_as_text));
        } else {
            for call in &message.tool_calls {
                let nth = self.ids.get(&call.id).copied().unwrap_or_default();
                blocks.push(self.call(call, nth)?);
            }
        }
        // Thoughts alone are no answer.
        if blocks.iter().any(|block| !block.is_reasoning_content()) {
            blocks.extend(self.end_point(message)?);
            self.push(ConversationRole::Assistant, blocks);
        }
        Ok(())
    }

    fn call(&mut self, call: &ToolCall, nth: usize) -> Result<ContentBlock, Failure> {
        let block = ToolUseBlock::builder()
            .tool_use_id(call_id(&call.id, nth))
            .name(self.names.upstream(&call.name))
            .input(self.json.keep(&arguments(&call.arguments)));
        block.build().map(ContentBlock::ToolUse).map_err(|_| Failure::internal())
    }

    /// The results of the calls that the message at this place makes, all in one message.
    fn results(&mut self, messages: &[&Message], at: usize, new: usize) -> Result<(), Failure> {
        let mut blocks = Vec::new();
        let from = messages.get(at..).unwrap_or_default();
        let Some((asking, after)) = from.split_first() else { return Ok(()) };
        for call in &asking.tool_calls {
            let nth = self.ids.entry(call.id.clone()).or_default();
            let id = call_id(&call.id, *nth);
            *nth += 1;
            let found = result_of(after, call).map(|(ahead, result)| (at + 1 + ahead, result));
            let found = found.filter(|(place, _)| self.placed.insert(*place));
            let result = found.map(|(_, result)| result);
            let is_new = found.is_some_and(|(place, _)| place >= new);
            blocks.push(match self.manner.calls_as_text {
                true => result_as_text(&call.name, result),
                false => self.result(id, result, is_new)?,
            });
            if let Some(result) = result {
                blocks.extend(self.end_point(result)?);
            }
        }
        self.push(ConversationRole::User, blocks);
        Ok(())
    }

    fn result(
        &mut self,
        id: String,
        result: Option<&Message>,
        is_new: bool,
    ) -> Result<ContentBlock, Failure> {
        let has_failed = result.is_none_or(|result| result.status == Status::Failed);
        let is_rich = self.manner.family.reads.rich_results;
        let mut content = match result {
            None => vec![ToolResultContentBlock::Text(NO_RESULT.to_owned())],
            Some(result) => self.result_content(result, is_new)?,
        };
        if content.is_empty() {
            content.push(ToolResultContentBlock::Text(NO_OUTPUT.to_owned()));
        }
        if has_failed && !is_rich && result.is_some() {
            content.insert(0, ToolResultContentBlock::Text("The tool failed:".to_owned()));
        }
        let block = ToolResultBlock::builder()
            .tool_use_id(id)
            .set_content(Some(content))
            .set_status((has_failed && is_rich).then_some(ToolResultStatus::Error));
        block.build().map(ContentBlock::ToolResult).map_err(|_| Failure::internal())
    }

    fn result_content(
        &mut self,
        result: &Message,
        is_new: bool,
    ) -> Result<Vec<ToolResultContentBlock>, Failure> {
        let is_rich = self.manner.family.reads.rich_results;
        let mut content = Vec::new();
        for block in self.parts(result, is_new)? {
            match block {
                ContentBlock::Text(text) => content.push(ToolResultContentBlock::Text(text)),
                ContentBlock::Image(image) if is_rich => {
                    content.push(ToolResultContentBlock::Image(image));
                }
                ContentBlock::Document(document) if is_rich => {
                    content.push(ToolResultContentBlock::Document(document));
                }
                ContentBlock::Video(video) if is_rich => {
                    content.push(ToolResultContentBlock::Video(video));
                }
                _ if is_new => {
                    let message = "this model reads only text in tool results";
                    return Err(Failure::bad_field("messages", message));
                }
                _ => content.push(ToolResultContentBlock::Text(NOT_SHOWN.to_owned())),
            }
        }
        Ok(content)
    }

    /// A result whose call is not there any more.
    fn stray_result(&mut self, result: &Message) {
        let name = result.tool_call_id.as_deref().unwrap_or("a tool");
        self.push(ConversationRole::User, vec![result_as_text(name, Some(result))]);
    }

    fn parts(&mut self, message: &Message, is_new: bool) -> Result<Vec<ContentBlock>, Failure> {
        let mut blocks = Vec::with_capacity(message.parts.len());
        for (at, part) in message.parts.iter().enumerate() {
            self.points_before(message, at, &mut blocks)?;
            let (kind, value) = match part {
                Part::Text(text) if text.trim().is_empty() => continue,
                Part::Text(text) => {
                    blocks.push(ContentBlock::Text(text.clone()));
                    continue;
                }
                Part::Attachment { kind, value } => (kind, value),
            };
            let made = Attachment::read(kind, value).and_then(|read| self.media.block(&read));
            match made {
                Ok(Block::Text(text)) if text.trim().is_empty() => continue,
                Ok(block) => blocks.push(content_block(block)),
                Err(failure) if is_new => return Err(failure),
                Err(_) => blocks.push(ContentBlock::Text(NOT_SHOWN.to_owned())),
            }
        }
        self.points_before(message, message.parts.len(), &mut blocks)?;
        Ok(blocks)
    }

    /// The places of a user's message up to which the prompt is to be kept, of those that stand
    /// right before this part.
    fn points_before(
        &self,
        message: &Message,
        at: usize,
        blocks: &mut Vec<ContentBlock>,
    ) -> Result<(), Failure> {
        let is_here = |point: &&CachePoint| point.after == at && message.role == Role::User;
        let here = message.cache_points.iter().filter(is_here);
        // What stands before may say nothing that the model is told.
        let follows = blocks.last().is_some_and(|block| !block.is_cache_point());
        for point in here.take(usize::from(follows)) {
            blocks.extend(self.point(point.life)?);
        }
        Ok(())
    }

    /// The place at the end of a message of another, where the prompt is to be kept up to it.
    fn end_point(&self, message: &Message) -> Result<Option<ContentBlock>, Failure> {
        let last = message.cache_points.last();
        last.map_or(Ok(None), |point| self.point(point.life))
    }

    fn point(&self, life: CacheLife) -> Result<Option<ContentBlock>, Failure> {
        let point = cache::point(self.manner.family.cache, life)?;
        Ok(point.map(ContentBlock::CachePoint))
    }
}

/// Whether the turn goes on within the model's own: its calls wait for results, and the thoughts
/// that led to them are not there any more. A model that is to think on refuses that.
pub(super) fn lacks_thoughts(history: &[Arc<Message>], input: &[Message]) -> bool {
    let mut messages = history.iter().map(AsRef::as_ref).chain(input).rev();
    let last = messages.find(|message| message.role != Role::Tool);
    last.is_some_and(|message| {
        !message.tool_calls.is_empty() && !message.thoughts.iter().any(|t| thought(t).is_some())
    })
}

/// A thought that its model knows for its own; others it would refuse.
fn thought(thought: &Thought) -> Option<ContentBlock> {
    let block = match thought {
        Thought::Text { text, signature: Some(signature) } => {
            let block = ReasoningTextBlock::builder().text(text).signature(signature).build();
            ReasoningContentBlock::ReasoningText(block.ok()?)
        }
        Thought::Text { signature: None, .. } => return None,
        Thought::Redacted(bytes) => {
            ReasoningContentBlock::RedactedContent(Blob::new(bytes.to_vec()))
        }
    };
    Some(ContentBlock::ReasoningContent(block))
}

fn content_block(block: Block) -> ContentBlock {
    match block {
        Block::Text(text) => ContentBlock::Text(text),
        Block::Image(image) => ContentBlock::Image(image),
        Block::Document(document) => ContentBlock::Document(document),
        Block::Video(video) => ContentBlock::Video(video),
        Block::Audio(audio) => ContentBlock::Audio(audio),
    }
}

/// The arguments of a call as an object, which is all that the service takes: free text, and
/// arguments that were cut off, become its member `input`.
fn arguments(written: &str) -> Value {
    if written.trim().is_empty() {
        return json!({});
    }
    match serde_json::from_str(written) {
        Ok(Value::Object(members)) => Value::Object(members),
        Ok(other) => json!({ "input": other }),
        Err(_) => json!({ "input": written }),
    }
}

/// The result of a call and where among those `after` it, which is before the assistant speaks
/// again.
fn result_of<'m>(after: &[&'m Message], call: &ToolCall) -> Option<(usize, &'m Message)> {
    let after = after.iter().copied().enumerate();
    let mut until_next = after.take_while(|(_, message)| message.role != Role::Assistant);
    let answers = |message: &Message| {
        message.role == Role::Tool && message.tool_call_id.as_deref() == Some(call.id.as_str())
    };
    until_next.find(|(_, message)| answers(message))
}

fn call_as_text(call: &ToolCall) -> ContentBlock {
    let ToolCall { name, arguments, .. } = call;
    ContentBlock::Text(format!("[called {name} with {arguments}]"))
}

fn result_as_text(name: &str, result: Option<&Message>) -> ContentBlock {
    let said = result.map_or_else(|| NO_RESULT.to_owned(), Message::plain_text);
    let verb = match result.map(|result| result.status) {
        Some(Status::Failed) => "failed with",
        _ => "gave",
    };
    let said = if said.trim().is_empty() { NO_OUTPUT } else { said.as_str() };
    ContentBlock::Text(format!("[{name} {verb}: {said}]"))
}

/// Lets the user speak first, and puts a word beside documents.
fn repaired(mut said: Vec<Said>) -> Vec<Said> {
    if said.first().is_none_or(|first| first.role != ConversationRole::User) {
        let blocks = vec![ContentBlock::Text(NOTHING_SAID.to_owned())];
        said.insert(0, Said { role: ConversationRole::User, blocks });
    }
    for said in &mut said {
        let has_document = said.blocks.iter().any(ContentBlock::is_document);
        if has_document && !said.blocks.iter().any(ContentBlock::is_text) {
            said.blocks.push(ContentBlock::Text(SEE_DOCUMENT.to_owned()));
        }
    }
    said
}
