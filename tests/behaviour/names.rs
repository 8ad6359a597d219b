//! Sessions that clients name themselves.

use futures_util::future::join_all;
use serde_json::json;

use super::broker::{Broker, Setup};

#[tokio::test]
async fn of_several_names_the_first_in_the_order_of_precedence_counts() {
    let broker = Broker::start().await;
    let mut ask = broker
        .ask("Hello there")
        .session("by-header")
        .with("session_id", json!("by-body"))
        .with("conversation", json!({ "id": "by-conversation" }))
        .with("metadata", json!({ "session_id": "by-metadata" }))
        .with("call", json!({ "id": "by-call", "type": "webCall" }));
    assert_eq!(ask.answer().await.session(), "by-header");
    let body = [
        ("by-body", "session_id"),
        ("by-conversation", "conversation"),
        ("by-metadata", "metadata"),
        ("by-call", "call"),
    ];
    ask = ask.without_headers();
    for (name, member) in body {
        assert_eq!(ask.answer().await.session(), name);
        ask = ask.with(member, json!(null));
    }
    let unnamed = ask.answer().await;
    assert_eq!(unnamed.origin(), "new");
    assert!(!unnamed.session().starts_with("by-"));
    let mut listed = broker.get("/v1/sessions").send().await;
    assert_eq!(listed.json().await["data"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn a_named_session_takes_messages_that_are_only_what_is_new() {
    let broker = Broker::start().await;
    let ask = |text| broker.ask(text).session("call-7");
    let first = ask("my name is Ann").answer().await;
    let second = ask("what is my name?").answer().await;
    assert_eq!([first.origin(), second.origin()], ["new", "continued"]);
    assert_eq!(second.text, "Your name is Ann.");
    let session = broker.session("call-7").await;
    assert_eq!(
        (&session["turns"], &session["messages"][2]["content"]),
        (&json!(2), &json!("what is my name?"))
    );
}

#[tokio::test]
async fn a_named_session_takes_whole_transcripts_too_and_sends_up_what_is_new() {
    let broker = Broker::start().await;
    let first = broker.ask("my name is Ann").session("call-7").answer().await;
    let messages = [("user", "my name is Ann"), ("assistant", &*first.text), ("user", "who am I?")];
    let second = broker.send(&messages).session("call-7").answer().await;
    assert_eq!(second.origin(), "continued");
    assert_eq!(second.text, "Your name is Ann.");
    let calls = broker.calls().await;
    assert_eq!(calls[1]["input_text"], "who am I?");
    assert_eq!(calls[0]["session"], calls[1]["session"]);
}

#[tokio::test]
async fn a_named_session_whose_transcript_was_edited_forks_and_keeps_the_old_branch() {
    let broker = Broker::start().await;
    let first = broker.ask("my name is Ann").session("call-7").answer().await;
    broker.ask("I want to borrow $5,000").session("call-7").text().await;
    let edited = [
        ("user", "my name is Ann"),
        ("assistant", &*first.text),
        ("user", "I want to borrow $9,000"),
    ];
    let forked = broker.send(&edited).session("call-7").answer().await;
    assert_eq!((forked.origin(), forked.session()), ("forked", "call-7"));
    let amount = broker.ask("how much did I want to borrow?").session("call-7").text().await;
    assert_eq!(amount, "You want to borrow $9,000.");
    let listed = broker.get("/v1/sessions").send().await.json().await;
    let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|s| s["id"].clone()).collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
    let branch = ids.iter().find(|id| **id != "call-7").unwrap().as_str().unwrap();
    let old = broker.session(branch).await;
    assert_eq!(old["messages"][2]["content"], "I want to borrow $5,000");
}

#[tokio::test]
async fn a_transcript_under_a_name_that_nobody_holds_seeds_the_session() {
    let broker = Broker::start().await;
    let messages = [("user", "my name is Ann"), ("assistant", "Hello Ann."), ("user", "who am I?")];
    let answer = broker.send(&messages).session("call-7").answer().await;
    assert_eq!((answer.origin(), &*answer.text), ("rehydrated", "Your name is Ann."));
}

#[tokio::test]
async fn the_same_name_under_another_tenant_is_another_session() {
    let tables = "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\n\n\
                  [[keys]]\ntenant = \"globex\"\nkey = \"sk-globex-first-key\"\n";
    let broker = Broker::with(Setup { tables, ..Setup::default() }).await;
    let ask = |text, key| broker.ask(text).session("call-7").key(key);
    ask("my name is Ann", "sk-acme-first-key").text().await;
    let theirs = ask("what is my name?", "sk-globex-first-key").answer().await;
    assert_eq!(theirs.origin(), "new");
    assert_eq!(theirs.text, "You have not told me your name yet.");
    assert_eq!(ask("what is my name?", "sk-acme-first-key").text().await, "Your name is Ann.");
}

#[tokio::test]
async fn a_name_that_cannot_be_one_is_refused_with_the_field_that_holds_it() {
    let broker = Broker::start().await;
    for id in ["white space", "café au lait", &"x".repeat(300)] {
        let by_header = broker.ask("Hello there").session(id).answer().await;
        assert_eq!(
            (by_header.status, by_header.error()["param"].as_str()),
            (400, Some("x-session-id")),
            "{id}"
        );
        let by_body = broker.ask("Hello there").with("session_id", json!(id)).answer().await;
        assert_eq!(
            (by_body.status, by_body.error()["param"].as_str()),
            (400, Some("session_id")),
            "{id}"
        );
    }
    assert_eq!(broker.calls().await.len(), 0);
}

#[tokio::test]
async fn two_hundred_sessions_at_once_keep_their_own_memories() {
    let broker = Broker::start().await;
    let letters = ('A'..='Z').flat_map(|one| ('a'..='h').map(move |two| format!("{one}{two}ri")));
    let names: Vec<String> = letters.take(200).collect();
    let introduce = |name: &String| {
        let ask = broker.ask(&format!("my name is {name}")).session(&format!("of-{name}"));
        async move { ask.text().await }
    };
    join_all(names.iter().map(introduce)).await;
    let recall = |name: &String| {
        let ask = broker.ask("what is my name?").session(&format!("of-{name}"));
        async move { ask.text().await }
    };
    let recalled = join_all(names.iter().map(recall)).await;
    for (name, answer) in names.iter().zip(recalled) {
        assert_eq!(answer, format!("Your name is {name}."));
    }
    let upstream = broker.upstream().await;
    assert_eq!((&upstream["sessions_total"], &upstream["calls_total"]), (&json!(200), &json!(400)));
    assert_eq!(upstream["max_concurrent_per_session"], 1);
}

#[tokio::test]
async fn a_session_that_goes_on_with_another_model_takes_its_history_along() {
    let tables =
        "[[models]]\nname = \"other\"\nbackend = \"bedrock-agent\"\nagent_id = \"OTHER12345\"\n";
    let broker = Broker::with(Setup { tables, ..Setup::default() }).await;
    broker.ask("my name is Ann").session("one").text().await;
    let ask = broker.ask("what is my name?").session("one").with("model", json!("other"));
    let answer = ask.answer().await;
    assert_eq!((answer.origin(), &*answer.text), ("rehydrated", "Your name is Ann."));
    let calls = broker.calls().await;
    assert_eq!(
        (&calls[1]["agent"], &calls[1]["history_messages"]),
        (&json!("OTHER12345"), &json!(2))
    );
}

#[tokio::test]
async fn a_model_may_give_each_key_one_session_and_only_to_those_who_name_none() {
    let tables = "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\n\n\
                  [[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-second-key\"\n";
    let model = "session_per_key = true";
    let broker = Broker::with(Setup { tables, model, ..Setup::default() }).await;
    let (first, second) = ("sk-acme-first-key", "sk-acme-second-key");
    broker.ask("my name is Ann").key(first).text().await;
    let ask = || broker.ask("what is my name?");
    assert_eq!(ask().key(first).text().await, "Your name is Ann.");
    assert_eq!(ask().key(second).text().await, "You have not told me your name yet.");
    let named = ask().key(first).session("one").answer().await;
    assert_eq!((named.origin(), &*named.text), ("new", "You have not told me your name yet."));
}

#[tokio::test]
async fn without_matching_every_request_that_names_no_session_is_one_of_its_own() {
    let settings = "session.match_transcripts = false";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let mut client = super::ask::Stateless::new(&broker);
    let first = client.say("my name is Ann").await;
    let second = client.say("what is my name?").await;
    assert_eq!([first.origin(), second.origin()], ["new", "rehydrated"]);
    assert_ne!(first.session(), second.session());
    assert_eq!(second.text, "Your name is Ann.");
}
