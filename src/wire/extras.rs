//! What a reply carries beyond OpenAI's, as `outcrop` in the place it belongs to: on an answer or
//! the last delta of one, on a tool call.

use std::sync::Arc;

use serde::Serialize;

use crate::turn::{Confirmation, OutputFile};

use super::citations::CitedPart;

/// On an answer.
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
