//! `outcrop login`, `outcrop logout`, and what comes of sign-ins that are gone, old or damaged.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use super::broker::{Broker, Setup, new_folder, outcrop, until};

/// A broker with the model `q`, and the place where it looks for a sign-in.
pub(crate) struct Signed {
    pub(crate) broker: Broker,
    pub(crate) place: PathBuf,
}

pub(crate) const MODEL: &str = "[[models]]\nname = \"q\"\nbackend = \"codewhisperer\"\n";

impl Signed {
    /// Nobody has signed in.
    pub(crate) async fn out(settings: &str, tables: &str) -> Self {
        let place = new_folder();
        let direct =
            if settings.contains("allow_direct") { "" } else { "routing.allow_direct = true" };
        let settings =
            format!("codewhisperer.directory = {place:?}\nturn.retries = 1\n{direct}\n{settings}");
        let broker = Broker::with(Setup { settings: &settings, tables, ..Setup::default() }).await;
        Self { broker, place }
    }

    /// Somebody has.
    pub(crate) async fn up(settings: &str, tables: &str) -> Self {
        let signed = Self::out(settings, tables).await;
        signed.log_in().await;
        signed
    }

    pub(crate) async fn log_in(&self) {
        self.broker.set_up_sign_in(&json!({ "polls": [] })).await;
        let output = self.run(&["login"]).await;
        assert!(output.status.success(), "{output:?}");
        for member in ["access_token", "refresh_token"] {
            self.broker.keep_secret(self.kept()[member].as_str().unwrap());
        }
    }

    /// Runs the program beside the broker, with the same place for the sign-in.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = outcrop(&new_folder(), arguments);
        command.env("OUTCROP_CODEWHISPERER__DIRECTORY", &self.place);
        command.env("AWS_ENDPOINT_URL", format!("http://{}", self.broker.upstream_address()));
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    async fn status(&self) -> (i32, Value) {
        let output = self.run(&["login", "--status", "--json"]).await;
        let told = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), told)
    }

    /// What the files say.
    pub(crate) fn kept(&self) -> Value {
        serde_json::from_slice(&fs::read(self.place.join("tokens.json")).unwrap()).unwrap()
    }

    /// Changes what they say.
    pub(crate) fn keep(&self, change: impl FnOnce(&mut Value)) {
        let mut kept = self.kept();
        change(&mut kept);
        fs::write(self.place.join("tokens.json"), kept.to_string()).unwrap();
    }

    pub(crate) async fn renewals(&self) -> u64 {
        self.broker.upstream().await["sign_in"]["calls"]["Renewals"].as_u64().unwrap_or(0)
    }
}

