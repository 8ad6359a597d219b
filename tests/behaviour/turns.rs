//! Turns that meet in one session.

use futures_util::future::join_all;
use serde_json::json;

use super::ask::Answer;
use super::broker::{Broker, Setup, soon};

/// A long answer at a steady pace.
const LONG: &str = "count to 400";

#[tokio::test]
async fn two_turns_at_once_come_out_in_order_and_never_meet_upstream() {
    let broker = Broker::start().await;
    let first = broker.ask("count to 30").session("one").pace(20, 2).begin().await;
    let second = broker.ask("what was my last message?").session("one").begin().await;
    let (first, second) = tokio::join!(Answer::of(first), Answer::of(second));
    first.expect_ok();
    assert_eq!(second.text, "Your last message was: \"count to 30\"");
    let upstream = broker.upstream().await;
    assert_eq!(upstream["max_concurrent_per_session"], 1);
    let calls = &upstream["calls"];
    assert!(calls[1]["started_ms"].as_u64() >= calls[0]["ended_ms"].as_u64(), "{calls}");
    assert_eq!((&calls[0]["ended"], &calls[1]["ended"]), (&json!("ok"), &json!("ok")));
}

#[tokio::test]
async fn by_the_policy_reject_a_second_turn_is_a_conflict_that_is_not_to_be_retried() {
    let broker = Broker::start().await;
    let mut first = broker.ask("count to 30").session("one").pace(0, 5).begin().await;
    first.first_text().await;
    let second = broker.ask("hello again").session("one").policy("reject").answer().await;
    assert_eq!((second.status, &*second.code()), (409, "session_busy"));
    assert_eq!(second.error()["type"], "conflict_error");
    assert_eq!(second.header("x-should-retry"), "false");
    Answer::of(first).await.expect_ok();
    broker.ask("hello again").session("one").policy("reject").text().await;
}

#[tokio::test]
async fn a_policy_may_also_stand_in_the_body_and_an_unknown_one_is_refused() {
    let broker = Broker::start().await;
    let mut first = broker.ask(LONG).session("one").pace(0, 5).begin().await;
    first.first_text().await;
    let ask = broker.ask("hello again").session("one");
    let by_body = ask.clone().with("outcrop", json!({ "turn_policy": "reject" })).answer().await;
    assert_eq!(by_body.code(), "session_busy");
    let unknown = ask.policy("whatever").answer().await;
    assert_eq!((unknown.status, &*unknown.code()), (400, "invalid_request"));
}

#[tokio::test]
async fn barge_in_ends_the_running_turn_with_what_was_said_and_answers_the_new_one() {
    let model = "turn_policy = \"interrupt\"";
    let broker = Broker::with(Setup { model, ..Setup::default() }).await;
    let mut first = broker.ask(LONG).session("one").pace(0, 10).begin().await;
    let (_, mut said) = first.first_text().await;
    let second = broker.ask("what was my last message?").session("one").answer().await;
    let rest = soon("the interrupted stream to end", Answer::of(first)).await;
    rest.expect_ok();
    assert_eq!(rest.finish_reason(), "stop");
    assert_eq!(second.text, format!("Your last message was: \"{LONG}\""));
    said.push_str(&rest.text);
    let session = broker.session("one").await;
    let interrupted = &session["messages"][1];
    assert_eq!(
        (&interrupted["content"], &interrupted["status"]),
        (&json!(said), &json!("interrupted"))
    );
    assert_eq!(session["messages"][3]["status"], "completed");
    let upstream = broker.upstream().await;
    assert_eq!(
        (&upstream["disconnected"], &upstream["max_concurrent_per_session"]),
        (&json!(1), &json!(1))
    );
    assert!(
        (broker.metric("outcrop_turns_interrupted_total", &["reason=\"barge_in\""]).await - 1.0)
            .abs()
            < 0.1
    );
}

#[tokio::test]
async fn barge_in_also_ends_the_turns_that_wait() {
    let broker = Broker::start().await;
    let mut first = broker.ask(LONG).session("one").pace(0, 10).begin().await;
    first.first_text().await;
    let waiting = broker.ask("I still wait").session("one").whole().request();
    let waiting = tokio::spawn(async move { Answer::of(waiting.send().await).await });
    broker.metric_becomes("outcrop_turns_queued", 1.0).await;
    broker.ask("stop, what do you offer?").session("one").policy("interrupt").text().await;
    let superseded = soon("the waiting turn to end", waiting).await.unwrap();
    assert_eq!((superseded.status, &*superseded.text), (200, ""));
    assert_eq!(superseded.body["choices"][0]["finish_reason"], "stop");
    assert_eq!(broker.calls().await.len(), 2, "the turn that waited never went up");
}

