//! Sessions, row by row: written by what changed, read whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};

use crate::store::stored::{self, read_messages, read_upstream, write_messages, write_upstream};
use crate::store::{Mark, Moved, Record, Save, UpstreamBinding};
use crate::turn::{Message, SessionKey};

use super::columns::{count, count_at, digest_at, id_at, maybe_id_at, moment_at, nanoseconds};
use super::trouble::{Trouble, damaged};

/// What a session counts for besides what was said in it.
const FIXED_BYTES: usize = 512;

/// What stands in the file of a session, as far as a save has to know it.
struct Standing {
    number: i64,
    dropped: u64,
    end: u64,
    message_bytes: i64,
}

/// Makes the file hold this session. What stood before `unchanged` is left as it is, as far as
/// the file has it.
pub(super) fn save(db: &Connection, save: &Save, unchanged: u64) -> Result<(), Trouble> {
    let record = &*save.record;
    let Some(standing) = standing(db, &record.key)? else {
        let number = insert(db, record)?;
        let said = insert_messages(db, number, record, record.dropped)?;
        save_marks(db, number, record, 0)?;
        return update(db, number, record, said);
    };
    // A message that the file dropped has to come back: then nothing of it is sure.
    let is_behind = record.dropped < standing.dropped;
    let unchanged = if is_behind { 0 } else { unchanged.min(standing.end) };
    let said = exchange_messages(db, record, &standing, unchanged)?;
    save_marks(db, standing.number, record, unchanged)?;
    update(db, standing.number, record, said)
}

fn standing(db: &Connection, key: &SessionKey) -> Result<Option<Standing>, Trouble> {
    let mut select = db.prepare_cached(
        r#"SELECT number, dropped, "end", message_bytes FROM sessions
            WHERE tenant = ?1 AND id = ?2"#,
    )?;
    let found = select.query_row(params![key.tenant.as_str(), key.id.as_str()], |row| {
        Ok(Standing {
            number: row.get("number")?,
            dropped: count_at(row, "dropped")?,
            end: count_at(row, "end")?,
            message_bytes: row.get("message_bytes")?,
        })
    });
    Ok(found.optional()?)
}

/// The row alone, to be filled by [`update`].
fn insert(db: &Connection, record: &Record) -> Result<i64, Trouble> {
    let mut insert = db.prepare_cached(
        r#"INSERT INTO sessions (tenant, id, model, created_at, last_active, turns, dropped,
                "end", branches, message_bytes, bytes)
            VALUES (?1, ?2, ?3, 0, 0, 0, 0, 0, 0, 0, 0)"#,
    )?;
    let SessionKey { tenant, id } = &record.key;
    insert.execute(params![tenant.as_str(), id.as_str(), record.model.as_str()])?;
    Ok(db.last_insert_rowid())
}

fn update(db: &Connection, number: i64, record: &Record, said: i64) -> Result<(), Trouble> {
    let Record { model, asked, moved, created_at, last_active, turns, dropped, .. } = record;
    let Record { branches, head, metadata, system, upstream, .. } = record;
    let metadata = (!metadata.is_empty()).then(|| serde_json::to_string(metadata)).transpose();
    let metadata = metadata.map_err(|error| damaged("metadata", error))?;
    let system = (!system.is_empty()).then(|| write_messages(system.iter())).transpose()?;
    let upstream = upstream.as_ref().map(write_upstream).transpose()?;
    let beside: usize =
        [&metadata, &system, &upstream].into_iter().flatten().map(String::len).sum();
    let mut update = db.prepare_cached(
        r#"UPDATE sessions SET model = :model, asked = :asked, moved_from = :moved_from,
                moved_to = :moved_to, created_at = :created_at, last_active = :last_active,
                turns = :turns, dropped = :dropped, "end" = :end, branches = :branches,
                message_bytes = :message_bytes, bytes = :bytes, head = :head,
                metadata = :metadata, system = :system, upstream = :upstream
            WHERE number = :number"#,
    )?;
    update.execute(named_params! {
        ":number": number,
        ":model": model.as_str(),
        ":asked": asked.as_ref().map(|asked| asked.as_str()),
        ":moved_from": moved.as_ref().map(|moved| moved.from.as_str()),
        ":moved_to": moved.as_ref().map(|moved| moved.to.as_str()),
        ":created_at": nanoseconds(*created_at),
        ":last_active": nanoseconds(*last_active),
        ":turns": count(*turns),
        ":dropped": count(*dropped),
        ":end": count(record.end()),
        ":branches": branches,
        ":message_bytes": said,
        ":bytes": said + count(FIXED_BYTES + beside),
        ":head": head.as_ref().map(<[u8; 32]>::as_slice),
        ":metadata": metadata,
        ":system": system,
        ":upstream": upstream,
    })?;
    Ok(())
}

