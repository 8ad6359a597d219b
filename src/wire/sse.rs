//! Server-sent events with ids, so that a stream which broke off can be resumed.
//!
//! Each frame's id is `{turn}:{sequence}`, and it says: everything up to this event of the turn
//! is delivered in full. Where one event makes several frames, all but the last carry the
//! sequence before it; the opening frame carries 0. So a reader that comes back with the last id
//! it saw (`Last-Event-ID`) loses nothing.

use bytes::{BufMut, BytesMut};

use crate::turn::TurnId;

use super::json_text;

/// The `content-type` of such a stream.
pub(super) const MEDIA_TYPE: &str = "text/event-stream; charset=utf-8";

/// Reads an id that a client sends back as `Last-Event-ID`: the turn, and the last event that
/// it has in full.
#[must_use]
pub fn parse_event_id(id: &str) -> Option<(TurnId, u64)> {
    let (turn, sequence) = id.trim().rsplit_once(':')?;
    let is_number = sequence.bytes().all(|byte| byte.is_ascii_digit());
    let sequence = sequence.parse().ok().filter(|_| is_number)?;
    Some((turn.parse().ok()?, sequence))
}

/// The id lines of one turn.
#[derive(Debug)]
pub(super) struct EventIds(Vec<u8>);

impl EventIds {
    /// Those of this turn.
    pub(super) fn of(turn: &TurnId) -> Self {
        Self(format!("id: {turn}:").into_bytes())
    }

    /// Bytes that a line takes, but for the sequence.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Writes the line without its end.
    pub(super) fn write(&self, sequence: u64, out: &mut BytesMut) {
        out.put_slice(&self.0);
        json_text::value(&sequence, out);
    }
}
