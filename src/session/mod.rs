//! One actor a conversation: the heart of the broker.
//!
//! [`Sessions`] is the only way in. It works out which session a turn belongs to (the client's
//! own name for it, or the transcript that it resends), finds or makes the session's actor, and
//! hands the turn over. What comes back is a [`TurnReader`] on the turn's log.
//!
//! ```text
//! Sessions ── Submit ──▶ actor ── spawns ──▶ pump ── polls ──▶ backend
//!     ▲                    │  ▲                │
//!  TurnReader ◀── log ◀────┘  └──── Pumped ◀───┘
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::{Actor as _, ActorRef, SpawnErr};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::task::TaskTracker;

use crate::backend::Routes;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::store::{Health, SessionStore};
use crate::turn::{FileId, TenantId};

mod actor;
mod attempt;
mod commands;
mod conversation;
mod directory;
mod ending;
mod env;
mod farewell;
mod files;
mod identity;
mod keeping;
mod left_out;
mod listing;
mod loading;
mod manage;
mod order;
mod phase;
mod phrases;
mod pump;
mod queue;
mod reconcile;
mod repeats;
mod resume;
mod retention;
mod running;
mod slow;
mod state;
mod submit;
mod supervisor;
#[cfg(test)]
mod tests;
mod told;
mod turn_log;
mod turns;

pub use actor::{Hold, SessionState, Snapshot};
pub use conversation::Edit;
pub use files::{FilePage, SessionFile};
pub use listing::{Listed, Page};
pub use manage::Opening;
pub use submit::Submission;
pub use turn_log::{Answered, Origin, Timing, TurnMeta, TurnReader};

use actor::SessionMsg;
use directory::Directory;
use env::Env;
use files::Files;
use identity::Heads;
use repeats::Repeats;
use resume::Turns;
use supervisor::{Supervisor, SupervisorMsg};

/// How often a turn that met an actor on its way out looks for the next one.
const HANDOVERS: usize = 5;
/// A store that fails for so long is told to those who send turns here; less may be a moment of
/// somebody else's on the same disk.
const FAILS_FOR: Duration = Duration::from_secs(5);
/// What an answer of an actor may take; they never wait for anything.
const ANSWER: Duration = Duration::from_secs(5);

/// Why new turns had better go elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unready {
    /// The broker shuts down.
    Draining,
    /// The store has failed for a while, and answers that are not kept count as failed.
    StoreFails,
    /// The store keeps nothing more until the broker is restarted.
    StoreGone,
}

/// Every conversation.
#[derive(Debug, Clone)]
pub struct Sessions {
    env: Arc<Env>,
    supervisor: ActorRef<SupervisorMsg>,
    in_flight: Arc<Semaphore>,
    draining: Arc<AtomicBool>,
}

impl Sessions {
    /// Starts the supervisor.
    ///
    /// # Errors
    /// When its actor cannot be spawned.
    pub async fn start(
        config: Arc<Config>,
        metrics: Arc<Metrics>,
        store: Arc<dyn SessionStore>,
        routes: Arc<Routes>,
    ) -> Result<Self, SpawnErr> {
        let turn = &config.turn;
        let in_flight = Arc::new(Semaphore::new(turn.max_in_flight));
        let env = Arc::new(Env {
            metrics,
            waits_for_store: store.is_durable() && config.store.durable,
            store,
            routes,
            directory: Arc::new(Directory::new()),
            files: Files::new(config.session.files_bytes),
            heads: Heads::default(),
            turns: Turns::new(turn.resume, turn.resume_bytes),
            detached: Arc::new(Semaphore::new(turn.max_detached)),
            repeats: Repeats::default(),
            trimming: Mutex::default(),
            afterwards: TaskTracker::new(),
            config,
        });
        let (supervisor, _) = Supervisor::spawn(None, Supervisor, Arc::clone(&env)).await?;
        Ok(Self { env, supervisor, in_flight, draining: Arc::default() })
    }

    /// A tenant's file that came with an answer, while its session lives and there is room.
    #[must_use]
    pub fn file(&self, tenant: &TenantId, id: &FileId) -> Option<Arc<SessionFile>> {
        self.env.files.get(tenant, id)
    }

    /// At most `limit` of a tenant's files that came before the one called `after`, the newest
    /// first; `None` when the tenant has no such file.
    #[must_use]
    pub fn files(
        &self,
        tenant: &TenantId,
        after: Option<&FileId>,
        limit: usize,
    ) -> Option<FilePage> {
        self.env.files.page(tenant, after, limit)
    }

    /// Forgets a tenant's file; says whether there was one.
    #[must_use]
    pub fn remove_file(&self, tenant: &TenantId, id: &FileId) -> bool {
        self.env.files.remove(tenant, id)
    }

    /// Whether new turns are refused because the broker shuts down.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Why new turns had better go elsewhere, if so: they are refused, or come to nothing.
    #[must_use]
    pub fn unready(&self) -> Option<Unready> {
        if self.is_draining() {
            return Some(Unready::Draining);
        }
        match self.env.store.health() {
            Health::Gone => Some(Unready::StoreGone),
            Health::Failing { since, .. } if self.env.waits_for_store && since >= FAILS_FOR => {
                Some(Unready::StoreFails)
            }
            Health::Well | Health::Failing { .. } => None,
        }
    }

    /// From now on, refuses new turns.
    pub fn begin_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Waits until no turn runs, for at most `grace`; then fails those that still do. Says
    /// whether all ended by themselves.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.begin_draining();
        let all = u32::try_from(self.env.config.turn.max_in_flight).unwrap_or(u32::MAX);
        let ended = tokio::time::timeout(grace, self.in_flight.acquire_many(all)).await.is_ok();
        if !ended {
            for actor in self.env.directory.all() {
                // One that is gone has nothing to fail.
                let _ = actor.cast(SessionMsg::Shutdown);
            }
            // They never wait for anything, so this is soon over.
            let _ = tokio::time::timeout(ANSWER, self.in_flight.acquire_many(all)).await;
        }
        self.env.afterwards.close();
        // A store that hangs must not keep the process.
        let _ = tokio::time::timeout(ANSWER, self.env.afterwards.wait()).await;
        ended
    }
}
