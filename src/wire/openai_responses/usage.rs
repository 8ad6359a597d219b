//! Token usage as a response writes it.

use serde::Serialize;

use crate::turn::{CollaboratorUsage, Usage};

/// The `usage` member.
#[derive(Debug, Serialize)]
pub(super) struct UsageBody<'a> {
    input_tokens: u64,
    input_tokens_details: InputDetails,
    output_tokens: u64,
    output_tokens_details: OutputDetails,
    total_tokens: u64,
    /// Ours: the upstream did not tell, so the numbers are counted here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    estimated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcrop: Option<Extras<'a>>,
}

#[derive(Debug, Serialize)]
struct InputDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Debug, Serialize)]
struct OutputDetails {
    reasoning_tokens: u64,
}

/// Whose the usage was, where several agents worked on the answer.
#[derive(Debug, Serialize)]
struct Extras<'a> {
    collaborators: Vec<Share<'a>>,
}

/// What one agent used; the one that was asked has no name.
#[derive(Debug, Serialize)]
struct Share<'a> {
    name: Option<&'a str>,
    input_tokens: u64,
    output_tokens: u64,
}

impl<'a> UsageBody<'a> {
    /// The usage of a turn, and whose it was.
    pub(super) fn new((usage, shares): (Usage, Option<&'a [CollaboratorUsage]>)) -> Self {
        let share = |share: &'a CollaboratorUsage| Share {
            name: share.collaborator.as_deref(),
            input_tokens: share.usage.input_tokens,
            output_tokens: share.usage.output_tokens,
        };
        let shares = shares.map(|shares| shares.iter().map(share).collect());
        Self {
            input_tokens: usage.input_tokens,
            input_tokens_details: InputDetails {
                cached_tokens: usage.cached_input_tokens,
                cache_write_tokens: usage.cache_written_tokens,
            },
            output_tokens: usage.output_tokens,
            output_tokens_details: OutputDetails { reasoning_tokens: usage.reasoning_tokens },
            total_tokens: usage.total_tokens(),
            estimated: usage.estimated,
            outcrop: shares.map(|collaborators| Extras { collaborators }),
        }
    }
}
