//! What a client attached to a message, read from the spelling of its dialect.
//!
//! Parts come in OpenAI's spellings (`image_url`, `input_image`, `file`, `input_file`,
//! `input_audio`, `video_url`) and in Anthropic's (`image`, `document` with a `source`).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use crate::turn::{Failure, FailureKind};

/// Clients leave the padding out, or put it in.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What an attachment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) enum Sort {
    Text,
    Image,
    Document,
    Video,
    Audio,
}

/// Where its content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend) enum Source<'a> {
    /// In the part, as base64, with the type it claims to have, if any.
    Base64 { media_type: Option<&'a str>, data: &'a str },
    /// In the part, as text.
    Text(&'a str),
    /// In a bucket (`s3://`), that Bedrock reads itself.
    S3(&'a str),
    /// Behind an http or https URL.
    Url(&'a str),
}

/// One attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend) struct Attachment<'a> {
    pub(in crate::backend) sort: Sort,
    pub(in crate::backend) source: Source<'a>,
    /// The file's name, or the format of audio.
    pub(in crate::backend) name: Option<&'a str>,
    /// Whether the client wants passages of it cited.
    pub(in crate::backend) citations: bool,
}

impl<'a> Attachment<'a> {
    /// Reads a part of this type.
    ///
    /// # Errors
    /// `BadRequest` for one that is not as its type should be, `UnsupportedParameter` for a type
    /// that is not known, or a file that is kept elsewhere.
    pub(in crate::backend) fn read(kind: &str, part: &'a Value) -> Result<Self, Failure> {
        let of = |sort, source, name| Self { sort, source, name, citations: wants_citations(part) };
        let text = |value: &'a Value| value.as_str();
        match kind {
            "text" | "input_text" | "output_text" => {
                let said = text(&part["text"]).ok_or_else(|| malformed(kind, "text"))?;
                Ok(of(Sort::Text, Source::Text(said), None))
            }
            "image_url" | "input_image" => {
                let image = &part["image_url"];
                let url = text(image).or_else(|| text(&image["url"]));
                let url = url.ok_or_else(|| kept_elsewhere(part, kind, "image_url"))?;
                Ok(of(Sort::Image, locate(url)?, None))
            }
            "video_url" | "input_video" => {
                let video = &part["video_url"];
                let url = text(video).or_else(|| text(&video["url"]));
                let url = url.ok_or_else(|| malformed(kind, "video_url"))?;
                Ok(of(Sort::Video, locate(url)?, None))
            }
            "file" | "input_file" => {
                let file = if kind == "file" { &part["file"] } else { part };
                let content = text(&file["file_data"]).or_else(|| text(&file["file_url"]));
                let content = content.ok_or_else(|| kept_elsewhere(file, kind, "file_data"))?;
                let source = match locate(content) {
                    Ok(source) => source,
                    // The Responses API also takes the base64 alone.
                    Err(_) => Source::Base64 { media_type: None, data: content },
                };
                Ok(of(sort_of(&source), source, text(&file["filename"])))
            }
            "input_audio" => {
                let audio = &part["input_audio"];
                let data =
                    text(&audio["data"]).ok_or_else(|| malformed(kind, "input_audio.data"))?;
                let source = locate(data).unwrap_or(Source::Base64 { media_type: None, data });
                Ok(of(Sort::Audio, source, text(&audio["format"])))
            }
            "image" => Ok(of(Sort::Image, anthropic_source(part, kind)?, None)),
            "document" => {
                Ok(of(Sort::Document, anthropic_source(part, kind)?, text(&part["title"])))
            }
            other => {
                let shown: String = other.chars().take(40).collect();
                let message = format!("this model takes no parts of type {shown:?}");
                Err(Failure::new(FailureKind::UnsupportedParameter, message).at("messages"))
            }
        }
    }

    /// The URL that would have to be fetched.
    pub(in crate::backend) fn url(&self) -> Option<&'a str> {
        match self.source {
            Source::Url(url) => Some(url),
            Source::Base64 { .. } | Source::Text(_) | Source::S3(_) => None,
        }
    }
}

/// The bytes of a base64 text, line breaks and all.
///
/// # Errors
/// `BadRequest` for what is no base64.
pub(in crate::backend) fn decode(data: &str) -> Result<Vec<u8>, Failure> {
    let decoded = if data.bytes().any(|byte| byte.is_ascii_whitespace()) {
        let joined: String = data.split_ascii_whitespace().collect();
        BASE64.decode(joined)
    } else {
        BASE64.decode(data)
    };
    decoded.map_err(|_| Failure::bad_field("messages", "an attachment's data is not base64"))
}

fn wants_citations(part: &Value) -> bool {
    part["citations"]["enabled"].as_bool().unwrap_or_default()
}

