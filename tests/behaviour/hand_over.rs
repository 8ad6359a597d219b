//! Hand-overs that go wrong on the way: the session is always usable afterwards.

use serde_json::{Value, json};

use super::ask::{Answer, Ask};
use super::broker::{Broker, Setup, until};

/// The one call that an answer hands over.
fn call_id(answer: &Answer) -> String {
    assert_eq!(answer.finish_reason(), "tool_calls", "{answer:?}");
    let mut ids = answer.frames.iter().filter_map(|frame| {
        let id = frame.json().pointer("/choices/0/delta/tool_calls/0/id")?.as_str()?.to_owned();
        Some(id)
    });
    ids.next().unwrap()
}

fn result(id: &str, content: &str) -> Value {
    json!([{ "role": "tool", "tool_call_id": id, "content": content }])
}

fn results<'a>(broker: &'a Broker, session: &str, id: &str) -> Ask<'a> {
    broker.ask("").session(session).with("messages", result(id, "rain"))
}

/// Has a session wait for the result of one call.
async fn waiting(broker: &Broker, session: &str) -> String {
    let asked = broker.ask("call: forecast city=Oslo; then say: one two three four");
    call_id(&asked.session(session).answer().await)
}

#[tokio::test]
async fn a_session_goes_on_after_a_hand_over_whose_stream_broke() {
    let broker = Broker::start().await;
    let broken = broker.ask("my name is Ann").session("one").text().await;
    assert!(broken.contains("Ann"));
    let broken = broker.ask("call: forecast; fail: throttlingException").session("one");
    assert_eq!(broken.answer().await.code(), "upstream_throttled");
    let next = broker.ask("what is my name?").session("one").answer().await;
    assert_eq!((next.origin(), &*next.text), ("rehydrated", "Your name is Ann."));
}

#[tokio::test]
async fn a_barge_in_before_an_unseen_hand_over_leaves_a_usable_session() {
    let broker = Broker::start().await;
    broker.ask("my name is Ann").session("one").text().await;
    let said = "say: one two three four five six seven; call: forecast";
    let mut first = broker.ask(said).session("one").pace(0, 50).begin().await;
    while !first.frame().await.unwrap().text().contains("one") {}
    for _ in 0..2 {
        let next = broker.ask("what is my name?").session("one").policy("interrupt");
        assert_eq!(next.text().await, "Your name is Ann.");
    }
    let refused = broker.calls().await.iter().filter(|call| call["status"] == 400).count();
    assert_eq!(refused, 1, "the agent's session that waits is left");
}

#[tokio::test]
async fn results_whose_answer_broke_are_taken_again() {
    let broker = Broker::start().await;
    for fault in ["cut:1", "exception:internalServerException:1", "exception:throttlingException"] {
        let id = waiting(&broker, fault).await;
        let broken = results(&broker, fault, &id).fault(fault).whole().answer().await;
        assert!(broken.status >= 429, "{broken:?}");
        let again = results(&broker, fault, &id).text().await;
        assert!(again.contains("Result of forecast"), "{fault}: {again}");
        let calls = broker.calls().await;
        assert_eq!(calls.iter().filter(|call| call["results"] == 1).count(), 1, "{fault}");
        broker.forget_upstream().await;
    }
}

#[tokio::test]
async fn results_of_a_turn_that_its_client_left_are_taken_again() {
    let broker = Broker::start().await;
    let id = waiting(&broker, "one").await;
    let request = results(&broker, "one", &id).pace(60_000, 0).request();
    let leaving = tokio::spawn(async move { request.send().await });
    broker.open_calls_become(1).await;
    leaving.abort();
    broker.open_calls_become(0).await;
    until("the turn to be over", async || broker.session("one").await["state"] == "idle").await;
    assert!(results(&broker, "one", &id).text().await.contains("Result of forecast"));
}

#[tokio::test]
async fn results_go_to_the_stand_in_that_waits_for_them() {
    let model = "endpoint_url = \"http://127.0.0.1:9\"\nfallbacks = [\"second\"]";
    let tables = "[[models]]\nname = \"second\"\nbackend = \"bedrock-agent\"\n\
                  agent_id = \"SECOND2222\"\n";
    let settings = "turn.retries = 0";
    let broker = Broker::with(Setup { settings, model, tables, ..Setup::default() }).await;
    let id = waiting(&broker, "one").await;
    assert_eq!(results(&broker, "one", &id).text().await, "forecast says: rain one two three four");
    broker.metric_becomes("outcrop_tool_calls_pending", 0.0).await;
}
