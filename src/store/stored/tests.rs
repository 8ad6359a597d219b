//! Whatever can happen comes back as it was; what was not written by this program does not.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::*;
use crate::store::{Mark, Moved, Record, StoredTurn, TurnRecord, UpstreamBinding};
use crate::turn::{
    CacheLife, CachePoint, Citation, CollaboratorUsage, Confirmation, Failure, FailureKind, FileId,
    FinishReason, IdempotencyKey, Logprobs, Message, OutputFile, Part, Pending, PendingCall,
    Reference, ReturnControl, Role, SessionKey, Span, Status, Thought, ToolCall, Trace, TurnEvent,
    TurnId, UpstreamSessionId, Usage,
};

/// Texts that encodings trip over.
const TEXTS: &[&str] = &[
    "",
    "a",
    "two words",
    "\"quoted\" \\ and\nbroken\r\t",
    "\0\u{1}\u{7f}",
    "ünïcödé \u{1f980} \u{200d}",
    "{\"started\":{}}",
    "null",
    "\u{feff}\u{2028}",
];

/// A small generator of the xorshift family: the same things on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }

    fn number(&mut self) -> usize {
        let bits = self.roll(64);
        self.roll(usize::MAX) >> bits
    }

    fn flip(&mut self) -> bool {
        self.roll(2) == 0
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.flip() { Some(make(self)) } else { None }
    }

    fn some<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.roll(4)).map(|_| make(self)).collect()
    }

    fn text(&mut self) -> String {
        let pieces: Vec<&str> = self.some(|dice| dice.one_of(TEXTS));
        pieces.concat()
    }

    fn bytes(&mut self) -> Vec<u8> {
        self.some(|dice| u8::try_from(dice.roll(256)).unwrap())
    }

    fn value(&mut self) -> Value {
        let number = self.number();
        let text = self.text();
        match self.roll(5) {
            0 => Value::Null,
            1 => json!(number),
            2 => json!(-0.5),
            3 => json!({ "b": text, "a": [number, null, { "": true }] }),
            _ => Value::String(text),
        }
    }

    fn moment(&mut self) -> SystemTime {
        let since = Duration::new(
            self.roll(1 << 33) as u64,
            u32::try_from(self.roll(1_000_000_000)).unwrap(),
        );
        if self.roll(8) == 0 {
            SystemTime::UNIX_EPOCH - since
        } else {
            SystemTime::UNIX_EPOCH + since
        }
    }

    fn call(&mut self) -> ToolCall {
        let confirmation = self.one_of(&[
            Confirmation::None,
            Confirmation::Decision,
            Confirmation::DecisionAndResult,
        ]);
        ToolCall { id: self.text(), name: self.text(), arguments: self.text(), confirmation }
    }

    fn thought(&mut self) -> Thought {
        if self.flip() {
            Thought::Text { text: self.text(), signature: self.maybe(Self::text) }
        } else {
            Thought::Redacted(self.bytes().into())
        }
    }

    fn message(&mut self) -> Message {
        let part = |dice: &mut Self| {
            if dice.roll(3) > 0 {
                return Part::Text(dice.text());
            }
            Part::Attachment { kind: dice.text(), value: Arc::new(dice.value()) }
        };
        let is_plain = self.flip();
        Message {
            role: self.one_of(&[Role::System, Role::User, Role::Assistant, Role::Tool]),
            parts: if is_plain { vec![Part::Text(self.text())] } else { self.some(part) },
            thoughts: if is_plain { Vec::new() } else { self.some(Self::thought) },
            tool_calls: if is_plain { Vec::new() } else { self.some(Self::call) },
            tool_call_id: if is_plain { None } else { self.maybe(Self::text) },
            cache_points: if is_plain { Vec::new() } else { self.some(Self::cache_point) },
            status: self.one_of(&[Status::Completed, Status::Interrupted, Status::Failed]),
        }
    }

    fn cache_point(&mut self) -> CachePoint {
        let life = self.one_of(&[CacheLife::FiveMinutes, CacheLife::Hour]);
        CachePoint { after: self.number(), life }
    }

    fn usage(&mut self) -> Usage {
        Usage {
            input_tokens: self.number() as u64,
            output_tokens: self.number() as u64,
            cached_input_tokens: self.number() as u64,
            cache_written_tokens: self.number() as u64,
            reasoning_tokens: self.number() as u64,
            estimated: self.flip(),
        }
    }

    fn failure(&mut self) -> Failure {
        let failure = Failure {
            kind: self.one_of(FailureKind::ALL),
            message: self.text().into(),
            param: self.maybe(Self::text).map(Into::into),
            retry_after: None,
            may_have_run: self.flip(),
        };
        match self.maybe(Self::number) {
            Some(wait) => failure.after(Duration::from_nanos(wait as u64)),
            None => failure,
        }
    }

    fn reference(&mut self) -> Reference {
        Reference {
            kind: self.text(),
            location: self.maybe(Self::text),
            text: self.maybe(Self::text),
            metadata: self.maybe(|dice| json!({ "x": dice.value() })),
        }
    }

    fn event(&mut self) -> TurnEvent {
        let index = u32::try_from(self.roll(9)).unwrap();
        match self.roll(17) {
            0 => TurnEvent::Started,
            1 => TurnEvent::Reasoning(self.text().into()),
            2 => TurnEvent::Thought(Arc::new(self.thought())),
            3 => {
                let ToolCall { id, name, confirmation, .. } = self.call();
                let (id, name) = (id.into(), name.into());
                TurnEvent::ToolCallStarted { index, id, name, confirmation }
            }
            4 => TurnEvent::ToolCallArguments { index, delta: self.text().into() },
            5 => TurnEvent::ReturnControl(Arc::new(ReturnControl {
                invocation_id: self.text(),
                inputs: self.some(Self::value),
                weight: self.number(),
            })),
            6 => TurnEvent::Citation(Arc::new(Citation {
                text: self.maybe(Self::text),
                span: self.maybe(|dice| Span { start: dice.number(), end: dice.number() }),
                references: self.some(Self::reference),
            })),
            7 => TurnEvent::Trace(Arc::new(Trace {
                step: self.one_of(&["orchestration", "guardrail", "other"]),
                collaborator: self.maybe(Self::text),
                raw: self.maybe(|dice| json!([dice.value()])),
                weight: self.number(),
            })),
            8 => TurnEvent::File(Arc::new(OutputFile {
                id: FileId::generate(),
                name: self.text(),
                media_type: self.text(),
                bytes: self.bytes().into(),
            })),
            9 => match self.roll(4) {
                2 => TurnEvent::Filler(self.text().into()),
                0 => TurnEvent::StopSequence(self.maybe(Self::text).map(Into::into)),
                1 => TurnEvent::Logprobs(Arc::new(Logprobs {
                    content: self.some(Self::value),
                    refusal: self.some(Self::value),
                    weight: self.number(),
                })),
                _ => TurnEvent::Usage(self.usage()),
            },
            10 => TurnEvent::UsageByCollaborator(
                self.some(|dice| CollaboratorUsage {
                    collaborator: dice.maybe(Self::text),
                    usage: dice.usage(),
                })
                .into(),
            ),
            11 => TurnEvent::Finished(self.one_of(&[
                FinishReason::Stop,
                FinishReason::Length,
                FinishReason::ToolCalls,
                FinishReason::ContentFilter,
                FinishReason::Interrupted,
            ])),
            12 => TurnEvent::Failed(self.failure()),
            _ => TurnEvent::Text(self.text().into()),
        }
    }

    fn upstream(&mut self) -> UpstreamBinding {
        let call = |dice: &mut Self| PendingCall {
            call: dice.call(),
            input: dice.value(),
            result: dice.maybe(|dice| Arc::new(dice.message())),
        };
        UpstreamBinding {
            id: UpstreamSessionId::generate(),
            model: "m".parse().unwrap(),
            last_used: self.moment(),
            memory_id: self.maybe(Self::text),
            pending: self
                .maybe(|dice| Pending { invocation_id: dice.text(), calls: dice.some(call) }),
        }
    }

    fn turn(&mut self) -> StoredTurn {
        let idempotency = self.maybe(|dice| IdempotencyKey {
            key: dice.text().into(),
            fingerprint: [u8::try_from(dice.roll(256)).unwrap(); 32],
        });
        let record = TurnRecord {
            turn: TurnId::generate(),
            key: SessionKey { tenant: "acme".parse().unwrap(), id: "~s/1".parse().unwrap() },
            model: "bedrock/x".parse().unwrap(),
            agent: self.maybe(|dice| (dice.text(), dice.text())),
            created: self.moment(),
            said: self.some(Self::message).into_iter().map(Arc::new).collect(),
            previous: self.maybe(|_| TurnId::generate()),
            is_kept: self.flip(),
            is_background: self.flip(),
            echo: self.maybe(Self::text).map(Into::into),
            idempotency,
        };
        let events = (0..self.roll(12)).map(|_| self.event()).collect();
        StoredTurn { record: Arc::new(record), events, ended: Some(self.moment()) }
    }

    fn record(&mut self) -> Record {
        let name = |dice: &mut Self| dice.one_of(&["m", "bedrock/x", "arn:aws:y"]).parse().unwrap();
        let mark = |dice: &mut Self| Mark {
            turn: TurnId::generate(),
            end: dice.number() as u64,
            is_answered: dice.flip(),
        };
        Record {
            key: SessionKey { tenant: "acme".parse().unwrap(), id: "~s/1".parse().unwrap() },
            model: name(self),
            asked: self.maybe(name),
            moved: self.maybe(|dice| Moved { from: name(dice), to: name(dice) }),
            created_at: self.moment(),
            last_active: self.moment(),
            turns: self.number() as u64,
            messages: self.some(Self::message).into_iter().map(Arc::new).collect(),
            dropped: self.number() as u64,
            marks: self.some(mark),
            system: self.some(Self::message).into(),
            metadata: self.some(|dice| (dice.text(), dice.text())).into_iter().collect(),
            head: self.maybe(|dice| [u8::try_from(dice.roll(256)).unwrap(); 32]),
            upstream: self.maybe(Self::upstream),
            branches: u32::try_from(self.roll(40)).unwrap(),
        }
    }
}

