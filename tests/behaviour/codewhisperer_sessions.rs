//! CodeWhisperer beside the turns: conversations that outlive the broker, the list of models, and
//! what a broker without a sign-in is like.

use std::fs;

use serde_json::{Value, json};

use super::ask::Answer;
use super::broker::{Broker, new_folder, until};
use super::sign_in::{MODEL, Signed, text};

/// The ids of the conversations that the service was asked to go on with, oldest first.
async fn conversations(broker: &Broker) -> Vec<String> {
    let calls = broker.upstream().await["models"]["calls"].as_array().unwrap().clone();
    let id = |call: &Value| call["request"]["conversationState"]["conversationId"].clone();
    calls.iter().map(|call| id(call).as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_conversation_goes_on_after_a_crash() {
    let folder = new_folder();
    let file = folder.join("sessions.db");
    let settings = format!("store.kind = \"sqlite\"\nstore.path = {file:?}");
    let mut signed = Signed::up(&settings, MODEL).await;
    signed.broker.ask("my name is Ann").at_model("q").session("one").answer().await.expect_ok();
    signed.broker.crash();
    signed.broker.start_again().await;
    let again = signed.broker.ask("what is my name?").at_model("q").session("one").answer().await;
    assert_eq!((again.text.as_str(), again.origin()), ("Your name is Ann.", "revived"));
    let ids = conversations(&signed.broker).await;
    assert_eq!((ids.len(), &ids[0]), (2, &ids[1]));
    drop(signed);
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn what_was_said_until_an_interrupt_is_told_to_the_model() {
    let signed = Signed::up("", MODEL).await;
    let ask = |text: &str| signed.broker.ask(text).at_model("q").session("one");
    let mut cut = ask("words: 2000; outcrop-emulator-chunk-ms: 20").begin().await;
    cut.first_text().await;
    let interrupted = signed.broker.post("/v1/sessions/one/interrupt", &json!({})).send().await;
    assert_eq!(interrupted.status, 200);
    Answer::of(cut).await.expect_ok();
    assert_eq!(ask("say: go on").text().await, "go on");
    let session = signed.broker.session("one").await;
    assert_eq!(session["messages"][1]["status"], "interrupted");
    let calls = signed.broker.upstream().await["models"]["calls"].clone();
    let said = &calls[1]["request"]["conversationState"]["history"][1];
    let said = said["assistantResponseMessage"]["content"].as_str().unwrap();
    assert!((1..2000).contains(&said.split_whitespace().count()), "{said}");
}

#[tokio::test]
async fn a_conversation_that_is_full_goes_on_under_another_id() {
    let signed = Signed::up("", MODEL).await;
    let ask = async |text: &str| signed.broker.ask(text).at_model("q").session("one").text().await;
    ask("last turn: my name is Ann").await;
    assert_eq!(ask("what is my name?").await, "Your name is Ann.");
    assert_eq!(ask("say: and on").await, "and on");
    let ids = conversations(&signed.broker).await;
    assert_eq!(ids.len(), 4, "it is refused once, not in every turn: {ids:?}");
    assert_eq!((&ids[0], &ids[2]), (&ids[1], &ids[3]));
    assert_ne!(ids[0], ids[2]);
    ask("last turn: of this one too").await;
    assert_eq!(ask("say: and on again").await, "and on again");
    let ids = conversations(&signed.broker).await;
    assert_eq!((ids.len(), &ids[4]), (7, &ids[5]));
    assert!(!ids[..6].contains(&ids[6]), "{ids:?}");
}

async fn listed(broker: &Broker) -> Vec<String> {
    let models = broker.get("/v1/models").send().await.json().await["data"].clone();
    let names = models.as_array().unwrap().iter();
    names.map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_models_of_a_sign_in_are_listed_where_they_can_be_asked() {
    let signed = Signed::out("discovery.refresh_seconds = 0.1", "").await;
    assert_eq!(listed(&signed.broker).await, ["agent"]);
    signed.log_in().await;
    let all = [
        "agent",
        "codewhisperer",
        "codewhisperer/auto",
        "codewhisperer/claude-sonnet-4",
        "codewhisperer/claude-sonnet-4.5",
    ];
    until("the list", async || listed(&signed.broker).await == all).await;
    let path = "/v1/models/codewhisperer/claude-sonnet-4";
    let one = signed.broker.get(path).send().await.json().await;
    let told = json!({ "backend": "codewhisperer", "state": "unknown", "healthy": null,
        "name": "Claude Sonnet 4", "input_modalities": ["text", "image"],
        "output_modalities": ["text"], "streaming": true });
    assert_eq!((&one["outcrop"], &one["owned_by"]), (&told, &json!("codewhisperer")));
    let plain = signed.broker.get("/v1/models/codewhisperer").send().await.json().await;
    assert_eq!(plain["id"], "codewhisperer");
    for name in ["codewhisperer", "codewhisperer/auto"] {
        assert_eq!(signed.broker.ask("say: hi").at_model(name).text().await, "hi");
    }
    signed.broker.set_up_sign_in(&json!({ "expire": true })).await;
    let asked = async || {
        signed.broker.upstream().await["codewhisperer"]["ListAvailableModels"].as_u64().unwrap()
    };
    let before = asked().await;
    assert_eq!(listed(&signed.broker).await, all, "what was found stays");
    signed.broker.ask("say: renewed").at_model("codewhisperer").text().await;
    until("another look", async || asked().await > before).await;
}

#[tokio::test]
async fn direct_names_that_are_not_allowed_are_not_listed() {
    let signed = Signed::up("routing.allow_direct = false", MODEL).await;
    assert_eq!(listed(&signed.broker).await, ["agent", "q"]);
    let settings = "routing.allow_direct = false\ndiscovery.models = true\n\
                    discovery.refresh_seconds = 0.1";
    let found = Signed::up(settings, "").await;
    let name = "codewhisperer/auto".to_owned();
    until("the list", async || listed(&found.broker).await.contains(&name)).await;
}

#[tokio::test]
async fn a_broker_without_a_sign_in_is_ready_and_says_that_the_backend_is_switched_on() {
    let signed = Signed::out("codewhisperer.direct = true", "").await;
    assert_eq!(signed.broker.get("/readyz").send().await.status, 200);
    assert_eq!(listed(&signed.broker).await, ["agent", "codewhisperer"]);
    let told = "CodeWhisperer is switched on: its interface is internal to AWS";
    assert_eq!(signed.broker.log().matches(told).count(), 1);
    let off = Broker::start().await;
    assert!(!off.log().contains("CodeWhisperer"), "nobody switched it on");
}

#[tokio::test]
async fn no_part_of_a_sign_in_is_shown_or_logged_at_any_level() {
    // What the emulator gives begins like this.
    let canaries =
        ["emulated-token-", "emulated-renewing-", "emulated-secret-", "emulated-device-"];
    for level in ["debug", "trace", "trace,outcrop=trace"] {
        let signed = Signed::out(&format!("log.level = {level:?}"), MODEL).await;
        canaries.iter().for_each(|canary| signed.broker.keep_secret(canary));
        let mut shown = String::new();
        for (arguments, polls) in [
            (&["login"][..], json!(["access_denied"])),
            (&["login"], json!(["invalid_client"])),
            (&["login"], json!([])),
            (&["login", "--status", "--json"], json!([])),
            (&["config", "show"], json!([])),
        ] {
            signed.broker.set_up_sign_in(&json!({ "polls": polls })).await;
            let output = signed.run(arguments).await;
            shown += &(text(&output.stdout) + &text(&output.stderr));
        }
        let fault = "say: no; outcrop-emulator-fault: expired-token";
        for (set, words) in [
            (json!({}), "say: hi"),
            (json!({ "expire": true }), "say: renewed"),
            (json!({ "expire": true, "down": true }), "say: down"),
            (json!({}), fault),
            (json!({ "expire": true, "end": true }), "say: over"),
        ] {
            signed.broker.set_up_sign_in(&set).await;
            shown += &signed.broker.ask(words).at_model("q").answer().await.everything();
        }
        let leaks: Vec<_> = canaries.iter().filter(|canary| shown.contains(*canary)).collect();
        assert!(leaks.is_empty(), "{leaks:?}: {shown}");
    }
}
