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

#[cfg(test)]
mod tests {
    use aws_smithy_types::event_stream::{Header, HeaderValue};

    use super::*;

    fn frame(headers: &[(&'static str, &'static str)], payload: &str) -> Message {
        let frame = Message::new(payload.as_bytes().to_vec());
        headers.iter().fold(frame, |frame, (name, value)| {
            frame.add_header(Header::new(*name, HeaderValue::String((*value).into())))
        })
    }

    fn event(kind: &'static str, payload: &Value) -> Event {
        read(&frame(&[(":message-type", "event"), (":event-type", kind)], &payload.to_string()))
            .unwrap()
    }

    fn piece(input: Value) -> Event {
        let told = json!({"toolUseId": "t", "name": "look", "input": input});
        event("toolUseEvent", &told)
    }

    #[test]
    fn each_event_of_an_answer_is_read() {
        let named = event(
            "messageMetadataEvent",
            &json!({"conversationId": "c", "utteranceId": "u", "new": 1}),
        );
        let (conversation, utterance) = ("c".to_owned(), "u".to_owned());
        assert_eq!(named, Event::Named { conversation, utterance });
        let said = event("assistantResponseEvent", &json!({"content": "hi", "modelId": "m"}));
        assert_eq!(said, Event::Text("hi".to_owned()));
        let thought = event("reasoningContentEvent", &json!({"text": "so", "signature": ""}));
        let so = Event::Thought { text: "so".to_owned(), signature: None, redacted: Vec::new() };
        assert_eq!(thought, so);
        let hidden = event("reasoningContentEvent", &json!({"redactedContent": "AQI="}));
        let bytes = Event::Thought { text: String::new(), signature: None, redacted: vec![1, 2] };
        assert_eq!(hidden, bytes);
        for (input, expected) in
            [(json!("{\"x\""), "{\"x\""), (json!({"x": 1}), "{\"x\":1}"), (Value::Null, "")]
        {
            let Event::Call(call) = piece(input) else { panic!("no call") };
            assert_eq!((&*call.name, &*call.input, call.stop), ("look", expected, false));
        }
        let used = json!({"tokenUsage": {"uncachedInputTokens": 5, "outputTokens": 7,
            "totalTokens": 15, "cacheReadInputTokens": 2, "cacheWriteInputTokens": 1}});
        let Event::Usage(usage) = event("metadataEvent", &used) else { panic!("no usage") };
        let told = (usage.input_tokens, usage.output_tokens, usage.cached_input_tokens);
        assert_eq!(told, (8, 7, 2));
        let coins = json!({"usage": 0.2, "unit": "credit"});
        let metered = Event::Metering { step: "metering", told: coins.clone() };
        assert_eq!(event("meteringEvent", &coins), metered);
        let filled = json!({"contextUsagePercentage": 3.5});
        let context = Event::Metering { step: "context_usage", told: filled.clone() };
        assert_eq!(event("contextUsageEvent", &filled), context);
    }

    #[test]
    fn what_an_answer_rests_on_is_read() {
        let code = json!({"references": [{"licenseName": "MIT", "repository": "acme/tool",
            "url": "https://x", "recommendationContentSpan": {"start": 2, "end": 9}}]});
        let Event::CodeReferences(cited) = event("codeReferenceEvent", &code) else {
            panic!("no code")
        };
        assert_eq!(cited[0].span, Some(Span { start: 2, end: 9 }));
        let reference = &cited[0].references[0];
        assert_eq!((&*reference.kind, reference.location.as_deref()), ("CODE", Some("https://x")));
        let license = json!({"license": "MIT", "repository": "acme/tool"});
        assert_eq!(reference.metadata, Some(license));
        let links = json!({"supplementaryWebLinks": [{"url": "https://y", "title": "Y"}]});
        let Event::Citations(cited) = event("supplementaryWebLinksEvent", &links) else {
            panic!("no link")
        };
        assert_eq!(cited[0].references[0].location.as_deref(), Some("https://y"));
        for (target, expected) in [
            (json!({"location": 4}), Span { start: 4, end: 4 }),
            (json!({"range": {"start": 1, "end": 3}}), Span { start: 1, end: 3 }),
        ] {
            let told = json!({"target": target, "citationLink": "https://z"});
            let Event::Citations(cited) = event("citationEvent", &told) else {
                panic!("no citation")
            };
            assert_eq!(cited[0].span, Some(expected));
        }
    }

    #[test]
    fn failures_are_told_from_what_is_not_known() {
        let failed = |name: &str, message: &str, reason: &str| {
            let (name, message) = (name.to_owned(), message.to_owned());
            Event::Exception { name, message, reason: reason.to_owned() }
        };
        let told = json!({"reason": "INVALID_TASK_ASSIST_PLAN", "message": "no"});
        let expected = failed("invalidStateEvent", "no", "INVALID_TASK_ASSIST_PLAN");
        assert_eq!(event("invalidStateEvent", &told), expected);
        let headers = [(":message-type", "exception"), (":exception-type", "throttlingException")];
        let thrown = read(&frame(&headers, r#"{"message": "slow"}"#)).unwrap();
        assert_eq!(thrown, failed("throttlingException", "slow", ""));
        let headers =
            [(":message-type", "error"), (":error-code", "X"), (":error-message", "gone")];
        assert_eq!(read(&frame(&headers, "")).unwrap(), failed("X", "gone", ""));
        for kind in ["initial-response", "toolResultEvent", "intentsEvent", "codeEvent", "newEvent"]
        {
            assert_eq!(event(kind, &json!({"x": 1})), Event::Nothing, "{kind}");
        }
        let broken = frame(&[(":event-type", "assistantResponseEvent")], "{");
        assert!(read(&broken).is_err());
    }
}
