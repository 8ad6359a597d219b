//! The conversation that a request to OpenAI names: `conversation`, an id or an object with one.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// The id; none where the object has none.
#[derive(Debug)]
pub(super) struct Conversation(pub(super) Option<String>);

impl<'de> Deserialize<'de> for Conversation {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(ConversationVisitor)
    }
}

struct ConversationVisitor;

impl<'de> Visitor<'de> for ConversationVisitor {
    type Value = Conversation;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string or an object with an id")
    }

    fn visit_str<E>(self, id: &str) -> Result<Conversation, E> {
        Ok(Conversation(Some(id.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Conversation, A::Error> {
        let mut id = None;
        while let Some(name) = members.next_key::<String>()? {
            if name == "id" {
                id = members.next_value()?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Conversation(id))
    }
}
