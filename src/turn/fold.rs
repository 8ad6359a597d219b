//! How a turn's events become the assistant's message, and the grammar that they keep to.

use std::sync::Arc;

use super::{
    FinishReason, Message, Part, Pending, PendingCall, ReturnControl, Role, Status, Thought,
    ToolCall, TurnEvent, Usage,
};

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
    use crate::turn::Confirmation;

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
