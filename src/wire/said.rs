//! What was said before, as formats send it whose messages are lists of blocks: Anthropic's, and
//! Bedrock's Converse.
//!
//! There, results of tools stand in messages of the user, and thinking in those of the
//! assistant. Here a result is a message of its own. What an assistant said in several blocks
//! around its calls is one text, as the session holds it; so a transcript that comes back is
//! recognised.

use std::collections::HashSet;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::turn::{
    CacheLife, Confirmation, Failure, FailureKind, Message, Part, Role, Status, Thought, ToolCall,
};

use super::body::wrong;
use super::bounded::Allowance;

/// Messages in one request.
pub(super) const MAX_MESSAGES: usize = 10_000;
/// Blocks in one message, or in one result.
pub(super) const MAX_BLOCKS_AT_ONCE: usize = 2_000;
/// Blocks in one request.
const MAX_BLOCKS: usize = 40_000;
/// Attachments in one request.
const MAX_ATTACHMENTS: usize = 1_000;
/// Results in a row: as many as tools can be offered.
const MAX_RESULTS: usize = 128;

/// A block in our own vocabulary.
#[derive(Debug)]
pub(super) enum Said {
    Text(String),
    /// A picture, document or the like, in OpenAI's spelling.
    Attachment(Value),
    Call(ToolCall),
    Result {
        call: String,
        parts: Vec<Said>,
        failed: bool,
    },
    Thought(Thought),
    /// The prompt is to be kept up to here.
    Point(CacheLife),
}

/// The messages of one request, taken one after the other.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    messages: Vec<Message>,
    allowance: Allowance,
    blocks: usize,
    attachments: usize,
    /// The calls that have a result since the assistant last spoke.
    answered: HashSet<String>,
}

impl Transcript {
    /// What the JSON that is kept of the request may still add up to.
    pub(super) fn allowance(&mut self) -> &mut Allowance {
        &mut self.allowance
    }

    /// Counts a block before it is read; `at` is its place in the request.
    ///
    /// # Errors
    /// [`FailureKind::BadRequest`] when there are too many.
    pub(super) fn count(&mut self, at: &str) -> Result<(), Failure> {
        self.blocks += 1;
        if self.blocks > MAX_BLOCKS {
            return Err(wrong(at, &format!("is one of more than {MAX_BLOCKS} blocks; send fewer")));
        }
        Ok(())
    }

    /// Takes a message; `at` is its place in the request.
    ///
    /// # Errors
    /// [`FailureKind::BadRequest`] for a block that has no place in a message of this role, a
    /// second result of one call, or too much of anything.
    pub(super) fn push(&mut self, at: &str, role: Role, said: Vec<Said>) -> Result<(), Failure> {
        let mut message = Message { parts: Vec::new(), ..Message::text(role, "") };
        if role == Role::Assistant {
            self.answered.clear();
        }
        let mut results: Vec<Message> = Vec::new();
        for (index, block) in said.into_iter().enumerate() {
            let misplaced = |what: &str| {
                let why = format!("{what} has no place in a message of this role");
                wrong(format!("{at}.content[{index}]"), &why)
            };
            match block {
                // What came last is what it stands behind.
                Said::Point(life) => match results.last_mut() {
                    Some(result) if message.parts.is_empty() => result.keep_to_here(life),
                    _ => message.keep_to_here(life),
                },
                Said::Text(text) if text.is_empty() => {}
                Said::Text(text) => put_text(&mut message, text),
                Said::Attachment(value) => message.parts.push(self.attachment(at, value)?),
                Said::Call(_) | Said::Thought(_) if role != Role::Assistant => {
                    return Err(misplaced("a call of a tool, or thinking,"));
                }
                Said::Call(call) => message.tool_calls.push(call),
                Said::Thought(thought) => message.thoughts.push(thought),
                Said::Result { .. } if role != Role::User => {
                    return Err(misplaced("a result of a tool"));
                }
                Said::Result { call, parts, failed } => {
                    let place = format!("{at}.content[{index}]");
                    results.push(self.result(&place, call, parts, failed)?);
                }
            }
        }
        let is_only_results = !results.is_empty() && message.parts.is_empty();
        self.messages.append(&mut results);
        if !is_only_results {
            self.messages.push(message);
        }
        Ok(())
    }

