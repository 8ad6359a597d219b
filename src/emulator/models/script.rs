//! The script of a model's answer: its pieces, as they are told apart on the wire.
//!
//! A piece is a frame, a line of server-sent events or a whole body, by [`Framing`]; the faults of
//! the [emulator](crate::emulator) mean the same in each.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::emulator::behaviour::Behaviour;
use crate::emulator::course::{Course, Dialect, EventStream, ending, paced, thinking};
use crate::emulator::faults::{Break, Fault};
use crate::emulator::ledger::Ending;
use crate::emulator::playback::{Act, Pace, Role, Script, Step};

/// What is sent at once.
#[derive(Debug, Clone)]
pub(in crate::emulator) struct Piece {
    /// Its bytes, framed.
    pub(in crate::emulator) bytes: Bytes,
    /// Whether it brings something of the answer: the pace and the faults count these.
    pub(in crate::emulator) is_chunk: bool,
}

/// Pieces, made one at a time.
pub(in crate::emulator) type Pieces = Box<dyn Iterator<Item = Piece> + Send>;

/// How pieces are told apart on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum Framing {
    /// `vnd.amazon.eventstream` frames.
    Events,
    /// Server-sent events.
    ServerSent,
    /// Not at all: one body in one piece.
    Whole,
}

impl Dialect for Framing {
    fn unfinished(&self) -> Bytes {
        match self {
            Self::Events => EventStream.unfinished(),
            Self::ServerSent | Self::Whole => {
                Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"content\":\"never finished")
            }
        }
    }

    fn garbage(&self) -> Bytes {
        match self {
            Self::Events => EventStream.garbage(),
            Self::ServerSent => Bytes::from_static(b"data: {\"choices\": [garbage\n\n"),
            Self::Whole => Bytes::from_static(b"{\"output\": garbage"),
        }
    }

    fn error(&self) -> Bytes {
        match self {
            Self::Events => EventStream.error(),
            Self::ServerSent | Self::Whole => server_sent_error(None),
        }
    }

    fn exception(&self, name: &str) -> Bytes {
        match self {
            Self::Events => EventStream.exception(name),
            Self::ServerSent | Self::Whole => server_sent_error(Some(name)),
        }
    }

    fn unknown(&self) -> Option<Bytes> {
        match self {
            Self::Events => EventStream.unknown(),
            Self::ServerSent => {
                let news = b": of a later version\n\nevent: news\ndata: {\"news\":1}\n\n";
                Some(Bytes::from_static(news))
            }
            Self::Whole => None,
        }
    }
}

fn server_sent_error(code: Option<&str>) -> Bytes {
    let error = json!({"error": {
        "message": "emulated error", "type": "server_error", "param": null, "code": code,
    }});
    format!("data: {error}\n\n").into()
}

/// Lays down the course of an answer.
pub(in crate::emulator) fn script(
    pieces: Pieces,
    framing: Framing,
    behaviour: Behaviour,
) -> Script {
    let Behaviour { pace, fault } = behaviour;
    if let (Framing::Whole, Some(Fault::Break { with, .. })) = (framing, &fault) {
        return broken_whole(pieces, with, pace.first);
    }
    let first = pace.first + thinking(fault.as_ref());
    let steps = pieces.map(|piece| {
        let role = if piece.is_chunk { Role::Chunk } else { Role::Frame };
        Step { role, ..Step::now(Act::Send(piece.bytes)) }
    });
    let course = Course {
        before: Box::new(std::iter::empty()),
        answer: Box::new(paced(steps, Pace { first, ..pace })),
        end: Box::new(ending(Ending::Ok)),
        breaks: pace,
        fault,
        dialect: Box::new(framing),
    };
    course.script()
}

/// A body that breaks in its middle.
fn broken_whole(pieces: Pieces, with: &Break, after: Duration) -> Script {
    let whole: Vec<u8> = pieces.flat_map(|piece| piece.bytes).collect();
    let whole = Bytes::from(whole);
    let half = whole.slice(..whole.len() / 2);
    let acts = match with {
        Break::Cut => vec![Act::Sever(whole)],
        Break::Garbage => vec![Act::Send(Framing::Whole.garbage())],
        Break::Silence => vec![Act::Send(half), Act::Silence],
        // Those two are refusals before an answer like this begins.
        Break::End | Break::ErrorFrame | Break::Exception(_) => vec![Act::Send(half)],
    };
    let pauses = std::iter::once(after).chain(std::iter::repeat(Duration::ZERO));
    let steps = acts.into_iter().zip(pauses).map(|(act, after)| Step { after, ..Step::now(act) });
    Box::new(steps.chain(ending(Ending::Fault)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::playback::told;

    fn acts(framing: Framing, fault: &str) -> Vec<String> {
        let piece = |is_chunk| Piece { bytes: Bytes::from_static(b"1234"), is_chunk };
        let pieces = Box::new([piece(false), piece(true), piece(true), piece(false)].into_iter());
        let behaviour = Behaviour { pace: Pace::default(), fault: fault.parse().ok() };
        told(script(pieces, framing, behaviour))
    }

    #[test]
    fn a_stream_breaks_after_so_many_chunks() {
        let events = |fault| acts(Framing::Events, fault);
        assert_eq!(events("none"), ["send 4", "send 4", "send 4", "send 4", "end Ok"]);
        assert_eq!(events("end:1"), ["send 4", "send 4", "end Fault", "end Fault"]);
        assert_eq!(events("cut"), ["send 4", "sever", "end Fault"]);
        assert_eq!(events("stall:9").last().unwrap(), "end Fault");
        assert_eq!(events("garbage:first")[1..], ["end Fault"]);
        assert_eq!(events("empty"), ["end Ok"]);
        assert_eq!(events("unknown-event").len(), 7);
    }

    #[test]
    fn a_whole_body_breaks_in_its_middle() {
        assert_eq!(acts(Framing::Whole, "end:1"), ["send 8", "end Fault"]);
        assert_eq!(acts(Framing::Whole, "cut:3"), ["sever", "end Fault"]);
        assert_eq!(acts(Framing::Whole, "stall:1"), ["send 8", "silence", "end Fault"]);
    }
}
