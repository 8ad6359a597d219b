//! Models that answer for one that cannot.

use std::net::TcpListener;

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
    let first_tokens = "outcrop_turn_first_token_seconds_count";
    assert!((broker.metric(first_tokens, &["model=\"second\""]).await - 2.0).abs() < 0.1);
    assert!(broker.metric(first_tokens, &[]).await < 2.1, "they are those of who answered");
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

/// A pool of which one member cannot be reached.
const POOL: &str = "[[models]]\nname = \"pool\"\nbackend = \"pool\"\n\
                    upstreams = [{ model = \"third\", weight = 1000 }, { model = \"second\" }]\n";

async fn pool(settings: &str) -> Broker {
    let tables = format!("{OTHERS}\n{POOL}");
    Broker::with(Setup { settings, tables: &tables, ..Setup::default() }).await
}

#[tokio::test]
async fn a_session_stays_with_the_member_of_a_pool_that_answers() {
    let broker = pool("turn.retries = 0").await;
    broker.ask("my name is Ann").at_model("pool").session("one").text().await;
    let second = broker.ask("what is my name?").at_model("pool").session("one").answer().await;
    assert_eq!((second.origin(), &*second.text), ("continued", "Your name is Ann."));
    let calls = broker.calls().await;
    assert_eq!(calls[0]["session"], calls[1]["session"], "the upstream session goes on");
}

#[tokio::test]
async fn a_member_that_keeps_failing_is_passed_over_for_a_while_and_tried_again() {
    let settings = "turn.retries = 0\nturn.breaker_failures = 2\nturn.breaker_seconds = 0.5";
    let broker = pool(settings).await;
    let attempts = async || broker.metric("outcrop_upstream_errors_total", &[]).await;
    for turn in 0..6 {
        let session = format!("s{turn}");
        broker.ask("what do you offer?").at_model("pool").session(&session).text().await;
    }
    let failed = attempts().await;
    assert!((1.0..3.0).contains(&failed), "{failed} attempts at a member that is down");
    let open = ["model=\"third\""];
    assert!(broker.metric("outcrop_breaker_open", &open).await > 0.0);
    super::broker::until("a trial", async || {
        broker.ask("what do you offer?").at_model("pool").text().await;
        attempts().await > failed
    })
    .await;
}

#[tokio::test]
async fn a_model_that_takes_long_is_hedged_where_that_is_said_to_be_safe() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let model = format!(
        "endpoint_url = \"http://{}\"\nfallbacks = [\"second\"]\n\
         hedge_seconds = 0.1\nhedge_agents = true",
        silent.local_addr().unwrap()
    );
    let setup = Setup { model: &model, tables: OTHERS, ..Setup::default() };
    let broker = Broker::with(setup).await;
    broker.ask("my name is Ann").session("one").text().await;
    assert_eq!(broker.calls().await[0]["agent"], "SECOND2222");
    assert_eq!(broker.session("one").await["turns"], 1);
}

#[tokio::test]
async fn an_agent_that_does_not_exist_is_stood_in_for_too() {
    let gone = "[[models]]\nname = \"gone\"\nbackend = \"bedrock-agent\"\n\
                agent_id = \"NOSUCHAGNT\"\nfallbacks = [\"second\"]\n";
    let tables = format!("{OTHERS}\n{gone}");
    let broker = Broker::with(Setup { tables: &tables, ..Setup::default() }).await;
    broker.ask("my name is Ann").at_model("gone").session("one").text().await;
    let calls = broker.calls().await;
    assert_eq!(calls.last().unwrap()["agent"], "SECOND2222");
}

#[tokio::test]
async fn a_key_that_may_ask_a_pool_is_answered_by_its_members() {
    let key = "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\nmodels = [\"pool\"]\n";
    let tables = format!("{OTHERS}\n{POOL}\n{key}");
    let settings = "turn.retries = 0";
    let broker = Broker::with(Setup { settings, tables: &tables, ..Setup::default() }).await;
    let ask = broker.ask("what do you offer?").key("sk-acme-first-key");
    ask.clone().at_model("pool").text().await;
    assert_eq!(ask.at_model("second").answer().await.status, 403);
}
