//! The script of an answer of AgentCore's: its frames, as they are.

use bytes::Bytes;

use crate::emulator::behaviour::Behaviour;
use crate::emulator::course::{Course, Dialect, ending, paced, thinking};
use crate::emulator::faults::{Fault, Point};
use crate::emulator::frames;
use crate::emulator::ledger::Ending;
use crate::emulator::playback::{Pace, Script, Step};

/// An answer breaks off in the frame that would have come.
struct Next<E> {
    frame: Bytes,
    /// Makes the frame of an exception by its name.
    exception: E,
}

impl<E: Fn(&str) -> Bytes + Send> Dialect for Next<E> {
    fn unfinished(&self) -> Bytes {
        self.frame.clone()
    }

    fn garbage(&self) -> Bytes {
        frames::corrupted(&self.frame)
    }

    fn error(&self) -> Bytes {
        self.garbage()
    }

    fn exception(&self, name: &str) -> Bytes {
        (self.exception)(name)
    }

    fn unknown(&self) -> Option<Bytes> {
        None
    }
}

/// Lays down the course of an answer, each of whose frames is a chunk of it; `exception` makes
/// the frame of an exception by its name.
pub(super) fn script(
    frames: Vec<Bytes>,
    behaviour: &Behaviour,
    exception: impl Fn(&str) -> Bytes + Send + 'static,
) -> Script {
    let Behaviour { pace, fault } = behaviour.clone();
    let place = match fault {
        Some(Fault::Break { after: Point::Chunks(whole), .. }) => whole,
        _ => 0,
    };
    let next = frames.get(place).cloned();
    let frame = next.unwrap_or_else(|| Bytes::from_static(b"never finished"));
    let first = pace.first + thinking(fault.as_ref());
    let steps = frames.into_iter().map(Step::chunk);
    let course = Course {
        before: Box::new(std::iter::empty()),
        answer: Box::new(paced(steps, Pace { first, ..pace })),
        end: Box::new(ending(Ending::Ok)),
        // The first frame breaks as soon as any other.
        breaks: Pace { first: pace.between, ..pace },
        fault,
        dialect: Box::new(Next { frame, exception }),
    };
    course.script()
}
