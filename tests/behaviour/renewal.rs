//! Tokens that are renewed: in time, once, and not in vain.

use std::fs;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::broker::{Broker, Setup, new_folder, until};
use super::sign_in::{MODEL, Signed, refused, text};

impl Signed {
    /// Has the token be one that was given an hour ago but for these minutes, and has so many left.
    fn leave(&self, minutes: i64) {
        let now = OffsetDateTime::now_utc();
        let at = |minutes| (now + time::Duration::minutes(minutes)).format(&Rfc3339).unwrap();
        self.keep(|kept| {
            kept["issued_at"] = json!(at(minutes - 60));
            kept["expires_at"] = json!(at(minutes));
        });
    }

    fn access(&self) -> String {
        self.kept()["access_token"].as_str().unwrap().to_owned()
    }

    async fn says(&self, words: &str) {
        says(&self.broker, words).await;
    }

    /// Another broker with the same sign-in.
    async fn beside(&self) -> Broker {
        let settings = format!("codewhisperer.directory = {:?}", self.place);
        let beside = Some(&self.broker);
        let setup = Setup { settings: &settings, tables: MODEL, beside, ..Setup::default() };
        Broker::with(setup).await
    }
}

async fn says(broker: &Broker, words: &str) {
    assert_eq!(broker.ask(&format!("say: {words}")).at_model("q").text().await, words);
}

#[tokio::test]
async fn nobody_waits_for_a_renewal_while_the_token_is_good() {
    let signed = Signed::up("", MODEL).await;
    signed.leave(4);
    let before = signed.access();
    signed.broker.set_up_sign_in(&json!({ "renewal_ms": 1500 })).await;
    for words in ["first", "second", "third"] {
        signed.says(words).await;
    }
    assert_eq!(signed.access(), before, "the renewal is underway still");
    until("the renewal", async || signed.access() != before).await;
    assert_eq!(signed.renewals().await, 1);
    signed.says("and on").await;
    let denied = signed.broker.metric("outcrop_upstream_errors_total", &["upstream_denied"]).await;
    assert!(denied < 0.5, "nothing was asked with an expired token");
}

#[tokio::test]
async fn two_processes_renew_a_token_that_is_due_once() {
    let signed = Signed::up("", MODEL).await;
    let other = signed.beside().await;
    signed.leave(4);
    let before = signed.access();
    signed.broker.set_up_sign_in(&json!({ "renewal_ms": 300 })).await;
    for number in 0..3 {
        signed.says(&format!("one {number}")).await;
        says(&other, &format!("other {number}")).await;
    }
    until("the renewal", async || signed.access() != before).await;
    // Whoever comes second finds it done, in the files.
    signed.says("one at last").await;
    says(&other, "other at last").await;
    assert_eq!(signed.renewals().await, 1);
}

#[tokio::test]
async fn a_sign_in_service_that_is_down_leaves_a_good_token_in_use() {
    let signed = Signed::up("", MODEL).await;
    signed.leave(4);
    signed.broker.set_up_sign_in(&json!({ "down": true })).await;
    signed.says("still").await;
    let told = "is not renewed, and used on";
    until("the warning", async || signed.broker.log().contains(told)).await;
    signed.says("and still").await;
    // A clock that is hours ahead finds it expired; the service knows better.
    signed.leave(-180);
    let ahead = signed.beside().await;
    says(&ahead, "ahead").await;
    assert!(ahead.log().contains("though by this clock it has expired"));
    signed.broker.set_up_sign_in(&json!({ "expire": true, "down": true })).await;
    let answer = ahead.ask("say: over").at_model("q").answer().await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"));
}

#[tokio::test]
async fn a_renewal_that_is_refused_leaves_the_token_in_use_until_its_end() {
    let signed = Signed::up("", MODEL).await;
    signed.leave(4);
    signed.broker.set_up_sign_in(&json!({ "end": true })).await;
    signed.says("one").await;
    until("the refusal", async || signed.kept()["has_ended"] == true).await;
    signed.says("two").await;
    let status = signed.run(&["login", "--status"]).await;
    assert!(text(&status.stdout).contains("cannot be renewed; run `outcrop login`"), "{status:?}");
    let status = signed.run(&["login", "--status", "--json"]).await;
    let told: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((&told["state"], &told["renewable"]), (&json!("valid"), &json!(false)));
    let fresh = signed.beside().await;
    says(&fresh, "three").await;
    assert_eq!(signed.renewals().await, 1, "the service is not asked again");
    signed.broker.set_up_sign_in(&json!({ "expire": true })).await;
    assert!(refused(&signed, "hello there").await.contains("outcrop login"));
}

#[tokio::test]
async fn a_registration_that_has_expired_ends_the_sign_in_and_the_next_one_makes_another() {
    let signed = Signed::up("", MODEL).await;
    let forgotten = json!({ "expire": true, "forget_clients": true, "polls": [] });
    signed.broker.set_up_sign_in(&forgotten).await;
    assert!(refused(&signed, "hello there").await.contains("has expired"));
    signed.log_in().await;
    signed.says("back").await;
    let calls = signed.broker.upstream().await["sign_in"]["calls"].clone();
    assert_eq!(calls["RegisterClient"], 2);
}

