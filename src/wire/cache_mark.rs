//! Where a client wants a model to keep its prompt: `cache_control` of Anthropic's dialect, which
//! gateways take in OpenAI's too, and `cachePoint` of Converse.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Unexpected, Visitor};

use crate::turn::CacheLife;

/// A mark as sent: `{"type": …, "ttl": …}`. There is one type only, so it is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CacheMark(pub(super) CacheLife);

impl<'de> Deserialize<'de> for CacheMark {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_map(MarkVisitor)
    }
}

struct MarkVisitor;

impl<'de> Visitor<'de> for MarkVisitor {
    type Value = CacheMark;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with a type, and a ttl of 5m or 1h or none")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<CacheMark, A::Error> {
        let mut ttl = None::<String>;
        while let Some(name) = members.next_key::<String>()? {
            if name == "ttl" {
                ttl = members.next_value()?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        let Some(ttl) = ttl else { return Ok(CacheMark(CacheLife::default())) };
        let known = CacheLife::NAMES.iter().find(|(name, _)| *name == ttl);
        let life = known.map(|(_, life)| CacheMark(*life));
        life.ok_or_else(|| A::Error::invalid_value(Unexpected::Str(&ttl), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_lives_five_minutes_unless_it_says_an_hour() {
        let read = |json| serde_json::from_str::<CacheMark>(json).ok().map(|mark| mark.0);
        assert_eq!(read(r#"{"type":"ephemeral"}"#), Some(CacheLife::FiveMinutes));
        assert_eq!(read(r#"{"type":"default","ttl":"5m"}"#), Some(CacheLife::FiveMinutes));
        assert_eq!(read(r#"{"ttl":"1h","type":"ephemeral"}"#), Some(CacheLife::Hour));
        assert_eq!(read(r#"{"type":"ephemeral","ttl":null}"#), Some(CacheLife::FiveMinutes));
        assert_eq!(read(r#"{"type":"ephemeral","ttl":"2h"}"#), None);
        assert_eq!(read(r#""ephemeral""#), None);
    }
}
