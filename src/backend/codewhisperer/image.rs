//! Images, and files that are texts: all that the service is given beside words.
//!
//! What an image is, its bytes say. The bounds are those of the service's own tools.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::backend::bedrock::attachment::{Attachment, Sort, Source, decode};
use crate::backend::bedrock::call::Contents;
use crate::backend::bedrock::file_format::of_image;
use crate::turn::{Failure, FailureKind};

/// Images of one message.
pub(super) const MOST: usize = 10;
/// Bytes of one image.
pub(super) const MOST_BYTES: usize = 10_000_000;

/// An image as the service takes it.
#[derive(Debug, Serialize)]
pub(super) struct Image {
    format: &'static str,
    source: Bytes,
}

#[derive(Debug, Serialize)]
struct Bytes {
    /// In base64.
    bytes: String,
}

/// What becomes of an attachment.
#[derive(Debug)]
pub(super) enum Shown {
    Image(Image),
    Text(String),
}

/// Shows what clients attach.
#[derive(Debug)]
pub(super) struct Images<'a> {
    /// What was behind the URLs.
    behind: &'a Contents,
}

impl<'a> Images<'a> {
    pub(super) fn new(behind: &'a Contents) -> Self {
        Self { behind }
    }

    /// What the model is shown of an attachment.
    ///
    /// # Errors
    /// `UnsupportedParameter` for what is neither an image nor a text, `BadRequest` where the
    /// content is not what it claims to be, or too large.
    pub(super) fn show(&self, attachment: &Attachment<'_>) -> Result<Shown, Failure> {
        let named = |text: &str| match attachment.name {
            Some(name) => Shown::Text(format!("The file {name:?}:\n{text}")),
            None => Shown::Text(text.to_owned()),
        };
        if let (Sort::Text | Sort::Document, Source::Text(text)) =
            (attachment.sort, &attachment.source)
        {
            return Ok(named(text));
        }
        if !matches!(attachment.sort, Sort::Image | Sort::Document) {
            return Err(unsupported());
        }
        let bytes = self.content(&attachment.source)?;
        if bytes.len() > MOST_BYTES {
            let message = format!("an image may have {MOST_BYTES} bytes at most");
            return Err(Failure::bad_field("messages", message));
        }
        if let Some(format) = of_image(&bytes).and_then(|format| spelled(format.as_str())) {
            let source = Bytes { bytes: STANDARD.encode(bytes) };
            return Ok(Shown::Image(Image { format, source }));
        }
        match (attachment.sort, String::from_utf8(bytes)) {
            (Sort::Document, Ok(text)) if !text.contains('\0') => Ok(named(&text)),
            (Sort::Image, _) => {
                let message = "an image's bytes are no PNG, JPEG, GIF or WebP";
                Err(Failure::bad_field("messages", message))
            }
            _ => Err(unsupported()),
        }
    }

    fn content(&self, source: &Source<'_>) -> Result<Vec<u8>, Failure> {
        match source {
            Source::Base64 { data, .. } => decode(data),
            Source::Text(text) => Ok(text.as_bytes().to_vec()),
            Source::Url(url) => match self.behind.get(*url) {
                Some(fetched) => fetched.clone().map(|fetched| fetched.bytes.to_vec()),
                None => Err(elsewhere()),
            },
            Source::S3(_) => Err(elsewhere()),
        }
    }
}

fn spelled(format: &str) -> Option<&'static str> {
    ["png", "jpeg", "gif", "webp"].into_iter().find(|known| *known == format)
}

fn unsupported() -> Failure {
    let message = "this model reads images and files of text; send the text of other files";
    Failure::new(FailureKind::UnsupportedParameter, message).at("messages")
}

fn elsewhere() -> Failure {
    let message = "URLs of attachments are not fetched for this model; send a data URL";
    Failure::new(FailureKind::UnsupportedParameter, message).at("messages")
}
