//! Signs of life on streams that are silent for a while.

use super::ask::Answer;
use super::broker::{Broker, Setup};

const OFTEN: &str = "server.keep_alive_seconds = 0.1";
const SIGN: &str = ": keep-alive";

/// All lines of a stream.
async fn lines(ask: super::ask::Ask<'_>) -> Vec<String> {
    let mut reply = ask.begin().await;
    assert_eq!(reply.status, 200);
    let mut lines = Vec::new();
    while let Some(line) = reply.line().await {
        lines.push(line);
    }
    lines
}

/// How many signs of life stand before the first text and how many after it; none may be
/// followed by a blank line, which would end an event that nobody sent.
fn signs(lines: &[String], text: &str) -> (usize, usize) {
    let first = lines.iter().position(|line| line.contains(text)).unwrap();
    for pair in lines.windows(2).filter(|pair| pair[0] == SIGN) {
        assert!(!pair[1].is_empty(), "{lines:?}");
    }
    let count = |part: &[String]| part.iter().filter(|line| *line == SIGN).count();
    (count(&lines[..first]), count(&lines[first..]))
}

#[tokio::test]
async fn a_stream_shows_signs_of_life_before_its_first_event_and_between_two() {
    let broker = Broker::with(Setup { settings: OFTEN, ..Setup::default() }).await;
    let lines = lines(broker.ask("count to 2").pace(450, 450)).await;
    let (before, after) = signs(&lines, "\"content\":\"1");
    assert!((2..=4).contains(&before) && (2..=4).contains(&after), "{before} and {after}");
    assert_eq!(lines.iter().rev().find(|line| !line.is_empty()).unwrap(), "data: [DONE]");
}

#[tokio::test]
async fn a_turn_that_waits_in_the_queue_shows_signs_of_life_too() {
    let broker = Broker::with(Setup { settings: OFTEN, ..Setup::default() }).await;
    let mut first = broker.ask("count to 40").session("one").pace(0, 10).begin().await;
    first.first_text().await;
    let waiting = lines(broker.ask("count to 2").session("one"));
    let (first, waiting) = tokio::join!(Answer::of(first), waiting);
    first.expect_ok();
    let (before, _) = signs(&waiting, "\"content\":\"1");
    assert!(before >= 2, "{waiting:?}");
}

#[tokio::test]
async fn a_model_may_show_them_more_often_than_the_broker_does_also_when_resumed() {
    let model = "keep_alive_seconds = 0.1";
    let broker = Broker::with(Setup { model, ..Setup::default() }).await;
    let mut reply = broker.ask("count to 2").session("one").pace(450, 600).detached().begin().await;
    let (frame, _) = reply.first_text().await;
    reply.hang_up();
    let mut resumed = broker.get("/v1/chat/completions").header("last-event-id", &frame.id);
    resumed = resumed.header("accept", "text/event-stream");
    let mut resumed = resumed.send().await;
    assert_eq!(resumed.line().await.unwrap(), SIGN);
    assert!(Answer::of(resumed).await.is_done());
}

#[tokio::test]
async fn a_native_stream_shows_blank_lines_instead() {
    let broker = Broker::with(Setup { settings: OFTEN, ..Setup::default() }).await;
    let body = serde_json::json!({
        "agent_id": "agent",
        "input_text": "count to 2",
        "prompt_session_attributes": { "outcrop-emulator-first-token-ms": "450" },
    });
    let mut reply = broker.post("/api/agent/stream", &body).send().await;
    let mut blank = 0;
    while let Some(line) = reply.line().await {
        blank += usize::from(line.is_empty());
        assert!(line.is_empty() || line.starts_with("{\"type\":"), "{line:?}");
    }
    assert!((2..=4).contains(&blank), "{blank}");
}