impl Drop for Signed {
    fn drop(&mut self) {
        // What is left behind does no harm.
        let _ = fs::remove_dir_all(&self.place);
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_person_confirms_a_code_and_the_sign_in_is_kept_for_their_eyes_alone() {
    let signed = Signed::out("", MODEL).await;
    let output = signed.run(&["login"]).await;
    let told = text(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let code = told.lines().find_map(|line| line.trim().split_once("user_code=")).unwrap().1;
    assert!(told.lines().any(|line| line.trim() == code), "the code stands by itself: {told}");
    assert!(told.contains("https://device.sso.us-east-1.amazonaws.com/?user_code="), "{told}");
    let place = &signed.place;
    assert_eq!(mode(&place.join("tokens.json")), 0o600);
    assert_eq!(mode(&place.join("registration.json")), 0o600);
    let (kept, told) = (signed.kept(), told + &text(&output.stderr));
    assert!(!told.contains(kept["access_token"].as_str().unwrap()), "no token is shown");
    assert_eq!(kept["start_url"], "https://view.awsapps.com/start");
    let (code, status) = signed.status().await;
    assert_eq!((code, &status["state"], &status["signed_in"]), (0, &json!("valid"), &json!(true)));
    assert_eq!(status["expires_at"], kept["expires_at"]);
    let shown = signed.run(&["login", "--status"]).await;
    assert!(text(&shown.stdout).starts_with("signed in to AWS Builder ID"), "{shown:?}");
}

#[tokio::test]
async fn a_registration_is_used_again_until_the_service_forgets_it() {
    let signed = Signed::up("", MODEL).await;
    let registrations =
        async || signed.broker.upstream().await["sign_in"]["calls"]["RegisterClient"].clone();
    signed.log_in().await;
    assert_eq!(registrations().await, 1);
    signed.broker.set_up_sign_in(&json!({ "polls": [], "forget_clients": true })).await;
    assert!(signed.run(&["login"]).await.status.success());
    assert_eq!(registrations().await, 2);
}

#[tokio::test]
async fn a_sign_in_that_is_denied_or_not_confirmed_says_so() {
    let signed = Signed::out("", MODEL).await;
    for (answer, told) in [
        ("access_denied", "the sign-in was denied; run `outcrop login` to try again\n"),
        (
            "expired_token",
            "the code was not confirmed in time; run `outcrop login` to get another\n",
        ),
    ] {
        signed.broker.set_up_sign_in(&json!({ "polls": ["authorization_pending", answer] })).await;
        let output = signed.run(&["login"]).await;
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(1), told));
    }
    let (code, status) = signed.status().await;
    assert_eq!((code, &status["state"]), (1, &json!("signed_out")));
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_is_told_from_one_that_refuses() {
    let place = new_folder();
    let mut command = outcrop(&place, &["login"]);
    command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(told.starts_with("the sign-in service cannot be reached: "), "{told}");
    fs::remove_dir_all(place).unwrap();
}

#[tokio::test]
async fn wrong_arguments_are_refused_before_anybody_is_asked() {
    let place = new_folder();
    for (arguments, told) in [
        (&["login", "--start-url", "https://x.awsapps.com/start"][..], "--region"),
        (&["login", "--start-url", "x", "--region", "us-east-1"], "must be an https URL"),
        (&["login", "--region", "no region"], "--region must be one such as"),
        (&["login", "--json"], "--status"),
        (&["login", "--profile-arn", "me"], "must be an ARN"),
    ] {
        let output = outcrop(&place, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(told), "{output:?}");
    }
    fs::remove_dir_all(place).unwrap();
}

#[tokio::test]
async fn an_identity_center_brings_its_profile_along() {
    let signed = Signed::out("", MODEL).await;
    let url = "https://acme.awsapps.com/start";
    let arguments = ["login", "--start-url", url, "--region", "eu-central-1"];
    let output = signed.run(&arguments).await;
    assert!(output.status.success(), "{output:?}");
    let profile = "arn:aws:codewhisperer:us-east-1:123456789012:profile/EMULATED0001";
    assert!(text(&output.stdout).contains(profile), "{output:?}");
    let kept = signed.kept();
    assert_eq!((&kept["profile_arn"], &kept["region"]), (&json!(profile), &json!("eu-central-1")));
    assert_eq!(signed.broker.ask("say: hi").at_model("q").text().await, "hi");
    let calls = signed.broker.upstream().await["models"]["calls"].clone();
    assert_eq!(calls[0]["request"]["profileArn"], profile);
}

#[tokio::test]
async fn who_logs_out_is_out() {
    let signed = Signed::up("", MODEL).await;
    let output = signed.run(&["logout"]).await;
    assert!(text(&output.stdout).contains("tokens.json"), "{output:?}");
    assert!(!signed.place.join("tokens.json").exists());
    assert!(!signed.place.join("registration.json").exists());
    let output = signed.run(&["logout"]).await;
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(0), "nobody was signed in\n")
    );
    assert_eq!(signed.status().await.0, 1);
}