#[tokio::test]
async fn a_token_that_cannot_be_written_down_is_used_and_written_once_it_can() {
    let signed = Signed::up("", MODEL).await;
    let blocked = signed.place.join("tokens.json.new");
    fs::create_dir(&blocked).unwrap();
    let before = signed.access();
    for words in ["once", "twice"] {
        signed.broker.set_up_sign_in(&json!({ "expire": true })).await;
        signed.says(words).await;
    }
    assert_eq!((signed.renewals().await, signed.access()), (2, before.clone()));
    assert!(signed.broker.log().contains("could not be kept"));
    fs::remove_dir(&blocked).unwrap();
    signed.broker.set_up_sign_in(&json!({ "expire": true })).await;
    signed.says("thrice").await;
    assert_ne!(signed.access(), before);
    assert_eq!(signed.renewals().await, 3);
}

#[tokio::test]
async fn a_token_of_another_process_that_is_refused_too_is_renewed() {
    let signed = Signed::up("", MODEL).await;
    signed.says("before").await;
    // Another process renewed it a while ago, and that one was revoked as well.
    signed.keep(|kept| kept["access_token"] = json!("emulated-token-of-another"));
    signed.leave(50);
    signed.broker.set_up_sign_in(&json!({ "expire": true })).await;
    signed.says("after").await;
    assert_eq!(signed.renewals().await, 1);
}

#[tokio::test]
async fn a_person_without_a_grant_does_not_have_each_turn_renew_the_token() {
    let signed = Signed::up("", MODEL).await;
    for words in ["one", "two", "three"] {
        let words = format!("say: {words}; outcrop-emulator-fault: expired-token");
        assert!(refused(&signed, &words).await.contains("outcrop login"));
    }
    assert_eq!(signed.renewals().await, 1);
    signed.says("the token is good for others").await;
}

#[tokio::test]
async fn who_logs_out_while_a_token_is_renewed_is_out() {
    let signed = Signed::up("", MODEL).await;
    signed.leave(4);
    signed.broker.set_up_sign_in(&json!({ "renewal_ms": 1000 })).await;
    signed.says("hi").await;
    until("the renewal to begin", async || signed.renewals().await == 1).await;
    assert!(signed.run(&["logout"]).await.status.success());
    assert!(!signed.place.join("tokens.json").exists());
    // Nobody writes it again: the lock is free, and what was written was removed.
    assert_eq!(signed.run(&["login", "--status"]).await.status.code(), Some(1));
}

#[tokio::test]
async fn another_programs_sign_in_is_left_alone_until_a_turn_wants_it() {
    let signed = Signed::up("routing.allow_direct = false", "").await;
    let home = new_folder();
    let older = home.join(".codewhisperer-proxy");
    fs::create_dir(&older).unwrap();
    signed.leave(4);
    for name in ["tokens.json", "registration.json"] {
        fs::copy(signed.place.join(name), older.join(name)).unwrap();
    }
    let variables = [("HOME", home.to_str().unwrap())];
    let settings = "routing.allow_direct = true\ndiscovery.refresh_seconds = 0.05";
    let beside = Some(&signed.broker);
    let setup = Setup { settings, variables: &variables, beside, ..Setup::default() };
    let broker = Broker::with(setup).await;
    let asked =
        async || signed.broker.upstream().await["codewhisperer"]["ListAvailableModels"].clone();
    for _ in 0..5 {
        assert_eq!(broker.ask("repeat: fine").text().await, "fine");
    }
    let listed = broker.get("/v1/models").send().await.text().await;
    assert!(listed.contains("\"codewhisperer\""), "{listed}");
    assert_eq!((signed.renewals().await, asked().await), (0, Value::Null));
    assert!(!broker.log().contains("CodeWhisperer"), "nobody switched it on");
    assert_eq!(broker.ask("say: hi").at_model("codewhisperer").text().await, "hi");
    until("the renewal", async || signed.renewals().await == 1).await;
    until("the list", async || !asked().await.is_null()).await;
    drop(broker);
    fs::remove_dir_all(home).unwrap();
}

#[tokio::test]
async fn what_an_earlier_proxy_kept_is_used_and_what_is_renewed_is_kept_by_us() {
    let signed = Signed::up("", MODEL).await;
    let home = new_folder();
    let older = home.join(".codewhisperer-proxy");
    fs::create_dir(&older).unwrap();
    let registration = fs::read(signed.place.join("registration.json")).unwrap();
    let registration: Value = serde_json::from_slice(&registration).unwrap();
    // As a program in another language would write it, long ago.
    let tokens = json!({ "accessToken": "old", "refreshToken": signed.kept()["refresh_token"],
        "expiresAt": 1_700_000_000_000_u64 });
    let client = json!({ "clientId": registration["client_id"],
        "clientSecret": registration["client_secret"] });
    let files = [("tokens.json", tokens.to_string()), ("registration.json", client.to_string())];
    for (name, text) in &files {
        fs::write(older.join(name), text).unwrap();
    }
    let home_text = home.to_str().unwrap();
    let variables = [("HOME", home_text)];
    let beside = Some(&signed.broker);
    let setup = Setup { tables: MODEL, variables: &variables, beside, ..Setup::default() };
    let broker = Broker::with(setup).await;
    says(&broker, "hi").await;
    for (name, text) in &files {
        assert_eq!(fs::read_to_string(older.join(name)).unwrap(), *text, "{name} is theirs");
    }
    // From now on nothing of theirs is needed.
    fs::remove_dir_all(&older).unwrap();
    signed.broker.set_up_sign_in(&json!({ "expire": true })).await;
    says(&broker, "on our own").await;
    let ours = home.join(".local/state/outcrop");
    let kept: Value = serde_json::from_slice(&fs::read(ours.join("tokens.json")).unwrap()).unwrap();
    broker.keep_secret(kept["access_token"].as_str().unwrap());
    drop(broker);
    fs::remove_dir_all(home).unwrap();
}
