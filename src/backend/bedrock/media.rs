//! Attachments as the blocks that Converse has for them, within its limits.
//!
//! What a picture or document is, its bytes say: the type that a client declares is often wrong,
//! and Bedrock refuses a block whose bytes are not of its format.
//! (Converse API reference, `ImageBlock`, `DocumentBlock`, `VideoBlock`, `AudioBlock`.)

use std::collections::{HashMap, HashSet};

use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::{
    AudioBlock, AudioSource, CitationsConfig, DocumentBlock, DocumentFormat, DocumentSource,
    ImageBlock, ImageSource, S3Location, VideoBlock, VideoSource,
};

use crate::turn::{Failure, FailureKind};

use super::attachment::{Attachment, Sort, Source, decode};
use super::families::Reads;
use super::fetch::Fetched;
use super::file_format::{
    DOCUMENTS, IMAGES, RECORDINGS, VIDEOS, by_ending, by_type, of_document, of_image,
};

/// Bytes of one image.
pub(super) const IMAGE_BYTES: usize = 3_750_000;
/// Bytes of one document.
pub(super) const DOCUMENT_BYTES: usize = 4_500_000;
/// Bytes of one video or recording within a request; longer ones go through a bucket.
pub(super) const FILM_BYTES: usize = 18_000_000;
/// Characters of a document's name.
const NAME_LENGTH: usize = 190;

/// What an attachment becomes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Block {
    Text(String),
    Image(ImageBlock),
    Document(DocumentBlock),
    Video(VideoBlock),
    Audio(AudioBlock),
}

/// Makes the blocks of one request.
#[derive(Debug)]
pub(super) struct Media<'a> {
    reads: Reads,
    /// What was behind the URLs.
    fetched: &'a HashMap<String, Result<Fetched, Failure>>,
    /// Names of documents; the service wants each to have its own.
    names: HashSet<String>,
}

impl<'a> Media<'a> {
    pub(super) fn new(
        reads: Reads,
        fetched: &'a HashMap<String, Result<Fetched, Failure>>,
    ) -> Self {
        Self { reads, fetched, names: HashSet::new() }
    }

    /// The block of an attachment.
    ///
    /// # Errors
    /// `UnsupportedParameter` where the model does not read such, `BadRequest` where the content
    /// is not what it claims to be, or too large.
    pub(super) fn block(&mut self, attachment: &Attachment<'_>) -> Result<Block, Failure> {
        let Attachment { sort, source, name, citations } = attachment;
        match sort {
            Sort::Text => match source {
                Source::Text(text) => Ok(Block::Text((*text).to_owned())),
                _ => Err(Failure::internal()),
            },
            Sort::Image => {
                can(self.reads.images, "images")?;
                self.image(source).map(Block::Image)
            }
            Sort::Document => {
                can(self.reads.documents, "documents")?;
                self.document(source, *name, *citations)
            }
            Sort::Video => {
                can(self.reads.video, "videos")?;
                self.video(source).map(Block::Video)
            }
            Sort::Audio => {
                can(self.reads.audio, "recordings")?;
                self.recording(source, *name).map(Block::Audio)
            }
        }
    }

    fn image(&self, source: &Source<'_>) -> Result<ImageBlock, Failure> {
        let (format, source) = if let Source::S3(uri) = source {
            let format = by_ending(IMAGES, uri).ok_or_else(|| {
                bad("an image in a bucket must end in .png, .jpg, .jpeg, .gif or .webp")
            })?;
            (format, ImageSource::S3Location(bucket(uri)?))
        } else {
            let (bytes, _) = self.content(source, IMAGE_BYTES, "an image")?;
            let format = of_image(&bytes)
                .ok_or_else(|| bad("an image's bytes are no PNG, JPEG, GIF or WebP"))?;
            (format, ImageSource::Bytes(Blob::new(bytes)))
        };
        build(ImageBlock::builder().format(format).source(source).build())
    }

