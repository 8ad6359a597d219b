//! Sessions that are moved to another model.

use serde_json::{Value, json};

use super::ask::Answer;
use super::broker::{Broker, Setup};

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
    assert_eq!(broker.calls().await.len(), 1, "a move asks nobody");
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
