//! Responses that go on from others: chains, branches, and what cannot be gone on from.

use serde_json::{Value, json};

use crate::broker::{Broker, Setup};
use crate::respond::{Respond, Responded};

use super::{NOBODYS, status_of, told, with_model};

#[tokio::test]
async fn a_chain_of_responses_goes_on_in_one_upstream_session_with_only_what_is_new() {
    let broker = Broker::start().await;
    let first = Respond::to(&broker, "My name is Ann.").complete().await;
    let second = Respond::to(&broker, "count to 3").after(&first).streamed().complete().await;
    assert_eq!(second.body["previous_response_id"], first.id());
    let third = Respond::to(&broker, "What is my name?").after(&second).complete().await;
    assert!(third.text().contains("Ann"), "{}", third.text());
    let told = told(&broker).await;
    let texts: Vec<_> = told.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts, ["My name is Ann.", "count to 3", "What is my name?"]);
    assert!(told.iter().all(|(_, session)| *session == told[0].1), "{told:?}");
    assert!(broker.calls().await.iter().all(|call| call["history_messages"] == 0));
}

#[tokio::test]
async fn a_model_is_told_what_a_chain_of_responses_holds() {
    let broker = with_model().await;
    let say = |text| Respond::to(&broker, text).with("model", "claude");
    let first = say("my name is Ann").with("instructions", "you are a banker").complete().await;
    let second = say("what is my name?").after(&first).complete().await;
    assert_eq!(second.text(), "Your name is Ann.");
    assert_eq!(second.body["instructions"], Value::Null);
    let calls = broker.upstream().await["models"]["calls"].clone();
    assert!(calls[0]["request"]["system"].to_string().contains("banker"), "{calls}");
    assert!(!calls[1]["request"]["system"].to_string().contains("banker"), "not inherited");
}

#[tokio::test]
async fn two_responses_may_go_on_from_the_same_one() {
    let broker = Broker::start().await;
    let first = Respond::to(&broker, "My name is Ann.").complete().await;
    let ask = |text| Respond::to(&broker, text).after(&first);
    let one = ask("count to 2").complete().await;
    let two = ask("What is my name?").complete().await;
    assert!(two.text().contains("Ann"), "{}", two.text());
    // Each branch goes on for itself.
    let last = "what was my last message?";
    for (branch, said) in [(&one, "count to 2"), (&two, "What is my name?")] {
        let told = Respond::to(&broker, last).after(branch).complete().await;
        assert!(told.text().contains(said), "{}", told.text());
    }
    assert_eq!(ask("count to 1").complete().await.text().trim(), "1");
}

#[tokio::test]
async fn two_responses_may_go_on_from_the_same_one_at_once() {
    let broker = Broker::start().await;
    let first = Respond::to(&broker, "My name is Ann.").complete().await;
    let ask = || Respond::to(&broker, "What is my name?").after(&first).pace(100, 0);
    let (one, two, three) = (ask(), ask(), ask());
    let (one, two, three) = tokio::join!(one.complete(), two.complete(), three.complete());
    for branch in [&one, &two, &three] {
        assert!(branch.text().contains("Ann"), "{}", branch.text());
        assert_eq!(branch.body["previous_response_id"], first.id());
    }
    let upstream: std::collections::BTreeSet<_> =
        told(&broker).await.into_iter().map(|(_, session)| session).collect();
    assert_eq!(upstream.len(), 3, "each has an upstream session of its own");
}

#[tokio::test]
async fn a_response_that_is_not_there_cannot_be_gone_on_from() {
    let tables = "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\n\n\
                  [[keys]]\ntenant = \"globex\"\nkey = \"sk-globex-first-key\"\n";
    let broker = Broker::with(Setup { tables, ..Setup::default() }).await;
    let theirs = Respond::to(&broker, "hello").key("sk-acme-first-key").complete().await;
    for id in [theirs.id(), NOBODYS, "resp_1", "", "../etc"] {
        for streams in [false, true] {
            let ask = Respond::to(&broker, "hello")
                .key("sk-globex-first-key")
                .with("previous_response_id", id)
                .with("stream", streams);
            let refused = ask.send().await;
            let expected = (400, "previous_response_not_found", "previous_response_id");
            assert_eq!(refused.refusal(), expected, "{id}");
        }
    }
    assert_eq!(broker.calls().await.len(), 1);
}

#[tokio::test]
async fn a_response_that_runs_or_is_deleted_cannot_be_gone_on_from() {
    let broker = Broker::start().await;
    let running = Respond::to(&broker, "count to 400").in_background().pace(0, 10).send().await;
    let refused = Respond::to(&broker, "hello").after(&running).send().await;
    assert_eq!(refused.refusal().1, "previous_response_not_found");
    let first = Respond::to(&broker, "hello there").complete().await;
    assert_eq!(status_of(&broker, "DELETE", &first.path()).await.0, 200);
    let refused = Respond::to(&broker, "hello").after(&first).send().await;
    assert_eq!(refused.refusal().1, "previous_response_not_found");
}

#[tokio::test]
async fn a_response_goes_on_from_one_or_in_a_conversation_but_not_both() {
    let broker = Broker::start().await;
    let first = Respond::to(&broker, "hello").complete().await;
    let ask = || Respond::to(&broker, "hello").after(&first);
    let both = ask().with("conversation", "conv_1").send().await;
    assert_eq!((both.status, both.refusal().2), (400, "conversation"));
    let both = ask().header("x-session-id", "one").send().await;
    assert_eq!((both.status, both.refusal().2), (400, "previous_response_id"));
}

#[tokio::test]
async fn tokens_are_counted_with_what_a_request_goes_on_from() {
    let broker = Broker::start().await;
    let first = Respond::to(&broker, "count to 60").complete().await;
    let second = Respond::to(&broker, "count to 90").after(&first).complete().await;
    let made = broker.post(
        "/v1/conversations",
        &json!({ "items": [
        { "role": "user", "content": "word ".repeat(50) },
    ] }),
    );
    let made = made.send().await.json().await;
    let count = async |members: Value| {
        let mut body = json!({ "model": "agent", "input": "hello" });
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        Responded::of(broker.post("/v1/responses/input_tokens", &body).send().await).await
    };
    let tokens = async |members: Value| count(members).await.body["input_tokens"].as_u64().unwrap();
    let alone = tokens(json!({})).await;
    let after_one = tokens(json!({ "previous_response_id": first.id() })).await;
    let after_two = tokens(json!({ "previous_response_id": second.id() })).await;
    // Roughly: by their length until the vocabulary is loaded.
    assert!(
        after_one > alone + 40 && after_two > after_one + 60,
        "{alone} {after_one} {after_two}"
    );
    assert!(tokens(json!({ "conversation": made["id"] })).await >= alone + 40);
    let unknown = count(json!({ "previous_response_id": NOBODYS })).await;
    assert_eq!(
        unknown.refusal(),
        (400, "previous_response_not_found", "previous_response_id"),
        "{unknown:?}"
    );
    let unknown = count(json!({ "conversation": "conv_1" })).await;
    assert_eq!(unknown.refusal(), (404, "conversation_not_found", "conversation"));
    assert_eq!(broker.calls().await.len(), 2);
}
