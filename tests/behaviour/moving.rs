//! Sessions that are moved to another model.

use serde_json::{Value, json};

use super::ask::Answer;
use super::broker::{Broker, Setup, until};

const KEY: &str = "sk-acme-first-key";
const OTHER_KEY: &str = "sk-globex-first-key";
const TABLES: &str = "[[models]]\nname = \"other\"\nbackend = \"bedrock-agent\"\n\
                      agent_id = \"OTHER12345\"\n\n\
                      [[models]]\nname = \"secret\"\nbackend = \"bedrock-agent\"\n\
                      agent_id = \"SECRET1234\"\n\n\
                      [[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\n\
                      models = [\"agent\", \"other\"]\n\n\
                      [[keys]]\ntenant = \"globex\"\nkey = \"sk-globex-first-key\"\n";

async fn broker() -> Broker {
    Broker::with(Setup { tables: TABLES, ..Setup::default() }).await
}

async fn order(broker: &Broker, session: &str, body: &Value, key: &str) -> Answer {
    let path = format!("/v1/sessions/{session}/move");
    Answer::of(broker.post(&path, body).key(key).send().await).await
}

/// The calls that the agents answered; beside them one may be told that its session ended.
async fn turns(broker: &Broker) -> Vec<Value> {
    let mut calls = broker.calls().await;
    calls.retain(|call| call["end_session"] == false);
    calls
}

#[tokio::test]
async fn a_session_that_was_moved_says_where_to() {
    let broker = broker().await;
    let said = broker.ask("my name is Ann").session("one").key(KEY).text().await;
    let moved = order(&broker, "one", &json!({ "model": "other" }), KEY).await;
    assert_eq!(moved.status, 200, "{}", moved.body);
    assert_eq!(
        [&moved.body["id"], &moved.body["object"], &moved.body["moved_to"]],
        ["one", "session", "other"]
    );
    assert_eq!(moved.body["messages"][1]["content"], said);
    assert_eq!(turns(&broker).await.len(), 1, "a move asks nobody");
}

#[tokio::test]
async fn a_move_to_nowhere_or_of_nothing_is_refused() {
    let broker = broker().await;
    broker.ask("my name is Ann").session("one").key(KEY).text().await;
    let to = |model: &str| json!({ "model": model });
    let cases = [
        ("one", to("nobody"), KEY, 404, "model_not_found"),
        ("one", to("secret"), KEY, 403, "model_not_allowed"),
        ("one", to("two words"), KEY, 400, "invalid_request"),
        ("one", json!({}), KEY, 400, "invalid_request"),
        ("one", json!({ "model": 7 }), KEY, 400, "invalid_request"),
        ("one", json!([]), KEY, 400, "invalid_request"),
        ("nobody", to("other"), KEY, 404, "session_not_found"),
        ("one", to("other"), OTHER_KEY, 404, "session_not_found"),
    ];
    for (session, body, key, status, code) in cases {
        let refused = order(&broker, session, &body, key).await;
        assert_eq!((refused.status, &*refused.code()), (status, code), "{session} {body}");
    }
    let empty = broker.request("POST", "/v1/sessions/one/move").key(KEY).send().await;
    assert_eq!(empty.status, 400);
    let session = Answer::of(broker.get("/v1/sessions/one").key(KEY).send().await).await;
    assert!(session.body.get("moved_to").is_none(), "{}", session.body);
}

#[tokio::test]
async fn the_next_turn_is_answered_by_the_new_model_which_knows_the_conversation() {
    let broker = broker().await;
    broker.ask("my name is Ann").session("one").key(KEY).text().await;
    assert_eq!(order(&broker, "one", &json!({ "model": "other" }), KEY).await.status, 200);
    let next = broker.ask("what is my name?").session("one").key(KEY);
    assert_eq!(next.text().await, "Your name is Ann.");
    assert_eq!(next.with("messages", said("and now?")).answer().await.status, 200);
    let calls = turns(&broker).await;
    let agents: Vec<_> = calls.iter().map(|call| call["agent"].as_str().unwrap()).collect();
    assert_eq!(agents, ["AGENT12345", "OTHER12345", "OTHER12345"]);
    let histories: Vec<_> = calls.iter().map(|call| call["history_messages"].clone()).collect();
    assert_eq!(histories, [0, 2, 0]);
}

#[tokio::test]
async fn the_agent_that_a_session_leaves_is_told_that_it_ended() {
    let broker = broker().await;
    broker.ask("my name is Ann").session("one").key(KEY).text().await;
    assert_eq!(order(&broker, "one", &json!({ "model": "other" }), KEY).await.status, 200);
    until("the old agent to hear of it", async || {
        let calls = broker.calls().await;
        calls.iter().any(|call| call["agent"] == "AGENT12345" && call["end_session"] == true)
    })
    .await;
}

#[tokio::test]
async fn a_move_during_a_turn_holds_also_when_the_turn_fails() {
    let broker = broker().await;
    broker.ask("my name is Ann").session("one").key(KEY).text().await;
    let running = broker.ask("hello there").session("one").key(KEY).pace(500, 0).fault("cut");
    let running = running.request();
    let running = tokio::spawn(async move { running.send().await.status });
    broker.open_calls_become(1).await;
    assert_eq!(order(&broker, "one", &json!({ "model": "other" }), KEY).await.status, 200);
    assert_eq!(running.await.unwrap(), 502);
    let next = broker.ask("what is my name?").session("one").key(KEY);
    assert_eq!(next.text().await, "Your name is Ann.");
    assert_eq!(turns(&broker).await.last().unwrap()["agent"], "OTHER12345");
}

#[tokio::test]
async fn the_agent_of_a_turn_that_runs_is_told_of_the_end_after_it() {
    let broker = broker().await;
    let running = broker.ask("my name is Ann").session("one").key(KEY).pace(500, 0).request();
    let running = tokio::spawn(async move { running.send().await.text().await });
    broker.open_calls_become(1).await;
    assert_eq!(order(&broker, "one", &json!({ "model": "other" }), KEY).await.status, 200);
    assert!(broker.calls().await.iter().all(|call| call["end_session"] == false));
    assert!(running.await.unwrap().contains("Ann"));
    until("the old agent to hear of it", async || {
        broker.calls().await.iter().any(|call| call["end_session"] == true)
    })
    .await;
}

#[tokio::test]
async fn a_session_found_by_its_transcript_is_moved_as_well() {
    let broker = broker().await;
    let first = broker.ask("my name is Ann").key(KEY).answer().await;
    let moved = order(&broker, first.session(), &json!({ "model": "other" }), KEY).await;
    assert_eq!(moved.status, 200, "{}", moved.body);
    let transcript =
        [("user", "my name is Ann"), ("assistant", &first.text), ("user", "what is my name?")];
    let next = broker.send(&transcript).key(KEY).answer().await;
    assert_eq!((next.session(), &*next.text), (first.session(), "Your name is Ann."));
    assert_eq!(turns(&broker).await[1]["agent"], "OTHER12345");
}

fn said(text: &str) -> Value {
    json!([{ "role": "user", "content": text }])
}
