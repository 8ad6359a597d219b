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

use super::calls::{Ending, OpenCall, Spent};
use super::faults::{Break, Fault, Point};
use super::frames;
use super::pieces::Pieces;
use super::traces::{Record, Size, Tracer};

/// Between two signs of life of an agent that thinks.
const THOUGHT_EVERY: Duration = Duration::from_millis(50);

/// How fast an answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pace {
    /// Before the first chunk.
    pub(super) first: Duration,
    /// Between two chunks.
    pub(super) between: Duration,
}

/// One part of an answer.
#[derive(Debug)]
pub(super) enum Part {
    /// Text in pieces; the last one carries the attribution, in JSON.
    Text(Pieces, Option<String>),
    /// Any other event of the answer itself: a hand-over, or files.
    Event(Bytes),
    /// A record of what the agent does, which is no part of the answer.
    Trace(Record),
}

/// What an answer is made of.
#[derive(Debug)]
pub(super) struct Plan {
    /// Its parts, in order.
    pub(super) parts: Vec<Part>,
    /// The exception that ends it, where it does not end well.
    pub(super) fails: Option<String>,
    /// Whether it ends in a hand-over, so that nothing is thought about after it.
    pub(super) hands_over: bool,
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
    /// Whether it is a part of the answer itself, as traces are not.
    is_answer: bool,
}

#[derive(Debug)]
enum Act {
    /// Sends a frame.
    Send(Bytes),
    /// Sends a trace that tells of tokens.
    Tell(Bytes, Spent),
    /// Sends a frame byte by byte.
    Drip(Bytes, Option<Spent>),
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
        Self { after: Duration::ZERO, act, is_answer: false }
    }

    fn trace(record: Record) -> Self {
        Self::now(match record.spent {
            Some(spent) => Act::Tell(record.frame, spent),
            None => Act::Send(record.frame),
        })
    }

    fn dripping(self) -> Self {
        match self.act {
            Act::Send(frame) => Self { act: Act::Drip(frame, None), ..self },
            Act::Tell(frame, spent) => Self { act: Act::Drip(frame, Some(spent)), ..self },
            act => Self { act, ..self },
        }
    }
}

/// Steps, made one at a time.
pub(super) type Script = Box<dyn Iterator<Item = Step> + Send>;

/// Lays down the course of an answer.
pub(super) fn script(plan: Plan) -> Script {
    let Plan { parts, fails, hands_over, pace, tracer, size, fault } = plan;
    let opening = tracer.as_ref().map(|tracer| tracer.opening(size)).into_iter().flatten();
    let ends_well = fails.is_none() && !hands_over;
    let closing = tracer.as_ref().filter(|_| ends_well).map(|tracer| tracer.closing(size));
    let thinking = match fault {
        Some(Fault::Thinking(length)) => length,
        _ => Duration::ZERO,
    };
    let before = opening.map(Step::trace).chain(thoughts(thinking, tracer));
    let answer = paced(parts, pace);
    let end = closing.into_iter().map(Step::trace).chain(ending(fails));
    match fault {
        Some(Fault::SilentBody) => Box::new(std::iter::once(Step::now(Act::Silence))),
        Some(Fault::Break { after: Point::Start, with }) => Box::new(broken(with, pace.first)),
        Some(Fault::Break { after: Point::Chunks(whole), with }) => {
            let pause = if whole == 0 { pace.first } else { pace.between };
            Box::new(before.chain(at_most(answer, whole)).chain(broken(with, pause)))
        }
        Some(Fault::Empty) => Box::new(before.chain(end)),
        Some(Fault::Slow) => Box::new(before.chain(answer).chain(end).map(Step::dripping)),
        Some(Fault::UnknownEvent) => Box::new(before.chain(with_unknown_events(answer)).chain(end)),
        // A refusal that did not meet this call, or one that never gets here.
        Some(Fault::Refuse(_) | Fault::SilentHead | Fault::Thinking(_)) | None => {
            Box::new(before.chain(answer).chain(end))
        }
    }
}

/// Lays down frames that are ready, at this pace. Faults that break an answer do so after as
/// many frames as they say; `exception` makes the frame of an exception by its name.
pub(super) fn frames(
    frames: Vec<Bytes>,
    pace: Pace,
    fault: Option<&Fault>,
    exception: impl Fn(&str) -> Bytes,
) -> Script {
    let thinking = match fault {
        Some(Fault::Thinking(length)) => *length,
        _ => Duration::ZERO,
    };
    let mut steps: Vec<_> = (0..)
        .zip(frames)
        .map(|(place, frame)| Step {
            after: if place == 0 { pace.first + thinking } else { pace.between },
            act: Act::Send(frame),
            is_answer: true,
        })
        .collect();
    let end = match fault {
        Some(Fault::SilentBody) => {
            return Box::new(std::iter::once(Step::now(Act::Silence)));
        }
        Some(Fault::Break { after, with }) => {
            let whole = match after {
                Point::Start => 0,
                Point::Chunks(whole) => *whole,
            };
            let next = steps.get(whole).map(|step| match &step.act {
                Act::Send(frame) => frame.clone(),
                _ => Bytes::new(),
            });
            steps.truncate(whole);
            let next = next.unwrap_or_else(|| Bytes::from_static(b"never finished"));
            let act = match with {
                Break::Silence => Act::Silence,
                Break::Cut => Act::Sever(next),
                Break::End => Act::End(Ending::Fault),
                Break::Garbage | Break::ErrorFrame => Act::Send(frames::corrupted(&next)),
                Break::Exception(name) => Act::Send(exception(name)),
            };
            steps.push(Step { after: pace.between, ..Step::now(act) });
            Ending::Fault
        }
        Some(Fault::Empty) => {
            steps.clear();
            Ending::Ok
        }
        _ => Ending::Ok,
    };
    let script = steps.into_iter().chain([Step::now(Act::End(end))]);
    match fault {
        Some(Fault::Slow) => Box::new(script.map(Step::dripping)),
        _ => Box::new(script),
    }
}

