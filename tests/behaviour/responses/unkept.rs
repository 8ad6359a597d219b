//! Responses that are not stored, and clients that keep all themselves.

use serde_json::{Value, json};

use crate::broker::Broker;
use crate::respond::{Respond, check_stream};

use super::with_model;

#[tokio::test]
async fn a_response_that_is_not_to_be_stored_is_gone_with_its_answer() {
    let broker = Broker::start().await;
    let whole = Respond::to(&broker, "count to 3").with("store", false).complete().await;
    let ask = Respond::to(&broker, "count to 3").with("store", false).streamed();
    let streamed = ask.complete().await;
    check_stream(&streamed.frames);
    for response in [whole, streamed] {
        assert_eq!(response.body["store"], false);
        for below in ["", "?stream=true", "/input_items"] {
            let gone = response.get(&broker, below).await;
            assert_eq!(gone.refusal().1, "response_not_found", "{below}");
        }
        let refused = Respond::to(&broker, "hello").after(&response).send().await;
        assert_eq!(refused.refusal().1, "previous_response_not_found");
    }
    let sessions = broker.get("/v1/sessions").send().await.json().await;
    assert_eq!(sessions["data"], json!([]));
}

#[tokio::test]
async fn a_response_that_is_not_stored_may_go_on_from_one_that_is_and_leaves_it_as_it_was() {
    let broker = Broker::start().await;
    let first = Respond::to(&broker, "My name is Ann.").complete().await;
    let aside = Respond::to(&broker, "What is my name?").after(&first).with("store", false);
    assert!(aside.complete().await.text().contains("Ann"));
    let next = Respond::to(&broker, "what was my last message?").after(&first).complete().await;
    assert!(next.text().contains("My name is Ann."), "{}", next.text());
}

#[tokio::test]
async fn a_client_that_keeps_all_itself_sends_all_of_it() {
    let broker = with_model().await;
    let ask =
        |input: Value| Respond::to(&broker, input).with("model", "claude").with("store", false);
    let question = json!({ "role": "user", "content": "my name is Ann" });
    let first = ask(json!([question])).complete().await;
    let mut input = vec![question];
    input.extend(first.body["output"].as_array().unwrap().clone());
    input.push(json!({ "role": "user", "content": "what is my name?" }));
    assert_eq!(ask(json!(input)).complete().await.text(), "Your name is Ann.");
}
