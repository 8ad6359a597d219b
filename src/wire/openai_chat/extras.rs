//! What a reply carries beyond OpenAI's, as `outcrop` in the place it belongs to: on a message
//! or the last delta of one, on a tool call, on the usage.

use std::sync::Arc;

use serde::Serialize;

use crate::turn::{CollaboratorUsage, Confirmation, OutputFile};

use super::citations::CitedPart;

/// On a message.
#[derive(Debug, Serialize)]
pub(super) struct MessageExtras<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    citations: Vec<CitedPart<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<FileMark<'a>>,
}

/// A file that can be fetched by its id.
#[derive(Debug, Serialize)]
struct FileMark<'a> {
    id: &'a str,
    filename: &'a str,
    media_type: &'a str,
    /// Its size.
    bytes: usize,
}

impl<'a> MessageExtras<'a> {
    /// Of these; none where there are none.
    pub(super) fn of(citations: Vec<CitedPart<'a>>, files: &'a [Arc<OutputFile>]) -> Option<Self> {
        let files: Vec<_> = files.iter().map(|file| FileMark::of(file)).collect();
        let has_any = !citations.is_empty() || !files.is_empty();
        has_any.then_some(Self { citations, files })
    }
}

impl<'a> FileMark<'a> {
    fn of(file: &'a OutputFile) -> Self {
        Self {
            id: file.id.as_str(),
            filename: &file.name,
            media_type: &file.media_type,
            bytes: file.bytes.len(),
        }
    }
}

/// On a tool call that a person has to agree to.
#[derive(Debug, Serialize)]
pub(super) struct CallExtras {
    confirmation: &'static str,
}

impl CallExtras {
    /// Of a call; none where it needs no consent.
    pub(super) fn of(confirmation: Confirmation) -> Option<Self> {
        let confirmation = match confirmation {
            Confirmation::None => return None,
            Confirmation::Decision => "decision",
            Confirmation::DecisionAndResult => "decision_and_result",
        };
        Some(Self { confirmation })
    }
}

/// On the usage of a turn on which several agents worked.
#[derive(Debug, Serialize)]
pub(super) struct UsageExtras<'a> {
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
    pub(super) fn of(shares: Option<&'a [CollaboratorUsage]>) -> Option<Self> {
        let collaborators = shares?.iter().map(|share| Share {
            name: share.collaborator.as_deref(),
            prompt_tokens: share.usage.input_tokens,
            completion_tokens: share.usage.output_tokens,
        });
        Some(Self { collaborators: collaborators.collect() })
    }
}
