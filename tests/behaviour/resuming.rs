//! Streams that broke off and are taken up again.

use serde_json::json;

use super::ask::{Answer, Ask};
use super::broker::{Broker, Setup, until};
use super::client::{Connection, Frame, Request};

fn resume(broker: &Broker, after: &str) -> Request {
    broker.get("/v1/chat/completions").header("last-event-id", after)
}

/// Reads three pieces of a turn that runs on without its reader, and leaves.
async fn leave_detached(broker: &Broker, ask: Ask<'_>) -> Vec<Frame> {
    let mut reply = ask.detached().begin().await;
    let mut seen = vec![reply.frame().await.unwrap()];
    for _ in 0..3 {
        seen.push(reply.first_text().await.0);
    }
    reply.hang_up();
    broker.metric_becomes("outcrop_turns_detached", 1.0).await;
    seen
}

fn text(frames: &[Frame]) -> String {
    frames.iter().map(Frame::text).collect()
}

#[tokio::test]
async fn a_detached_turn_runs_on_and_is_rejoined_where_its_reader_left() {
    let broker = Broker::start().await;
    let whole = broker.ask("count to 30").session("two").text().await;
    let ask = broker.ask("count to 30").session("one").pace(0, 10);
    let seen = leave_detached(&broker, ask).await;
    let rest = Answer::of(resume(&broker, &seen[3].id).send().await).await;
    rest.expect_ok();
    assert_eq!(text(&seen) + &rest.text, whole);
    assert_eq!(rest.session(), "one");
    let upstream = broker.upstream().await;
    assert_eq!(
        (&upstream["disconnected"], &upstream["calls"][1]["ended"]),
        (&json!(0), &json!("ok"))
    );
    assert_eq!(broker.session("one").await["messages"][1]["status"], "completed");
    assert!((broker.metric("outcrop_stream_resumes_total", &[]).await - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn a_resumed_stream_has_exactly_the_frames_that_are_missing() {
    let broker = Broker::start().await;
    let stream = broker.ask("count to 12").session("one").pace(0, 2).answer().await;
    assert!(stream.frames.iter().all(|frame| !frame.id.is_empty()), "{stream:?}");
    let places = 0..stream.frames.len() - 2;
    assert!(places.len() > 10);
    for last_seen in places {
        let after = &stream.frames[last_seen].id;
        let rest = Answer::of(resume(&broker, after).send().await).await;
        assert_eq!(rest.frames, stream.frames[last_seen + 1..], "after {after}");
    }
}

#[tokio::test]
async fn a_turn_is_resumed_by_the_same_post_and_by_the_sessions_events_too() {
    let broker = Broker::start().await;
    let ask = broker.ask("count to 12").session("one");
    let stream = ask.answer().await;
    let after = &stream.frames[4].id;
    let by_post = ask.clone().header("last-event-id", after).answer().await;
    assert_eq!(by_post.frames, stream.frames[5..]);
    assert_eq!(broker.calls().await.len(), 1, "nothing was asked again");
    let events = broker.get("/v1/sessions/one/events").header("last-event-id", after);
    assert_eq!(Answer::of(events.send().await).await.frames, stream.frames[5..]);
    broker.ask("hello there").session("two").text().await;
    for (session, code) in [("two", "turn_not_found"), ("three", "session_not_found")] {
        let path = format!("/v1/sessions/{session}/events");
        let events = broker.get(&path).header("last-event-id", after);
        let answer = Answer::of(events.send().await).await;
        assert_eq!((answer.status, &*answer.code()), (404, code), "{session}");
    }
}

#[tokio::test]
async fn the_running_turn_of_a_session_can_be_followed_by_others_from_its_beginning() {
    let broker = Broker::start().await;
    let mut first = broker.ask("count to 20").session("one").pace(0, 10).begin().await;
    let seen = first.first_text().await.1;
    let second = broker.get("/v1/sessions/one/events").send().await;
    let (first, second) = tokio::join!(Answer::of(first), Answer::of(second));
    second.expect_ok();
    assert_eq!(second.text, seen + &first.text);
    let idle = Answer::of(broker.get("/v1/sessions/one/events").send().await).await;
    assert_eq!((idle.status, &*idle.code()), (404, "turn_not_found"));
}

#[tokio::test]
async fn a_turn_goes_on_as_long_as_one_of_its_readers_stays() {
    let broker = Broker::start().await;
    let mut first = broker.ask("count to 40").session("one").pace(0, 10).begin().await;
    first.first_text().await;
    let second = broker.get("/v1/sessions/one/events").send().await;
    first.hang_up();
    Answer::of(second).await.expect_ok();
    assert_eq!(broker.upstream().await["disconnected"], 0);
}

#[tokio::test]
async fn a_turn_that_is_not_there_or_not_ones_own_cannot_be_resumed() {
    let tables = "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\n\n\
                  [[keys]]\ntenant = \"globex\"\nkey = \"sk-globex-first-key\"\n";
    let broker = Broker::with(Setup { tables, ..Setup::default() }).await;
    let stream = broker.ask("count to 5").key("sk-acme-first-key").answer().await;
    let theirs = &stream.frames[2].id;
    let nobodys = "turn_00000000000000000000000000000000:2";
    let ask = |id: &str| resume(&broker, id).key("sk-globex-first-key");
    let (theirs, nobodys) = (ask(theirs).send().await, ask(nobodys).send().await);
    let (theirs, nobodys) = (Answer::of(theirs).await, Answer::of(nobodys).await);
    assert_eq!((theirs.status, &*theirs.code()), (404, "turn_not_found"));
    assert_eq!((theirs.status, theirs.body), (nobodys.status, nobodys.body));
    let events = format!("/v1/sessions/{}/events", stream.session());
    let events = broker.get(&events).key("sk-globex-first-key").send().await;
    assert_eq!((events.status, &*Answer::of(events).await.code()), (404, "session_not_found"));
    let keyless = Answer::of(resume(&broker, &stream.frames[2].id).send().await).await;
    assert_eq!(keyless.status, 401);
    for id in ["", "rubbish", "turn_1:x", ":3"] {
        let answer = Answer::of(ask(id).send().await).await;
        assert_eq!((answer.status, answer.error()["param"].as_str()), (400, Some("Last-Event-ID")));
    }
}

#[tokio::test]
async fn a_turn_that_ended_long_ago_cannot_be_resumed() {
    let settings = "turn.resume_seconds = 0.2";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let stream = broker.ask("count to 5").answer().await;
    let status = async || resume(&broker, &stream.frames[2].id).send().await.status;
    assert_eq!(status().await, 200);
    until("the turn to be forgotten", async || status().await == 404).await;
}

#[tokio::test]
async fn only_so_many_turns_run_on_without_a_reader() {
    let settings = "turn.max_detached = 1";
    let model = "disconnect_policy = \"detach\"";
    let broker = Broker::with(Setup { settings, model, ..Setup::default() }).await;
    let ask = |session| broker.ask("count to 400").session(session).pace(0, 10);
    leave_detached(&broker, ask("one")).await;
    let mut second = ask("two").begin().await;
    second.first_text().await;
    second.hang_up();
    broker.open_calls_become(1).await;
    assert_eq!(broker.session("one").await["state"], "running");
    assert_eq!(broker.session("two").await["messages"][1]["status"], "interrupted");
}

#[tokio::test]
async fn a_detached_turn_that_still_waits_when_its_reader_leaves_is_run_too() {
    let broker = Broker::start().await;
    let mut first = broker.ask("count to 30").session("one").pace(0, 10).begin().await;
    first.first_text().await;
    let waiting = broker.ask("what loans do you offer?").session("one").detached();
    let mut connection = Connection::open(broker.address).await;
    connection.write(&waiting.request().bytes()).await;
    broker.metric_becomes("outcrop_turns_queued", 1.0).await;
    drop(connection);
    Answer::of(first).await.expect_ok();
    until("both turns to be over", async || broker.session("one").await["turns"] == 2).await;
    let session = broker.session("one").await;
    assert_eq!(session["messages"][3]["status"], "completed");
    broker.metric_becomes("outcrop_turns_detached", 0.0).await;
}

#[tokio::test]
async fn a_detached_turn_ends_when_it_is_interrupted() {
    let broker = Broker::start().await;
    leave_detached(&broker, broker.ask("count to 400").session("one").pace(0, 10)).await;
    broker.post("/v1/sessions/one/interrupt", &json!({})).send().await;
    broker.open_calls_become(0).await;
    assert_eq!(broker.session("one").await["messages"][1]["status"], "interrupted");
    broker.metric_becomes("outcrop_turns_detached", 0.0).await;
}

const POLICY: &str = "x-outcrop-disconnect-policy";

/// Reads the first of a turn's text and leaves; gives the id of the last frame.
async fn leave(ask: Ask<'_>) -> String {
    let mut reply = ask.begin().await;
    let (frame, _) = reply.first_text().await;
    reply.hang_up();
    frame.id
}

#[tokio::test]
async fn a_turn_that_nobody_comes_back_to_is_stopped_after_its_grace() {
    let broker = Broker::start().await;
    let ask = broker.ask("count to 1000").session("one").pace(0, 10);
    leave(ask.header(POLICY, "detach:0.3")).await;
    broker.metric_becomes("outcrop_turns_detached", 1.0).await;
    broker.open_calls_become(0).await;
    assert_eq!(broker.session("one").await["messages"][1]["status"], "interrupted");
    let wrong = broker.ask("hello there").header(POLICY, "detach:soon").answer().await;
    assert_eq!((wrong.status, wrong.error()["param"].as_str()), (400, Some(POLICY)));
}

#[tokio::test]
async fn who_comes_back_within_the_grace_follows_the_turn_to_its_end() {
    let broker = Broker::start().await;
    let ask = broker.ask("count to 100").session("one").pace(0, 10);
    let after = leave(ask.header(POLICY, "detach:0.6")).await;
    let rest = Answer::of(resume(&broker, &after).send().await).await;
    rest.expect_ok();
    assert!(rest.text.trim_end().ends_with("100"), "{}", rest.text);
    assert_eq!(broker.session("one").await["messages"][1]["status"], "completed");
}

#[tokio::test]
async fn a_key_has_a_policy_of_its_own_and_a_request_the_last_word() {
    let key = "oc_0123456789abcdef";
    let tables = format!(
        "[[keys]]\ntenant = \"acme\"\nkey = \"{key}\"\ndisconnect_policy = \"detach:0.3\"\n"
    );
    let broker = Broker::with(Setup { tables: &tables, ..Setup::default() }).await;
    let ask = |session| broker.ask("count to 1000").key(key).session(session).pace(0, 10);
    leave(ask("one")).await;
    broker.metric_becomes("outcrop_turns_detached", 1.0).await;
    broker.metric_becomes("outcrop_turns_detached", 0.0).await;
    leave(ask("two").header(POLICY, "cancel")).await;
    broker.open_calls_become(0).await;
    assert!(broker.metric("outcrop_turns_detached", &[]).await < 0.1);
}
