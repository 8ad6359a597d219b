//! One request and all that came back, with the times at which it came.

use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use serde_json::Value;

use crate::cli::server::{Server, Trouble};

/// What of an answer is recorded.
const ANSWER_BYTES: usize = 16 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// A request and its answer.
#[derive(Debug)]
pub(super) struct Exchange {
    /// The request's name.
    pub(super) request: &'static str,
    /// What was asked.
    pub(super) asked: Value,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// Why the body did not come to its end.
    pub(super) broke_off: Option<String>,
    pub(super) times: Times,
}

/// When what came, since the request was sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    pub(super) head: Duration,
    /// The first event that says something.
    pub(super) first: Option<Duration>,
    pub(super) end: Duration,
}

/// What an answer holds.
#[derive(Debug)]
pub(super) enum Body {
    /// One JSON document.
    Whole(Value),
    /// Server-sent events.
    Stream(Vec<Event>),
    /// Neither; its text.
    Other(String),
}

/// An event of a stream, or a comment.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Event {
    /// Every field but `data`, by its name; a comment's is empty.
    pub(super) fields: Vec<String>,
    pub(super) data: Option<Data>,
}

/// What an event brings.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    /// `[DONE]`
    Done,
    Json(Value),
    /// Something that is no JSON.
    Other(String),
}

impl Exchange {
    /// Sends a request and records the answer.
    ///
    /// # Errors
    /// When there is none; one that breaks off is recorded.
    pub(super) async fn hold(
        server: &Server,
        request: &'static str,
        asked: Value,
    ) -> Result<Self, Trouble> {
        let sent = Instant::now();
        let reply = server.send(Method::POST, "/chat/completions", Some(&asked));
        let mut reply = match tokio::time::timeout(PATIENCE, reply).await {
            Ok(reply) => reply?,
            Err(_) => return Err(Trouble::CutShort(too_slow())),
        };
        let mut times = Times { head: sent.elapsed(), ..Times::default() };
        let (mut text, mut broke_off) = (Vec::new(), None);
        loop {
            let left = PATIENCE.saturating_sub(sent.elapsed());
            let bytes = match tokio::time::timeout(left, reply.next()).await {
                Ok(Ok(Some(bytes))) => bytes,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => {
                    broke_off = Some(error.to_string());
                    break;
                }
                Err(_) => {
                    broke_off = Some(too_slow());
                    break;
                }
            };
            text.extend_from_slice(&bytes);
            if times.first.is_none() && says_something(&text) {
                times.first = Some(sent.elapsed());
            }
            if text.len() > ANSWER_BYTES {
                broke_off = Some(format!("it is longer than {ANSWER_BYTES} bytes"));
                break;
            }
        }
        times.end = sent.elapsed();
        let (status, headers) = (reply.status().as_u16(), reply.headers().clone());
        let body = Body::read(&String::from_utf8_lossy(&text));
        Ok(Self { request, asked, status, headers, body, broke_off, times })
    }

    /// A header, empty when there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The content type without its parameters.
    pub(super) fn media_type(&self) -> String {
        let media_type = self.header("content-type").split(';').next().unwrap_or_default();
        media_type.trim().to_ascii_lowercase()
    }

    pub(super) fn is_streamed(&self) -> bool {
        self.asked["stream"] == true
    }

    pub(super) fn has_tools(&self) -> bool {
        self.asked.get("tools").is_some()
    }

    /// The JSON events of the stream; nothing of what is none.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &Value> {
        let events = match &self.body {
            Body::Stream(events) => events.as_slice(),
            Body::Whole(_) | Body::Other(_) => &[],
        };
        events.iter().filter_map(|event| match &event.data {
            Some(Data::Json(chunk)) => Some(chunk),
            _ => None,
        })
    }
}

fn too_slow() -> String {
    format!("no end came within {} s", PATIENCE.as_secs())
}

