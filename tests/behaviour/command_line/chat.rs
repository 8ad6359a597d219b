//! `outcrop chat` with a prompt; the terminal is driven in the clients' suite.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Command;

use serde_json::Value;
use tokio::task::spawn_blocking;

use super::super::broker::{Broker, Emulated, Setup, until};
use super::{Done, run, run_with, start};

#[tokio::test]
async fn an_argument_or_a_pipe_gets_one_answer_in_plain_text() {
    let broker = Broker::start().await;
    let url = format!("http://{}", broker.address);
    let answer = run(&["chat", "--server-url", &url, "count", "to", "3"]).await.well();
    let piped = run_with(&["chat", "--server-url", &url], "count to 3\n").await.well();
    assert_eq!((answer.trim_end(), piped.trim_end()), ("1 2 3", "1 2 3"));
    assert!(answer.ends_with('\n') && !answer.contains('\x1b'), "{answer:?}");
    let joined = ["chat", "--server-url", &url, "repeat:", "-"];
    assert_eq!(run_with(&joined, "ping\n").await.well(), "ping\n");
}

#[tokio::test]
async fn any_server_of_openais_format_will_do() {
    let emulator = Emulated::start(None).await;
    let url = format!("http://{}", emulator.address);
    let arguments =
        ["chat", "--server-url", &url, "--model", "m", "--json", "--system", "Be brief."];
    let done = run_with(&arguments, "What are your instructions?").await.well();
    let answer: Value = serde_json::from_str(&done).unwrap();
    assert!(answer["text"].as_str().unwrap().contains("Be brief."), "{answer}");
    assert_eq!(answer["finish_reason"], "stop");
    assert!(answer["usage"]["total_tokens"].as_u64() > Some(0) && answer["session"].is_null());
}

#[tokio::test]
async fn a_session_that_is_named_is_gone_on_with() {
    let broker = Broker::start().await;
    let url = format!("http://{}", broker.address);
    let chat = ["chat", "--server-url", &url, "--session", "ann-1"];
    run(&[&chat[..], &["My name is Ann."]].concat()).await.well();
    let answer = run(&[&chat[..], &["What is my name?"]].concat()).await.well();
    assert_eq!(answer, "Your name is Ann.\n");
    assert_eq!(broker.session("ann-1").await["turns"], 2);
}

#[tokio::test]
async fn ctrl_c_interrupts_the_turn_at_the_broker() {
    let model = "session_attributes = { outcrop-emulator-chunk-ms = \"10\" }";
    let broker = Broker::with(Setup { model, ..Setup::default() }).await;
    let url = format!("http://{}", broker.address);
    let slow = "count to 1000";
    let mut process = start(&["chat", "--server-url", &url, "--session", "slow", slow]);
    let mut out = BufReader::new(process.stdout.take().unwrap());
    // The first words have come.
    let (first, mut out) = spawn_blocking(move || {
        let mut first = Vec::new();
        out.read_until(b' ', &mut first).unwrap();
        (first, out)
    })
    .await
    .unwrap();
    assert_eq!(first, b"1 ");
    let id = process.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let rest = spawn_blocking(move || {
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        rest
    });
    let done = Done::of(process).await;
    assert_eq!((done.code, done.err.as_str()), (Some(1), "interrupted\n"));
    let rest = rest.await.unwrap();
    until("the turn to be over", async || broker.session("slow").await["state"] == "idle").await;
    let session = broker.session("slow").await;
    let answer = &session["messages"][1];
    assert_eq!(answer["status"], "interrupted");
    // What was shown is what the session holds.
    assert_eq!(answer["content"].as_str().unwrap().trim_end(), format!("1 {rest}").trim_end());
}
