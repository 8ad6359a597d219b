//! What lasts, as it is written: JSON of our own that later versions still read.
//!
//! The vocabulary changes with the program, what is stored does not; so each type here mirrors
//! one of [`turn`](crate::turn) or of the [store](super), and a change of the vocabulary that
//! would change what is written does not compile here. Each document says its version:
//!
//! ```text
//! {"v":1,"body":…}
//! ```
//!
//! A member that is not known, or a kind, or a version, is an error that says so: whoever goes
//! back to an older program is told, rather than losing what that program does not know. What is
//! added to a document raises [`VERSION`], and [`decode`] learns to read both.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::StoreError;

mod event;
mod failure;
mod line;
mod message;
mod session;
#[cfg(test)]
mod tests;

pub(super) use event::{read_events, write_events};
pub(super) use line::{Line, read_line, write_session_line, write_turn_line};
pub(super) use message::{Row, read_messages, write_messages};
pub(super) use session::{read_upstream, write_upstream};

/// The version of the documents that are written.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<T> {
    v: u32,
    body: T,
}

/// The version alone, of a document that is not understood.
#[derive(Deserialize)]
struct OfVersion {
    v: u32,
}

fn encode<T: Serialize>(what: &str, body: T) -> Result<String, StoreError> {
    to_json(what, &Document { v: VERSION, body })
}

fn to_json(what: &str, document: &impl Serialize) -> Result<String, StoreError> {
    let json = serde_json::to_string(document);
    json.map_err(|error| StoreError(format!("{what} cannot be written down: {error}")))
}

fn decode<T: DeserializeOwned>(what: &str, json: &str) -> Result<T, StoreError> {
    match serde_json::from_str::<Document<T>>(json) {
        Ok(Document { v: VERSION, body }) => Ok(body),
        Ok(Document { .. }) => Err(unread(what, json, None)),
        Err(error) => Err(unread(what, json, Some(&error))),
    }
}

/// Why a document was not read: its version, where that is not the one known here, else the
/// error.
fn unread(what: &str, json: &str, error: Option<&serde_json::Error>) -> StoreError {
    match (serde_json::from_str::<OfVersion>(json), error) {
        (Ok(OfVersion { v }), _) if v != VERSION => StoreError(format!(
            "{what} is of version {v}, and this program reads version {VERSION}: use a newer one"
        )),
        (_, Some(error)) => StoreError(format!("{what} cannot be read: {}", reason(error))),
        (_, None) => StoreError(format!("{what} cannot be read")),
    }
}

/// What is wrong with a document, without quoting it: it holds what people said.
fn reason(error: &serde_json::Error) -> String {
    const LONGEST: usize = 80;
    let said = error.to_string();
    let quotes_names_only = ["unknown variant", "unknown field", "missing field", "not "]
        .iter()
        .any(|start| said.starts_with(start));
    if quotes_names_only {
        return said.chars().take(LONGEST).collect();
    }
    let sort = match error.classify() {
        serde_json::error::Category::Eof => "it breaks off",
        serde_json::error::Category::Syntax => "it is no JSON",
        serde_json::error::Category::Data | serde_json::error::Category::Io => {
            "something in it is of another type"
        }
    };
    format!("{sort}, at line {} column {}", error.line(), error.column())
}

/// Bytes, as base64.
struct Base64<'a>(Cow<'a, [u8]>);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text.as_bytes());
        bytes.map(|bytes| Self(Cow::Owned(bytes))).map_err(|_| D::Error::custom("not base64"))
    }
}

/// Whether a member may be left out.
fn is_no<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
