//! What a request may hand through to an agent: attributes and the key of its memory.
//!
//! Agents take attributes as strings only. Our own extension says so, and [`Texts`] are nothing
//! else. Elsewhere clients send what they have: in [`Attributes`] anything else becomes its JSON
//! text, in the client's own spelling, and `null` counts as absent.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::turn::Failure;

use super::body;

/// Members of one object of attributes.
const MAX_ATTRIBUTES: usize = 1_000;
/// `metadata` by OpenAI's rule: pairs, characters in a key, characters in a value.
const METADATA_LIMITS: (usize, usize, usize) = (16, 64, 512);

/// The members of an object, as strings.
#[derive(Debug, Default)]
pub(super) struct Attributes(pub(super) BTreeMap<String, String>);

/// The members of an object that holds nothing but strings.
#[derive(Debug, Default)]
pub(super) struct Texts(pub(super) BTreeMap<String, String>);

impl From<Attributes> for BTreeMap<String, String> {
    fn from(attributes: Attributes) -> Self {
        attributes.0
    }
}

impl From<Texts> for BTreeMap<String, String> {
    fn from(texts: Texts) -> Self {
        texts.0
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_map(Members(as_string)).map(Self)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_map(Members(|text: String| Ok(Some(text)))).map(Self)
    }
}

/// Reads the members with this, which tells those that count as absent.
struct Members<T>(fn(T) -> Result<Option<String>, &'static str>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut attributes = BTreeMap::new();
        while let Some((name, value)) = members.next_entry::<String, T>()? {
            let Some(value) = (self.0)(value).map_err(A::Error::custom)? else { continue };
            attributes.insert(name, value);
            if attributes.len() > MAX_ATTRIBUTES {
                return Err(A::Error::custom("more than 1000 attributes; send fewer"));
            }
        }
        Ok(attributes)
    }
}

/// The client's notes on a request, within OpenAI's limits.
///
/// # Errors
/// [`FailureKind::BadRequest`](crate::turn::FailureKind) at `metadata`.
pub(super) fn metadata(raw: &RawValue) -> Result<BTreeMap<String, String>, Failure> {
    let refused = |message: String| Failure::bad_field("metadata", message);
    let Attributes(metadata) = serde_json::from_str(raw.get())
        .map_err(|_| refused("metadata must be an object of valid strings".to_owned()))?;
    let (pairs, key, value) = METADATA_LIMITS;
    let is_longer = |text: &str, most: usize| text.len() > most && text.chars().count() > most;
    let fits = metadata.len() <= pairs
        && metadata.iter().all(|(k, v)| !is_longer(k, key) && !is_longer(v, value));
    if fits {
        return Ok(metadata);
    }
    Err(refused(format!(
        "metadata must be at most {pairs} pairs, keys of at most {key} and values of at most \
         {value} characters"
    )))
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
pub(super) fn memory_id(param: String, id: String) -> Result<String, Failure> {
    if is_agent_key(&id) {
        return Ok(id);
    }
    Err(body::wrong(param, "must be 2 to 100 characters of [0-9a-zA-Z._:-]"))
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
    fn texts_are_strings_and_nothing_else() {
        let Texts(texts) = serde_json::from_str(r#"{"a":"x","b":""}"#).unwrap();
        assert_eq!(texts.len(), 2);
        for value in ["1", "true", "null", "[]", "{}"] {
            let refused = serde_json::from_str::<Texts>(&format!("{{\"a\":{value}}}")).unwrap_err();
            assert!(refused.to_string().contains("expected a string"), "{refused}");
        }
    }

    #[test]
    fn attributes_are_bounded_in_number() {
        let object = |count: usize| {
            let members: Vec<_> = (0..count).map(|n| format!("\"k{n}\":\"v\"")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(serde_json::from_str::<Texts>(&object(1_000)).is_ok());
        assert!(serde_json::from_str::<Texts>(&object(1_001)).is_err());
        assert!(serde_json::from_str::<Attributes>(&object(1_001)).is_err());
    }

    #[test]
    fn a_string_that_is_no_unicode_is_refused() {
        assert!(serde_json::from_str::<Attributes>(r#"{"s":"\ud800"}"#).is_err());
    }
}
