//! The blocks of Converse's messages: objects of one member, which names their kind.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::turn::{Failure, FailureKind, Thought};
use crate::wire::body::{self, wrong};
use crate::wire::bounded::AtMost;
use crate::wire::cache_mark::CacheMark;
use crate::wire::said::{
    MAX_BLOCKS_AT_ONCE, Said, Transcript, call, data_url, document, film, picture, recording,
};

/// Blocks that were not read yet.
pub(super) type Blocks<'a> = AtMost<&'a RawValue, MAX_BLOCKS_AT_ONCE>;

/// Media types whose formats have other names.
const MEDIA_TYPES: &[(&str, &str)] = &[
    ("pdf", "application/pdf"),
    ("csv", "text/csv"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("html", "text/html"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
    ("mkv", "video/x-matroska"),
    ("mov", "video/quicktime"),
    ("flv", "video/x-flv"),
    ("wmv", "video/x-ms-wmv"),
    ("three_gp", "video/3gpp"),
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a block (an object with one member)")]
struct Block<'a> {
    text: Option<String>,
    #[serde(borrow)]
    image: Option<Media<'a>>,
    #[serde(borrow)]
    document: Option<Media<'a>>,
    #[serde(borrow)]
    video: Option<Media<'a>>,
    #[serde(borrow)]
    audio: Option<Media<'a>>,
    #[serde(borrow)]
    tool_use: Option<ToolUse<'a>>,
    #[serde(borrow)]
    tool_result: Option<ToolResult<'a>>,
    reasoning_content: Option<Reasoning>,
    #[serde(borrow)]
    citations_content: Option<Cited<'a>>,
    guard_content: Option<Guarded>,
    #[serde(borrow)]
    json: Option<&'a RawValue>,
    cache_point: Option<CacheMark>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Media<'a> {
    format: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    source: Option<Source<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Source<'a> {
    bytes: Option<String>,
    s3_location: Option<Location>,
    text: Option<String>,
    #[serde(borrow)]
    content: Option<Blocks<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Location {
    uri: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct ToolUse<'a> {
    tool_use_id: String,
    name: String,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct ToolResult<'a> {
    tool_use_id: String,
    #[serde(borrow)]
    content: Option<Blocks<'a>>,
    status: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Reasoning {
    reasoning_text: Option<ReasoningText>,
    redacted_content: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct ReasoningText {
    text: String,
    signature: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Cited<'a> {
    #[serde(borrow)]
    content: Option<Blocks<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Guarded {
    text: Option<GuardedText>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct GuardedText {
    text: String,
}

/// Reads the blocks of a message, or of a tool's result.
///
/// # Errors
/// [`FailureKind::BadRequest`] at the member at fault, [`FailureKind::UnsupportedParameter`] for
/// a block that nobody behind the broker takes.
pub(super) fn read(
    at: &str,
    blocks: Blocks<'_>,
    said: &mut Transcript,
) -> Result<Vec<Said>, Failure> {
    let blocks = blocks.0.into_iter().enumerate().map(|(index, raw)| {
        let at = format!("{at}[{index}]");
        said.count(&at)?;
        block(&at, body::read_at(raw, &at)?, said)
    });
    blocks.collect()
}

fn block(at: &str, block: Block<'_>, said: &mut Transcript) -> Result<Said, Failure> {
    match block {
        Block { text: Some(text), .. } => Ok(Said::Text(text)),
        Block { tool_use: Some(used), .. } => {
            let call = call(used.tool_use_id, used.name, used.input, said.allowance());
            call.map_err(|why| wrong(format!("{at}.toolUse.input"), why))
        }
        Block { tool_result: Some(result), .. } => {
            let content = result.content.unwrap_or(AtMost(Vec::new()));
            let parts = shown(&format!("{at}.toolResult.content"), content, said)?;
            let failed = result.status.as_deref() == Some("error");
            Ok(Said::Result { call: result.tool_use_id, parts, failed })
        }
        Block { reasoning_content: Some(reasoning), .. } => thought(at, reasoning),
        Block { citations_content: Some(cited), .. } => {
            let content = cited.content.unwrap_or(AtMost(Vec::new()));
            texts(&format!("{at}.citationsContent.content"), content).map(Said::Text)
        }
        other => attached(at, other, said),
    }
}

/// Reads what a tool gave back, which holds no calls and no results.
fn shown(at: &str, blocks: Blocks<'_>, said: &mut Transcript) -> Result<Vec<Said>, Failure> {
    let blocks = blocks.0.into_iter().enumerate().map(|(index, raw)| {
        let at = format!("{at}[{index}]");
        said.count(&at)?;
        match body::read_at(raw, &at)? {
            Block { text: Some(text), .. } => Ok(Said::Text(text)),
            other => attached(&at, other, said),
        }
    });
    blocks.collect()
}

fn attached(at: &str, block: Block<'_>, said: &mut Transcript) -> Result<Said, Failure> {
    match block {
        Block { image: Some(image), .. } => {
            located(&format!("{at}.image"), "image", &image).map(|url| picture(&url))
        }
        Block { video: Some(video), .. } => {
            located(&format!("{at}.video"), "video", &video).map(|url| film(&url))
        }
        Block { audio: Some(audio), .. } => recorded(&format!("{at}.audio"), audio),
        Block { document: Some(held), .. } => documented(&format!("{at}.document"), held),
        Block { guard_content: Some(Guarded { text: Some(guarded) }), .. } => {
            Ok(Said::Text(guarded.text))
        }
        Block { json: Some(json), .. } => {
            let value = said.allowance().read(json);
            let value = value.map_err(|why| wrong(format!("{at}.json"), why))?;
            Ok(Said::Text(value.to_string()))
        }
        Block { cache_point: Some(CacheMark(life)), .. } => Ok(Said::Point(life)),
        _ => {
            let message = format!("{at} is of a kind that is not taken here");
            Err(Failure::new(FailureKind::UnsupportedParameter, message).at(at.to_owned()))
        }
    }
}

fn thought(at: &str, reasoning: Reasoning) -> Result<Said, Failure> {
    let at = format!("{at}.reasoningContent");
    match (reasoning.reasoning_text, reasoning.redacted_content) {
        (Some(ReasoningText { text, signature }), _) => {
            let signature = signature.filter(|signature| !signature.is_empty());
            Ok(Said::Thought(Thought::Text { text, signature }))
        }
        (None, Some(sealed)) => {
            let bytes = STANDARD.decode(sealed.as_bytes());
            let why = "must be base64";
            let bytes = bytes.map_err(|_| wrong(format!("{at}.redactedContent"), why))?;
            Ok(Said::Thought(Thought::Redacted(bytes.into())))
        }
        (None, None) => Err(wrong(at, "must have a reasoningText or a redactedContent")),
    }
}

/// The format's media type, of a kind: `image` and so on.
fn media_type(kind: &str, format: &str) -> String {
    let known = MEDIA_TYPES.iter().find(|(name, _)| *name == format);
    known.map_or_else(|| format!("{kind}/{format}"), |(_, media_type)| (*media_type).to_owned())
}

fn required<'v>(at: &str, member: &str, value: Option<&'v String>) -> Result<&'v str, Failure> {
    let value = value.ok_or_else(|| wrong(format!("{at}.{member}"), "is required"))?;
    Ok(value)
}

/// Where media are, as a URL.
fn located(at: &str, kind: &str, media: &Media<'_>) -> Result<String, Failure> {
    let format = required(at, "format", media.format.as_ref())?;
    match &media.source {
        Some(Source { bytes: Some(bytes), .. }) => Ok(data_url(&media_type(kind, format), bytes)),
        Some(Source { s3_location: Some(location), .. }) => Ok(location.uri.clone()),
        _ => Err(wrong(format!("{at}.source"), "must have bytes or an s3Location")),
    }
}

fn recorded(at: &str, audio: Media<'_>) -> Result<Said, Failure> {
    let format = required(at, "format", audio.format.as_ref())?;
    match &audio.source {
        Some(Source { bytes: Some(bytes), .. }) => Ok(recording(format, bytes)),
        _ => Err(wrong(format!("{at}.source"), "must have bytes")),
    }
}

fn documented(at: &str, held: Media<'_>) -> Result<Said, Failure> {
    let format = held.format.clone().unwrap_or_else(|| "txt".to_owned());
    let name = held.name.as_deref().unwrap_or("document");
    let name = format!("{name}.{format}");
    match held.source {
        Some(Source { text: Some(text), .. }) => {
            let url = data_url(&media_type("text", &format), &STANDARD.encode(text));
            Ok(document(&name, &url))
        }
        Some(Source { content: Some(content), .. }) => {
            texts(&format!("{at}.source.content"), content).map(Said::Text)
        }
        _ => located(at, "application", &held).map(|url| document(&name, &url)),
    }
}

/// Texts, joined.
fn texts(at: &str, blocks: Blocks<'_>) -> Result<String, Failure> {
    let texts = blocks.0.into_iter().enumerate().map(|(index, raw)| {
        let at = format!("{at}[{index}]");
        let block: Block<'_> = body::read_at(raw, &at)?;
        required(&at, "text", block.text.as_ref()).map(str::to_owned)
    });
    Ok(texts.collect::<Result<Vec<_>, _>>()?.concat())
}