/// Whether a part of an answer is there: text, a thought or a call, but not the role alone.
fn says_something(text: &[u8]) -> bool {
    const SAYS: [&str; 4] = ["\"content\":\"", "\"arguments\"", "\"reasoning", "\"refusal\":\""];
    let text = String::from_utf8_lossy(text).replace("\": ", "\":");
    let text = text.replace("\"content\":\"\"", "");
    SAYS.iter().any(|says| text.contains(says))
}

impl Body {
    /// Tells what a body is by what it begins with, whatever its head says.
    fn read(text: &str) -> Self {
        if let Ok(document) = serde_json::from_str(text) {
            return Self::Whole(document);
        }
        let names = ["data:", ":", "event:", "id:", "retry:"];
        let begins = text.trim_start_matches('\u{feff}').trim_start();
        if names.iter().any(|name| begins.starts_with(name)) {
            return Self::Stream(events(begins));
        }
        Self::Other(text.to_owned())
    }
}

/// The events of a stream, as the HTML standard tells them apart; comments are kept.
fn events(text: &str) -> Vec<Event> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut events = Vec::new();
    let (mut event, mut data) = (Event::default(), None::<String>);
    // An event that the end cuts short of its blank line counts.
    for line in text.lines().chain([""]) {
        if line.is_empty() {
            event.data = data.take().map(|data| Data::read(&data));
            let event = std::mem::take(&mut event);
            if event != Event::default() {
                events.push(event);
            }
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (name, &mut data) {
            ("data", Some(data)) => {
                data.push('\n');
                data.push_str(value);
            }
            ("data", None) => data = Some(value.to_owned()),
            (name, _) => event.fields.push(name.to_owned()),
        }
    }
    events
}

impl Data {
    fn read(text: &str) -> Self {
        if text.trim() == "[DONE]" {
            return Self::Done;
        }
        serde_json::from_str(text).map_or_else(|_| Self::Other(text.to_owned()), Self::Json)
    }
}

/// An exchange as if this body had come.
#[cfg(test)]
pub(super) fn recorded(request: &'static str, body: &str) -> Exchange {
    let is_streamed = request.starts_with("stream");
    let mut asked = serde_json::json!({ "model": "m", "stream": is_streamed });
    if is_streamed {
        asked["stream_options"] = serde_json::json!({ "include_usage": true });
    }
    if request.ends_with("tools") {
        asked["tools"] = serde_json::json!([]);
    }
    let content_type = if is_streamed { "text/event-stream" } else { "application/json" };
    let mut headers = HeaderMap::new();
    headers.insert("content-type", content_type.parse().unwrap());
    headers.insert("x-request-id", "r".parse().unwrap());
    let (body, times) = (Body::read(body), Times::default());
    Exchange { request, asked, status: 200, headers, body, broke_off: None, times }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_told_by_what_it_begins_with() {
        assert!(matches!(Body::read("{\"a\": 1}"), Body::Whole(_)));
        assert!(matches!(Body::read("<html>"), Body::Other(_)));
        assert!(matches!(Body::read(": hello\n\n"), Body::Stream(_)));
    }

    #[test]
    fn events_keep_the_names_of_their_fields() {
        let text =
            "id: 1\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n: ping\n\nevent: x\ndata: y\n\ndata: [DONE]";
        let Body::Stream(events) = Body::read(text) else { panic!("no stream") };
        let fields: Vec<_> = events.iter().map(|event| event.fields.join(",")).collect();
        assert_eq!(fields, ["id", "", "event", ""]);
        assert_eq!(events[0].data, Some(Data::Json(serde_json::json!({ "a": 1 }))));
        assert_eq!((&events[1].data, &events[3].data), (&None, &Some(Data::Done)));
        assert_eq!(events[2].data, Some(Data::Other("y".to_owned())));
    }

    #[test]
    fn the_role_alone_says_nothing() {
        assert!(!says_something(br#"data: {"delta": {"role": "assistant", "content": ""}}"#));
        assert!(says_something(br#"data: {"delta": {"content": "a"}}"#));
    }
}
