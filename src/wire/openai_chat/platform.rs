//! What voice platforms send beside the chat request.
//!
//! With `metadataSendMode: destructured` Vapi spreads the members of an assistant's metadata over
//! the body, where one may take the place of a member of OpenAI's and be of any type. A caller is
//! on the line: so a request that brings a `call` is read without the members that are strange,
//! as long as it can be answered without them.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::turn::Failure;
use crate::wire::sieve::Sieved;
use crate::wire::{Asked, body};

/// Members without which the answer would be another one.
const NEEDED: &[&str] = &[
    "call",
    "function_call",
    "functions",
    "messages",
    "response_format",
    "stream",
    "tool_choice",
    "tools",
];
/// Strange members that are left out of one request: each has the body read again.
const MOST: usize = 8;

/// What platforms add: of the many members, those that name the conversation. A platform may send
/// any shape, so what does not fit counts as absent.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Platform {
    pub(super) id: Option<Id>,
    pub(super) session_id: Option<Id>,
    pub(super) conversation_id: Option<Id>,
}

impl Platform {
    pub(super) fn read(raw: Option<&RawValue>) -> Self {
        raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }
}

/// An id as a platform spells it: a text or a whole number; nothing where it is anything else.
#[derive(Debug, Default)]
pub(super) struct Id(Option<String>);

impl Id {
    pub(super) fn text(id: Option<&Self>) -> Option<&String> {
        id.and_then(|id| id.0.as_ref()).filter(|text| !text.is_empty())
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(IdVisitor)
    }
}

struct IdVisitor;

impl<'de> Visitor<'de> for IdVisitor {
    type Value = Id;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an id")
    }

    fn visit_str<E: Error>(self, id: &str) -> Result<Id, E> {
        Ok(Id(Some(id.to_owned())))
    }

    fn visit_u64<E: Error>(self, id: u64) -> Result<Id, E> {
        Ok(Id(Some(id.to_string())))
    }

    fn visit_i64<E: Error>(self, _id: i64) -> Result<Id, E> {
        Ok(Id(None))
    }

    fn visit_f64<E: Error>(self, _id: f64) -> Result<Id, E> {
        Ok(Id(None))
    }

    fn visit_bool<E: Error>(self, _id: bool) -> Result<Id, E> {
        Ok(Id(None))
    }

    fn visit_unit<E: Error>(self) -> Result<Id, E> {
        Ok(Id(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Id, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Id(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Id, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Id(None))
    }
}

/// A body of which every member stands as it came.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Nothing {}

/// Reads a request again that was refused, without the members at fault, if a platform sent it.
///
/// # Errors
/// The first failure that no leaving out helps against.
pub(super) fn read_without_strange_members(
    sent: &[u8],
    mut failure: Failure,
    read: impl Fn(&[u8]) -> Result<Asked, Failure>,
) -> Result<Asked, Failure> {
    let Ok(Sieved { known: Nothing {}, rest: mut members }) =
        body::read::<Sieved<'_, Nothing>>(sent)
    else {
        return Err(failure);
    };
    let has_call = |(name, raw): &(String, &RawValue)| name == "call" && raw.get().starts_with('{');
    if !members.iter().any(has_call) {
        return Err(failure);
    }
    for _ in 0..MOST {
        let param = failure.param.as_deref().unwrap_or_default();
        let strange = param.split(['.', '[']).next().unwrap_or_default();
        let place = members.iter().position(|(name, _)| name == strange);
        let Some(place) = place.filter(|_| !NEEDED.contains(&strange)) else { break };
        members.remove(place);
        match read(&object(&members)) {
            Ok(asked) => return Ok(asked),
            Err(other) => failure = other,
        }
    }
    Err(failure)
}

fn object(members: &[(String, &RawValue)]) -> Vec<u8> {
    let mut text = b"{".to_vec();
    for (place, (name, value)) in members.iter().enumerate() {
        if place > 0 {
            text.push(b',');
        }
        text.extend(serde_json::Value::from(name.as_str()).to_string().into_bytes());
        text.push(b':');
        text.extend(value.get().as_bytes());
    }
    text.push(b'}');
    text
}
