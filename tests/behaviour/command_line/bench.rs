//! `outcrop bench` against the emulator.

use serde_json::Value;

use super::super::broker::{Broker, Emulated};
use super::run;

#[tokio::test]
async fn a_server_is_measured_and_its_errors_are_counted() {
    let emulator = Emulated::start(None).await;
    let url = format!("http://{}", emulator.address);
    let bench = ["bench", &url, "--requests", "20", "--connections", "4", "--json"];
    let well: Value = serde_json::from_str(&run(&bench).await.well()).unwrap();
    assert_eq!((&well["answered"], &well["errors"]), (&20.into(), &serde_json::json!({})));
    assert!(well["tokens"].as_u64() >= Some(20 * 50), "{well}");
    let times = &well["first_token_ms"];
    assert!(times["p50"].as_f64() <= times["max"].as_f64(), "{well}");
    let faulty = ["--message", "count to 9; outcrop-emulator-fault: throttle"];
    let done = run(&[&bench[..], &faulty].concat()).await;
    let badly: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((done.code, &badly["errors"]["status 429"]["count"]), (Some(1), &20.into()));
}

#[tokio::test]
async fn an_outcrop_keeps_no_session_of_it() {
    let broker = Broker::start().await;
    let url = format!("http://{}", broker.address);
    run(&["bench", &url, "--requests", "8"]).await.well();
    let sessions = broker.get("/v1/sessions").send().await.json().await;
    assert_eq!(sessions["data"], serde_json::json!([]));
    // What is resent goes on in no session that is kept, and says so to none.
    broker.ask("my name is Ann").text().await;
    let again = broker.ask("my name is Ann").header("x-outcrop-keep", "nothing");
    assert_eq!(again.answer().await.header("x-outcrop-session"), "new");
    let wrong = broker.ask("hello").header("x-outcrop-keep", "everything").answer().await;
    assert_eq!((wrong.status, &wrong.error()["param"]), (400, &"x-outcrop-keep".into()));
}
