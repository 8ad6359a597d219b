//! The messages of a conversation in our own vocabulary.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

/// Who said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The operator's or the client's instructions (`system` and `developer`).
    System,
    /// The person.
    User,
    /// The agent or model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// The name in OpenAI's formats.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// How complete a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// Said to the end.
    #[default]
    Completed,
    /// Stopped on the way: holds what the client got of it.
    Interrupted,
    /// The turn failed on the way: holds what had come by then. Of a tool message: the tool
    /// reports an error.
    Failed,
}

impl Status {
    /// The name in replies: closed set.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Text.
    Text(String),
    /// Anything else (`image_url`, `file`, …), by its type and in the client's own spelling.
    Attachment {
        /// The part's type.
        kind: String,
        /// The part, whole.
        value: Arc<Value>,
    },
}

/// A place up to which the client wants its model to keep the prompt, so that a later one which
/// begins the same costs less. Changes nothing of what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePoint {
    /// How many parts of the message stand before it.
    pub after: usize,
    /// How long the prompt is to be kept.
    pub life: CacheLife,
}

/// How long a prompt is to be kept, counted from its last use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheLife {
    /// As long as every cache keeps one.
    #[default]
    FiveMinutes,
    /// Longer, which not every model has.
    Hour,
}

impl CacheLife {
    /// Every life with its name in requests.
    pub const NAMES: &'static [(&'static str, Self)] =
        &[("5m", Self::FiveMinutes), ("1h", Self::Hour)];
}

/// A call that the assistant made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The call's id.
    pub id: String,
    /// The function.
    pub name: String,
    /// Its arguments as JSON text.
    pub arguments: String,
    /// Whether a person has to agree to it.
    pub confirmation: Confirmation,
}

/// Whether a tool call needs the consent of a person, and what it then wants back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Confirmation {
    /// None: run it and send the result.
    #[default]
    None,
    /// Ask, and send the decision alone: the upstream runs it.
    Decision,
    /// Ask, and where the answer is yes run it and send the result.
    DecisionAndResult,
}

/// A block of a model's thinking, as its upstream wants it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thought {
    /// Thinking in the clear, and what proves to the upstream that it is its own.
    Text {
        /// The thinking.
        text: String,
        /// The upstream's signature of it.
        signature: Option<String>,
    },
    /// Thinking that the upstream shows to nobody, in its own spelling.
    Redacted(Bytes),
}

impl Thought {
    /// Roughly how many bytes it holds.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Text { text, signature } => {
                text.len() + signature.as_ref().map_or(0, String::len)
            }
            Self::Redacted(bytes) => bytes.len(),
        }
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// What was said, in order.
    pub parts: Vec<Part>,
    /// What the model thought before it said so; for the upstream that thought it.
    pub thoughts: Vec<Thought>,
    /// The calls an assistant message makes.
    pub tool_calls: Vec<ToolCall>,
    /// The call that a tool message answers.
    pub tool_call_id: Option<String>,
    /// Where the client wants the prompt kept, in order. Of an assistant and of a tool these stand
    /// behind the whole message.
    pub cache_points: Vec<CachePoint>,
    /// How complete it is.
    pub status: Status,
}

impl Message {
    /// A complete message of one text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            parts: vec![Part::Text(text.into())],
            thoughts: Vec::new(),
            tool_calls: Vec::new(),
            tool_call_id: None,
            cache_points: Vec::new(),
            status: Status::Completed,
        }
    }

    /// Marks its end as a place up to which the prompt is to be kept, if it says anything.
    pub fn keep_to_here(&mut self, life: CacheLife) {
        let after = self.parts.len();
        if after == 0 && self.tool_calls.is_empty() && self.tool_call_id.is_none() {
            return;
        }
        self.cache_points.retain(|point| point.after != after);
        self.cache_points.push(CachePoint { after, life });
    }

    /// Its texts, joined by blank lines; attachments are left out.
    #[must_use]
    pub fn plain_text(&self) -> String {
        Self::text_of(&self.parts)
    }

    /// The texts among some parts, joined in the same way.
    #[must_use]
    pub fn text_of(parts: &[Part]) -> String {
        let mut joined = String::new();
        for part in parts {
            let Part::Text(text) = part else { continue };
            if !joined.is_empty() {
                joined.push_str("\n\n");
            }
            joined.push_str(text);
        }
        joined
    }

    /// Whether it says nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let has_content = self.parts.iter().any(|part| match part {
            Part::Text(text) => !text.trim().is_empty(),
            Part::Attachment { .. } => true,
        });
        !has_content && self.tool_calls.is_empty()
    }

    /// Roughly how many bytes it holds, for the bounds on histories.
    #[must_use]
    pub fn weight(&self) -> usize {
        const FIXED: usize = 96;
        let parts: usize = self.parts.iter().map(part_weight).sum();
        let calls: usize = self.tool_calls.iter().map(call_weight).sum();
        let thoughts: usize = self.thoughts.iter().map(Thought::weight).sum();
        FIXED + parts + calls + thoughts
    }
}

fn part_weight(part: &Part) -> usize {
    match part {
        Part::Text(text) => text.len(),
        Part::Attachment { value, .. } => value.to_string().len(),
    }
}

fn call_weight(call: &ToolCall) -> usize {
    call.id.len() + call.name.len() + call.arguments.len()
}
