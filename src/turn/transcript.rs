//! The messages of a conversation in our own vocabulary, and how a turn's events become one.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::{FinishReason, Pending, PendingCall, ReturnControl, TurnEvent, Usage};

/// Who said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The operator's or the client's instructions (`system` and `developer`).
    System,
    /// The person.
    User,
    /// The agent or model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// The name in OpenAI's formats.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// How complete a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// Said to the end.
    #[default]
    Completed,
    /// Stopped on the way: holds what the client got of it.
    Interrupted,
    /// The turn failed on the way: holds what had come by then. Of a tool message: the tool
    /// reports an error.
    Failed,
}

impl Status {
    /// The name in replies: closed set.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Text.
    Text(String),
    /// Anything else (`image_url`, `file`, …), by its type and in the client's own spelling.
    Attachment {
        /// The part's type.
        kind: String,
        /// The part, whole.
        value: Arc<Value>,
    },
}

/// A place up to which the client wants its model to keep the prompt, so that a later one which
/// begins the same costs less. Changes nothing of what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePoint {
    /// How many parts of the message stand before it.
    pub after: usize,
    /// How long the prompt is to be kept.
    pub life: CacheLife,
}

/// How long a prompt is to be kept, counted from its last use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheLife {
    /// As long as every cache keeps one.
    #[default]
    FiveMinutes,
    /// Longer, which not every model has.
    Hour,
}

impl CacheLife {
    /// Every life with its name in requests.
    pub const NAMES: &'static [(&'static str, Self)] =
        &[("5m", Self::FiveMinutes), ("1h", Self::Hour)];
}

/// A call that the assistant made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The call's id.
    pub id: String,
    /// The function.
    pub name: String,
    /// Its arguments as JSON text.
    pub arguments: String,
    /// Whether a person has to agree to it.
    pub confirmation: Confirmation,
}

/// Whether a tool call needs the consent of a person, and what it then wants back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Confirmation {
    /// None: run it and send the result.
    #[default]
    None,
    /// Ask, and send the decision alone: the upstream runs it.
    Decision,
    /// Ask, and where the answer is yes run it and send the result.
    DecisionAndResult,
}

/// A block of a model's thinking, as its upstream wants it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thought {
    /// Thinking in the clear, and what proves to the upstream that it is its own.
    Text {
        /// The thinking.
        text: String,
        /// The upstream's signature of it.
        signature: Option<String>,
    },
    /// Thinking that the upstream shows to nobody, in its own spelling.
    Redacted(Bytes),
}

impl Thought {
    /// Roughly how many bytes it holds.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Text { text, signature } => {
                text.len() + signature.as_ref().map_or(0, String::len)
            }
            Self::Redacted(bytes) => bytes.len(),
        }
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// What was said, in order.
    pub parts: Vec<Part>,
    /// What the model thought before it said so; for the upstream that thought it.
    pub thoughts: Vec<Thought>,
    /// The calls an assistant message makes.
    pub tool_calls: Vec<ToolCall>,
    /// The call that a tool message answers.
    pub tool_call_id: Option<String>,
    /// Where the client wants the prompt kept, in order. Of an assistant and of a tool these stand
    /// behind the whole message.
    pub cache_points: Vec<CachePoint>,
    /// How complete it is.
    pub status: Status,
}

impl Message {
    /// A complete message of one text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            parts: vec![Part::Text(text.into())],
            thoughts: Vec::new(),
            tool_calls: Vec::new(),
            tool_call_id: None,
            cache_points: Vec::new(),
            status: Status::Completed,
        }
    }

    /// Marks its end as a place up to which the prompt is to be kept, if it says anything.
    pub fn keep_to_here(&mut self, life: CacheLife) {
        let after = self.parts.len();
        if after == 0 && self.tool_calls.is_empty() && self.tool_call_id.is_none() {
            return;
        }
        self.cache_points.retain(|point| point.after != after);
        self.cache_points.push(CachePoint { after, life });
    }

    /// Its texts, joined by blank lines; attachments are left out.
    #[must_use]
    pub fn plain_text(&self) -> String {
        Self::text_of(&self.parts)
    }

    /// The texts among some parts, joined in the same way.
    #[must_use]
    pub fn text_of(parts: &[Part]) -> String {
        let mut joined = String::new();
        for part in parts {
            let Part::Text(text) = part else { continue };
            if !joined.is_empty() {
                joined.push_str("\n\n");
            }
            joined.push_str(text);
        }
        joined
    }

    /// Whether it says nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let has_content = self.parts.iter().any(|part| match part {
            Part::Text(text) => !text.trim().is_empty(),
            Part::Attachment { .. } => true,
        });
        !has_content && self.tool_calls.is_empty()
    }

    /// Roughly how many bytes it holds, for the bounds on histories.
    #[must_use]
    pub fn weight(&self) -> usize {
        const FIXED: usize = 96;
        let parts: usize = self.parts.iter().map(part_weight).sum();
        let calls: usize = self.tool_calls.iter().map(call_weight).sum();
        let thoughts: usize = self.thoughts.iter().map(Thought::weight).sum();
        FIXED + parts + calls + thoughts
    }
}

