//! A text that must not be shown, where it may stand, and the hash that stands in for it.

use std::fmt;
use std::fs::File;
use std::io::Read;

use sha2::{Digest, Sha256};

use super::Environment;

/// A secret's file may hold no more than this: it is a line, not a document.
const FILE_BYTES: u64 = 64 << 10;

/// A secret: `Debug` and `Display` show only that there is one.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("********")
    }
}

/// Why a reference leads to no secret; the message never holds one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadReference {
    /// `${…}` around something that is no name, or with something beside it.
    #[error("must be a whole reference such as ${{NAME}}, or hold no \"${{\"")]
    Malformed,
    /// The variable that was named is not set, or empty.
    #[error("refers to the environment variable {0}, which is not set")]
    MissingVariable(String),
    /// The file that was named cannot be read, or is no secret.
    #[error("refers to the file {path}, which {reason}")]
    BadFile {
        /// As it was written.
        path: String,
        /// What is the matter with it.
        reason: String,
    },
}

/// The secret that a setting holds: the text itself, or what its `${NAME}` or `file:/path`
/// refers to. White space around a file's text, such as its last line's end, is not part of it.
///
/// # Errors
/// If what is referred to is missing, empty, or too large to be a secret.
pub fn resolve(written: &Secret, environment: &Environment) -> Result<Secret, BadReference> {
    let text = written.expose();
    if let Some(path) = text.strip_prefix("file:") {
        let bad_file = |reason| BadReference::BadFile { path: path.to_owned(), reason };
        return read_file(path).map(Secret::new).map_err(bad_file);
    }
    if !text.contains("${") {
        return Ok(written.clone());
    }
    let name = variable_name(text).ok_or(BadReference::Malformed)?;
    match environment.get(name) {
        Some(value) => Ok(Secret::new(value)),
        None => Err(BadReference::MissingVariable(name.to_owned())),
    }
}

/// The name in `${NAME}`.
pub(super) fn variable_name(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let begins_well = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    (is_name && begins_well).then_some(name)
}

fn read_file(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    file.take(FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > FILE_BYTES {
        return Err(format!("holds more than {FILE_BYTES} bytes"));
    }
    match text.trim() {
        "" => Err("is empty".to_owned()),
        secret => Ok(secret.to_owned()),
    }
}

/// The SHA-256 of a key's bytes: what is configured, and what a client's key is compared by.
#[must_use]
pub fn hash_key(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// A hash as it is configured: `sha256:` and 64 hexadecimal digits.
#[must_use]
pub fn hash_text(hash: &[u8; 32]) -> String {
    let digits = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.filter_map(|digit| char::from_digit(digit.into(), 16));
    "sha256:".chars().chain(digits).collect()
}

pub(super) fn hash_from_text(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("sha256:")?.as_bytes();
    let mut hash = [0; 32];
    if digits.len() != 2 * hash.len() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Result<String, BadReference> {
        let environment = Environment::from([("SET", "a secret"), ("EMPTY", "")]);
        resolve(&Secret::new(text), &environment).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn a_secret_stands_in_the_clear_or_in_a_variable() {
        assert_eq!(resolved("in the clear $ {}").unwrap(), "in the clear $ {}");
        assert_eq!(resolved("${SET}").unwrap(), "a secret");
        assert_eq!(resolved("${UNSET}"), Err(BadReference::MissingVariable("UNSET".to_owned())));
        assert_eq!(resolved("${EMPTY}"), Err(BadReference::MissingVariable("EMPTY".to_owned())));
        for malformed in ["${}", "${SET", "x${SET}", "${SET}x", "${1}", "${A-B}", "${${SET}}"] {
            assert_eq!(resolved(malformed), Err(BadReference::Malformed), "{malformed}");
        }
    }

    #[test]
    fn a_file_that_is_missing_empty_or_endless_is_no_secret() {
        let reason = |text| match resolved(text) {
            Err(BadReference::BadFile { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert!(reason("file:/no/such/file").starts_with("cannot be opened"));
        assert_eq!(reason("file:/dev/null"), "is empty");
        assert_eq!(reason("file:/dev/zero"), "holds more than 65536 bytes");
    }

    #[test]
    fn a_hash_is_the_sha_256_of_the_keys_bytes_and_reads_back() {
        let hash = hash_key("abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash_text(&hash), text);
        assert_eq!(hash_from_text(text), Some(hash));
        assert_eq!(hash_from_text(&text.to_uppercase().replace("SHA", "sha")), Some(hash));
        assert_eq!(hash_from_text(&text[..70]), None);
        assert_eq!(hash_from_text(&text.replace("ba78", "xy78")), None);
        assert_eq!(hash_from_text("md5:00"), None);
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret::new("hunter2");
        assert!(!format!("{secret} {secret:?}").contains("hunter2"));
    }
}
