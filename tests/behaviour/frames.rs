//! `vnd.amazon.eventstream` bodies, read with the decoder of AWS's own SDKs.

use aws_smithy_eventstream::frame::read_message_from;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::client::Reply;

/// One frame of such a body; its lengths and checksums were right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventFrame {
    /// `event` or `exception`.
    pub(crate) kind: String,
    /// What it is an event or an exception of.
    pub(crate) name: String,
    /// JSON, as it came.
    pub(crate) payload: String,
}

impl EventFrame {
    /// Reads a stream to its end.
    pub(crate) async fn all(reply: &mut Reply) -> Vec<Self> {
        let media_type = reply.header("content-type");
        assert_eq!((reply.status, media_type), (200, "application/vnd.amazon.eventstream"));
        let bytes = reply.bytes().await;
        assert!(reply.is_whole());
        let mut rest = bytes.as_slice();
        let mut frames = Vec::new();
        while !rest.is_empty() {
            frames.push(Self::read(&mut rest));
        }
        frames
    }

    fn read(rest: &mut &[u8]) -> Self {
        let message = read_message_from(rest).unwrap();
        let header = |name: &str| {
            let found = message.headers().iter().find(|header| header.name().as_str() == name);
            let found = found.unwrap_or_else(|| panic!("no {name} in {message:?}"));
            found.value().as_string().unwrap().as_str().to_owned()
        };
        assert_eq!(header(":content-type"), "application/json");
        assert_eq!(message.headers().len(), 3, "{message:?}");
        let kind = header(":message-type");
        let name = header(&format!(":{kind}-type"));
        Self { kind, name, payload: String::from_utf8(message.payload().to_vec()).unwrap() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.payload).unwrap()
    }

    /// What a model said in a format of its own, where the frame holds that.
    pub(crate) fn chunk(&self) -> Option<String> {
        if self.name != "chunk" {
            return None;
        }
        let payload = self.json();
        let members: Vec<_> = payload.as_object().unwrap().keys().collect();
        assert_eq!(members, ["bytes"], "{payload}");
        let bytes = STANDARD.decode(payload["bytes"].as_str().unwrap()).unwrap();
        Some(String::from_utf8(bytes).unwrap())
    }

    /// The frame on one line, in the spelling of recordings; the bytes of a chunk are readable.
    pub(crate) fn line(&self) -> String {
        let Self { kind, name, payload } = self;
        let readable = self.chunk().map(|chunk| format!("{{\"bytes\":{chunk}}}"));
        let payload = readable.as_ref().unwrap_or(payload);
        assert!(!payload.contains('\n'), "{payload}");
        format!("{{\"{kind}\":\"{name}\",\"payload\":{payload}}}")
    }
}
