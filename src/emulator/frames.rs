//! `vnd.amazon.eventstream` frames, as the service sends them.
//!
//! A frame is: total length, headers length, CRC-32 of those two, headers, payload, CRC-32 of
//! all that. What it is stands in its headers: `:message-type` says `event`, `exception`
//! (modelled, named by `:exception-type`) or `error` (not modelled, named by `:error-code`).

use std::sync::LazyLock;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use serde_json::json;

/// Lengths and checksums of a frame: three words before the headers and one at the end.
const FRAME_OVERHEAD: usize = 16;
/// More than the headers of any frame here take, so that a frame is written without growing.
const HEADERS_ROOM: usize = 192;

static CHUNK_HEADERS: LazyLock<Vec<Header>> = LazyLock::new(|| event_headers("chunk"));

/// A `chunk` event: a piece of the answer, which may begin or end inside a character.
pub(super) fn chunk(piece: &[u8]) -> Bytes {
    let mut payload = String::with_capacity(14 + piece.len().div_ceil(3) * 4);
    payload.push_str("{\"bytes\":\"");
    STANDARD.encode_string(piece, &mut payload);
    payload.push_str("\"}");
    frame(CHUNK_HEADERS.clone(), payload)
}

/// A `chunk` event with what its text rests on; `attribution` is JSON.
pub(super) fn attributed_chunk(piece: &[u8], attribution: &str) -> Bytes {
    let text = STANDARD.encode(piece);
    let payload = format!("{{\"bytes\":\"{text}\",\"attribution\":{attribution}}}");
    frame(CHUNK_HEADERS.clone(), payload)
}

/// An event of this type; `payload` is JSON.
pub(super) fn event(event_type: &'static str, payload: impl Into<Bytes>) -> Bytes {
    frame(event_headers(event_type), payload)
}

/// A modelled exception; `name` is the union member, in lower camel case.
pub(super) fn exception(name: &str, message: &str) -> Bytes {
    let headers = vec![
        text_header(":exception-type", name.to_owned()),
        text_header(":content-type", "application/json"),
        text_header(":message-type", "exception"),
    ];
    let payload = match name {
        "badGatewayException" | "dependencyFailedException" => {
            json!({"message": message, "resourceName": "outcrop-emulator"})
        }
        "modelStreamErrorException" => json!({
            "message": message, "originalStatusCode": 500, "originalMessage": "emulated",
        }),
        "internalServerException" => json!({"message": message, "reason": "emulated"}),
        _ => json!({"message": message}),
    };
    frame(headers, payload.to_string())
}

/// An error that the service's model does not name.
pub(super) fn unmodelled_error(code: &'static str, message: &'static str) -> Bytes {
    let headers = vec![
        text_header(":error-code", code),
        text_header(":error-message", message),
        text_header(":message-type", "error"),
    ];
    frame(headers, Bytes::new())
}

/// The frame with a last byte that is wrong, so that its checksum does not hold.
pub(super) fn corrupted(frame: &[u8]) -> Bytes {
    let mut bytes = frame.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 0xff;
    }
    bytes.into()
}

fn event_headers(event_type: &'static str) -> Vec<Header> {
    vec![
        text_header(":event-type", event_type),
        text_header(":content-type", "application/json"),
        text_header(":message-type", "event"),
    ]
}

fn text_header(
    name: &'static str,
    value: impl Into<aws_smithy_types::str_bytes::StrBytes>,
) -> Header {
    Header::new(name, HeaderValue::String(value.into()))
}

fn frame(headers: Vec<Header>, payload: impl Into<Bytes>) -> Bytes {
    let message = Message::new_from_parts(headers, payload);
    let room = FRAME_OVERHEAD + HEADERS_ROOM + message.payload().len();
    let mut bytes = BytesMut::with_capacity(room);
    write_message_to(&message, &mut bytes)
        .expect("header values are short and payloads far below 4 GiB");
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use aws_smithy_eventstream::frame::read_message_from;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_chunk_is_the_services_own_byte_for_byte() {
        let expected = "0000006b0000004b6ace012d0b3a6576656e742d747970650700056368756e6b\
            0d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e\
            0d3a6d6573736167652d747970650700056576656e74\
            7b226279746573223a2261476b3d227dbd9e5744";
        assert_eq!(hex(&chunk(b"hi")), expected);
    }

    #[test]
    fn an_exception_is_the_services_own_byte_for_byte() {
        let expected = "0000008300000061a9d144e50f3a657863657074696f6e2d747970650700137468726f74\
            746c696e67457863657074696f6e0d3a636f6e74656e742d747970650700106170706c69636174696f6e\
            2f6a736f6e0d3a6d6573736167652d74797065070009657863657074696f6e7b226d657373616765223a\
            22736c6f77227d9350311c";
        assert_eq!(hex(&exception("throttlingException", "slow")), expected);
    }

    #[test]
    fn a_corrupted_frame_is_refused_by_its_checksum() {
        let good = chunk(b"hi");
        assert!(read_message_from(good.clone()).is_ok());
        assert!(read_message_from(corrupted(&good)).is_err());
    }

    #[test]
    fn a_frame_is_written_without_growing_its_buffer() {
        let name = "x".repeat(64);
        let headers = exception(&name, "").len() - FRAME_OVERHEAD - "{\"message\":\"\"}".len();
        assert!(headers <= HEADERS_ROOM);
    }
}
