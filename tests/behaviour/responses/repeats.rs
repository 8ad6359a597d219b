//! Requests that come again under the name of the first.

use serde_json::json;

use crate::broker::Broker;
use crate::respond::{Respond, Responded};

#[tokio::test]
async fn a_request_that_is_sent_twice_at_once_under_one_name_runs_once() {
    let broker = Broker::start().await;
    let ask =
        || Respond::to(&broker, "count to 5").pace(100, 0).header("idempotency-key", "order-7");
    let (one, two) = (ask(), ask());
    let (one, two) = tokio::join!(one.complete(), two.complete());
    assert_eq!(one.body, two.body);
    let late = ask().complete().await;
    assert_eq!(late.body, one.body);
    let is_replayed = |it: &Responded| it.head.contains("idempotent-replayed: true");
    assert!(is_replayed(&one) != is_replayed(&two) && is_replayed(&late));
    assert_eq!(broker.calls().await.len(), 1);
    let streamed = ask().streamed().send().await;
    assert_eq!(streamed.refusal(), (422, "idempotency_key_reused", "Idempotency-Key"));
    for wrong in ["", "two words", &"x".repeat(256)] {
        let refused = Respond::to(&broker, "hello").header("idempotency-key", wrong).send().await;
        assert_eq!((refused.status, refused.refusal().2), (400, "Idempotency-Key"), "{wrong}");
    }
}

#[tokio::test]
async fn every_way_to_ask_heeds_the_name_of_a_request() {
    let broker = Broker::start().await;
    let chat = broker.ask("count to 3").header("idempotency-key", "chat-1");
    let first = chat.answer().await;
    let second = chat.answer().await;
    assert_eq!((&first.frames, second.header("idempotent-replayed")), (&second.frames, "true"));
    assert_eq!(first.header("idempotent-replayed"), "");
    let message = json!({ "model": "agent", "max_tokens": 50,
                          "messages": [{ "role": "user", "content": "count to 3" }] });
    let ask = || broker.post("/v1/messages", &message).header("idempotency-key", "claude-1");
    let (one, two) = (ask().send().await.json().await, ask().send().await.json().await);
    assert_eq!(one, two);
    assert_eq!(broker.calls().await.len(), 2);
    let failing =
        Respond::to(&broker, "hello").fault("dependency").header("idempotency-key", "bad");
    for _ in 0..2 {
        assert_eq!(failing.send().await.status, 502, "what failed is run again");
    }
    assert_eq!(broker.calls().await.len(), 4);
}