#[tokio::test]
async fn a_session_whose_queue_is_full_refuses_further_turns() {
    let broker = Broker::with(Setup { settings: "turn.queue = 1", ..Setup::default() }).await;
    let mut first = broker.ask("count to 40").session("one").pace(0, 10).begin().await;
    first.first_text().await;
    let second = broker.ask("count to 2").session("one").request();
    let second = tokio::spawn(async move { Answer::of(second.send().await).await });
    broker.metric_becomes("outcrop_turns_queued", 1.0).await;
    let third = broker.ask("count to 3").session("one").answer().await;
    assert_eq!((third.status, &*third.code()), (429, "queue_full"));
    assert_eq!(third.error()["type"], "rate_limit_error");
    assert_ne!(third.header("retry-after"), "");
    let other = broker.ask("count to 4").session("two").answer().await;
    other.expect_ok();
    Answer::of(first).await.expect_ok();
    second.await.unwrap().expect_ok();
}

#[tokio::test]
async fn a_turn_that_waits_too_long_in_the_queue_is_refused() {
    let settings = "turn.queue_wait_seconds = 0.2";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let mut first = broker.ask(LONG).session("one").pace(0, 20).begin().await;
    first.first_text().await;
    let second = broker.ask("count to 2").session("one").answer().await;
    assert_eq!((second.status, &*second.code()), (429, "queue_full"));
    assert_eq!(broker.calls().await.len(), 1);
}

#[tokio::test]
async fn the_broker_takes_no_more_turns_than_it_may_run() {
    let settings = "turn.max_in_flight = 1";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let mut first = broker.ask("count to 20").session("one").pace(0, 10).begin().await;
    first.first_text().await;
    let second = broker.ask("hello there").session("two").answer().await;
    assert_eq!((second.status, &*second.code()), (503, "overloaded"));
    assert_ne!(second.header("retry-after"), "");
    Answer::of(first).await.expect_ok();
    broker.ask("hello there").session("two").text().await;
}

#[tokio::test]
async fn letters_of_several_bytes_arrive_whole_however_they_were_cut() {
    let broker = Broker::start().await;
    let text = "žluťoučký kůň 🐎 grüßt 日本語 \" \\ \u{2028} \t end";
    let ask = broker.ask(&format!("repeat: {text}"));
    for ask in [ask.clone(), ask.clone().fault("slow"), ask.whole()] {
        assert_eq!(ask.text().await, text);
    }
}

#[tokio::test]
async fn of_many_turns_at_once_as_many_are_answered_as_may_wait() {
    let broker = Broker::start().await;
    let ask = |number| broker.ask(&format!("count to {number}")).session("one").pace(50, 0);
    let asks: Vec<_> = (10..30).map(ask).collect();
    let answers = join_all(asks.iter().map(|ask| ask.answer())).await;
    let with = |status| answers.iter().filter(move |answer| answer.status == status).count();
    assert_eq!((with(200), with(429)), (9, 11));
    assert_eq!(broker.upstream().await["max_concurrent_per_session"], 1);
    assert_eq!(broker.session("one").await["turns"], 9);
}

#[tokio::test]
async fn of_many_turns_that_barge_in_each_ends_and_only_one_runs() {
    let broker = Broker::start().await;
    let ask = |number| broker.ask(&format!("count to {number}")).session("one").pace(5, 1);
    let asks: Vec<_> = (100..140).map(|number| ask(number).policy("interrupt")).collect();
    let answers = join_all(asks.iter().map(|ask| ask.answer())).await;
    answers.iter().for_each(Answer::expect_ok);
    let complete = answers.iter().filter(|answer| answer.text.split_whitespace().count() >= 100);
    assert_eq!(complete.count(), 1);
    assert_eq!(broker.upstream().await["max_concurrent_per_session"], 1);
    assert_eq!(broker.session("one").await["state"], "idle");
    broker.metric_becomes("outcrop_turns_in_flight", 0.0).await;
}

#[tokio::test]
async fn a_long_answer_arrives_whole() {
    let broker = Broker::start().await;
    let text = "It is a long way to go. ".repeat(8_000);
    let ask = broker.ask(&format!("repeat: {}", text.trim()));
    assert_eq!(ask.text().await, text.trim());
    assert_eq!(ask.whole().text().await, text.trim());
}
