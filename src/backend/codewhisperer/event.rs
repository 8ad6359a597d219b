//! One frame of the answer as what it means. Pure.
//!
//! A frame's payload is JSON; events and members that are not known are passed over, since the
//! service adds some without a word.

use aws_smithy_types::event_stream::Message;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::turn::{Citation, Reference, Span, Usage};

/// What a frame says.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    /// How the service calls the conversation, and this answer.
    Named { conversation: String, utterance: String },
    /// A piece of the answer.
    Text(String),
    /// A piece of a thought, or the proof of it.
    Thought { text: String, signature: Option<String>, redacted: Vec<u8> },
    /// A piece of a call.
    Call(CallPiece),
    /// Code of the answer is somebody else's.
    CodeReferences(Vec<Citation>),
    /// What the answer rests on.
    Citations(Vec<Citation>),
    /// What it cost.
    Usage(Usage),
    /// What it cost in the service's own coin, or how full the model's window is.
    Metering { step: &'static str, told: Value },
    /// The answer has failed: the exception's name, message and reason.
    Exception { name: String, message: String, reason: String },
    /// A sign of life.
    Nothing,
}

/// A piece of a call: the first has a name, the last says so.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CallPiece {
    pub(super) tool_use_id: String,
    pub(super) name: String,
    #[serde(deserialize_with = "fragment")]
    pub(super) input: String,
    pub(super) stop: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Names {
    conversation_id: Option<String>,
    utterance_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Text {
    content: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reasoning {
    text: Option<String>,
    signature: Option<String>,
    redacted_content: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CodeReferences {
    references: Vec<CodeReference>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CodeReference {
    license_name: Option<String>,
    repository: Option<String>,
    url: Option<String>,
    recommendation_content_span: Option<Place>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Place {
    start: Option<usize>,
    end: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WebLinks {
    supplementary_web_links: Vec<WebLink>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WebLink {
    url: Option<String>,
    title: Option<String>,
    snippet: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Cited {
    target: Target,
    citation_text: Option<String>,
    citation_link: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Target {
    location: Option<usize>,
    range: Option<Place>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    token_usage: Option<TokenUsage>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TokenUsage {
    uncached_input_tokens: u64,
    output_tokens: u64,
    cache_read_input_tokens: Option<u64>,
    cache_write_input_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    message: Option<String>,
    reason: Option<String>,
}

/// Reads a frame.
///
/// # Errors
/// When the payload of an event that is known is not its JSON.
pub(super) fn read(frame: &Message) -> serde_json::Result<Event> {
    let payload = frame.payload();
    match header(frame, ":message-type") {
        "exception" => return Ok(exception(header(frame, ":exception-type"), payload)),
        "error" => {
            let (name, message) = (header(frame, ":error-code"), header(frame, ":error-message"));
            let (name, message) = (name.to_owned(), message.to_owned());
            return Ok(Event::Exception { name, message, reason: String::new() });
        }
        _ => {}
    }
    Ok(match header(frame, ":event-type") {
        "messageMetadataEvent" => {
            let told: Names = json(payload)?;
            let conversation = told.conversation_id.unwrap_or_default();
            Event::Named { conversation, utterance: told.utterance_id.unwrap_or_default() }
        }
        "assistantResponseEvent" => Event::Text(json::<Text>(payload)?.content),
        "reasoningContentEvent" => thought(json(payload)?),
        "toolUseEvent" => Event::Call(json(payload)?),
        "codeReferenceEvent" => {
            let told: CodeReferences = json(payload)?;
            Event::CodeReferences(told.references.into_iter().map(code).collect())
        }
        "supplementaryWebLinksEvent" => {
            let told: WebLinks = json(payload)?;
            Event::Citations(told.supplementary_web_links.into_iter().map(link).collect())
        }
        "citationEvent" => Event::Citations(vec![cited(json(payload)?)]),
        "metadataEvent" => {
            let told: Metadata = json(payload)?;
            told.token_usage.map_or(Event::Nothing, |used| Event::Usage(usage(&used)))
        }
        "meteringEvent" => Event::Metering { step: "metering", told: json(payload)? },
        "contextUsageEvent" => Event::Metering { step: "context_usage", told: json(payload)? },
        "invalidStateEvent" => exception("invalidStateEvent", payload),
        _ => Event::Nothing,
    })
}

fn header<'f>(frame: &'f Message, name: &str) -> &'f str {
    let mut headers = frame.headers().iter();
    let found = headers.find(|header| header.name().as_str() == name);
    found.and_then(|header| header.value().as_string().ok()).map_or("", |value| value.as_str())
}

fn json<T: DeserializeOwned>(payload: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(payload)
}

fn exception(name: &str, payload: &[u8]) -> Event {
    let Refusal { message, reason } = json(payload).unwrap_or_default();
    let (message, reason) = (message.unwrap_or_default(), reason.unwrap_or_default());
    Event::Exception { name: name.to_owned(), message, reason }
}

/// Fragments come as text; whole arguments have been seen as an object.
fn fragment<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    })
}

fn thought(told: Reasoning) -> Event {
    let redacted = told.redacted_content.and_then(|base64| STANDARD.decode(base64).ok());
    let signature = told.signature.filter(|signature| !signature.is_empty());
    let redacted = redacted.unwrap_or_default();
    Event::Thought { text: told.text.unwrap_or_default(), signature, redacted }
}

fn span(place: Option<Place>) -> Option<Span> {
    let place = place?;
    Some(Span { start: place.start?, end: place.end? })
}

fn code(told: CodeReference) -> Citation {
    let metadata = json!({ "license": told.license_name, "repository": told.repository });
    let reference = Reference {
        kind: "CODE".to_owned(),
        location: told.url,
        text: None,
        metadata: Some(metadata),
    };
    let span = span(told.recommendation_content_span);
    Citation { text: None, span, references: vec![reference] }
}

fn link(told: WebLink) -> Citation {
    let reference = Reference {
        kind: "WEB".to_owned(),
        location: told.url,
        text: told.snippet,
        metadata: told.title.map(|title| json!({ "title": title })),
    };
    Citation { text: None, span: None, references: vec![reference] }
}

fn cited(told: Cited) -> Citation {
    let at = told.target.location.map(|at| Span { start: at, end: at });
    let reference = Reference {
        kind: "WEB".to_owned(),
        location: told.citation_link,
        text: None,
        metadata: told.citation_text.map(|label| json!({ "label": label })),
    };
    Citation { text: None, span: span(told.target.range).or(at), references: vec![reference] }
}

fn usage(told: &TokenUsage) -> Usage {
    let cached = told.cache_read_input_tokens.unwrap_or_default();
    let written = told.cache_write_input_tokens.unwrap_or_default();
    Usage {
        input_tokens: told.uncached_input_tokens.saturating_add(cached).saturating_add(written),
        output_tokens: told.output_tokens,
        cached_input_tokens: cached,
        ..Usage::default()
    }
}
