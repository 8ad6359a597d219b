//! What a part of an answer rests on.

use std::collections::HashMap;

use aws_sdk_bedrockagentruntime::types::{
    Citation as AwsCitation, RetrievalResultContent, RetrievalResultContentType,
    RetrievalResultLocation, RetrievedReference,
};
use aws_smithy_types::{Document, Number};
use serde_json::{Map, Value};

use crate::turn::{Citation, Reference, Span};

/// Bytes of a source's metadata that are kept, as JSON; members beyond are left out.
const METADATA_LIMIT: usize = 16 << 10;
/// Objects within objects, at most; what nests deeper is left out.
const DEEPEST: usize = 16;

/// A citation in our vocabulary.
pub(super) fn citation(citation: AwsCitation) -> Citation {
    let part = citation.generated_response_part.and_then(|part| part.text_response_part);
    let span = part.as_ref().and_then(|part| part.span.as_ref()).and_then(|span| {
        let start = usize::try_from(span.start?).ok()?;
        Some(Span { start, end: usize::try_from(span.end?).ok()? })
    });
    let references = citation.retrieved_references.unwrap_or_default();
    Citation {
        text: part.and_then(|part| part.text),
        span,
        references: references.into_iter().map(reference).collect(),
    }
}

fn reference(reference: RetrievedReference) -> Reference {
    let location = reference.location;
    Reference {
        kind: location.as_ref().map_or_else(String::new, |at| at.r#type.as_str().to_owned()),
        location: location.and_then(address),
        text: reference.content.and_then(passage),
        metadata: reference.metadata.and_then(metadata),
    }
}

/// The passage where it is text; images, rows, audio and video stay with the service.
fn passage(content: RetrievalResultContent) -> Option<String> {
    let is_text = matches!(content.r#type, None | Some(RetrievalResultContentType::Text));
    (is_text && !content.text.is_empty()).then_some(content.text)
}

/// Where the URL or id of a source sits depends on its type.
fn address(at: RetrievalResultLocation) -> Option<String> {
    at.s3_location
        .and_then(|at| at.uri)
        .or_else(|| at.web_location.and_then(|at| at.url))
        .or_else(|| at.confluence_location.and_then(|at| at.url))
        .or_else(|| at.salesforce_location.and_then(|at| at.url))
        .or_else(|| at.share_point_location.and_then(|at| at.url))
        .or_else(|| at.one_drive_location.and_then(|at| at.url))
        .or_else(|| at.google_drive_location.and_then(|at| at.url))
        .or_else(|| at.kendra_document_location.and_then(|at| at.uri))
        .or_else(|| at.custom_document_location.and_then(|at| at.id))
        .or_else(|| at.sql_location.and_then(|at| at.query))
}

/// The metadata by name, as far as there is room.
fn metadata(documents: HashMap<String, Document>) -> Option<Value> {
    let mut documents: Vec<_> = documents.into_iter().collect();
    documents.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut room = METADATA_LIMIT;
    let mut members = Map::new();
    for (name, document) in documents {
        let Some(value) = json(document, DEEPEST) else { continue };
        let weight = name.len() + value.to_string().len();
        let Some(left) = room.checked_sub(weight) else { continue };
        room = left;
        members.insert(name, value);
    }
    (!members.is_empty()).then(|| Value::Object(members))
}

/// `None` for what nests too deep, and for numbers that JSON has not.
fn json(document: Document, depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    Some(match document {
        Document::Null => Value::Null,
        Document::Bool(value) => Value::Bool(value),
        Document::String(text) => Value::String(text),
        Document::Number(Number::PosInt(number)) => Value::from(number),
        Document::Number(Number::NegInt(number)) => Value::from(number),
        Document::Number(Number::Float(number)) => {
            Value::Number(serde_json::Number::from_f64(number)?)
        }
        Document::Array(items) => {
            items.into_iter().map(|item| json(item, depth)).collect::<Option<_>>()?
        }
        Document::Object(members) => {
            let mut members: Vec<_> = members.into_iter().collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            let member = |(name, value)| Some((name, json(value, depth)?));
            Value::Object(members.into_iter().map(member).collect::<Option<_>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_bedrockagentruntime::types::{
        RetrievalResultLocationType, RetrievalResultS3Location,
    };
    use serde_json::json;

    use super::*;

    fn document(text: &str) -> Document {
        Document::String(text.to_owned())
    }

    #[test]
    fn a_reference_has_its_place_its_passage_and_its_metadata() {
        let s3 = RetrievalResultS3Location::builder().uri("s3://kb/fees.pdf").build();
        let location = RetrievalResultLocation::builder()
            .r#type(RetrievalResultLocationType::S3)
            .s3_location(s3)
            .build()
            .unwrap();
        let content = RetrievalResultContent::builder().text("free of fees").build();
        let page = Document::Number(Number::PosInt(4));
        let retrieved = RetrievedReference::builder()
            .location(location)
            .content(content)
            .metadata("page", page)
            .metadata("author", document("Ann"))
            .build();
        let reference = reference(retrieved);
        assert_eq!(reference.kind, "S3");
        assert_eq!(reference.location.as_deref(), Some("s3://kb/fees.pdf"));
        assert_eq!(reference.text.as_deref(), Some("free of fees"));
        assert_eq!(reference.metadata, Some(json!({ "author": "Ann", "page": 4 })));
    }

    #[test]
    fn content_that_is_no_text_is_left_out() {
        let content = RetrievalResultContent::builder()
            .r#type(RetrievalResultContentType::Image)
            .text("data")
            .build();
        assert_eq!(passage(content), None);
    }

    #[test]
    fn metadata_is_bounded_in_size_and_depth() {
        let mut deep = document("bottom");
        for _ in 0..DEEPEST {
            deep = Document::Array(vec![deep]);
        }
        let documents = HashMap::from([
            ("deep".to_owned(), deep),
            ("huge".to_owned(), document(&"x".repeat(METADATA_LIMIT))),
            ("nan".to_owned(), Document::Number(Number::Float(f64::NAN))),
            ("small".to_owned(), document("kept")),
        ]);
        assert_eq!(metadata(documents), Some(json!({ "small": "kept" })));
        assert_eq!(metadata(HashMap::new()), None);
    }
}
