//! Sessions in this process's memory: they outlive their actors, not the process.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use crate::turn::{SessionId, SessionKey, TenantId};

use super::{Record, SessionStore, StoreError};

/// A store that forgets with the process. Every call answers at once.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tenants: Mutex<HashMap<TenantId, Tenant>>,
}

#[derive(Debug, Default)]
struct Tenant {
    records: HashMap<SessionId, Arc<Record>>,
    by_activity: BTreeSet<(SystemTime, SessionId)>,
}

impl Tenant {
    fn put(&mut self, record: Arc<Record>) {
        self.take(&record.key.id);
        self.by_activity.insert((record.last_active, record.key.id.clone()));
        self.records.insert(record.key.id.clone(), record);
    }

    fn take(&mut self, id: &SessionId) -> bool {
        let Some(old) = self.records.remove(id) else { return false };
        self.by_activity.remove(&(old.last_active, id.clone()));
        true
    }
}

impl MemoryStore {
    fn tenants(&self) -> MutexGuard<'_, HashMap<TenantId, Tenant>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn done<T: Send + 'static>(value: T) -> BoxFuture<'static, Result<T, StoreError>> {
    ready(Ok(value)).boxed()
}

impl SessionStore for MemoryStore {
    fn load(&self, key: SessionKey) -> BoxFuture<'static, Result<Option<Arc<Record>>, StoreError>> {
        let tenants = self.tenants();
        done(tenants.get(&key.tenant).and_then(|tenant| tenant.records.get(&key.id)).cloned())
    }

    fn save(&self, record: Arc<Record>) -> BoxFuture<'static, Result<(), StoreError>> {
        self.tenants().entry(record.key.tenant.clone()).or_default().put(record);
        done(())
    }

    fn remove(&self, key: SessionKey) -> BoxFuture<'static, Result<bool, StoreError>> {
        let mut tenants = self.tenants();
        let Some(tenant) = tenants.get_mut(&key.tenant) else { return done(false) };
        let existed = tenant.take(&key.id);
        if tenant.records.is_empty() {
            tenants.remove(&key.tenant);
        }
        done(existed)
    }

    fn list(
        &self,
        tenant: TenantId,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Arc<Record>>, StoreError>> {
        let tenants = self.tenants();
        let Some(tenant) = tenants.get(&tenant) else { return done(Vec::new()) };
        let newest = tenant.by_activity.iter().rev().take(limit);
        done(newest.filter_map(|(_, id)| tenant.records.get(id)).cloned().collect())
    }

    fn census(
        &self,
        tenant: TenantId,
    ) -> BoxFuture<'static, Result<(usize, Option<SessionKey>), StoreError>> {
        let tenants = self.tenants();
        let Some(held) = tenants.get(&tenant) else { return done((0, None)) };
        let oldest = held.by_activity.first().map(|(_, id)| SessionKey { tenant, id: id.clone() });
        done((held.records.len(), oldest))
    }

    fn expired(
        &self,
        before: SystemTime,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Arc<Record>>, StoreError>> {
        let tenants = self.tenants();
        let old = tenants.values().flat_map(|tenant| {
            let aged = tenant.by_activity.iter().take_while(|(at, _)| *at < before);
            aged.filter_map(|(_, id)| tenant.records.get(id)).cloned()
        });
        done(old.take(limit).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn record(tenant: &str, id: &str, age: u64) -> Arc<Record> {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 - age);
        Arc::new(Record {
            key: SessionKey { tenant: tenant.parse().unwrap(), id: id.parse().unwrap() },
            model: "m".parse().unwrap(),
            created_at: at,
            last_active: at,
            turns: 1,
            messages: Vec::new(),
            system: Arc::default(),
            head: None,
            upstream: None,
            branches: 0,
            asked: None,
            moved: None,
        })
    }

    #[tokio::test]
    async fn a_session_is_found_by_its_own_tenant_only() {
        let store = MemoryStore::default();
        store.save(record("acme", "s1", 0)).await.unwrap();
        let theirs = SessionKey { tenant: "other".parse().unwrap(), id: "s1".parse().unwrap() };
        assert!(store.load(theirs.clone()).await.unwrap().is_none());
        assert!(!store.remove(theirs).await.unwrap());
        let ours = SessionKey { tenant: "acme".parse().unwrap(), id: "s1".parse().unwrap() };
        assert!(store.load(ours).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn saving_again_replaces_and_moves_to_the_front() {
        let store = MemoryStore::default();
        for (id, age) in [("s1", 30), ("s2", 20), ("s1", 10)] {
            store.save(record("acme", id, age)).await.unwrap();
        }
        let listed = store.list("acme".parse().unwrap(), 10).await.unwrap();
        let ids: Vec<_> = listed.iter().map(|record| record.key.id.as_str().to_owned()).collect();
        assert_eq!(ids, ["s1", "s2"]);
        let (count, oldest) = store.census("acme".parse().unwrap()).await.unwrap();
        assert_eq!((count, oldest.unwrap().id.as_str()), (2, "s2"));
    }

    #[tokio::test]
    async fn only_sessions_without_recent_activity_are_expired() {
        let store = MemoryStore::default();
        store.save(record("acme", "old", 500)).await.unwrap();
        store.save(record("acme", "new", 1)).await.unwrap();
        let before = SystemTime::UNIX_EPOCH + Duration::from_secs(900);
        let expired = store.expired(before, 10).await.unwrap();
        assert_eq!(expired.len(), 1);
        assert_eq!(expired[0].key.id.as_str(), "old");
    }
}
