//! A broker that is told to stop.

use super::ask::Answer;
use super::broker::{Broker, Setup, soon, until};
use super::client::Connection;

/// A broker told to stop while it answers, with the stream it writes.
async fn stopped_in_mid_stream(broker: &Broker, text: &str) -> super::client::Reply {
    let mut reply = broker.ask(text).session("one").pace(0, 20).begin().await;
    reply.first_text().await;
    broker.terminate();
    until("the broker to drain", async || broker.get("/readyz").send().await.status == 503).await;
    reply
}

#[tokio::test]
async fn a_running_stream_ends_as_it_should_and_new_turns_are_sent_elsewhere() {
    let broker = Broker::start().await;
    let running = stopped_in_mid_stream(&broker, "count to 60").await;
    for ask in [broker.ask("hello there"), broker.ask("hello there").whole()] {
        let refused = ask.answer().await;
        assert_eq!((refused.status, &*refused.code()), (503, "draining"));
        assert_eq!(refused.error()["type"], "server_error");
        assert_ne!(refused.header("retry-after"), "");
        assert_eq!(refused.header("x-should-retry"), "true");
    }
    assert_eq!(broker.get("/livez").send().await.status, 200);
    let rest = Answer::of(running).await;
    rest.expect_ok();
    assert!(rest.text.trim_end().ends_with("60"), "{}", rest.text);
    assert_eq!(broker.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_turn_that_outlasts_the_grace_ends_with_an_error_in_its_stream() {
    let settings = "server.drain_seconds = 0.5";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let running = stopped_in_mid_stream(&broker, "count to 2000").await;
    let rest = Answer::of(running).await;
    assert_eq!(rest.code(), "draining");
    assert!(!rest.is_done());
    assert_eq!(broker.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_turn_that_waits_when_the_grace_is_over_is_refused() {
    let settings = "server.drain_seconds = 0.5";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let mut first = broker.ask("count to 2000").session("one").pace(0, 20).begin().await;
    first.first_text().await;
    let waiting = broker.ask("hello there").session("one").request();
    let waiting = tokio::spawn(async move { Answer::of(waiting.send().await).await });
    broker.metric_becomes("outcrop_turns_queued", 1.0).await;
    broker.terminate();
    let waiting = soon("the waiting turn to end", waiting).await.unwrap();
    assert_eq!((waiting.status, &*waiting.code()), (503, "draining"));
    assert_eq!(Answer::of(first).await.code(), "draining");
    assert_eq!(broker.exit().await.code(), Some(0));
}

#[tokio::test]
async fn who_says_stop_twice_does_not_want_to_wait() {
    let broker = Broker::start().await;
    let mut running = stopped_in_mid_stream(&broker, "count to 2000").await;
    broker.terminate();
    assert_eq!(soon("the broker to exit", broker.exit()).await.code(), Some(0));
    while running.frame().await.is_some_and(|frame| !frame.is_done()) {}
    assert!(!running.is_whole(), "the stream was cut off");
}

#[tokio::test]
async fn an_idle_broker_stops_at_once_whoever_is_connected() {
    let broker = Broker::start().await;
    let idle = Connection::open(broker.address).await;
    let mut kept = Connection::open(broker.address).await;
    kept.write(&broker.get("/livez").bytes()).await;
    assert_eq!(broker.get("/livez").send().await.status, 200);
    broker.terminate();
    assert_eq!(soon("the broker to exit", broker.exit()).await.code(), Some(0));
    assert_eq!(idle.rest().await, "");
}
