//! Clients that go away in the middle of a turn.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::ask::Ask;
use super::broker::{Broker, Setup, until};
use super::client::{Connection, Reply};

/// By then the upstream's connection is to be closed, as a rule and on a busy machine.
const AS_A_RULE: Duration = Duration::from_millis(50);
const AT_MOST: Duration = Duration::from_millis(150);
const TRIALS: usize = 9;
/// An answer that goes on for longer than any test.
const LONG: &str = "count to 2000";

/// Waits until the upstream saw so many clients hang up, and says when it last did.
async fn hung_up(broker: &Broker, times: u64) -> Duration {
    let mut last = Value::Null;
    until("the upstream's connection to close", async || {
        let upstream = broker.upstream().await;
        last = upstream["last_disconnect_ms"].clone();
        upstream["disconnected"] == times
    })
    .await;
    Duration::from_millis(last.as_u64().unwrap())
}

/// Has one client after the other leave, and holds the time until the upstream's connection
/// closes to its limits. `leave` ends once the client is gone.
async fn each_time(broker: &Broker, leave: impl AsyncFn()) {
    let mut delays = Vec::new();
    for trial in 1..=TRIALS {
        leave().await;
        let left = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let closed = hung_up(broker, trial as u64).await;
        delays.push(closed.saturating_sub(left));
        let next = broker.ask("hello again").session("one");
        assert_eq!(next.answer().await.status, 200, "the session is usable at once");
    }
    delays.sort();
    assert!(delays[TRIALS / 2] <= AS_A_RULE, "{delays:?}");
    assert!(delays[TRIALS - 1] <= AT_MOST, "{delays:?}");
}

/// Begins a long turn of the session that all of these are about.
fn long(broker: &Broker) -> Ask<'_> {
    broker.ask(LONG).session("one").pace(0, 10)
}

async fn in_mid_stream(broker: &Broker) -> Reply {
    let mut reply = long(broker).begin().await;
    reply.first_text().await;
    reply
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_in_mid_stream_ends_its_upstream_call_at_once() {
    let broker = Broker::start().await;
    each_time(&broker, async || in_mid_stream(&broker).await.hang_up()).await;
    let session = broker.session("one").await;
    assert_eq!(session["messages"][1]["status"], "interrupted");
    assert_ne!(session["messages"][1]["content"], "", "what was said is kept");
    let reason = ["reason=\"disconnect\""];
    let counted = broker.metric("outcrop_turns_interrupted_total", &reason).await;
    assert!((counted - TRIALS as f64).abs() < 0.1, "{counted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_resets_its_connection_ends_its_upstream_call_at_once() {
    let broker = Broker::start().await;
    each_time(&broker, async || in_mid_stream(&broker).await.reset()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_before_the_first_token_ends_its_upstream_call_at_once() {
    let broker = Broker::start().await;
    for ask in [long(&broker).pace(60_000, 0), long(&broker).pace(60_000, 0).whole()] {
        let leave = async || {
            let mut connection = Connection::open(broker.address).await;
            connection.write(&ask.request().bytes()).await;
            broker.open_calls_become(1).await;
            drop(connection);
        };
        each_time(&broker, leave).await;
        broker.forget_upstream().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_is_never_asked_for_upstream() {
    let broker = Broker::start().await;
    let mut first = broker.ask("count to 60").session("one").pace(0, 10).begin().await;
    first.first_text().await;
    let mut waiting = Connection::open(broker.address).await;
    waiting.write(&broker.ask("are you there?").session("one").request().bytes()).await;
    broker.metric_becomes("outcrop_turns_queued", 1.0).await;
    drop(waiting);
    broker.metric_becomes("outcrop_turns_queued", 0.0).await;
    first.hang_up();
    broker.open_calls_become(0).await;
    broker.ask("hello again").session("one").text().await;
    let asked: Vec<_> =
        broker.calls().await.iter().map(|call| call["input_text"].clone()).collect();
    assert_eq!(asked, [json!("count to 60"), json!("hello again")]);
}

#[tokio::test]
async fn many_clients_that_leave_at_once_leave_nothing_behind() {
    let broker = Broker::start().await;
    let mut replies = Vec::new();
    for number in 0..100 {
        let session = format!("of-{number}");
        replies.push(broker.ask(LONG).session(&session).pace(0, 50).begin().await);
    }
    broker.open_calls_become(100).await;
    drop(replies);
    broker.open_calls_become(0).await;
    broker.metric_becomes("outcrop_turns_in_flight", 0.0).await;
    assert_eq!(broker.upstream().await["disconnected"], 100);
}

#[tokio::test]
async fn a_key_gets_the_place_of_a_turn_back_that_its_client_left() {
    let tables = "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\nconcurrent_turns = 1\n";
    let broker = Broker::with(Setup { tables, ..Setup::default() }).await;
    let key = "sk-acme-first-key";
    let mut first = long(&broker).key(key).begin().await;
    first.first_text().await;
    let refused = broker.ask("hello there").session("two").key(key).answer().await;
    assert_eq!((refused.status, &*refused.code()), (429, "rate_limit_exceeded"));
    first.hang_up();
    until("the place to be free", async || {
        broker.ask("hello there").session("two").key(key).answer().await.status == 200
    })
    .await;
}
