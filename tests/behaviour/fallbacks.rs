//! Models that answer for one that cannot.

use super::broker::{Broker, Setup};

/// Nothing listens at the first model's endpoint.
const UNREACHABLE: &str =
    "endpoint_url = \"http://127.0.0.1:9\"\nfallbacks = [\"third\", \"second\"]";
const OTHERS: &str = "[[models]]\nname = \"second\"\nbackend = \"bedrock-agent\"\n\
                      agent_id = \"SECOND2222\"\n\n[[models]]\nname = \"third\"\n\
                      backend = \"bedrock-agent\"\nagent_id = \"THIRD33333\"\n\
                      endpoint_url = \"http://127.0.0.1:9\"\n";

async fn broker() -> Broker {
    let settings = "turn.retries = 0";
    Broker::with(Setup { settings, model: UNREACHABLE, tables: OTHERS, ..Setup::default() }).await
}

#[tokio::test]
async fn a_model_that_cannot_be_reached_is_stood_in_for_by_the_next_that_can() {
    let broker = broker().await;
    let first = broker.ask("my name is Ann").session("one").answer().await;
    first.expect_ok();
    let second = broker.ask("what is my name?").session("one").whole().answer().await;
    assert_eq!(second.text, "Your name is Ann.");
    let calls = broker.calls().await;
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call["agent"] == "SECOND2222"), "{calls:?}");
    let failed = broker.metric("outcrop_turns_total", &["outcome=\"failed\""]).await;
    assert!(failed > 0.0, "the attempts that failed are counted");
    assert_eq!(broker.session("one").await["model"], "second");
}

#[tokio::test]
async fn a_model_that_refuses_the_request_is_not_stood_in_for() {
    let model = "fallbacks = [\"second\"]";
    let broker = Broker::with(Setup { model, tables: OTHERS, ..Setup::default() }).await;
    let answer = broker.ask("hello there").session("one").fault("validation").answer().await;
    assert_eq!(answer.status, 400);
    assert_eq!(broker.calls().await.len(), 1);
    broker.ask("what do you offer?").session("one").text().await;
}

#[tokio::test]
async fn a_turn_that_may_have_run_is_not_asked_again_elsewhere() {
    let model = "fallbacks = [\"second\"]";
    let settings = "turn.first_event_timeout_seconds = 0.4";
    let setup = Setup { settings, model, tables: OTHERS, ..Setup::default() };
    let broker = Broker::with(setup).await;
    let answer = broker.ask("transfer it all").session("one").fault("stall").answer().await;
    assert_eq!(answer.status, 504);
    assert_eq!(broker.calls().await.len(), 1);
}

#[tokio::test]
async fn an_ended_or_expired_session_is_ended_upstream_too_also_after_its_actor() {
    let settings = "session.resident_seconds = 0.2\nsession.expire_seconds = 2";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    broker.ask("my name is Ann").session("expires").text().await;
    broker.ask("my name is Bob").session("deleted").text().await;
    broker.metric_becomes("outcrop_sessions_resident", 0.0).await;
    let deleted = broker.request("DELETE", "/v1/sessions/deleted").send().await;
    assert_eq!(deleted.status, 200);
    super::broker::until("both sessions to end upstream", async || {
        let calls = broker.calls().await;
        calls.iter().filter(|call| call["end_session"] == true).count() == 2
    })
    .await;
}
