//! The service's answer, as turn events.
//!
//! The stream has no end of its own: a body that ends cleanly between two frames, with every call
//! complete, is a whole answer.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use bytes::BytesMut;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::backend::Outlet;
use crate::backend::bedrock::names::{ToolNames, call_id};
use crate::backend::http::{HttpError, Reply};
use crate::turn::{Citation, Confirmation, FinishReason, Thought, Trace, TurnEvent};

use super::event::{self, CallPiece, Event};
use super::failure::{self, Refused};

/// Calls in one answer; as many as tools can be offered.
const MOST_CALLS: usize = 128;

/// Bytes of a conversation's id.
const MOST_OF_ID: usize = 128;

/// How the answer to one request is to be read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The tools, by the names that went upstream.
    pub(super) names: ToolNames,
    /// Whether only the first call counts.
    pub(super) one_call: bool,
    /// Whether the client gets to see the thoughts.
    pub(super) shows_thoughts: bool,
    /// Ids of calls that the conversation has already.
    pub(super) taken: HashSet<String>,
}

/// An answer that came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) reason: FinishReason,
    /// The id by which the service knows the conversation, where it told.
    pub(super) conversation: Option<String>,
}

/// Reads the answer to its end; `limit` is what one frame may have in bytes.
///
/// # Errors
/// When the service reports an error, breaks off, or sends what is no answer.
pub(super) async fn read(
    mut reply: Reply,
    outlet: &Outlet,
    reading: &Reading,
    limit: usize,
) -> Result<Ended, Refused> {
    let mut answer = Answer::new(reading);
    let (mut decoder, mut bytes) = (MessageFrameDecoder::new(), BytesMut::new());
    while let Some(piece) = reply.next().await.map_err(|error| failure::of_http(&error))? {
        outlet.alive();
        bytes.extend_from_slice(&piece);
        let mut events = Vec::new();
        while let DecodedFrame::Complete(frame) =
            decoder.decode_frame(&mut bytes).map_err(|error| failure::not_understood(&error))?
        {
            let event = event::read(&frame);
            events.push(event.map_err(|error| failure::not_json(&error))?);
        }
        if bytes.len() > limit {
            return Err(failure::of_http(&HttpError::TooLong(limit)));
        }
        let taken = answer.take(events);
        // What came before a failure is the client's all the same.
        for event in answer.out.drain(..) {
            outlet.push(event).await;
        }
        taken?;
    }
    if !bytes.is_empty() {
        return Err(failure::cut("in the middle of a frame"));
    }
    let end = answer.end();
    for event in answer.out.drain(..) {
        outlet.push(event).await;
    }
    end.map(|reason| Ended { reason, conversation: answer.conversation.take() })
}

/// A call that is not complete.
#[derive(Debug)]
struct Call {
    /// The service's id of it.
    key: String,
    id: String,
    name: String,
    /// All of its arguments that have come.
    input: String,
    /// How much of that was passed on.
    passed: usize,
    is_complete: bool,
}

/// What has come of an answer.
#[derive(Debug)]
struct Answer<'a> {
    reading: &'a Reading,
    out: Vec<TurnEvent>,
    /// The answer's text, since the service may repeat the end of it.
    said: String,
    thought: String,
    /// The first is being passed on, the others wait: calls follow one another.
    calls: VecDeque<Call>,
    /// Whether the first of `calls` was begun.
    has_begun: bool,
    /// Calls that were passed on.
    passed: u32,
    /// Ids of calls of this answer, the service's and ours.
    known: HashSet<String>,
    ids: HashSet<String>,
    /// Whether anything came that is an answer.
    has_come: bool,
    conversation: Option<String>,
}

impl<'a> Answer<'a> {
    fn new(reading: &'a Reading) -> Self {
        Self {
            reading,
            out: Vec::new(),
            said: String::new(),
            thought: String::new(),
            calls: VecDeque::new(),
            has_begun: false,
            passed: 0,
            known: HashSet::new(),
            ids: HashSet::new(),
            has_come: false,
            conversation: None,
        }
    }

    /// Takes in what came together.
    fn take(&mut self, events: Vec<Event>) -> Result<(), Refused> {
        let mut events = events.into_iter().peekable();
        while let Some(event) = events.next() {
            let is_before_code = matches!(events.peek(), Some(Event::CodeReferences(_)));
            match event {
                Event::Named { conversation, utterance } => self.name(conversation, &utterance),
                // Before it names somebody's code, the service has been seen to say that again.
                Event::Text(text) if is_before_code && self.said.ends_with(&text) => {}
                Event::Text(text) => self.text(text),
                Event::Thought { text, signature, redacted } => {
                    self.think(text, signature, redacted);
                }
                Event::Call(piece) => self.call(piece)?,
                Event::CodeReferences(citations) | Event::Citations(citations) => {
                    self.cite(citations);
                }
                Event::Usage(usage) => self.out.push(TurnEvent::Usage(usage)),
                Event::Metering { step, told } => self.meter(step, told),
                Event::Exception { name, message, reason } => {
                    return Err(failure::of_exception(&name, &message, &reason));
                }
                Event::Nothing => {}
            }
        }
        Ok(())
    }

