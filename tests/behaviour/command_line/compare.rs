//! `outcrop compare` against servers that are right, and against one with a flaw at a time.

use serde_json::Value;

use super::super::broker::{Broker, Emulated};
use super::run;

/// What is wrong, by its name in the emulator, and the rules that name it.
const FLAWS: &[(&str, &[&str])] = &[
    ("no-role", &["missing-role"]),
    ("wrong-index", &["wrong-index"]),
    ("no-usage", &["missing-usage"]),
    ("no-done", &["missing-done"]),
    ("no-finish", &["missing-finish-reason"]),
    ("wrong-content-type", &["content-type"]),
    ("tool-index", &["tool-index"]),
    ("shared-call-id", &["duplicate-call-id"]),
    ("cut:2", &["broke-off"]),
    ("error-frame:2", &["error-in-stream"]),
    ("throttle", &["status"]),
];

#[tokio::test]
async fn every_flaw_of_a_server_is_named() {
    let emulator = Emulated::start(None).await;
    let url = format!("http://{}", emulator.address);
    for (flaw, rules) in FLAWS {
        let message = format!("count to 5; outcrop-emulator-fault: {flaw}");
        let tools = format!(
            "call: get_weather city=Oslo; call: get_weather city=Rome; outcrop-emulator-fault: {flaw}"
        );
        let arguments =
            ["compare", &url, "--model", "m", "--message", &message, "--tools", &tools, "--quiet"];
        let done = run(&arguments).await;
        assert_eq!(done.code, Some(1), "{flaw}: {done:?}");
        for rule in *rules {
            assert!(done.out.contains(&format!("[{rule}]")), "{flaw}: {}", done.out);
        }
        // One flaw is one flaw: what a cut stream lacks besides is told too.
        let others = done.out.lines().filter(|line| !rules.iter().any(|rule| line.contains(rule)));
        let is_whole = !flaw.contains(':') && *flaw != "throttle";
        assert!(!is_whole || others.count() == 0, "{flaw}: {}", done.out);
    }
}

#[tokio::test]
async fn servers_that_are_right_are_passed_in_silence() {
    let broker = Broker::start().await;
    let emulator = format!("http://{}", broker.emulator());
    let outcrop = format!("http://{}/v1/", broker.address);
    let tools = "call: get_weather city=Oslo; call: get_weather city=Rome";
    let alone = ["compare", &emulator, "--tools", tools, "--quiet"];
    assert_eq!(run(&alone).await.well(), "");
    let alone = ["compare", &outcrop, "--message", "count to 5", "--quiet"];
    assert_eq!(run(&alone).await.well(), "");
    let both = ["compare", &emulator, &outcrop, "--model-b", "agent", "--message", "count to 5"];
    let report = run(&both).await.well();
    assert!(report.contains("role content"), "{report}");
    assert!(report.contains("[DONE]") && !report.contains('✗'), "{report}");
    assert!(!report.contains('\x1b'), "colours are for terminals: {report}");
}

#[tokio::test]
async fn two_servers_that_differ_are_told_apart_and_scripts_can_read_it() {
    let right = Emulated::start(None).await;
    let flawed = Emulated::faulty("no-done").await;
    let (a, b) = (format!("http://{}", right.address), format!("http://{}", flawed.address));
    let done = run(&["compare", &a, &b, "--json"]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    let report: Value = serde_json::from_str(&done.out).unwrap();
    let rules: Vec<_> =
        report["findings"].as_array().unwrap().iter().map(|one| &one["rule"]).collect();
    assert_eq!(rules, ["missing-done", "order-differs"]);
    assert_eq!(report["servers"][1]["requests"][1]["status"], 200);
    assert_eq!(report["noticed"], true);
}
