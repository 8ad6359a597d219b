//! Turns and their events, row by row.

use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};

use crate::store::stored::{read_events, read_messages, write_events, write_messages};
use crate::store::{StoreError, StoredTurn, TurnRecord};
use crate::turn::{IdempotencyKey, SessionKey, TenantId, TurnEvent, TurnId};

use super::columns::{count, count_at, digest_at, id_at, maybe_id_at, moment_at, nanoseconds};
use super::trouble::{Trouble, damaged};

/// What a turn counts for besides what was said in it.
const FIXED_BYTES: usize = 256;
/// Turns that one sweep takes away at most, so that others need not wait long behind it.
const SWEPT_AT_ONCE: i64 = 5_000;

/// A turn that runs, as the file knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    number: i64,
    /// How many events of it are in the file.
    pub(super) events: usize,
}

/// Puts a turn in that begins; one that waited is there already, and brings what is said now. A
/// name that its client gave to an earlier request is this one's.
pub(super) fn begin(db: &Connection, turn: &TurnRecord) -> Result<(), Trouble> {
    let tenant = turn.key.tenant.as_str();
    if let Some(IdempotencyKey { key, .. }) = &turn.idempotency {
        let mut forget = db.prepare_cached(
            "UPDATE turns SET idempotency = NULL, fingerprint = NULL
                WHERE tenant = ?1 AND idempotency = ?2",
        )?;
        forget.execute(params![tenant, key])?;
    }
    let said = write_messages(turn.said.iter().map(|message| &**message))?;
    let bytes = FIXED_BYTES + said.len() + turn.echo.as_ref().map_or(0, |echo| echo.len());
    let mut insert = db.prepare_cached(
        "INSERT INTO turns (tenant, id, session, state, model, agent, agent_alias, created,
                previous, is_kept, is_background, may_go, idempotency, fingerprint, events,
                bytes, said, echo)
            VALUES (:tenant, :id, :session, 'running', :model, :agent, :agent_alias, :created,
                :previous, :is_kept, :is_background, :may_go, :idempotency, :fingerprint, 0,
                :bytes, :said, :echo)
            ON CONFLICT (tenant, id) DO UPDATE SET said = excluded.said,
                idempotency = excluded.idempotency, fingerprint = excluded.fingerprint",
    )?;
    insert.execute(named_params! {
        ":tenant": tenant,
        ":id": turn.turn.as_str(),
        ":session": turn.key.id.as_str(),
        ":model": turn.model.as_str(),
        ":agent": turn.agent.as_ref().map(|(agent, _)| agent),
        ":agent_alias": turn.agent.as_ref().map(|(_, alias)| alias),
        ":created": nanoseconds(turn.created),
        ":previous": turn.previous.as_ref().map(|previous| previous.as_str()),
        ":is_kept": turn.is_kept,
        ":is_background": turn.is_background,
        ":may_go": !turn.is_kept,
        ":idempotency": turn.idempotency.as_ref().map(|named| &*named.key),
        ":fingerprint": turn.idempotency.as_ref().map(|named| named.fingerprint.as_slice()),
        ":bytes": count(bytes),
        ":said": said,
        ":echo": turn.echo.as_deref(),
    })?;
    Ok(())
}

/// Puts a turn in that has ended elsewhere. The name that its client gave it stays with a later
/// request that has it here.
pub(super) fn insert(db: &Connection, turn: &StoredTurn) -> Result<(), Trouble> {
    let StoredTurn { record, events, ended } = turn;
    let (tenant, id) = (&record.key.tenant, &record.turn);
    let is_there = db
        .prepare_cached("SELECT 1 FROM turns WHERE tenant = ?1 AND id = ?2")?
        .exists(params![tenant.as_str(), id.as_str()])?;
    if is_there {
        return Err(Trouble::Stored(StoreError("a turn of this id is there already".to_owned())));
    }
    let mut record = TurnRecord::clone(record);
    if let Some(IdempotencyKey { key, .. }) = &record.idempotency
        && later_has_name(db, &record, key)?
    {
        record.idempotency = None;
    }
    begin(db, &record)?;
    let Some(standing) = running(db, tenant, id)? else { return Ok(()) };
    end(db, standing, events, ended.unwrap_or(record.created))
}

