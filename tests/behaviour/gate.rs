//! Who may ask, and how often.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::json;

use super::ask::Answer;
use super::broker::{Broker, Setup, new_folder, outcrop};

const ACME: &str = "sk-acme-first-key";
const GLOBEX: &str = "sk-globex-first-key";

/// One key of acme with these limits, and one of globex without.
async fn keyed(settings: &str, limits: &str) -> Broker {
    let tables = format!(
        "[[models]]\nname = \"other\"\nbackend = \"bedrock-agent\"\nagent_id = \"OTHER12345\"\n\n\
         [[keys]]\ntenant = \"acme\"\nkey = \"{ACME}\"\n{limits}\n\n\
         [[keys]]\ntenant = \"globex\"\nkey = \"{GLOBEX}\"\n"
    );
    let broker = Broker::with(Setup { settings, tables: &tables, ..Setup::default() }).await;
    broker.keep_secret(ACME);
    broker.keep_secret(GLOBEX);
    broker
}

#[tokio::test]
async fn without_a_key_or_with_a_wrong_one_nothing_is_answered_but_probes() {
    let broker = keyed("", "").await;
    let calls = [
        broker.ask("hello there").request(),
        broker.ask("hello there").at("/api/chat/completions/").request(),
        broker.post("/api/agent/stream", &json!({ "input_text": "hello there" })),
        broker.get("/v1/chat/completions").header("last-event-id", "turn_1:1"),
        broker.get("/v1/models"),
        broker.get("/v1/models/agent"),
        broker.get("/v1/sessions"),
        broker.get("/v1/sessions/one"),
        broker.get("/v1/sessions/one/events"),
        broker.request("DELETE", "/v1/sessions/one"),
        broker.request("POST", "/v1/sessions/one/interrupt"),
        broker.post("/v1/sessions/one/move", &json!({ "model": "agent" })),
        broker.get("/v1/files"),
        broker.get("/v1/files/file-1"),
        broker.get("/v1/files/file-1/content"),
        broker.request("DELETE", "/v1/files/file-1"),
    ];
    let wrong = "sk-of-another-broker";
    broker.keep_secret(wrong);
    for call in calls {
        let attempts =
            [call.clone(), call.clone().key(wrong), call.clone().header("x-api-key", wrong)];
        for attempt in attempts {
            let answer = Answer::of(attempt.send().await).await;
            assert_eq!((answer.status, &*answer.code()), (401, "invalid_api_key"), "{attempt:?}");
            assert_eq!(answer.error()["type"], "invalid_request_error");
            assert_ne!(answer.header("x-request-id"), "");
            assert!(!answer.everything().contains(wrong));
        }
    }
    for path in ["/", "/livez", "/readyz", "/metrics"] {
        assert_eq!(broker.get(path).send().await.status, 200, "{path}");
    }
    assert_eq!(broker.calls().await.len(), 0);
}

#[tokio::test]
async fn a_key_comes_as_a_bearer_token_or_in_a_header_of_its_own() {
    let broker = keyed("", "").await;
    broker.ask("hello there").key(ACME).text().await;
    for (name, value) in
        [("x-api-key", ACME.to_owned()), ("authorization", format!("bearer {ACME}"))]
    {
        broker.ask("hello there").header(name, &value).text().await;
    }
}

#[tokio::test]
async fn a_key_for_some_models_may_not_use_and_does_not_see_the_others() {
    let broker = keyed("", "models = [\"other\"]").await;
    let refused = broker.ask("hello there").key(ACME).answer().await;
    assert_eq!((refused.status, &*refused.code()), (403, "model_not_allowed"));
    assert_eq!(
        (&refused.error()["type"], &refused.error()["param"]),
        (&json!("permission_error"), &json!("model"))
    );
    broker.ask("hello there").key(ACME).with("model", json!("other")).text().await;
    let listed = async |key| {
        let models = broker.get("/v1/models").key(key).send().await.json().await;
        let ids = models["data"].as_array().unwrap().iter().map(|model| model["id"].clone());
        ids.collect::<serde_json::Value>()
    };
    assert_eq!(listed(ACME).await, json!(["other"]));
    assert_eq!(listed(GLOBEX).await, json!(["agent", "other"]));
    assert_eq!(broker.get("/v1/models/agent").key(ACME).send().await.status, 404);
}

