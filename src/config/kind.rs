//! Kinds of settings: how each is read from the file or a text, checked, and written again.
//! Those that are written as a string are in [`text`](super::text).

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use toml::Value;
use toml::de::{DeTable, DeValue};

/// The longest duration that can be set, ten years: far beyond use, far below overflow.
const LONGEST_SECONDS: f64 = 315_360_000.0;
/// The longest of the durations that are written as milliseconds.
const MOST_MILLISECONDS: u64 = 600_000;

/// A setting as it was found.
pub(super) enum Raw<'a> {
    /// In the file.
    Toml(&'a DeValue<'a>),
    /// In the environment or the arguments, where everything is text.
    Text(&'a str),
}

impl<'a> Raw<'a> {
    pub(super) fn text(&self) -> Option<&'a str> {
        match self {
            Self::Toml(value) => value.as_str(),
            Self::Text(text) => Some(text),
        }
    }

    fn integer(&self) -> Option<i128> {
        match self {
            Self::Toml(DeValue::Integer(value)) => {
                i128::from_str_radix(value.as_str(), value.radix()).ok()
            }
            Self::Toml(_) => None,
            Self::Text(text) => text.trim().parse().ok(),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Toml(DeValue::Integer(value)) => value.to_string().parse().ok(),
            Self::Toml(DeValue::Float(value)) => value.as_str().parse().ok(),
            Self::Toml(_) => None,
            Self::Text(text) => text.trim().parse().ok(),
        }
    }

    fn list(&self) -> Option<Vec<Raw<'a>>> {
        match self {
            Self::Toml(value) => {
                let entries = value.as_array()?.iter();
                Some(entries.map(|entry| Raw::Toml(entry.get_ref())).collect())
            }
            Self::Text(text) => {
                let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
                Some(entries.map(Raw::Text).collect())
            }
        }
    }

    fn table(&self) -> Option<&'a DeTable<'a>> {
        match self {
            Self::Toml(value) => value.as_table(),
            Self::Text(_) => None,
        }
    }

    /// What it is, without what it holds.
    pub(super) fn sort(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Toml(DeValue::String(_)) => "a string",
            Self::Toml(DeValue::Integer(_)) => "an integer",
            Self::Toml(DeValue::Float(_)) => "a number with a fraction",
            Self::Toml(DeValue::Boolean(_)) => "a boolean",
            Self::Toml(DeValue::Datetime(_)) => "a date",
            Self::Toml(DeValue::Array(_)) => "an array",
            Self::Toml(DeValue::Table(_)) => "a table",
        }
    }
}

impl fmt::Display for Raw<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write_quoted(text, out),
            Self::Toml(DeValue::String(text)) => write_quoted(text, out),
            Self::Toml(DeValue::Integer(value)) => write!(out, "{value}"),
            Self::Toml(DeValue::Float(value)) => write!(out, "{value}"),
            Self::Toml(DeValue::Boolean(value)) => write!(out, "{value}"),
            Self::Toml(_) => out.write_str(self.sort()),
        }
    }
}

/// At most 60 characters, control characters escaped: a message stays one line.
fn write_quoted(text: &str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    match text.char_indices().nth(60) {
        Some((end, _)) => write!(out, "{:?}…", &text[..end]),
        None => write!(out, "{text:?}"),
    }
}

/// One kind of setting.
pub(super) trait Kind {
    /// What the setting is in the program.
    type Value;

