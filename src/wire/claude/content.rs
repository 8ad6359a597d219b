//! The blocks of Claude's messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::turn::{Failure, FailureKind, Thought};
use crate::wire::body::{self, wrong};
use crate::wire::bounded::AtMost;
use crate::wire::cache_mark::CacheMark;
use crate::wire::said::{
    MAX_BLOCKS_AT_ONCE, Said, Transcript, call, data_url, document, picture, unknown_block,
};

/// A list of blocks that were not read yet.
type Raw<'a> = AtMost<&'a RawValue, MAX_BLOCKS_AT_ONCE>;

/// The members of all kinds of blocks that are read.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a block (an object with a type)")]
struct Block<'a> {
    r#type: String,
    text: Option<String>,
    /// An object of an image or a document, a text of a search result.
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    title: Option<String>,
    id: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    tool_use_id: Option<String>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    is_error: Option<bool>,
    thinking: Option<String>,
    signature: Option<String>,
    data: Option<String>,
    cache_control: Option<CacheMark>,
}

/// Where an image or a document is.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a source (an object with a type)")]
struct Source<'a> {
    r#type: String,
    media_type: Option<String>,
    data: Option<String>,
    url: Option<String>,
    file_id: Option<String>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

/// Reads the content of a message: a text, or a list of blocks.
///
/// # Errors
/// [`FailureKind::BadRequest`] at the member at fault, [`FailureKind::UnsupportedParameter`] for
/// a block that nobody behind the broker takes.
pub(super) fn read(
    at: &str,
    content: Option<&RawValue>,
    said: &mut Transcript,
) -> Result<Vec<Said>, Failure> {
    let at = format!("{at}.content");
    let Some(content) = content else { return Err(wrong(at, "is required")) };
    blocks(&at, content, said, block)
}

/// Reads the instructions: a text, or a list of texts.
///
/// # Errors
/// The same.
pub(super) fn system(sent: &RawValue, said: &mut Transcript) -> Result<Vec<Said>, Failure> {
    blocks("system", sent, said, |at, block, _| match block.r#type.as_str() {
        "text" => text(at, block.text),
        other => Err(unknown_block(at, other)),
    })
}

fn blocks(
    at: &str,
    sent: &RawValue,
    said: &mut Transcript,
    read: fn(&str, Block<'_>, &mut Transcript) -> Result<Said, Failure>,
) -> Result<Vec<Said>, Failure> {
    if sent.get().starts_with('"') {
        said.count(at)?;
        return Ok(vec![Said::Text(body::read_at(sent, at)?)]);
    }
    let Raw { 0: list } = body::read_at(sent, at)?;
    let mut blocks = Vec::with_capacity(list.len());
    for (index, raw) in list.into_iter().enumerate() {
        let at = format!("{at}[{index}]");
        said.count(&at)?;
        let block: Block<'_> = body::read_at(raw, &at)?;
        let mark = block.cache_control;
        blocks.push(read(&at, block, said)?);
        blocks.extend(mark.map(|mark| Said::Point(mark.0)));
    }
    Ok(blocks)
}

fn block(at: &str, block: Block<'_>, said: &mut Transcript) -> Result<Said, Failure> {
    match block.r#type.as_str() {
        "tool_use" => {
            let id = required(at, "id", block.id)?;
            let name = required(at, "name", block.name)?;
            let call = call(id, name, block.input, said.allowance());
            call.map_err(|why| wrong(format!("{at}.input"), why))
        }
        "tool_result" => {
            let call = required(at, "tool_use_id", block.tool_use_id)?;
            let parts = block.content.map(|content| {
                blocks(&format!("{at}.content"), content, said, |at, block, _| shown(at, block))
            });
            let parts = parts.transpose()?.unwrap_or_default();
            Ok(Said::Result { call, parts, failed: block.is_error == Some(true) })
        }
        "thinking" => {
            let text = required(at, "thinking", block.thinking)?;
            let signature = block.signature.filter(|signature| !signature.is_empty());
            Ok(Said::Thought(Thought::Text { text, signature }))
        }
        "redacted_thinking" => {
            let data = required(at, "data", block.data)?;
            let bytes = STANDARD.decode(data.as_bytes());
            let bytes = bytes.map_err(|_| wrong(format!("{at}.data"), "must be base64"))?;
            Ok(Said::Thought(Thought::Redacted(bytes.into())))
        }
        _ => shown(at, block),
    }
}

