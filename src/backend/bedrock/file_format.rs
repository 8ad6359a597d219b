//! What a file is: by its bytes, its name, or what somebody says of it.

use aws_sdk_bedrockruntime::types::{AudioFormat, DocumentFormat, ImageFormat, VideoFormat};

/// A row of a table of formats: an ending, a media type, the format.
type Row<T> = (&'static str, &'static str, T);

/// The formats of images, by the ending of their names and by media type.
pub(in crate::backend) const IMAGES: &[Row<ImageFormat>] = &[
    ("png", "image/png", ImageFormat::Png),
    ("jpg", "image/jpeg", ImageFormat::Jpeg),
    ("jpeg", "image/jpeg", ImageFormat::Jpeg),
    ("gif", "image/gif", ImageFormat::Gif),
    ("webp", "image/webp", ImageFormat::Webp),
];

/// The formats of documents, by the ending of their names and by media type.
pub(in crate::backend) const DOCUMENTS: &[Row<DocumentFormat>] = &[
    ("pdf", "application/pdf", DocumentFormat::Pdf),
    ("csv", "text/csv", DocumentFormat::Csv),
    ("doc", "application/msword", DocumentFormat::Doc),
    (
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        DocumentFormat::Docx,
    ),
    ("xls", "application/vnd.ms-excel", DocumentFormat::Xls),
    (
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        DocumentFormat::Xlsx,
    ),
    ("html", "text/html", DocumentFormat::Html),
    ("htm", "text/html", DocumentFormat::Html),
    ("txt", "text/plain", DocumentFormat::Txt),
    ("md", "text/markdown", DocumentFormat::Md),
];

/// The formats of videos, by the ending of their names and by media type.
pub(in crate::backend) const VIDEOS: &[Row<VideoFormat>] = &[
    ("mp4", "video/mp4", VideoFormat::Mp4),
    ("mov", "video/quicktime", VideoFormat::Mov),
    ("mkv", "video/x-matroska", VideoFormat::Mkv),
    ("webm", "video/webm", VideoFormat::Webm),
    ("flv", "video/x-flv", VideoFormat::Flv),
    ("mpeg", "video/mpeg", VideoFormat::Mpeg),
    ("mpg", "video/mpg", VideoFormat::Mpg),
    ("wmv", "video/x-ms-wmv", VideoFormat::Wmv),
    ("3gp", "video/3gpp", VideoFormat::ThreeGp),
];

/// The formats of recordings, by the name that clients give and by media type.
pub(in crate::backend) const RECORDINGS: &[Row<AudioFormat>] = &[
    ("wav", "audio/wav", AudioFormat::Wav),
    ("mp3", "audio/mpeg", AudioFormat::Mp3),
    ("flac", "audio/flac", AudioFormat::Flac),
    ("opus", "audio/opus", AudioFormat::Opus),
    ("ogg", "audio/ogg", AudioFormat::Ogg),
    ("aac", "audio/aac", AudioFormat::Aac),
    ("m4a", "audio/mp4", AudioFormat::M4A),
    ("webm", "audio/webm", AudioFormat::Webm),
    ("pcm", "audio/pcm", AudioFormat::Pcm),
];

/// The format of an image, by the bytes that it begins with.
pub(in crate::backend) fn of_image(bytes: &[u8]) -> Option<ImageFormat> {
    let begins = |with: &[u8]| bytes.starts_with(with);
    if begins(b"\x89PNG\r\n\x1a\n") {
        Some(ImageFormat::Png)
    } else if begins(b"\xff\xd8\xff") {
        Some(ImageFormat::Jpeg)
    } else if begins(b"GIF87a") || begins(b"GIF89a") {
        Some(ImageFormat::Gif)
    } else if begins(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some(ImageFormat::Webp)
    } else {
        None
    }
}

/// The format of a document: as declared, else by its name, else by what its bytes look like.
///
/// # Errors
/// For bytes that are not of the format, in words for the client.
pub(in crate::backend) fn of_document(
    bytes: &[u8],
    declared: Option<&str>,
    name: Option<&str>,
) -> Result<DocumentFormat, String> {
    let is_text = std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0'));
    let looks = match bytes {
        _ if bytes.starts_with(b"%PDF-") => Some(DocumentFormat::Pdf),
        _ if is_text => Some(DocumentFormat::Txt),
        _ => None,
    };
    // Everything may be declared as plain text, or as nothing in particular.
    let declared = declared
        .and_then(|declared| by_type(DOCUMENTS, declared))
        .filter(|format| *format != DocumentFormat::Txt);
    let format = declared.or_else(|| name.and_then(|name| by_ending(DOCUMENTS, name))).or(looks);
    let format =
        format.ok_or("a document must be pdf, csv, doc, docx, xls, xlsx, html, txt or md")?;
    let fits = match format {
        DocumentFormat::Pdf => bytes.starts_with(b"%PDF-"),
        DocumentFormat::Docx | DocumentFormat::Xlsx => bytes.starts_with(b"PK\x03\x04"),
        DocumentFormat::Doc | DocumentFormat::Xls => bytes.starts_with(b"\xd0\xcf\x11\xe0"),
        _ => is_text,
    };
    if fits {
        return Ok(format);
    }
    Err(format!("a document's bytes are no {}", format.as_str()))
}

/// The row that a name's ending leads to.
pub(in crate::backend) fn by_ending<T: Clone>(rows: &[Row<T>], name: &str) -> Option<T> {
    let (_, ending) = name.rsplit_once('.')?;
    let row = rows.iter().find(|(known, ..)| known.eq_ignore_ascii_case(ending))?;
    Some(row.2.clone())
}

/// The row of a media type.
pub(in crate::backend) fn by_type<T: Clone>(rows: &[Row<T>], media_type: &str) -> Option<T> {
    let bare = media_type.split(';').next().unwrap_or_default().trim();
    let row = rows.iter().find(|(_, known, _)| known.eq_ignore_ascii_case(bare))?;
    Some(row.2.clone())
}
