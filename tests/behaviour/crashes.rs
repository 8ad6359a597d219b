//! A broker that is ended without a word, again and again, and what its clients find afterwards.
//!
//! `CRASHES` and `CRASH_SESSIONS` say how often and with how many sessions; the usual figures are
//! small, so that the test is quick.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::broker::{Broker, Setup};
use super::return_of_control::{calls, results_of};

type Http = Client<HttpConnector, Full<Bytes>>;

const STORE: &str = "store.kind = \"sqlite\"\nstore.path = \"sessions.db\"";

/// What one client was told, over all crashes.
#[derive(Debug, Default, Clone)]
struct Told {
    session: String,
    turns: Vec<Turn>,
}

#[derive(Debug, Clone)]
struct Turn {
    said: String,
    /// What of the answer came.
    answer: String,
    /// Whether the end of the answer came too.
    is_whole: bool,
}

impl Told {
    /// Says one thing after the other until the broker is gone.
    async fn talk(mut self, http: Http, address: SocketAddr) -> Self {
        loop {
            let said = format!("line {} of {}", self.turns.len(), self.session);
            let mut turn = Turn { said, answer: String::new(), is_whole: false };
            let sent = ask(&http, address, &self.session, &mut turn).await;
            let is_whole = turn.is_whole;
            self.turns.push(turn);
            if sent.is_none() || !is_whole {
                return self;
            }
        }
    }

    /// Compares what was told with what is kept: everything that was told whole is there once,
    /// in its order, and what was not is there at most once, as far as it came.
    fn check(&self, session: &Value) {
        let none = Vec::new();
        let kept = session["messages"].as_array().unwrap_or(&none);
        let text = |message: &Value| message["content"].as_str().unwrap_or_default().to_owned();
        let mut kept = kept.iter().peekable();
        for turn in &self.turns {
            let is_there = kept.peek().is_some_and(|next| text(next) == turn.said);
            assert!(is_there || !turn.is_whole, "{turn:?} is lost: {session:#}");
            if !is_there {
                continue;
            }
            kept.next();
            let answer = kept.next_if(|next| next["role"] == "assistant");
            let Some(answer) = answer else {
                assert!(!turn.is_whole, "the answer of {turn:?} is lost: {session:#}");
                continue;
            };
            let (said, status) = (text(answer), answer["status"].as_str().unwrap_or_default());
            if turn.is_whole {
                assert_eq!((said.as_str(), status), (turn.answer.as_str(), "completed"));
            } else {
                let is_part = said.starts_with(&turn.answer) || turn.answer.starts_with(&said);
                assert!(is_part, "{turn:?} became {answer}");
                assert_ne!(status, "failed", "{turn:?}");
            }
        }
        assert_eq!(kept.next(), None, "nobody said this: {session:#}");
    }
}

/// Runs one turn; `None` when the broker was gone before it answered.
async fn ask(http: &Http, address: SocketAddr, session: &str, turn: &mut Turn) -> Option<()> {
    let body = json!({
        "model": "agent",
        "stream": true,
        "messages": [{ "role": "user", "content": turn.said }],
        "outcrop": { "prompt_session_attributes": {
            "outcrop-emulator-first-token-ms": "1",
            "outcrop-emulator-chunk-ms": "3",
        } },
    });
    let request = Request::post(format!("http://{address}/v1/chat/completions"))
        .header("content-type", "application/json")
        .header("x-session-id", session)
        .body(Full::from(body.to_string()))
        .unwrap();
    let mut reply = http.request(request).await.ok()?;
    assert_eq!(reply.status(), 200, "{session}");
    let mut unread = String::new();
    while let Some(frame) = reply.body_mut().frame().await {
        let Ok(frame) = frame else { break };
        let Ok(data) = frame.into_data() else { continue };
        unread.push_str(std::str::from_utf8(&data).unwrap());
        while let Some((event, rest)) = unread.split_once("\n\n") {
            take_in(event, turn);
            unread = rest.to_owned();
        }
    }
    Some(())
}

fn take_in(event: &str, turn: &mut Turn) {
    let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_default();
    if data == "[DONE]" {
        turn.is_whole = true;
        return;
    }
    let Ok(chunk) = serde_json::from_str::<Value>(data) else { return };
    assert!(chunk.get("error").is_none(), "{chunk}");
    let text = chunk.pointer("/choices/0/delta/content").and_then(Value::as_str);
    turn.answer.push_str(text.unwrap_or_default());
}

#[expect(clippy::disallowed_methods, reason = "a test takes its figures from who runs it")]
fn figure(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |figure| figure.parse().unwrap())
}

/// Different each time, without a source of chance: the test says it, so that it can be told.
fn moment(crash: usize) -> Duration {
    let spread = (crash * 7_919 + std::process::id() as usize * 104_729) % 450;
    Duration::from_millis(50 + spread as u64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_was_told_outlives_every_crash() {
    let mut broker = Broker::with(Setup { settings: STORE, ..Setup::default() }).await;
    let sessions = figure("CRASH_SESSIONS", 24);
    let told = |number: usize| Told { session: format!("session-{number}"), turns: Vec::new() };
    let mut clients: Vec<_> = (0..sessions).map(told).collect();
    for crash in 0..figure("CRASHES", 4) {
        let http: Http = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        let mut talking = JoinSet::new();
        for client in clients.drain(..) {
            talking.spawn(client.talk(http.clone(), broker.address));
        }
        let after = moment(crash);
        tokio::time::sleep(after).await;
        broker.crash();
        clients = talking.join_all().await;
        broker.start_again().await;
        for client in &clients {
            let kept = broker.session(&client.session).await;
            client.check(&kept);
        }
        let told: usize = clients.iter().map(|client| client.turns.len()).sum();
        println!("crash {crash} after {after:?}: {told} turns so far");
    }
    // No session is stuck, and each knows what it was told.
    let clients = Arc::new(clients);
    for client in clients.iter() {
        let answer = broker.ask("and now?").session(&client.session).pace(0, 0).answer().await;
        answer.expect_ok();
    }
}

#[tokio::test]
async fn calls_that_wait_for_results_can_be_answered_after_a_crash() {
    let mut broker = Broker::with(Setup { settings: STORE, ..Setup::default() }).await;
    let asked = "call: forecast city=Oslo days=3; then say: Take an umbrella.";
    let first = broker.ask(asked).session("one").whole().answer().await;
    let open = calls(&first);
    broker.crash();
    broker.start_again().await;
    let session = broker.session("one").await;
    assert_eq!(session["pending_tool_calls"].as_array().map(Vec::len), Some(1), "{session:#}");
    let results = results_of(&open, "rain");
    let answer = broker.ask("x").session("one").whole().with("messages", results).answer().await;
    assert!(answer.text.ends_with("Take an umbrella."), "{}", answer.text);
    assert_eq!(answer.origin(), "revived");
}
