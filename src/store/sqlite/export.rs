//! Sessions out of a file, with their turns, as lines of JSON.

use std::io::Write;
use std::path::Path;

use rusqlite::{Connection, params};

use crate::store::stored::{write_session_line, write_turn_line};
use crate::store::{Record, StoreError};
use crate::turn::{SessionKey, TenantId, TurnId};

use super::trouble::Trouble;
use super::{at_one_moment, file, sessions, turns};

/// Sessions whose names are fetched at once.
const PAGE: i64 = 500;

/// How far it has come, for whoever waits.
#[derive(Debug)]
pub enum Step<'a> {
    /// So many sessions are done.
    Done(u64),
    /// A session, a turn or a line was left out, and why.
    LeftOut(&'a str),
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exported {
    /// Sessions.
    pub sessions: u64,
    /// Turns of these that have ended.
    pub turns: u64,
    /// Sessions and turns that cannot be read.
    pub left_out: u64,
}

/// Writes the sessions of a file, everybody's or one tenant's, each as a line, and behind it its
/// turns that have ended, each as a line. Other programs may write meanwhile: each session is as
/// it is at one moment, and its turns are those of that moment.
///
/// # Errors
/// When the file cannot be read or the lines cannot be written.
pub fn export(
    store: &Path,
    tenant: Option<&TenantId>,
    out: &mut dyn Write,
    step: &mut dyn FnMut(Step<'_>),
) -> Result<Exported, StoreError> {
    let db = file::open_to_read(store)?;
    let mut export = Export { db: &db, out, step, exported: Exported::default() };
    let mut last: Option<SessionKey> = None;
    loop {
        let keys = keys_behind(&db, tenant, last.as_ref());
        let keys = keys.map_err(|trouble| file::at(store, trouble))?;
        for key in &keys {
            export.session(key)?;
        }
        last = keys.into_iter().next_back();
        if last.is_none() {
            export.out.flush().map_err(not_written)?;
            return Ok(export.exported);
        }
    }
}

struct Export<'a> {
    db: &'a Connection,
    out: &'a mut dyn Write,
    step: &'a mut dyn FnMut(Step<'_>),
    exported: Exported,
}

impl Export<'_> {
    /// Fails only when nothing can be written any more.
    fn session(&mut self, key: &SessionKey) -> Result<(), StoreError> {
        let found = at_one_moment(self.db, |db| session_at(db, key)).map_err(StoreError::from);
        let line = found.and_then(|found| {
            found.map(|(record, turns)| Ok((write_session_line(&record)?, turns))).transpose()
        });
        let (line, turns) = match line {
            Ok(Some(found)) => found,
            // It ended meanwhile.
            Ok(None) => return Ok(()),
            Err(error) => {
                self.leave_out(&format!("{} of {}", key.id, key.tenant), error);
                return Ok(());
            }
        };
        self.write(&line)?;
        for turn in turns {
            self.turn(key, &turn)?;
        }
        self.exported.sessions += 1;
        (self.step)(Step::Done(self.exported.sessions));
        Ok(())
    }

    /// A turn that has ended changes no more, but may have been forgotten meanwhile.
    fn turn(&mut self, key: &SessionKey, turn: &TurnId) -> Result<(), StoreError> {
        let found = at_one_moment(self.db, |db| turns::load(db, &key.tenant, turn));
        let found = found.map_err(StoreError::from);
        let line = found.and_then(|found| match found {
            Some(found) => write_turn_line(&found),
            None => Ok(None),
        });
        match line {
            Ok(Some(line)) => {
                self.write(&line)?;
                self.exported.turns += 1;
            }
            Ok(None) => {}
            Err(error) => self.leave_out(&format!("{turn} of {}", key.tenant), error),
        }
        Ok(())
    }

    fn write(&mut self, line: &str) -> Result<(), StoreError> {
        writeln!(self.out, "{line}").map_err(not_written)
    }

    fn leave_out(&mut self, what: &str, StoreError(error): StoreError) {
        self.exported.left_out += 1;
        (self.step)(Step::LeftOut(&format!("{what}: {error}")));
    }
}

/// A session, and which of its turns have ended.
fn session_at(db: &Connection, key: &SessionKey) -> Result<Option<(Record, Vec<TurnId>)>, Trouble> {
    let Some(record) = sessions::load(db, key)? else { return Ok(None) };
    Ok(Some((record, turns::ended_of(db, key)?)))
}

fn not_written(error: std::io::Error) -> StoreError {
    StoreError(format!("the lines cannot be written: {error}"))
}

/// The next sessions, by tenant and id.
fn keys_behind(
    db: &Connection,
    tenant: Option<&TenantId>,
    last: Option<&SessionKey>,
) -> Result<Vec<SessionKey>, Trouble> {
    let mut select = db.prepare_cached(
        "SELECT tenant, id FROM sessions
            WHERE (tenant, id) > (?1, ?2) AND (?3 IS NULL OR tenant = ?3)
            ORDER BY tenant, id LIMIT ?4",
    )?;
    let tenant = tenant.map(TenantId::as_str);
    let (after, id) = match last {
        Some(last) => (last.tenant.as_str(), last.id.as_str()),
        // No id is empty, so nothing of the tenant stands before.
        None => (tenant.unwrap_or(""), ""),
    };
    let mut rows = select.query(params![after, id, tenant, PAGE])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        keys.push(sessions::key_at(row)?);
    }
    Ok(keys)
}
