//! Where sessions live when no actor holds them, and turns when no reader follows them.
//!
//! A store keeps one [`Record`] a session, which only the session's actor writes; so a store
//! needs no merging, only the last word. Beside it stand the session's turns: one is written
//! before its upstream has answered ([`begin`](SessionStore::begin)) and when it has ended
//! ([`end`](SessionStore::end)), and a store that lasts fetches what happens in between by
//! itself, from the turn's [`LiveTurn`]. To add one, write `store/<kind>.rs` with a
//! [`SessionStore`], and have it pass `store/contract/`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;

use crate::turn::{
    IdempotencyKey, Message, ModelName, Pending, SessionId, SessionKey, TenantId, TurnEvent,
    TurnId, UpstreamSessionId,
};

#[cfg(test)]
mod contract;
mod memory;
pub mod sqlite;
mod stored;

pub use memory::MemoryStore;
pub use sqlite::SqliteStore;

/// Everything that a session is, but for a turn that is running.
#[derive(Debug, Clone)]
pub struct Record {
    /// Whose it is, and its id.
    pub key: SessionKey,
    /// The model that answered it last.
    pub model: ModelName,
    /// The model that it last asked for, where another one answered.
    pub asked: Option<ModelName>,
    /// Where its turns go instead, once it was moved.
    pub moved: Option<Moved>,
    /// When it began.
    pub created_at: SystemTime,
    /// When its last turn ended.
    pub last_active: SystemTime,
    /// How many turns it has had.
    pub turns: u64,
    /// What was said, oldest first; without system messages.
    pub messages: Vec<Arc<Message>>,
    /// How many messages stood before the first of `messages` and are no longer held: the
    /// position of the first one, where positions count all that was ever said.
    pub dropped: u64,
    /// Which turn brought which of the messages, oldest first.
    pub marks: Vec<Mark>,
    /// The client's system messages, as it last sent them.
    pub system: Arc<[Message]>,
    /// The client's notes on the session.
    pub metadata: BTreeMap<String, String>,
    /// The digest of the transcript, if clients that resend it may find the session by it.
    pub head: Option<[u8; 32]>,
    /// The upstream session, once there is one.
    pub upstream: Option<UpstreamBinding>,
    /// How many branches forks have left behind.
    pub branches: u32,
}

impl Record {
    /// The position behind the last message.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.dropped + self.messages.len() as u64
    }

    /// The session without what was said.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let pending = self.upstream.as_ref().and_then(|upstream| upstream.pending.as_ref());
        let open = pending.into_iter().flat_map(Pending::open);
        Summary {
            key: self.key.clone(),
            model: self.model.clone(),
            moved_to: self.moved.as_ref().map(|moved| moved.to.clone()),
            created_at: self.created_at,
            last_active: self.last_active,
            turns: self.turns,
            metadata: self.metadata.clone(),
            open_calls: open.map(|call| (call.id.clone(), call.name.clone())).collect(),
        }
    }
}

/// The messages that came with one turn: those from where the mark before it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The turn; or what stands for one where messages were put in without a turn.
    pub turn: TurnId,
    /// The position behind its last message.
    pub end: u64,
    /// Whether the last of them is the turn's answer.
    pub is_answered: bool,
}

/// A session without what was said in it, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Whose it is, and its id.
    pub key: SessionKey,
    /// The model that answered it last.
    pub model: ModelName,
    /// The model that its turns go to, once it was moved.
    pub moved_to: Option<ModelName>,
    /// When it began.
    pub created_at: SystemTime,
    /// When its last turn ended.
    pub last_active: SystemTime,
    /// How many turns it has had.
    pub turns: u64,
    /// The client's notes on the session.
    pub metadata: BTreeMap<String, String>,
    /// The tool calls that it waits for: id and name.
    pub open_calls: Vec<(String, String)>,
}

/// A session that was moved to another model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The model that it talked to: who asks for it gets the other.
    pub from: ModelName,
    /// The model that answers now.
    pub to: ModelName,
}

/// An upstream session and when it was last spoken to.
#[derive(Debug, Clone)]
pub struct UpstreamBinding {
    /// Its id, ours.
    pub id: UpstreamSessionId,
    /// The model that it belongs to.
    pub model: ModelName,
    /// When the last turn there began.
    pub last_used: SystemTime,
    /// The key of the agent's long-term memory that it is used with.
    pub memory_id: Option<String>,
    /// The hand-over that it waits for.
    pub pending: Option<Pending>,
}

/// A turn, as it is known before anything was answered.
#[derive(Debug, Clone)]
pub struct TurnRecord {
    /// Its id.
    pub turn: TurnId,
    /// Its session.
    pub key: SessionKey,
    /// The model as the client asked for it.
    pub model: ModelName,
    /// The agent and its alias, where the backend has them.
    pub agent: Option<(String, String)>,
    /// When it was asked for.
    pub created: SystemTime,
    /// What it brought to the transcript.
    pub said: Vec<Arc<Message>>,
    /// The turn that it goes on from, where the client named one.
    pub previous: Option<TurnId>,
    /// Whether it is kept with its events while its session lives; otherwise for as long as a
    /// stream may be resumed.
    pub is_kept: bool,
    /// Whether it runs without its client.
    pub is_background: bool,
    /// What of the request the answer repeats: see
    /// [`TurnRequest::echo`](crate::turn::TurnRequest::echo).
    pub echo: Option<Arc<str>>,
    /// The client's own name for the request.
    pub idempotency: Option<IdempotencyKey>,
}

/// A turn and what happened in it, as far as it is known.
#[derive(Debug, Clone)]
pub struct StoredTurn {
    /// What was known before.
    pub record: Arc<TurnRecord>,
    /// Its events from the first one; the last of them ends it, unless it runs.
    pub events: Vec<TurnEvent>,
    /// When it ended.
    pub ended: Option<SystemTime>,
}