    /// Reads and checks it; the error is a message that stands after the setting's name.
    fn read(&self, raw: &Raw<'_>) -> Result<Self::Value, String>;

    /// What to write for it so that it reads the same; nothing where it is not set.
    fn write(&self, value: &Self::Value) -> Option<Value>;

    /// What to show for it, if that is less than all.
    fn show(&self, value: &Self::Value) -> Option<Value> {
        self.write(value)
    }
}

/// The message of most mistakes.
pub(super) fn must_be<T>(wanted: impl fmt::Display, raw: &Raw<'_>) -> Result<T, String> {
    Err(format!("must be {wanted}, not {raw}"))
}

/// `true` or `false`; in the environment also `1`, `yes`, `on` and their opposites.
pub(super) struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn read(&self, raw: &Raw<'_>) -> Result<bool, String> {
        match raw {
            Raw::Toml(DeValue::Boolean(value)) => Ok(*value),
            Raw::Toml(_) => must_be("true or false", raw),
            Raw::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(true),
                "false" | "0" | "no" | "off" => Ok(false),
                _ => must_be("true or false", raw),
            },
        }
    }

    fn write(&self, value: &bool) -> Option<Value> {
        Some(Value::Boolean(*value))
    }
}

/// A whole number in a range.
pub(super) struct Count(pub(super) RangeInclusive<usize>);

impl Count {
    /// Something of which there must be at least one; the bound is a billion.
    pub(super) const SOME: Self = Self(1..=1_000_000_000);
    /// Something of which there may be none.
    pub(super) const ANY: Self = Self(0..=1_000_000_000);
    /// Bytes, up to a tebibyte.
    pub(super) const BYTES: Self = Self(1..=1 << 40);
}

impl Kind for Count {
    type Value = usize;

    fn read(&self, raw: &Raw<'_>) -> Result<usize, String> {
        let count = raw.integer().and_then(|number| usize::try_from(number).ok());
        match count {
            Some(count) if self.0.contains(&count) => Ok(count),
            _ => {
                must_be(format_args!("an integer from {} to {}", self.0.start(), self.0.end()), raw)
            }
        }
    }

    fn write(&self, value: &usize) -> Option<Value> {
        i64::try_from(*value).ok().map(Value::Integer)
    }
}

/// A whole number that is at least 1.
pub(super) struct Positive;

impl Kind for Positive {
    type Value = NonZeroU32;

    fn read(&self, raw: &Raw<'_>) -> Result<NonZeroU32, String> {
        let number = raw.integer().and_then(|number| u32::try_from(number).ok());
        match number.and_then(NonZeroU32::new) {
            Some(number) => Ok(number),
            None => must_be(format_args!("an integer from 1 to {}", u32::MAX), raw),
        }
    }

    fn write(&self, value: &NonZeroU32) -> Option<Value> {
        Some(Value::Integer(value.get().into()))
    }
}

/// A duration as seconds, fractions allowed, of at least so many.
pub(super) struct Seconds(pub(super) f64);

impl Seconds {
    /// A wait that may be none at all.
    pub(super) const ANY: Self = Self(0.0);
    /// A wait that would be nonsense at zero: a millisecond at least.
    pub(super) const SOME: Self = Self(0.001);
}

impl Kind for Seconds {
    type Value = Duration;

    fn read(&self, raw: &Raw<'_>) -> Result<Duration, String> {
        let range = self.0..=LONGEST_SECONDS;
        let seconds = raw.number().filter(|seconds| range.contains(seconds));
        match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            Some(duration) => Ok(duration),
            None => must_be(
                format_args!("a number of seconds from {} to {LONGEST_SECONDS}", self.0),
                raw,
            ),
        }
    }

    fn write(&self, value: &Duration) -> Option<Value> {
        if value.subsec_nanos() > 0 {
            return Some(Value::Float(value.as_secs_f64()));
        }
        i64::try_from(value.as_secs()).ok().map(Value::Integer)
    }
}

/// A short wait, as whole milliseconds: one at least, ten minutes at most.
pub(super) struct Milliseconds;

impl Kind for Milliseconds {
    type Value = Duration;

    fn read(&self, raw: &Raw<'_>) -> Result<Duration, String> {
        let range = 1..=MOST_MILLISECONDS;
        let count = raw.integer().and_then(|number| u64::try_from(number).ok());
        match count.filter(|count| range.contains(count)) {
            Some(count) => Ok(Duration::from_millis(count)),
            None => must_be(
                format_args!("a whole number of milliseconds from 1 to {MOST_MILLISECONDS}"),
                raw,
            ),
        }
    }

