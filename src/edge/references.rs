//! Items that a request names instead of sending them (`item_reference`), looked up where they
//! are kept: in the turns that brought them, or in the session that the request goes on in.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::session::Sessions;
use crate::store::{Mark, Record, StoredTurn, TurnRecord};
use crate::turn::{
    Failure, FailureKind, ItemId, Message, SessionKey, TenantId, TurnId, TurnRequest,
};
use crate::wire::openai_responses::{self, input_items, items_of, output_items};

/// Turns that the items of one request may be of.
const MAX_TURNS: usize = 100;

/// Puts the items that a request names among its messages.
///
/// # Errors
/// `BadRequest` at the first reference that names nothing which is kept, or where they are of too
/// many turns; what the store says.
pub(super) async fn resolve(
    sessions: &Sessions,
    tenant: &TenantId,
    request: &mut TurnRequest,
) -> Result<(), Failure> {
    let mut found: HashMap<ItemId, Value> = HashMap::new();
    let mut turns: Vec<TurnId> = Vec::new();
    for reference in &request.references {
        let turn = &reference.item.turn;
        if turns.contains(turn) {
            continue;
        }
        turns.push(turn.clone());
        if turns.len() > MAX_TURNS {
            let message = format!("items of more than {MAX_TURNS} responses are named; send them");
            return Err(Failure::bad_field(reference.named_at.clone(), message));
        }
        let items = items_brought_by(sessions, (tenant, request), turn).await?;
        let named = |item: &ItemId| request.references.iter().any(|it| it.item == *item);
        found.extend(items.into_iter().filter(|(item, _)| named(item)));
        if !found.contains_key(&reference.item) {
            break;
        }
    }
    openai_responses::put_references(request, |item| found.get(item).cloned())
}

/// Every item that a turn brought: of the turn where that is kept, else of the session.
async fn items_brought_by(
    sessions: &Sessions,
    (tenant, request): (&TenantId, &TurnRequest),
    turn: &TurnId,
) -> Result<Vec<(ItemId, Value)>, Failure> {
    match sessions.turn(tenant, turn).await {
        Ok(stored) => return Ok(items_of_turn(&stored)),
        Err(failure) if failure.kind == FailureKind::ResponseNotFound => {}
        Err(failure) => return Err(failure),
    }
    let Some(id) = request.hints.named.clone() else { return Ok(Vec::new()) };
    match sessions.read(&SessionKey { tenant: tenant.clone(), id }).await {
        Ok(snapshot) => Ok(items_of_session(&snapshot.record, Some(turn))),
        Err(failure) if failure.kind == FailureKind::SessionNotFound => Ok(Vec::new()),
        Err(failure) => Err(failure),
    }
}

fn items_of_turn(stored: &StoredTurn) -> Vec<(ItemId, Value)> {
    let record = &stored.record;
    let mut items = input_items(&record.turn, &record.said);
    if stored.ended.is_some() {
        items.extend(output_items(&record.turn, record.echo.as_deref(), &stored.events));
    }
    items
}

/// The items of what a session holds, the oldest first: of one turn, or of all.
pub(super) fn items_of_session(record: &Record, only: Option<&TurnId>) -> Vec<(ItemId, Value)> {
    let wanted = brought(record).filter(|(mark, _)| only.is_none_or(|only| *only == mark.turn));
    wanted.flat_map(|(mark, brought)| items_of(&mark.turn, brought, mark.is_answered)).collect()
}

/// The items that a session held before one of its turns, the oldest first. Of a turn that left
/// nothing there it is known only what it went on from, or while it runs.
pub(super) fn items_before(
    session: &Record,
    turn: &TurnRecord,
    is_running: bool,
) -> Vec<(ItemId, Value)> {
    let place = |turn: &TurnId| session.marks.iter().position(|mark| mark.turn == *turn);
    let count = match (place(&turn.turn), &turn.previous) {
        (Some(own), _) => own,
        (None, _) if is_running => session.marks.len(),
        (None, Some(previous)) => place(previous).map_or(0, |previous| previous + 1),
        (None, None) => 0,
    };
    let before = brought(session).take(count);
    before.flat_map(|(mark, brought)| items_of(&mark.turn, brought, mark.is_answered)).collect()
}

/// What each turn brought to a session, in order.
pub(super) fn brought(record: &Record) -> impl Iterator<Item = (&Mark, &[Arc<Message>])> {
    let mut from = 0;
    record.marks.iter().map(move |mark| {
        let end = usize::try_from(mark.end.saturating_sub(record.dropped)).unwrap_or(usize::MAX);
        let end = end.clamp(from, record.messages.len());
        let brought = &record.messages[from..end];
        from = end;
        (mark, brought)
    })
}
