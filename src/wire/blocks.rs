//! An answer as a row of blocks: what Anthropic's formats and Bedrock's Converse have in common.
//!
//! Text, thinking and tool calls come as blocks, numbered from 0 over all of them; each begins,
//! grows and ends before the next one. Turn events know no blocks: [`Blocks`] finds where they
//! begin and end. What has no block in these formats (citations, files, traces) makes none. A
//! failure leaves the block that is open without its end.

use std::sync::Arc;

use bytes::Bytes;

use crate::turn::{FinishReason, Thought, TurnEvent, Usage};

/// What happens to a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step<'e> {
    /// It begins.
    Start(usize, Opening<'e>),
    /// It grows.
    Grow(usize, Piece<'e>),
    /// It is complete.
    Stop(usize),
}

/// A block that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening<'e> {
    Text,
    Thinking,
    /// Complete as it begins.
    Redacted(&'e Bytes),
    Call {
        id: &'e str,
        name: &'e str,
    },
}

/// What is added to a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'e> {
    Text(&'e str),
    Thinking(&'e str),
    /// What proves the thinking to its upstream; the last piece of it.
    Signature(&'e str),
    /// JSON text; not empty.
    Arguments(&'e str),
}

/// The kind of the block that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Call(u32),
}

/// The blocks of one turn, so far.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// The number of the block that is open, or of the next one.
    at: usize,
    open: Option<Kind>,
    has_calls: bool,
    usage: Usage,
    /// What came of the request's stop texts, if one did.
    stopped_at: Option<Option<Arc<str>>>,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) reason: FinishReason,
    /// Whether it was one of the request's stop texts that ended it.
    pub(super) is_stopped: bool,
    /// That text, where it is known.
    pub(super) stop_sequence: Option<Arc<str>>,
}

/// No event takes more steps.
const MOST_STEPS: usize = 3;

/// The steps of one event, in order.
pub(super) type Steps<'e> = std::iter::Flatten<std::array::IntoIter<Option<Step<'e>>, MOST_STEPS>>;

impl Blocks {
    /// What an event does to the blocks.
    pub(super) fn take<'e>(&mut self, event: &'e TurnEvent) -> Steps<'e> {
        let steps = match event {
            TurnEvent::Text(text) if !text.is_empty() => {
                self.grow(Kind::Text, Opening::Text, Piece::Text(text))
            }
            TurnEvent::Reasoning(text) if !text.is_empty() => {
                self.grow(Kind::Thinking, Opening::Thinking, Piece::Thinking(text))
            }
            TurnEvent::Thought(thought) => self.thought(thought),
            TurnEvent::ToolCallStarted { index, id, name, .. } => {
                self.has_calls = true;
                let stop = self.stop();
                self.open = Some(Kind::Call(*index));
                [stop, Some(Step::Start(self.at, Opening::Call { id, name })), None]
            }
            TurnEvent::ToolCallArguments { index, delta } if !delta.is_empty() => {
                let is_open = self.open == Some(Kind::Call(*index));
                let piece = Step::Grow(self.at, Piece::Arguments(delta));
                [is_open.then_some(piece), None, None]
            }
            TurnEvent::Usage(usage) => {
                self.usage = *usage;
                [None; MOST_STEPS]
            }
            TurnEvent::StopSequence(text) => {
                self.stopped_at = Some(text.clone());
                [None; MOST_STEPS]
            }
            TurnEvent::Finished(_) => [self.stop(), None, None],
            // A failure leaves the open block open: its end would say that it is complete, and
            // clients run a call by that.
            // These formats have no mark for a filler, so it is left out.
            TurnEvent::Filler(_)
            | TurnEvent::Text(_)
            | TurnEvent::Reasoning(_)
            | TurnEvent::ToolCallArguments { .. }
            | TurnEvent::Started
            | TurnEvent::ReturnControl(_)
            | TurnEvent::Citation(_)
            | TurnEvent::Trace(_)
            | TurnEvent::File(_)
            | TurnEvent::UsageByCollaborator(_)
            | TurnEvent::Logprobs(_)
            | TurnEvent::Failed(_) => [None; MOST_STEPS],
        };
        steps.into_iter().flatten()
    }

    fn grow<'e>(
        &mut self,
        kind: Kind,
        opening: Opening<'e>,
        piece: Piece<'e>,
    ) -> [Option<Step<'e>>; MOST_STEPS] {
        if self.open == Some(kind) {
            return [None, None, Some(Step::Grow(self.at, piece))];
        }
        let stop = self.stop();
        self.open = Some(kind);
        [stop, Some(Step::Start(self.at, opening)), Some(Step::Grow(self.at, piece))]
    }

    /// A thought whose text was not shown is not shown now: only its end is of interest.
    fn thought<'e>(&mut self, thought: &'e Thought) -> [Option<Step<'e>>; MOST_STEPS] {
        match thought {
            Thought::Text { signature, .. } if self.open == Some(Kind::Thinking) => {
                let at = self.at;
                let signed = signature.as_deref().filter(|signature| !signature.is_empty());
                let signed = signed.map(|text| Step::Grow(at, Piece::Signature(text)));
                [signed, self.stop(), None]
            }
            Thought::Text { .. } => [None; MOST_STEPS],
            Thought::Redacted(bytes) => {
                let stop = self.stop();
                let at = self.at;
                self.at += 1;
                [stop, Some(Step::Start(at, Opening::Redacted(bytes))), Some(Step::Stop(at))]
            }
        }
    }

    fn stop<'e>(&mut self) -> Option<Step<'e>> {
        self.open.take()?;
        let at = self.at;
        self.at += 1;
        Some(Step::Stop(at))
    }

    /// What was last told of usage; nothing at all where nobody counted.
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// How the turn ended, as a client that runs tools has to know it: what made calls waits for
    /// their results.
    pub(super) fn end(&self, reason: FinishReason) -> End {
        let reason = match reason {
            FinishReason::Stop if self.has_calls => FinishReason::ToolCalls,
            other => other,
        };
        let stopped_at = self.stopped_at.clone().filter(|_| reason == FinishReason::Stop);
        End { reason, is_stopped: stopped_at.is_some(), stop_sequence: stopped_at.flatten() }
    }
}

