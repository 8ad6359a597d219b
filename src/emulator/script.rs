//! The script of an agent's answer: its parts, and the traces before, between and after them.

use std::time::Duration;

use bytes::Bytes;

use super::course::{Course, EventStream, ending, paced, thinking};
use super::faults::Fault;
use super::frames;
use super::ledger::Ending;
use super::pieces::Pieces;
use super::playback::{Act, Pace, Script, Step};
use super::traces::{Record, Size, Tracer};

/// Between two signs of life of an agent that thinks.
const THOUGHT_EVERY: Duration = Duration::from_millis(50);

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

/// Lays down the course of an answer.
pub(super) fn script(plan: Plan) -> Script {
    let Plan { parts, fails, hands_over, pace, tracer, size, fault } = plan;
    let opening = tracer.as_ref().map(|tracer| tracer.opening(size)).into_iter().flatten();
    let ends_well = fails.is_none() && !hands_over;
    let closing = tracer.as_ref().filter(|_| ends_well).map(|tracer| tracer.closing(size));
    let thoughts = thoughts(thinking(fault.as_ref()), tracer);
    let course = Course {
        before: Box::new(opening.map(trace).chain(thoughts)),
        answer: Box::new(paced(parts.into_iter().flat_map(steps), pace)),
        end: Box::new(closing.into_iter().map(trace).chain(last(fails))),
        breaks: pace,
        fault,
        dialect: Box::new(EventStream),
    };
    course.script()
}

fn trace(record: Record) -> Step {
    Step::now(match record.spent {
        Some(spent) => Act::Tell(record.frame, spent),
        None => Act::Send(record.frame),
    })
}

fn last(fails: Option<String>) -> impl Iterator<Item = Step> + Send {
    let exception = fails.map(|name| frames::exception(&name, "emulated exception"));
    let end = ending(if exception.is_some() { Ending::Fault } else { Ending::Ok });
    exception.into_iter().map(|frame| Step::now(Act::Send(frame))).chain(end)
}

fn steps(part: Part) -> Box<dyn Iterator<Item = Step> + Send> {
    match part {
        Part::Text(pieces, None) => {
            Box::new(pieces.map(|piece| Step::chunk(frames::chunk(&piece))))
        }
        Part::Text(mut pieces, Some(attribution)) => Box::new(std::iter::from_fn(move || {
            let piece = pieces.next()?;
            Some(Step::chunk(match pieces.is_empty() {
                true => frames::attributed_chunk(&piece, &attribution),
                false => frames::chunk(&piece),
            }))
        })),
        Part::Event(frame) => Box::new(std::iter::once(Step::chunk(frame))),
        Part::Trace(record) => Box::new(std::iter::once(trace(record))),
    }
}

fn thoughts(length: Duration, tracer: Option<Tracer>) -> impl Iterator<Item = Step> + Send {
    let count = length.as_millis() / THOUGHT_EVERY.as_millis();
    (0..count).map(move |_| {
        let thought = tracer.as_ref().map(|tracer| Act::Send(tracer.thought().frame));
        Step { after: THOUGHT_EVERY, ..Step::now(thought.unwrap_or(Act::Wait)) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::faults::{Break, Point};
    use crate::emulator::pieces::Cut;
    use crate::emulator::playback::told;

    fn acts(fault: Option<Fault>) -> Vec<String> {
        let pieces = Pieces::new("1 2 3 ".to_owned(), Cut::Words);
        let size = Size { input: 1, output: 1, turns: 0 };
        let pace = Pace::default();
        let parts = vec![Part::Text(pieces, None)];
        let (fails, hands_over) = (None, false);
        let plan = Plan { parts, fails, hands_over, pace, tracer: None, size, fault };
        let acts = told(script(plan)).into_iter();
        acts.map(|act| if act.starts_with("send") { "send".to_owned() } else { act }).collect()
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
