//! The course of a model's answer: its pieces with their pauses, and what goes wrong on the way.
//!
//! A piece is a frame, a line of server-sent events or a whole body, by [`Framing`]; the faults of
//! the [emulator](crate::emulator) mean the same in each. The body owns its call, so a client
//! that hangs up ends the call at once.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use serde_json::json;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::emulator::calls::Ending;
use crate::emulator::faults::{Break, Fault, Point};
use crate::emulator::frames;
use crate::emulator::script::Pace;

use super::seen::OpenCall;

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

impl Framing {
    /// A piece that breaks off in the middle.
    fn unfinished(self) -> Bytes {
        match self {
            Self::Events => frames::chunk(b"never finished"),
            Self::ServerSent | Self::Whole => {
                Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"content\":\"never finished")
            }
        }
    }

    fn garbage(self) -> Bytes {
        match self {
            Self::Events => frames::corrupted(&self.unfinished()),
            Self::ServerSent => Bytes::from_static(b"data: {\"choices\": [garbage\n\n"),
            Self::Whole => Bytes::from_static(b"{\"output\": garbage"),
        }
    }

    fn error(self) -> Bytes {
        match self {
            Self::Events => frames::unmodelled_error("InternalFailure", "emulated error frame"),
            Self::ServerSent | Self::Whole => server_sent_error("server_error", None),
        }
    }

    fn exception(self, name: &str) -> Bytes {
        match self {
            Self::Events => frames::exception(name, "emulated exception"),
            Self::ServerSent | Self::Whole => server_sent_error("server_error", Some(name)),
        }
    }

    fn unknown(self) -> Bytes {
        match self {
            Self::Events => frames::event("somethingNew", "{\"detail\":\"of a later version\"}"),
            Self::ServerSent | Self::Whole => {
                Bytes::from_static(b": of a later version\n\nevent: news\ndata: {\"news\":1}\n\n")
            }
        }
    }
}

fn server_sent_error(kind: &str, code: Option<&str>) -> Bytes {
    let error = json!({"error": {
        "message": "emulated error", "type": kind, "param": null, "code": code,
    }});
    format!("data: {error}\n\n").into()
}

/// What an answer is made of.
pub(in crate::emulator) struct Course {
    /// Its pieces.
    pub(in crate::emulator) pieces: Pieces,
    /// What tells them apart.
    pub(in crate::emulator) framing: Framing,
    /// How fast they come.
    pub(in crate::emulator) pace: Pace,
    /// What goes wrong.
    pub(in crate::emulator) fault: Option<Fault>,
}

/// What happens `after` so long since the step before.
struct Step {
    after: Duration,
    act: Act,
}

enum Act {
    /// Sends bytes.
    Send(Bytes),
    /// Sends bytes one by one.
    Drip(Bytes),
    /// Sends half of the bytes and closes the connection.
    Sever(Bytes),
    /// Says no more and keeps the connection open.
    Silence,
    /// Ends the answer.
    End(Ending),
}

type Script = Box<dyn Iterator<Item = Step> + Send>;

fn now(act: Act) -> Step {
    Step { after: Duration::ZERO, act }
}

fn script(course: Course) -> Script {
    let Course { pieces, framing, pace, fault } = course;
    let first = match fault {
        Some(Fault::Thinking(length)) => pace.first + length,
        _ => pace.first,
    };
    if let (Framing::Whole, Some(Fault::Break { with, .. })) = (framing, &fault) {
        return broken_whole(pieces, with.clone(), first);
    }
    let pieces = paced(pieces, Pace { first, between: pace.between });
    let end = std::iter::once(now(Act::End(Ending::Ok)));
    match fault {
        Some(Fault::SilentBody) => Box::new(std::iter::once(now(Act::Silence))),
        Some(Fault::Break { after: Point::Start, with }) => {
            Box::new(broken(framing, with, pace.first))
        }
        Some(Fault::Break { after: Point::Chunks(after), with }) => {
            let pause = if after == 0 { pace.first } else { pace.between };
            Box::new(at_most(pieces, after).chain(broken(framing, with, pause)))
        }
        Some(Fault::Empty) => Box::new(end),
        Some(Fault::Slow) => {
            let dripping = |step: (Step, bool)| match step.0.act {
                Act::Send(bytes) => Step { act: Act::Drip(bytes), ..step.0 },
                act => Step { act, ..step.0 },
            };
            Box::new(pieces.map(dripping).chain(end))
        }
        Some(Fault::UnknownEvent) if framing != Framing::Whole => {
            let with_news = move |(step, is_chunk): (Step, bool)| {
                let news = is_chunk.then(|| now(Act::Send(framing.unknown())));
                std::iter::once(step).chain(news)
            };
            Box::new(pieces.flat_map(with_news).chain(end))
        }
        // A refusal that did not meet this call, or one that never gets here.
        Some(Fault::Refuse(_) | Fault::SilentHead | Fault::Thinking(_) | Fault::UnknownEvent)
        | None => Box::new(pieces.map(|(step, _)| step).chain(end)),
    }
}

/// The steps of an answer, each with whether it is a chunk.
fn paced(pieces: Pieces, pace: Pace) -> impl Iterator<Item = (Step, bool)> + Send {
    let mut pause = pace.first;
    pieces.map(move |piece| {
        let after = match piece.is_chunk {
            true => std::mem::replace(&mut pause, pace.between),
            false => Duration::ZERO,
        };
        (Step { after, act: Act::Send(piece.bytes) }, piece.is_chunk)
    })
}