fn ending(fails: Option<String>) -> impl Iterator<Item = Step> + Send {
    let exception = fails.map(|name| frames::exception(&name, "emulated exception"));
    let ending = if exception.is_some() { Ending::Fault } else { Ending::Ok };
    exception.into_iter().map(send).chain([Step::now(Act::End(ending))])
}

fn send(frame: Bytes) -> Step {
    Step::now(Act::Send(frame))
}

fn with_unknown_events(
    answer: impl Iterator<Item = Step> + Send,
) -> impl Iterator<Item = Step> + Send {
    let unknown = || send(frames::event("somethingNew", "{\"detail\":\"of a later version\"}"));
    answer.flat_map(move |step| {
        let after = step.is_answer.then(unknown);
        std::iter::once(step).chain(after)
    })
}

/// The steps until so many are parts of the answer.
fn at_most(
    answer: impl Iterator<Item = Step> + Send,
    whole: usize,
) -> impl Iterator<Item = Step> + Send {
    let mut left = whole;
    answer.take_while(move |step| {
        let comes = left > 0;
        left -= usize::from(comes && step.is_answer);
        comes
    })
}

/// The steps of an answer, with a pause before each that is a part of it.
fn paced(parts: Vec<Part>, pace: Pace) -> impl Iterator<Item = Step> + Send {
    let mut pause = pace.first;
    parts.into_iter().flat_map(steps).map(move |step| match step.is_answer {
        true => Step { after: std::mem::replace(&mut pause, pace.between), ..step },
        false => step,
    })
}

fn steps(part: Part) -> Box<dyn Iterator<Item = Step> + Send> {
    let answer = |frame| Step { is_answer: true, ..send(frame) };
    match part {
        Part::Text(pieces, None) => {
            Box::new(pieces.map(move |piece| answer(frames::chunk(&piece))))
        }
        Part::Text(mut pieces, Some(attribution)) => Box::new(std::iter::from_fn(move || {
            let piece = pieces.next()?;
            Some(answer(match pieces.is_empty() {
                true => frames::attributed_chunk(&piece, &attribution),
                false => frames::chunk(&piece),
            }))
        })),
        Part::Event(frame) => Box::new(std::iter::once(answer(frame))),
        Part::Trace(record) => Box::new(std::iter::once(Step::trace(record))),
    }
}

fn thoughts(length: Duration, tracer: Option<Tracer>) -> impl Iterator<Item = Step> + Send {
    let count = length.as_millis() / THOUGHT_EVERY.as_millis();
    (0..count).map(move |_| {
        let thought = tracer.as_ref().map(|tracer| Act::Send(tracer.thought().frame));
        Step { after: THOUGHT_EVERY, ..Step::now(thought.unwrap_or(Act::Wait)) }
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
    [Step { after, ..Step::now(last) }, Step::now(Act::End(Ending::Fault))].into_iter()
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
                Act::Tell(frame, spent) => {
                    body.call.spends(&spent);
                    return Poll::Ready(Some(Ok(Frame::data(frame))));
                }
                Act::Drip(frame, spent) => {
                    spent.into_iter().for_each(|spent| body.call.spends(&spent));
                    body.drip = frame;
                }
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
    use crate::emulator::pieces::Cut;

    fn acts(fault: Option<Fault>) -> Vec<String> {
        let pieces = Pieces::new("1 2 3 ".to_owned(), Cut::Words);
        let size = Size { input: 1, output: 1, turns: 0 };
        let pace = Pace::default();
        let parts = vec![Part::Text(pieces, None)];
        let (fails, hands_over) = (None, false);
        let plan = Plan { parts, fails, hands_over, pace, tracer: None, size, fault };
        script(plan)
            .map(|step| match step.act {
                Act::Send(_) | Act::Tell(..) => "send".to_owned(),
                Act::Drip(..) => "drip".to_owned(),
                Act::Sever(_) => "sever".to_owned(),
                Act::Wait => format!("wait {}", step.after.as_millis()),
                Act::Silence => "silence".to_owned(),
                Act::End(ending) => format!("end {ending:?}"),
            })
            .collect()
    }

    #[test]
    fn an_answer_breaks_off_after_so_many_chunks() {
        let broken = |with| acts(Some(Fault::Break { after: Point::Chunks(2), with }));
        assert_eq!(acts(None), ["send", "send", "send", "end Ok"]);
        assert_eq!(broken(Break::Cut), ["send", "send", "sever", "end Fault"]);
        assert_eq!(broken(Break::Silence), ["send", "send", "silence", "end Fault"]);
        assert_eq!(broken(Break::Garbage), ["send", "send", "send", "end Fault"]);
        let late = acts(Some(Fault::Break { after: Point::Chunks(9), with: Break::Cut }));
        assert_eq!(late, ["send", "send", "send", "sever", "end Fault"]);
        let first = acts(Some(Fault::Break { after: Point::Start, with: Break::Garbage }));
        assert_eq!(first, ["send", "end Fault"]);
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
