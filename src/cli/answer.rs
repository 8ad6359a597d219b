//! An answer of a chat model as it comes in, from whichever server.

use std::collections::VecDeque;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::backend::http::Reply;
use crate::backend::sse::{Events, TooLong};

use super::server::{Server, Trouble};

/// What one event of a stream may take.
const EVENT_BYTES: usize = 16 << 20;

/// A call that the model makes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    /// As the model wrote them: mostly JSON.
    pub(super) arguments: String,
}

impl Call {
    /// As it stands in a transcript.
    pub(super) fn written(&self) -> Value {
        let function = json!({ "name": self.name, "arguments": self.arguments });
        json!({ "id": self.id, "type": "function", "function": function })
    }
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    /// What is said.
    Text(String),
    /// What is thought before.
    Thought(String),
}

/// What came of an answer by its end.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Whole {
    pub(super) text: String,
    pub(super) calls: Vec<Call>,
    pub(super) finish_reason: Option<String>,
    /// As the server told it; `null` when it did not.
    pub(super) usage: Value,
}

/// An answer on its way; dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Answer {
    server: Server,
    reply: Reply,
    reading: Reading,
    /// Why what came last is no answer.
    bad: Option<Bad>,
}

impl Answer {
    /// Asks for an answer; `body` says all but that it is to be streamed.
    ///
    /// # Errors
    /// When the server says no.
    pub(super) async fn to(server: &Server, body: &Value) -> Result<Self, Trouble> {
        let mut body = body.clone();
        body["stream"] = json!(true);
        body["stream_options"] = json!({ "include_usage": true });
        let reply = server.ask(Method::POST, "/chat/completions", Some(&body)).await?;
        Ok(Self::of(server, reply))
    }

    /// The answer that a reply brings.
    pub(super) fn of(server: &Server, reply: Reply) -> Self {
        let reading = Reading::new(reply.header("content-type"));
        Self { server: server.clone(), reply, reading, bad: None }
    }

    /// A header of the reply, empty when there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.reply.header(name)
    }

    /// The next part; `None` at the answer's end.
    ///
    /// # Errors
    /// When the answer breaks off, or says itself that it failed.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, Trouble> {
        loop {
            if let Some(piece) = self.reading.ready.pop_front() {
                return Ok(Some(piece));
            }
            // What came before it is told first.
            if let Some(bad) = self.bad.take() {
                return Err(self.trouble(bad));
            }
            if self.reading.is_done {
                return Ok(None);
            }
            let came = self.server.within_patience(self.reply.next()).await?;
            let read = match came.map_err(|error| Trouble::CutShort(error.to_string()))? {
                Some(bytes) => self.reading.take(&bytes),
                None => self.reading.end(),
            };
            self.bad = read.err();
        }
    }

    /// What came so far.
    pub(super) fn so_far(&self) -> &Whole {
        &self.reading.whole
    }

    /// What came of it, once it has ended.
    pub(super) fn into_whole(self) -> Whole {
        self.reading.whole
    }

    fn trouble(&self, bad: Bad) -> Trouble {
        match bad {
            Bad::Error(error) => self.server.refused(StatusCode::OK, &error),
            Bad::Strange(what) => self.server.strange(&what),
            Bad::CutShort => Trouble::CutShort("the stream ended without saying why".to_owned()),
        }
    }
}

/// Why what came is no answer.
#[derive(Debug, PartialEq)]
enum Bad {
    /// It says itself that it failed, with this `error`.
    Error(Value),
    /// It is not what such servers send.
    Strange(String),
    /// It ended too early.
    CutShort,
}

impl From<TooLong> for Bad {
    fn from(error: TooLong) -> Self {
        Self::Strange(error.to_string())
    }
}

/// What of an answer was read: a stream, or one document of a server that does not stream.
#[derive(Debug)]
struct Reading {
    events: Option<Events>,
    /// The document so far; none of a stream.
    document: Option<Vec<u8>>,
    ready: VecDeque<Piece>,
    whole: Whole,
    is_done: bool,
}

impl Reading {
    fn new(content_type: &str) -> Self {
        let is_document = content_type.starts_with("application/json");
        Self {
            events: Some(Events::new(EVENT_BYTES)),
            document: is_document.then(Vec::new),
            ready: VecDeque::new(),
            whole: Whole::default(),
            is_done: false,
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Bad> {
        if let Some(document) = &mut self.document {
            if document.len() + bytes.len() > EVENT_BYTES {
                return Err(Bad::Strange("its answer is endless".to_owned()));
            }
            document.extend_from_slice(bytes);
            return Ok(());
        }
        let mut came = Vec::new();
        if let Some(events) = &mut self.events {
            events.push(bytes, &mut came)?;
        }
        came.iter().try_for_each(|data| self.event(data))
    }

    fn end(&mut self) -> Result<(), Bad> {
        if let Some(document) = self.document.take() {
            let answer: Value = serde_json::from_slice(&document)
                .map_err(|_| Bad::Strange("its answer is no JSON".to_owned()))?;
            self.is_done = true;
            return self.chunk(&answer, "message");
        }
        if let Some(events) = self.events.take() {
            let last = events.finish()?;
            last.iter().try_for_each(|data| self.event(data))?;
        }
        if self.whole.finish_reason.is_none() && !self.is_done {
            return Err(Bad::CutShort);
        }
        self.is_done = true;
        Ok(())
    }

    fn event(&mut self, data: &[u8]) -> Result<(), Bad> {
        if data.trim_ascii() == b"[DONE]" {
            self.is_done = true;
            return Ok(());
        }
        let chunk: Value = serde_json::from_slice(data)
            .map_err(|_| Bad::Strange("an event of its stream is no JSON".to_owned()))?;
        self.chunk(&chunk, "delta")
    }

    fn chunk(&mut self, chunk: &Value, member: &str) -> Result<(), Bad> {
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            return Err(Bad::Error(error.clone()));
        }
        if chunk["usage"].is_object() {
            self.whole.usage = chunk["usage"].clone();
        }
        let choice = &chunk["choices"][0];
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.whole.finish_reason = Some(reason.to_owned());
        }
        self.said(&choice[member]);
        Ok(())
    }

