//! An answer's pieces as turn events. Pure: pieces in, events out.
//!
//! The order of a stream is `messageStart`, blocks, `messageStop`, `metadata`; one that ends
//! before the last was cut off. Blocks are numbered together, calls of ours by themselves from 0.
//! (Converse API reference, `ConverseStreamOutput`.)

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use aws_sdk_bedrockruntime::types::StopReason;

use crate::turn::{Confirmation, FinishReason, Thought, TurnEvent};

use super::format::AnswerTool;
use super::names::{ToolNames, call_id};
use super::piece::Piece;

/// How the answer to one request is to be read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The tools, by the names that went upstream.
    pub(super) names: ToolNames,
    /// The tool whose input is the answer's text.
    pub(super) answer_tool: Option<AnswerTool>,
    /// Whether only the first call counts.
    pub(super) one_call: bool,
    /// Whether the client gets to see the thoughts.
    pub(super) shows_thoughts: bool,
    /// The text that ends the answer, where there is one only.
    pub(super) only_stop: Option<Arc<str>>,
    /// Ids of calls that the conversation has already.
    pub(super) taken: HashSet<String>,
}

/// Why an answer that stopped is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The stream ended before its end.
    CutOff,
    /// The model wrote what its own rules do not allow.
    Malformed,
}

/// A call that is not complete.
#[derive(Debug)]
struct Call {
    block: i32,
    id: String,
    name: String,
    /// What of the arguments has come and has not been passed on.
    waiting: String,
    /// Whether any of them has come.
    has_input: bool,
    is_complete: bool,
}

/// A thought that is not complete.
#[derive(Debug, Default)]
struct Thinking {
    text: String,
    signature: String,
    redacted: Vec<u8>,
}

/// Where the input of the answer's own tool goes.
#[derive(Debug, PartialEq, Eq)]
enum Given {
    NotYet,
    /// Being given, in this block.
    In(i32),
    Whole,
}

/// Reads one answer.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    reading: &'a Reading,
    out: Vec<TurnEvent>,
    /// The first is being passed on, the others wait: calls follow one another.
    calls: VecDeque<Call>,
    /// Calls that were passed on.
    passed: u32,
    /// Whether the first of `calls` was begun.
    has_begun: bool,
    ids: HashSet<String>,
    thoughts: HashMap<i32, Thinking>,
    given: Given,
    /// Whether any of that input was passed on.
    has_answered: bool,
    /// Text beside the answer's own tool, or its input where that is wrapped.
    held: String,
    stopped: Option<StopReason>,
    is_measured: bool,
    /// Whether the client was given anything.
    pub(super) has_spoken: bool,
}

impl<'a> Answer<'a> {
    pub(super) fn new(reading: &'a Reading) -> Self {
        Self {
            reading,
            out: Vec::new(),
            calls: VecDeque::new(),
            passed: 0,
            has_begun: false,
            ids: HashSet::new(),
            thoughts: HashMap::new(),
            given: Given::NotYet,
            has_answered: false,
            held: String::new(),
            stopped: None,
            is_measured: false,
            has_spoken: false,
        }
    }

