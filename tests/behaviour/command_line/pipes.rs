//! What is printed where nobody looks at it: into files, and into pipes that close.

use std::io::{BufRead as _, BufReader};

use tokio::task::spawn_blocking;

use super::super::broker::{Broker, Setup, until};
use super::{Done, run, start};

/// Runs a command whose output is closed after its first line.
async fn first_line(arguments: &[&str]) -> (String, Done) {
    let mut process = start(arguments);
    drop(process.stdin.take());
    let mut out = BufReader::new(process.stdout.take().unwrap());
    let line = spawn_blocking(move || {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        line
    });
    let line = line.await.unwrap();
    (line, Done::of(process).await)
}

#[tokio::test]
async fn a_pipe_that_closes_is_no_reason_to_panic() {
    let models: String = (0..400)
        .map(|n| format!("[[models]]\nname = \"m{n}\"\nbackend = \"openai\"\nmodel_id = \"x\"\n"))
        .collect();
    let broker = Broker::with(Setup { tables: &models, ..Setup::default() }).await;
    let url = format!("http://{}", broker.address);
    for arguments in [
        &["models", "--server-url", &url][..],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["--help"],
        &["config", "show"],
    ] {
        let (line, done) = first_line(arguments).await;
        assert!(!line.is_empty() && !done.err.contains("panicked"), "{arguments:?}: {done:?}");
        assert!(done.err.is_empty(), "{arguments:?}: {done:?}");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_stopped() {
    let broker = Broker::start().await;
    let url = format!("http://{}", broker.address);
    let text = "repeat: one\ntwo; outcrop-emulator-chunk-ms: 5; count to 100000";
    let chat = ["chat", "--server-url", &url, "--session", "unheard", text];
    let (line, done) = first_line(&chat).await;
    assert!(!line.is_empty() && done.err.is_empty(), "{done:?}");
    until("no turn to run", async || broker.session("unheard").await["state"] == "idle").await;
}

#[tokio::test]
async fn no_verb_sends_escapes_where_there_is_no_terminal() {
    let broker = Broker::start().await;
    let url = format!("http://{}", broker.address);
    broker.ask("hello").session("s").text().await;
    for arguments in [
        &["chat", "--server-url", &url, "hello"][..],
        &["models", "--server-url", &url],
        &["sessions", "--server-url", &url, "list"],
        &["sessions", "--server-url", &url, "show", "s"],
        &["compare", &url],
        &["bench", &url, "--requests", "2"],
        &["config", "show"],
        &["keys", "list"],
        &["login", "--status"],
        &["--help"],
    ] {
        let done = run(arguments).await;
        let told = format!("{}{}", done.out, done.err);
        assert!(!told.is_empty() && !told.contains('\x1b') && !told.contains('\r'), "{told:?}");
    }
}