#[tokio::test]
async fn a_key_that_has_used_up_its_requests_is_told_when_to_come_back() {
    let broker = keyed("", "requests_per_minute = 2").await;
    let ask = broker.ask("hello there").key(ACME);
    for remaining in ["1", "0"] {
        let answer = ask.answer().await;
        answer.expect_ok();
        assert_eq!(answer.header("x-ratelimit-limit-requests"), "2");
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), remaining);
        assert_ne!(answer.header("x-ratelimit-reset-requests"), "");
    }
    let refused = ask.answer().await;
    assert_eq!((refused.status, &*refused.code()), (429, "rate_limit_exceeded"));
    assert_eq!(refused.error()["type"], "rate_limit_error");
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), "0");
    let seconds: u32 = refused.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}");
    assert_eq!(refused.header("x-should-retry"), "true");
    assert_ne!(refused.header("x-request-id"), "");
    broker.ask("hello there").key(GLOBEX).text().await;
    let counted = broker.metric("outcrop_rate_limited_total", &["limit=\"key_requests\""]).await;
    assert!((counted - 1.0).abs() < 0.1, "{counted}");
    assert_eq!(broker.get("/v1/sessions").key(ACME).send().await.status, 200, "turns are counted");
}

#[tokio::test]
async fn a_key_may_have_only_so_many_turns_at_once() {
    let broker = keyed("", "concurrent_turns = 1").await;
    let mut first = broker.ask("count to 30").key(ACME).pace(0, 10).begin().await;
    first.first_text().await;
    let refused = broker.ask("hello there").key(ACME).answer().await;
    assert_eq!((refused.status, &*refused.code()), (429, "rate_limit_exceeded"));
    assert_ne!(refused.header("retry-after"), "");
    broker.ask("hello there").key(GLOBEX).text().await;
    Answer::of(first).await.expect_ok();
    broker.ask("hello there").key(ACME).text().await;
}

#[tokio::test]
async fn all_keys_together_may_ask_only_so_often() {
    let broker = keyed("limits.requests_per_minute = 2", "").await;
    broker.ask("hello there").key(ACME).text().await;
    broker.ask("hello there").key(GLOBEX).text().await;
    let refused = broker.ask("hello there").key(ACME).answer().await;
    assert_eq!((refused.status, &*refused.code()), (429, "rate_limit_exceeded"));
}

#[tokio::test]
async fn a_request_that_is_refused_gives_its_turn_back() {
    let broker = keyed("", "concurrent_turns = 1").await;
    for body in [
        "",
        "{\"messages\":[]}",
        "{\"model\":\"lost\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
    ] {
        let request = broker.request("POST", "/v1/chat/completions").key(ACME).body(body);
        assert!([400, 404].contains(&request.send().await.status), "{body}");
    }
    broker.ask("hello there").key(ACME).text().await;
}

#[tokio::test]
async fn without_keys_a_broker_that_others_can_reach_does_not_start_unless_told_to() {
    let folder = new_folder();
    let arguments = ["serve", "--listen", "0.0.0.0:0"];
    let refused = outcrop(&folder, &arguments).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("--insecure-no-auth") && told.contains("[[keys]]"), "{told}");
    let insist = [&arguments[..], &["--insecure-no-auth"]].concat();
    let mut started =
        outcrop(&folder, &insist).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let first = BufReader::new(started.stdout.take().unwrap()).lines().next();
    started.kill().unwrap();
    started.wait().unwrap();
    assert!(first.unwrap().unwrap().starts_with("outcrop listening on http://0.0.0.0:"));
    let keyed = outcrop(&folder, &arguments)
        .env("API_KEY", ACME)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut keyed = keyed.unwrap();
    let first = BufReader::new(keyed.stdout.take().unwrap()).lines().next();
    keyed.kill().unwrap();
    keyed.wait().unwrap();
    assert!(first.is_some_and(|line| line.unwrap().contains("listening")));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn scripts_of_allowed_origins_may_read_replies_and_others_may_not() {
    let ours = "https://app.example.com";
    let broker = keyed(&format!("server.allowed_origins = [\"{ours}\"]"), "").await;
    for (origin, allowed) in [(ours, ours), ("https://evil.example.com", "")] {
        let may_ask = broker.request("OPTIONS", "/v1/chat/completions").header("origin", origin);
        let may_ask = may_ask.header("access-control-request-method", "POST").send().await;
        assert_eq!(may_ask.status, 204, "a browser asks without a key");
        assert_eq!(may_ask.header("access-control-allow-origin"), allowed);
        for key in [ACME, "sk-of-another-broker"] {
            let answer = broker.ask("hello there").key(key).header("origin", origin).answer().await;
            assert_eq!(answer.header("access-control-allow-origin"), allowed);
            assert_eq!(answer.header("access-control-allow-credentials"), "");
        }
    }
}