/// The turn, if it is in the file and has not ended.
pub(super) fn running(
    db: &Connection,
    tenant: &TenantId,
    turn: &TurnId,
) -> Result<Option<Standing>, Trouble> {
    let mut select = db.prepare_cached(
        "SELECT number, events FROM turns
            WHERE tenant = ?1 AND id = ?2 AND state = 'running'",
    )?;
    let found = select.query_row(params![tenant.as_str(), turn.as_str()], |row| {
        let events = usize::try_from(count_at(row, "events")?).unwrap_or(usize::MAX);
        Ok(Standing { number: row.get("number")?, events })
    });
    Ok(found.optional()?)
}

/// Whether a request that came later than this one has the name.
fn later_has_name(db: &Connection, turn: &TurnRecord, name: &str) -> Result<bool, Trouble> {
    let mut select = db.prepare_cached(
        "SELECT 1 FROM turns WHERE tenant = ?1 AND idempotency = ?2 AND created > ?3",
    )?;
    let tenant = turn.key.tenant.as_str();
    Ok(select.exists(params![tenant, name, nanoseconds(turn.created)])?)
}

/// Adds what happened since.
pub(super) fn append(db: &Connection, turn: Standing, events: &[TurnEvent]) -> Result<(), Trouble> {
    if events.is_empty() {
        return Ok(());
    }
    let bytes = insert_events(db, turn, events)?;
    let mut update = db.prepare_cached(
        "UPDATE turns SET events = events + ?2, bytes = bytes + ?3 WHERE number = ?1",
    )?;
    update.execute(params![turn.number, count(events.len()), bytes])?;
    Ok(())
}

/// Adds the last of what happened, and notes that the turn ended. One whose session is not there
/// may go by itself.
pub(super) fn end(
    db: &Connection,
    turn: Standing,
    events: &[TurnEvent],
    at: SystemTime,
) -> Result<(), Trouble> {
    let bytes = if events.is_empty() { 0 } else { insert_events(db, turn, events)? };
    let mut update = db.prepare_cached(
        "UPDATE turns SET events = events + ?2, bytes = bytes + ?3, state = 'ended', ended = ?4,
                may_go = may_go OR NOT EXISTS (
                    SELECT 1 FROM sessions
                    WHERE sessions.tenant = turns.tenant AND sessions.id = turns.session)
            WHERE number = ?1",
    )?;
    update.execute(params![turn.number, count(events.len()), bytes, nanoseconds(at)])?;
    Ok(())
}

/// Gives the bytes that they take.
fn insert_events(db: &Connection, turn: Standing, events: &[TurnEvent]) -> Result<i64, Trouble> {
    let document = write_events(events)?;
    let mut insert =
        db.prepare_cached("INSERT INTO turn_events (turn, first, events) VALUES (?1, ?2, ?3)")?;
    insert.execute(params![turn.number, count(turn.events), document])?;
    Ok(count(document.len()))
}

/// Forgets a turn.
pub(super) fn remove(db: &Connection, tenant: &TenantId, turn: &TurnId) -> Result<bool, Trouble> {
    let mut delete = db.prepare_cached("DELETE FROM turns WHERE tenant = ?1 AND id = ?2")?;
    Ok(delete.execute(params![tenant.as_str(), turn.as_str()])? > 0)
}

/// Forgets turns that ended before then and need not be kept: so many at most.
pub(super) fn sweep(db: &Connection, before: SystemTime) -> Result<usize, Trouble> {
    let mut delete = db.prepare_cached(
        "DELETE FROM turns WHERE number IN (
            SELECT number FROM turns
            WHERE may_go = 1 AND ended < ?1 AND (NOT is_kept OR NOT EXISTS (
                SELECT 1 FROM sessions
                WHERE sessions.tenant = turns.tenant AND sessions.id = turns.session))
            ORDER BY ended LIMIT ?2)",
    )?;
    Ok(delete.execute(params![nanoseconds(before), SWEPT_AT_ONCE])?)
}

