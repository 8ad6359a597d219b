//! One member of a JSON object, found without reading the rest.

use std::fmt;

use memchr::memmem;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::body;

/// Whether a body is an object with this member, and more than `null` in it. The body is parsed
/// only where the name occurs in it.
pub(super) fn has(body: &[u8], name: &str) -> bool {
    let found = || member(body::text(body).ok()?, name);
    may_hold(body, name) && found().is_some_and(|value| value != "null")
}

/// Whether a name occurs in a body as a quoted string.
pub(super) fn may_hold(body: &[u8], name: &str) -> bool {
    let quoted = format!("\"{name}\"");
    memmem::find(body, quoted.as_bytes()).is_some()
}

/// The text of an object's member; none where the text is no object.
pub(super) fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let mut source = serde_json::Deserializer::from_str(object);
    source.deserialize_map(Member(name)).ok()?
}

struct Member<'n>(&'n str);

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_wanted) = members.next_key_seed(NameIs(self.0))? {
            if is_wanted {
                found = Some(members.next_value::<&RawValue>()?.get());
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Reads a member's name as whether it is this one.
struct NameIs<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for NameIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<bool, D::Error> {
        source.deserialize_str(self)
    }
}

impl Visitor<'_> for NameIs<'_> {
    type Value = bool;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_counts_at_the_top_level_only_and_with_a_value() {
        let cases = [
            (r#"{"a":1}"#, true),
            ("\u{feff}{\"b\":{\"a\":2},\"a\":\"x\"}", true),
            (r#"{"a":null}"#, false),
            (r#"{"b":{"a":1}}"#, false),
            (r#"{"b":"\"a\""}"#, false),
            (r#"["a"]"#, false),
            (r#"{"a":"#, false),
            ("", false),
        ];
        for (body, expected) in cases {
            assert_eq!(has(body.as_bytes(), "a"), expected, "{body}");
        }
    }
}
