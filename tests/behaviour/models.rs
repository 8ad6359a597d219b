//! Sessions with models that remember nothing themselves.

use serde_json::{Value, json};

use super::ask::Stateless;
use super::broker::{Broker, Setup, until};

const TABLES: &str = "[[models]]\nname = \"claude\"\nbackend = \"bedrock\"\n\
                      model_id = \"us.anthropic.claude-sonnet-4-20250514-v1:0\"\n\n\
                      [[models]]\nname = \"whole\"\nbackend = \"bedrock\"\nstream = false\n\
                      model_id = \"amazon.nova-lite-v1:0\"\n";

async fn broker() -> Broker {
    let settings = "routing.allow_direct = true";
    Broker::with(Setup { settings, tables: TABLES, ..Setup::default() }).await
}

/// The calls that the models saw, oldest first.
async fn calls(broker: &Broker) -> Vec<Value> {
    broker.upstream().await["models"]["calls"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_model_remembers_by_the_sessions_history() {
    let broker = broker().await;
    for model in ["claude", "whole", "us.anthropic.claude-opus-4-7", "bedrock/amazon.nova-pro-v1:0"]
    {
        let said = |text| broker.ask(text).with("model", json!(model)).session(model);
        let first = said("my name is Ann").answer().await;
        first.expect_ok();
        assert_eq!(first.origin(), "new", "{model}");
        // Only what is new comes from the client: the rest is the session's.
        let second = said("what is my name?").whole().answer().await;
        assert_eq!((second.status, &*second.text), (200, "Your name is Ann."), "{second:?}");
        assert_eq!(second.origin(), "continued", "{model}");
        let usage = &second.body["usage"];
        assert!(usage["prompt_tokens"].as_u64() > Some(5), "{usage}");
    }
}

#[tokio::test]
async fn a_client_that_resends_all_of_it_is_recognised() {
    let broker = broker().await;
    let mut client = Stateless::new(&broker);
    client.say("my name is Ann").await;
    let next = client.next("what is my name?").with("model", json!("claude")).answer().await;
    assert_eq!(next.text, "Your name is Ann.");
}

#[tokio::test]
async fn the_first_word_comes_before_the_last_is_written() {
    let broker = broker().await;
    let slow = "words: 30; outcrop-emulator-chunk-ms: 100";
    let ask = broker.ask(slow).with("model", json!("claude")).session("one");
    let mut reply = ask.begin().await;
    let (_, text) = reply.first_text().await;
    assert!(!text.is_empty());
    assert_eq!(broker.upstream().await["models"]["calls_open"], 1, "it is still being written");
    reply.hang_up();
    until("the call to end", async || broker.upstream().await["models"]["calls_open"] == 0).await;
    let next = broker.ask("hello again").with("model", json!("claude")).session("one");
    next.answer().await.expect_ok();
}

#[tokio::test]
async fn a_model_that_fails_is_a_status_before_its_first_word_and_a_frame_after_it() {
    let settings = "turn.first_event_timeout_seconds = 0.5\nturn.stall_timeout_seconds = 0.5\n\
                    turn.retries = 1";
    let setup = Setup { settings, tables: TABLES, ..Setup::default() };
    let broker = Broker::with(setup).await;
    let cases = [
        ("throttle", 429, "upstream_throttled"),
        ("validation", 400, "upstream_rejected"),
        ("context-overflow", 400, "context_length_exceeded"),
        ("access-denied", 404, "model_not_found"),
        ("expired-token", 502, "upstream_denied"),
        ("model-error", 502, "upstream_dependency"),
        ("503", 503, "upstream_unavailable"),
        ("stall-headers", 504, "upstream_timeout"),
        ("cut:0", 502, "upstream_protocol"),
        ("exception:throttlingException:0", 429, "upstream_throttled"),
    ];
    for (fault, status, code) in cases {
        let text = format!("words: 30; outcrop-emulator-fault: {fault}");
        let ask = broker.ask(&text).with("model", json!("claude")).session(fault);
        for ask in [ask.clone(), ask.whole()] {
            let answer = ask.answer().await;
            assert_eq!((answer.status, &*answer.code()), (status, code), "{fault}: {answer:?}");
        }
    }
    let late = [
        ("cut:3", "upstream_protocol"),
        ("end:3", "upstream_protocol"),
        ("garbage:3", "upstream_protocol"),
        ("stall:3", "upstream_timeout"),
        ("exception:modelStreamErrorException:3", "upstream_dependency"),
    ];
    for (fault, code) in late {
        let text = format!("words: 30; outcrop-emulator-fault: {fault}");
        let ask = broker.ask(&text).with("model", json!("claude")).session(fault);
        let answer = ask.answer().await;
        assert_eq!((answer.status, &*answer.code()), (200, code), "{fault}: {answer:?}");
        assert!(!answer.text.is_empty() && !answer.is_done(), "{fault}: {answer:?}");
        let next = broker.ask("hello again").with("model", json!("claude")).session(fault);
        next.answer().await.expect_ok();
    }
}

#[tokio::test]
async fn an_answer_ends_for_the_reason_that_the_model_gives() {
    let broker = broker().await;
    for (reason, expected) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
    ] {
        let text = format!("say: We offer loans; stop: {reason}");
        let answer = broker.ask(&text).with("model", json!("claude")).answer().await;
        answer.expect_ok();
        assert_eq!(answer.finish_reason(), expected, "{reason}");
    }
}

#[tokio::test]
async fn a_picture_is_seen_and_an_address_inside_is_not_looked_at() {
    let broker = broker().await;
    let parts = |url: &str| {
        json!([{"role": "user", "content": [
            {"type": "text", "text": "What do you see?"},
            {"type": "image_url", "image_url": {"url": url}},
        ]}])
    };
    let ask = broker.ask("").with("model", json!("claude"));
    let png = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB";
    let seen = ask.clone().with("messages", parts(png)).session("one").answer().await;
    seen.expect_ok();
    assert!(seen.text.contains("image"), "{}", seen.text);
    let next = broker.ask("and now?").with("model", json!("claude")).session("one");
    next.answer().await.expect_ok();
    let inside = "http://169.254.169.254/latest/meta-data/";
    let refused = ask.with("messages", parts(inside)).answer().await;
    assert_eq!((refused.status, &*refused.code()), (400, "unsupported_parameter"));
    assert_eq!(refused.error()["param"], "messages");
}

#[tokio::test]
async fn a_key_of_the_environment_stands_in_for_credentials() {
    let variables = [("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-of-ours")];
    let setup = Setup { tables: TABLES, variables: &variables, ..Setup::default() };
    let broker = Broker::with(setup).await;
    broker.keep_secret("bedrock-api-key-of-ours");
    let answer = broker.ask("hello").with("model", json!("claude")).answer().await;
    answer.expect_ok();
    assert_eq!(calls(&broker).await[0]["authorization"], "bearer");
}

#[tokio::test]
async fn a_model_answers_for_an_agent_that_cannot() {
    let model = "endpoint_url = \"http://127.0.0.1:9\"\nfallbacks = [\"claude\"]";
    let settings = "turn.retries = 0";
    let setup = Setup { settings, model, tables: TABLES, ..Setup::default() };
    let broker = Broker::with(setup).await;
    broker.ask("my name is Ann").session("one").answer().await.expect_ok();
    assert_eq!(broker.ask("what is my name?").session("one").text().await, "Your name is Ann.");
    assert_eq!(broker.session("one").await["model"], "claude");
    assert_eq!(calls(&broker).await.len(), 2);
}

#[tokio::test]
async fn the_session_is_named_in_what_the_invocation_log_gets() {
    let broker = broker().await;
    let ask = broker.ask("hello").with("model", json!("claude")).session("call-7");
    ask.with("metadata", json!({"plan": "gold"})).answer().await.expect_ok();
    let told = &calls(&broker).await[0]["request"]["requestMetadata"];
    assert_eq!(told["session_id"], "call-7");
    assert_eq!(told["plan"], "gold");
}