    fn result(
        &mut self,
        at: &str,
        call: String,
        said: Vec<Said>,
        failed: bool,
    ) -> Result<Message, Failure> {
        if !self.answered.insert(call.clone()) {
            return Err(wrong(at, "is a second result of one call: a call has one result"));
        }
        if self.answered.len() > MAX_RESULTS {
            return Err(wrong(at, &format!("is more than {MAX_RESULTS} tool results in a row")));
        }
        let mut parts = Vec::with_capacity(said.len());
        let mut kept = None;
        for block in said {
            match block {
                Said::Point(life) => kept = Some(life),
                Said::Text(text) if !text.is_empty() => parts.push(Part::Text(text)),
                Said::Attachment(value) => parts.push(self.attachment(at, value)?),
                Said::Text(_) | Said::Call(_) | Said::Thought(_) | Said::Result { .. } => {}
            }
        }
        let status = if failed { Status::Failed } else { Status::Completed };
        let tool_call_id = Some(call);
        let mut result = Message { parts, tool_call_id, status, ..Message::text(Role::Tool, "") };
        kept.into_iter().for_each(|life| result.keep_to_here(life));
        Ok(result)
    }

    fn attachment(&mut self, at: &str, value: Value) -> Result<Part, Failure> {
        self.attachments += 1;
        if self.attachments > MAX_ATTACHMENTS {
            let why = format!("holds more than {MAX_ATTACHMENTS} attachments; send fewer");
            return Err(wrong(at, &why));
        }
        let kind = value["type"].as_str().unwrap_or_default().to_owned();
        Ok(Part::Attachment { kind, value: value.into() })
    }

    /// All of it. A request that ends its session (`may_be_silent`) may say nothing.
    ///
    /// # Errors
    /// [`FailureKind::BadRequest`] when there is nothing to answer: no message, or a last word
    /// that is blank.
    pub(super) fn finish(self, may_be_silent: bool) -> Result<Vec<Message>, Failure> {
        let messages = self.messages;
        let has_result = messages.iter().any(|message| message.role == Role::Tool);
        if has_result || may_be_silent {
            return Ok(messages);
        }
        let last = messages.iter().rfind(|message| message.role == Role::User);
        match last {
            None if messages.iter().all(|message| message.role == Role::System) => {
                Err(Failure::bad_field("messages", "messages must hold at least one message"))
            }
            Some(message) if message.is_empty() => {
                let message = "the last message of the user is blank: nothing is asked";
                Err(Failure::bad_field("messages", message))
            }
            _ => Ok(messages),
        }
    }
}

/// Texts of an assistant are pieces of one; those of others are parts.
fn put_text(message: &mut Message, text: String) {
    match message.parts.last_mut() {
        Some(Part::Text(before)) if message.role == Role::Assistant => before.push_str(&text),
        _ => message.parts.push(Part::Text(text)),
    }
}

/// A call as the assistant made it; its input must be an object.
///
/// # Errors
/// Says what is wrong with the input, fit for a client.
pub(super) fn call(
    id: String,
    name: String,
    input: Option<&RawValue>,
    allowance: &mut Allowance,
) -> Result<Said, &'static str> {
    let arguments = match input {
        Some(input) => allowance.object(input)?.to_string(),
        None => "{}".to_owned(),
    };
    Ok(Said::Call(ToolCall { id, name, arguments, confirmation: Confirmation::None }))
}

/// Arguments of a call as a value: upstreams write objects, and what is none is kept as text.
pub(super) fn arguments(text: &str) -> Value {
    if text.trim().is_empty() {
        return json!({});
    }
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => value,
        _ => json!({ "_raw": text }),
    }
}

/// Content in base64 as a URL.
pub(super) fn data_url(media_type: &str, base64: &str) -> String {
    format!("data:{media_type};base64,{base64}")
}

/// A picture behind a URL, in OpenAI's spelling.
pub(super) fn picture(url: &str) -> Said {
    Said::Attachment(json!({ "type": "image_url", "image_url": { "url": url } }))
}

/// A film behind a URL, in the spelling that OpenAI's format has for pictures.
pub(super) fn film(url: &str) -> Said {
    Said::Attachment(json!({ "type": "video_url", "video_url": { "url": url } }))
}

/// A recording in base64, in OpenAI's spelling.
pub(super) fn recording(format: &str, base64: &str) -> Said {
    let audio = json!({ "data": base64, "format": format });
    Said::Attachment(json!({ "type": "input_audio", "input_audio": audio }))
}

/// A document by a URL, in OpenAI's spelling.
pub(super) fn document(name: &str, url: &str) -> Said {
    let member = if url.starts_with("data:") { "file_data" } else { "file_url" };
    Said::Attachment(json!({ "type": "file", "file": { "filename": name, member: url } }))
}

/// A refusal of a block that nobody behind the broker could take.
pub(super) fn unknown_block(at: &str, kind: &str) -> Failure {
    let shown: String = kind.chars().filter(|c| !c.is_control()).take(40).collect();
    let message = format!("{at}: blocks of type \"{shown}\" are not taken");
    Failure::new(FailureKind::UnsupportedParameter, message).at(at.to_owned())
}
