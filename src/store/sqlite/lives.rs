//! The turns that run, whose events the writer fetches on its own clock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::store::LiveTurn;
use crate::turn::{TenantId, TurnId};

/// A turn that runs.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) tenant: TenantId,
    pub(super) turn: TurnId,
    pub(super) events: Weak<dyn LiveTurn>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Lives(Mutex<Turns>);

type Turns = HashMap<(TenantId, TurnId), Running>;

#[derive(Debug)]
struct Running {
    events: Weak<dyn LiveTurn>,
    unbegun: Unbegun,
}

/// Whether the beginning of a turn could not be written, so that its end has to make up for it:
/// not so of a turn that was removed meanwhile.
#[derive(Debug, Clone, Default)]
pub(super) struct Unbegun(Arc<AtomicBool>);

impl Unbegun {
    pub(super) fn set(&self, is_unbegun: bool) {
        self.0.store(is_unbegun, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Lives {
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(
        &self,
        tenant: &TenantId,
        turn: &TurnId,
        events: Weak<dyn LiveTurn>,
    ) -> Unbegun {
        let unbegun = Unbegun::default();
        let running = Running { events, unbegun: unbegun.clone() };
        self.turns().insert((tenant.clone(), turn.clone()), running);
        unbegun
    }

    pub(super) fn end(&self, tenant: &TenantId, turn: &TurnId) -> Unbegun {
        let running = self.turns().remove(&(tenant.clone(), turn.clone()));
        running.map(|running| running.unbegun).unwrap_or_default()
    }

    pub(super) fn get(&self, tenant: &TenantId, turn: &TurnId) -> Option<Arc<dyn LiveTurn>> {
        self.turns()
            .get(&(tenant.clone(), turn.clone()))
            .and_then(|running| running.events.upgrade())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns().is_empty()
    }

    /// Those that still run; the others are forgotten.
    pub(super) fn all(&self) -> Vec<Live> {
        let mut turns = self.turns();
        turns.retain(|_, running| running.events.strong_count() > 0);
        let live = |((tenant, turn), running): (&(TenantId, TurnId), &Running)| Live {
            tenant: tenant.clone(),
            turn: turn.clone(),
            events: Weak::clone(&running.events),
        };
        turns.iter().map(live).collect()
    }
}