fn part_weight(part: &Part) -> usize {
    match part {
        Part::Text(text) => text.len(),
        Part::Attachment { value, .. } => value.to_string().len(),
    }
}

fn call_weight(call: &ToolCall) -> usize {
    call.id.len() + call.name.len() + call.arguments.len()
}

/// An event that cannot stand where it came: a backend broke the grammar of
/// [`event`](super::event).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// The first event was not `Started`.
    #[error("a turn began without being started")]
    NotStarted,
    /// `Started` came again.
    #[error("a turn was started twice")]
    StartedTwice,
    /// Something came after `Finished` or `Failed`.
    #[error("an event came after the end of its turn")]
    AfterEnd,
    /// A tool call was not the next one, or its arguments belong to another.
    #[error("tool calls came out of order")]
    ToolOrder,
}

/// Folds a turn's events into the assistant's message, checking their grammar.
#[derive(Debug, Default)]
pub struct Fold {
    started: bool,
    ended: Option<Status>,
    text: String,
    thoughts: Vec<Thought>,
    calls: Vec<ToolCall>,
    usage: Option<Usage>,
    finish: Option<FinishReason>,
    handed: Option<Arc<ReturnControl>>,
}

impl Fold {
    /// Takes the next event.
    ///
    /// # Errors
    /// When the event cannot stand here; the fold is unchanged then.
    pub fn push(&mut self, event: &TurnEvent) -> Result<(), GrammarError> {
        self.check(event)?;
        match event {
            TurnEvent::Started => self.started = true,
            TurnEvent::Text(text) => self.text.push_str(text),
            TurnEvent::ToolCallStarted { id, name, confirmation, .. } => {
                self.calls.push(ToolCall {
                    id: id.to_string(),
                    name: name.to_string(),
                    arguments: String::new(),
                    confirmation: *confirmation,
                })
            }
            TurnEvent::ToolCallArguments { delta, .. } => {
                if let Some(call) = self.calls.last_mut() {
                    call.arguments.push_str(delta);
                }
            }
            TurnEvent::Usage(usage) => self.usage = Some(*usage),
            TurnEvent::Finished(reason) => {
                self.finish = Some(*reason);
                self.ended = Some(match reason {
                    FinishReason::Interrupted => Status::Interrupted,
                    FinishReason::Stop
                    | FinishReason::Length
                    | FinishReason::ToolCalls
                    | FinishReason::ContentFilter => Status::Completed,
                });
            }
            TurnEvent::Failed(_) => self.ended = Some(Status::Failed),
            TurnEvent::Thought(thought) => self.thoughts.push(Thought::clone(thought)),
            TurnEvent::ReturnControl(handed) => self.handed = Some(Arc::clone(handed)),
            TurnEvent::Filler(_)
            | TurnEvent::Reasoning(_)
            | TurnEvent::Citation(_)
            | TurnEvent::Trace(_)
            | TurnEvent::File(_)
            | TurnEvent::UsageByCollaborator(_)
            | TurnEvent::StopSequence(_)
            | TurnEvent::Logprobs(_) => {}
        }
        Ok(())
    }

    fn check(&self, event: &TurnEvent) -> Result<(), GrammarError> {
        if self.ended.is_some() {
            return Err(GrammarError::AfterEnd);
        }
        let next_call = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        match event {
            TurnEvent::Started if self.started => Err(GrammarError::StartedTwice),
            TurnEvent::Started => Ok(()),
            _ if !self.started => Err(GrammarError::NotStarted),
            TurnEvent::ToolCallStarted { index, .. } if *index != next_call => {
                Err(GrammarError::ToolOrder)
            }
            TurnEvent::ToolCallArguments { index, .. }
                if index.checked_add(1) != Some(next_call) =>
            {
                Err(GrammarError::ToolOrder)
            }
            _ => Ok(()),
        }
    }

