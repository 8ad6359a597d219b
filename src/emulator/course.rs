//! The course of an answer: its steps with their pauses, and what goes wrong on the way.
//!
//! The faults of the [emulator](super) mean the same to every service: each gives the steps of its
//! answer, and in [`Dialect`] its own words for what is wrong.

use std::time::Duration;

use bytes::Bytes;

use super::faults::{Break, Fault, Point};
use super::frames;
use super::ledger::Ending;
use super::playback::{Act, Pace, Role, Script, Step};

/// What an answer goes wrong with, as a service would write it.
pub(super) trait Dialect: Send {
    /// A piece that is going to break off in its middle.
    fn unfinished(&self) -> Bytes;
    /// A piece that nobody can read.
    fn garbage(&self) -> Bytes;
    /// An error that the service's model does not name.
    fn error(&self) -> Bytes;
    /// The exception of this name.
    fn exception(&self, name: &str) -> Bytes;
    /// An event of a type that nobody knows; none where an answer has no events.
    fn unknown(&self) -> Option<Bytes>;
}

/// `vnd.amazon.eventstream` frames.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventStream;

impl Dialect for EventStream {
    fn unfinished(&self) -> Bytes {
        frames::chunk(b"never finished")
    }

    fn garbage(&self) -> Bytes {
        frames::corrupted(&self.unfinished())
    }

    fn error(&self) -> Bytes {
        frames::unmodelled_error("InternalFailure", "emulated error frame")
    }

    fn exception(&self, name: &str) -> Bytes {
        frames::exception(name, "emulated exception")
    }

    fn unknown(&self) -> Option<Bytes> {
        Some(frames::event("somethingNew", "{\"detail\":\"of a later version\"}"))
    }
}

/// What an answer is made of.
pub(super) struct Course {
    /// What comes before the answer.
    pub(super) before: Script,
    /// The answer, in its own [pace](paced).
    pub(super) answer: Script,
    /// What comes after it.
    pub(super) end: Script,
    /// How late it breaks, where it does: as late as the chunk that would have come.
    pub(super) breaks: Pace,
    /// What goes wrong.
    pub(super) fault: Option<Fault>,
    /// In which words.
    pub(super) dialect: Box<dyn Dialect>,
}

impl Course {
    /// Lays it down.
    pub(super) fn script(self) -> Script {
        let Self { before, answer, end, breaks, fault, dialect } = self;
        match fault {
            Some(Fault::SilentBody) => Box::new(std::iter::once(Step::now(Act::Silence))),
            Some(Fault::Break { after: Point::Start, with }) => {
                Box::new(broken(&*dialect, with, breaks.first))
            }
            Some(Fault::Break { after: Point::Chunks(whole), with }) => {
                let pause = if whole == 0 { breaks.first } else { breaks.between };
                let broken = broken(&*dialect, with, pause);
                Box::new(before.chain(at_most(answer, whole)).chain(broken))
            }
            Some(Fault::Empty) => Box::new(before.chain(end)),
            Some(Fault::Slow) => Box::new(before.chain(answer).chain(end).map(Step::dripping)),
            Some(Fault::UnknownEvent) => {
                Box::new(before.chain(with_unknown_events(answer, dialect)).chain(end))
            }
            // A refusal that did not meet this call, or one that never gets here.
            Some(Fault::Refuse(_) | Fault::SilentHead | Fault::Thinking(_) | Fault::Flaw(_))
            | None => Box::new(before.chain(answer).chain(end)),
        }
    }
}

/// How long is thought before the first chunk.
pub(super) fn thinking(fault: Option<&Fault>) -> Duration {
    match fault {
        Some(Fault::Thinking(length)) => *length,
        _ => Duration::ZERO,
    }
}

/// The steps with a pause before each chunk.
pub(super) fn paced(
    steps: impl Iterator<Item = Step> + Send,
    pace: Pace,
) -> impl Iterator<Item = Step> + Send {
    let mut pause = pace.first;
    steps.map(move |step| match step.role {
        Role::Chunk => Step { after: std::mem::replace(&mut pause, pace.between), ..step },
        Role::Frame | Role::Aside => step,
    })
}

/// The end of an answer that went well, or by design did not.
pub(super) fn ending(ending: Ending) -> impl Iterator<Item = Step> + Send {
    std::iter::once(Step::now(Act::End(ending)))
}

/// The steps until so many are chunks, with the frames that follow the last of them.
fn at_most(
    steps: impl Iterator<Item = Step> + Send,
    whole: usize,
) -> impl Iterator<Item = Step> + Send {
    let mut left = whole;
    steps.take_while(move |step| {
        let comes = left > 0 || step.role == Role::Frame;
        left -= usize::from(comes && step.role == Role::Chunk);
        comes
    })
}

fn broken(
    dialect: &dyn Dialect,
    with: Break,
    after: Duration,
) -> impl Iterator<Item = Step> + Send + use<> {
    let last = match with {
        Break::Silence => Act::Silence,
        Break::Cut => Act::Sever(dialect.unfinished()),
        Break::End => Act::End(Ending::Fault),
        Break::Garbage => Act::Send(dialect.garbage()),
        Break::ErrorFrame => Act::Send(dialect.error()),
        Break::Exception(name) => Act::Send(dialect.exception(&name)),
    };
    std::iter::once(Step { after, ..Step::now(last) }).chain(ending(Ending::Fault))
}

fn with_unknown_events(
    answer: Script,
    dialect: Box<dyn Dialect>,
) -> impl Iterator<Item = Step> + Send {
    answer.flat_map(move |step| {
        let unknown = if step.role == Role::Chunk { dialect.unknown() } else { None };
        std::iter::once(step).chain(unknown.map(|bytes| Step::now(Act::Send(bytes))))
    })
}