/// Takes the messages away that are no more or are otherwise, and puts in those that the file
/// has not; gives the bytes of all.
fn exchange_messages(
    db: &Connection,
    record: &Record,
    standing: &Standing,
    unchanged: u64,
) -> Result<i64, Trouble> {
    let first = record.dropped;
    let stays_until = unchanged.min(record.end()).max(first);
    // Most turns only add to what the file has.
    let mut gone = 0;
    if first > standing.dropped {
        gone += remove_messages(db, standing.number, 0, first)?;
    }
    if stays_until < standing.end {
        gone += remove_messages(db, standing.number, stays_until, u64::MAX)?;
    }
    let come = insert_messages(db, standing.number, record, stays_until)?;
    Ok(standing.message_bytes - gone + come)
}

fn remove_messages(db: &Connection, session: i64, from: u64, to: u64) -> Result<i64, Trouble> {
    let range = params![session, count(from), count(to)];
    let mut sum = db.prepare_cached(
        "SELECT coalesce(sum(bytes), 0), count(*) FROM messages
            WHERE session = ?1 AND position >= ?2 AND position < ?3",
    )?;
    let (bytes, rows): (i64, i64) = sum.query_row(range, |row| Ok((row.get(0)?, row.get(1)?)))?;
    if rows > 0 {
        let mut delete = db.prepare_cached(
            "DELETE FROM messages WHERE session = ?1 AND position >= ?2 AND position < ?3",
        )?;
        delete.execute(range)?;
    }
    Ok(bytes)
}

