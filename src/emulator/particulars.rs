//! Questions about the call itself: what was sent along with the message.
//!
//! They are there for tests, which see in the answer that something arrived.

use std::collections::BTreeMap;
use std::fmt;

use super::memories::Summary;

/// What came along with a message, or before it.
#[derive(Debug)]
pub(super) struct Particulars<'a> {
    /// `sessionAttributes`, kept from call to call.
    pub(super) attributes: &'a BTreeMap<String, String>,
    /// `promptSessionAttributes` of this call.
    pub(super) prompt_attributes: Option<&'a BTreeMap<String, String>>,
    /// What the session was given, described.
    pub(super) files: &'a [String],
    /// What earlier sessions left; `None` without a `memoryId`.
    pub(super) remembered: Option<Vec<Summary>>,
}

/// Answers a question about them; `None` for any other message.
pub(super) fn answer(text: &str, particulars: &Particulars<'_>) -> Option<String> {
    let lower = text.to_lowercase();
    let asks = |question| lower.contains(question);
    if asks("what are my attributes") {
        let prompt = particulars.prompt_attributes.into_iter().flatten();
        return Some(format!(
            "Session attributes: {}. Prompt attributes: {}.",
            listed(particulars.attributes.iter().map(|(name, value)| format!("{name}={value}"))),
            listed(prompt.map(|(name, value)| format!("{name}={value}"))),
        ));
    }
    if asks("what are my files") {
        return Some(format!("Files: {}.", listed(particulars.files)));
    }
    if asks("what do you remember") {
        return Some(match &particulars.remembered {
            None => "I have no memory for you.".to_owned(),
            Some(none) if none.is_empty() => "I remember no earlier session.".to_owned(),
            Some(summaries) => {
                let texts: Vec<_> = summaries.iter().map(|summary| &*summary.text).collect();
                format!("I remember {} earlier: {}", summaries.len(), texts.join(" "))
            }
        });
    }
    None
}

fn listed(items: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}
