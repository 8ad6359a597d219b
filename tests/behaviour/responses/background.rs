//! Responses in the background: found later, cancelled, and their streams resumed.

use serde_json::{Value, json};

use crate::broker::{Broker, Setup, until};
use crate::respond::{Respond, Responded, check_stream};

use super::{NOBODYS, status_of};

#[tokio::test]
async fn a_response_in_the_background_is_there_at_once_and_found_later() {
    let broker = Broker::start().await;
    let ask = Respond::to(&broker, "count to 20").in_background().pace(300, 5);
    let begun = ask.send().await;
    assert_eq!((begun.status, &begun.body["background"]), (200, &json!(true)));
    assert!(matches!(begun.state(), "queued" | "in_progress"), "{begun:?}");
    assert_eq!((&begun.body["output"], &begun.body["usage"]), (&json!([]), &Value::Null));
    let ended = begun.ended(&broker).await;
    assert_eq!(ended.state(), "completed");
    assert_eq!(ended.text().split_whitespace().count(), 20);
    assert_eq!(broker.upstream().await["disconnected"], 0);
    let next = Respond::to(&broker, "what was my last message?").after(&ended).complete().await;
    assert!(next.text().contains("count to 20"), "{}", next.text());
}

#[tokio::test]
async fn a_response_in_the_background_runs_on_without_its_reader_and_failures_are_in_it() {
    let broker = Broker::start().await;
    let ask = Respond::to(&broker, "count to 20").in_background().streamed().pace(0, 5);
    let mut reply = ask.begin().await;
    let created = reply.frame().await.unwrap().json();
    assert_eq!(
        (&created["type"], &created["response"]["status"]),
        (&json!("response.created"), &json!("queued"))
    );
    assert_eq!(reply.frame().await.unwrap().event, "response.queued");
    reply.hang_up();
    let begun = Responded {
        status: 200,
        head: String::new(),
        body: created["response"].clone(),
        frames: Vec::new(),
    };
    let ended = begun.ended(&broker).await;
    assert_eq!((ended.state(), ended.text().split_whitespace().count()), ("completed", 20));
    let failing = Respond::to(&broker, "hello").in_background().fault("dependency").send().await;
    assert_eq!(failing.status, 200);
    let failed = failing.ended(&broker).await;
    assert_eq!((failed.state(), &failed.body["error"]["code"]), ("failed", &json!("server_error")));
}

#[tokio::test]
async fn a_cancelled_response_keeps_what_it_said_and_stops_upstream() {
    let broker = Broker::start().await;
    let running = Respond::to(&broker, "count to 400").in_background().pace(0, 10).send().await;
    until("some text", async || !running.get(&broker, "").await.text().is_empty()).await;
    let cancel = format!("{}/cancel", running.path());
    let cancelled = Responded::of(broker.post(&cancel, &json!({})).send().await).await;
    assert_eq!((cancelled.status, cancelled.state()), (200, "cancelled"), "{cancelled:?}");
    assert!(!cancelled.text().is_empty());
    broker.open_calls_become(0).await;
    assert_eq!(broker.upstream().await["disconnected"], 1);
    let again = Responded::of(broker.post(&cancel, &json!({})).send().await).await;
    assert_eq!((again.status, again.body), (200, cancelled.body));
    let next = Respond::to(&broker, "what was my last message?").after(&running).complete().await;
    assert!(next.text().contains("count to 400"), "{}", next.text());
}

#[tokio::test]
async fn only_what_runs_in_the_background_can_be_cancelled() {
    let broker = Broker::start().await;
    let foreground = Respond::to(&broker, "hello").complete().await;
    let background = Respond::to(&broker, "hello").in_background().send().await;
    background.ended(&broker).await;
    for response in [&foreground, &background] {
        let path = format!("{}/cancel", response.path());
        assert_eq!(status_of(&broker, "POST", &path).await, (400, "invalid_request".to_owned()));
    }
    let path = format!("/v1/responses/{NOBODYS}/cancel");
    assert_eq!(status_of(&broker, "POST", &path).await, (404, "response_not_found".to_owned()));
}