/// A turn's events while they happen.
pub trait LiveTurn: Send + Sync + fmt::Debug {
    /// The events after the first `after` ones. What has been given once never changes.
    fn events_since(&self, after: usize) -> Vec<TurnEvent>;
}

/// A session to be written.
#[derive(Debug, Clone)]
pub struct Save {
    /// The session.
    pub record: Arc<Record>,
    /// The position before which every message and mark is as it was in the save before this
    /// one; 0 where nothing is sure.
    pub unchanged: u64,
}

/// A turn that begins.
#[derive(Debug)]
pub struct Begin {
    /// The turn.
    pub turn: Arc<TurnRecord>,
    /// Where its events are to be had; gone once the turn is over and nobody reads it.
    pub live: Weak<dyn LiveTurn>,
    /// Its session, where it is not as it was last saved.
    pub session: Option<Save>,
}

/// A turn that ended.
#[derive(Debug)]
pub struct End {
    /// The turn.
    pub turn: Arc<TurnRecord>,
    /// All its events but the last.
    pub live: Arc<dyn LiveTurn>,
    /// The last event.
    pub last: TurnEvent,
    /// When it ended.
    pub at: SystemTime,
    /// Its session with the turn in it, unless nothing came of it.
    pub session: Option<Save>,
}

/// Which sessions are wanted.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Whose; everybody's where it is `None`.
    pub tenant: Option<TenantId>,
    /// Those that this model answered last.
    pub model: Option<ModelName>,
    /// Those behind the one that was active then and is called so.
    pub after: Option<(SystemTime, SessionId)>,
    /// How many at most.
    pub limit: usize,
    /// Whether the one that was active the longest ago comes first, and not last.
    pub is_oldest_first: bool,
}

/// What a tenant holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Census {
    /// How many sessions.
    pub sessions: usize,
    /// Their bytes, roughly.
    pub bytes: u64,
    /// The one that was active the longest ago.
    pub oldest: Option<SessionKey>,
}

/// A session that nobody has spoken in for long.
#[derive(Debug, Clone)]
pub struct Expired {
    /// Whose it is, and its id.
    pub key: SessionKey,
    /// The digest of its transcript.
    pub head: Option<[u8; 32]>,
    /// Its upstream session, which is to be told.
    pub upstream: Option<UpstreamBinding>,
}

/// A store did not do what it was asked. The text is for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the session store failed: {0}")]
pub struct StoreError(pub String);

/// How a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does what it is asked, as far as it knows.
    Well,
    /// It could not do what it was asked last. It tries again by itself.
    Failing {
        /// For how long that has been so.
        since: Duration,
        /// Why, the last time.
        why: StoreError,
    },
    /// It keeps nothing more until the process starts anew.
    Gone,
}

/// What a store answers, at once or later. What is asked in an order is done in that order, as
/// far as it concerns one session, also where nobody waits for the answer.
pub type Answer<T> = BoxFuture<'static, Result<T, StoreError>>;

/// Keeps sessions and turns. Everything of one tenant is invisible to another.
pub trait SessionStore: Send + Sync + fmt::Debug {
    /// Whether what it has confirmed outlives the process: then sessions are saved when a turn
    /// begins too.
    fn is_durable(&self) -> bool;

    /// How it is. Quick: asked by every probe and every turn.
    fn health(&self) -> Health;

    /// The session's record, if it is kept.
    fn load(&self, key: SessionKey) -> Answer<Option<Arc<Record>>>;

    /// Keeps a session in place of what was kept before.
    fn save(&self, save: Save) -> Answer<()>;

    /// Forgets a session and its turns; says whether there was one.
    fn remove(&self, key: SessionKey) -> Answer<bool>;

    /// The sessions that are wanted, the last active first unless the query says otherwise.
    fn list(&self, query: Query) -> Answer<Vec<Summary>>;

    /// What a tenant holds. Quick, however much that is.
    fn census(&self, tenant: TenantId) -> Answer<Census>;

    /// Tenants that hold more than so many bytes, at most `limit`, those that hold most first.
    fn beyond(&self, bytes: u64, limit: usize) -> Answer<Vec<TenantId>>;

    /// Sessions that were not active since `before`, at most `limit`.
    fn expired(&self, before: SystemTime, limit: usize) -> Answer<Vec<Expired>>;

    /// Takes the first of these digests that is a session's head away from it, and gives it and
    /// the session: who asked has it alone.
    fn claim(&self, heads: Vec<[u8; 32]>) -> Answer<Option<([u8; 32], SessionKey)>>;

    /// Keeps a turn that begins. One that waited for its session is told of twice, and brings
    /// what the second says.
    fn begin(&self, begin: Begin) -> Answer<()>;

    /// Keeps how a turn ended, and its session, both or neither.
    fn end(&self, end: End) -> Answer<()>;

    /// A turn of this tenant, if it is kept; without its events where they are kept elsewhere
    /// while it runs.
    fn turn(&self, tenant: TenantId, turn: TurnId) -> Answer<Option<StoredTurn>>;

    /// Forgets a turn and its events; says whether there was one. Its session stays.
    fn remove_turn(&self, tenant: TenantId, turn: TurnId) -> Answer<bool>;

    /// The turn that a client asked for under this name, if it is kept.
    fn repeated(&self, tenant: TenantId, key: Arc<str>) -> Answer<Option<(TurnId, [u8; 32])>>;

    /// Forgets turns that ended before `before` and are not to be kept longer; gives how many.
    fn sweep_turns(&self, before: SystemTime) -> Answer<usize>;
}
