//! How likely tokens were, as the chat format writes it.

use serde::Serialize;
use serde_json::Value;

use crate::turn::Logprobs;

/// The `logprobs` member; a list that has no entries is null.
#[derive(Debug, Serialize)]
pub(super) struct LogprobsBody<'a> {
    content: Option<Vec<&'a Value>>,
    refusal: Option<Vec<&'a Value>>,
}

impl<'a> LogprobsBody<'a> {
    /// All of them, one after the other.
    pub(super) fn of(told: impl IntoIterator<Item = &'a Logprobs>) -> Self {
        let (mut content, mut refusal) = (Vec::new(), Vec::new());
        for logprobs in told {
            content.extend(&logprobs.content);
            refusal.extend(&logprobs.refusal);
        }
        let filled = |entries: Vec<_>| Some(entries).filter(|entries| !entries.is_empty());
        Self { content: filled(content), refusal: filled(refusal) }
    }
}
