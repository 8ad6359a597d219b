//! A response as a client of OpenAI's Responses asks for it, and what came of it.

use serde_json::{Value, json};

use super::broker::{Broker, until};
use super::client::{Frame, Reply, Request};

/// A request for a response in the making: of the model `agent`, in one piece, unless told
/// otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Respond<'a> {
    broker: &'a Broker,
    headers: Vec<(String, String)>,
    body: Value,
}

impl<'a> Respond<'a> {
    /// Asks with a text, or with items.
    pub(crate) fn to(broker: &'a Broker, input: impl Into<Value>) -> Self {
        let input = input.into();
        if let Some(text) = input.as_str() {
            broker.keep_secret(text);
        }
        Self { broker, headers: Vec::new(), body: json!({ "model": "agent", "input": input }) }
    }

    /// Sets a member of the body.
    pub(crate) fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.body[member] = value.into();
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.broker.keep_secret(key);
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// Goes on from another response.
    pub(crate) fn after(self, previous: &Responded) -> Self {
        self.with("previous_response_id", previous.id())
    }

    pub(crate) fn streamed(self) -> Self {
        self.with("stream", true)
    }

    pub(crate) fn in_background(self) -> Self {
        self.with("background", true)
    }

    /// Has the upstream answer at this pace in this turn, in milliseconds.
    pub(crate) fn pace(self, first: u32, between: u32) -> Self {
        self.attribute("outcrop-emulator-first-token-ms", &first.to_string())
            .attribute("outcrop-emulator-chunk-ms", &between.to_string())
    }

    /// Has the upstream fail in this turn.
    pub(crate) fn fault(self, fault: &str) -> Self {
        self.attribute("outcrop-emulator-fault", fault)
    }

    fn attribute(mut self, name: &str, value: &str) -> Self {
        self.body["outcrop"]["prompt_session_attributes"][name] = value.into();
        self
    }

    pub(crate) fn request(&self) -> Request {
        let request = self.broker.post("/v1/responses", &self.body);
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    /// Sends it and gives the reply with its body still to come.
    pub(crate) async fn begin(&self) -> Reply {
        self.request().send().await
    }

    /// Sends it and reads the reply to its end.
    pub(crate) async fn send(&self) -> Responded {
        Responded::of(self.begin().await).await
    }

    /// Sends it, and expects a response that is complete.
    pub(crate) async fn complete(&self) -> Responded {
        let response = self.send().await;
        assert_eq!((response.status, response.state()), (200, "completed"), "{response:?}");
        response
    }
}

/// A response read to its end, or a refusal.
#[derive(Debug)]
pub(crate) struct Responded {
    pub(crate) status: u16,
    pub(crate) head: String,
    /// The response, the last one of a stream, or the error.
    pub(crate) body: Value,
    /// The frames, of a stream.
    pub(crate) frames: Vec<Frame>,
}

impl Responded {
    pub(crate) async fn of(mut reply: Reply) -> Self {
        let mut frames = Vec::new();
        let body = if reply.header("content-type").starts_with("text/event-stream") {
            while let Some(frame) = reply.frame().await {
                frames.push(frame);
            }
            assert!(reply.is_whole(), "the stream broke off after {frames:?}");
            frames.last().map(|last| last.json()["response"].clone()).unwrap_or_default()
        } else {
            reply.json().await
        };
        Self { status: reply.status, head: reply.head(), body, frames }
    }

    pub(crate) fn id(&self) -> &str {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no response: {self:?}"))
    }

    /// Its `status`.
    pub(crate) fn state(&self) -> &str {
        self.body["status"].as_str().unwrap_or_default()
    }

    /// All text of its messages.
    pub(crate) fn text(&self) -> String {
        let items = self.body["output"].as_array().into_iter().flatten();
        let parts = items.filter_map(|item| item["content"].as_array()).flatten();
        parts.filter_map(|part| part["text"].as_str()).collect()
    }

    /// The function calls in it.
    pub(crate) fn calls(&self) -> Vec<Value> {
        let items = self.body["output"].as_array().into_iter().flatten();
        items.filter(|item| item["type"] == "function_call").cloned().collect()
    }

    /// The error's code and the parameter at fault, with the status of the reply.
    pub(crate) fn refusal(&self) -> (u16, &str, &str) {
        let text = |member: &str| self.body["error"][member].as_str().unwrap_or_default();
        (self.status, text("code"), text("param"))
    }

    /// Its path.
    pub(crate) fn path(&self) -> String {
        format!("/v1/responses/{}", self.id())
    }

    /// What is at a path below it.
    pub(crate) async fn get(&self, broker: &Broker, below: &str) -> Self {
        Self::of(broker.get(&format!("{}{below}", self.path())).send().await).await
    }

    /// Waits until it is over.
    pub(crate) async fn ended(&self, broker: &Broker) -> Self {
        let mut last = self.get(broker, "").await;
        until("the response to end", async || {
            last = self.get(broker, "").await;
            !matches!(last.state(), "queued" | "in_progress")
        })
        .await;
        last
    }
}

/// The output of a call, as an item of input.
pub(crate) fn output(call: &Value, text: &str) -> Value {
    json!({ "type": "function_call_output", "call_id": call["call_id"], "output": text })
}

/// Holds a stream to the rules that OpenAI's clients rest on.
pub(crate) fn check_stream(frames: &[Frame]) {
    let events: Vec<_> = frames.iter().map(Frame::json).collect();
    for (number, (frame, event)) in frames.iter().zip(&events).enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
        assert_eq!(event["type"], frame.event.as_str());
        assert!(frame.id.ends_with(&format!(":{number}")), "{}", frame.id);
    }
    assert_eq!(events[0]["type"], "response.created");
    let of_type = |kind: &'static str| events.iter().filter(move |event| event["type"] == kind);
    let done: Vec<_> = of_type("response.output_item.done").map(|it| it["item"].clone()).collect();
    let last = &events[events.len() - 1]["response"];
    if last["status"] == "completed" {
        assert_eq!(last["output"], json!(done));
    }
    assert!(
        events
            .iter()
            .all(|event| { event["response"].is_null() || event["response"]["id"] == last["id"] })
    );
    for (place, added) in of_type("response.output_item.added").enumerate() {
        assert_eq!(added["output_index"], place);
        let Some(done) = done.get(place) else { continue };
        assert_eq!(added["item"]["id"], done["id"]);
        let deltas = of_type("response.output_text.delta");
        let deltas = deltas.filter(|delta| delta["item_id"] == added["item"]["id"]);
        let text: String = deltas.filter_map(|delta| delta["delta"].as_str()).collect();
        let said = done["content"][0]["text"].as_str().unwrap_or_default();
        assert_eq!(text, said);
    }
}
