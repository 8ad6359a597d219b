//! Files that came with answers, over HTTP, as OpenAI's file objects.
//!
//! They can be listed, fetched and deleted. None can be uploaded: files for an agent travel in
//! the messages.

use std::sync::Arc;

use http::StatusCode;
use http::header::{
    CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use serde_json::{Value, json};
use warp::reply::Response;

use crate::session::SessionFile;
use crate::turn::{Failure, FailureKind, FileId};

use super::models::epoch_seconds;
use super::request::Incoming;
use super::{Edge, reply};

/// Files listed at once, unless the request says otherwise.
const LISTED: usize = 100;
/// Files listed at once, whatever the request says: as OpenAI allows.
const MOST_LISTED: usize = 10_000;
/// What all files here are for, in OpenAI's vocabulary.
const PURPOSE: &str = "assistants_output";
/// Code points of a file's name that a header carries; file systems take no longer ones.
const NAME_LENGTH: usize = 200;

/// Media types that no browser takes for a program, beside pictures, sound, film and fonts.
const SAFE_TYPES: &[&str] = &[
    "application/gzip",
    "application/json",
    "application/jsonl",
    "application/msword",
    "application/pdf",
    "application/rtf",
    "application/vnd.apache.parquet",
    "application/vnd.ms-excel",
    "application/vnd.ms-powerpoint",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/x-ndjson",
    "application/yaml",
    "application/zip",
    "text/csv",
    "text/markdown",
    "text/plain",
    "text/tab-separated-values",
];

impl Edge {
    /// `GET /v1/files`: the tenant's, the newest first.
    pub(super) fn files(&self, incoming: &Incoming) -> Result<Response, Failure> {
        let caller = self.gate.identify(&incoming.headers)?;
        let limit = incoming.limit(LISTED, MOST_LISTED)?;
        if incoming.query("order").is_some_and(|order| order != "desc") {
            let message = "files are listed the newest first; leave order out, or make it desc";
            return Err(Failure::new(FailureKind::UnsupportedParameter, message).at("order"));
        }
        let after = incoming.query("after").filter(|after| !after.is_empty());
        let after =
            after.map(|id| id.parse::<FileId>().map_err(|_| no_such_cursor())).transpose()?;
        let page = self.sessions.files(&caller.tenant, after.as_ref(), limit);
        let page = page.ok_or_else(no_such_cursor)?;
        let is_asked_for = incoming.query("purpose").is_none_or(|purpose| purpose == PURPOSE);
        let files = if is_asked_for { page.files.as_slice() } else { &[] };
        let data: Vec<_> = files.iter().map(|held| object(held)).collect();
        let id = |held: Option<&Arc<SessionFile>>| {
            held.map_or(Value::Null, |held| held.file.id.as_str().into())
        };
        let body = json!({
            "object": "list",
            "data": data,
            "first_id": id(files.first()),
            "last_id": id(files.last()),
            "has_more": is_asked_for && page.has_more,
        });
        Ok(reply::json(StatusCode::OK, &body))
    }

    /// `GET /v1/files/{id}`.
    pub(super) fn file(&self, incoming: &Incoming) -> Result<Response, Failure> {
        let held = self.held(incoming)?;
        Ok(reply::json(StatusCode::OK, &object(&held)))
    }

    /// `GET /v1/files/{id}/content`: to be saved, never to be run in the broker's name.
    pub(super) fn file_content(&self, incoming: &Incoming) -> Result<Response, Failure> {
        let held = self.held(incoming)?;
        let file = &held.file;
        let media_type = media_type(&file.media_type);
        let mut response = reply::bytes(StatusCode::OK, media_type, file.bytes.clone());
        let headers = response.headers_mut();
        reply::put(headers, CONTENT_DISPOSITION, &disposition(&file.name));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let sandbox = HeaderValue::from_static("sandbox; default-src 'none'");
        headers.insert(CONTENT_SECURITY_POLICY, sandbox);
        Ok(response)
    }

    /// `DELETE /v1/files/{id}`.
    pub(super) fn delete_file(&self, incoming: &Incoming) -> Result<Response, Failure> {
        let caller = self.gate.identify(&incoming.headers)?;
        let id = asked_for(incoming)?;
        if !self.sessions.remove_file(&caller.tenant, &id) {
            return Err(no_such_file());
        }
        let body = json!({ "id": id.as_str(), "object": "file", "deleted": true });
        Ok(reply::json(StatusCode::OK, &body))
    }

    fn held(&self, incoming: &Incoming) -> Result<Arc<SessionFile>, Failure> {
        let caller = self.gate.identify(&incoming.headers)?;
        let id = asked_for(incoming)?;
        self.sessions.file(&caller.tenant, &id).ok_or_else(no_such_file)
    }
}

fn asked_for(incoming: &Incoming) -> Result<FileId, Failure> {
    let id = incoming.captured.as_deref().unwrap_or_default();
    id.parse().map_err(|_| no_such_file())
}

fn no_such_file() -> Failure {
    Failure::new(
        FailureKind::FileNotFound,
        "no file of this id exists; files go with their session, and the oldest make room",
    )
}

fn no_such_cursor() -> Failure {
    Failure::bad_field("after", "after must be the id of a file that is there; begin without it")
}

/// The file object of OpenAI's API, and whose answer it came with.
fn object(held: &SessionFile) -> Value {
    let file = &held.file;
    json!({
        "id": file.id.as_str(),
        "object": "file",
        "bytes": file.bytes.len(),
        "created_at": epoch_seconds(held.created_at),
        "filename": file.name,
        "purpose": PURPOSE,
        "status": "processed",
        "media_type": file.media_type,
        "session_id": held.session.id.as_str(),
    })
}

/// The type that an upstream gave, where a browser only shows or saves what is of it; else the
/// one that says nothing.
fn media_type(told: &str) -> HeaderValue {
    let essence = told.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (kind, rest) = essence.split_once('/').unwrap_or_default();
    let is_token = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-_".contains(&byte))
    };
    // SVG is a document with scripts, whatever it is called.
    let is_media = matches!(kind, "image" | "audio" | "video" | "font") && !rest.ends_with("xml");
    let is_safe = is_token(rest) && (is_media || SAFE_TYPES.contains(&essence.as_str()));
    let known = is_safe.then(|| HeaderValue::from_str(told.trim()).ok()).flatten();
    known.unwrap_or_else(|| HeaderValue::from_static("application/octet-stream"))
}

