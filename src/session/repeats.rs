//! Requests that clients repeat under one name, which run once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::turn::{IdempotencyKey, TenantId, TurnId};

/// How long a name is known.
const KEPT: Duration = Duration::from_secs(86_400);
/// Names known at once; beyond, the oldest half goes.
const CAPACITY: usize = 100_000;

type Name = (TenantId, Arc<str>);

/// The names of requests, with the turns that they asked for.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    known: DashMap<Name, Arc<Mutex<Known>>>,
}

/// What a name stands for; nothing yet where its first request is on its way, or failed.
#[derive(Debug)]
pub(super) struct Known {
    turn: Option<(TurnId, [u8; 32])>,
    fingerprint: [u8; 32],
    since: Instant,
}

/// The place of a name, held while its request is on its way: who repeats it waits.
#[derive(Debug)]
pub(super) struct Place(OwnedMutexGuard<Known>);

impl Repeats {
    /// Waits for other requests of this name, and holds its place.
    pub(super) async fn place(&self, tenant: &TenantId, named: &IdempotencyKey) -> Place {
        let name = (tenant.clone(), Arc::clone(&named.key));
        let fresh = || Known { turn: None, fingerprint: named.fingerprint, since: Instant::now() };
        let known = self.known.entry(name).or_insert_with(|| Arc::new(Mutex::new(fresh())));
        let known = Arc::clone(&known);
        let mut guard = known.lock_owned().await;
        if guard.turn.is_none() {
            *guard = fresh();
        }
        Place(guard)
    }

    /// Forgets names that are old, or too many.
    pub(super) fn sweep(&self) {
        let mut keep = KEPT;
        loop {
            self.known.retain(|_, known| match known.try_lock() {
                Ok(known) => known.turn.is_some() && known.since.elapsed() < keep,
                // Its request is on its way.
                Err(_) => true,
            });
            if self.known.len() <= CAPACITY || keep < Duration::from_secs(60) {
                return;
            }
            keep /= 2;
        }
    }
}

impl Place {
    /// The turn that was asked for under the name, and what the request looked like.
    pub(super) fn turn(&self) -> Option<(TurnId, [u8; 32])> {
        self.0.turn.clone()
    }

    /// The request was taken, and this is its turn.
    pub(super) fn take(&mut self, turn: TurnId) {
        self.0.turn = Some((turn, self.0.fingerprint));
    }
}
