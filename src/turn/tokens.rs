//! How many tokens a text has, roughly: for turns whose backend does not tell.
//!
//! Counted with OpenAI's `o200k` vocabulary, whatever model answered; so it is an estimate, and
//! marked as one. The vocabulary is loaded in the background at the first asking; until it is
//! there, four bytes count as one token.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bpe_openai::Tokenizer;
use serde_json::Value;

use super::TurnRequest;

static VOCABULARY: OnceLock<&'static Tokenizer> = OnceLock::new();
static LOADING: AtomicBool = AtomicBool::new(false);

/// Texts beyond this are counted by their length alone, which bounds the work.
const COUNTED: usize = 256 << 10;

/// Tokens of a text.
#[must_use]
pub fn estimate(text: &str) -> u64 {
    let Some(vocabulary) = VOCABULARY.get() else {
        load();
        return by_length(text);
    };
    if text.len() > COUNTED {
        return by_length(text);
    }
    vocabulary.count(text) as u64
}

/// Tokens that a model would read of a request: its texts, calls and tools. Attachments and what
/// the session holds beyond the request are not counted.
#[must_use]
pub fn estimate_request(request: &TurnRequest) -> u64 {
    /// About what a message takes beyond its text.
    const FRAME: u64 = 4;
    let mut read = String::new();
    for message in &request.messages {
        read.push_str(&message.plain_text());
        for call in &message.tool_calls {
            read.push_str(&call.name);
            read.push_str(&call.arguments);
        }
    }
    for tool in &request.tools {
        read.push_str(&tool.name);
        read.push_str(tool.description.as_deref().unwrap_or_default());
        read.push_str(&tool.parameters.as_ref().map(Value::to_string).unwrap_or_default());
    }
    FRAME.saturating_mul(request.messages.len() as u64).saturating_add(estimate(&read))
}

/// Loads the vocabulary on a thread of its own, once; takes some tens of milliseconds there.
pub fn load() {
    if LOADING.swap(true, Ordering::Relaxed) {
        return;
    }
    let loading = std::thread::Builder::new().name("vocabulary".to_owned()).spawn(|| {
        VOCABULARY.get_or_init(bpe_openai::o200k_base);
    });
    if let Err(error) = loading {
        tracing::warn!(%error, "token counts stay rough: no thread to load the vocabulary");
    }
}

fn by_length(text: &str) -> u64 {
    text.len().div_ceil(4) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_there_at_once_and_never_zero_for_a_text() {
        assert_eq!(estimate(""), 0);
        assert!(estimate("We offer personal loans.") > 0);
    }

    #[test]
    fn the_vocabulary_counts_words_not_bytes() {
        VOCABULARY.get_or_init(bpe_openai::o200k_base);
        assert_eq!(estimate("hello world"), 2);
    }
}