/// A complete block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block<'e> {
    Text(String),
    Thinking { text: String, signature: String },
    Redacted(&'e Bytes),
    Call { id: &'e str, name: &'e str, arguments: String },
}

/// A whole turn as blocks.
#[derive(Debug)]
pub(super) struct Row<'e> {
    pub(super) blocks: Vec<Block<'e>>,
    pub(super) usage: Usage,
    pub(super) end: End,
}

impl<'e> Row<'e> {
    /// Reads a turn to its end.
    pub(super) fn of(events: &'e [TurnEvent]) -> Self {
        let mut blocks = Blocks::default();
        let end = blocks.end(FinishReason::Stop);
        let mut row = Self { blocks: Vec::new(), usage: Usage::default(), end };
        for event in events {
            blocks.take(event).for_each(|step| row.take(step));
            if let TurnEvent::Finished(reason) = event {
                row.end = blocks.end(*reason);
            }
        }
        row.usage = blocks.usage();
        row
    }

    fn take(&mut self, step: Step<'e>) {
        let block = match step {
            Step::Start(_, opening) => {
                self.blocks.push(match opening {
                    Opening::Text => Block::Text(String::new()),
                    Opening::Thinking => {
                        Block::Thinking { text: String::new(), signature: String::new() }
                    }
                    Opening::Redacted(bytes) => Block::Redacted(bytes),
                    Opening::Call { id, name } => {
                        Block::Call { id, name, arguments: String::new() }
                    }
                });
                return;
            }
            Step::Grow(..) => self.blocks.last_mut(),
            Step::Stop(_) => None,
        };
        match (block, step) {
            (Some(Block::Text(held)), Step::Grow(_, Piece::Text(text)))
            | (Some(Block::Thinking { text: held, .. }), Step::Grow(_, Piece::Thinking(text)))
            | (
                Some(Block::Thinking { signature: held, .. }),
                Step::Grow(_, Piece::Signature(text)),
            )
            | (Some(Block::Call { arguments: held, .. }), Step::Grow(_, Piece::Arguments(text))) => {
                held.push_str(text);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::turn::Confirmation;

    use super::*;

    fn call(index: u32) -> TurnEvent {
        let confirmation = Confirmation::None;
        TurnEvent::ToolCallStarted { index, id: "c".into(), name: "f".into(), confirmation }
    }

    fn text(text: &str) -> TurnEvent {
        TurnEvent::Text(text.into())
    }

    fn steps<'e>(blocks: &mut Blocks, event: &'e TurnEvent) -> Vec<Step<'e>> {
        blocks.take(event).collect()
    }

    #[test]
    fn blocks_are_numbered_over_all_kinds_and_end_before_the_next_begins() {
        let mut blocks = Blocks::default();
        let events = [text("a"), text("b"), call(0), call(1), text("c")];
        let [a, b, first, second, c] = &events;
        let opening = Opening::Call { id: "c", name: "f" };
        assert_eq!(
            steps(&mut blocks, a),
            [Step::Start(0, Opening::Text), Step::Grow(0, Piece::Text("a"))]
        );
        assert_eq!(steps(&mut blocks, b), [Step::Grow(0, Piece::Text("b"))]);
        assert_eq!(steps(&mut blocks, first), [Step::Stop(0), Step::Start(1, opening)]);
        assert_eq!(steps(&mut blocks, second), [Step::Stop(1), Step::Start(2, opening)]);
        assert_eq!(
            steps(&mut blocks, c),
            [Step::Stop(2), Step::Start(3, Opening::Text), Step::Grow(3, Piece::Text("c"))]
        );
        let end = TurnEvent::Finished(FinishReason::Stop);
        assert_eq!(steps(&mut blocks, &end), [Step::Stop(3)]);
        assert_eq!(steps(&mut blocks, &end), []);
        assert_eq!(blocks.end(FinishReason::Stop).reason, FinishReason::ToolCalls);
        assert_eq!(blocks.end(FinishReason::Length).reason, FinishReason::Length);
    }

    #[test]
    fn a_thought_ends_the_thinking_it_signs_and_says_nothing_that_was_hidden() {
        let signed = Thought::Text { text: "hm".to_owned(), signature: Some("s".to_owned()) };
        let signed = TurnEvent::Thought(Arc::new(signed));
        let mut blocks = Blocks::default();
        assert_eq!(steps(&mut blocks, &signed), []);
        let shown = TurnEvent::Reasoning("hm".into());
        assert_eq!(steps(&mut blocks, &shown).len(), 2);
        let expected = [Step::Grow(0, Piece::Signature("s")), Step::Stop(0)];
        assert_eq!(steps(&mut blocks, &signed), expected);
    }

    #[test]
    fn a_whole_turn_holds_what_its_stream_does() {
        let sealed = Bytes::from_static(b"x");
        let events = [
            TurnEvent::Started,
            TurnEvent::Reasoning("h".into()),
            TurnEvent::Reasoning("m".into()),
            TurnEvent::Thought(Arc::new(Thought::Text {
                text: "hm".to_owned(),
                signature: Some("s".to_owned()),
            })),
            TurnEvent::Thought(Arc::new(Thought::Redacted(sealed.clone()))),
            text("Let me "),
            text("see."),
            call(0),
            TurnEvent::ToolCallArguments { index: 0, delta: "{\"a\":".into() },
            TurnEvent::ToolCallArguments { index: 0, delta: "1}".into() },
            TurnEvent::Finished(FinishReason::Stop),
        ];
        let row = Row::of(&events);
        let expected = [
            Block::Thinking { text: "hm".to_owned(), signature: "s".to_owned() },
            Block::Redacted(&sealed),
            Block::Text("Let me see.".to_owned()),
            Block::Call { id: "c", name: "f", arguments: "{\"a\":1}".to_owned() },
        ];
        assert_eq!(row.blocks, expected);
        assert_eq!(row.end.reason, FinishReason::ToolCalls);
    }
}
