//! Sessions with backends that no emulator can play: ones that are broken themselves.

use std::panic::panic_any;
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::*;
use crate::backend::{Ask, AwsClients, Backend, Deps, Farewell, OpenAiServers, Outlet, Route};
use crate::config::Model;
use crate::store::MemoryStore;
use crate::turn::{
    Failure, FailureKind, FinishReason, Message, RequestId, Role, SessionHints, SessionKey,
    TurnEvent, TurnRequest, Usage,
};

/// What the backend does with a message.
const PANIC_AT_ONCE: &str = "panic at once";
const PANIC_LATER: &str = "panic later";
const WAIT: &str = "wait";
const BABBLE: &str = "babble";

/// Answers each message as it asks to be answered.
#[derive(Debug)]
struct Fragile {
    /// Lets those that wait go on.
    go_on: Arc<Semaphore>,
}

impl Backend for Fragile {
    fn answer(
        &self,
        ask: Ask,
        outlet: Outlet,
    ) -> BoxFuture<'static, Result<FinishReason, Failure>> {
        let text = ask.input[0].plain_text();
        if text == PANIC_AT_ONCE {
            panic_any("in the call");
        }
        let go_on = Arc::clone(&self.go_on);
        async move {
            outlet.push(TurnEvent::Text("Well. ".into())).await;
            match text.as_str() {
                PANIC_LATER => panic_any("in the answer"),
                WAIT => drop(go_on.acquire().await),
                BABBLE => outlet.push(TurnEvent::Finished(FinishReason::Stop)).await,
                _ => {}
            }
            outlet.push(TurnEvent::Text("Done.".into())).await;
            Ok(FinishReason::Stop)
        }
        .boxed()
    }

    fn remembers(&self) -> Option<Duration> {
        None
    }

    fn end(&self, _farewell: Farewell) -> BoxFuture<'static, Result<(), Failure>> {
        async { Ok(()) }.boxed()
    }
}

#[derive(Debug)]
struct Nothing;

impl Hold for Nothing {
    fn used(&self, _usage: &Usage) {}
}

/// Sessions with such a backend.
struct Setting {
    sessions: Sessions,
    route: Arc<Route>,
    go_on: Arc<Semaphore>,
}

impl Setting {
    async fn new() -> Self {
        let metrics = Arc::new(Metrics::new());
        let config = Arc::new(Config::default());
        let store = Arc::new(MemoryStore::default());
        let deps = Deps {
            aws: Arc::new(AwsClients::emulated("http://127.0.0.1:9")),
            metrics: Arc::clone(&metrics),
            config: Arc::clone(&config),
            discovery: Arc::default(),
            openai: Arc::new(OpenAiServers::new(Duration::from_secs(1))),
        };
        let routes = Arc::new(Routes::open(deps).unwrap());
        let sessions = Sessions::start(config, Arc::clone(&metrics), store, routes).await.unwrap();
        let go_on = Arc::new(Semaphore::new(0));
        let route = Route {
            model: Model::new("fragile".parse().unwrap(), "bedrock-agent"),
            is_direct: false,
            kind: "bedrock-agent",
            fields: &[],
            backend: Arc::new(Fragile { go_on: Arc::clone(&go_on) }),
            metrics: metrics.turn("fragile", "bedrock-agent"),
            first_event_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(10),
            breaker: Arc::default(),
        };
        Self { sessions, route: Arc::new(route), go_on }
    }

    async fn submit(&self, session: &str, text: &str) -> TurnReader {
        let hints =
            SessionHints { named: Some(session.parse().unwrap()), ..SessionHints::default() };
        let messages = vec![Message::text(Role::User, text)];
        let submission = Submission {
            tenant: TenantId::open(),
            route: Arc::clone(&self.route),
            request: TurnRequest { messages, hints, ..TurnRequest::default() },
            request_id: RequestId::generate(),
            key_label: "open".to_owned(),
            received: Instant::now(),
            hold: Box::new(Nothing),
        };
        self.sessions.submit(submission).await.unwrap()
    }

    /// Runs a turn to its end and gives its text and how it ended.
    async fn run(&self, session: &str, text: &str) -> (String, TurnEvent) {
        whole(self.submit(session, text).await).await
    }
}

async fn whole(mut reader: TurnReader) -> (String, TurnEvent) {
    let mut events = Vec::new();
    while reader.read(&mut events).await.is_some() {}
    let text = events.iter().filter_map(|event| match event {
        TurnEvent::Text(text) => Some(&**text),
        _ => None,
    });
    (text.collect(), events.last().unwrap().clone())
}

fn is_our_bug(end: &TurnEvent) -> bool {
    matches!(end, TurnEvent::Failed(failure) if failure.kind == FailureKind::Internal)
}

#[tokio::test]
async fn a_backend_that_panics_fails_its_turn_and_harms_no_other() {
    let setting = Setting::new().await;
    let mut other = setting.submit("other", WAIT).await;
    other.read(&mut Vec::new()).await;
    for panic in [PANIC_LATER, PANIC_AT_ONCE] {
        let (_, end) = setting.run("one", panic).await;
        assert!(is_our_bug(&end), "{panic}: {end:?}");
        let (text, end) = setting.run("one", "hello").await;
        assert_eq!(text, "Well. Done.", "after {panic}");
        assert_eq!(end, TurnEvent::Finished(FinishReason::Stop));
    }
    setting.go_on.add_permits(1);
    let (text, end) = whole(other).await;
    assert!(text.ends_with("Done."), "{text}");
    assert_eq!(end, TurnEvent::Finished(FinishReason::Stop));
}

#[tokio::test]
async fn a_turn_that_waits_behind_one_that_panics_is_run() {
    let setting = Setting::new().await;
    let first = setting.submit("one", WAIT).await;
    let broken = setting.submit("one", PANIC_AT_ONCE).await;
    let last = setting.submit("one", "hello").await;
    setting.go_on.add_permits(1);
    assert_eq!(whole(first).await.0, "Well. Done.");
    assert!(is_our_bug(&whole(broken).await.1));
    assert_eq!(whole(last).await.0, "Well. Done.");
}

#[tokio::test]
async fn a_backend_that_breaks_the_grammar_of_turns_fails_its_turn() {
    let setting = Setting::new().await;
    let (text, end) = setting.run("one", BABBLE).await;
    assert!(is_our_bug(&end), "{end:?}");
    assert!(!text.contains("Done."), "{text}");
    assert_eq!(setting.run("one", "hello").await.0, "Well. Done.");
}

#[tokio::test]
async fn a_session_whose_actor_dies_comes_back_from_the_store() {
    let setting = Setting::new().await;
    setting.run("one", "hello").await;
    let key = SessionKey { tenant: TenantId::open(), id: "one".parse().unwrap() };
    let before = setting.sessions.env.directory.get(&key).unwrap();
    let running = setting.submit("one", WAIT).await;
    before.kill();
    assert!(is_our_bug(&whole(running).await.1), "its reader is told");
    assert_eq!(setting.run("one", "hello").await.0, "Well. Done.");
    assert_eq!(setting.sessions.read(&key).await.unwrap().record.turns, 2);
}
