//! Token usage as the chat format writes it.

use serde::Serialize;

use crate::turn::{CollaboratorUsage, Usage};

/// The `usage` member.
#[derive(Debug, Serialize)]
pub(super) struct UsageBody<'a> {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
    /// Ours: the upstream did not tell, so the numbers are counted here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    estimated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcrop: Option<UsageExtras<'a>>,
}

#[derive(Debug, Serialize)]
struct PromptDetails {
    cached_tokens: u64,
    /// OpenAI's name of what was written to a cache.
    #[serde(skip_serializing_if = "is_zero")]
    cache_write_tokens: u64,
    /// LiteLLM's name of the same.
    #[serde(skip_serializing_if = "is_zero")]
    cache_creation_tokens: u64,
    audio_tokens: u64,
}

#[derive(Debug, Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
    audio_tokens: u64,
    accepted_prediction_tokens: u64,
    rejected_prediction_tokens: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(tokens: &u64) -> bool {
    *tokens == 0
}

impl<'a> UsageBody<'a> {
    /// The usage of a turn, and whose it was where several agents worked on it.
    pub(super) fn new(usage: Usage, shares: Option<&'a [CollaboratorUsage]>) -> Self {
        Self {
            prompt_tokens: usage.input_tokens,
            completion_tokens: usage.output_tokens,
            total_tokens: usage.total_tokens(),
            prompt_tokens_details: PromptDetails {
                cached_tokens: usage.cached_input_tokens,
                cache_write_tokens: usage.cache_written_tokens,
                cache_creation_tokens: usage.cache_written_tokens,
                audio_tokens: 0,
            },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: usage.reasoning_tokens,
                audio_tokens: 0,
                accepted_prediction_tokens: 0,
                rejected_prediction_tokens: 0,
            },
            estimated: usage.estimated,
            outcrop: UsageExtras::of(shares),
        }
    }
}

/// On the usage of a turn on which several agents worked.
#[derive(Debug, Serialize)]
struct UsageExtras<'a> {
    collaborators: Vec<Share<'a>>,
}

/// What one agent used; the one that was asked has no name.
#[derive(Debug, Serialize)]
struct Share<'a> {
    name: Option<&'a str>,
    prompt_tokens: u64,
    completion_tokens: u64,
}

impl<'a> UsageExtras<'a> {
    /// Of these; none where nobody told whose the usage was.
    fn of(shares: Option<&'a [CollaboratorUsage]>) -> Option<Self> {
        let collaborators = shares?.iter().map(|share| Share {
            name: share.collaborator.as_deref(),
            prompt_tokens: share.usage.input_tokens,
            completion_tokens: share.usage.output_tokens,
        });
        Some(Self { collaborators: collaborators.collect() })
    }
}