/// A turn with its events. To be asked within a transaction, so that its parts fit together.
pub(super) fn load(
    db: &Connection,
    tenant: &TenantId,
    turn: &TurnId,
) -> Result<Option<StoredTurn>, Trouble> {
    let mut select = db.prepare_cached("SELECT * FROM turns WHERE tenant = ?1 AND id = ?2")?;
    let mut rows = select.query(params![tenant.as_str(), turn.as_str()])?;
    rows.next()?.map(|row| turn_at(db, row)).transpose()
}

fn turn_at(db: &Connection, row: &Row<'_>) -> Result<StoredTurn, Trouble> {
    let number: i64 = row.get("number")?;
    let ended: Option<i64> = row.get("ended")?;
    Ok(StoredTurn {
        record: Arc::new(record_at(row)?),
        events: events(db, number)?,
        ended: ended.map(|_| moment_at(row, "ended")).transpose()?,
    })
}

fn record_at(row: &Row<'_>) -> Result<TurnRecord, Trouble> {
    let agent: Option<String> = row.get("agent")?;
    let alias: Option<String> = row.get("agent_alias")?;
    let said = row.get_ref("said")?;
    let said = read_messages(said.as_str().map_err(|error| damaged("said", error))?)?;
    let name: Option<Arc<str>> = row.get("idempotency")?;
    let fingerprint = digest_at(row, "fingerprint")?;
    let named = name.zip(fingerprint);
    Ok(TurnRecord {
        turn: id_at(row, "id")?,
        key: SessionKey { tenant: id_at(row, "tenant")?, id: id_at(row, "session")? },
        model: id_at(row, "model")?,
        agent: agent.zip(alias),
        created: moment_at(row, "created")?,
        said: said.into_iter().map(Arc::new).collect(),
        previous: maybe_id_at(row, "previous")?,
        is_kept: row.get("is_kept")?,
        is_background: row.get("is_background")?,
        echo: row.get("echo")?,
        idempotency: named.map(|(key, fingerprint)| IdempotencyKey { key, fingerprint }),
    })
}

fn events(db: &Connection, turn: i64) -> Result<Vec<TurnEvent>, Trouble> {
    let mut select =
        db.prepare_cached("SELECT first, events FROM turn_events WHERE turn = ?1 ORDER BY first")?;
    let mut rows = select.query([turn])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        if count_at(row, "first")? != events.len() as u64 {
            return Err(damaged("a turn", "events of it are missing"));
        }
        let document = row.get_ref("events")?;
        let document = document.as_str().map_err(|error| damaged("events", error))?;
        events.extend(read_events(document)?);
    }
    Ok(events)
}

/// The turn that a client asked for under this name.
pub(super) fn repeated(
    db: &Connection,
    tenant: &TenantId,
    name: &str,
) -> Result<Option<(TurnId, [u8; 32])>, Trouble> {
    let mut select = db.prepare_cached(
        "SELECT id, fingerprint FROM turns WHERE tenant = ?1 AND idempotency = ?2",
    )?;
    let mut rows = select.query(params![tenant.as_str(), name])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let Some(fingerprint) = digest_at(row, "fingerprint")? else { return Ok(None) };
    Ok(Some((id_at(row, "id")?, fingerprint)))
}

/// The turns of a session that have ended, in the order in which they began.
pub(super) fn ended_of(db: &Connection, key: &SessionKey) -> Result<Vec<TurnId>, Trouble> {
    let mut select = db.prepare_cached(
        "SELECT id FROM turns WHERE tenant = ?1 AND session = ?2 AND state = 'ended'
            ORDER BY number",
    )?;
    let mut rows = select.query(params![key.tenant.as_str(), key.id.as_str()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(id_at(row, "id")?);
    }
    Ok(found)
}

/// The turns that have not ended, oldest first.
pub(super) fn unended(db: &Connection) -> Result<Vec<(TenantId, TurnId)>, Trouble> {
    let mut select = db.prepare_cached(
        "SELECT tenant, id FROM turns WHERE state = 'running' ORDER BY created, number",
    )?;
    let mut rows = select.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((id_at(row, "tenant")?, id_at(row, "id")?));
    }
    Ok(found)
}
