//! `Idempotency-Key`: a client's own name for a request, so that one which it repeats, since it
//! did not hear the answer, is run once.

use http::HeaderMap;
use sha2::{Digest as _, Sha256};

use crate::turn::{Failure, IdempotencyKey};

/// What a reply carries that answers a request which came before.
pub(super) const REPLAYED: &str = "idempotent-replayed";
/// Where the name stands, as refusals and the SDKs spell it.
const HEADER: &str = "Idempotency-Key";
/// Bytes of a name.
const MAX_BYTES: usize = 255;

/// The name of a request, if it has one, with a digest of what it asks: where it asks, and its
/// body.
///
/// # Errors
/// `BadRequest` for what is no name.
pub(super) fn read(
    headers: &HeaderMap,
    (place, model): (&str, Option<&str>),
    body: &[u8],
) -> Result<Option<IdempotencyKey>, Failure> {
    let mut sent = headers.get_all(HEADER).iter();
    let Some(name) = sent.next() else { return Ok(None) };
    let fits = (1..=MAX_BYTES).contains(&name.len())
        && name.as_bytes().iter().all(u8::is_ascii_graphic)
        && sent.next().is_none();
    let name = name.to_str().ok().filter(|_| fits);
    let key = name.ok_or_else(|| {
        let message = format!("{HEADER} must be 1 to {MAX_BYTES} visible ASCII characters, once");
        Failure::bad_field(HEADER, message)
    })?;
    let digest = Sha256::new()
        .chain_update(place)
        .chain_update([0])
        .chain_update(model.unwrap_or_default())
        .chain_update([0])
        .chain_update(body);
    Ok(Some(IdempotencyKey { key: key.into(), fingerprint: digest.finalize().into() }))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn named(name: &[u8]) -> Result<Option<IdempotencyKey>, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_bytes(name).unwrap());
        read(&headers, ("/v1/responses", None), b"{}")
    }

    #[test]
    fn a_name_is_visible_and_short() {
        assert_eq!(read(&HeaderMap::new(), ("/", None), b""), Ok(None));
        assert_eq!(&*named(b"order-7").unwrap().unwrap().key, "order-7");
        assert!(named(&[b'x'; 255]).is_ok());
        for wrong in [&b""[..], b"two words", "ä".as_bytes(), &[b'x'; 256]] {
            assert_eq!(named(wrong).unwrap_err().param.as_deref(), Some(HEADER), "{wrong:?}");
        }
        let mut twice = HeaderMap::new();
        twice.append(HEADER, HeaderValue::from_static("one"));
        twice.append(HEADER, HeaderValue::from_static("two"));
        assert!(read(&twice, ("/", None), b"").is_err());
    }

    #[test]
    fn other_places_models_and_bodies_are_other_requests() {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_static("order-7"));
        let of = |place, model, body: &str| {
            read(&headers, (place, model), body.as_bytes()).unwrap().unwrap().fingerprint
        };
        let first = of("/a", None, "{}");
        assert_eq!(first, of("/a", None, "{}"));
        for other in [of("/b", None, "{}"), of("/a", Some("m"), "{}"), of("/a", None, "[]")] {
            assert_ne!(first, other);
        }
    }
}
