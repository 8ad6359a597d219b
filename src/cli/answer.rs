//! An answer of a chat model as it comes in, from whichever server.

use std::collections::VecDeque;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::backend::http::Reply;
use crate::backend::sse::Events;

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
    events: Option<Events>,
    /// What came of a reply that is no stream, or not yet known to be one.
    document: Option<Vec<u8>>,
    ready: VecDeque<Piece>,
    whole: Whole,
    is_done: bool,
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
        let is_document = reply.header("content-type").starts_with("application/json");
        Self {
            server: server.clone(),
            reply,
            events: Some(Events::new(EVENT_BYTES)),
            document: is_document.then(Vec::new),
            ready: VecDeque::new(),
            whole: Whole::default(),
            is_done: false,
        }
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
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
            }
            if self.is_done {
                return Ok(None);
            }
            let came = self.reply.next().await;
            match came.map_err(|error| Trouble::CutShort(error.to_string()))? {
                Some(bytes) => self.take(&bytes)?,
                None => self.end()?,
            }
        }
    }

    /// What came so far.
    pub(super) fn so_far(&self) -> &Whole {
        &self.whole
    }

    /// What came of it, once it has ended.
    pub(super) fn into_whole(self) -> Whole {
        self.whole
    }

    fn take(&mut self, bytes: &Bytes) -> Result<(), Trouble> {
        if let Some(document) = &mut self.document {
            if document.len() + bytes.len() > EVENT_BYTES {
                return Err(self.server.strange("its answer is endless"));
            }
            document.extend_from_slice(bytes);
            return Ok(());
        }
        let mut came = Vec::new();
        if let Some(events) = &mut self.events {
            let pushed = events.push(bytes, &mut came);
            pushed.map_err(|error| self.server.strange(&error.to_string()))?;
        }
        came.iter().try_for_each(|data| self.event(data))
    }

    fn end(&mut self) -> Result<(), Trouble> {
        if let Some(document) = self.document.take() {
            let answer: Value = serde_json::from_slice(&document)
                .map_err(|_| self.server.strange("its answer is no JSON"))?;
            self.is_done = true;
            return self.chunk(&answer, "message");
        }
        if let Some(events) = self.events.take() {
            let last = events.finish().map_err(|error| self.server.strange(&error.to_string()))?;
            last.iter().try_for_each(|data| self.event(data))?;
        }
        if self.whole.finish_reason.is_none() && !self.is_done {
            return Err(Trouble::CutShort("the stream ended without saying why".to_owned()));
        }
        self.is_done = true;
        Ok(())
    }

    fn event(&mut self, data: &[u8]) -> Result<(), Trouble> {
        if data.trim_ascii() == b"[DONE]" {
            self.is_done = true;
            return Ok(());
        }
        let chunk: Value = serde_json::from_slice(data)
            .map_err(|_| self.server.strange("an event of its stream is no JSON"))?;
        self.chunk(&chunk, "delta")
    }

    fn chunk(&mut self, chunk: &Value, member: &str) -> Result<(), Trouble> {
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            return Err(self.server.refused(StatusCode::OK, error));
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
