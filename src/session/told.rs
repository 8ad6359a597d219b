//! What goes upstream in one attempt, kept to count its tokens where the upstream does not: it
//! costs nothing until somebody asks.

use std::sync::Arc;

use crate::turn::{Message, tokens};

/// What is told upstream. Messages are shared with the transcript.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What was said before, for an upstream session that does not know it.
    pub(super) history: Vec<Arc<Message>>,
    /// What is new.
    pub(super) said: Vec<Arc<Message>>,
}

impl Told {
    /// Its tokens, roughly; attachments count for nothing.
    pub(super) fn tokens(&self) -> u64 {
        let mut text = String::new();
        for message in self.history.iter().chain(&self.said) {
            text.push_str(&message.plain_text());
            text.push('\n');
        }
        tokens::estimate(&text)
    }
}