fn dice() -> Dice {
    Dice(0x9e37_79b9_7f4a_7c15)
}

#[test]
fn messages_come_back_as_they_were() {
    let mut dice = dice();
    for _ in 0..2_000 {
        let messages = dice.some(Dice::message);
        assert_eq!(read_messages(&write_messages(&messages).unwrap()).unwrap(), messages);
        for message in messages {
            let row = Row::of(&message).unwrap();
            assert_eq!(row.into_message().unwrap(), message);
        }
    }
}

#[test]
fn a_message_of_one_text_is_a_row_without_a_document() {
    let row = Message::text(Role::User, "hello");
    let row = Row::of(&row).unwrap();
    assert_eq!((&*row.role, &*row.status), ("user", "completed"));
    assert_eq!((row.text.as_deref(), row.rest), (Some("hello"), None));
}

#[test]
fn events_come_back_in_their_pieces() {
    let mut dice = dice();
    let mut kinds = std::collections::HashSet::new();
    for _ in 0..2_000 {
        let events: Vec<_> = (0..dice.roll(12)).map(|_| dice.event()).collect();
        kinds.extend(events.iter().map(std::mem::discriminant));
        assert_eq!(read_events(&write_events(&events).unwrap()).unwrap(), events);
    }
    assert_eq!(kinds.len(), 17, "every kind of event");
}

