//! What can be made to go wrong, and how it is spelled.
//!
//! A fault is spelled `name`, `name:N` or `exception:NAME:N`, where N may be `first`; the module
//! documentation of the [emulator](super) lists them all. [`Fault`] is what the spelling means.

use std::str::FromStr;
use std::time::Duration;

use super::refusal::{self, Refusal};

/// The longest `thinking:MS`, in milliseconds: ten minutes.
const MAX_THINKING_MS: u64 = 600_000;
/// The longest name of an exception in `exception:NAME:N`.
const MAX_EXCEPTION_NAME: usize = 64;

/// One thing that goes wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Refused with a status.
    Refuse(Refuse),
    /// No answer at all, not even a head.
    SilentHead,
    /// A head, then nothing.
    SilentBody,
    /// The answer breaks.
    Break {
        /// What arrives whole.
        after: Point,
        /// What comes then.
        with: Break,
    },
    /// Every byte is written on its own.
    Slow,
    /// No chunk, and a clean end.
    Empty,
    /// An event of an unknown type after the first chunk.
    UnknownEvent,
    /// Traces every 50 ms for this long before the first chunk.
    Thinking(Duration),
    /// An answer that is not as its format says; the OpenAI upstream alone has those.
    Flaw(Flaw),
}

/// What is not as `OpenAI`'s chat completions say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Nobody says that the assistant speaks.
    NoRole,
    /// The choice is the second of one.
    WrongIndex,
    /// No usage, though it was asked for.
    NoUsage,
    /// No `[DONE]`.
    NoDone,
    /// No choice says why it ended.
    NoFinish,
    /// The head says that the body is something else.
    WrongContentType,
    /// Calls in a stream have the index -1.
    ToolIndex,
    /// All calls have one id.
    SharedCallId,
}

impl Flaw {
    /// Every flaw with its spelling.
    const NAMES: &'static [(&'static str, Self)] = &[
        ("no-role", Self::NoRole),
        ("wrong-index", Self::WrongIndex),
        ("no-usage", Self::NoUsage),
        ("no-done", Self::NoDone),
        ("no-finish", Self::NoFinish),
        ("wrong-content-type", Self::WrongContentType),
        ("tool-index", Self::ToolIndex),
        ("shared-call-id", Self::SharedCallId),
    ];
}

/// A call refused with a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refuse {
    /// What the caller is told.
    pub(super) with: Refusal,
    /// Only so many first calls of a session; all of them when `None`.
    pub(super) first: Option<u64>,
    /// Only calls that ask for a streamed answer.
    pub(super) streaming_only: bool,
}

impl Refuse {
    /// Whether it meets a session's `number`th call, counted from 1.
    pub(super) fn meets(&self, number: u64, streaming: bool) -> bool {
        (streaming || !self.streaming_only) && self.first.is_none_or(|first| number <= first)
    }
}

/// A point in the course of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    /// Before anything, traces too.
    Start,
    /// After so many chunks, hand-overs and files, or after the last when there are fewer. With
    /// none, the traces that open an answer have been sent.
    Chunks(usize),
}

/// How an answer breaks off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Break {
    /// Nothing more comes, and the connection stays open.
    Silence,
    /// The connection closes in the middle of a frame.
    Cut,
    /// A clean end of the body, before the answer's own.
    End,
    /// A frame whose checksum is wrong, then the end.
    Garbage,
    /// A frame of `:message-type: error`, then the end.
    ErrorFrame,
    /// An exception frame of this name, then the end.
    Exception(String),
}

/// Why a text is not a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown fault {spelling:?}: {why}")]
pub(super) struct BadFault {
    spelling: String,
    why: &'static str,
}

impl FromStr for Fault {
    type Err = BadFault;

    fn from_str(spelling: &str) -> Result<Self, BadFault> {
        read(spelling)
            .map_err(|why| BadFault { spelling: spelling.chars().take(80).collect(), why })
    }
}

