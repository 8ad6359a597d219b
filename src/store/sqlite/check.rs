//! Whether a file is in order.

use std::path::Path;

use rusqlite::Connection;

use crate::store::StoreError;
use crate::turn::{SessionKey, TenantId, TurnId};

use super::columns::{count_at, id_at};
use super::trouble::Trouble;
use super::{at_one_moment, export::Step, file, sessions, turns};

/// Problems that are listed; who has as many has enough.
const PROBLEMS: usize = 100;
/// Rows whose names are fetched at once.
const PAGE: i64 = 500;

/// What a file holds, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// The version of its tables.
    pub schema: usize,
    /// How many sessions there are.
    pub sessions: u64,
    /// How many messages they have.
    pub messages: u64,
    /// How many turns are kept.
    pub turns: u64,
    /// What all of it takes, roughly, without the file's own overhead.
    pub bytes: u64,
    /// What is wrong, at most a hundred things; nothing, if all is well.
    pub problems: Vec<String>,
}

/// Reads all of a file. Other programs may write meanwhile.
///
/// # Errors
/// When the file cannot be opened at all.
pub fn check(store: &Path, step: &mut dyn FnMut(Step<'_>)) -> Result<Checked, StoreError> {
    let db = file::open_to_read(store)?;
    let mut checked = Checked::default();
    let looked = look(&db, &mut checked, step);
    if let Err(trouble) = looked {
        let StoreError(text) = trouble.into();
        checked.problems.push(text);
    }
    checked.problems.truncate(PROBLEMS);
    Ok(checked)
}

fn look(
    db: &Connection,
    checked: &mut Checked,
    step: &mut dyn FnMut(Step<'_>),
) -> Result<(), Trouble> {
    checked.schema = file::version(db)?;
    checked.problems.extend(pages(db)?);
    let count = |sql: &str| db.query_row(sql, [], |row| count_at(row, "n"));
    checked.sessions = count("SELECT count(*) AS n FROM sessions")?;
    checked.messages = count("SELECT count(*) AS n FROM messages")?;
    checked.turns = count("SELECT count(*) AS n FROM turns")?;
    checked.bytes = count("SELECT coalesce(sum(bytes), 0) AS n FROM tenants")?;
    checked.problems.extend(miscounted(db)?);
    read_sessions(db, checked, step)?;
    read_turns(db, checked)
}

/// What SQLite finds.
fn pages(db: &Connection) -> Result<Vec<String>, Trouble> {
    let mut found = Vec::new();
    let mut integrity = db.prepare(&format!("PRAGMA integrity_check({PROBLEMS})"))?;
    let mut rows = integrity.query([])?;
    while let Some(row) = rows.next()? {
        let said: String = row.get(0)?;
        if said != "ok" {
            found.push(said);
        }
    }
    let mut references = db.prepare("PRAGMA foreign_key_check")?;
    let mut rows = references.query([])?;
    while let Some(row) = rows.next()? {
        let table: String = row.get(0)?;
        found.push(format!("a row of {table} belongs to nothing"));
    }
    Ok(found)
}

/// Tenants whose sessions and bytes are not what they are said to be.
fn miscounted(db: &Connection) -> Result<Vec<String>, Trouble> {
    let mut select = db.prepare(
        "WITH held (tenant, sessions, bytes) AS (
            SELECT tenant, sum(sessions), sum(bytes) FROM (
                SELECT tenant, count(*) AS sessions, sum(bytes) AS bytes FROM sessions
                    GROUP BY tenant
                UNION ALL
                SELECT tenant, 0, sum(bytes) FROM turns GROUP BY tenant
            ) GROUP BY tenant)
        SELECT tenant FROM (
            SELECT * FROM held EXCEPT SELECT * FROM tenants
            UNION
            SELECT * FROM (SELECT * FROM tenants EXCEPT SELECT * FROM held)
        ) GROUP BY tenant",
    )?;
    let mut rows = select.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let tenant: String = row.get(0)?;
        found.push(format!("the sessions of {tenant} are miscounted"));
    }
    Ok(found)
}

fn read_sessions(
    db: &Connection,
    checked: &mut Checked,
    step: &mut dyn FnMut(Step<'_>),
) -> Result<(), Trouble> {
    let mut select = db.prepare(
        "SELECT number, tenant, id FROM sessions WHERE number > ?1 ORDER BY number LIMIT ?2",
    )?;
    let (mut last, mut done) = (i64::MIN, 0);
    loop {
        let mut keys: Vec<SessionKey> = Vec::new();
        let mut rows = select.query([last, PAGE])?;
        while let Some(row) = rows.next()? {
            last = row.get("number")?;
            keys.push(sessions::key_at(row)?);
        }
        if keys.is_empty() {
            return Ok(());
        }
        for key in keys {
            if let Err(trouble) = at_one_moment(db, |db| sessions::load(db, &key)) {
                let StoreError(why) = trouble.into();
                problem(checked, format!("session {} of {}: {why}", key.id, key.tenant));
            }
            done += 1;
            step(Step::Done(done));
        }
    }
}

fn read_turns(db: &Connection, checked: &mut Checked) -> Result<(), Trouble> {
    let mut select = db.prepare(
        "SELECT number, tenant, id FROM turns WHERE number > ?1 ORDER BY number LIMIT ?2",
    )?;
    let mut last = i64::MIN;
    loop {
        let mut names: Vec<(TenantId, TurnId)> = Vec::new();
        let mut rows = select.query([last, PAGE])?;
        while let Some(row) = rows.next()? {
            last = row.get("number")?;
            names.push((id_at(row, "tenant")?, id_at(row, "id")?));
        }
        if names.is_empty() {
            return Ok(());
        }
        for (tenant, turn) in names {
            if let Err(trouble) = at_one_moment(db, |db| turns::load(db, &tenant, &turn)) {
                let StoreError(why) = trouble.into();
                problem(checked, format!("turn {turn} of {tenant}: {why}"));
            }
        }
    }
}

fn problem(checked: &mut Checked, what: String) {
    if checked.problems.len() < PROBLEMS {
        checked.problems.push(what);
    }
}
