//! Files that a user's message brings, as the service takes them (`sessionState.files`).
//!
//! Up to five files a turn, 10 MB in all (Amazon Bedrock User Guide, "Attach files to a
//! conversation"), each as bytes or as the `s3://` URI of an object that the agent's role may
//! read. The parts are OpenAI's: `file` and `image_url` of Chat Completions, `input_file` and
//! `input_image` of Responses. An object in S3 says its media type by the end of its name only,
//! so it must be one that the service knows.

use std::collections::HashSet;

use aws_sdk_bedrockagentruntime::primitives::Blob;
use aws_sdk_bedrockagentruntime::types::{
    ByteContentFile, FileSource, FileSourceType, FileUseCase, InputFile, S3ObjectFile,
};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use crate::turn::{Failure, FailureKind, FileUse, Message, Part, Role};

/// Files in one turn.
const MOST: usize = 5;
/// Bytes of one file (API model: `ByteContentBlob`), and of all files of a turn.
const LIMIT: usize = 10_485_760;
/// Characters of a file's name that are kept.
const NAME_LIMIT: usize = 128;

/// Media types by the end of a file's name.
const MEDIA: &[(&str, &str)] = &[
    ("csv", "text/csv"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("gif", "image/gif"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("json", "application/json"),
    ("md", "text/markdown"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("txt", "text/plain"),
    ("webp", "image/webp"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
];

/// Standard base64, with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The files among what is new, in order.
///
/// # Errors
/// `BadRequest` for files over the limits or that cannot be read, `UnsupportedParameter` for
/// parts that agents do not take.
pub(super) fn of(input: &[Message], purpose: FileUse) -> Result<Vec<InputFile>, Failure> {
    let purpose = match purpose {
        FileUse::Chat => FileUseCase::Chat,
        FileUse::CodeInterpreter => FileUseCase::CodeInterpreter,
    };
    let mut files = Files { files: Vec::new(), names: HashSet::new(), room: LIMIT, purpose };
    let said = input.iter().filter(|message| message.role == Role::User);
    for part in said.flat_map(|message| &message.parts) {
        if let Part::Attachment { kind, value } = part {
            files.add(Sent::read(kind, value)?)?;
        }
    }
    Ok(files.files)
}

/// A part, whatever its spelling.
struct Sent<'a> {
    /// A data URL, base64, or a URI.
    content: &'a str,
    name: Option<&'a str>,
    /// What a file without a name is called.
    sort: &'static str,
}

impl<'a> Sent<'a> {
    fn read(kind: &str, part: &'a Value) -> Result<Self, Failure> {
        let (members, sort) = match kind {
            "file" => (part.get("file"), "file"),
            "input_file" => (Some(part), "file"),
            "image_url" | "input_image" => (Some(part), "image"),
            _ => return Err(unsupported(kind)),
        };
        let text = |name: &str| members?.get(name)?.as_str().filter(|text| !text.is_empty());
        let image_url = || part.get("image_url").and_then(|image| image.get("url")?.as_str());
        let content = text("file_data")
            .or_else(|| text("file_url"))
            .or_else(|| text("image_url"))
            .or_else(image_url)
            .or_else(|| text("file_id"));
        let content = content.ok_or_else(|| {
            refused(format!("a {kind} part has neither content nor an s3:// URI"))
        })?;
        let name = text("filename").or_else(|| text("name"));
        Ok(Self { content, name, sort })
    }
}

struct Files {
    files: Vec<InputFile>,
    /// In lower case.
    names: HashSet<String>,
    room: usize,
    purpose: FileUseCase,
}

impl Files {
    fn add(&mut self, sent: Sent<'_>) -> Result<(), Failure> {
        if self.files.len() == MOST {
            return Err(refused(format!("a turn takes at most {MOST} files")));
        }
        let (name, source) = if sent.content.starts_with("s3://") {
            let name = sent.name.or_else(|| sent.content.rsplit('/').next());
            (self.name(name, sent.sort, None), in_s3(sent.content)?)
        } else {
            self.in_bytes(&sent)?
        };
        let file = InputFile::builder().name(name).source(source).use_case(self.purpose.clone());
        self.files.push(file.build().map_err(|_| Failure::internal())?);
        Ok(())
    }

    fn in_bytes(&mut self, sent: &Sent<'_>) -> Result<(String, FileSource), Failure> {
        let (declared, encoded) = data(sent.content)?;
        // Base64 has four characters for three bytes.
        if encoded.len() / 4 * 3 > LIMIT + 3 {
            return Err(too_large());
        }
        let bytes = BASE64.decode(encoded).map_err(|_| {
            refused("the content of a file is not base64; send it as a data URL".to_owned())
        })?;
        if bytes.is_empty() {
            return Err(refused("a file is empty".to_owned()));
        }
        self.room = self.room.checked_sub(bytes.len()).ok_or_else(too_large)?;
        let media_type = declared.or_else(|| sent.name.and_then(media_type)).ok_or_else(|| {
            refused(
                "a file does not say its media type; send it as a data URL, or with a filename \
                 that ends like one (.pdf, .csv)"
                    .to_owned(),
            )
        })?;
        let content = ByteContentFile::builder().media_type(media_type).data(Blob::new(bytes));
        let content = content.build().map_err(|_| Failure::internal())?;
        let source =
            FileSource::builder().source_type(FileSourceType::ByteContent).byte_content(content);
        let source = source.build().map_err(|_| Failure::internal())?;
        Ok((self.name(sent.name, sent.sort, extension(media_type)), source))
    }

    /// A name that no other file of the turn has; the service tells files apart by it.
    fn name(&mut self, given: Option<&str>, sort: &str, extension: Option<&str>) -> String {
        let given = given.map(clean).filter(|name| !name.is_empty()).unwrap_or_else(|| {
            let number = self.files.len() + 1;
            match extension {
                Some(extension) => format!("{sort}-{number}.{extension}"),
                None => format!("{sort}-{number}"),
            }
        });
        let (stem, end) = match given.rfind('.') {
            Some(dot) if dot > 0 => given.split_at(dot),
            _ => (given.as_str(), ""),
        };
        let numbered = (2..).map(|number| format!("{stem}-{number}{end}"));
        let mut names = std::iter::once(given.clone()).chain(numbered);
        let name = names.find(|name| self.names.insert(name.to_lowercase()));
        name.unwrap_or(given)
    }
}

/// The last part of a path, without what does not belong into a name.
fn clean(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let kept: String = last.chars().filter(|c| !c.is_control()).collect();
    let over = kept.chars().count().saturating_sub(NAME_LIMIT);
    // The end says what it is.
    kept.chars().skip(over).collect::<String>().trim().to_owned()
}

/// The media type, where it is told, and the base64 of a file's content.
fn data(content: &str) -> Result<(Option<&str>, &str), Failure> {
    if let Some(rest) = content.strip_prefix("data:") {
        let parts = rest.split_once(',').and_then(|(head, encoded)| {
            let head = head.strip_suffix(";base64")?;
            let media_type = head.split(';').next().filter(|media_type| !media_type.is_empty());
            Some((media_type, encoded))
        });
        return parts.ok_or_else(|| refused("a data URL must hold base64".to_owned()));
    }
    if content.contains("://") {
        return Err(refused(
            "files are not fetched from URLs; send the content as a data URL, or an s3:// URI"
                .to_owned(),
        ));
    }
    if content.starts_with("file-") {
        return Err(refused(
            "uploaded files are not known here; send the content as a data URL, or an s3:// URI \
             as file_id"
                .to_owned(),
        ));
    }
    Ok((None, content))
}

fn in_s3(uri: &str) -> Result<FileSource, Failure> {
    let parts = uri.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
    let is_object = parts.is_some_and(|(bucket, key)| {
        let is_bucket_byte = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
        (3..=63).contains(&bucket.len())
            && bucket.bytes().all(is_bucket_byte)
            && (1..=1024).contains(&key.len())
    });
    if !is_object {
        return Err(refused("an s3:// URI must name a bucket and an object".to_owned()));
    }
    if media_type(uri).is_none() {
        let known: Vec<_> = MEDIA.iter().map(|(extension, _)| *extension).collect();
        let known = known.join(", ");
        return Err(refused(format!("an object in S3 must end like one of: {known}")));
    }
    let location = S3ObjectFile::builder().uri(uri).build().map_err(|_| Failure::internal())?;
    let source = FileSource::builder().source_type(FileSourceType::S3).s3_location(location);
    source.build().map_err(|_| Failure::internal())
}

/// The media type that the end of a name stands for.
fn media_type(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    let known = MEDIA.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
    known.map(|(_, media_type)| *media_type)
}

fn extension(media_type: &str) -> Option<&'static str> {
    let known = MEDIA.iter().find(|(_, known)| known.eq_ignore_ascii_case(media_type));
    known.map(|(extension, _)| *extension)
}

fn refused(message: String) -> Failure {
    Failure::bad_field("messages", message)
}

fn too_large() -> Failure {
    refused(format!("the files of a turn may have {LIMIT} bytes in all"))
}

fn unsupported(kind: &str) -> Failure {
    let kind: String = kind.chars().take(40).collect();
    Failure::new(
        FailureKind::UnsupportedParameter,
        format!("Bedrock agents take text, images and files, not {kind:?} parts"),
    )
    .at("messages")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn read(parts: Vec<Value>) -> Result<Vec<InputFile>, Failure> {
        let parts = parts.into_iter().map(|value| Part::Attachment {
            kind: value["type"].as_str().unwrap().to_owned(),
            value: Arc::new(value),
        });
        let message = Message { parts: parts.collect(), ..Message::text(Role::User, "") };
        of(&[message], FileUse::Chat)
    }

    fn file(data: &str, name: &str) -> Value {
        json!({ "type": "file", "file": { "file_data": data, "filename": name } })
    }

    fn bytes(file: &InputFile) -> (&str, &[u8]) {
        let content = file.source().unwrap().byte_content().unwrap();
        (content.media_type(), content.data().as_ref())
    }

    #[test]
    fn files_come_as_data_urls_or_base64_in_either_spelling() {
        let files = read(vec![
            file("data:text/csv;charset=utf-8;base64,YSxi", "a.csv"),
            file("YSxi", "dir/A.CSV"),
            json!({ "type": "input_file", "file_data": "eA==", "filename": "x.md" }),
            json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,eA" } }),
            json!({ "type": "input_image", "image_url": "data:image/jpeg;base64,eA==" }),
        ])
        .unwrap();
        let names: Vec<_> = files.iter().map(InputFile::name).collect();
        assert_eq!(names, ["a.csv", "A-2.CSV", "x.md", "image-4.png", "image-5.jpeg"]);
        assert_eq!(bytes(&files[0]), ("text/csv", b"a,b".as_slice()));
        assert_eq!(bytes(&files[1]).0, "text/csv");
        assert_eq!(bytes(&files[3]), ("image/png", b"x".as_slice()));
        assert_eq!(files[0].use_case(), &FileUseCase::Chat);
    }

    #[test]
    fn objects_in_s3_are_named_by_their_uri() {
        let files = read(vec![
            json!({ "type": "file", "file": { "file_id": "s3://bucket/dir/fees.pdf" } }),
            json!({ "type": "input_file", "file_url": "s3://bucket/fees.pdf" }),
            json!({ "type": "image_url", "image_url": { "url": "s3://bucket/a.png" } }),
        ])
        .unwrap();
        let source = files[0].source().unwrap();
        assert_eq!(source.s3_location().unwrap().uri(), "s3://bucket/dir/fees.pdf");
        let names: Vec<_> = files.iter().map(InputFile::name).collect();
        assert_eq!(names, ["fees.pdf", "fees-2.pdf", "a.png"]);
        for uri in ["s3://bucket", "s3://b/x.pdf", "s3://bucket/x.exe", "s3://bucket/x"] {
            let file = json!({ "type": "file", "file": { "file_id": uri } });
            assert_eq!(read(vec![file]).unwrap_err().kind, FailureKind::BadRequest, "{uri}");
        }
    }

    #[test]
    fn limits_are_told_with_their_figures() {
        let six = read(vec![file("eA==", "x.txt"); 6]).unwrap_err();
        assert!(six.message.contains("at most 5 files"));
        assert_eq!(six.param.as_deref(), Some("messages"));
        let half = BASE64.encode(vec![0; LIMIT / 2 + 1]);
        let both = read(vec![file(&half, "a.txt"), file(&half, "b.txt")]).unwrap_err();
        assert!(both.message.contains("10485760 bytes"));
        let exact = BASE64.encode(vec![0; LIMIT]);
        assert_eq!(read(vec![file(&exact, "a.txt")]).unwrap().len(), 1);
        let over = BASE64.encode(vec![0; LIMIT + 1]);
        assert!(read(vec![file(&over, "a.txt")]).is_err());
    }

    #[test]
    fn what_cannot_be_taken_says_what_to_do() {
        let message = |part: Value| read(vec![part]).unwrap_err().message.into_owned();
        let url = json!({ "type": "image_url", "image_url": { "url": "https://a/b.png" } });
        assert!(message(url).contains("data URL"));
        assert!(message(file("file-123", "x.pdf")).contains("s3:// URI"));
        assert!(message(file("!!!", "x.pdf")).contains("base64"));
        assert!(message(file("data:text/plain,hello", "x.txt")).contains("base64"));
        assert!(message(file("eA==", "x")).contains("media type"));
        assert!(message(file("data:;base64,", "x.txt")).contains("empty"));
        assert!(message(json!({ "type": "file" })).contains("neither"));
        let audio = json!({ "type": "input_audio", "input_audio": { "data": "eA==" } });
        assert_eq!(read(vec![audio]).unwrap_err().kind, FailureKind::UnsupportedParameter);
    }
}
