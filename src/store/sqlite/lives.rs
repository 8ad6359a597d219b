//! The turns that run, whose events the writer fetches on its own clock.

use std::collections::HashMap;
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
pub(super) struct Lives(Mutex<HashMap<(TenantId, TurnId), Weak<dyn LiveTurn>>>);

impl Lives {
    fn turns(&self) -> MutexGuard<'_, HashMap<(TenantId, TurnId), Weak<dyn LiveTurn>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, tenant: &TenantId, turn: &TurnId, events: Weak<dyn LiveTurn>) {
        self.turns().insert((tenant.clone(), turn.clone()), events);
    }

    pub(super) fn end(&self, tenant: &TenantId, turn: &TurnId) {
        self.turns().remove(&(tenant.clone(), turn.clone()));
    }

    pub(super) fn get(&self, tenant: &TenantId, turn: &TurnId) -> Option<Arc<dyn LiveTurn>> {
        self.turns().get(&(tenant.clone(), turn.clone())).and_then(Weak::upgrade)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns().is_empty()
    }

    /// Those that still run; the others are forgotten.
    pub(super) fn all(&self) -> Vec<Live> {
        let mut turns = self.turns();
        turns.retain(|_, events| events.strong_count() > 0);
        let live = |((tenant, turn), events): (&(TenantId, TurnId), &Weak<dyn LiveTurn>)| Live {
            tenant: tenant.clone(),
            turn: turn.clone(),
            events: Weak::clone(events),
        };
        turns.iter().map(live).collect()
    }
}
