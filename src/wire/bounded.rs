//! What a client may send only so much of: lists by their length, JSON of its own making by
//! what it takes in memory.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// A list of at most so many entries; a longer one is not read to its end.
#[derive(Debug)]
pub(super) struct AtMost<T, const MAX: usize>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for AtMost<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_seq(Entries(PhantomData))
    }
}

struct Entries<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Entries<T, MAX> {
    type Value = AtMost<T, MAX>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element()? {
            if entries.len() == MAX {
                return Err(A::Error::custom(format_args!("more than {MAX} entries; send fewer")));
            }
            entries.push(entry);
        }
        Ok(AtMost(entries))
    }
}

/// What the JSON that is kept of one request may still add up to.
///
/// A value takes some 70 bytes in memory where two in the body make it, and an object hundreds;
/// so the body's own limit bounds neither.
#[derive(Debug)]
pub(super) struct Allowance {
    objects: usize,
    values: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { objects: 20_000, values: 200_000 }
    }
}

impl Allowance {
    /// Reads JSON that is to be kept as it is.
    ///
    /// # Errors
    /// Says what is wrong, fit for a client: too much of it, nested too deeply, or texts that are
    /// no Unicode.
    pub(super) fn read(&mut self, raw: &RawValue) -> Result<Value, &'static str> {
        const TOO_MUCH: &str = "holds too many values; send fewer";
        let (objects, values) = count(raw.get());
        self.objects = self.objects.checked_sub(objects).ok_or(TOO_MUCH)?;
        self.values = self.values.checked_sub(values).ok_or(TOO_MUCH)?;
        serde_json::from_str(raw.get()).map_err(|_| "is nested too deeply or broken")
    }

    /// The same for an object.
    ///
    /// # Errors
    /// The same, and for what is no object.
    pub(super) fn object(&mut self, raw: &RawValue) -> Result<Value, &'static str> {
        if !raw.get().starts_with('{') {
            return Err("must be an object");
        }
        self.read(raw)
    }
}

/// The objects and, at most, the values in well-formed JSON.
fn count(json: &str) -> (usize, usize) {
    let bytes = json.as_bytes();
    let (mut objects, mut values) = (0, 1);
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at + 1),
            b'{' => (objects, values) = (objects + 1, values + 1),
            b'[' | b',' => values += 1,
            _ => {}
        }
        at += 1;
    }
    (objects, values)
}

/// Where the quote stands that ends the string which begins here.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(step) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += step;
        if bytes[at] == b'"' {
            return at;
        }
        at += 2;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_list_is_read_up_to_its_bound() {
        let read = |json: &str| serde_json::from_str::<AtMost<u8, 2>>(json).map(|list| list.0);
        assert_eq!(read("[1,2]").unwrap(), [1, 2]);
        let refused = read("[1,2,3]").unwrap_err().to_string();
        assert!(refused.starts_with("more than 2 entries; send fewer"), "{refused}");
    }

    #[test]
    fn what_stands_in_strings_is_no_value() {
        assert_eq!(count("1"), (0, 1));
        assert_eq!(count(r#"{"a,{[":["b\",{",{"c\\":1}],"d":2}"#), (2, 6));
        assert_eq!(count(r#""cut"#), (0, 1));
        assert_eq!(count(r#""cut\"#), (0, 1));
    }

    #[test]
    fn an_allowance_is_used_up_by_objects_and_by_values() {
        let mut left = Allowance { objects: 1, values: 4 };
        assert!(left.read(raw(r#"{"a":1}"#)).is_ok());
        assert_eq!(left.read(raw("{}")).unwrap_err(), "holds too many values; send fewer");
        assert!(left.read(raw("[]")).is_ok());
        assert_eq!(left.read(raw("1")).unwrap_err(), "holds too many values; send fewer");
    }

    #[test]
    fn what_is_no_object_is_said_to_be_none() {
        let mut allowance = Allowance::default();
        assert!(allowance.object(raw(r#"{"a":1}"#)).is_ok());
        assert_eq!(allowance.object(raw(r#""{}""#)).unwrap_err(), "must be an object");
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200));
        assert_eq!(allowance.object(raw(&deep)).unwrap_err(), "is nested too deeply or broken");
    }
}
