//! The `content` of a message: a text, or a list of parts.
//!
//! Parts in the Responses API's spelling are taken too. What is no text is an attachment and
//! stays in the client's own spelling.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::turn::{CachePoint, Part};
use crate::wire::bounded::Allowance;
use crate::wire::cache_mark::CacheMark;

/// Attachments in one request.
const MAX_ATTACHMENTS: usize = 1_000;
/// Members of one attachment.
const MAX_MEMBERS: usize = 100;

/// A message's content: a text is one part, null is none.
#[derive(Debug, Default)]
pub(super) struct Content<'a>(Vec<SentPart<'a>>);

impl Content<'_> {
    /// The parts in our own vocabulary, and where the prompt is to be kept. A text that says nothing is left out, so that a
    /// transcript reads the same whether a client writes it as `""`, as `null` or not at all.
    ///
    /// # Errors
    /// Says what is wrong with an attachment, fit for a client.
    pub(super) fn into_parts(
        self,
        attachments: &mut Attachments<'_>,
    ) -> Result<(Vec<Part>, Vec<CachePoint>), &'static str> {
        let mut parts = Vec::with_capacity(self.0.len());
        let mut points: Vec<CachePoint> = Vec::new();
        for part in self.0 {
            match part.said {
                Piece::Text(text) if text.is_empty() => continue,
                Piece::Text(text) => parts.push(Part::Text(text)),
                Piece::Other(other) => parts.push(attachments.take(other)?),
            }
            let after = parts.len();
            points.extend(part.mark.map(|CacheMark(life)| CachePoint { after, life }));
        }
        Ok((parts, points))
    }
}

/// A part as sent.
#[derive(Debug)]
struct SentPart<'a> {
    said: Piece<'a>,
    /// That the prompt is to be kept up to here (`cache_control`, as gateways take it).
    mark: Option<CacheMark>,
}

/// What a part says. What is no text stays as it came, to be taken within what [`Attachments`]
/// may add up to.
#[derive(Debug)]
enum Piece<'a> {
    Text(String),
    Other(Other<'a>),
}

#[derive(Debug)]
struct Other<'a> {
    kind: String,
    text: Option<String>,
    refusal: Option<String>,
    members: Vec<(String, &'a RawValue)>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string, null or a list of parts")
    }

    fn visit_unit<E>(self) -> Result<Content<'de>, E> {
        Ok(Content::default())
    }

    fn visit_str<E>(self, text: &str) -> Result<Content<'de>, E> {
        Ok(Content(vec![SentPart { said: Piece::Text(text.to_owned()), mark: None }]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Content<'de>, A::Error> {
        let mut content = Vec::new();
        while let Some(part) = parts.next_element()? {
            content.push(part);
        }
        Ok(Content(content))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for SentPart<'a> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_map(PartVisitor)
    }
}

/// The members of a part that are looked into here.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum PartMember {
    Type,
    Text,
    Refusal,
    #[serde(rename = "cache_control")]
    CacheControl,
    Other(String),
}

struct PartVisitor;

impl<'de> Visitor<'de> for PartVisitor {
    type Value = SentPart<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a part (an object with a type)")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut part: A) -> Result<SentPart<'de>, A::Error> {
        let (mut kind, mut text, mut refusal, mut mark) = (None::<String>, None, None, None);
        let mut members = Vec::new();
        while let Some(member) = part.next_key()? {
            match member {
                PartMember::Type => kind = part.next_value()?,
                PartMember::Text => text = part.next_value()?,
                PartMember::Refusal => refusal = part.next_value()?,
                PartMember::CacheControl => mark = part.next_value()?,
                PartMember::Other(name) => members.push((name, part.next_value::<&RawValue>()?)),
            }
            if members.len() > MAX_MEMBERS {
                return Err(A::Error::custom("more than 100 members; send fewer"));
            }
        }
        let kind = kind.ok_or_else(|| A::Error::missing_field("type"))?;
        let missing = A::Error::missing_field;
        let said = match kind.as_str() {
            "text" | "input_text" | "output_text" => {
                Piece::Text(text.ok_or_else(|| missing("text"))?)
            }
            "refusal" => Piece::Text(refusal.ok_or_else(|| missing("refusal"))?),
            _ => Piece::Other(Other { kind, text, refusal, members }),
        };
        Ok(SentPart { said, mark })
    }
}

/// What the attachments of one request may still add up to.
#[derive(Debug)]
pub(super) struct Attachments<'a> {
    left: usize,
    allowance: &'a mut Allowance,
}

impl<'a> Attachments<'a> {
    /// None taken yet.
    pub(super) fn within(allowance: &'a mut Allowance) -> Self {
        Self { left: MAX_ATTACHMENTS, allowance }
    }

    fn take(&mut self, sent: Other<'_>) -> Result<Part, &'static str> {
        self.left = self.left.checked_sub(1).ok_or("holds too many attachments; send fewer")?;
        let texts =
            [("type", Some(sent.kind.clone())), ("text", sent.text), ("refusal", sent.refusal)];
        let texts =
            texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into())));
        let mut value: Map<String, Value> = texts.collect();
        for (name, raw) in sent.members {
            value.insert(name, self.allowance.read(raw)?);
        }
        Ok(Part::Attachment { kind: sent.kind, value: Arc::new(Value::Object(value)) })
    }
}