/// Asks, is refused, and gives the message.
pub(crate) async fn refused(signed: &Signed, text: &str) -> String {
    let answer = signed.broker.ask(text).at_model("q").answer().await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_denied"), "{answer:?}");
    let everything = answer.everything();
    assert!(!everything.contains(signed.place.to_str().unwrap()), "no path: {everything}");
    answer.error()["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_broker_without_a_sign_in_serves_its_other_models_and_says_what_to_run() {
    let signed = Signed::out("", MODEL).await;
    assert!(refused(&signed, "hello there").await.contains("run `outcrop login`"));
    assert_eq!(signed.broker.ask("repeat: fine").text().await, "fine");
    signed.log_in().await;
    assert_eq!(signed.broker.ask("say: now").at_model("q").text().await, "now");
    assert!(signed.broker.log().contains("CodeWhisperer is switched on"));
}

#[tokio::test]
async fn a_sign_in_that_cannot_be_renewed_is_not_tried_again_and_again() {
    let signed = Signed::up("", MODEL).await;
    signed.broker.set_up_sign_in(&json!({ "expire": true, "end": true })).await;
    for word in ["one two", "three four", "five six"] {
        assert!(refused(&signed, word).await.contains("has expired"));
    }
    assert_eq!(signed.renewals().await, 1);
    let (code, status) = signed.status().await;
    assert_eq!((code, &status["state"]), (1, &json!("ended")));
    signed.log_in().await;
    assert_eq!(signed.broker.ask("say: back").at_model("q").text().await, "back");
}

#[tokio::test]
async fn a_damaged_file_is_named_with_what_to_do() {
    let signed = Signed::up("", MODEL).await;
    let path = signed.place.join("tokens.json");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(refused(&signed, "hello there").await.contains("cannot be used"));
    let output = signed.run(&["login", "--status"]).await;
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("tokens.json is damaged (line "), "{told}");
    assert!(told.contains("it ends before its end; run `outcrop login` again"), "{told}");
    signed.log_in().await;
    assert_eq!(signed.broker.ask("say: mended").at_model("q").text().await, "mended");
}

#[tokio::test]
async fn a_file_that_others_may_read_is_not_used() {
    let signed = Signed::up("", MODEL).await;
    let path = signed.place.join("tokens.json");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(&signed, "hello there").await.contains("outcrop login --status"));
    let output = signed.run(&["login", "--status"]).await;
    let told = text(&output.stderr);
    assert!(
        told.contains("may be read by others (mode 644)") && told.contains("chmod 600"),
        "{told}"
    );
    assert!(signed.broker.log().contains("may be read by others"));
}

#[tokio::test]
async fn a_token_without_its_registration_is_used_as_long_as_it_is_good() {
    let signed = Signed::up("", MODEL).await;
    fs::remove_file(signed.place.join("registration.json")).unwrap();
    assert_eq!(signed.broker.ask("say: good").at_model("q").text().await, "good");
    signed.broker.set_up_sign_in(&json!({ "expire": true })).await;
    assert!(refused(&signed, "hello there").await.contains("has expired"));
    signed.keep(|kept| kept["expires_at"] = json!("2020-01-01T00:00:00Z"));
    assert_eq!(signed.status().await.0, 1);
}

#[tokio::test]
async fn a_clock_that_was_set_back_has_the_token_renewed() {
    let signed = Signed::up("", MODEL).await;
    signed.keep(|kept| {
        kept["issued_at"] = json!("2090-01-01T00:00:00Z");
        kept["expires_at"] = json!("2090-01-01T01:00:00Z");
    });
    assert_eq!(signed.broker.ask("say: hi").at_model("q").text().await, "hi");
    let is_renewed = async || !signed.kept()["issued_at"].as_str().unwrap().starts_with("2090");
    until("the renewal", is_renewed).await;
    assert_eq!(signed.renewals().await, 1);
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named_before_anybody_takes_the_trouble() {
    let signed = Signed::out("", MODEL).await;
    let blocked = signed.place.join("blocked");
    fs::write(&blocked, "a file, not a folder").unwrap();
    let mut command = outcrop(&signed.place, &["login"]);
    command.env("OUTCROP_CODEWHISPERER__DIRECTORY", &blocked);
    command.env("AWS_ENDPOINT_URL", format!("http://{}", signed.broker.upstream_address()));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told.contains("cannot be written") && told.contains("codewhisperer.directory"),
        "{told}"
    );
}