    fn document(
        &mut self,
        source: &Source<'_>,
        name: Option<&str>,
        citations: bool,
    ) -> Result<Block, Failure> {
        let (format, source, path) = match source {
            Source::Text(text) => {
                (DocumentFormat::Txt, DocumentSource::Text((*text).to_owned()), None)
            }
            Source::S3(uri) => {
                let format = by_ending(DOCUMENTS, uri)
                    .ok_or_else(|| bad("a document in a bucket needs an ending such as .pdf"))?;
                (format, DocumentSource::S3Location(bucket(uri)?), last_segment(uri))
            }
            Source::Base64 { .. } | Source::Url(_) => {
                let (bytes, declared) = self.content(source, DOCUMENT_BYTES, "a document")?;
                let path = match source {
                    Source::Url(url) => last_segment(url),
                    _ => None,
                };
                if of_image(&bytes).is_some() && self.reads.images {
                    return self.image(source).map(Block::Image);
                }
                let format = of_document(&bytes, declared.as_deref(), name.or(path));
                let format = format.map_err(bad)?;
                (format, DocumentSource::Bytes(Blob::new(bytes)), path)
            }
        };
        let name = self.document_name(name.or(path));
        let citations = citations
            .then(|| CitationsConfig::builder().enabled(true).build())
            .transpose()
            .map_err(|_| Failure::internal())?;
        let block = DocumentBlock::builder()
            .format(format)
            .name(name)
            .source(source)
            .set_citations(citations);
        build(block.build()).map(Block::Document)
    }

    fn video(&self, source: &Source<'_>) -> Result<VideoBlock, Failure> {
        let unknown = || bad("a video must be mp4, mov, mkv, webm, flv, mpeg, mpg, wmv or 3gp");
        let (format, source) = if let Source::S3(uri) = source {
            let format = by_ending(VIDEOS, uri).ok_or_else(unknown)?;
            (format, VideoSource::S3Location(bucket(uri)?))
        } else {
            let (bytes, declared) = self.content(source, FILM_BYTES, "a video")?;
            let format = declared.as_deref().and_then(|declared| by_type(VIDEOS, declared));
            (format.ok_or_else(unknown)?, VideoSource::Bytes(Blob::new(bytes)))
        };
        build(VideoBlock::builder().format(format).source(source).build())
    }

    fn recording(&self, source: &Source<'_>, format: Option<&str>) -> Result<AudioBlock, Failure> {
        let unknown =
            || bad("a recording must be wav, mp3, flac, opus, ogg, aac, m4a, webm or pcm");
        let by_name = format.and_then(|name| by_ending(RECORDINGS, &format!(".{name}")));
        let (format, source) = if let Source::S3(uri) = source {
            let format = by_ending(RECORDINGS, uri).or(by_name);
            (format.ok_or_else(unknown)?, AudioSource::S3Location(bucket(uri)?))
        } else {
            let (bytes, declared) = self.content(source, FILM_BYTES, "a recording")?;
            let by_type = declared.as_deref().and_then(|declared| by_type(RECORDINGS, declared));
            let format = by_name.or(by_type).ok_or_else(unknown)?;
            (format, AudioSource::Bytes(Blob::new(bytes)))
        };
        build(AudioBlock::builder().format(format).source(source).build())
    }

