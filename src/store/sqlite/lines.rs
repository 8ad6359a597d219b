//! Sessions out of a file and into one, as lines of JSON.

use std::io::{BufRead, Read as _, Write};
use std::path::Path;
use std::time::SystemTime;

use rusqlite::{Connection, params};

use crate::config::Synchronous;
use crate::store::stored::{read_line, write_line};
use crate::store::{Record, Save, StoreError};
use crate::turn::{SessionKey, TenantId};

use super::trouble::Trouble;
use super::writer::alone;
use super::{at_one_moment, file, recovery, sessions};

/// Sessions whose names are fetched at once.
const PAGE: i64 = 500;
/// Lines in one transaction.
const LINES_AT_ONCE: usize = 500;
/// A line may be so long: far more than a session may hold.
const LONGEST_LINE: u64 = 256 << 20;

/// How far it has come, for whoever waits.
#[derive(Debug)]
pub enum Step<'a> {
    /// So many sessions are done.
    Done(u64),
    /// A session or a line was left out, and why.
    LeftOut(&'a str),
}

/// Writes the sessions of a file, everybody's or one tenant's, each as a line; says how many, and
/// how many were left out since they cannot be read. Other programs may write meanwhile: each
/// session is as it is at one moment.
///
/// # Errors
/// When the file cannot be read or the lines cannot be written.
pub fn export(
    store: &Path,
    tenant: Option<&TenantId>,
    out: &mut dyn Write,
    step: &mut dyn FnMut(Step<'_>),
) -> Result<(u64, u64), StoreError> {
    let db = file::open_to_read(store)?;
    let (mut done, mut left_out) = (0, 0);
    let mut last: Option<SessionKey> = None;
    loop {
        let keys = keys_behind(&db, tenant, last.as_ref());
        let keys = keys.map_err(|trouble| file::at(store, trouble))?;
        for key in &keys {
            let found = at_one_moment(&db, |db| sessions::load(db, key)).map_err(StoreError::from);
            match found.and_then(|found| found.map(|found| write_line(&found)).transpose()) {
                // It ended meanwhile.
                Ok(None) => continue,
                Ok(Some(line)) => writeln!(out, "{line}").map_err(not_written)?,
                Err(StoreError(error)) => {
                    left_out += 1;
                    step(Step::LeftOut(&format!("{} of {}: {error}", key.id, key.tenant)));
                    continue;
                }
            }
            done += 1;
            step(Step::Done(done));
        }
        last = keys.into_iter().next_back();
        if last.is_none() {
            out.flush().map_err(not_written)?;
            return Ok((done, left_out));
        }
    }
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

/// What became of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// Sessions that are there now and were not before.
    pub new: u64,
    /// Sessions that stood there, and were replaced with all that belonged to them.
    pub replaced: u64,
    /// Sessions that stood there, and were left as they are.
    pub skipped: u64,
    /// Lines that are no sessions.
    pub bad: u64,
}

/// Puts sessions into a file that no broker has, from lines as [`export`] writes them. A line that
/// is no session is left out and told by its number; the others are taken.
///
/// # Errors
/// When a broker has the file, it cannot be written, or the lines cannot be read. What was said
/// to be done by then is in the file.
pub fn import(
    store: &Path,
    lines: &mut dyn BufRead,
    replaces: bool,
    step: &mut dyn FnMut(Step<'_>),
) -> Result<Imported, StoreError> {
    file::make_folder_of(store)?;
    let _lock = file::Lock::take(store)?;
    let mut db = file::open_to_write(store, Synchronous::Full)?;
    let recovered = recovery::recover(&mut db, SystemTime::now());
    recovered.map_err(|trouble| file::at(store, trouble))?;
    let mut imported = Imported::default();
    let mut number = 0;
    loop {
        let batch = read_lines(lines, number)?;
        if batch.is_empty() {
            return Ok(imported);
        }
        let took = take_batch(&mut db, &batch, (number, replaces), (&mut imported, step));
        took.map_err(|trouble| file::at(store, trouble))?;
        number += batch.len() as u64;
        step(Step::Done(imported.new + imported.replaced + imported.skipped));
    }
}

/// The next lines, as bytes; none at the end.
fn read_lines(lines: &mut dyn BufRead, before: u64) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut batch = Vec::new();
    while batch.len() < LINES_AT_ONCE {
        let mut line = Vec::new();
        let read = (&mut *lines).take(LONGEST_LINE + 1).read_until(b'\n', &mut line);
        let number = before + batch.len() as u64 + 1;
        let read =
            read.map_err(|error| StoreError(format!("line {number} cannot be read: {error}")))?;
        if read == 0 {
            break;
        }
        if line.len() as u64 > LONGEST_LINE {
            return Err(StoreError(format!("line {number} is longer than any session")));
        }
        batch.push(line);
    }
    Ok(batch)
}

fn take_batch(
    db: &mut Connection,
    batch: &[Vec<u8>],
    (before, replaces): (u64, bool),
    (imported, step): (&mut Imported, &mut dyn FnMut(Step<'_>)),
) -> Result<(), Trouble> {
    let transaction = db.transaction()?;
    let mut took = *imported;
    for (number, line) in (before + 1..).zip(batch) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let taken = alone(&transaction, |db| take_line(db, line, replaces, &mut took))?;
        if let Err(StoreError(error)) = taken {
            took.bad += 1;
            step(Step::LeftOut(&format!("line {number}: {error}")));
        }
    }
    transaction.commit()?;
    *imported = took;
    Ok(())
}

fn take_line(
    db: &Connection,
    line: &[u8],
    replaces: bool,
    took: &mut Imported,
) -> Result<(), Trouble> {
    let line = std::str::from_utf8(line);
    let line = line.map_err(|_| StoreError("it is no text in UTF-8".to_owned()))?;
    let record = read_line(line.trim())?;
    check(&record)?;
    let is_there = sessions::is_there(db, &record.key)?;
    if is_there && !replaces {
        took.skipped += 1;
        return Ok(());
    }
    if is_there {
        sessions::remove(db, &record.key)?;
    }
    sessions::save(db, &Save { record: record.into(), unchanged: 0 }, 0)?;
    *(if is_there { &mut took.replaced } else { &mut took.new }) += 1;
    Ok(())
}

/// Whether the parts of a session fit together.
fn check(record: &Record) -> Result<(), StoreError> {
    let positions = record.dropped.checked_add(record.messages.len() as u64);
    let end = positions.filter(|end| i64::try_from(*end).is_ok());
    let ends = record.marks.iter().map(|mark| mark.end);
    let fits = end.is_some_and(|end| ends.clone().all(|mark| mark <= end)) && ends.is_sorted();
    if fits { Ok(()) } else { Err(StoreError("its marks do not fit its messages".to_owned())) }
}
