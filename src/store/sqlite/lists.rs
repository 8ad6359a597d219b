//! What is asked of many sessions at once.

use std::time::SystemTime;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use crate::store::{Census, Expired, Query, StoreError, Summary};
use crate::turn::{Pending, SessionKey, TenantId};

use super::columns::{count, count_at, digest_at, id_at, maybe_id_at, moment_at, nanoseconds};
use super::sessions::{key_at, metadata_at, upstream_at};
use super::trouble::Trouble;

/// The sessions that are wanted, page by page.
pub(super) fn list(db: &Connection, query: &Query) -> Result<Vec<Summary>, Trouble> {
    let mut conditions = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    if let Some(tenant) = &query.tenant {
        conditions.push("tenant = ?");
        values.push(tenant.as_str().to_owned().into());
    }
    if let Some(model) = &query.model {
        conditions.push("model = ?");
        values.push(model.as_str().to_owned().into());
    }
    let (behind, order) = if query.is_oldest_first { (">", "ASC") } else { ("<", "DESC") };
    let behind = format!("(last_active, id) {behind} (?, ?)");
    if let Some((at, id)) = &query.after {
        conditions.push(&behind);
        values.push(nanoseconds(*at).into());
        values.push(id.as_str().to_owned().into());
    }
    values.push(count(query.limit).into());
    let filter = if conditions.is_empty() { "TRUE".to_owned() } else { conditions.join(" AND ") };
    let mut select = db.prepare_cached(&format!(
        "SELECT tenant, id, model, moved_to, created_at, last_active, turns, metadata, upstream
            FROM sessions WHERE {filter}
            ORDER BY last_active {order}, id {order} LIMIT ?"
    ))?;
    let mut rows = select.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(summary_at(row)?);
    }
    Ok(found)
}

fn summary_at(row: &Row<'_>) -> Result<Summary, Trouble> {
    let upstream = upstream_at(row)?;
    let pending = upstream.as_ref().and_then(|upstream| upstream.pending.as_ref());
    let open = pending.into_iter().flat_map(Pending::open);
    Ok(Summary {
        key: key_at(row)?,
        model: id_at(row, "model")?,
        moved_to: maybe_id_at(row, "moved_to")?,
        created_at: moment_at(row, "created_at")?,
        last_active: moment_at(row, "last_active")?,
        turns: count_at(row, "turns")?,
        metadata: metadata_at(row)?,
        open_calls: open.map(|call| (call.id.clone(), call.name.clone())).collect(),
    })
}

/// What a tenant holds: two look-ups, however much that is.
pub(super) fn census(db: &Connection, tenant: &TenantId) -> Result<Census, Trouble> {
    let mut counted = db.prepare_cached("SELECT sessions, bytes FROM tenants WHERE tenant = ?1")?;
    let counted = counted.query_row([tenant.as_str()], |row| {
        Ok((count_at(row, "sessions")?, count_at(row, "bytes")?))
    });
    let Some((sessions, bytes)) = counted.optional()? else { return Ok(Census::default()) };
    let mut oldest = db.prepare_cached(
        "SELECT id FROM sessions WHERE tenant = ?1 ORDER BY last_active, id LIMIT 1",
    )?;
    let mut rows = oldest.query([tenant.as_str()])?;
    let oldest = rows.next()?.map(|row| id_at(row, "id")).transpose()?;
    let oldest = oldest.map(|id| SessionKey { tenant: tenant.clone(), id });
    Ok(Census { sessions: usize::try_from(sessions).unwrap_or(usize::MAX), bytes, oldest })
}

/// Tenants that hold more than so many bytes, those that hold most first.
pub(super) fn beyond(db: &Connection, bytes: u64, limit: usize) -> Result<Vec<TenantId>, Trouble> {
    let mut select = db.prepare_cached(
        "SELECT tenant FROM tenants WHERE bytes > ?1 ORDER BY bytes DESC, tenant LIMIT ?2",
    )?;
    let mut rows = select.query([count(bytes), count(limit)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(id_at(row, "tenant")?);
    }
    Ok(found)
}

/// Sessions that nobody has spoken in since then, those of the longest ago first.
pub(super) fn expired(
    db: &Connection,
    before: SystemTime,
    limit: usize,
) -> Result<Vec<Expired>, Trouble> {
    let mut select = db.prepare_cached(
        "SELECT tenant, id, head, upstream FROM sessions WHERE last_active < ?1
            ORDER BY last_active, id LIMIT ?2",
    )?;
    let mut rows = select.query(params![nanoseconds(before), count(limit)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Expired {
            key: key_at(row)?,
            head: digest_at(row, "head")?,
            upstream: upstream_at(row).unwrap_or_else(|trouble| {
                // A session that cannot be read has to go all the same.
                let error = StoreError::from(trouble);
                tracing::warn!(%error, "the upstream of an expired session cannot be read");
                None
            }),
        });
    }
    Ok(found)
}
