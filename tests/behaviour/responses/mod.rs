//! OpenAI's Responses: made, gone on from, kept, read again, cancelled and deleted.

use serde_json::Value;

use super::broker::{Broker, Setup};
use super::client::Frame;
use super::respond::Responded;

mod background;
mod creating;
mod functions;
mod going_on;
mod kept;
mod repeats;
mod too_long;
mod unkept;

const MODEL: &str = "[[models]]\nname = \"claude\"\nbackend = \"bedrock\"\n\
                     model_id = \"us.anthropic.claude-sonnet-4-20250514-v1:0\"\n";
const NOBODYS: &str = "resp_00000000000000000000000000000000";

async fn with_model() -> Broker {
    Broker::with(Setup { tables: MODEL, ..Setup::default() }).await
}

/// What was said to the agent, with the upstream session that it was said in.
async fn told(broker: &Broker) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let calls = broker.calls().await;
    calls.iter().map(|call| (text(&call["input_text"]), text(&call["session"]))).collect()
}

async fn status_of(broker: &Broker, method: &'static str, path: &str) -> (u16, String) {
    let reply = Responded::of(broker.request(method, path).send().await).await;
    (reply.status, reply.refusal().1.to_owned())
}

fn kinds(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(|frame| frame.event.as_str()).collect()
}
