//! Files that the agent makes, as its code interpreter does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::frames;

/// The longest name of a file, in bytes.
const MAX_NAME: usize = 200;
/// The largest file, in bytes, by the service's model.
const MAX_BYTES: usize = 1_000_000;
/// Media types by the end of a name.
const TYPES: &[(&str, &str)] = &[
    ("csv", "text/csv"),
    ("html", "text/html"),
    ("json", "application/json"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("txt", "text/plain"),
];

/// A file that the agent makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MadeFile {
    name: String,
    bytes: usize,
}

impl MadeFile {
    /// Reads `NAME` or `NAME BYTES`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(rest: &str) -> Result<Self, String> {
        let mut words = rest.split_whitespace();
        let name = words.next().filter(|name| name.len() <= MAX_NAME);
        let name = name.ok_or("a file has a name of at most 200 bytes")?.to_owned();
        let bytes = words.next().map_or(Ok(name.len() + 1), str::parse);
        match bytes {
            Ok(bytes @ ..=MAX_BYTES) => Ok(Self { name, bytes }),
            _ => Err(format!("a file has at most {MAX_BYTES} bytes")),
        }
    }

    /// Its content: its name and a line feed, over and over.
    fn content(&self) -> Vec<u8> {
        self.name.bytes().chain([b'\n']).cycle().take(self.bytes).collect()
    }

    fn member(&self) -> Value {
        let ending = self.name.rsplit_once('.').map(|(_, ending)| ending);
        let known = TYPES.iter().find(|(known, _)| Some(*known) == ending);
        let media_type = known.map_or("application/octet-stream", |(_, media_type)| media_type);
        json!({"name": self.name, "type": media_type, "bytes": STANDARD.encode(self.content())})
    }
}

/// The `files` event.
pub(super) fn event(files: &[MadeFile]) -> Bytes {
    let members: Vec<_> = files.iter().map(MadeFile::member).collect();
    frames::event("files", json!({"files": members}).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_name_over_and_over() {
        let file = MadeFile::read("a.csv 8").unwrap();
        assert_eq!(file.content(), b"a.csv\na.");
        assert_eq!(file.member()["type"], "text/csv");
        assert_eq!(MadeFile::read("plot").unwrap().content(), b"plot\n");
        for wrong in ["", "a 1000001", "a some"] {
            assert!(MadeFile::read(wrong).is_err(), "{wrong}");
        }
    }
}