    /// The bytes of an attachment, and the type that somebody says they have.
    fn content(
        &self,
        source: &Source<'_>,
        most: usize,
        what: &str,
    ) -> Result<(Vec<u8>, Option<String>), Failure> {
        let (bytes, declared) = match source {
            Source::Base64 { media_type, data } => {
                // Three bytes of four characters: what is far too long need not be decoded.
                if data.len() / 4 * 3 > most.saturating_add(most / 8) {
                    return Err(too_large(what, most));
                }
                (decode(data)?, media_type.map(str::to_owned))
            }
            Source::Text(text) => (text.as_bytes().to_vec(), Some("text/plain".to_owned())),
            Source::Url(url) => match self.fetched.get(*url) {
                Some(Ok(fetched)) => (fetched.bytes.to_vec(), fetched.media_type.clone()),
                Some(Err(failure)) => return Err(failure.clone()),
                None => return Err(not_fetched()),
            },
            Source::S3(_) => return Err(Failure::internal()),
        };
        match bytes.len() {
            0 => Err(bad(format!("{what} is empty"))),
            length if length > most => Err(too_large(what, most)),
            _ => Ok((bytes, declared)),
        }
    }

    /// A name that the service takes: letters, digits, single spaces, `- ( ) [ ]`, and none that
    /// another document of the request has.
    fn document_name(&mut self, written: Option<&str>) -> String {
        let written = written.unwrap_or_default();
        let stem = written.rsplit_once('.').map_or(written, |(stem, _)| stem);
        let words: String = stem
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "-()[]".contains(c) { c } else { ' ' })
            .take(NAME_LENGTH)
            .collect();
        let mut words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.is_empty() {
            "document".clone_into(&mut words);
        }
        let mut name = words.clone();
        let mut copies = 1;
        while !self.names.insert(name.clone()) {
            copies += 1;
            name = format!("{words} ({copies})");
        }
        name
    }
}

fn can(reads: bool, what: &str) -> Result<(), Failure> {
    if reads {
        return Ok(());
    }
    let message = format!("this model reads no {what}; send them to one that does");
    Err(Failure::new(FailureKind::UnsupportedParameter, message).at("messages"))
}

fn bad(message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::bad_field("messages", message)
}

fn too_large(what: &str, most: usize) -> Failure {
    bad(format!("{what} is larger than {most} bytes"))
}

fn not_fetched() -> Failure {
    let message = "URLs are not fetched for this model; send the content as a data URL";
    Failure::new(FailureKind::UnsupportedParameter, message).at("messages")
}

/// Every member that a builder asks for was set.
fn build<T, E>(built: Result<T, E>) -> Result<T, Failure> {
    built.map_err(|_| Failure::internal())
}

fn bucket(uri: &str) -> Result<S3Location, Failure> {
    build(S3Location::builder().uri(uri).build())
}

