//! A whole turn as one answer of Converse.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde_json::Value;

use crate::turn::{TurnEvent, Usage};
use crate::wire::blocks::{Block, End, Row};
use crate::wire::said::arguments;
use crate::wire::{Options, json_text};

use super::stop_reason;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    output: Output<'a>,
    stop_reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_model_response_fields: Option<ModelFields<'a>>,
    usage: UsageBody,
    metrics: Metrics,
}

#[derive(Debug, Serialize)]
struct Output<'a> {
    message: Message<'a>,
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Vec<Content<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Content<'a> {
    Text(&'a str),
    #[serde(rename = "reasoningContent")]
    Reasoning(Reasoning<'a>),
    #[serde(rename_all = "camelCase")]
    ToolUse {
        tool_use_id: &'a str,
        name: &'a str,
        input: Value,
    },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Reasoning<'a> {
    ReasoningText {
        text: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        signature: &'a str,
    },
    RedactedContent(String),
}

/// Members of the model's own answer that the request asked for.
#[derive(Debug, Serialize)]
pub(super) struct ModelFields<'a> {
    stop_sequence: &'a str,
}

impl<'a> ModelFields<'a> {
    /// What there is of those that the request asked for.
    pub(super) fn of(end: &'a End, options: Options) -> Option<Self> {
        let stop_sequence = end.stop_sequence.as_deref().filter(|_| options.tells_stop)?;
        Some(Self { stop_sequence })
    }
}

/// The `usage` member.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UsageBody {
    /// Without those that were read from a cache or written to it.
    input_tokens: u64,
    output_tokens: u64,
    total_tokens: u64,
    cache_read_input_tokens: u64,
    cache_write_input_tokens: u64,
}

impl From<Usage> for UsageBody {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.uncached_tokens(),
            output_tokens: usage.output_tokens,
            total_tokens: usage.total_tokens(),
            cache_read_input_tokens: usage.cached_input_tokens,
            cache_write_input_tokens: usage.cache_written_tokens,
        }
    }
}

/// The `metrics` member.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metrics {
    pub(super) latency_ms: u128,
}

/// How long a turn took, in milliseconds.
pub(super) fn latency(began: SystemTime, now: SystemTime) -> Metrics {
    Metrics { latency_ms: now.duration_since(began).unwrap_or_default().as_millis() }
}

/// Writes the turn.
pub(super) fn write(events: &[TurnEvent], options: Options, metrics: Metrics) -> Bytes {
    let row = Row::of(events);
    let content = row.blocks.iter().map(content).collect();
    let answer = Answer {
        output: Output { message: Message { role: "assistant", content } },
        stop_reason: stop_reason(&row.end),
        additional_model_response_fields: ModelFields::of(&row.end, options),
        usage: row.usage.into(),
        metrics,
    };
    let mut out = BytesMut::with_capacity(1_024);
    json_text::value(&answer, &mut out);
    out.freeze()
}

fn content<'a>(block: &'a Block<'_>) -> Content<'a> {
    match block {
        Block::Text(text) => Content::Text(text),
        Block::Thinking { text, signature } => {
            Content::Reasoning(Reasoning::ReasoningText { text, signature })
        }
        Block::Redacted(bytes) => {
            Content::Reasoning(Reasoning::RedactedContent(STANDARD.encode(bytes)))
        }
        Block::Call { id, name, arguments: text } => {
            Content::ToolUse { tool_use_id: id, name, input: arguments(text) }
        }
    }
}
