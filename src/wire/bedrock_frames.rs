//! `vnd.amazon.eventstream` frames, as Bedrock's streams are made of.
//!
//! A frame has headers and a payload: `:message-type` says `event`, named by `:event-type`, or
//! `exception`, named by `:exception-type`; both carry JSON. The crate of AWS writes lengths and
//! checksums around them.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use aws_smithy_types::str_bytes::StrBytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};

use crate::turn::Failure;

use super::bedrock_error;

/// The `content-type` of such a stream.
pub(super) const MEDIA_TYPE: &str = "application/vnd.amazon.eventstream";

/// Appends an event of this type; `payload` is JSON.
pub(super) fn event(kind: &'static str, payload: Bytes, out: &mut BytesMut) {
    frame([(":event-type", kind), JSON, (":message-type", "event")], payload, out);
}

/// Appends a piece of what a model says in a format of its own.
pub(super) fn chunk(piece: &[u8], out: &mut BytesMut) {
    let mut payload = String::with_capacity(14 + piece.len().div_ceil(3) * 4);
    payload.push_str("{\"bytes\":\"");
    STANDARD.encode_string(piece, &mut payload);
    payload.push_str("\"}");
    event("chunk", payload.into(), out);
}

/// Appends the exception that ends a stream.
pub(super) fn exception(failure: &Failure, out: &mut BytesMut) {
    let name = bedrock_error::in_stream(failure.kind);
    let headers = [(":exception-type", name), JSON, (":message-type", "exception")];
    frame(headers, bedrock_error::body(failure), out);
}

const JSON: (&str, &str) = (":content-type", "application/json");

fn frame(headers: [(&'static str, &'static str); 3], payload: Bytes, out: &mut BytesMut) {
    let header = |(name, value): (&'static str, &'static str)| {
        Header::new(name, HeaderValue::String(StrBytes::from(value)))
    };
    let message = Message::new_from_parts(headers.into_iter().map(header).collect(), payload);
    write_message_to(&message, out)
        .expect("our headers are short, and an event of a turn is far below 4 GiB");
}

#[cfg(test)]
mod tests {
    use crate::turn::FailureKind;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_chunk_is_the_services_own_byte_for_byte() {
        let mut out = BytesMut::new();
        chunk(b"hi", &mut out);
        let expected = "0000006b0000004b6ace012d0b3a6576656e742d747970650700056368756e6b\
            0d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e\
            0d3a6d6573736167652d747970650700056576656e74\
            7b226279746573223a2261476b3d227dbd9e5744";
        assert_eq!(hex(&out), expected);
    }

    #[test]
    fn an_exception_is_the_services_own_byte_for_byte() {
        let mut out = BytesMut::new();
        exception(&Failure::new(FailureKind::UpstreamThrottled, "slow"), &mut out);
        let expected = "0000008300000061a9d144e50f3a657863657074696f6e2d747970650700137468726f74\
            746c696e67457863657074696f6e0d3a636f6e74656e742d747970650700106170706c69636174696f6e\
            2f6a736f6e0d3a6d6573736167652d74797065070009657863657074696f6e7b226d657373616765223a\
            22736c6f77227d9350311c";
        assert_eq!(hex(&out), expected);
    }
}
