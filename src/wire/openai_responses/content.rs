//! What a message says, and what a tool reports: a text, or a list of parts.
//!
//! Attachments are kept in the chat's spelling, which backends read and the upstreams of
//! OpenAI's dialect take; [`shown`] spells them as they came. Parts in the chat's spelling are
//! taken too.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::turn::{Failure, Part};
use crate::wire::body::{self, wrong};
use crate::wire::bounded::{Allowance, AtMost};

/// Parts of one message.
const MAX_PARTS: usize = 2_000;
/// Attachments in one request.
const MAX_ATTACHMENTS: usize = 1_000;

/// What the content of one request may still add up to.
#[derive(Debug)]
pub(super) struct Contents<'a> {
    allowance: &'a mut Allowance,
    attachments: usize,
}

/// A part as sent: the members that are read, whichever kind has them.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a part (an object with a type)")]
struct SentPart<'a> {
    text: Option<String>,
    refusal: Option<String>,
    #[serde(borrow)]
    image_url: Option<&'a RawValue>,
    detail: Option<String>,
    file_id: Option<String>,
    file_data: Option<String>,
    file_url: Option<String>,
    filename: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "a string or an object with a url")]
struct ImageUrl {
    url: Option<String>,
    detail: Option<String>,
}

impl<'a> Contents<'a> {
    pub(super) fn within(allowance: &'a mut Allowance) -> Self {
        Self { allowance, attachments: 0 }
    }

    /// Reads the content that stands at this place. What says nothing is left out.
    ///
    /// # Errors
    /// [`FailureKind::BadRequest`](crate::turn::FailureKind) at the part at fault.
    pub(super) fn read(&mut self, raw: &RawValue, at: &str) -> Result<Vec<Part>, Failure> {
        if raw.get().starts_with('"') {
            let text: String = body::read_at(raw, at)?;
            return Ok(if text.is_empty() { Vec::new() } else { vec![Part::Text(text)] });
        }
        if !raw.get().starts_with('[') {
            return Err(wrong(at, "must be a string or a list of parts"));
        }
        let sent: AtMost<&RawValue, MAX_PARTS> = body::read_at(raw, at)?;
        let mut parts = Vec::with_capacity(sent.0.len());
        for (index, raw) in sent.0.into_iter().enumerate() {
            match self.part(raw, &format!("{at}[{index}]"))? {
                Part::Text(text) if text.is_empty() => {}
                part => parts.push(part),
            }
        }
        Ok(parts)
    }

    fn part(&mut self, raw: &RawValue, at: &str) -> Result<Part, Failure> {
        let kind: Kind = body::read_at(raw, at)?;
        let missing = |member: &str| wrong(format!("{at}.{member}"), "is required");
        let kind = kind.r#type.ok_or_else(|| missing("type"))?;
        match kind.as_str() {
            "input_text" | "output_text" | "text" => {
                let part: SentPart<'_> = body::read_at(raw, at)?;
                return part.text.map(Part::Text).ok_or_else(|| missing("text"));
            }
            "refusal" => {
                let part: SentPart<'_> = body::read_at(raw, at)?;
                return part.refusal.map(Part::Text).ok_or_else(|| missing("refusal"));
            }
            _ => {}
        }
        self.attachments += 1;
        if self.attachments > MAX_ATTACHMENTS {
            let why = format!("is one of more than {MAX_ATTACHMENTS} attachments; send fewer");
            return Err(wrong(at, &why));
        }
        let (kind, value) = match kind.as_str() {
            "input_image" | "image_url" => ("image_url".to_owned(), image(raw, at)?),
            "input_file" => ("file".to_owned(), file(raw, at)?),
            _ => (kind, self.allowance.object(raw).map_err(|why| wrong(at, why))?),
        };
        Ok(Part::Attachment { kind, value: value.into() })
    }
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "a part (an object with a type)")]
struct Kind {
    r#type: Option<String>,
}

fn image(raw: &RawValue, at: &str) -> Result<Value, Failure> {
    let part: SentPart<'_> = body::read_at(raw, at)?;
    let Some(sent) = part.image_url else {
        let id = part.file_id.ok_or_else(|| wrong(format!("{at}.image_url"), "is required"))?;
        return Ok(json!({ "type": "image_url", "file_id": id }));
    };
    let place = format!("{at}.image_url");
    let image = if sent.get().starts_with('"') {
        ImageUrl { url: Some(body::read_at(sent, &place)?), detail: None }
    } else {
        body::read_at(sent, &place)?
    };
    let url = image.url.ok_or_else(|| wrong(format!("{place}.url"), "is required"))?;
    // The chat knows no `original`; its highest comes closest.
    let detail = part.detail.or(image.detail);
    let detail = detail.map(|word| if word == "original" { "high".to_owned() } else { word });
    let mut image = json!({ "url": url });
    if let Some(detail) = detail {
        image["detail"] = Value::String(detail);
    }
    Ok(json!({ "type": "image_url", "image_url": image }))
}

fn file(raw: &RawValue, at: &str) -> Result<Value, Failure> {
    let part: SentPart<'_> = body::read_at(raw, at)?;
    let members = [
        ("file_id", part.file_id),
        ("file_data", part.file_data),
        ("file_url", part.file_url),
        ("filename", part.filename),
    ];
    if members[..3].iter().all(|(_, member)| member.is_none()) {
        let why = "needs file_data, file_url or file_id";
        return Err(wrong(at, why));
    }
    let members = members.into_iter();
    let members = members.filter_map(|(name, text)| Some((name.to_owned(), text?.into())));
    let file: Map<String, Value> = members.collect();
    Ok(json!({ "type": "file", "file": file }))
}

/// A part as an item shows it that came in.
pub(super) fn shown(part: &Part) -> Value {
    let (kind, value) = match part {
        Part::Text(text) => return json!({ "type": "input_text", "text": text }),
        Part::Attachment { kind, value } => (kind.as_str(), value),
    };
    match kind {
        "image_url" => {
            let image = &value["image_url"];
            let url = image["url"].as_str().or(image.as_str());
            let detail = image["detail"].as_str().unwrap_or("auto");
            let file_id = value["file_id"].as_str();
            json!({ "type": "input_image", "image_url": url, "file_id": file_id, "detail": detail })
        }
        "file" => {
            let mut shown = Map::new();
            shown.insert("type".to_owned(), json!("input_file"));
            let members = value["file"].as_object().into_iter().flatten();
            shown.extend(members.map(|(name, member)| (name.clone(), member.clone())));
            Value::Object(shown)
        }
        _ => Value::clone(value),
    }
}