    /// Takes a piece, and gives the events that it makes.
    pub(super) fn take(&mut self, piece: Piece) -> std::vec::Drain<'_, TurnEvent> {
        match piece {
            Piece::Text(text) => self.text(text),
            Piece::CallStarted { block, id, name } => self.call_started(block, &id, name),
            Piece::CallInput { block, input } => self.call_input(block, input),
            Piece::Thought { block, text } => {
                self.thoughts.entry(block).or_default().text.push_str(&text);
                if self.reading.shows_thoughts && !text.is_empty() {
                    self.out.push(TurnEvent::Reasoning(text.into()));
                }
            }
            Piece::Signature { block, signature } => {
                self.thoughts.entry(block).or_default().signature.push_str(&signature);
            }
            Piece::Redacted { block, bytes } => {
                self.thoughts.entry(block).or_default().redacted.extend(bytes);
            }
            Piece::Citation(citation) => self.out.push(TurnEvent::Citation(Arc::new(citation))),
            Piece::Ended { block } => self.ended(block),
            Piece::Stopped { reason, at } => self.stopped(reason, at),
            Piece::Measured(usage) => {
                self.is_measured = true;
                self.out.extend(usage.map(TurnEvent::Usage));
            }
            Piece::Nothing => {}
        }
        self.has_spoken |= !self.out.is_empty();
        self.out.drain(..)
    }

    /// How the answer ended.
    ///
    /// # Errors
    /// When it did not, or not as it should.
    pub(super) fn end(&self) -> Result<FinishReason, NoAnswer> {
        let Some(reason) = self.stopped.as_ref().filter(|_| self.is_measured) else {
            return Err(NoAnswer::CutOff);
        };
        let said_all = if self.passed > 0 { FinishReason::ToolCalls } else { FinishReason::Stop };
        match reason {
            StopReason::MaxTokens | StopReason::ModelContextWindowExceeded => {
                Ok(FinishReason::Length)
            }
            StopReason::GuardrailIntervened | StopReason::ContentFiltered => {
                Ok(FinishReason::ContentFilter)
            }
            StopReason::MalformedModelOutput | StopReason::MalformedToolUse => {
                Err(NoAnswer::Malformed)
            }
            // `end_turn`, `stop_sequence`, `tool_use`, and what newer models may say. A call of
            // the answer's own tool is none of the client's.
            _ => Ok(said_all),
        }
    }

    fn text(&mut self, text: String) {
        if text.is_empty() {
            return;
        }
        if self.reading.answer_tool.is_none() {
            self.out.push(TurnEvent::Text(text.into()));
        } else if self.given == Given::NotYet {
            // It may be a word before the answer, which would not be JSON.
            self.held.push_str(&text);
        }
    }

    fn call_started(&mut self, block: i32, id: &str, name: String) {
        let answer_tool = self.reading.answer_tool.as_ref();
        if answer_tool.is_some_and(|tool| tool.name == name) {
            if self.given == Given::NotYet {
                self.given = Given::In(block);
                self.held.clear();
            }
            return;
        }
        let so_many = self.passed as usize + self.calls.len();
        if self.reading.one_call && so_many > 0 {
            tracing::debug!("a further call was left out: the client takes one at a time");
            return;
        }
        let id = self.fresh_id(id);
        let name = self.reading.names.own(&name).to_owned();
        let waiting = String::new();
        self.calls.push_back(Call {
            block,
            id,
            name,
            waiting,
            has_input: false,
            is_complete: false,
        });
        self.pass_on();
    }

    /// The call's id, unless the conversation has it already.
    fn fresh_id(&mut self, id: &str) -> String {
        let mut fresh = id.to_owned();
        let mut nth = 1;
        while self.reading.taken.contains(&fresh) || !self.ids.insert(fresh.clone()) {
            fresh = call_id(id, nth);
            nth += 1;
        }
        fresh
    }

    fn call_input(&mut self, block: i32, input: String) {
        if self.given == Given::In(block) {
            let is_wrapped = self.reading.answer_tool.as_ref().is_some_and(|t| t.is_wrapped);
            if is_wrapped {
                self.held.push_str(&input);
            } else if !input.is_empty() {
                self.has_answered = true;
                self.out.push(TurnEvent::Text(input.into()));
            }
            return;
        }
        let Some(call) = self.calls.iter_mut().find(|call| call.block == block) else { return };
        call.has_input |= !input.is_empty();
        call.waiting.push_str(&input);
        self.pass_on();
    }

    fn ended(&mut self, block: i32) {
        if let Some(thinking) = self.thoughts.remove(&block) {
            self.thought(thinking);
        }
        if self.given == Given::In(block) {
            self.give();
        }
        if let Some(call) = self.calls.iter_mut().find(|call| call.block == block) {
            call.complete();
            self.pass_on();
        }
    }

    fn stopped(&mut self, reason: StopReason, at: Option<String>) {
        // A block that never ended is as complete as it gets.
        let mut open: Vec<_> = self.thoughts.drain().collect();
        open.sort_by_key(|(block, _)| *block);
        for (_, thinking) in open {
            self.thought(thinking);
        }
        if matches!(self.given, Given::In(_)) {
            self.give();
        }
        // A call that the length cut has what came of its arguments, and no more.
        let is_cut = reason == StopReason::MaxTokens;
        for call in &mut self.calls {
            if is_cut && call.has_input {
                call.is_complete = true;
            } else {
                call.complete();
            }
        }
        self.pass_on();
        if !self.held.is_empty() {
            self.out.push(TurnEvent::Text(std::mem::take(&mut self.held).into()));
        }
        if reason == StopReason::StopSequence {
            let alone = self.reading.only_stop.clone();
            self.out.push(TurnEvent::StopSequence(at.map(Into::into).or(alone)));
        }
        self.stopped = Some(reason);
    }

    /// The answer's own tool was called to the end.
    fn give(&mut self) {
        let is_wrapped = self.reading.answer_tool.as_ref().is_some_and(|tool| tool.is_wrapped);
        let input = std::mem::take(&mut self.held);
        if is_wrapped {
            self.out.push(TurnEvent::Text(AnswerTool::unwrap(&input).into()));
        } else if !self.has_answered {
            self.out.push(TurnEvent::Text("{}".into()));
        }
        self.given = Given::Whole;
    }

    fn thought(&mut self, thinking: Thinking) {
        let Thinking { text, signature, redacted } = thinking;
        if !redacted.is_empty() {
            let thought = Thought::Redacted(redacted.into());
            self.out.push(TurnEvent::Thought(Arc::new(thought)));
        }
        // Without a proof, no model takes it back.
        if !signature.is_empty() {
            let thought = Thought::Text { text, signature: Some(signature) };
            self.out.push(TurnEvent::Thought(Arc::new(thought)));
        }
    }

    /// Passes on what can be: all that came of the first call, and of those after it once it is
    /// complete.
    fn pass_on(&mut self) {
        while let Some(call) = self.calls.front_mut() {
            let index = self.passed;
            if !self.has_begun {
                self.has_begun = true;
                self.out.push(TurnEvent::ToolCallStarted {
                    index,
                    id: call.id.as_str().into(),
                    name: call.name.as_str().into(),
                    confirmation: Confirmation::None,
                });
            }
            if !call.waiting.is_empty() {
                let delta = std::mem::take(&mut call.waiting).into();
                self.out.push(TurnEvent::ToolCallArguments { index, delta });
            }
            if !call.is_complete {
                return;
            }
            self.calls.pop_front();
            self.passed += 1;
            self.has_begun = false;
        }
    }
}

impl Call {
    /// Says that no more arguments come: none at all are an empty object.
    fn complete(&mut self) {
        if !self.has_input {
            self.has_input = true;
            self.waiting.push_str("{}");
        }
        self.is_complete = true;
    }
}