fn read(spelling: &str) -> Result<Fault, &'static str> {
    let (name, argument) = match spelling.split_once(':') {
        Some((name, argument)) => (name, Some(argument)),
        None => (spelling, None),
    };
    if let Some(found) = refusal::FAULTS.iter().find(|fault| fault.spelling == name) {
        let first = argument.map(count).transpose()?;
        let streaming_only = found.streaming_only;
        return Ok(Fault::Refuse(Refuse { with: found.refusal(), first, streaming_only }));
    }
    if let (Some((_, flaw)), None) = (Flaw::NAMES.iter().find(|(flaw, _)| *flaw == name), argument)
    {
        return Ok(Fault::Flaw(*flaw));
    }
    match (name, argument) {
        ("stall-headers", None) => Ok(Fault::SilentHead),
        ("stall", None) => Ok(Fault::SilentBody),
        ("stall", Some(after)) => breaks(Break::Silence, Some(after)),
        ("cut", after) => breaks(Break::Cut, after),
        ("end", after) => breaks(Break::End, after),
        ("garbage", after) => breaks(Break::Garbage, after),
        ("error-frame", after) => breaks(Break::ErrorFrame, after),
        ("exception", Some(rest)) => exception(rest),
        ("slow", None) => Ok(Fault::Slow),
        ("empty", None) => Ok(Fault::Empty),
        ("unknown-event", None) => Ok(Fault::UnknownEvent),
        ("thinking", Some(milliseconds)) => thinking(milliseconds),
        _ => Err("the emulator's documentation lists the faults there are"),
    }
}

fn breaks(with: Break, after: Option<&str>) -> Result<Fault, &'static str> {
    if after == Some("first") {
        return Ok(Fault::Break { after: Point::Start, with });
    }
    let chunks = after.map_or(Ok(0), count)?;
    let after = Point::Chunks(usize::try_from(chunks).unwrap_or(usize::MAX));
    Ok(Fault::Break { after, with })
}

fn exception(rest: &str) -> Result<Fault, &'static str> {
    let (name, after) = match rest.split_once(':') {
        Some((name, after)) => (name, Some(after)),
        None => (rest, None),
    };
    let is_name = (1..=MAX_EXCEPTION_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_name {
        return Err("an exception is named by 1 to 64 letters and digits");
    }
    breaks(Break::Exception(name.to_owned()), after)
}

fn thinking(milliseconds: &str) -> Result<Fault, &'static str> {
    match count(milliseconds)? {
        length if length <= MAX_THINKING_MS => Ok(Fault::Thinking(Duration::from_millis(length))),
        _ => Err("thinking takes at most 600000 ms"),
    }
}

fn count(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "a whole number belongs after the last colon")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(spelling: &str) -> Fault {
        spelling.parse().unwrap()
    }

    #[test]
    fn a_refusal_may_be_limited_to_the_first_calls_of_a_session() {
        let Fault::Refuse(refuse) = fault("throttle:2") else { panic!("not a refusal") };
        assert!(refuse.meets(1, true) && refuse.meets(2, false) && !refuse.meets(3, true));
        let Fault::Refuse(refuse) = fault("throttle") else { panic!("not a refusal") };
        assert!(refuse.meets(1_000, true));
    }

    #[test]
    fn the_streaming_permission_is_missed_only_by_calls_that_stream() {
        let Fault::Refuse(refuse) = fault("access-denied-streaming") else {
            panic!("not a refusal")
        };
        assert!(refuse.meets(1, true) && !refuse.meets(1, false));
        assert!(refuse.with.message.contains("bedrock:InvokeModelWithResponseStream"));
    }

    #[test]
    fn breaks_carry_the_number_of_whole_chunks() {
        let breaks = |after, with| Fault::Break { after, with };
        assert_eq!(fault("stall"), Fault::SilentBody);
        assert_eq!(fault("stall:3"), breaks(Point::Chunks(3), Break::Silence));
        assert_eq!(fault("cut"), breaks(Point::Chunks(0), Break::Cut));
        assert_eq!(fault("garbage:first"), breaks(Point::Start, Break::Garbage));
        let name = "throttlingException".to_owned();
        assert_eq!(
            fault("exception:throttlingException:2"),
            breaks(Point::Chunks(2), Break::Exception(name)),
        );
    }

    #[test]
    fn every_flaw_has_a_spelling_without_a_number() {
        for (name, flaw) in Flaw::NAMES {
            assert_eq!(fault(name), Fault::Flaw(*flaw));
            assert!(format!("{name}:1").parse::<Fault>().is_err(), "{name}");
        }
    }

    #[test]
    fn an_unknown_fault_is_named_in_the_error() {
        for spelling in ["", "explode", "cut:x", "stall-headers:1", "exception", "thinking:600001"]
        {
            let error = spelling.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(&format!("{spelling:?}")), "{error}");
        }
    }
}
