//! Which sessions have an actor just now.
//!
//! One entry a session, made under the entry's lock; so a session never has two actors. ractor's
//! own registry is process-wide and would let two brokers in one process collide.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use ractor::{ActorId, ActorRef};

use crate::metrics::Presence;
use crate::turn::{SessionKey, TenantId};

use super::SessionState;
use super::actor::SessionMsg;

/// The sessions that have an actor.
#[derive(Debug)]
pub(super) struct Directory {
    residents: DashMap<SessionKey, Resident>,
    /// What all of them hold, roughly.
    bytes: AtomicUsize,
    /// Whether somebody has called for room since the last sweep.
    is_called: AtomicBool,
    epoch: Instant,
}

/// A session's actor.
#[derive(Debug, Clone)]
pub(super) struct Resident {
    pub(super) actor: ActorRef<SessionMsg>,
    activity: Arc<Activity>,
}

/// When a session last did something, and whether it does.
#[derive(Debug)]
pub(super) struct Activity {
    epoch: Instant,
    millis: AtomicU64,
    is_running: AtomicBool,
}

impl Activity {
    /// It does something now.
    pub(super) fn touch(&self) {
        let millis = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    /// A turn begins, or the one that ran is over.
    pub(super) fn set_running(&self, is_running: bool) {
        self.is_running.store(is_running, Ordering::Relaxed);
    }

    fn state(&self) -> SessionState {
        let is_running = self.is_running.load(Ordering::Relaxed);
        if is_running { SessionState::Running } else { SessionState::Idle }
    }

    fn idle(&self) -> Duration {
        let last = Duration::from_millis(self.millis.load(Ordering::Relaxed));
        self.epoch.elapsed().saturating_sub(last)
    }
}

/// An actor's place in the directory, given up when dropped: also when the actor panics.
#[derive(Debug)]
pub(super) struct Residence {
    directory: Arc<Directory>,
    key: SessionKey,
    actor: ActorId,
    pub(super) activity: Arc<Activity>,
    bytes: usize,
    _presence: Presence,
}

/// How full the house is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crowd {
    sessions: usize,
    most: usize,
    bytes: usize,
    most_bytes: usize,
}

impl Crowd {
    /// Whether nobody else may come in.
    pub(super) fn is_full(self) -> bool {
        self.sessions >= self.most
    }

    /// Whether those that rest should go.
    pub(super) fn is_near(self) -> bool {
        self.sessions > self.most / 10 * 9 || self.bytes > self.most_bytes
    }

    /// How many should go.
    pub(super) fn excess(self) -> usize {
        if !self.is_near() {
            return 0;
        }
        let by_number = self.sessions.saturating_sub(self.most / 10 * 8);
        let per_session = (self.bytes / self.sessions.max(1)).max(1);
        let by_bytes = self.bytes.saturating_sub(self.most_bytes / 10 * 8) / per_session;
        by_number.max(by_bytes)
    }
}

impl Residence {
    /// Says how much the session holds now.
    pub(super) fn weigh(&mut self, bytes: usize) {
        let total = &self.directory.bytes;
        total.fetch_add(bytes, Ordering::Relaxed);
        total.fetch_sub(std::mem::replace(&mut self.bytes, bytes), Ordering::Relaxed);
    }

    /// Gives the place up before the actor stops, so that the next request finds it free.
    pub(super) fn leave(&self) {
        self.directory
            .residents
            .remove_if(&self.key, |_, resident| resident.actor.get_id() == self.actor);
    }
}

impl Drop for Residence {
    fn drop(&mut self) {
        self.weigh(0);
        self.leave();
    }
}

impl Directory {
    pub(super) fn new() -> Self {
        Self {
            residents: DashMap::new(),
            bytes: AtomicUsize::new(0),
            is_called: AtomicBool::new(false),
            epoch: Instant::now(),
        }
    }

    /// How full the house is.
    pub(super) fn crowd(&self, limits: &crate::config::Session) -> Crowd {
        Crowd {
            sessions: self.residents.len(),
            most: limits.max_resident,
            bytes: self.bytes.load(Ordering::Relaxed),
            most_bytes: limits.resident_bytes,
        }
    }

