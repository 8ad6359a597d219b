//! `outcrop models`, and what `GET /v1/models` tells of each: who answers, and whether they can.

use serde_json::{Value, json};

use super::super::broker::{Broker, Setup, until};
use super::super::sign_in::{MODEL, Signed};
use super::run;

#[tokio::test]
async fn models_are_listed_with_what_is_known_of_them() {
    let tables = "[[models]]\nname = \"gone\"\nbackend = \"openai\"\nmodel_id = \"missing\"\n";
    let broker = Broker::with(Setup { tables, ..Setup::default() }).await;
    let url = format!("http://{}", broker.address);
    let list = run(&["models", "--server-url", &url]).await.well();
    let rows: Vec<Vec<_>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1][..2], ["agent", "bedrock-agent"], "{list}");
    let probed = run(&["models", "--server-url", &url, "--probe", "--json"]).await;
    assert_eq!(probed.code, Some(1), "{probed:?}");
    let rows: Value = serde_json::from_str(&probed.out).unwrap();
    assert_eq!((&rows[0]["healthy"], &rows[1]["healthy"]), (&true.into(), &false.into()), "{rows}");
}

const KEYS: &str = "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\n\
                    [[keys]]\ntenant = \"ops\"\nkey = \"sk-ops-admin-key\"\nadmin = true\n";
const GONE: &str = "[[models]]\nname = \"gone\"\nbackend = \"openai\"\nmodel_id = \"missing\"\n";

/// What a broker tells of a model.
async fn told(broker: &Broker, model: &str, key: &str) -> Value {
    let listed = broker.get("/v1/models").key(key).send().await.json().await;
    let models = listed["data"].as_array().unwrap().clone();
    let found = models.into_iter().find(|one| one["id"] == model).unwrap();
    let alone = broker.get(&format!("/v1/models/{model}")).key(key).send().await.json().await;
    assert_eq!(found, alone);
    found["outcrop"].clone()
}

#[tokio::test]
async fn what_came_of_the_last_call_is_how_it_stands() {
    let tables = GONE;
    let settings = "turn.breaker_failures = 2";
    let broker = Broker::with(Setup { settings, tables, ..Setup::default() }).await;
    let url = format!("http://{}", broker.address);
    let health = async |model: &str| {
        let told = told(&broker, model, "none").await;
        (told["state"].as_str().unwrap().to_owned(), told["healthy"].clone())
    };
    assert_eq!(health("agent").await, ("unknown".to_owned(), Value::Null));
    broker.ask("hello").text().await;
    assert_eq!(health("agent").await, ("ready".to_owned(), json!(true)));
    assert_eq!(broker.ask("hello").at_model("gone").answer().await.status, 404);
    assert_eq!(health("gone").await, ("failing".to_owned(), json!(false)));
    let last = told(&broker, "gone", "none").await["last_failure"].clone();
    assert!(last["code"] == "model_not_found" && last["at"].is_u64(), "{last}");
    for _ in 0..2 {
        broker.ask("hello").fault("throttle").answer().await;
    }
    assert_eq!(health("agent").await, ("passed_over".to_owned(), json!(false)));
    let calls = async || {
        let upstream = broker.upstream().await;
        (upstream["calls"].clone(), upstream["models"]["calls"].clone())
    };
    let before = calls().await;
    let done = run(&["models", "--server-url", &url]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    let expected = ["AGENT12345/TSTALIASID", "again with upstream_throttled, ", "missing"];
    assert!(expected.iter().all(|words| done.out.contains(words)), "{}", done.out);
    assert_eq!(calls().await, before, "listing asks nobody");
}

#[tokio::test]
async fn what_is_behind_a_model_is_for_operators() {
    let tables = format!("{GONE}base_url = \"http://127.0.0.1:9/v1\"\n{KEYS}");
    let broker = Broker::with(Setup { tables: &tables, ..Setup::default() }).await;
    let client = told(&broker, "agent", "sk-acme-first-key").await;
    let expected = json!({ "backend": "bedrock-agent", "state": "unknown", "healthy": null });
    assert_eq!(client, expected);
    let admin = told(&broker, "gone", "sk-ops-admin-key").await;
    assert_eq!(admin["upstream"], "missing at 127.0.0.1:9");
    let admin = told(&broker, "agent", "sk-ops-admin-key").await;
    assert_eq!(admin["upstream"], "AGENT12345/TSTALIASID");
}

#[tokio::test]
async fn a_model_that_needs_a_sign_in_says_so() {
    let signed = Signed::out("", MODEL).await;
    let url = format!("http://{}", signed.broker.address);
    let done = run(&["models", "--server-url", &url]).await;
    assert!(done.code == Some(1) && done.out.contains("run `outcrop login`"), "{done:?}");
    signed.log_in().await;
    assert_eq!(told(&signed.broker, "q", "none").await["state"], "unknown");
    assert!(run(&["models", "--server-url", &url]).await.well().contains("codewhisperer"));
}

#[tokio::test]
async fn a_list_that_the_server_cannot_have_is_told() {
    let settings = "discovery.agents = true\ndiscovery.refresh_seconds = 0.1";
    let control_plane = Some(json!({ "fault": "access-denied" }));
    let broker = Broker::with(Setup { settings, control_plane, ..Setup::default() }).await;
    let listed = async || broker.get("/v1/models").send().await.json().await;
    let failed = async || listed().await["outcrop"]["discovery"]["agents"]["failed"] == true;
    until("the look for agents to fail", failed).await;
    let done = run(&["models", "--server-url", &format!("http://{}", broker.address)]).await;
    assert!(done.code == Some(1) && done.err.contains("bedrock:ListAgents"), "{done:?}");
}
