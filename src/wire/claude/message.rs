//! A whole turn as one `message`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde_json::Value;

use crate::turn::{TurnEvent, Usage};
use crate::wire::blocks::{Block, Row};
use crate::wire::said::arguments;
use crate::wire::{Head, json_text};

use super::{message_id, stop_reason};

#[derive(Debug, Serialize)]
struct Message<'a> {
    id: String,
    r#type: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Content<'a>>,
    stop_reason: &'static str,
    stop_sequence: Option<&'a str>,
    usage: UsageBody,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content<'a> {
    Text { text: &'a str },
    Thinking { thinking: &'a str, signature: &'a str },
    RedactedThinking { data: String },
    ToolUse { id: &'a str, name: &'a str, input: Value },
}

/// The `usage` member.
#[derive(Debug, Serialize)]
pub(super) struct UsageBody {
    /// Without those that were read from a cache or written to it.
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    output_tokens: u64,
    /// The upstream did not tell, so the numbers are counted here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    estimated: bool,
}

impl From<Usage> for UsageBody {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.uncached_tokens(),
            cache_creation_input_tokens: usage.cache_written_tokens,
            cache_read_input_tokens: usage.cached_input_tokens,
            output_tokens: usage.output_tokens,
            estimated: usage.estimated,
        }
    }
}

/// Writes the turn.
pub(super) fn write(head: &Head, events: &[TurnEvent]) -> Bytes {
    let row = Row::of(events);
    let message = Message {
        id: message_id(head),
        r#type: "message",
        role: "assistant",
        model: head.model.as_str(),
        content: row.blocks.iter().map(content).collect(),
        stop_reason: stop_reason(&row.end),
        stop_sequence: row.end.stop_sequence.as_deref(),
        usage: row.usage.into(),
    };
    let mut out = BytesMut::with_capacity(1_024);
    json_text::value(&message, &mut out);
    out.freeze()
}

fn content<'a>(block: &'a Block<'_>) -> Content<'a> {
    match block {
        Block::Text(text) => Content::Text { text },
        Block::Thinking { text, signature } => Content::Thinking { thinking: text, signature },
        Block::Redacted(bytes) => Content::RedactedThinking { data: STANDARD.encode(bytes) },
        Block::Call { id, name, arguments: text } => {
            Content::ToolUse { id, name, input: arguments(text) }
        }
    }
}