    /// Calls for those that rest to go; says whether nobody else has since the last sweep.
    pub(super) fn calls_for_room(&self) -> bool {
        !self.is_called.swap(true, Ordering::Relaxed)
    }

    /// The actors that have been idle the longest, that many; who calls for room is heard again.
    pub(super) fn longest_idle(&self, many: usize) -> Vec<ActorRef<SessionMsg>> {
        self.is_called.store(false, Ordering::Relaxed);
        if many == 0 {
            return Vec::new();
        }
        let idle = |resident: &Resident| Reverse(resident.activity.idle());
        let mut residents: Vec<_> =
            self.residents.iter().map(|it| (idle(&it), it.actor.clone())).collect();
        if many < residents.len() {
            residents.select_nth_unstable_by_key(many, |(idle, _)| *idle);
            residents.truncate(many);
        }
        residents.into_iter().map(|(_, actor)| actor).collect()
    }

    pub(super) fn get(&self, key: &SessionKey) -> Option<ActorRef<SessionMsg>> {
        self.residents.get(key).map(|resident| resident.actor.clone())
    }

    /// The session's actor, made by `spawn` if it has none.
    ///
    /// # Errors
    /// What `spawn` says.
    pub(super) fn get_or_spawn<E>(
        &self,
        key: SessionKey,
        spawn: impl FnOnce(Arc<Activity>) -> Result<ActorRef<SessionMsg>, E>,
    ) -> Result<ActorRef<SessionMsg>, E> {
        match self.residents.entry(key) {
            Entry::Occupied(entry) => Ok(entry.get().actor.clone()),
            Entry::Vacant(entry) => {
                let activity = Arc::new(Activity {
                    epoch: self.epoch,
                    millis: AtomicU64::new(0),
                    is_running: AtomicBool::new(false),
                });
                activity.touch();
                let actor = spawn(Arc::clone(&activity))?;
                entry.insert(Resident { actor: actor.clone(), activity });
                Ok(actor)
            }
        }
    }

    /// A place for an actor that [`get_or_spawn`](Self::get_or_spawn) makes.
    pub(super) fn residence(
        self: &Arc<Self>,
        key: SessionKey,
        actor: ActorId,
        activity: Arc<Activity>,
        presence: Presence,
    ) -> Residence {
        Residence {
            directory: Arc::clone(self),
            key,
            actor,
            activity,
            bytes: 0,
            _presence: presence,
        }
    }

    /// The actors that have been idle for so long.
    pub(super) fn idle(&self, at_least: Duration) -> Vec<ActorRef<SessionMsg>> {
        let residents = self.residents.iter();
        residents
            .filter(|resident| resident.activity.idle() >= at_least)
            .map(|resident| resident.actor.clone())
            .collect()
    }

    /// All actors.
    pub(super) fn all(&self) -> Vec<ActorRef<SessionMsg>> {
        self.residents.iter().map(|resident| resident.actor.clone()).collect()
    }

    /// Whether a session has an actor.
    pub(super) fn holds(&self, key: &SessionKey) -> bool {
        self.residents.contains_key(key)
    }

    /// A tenant's sessions that have an actor, or everybody's: those in this state, or all. At
    /// most `limit`, those that were active last.
    pub(super) fn of_tenant(
        &self,
        tenant: Option<&TenantId>,
        state: Option<SessionState>,
        limit: usize,
    ) -> Vec<SessionKey> {
        let residents = self.residents.iter();
        let theirs = residents.filter(|resident| {
            tenant.is_none_or(|tenant| resident.key().tenant == *tenant)
                && state.is_none_or(|state| resident.activity.state() == state)
        });
        let mut theirs: Vec<_> =
            theirs.map(|resident| (resident.activity.idle(), resident.key().clone())).collect();
        if limit < theirs.len() {
            theirs.select_nth_unstable_by_key(limit, |(idle, _)| *idle);
            theirs.truncate(limit);
        }
        theirs.into_iter().map(|(_, key)| key).collect()
    }
}
