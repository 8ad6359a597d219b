//! Sessions that rest, come back, and end.

use std::time::Duration;

use super::ask::Stateless;
use super::broker::{Broker, Setup, until};

#[tokio::test]
async fn an_idle_session_leaves_memory_and_comes_back_with_the_next_turn() {
    let settings = "session.resident_seconds = 0.3";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    broker.ask("my name is Ann").session("one").text().await;
    let mut client = Stateless::new(&broker);
    client.say("my name is Bob").await;
    broker.metric_becomes("outcrop_sessions_resident", 0.0).await;
    assert_eq!(broker.session("one").await["state"], "passivated");
    let named = broker.ask("what is my name?").session("one").answer().await;
    assert_eq!((named.origin(), &*named.text), ("revived", "Your name is Ann."));
    let resent = client.say("what is my name?").await;
    assert_eq!((resent.origin(), &*resent.text), ("revived", "Your name is Bob."));
    let calls = broker.calls().await;
    assert_eq!(calls[0]["session"], calls[2]["session"], "the upstream session goes on");
    assert_eq!(calls[2]["history_messages"], 0);
    assert!((broker.metric("outcrop_sessions_revived_total", &[]).await - 2.0).abs() < 0.1);
}

#[tokio::test]
async fn a_session_with_a_turn_running_does_not_rest() {
    let settings = "session.resident_seconds = 0.2";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let text = broker.ask("count to 50").session("one").pace(0, 20).text().await;
    assert!(text.trim_end().ends_with("50"), "{text}");
}

#[tokio::test]
async fn a_session_that_its_upstream_forgot_is_told_again_from_its_history() {
    let broker = Broker::with(Setup {
        model: "idle_session_ttl_seconds = 1",
        agent_remembers: Some(Duration::from_secs(1)),
        ..Setup::default()
    })
    .await;
    let mut client = Stateless::new(&broker);
    client.say("my name is Ann").await;
    broker.ask("my name is Bob").session("one").text().await;
    // Nothing happens when an agent forgets: only time passes.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let resent = client.say("what is my name?").await;
    assert_eq!((resent.origin(), &*resent.text), ("rehydrated", "Your name is Ann."));
    let named = broker.ask("what is my name?").session("one").answer().await;
    assert_eq!((named.origin(), &*named.text), ("rehydrated", "Your name is Bob."));
    let calls = broker.calls().await;
    for (before, after) in [(0, 2), (1, 3)] {
        assert_ne!(calls[before]["session"], calls[after]["session"]);
        assert_eq!(calls[after]["history_messages"], 2);
    }
    assert_eq!(client.say("thanks a lot").await.origin(), "continued");
    assert!((broker.metric("outcrop_sessions_rehydrated_total", &[]).await - 2.0).abs() < 0.1);
}

#[tokio::test]
async fn a_session_without_turns_for_long_is_forgotten() {
    let settings = "session.resident_seconds = 0.2\nsession.expire_seconds = 0.5";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    broker.ask("my name is Ann").session("one").text().await;
    assert_eq!(broker.session("one").await["turns"], 1);
    let status = async || broker.get("/v1/sessions/one").send().await.status;
    until("the session to expire", async || status().await == 404).await;
    assert_eq!(broker.session("one").await["error"]["code"], "session_not_found");
    let again = broker.ask("what is my name?").session("one").answer().await;
    assert_eq!((again.origin(), &*again.text), ("new", "You have not told me your name yet."));
    let counted = broker.metric("outcrop_sessions_ended_total", &["reason=\"expired\""]).await;
    assert!((counted - 1.0).abs() < 0.1, "{counted}");
}

#[tokio::test]
async fn a_tenant_with_as_many_sessions_as_it_may_hold_loses_the_oldest() {
    let settings = "session.max_per_tenant = 3";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let mut sessions = Vec::new();
    for number in 0..2 {
        let answer = broker.ask(&format!("hello number {number}")).answer().await;
        sessions.push(answer.session().to_owned());
    }
    for name in ["by-name", "by-name-too", "by-name"] {
        sessions
            .push(broker.ask("hello by name").session(name).answer().await.session().to_owned());
    }
    let listed = broker.get("/v1/sessions").send().await.json().await;
    let ids = listed["data"].as_array().unwrap().iter().map(|held| held["id"].as_str().unwrap());
    let ids: Vec<_> = ids.collect();
    assert_eq!(ids, ["by-name", "by-name-too", &sessions[1]], "the last active first");
}

#[tokio::test]
async fn a_long_conversation_keeps_its_newest_turns() {
    let settings = "session.history_messages = 4";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    for number in 1..=4 {
        broker.ask(&format!("hello number {number}")).session("one").text().await;
    }
    let session = broker.session("one").await;
    let messages = session["messages"].as_array().unwrap();
    assert_eq!((messages.len(), &session["turns"]), (4, &4.into()));
    assert_eq!(messages[0]["content"], "hello number 3");
}

#[tokio::test]
async fn a_conversation_longer_than_what_is_kept_of_it_goes_on() {
    let settings = "session.history_messages = 4";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let mut client = Stateless::new(&broker);
    let mut named = Stateless::new(&broker);
    client.say("my name is Ann").await;
    named.transcript.clone_from(&client.transcript);
    broker.ask("my name is Ann").session("one").text().await;
    for number in 1..=4 {
        let said = format!("hello number {number}");
        assert_eq!(client.say(&said).await.origin(), "continued", "{said}");
        let by_name = named.next(&said).session("one").answer().await;
        assert_eq!(by_name.origin(), "continued", "{said} by name");
        named.transcript.clone_from(&client.transcript);
        let calls = broker.calls().await;
        assert!(calls[calls.len() - 2..].iter().all(|call| call["input_text"] == *said), "{said}");
    }
    assert_eq!(client.say("what is my name?").await.text, "Your name is Ann.");
}
