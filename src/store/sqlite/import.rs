//! Sessions into a file, with their turns, from lines of JSON.

use std::io::{BufRead, Read as _};
use std::path::Path;
use std::time::SystemTime;

use rusqlite::Connection;

use crate::config::Synchronous;
use crate::store::stored::{Line, read_line};
use crate::store::{Record, Save, StoreError, StoredTurn};
use crate::turn::SessionKey;

use super::export::Step;
use super::trouble::Trouble;
use super::writer::alone;
use super::{file, recovery, sessions, turns};

/// Lines in one transaction.
const LINES_AT_ONCE: usize = 500;
/// Bytes in one transaction, but for its last line.
const BYTES_AT_ONCE: usize = 8 << 20;
/// A line may be so long: far more than a session or a turn may hold.
const LONGEST_LINE: u64 = 256 << 20;

/// What became of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// Sessions that are there now and were not before.
    pub new: u64,
    /// Sessions that stood there, and were replaced with all that belonged to them.
    pub replaced: u64,
    /// Sessions that stood there, and were left as they are.
    pub skipped: u64,
    /// Turns of the sessions that are there now.
    pub turns: u64,
    /// Lines that are neither sessions nor turns of them.
    pub bad: u64,
}

/// Puts sessions and their turns into a file that no broker has, from lines as
/// [`export`](super::export()) writes them. A turn goes the way of its session, which stands
/// before it. A line that is neither is left out and told by its number; the others are taken.
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
    let mut import = Import { replaces, above: None, imported: Imported::default() };
    let mut number = 0;
    loop {
        let batch = read_lines(lines, number)?;
        if batch.is_empty() {
            return Ok(import.imported);
        }
        let took = import.take_batch(&mut db, &batch, number, step);
        took.map_err(|trouble| file::at(store, trouble))?;
        number += batch.len() as u64;
        let Imported { new, replaced, skipped, .. } = import.imported;
        step(Step::Done(new + replaced + skipped));
    }
}

/// The next lines, as bytes; none at the end.
fn read_lines(lines: &mut dyn BufRead, before: u64) -> Result<Vec<Vec<u8>>, StoreError> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < LINES_AT_ONCE && bytes < BYTES_AT_ONCE {
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
        bytes += line.len();
        batch.push(line);
    }
    Ok(batch)
}

/// How far the lines have been taken.
struct Import {
    replaces: bool,
    /// The last session among the lines, and whether it was taken.
    above: Option<(SessionKey, bool)>,
    imported: Imported,
}

impl Import {
    fn take_batch(
        &mut self,
        db: &mut Connection,
        batch: &[Vec<u8>],
        before: u64,
        step: &mut dyn FnMut(Step<'_>),
    ) -> Result<(), Trouble> {
        let transaction = db.transaction()?;
        for (number, line) in (before + 1..).zip(batch) {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let taken = alone(&transaction, |db| self.take_line(db, line))?;
            if let Err(StoreError(error)) = taken {
                self.imported.bad += 1;
                step(Step::LeftOut(&format!("line {number}: {error}")));
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn take_line(&mut self, db: &Connection, line: &[u8]) -> Result<(), Trouble> {
        let line = std::str::from_utf8(line);
        let line = line.map_err(|_| StoreError("it is no text in UTF-8".to_owned()))?;
        match read_line(line.trim())? {
            Line::Session(record) => self.take_session(db, record),
            Line::Turn(turn) => self.take_turn(db, &turn),
        }
    }

    fn take_session(&mut self, db: &Connection, record: Box<Record>) -> Result<(), Trouble> {
        check_session(&record)?;
        let key = record.key.clone();
        let is_there = sessions::is_there(db, &key)?;
        if is_there && !self.replaces {
            self.imported.skipped += 1;
            self.above = Some((key, false));
            return Ok(());
        }
        if is_there {
            sessions::remove(db, &key)?;
        }
        sessions::save(db, &Save { record: record.into(), unchanged: 0 }, 0)?;
        let Imported { new, replaced, .. } = &mut self.imported;
        *(if is_there { replaced } else { new }) += 1;
        self.above = Some((key, true));
        Ok(())
    }

    fn take_turn(&mut self, db: &Connection, turn: &StoredTurn) -> Result<(), Trouble> {
        let of_above = self.above.as_ref().filter(|(key, _)| *key == turn.record.key);
        let Some((_, is_taken)) = of_above else {
            let what = "it is a turn, and does not stand behind its session";
            return Err(StoreError(what.to_owned()).into());
        };
        if !is_taken {
            return Ok(());
        }
        check_turn(turn)?;
        turns::insert(db, turn)?;
        self.imported.turns += 1;
        Ok(())
    }
}

/// Whether the parts of a session fit together.
fn check_session(record: &Record) -> Result<(), StoreError> {
    let positions = record.dropped.checked_add(record.messages.len() as u64);
    let end = positions.filter(|end| i64::try_from(*end).is_ok());
    let ends = record.marks.iter().map(|mark| mark.end);
    let fits = end.is_some_and(|end| ends.clone().all(|mark| mark <= end)) && ends.is_sorted();
    if fits { Ok(()) } else { Err(StoreError("its marks do not fit its messages".to_owned())) }
}

/// Whether a turn's events are those of one that has ended.
fn check_turn(turn: &StoredTurn) -> Result<(), StoreError> {
    let ends = turn.events.split_last().is_some_and(|(last, before)| {
        last.is_last() && !before.iter().any(|event| event.is_last())
    });
    if ends {
        Ok(())
    } else {
        Err(StoreError("its events are not those of a whole turn".to_owned()))
    }
}
