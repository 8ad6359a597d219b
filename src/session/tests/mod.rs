//! Sessions with a backend and a store that do what they are told to: wait, fail, panic.

use std::panic::panic_any;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::*;

mod editing;
mod health;
mod keeping;
mod loading;
mod opening;
mod panics;
mod store;
mod turns;

use store::{Mood, Moody};

use crate::backend::{Ask, AwsClients, Backend, Deps, Farewell, OpenAiServers, Outlet, Route};
use crate::config::Model;
use crate::turn::{
    Failure, FailureKind, FinishReason, IdempotencyKey, Keeping, Message, RequestId, Role,
    SessionHints, SessionKey, Status, TurnEvent, TurnId, TurnRequest, Usage,
};

/// What the backend does with a message.
const PANIC_AT_ONCE: &str = "panic at once";
const PANIC_LATER: &str = "panic later";
const WAIT: &str = "wait";
const BABBLE: &str = "babble";
const THROTTLE: &str = "throttle";

/// Answers each message as it asks to be answered.
#[derive(Debug)]
struct Fragile {
    /// Lets those that wait go on.
    go_on: Arc<Semaphore>,
    /// What it was told with each turn of what was said before.
    told: Histories,
}

type Histories = Arc<Mutex<Vec<Vec<String>>>>;

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
        let told = ask.history.iter().map(|message| message.plain_text()).collect();
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        let go_on = Arc::clone(&self.go_on);
        async move {
            if text == THROTTLE {
                return Err(Failure::new(FailureKind::UpstreamThrottled, "not now"));
            }
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

/// Sessions with such a backend and such a store.
struct Setting {
    sessions: Sessions,
    route: Arc<Route>,
    go_on: Arc<Semaphore>,
    told: Histories,
    store: Arc<Moody>,
}

impl Setting {
    /// With a store that answers at once, and forgets with the process.
    async fn new() -> Self {
        Self::with(Moody::forgetful()).await
    }

    /// With a store whose answers come later, and last.
    async fn lasting() -> Self {
        Self::with(Moody::lasting()).await
    }

    async fn with(store: Moody) -> Self {
        let metrics = Arc::new(Metrics::new());
        let config = Arc::new(Config::default());
        let store = Arc::new(store);
        let deps = Deps {
            aws: Arc::new(AwsClients::emulated("http://127.0.0.1:9")),
            metrics: Arc::clone(&metrics),
            config: Arc::clone(&config),
            discovery: Arc::default(),
            openai: Arc::new(OpenAiServers::new(Duration::from_secs(1))),
        };
        let routes = Arc::new(Routes::open(deps).unwrap());
        let kept: Arc<dyn SessionStore> = Arc::clone(&store) as Arc<Moody>;
        let sessions = Sessions::start(config, Arc::clone(&metrics), kept, routes).await.unwrap();
        let (go_on, told) = (Arc::new(Semaphore::new(0)), Histories::default());
        let backend = Fragile { go_on: Arc::clone(&go_on), told: Arc::clone(&told) };
        let route = Route {
            model: Model::new("fragile".parse().unwrap(), "bedrock-agent"),
            is_direct: false,
            kind: "bedrock-agent",
            fields: &[],
            backend: Arc::new(backend),
            metrics: metrics.turn("fragile", "bedrock-agent"),
            first_event_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(10),
            breaker: Arc::default(),
        };
        Self { sessions, route: Arc::new(route), go_on, told, store }
    }

    /// What the backend was told last of what was said before.
    fn last_history(&self) -> Vec<String> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.last().cloned().unwrap_or_default()
    }

    async fn try_request(&self, request: TurnRequest) -> Result<TurnReader, Failure> {
        let submission = Submission {
            tenant: TenantId::open(),
            route: Arc::clone(&self.route),
            request,
            request_id: RequestId::generate(),
            key_label: "open".to_owned(),
            received: Instant::now(),
            hold: Box::new(Nothing),
        };
        self.sessions.submit(submission).await
    }

    async fn submit(&self, session: &str, text: &str) -> TurnReader {
        self.try_request(named(session, text)).await.unwrap()
    }

    /// Runs a turn to its end and gives its text and how it ended.
    async fn run(&self, session: &str, text: &str) -> (String, TurnEvent) {
        whole(self.submit(session, text).await).await
    }

    /// Runs a turn that is kept, and gives its id and its session.
    async fn run_kept(&self, request: TurnRequest) -> (TurnId, SessionKey) {
        let reader = self.try_request(request).await.unwrap();
        let (turn, key) = (reader.meta().turn.clone(), reader.meta().key.clone());
        assert_eq!(whole(reader).await.1, DONE);
        (turn, key)
    }

    /// Has a session's actor put away, and waits until it is.
    async fn put_away(&self, key: &SessionKey) {
        self.retire(key);
        while self.sessions.env.directory.holds(key) {
            tokio::task::yield_now().await;
            // One whose record waits to be kept is not put away before.
            self.retire(key);
        }
    }

    fn retire(&self, key: &SessionKey) {
        if let Some(actor) = self.sessions.env.directory.get(key) {
            // It may be gone by itself.
            let _ = actor.cast(SessionMsg::Retire);
        }
    }

    /// What a session holds, as texts.
    async fn texts(&self, key: &SessionKey) -> Vec<String> {
        let held = self.sessions.read(key).await.unwrap();
        held.record.messages.iter().map(|message| message.plain_text()).collect()
    }
}

const DONE: TurnEvent = TurnEvent::Finished(FinishReason::Stop);
const CUT: TurnEvent = TurnEvent::Finished(FinishReason::Interrupted);

fn key(session: &str) -> SessionKey {
    SessionKey { tenant: TenantId::open(), id: session.parse().unwrap() }
}

/// A turn of one message, in the session of this name.
fn named(session: &str, text: &str) -> TurnRequest {
    let hints = SessionHints { named: Some(session.parse().unwrap()), ..SessionHints::default() };
    TurnRequest { messages: vec![user(text)], hints, ..TurnRequest::default() }
}

/// A turn that is kept, and goes on from another one.
fn after(previous: Option<&TurnId>, text: &str) -> TurnRequest {
    let hints = SessionHints { previous: previous.cloned(), ..SessionHints::default() };
    TurnRequest {
        messages: vec![user(text)],
        hints,
        is_delta: true,
        keeping: Keeping::Turn,
        ..TurnRequest::default()
    }
}

fn user(text: &str) -> Message {
    Message::text(Role::User, text)
}

/// What a failure is told as, or what went well.
fn kind<T>(result: Result<T, Failure>) -> Option<FailureKind> {
    result.err().map(|failure| failure.kind)
}

fn failed_with(end: &TurnEvent) -> Option<FailureKind> {
    match end {
        TurnEvent::Failed(failure) => Some(failure.kind),
        _ => None,
    }
}

/// Waits for the next text of a turn.
async fn next_text(reader: &mut TurnReader) -> String {
    loop {
        let mut events = Vec::new();
        reader.read(&mut events).await.expect("the turn goes on");
        let text = texts_of(&events);
        if !text.is_empty() {
            return text;
        }
    }
}

fn texts_of(events: &[TurnEvent]) -> String {
    let texts = events.iter().filter_map(|event| match event {
        TurnEvent::Text(text) => Some(&**text),
        _ => None,
    });
    texts.collect()
}

async fn whole(mut reader: TurnReader) -> (String, TurnEvent) {
    let mut events = Vec::new();
    while reader.read(&mut events).await.is_some() {}
    (texts_of(&events), events.last().unwrap().clone())
}
