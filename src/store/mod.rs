//! Where sessions live when no actor holds them.
//!
//! A store keeps one [`Record`] a session. Only the session's actor writes its record, and it
//! writes the whole of it; so a store needs no merging, only the last word. To add one, write
//! `store/<kind>.rs` with a [`SessionStore`].

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;

use crate::turn::{Message, ModelName, Pending, SessionKey, TenantId, UpstreamSessionId};

mod memory;

pub use memory::MemoryStore;

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
    /// The client's system messages, as it last sent them.
    pub system: Arc<[Message]>,
    /// The digest of the transcript, if clients that resend it may find the session by it.
    pub head: Option<[u8; 32]>,
    /// The upstream session, once there is one.
    pub upstream: Option<UpstreamBinding>,
    /// How many branches forks have left behind.
    pub branches: u32,
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

/// A store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the session store failed: {0}")]
pub struct StoreError(pub String);

/// Keeps sessions.
pub trait SessionStore: Send + Sync + fmt::Debug {
    /// The session's record, if it is kept.
    fn load(&self, key: SessionKey) -> BoxFuture<'static, Result<Option<Arc<Record>>, StoreError>>;

    /// Keeps a record in place of what was kept before.
    fn save(&self, record: Arc<Record>) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Forgets a session; says whether there was one.
    fn remove(&self, key: SessionKey) -> BoxFuture<'static, Result<bool, StoreError>>;

    /// A tenant's sessions, the last active first, at most `limit`.
    fn list(
        &self,
        tenant: TenantId,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Arc<Record>>, StoreError>>;

    /// How many sessions a tenant has, and the one that was active the longest ago.
    fn census(
        &self,
        tenant: TenantId,
    ) -> BoxFuture<'static, Result<(usize, Option<SessionKey>), StoreError>>;

    /// Sessions that were not active since `before`, at most `limit`.
    fn expired(
        &self,
        before: SystemTime,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Arc<Record>>, StoreError>>;
}