    /// Ids, by which whoever runs the service finds the answer again.
    fn name(&mut self, conversation: String, utterance: &str) {
        tracing::debug!(conversation, utterance, "the service answers");
        let is_id = (1..=MOST_OF_ID).contains(&conversation.len())
            && conversation.bytes().all(|byte| byte.is_ascii_graphic());
        self.conversation = Some(conversation).filter(|_| is_id);
    }

    fn text(&mut self, text: String) {
        if text.is_empty() {
            return;
        }
        self.has_come = true;
        self.said.push_str(&text);
        self.out.push(TurnEvent::Text(text.into()));
    }

    fn think(&mut self, text: String, signature: Option<String>, redacted: Vec<u8>) {
        self.has_come = true;
        if !redacted.is_empty() {
            let thought = Thought::Redacted(redacted.into());
            self.out.push(TurnEvent::Thought(Arc::new(thought)));
        }
        if !text.is_empty() {
            self.thought.push_str(&text);
            if self.reading.shows_thoughts {
                self.out.push(TurnEvent::Reasoning(text.into()));
            }
        }
        if signature.is_some() {
            let text = std::mem::take(&mut self.thought);
            self.out.push(TurnEvent::Thought(Arc::new(Thought::Text { text, signature })));
        }
    }

    fn cite(&mut self, citations: Vec<Citation>) {
        let cited = citations.into_iter().map(|cited| TurnEvent::Citation(Arc::new(cited)));
        self.out.extend(cited);
    }

    fn meter(&mut self, step: &'static str, told: Value) {
        let weight = told.to_string().len();
        let trace = Trace { step, collaborator: None, raw: Some(told), weight };
        self.out.push(TurnEvent::Trace(Arc::new(trace)));
    }

    fn call(&mut self, piece: CallPiece) -> Result<(), Refused> {
        self.has_come = true;
        if self.known.insert(piece.tool_use_id.clone()) {
            self.begin_call(&piece)?;
        }
        let mut calls = self.calls.iter_mut();
        // One that was left out, or that says something after its end.
        let Some(call) = calls.find(|call| call.key == piece.tool_use_id) else { return Ok(()) };
        call.input.push_str(&piece.input);
        if piece.stop {
            call.complete()?;
        }
        self.pass_on();
        Ok(())
    }

    fn begin_call(&mut self, piece: &CallPiece) -> Result<(), Refused> {
        let so_many = self.passed as usize + self.calls.len();
        if self.reading.one_call && so_many > 0 {
            tracing::debug!("a further call was left out: the client takes one at a time");
            return Ok(());
        }
        if so_many == MOST_CALLS || piece.name.is_empty() {
            return Err(failure::cut("with calls that make no sense"));
        }
        let id = self.fresh_id(&piece.tool_use_id);
        self.calls.push_back(Call {
            key: piece.tool_use_id.clone(),
            id,
            name: self.reading.names.own(&piece.name).to_owned(),
            input: String::new(),
            passed: 0,
            is_complete: false,
        });
        Ok(())
    }

    /// The call's id, unless the conversation has it already.
    fn fresh_id(&mut self, id: &str) -> String {
        let mut fresh = id.to_owned();
        let mut nth = 1;
        while fresh.is_empty()
            || self.reading.taken.contains(&fresh)
            || !self.ids.insert(fresh.clone())
        {
            fresh = call_id(id, nth);
            nth += 1;
        }
        fresh
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
            let delta = &call.input[call.passed..];
            if !delta.is_empty() {
                self.out.push(TurnEvent::ToolCallArguments { index, delta: delta.into() });
                call.passed = call.input.len();
            }
            if !call.is_complete {
                return;
            }
            self.calls.pop_front();
            self.passed += 1;
            self.has_begun = false;
        }
    }

    /// How the answer ended.
    fn end(&mut self) -> Result<FinishReason, Refused> {
        if !self.calls.is_empty() {
            return Err(failure::cut("in the middle of a call"));
        }
        if !self.has_come {
            return Err(failure::cut("before it had begun"));
        }
        Ok(if self.passed > 0 { FinishReason::ToolCalls } else { FinishReason::Stop })
    }
}