/// Reads a block that may stand in a message as well as in a tool's result.
fn shown(at: &str, block: Block<'_>) -> Result<Said, Failure> {
    match block.r#type.as_str() {
        "text" => text(at, block.text),
        "image" => image(at, block.source),
        "document" => documented(at, block),
        "search_result" => found(at, block),
        other => Err(unknown_block(at, other)),
    }
}

fn text(at: &str, text: Option<String>) -> Result<Said, Failure> {
    required(at, "text", text).map(Said::Text)
}

fn required(at: &str, member: &str, value: Option<String>) -> Result<String, Failure> {
    value.ok_or_else(|| wrong(format!("{at}.{member}"), "is required"))
}

fn source<'a>(at: &str, sent: Option<&'a RawValue>) -> Result<Source<'a>, Failure> {
    let sent = sent.ok_or_else(|| wrong(at, "is required"))?;
    body::read_at(sent, at)
}

fn image(at: &str, sent: Option<&RawValue>) -> Result<Said, Failure> {
    let at = format!("{at}.source");
    let source = source(&at, sent)?;
    match source.r#type.as_str() {
        "base64" => {
            let media_type = required(&at, "media_type", source.media_type)?;
            Ok(picture(&data_url(&media_type, &required(&at, "data", source.data)?)))
        }
        "url" => Ok(picture(&required(&at, "url", source.url)?)),
        _ => Err(elsewhere(&at)),
    }
}

fn documented(at: &str, block: Block<'_>) -> Result<Said, Failure> {
    let at = format!("{at}.source");
    let source = source(&at, block.source)?;
    let name = block.title.unwrap_or_else(|| "document".to_owned());
    match source.r#type.as_str() {
        "base64" => {
            let media_type = required(&at, "media_type", source.media_type)?;
            let data = required(&at, "data", source.data)?;
            Ok(document(&name, &data_url(&media_type, &data)))
        }
        "text" => {
            let data = required(&at, "data", source.data)?;
            Ok(document(&name, &data_url("text/plain", &STANDARD.encode(data))))
        }
        "url" => Ok(document(&name, &required(&at, "url", source.url)?)),
        "content" => Ok(Said::Text(texts(&format!("{at}.content"), source.content)?)),
        "file" => {
            let id = required(&at, "file_id", source.file_id)?;
            let why = format!("{at}: the file {id:.60} is kept by Anthropic; send its content");
            Err(Failure::new(FailureKind::UnsupportedParameter, why).at(at))
        }
        _ => Err(elsewhere(&at)),
    }
}

/// A search result is its source, its title and its texts.
fn found(at: &str, block: Block<'_>) -> Result<Said, Failure> {
    let source: String = match block.source {
        Some(source) => body::read_at(source, &format!("{at}.source"))?,
        None => return Err(wrong(format!("{at}.source"), "is required")),
    };
    let title = block.title.unwrap_or_default();
    let content = texts(&format!("{at}.content"), block.content)?;
    Ok(Said::Text(format!("{title}\n{source}\n{content}")))
}

/// Texts, joined: one, or a list of text blocks.
fn texts(at: &str, sent: Option<&RawValue>) -> Result<String, Failure> {
    let Some(sent) = sent else { return Err(wrong(at, "is required")) };
    if sent.get().starts_with('"') {
        return body::read_at(sent, at);
    }
    let Raw { 0: list } = body::read_at(sent, at)?;
    let texts = list.into_iter().enumerate().map(|(index, raw)| {
        let at = format!("{at}[{index}]");
        let block: Block<'_> = body::read_at(raw, &at)?;
        match block.r#type.as_str() {
            "text" => required(&at, "text", block.text),
            other => Err(unknown_block(&at, other)),
        }
    });
    Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n"))
}

fn elsewhere(at: &str) -> Failure {
    let message = format!("{at}.type must be base64 or url, of a document also text or content");
    Failure::new(FailureKind::UnsupportedParameter, message).at(format!("{at}.type"))
}
