//! Which sessions go by themselves: those that nobody has spoken in for long, and the ones idle
//! the longest of a tenant whose sessions take too much.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::oneshot;

use crate::metrics::{EndReason, StoreOp};
use crate::store::{Query, StoreError, UpstreamBinding};
use crate::turn::{SessionKey, TenantId};

use super::ANSWER;
use super::actor::SessionMsg;
use super::env::Env;
use super::farewell;

/// Sessions forgotten in one sweep; the rest wait for the next.
const EXPIRED_AT_ONCE: usize = 10_000;
/// Tenants that one sweep makes smaller; the rest wait for the next.
const TENANTS_AT_ONCE: usize = 100;
/// Sessions of one tenant that one sweep looks at.
const EVICTED_AT_ONCE: usize = 1_000;

/// Forgets the sessions that nobody has spoken in since then.
pub(super) async fn expire(env: &Arc<Env>, before: SystemTime) {
    let timer = env.metrics.store_op(StoreOp::Sweep);
    let expired = match env.store.expired(before, EXPIRED_AT_ONCE).await {
        Ok(expired) => expired,
        Err(error) => return tracing::error!(%error, "expired sessions could not be looked for"),
    };
    drop(timer);
    for record in expired {
        // Its actor has the last word on what it holds.
        if env.directory.get(&record.key).is_some() {
            continue;
        }
        let (head, upstream) = (record.head, record.upstream);
        forget_resting(env, &record.key, (head, upstream, EndReason::Expired)).await;
    }
}

/// Forgets the sessions idle the longest of tenants that have more than
/// [`tenant_bytes`](crate::config::Store::tenant_bytes), until they have no more than that. One
/// sweep at a time: another that begins meanwhile does nothing.
pub(super) async fn trim(env: &Arc<Env>) {
    let Some(most) = env.config.store.tenant_bytes.map(|bytes| bytes as u64) else { return };
    let Ok(_alone) = env.trimming.try_lock() else { return };
    let trimmed = async {
        for tenant in env.store.beyond(most, TENANTS_AT_ONCE).await? {
            trim_tenant(env, &tenant, most).await?;
        }
        Ok::<_, StoreError>(())
    };
    if let Err(error) = trimmed.await {
        tracing::error!(%error, "tenants that hold too much could not be looked for");
    }
}

async fn trim_tenant(env: &Arc<Env>, tenant: &TenantId, most: u64) -> Result<(), StoreError> {
    let mut after = None;
    for _ in 0..EVICTED_AT_ONCE {
        let census = env.store.census(tenant.clone()).await?;
        // One that is larger than all may be is left, or it would go after each of its turns.
        if census.bytes <= most || census.sessions <= 1 {
            break;
        }
        let tenant = Some(tenant.clone());
        let query = Query { tenant, after, limit: 1, is_oldest_first: true, ..Query::default() };
        let Some(oldest) = env.store.list(query).await?.pop() else { break };
        after = Some((oldest.last_active, oldest.key.id.clone()));
        evict(env, &oldest.key).await?;
    }
    Ok(())
}

/// Forgets a session, unless a turn runs in it.
async fn evict(env: &Arc<Env>, key: &SessionKey) -> Result<(), StoreError> {
    if let Some(actor) = env.directory.get(key) {
        let (reply, answer) = oneshot::channel();
        // One that is on its way out is looked at again by the next sweep.
        let _ = actor.cast(SessionMsg::End(EndReason::Evicted, reply));
        // What it says to it changes nothing here: it went, or is in use.
        let _ = tokio::time::timeout(ANSWER, answer).await;
        return Ok(());
    }
    if let Some(record) = env.store.load(key.clone()).await? {
        let (head, upstream) = (record.head, record.upstream.clone());
        forget_resting(env, key, (head, upstream, EndReason::Evicted)).await;
    }
    Ok(())
}

/// Forgets a session that has no actor, with what is known of it elsewhere.
async fn forget_resting(
    env: &Arc<Env>,
    key: &SessionKey,
    (head, upstream, reason): (Option<[u8; 32]>, Option<UpstreamBinding>, EndReason),
) {
    if let Some(head) = &head {
        env.heads.forget(head, key);
    }
    env.files.forget(key);
    match env.store.remove(key.clone()).await {
        Ok(true) => {
            farewell::say(env, upstream);
            env.metrics.session_ended(reason);
        }
        Ok(false) => {}
        Err(error) => {
            tracing::error!(%error, reason = reason.as_str(), "a session could not be removed");
        }
    }
}
