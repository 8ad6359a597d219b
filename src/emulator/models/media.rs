//! Pictures, documents and recordings: whether they are what they are said to be, and what the
//! model says that it sees.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::emulator::refusal::Refusal;

use super::cards::{Can, Card};
use super::prompt::{Block, Chunk, Document, Media, Message, ResultBlock, Role, Source};

/// Pictures in a message, at most.
const MAX_IMAGES: usize = 20;
/// Documents in a message, at most.
const MAX_DOCUMENTS: usize = 5;
/// Bytes of a picture, at most: 3.75 MB.
const MAX_IMAGE: usize = 3_750_000;
/// Bytes of a document, at most: 4.5 MB.
const MAX_DOCUMENT: usize = 4_500_000;
/// Pixels along a side of a picture, at most.
const MAX_SIDE: u32 = 8_000;
/// Characters of a document's name, at most.
const MAX_NAME: usize = 200;

const IMAGES: &[&str] = &["png", "jpeg", "gif", "webp"];
const DOCUMENTS: &[&str] = &["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"];
const VIDEOS: &[&str] = &["mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"];

/// Checks everything in a message that is no text.
///
/// # Errors
/// `ValidationException`, by the service's limits.
pub(in crate::emulator) fn check(
    card: &Card,
    message: &Message,
    place: usize,
) -> Result<(), Refusal> {
    let (mut images, mut documents) = (0, 0);
    for block in &message.content {
        match block {
            Block::Image(media) => {
                images += 1;
                check_image(card, media)?;
            }
            Block::Document(document) => {
                documents += 1;
                check_document(card, document)?;
            }
            Block::Video(media) => check_video(card, media)?,
            Block::Audio(_) => return Err(unsupported("audio")),
            Block::ToolResult(result) => {
                images += check_result(card, &result.content)?;
                continue;
            }
            _ => continue,
        }
        if message.role != Role::User {
            return Err(Refusal::validation(format!(
                "The message at messages.{place} cannot hold images, documents or videos: only \
                 user messages can."
            )));
        }
    }
    if images > MAX_IMAGES {
        return Err(Refusal::validation(format!(
            "The message at messages.{place} has {images} images; at most {MAX_IMAGES} are \
             allowed."
        )));
    }
    if documents > MAX_DOCUMENTS {
        return Err(Refusal::validation(format!(
            "The message at messages.{place} has {documents} documents; at most {MAX_DOCUMENTS} \
             are allowed."
        )));
    }
    let has_text = message.content.iter().any(|block| block.text().is_some());
    if documents > 0 && !has_text {
        return Err(Refusal::validation(
            "You must include a text content block in the message with a document. Add a text \
             content block and try again.",
        ));
    }
    Ok(())
}

/// Checks the blocks of a tool's result and says how many are pictures.
fn check_result(card: &Card, blocks: &[ResultBlock]) -> Result<usize, Refusal> {
    let mut images = 0;
    for block in blocks {
        match block {
            ResultBlock::Image(media) => {
                images += 1;
                check_image(card, media)?;
            }
            ResultBlock::Document(document) => check_document(card, document)?,
            ResultBlock::Video(media) => check_video(card, media)?,
            ResultBlock::Json(_) | ResultBlock::Text(_) | ResultBlock::SearchResult(_) => {}
        }
    }
    Ok(images)
}

fn check_image(card: &Card, media: &Media) -> Result<(), Refusal> {
    if !card.can(Can::Images) {
        return Err(unsupported("image"));
    }
    is_one_of("image", &media.format, IMAGES)?;
    let Some(bytes) = bytes("image", &media.source)? else { return Ok(()) };
    if bytes.len() > MAX_IMAGE {
        return Err(Refusal::validation(format!(
            "The image is {} bytes long; the maximum is {MAX_IMAGE}.",
            bytes.len(),
        )));
    }
    match image_kind(&bytes) {
        Some(kind) if kind == media.format => {}
        Some(kind) => {
            return Err(Refusal::validation(format!(
                "The model returned the following errors: The image was specified using the \
                 image/{} media type, but the image appears to be a image/{kind} image",
                media.format,
            )));
        }
        None => {
            return Err(Refusal::validation(
                "The model returned the following errors: Could not process image",
            ));
        }
    }
    match image_size(&bytes) {
        Some((width, height)) if width.max(height) > MAX_SIDE => Err(Refusal::validation(format!(
            "The image is {width} x {height} pixels; at most {MAX_SIDE} are allowed on a side."
        ))),
        _ => Ok(()),
    }
}

fn check_document(card: &Card, document: &Document) -> Result<(), Refusal> {
    if !card.can(Can::Documents) {
        return Err(unsupported("document"));
    }
    is_one_of("document", document.format.as_deref().unwrap_or("txt"), DOCUMENTS)?;
    let allows = |letter: char| letter.is_alphanumeric() || " -()[]".contains(letter);
    let name = &document.name;
    let is_name = (1..=MAX_NAME).contains(&name.chars().count())
        && name.chars().all(allows)
        && !name.contains("  ");
    if !is_name {
        return Err(Refusal::validation(
            "The provided document name contains invalid characters or is too long: a file name \
             can only contain alphanumeric characters, whitespace characters, hyphens, \
             parentheses, and square brackets, and no more than one consecutive whitespace \
             character.",
        ));
    }
    let Some(bytes) = bytes("document", &document.source)? else { return Ok(()) };
    if bytes.len() > MAX_DOCUMENT {
        return Err(Refusal::validation(format!(
            "The document is {} bytes long; the maximum is {MAX_DOCUMENT}.",
            bytes.len(),
        )));
    }
    if document.format.as_deref() == Some("pdf") && !bytes.starts_with(b"%PDF-") {
        return Err(Refusal::validation(
            "The model returned the following errors: The PDF specified was not valid.",
        ));
    }
    Ok(())
}

