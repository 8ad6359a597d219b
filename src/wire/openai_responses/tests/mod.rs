use std::time::Duration;

use serde_json::{Value, json};

use crate::turn::{
    Confirmation, FinishReason, ModelName, RequestId, SessionId, Thought, TurnRequest,
};

use super::*;

mod decoding;
mod encoding;
mod invariants;
mod likelihoods;
mod listing;
mod tools;

const SUFFIX: &str = "00112233445566778899aabbccddeeff";

fn turn() -> TurnId {
    TurnId::from_suffix(SUFFIX).unwrap()
}

fn head() -> Head {
    Head {
        turn: turn(),
        session: "s".parse::<SessionId>().unwrap(),
        request: RequestId::generate(),
        model: "agent-support".parse::<ModelName>().unwrap(),
        created: UNIX_EPOCH + Duration::from_secs(1_767_225_600),
        agent: None,
        previous: None,
        is_background: false,
        echo: None,
    }
}

/// The head of the answer to a request that says this besides its input.
fn head_of(mut body: Value) -> Head {
    body["input"] = json!("hi");
    Head { echo: decoded(&body).echo, ..head() }
}

fn decode(body: &Value) -> Result<Asked, Failure> {
    Responses.decode(body.to_string().as_bytes(), &Defaults::default())
}

fn decoded(body: &Value) -> TurnRequest {
    decode(body).unwrap().request
}

fn refused(body: Value) -> Failure {
    decode(&body).unwrap_err()
}

fn param(failure: &Failure) -> &str {
    failure.param.as_deref().unwrap_or_default()
}

fn text(text: &str) -> TurnEvent {
    TurnEvent::Text(text.into())
}

fn call(index: u32, id: &str, name: &str) -> TurnEvent {
    let confirmation = Confirmation::None;
    TurnEvent::ToolCallStarted { index, id: id.into(), name: name.into(), confirmation }
}

fn arguments(index: u32, delta: &str) -> TurnEvent {
    TurnEvent::ToolCallArguments { index, delta: delta.into() }
}

fn thought(text: &str, signature: &str) -> TurnEvent {
    let (text, signature) = (text.to_owned(), Some(signature.to_owned()));
    TurnEvent::Thought(Thought::Text { text, signature }.into())
}

fn finished() -> TurnEvent {
    TurnEvent::Finished(FinishReason::Stop)
}

/// All that a stream of these events is.
fn streamed(head: &Head, starting_after: Option<u64>, events: &[TurnEvent]) -> String {
    let options = Options { starting_after, ..Options::default() };
    let mut encoder = Responses.encoder(head.clone(), options);
    let mut out = BytesMut::new();
    encoder.open(&mut out);
    for (sequence, event) in (1..).zip(events) {
        encoder.event(sequence, event, &mut out);
    }
    String::from_utf8(out.to_vec()).unwrap()
}

/// The documents of a stream, each with the name of its event in agreement.
fn documents(stream: &str) -> Vec<Value> {
    let frames = stream.split_terminator("\n\n").map(|frame| {
        let lines: Vec<_> = frame.split('\n').collect();
        let [event, id, data] = lines.try_into().expect("three lines make a frame");
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(event, format!("event: {}", data["type"].as_str().unwrap()));
        assert_eq!(id, format!("id: {}:{}", turn(), data["sequence_number"]));
        data
    });
    frames.collect()
}

fn whole(head: &Head, events: &[TurnEvent]) -> Value {
    serde_json::from_slice(&Responses.whole(head, Options::default(), events)).unwrap()
}