#[tokio::test]
async fn a_stream_is_resumed_after_every_number_live_and_when_it_has_ended() {
    let broker = Broker::start().await;
    let ask = Respond::to(&broker, "count to 12").in_background().streamed().pace(50, 10);
    let mut first = ask.begin().await;
    let created = first.frame().await.unwrap();
    let id = created.json()["response"]["id"].as_str().unwrap().to_owned();
    // While it runs, readers come for what there will be.
    let resumed = (0..20).map(|number| {
        let path = format!("/v1/responses/{id}?stream=true&starting_after={number}");
        let request = broker.get(&path);
        async move { (number, Responded::of(request.send().await).await) }
    });
    let live = futures_util::future::join_all(resumed).await;
    let mut all = Responded::of(first).await.frames;
    all.insert(0, created);
    check_stream(&all);
    for (number, reply) in live {
        assert_eq!(reply.frames, all[(number + 1).min(all.len())..], "after {number}");
    }
    for number in 0..all.len() {
        let path = format!("/v1/responses/{id}?stream=true&starting_after={number}");
        let rest = Responded::of(broker.get(&path).send().await).await;
        assert_eq!((rest.status, &*rest.frames), (200, &all[number + 1..]), "after {number}");
        let reconnect = broker.get(&format!("/v1/responses/{id}"));
        let rest = reconnect.header("last-event-id", &all[number].id).send().await;
        assert_eq!(Responded::of(rest).await.frames, all[number + 1..], "after {number}");
    }
    let whole = broker.get(&format!("/v1/responses/{id}?stream=true")).send().await;
    assert_eq!(Responded::of(whole).await.frames, all);
    let beyond = all.len();
    for after in [beyond.to_string(), "-1".to_owned(), "x".to_owned(), "1e3".to_owned()] {
        let path = format!("/v1/responses/{id}?stream=true&starting_after={after}");
        let refused = Responded::of(broker.get(&path).send().await).await;
        assert_eq!((refused.status, refused.refusal().2), (400, "starting_after"), "{after}");
    }
    let foreign = broker.get(&format!("/v1/responses/{id}")).header("last-event-id", "turn_x:1");
    assert_eq!(Responded::of(foreign.send().await).await.refusal().2, "Last-Event-ID");
}

#[tokio::test]
async fn a_stream_is_resumed_after_a_restart_and_a_crash_as_far_as_it_was_kept() {
    let settings = "store.kind = \"sqlite\"\nstore.path = \"sessions.db\"";
    let mut broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let ask = |text| Respond::to(&broker, text).in_background().streamed();
    let whole = ask("count to 12").complete().await;
    check_stream(&whole.frames);
    let mut cut = ask("count to 900").pace(0, 5).begin().await;
    let mut seen = Vec::new();
    while seen.len() < 300 {
        seen.push(cut.frame().await.unwrap());
    }
    let id = seen[0].json()["response"]["id"].as_str().unwrap().to_owned();
    drop(cut);
    broker.crash();
    broker.start_again().await;
    let stream = async |id: &str, after: usize| {
        let path = format!("/v1/responses/{id}?stream=true&starting_after={after}");
        Responded::of(broker.get(&path).send().await).await
    };
    for number in 0..whole.frames.len() {
        assert_eq!(stream(whole.id(), number).await.frames, whole.frames[number + 1..]);
    }
    let kept = Responded::of(broker.get(&format!("/v1/responses/{id}?stream=true")).send().await);
    let kept = kept.await.frames;
    check_stream(&kept);
    let last = kept.last().unwrap();
    assert_eq!(
        (&*last.event, &last.json()["response"]["error"]["code"]),
        ("response.failed", &json!("server_error"))
    );
    // A crash costs no more than a second, here some 200 words.
    let deltas = kept.iter().filter(|frame| frame.event == "response.output_text.delta").count();
    assert!(deltas > 20, "{deltas}");
    let same = seen.iter().zip(&kept).take_while(|(seen, kept)| seen == kept).count();
    assert!(same >= deltas.min(290), "{same} of {deltas}");
    for after in [0, 3, same - 1] {
        assert_eq!(stream(&id, after).await.frames, kept[after + 1..], "after {after}");
    }
    // What a client has of what was not kept has numbers that now mean the end, or nothing.
    for after in [kept.len() - 1, kept.len(), kept.len() + 500] {
        assert_eq!(*stream(&id, after).await.frames, *std::slice::from_ref(last), "after {after}");
    }
    let refused = stream(whole.id(), whole.frames.len()).await;
    assert_eq!((refused.status, refused.refusal().2), (400, "starting_after"));
}

#[tokio::test]
async fn a_response_is_found_as_soon_as_its_id_is_told() {
    let broker = Broker::start().await;
    let asked = (0..60).map(|_| async {
        let begun = Respond::to(&broker, "count to 3").in_background().send().await;
        let found = begun.get(&broker, "").await;
        assert_eq!((found.status, found.id()), (200, begun.id()), "{found:?}");
    });
    futures_util::future::join_all(asked).await;
}