/// Files are documents, unless they say that they are pictures or the like.
fn sort_of(source: &Source<'_>) -> Sort {
    let Source::Base64 { media_type: Some(media_type), .. } = source else { return Sort::Document };
    match media_type.split('/').next() {
        Some("image") => Sort::Image,
        Some("video") => Sort::Video,
        Some("audio") => Sort::Audio,
        _ => Sort::Document,
    }
}

fn anthropic_source<'a>(part: &'a Value, kind: &str) -> Result<Source<'a>, Failure> {
    let source = &part["source"];
    let member = |name: &str| source[name].as_str();
    let found = match member("type") {
        Some("base64") => {
            member("data").map(|data| Source::Base64 { media_type: member("media_type"), data })
        }
        Some("text") => member("data").map(Source::Text),
        Some("url") => member("url").map(locate).transpose()?,
        Some("file") => return Err(kept_elsewhere(source, kind, "source")),
        _ => None,
    };
    found.ok_or_else(|| malformed(kind, "source"))
}

/// Takes a URL apart: data, a bucket, or the web.
fn locate(url: &str) -> Result<Source<'_>, Failure> {
    let after = |scheme: &str| {
        let (start, rest) = url.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    if let Some(data_url) = after("data:") {
        let wrong = || Failure::bad_field("messages", "a data URL must be data:TYPE;base64,DATA");
        let (head, data) = data_url.split_once(',').ok_or_else(wrong)?;
        let head = head.strip_suffix(";base64").ok_or_else(wrong)?;
        let media_type = head.split(';').next().filter(|media_type| !media_type.is_empty());
        return Ok(Source::Base64 { media_type, data });
    }
    if after("s3://").is_some() {
        return Ok(Source::S3(url));
    }
    if after("http://").or_else(|| after("https://")).is_some() {
        return Ok(Source::Url(url));
    }
    Err(Failure::bad_field("messages", "an attachment's URL must be a data:, https: or s3: URL"))
}

fn malformed(kind: &str, member: &str) -> Failure {
    Failure::bad_field("messages", format!("a part of type {kind:?} needs its {member:?}"))
}

/// A file by its id is one that we do not have.
fn kept_elsewhere(file: &Value, kind: &str, member: &str) -> Failure {
    if file.get("file_id").is_none_or(Value::is_null) {
        return malformed(kind, member);
    }
    let message = "files cannot be named by their id here; send the content as a data URL";
    Failure::new(FailureKind::UnsupportedParameter, message).at("messages")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sort_and_source(part: &Value) -> (Sort, Source<'_>) {
        let read = Attachment::read(part["type"].as_str().unwrap(), part).unwrap();
        (read.sort, read.source)
    }

    #[test]
    fn every_spelling_of_an_image_is_one() {
        let png = Source::Base64 { media_type: Some("image/png"), data: "AAAA" };
        let parts = [
            json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}),
            json!({"type": "image_url", "image_url": "data:image/png;base64,AAAA"}),
            json!({"type": "input_image", "image_url": "data:image/png;base64,AAAA"}),
            json!({"type": "file", "file": {"file_data": "data:image/png;base64,AAAA"}}),
            json!({"type": "image",
                   "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}),
        ];
        for part in &parts {
            assert_eq!(sort_and_source(part), (Sort::Image, png.clone()), "{part}");
        }
    }

    #[test]
    fn the_scheme_says_where_content_is() {
        let at = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
        let web = at("HTTPS://example.com/a.png");
        assert_eq!(sort_and_source(&web).1, Source::Url("HTTPS://example.com/a.png"));
        let bucket = at("s3://bucket/a.png");
        assert_eq!(sort_and_source(&bucket).1, Source::S3("s3://bucket/a.png"));
        for url in ["ftp://x/y", "file:///etc/passwd", "data:image/png,raw", "nonsense"] {
            let failure = Attachment::read("image_url", &at(url)).unwrap_err();
            assert_eq!(failure.param.as_deref(), Some("messages"), "{url}");
        }
    }

    #[test]
    fn parts_that_are_incomplete_or_unknown_say_what_they_lack() {
        let empty = json!({});
        for kind in ["image_url", "file", "input_audio", "video_url", "document", "text"] {
            let failure = Attachment::read(kind, &empty).unwrap_err();
            assert_eq!(failure.kind, FailureKind::BadRequest, "{kind}");
            assert!(failure.message.contains(kind), "{}", failure.message);
        }
        let by_id = json!({"type": "file", "file": {"file_id": "file-1"}});
        let failure = Attachment::read("file", &by_id).unwrap_err();
        assert_eq!(failure.kind, FailureKind::UnsupportedParameter);
        assert!(Attachment::read("hologram", &empty).unwrap_err().message.contains("hologram"));
    }

    #[test]
    fn base64_may_be_wrapped_and_unpadded() {
        assert_eq!(decode("aGVs\nbG8").unwrap(), b"hello");
        assert_eq!(decode("aGVsbG8=").unwrap(), b"hello");
        assert!(decode("not base64!").is_err());
    }
}