#[test]
fn an_answer_is_written_as_its_pieces() {
    let texts = ["Hel", "lo"].map(|text| TurnEvent::Text(text.into()));
    let [first, second] = texts;
    let events = [TurnEvent::Started, first, second, TurnEvent::Finished(FinishReason::Stop)];
    let expected = r#"{"v":1,"body":[{"started":{}},"Hel","lo",{"finished":"stop"}]}"#;
    assert_eq!(write_events(&events).unwrap(), expected);
}

#[test]
fn sessions_come_back_as_they_were() {
    let mut dice = dice();
    for _ in 0..1_000 {
        let record = dice.record();
        let line = write_session_line(&record).unwrap();
        assert!(!line.contains('\n'));
        let Line::Session(read) = read_line(&line).unwrap() else { panic!("{line}") };
        assert_eq!(format!("{read:?}"), format!("{record:?}"));
        let Some(bound) = &record.upstream else { continue };
        let read = read_upstream(&write_upstream(bound).unwrap()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{bound:?}"));
    }
}

#[test]
fn turns_come_back_as_they_were() {
    let mut dice = dice();
    for _ in 0..1_000 {
        let turn = dice.turn();
        let line = write_turn_line(&turn).unwrap().unwrap();
        assert!(!line.contains('\n'));
        let Line::Turn(read) = read_line(&line).unwrap() else { panic!("{line}") };
        assert_eq!(format!("{read:?}"), format!("{turn:?}"));
        assert_eq!(write_turn_line(&StoredTurn { ended: None, ..turn }).unwrap(), None);
    }
}

#[test]
fn what_another_version_wrote_is_told_apart_from_what_is_broken() {
    let said = |json: &str| read_events(json).unwrap_err().to_string();
    assert!(said(r#"{"v":2,"body":{"all":"new"}}"#).contains("is of version 2"));
    assert!(said(r#"{"v":1,"body":[{"sang":"la"}]}"#).contains("unknown variant `sang`"));
    assert!(said(r#"{"v":1,"body":[{"finished":"bored"}]}"#).contains("unknown variant `bored`"));
    assert!(said(r#"{"v":1,"body":[{"failed":{"kind":"odd","message":""}}]}"#).contains("`odd`"));
    assert!(said(r#"{"v":1,"body":["Hel"#).contains("it breaks off"));
    assert!(said("hello").contains("it is no JSON"));
    assert!(
        said(r#"{"v":1,"body":[{"file":{"id":"f","name":"","media_type":"","bytes":"?"}}]}"#)
            .contains("not base64")
    );
}

#[test]
fn what_is_broken_is_not_quoted() {
    let json = r#"{"v":1,"body":[{"usage":"my name is Ann"}]}"#;
    let said = read_events(json).unwrap_err().to_string();
    assert!(said.contains("of another type") && !said.contains("Ann"), "{said}");
}

#[test]
fn no_damage_makes_a_reader_panic() {
    let mut dice = dice();
    for _ in 0..500 {
        let line = if dice.flip() {
            write_session_line(&dice.record()).unwrap()
        } else {
            write_turn_line(&dice.turn()).unwrap().unwrap()
        };
        let mut bytes = line.into_bytes();
        for _ in 0..=dice.roll(3) {
            let place = dice.roll(bytes.len());
            bytes[place] = u8::try_from(dice.roll(128)).unwrap();
        }
        let line = String::from_utf8_lossy(&bytes);
        match read_line(&line) {
            Ok(Line::Session(record)) => drop(write_session_line(&record).unwrap()),
            Ok(Line::Turn(turn)) => drop(write_turn_line(&turn).unwrap()),
            Err(_) => {}
        }
    }
}
