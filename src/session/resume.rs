//! Turns that can be followed: those that run, and for a while those that ended.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use dashmap::DashMap;

use crate::store::LiveTurn as _;
use crate::turn::{SessionKey, TenantId, TurnEvent, TurnId};

use super::turn_log::{TurnLog, TurnMeta, TurnReader};

/// Every turn that can be followed.
///
/// A running turn's log is kept by its writer and readers, an ended one's by `ended`; the index
/// only points at them, so a turn that is lost on its way to an actor leaves nothing behind.
#[derive(Debug)]
pub(super) struct Turns {
    logs: DashMap<TurnId, Weak<TurnLog>>,
    ended: Mutex<Ended>,
    keep: Duration,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Ended {
    order: VecDeque<(Instant, Arc<TurnLog>, usize)>,
    bytes: usize,
}

impl Turns {
    /// Keeps ended turns for so long, and of all together so many bytes.
    pub(super) fn new(keep: Duration, bytes: usize) -> Self {
        Self { logs: DashMap::new(), ended: Mutex::default(), keep, bytes }
    }

    /// A turn begins.
    pub(super) fn add(&self, log: &Arc<TurnLog>) {
        self.logs.insert(log.meta().turn.clone(), Arc::downgrade(log));
    }

    /// A turn was refused before it began.
    pub(super) fn forget(&self, log: &TurnLog) {
        self.logs.remove(&log.meta().turn);
    }

    /// A turn ended: it stays for a while.
    pub(super) fn ended(&self, log: &Arc<TurnLog>) {
        let weight = log.weight();
        let mut ended = self.ended_turns();
        ended.bytes += weight;
        ended.order.push_back((Instant::now(), Arc::clone(log), weight));
        self.drop_old(&mut ended);
    }

    /// Drops what has been kept long enough.
    pub(super) fn sweep(&self) {
        self.drop_old(&mut self.ended_turns());
        self.logs.retain(|_, log| log.strong_count() > 0);
    }

    /// A reader of a tenant's turn that continues after an event.
    pub(super) fn follow(
        &self,
        tenant: &TenantId,
        turn: &TurnId,
        after: u64,
    ) -> Option<TurnReader> {
        let log = self.logs.get(turn)?.upgrade()?;
        (log.meta().key.tenant == *tenant).then(|| log.follow(after))
    }

    /// What a tenant's turn is, and whether it has ended.
    pub(super) fn standing(&self, tenant: &TenantId, turn: &TurnId) -> Option<(TurnMeta, bool)> {
        let log = self.logs.get(turn)?.upgrade()?;
        let is_theirs = log.meta().key.tenant == *tenant;
        is_theirs.then(|| (log.meta().clone(), log.has_ended()))
    }

    /// The events so far of a tenant's turn.
    pub(super) fn events(&self, tenant: &TenantId, turn: &TurnId) -> Option<Vec<TurnEvent>> {
        let log = self.logs.get(turn)?.upgrade()?;
        (log.meta().key.tenant == *tenant).then(|| log.events_since(0))
    }

    /// A turn is to be forgotten.
    pub(super) fn drop_turn(&self, turn: &TurnId) {
        self.logs.remove(turn);
        let mut ended = self.ended_turns();
        if let Some(at) = ended.order.iter().position(|(_, log, _)| log.meta().turn == *turn)
            && let Some((_, _, weight)) = ended.order.remove(at)
        {
            ended.bytes -= weight;
        }
    }

    /// Whether a turn is one of this session's.
    pub(super) fn is_of(&self, key: &SessionKey, turn: &TurnId) -> bool {
        let log = self.logs.get(turn).and_then(|log| log.upgrade());
        log.is_some_and(|log| log.meta().key == *key)
    }

    fn drop_old(&self, ended: &mut Ended) {
        while let Some((at, log, weight)) = ended.order.front() {
            if at.elapsed() < self.keep && ended.bytes <= self.bytes {
                break;
            }
            ended.bytes -= weight;
            self.logs.remove(&log.meta().turn);
            ended.order.pop_front();
        }
    }

    fn ended_turns(&self) -> MutexGuard<'_, Ended> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
