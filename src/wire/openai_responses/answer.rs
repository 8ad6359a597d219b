//! A turn's events as the items of a response.
//!
//! [`Blocks`] finds where an item begins and ends; here it is named and filled. Whoever writes a
//! stream is told of each [`Change`]; whoever wants the whole only looks at the end. So both hold
//! the same.
//!
//! Citations are placed when the text that they are about is complete. One that comes later waits
//! for the next text; where none follows, it is left out.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use crate::turn::{
    Citation, CollaboratorUsage, Confirmation, Failure, FinishReason, ItemId, Logprobs, OutputFile,
    Place, TurnEvent, TurnId, Usage,
};
use crate::wire::blocks::{Blocks, Opening, Piece, Step};

use super::echo::Manner;
use super::item::{Body, Item, Progress, Written};
use super::logprobs;

/// What happens to an item.
#[derive(Debug)]
pub(super) enum Change<'a> {
    Added(&'a Item),
    /// The text, arguments or input of the one that was added last grow by this.
    Grown(&'a str),
    /// How likely the tokens of the text were that came last: entries with a comma between two.
    Weighed(&'a [u8]),
    /// It is complete, or cut.
    Done(&'a Item, &'a Written),
}

/// How far a turn has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum State {
    /// It has not begun.
    #[default]
    Waiting,
    Running,
    Finished(FinishReason),
    Failed(Failure),
}

/// The items of one turn, so far.
#[derive(Debug)]
pub(super) struct Answer {
    turn: TurnId,
    manner: Manner,
    blocks: Blocks,
    open: Option<Item>,
    /// Texts, calls and pieces of thinking that have begun.
    texts: u32,
    calls: u32,
    thoughts: u32,
    /// Citations that have no text yet.
    waiting: Vec<Arc<Citation>>,
    /// The items that are done, with a comma between two.
    done: BytesMut,
    /// The ids of all items.
    ids: Vec<ItemId>,
    files: Vec<Arc<OutputFile>>,
    usage: Option<Usage>,
    shares: Option<Arc<[CollaboratorUsage]>>,
    state: State,
}

impl Answer {
    pub(super) fn new(turn: &TurnId, manner: Manner) -> Self {
        Self {
            turn: turn.clone(),
            manner,
            blocks: Blocks::default(),
            open: None,
            texts: 0,
            calls: 0,
            thoughts: 0,
            waiting: Vec::new(),
            done: BytesMut::new(),
            ids: Vec::new(),
            files: Vec::new(),
            usage: None,
            shares: None,
            state: State::Waiting,
        }
    }

    /// Takes an event and tells what it changes. Nothing that comes after the end is taken.
    pub(super) fn take(&mut self, event: &TurnEvent, mut told: impl FnMut(Change<'_>)) {
        if self.is_over() {
            return;
        }
        let mut blocks = std::mem::take(&mut self.blocks);
        for step in blocks.take(event) {
            match step {
                Step::Start(index, opening) => self.start(index, opening, event, &mut told),
                Step::Grow(_, piece) => self.grow(piece, &mut told),
                Step::Stop(_) => self.stop(event, &mut told),
            }
        }
        self.blocks = blocks;
        match event {
            TurnEvent::Failed(_) => self.break_off(event, &mut told),
            TurnEvent::Logprobs(logprobs) => self.weigh(logprobs, &mut told),
            _ => {}
        }
        self.note(event);
    }

    /// A failure ends the item that is open: a text or a thought as far as it came. Half a call is
    /// none, and clients run what they are told is done.
    fn break_off(&mut self, event: &TurnEvent, told: &mut impl FnMut(Change<'_>)) {
        let is_call = |item: &Item| matches!(item.body, Body::Call { .. });
        if self.open.as_ref().is_some_and(is_call) {
            self.open = None;
            self.ids.pop();
        } else {
            self.stop(event, told);
        }
    }

    /// Puts the likelihoods to the text that is open; those of anything else have no place.
    fn weigh(&mut self, told_of: &Logprobs, told: &mut impl FnMut(Change<'_>)) {
        let Some(Item { body: Body::Message { logprobs, .. }, .. }) = &mut self.open else {
            return;
        };
        let mut entries = BytesMut::new();
        logprobs::write(told_of, &mut entries);
        if entries.is_empty() {
            return;
        }
        if !logprobs.is_empty() {
            logprobs.put_u8(b',');
        }
        logprobs.put_slice(&entries);
        told(Change::Weighed(&entries));
    }

    /// Takes what is shown with a text or at the end.
    fn note(&mut self, event: &TurnEvent) {
        match event {
            TurnEvent::Started => self.state = State::Running,
            TurnEvent::Citation(citation) => self.waiting.push(Arc::clone(citation)),
            TurnEvent::File(file) => self.files.push(Arc::clone(file)),
            TurnEvent::Usage(usage) => self.usage = Some(*usage),
            TurnEvent::UsageByCollaborator(shares) => self.shares = Some(Arc::clone(shares)),
            TurnEvent::Finished(reason) => self.state = State::Finished(*reason),
            TurnEvent::Failed(failure) => self.state = State::Failed(failure.clone()),
            TurnEvent::Filler(_)
            | TurnEvent::Text(_)
            | TurnEvent::Reasoning(_)
            | TurnEvent::Thought(_)
            | TurnEvent::ToolCallStarted { .. }
            | TurnEvent::ToolCallArguments { .. }
            | TurnEvent::ReturnControl(_)
            | TurnEvent::StopSequence(_)
            | TurnEvent::Logprobs(_)
            | TurnEvent::Trace(_) => {}
        }
    }

    fn start(
        &mut self,
        index: usize,
        opening: Opening<'_>,
        event: &TurnEvent,
        told: &mut impl FnMut(Change<'_>),
    ) {
        let is_sealed = self.manner.seals;
        let (counter, place, body): (_, fn(u32) -> Place, _) = match opening {
            Opening::Text => (
                &mut self.texts,
                Place::Text,
                Body::Message { text: String::new(), logprobs: BytesMut::new() },
            ),
            Opening::Thinking => {
                let is_summary = self.manner.summarises;
                let body =
                    Body::Thinking { text: String::new(), signature: None, is_summary, is_sealed };
                (&mut self.thoughts, Place::Thinking, body)
            }
            Opening::Redacted(bytes) => {
                let body = Body::Redacted { bytes: bytes.clone(), is_sealed };
                (&mut self.thoughts, Place::Thinking, body)
            }
            Opening::Call { id, name } => {
                let body = Body::Call {
                    id: id.to_owned(),
                    name: name.to_owned(),
                    arguments: String::new(),
                    confirmation: confirmation_of(event),
                    is_custom: self.manner.custom_tools.iter().any(|custom| custom == name),
                };
                (&mut self.calls, Place::Call, body)
            }
        };
        let id = ItemId { turn: self.turn.clone(), place: place(*counter) };
        *counter += 1;
        let item = self.open.insert(Item { id: id.to_string(), index, body });
        self.ids.push(id);
        told(Change::Added(item));
    }

    fn grow(&mut self, piece: Piece<'_>, told: &mut impl FnMut(Change<'_>)) {
        let Some(item) = &mut self.open else { return };
        match (&mut item.body, piece) {
            (Body::Message { text, .. }, Piece::Text(more))
            | (Body::Thinking { text, .. }, Piece::Thinking(more))
            | (Body::Call { arguments: text, is_custom: false, .. }, Piece::Arguments(more)) => {
                text.push_str(more);
                told(Change::Grown(more));
            }
            // What it says to its tool is known at its end only.
            (Body::Call { arguments, .. }, Piece::Arguments(more)) => arguments.push_str(more),
            (Body::Thinking { signature, .. }, Piece::Signature(more)) => {
                *signature = Some(more.to_owned());
            }
            _ => {}
        }
    }

    fn stop(&mut self, event: &TurnEvent, told: &mut impl FnMut(Change<'_>)) {
        let Some(mut item) = self.open.take() else { return };
        if let Body::Call { arguments, is_custom, .. } = &mut item.body {
            let (is_bare, is_custom) = (arguments.is_empty(), *is_custom);
            if is_bare && !is_custom {
                // Clients parse the arguments, so they are never an empty text.
                arguments.push_str("{}");
            }
            let said = item.said();
            if (is_bare || is_custom) && !said.is_empty() {
                told(Change::Grown(&said));
            }
        }
        let written = item.written(progress_at(event), &self.waiting);
        if matches!(item.body, Body::Message { .. }) {
            self.waiting.clear();
        }
        if !self.done.is_empty() {
            self.done.put_u8(b',');
        }
        self.done.put_slice(&written.json);
        told(Change::Done(&item, &written));
    }

    /// Writes the items, with a comma between two; the one that is open as far as it has come.
    pub(super) fn write_items(&self, out: &mut BytesMut) {
        out.put_slice(&self.done);
        let Some(item) = &self.open else { return };
        if !self.done.is_empty() {
            out.put_u8(b',');
        }
        out.put_slice(&item.written(Progress::Running, &self.waiting).json);
    }

    /// The ids of all items, in their order.
    pub(super) fn ids(&self) -> &[ItemId] {
        &self.ids
    }

    pub(super) fn files(&self) -> &[Arc<OutputFile>] {
        &self.files
    }

    /// The tokens, and whose they were where several agents worked on the answer; none where
    /// nobody told.
    pub(super) fn usage(&self) -> Option<(Usage, Option<&[CollaboratorUsage]>)> {
        self.usage.map(|usage| (usage, self.shares.as_deref()))
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Whether nothing can follow.
    pub(super) fn is_over(&self) -> bool {
        match self.state {
            State::Waiting | State::Running => false,
            State::Finished(_) | State::Failed(_) => true,
        }
    }
}

fn confirmation_of(event: &TurnEvent) -> Confirmation {
    match event {
        TurnEvent::ToolCallStarted { confirmation, .. } => *confirmation,
        _ => Confirmation::None,
    }
}

/// How far the item came that an event ends: only the turn's own end can cut one.
fn progress_at(event: &TurnEvent) -> Progress {
    match event {
        TurnEvent::Failed(_)
        | TurnEvent::Finished(
            FinishReason::Length | FinishReason::ContentFilter | FinishReason::Interrupted,
        ) => Progress::Cut,
        _ => Progress::Complete,
    }
}