    fn write(&self, value: &Duration) -> Option<Value> {
        i64::try_from(value.as_millis()).ok().map(Value::Integer)
    }
}

/// One of a closed set of names.
pub(super) struct Named<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Kind for Named<T> {
    type Value = T;

    fn read(&self, raw: &Raw<'_>) -> Result<T, String> {
        let written = raw.text();
        match self.0.iter().find(|(name, _)| Some(*name) == written) {
            Some((_, value)) => Ok(*value),
            None => {
                let names: Vec<&str> = self.0.iter().map(|(name, _)| *name).collect();
                must_be(format_args!("one of {}", names.join(", ")), raw)
            }
        }
    }

    fn write(&self, value: &T) -> Option<Value> {
        let (name, _) = self.0.iter().find(|(_, known)| known == value)?;
        Some(Value::String((*name).to_owned()))
    }
}

/// An id that says by itself what it must look like.
pub(super) struct Id<T>(PhantomData<T>);

impl<T> Id<T> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: FromStr<Err: fmt::Display> + fmt::Display> Kind for Id<T> {
    type Value = T;

    fn read(&self, raw: &Raw<'_>) -> Result<T, String> {
        let Some(text) = raw.text() else { return must_be("a string", raw) };
        text.parse().map_err(|error| format!("{error}, not {raw}"))
    }

    fn write(&self, value: &T) -> Option<Value> {
        Some(Value::String(value.to_string()))
    }
}

/// A setting that may be left out.
pub(super) struct Maybe<K>(pub(super) K);

impl<K: Kind> Kind for Maybe<K> {
    type Value = Option<K::Value>;

    fn read(&self, raw: &Raw<'_>) -> Result<Self::Value, String> {
        self.0.read(raw).map(Some)
    }

    fn write(&self, value: &Self::Value) -> Option<Value> {
        value.as_ref().and_then(|value| self.0.write(value))
    }

    fn show(&self, value: &Self::Value) -> Option<Value> {
        value.as_ref().and_then(|value| self.0.show(value))
    }
}

/// An array; in the environment, separated by commas.
pub(super) struct List<K>(pub(super) K);

impl<K: Kind> Kind for List<K> {
    type Value = Vec<K::Value>;

    fn read(&self, raw: &Raw<'_>) -> Result<Self::Value, String> {
        let Some(entries) = raw.list() else { return must_be("an array", raw) };
        let read = |(index, entry): (usize, &Raw<'_>)| {
            self.0.read(entry).map_err(|message| format!("entry {}: {message}", index + 1))
        };
        entries.iter().enumerate().map(read).collect()
    }

    fn write(&self, value: &Self::Value) -> Option<Value> {
        Some(Value::Array(value.iter().filter_map(|entry| self.0.write(entry)).collect()))
    }
}

/// A table of strings.
pub(super) struct TextTable;

impl Kind for TextTable {
    type Value = BTreeMap<String, String>;

    fn read(&self, raw: &Raw<'_>) -> Result<Self::Value, String> {
        let Some(table) = raw.table() else { return must_be("a table of strings", raw) };
        let read = |(name, value): (&str, &DeValue<'_>)| match value.as_str() {
            Some(text) => Ok((name.to_owned(), text.to_owned())),
            None => Err(format!("{name} must be a string, not {}", Raw::Toml(value))),
        };
        table.iter().map(|(name, value)| read((name.get_ref(), value.get_ref()))).collect()
    }

    fn write(&self, value: &Self::Value) -> Option<Value> {
        if value.is_empty() {
            return None;
        }
        let entries = value.iter().map(|(name, text)| (name.clone(), Value::String(text.clone())));
        Some(Value::Table(entries.collect()))
    }
}
