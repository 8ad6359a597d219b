//! Files that come with a message, checked against the service's limits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::refusal::Refusal;

/// Most files in one call, by the service's documentation.
const MAX_FILES: usize = 5;
/// What all files of a call may have together, in bytes, by the service's documentation.
const MAX_BYTES: usize = 10 << 20;

/// A member of `files`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InputFile {
    name: String,
    use_case: String,
    source: Source,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    source_type: String,
    byte_content: Option<ByteContent>,
    s3_location: Option<S3Location>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ByteContent {
    media_type: String,
    data: String,
}

#[derive(Debug, Deserialize)]
struct S3Location {
    uri: String,
}

/// Reads the files of a call: for each what the agent can say of it.
///
/// # Errors
/// `SerializationException` for data that is not base64, `ValidationException` for what breaks a
/// rule.
pub(super) fn described(files: &[InputFile]) -> Result<Vec<String>, Refusal> {
    if files.len() > MAX_FILES {
        return Err(Refusal::constraint("files", "at most 5 members"));
    }
    let mut bytes = 0;
    let described =
        files.iter().map(|file| file.described(&mut bytes)).collect::<Result<_, _>>()?;
    if bytes > MAX_BYTES {
        return Err(Refusal::constraint("files", "at most 10 MB in all"));
    }
    Ok(described)
}

impl InputFile {
    fn described(&self, bytes: &mut usize) -> Result<String, Refusal> {
        let Self { name, use_case, source } = self;
        if !matches!(&**use_case, "CHAT" | "CODE_INTERPRETER") {
            return Err(Refusal::constraint("useCase", "CHAT or CODE_INTERPRETER"));
        }
        let from = match (&*source.source_type, &source.byte_content, &source.s3_location) {
            ("BYTE_CONTENT", Some(content), None) => {
                let size = content.size()?;
                *bytes = bytes.saturating_add(size);
                format!("{}, {size} bytes", content.media_type)
            }
            ("S3", None, Some(location)) if location.uri.starts_with("s3://") => {
                location.uri.clone()
            }
            _ => {
                return Err(Refusal::constraint(
                    "source",
                    "BYTE_CONTENT with byteContent, or S3 with an s3Location",
                ));
            }
        };
        Ok(format!("{name} ({from}, {use_case})"))
    }
}

impl ByteContent {
    fn size(&self) -> Result<usize, Refusal> {
        let data = STANDARD
            .decode(&self.data)
            .map_err(|_| Refusal::serialization("data of a file is not base64"))?;
        if data.is_empty() {
            return Err(Refusal::constraint("data", "1 to 10485760 bytes"));
        }
        Ok(data.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(files: &Value) -> Result<Vec<String>, Refusal> {
        described(&serde_json::from_value::<Vec<_>>(files.clone()).unwrap())
    }

    fn file(data: &str) -> Value {
        let content = json!({"mediaType": "text/csv", "data": data});
        let source = json!({"sourceType": "BYTE_CONTENT", "byteContent": content});
        json!({"name": "a.csv", "useCase": "CHAT", "source": source})
    }

    #[test]
    fn files_are_described_by_name_type_size_and_use() {
        let place = json!({"sourceType": "S3", "s3Location": {"uri": "s3://bucket/key"}});
        let stored = json!({"name": "b", "useCase": "CODE_INTERPRETER", "source": place});
        assert_eq!(
            read(&json!([file("aGk="), stored])).unwrap(),
            ["a.csv (text/csv, 2 bytes, CHAT)", "b (s3://bucket/key, CODE_INTERPRETER)"]
        );
    }

    #[test]
    fn files_past_the_limits_are_refused() {
        let half = file(&STANDARD.encode(vec![0; MAX_BYTES / 2]));
        let more = file(&STANDARD.encode(vec![0; MAX_BYTES / 2 + 1]));
        assert!(read(&json!([half, half])).is_ok());
        let mut misused = file("aGk=");
        misused["useCase"] = "LUNCH".into();
        let mut unplaced = file("aGk=");
        unplaced["source"]["sourceType"] = "S3".into();
        for (files, kind) in [
            (json!(vec![file("aGk="); 6]), "ValidationException"),
            (json!([half, more]), "ValidationException"),
            (json!([file("")]), "ValidationException"),
            (json!([file("no base64")]), "SerializationException"),
            (json!([misused]), "ValidationException"),
            (json!([unplaced]), "ValidationException"),
        ] {
            assert_eq!(read(&files).unwrap_err().kind, Some(kind));
        }
    }
}
