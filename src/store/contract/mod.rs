//! What every store does: clauses that each kind of store is held to.
//!
//! A store's tests hand [`hold`] a way to make an empty one. What only stores that last can do
//! is asked of those alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::turn::{
    FinishReason, IdempotencyKey, Message, Role, SessionKey, TenantId, TurnEvent, TurnId,
};

use super::{Begin, End, LiveTurn, Mark, Query, Record, Save, SessionStore, TurnRecord};

mod sessions;
mod turns;

/// A store under test.
pub(super) type Store = Arc<dyn SessionStore>;
/// A sentence about stores, and what asserts it of an empty one.
type Clause = (&'static str, fn(Store) -> BoxFuture<'static, ()>);

/// Asserts every clause, each of a store of its own.
pub(super) async fn hold<G>(open: impl Fn() -> (Store, G)) {
    for (sentence, assert) in sessions::CLAUSES.iter().chain(turns::CLAUSES) {
        println!("{sentence}");
        let (store, _guard) = open();
        assert(store).await;
    }
}

/// So many seconds after some moment.
pub(super) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000 + seconds, 123_456_789)
}

pub(super) fn key(tenant: &str, id: &str) -> SessionKey {
    SessionKey { tenant: tenant.parse().unwrap(), id: id.parse().unwrap() }
}

pub(super) fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

/// A session without messages that was last active then.
pub(super) fn session(tenant: &str, id: &str, active: u64) -> Record {
    Record {
        key: key(tenant, id),
        model: "m".parse().unwrap(),
        asked: None,
        moved: None,
        created_at: at(0),
        last_active: at(active),
        turns: 1,
        messages: Vec::new(),
        dropped: 0,
        marks: Vec::new(),
        system: Arc::default(),
        metadata: BTreeMap::new(),
        head: None,
        upstream: None,
        branches: 0,
    }
}

/// The same with these texts, each a turn of its own.
pub(super) fn saying(mut record: Record, texts: &[&str]) -> Record {
    for text in texts {
        record.messages.push(Arc::new(Message::text(Role::User, *text)));
        let name: String = text.chars().filter(char::is_ascii_graphic).take(20).collect();
        let turn = turn_id(&format!("turn_{name}"));
        record.marks.push(Mark { turn, end: record.end(), is_answered: false });
    }
    record
}

/// A save that promises nothing.
pub(super) fn whole(record: Record) -> Save {
    Save { record: Arc::new(record), unchanged: 0 }
}

pub(super) fn of(tenant: &str) -> Query {
    Query { tenant: Some(tenant.parse().unwrap()), limit: 10, ..Query::default() }
}

/// Everything of a record, for comparison: records are not compared anywhere else.
pub(super) fn shown(record: &Record) -> String {
    format!("{record:#?}")
}

/// A turn that runs: its events are pushed by the test.
#[derive(Debug, Default)]
pub(super) struct Live(Mutex<Vec<TurnEvent>>);

impl Live {
    pub(super) fn push(&self, event: TurnEvent) {
        self.0.lock().unwrap().push(event);
    }

    pub(super) fn say(&self, texts: &[&str]) {
        for text in texts {
            self.push(TurnEvent::Text((*text).into()));
        }
    }
}

impl LiveTurn for Live {
    fn events_since(&self, after: usize) -> Vec<TurnEvent> {
        self.0.lock().unwrap().iter().skip(after).cloned().collect()
    }
}

/// A turn of a session, kept, and its events, the first of which has come.
pub(super) struct Running {
    pub(super) record: Arc<TurnRecord>,
    pub(super) live: Arc<Live>,
}

pub(super) fn turn_id(name: &str) -> TurnId {
    name.parse().unwrap()
}

pub(super) fn running(tenant: &str, session: &str, turn: &str) -> Running {
    running_as(TurnRecord {
        turn: turn_id(turn),
        key: key(tenant, session),
        model: "m".parse().unwrap(),
        agent: Some(("AGENT".to_owned(), "ALIAS".to_owned())),
        created: at(5),
        said: vec![Arc::new(Message::text(Role::User, "hello"))],
        previous: Some(turn_id("turn_before")),
        is_kept: true,
        is_background: false,
        echo: Some("{\"instructions\":null}".into()),
        idempotency: None,
    })
}

pub(super) fn running_as(record: TurnRecord) -> Running {
    let live = Live::default();
    live.push(TurnEvent::Started);
    Running { record: Arc::new(record), live: Arc::new(live) }
}

impl Running {
    /// The same under a name of the client's.
    pub(super) fn named(self, name: &str, fingerprint: u8) -> Self {
        let mut record = TurnRecord::clone(&self.record);
        let idempotency = IdempotencyKey { key: name.into(), fingerprint: [fingerprint; 32] };
        record.idempotency = Some(idempotency);
        Self { record: Arc::new(record), ..self }
    }

    pub(super) fn begin(&self, session: Option<Save>) -> Begin {
        let live: Arc<dyn LiveTurn> = self.live.clone();
        let live: Weak<dyn LiveTurn> = Arc::downgrade(&live);
        Begin { turn: Arc::clone(&self.record), live, session }
    }

    pub(super) fn end(&self, seconds: u64, session: Option<Save>) -> End {
        End {
            turn: Arc::clone(&self.record),
            live: self.live.clone(),
            last: TurnEvent::Finished(FinishReason::Stop),
            at: at(seconds),
            session,
        }
    }
}

/// Makes a clause of an asynchronous function.
fn clause<F>(assert: F) -> BoxFuture<'static, ()>
where
    F: Future<Output = ()> + Send + 'static,
{
    assert.boxed()
}