fn check_video(card: &Card, media: &Media) -> Result<(), Refusal> {
    if !card.can(Can::Videos) {
        return Err(unsupported("video"));
    }
    is_one_of("video", &media.format, VIDEOS)?;
    bytes("video", &media.source).map(drop)
}

fn unsupported(kind: &str) -> Refusal {
    Refusal::validation(format!(
        "This model doesn't support the {kind} content block that you provided. Remove the block \
         and try again."
    ))
}

fn is_one_of(kind: &str, format: &str, known: &[&str]) -> Result<(), Refusal> {
    if known.contains(&format) {
        return Ok(());
    }
    Err(Refusal::validation(format!(
        "1 validation error detected: Value '{format}' at '{kind}.format' failed to satisfy \
         constraint: Member must satisfy enum value set: [{}]",
        known.join(", "),
    )))
}

/// The bytes of a source that holds them here, never empty.
fn bytes(kind: &str, source: &Source) -> Result<Option<Vec<u8>>, Refusal> {
    let bytes = match source {
        Source::Bytes(base64) => STANDARD
            .decode(base64)
            .map_err(|_| Refusal::serialization(format!("{kind}.source.bytes is not base64")))?,
        Source::S3Location(place) if place.uri.starts_with("s3://") => return Ok(None),
        Source::S3Location(_) => {
            return Err(Refusal::validation(format!("{kind}.source.s3Location.uri is not s3://…")));
        }
        Source::Text(text) if kind == "document" => text.clone().into_bytes(),
        Source::Content(chunks) if kind == "document" => joined(chunks).into_bytes(),
        Source::Text(_) | Source::Content(_) => {
            return Err(Refusal::serialization(format!("{kind}.source takes bytes")));
        }
    };
    if bytes.is_empty() {
        return Err(Refusal::validation(format!(
            "1 validation error detected: Value at '{kind}.source.bytes' failed to satisfy \
             constraint: Member must have length greater than or equal to 1"
        )));
    }
    Ok(Some(bytes))
}

fn joined(chunks: &[Chunk]) -> String {
    chunks.iter().map(|Chunk::Text(text)| text.as_str()).collect::<Vec<_>>().join("\n")
}

/// What a picture is by its first bytes.
fn image_kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("png"),
        [0xff, 0xd8, 0xff, ..] => Some("jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("webp"),
        _ => None,
    }
}

/// Width and height, of a PNG or a GIF.
fn image_size(bytes: &[u8]) -> Option<(u32, u32)> {
    match image_kind(bytes)? {
        "png" => {
            let at = |start: usize| bytes.get(start..start + 4)?.try_into().ok();
            Some((u32::from_be_bytes(at(16)?), u32::from_be_bytes(at(20)?)))
        }
        "gif" => {
            let at = |start: usize| bytes.get(start..start + 2)?.try_into().ok();
            Some((u16::from_le_bytes(at(6)?).into(), u16::from_le_bytes(at(8)?).into()))
        }
        _ => None,
    }
}

/// What a picture is, where its bytes are here and tell.
pub(in crate::emulator) fn kind_of(media: &Media) -> Option<&'static str> {
    image_kind(&contents(&media.source))
}

/// What a model says of a picture.
pub(in crate::emulator) fn describe(kind: &str, media: &Media) -> String {
    let decoded = match &media.source {
        Source::Bytes(base64) => STANDARD.decode(base64).unwrap_or_default(),
        Source::S3Location(place) => return format!("{kind} ({}, {})", media.format, place.uri),
        Source::Text(_) | Source::Content(_) => Vec::new(),
    };
    match image_size(&decoded) {
        Some((width, height)) => {
            format!("{kind} ({}, {} bytes, {width}x{height})", media.format, decoded.len())
        }
        None => format!("{kind} ({}, {} bytes)", media.format, decoded.len()),
    }
}

/// What a model says of a document.
pub(in crate::emulator) fn describe_document(document: &Document) -> String {
    let format = document.format.as_deref().unwrap_or("txt");
    let name = &document.name;
    match &document.source {
        Source::S3Location(place) => format!("document \"{name}\" ({format}, {})", place.uri),
        source => format!("document \"{name}\" ({format}, {} bytes)", contents(source).len()),
    }
}

/// What a document holds, where it is here.
pub(in crate::emulator) fn contents(source: &Source) -> Vec<u8> {
    match source {
        Source::Bytes(base64) => STANDARD.decode(base64).unwrap_or_default(),
        Source::Text(text) => text.clone().into_bytes(),
        Source::Content(chunks) => joined(chunks).into_bytes(),
        Source::S3Location(_) => Vec::new(),
    }
}
