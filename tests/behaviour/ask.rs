//! A turn as a chat client asks for it, and what came of it.

use serde_json::{Value, json};

use super::broker::Broker;
use super::client::{Frame, Reply, Request};

/// A chat request in the making: the model `agent`, streamed, unless told otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Ask<'a> {
    broker: &'a Broker,
    path: &'static str,
    headers: Vec<(String, String)>,
    body: Value,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(broker: &'a Broker, messages: &[(&str, &str)]) -> Self {
        for (_, text) in messages {
            broker.keep_secret(text);
        }
        let message = |(role, text): &(&str, &str)| json!({ "role": role, "content": text });
        let messages: Vec<_> = messages.iter().map(message).collect();
        let body = json!({ "model": "agent", "stream": true, "messages": messages });
        Self { broker, path: "/v1/chat/completions", headers: Vec::new(), body }
    }

    pub(crate) fn at(mut self, path: &'static str) -> Self {
        self.path = path;
        self
    }

    /// Asks another model.
    pub(crate) fn at_model(self, name: &str) -> Self {
        self.with("model", json!(name))
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.broker.keep_secret(key);
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// Names the session.
    pub(crate) fn session(self, id: &str) -> Self {
        self.header("x-session-id", id)
    }

    /// The same without any header.
    pub(crate) fn without_headers(mut self) -> Self {
        self.headers.clear();
        self
    }

    pub(crate) fn policy(self, name: &str) -> Self {
        self.header("x-outcrop-turn-policy", name)
    }

    /// Asks for the turn to run on when its reader leaves.
    pub(crate) fn detached(self) -> Self {
        self.header("x-outcrop-disconnect-policy", "detach")
    }

    /// Asks for the answer in one piece.
    pub(crate) fn whole(self) -> Self {
        self.with("stream", json!(false))
    }

    /// Sets a member of the body.
    pub(crate) fn with(mut self, member: &str, value: Value) -> Self {
        self.body[member] = value;
        self
    }

    /// Leaves a member of the body out.
    pub(crate) fn without(mut self, member: &str) -> Self {
        self.body.as_object_mut().unwrap().remove(member);
        self
    }

    /// Has the upstream fail in this turn.
    pub(crate) fn fault(self, fault: &str) -> Self {
        self.attribute("outcrop-emulator-fault", fault)
    }

    /// Has the upstream answer at this pace in this turn, in milliseconds.
    pub(crate) fn pace(self, first: u32, between: u32) -> Self {
        self.attribute("outcrop-emulator-first-token-ms", &first.to_string())
            .attribute("outcrop-emulator-chunk-ms", &between.to_string())
    }

    fn attribute(mut self, name: &str, value: &str) -> Self {
        self.body["outcrop"]["prompt_session_attributes"][name] = value.into();
        self
    }

    pub(crate) fn request(&self) -> Request {
        let request = self.broker.post(self.path, &self.body);
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    /// Sends it and gives the reply with its body still to come.
    pub(crate) async fn begin(&self) -> Reply {
        self.request().send().await
    }

    /// Sends it and reads the reply to its end.
    pub(crate) async fn answer(&self) -> Answer {
        Answer::of(self.begin().await).await
    }

    /// Sends it, expects an answer as it should be, and gives its text.
    pub(crate) async fn text(&self) -> String {
        let answer = self.answer().await;
        answer.expect_ok();
        answer.text
    }
}

/// A reply read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: Vec<(String, String)>,
    /// The answer's text, whichever way it came.
    pub(crate) text: String,
    /// The frames, of a stream.
    pub(crate) frames: Vec<Frame>,
    /// The body, of what is no stream.
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn of(mut reply: Reply) -> Self {
        let (mut text, mut frames, mut body) = (String::new(), Vec::new(), Value::Null);
        if reply.header("content-type").starts_with("text/event-stream") {
            while let Some(frame) = reply.frame().await {
                text.push_str(&frame.text());
                frames.push(frame);
            }
            assert!(reply.is_whole(), "the stream broke off after {frames:?}");
        } else {
            body = reply.json().await;
            let content = body.pointer("/choices/0/message/content").and_then(Value::as_str);
            text = content.unwrap_or_default().to_owned();
        }
        let lines = reply.head();
        let head = lines.lines().filter_map(|line| line.split_once(": "));
        let head = head.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { status: reply.status, head, text, frames, body }
    }

    /// A header's value; empty when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The session that answered.
    pub(crate) fn session(&self) -> &str {
        self.header("x-session-id")
    }

    /// How the session was found.
    pub(crate) fn origin(&self) -> &str {
        self.header("x-outcrop-session")
    }

    /// Whether the stream ended as it should.
    pub(crate) fn is_done(&self) -> bool {
        self.frames.last().is_some_and(Frame::is_done)
    }

    pub(crate) fn finish_reason(&self) -> String {
        let mut reasons = self.frames.iter().rev().filter_map(|frame| {
            Some(frame.json().pointer("/choices/0/finish_reason")?.as_str()?.to_owned())
        });
        reasons.next().unwrap_or_default()
    }

    /// The error object, of the body or the last frame of a stream; null when there is none.
    pub(crate) fn error(&self) -> Value {
        let in_stream = self.frames.last().map(Frame::json).unwrap_or_default();
        let error = self.body.get("error").or_else(|| in_stream.get("error"));
        error.cloned().unwrap_or_default()
    }

    pub(crate) fn code(&self) -> String {
        self.error()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn expect_ok(&self) {
        let is_whole = self.frames.is_empty() || self.is_done();
        assert!(self.status == 200 && self.error().is_null() && is_whole, "{self:?}");
    }

    /// Everything that the client got to see, as text.
    pub(crate) fn everything(&self) -> String {
        format!("{:?} {:?} {}", self.head, self.frames, self.body)
    }
}

/// A client that knows nothing of sessions: it resends all that was said, each time.
#[derive(Debug, Clone)]
pub(crate) struct Stateless<'a> {
    broker: &'a Broker,
    key: Option<&'static str>,
    pub(crate) transcript: Vec<(String, String)>,
}

impl<'a> Stateless<'a> {
    pub(crate) fn new(broker: &'a Broker) -> Self {
        Self { broker, key: None, transcript: Vec::new() }
    }

    pub(crate) fn with_key(broker: &'a Broker, key: &'static str) -> Self {
        Self { key: Some(key), ..Self::new(broker) }
    }

    /// What it would send to say this next.
    pub(crate) fn next(&self, text: &str) -> Ask<'a> {
        let before = self.transcript.iter().map(|(role, said)| (role.as_str(), said.as_str()));
        let messages: Vec<_> = before.chain([("user", text)]).collect();
        let ask = self.broker.send(&messages);
        match self.key {
            Some(key) => ask.key(key),
            None => ask,
        }
    }

    /// Says something and takes the answer into its transcript.
    pub(crate) async fn say(&mut self, text: &str) -> Answer {
        let answer = self.next(text).answer().await;
        answer.expect_ok();
        self.transcript.push(("user".to_owned(), text.to_owned()));
        self.transcript.push(("assistant".to_owned(), answer.text.clone()));
        answer
    }
}
