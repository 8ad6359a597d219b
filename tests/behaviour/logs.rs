//! What operators read, and what is nobody's business.

use serde_json::{Value, json};

use super::broker::{Broker, Setup, until};

const KEY: &str = "sk-canary-key-of-acme";

/// A broker whose clients do a bit of everything, with canaries in all that is theirs.
async fn busy(level: &str) -> (Broker, Vec<String>) {
    let settings = format!("log.level = \"{level}\"\nturn.stall_timeout_seconds = 0.3");
    let tables = format!("[[keys]]\ntenant = \"acme\"\nkey = \"{KEY}\"\n");
    let broker =
        Broker::with(Setup { settings: &settings, tables: &tables, ..Setup::default() }).await;
    for secret in ["canary-", "5550100199", "canary wish", "canaryvalue"] {
        broker.keep_secret(secret);
    }
    let faults = [
        "none",
        "throttle",
        "access-denied",
        "validation",
        "cut:2",
        "garbage:2",
        "stall:2",
        "exception:internalServerException:1",
        "empty",
    ];
    let mut requests = Vec::new();
    for fault in faults {
        let ask = broker.ask("my canary wish is to borrow $777").key(KEY).fault(fault);
        let ask = ask
            .with("customer", json!({ "number": "+15550100199" }))
            .with("metadata", json!({ "note": "canaryvalue" }))
            .with("user", json!("canaryvalue"));
        requests.push(ask.answer().await.header("x-request-id").to_owned());
    }
    let wrong = broker.ask("my canary wish").key("sk-canary-wrong-key").answer().await;
    requests.push(wrong.header("x-request-id").to_owned());
    let broken = broker.request("POST", "/v1/chat/completions").key(KEY).body("{\"canary wish\":");
    requests.push(broken.send().await.header("x-request-id").to_owned());
    let body = json!({ "input_text": "my canary wish", "session_id": "one" });
    requests.push(
        broker
            .post("/api/agent/stream", &body)
            .key(KEY)
            .send()
            .await
            .header("x-request-id")
            .to_owned(),
    );
    let spoken = json!({ "spoken": "my canary wish" });
    broker.post("/v1/sessions/one/interrupt", &spoken).key(KEY).send().await;
    (broker, requests)
}

fn lines(log: &str) -> Vec<Value> {
    let parsed = log.lines().map(|line| serde_json::from_str(line).unwrap());
    parsed.collect()
}

#[tokio::test]
async fn every_line_is_json_and_every_line_about_a_turn_has_its_request_id() {
    let (broker, requests) = busy("info").await;
    // Lines are written by a thread of their own, which may lag behind the answers.
    let written = async || {
        let log = broker.log();
        log.ends_with('\n')
            && log.matches("\"turn ended\"").count() == 3
            && log.matches("\"turn failed\"").count() == 7
    };
    until("a line for each turn", written).await;
    let lines = lines(&broker.log());
    let of_turns = lines.iter().filter(|line| {
        line["target"].as_str().unwrap().starts_with("outcrop::session")
            || line["target"].as_str().unwrap().starts_with("outcrop::backend::bedrock_agent")
    });
    let mut counted = 0;
    for line in of_turns {
        let request = line["span"]["request_id"].as_str();
        assert!(requests.iter().any(|id| Some(id.as_str()) == request), "{line}");
        counted += 1;
    }
    assert!(counted >= 10, "{counted}");
    let ended = lines.iter().filter(|line| line["message"] == "turn ended").count();
    let failed = lines.iter().filter(|line| line["message"] == "turn failed").count();
    assert_eq!((ended, failed), (3, 7));
}

#[tokio::test]
async fn a_request_can_bring_the_id_by_which_it_is_found_in_the_log() {
    let broker = Broker::start().await;
    let answer = broker.ask("hello there").header("x-request-id", "trace-4711").answer().await;
    assert_eq!(answer.header("x-request-id"), "trace-4711");
    let found = async || broker.log().contains("\"request_id\":\"trace-4711\"");
    until("the id in the log", found).await;
}

#[tokio::test]
async fn nothing_that_clients_say_and_none_of_their_keys_is_logged_at_any_level() {
    for level in ["info", "debug", "trace"] {
        let (broker, _) = busy(level).await;
        until("the log", async || broker.log().lines().count() > 10).await;
        // The broker is held to its secrets when it is dropped.
        drop(broker);
    }
}