    fn said(&mut self, said: &Value) {
        let text = |name: &str| said[name].as_str().filter(|text| !text.is_empty());
        if let Some(thought) = text("reasoning_content").or(text("reasoning")) {
            self.ready.push_back(Piece::Thought(thought.to_owned()));
        }
        if let Some(text) = text("content").or(text("refusal")) {
            self.whole.text.push_str(text);
            self.ready.push_back(Piece::Text(text.to_owned()));
        }
        for part in said["tool_calls"].as_array().into_iter().flatten() {
            self.call(part);
        }
    }

    /// Takes in a call, or what of one comes with this part.
    fn call(&mut self, part: &Value) {
        let id = part["id"].as_str().filter(|id| !id.is_empty());
        let index = part["index"].as_u64().and_then(|index| usize::try_from(index).ok());
        let calls = &mut self.whole.calls;
        // Servers that count wrongly begin a call with its id all the same.
        let is_new = id.is_some_and(|id| calls.iter().all(|call| call.id != id));
        if is_new || calls.is_empty() {
            calls.push(Call::default());
        }
        let at = index.filter(|index| !is_new && *index < calls.len()).unwrap_or(calls.len() - 1);
        let Some(call) = calls.get_mut(at) else { return };
        if let Some(id) = id {
            id.clone_into(&mut call.id);
        }
        if let Some(name) = part["function"]["name"].as_str().filter(|_| call.name.is_empty()) {
            name.clone_into(&mut call.name);
        }
        call.arguments.push_str(part["function"]["arguments"].as_str().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: &str, text: &str) -> Result<(Vec<Piece>, Whole), Bad> {
        let mut reading = Reading::new(content_type);
        for piece in text.as_bytes().chunks(7) {
            reading.take(piece)?;
        }
        reading.end()?;
        Ok((reading.ready.into(), reading.whole))
    }

    fn stream(chunks: &[Value]) -> String {
        chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect()
    }

    fn delta(delta: &Value) -> Value {
        json!({ "choices": [{ "delta": delta }] })
    }

    fn finish(reason: &str) -> Value {
        json!({ "choices": [{ "delta": {}, "finish_reason": reason }] })
    }

    #[test]
    fn a_stream_and_a_document_come_to_the_same() {
        let usage = json!({ "choices": [], "usage": { "total_tokens": 3 } });
        let chunks = [
            delta(&json!({ "role": "assistant", "content": "" })),
            delta(&json!({ "reasoning_content": "hm" })),
            delta(&json!({ "content": "a" })),
            delta(&json!({ "content": "b" })),
            finish("stop"),
            usage,
        ];
        let (pieces, streamed) = read("text/event-stream", &stream(&chunks)).unwrap();
        let said = ["a", "b"].map(|text| Piece::Text(text.to_owned()));
        assert_eq!(pieces[0], Piece::Thought("hm".to_owned()));
        assert_eq!(pieces[1..], said);
        let document = json!({
            "choices": [{ "message": { "content": "ab" }, "finish_reason": "stop" }],
            "usage": { "total_tokens": 3 },
        });
        let (_, whole) = read("application/json", &document.to_string()).unwrap();
        assert_eq!((streamed.text.as_str(), &streamed), ("ab", &whole));
    }

    #[test]
    fn calls_are_put_together_whatever_their_indices() {
        let part = |index: i64, id: Option<&str>, text: &str| {
            let function = json!({ "name": id.map(|_| "f"), "arguments": text });
            delta(&json!({ "tool_calls": [{ "index": index, "id": id, "function": function }] }))
        };
        for indices in [[0, 1], [-1, -1], [0, 0], [1, 3]] {
            let chunks = [
                part(indices[0], Some("a"), ""),
                part(indices[0], None, "{}"),
                part(indices[1], Some("b"), "[]"),
                finish("tool_calls"),
            ];
            let (_, whole) = read("text/event-stream", &stream(&chunks)).unwrap();
            let calls = [("a", "{}"), ("b", "[]")].map(|(id, arguments)| Call {
                id: id.to_owned(),
                name: "f".to_owned(),
                arguments: arguments.to_owned(),
            });
            assert_eq!(whole.calls, calls, "{indices:?}");
        }
    }

    #[test]
    fn what_is_no_whole_answer_is_told() {
        let half = stream(&[delta(&json!({ "content": "a" }))]);
        assert_eq!(read("text/event-stream", &half), Err(Bad::CutShort));
        let error = json!({ "message": "no" });
        let failed = stream(&[json!({ "error": error })]);
        assert_eq!(read("text/event-stream", &failed), Err(Bad::Error(error)));
        assert!(matches!(read("text/event-stream", "data: {\n\n"), Err(Bad::Strange(_))));
        assert!(matches!(read("application/json", "<html>"), Err(Bad::Strange(_))));
        // Some servers send nothing after the reason.
        assert!(read("text/event-stream", &stream(&[finish("stop")])).is_ok());
        assert!(read("text/event-stream", "data: [DONE]\n\n").is_ok());
    }
}
