//! Sessions as JSON.

use std::iter;

use serde_json::{Value, json};

use crate::edge::models::epoch_seconds;
use crate::session::{Listed, Snapshot};
use crate::store::{Record, Summary};
use crate::turn::{Message, ModelName, Part, TurnId};

/// A session without what was said in it; `tells_tenant` is for those who see more than their own.
pub(super) fn listed(listed: &Listed, tells_tenant: bool) -> Value {
    summary(&listed.summary, (listed.state.as_str(), listed.queued), tells_tenant)
}

/// A session with what was said in it.
pub(super) fn whole(snapshot: &Snapshot, tells_tenant: bool) -> Value {
    let Snapshot { record, state, running, queued } = snapshot;
    let mut session = summary(&record.summary(), (state.as_str(), *queued), tells_tenant);
    let turns = turns_of(record);
    let messages = record.messages.iter().zip(turns).map(|(held, turn)| message(held, turn));
    session["messages"] = messages.collect();
    if let Some(turn) = running {
        session["running_turn"] = turn.as_str().into();
    }
    session
}

fn summary(session: &Summary, (state, queued): (&str, usize), tells_tenant: bool) -> Value {
    let mut written = json!({
        "id": session.key.id.as_str(),
        "object": "session",
        "model": model(&session.model),
        "state": state,
        "created_at": epoch_seconds(session.created_at),
        "last_active_at": epoch_seconds(session.last_active),
        "turns": session.turns,
        "queued": queued,
        "metadata": session.metadata,
    });
    if tells_tenant {
        written["tenant"] = session.key.tenant.as_str().into();
    }
    if let Some(moved_to) = &session.moved_to {
        written["moved_to"] = moved_to.as_str().into();
    }
    if !session.open_calls.is_empty() {
        let calls = session.open_calls.iter().map(|(id, name)| json!({ "id": id, "name": name }));
        written["pending_tool_calls"] = calls.collect();
    }
    written
}

/// Nobody has answered yet in a session that was opened without a model.
fn model(name: &ModelName) -> Value {
    if *name == ModelName::none() { Value::Null } else { name.as_str().into() }
}

/// The turn that brought each of the messages, in their order; no more than there are messages.
fn turns_of(record: &Record) -> impl Iterator<Item = Option<&TurnId>> {
    let mut from = record.dropped;
    let of_marks = record.marks.iter().flat_map(move |mark| {
        let count = mark.end.saturating_sub(from);
        from = mark.end;
        iter::repeat_n(Some(&mark.turn), usize::try_from(count).unwrap_or(usize::MAX))
    });
    of_marks.chain(iter::repeat(None))
}

fn message(message: &Message, turn: Option<&TurnId>) -> Value {
    let has_attachments = message.parts.iter().any(|part| matches!(part, Part::Attachment { .. }));
    let content = if has_attachments {
        message.parts.iter().map(part).collect()
    } else {
        Value::from(message.plain_text())
    };
    let mut written = json!({
        "role": message.role.as_str(),
        "content": content,
        "status": message.status.as_str(),
        "turn": turn.map(TurnId::as_str),
    });
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(|call| {
            let function = json!({ "name": call.name, "arguments": call.arguments });
            json!({ "id": call.id, "type": "function", "function": function })
        });
        written["tool_calls"] = calls.collect();
    }
    if let Some(call) = &message.tool_call_id {
        written["tool_call_id"] = call.as_str().into();
    }
    written
}

fn part(part: &Part) -> Value {
    match part {
        Part::Text(text) => json!({ "type": "text", "text": text }),
        Part::Attachment { value, .. } => (**value).clone(),
    }
}