fn insert_messages(
    db: &Connection,
    session: i64,
    record: &Record,
    from: u64,
) -> Result<i64, Trouble> {
    let skipped = usize::try_from(from.saturating_sub(record.dropped)).unwrap_or(usize::MAX);
    let mut insert = db.prepare_cached(
        "INSERT INTO messages (session, position, bytes, role, status, text, rest)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let mut bytes = 0;
    for (position, message) in (from..).zip(record.messages.iter().skip(skipped)) {
        let row = stored::Row::of(message)?;
        let weight = count(message.weight());
        let stored::Row { role, status, text, rest } = &row;
        insert.execute(params![session, count(position), weight, role, status, text, rest])?;
        bytes += weight;
    }
    Ok(bytes)
}

/// Marks that end before `unchanged` are as they were, but those in front may be no more. Those
/// that share their end with the first are written anew, since the ones before it may be gone.
fn save_marks(
    db: &Connection,
    session: i64,
    record: &Record,
    unchanged: u64,
) -> Result<(), Trouble> {
    let first = record.marks.first().map_or(u64::MAX, |mark| mark.end);
    let mut delete = db.prepare_cached(
        r#"DELETE FROM marks WHERE session = ?1 AND ("end" >= ?2 OR "end" <= ?3)"#,
    )?;
    delete.execute(params![session, count(unchanged), count(first)])?;
    let mut insert = db.prepare_cached(
        r#"INSERT INTO marks (session, "end", place, turn, is_answered)
            VALUES (?1, ?2, ?3, ?4, ?5)"#,
    )?;
    let mut place = 0;
    let mut end_before = None;
    for Mark { turn, end, is_answered } in &record.marks {
        place = if end_before == Some(*end) { place + 1 } else { 0 };
        end_before = Some(*end);
        if *end >= unchanged || *end <= first {
            insert.execute(params![session, count(*end), place, turn.as_str(), is_answered])?;
        }
    }
    Ok(())
}

/// Whether there is a session of this name.
pub(super) fn is_there(db: &Connection, key: &SessionKey) -> Result<bool, Trouble> {
    Ok(standing(db, key)?.is_some())
}

/// Forgets a session and its turns.
pub(super) fn remove(db: &Connection, key: &SessionKey) -> Result<bool, Trouble> {
    let key = params![key.tenant.as_str(), key.id.as_str()];
    db.prepare_cached("DELETE FROM turns WHERE tenant = ?1 AND session = ?2")?.execute(key)?;
    let mut delete = db.prepare_cached("DELETE FROM sessions WHERE tenant = ?1 AND id = ?2")?;
    Ok(delete.execute(key)? > 0)
}

/// Takes the first of these digests from the session that has it; of several sessions, from the
/// one that was active last.
pub(super) fn claim(
    db: &Connection,
    heads: &[[u8; 32]],
) -> Result<Option<([u8; 32], SessionKey)>, Trouble> {
    let mut select = db.prepare_cached(
        "SELECT number, tenant, id FROM sessions WHERE head = ?1 AND head IS NOT NULL
            ORDER BY last_active DESC LIMIT 1",
    )?;
    for head in heads {
        let mut rows = select.query([head.as_slice()])?;
        let Some(row) = rows.next()? else { continue };
        let number: i64 = row.get("number")?;
        let key = key_at(row)?;
        db.prepare_cached("UPDATE sessions SET head = NULL WHERE number = ?1")?
            .execute([number])?;
        return Ok(Some((*head, key)));
    }
    Ok(None)
}

/// Whether any of these digests is a session's head.
pub(super) fn has_any(db: &Connection, heads: &[[u8; 32]]) -> Result<bool, Trouble> {
    let mut select =
        db.prepare_cached("SELECT 1 FROM sessions WHERE head = ?1 AND head IS NOT NULL LIMIT 1")?;
    for head in heads {
        if select.exists([head.as_slice()])? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whose session a row is about, and which.
pub(super) fn key_at(row: &Row<'_>) -> Result<SessionKey, Trouble> {
    Ok(SessionKey { tenant: id_at(row, "tenant")?, id: id_at(row, "id")? })
}

/// The upstream session in a row.
pub(super) fn upstream_at(row: &Row<'_>) -> Result<Option<UpstreamBinding>, Trouble> {
    let document: Option<String> = row.get("upstream")?;
    Ok(document.as_deref().map(read_upstream).transpose()?)
}

/// The notes in a row.
pub(super) fn metadata_at(row: &Row<'_>) -> Result<BTreeMap<String, String>, Trouble> {
    let Some(json) = row.get::<_, Option<String>>("metadata")? else { return Ok(BTreeMap::new()) };
    // What is wrong is not quoted: it holds what clients noted.
    serde_json::from_str(&json).map_err(|_| damaged("metadata", "it is no object of strings"))
}

/// A session, whole. To be asked within a transaction, so that its parts fit together.
pub(super) fn load(db: &Connection, key: &SessionKey) -> Result<Option<Record>, Trouble> {
    let mut select = db.prepare_cached("SELECT * FROM sessions WHERE tenant = ?1 AND id = ?2")?;
    let mut rows = select.query(params![key.tenant.as_str(), key.id.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let number: i64 = row.get("number")?;
    let moved = match (maybe_id_at(row, "moved_from")?, maybe_id_at(row, "moved_to")?) {
        (Some(from), Some(to)) => Some(Moved { from, to }),
        _ => None,
    };
    let system: Option<String> = row.get("system")?;
    let system = system.as_deref().map(read_messages).transpose()?.unwrap_or_default();
    let dropped = count_at(row, "dropped")?;
    let record = Record {
        key: key.clone(),
        model: id_at(row, "model")?,
        asked: maybe_id_at(row, "asked")?,
        moved,
        created_at: moment_at(row, "created_at")?,
        last_active: moment_at(row, "last_active")?,
        turns: count_at(row, "turns")?,
        messages: messages(db, number, dropped)?,
        dropped,
        marks: marks(db, number)?,
        system: system.into(),
        metadata: metadata_at(row)?,
        head: digest_at(row, "head")?,
        upstream: upstream_at(row)?,
        branches: row.get("branches")?,
    };
    if record.end() != count_at(row, "end")? {
        return Err(damaged("a session", "messages of it are missing"));
    }
    Ok(Some(record))
}

fn messages(db: &Connection, session: i64, first: u64) -> Result<Vec<Arc<Message>>, Trouble> {
    let mut select = db.prepare_cached(
        "SELECT position, role, status, text, rest FROM messages WHERE session = ?1
            ORDER BY position",
    )?;
    let mut rows = select.query([session])?;
    let mut messages = Vec::new();
    while let Some(row) = rows.next()? {
        if count_at(row, "position")? != first + messages.len() as u64 {
            return Err(damaged("a session", "messages of it are missing"));
        }
        let text = |column: &'static str| {
            row.get_ref(column)?.as_str().map_err(|error| damaged(column, error))
        };
        let maybe_text = |column: &'static str| {
            row.get_ref(column)?.as_str_or_null().map_err(|error| damaged(column, error))
        };
        let laid_out = stored::Row {
            role: text("role")?.into(),
            status: text("status")?.into(),
            text: maybe_text("text")?.map(Into::into),
            rest: maybe_text("rest")?.map(Into::into),
        };
        messages.push(Arc::new(laid_out.into_message()?));
    }
    messages.shrink_to_fit();
    Ok(messages)
}

fn marks(db: &Connection, session: i64) -> Result<Vec<Mark>, Trouble> {
    let mut select = db.prepare_cached(
        r#"SELECT turn, "end", is_answered FROM marks WHERE session = ?1
            ORDER BY "end", place"#,
    )?;
    let mut rows = select.query([session])?;
    let mut marks = Vec::new();
    while let Some(row) = rows.next()? {
        marks.push(Mark {
            turn: id_at(row, "turn")?,
            end: count_at(row, "end")?,
            is_answered: row.get("is_answered")?,
        });
    }
    Ok(marks)
}
