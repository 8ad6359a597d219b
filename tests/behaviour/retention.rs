//! What goes by itself from a store in a file, and what stays.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::ask::Answer;
use super::broker::{Broker, Setup, new_folder, outcrop, until};
use super::respond::Respond;

const ACME: &str = "sk-acme-first-key";
const GLOBEX: &str = "sk-globex-first-key";
const KEYS: &str = "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\n\n\
                    [[keys]]\ntenant = \"globex\"\nkey = \"sk-globex-first-key\"\n";
/// So long is what is said; a session of it takes some more than twice as much, with its turn.
const LENGTH: usize = 5_000;

/// A broker with two tenants, each of which may hold so much.
async fn broker_of(tenant_bytes: usize) -> Broker {
    let settings = format!(
        "store.kind = \"sqlite\"\nstore.path = \"sessions.db\"\n\
         store.tenant_bytes = {tenant_bytes}\nsession.resident_seconds = 0.4"
    );
    Broker::with(Setup { settings: &settings, tables: KEYS, ..Setup::default() }).await
}

/// Says something long in a session.
async fn speak(broker: &Broker, key: &str, session: &str) {
    let said = format!("{session} {}", "says much ".repeat(LENGTH / 10));
    broker.ask(&said).key(key).session(session).text().await;
}

async fn is_there(broker: &Broker, key: &str, session: &str) -> bool {
    let path = format!("/v1/sessions/{session}");
    broker.get(&path).key(key).send().await.status == 200
}

async fn sessions(broker: &Broker, key: &str) -> Vec<String> {
    let listed = broker.get("/v1/sessions?limit=100").key(key).send().await.json().await;
    let listed = listed["data"].as_array().unwrap().clone();
    listed.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_tenant_that_holds_too_much_loses_the_sessions_idle_the_longest_and_others_lose_none() {
    let broker = broker_of(60_000).await;
    for session in ["x", "y", "z"] {
        speak(&broker, GLOBEX, session).await;
    }
    // The oldest of all, and in use all the while.
    broker.ask("hello there").key(ACME).session("busy").text().await;
    let running = broker.ask("count to 400").key(ACME).session("busy").pace(0, 20).begin().await;
    for session in ["a", "b", "c", "d"] {
        speak(&broker, ACME, session).await;
    }
    broker.ask("and now?").key(ACME).session("a").text().await;
    for session in ["e", "f", "g"] {
        speak(&broker, ACME, session).await;
    }
    let order = ["b", "c", "d", "a", "e", "f", "g"];
    until("the oldest to go", async || !is_there(&broker, ACME, "b").await).await;
    let mut left = sessions(&broker, ACME).await;
    assert!(left.contains(&"busy".to_owned()), "{left:?}");
    left.retain(|session| session != "busy");
    left.reverse();
    assert!(!left.is_empty() && left.len() < order.len(), "{left:?}");
    assert_eq!(left, order[order.len() - left.len()..], "those idle the longest went");
    assert_eq!(sessions(&broker, GLOBEX).await, ["z", "y", "x"]);
    let whole = Answer::of(running).await;
    whole.expect_ok();
    assert!(whole.text.trim_end().ends_with("400"), "{}", whole.text);
    assert!(is_there(&broker, ACME, "busy").await);
}

#[tokio::test]
async fn a_session_that_grows_makes_others_go_though_none_is_new() {
    let broker = broker_of(60_000).await;
    speak(&broker, GLOBEX, "x").await;
    for session in ["a", "b"] {
        speak(&broker, ACME, session).await;
    }
    for _ in 0..6 {
        speak(&broker, ACME, "b").await;
    }
    until("the other one to go", async || !is_there(&broker, ACME, "a").await).await;
    // It holds more than all may, alone; and stays.
    assert_eq!(sessions(&broker, ACME).await, ["b"]);
    assert_eq!(broker.get("/v1/sessions/b").key(ACME).send().await.json().await["turns"], 7);
    assert!(is_there(&broker, GLOBEX, "x").await);
    let evicted = broker.metric("outcrop_sessions_ended_total", &["reason=\"evicted\""]).await;
    assert!((evicted - 1.0).abs() < 0.1, "{evicted}");
}

fn exported(folder: &Path, file: &Path) -> Vec<Value> {
    let arguments = ["store", "export", "--store", file.to_str().unwrap()];
    let done = outcrop(folder, &arguments).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let lines = String::from_utf8(done.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn sessions_that_nobody_speaks_in_leave_the_file_with_their_responses() {
    let folder = new_folder();
    let file = folder.join("sessions.db");
    let settings = format!(
        "store.kind = \"sqlite\"\nstore.path = \"{}\"\nsession.resident_seconds = 0.2\n\
         session.expire_seconds = 0.6",
        file.display()
    );
    let broker = Broker::with(Setup { settings: &settings, ..Setup::default() }).await;
    let response = Respond::to(&broker, "my name is Ann").complete().await;
    let conversation = broker.ask("my name is Bob").session("one");
    conversation.text().await;
    assert!(exported(&folder, &file).len() >= 3);
    until("all to be forgotten", async || exported(&folder, &file).is_empty()).await;
    assert_eq!(response.get(&broker, "").await.refusal().1, "response_not_found");
    let gone = Respond::to(&broker, "and now?").after(&response).send().await;
    assert_eq!(gone.refusal().1, "previous_response_not_found");
    assert_eq!(conversation.answer().await.origin(), "new");
    drop(broker);
    fs::remove_dir_all(folder).unwrap();
}
