//! The course of an answer: which frames are sent, with which pauses, and how it ends.
//!
//! [`script`] lays it down as an iterator of steps, made as they are needed; [`AnswerBody`] plays
//! it. The body owns its call, so a client that hangs up, whose connection drops the body, ends
//! the call at once.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use super::calls::{Ending, OpenCall};
use super::faults::{Break, Fault};
use super::frames;
use super::traces::{Size, Tracer};

/// Bytes in a piece of a streamed answer.
const SMALL_PIECE: usize = 12;
/// Bytes in a piece of an answer that is not streamed; in base64 still below the service's limit
/// of 1,000,000.
const WHOLE_PIECE: usize = 700_000;
/// Between two signs of life of an agent that thinks.
const THOUGHT_EVERY: Duration = Duration::from_millis(50);

/// How an answer is cut into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Not at all, as long as it fits.
    Whole,
    /// After each space.
    Words,
    /// Every few bytes, and inside each character that has several.
    Bytes,
}

/// The pieces of a text.
#[derive(Debug)]
pub(super) struct Pieces {
    rest: Bytes,
    cut: Cut,
}

impl Pieces {
    /// The text, to be cut in this way.
    pub(super) fn new(text: String, cut: Cut) -> Self {
        Self { rest: text.into(), cut }
    }

    fn next_length(&self) -> usize {
        let rest = &self.rest;
        match self.cut {
            Cut::Whole => rest.len().min(WHOLE_PIECE),
            Cut::Words => memchr::memchr(b' ', rest).map_or(rest.len(), |space| space + 1),
            Cut::Bytes => {
                let length = rest.len().min(SMALL_PIECE);
                let begins_several = |byte: &u8| *byte >= 0xc0;
                rest[..length].iter().position(begins_several).map_or(length, |at| at + 1)
            }
        }
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            return None;
        }
        let length = self.next_length();
        Some(self.rest.split_to(length))
    }
}

/// How fast an answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pace {
    /// Before the first chunk.
    pub(super) first: Duration,
    /// Between two chunks.
    pub(super) between: Duration,
}

/// What an answer is made of.
#[derive(Debug)]
pub(super) struct Plan {
    /// Its text.
    pub(super) pieces: Pieces,
    /// The event that hands control over, where the agent does that instead of answering.
    pub(super) hand_over: Option<Bytes>,
    /// How fast it comes.
    pub(super) pace: Pace,
    /// Who writes traces, where they are wanted.
    pub(super) tracer: Option<Tracer>,
    /// What the token counts are made of.
    pub(super) size: Size,
    /// What goes wrong.
    pub(super) fault: Option<Fault>,
}

/// What happens `after` so long since the step before.
#[derive(Debug)]
pub(super) struct Step {
    after: Duration,
    act: Act,
}

#[derive(Debug)]
enum Act {
    /// Sends a frame.
    Send(Bytes),
    /// Sends a frame byte by byte.
    Drip(Bytes),
    /// Sends half of a frame and closes the connection.
    Sever(Bytes),
    /// Only lets the time pass.
    Wait,
    /// Says no more and keeps the connection open.
    Silence,
    /// Ends the answer.
    End(Ending),
}

impl Step {
    fn now(act: Act) -> Self {
        Self { after: Duration::ZERO, act }
    }

    fn dripping(self) -> Self {
        match self.act {
            Act::Send(frame) => Self { act: Act::Drip(frame), ..self },
            act => Self { act, ..self },
        }
    }
}

/// Steps, made one at a time.
pub(super) type Script = Box<dyn Iterator<Item = Step> + Send>;

/// Lays down the course of an answer.
pub(super) fn script(plan: Plan) -> Script {
    let Plan { pieces, hand_over, pace, tracer, size, fault } = plan;
    let opening = tracer.as_ref().map(|tracer| tracer.opening(size)).into_iter().flatten();
    let closing = tracer.as_ref().map(|tracer| tracer.closing(size)).into_iter();
    let thinking = match fault {
        Some(Fault::Thinking(length)) => length,
        _ => Duration::ZERO,
    };
    let before = opening.map(send).chain(thoughts(thinking, tracer));
    let hand_over = hand_over.map(|frame| Step { after: pace.first, act: Act::Send(frame) });
    let chunks = chunks(pieces, pace).chain(hand_over);
    let end = closing.map(send).chain([Step::now(Act::End(Ending::Ok))]);
    match fault {
        Some(Fault::SilentBody) => Box::new(std::iter::once(Step::now(Act::Silence))),
        Some(Fault::Break { after: whole, with }) => {
            let pause = if whole == 0 { pace.first } else { pace.between };
            Box::new(before.chain(chunks.take(whole)).chain(broken(with, pause)))
        }
        Some(Fault::Empty) => Box::new(before.chain(end)),
        Some(Fault::Slow) => Box::new(before.chain(chunks).chain(end).map(Step::dripping)),
        Some(Fault::UnknownEvent) => {
            Box::new(before.chain(chunks.flat_map(|step| [step, unknown_event()])).chain(end))
        }
        // A refusal that did not meet this call, or one that never gets here.
        Some(Fault::Refuse(_) | Fault::SilentHead | Fault::Thinking(_)) | None => {
            Box::new(before.chain(chunks).chain(end))
        }
    }
}

fn send(frame: Bytes) -> Step {
    Step::now(Act::Send(frame))
}

fn unknown_event() -> Step {
    send(frames::event("somethingNew", "{\"detail\":\"of a later version\"}"))
}