impl Call {
    /// No more arguments come: none at all are an empty object. The service has been seen to end
    /// long ones in their middle.
    fn complete(&mut self) -> Result<(), Refused> {
        if self.input.trim().is_empty() {
            self.input.push_str("{}");
        }
        if serde_json::from_str::<IgnoredAny>(&self.input).is_err() {
            return Err(failure::cut("with half of a call's arguments"));
        }
        self.is_complete = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::turn::{FailureKind, Fold};

    use super::*;

    fn piece(id: &str, name: &str, input: &str, stop: bool) -> Event {
        let (tool_use_id, name, input) = (id.to_owned(), name.to_owned(), input.to_owned());
        Event::Call(CallPiece { tool_use_id, name, input, stop })
    }

    fn text(text: &str) -> Event {
        Event::Text(text.to_owned())
    }

    /// The events of an answer whose frames came in these batches, and how it ended.
    fn read(
        batches: Vec<Vec<Event>>,
        reading: &Reading,
    ) -> (Vec<TurnEvent>, Result<FinishReason, FailureKind>) {
        let mut answer = Answer::new(reading);
        for batch in batches {
            if let Err(refused) = answer.take(batch) {
                return (answer.out, Err(refused.failure.kind));
            }
        }
        let end = answer.end().map_err(|refused| refused.failure.kind);
        (answer.out, end)
    }

    fn folded(events: &[TurnEvent]) -> crate::turn::Message {
        let mut fold = Fold::default();
        fold.push(&TurnEvent::Started).unwrap();
        events.iter().for_each(|event| fold.push(event).unwrap());
        fold.into_message()
    }

    #[test]
    fn calls_follow_one_another_however_their_pieces_come() {
        let batches = vec![
            vec![
                text("Let me see."),
                piece("a", "look", "", false),
                piece("a", "look", "{\"x\"", false),
            ],
            vec![piece("b", "find", "", false), piece("b", "find", "", true)],
            vec![piece("a", "look", ":1}", false), piece("a", "look", "", true)],
        ];
        let (events, end) = read(batches, &Reading::default());
        assert_eq!(end, Ok(FinishReason::ToolCalls));
        let message = folded(&events);
        let calls: Vec<_> = message
            .tool_calls
            .iter()
            .map(|call| (&*call.id, &*call.name, &*call.arguments))
            .collect();
        assert_eq!(calls, [("a", "look", "{\"x\":1}"), ("b", "find", "{}")]);
    }

    #[test]
    fn half_a_call_is_no_answer() {
        let cut = vec![vec![piece("a", "look", "{\"x\"", false)]];
        assert_eq!(read(cut, &Reading::default()).1, Err(FailureKind::UpstreamProtocol));
        let stopped = vec![vec![piece("a", "look", "{\"x\"", true)]];
        assert_eq!(read(stopped, &Reading::default()).1, Err(FailureKind::UpstreamProtocol));
        assert_eq!(read(vec![], &Reading::default()).1, Err(FailureKind::UpstreamProtocol));
    }

    #[test]
    fn an_id_that_the_conversation_has_is_not_used_again() {
        let reading = Reading { taken: HashSet::from(["a".to_owned()]), ..Reading::default() };
        let (events, _) = read(vec![vec![piece("a", "look", "{}", true)]], &reading);
        assert_ne!(folded(&events).tool_calls[0].id, "a");
    }

    #[test]
    fn a_client_that_takes_one_call_gets_one() {
        let reading = Reading { one_call: true, ..Reading::default() };
        let both = vec![vec![piece("a", "look", "{}", true), piece("b", "find", "{}", true)]];
        let (events, end) = read(both, &reading);
        assert_eq!((folded(&events).tool_calls.len(), end), (1, Ok(FinishReason::ToolCalls)));
    }

    #[test]
    fn what_is_said_again_before_code_is_named_is_said_once() {
        let named = || Event::CodeReferences(Vec::new());
        let batches = vec![vec![text("fn main"), text("() {}")], vec![text("() {}"), named()]];
        let (events, _) = read(batches, &Reading::default());
        assert_eq!(folded(&events).plain_text(), "fn main() {}");
        let fresh = vec![vec![text("a"), text("b"), named()]];
        assert_eq!(folded(&read(fresh, &Reading::default()).0).plain_text(), "ab");
    }

    #[test]
    fn thoughts_are_shown_where_they_are_wanted_and_kept_where_they_are_signed() {
        let thought = |text: &str, signature: Option<&str>| Event::Thought {
            text: text.to_owned(),
            signature: signature.map(str::to_owned),
            redacted: Vec::new(),
        };
        let batches = || {
            vec![vec![
                thought("I ", None),
                thought("see", None),
                thought("", Some("s")),
                text("Yes"),
            ]]
        };
        let (events, _) = read(batches(), &Reading::default());
        let kept = Thought::Text { text: "I see".to_owned(), signature: Some("s".to_owned()) };
        assert_eq!(folded(&events).thoughts, [kept]);
        assert!(!events.iter().any(|event| matches!(event, TurnEvent::Reasoning(_))));
        let reading = Reading { shows_thoughts: true, ..Reading::default() };
        let (events, _) = read(batches(), &reading);
        assert_eq!(events.iter().filter(|e| matches!(e, TurnEvent::Reasoning(_))).count(), 2);
    }

    #[test]
    fn what_the_service_charges_is_a_trace() {
        let told = json!({"usage": 0.5, "unit": "credit"});
        let metered = Event::Metering { step: "metering", told: told.clone() };
        let (events, _) = read(vec![vec![metered, text("x")]], &Reading::default());
        let TurnEvent::Trace(trace) = &events[0] else { panic!("{events:?}") };
        assert_eq!((trace.step, trace.raw.as_ref()), ("metering", Some(&told)));
    }
}
