//! What a request may hand through to an agent: attributes and the key of its memory.
//!
//! Agents take attributes as strings only. Clients send what they have, so anything else
//! becomes its JSON text, in the client's own spelling; `null` counts as absent.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::turn::Failure;

/// The members of an object, as strings.
#[derive(Debug, Default)]
pub(super) struct Attributes(pub(super) BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Attributes;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Attributes, A::Error> {
        let mut attributes = BTreeMap::new();
        while let Some((name, value)) = members.next_entry::<String, &RawValue>()? {
            if let Some(value) = as_string(value).map_err(A::Error::custom)? {
                attributes.insert(name, value);
            }
        }
        Ok(Attributes(attributes))
    }
}

fn as_string(value: &RawValue) -> Result<Option<String>, &'static str> {
    match value.get() {
        "null" => Ok(None),
        quoted if quoted.starts_with('"') => {
            serde_json::from_str(quoted).map(Some).map_err(|_| "expected a string of valid Unicode")
        }
        other => Ok(Some(other.to_owned())),
    }
}

/// Checks the key of an agent's long-term memory against the service's rule (`memoryId` of
/// `InvokeAgent`).
///
/// # Errors
/// [`FailureKind::BadRequest`](crate::turn::FailureKind) at `param`.
pub(super) fn memory_id(param: &'static str, id: String) -> Result<String, Failure> {
    if is_agent_key(&id) {
        return Ok(id);
    }
    Err(Failure::bad_field(
        param,
        format!("{param} must be 2 to 100 characters of [0-9a-zA-Z._:-]"),
    ))
}

/// Whether a text is 2 to 100 characters of `[0-9a-zA-Z._:-]`, as agents want of the ids that
/// their callers make up.
pub(super) fn is_agent_key(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    (2..=100).contains(&text.len()) && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_no_string_becomes_its_json_text() {
        let body = r#"{"s":"a\"b","n":1.0,"b":true,"o":{"x": [1]},"none":null}"#;
        let Attributes(attributes) = serde_json::from_str(body).unwrap();
        let listed: Vec<_> = attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(listed, [("b", "true"), ("n", "1.0"), ("o", r#"{"x": [1]}"#), ("s", "a\"b")]);
    }

    #[test]
    fn a_string_that_is_no_unicode_is_refused() {
        assert!(serde_json::from_str::<Attributes>(r#"{"s":"\ud800"}"#).is_err());
    }
}