/// The file's name in a URL.
fn last_segment(url: &str) -> Option<&str> {
    let path = url.split(['?', '#']).next()?;
    path.rsplit('/').next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use aws_sdk_bedrockruntime::types::{ImageFormat, VideoFormat};

    use super::super::families;
    use super::*;

    const CLAUDE: &str = "anthropic.claude-3-haiku-20240307-v1:0";
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\nand so on";

    fn block_for(model: &str, part: &Value) -> Result<Block, Failure> {
        let none = HashMap::new();
        let mut media = Media::new(families::of(model).reads, &none);
        media.block(&Attachment::read(part["type"].as_str().unwrap(), part)?)
    }

    fn block(part: &Value) -> Result<Block, Failure> {
        block_for(CLAUDE, part)
    }

    fn image(media_type: &str, bytes: &[u8]) -> Value {
        let url = format!("data:{media_type};base64,{}", STANDARD.encode(bytes));
        json!({"type": "image_url", "image_url": {"url": url}})
    }

    fn file(name: &str, media_type: &str, bytes: &[u8]) -> Value {
        let data = format!("data:{media_type};base64,{}", STANDARD.encode(bytes));
        json!({"type": "file", "file": {"filename": name, "file_data": data}})
    }

    #[test]
    fn an_images_bytes_say_what_it_is() {
        let Ok(Block::Image(block)) = block(&image("image/jpg", PNG)) else { panic!() };
        assert_eq!(block.format, ImageFormat::Png);
        let webp = b"RIFF\x00\x00\x00\x00WEBPVP8 ";
        let Ok(Block::Image(block)) = super::tests::block(&image("image/png", webp)) else {
            panic!()
        };
        assert_eq!(block.format, ImageFormat::Webp);
    }

    #[test]
    fn bytes_that_are_no_image_are_refused() {
        let failure = block(&image("image/png", b"<svg/>")).unwrap_err();
        assert_eq!(failure.kind, FailureKind::BadRequest);
        assert_eq!(failure.param.as_deref(), Some("messages"));
        assert!(block(&image("image/png", b"")).unwrap_err().message.contains("empty"));
    }

    #[test]
    fn an_image_has_a_size_that_it_may_have() {
        let mut bytes = PNG.to_vec();
        bytes.resize(IMAGE_BYTES, 0);
        assert!(block(&image("image/png", &bytes)).is_ok());
        bytes.push(0);
        assert!(block(&image("image/png", &bytes)).unwrap_err().message.contains("larger"));
    }

    #[test]
    fn a_model_that_reads_no_images_refuses_them() {
        let failure = block_for("amazon.nova-micro-v1:0", &image("image/png", PNG)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::UnsupportedParameter);
        assert!(failure.message.contains("images"));
    }

    #[test]
    fn a_documents_format_comes_from_its_type_its_name_or_its_bytes() {
        let cases = [
            (file("a.bin", "application/pdf", b"%PDF-1.7 x"), DocumentFormat::Pdf),
            (file("a.csv", "application/octet-stream", b"a,b"), DocumentFormat::Csv),
            (file("notes.md", "text/plain", b"# Notes"), DocumentFormat::Md),
            (file("x", "application/octet-stream", b"just text"), DocumentFormat::Txt),
            (file("b.docx", "", b"PK\x03\x04..."), DocumentFormat::Docx),
        ];
        for (part, format) in cases {
            let Ok(Block::Document(block)) = block(&part) else { panic!("{part}") };
            assert_eq!(block.format, format, "{part}");
        }
    }

    #[test]
    fn documents_that_are_not_what_they_say_are_refused() {
        for part in [
            file("a.pdf", "application/pdf", b"plain text"),
            file("a.docx", "", b"\xd0\xcf\x11\xe0"),
            file("a.txt", "text/plain", b"\xff\xfe\x00"),
            file("a.exe", "application/octet-stream", b"MZ\x90\x00\xff"),
        ] {
            assert_eq!(block(&part).unwrap_err().kind, FailureKind::BadRequest, "{part}");
        }
    }

    #[test]
    fn names_of_documents_are_cleaned_and_kept_apart() {
        let none = HashMap::new();
        let mut media = Media::new(families::of(CLAUDE).reads, &none);
        let names = ["Q3 report_(final)!.pdf", "Q3  report (final).pdf", "../../etc/passwd", "…"];
        let cleaned: Vec<_> = names.iter().map(|name| media.document_name(Some(name))).collect();
        let expected = ["Q3 report (final)", "Q3 report (final) (2)", "document", "document (2)"];
        assert_eq!(cleaned, expected);
    }

    #[test]
    fn what_is_in_a_bucket_is_left_to_bedrock() {
        let part = json!({"type": "video_url", "video_url": {"url": "s3://films/a.mp4"}});
        let Ok(Block::Video(video)) = block_for("amazon.nova-lite-v1:0", &part) else { panic!() };
        assert_eq!(video.format, VideoFormat::Mp4);
        assert!(matches!(video.source, Some(VideoSource::S3Location(_))));
        let nameless = json!({"type": "image_url", "image_url": {"url": "s3://pictures/a"}});
        assert!(block(&nameless).is_err());
    }

    #[test]
    fn a_url_that_was_not_fetched_says_so() {
        let part = json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}});
        let failure = block(&part).unwrap_err();
        assert_eq!(failure.kind, FailureKind::UnsupportedParameter);
        assert!(failure.message.contains("data URL"));
    }
}
