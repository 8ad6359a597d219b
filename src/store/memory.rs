//! Sessions in this process's memory: they outlive their actors, not the process.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use futures_util::FutureExt as _;
use futures_util::future::ready;

use crate::turn::{Message, SessionId, SessionKey, TenantId, TurnId};

use super::{
    Answer, Begin, Census, End, Expired, Health, LiveTurn, Query, Record, Save, SessionStore,
    StoredTurn, Summary, TurnRecord,
};

/// A store that forgets with the process. Every call answers at once.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tenants: Mutex<HashMap<TenantId, Tenant>>,
}

#[derive(Debug, Default)]
struct Tenant {
    records: HashMap<SessionId, Arc<Record>>,
    by_activity: BTreeSet<(SystemTime, SessionId)>,
    bytes: u64,
    turns: HashMap<TurnId, Kept>,
    /// The kept turns of each session.
    turns_of: HashMap<SessionId, Vec<TurnId>>,
    /// Turns by the names that clients gave their requests.
    repeated: HashMap<Arc<str>, TurnId>,
}

/// A turn that is kept: its events stand here once it has ended.
#[derive(Debug)]
struct Kept {
    live: Weak<dyn LiveTurn>,
    turn: StoredTurn,
}

impl Tenant {
    fn put(&mut self, record: Arc<Record>) {
        self.take(&record.key.id);
        self.by_activity.insert((record.last_active, record.key.id.clone()));
        self.bytes += weight(&record);
        self.records.insert(record.key.id.clone(), record);
    }

    fn take(&mut self, id: &SessionId) -> bool {
        let Some(old) = self.records.remove(id) else { return false };
        self.by_activity.remove(&(old.last_active, id.clone()));
        self.bytes = self.bytes.saturating_sub(weight(&old));
        true
    }

    fn keep(&mut self, record: &Arc<TurnRecord>, live: Weak<dyn LiveTurn>) {
        if let Some(named) = &record.idempotency {
            self.repeated.insert(Arc::clone(&named.key), record.turn.clone());
        }
        // One that waited is told of again when it starts.
        if !self.turns.contains_key(&record.turn) {
            self.turns_of.entry(record.key.id.clone()).or_default().push(record.turn.clone());
        }
        let turn = StoredTurn { record: Arc::clone(record), events: Vec::new(), ended: None };
        self.turns.insert(record.turn.clone(), Kept { live, turn });
    }

    fn take_turn(&mut self, id: &TurnId) -> bool {
        let Some(kept) = self.turns.remove(id) else { return false };
        let record = kept.turn.record;
        if let Some(named) = &record.idempotency
            && self.repeated.get(&named.key) == Some(id)
        {
            self.repeated.remove(&named.key);
        }
        if let Some(others) = self.turns_of.get_mut(&record.key.id) {
            others.retain(|other| other != id);
            if others.is_empty() {
                self.turns_of.remove(&record.key.id);
            }
        }
        true
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.turns.is_empty()
    }
}

/// Roughly what a session takes.
fn weight(record: &Record) -> u64 {
    const FIXED: usize = 512;
    let said: usize = record.messages.iter().map(|message| message.weight()).sum();
    let system: usize = record.system.iter().map(Message::weight).sum();
    (FIXED + said + system) as u64
}

impl MemoryStore {
    fn tenants(&self) -> MutexGuard<'_, HashMap<TenantId, Tenant>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn done<T: Send + 'static>(value: T) -> Answer<T> {
    ready(Ok(value)).boxed()
}

impl SessionStore for MemoryStore {
    fn is_durable(&self) -> bool {
        false
    }

    fn health(&self) -> Health {
        Health::Well
    }

    fn load(&self, key: SessionKey) -> Answer<Option<Arc<Record>>> {
        let tenants = self.tenants();
        done(tenants.get(&key.tenant).and_then(|tenant| tenant.records.get(&key.id)).cloned())
    }

    fn save(&self, save: Save) -> Answer<()> {
        let record = save.record;
        self.tenants().entry(record.key.tenant.clone()).or_default().put(record);
        done(())
    }

    fn remove(&self, key: SessionKey) -> Answer<bool> {
        let mut tenants = self.tenants();
        let Some(tenant) = tenants.get_mut(&key.tenant) else { return done(false) };
        let existed = tenant.take(&key.id);
        for turn in tenant.turns_of.remove(&key.id).unwrap_or_default() {
            tenant.take_turn(&turn);
        }
        if tenant.is_empty() {
            tenants.remove(&key.tenant);
        }
        done(existed)
    }

    fn list(&self, query: Query) -> Answer<Vec<Summary>> {
        let tenants = self.tenants();
        let whose = tenants
            .iter()
            .filter(|(id, _)| query.tenant.as_ref().is_none_or(|wanted| wanted == *id));
        let mut found: Vec<&Arc<Record>> = Vec::new();
        for (_, tenant) in whose {
            let is_wanted = |record: &&Arc<Record>| {
                query.model.as_ref().is_none_or(|model| *model == record.model)
            };
            let of = |(_, id): &(SystemTime, SessionId)| tenant.records.get(id);
            let place = query.after.as_ref();
            if query.is_oldest_first {
                let rest = tenant.by_activity.iter().filter(|at| place.is_none_or(|p| *at > p));
                found.extend(rest.filter_map(of).filter(is_wanted).take(query.limit));
            } else {
                let rest = tenant.by_activity.iter().rev();
                let rest = rest.filter(|at| place.is_none_or(|p| *at < p));
                found.extend(rest.filter_map(of).filter(is_wanted).take(query.limit));
            }
        }
        found.sort_by(|one, two| {
            let order = (one.last_active, &one.key.id).cmp(&(two.last_active, &two.key.id));
            if query.is_oldest_first { order } else { order.reverse() }
        });
        done(found.into_iter().take(query.limit).map(|record| record.summary()).collect())
    }

