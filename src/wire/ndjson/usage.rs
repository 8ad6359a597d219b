//! Token usage as the completion line writes it.

use serde::Serialize;

use crate::turn::{CollaboratorUsage, Usage};

/// The `usage` member.
#[derive(Debug, Serialize)]
pub(super) struct UsageBody<'a> {
    input_tokens: u64,
    output_tokens: u64,
    /// The upstream did not tell, so the numbers are counted here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    estimated: bool,
    /// Whose the usage was, where several agents worked on the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    collaborators: Option<Vec<Share<'a>>>,
}

/// What one agent used; the one that was asked has no name.
#[derive(Debug, Serialize)]
struct Share<'a> {
    name: Option<&'a str>,
    input_tokens: u64,
    output_tokens: u64,
}

impl<'a> UsageBody<'a> {
    /// The usage of a turn, and whose it was where that is known.
    pub(super) fn new(usage: Usage, shares: Option<&'a [CollaboratorUsage]>) -> Self {
        let share = |share: &'a CollaboratorUsage| Share {
            name: share.collaborator.as_deref(),
            input_tokens: share.usage.input_tokens,
            output_tokens: share.usage.output_tokens,
        };
        Self {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            estimated: usage.estimated,
            collaborators: shares.map(|shares| shares.iter().map(share).collect()),
        }
    }
}