/// The steps until so many of them are chunks.
fn at_most(
    steps: impl Iterator<Item = (Step, bool)> + Send,
    most: usize,
) -> impl Iterator<Item = Step> + Send {
    let mut left = most;
    let comes = move |step: &(Step, bool)| {
        let comes = left > 0 || !step.1;
        left -= usize::from(comes && step.1);
        comes
    };
    steps.take_while(comes).map(|(step, _)| step)
}

fn broken(framing: Framing, with: Break, after: Duration) -> impl Iterator<Item = Step> + Send {
    let last = match with {
        Break::Silence => Act::Silence,
        Break::Cut => Act::Sever(framing.unfinished()),
        Break::Garbage => Act::Send(framing.garbage()),
        Break::ErrorFrame => Act::Send(framing.error()),
        Break::Exception(name) => Act::Send(framing.exception(&name)),
        Break::End => Act::End(Ending::Fault),
    };
    [Step { after, act: last }, now(Act::End(Ending::Fault))].into_iter()
}

/// A body that breaks in its middle.
fn broken_whole(pieces: Pieces, with: Break, after: Duration) -> Script {
    let whole: Vec<u8> = pieces.flat_map(|piece| piece.bytes).collect();
    let whole = Bytes::from(whole);
    let half = whole.slice(..whole.len() / 2);
    let steps = match with {
        Break::Cut => vec![Act::Sever(whole)],
        Break::Garbage => vec![Act::Send(Framing::Whole.garbage())],
        Break::Silence => vec![Act::Send(half), Act::Silence],
        // Those two are refusals before an answer like this begins.
        Break::End | Break::ErrorFrame | Break::Exception(_) => vec![Act::Send(half)],
    };
    let first = std::iter::once(after).chain(std::iter::repeat(Duration::ZERO));
    let steps = steps.into_iter().zip(first).map(|(act, after)| Step { after, act });
    Box::new(steps.chain([now(Act::End(Ending::Fault))]))
}

/// The body of an answer: plays its course.
pub(in crate::emulator) struct Playback {
    call: OpenCall,
    script: Script,
    /// When the step before was due; pauses count from there, so that they do not add up late.
    due: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    /// What is done when the timer fires.
    waiting: Option<Act>,
    /// What is still to be sent byte by byte.
    drip: Bytes,
    /// Give the connection an occasion to write before anything else comes.
    yields: bool,
    is_severed: bool,
}

impl Playback {
    /// Plays a course for a call.
    pub(in crate::emulator) fn new(call: OpenCall, course: Course) -> Self {
        Self {
            call,
            script: script(course),
            due: Instant::now(),
            timer: None,
            waiting: None,
            drip: Bytes::new(),
            yields: false,
            is_severed: false,
        }
    }

    /// The next act, when its time has come.
    fn poll_act(&mut self, context: &mut Context<'_>) -> Poll<Act> {
        if self.waiting.is_none() {
            let Some(step) = self.script.next() else {
                return Poll::Ready(Act::End(Ending::Ok));
            };
            if step.after.is_zero() {
                return Poll::Ready(step.act);
            }
            self.due += step.after;
            self.waiting = Some(step.act);
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(self.due),
                None => self.timer = Some(Box::pin(sleep_until(self.due))),
            }
        }
        if let Some(timer) = &mut self.timer {
            ready!(timer.as_mut().poll(context));
        }
        Poll::Ready(self.waiting.take().unwrap_or(Act::Silence))
    }
}

impl Body for Playback {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = self.get_mut();
        loop {
            if std::mem::take(&mut body.yields) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if body.is_severed {
                return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
            }
            if !body.drip.is_empty() {
                body.yields = true;
                return Poll::Ready(Some(Ok(Frame::data(body.drip.split_to(1)))));
            }
            match ready!(body.poll_act(context)) {
                Act::Send(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Act::Drip(bytes) => body.drip = bytes,
                Act::Sever(bytes) => {
                    body.call.end(Ending::Fault);
                    (body.is_severed, body.yields) = (true, true);
                    return Poll::Ready(Some(Ok(Frame::data(bytes.slice(..bytes.len() / 2)))));
                }
                Act::Silence => {
                    body.script = Box::new(std::iter::once(now(Act::Silence)));
                    return Poll::Pending;
                }
                // The call is over before the client can know that the answer has ended.
                Act::End(ending) => {
                    body.call.end(ending);
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl fmt::Debug for Playback {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Playback").field("call", &self.call).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acts(framing: Framing, fault: &str) -> Vec<String> {
        let piece = |is_chunk| Piece { bytes: Bytes::from_static(b"1234"), is_chunk };
        let pieces = Box::new([piece(false), piece(true), piece(true), piece(false)].into_iter());
        let fault = fault.parse().ok();
        let course = Course { pieces, framing, pace: Pace::default(), fault };
        script(course)
            .map(|step| match step.act {
                Act::Send(bytes) => format!("send {}", bytes.len()),
                Act::Drip(_) => "drip".to_owned(),
                Act::Sever(_) => "sever".to_owned(),
                Act::Silence => "silence".to_owned(),
                Act::End(ending) => format!("end {ending:?}"),
            })
            .collect()
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
