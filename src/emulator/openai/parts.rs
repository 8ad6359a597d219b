//! The parts of a chat message: text, images, files and recordings.

use serde_json::Value;

use crate::emulator::models::media;
use crate::emulator::models::prompt::{Block, Document, Media, S3Location, Source};

use super::wrong::Wrong;

/// The text of a message that takes only text.
pub(super) fn text(content: Option<&Value>, place: usize) -> Result<String, Wrong> {
    match content {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().map(|part| {
                let text = part["text"].as_str().or_else(|| part["refusal"].as_str());
                text.map(str::to_owned).ok_or_else(|| no_text(place))
            });
            Ok(texts.collect::<Result<Vec<String>, Wrong>>()?.join("\n"))
        }
        _ => Err(no_text(place)),
    }
}

fn no_text(place: usize) -> Wrong {
    let message = format!("Invalid value for 'messages[{place}].content': expected text.");
    Wrong::at(format!("messages[{place}].content"), message).coded("invalid_value")
}

/// The blocks of a user message.
pub(super) fn of_user(content: Option<&Value>, place: usize) -> Result<Vec<Block>, Wrong> {
    let Some(Value::Array(parts)) = content else {
        return Ok(vec![Block::Text(text(content, place)?)]);
    };
    if parts.is_empty() {
        return Err(no_text(place));
    }
    parts.iter().enumerate().map(|(at, part)| block(part, place, at)).collect()
}

fn block(part: &Value, place: usize, at: usize) -> Result<Block, Wrong> {
    let wrong = |what: &str, message: &str| {
        let param = format!("messages[{place}].content[{at}]{what}");
        Wrong::at(param, message).coded("invalid_value")
    };
    match part["type"].as_str() {
        Some("text") => match part["text"].as_str() {
            Some(text) => Ok(Block::Text(text.to_owned())),
            None => Err(wrong(".text", "Missing required parameter: 'text'.")),
        },
        Some("image_url") => {
            let url = part["image_url"]["url"].as_str();
            let url = url.ok_or_else(|| wrong(".image_url", "Expected an object with a url."))?;
            let media = image(url).ok_or_else(|| {
                wrong(".image_url.url", "Invalid image: it is none that can be read.")
            })?;
            Ok(Block::Image(media))
        }
        Some("input_audio") => {
            let audio = &part["input_audio"];
            match (audio["data"].as_str(), audio["format"].as_str()) {
                (Some(data), Some(format @ ("wav" | "mp3"))) => Ok(Block::Audio(Media {
                    format: format.to_owned(),
                    source: Source::Bytes(data.to_owned()),
                })),
                _ => Err(wrong(".input_audio", "Expected data and a format, wav or mp3.")),
            }
        }
        Some("file") => file(&part["file"])
            .ok_or_else(|| wrong(".file", "Expected file_data as a data URL, with a filename.")),
        _ => Err(wrong(".type", "Invalid value: expected text, image_url, input_audio or file.")),
    }
}

/// A picture in a data URL, or where it would be fetched.
fn image(url: &str) -> Option<Media> {
    if url.starts_with("http://") || url.starts_with("https://") {
        let source = Source::S3Location(S3Location { uri: url.to_owned() });
        return Some(Media { format: "url".to_owned(), source });
    }
    let (kind, data) = data_url(url)?;
    let kind = kind.strip_prefix("image/")?;
    let format = if kind == "jpg" { "jpeg" } else { kind };
    let media = Media { format: format.to_owned(), source: Source::Bytes(data.to_owned()) };
    (media::kind_of(&media) == Some(format)).then_some(media)
}

fn file(file: &Value) -> Option<Block> {
    let (kind, data) = data_url(file["file_data"].as_str()?)?;
    let name = file["filename"].as_str()?;
    let format = name.rsplit_once('.').map_or(kind, |(_, extension)| extension);
    Some(Block::Document(Document {
        format: Some(format.to_owned()),
        name: name.to_owned(),
        source: Source::Bytes(data.to_owned()),
        citations: None,
    }))
}

/// The media type and the base64 of a data URL.
fn data_url(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix("data:")?.split_once(";base64,")
}
