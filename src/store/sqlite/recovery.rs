//! What a crash left behind is brought in order before anybody reads it.
//!
//! A turn that did not end gets an end: a failure behind the events that were saved, and in the
//! session's transcript what it brought and as much of the answer as there is, as interrupted. So
//! no session is stuck, and nobody waits for a turn that will never go on.

use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::Connection;

use crate::store::{Mark, Record, Save, StoreError, StoredTurn, TurnRecord};
use crate::turn::{Failure, FailureKind, Fold, Message, Role, Status, TenantId, TurnEvent, TurnId};

use super::trouble::Trouble;
use super::{sessions, turns};

/// What is told to readers of a turn that was cut off so.
const CUT_OFF: &str = "the broker was restarted before the answer was complete";

/// Ends the turns that have no end; gives how many.
pub(super) fn recover(db: &mut Connection, now: SystemTime) -> Result<usize, Trouble> {
    let unended = turns::unended(db)?;
    for (tenant, turn) in &unended {
        let mut transaction = db.transaction()?;
        let savepoint = transaction.savepoint()?;
        match end_with_transcript(&savepoint, tenant, turn, now) {
            Ok(()) => savepoint.commit()?,
            Err(trouble) if trouble.is_of_the_file() => return Err(trouble),
            Err(trouble) => {
                let error = StoreError::from(trouble);
                tracing::warn!(%error, %turn, "of a turn that was cut off nothing can be kept");
                // Rolls back what was done of it.
                drop(savepoint);
                end(&transaction, tenant, turn, now)?;
            }
        }
        transaction.commit()?;
    }
    Ok(unended.len())
}

fn end(db: &Connection, tenant: &TenantId, turn: &TurnId, now: SystemTime) -> Result<(), Trouble> {
    let Some(standing) = turns::running(db, tenant, turn)? else { return Ok(()) };
    let failure = Failure { may_have_run: true, ..Failure::new(FailureKind::Internal, CUT_OFF) };
    turns::end(db, standing, &[TurnEvent::Failed(failure)], now)
}

fn end_with_transcript(
    db: &Connection,
    tenant: &TenantId,
    turn: &TurnId,
    now: SystemTime,
) -> Result<(), Trouble> {
    let Some(StoredTurn { record: turn_record, events, .. }) = turns::load(db, tenant, turn)?
    else {
        return Ok(());
    };
    let record = sessions::load(db, &turn_record.key)?;
    let record = record.unwrap_or_else(|| begun_by(&turn_record));
    let is_there = record.marks.iter().any(|mark| mark.turn == turn_record.turn);
    if !is_there {
        let unchanged = record.end();
        let record = Arc::new(cut_off(record, &turn_record, &events));
        sessions::save(db, &Save { record, unchanged }, unchanged)?;
    }
    end(db, tenant, turn, now)
}

/// A session that was to begin with this turn.
fn begun_by(turn: &TurnRecord) -> Record {
    Record {
        key: turn.key.clone(),
        model: turn.model.clone(),
        asked: None,
        moved: None,
        created_at: turn.created,
        last_active: turn.created,
        turns: 0,
        messages: Vec::new(),
        dropped: 0,
        marks: Vec::new(),
        system: Arc::default(),
        metadata: Default::default(),
        head: None,
        upstream: None,
        branches: 0,
    }
}

/// The session with a turn in it that did not come to its end.
fn cut_off(mut record: Record, turn: &TurnRecord, events: &[TurnEvent]) -> Record {
    let waits_still = record.upstream.as_ref().is_some_and(|bound| {
        let answers = |message: &Message| {
            message.role == Role::Tool
                && message.tool_call_id.as_ref().is_some_and(|id| {
                    bound.pending.as_ref().is_some_and(|pending| pending.call(id).is_some())
                })
        };
        bound.pending.is_some() && !turn.said.iter().any(|message| answers(message))
    });
    if !waits_still {
        // Nobody knows what it has taken in.
        record.upstream = None;
    }
    record.messages.extend(turn.said.iter().cloned());
    record.messages.push(Arc::new(answer_so_far(events)));
    let end = record.end();
    record.marks.push(Mark { turn: turn.turn.clone(), end, is_answered: true });
    record.turns += 1;
    record.last_active = record.last_active.max(turn.created);
    record.head = None;
    record
}

fn answer_so_far(events: &[TurnEvent]) -> Message {
    let mut fold = Fold::default();
    for event in events {
        // What cannot stand there was refused when it came, too.
        let _ = fold.push(event);
    }
    Message { status: Status::Interrupted, ..fold.into_message() }
}
