//! One HTTP request as the handlers see it.

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use tokio_stream::{Stream, StreamExt as _};

use crate::config::Server;
use crate::turn::{Failure, FailureKind, RequestId};
use crate::wire::{self, WireFormat};

/// A request's head, and what the route made of its path.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) headers: HeaderMap,
    pub(super) id: RequestId,
    /// What stands in the path where the route leaves room, percent-decoded.
    pub(super) captured: Option<String>,
    /// What stands in its second such place.
    pub(super) item: Option<String>,
    pub(super) query: String,
    pub(super) received: Instant,
}

impl Incoming {
    /// A header's value, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().filter(|value| !value.is_empty())
    }

    /// The value of a query parameter, percent-decoded.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.into_iter().find(|(key, _)| *key == name)?;
        // What is no text is no value either, and not as if nothing had been said.
        Some(percent_decode(value).unwrap_or_else(|| char::REPLACEMENT_CHARACTER.to_string()))
    }

    /// Every value of a parameter that may come several times: as `name`, or `name[]` and
    /// `name[0]`, by which SDKs write lists. What is not UTF-8 is no name of
    /// anything.
    pub(super) fn query_list(&self, name: &str) -> Vec<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let named = pairs.filter(|(key, _)| {
            let key = percent_decode(key).unwrap_or_default();
            let index = key.strip_prefix(name).unwrap_or("x");
            index.is_empty() || (index.starts_with('[') && index.ends_with(']'))
        });
        let value = |value| {
            percent_decode(value).unwrap_or_else(|| char::REPLACEMENT_CHARACTER.to_string())
        };
        named.map(|(_, it)| value(it)).collect()
    }

    /// The format that the answer is wanted in, where the query says (`target_format`).
    ///
    /// # Errors
    /// `BadRequest` for one that there is not.
    pub(super) fn target_format(&self) -> Result<Option<&'static dyn WireFormat>, Failure> {
        self.query("target_format").map(|name| wire::target(&name)).transpose()
    }

    /// How many entries a list is to have: `limit`, at most `most`.
    ///
    /// # Errors
    /// `BadRequest` for what is no such number.
    pub(super) fn limit(&self, usual: usize, most: usize) -> Result<usize, Failure> {
        let Some(text) = self.query("limit") else { return Ok(usual) };
        text.parse()
            .ok()
            .filter(|limit| (1..=most).contains(limit))
            .ok_or_else(|| Failure::bad_field("limit", format!("limit must be 1 to {most}")))
    }
}

/// The request's own id, if it brought a fit one; else a fresh one.
pub(super) fn request_id(headers: &HeaderMap) -> RequestId {
    let brought = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    brought.and_then(|id| id.parse().ok()).unwrap_or_else(RequestId::generate)
}

/// Decodes `%XX`; `None` when the result is not UTF-8.
pub(super) fn percent_decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).ok()
}

/// Reads a body, within its limits of size and time. The length need not be declared.
///
/// # Errors
/// `TooLarge`, `RequestTimeout`, `UnsupportedMediaType`, and `BadRequest` when the body breaks
/// off.
pub(super) async fn read_body<S, B, E>(
    headers: &HeaderMap,
    body: S,
    limits: &Server,
) -> Result<Bytes, Failure>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    check_type(headers)?;
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: usize| length > limits.body_limit_bytes) {
        return Err(too_large(limits.body_limit_bytes));
    }
    let collected = collect(body, declared.unwrap_or(0), limits.body_limit_bytes);
    match tokio::time::timeout(limits.body_timeout, collected).await {
        Ok(read) => read,
        Err(_) => Err(too_slow(limits.body_timeout)),
    }
}

async fn collect<S, B, E>(body: S, declared: usize, limit: usize) -> Result<Bytes, Failure>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    // What a peer declares is not yet a reason to allocate much.
    let mut collected = BytesMut::with_capacity(declared.min(64 << 10));
    let mut body = std::pin::pin!(body);
    while let Some(piece) = body.next().await {
        let Ok(mut piece) = piece else {
            return Err(Failure::new(FailureKind::BadRequest, "the request body broke off"));
        };
        if collected.len() + piece.remaining() > limit {
            return Err(too_large(limit));
        }
        while piece.has_remaining() {
            let chunk = piece.chunk();
            collected.extend_from_slice(chunk);
            let length = chunk.len();
            piece.advance(length);
        }
    }
    Ok(collected.freeze())
}

/// Bodies are JSON whatever they are called (curl calls them a form), but for those that
/// cannot be.
fn check_type(headers: &HeaderMap) -> Result<(), Failure> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_foreign = media_type.is_some_and(|name| {
        let name = name.trim_start().to_ascii_lowercase();
        ["multipart/", "image/", "audio/", "video/", "application/xml", "text/xml"]
            .iter()
            .any(|foreign| name.starts_with(foreign))
    });
    if is_foreign {
        return Err(Failure::new(
            FailureKind::UnsupportedMediaType,
            "the request body must be JSON; send content-type: application/json",
        ));
    }
    Ok(())
}

fn too_large(limit: usize) -> Failure {
    Failure::new(FailureKind::TooLarge, format!("the request body is larger than {limit} bytes"))
}

fn too_slow(limit: Duration) -> Failure {
    Failure::new(
        FailureKind::RequestTimeout,
        format!("the request body did not arrive within {} seconds", limit.as_secs_f64()),
    )
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    fn server(limit: usize) -> Server {
        Server {
            body_limit_bytes: limit,
            body_timeout: Duration::from_millis(50),
            ..Server::default()
        }
    }

    fn pieces(pieces: &[&'static str]) -> impl Stream<Item = Result<Bytes, Infallible>> {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from(*piece))).collect();
        stream::iter(pieces)
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_read_whole() {
        let body = read_body(&HeaderMap::new(), pieces(&["{\"a\"", ":1}"]), &server(100)).await;
        assert_eq!(body.unwrap(), "{\"a\":1}");
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_refused_declared_or_not() {
        let undeclared = read_body(&HeaderMap::new(), pieces(&["12345", "678"]), &server(7)).await;
        assert_eq!(undeclared.unwrap_err().kind, FailureKind::TooLarge);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, 1_000.into());
        let declared = read_body(&headers, pieces(&[]), &server(7)).await;
        assert_eq!(declared.unwrap_err().kind, FailureKind::TooLarge);
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up() {
        let silent = stream::pending::<Result<Bytes, Infallible>>();
        let read = read_body(&HeaderMap::new(), silent, &server(7)).await;
        assert_eq!(read.unwrap_err().kind, FailureKind::RequestTimeout);
    }

    #[test]
    fn percent_escapes_are_decoded_and_stray_ones_kept() {
        assert_eq!(percent_decode("a%2Fb%20c").as_deref(), Some("a/b c"));
        assert_eq!(percent_decode("100%").as_deref(), Some("100%"));
        assert_eq!(percent_decode("%zz").as_deref(), Some("%zz"));
        assert_eq!(percent_decode("%ff"), None);
    }
}
