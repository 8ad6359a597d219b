//! What the demo model says of what it is shown: pictures, documents, results, instructions.

use serde_json::{Value, json};

use super::answer::Said;
use super::cards::Card;
use super::media;
use super::prompt::{
    Block, Document, FoundText, Message, Prompt, ResultBlock, Role, SearchResult, ToolResult,
};

/// What is quoted of a source, in characters.
const QUOTED: usize = 120;
/// The words that long answers are made of.
const FILLER: &[&str] =
    &["ledger", "branch", "credit", "saving", "interest", "deposit", "account", "balance"];

/// Acknowledges what a message shows besides words.
pub(super) fn acknowledged(message: &Message) -> Option<String> {
    let seen: Vec<String> = message.content.iter().filter_map(described).collect();
    (!seen.is_empty()).then(|| format!("I see {}.", seen.join(", ")))
}

fn described(block: &Block) -> Option<String> {
    match block {
        Block::Image(media) => Some(media::describe("image", media)),
        Block::Video(media) => Some(media::describe("video", media)),
        Block::Audio(media) => Some(media::describe("audio", media)),
        Block::Document(document) => Some(media::describe_document(document)),
        Block::SearchResult(found) => Some(format!("search result \"{}\"", found.title)),
        _ => None,
    }
}

/// What a tool said, with its name.
pub(super) fn told(result: &ToolResult, asked: &Message) -> String {
    let name = asked
        .calls()
        .find(|call| call.tool_use_id == result.tool_use_id)
        .map_or("the tool", |call| call.name.as_str());
    let parts: Vec<String> = result
        .content
        .iter()
        .map(|part| match part {
            ResultBlock::Text(text) => text.clone(),
            ResultBlock::Json(value) => value.to_string(),
            ResultBlock::Image(media) => media::describe("image", media),
            ResultBlock::Video(media) => media::describe("video", media),
            ResultBlock::Document(document) => media::describe_document(document),
            ResultBlock::SearchResult(found) => format!("search result \"{}\"", found.title),
        })
        .collect();
    let verb = if result.status.as_deref() == Some("error") { "failed" } else { "says" };
    format!("{name} {verb}: {}", parts.join(" "))
}

/// Answers questions about the prompt itself: its system text, its tools, its messages.
pub(super) fn own_matters(card: &Card, prompt: &Prompt, words: &str) -> Option<String> {
    let lower = words.to_lowercase();
    let asks = |phrases: &[&str]| phrases.iter().any(|phrase| lower.contains(phrase));
    if asks(&["your instructions", "your system prompt"]) {
        let texts: Vec<&str> = prompt.system_texts().collect();
        return Some(match texts.is_empty() {
            true => "I have no instructions.".to_owned(),
            false => format!("My instructions are: {}", texts.join(" | ")),
        });
    }
    if asks(&["which tools", "what tools"]) {
        let names: Vec<&str> = prompt.tools().map(|tool| tool.name.as_str()).collect();
        return Some(match names.is_empty() {
            true => "I have no tools.".to_owned(),
            false => format!("My tools are: {}.", names.join(", ")),
        });
    }
    if asks(&["how many messages"]) {
        return Some(format!("I see {} messages.", prompt.messages.len()));
    }
    if asks(&["which model", "what model"]) {
        return Some(format!("I am the demo model, as {}.", card.id));
    }
    if asks(&["which images", "which files", "what did i show"]) {
        let shown: Vec<String> = prompt
            .messages
            .iter()
            .flat_map(|message| &message.content)
            .filter_map(described)
            .collect();
        return Some(match shown.is_empty() {
            true => "You have shown me nothing.".to_owned(),
            false => format!("You have shown me {}.", shown.join(", ")),
        });
    }
    None
}

/// Whether words beside a picture want an answer of their own.
pub(super) fn is_about_caller(words: &str) -> bool {
    let lower = words.to_lowercase();
    ["my ", "i ", "i'm", "count to", "repeat:"]
        .iter()
        .any(|cue| lower.starts_with(cue) || lower.contains(&format!(" {cue}")))
}

/// So many words.
pub(super) fn filler(count: usize) -> String {
    let words = FILLER.iter().cycle().take(count).copied();
    words.collect::<Vec<_>>().join(" ")
}

/// Text with a page of the web behind it.
pub(super) fn web_citation(url: &str, text: String) -> Said {
    let host = url.split("://").nth(1).unwrap_or(url);
    let domain = host.split('/').next().unwrap_or(host);
    let citation = json!({
        "title": domain,
        "source": url,
        "sourceContent": [{"text": text}],
        "location": {"web": {"url": url, "domain": domain}},
    });
    Said::Cited { text, citation }
}

/// What the first source says that is to be cited.
pub(super) fn citation(prompt: &Prompt) -> Option<Said> {
    let last = prompt.messages.iter().rev().find(|message| message.role == Role::User)?;
    let blocks = || prompt.messages.iter().flat_map(|message| &message.content);
    let documents = blocks().filter_map(|block| match block {
        Block::Document(document) => Some(document),
        _ => None,
    });
    let results = blocks().filter_map(|block| match block {
        Block::SearchResult(found) => Some(found),
        _ => None,
    });
    if last.results().next().is_some() {
        return None;
    }
    let on = |switch: Option<super::prompt::Switch>| switch.is_some_and(|switch| switch.enabled);
    let of_document =
        documents.enumerate().find(|(_, document)| on(document.citations)).map(cited_document);
    of_document
        .or_else(|| results.enumerate().find(|(_, found)| on(found.citations)).map(cited_result))
}

fn cited_document((place, document): (usize, &Document)) -> Said {
    let contents = media::contents(&document.source);
    let is_text = document.format.as_deref() != Some("pdf");
    let quoted: String = match std::str::from_utf8(&contents) {
        Ok(text) if is_text => text.chars().take(QUOTED).collect(),
        _ => "the first page".to_owned(),
    };
    let location = match is_text {
        true => json!({"documentChar": {
            "documentIndex": place, "start": 0, "end": quoted.chars().count(),
        }}),
        false => json!({"documentPage": {"documentIndex": place, "start": 1, "end": 2}}),
    };
    let text = format!("The document \"{}\" says: {quoted}", document.name);
    let citation = json!({
        "title": document.name,
        "source": document.name,
        "sourceContent": [{"text": quoted}],
        "location": location,
    });
    Said::Cited { text, citation }
}

fn cited_result((place, found): (usize, &SearchResult)) -> Said {
    let first = found.content.first().map_or("", |FoundText { text }| text.as_str());
    let quoted: String = first.chars().take(QUOTED).collect();
    let text = format!("\"{}\" says: {quoted}", found.title);
    let citation = json!({
        "title": found.title,
        "source": found.source,
        "sourceContent": [{"text": quoted}],
        "location": {"searchResultLocation": {"searchResultIndex": place, "start": 0, "end": 1}},
    });
    Said::Cited { text, citation }
}

/// The first schema that stands in a text.
pub(super) fn schema_within(text: &str) -> Option<Value> {
    let start = text.find('{')?;
    let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
    let found = values.next()?.ok()?;
    (found.get("type").is_some() || found.get("properties").is_some()).then_some(found)
}