fn chunks(pieces: Pieces, pace: Pace) -> impl Iterator<Item = Step> + Send {
    pieces.enumerate().map(move |(place, piece)| Step {
        after: if place == 0 { pace.first } else { pace.between },
        act: Act::Send(frames::chunk(&piece)),
    })
}

fn thoughts(length: Duration, tracer: Option<Tracer>) -> impl Iterator<Item = Step> + Send {
    let count = length.as_millis() / THOUGHT_EVERY.as_millis();
    (0..count).map(move |_| Step {
        after: THOUGHT_EVERY,
        act: tracer.as_ref().map_or(Act::Wait, |tracer| Act::Send(tracer.thought())),
    })
}

fn broken(with: Break, after: Duration) -> impl Iterator<Item = Step> + Send {
    let unfinished = || frames::chunk(b"never finished");
    let last = match with {
        Break::Silence => Act::Silence,
        Break::Cut => Act::Sever(unfinished()),
        Break::End => Act::End(Ending::Fault),
        Break::Garbage => Act::Send(frames::corrupted(&unfinished())),
        Break::ErrorFrame => {
            Act::Send(frames::unmodelled_error("InternalFailure", "emulated error frame"))
        }
        Break::Exception(name) => Act::Send(frames::exception(&name, "emulated exception")),
    };
    [Step { after, act: last }, Step::now(Act::End(Ending::Fault))].into_iter()
}

/// The body of an answer: plays its script.
pub(super) struct AnswerBody {
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

impl AnswerBody {
    /// Plays this script for this call.
    pub(super) fn new(call: OpenCall, script: Script) -> Self {
        Self {
            call,
            script,
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
        Poll::Ready(self.waiting.take().unwrap_or(Act::Wait))
    }
}

impl Body for AnswerBody {
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
                Act::Send(frame) => return Poll::Ready(Some(Ok(Frame::data(frame)))),
                Act::Drip(frame) => body.drip = frame,
                Act::Sever(frame) => {
                    body.call.end(Ending::Fault);
                    (body.is_severed, body.yields) = (true, true);
                    return Poll::Ready(Some(Ok(Frame::data(frame.slice(..frame.len() / 2)))));
                }
                Act::Wait => {}
                Act::Silence => {
                    body.script = Box::new(std::iter::once(Step::now(Act::Silence)));
                    return Poll::Pending;
                }
                // The session is free before the client can know that the answer has ended.
                Act::End(ending) => {
                    body.call.end(ending);
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AnswerBody").field("call", &self.call).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, cut: Cut) -> Vec<Vec<u8>> {
        Pieces::new(text.to_owned(), cut).map(|piece| piece.to_vec()).collect()
    }

    fn acts(fault: Option<Fault>) -> Vec<String> {
        let pieces = Pieces::new("1 2 3 ".to_owned(), Cut::Words);
        let size = Size { input: 1, output: 1, turns: 0 };
        let pace = Pace::default();
        let plan = Plan { pieces, hand_over: None, pace, tracer: None, size, fault };
        script(plan)
            .map(|step| match step.act {
                Act::Send(_) => "send".to_owned(),
                Act::Drip(_) => "drip".to_owned(),
                Act::Sever(_) => "sever".to_owned(),
                Act::Wait => format!("wait {}", step.after.as_millis()),
                Act::Silence => "silence".to_owned(),
                Act::End(ending) => format!("end {ending:?}"),
            })
            .collect()
    }

    #[test]
    fn words_keep_the_space_after_them() {
        assert_eq!(cut("1 2 three", Cut::Words), [&b"1 "[..], b"2 ", b"three"]);
        assert!(cut("", Cut::Words).is_empty());
    }

    #[test]
    fn characters_of_several_bytes_straddle_two_pieces() {
        let text = "Grüße, 日本 \u{1f600} and plain letters";
        let pieces = cut(text, Cut::Bytes);
        assert_eq!(pieces.concat(), text.as_bytes());
        let halves = pieces.iter().filter(|piece| std::str::from_utf8(piece).is_err());
        assert!(halves.count() >= 5);
        assert!(cut("plain letters only, twelve each", Cut::Bytes).iter().all(|p| p.len() <= 12));
    }

    #[test]
    fn a_whole_answer_is_one_piece_until_it_is_too_large() {
        assert_eq!(cut("some words", Cut::Whole).len(), 1);
        assert_eq!(cut(&"x".repeat(WHOLE_PIECE + 1), Cut::Whole).len(), 2);
    }

    #[test]
    fn an_answer_breaks_off_after_so_many_chunks() {
        let broken = |with| acts(Some(Fault::Break { after: 2, with }));
        assert_eq!(acts(None), ["send", "send", "send", "end Ok"]);
        assert_eq!(broken(Break::Cut), ["send", "send", "sever", "end Fault"]);
        assert_eq!(broken(Break::Silence), ["send", "send", "silence", "end Fault"]);
        assert_eq!(broken(Break::Garbage), ["send", "send", "send", "end Fault"]);
        let late = acts(Some(Fault::Break { after: 9, with: Break::Cut }));
        assert_eq!(late, ["send", "send", "send", "sever", "end Fault"]);
    }

    #[test]
    fn other_faults_change_the_course_as_they_say() {
        assert_eq!(acts(Some(Fault::SilentBody)), ["silence"]);
        assert_eq!(acts(Some(Fault::Empty)), ["end Ok"]);
        assert_eq!(acts(Some(Fault::Slow)), ["drip", "drip", "drip", "end Ok"]);
        assert_eq!(acts(Some(Fault::UnknownEvent)).len(), 7);
        let thinking = acts(Some(Fault::Thinking(Duration::from_millis(120))));
        assert_eq!(thinking[..3], ["wait 50", "wait 50", "send"]);
    }
}
