//! Conversations and lists of items, as OpenAI's APIs write and read them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::turn::{Failure, ItemId, ItemReference, Message, SessionId, TurnRequest};
use crate::wire::agent_fields;
use crate::wire::body::{self, wrong};
use crate::wire::bounded::{Allowance, AtMost};

use super::input::{Gathered, Gathering, NO_ITEM};
use super::seconds;

/// Items that may be put into a conversation at once.
const MAX_ITEMS: usize = 20;
/// Items on a page: where nobody says how many, and at most.
const USUAL_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

/// A conversation.
#[must_use]
pub fn conversation(
    id: &SessionId,
    created_at: SystemTime,
    metadata: &BTreeMap<String, String>,
) -> Value {
    json!({
        "id": id.as_str(),
        "object": "conversation",
        "created_at": seconds(created_at),
        "metadata": metadata,
    })
}

/// What is said of a conversation that was deleted.
#[must_use]
pub fn deleted_conversation(id: &SessionId) -> Value {
    json!({ "id": id.as_str(), "object": "conversation.deleted", "deleted": true })
}

/// Which items of a list are wanted, as the query says it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// `limit`: 1 to 100; 20 where it is not said.
    pub limit: Option<&'a str>,
    /// `order`: `asc`, or `desc` as where it is not said.
    pub order: Option<&'a str>,
    /// `after`: the id of the item before the first one that is wanted, in that order.
    pub after: Option<&'a str>,
}

/// A page of a list. `items` are all of it, the oldest first.
///
/// # Errors
/// [`FailureKind::BadRequest`](crate::turn::FailureKind) at the parameter at fault: an `after`
/// that is none of the items among them.
pub fn page(items: &[(ItemId, Value)], wanted: Wanted<'_>) -> Result<Value, Failure> {
    let limit = match wanted.limit {
        None => USUAL_LIMIT,
        Some(limit) => {
            let limit = limit.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
            limit.ok_or_else(|| wrong("limit", &format!("must be 1 to {MAX_LIMIT}")))?
        }
    };
    let mut ordered: Vec<&(ItemId, Value)> = items.iter().collect();
    match wanted.order {
        Some("asc") => {}
        None | Some("desc") => ordered.reverse(),
        Some(_) => return Err(wrong("order", "must be asc or desc")),
    }
    let from = match wanted.after {
        None => 0,
        Some(after) => {
            let after = ItemId::parse(after);
            let place = ordered.iter().position(|(id, _)| Some(id) == after.as_ref());
            place.ok_or_else(|| wrong("after", "names no item of this list"))? + 1
        }
    };
    let rest = &ordered[from..];
    let shown = &rest[..rest.len().min(limit)];
    // The schema has no place for none, so the ids of an empty page are empty.
    let id =
        |item: Option<&&(ItemId, Value)>| item.map(|(id, _)| id.to_string()).unwrap_or_default();
    Ok(json!({
        "object": "list",
        "data": shown.iter().map(|(_, item)| item).collect::<Vec<_>>(),
        "first_id": id(shown.first()),
        "last_id": id(shown.last()),
        "has_more": rest.len() > shown.len(),
    }))
}

/// What a client puts into a conversation.
#[derive(Debug, Default)]
pub struct Brought {
    /// `items`, as messages; empty where there are none.
    pub messages: Vec<Message>,
    /// `metadata`, where it is said.
    pub metadata: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Body<'a> {
    #[serde(borrow)]
    items: Option<AtMost<&'a RawValue, MAX_ITEMS>>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

/// Reads the body of a request that makes or changes a conversation, or puts items into one:
/// up to 20 of them. An empty body is one that says nothing.
///
/// # Errors
/// [`FailureKind::BadRequest`](crate::turn::FailureKind) at the member at fault,
/// [`FailureKind::UnsupportedParameter`](crate::turn::FailureKind) for items of tools that nobody
/// here runs.
pub fn read_items(sent: &[u8]) -> Result<Brought, Failure> {
    if sent.trim_ascii().is_empty() {
        return Ok(Brought::default());
    }
    let Body { items, metadata } = body::read(sent)?;
    let metadata = metadata.map(agent_fields::metadata).transpose()?;
    let mut allowance = Allowance::default();
    let mut gathering = Gathering::within(&mut allowance);
    for (index, item) in items.into_iter().flat_map(|items| items.0).enumerate() {
        gathering.take(item, &format!("items[{index}]"))?;
    }
    let Gathered { messages, references } = gathering.finish();
    match references.first() {
        Some(ItemReference { named_at, .. }) => {
            Err(wrong(named_at.as_str(), "cannot name another item here; send the item itself"))
        }
        None => Ok(Brought { messages, metadata }),
    }
}

/// Puts the items that a request names among its messages, where they belong; `found` has an
/// item as it is listed. Items in a row that are of one answer become one message again.
///
/// # Errors
/// [`FailureKind::BadRequest`](crate::turn::FailureKind) where an item is not found.
pub fn put_references(
    request: &mut TurnRequest,
    found: impl Fn(&ItemId) -> Option<Value>,
) -> Result<(), Failure> {
    let references = std::mem::take(&mut request.references);
    // From the end, so that the places before it stay as they are.
    for row in references.chunk_by(|one, next| one.before == next.before).rev() {
        let mut allowance = Allowance::default();
        let mut gathering = Gathering::within(&mut allowance);
        for reference in row {
            let ItemReference { item, named_at, .. } = reference;
            let raw = found(item).and_then(|item| to_raw_value(&item).ok());
            let raw = raw.ok_or_else(|| wrong(named_at.as_str(), NO_ITEM))?;
            gathering.take(&raw, named_at)?;
        }
        let before = row[0].before.min(request.messages.len());
        request.messages.splice(before..before, gathering.finish().messages);
    }
    Ok(())
}
