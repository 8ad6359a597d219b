//! Calls over a voice platform, as Vapi makes them.

use serde_json::json;

use super::ask::{Answer, Ask};
use super::broker::Broker;

const NUMBER: &str = "+15550100199";

/// What Vapi sends for a turn of this call.
fn turn<'a>(broker: &'a Broker, call: &str, messages: &[(&str, &str)]) -> Ask<'a> {
    broker.keep_secret("5550100199");
    let customer = json!({ "number": NUMBER, "name": "Ann" });
    let call = json!({ "id": call, "type": "inboundPhoneCall", "customer": customer });
    broker
        .send(messages)
        .at("/api/chat/completions/")
        .with("temperature", json!(0.5))
        .with("max_tokens", json!(250))
        .with("phoneNumber", json!({ "number": "+15550199000", "twilioAuthToken": "sk-twilio" }))
        .with("metadata", json!({ "assistant": { "nested": [1, 2] } }))
        .with("customer", customer)
        .with("call", call)
        .without("stream")
}

#[tokio::test]
async fn the_path_of_voice_platforms_streams_by_default_and_obeys_when_told_not_to() {
    let broker = Broker::start().await;
    let ask = turn(&broker, "call-one", &[("user", "what loans do you offer?")]);
    let streamed = ask.answer().await;
    streamed.expect_ok();
    assert!(streamed.header("content-type").starts_with("text/event-stream"));
    assert!(streamed.is_done());
    let whole = ask.whole().answer().await;
    assert_eq!((whole.frames.len(), whole.body["object"].as_str()), (0, Some("chat.completion")));
    for path in ["/api/chat/completions", "/api/chat/completions/chat/completions"] {
        assert!(
            turn(&broker, "call-two", &[("user", "hello there")]).at(path).answer().await.is_done()
        );
    }
}

#[tokio::test]
async fn the_call_is_the_session_and_the_callers_number_reaches_the_agent() {
    let broker = Broker::start().await;
    let greeting = [("system", "You are a banker."), ("assistant", "Hello! How can I help?")];
    let mut messages = greeting.to_vec();
    messages.push(("user", "what number am I calling from?"));
    let first = turn(&broker, "7f1c-call-one", &messages).answer().await;
    assert_eq!(first.session(), "7f1c-call-one");
    assert_eq!(first.text, format!("You are calling from {NUMBER}."));
    messages.extend([("assistant", &*first.text), ("user", "my name is Ann")]);
    let second = turn(&broker, "7f1c-call-one", &messages).answer().await;
    assert_eq!(second.origin(), "continued");
    let other = turn(&broker, "7f1c-call-two", &[("user", "what is my name?")]).text().await;
    assert_eq!(other, "You have not told me your name yet.");
    let calls = broker.calls().await;
    assert_eq!(calls[0]["attributes"]["phone_number"], NUMBER);
    assert_eq!(calls[0]["input_text"], "what number am I calling from?");
    assert_eq!(calls[1]["input_text"], "my name is Ann");
    assert!(!calls.iter().any(|call| call.to_string().contains("twilio")));
}

#[tokio::test]
async fn a_caller_who_barges_in_is_answered_and_the_agents_answer_ends_where_it_was_heard() {
    let broker = Broker::start().await;
    let question = ("user", "count to 400");
    let mut first = turn(&broker, "call-one", &[question]).pace(0, 10).begin().await;
    for _ in 0..3 {
        first.first_text().await;
    }
    let messages = [question, ("assistant", "1 2"), ("user", "what was my last message?")];
    let second = turn(&broker, "call-one", &messages).policy("interrupt").answer().await;
    assert_eq!(second.text, "Your last message was: \"count to 400\"");
    Answer::of(first).await.expect_ok();
    let session = broker.session("call-one").await;
    assert_eq!(
        (&session["messages"][1]["content"], &session["messages"][1]["status"]),
        (&json!("1 2"), &json!("interrupted"))
    );
}