/// A `content-disposition` that has a file saved under its name (RFC 6266, RFC 8187), and in the
/// folder where its receiver wants it.
fn disposition(name: &str) -> String {
    let name: String = name
        .chars()
        .take(NAME_LENGTH)
        .map(|c| if c.is_control() || c == '/' || c == '\\' { '_' } else { c })
        .collect();
    let name = if name.trim_matches(['.', ' ']).is_empty() { "file" } else { &name };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " ._-()".contains(c);
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let mut extended = String::with_capacity(name.len());
    for byte in name.bytes() {
        // The characters of `attr-char` that need no thought elsewhere.
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            extended.push(char::from(byte));
        } else {
            extended.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{extended}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_browsers_do_not_run_is_told_as_it_is() {
        for told in ["text/csv", "image/png", "Application/PDF", "text/plain; charset=utf-8"] {
            assert_eq!(media_type(told), told);
        }
    }

    #[test]
    fn a_type_that_may_hold_a_program_is_told_as_bytes() {
        let risky = [
            "text/html",
            "image/svg+xml",
            "Image/SVG+XML; charset=utf-8",
            "application/xhtml+xml",
            "text/javascript",
            "application/xml",
            "text/html, text/plain",
            "image/",
            "image/png text/html",
            "text/plain\r\nx: y",
            "csv",
            "",
        ];
        for told in risky {
            assert_eq!(media_type(told), "application/octet-stream", "{told:?}");
        }
    }

    #[test]
    fn a_name_travels_as_utf_8_and_in_plain_letters() {
        assert_eq!(
            disposition("plan 1.csv"),
            "attachment; filename=\"plan 1.csv\"; filename*=UTF-8''plan%201.csv"
        );
        assert_eq!(
            disposition("Maße€.csv"),
            "attachment; filename=\"Ma_e_.csv\"; filename*=UTF-8''Ma%C3%9Fe%E2%82%AC.csv"
        );
    }

    #[test]
    fn a_name_breaks_out_of_neither_header_nor_folder() {
        assert_eq!(
            disposition("../../etc/pass\"wd\r\nx: y"),
            "attachment; filename=\".._.._etc_pass_wd__x_ y\"; \
             filename*=UTF-8''.._.._etc_pass%22wd__x%3A%20y"
        );
        for name in ["", "..", ". ."] {
            assert_eq!(disposition(name), "attachment; filename=\"file\"; filename*=UTF-8''file");
        }
        assert!(disposition(&"x".repeat(5_000)).len() < 500);
    }
}