    fn census(&self, tenant: TenantId) -> Answer<Census> {
        let tenants = self.tenants();
        let Some(held) = tenants.get(&tenant) else { return done(Census::default()) };
        let oldest = held.by_activity.first().map(|(_, id)| SessionKey { tenant, id: id.clone() });
        done(Census { sessions: held.records.len(), bytes: held.bytes, oldest })
    }

    fn beyond(&self, bytes: u64, limit: usize) -> Answer<Vec<TenantId>> {
        let tenants = self.tenants();
        let beyond = tenants.iter().filter(|(_, held)| held.bytes > bytes);
        let mut beyond: Vec<_> = beyond.map(|(id, held)| (Reverse(held.bytes), id)).collect();
        beyond.sort();
        done(beyond.into_iter().take(limit).map(|(_, id)| id.clone()).collect())
    }

    fn expired(&self, before: SystemTime, limit: usize) -> Answer<Vec<Expired>> {
        let tenants = self.tenants();
        let old = tenants.values().flat_map(|tenant| {
            let aged = tenant.by_activity.iter().take_while(|(at, _)| *at < before);
            aged.filter_map(|(_, id)| tenant.records.get(id))
        });
        let old = old.take(limit).map(|record| Expired {
            key: record.key.clone(),
            head: record.head,
            upstream: record.upstream.clone(),
        });
        done(old.collect())
    }

    /// Who keeps heads in memory has them elsewhere already.
    fn claim(&self, _heads: Vec<[u8; 32]>) -> Answer<Option<([u8; 32], SessionKey)>> {
        done(None)
    }

    fn begin(&self, begin: Begin) -> Answer<()> {
        let Begin { turn, live, session } = begin;
        if turn.is_kept {
            self.tenants().entry(turn.key.tenant.clone()).or_default().keep(&turn, live);
        }
        match session {
            Some(session) => self.save(session),
            None => done(()),
        }
    }

    fn end(&self, end: End) -> Answer<()> {
        let End { turn, live, last, at, session } = end;
        if turn.is_kept {
            let mut events = live.events_since(0);
            events.push(last);
            let mut tenants = self.tenants();
            let tenant = tenants.get_mut(&turn.key.tenant);
            // One that was deleted while it ran is not kept.
            if let Some(kept) = tenant.and_then(|tenant| tenant.turns.get_mut(&turn.turn)) {
                kept.turn.events = events;
                kept.turn.ended = Some(at);
            }
        }
        match session {
            Some(session) => self.save(session),
            None => done(()),
        }
    }

    fn turn(&self, tenant: TenantId, turn: TurnId) -> Answer<Option<StoredTurn>> {
        let tenants = self.tenants();
        let kept = tenants.get(&tenant).and_then(|tenant| tenant.turns.get(&turn));
        done(kept.map(|kept| {
            let mut turn = kept.turn.clone();
            if turn.ended.is_none()
                && let Some(live) = kept.live.upgrade()
            {
                turn.events = live.events_since(0);
            }
            turn
        }))
    }

    fn remove_turn(&self, tenant: TenantId, turn: TurnId) -> Answer<bool> {
        let mut tenants = self.tenants();
        let Some(held) = tenants.get_mut(&tenant) else { return done(false) };
        let existed = held.take_turn(&turn);
        if held.is_empty() {
            tenants.remove(&tenant);
        }
        done(existed)
    }

    fn repeated(&self, tenant: TenantId, key: Arc<str>) -> Answer<Option<(TurnId, [u8; 32])>> {
        let tenants = self.tenants();
        let Some(held) = tenants.get(&tenant) else { return done(None) };
        let turn = held.repeated.get(&key).and_then(|turn| held.turns.get(turn));
        let named = turn.and_then(|kept| {
            let record = &kept.turn.record;
            let named = record.idempotency.as_ref()?;
            Some((record.turn.clone(), named.fingerprint))
        });
        done(named)
    }

    /// Turns that are not kept are not kept here at all.
    fn sweep_turns(&self, before: SystemTime) -> Answer<usize> {
        let mut tenants = self.tenants();
        let mut swept = 0;
        for tenant in tenants.values_mut() {
            // A turn whose session never came to be has nobody else to end it.
            let lost = tenant.turns.values().filter(|kept| {
                let record = &kept.turn.record;
                kept.turn.ended.is_some_and(|at| at < before)
                    && !tenant.records.contains_key(&record.key.id)
            });
            let lost: Vec<_> = lost.map(|kept| kept.turn.record.turn.clone()).collect();
            swept += lost.iter().filter(|turn| tenant.take_turn(turn)).count();
        }
        tenants.retain(|_, tenant| !tenant.is_empty());
        done(swept)
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    #[tokio::test]
    async fn memory_does_what_every_store_does() {
        contract::hold(|| (Arc::new(MemoryStore::default()) as Arc<dyn SessionStore>, ())).await;
    }
}
