//! Citations in the service's own spelling (`citations` of `InvokeAgent`).

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::turn::{Citation, Reference};

/// The citations as the agent's API would list them.
pub(super) fn list(citations: &[Arc<Citation>]) -> Value {
    citations.iter().map(|citation| one(citation)).collect()
}

fn one(citation: &Citation) -> Value {
    let mut part = Map::new();
    if let Some(text) = &citation.text {
        part.insert("text".to_owned(), json!(text));
    }
    if let Some(span) = citation.span {
        part.insert("span".to_owned(), json!({"start": span.start, "end": span.end}));
    }
    let references: Value = citation.references.iter().map(reference).collect();
    json!({
        "generatedResponsePart": {"textResponsePart": part},
        "retrievedReferences": references,
    })
}

fn reference(reference: &Reference) -> Value {
    let mut location = Map::new();
    location.insert("type".to_owned(), json!(reference.kind));
    if let (Some(address), Some((place, name))) = (&reference.location, place(&reference.kind)) {
        location.insert(place.to_owned(), json!({name: address}));
    }
    let mut retrieved = Map::new();
    if let Some(text) = &reference.text {
        retrieved.insert("content".to_owned(), json!({"type": "TEXT", "text": text}));
    }
    retrieved.insert("location".to_owned(), Value::Object(location));
    if let Some(metadata) = &reference.metadata {
        retrieved.insert("metadata".to_owned(), metadata.clone());
    }
    Value::Object(retrieved)
}

/// Where a location of this kind keeps its address: the structure and the member in it.
fn place(kind: &str) -> Option<(&'static str, &'static str)> {
    match kind {
        "S3" => Some(("s3Location", "uri")),
        "WEB" => Some(("webLocation", "url")),
        "CONFLUENCE" => Some(("confluenceLocation", "url")),
        "SALESFORCE" => Some(("salesforceLocation", "url")),
        "SHAREPOINT" => Some(("sharePointLocation", "url")),
        "ONEDRIVE" => Some(("oneDriveLocation", "url")),
        "GOOGLEDRIVE" => Some(("googleDriveLocation", "url")),
        "CUSTOM" => Some(("customDocumentLocation", "id")),
        "KENDRA" => Some(("kendraDocumentLocation", "uri")),
        "SQL" => Some(("sqlLocation", "query")),
        _ => None,
    }
}
