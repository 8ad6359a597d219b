//! An object's members, sorted into those that a type knows and the rest.
//!
//! `serde` can either skip what a struct does not name or buffer all that it does; this reads the
//! body once and keeps what the struct does not name as it stands there.

use std::fmt;

use serde::Deserialize;
use serde::de::value::CowStrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;

/// Members that are kept besides; further ones are skipped.
const MOST: usize = 256;

/// What a type knows of an object, and the other members.
#[derive(Debug)]
pub(super) struct Sieved<'a, T> {
    pub(super) known: T,
    /// In the order of the object, [`MOST`] at most.
    pub(super) rest: Vec<(String, &'a RawValue)>,
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Sieved<'a, T> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let mut rest = Vec::new();
        let known = T::deserialize(Sieve { source, rest: &mut rest })?;
        Ok(Self { known, rest })
    }
}

/// Hands a struct the members that it names.
struct Sieve<'r, 'de, D> {
    source: D,
    rest: &'r mut Vec<(String, &'de RawValue)>,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Sieve<'_, 'de, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.source.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.source.deserialize_map(Members { fields, visitor, rest: self.rest })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Both the visitor of the object and, with its members in place of the visitor, the way to them.
struct Members<'r, 'de, V> {
    fields: &'static [&'static str],
    visitor: V,
    rest: &'r mut Vec<(String, &'de RawValue)>,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Members<'_, 'de, V> {
    type Value = V::Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(out)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        let Self { fields, visitor, rest } = self;
        visitor.visit_map(Members { fields, visitor: members, rest })
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<'_, 'de, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(name) = self.visitor.next_key::<String>()? {
            if self.fields.contains(&name.as_str()) {
                let name = CowStrDeserializer::<A::Error>::new(name.into());
                return seed.deserialize(name).map(Some);
            }
            if self.rest.len() < MOST {
                self.rest.push((name, self.visitor.next_value()?));
            } else {
                self.visitor.next_value::<IgnoredAny>()?;
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.visitor.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::body;

    #[derive(Debug, Deserialize)]
    #[serde(expecting = "an object")]
    struct Sample<'a> {
        flag: Option<bool>,
        #[serde(borrow)]
        raw: Option<&'a RawValue>,
    }

    fn read(text: &str) -> Result<Sieved<'_, Sample<'_>>, String> {
        body::read(text.as_bytes()).map_err(|failure| failure.message.into_owned())
    }

    #[test]
    fn what_a_type_does_not_name_is_kept_as_it_stands() {
        let text = r#"{"a":[1, 2],"flag":true,"raw":{"x": 1},"b":"é"}"#;
        let Sieved { known, rest } = read(text).unwrap();
        assert_eq!((known.flag, known.raw.unwrap().get()), (Some(true), r#"{"x": 1}"#));
        let rest: Vec<_> = rest.iter().map(|(name, raw)| (name.as_str(), raw.get())).collect();
        assert_eq!(rest, [("a", "[1, 2]"), ("b", "\"é\"")]);
    }

    #[test]
    fn mistakes_are_named_as_without_it() {
        let refused = read(r#"{"a":1,"flag":"yes"}"#).unwrap_err();
        assert_eq!(refused, "flag: expected a boolean (line 1, column 19)");
        assert_eq!(read("[]").unwrap_err(), "expected an object (line 1, column 0)");
        assert!(read(r#"{"flag":true,"flag":true}"#).is_err());
    }

    #[test]
    fn the_rest_is_bounded() {
        let members: Vec<_> = (0..=MOST).map(|n| format!("\"m{n}\":{{}}")).collect();
        let text = format!("{{{},\"flag\":true}}", members.join(","));
        let Sieved { known, rest } = read(&text).unwrap();
        assert_eq!((known.flag, rest.len()), (Some(true), MOST));
    }
}
