//! A whole turn as one result.

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use crate::turn::TurnEvent;
use crate::wire::blocks::{Block, Row};
use crate::wire::json_text;

use super::completion_reason;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    input_text_token_count: u64,
    results: [Answered; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    token_count: u64,
    output_text: String,
    completion_reason: &'static str,
}

/// Writes the turn.
pub(super) fn write(events: &[TurnEvent]) -> Bytes {
    let row = Row::of(events);
    let texts = row.blocks.iter().filter_map(|block| match block {
        Block::Text(text) => Some(text.as_str()),
        Block::Thinking { .. } | Block::Redacted(_) | Block::Call { .. } => None,
    });
    let answer = Answer {
        input_text_token_count: row.usage.input_tokens,
        results: [Answered {
            token_count: row.usage.output_tokens,
            output_text: texts.collect(),
            completion_reason: completion_reason(row.end.reason, row.end.is_stopped),
        }],
    };
    let mut out = BytesMut::with_capacity(512);
    json_text::value(&answer, &mut out);
    out.freeze()
}
