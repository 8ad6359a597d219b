//! Which sessions have an actor just now.
//!
//! One entry a session, made under the entry's lock; so a session never has two actors. ractor's
//! own registry is process-wide and would let two brokers in one process collide.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use ractor::{ActorId, ActorRef};

use crate::metrics::Presence;
use crate::turn::{SessionKey, TenantId};

use super::actor::SessionMsg;

/// The sessions that have an actor.
#[derive(Debug)]
pub(super) struct Directory {
    residents: DashMap<SessionKey, Resident>,
    epoch: Instant,
}

/// A session's actor.
#[derive(Debug, Clone)]
pub(super) struct Resident {
    pub(super) actor: ActorRef<SessionMsg>,
    activity: Arc<Activity>,
}

/// When a session last did something.
#[derive(Debug)]
pub(super) struct Activity {
    epoch: Instant,
    millis: AtomicU64,
}

impl Activity {
    /// It does something now.
    pub(super) fn touch(&self) {
        let millis = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
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
    _presence: Presence,
}

impl Residence {
    /// Gives the place up before the actor stops, so that the next request finds it free.
    pub(super) fn leave(&self) {
        self.directory
            .residents
            .remove_if(&self.key, |_, resident| resident.actor.get_id() == self.actor);
    }
}

impl Drop for Residence {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Directory {
    pub(super) fn new() -> Self {
        Self { residents: DashMap::new(), epoch: Instant::now() }
    }

    pub(super) fn len(&self) -> usize {
        self.residents.len()
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
                let activity = Arc::new(Activity { epoch: self.epoch, millis: AtomicU64::new(0) });
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
        Residence { directory: Arc::clone(self), key, actor, activity, _presence: presence }
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

    /// A tenant's sessions that have an actor, the last active first, at most `limit`.
    pub(super) fn of_tenant(&self, tenant: &TenantId, limit: usize) -> Vec<SessionKey> {
        let residents = self.residents.iter();
        let theirs = residents.filter(|resident| resident.key().tenant == *tenant);
        let mut theirs: Vec<_> =
            theirs.map(|resident| (resident.activity.idle(), resident.key().clone())).collect();
        theirs.sort_unstable_by_key(|(idle, _)| *idle);
        theirs.into_iter().take(limit).map(|(_, key)| key).collect()
    }
}