    /// The answer's text so far.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether neither a text nor a call has come, as far as anybody could hear.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.text.trim().is_empty() && self.calls.is_empty()
    }

    /// What the backend last told of usage.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Why the turn ended, if it ended as it should.
    #[must_use]
    pub fn finish(&self) -> Option<FinishReason> {
        self.finish
    }

    /// Whether the upstream came to the end of its answer by itself.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(
            self.finish,
            Some(FinishReason::Stop | FinishReason::ToolCalls | FinishReason::ContentFilter)
        )
    }

    /// Whether the upstream handed its calls over, however the turn ended then.
    #[must_use]
    pub fn has_handed_over(&self) -> bool {
        self.handed.is_some()
    }

    /// The hand-over that the turn ended with, if the upstream waits for results now.
    #[must_use]
    pub fn pending(&self) -> Option<Pending> {
        if self.finish != Some(FinishReason::ToolCalls) {
            return None;
        }
        let handed = self.handed.as_ref()?;
        let first = self.calls.len().checked_sub(handed.inputs.len())?;
        let calls = self.calls[first..].iter().zip(&handed.inputs);
        let calls = calls.map(|(call, input)| PendingCall {
            call: call.clone(),
            input: input.clone(),
            result: None,
        });
        Some(Pending { invocation_id: handed.invocation_id.clone(), calls: calls.collect() })
    }

    /// The assistant's message; one that was never ended counts as interrupted.
    #[must_use]
    pub fn into_message(self) -> Message {
        Message {
            role: Role::Assistant,
            parts: if self.text.is_empty() { Vec::new() } else { vec![Part::Text(self.text)] },
            thoughts: self.thoughts,
            tool_calls: self.calls,
            tool_call_id: None,
            cache_points: Vec::new(),
            status: self.ended.unwrap_or(Status::Interrupted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(events: &[TurnEvent]) -> Result<Fold, GrammarError> {
        let mut fold = Fold::default();
        for event in events {
            fold.push(event)?;
        }
        Ok(fold)
    }

    fn call(index: u32) -> TurnEvent {
        TurnEvent::ToolCallStarted {
            index,
            id: "call_1".into(),
            name: "look_up".into(),
            confirmation: Confirmation::None,
        }
    }

    fn arguments(index: u32, delta: &str) -> TurnEvent {
        TurnEvent::ToolCallArguments { index, delta: delta.into() }
    }

    #[test]
    fn texts_and_calls_become_one_message() {
        let events = [
            TurnEvent::Started,
            TurnEvent::Text("Let me ".into()),
            TurnEvent::Text("see.".into()),
            call(0),
            arguments(0, "{\"a\":"),
            arguments(0, "1}"),
            TurnEvent::Finished(FinishReason::ToolCalls),
        ];
        let message = fold(&events).unwrap().into_message();
        assert_eq!(message.plain_text(), "Let me see.");
        assert_eq!(message.tool_calls[0].arguments, "{\"a\":1}");
        assert_eq!(message.status, Status::Completed);
    }

    #[test]
    fn a_filler_is_no_part_of_the_message() {
        let mut fold =
            fold(&[TurnEvent::Started, TurnEvent::Filler("One moment. ".into())]).unwrap();
        assert!(fold.is_silent());
        fold.push(&TurnEvent::Text("Hello!".into())).unwrap();
        assert!(!fold.is_silent());
        assert_eq!(fold.into_message().plain_text(), "Hello!");
    }

    #[test]
    fn an_interrupted_turn_keeps_what_was_said() {
        let events = [
            TurnEvent::Started,
            TurnEvent::Text("We offer".into()),
            TurnEvent::Finished(FinishReason::Interrupted),
        ];
        let message = fold(&events).unwrap().into_message();
        assert_eq!(
            (message.plain_text().as_str(), message.status),
            ("We offer", Status::Interrupted)
        );
    }

    #[test]
    fn nothing_may_follow_the_end() {
        let events = [
            TurnEvent::Started,
            TurnEvent::Finished(FinishReason::Stop),
            TurnEvent::Text("late".into()),
        ];
        assert_eq!(fold(&events).unwrap_err(), GrammarError::AfterEnd);
    }

    #[test]
    fn nothing_may_come_before_the_start_nor_the_start_twice() {
        assert_eq!(fold(&[TurnEvent::Text("x".into())]).unwrap_err(), GrammarError::NotStarted);
        let twice = [TurnEvent::Started, TurnEvent::Started];
        assert_eq!(fold(&twice).unwrap_err(), GrammarError::StartedTwice);
    }

    #[test]
    fn tool_calls_are_numbered_from_zero_without_gaps() {
        assert_eq!(fold(&[TurnEvent::Started, call(1)]).unwrap_err(), GrammarError::ToolOrder);
        let stray = [TurnEvent::Started, arguments(0, "{}")];
        assert_eq!(fold(&stray).unwrap_err(), GrammarError::ToolOrder);
        let backwards = [TurnEvent::Started, call(0), call(1), arguments(0, "{}")];
        assert_eq!(fold(&backwards).unwrap_err(), GrammarError::ToolOrder);
    }
}
