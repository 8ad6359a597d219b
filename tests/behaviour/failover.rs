//! A pool whose first member dies under load, and comes back.

use std::cell::Cell;
use std::net::SocketAddr;

use futures_util::future::{join, join_all};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::broker::{Broker, Emulated, Setup, until};
use super::client::Request;

/// Clients that ask one question after the other.
const CLIENTS: usize = 16;
const SETTINGS: &str = "turn.retries = 1\nturn.breaker_failures = 3\nturn.breaker_seconds = 0.3";

/// A way to an upstream that can be closed and opened again.
#[derive(Debug)]
struct Way {
    address: SocketAddr,
    is_open: watch::Sender<bool>,
    _serving: AbortOnDropHandle<()>,
}

impl Way {
    async fn to(upstream: SocketAddr) -> Self {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = first.local_addr().unwrap();
        let (is_open, state) = watch::channel(true);
        let serving = tokio::spawn(serve(first, upstream, state));
        Self { address, is_open, _serving: AbortOnDropHandle::new(serving) }
    }

    /// From now on nobody listens, and what is asked on an old connection is not heard. An answer
    /// that has begun is still given: nobody else could go on with it.
    fn close(&self) {
        self.is_open.send_replace(false);
    }

    fn open(&self) {
        self.is_open.send_replace(true);
    }
}

async fn serve(first: TcpListener, upstream: SocketAddr, mut is_open: watch::Receiver<bool>) {
    let address = first.local_addr().unwrap();
    let mut listener = Some(first);
    let mut connections = Vec::new();
    loop {
        let Some(listening) = &listener else {
            is_open.wait_for(|is_open| *is_open).await.unwrap();
            listener = Some(TcpListener::bind(address).await.unwrap());
            continue;
        };
        let state = is_open.clone();
        tokio::select! {
            accepted = listening.accept() => {
                let carried = carry(accepted.unwrap().0, upstream, state);
                connections.push(AbortOnDropHandle::new(tokio::spawn(carried)));
            }
            _ = is_open.wait_for(|is_open| !is_open) => listener = None,
        }
    }
}

/// Carries bytes both ways until either end is done, or a request comes while the way is closed.
async fn carry(client: TcpStream, upstream: SocketAddr, is_open: watch::Receiver<bool>) {
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asking = async {
        let mut bytes = vec![0; 16 << 10];
        while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
            if !*is_open.borrow() || to_server.write_all(&bytes[..length]).await.is_err() {
                return;
            }
        }
    };
    // An end of either direction ends both.
    tokio::select! {
        () = asking => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}

/// The turns that an upstream's models were asked for.
async fn turns(upstream: SocketAddr) -> u64 {
    let asked = Request::new(upstream, "GET", "/_emulator/state").send().await.json().await;
    asked["models"]["calls_total"].as_u64().unwrap()
}

/// Asks until told to stop, and is never told that anything is wrong. Every other client has one
/// conversation all the while; the rest begin one with each question.
async fn ask_on(broker: &Broker, number: usize, is_over: &Cell<bool>) -> usize {
    let name = format!("client-{number}");
    let ask = |text: &str| broker.ask(text).at_model("pool");
    ask("my name is Ann").session(&name).answer().await.expect_ok();
    let mut asked = 1;
    while !is_over.get() {
        let next = ask("words: 5");
        let next = if number.is_multiple_of(2) { next.session(&name) } else { next };
        let answer = next.answer().await;
        answer.expect_ok();
        assert_eq!(answer.text.split_whitespace().count(), 5);
        asked += 1;
    }
    assert_eq!(ask("what is my name?").session(&name).text().await, "Your name is Ann.");
    asked + 1
}

#[tokio::test]
async fn when_the_first_of_a_pool_dies_under_load_no_client_hears_of_it() {
    let first = Emulated::start(None).await;
    let way = Way::to(first.address).await;
    let model = |name: &str, more: &str| {
        format!(
            "[[models]]\nname = \"{name}\"\nbackend = \"bedrock\"\n\
             model_id = \"us.anthropic.claude-sonnet-4-20250514-v1:0\"\n{more}\n"
        )
    };
    let at = format!("endpoint_url = \"http://{}\"", way.address);
    let pool = "[[models]]\nname = \"pool\"\nbackend = \"pool\"\nupstreams = [\
                {model = \"first\", weight = 1000000}, {model = \"second\", weight = 1}]\n";
    let tables = [pool, &model("first", &at), &model("second", "")].concat();
    let setup = Setup { settings: SETTINGS, tables: &tables, ..Setup::default() };
    let broker = Broker::with(setup).await;
    let is_over = Cell::new(false);
    let asking = join_all((0..CLIENTS).map(|number| ask_on(&broker, number, &is_over)));
    let directing = async {
        until("turns of the first", async || turns(first.address).await > 40).await;
        assert_eq!(second_turns(&broker).await, 0);
        way.close();
        until("the breaker to open", async || is_breaker_open(&broker).await).await;
        let before = second_turns(&broker).await;
        until("turns of the second", async || second_turns(&broker).await > before + 40).await;
        assert!(is_breaker_open(&broker).await, "trials fail");
        way.open();
        until("the breaker to close", async || !is_breaker_open(&broker).await).await;
        let before = turns(first.address).await;
        until("turns of the first again", async || turns(first.address).await > before + 40).await;
        is_over.set(true);
    };
    let (asked, ()) = join(asking, directing).await;
    let asked: usize = asked.into_iter().sum();
    let metric = async |name: &str, label: &str| broker.metric(name, &[label]).await;
    let failed = metric("outcrop_upstream_errors_total", "kind=\"upstream_unavailable\"").await;
    let passed_over =
        broker.metric("outcrop_turns_total", &["model=\"first\"", "outcome=\"failed\""]).await;
    assert!(failed >= passed_over && passed_over >= 3.0, "{failed} {passed_over}");
    // Known to be dead, it is only tried: nobody else waits for it to fail.
    assert!(passed_over < asked as f64 / 4.0, "{passed_over} of {asked}");
    let requests = metric("outcrop_http_requests_total", "route=\"/v1/chat/completions\"").await;
    assert!((requests - asked as f64).abs() < 0.1, "{requests} {asked}");
}

/// The turns that the second member's upstream was asked for.
async fn second_turns(broker: &Broker) -> u64 {
    broker.upstream().await["models"]["calls_total"].as_u64().unwrap()
}

async fn is_breaker_open(broker: &Broker) -> bool {
    broker.metric("outcrop_breaker_open", &["model=\"first\""]).await > 0.5
}
