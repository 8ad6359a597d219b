//! What holds for every format, whatever comes in.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::turn::{
    Citation, Confirmation, FailureKind, FileId, FinishReason, OutputFile, Reference, Span, Usage,
};

use super::*;

/// JSON scalars that mean something somewhere, or nothing anywhere.
const SCALARS: &str = r#"null true 0 -1 1.5 256.0 1e400 18446744073709551616 "" "user" "text"
    "tool" "a\tb" "\ud83d\ude00" "\ud800" "+49301234567" "assistant" "s-1" "refusal""#;

/// Members that the formats look for, and one that none does.
const NAMES: &str = "messages role content type text tool_calls function name id arguments
    metadata call customer number session_id conversation n stream outcrop input_text agent_id
    session_attributes refusal stream_options include_usage response_format tool_call_id x tools
    parameters tool_choice stop top_logprobs logprobs logit_bias json_schema schema temperature
    allowed_tools mode max_tokens is_error status return_control_results invocation_id functionResult
    latency guardrail_interval knowledge_base_configurations prompt_creation_configurations";

/// A small generator (xorshift64*), the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % bound
    }

    fn word<'a>(&mut self, words: &'a str) -> &'a str {
        let place = self.below(words.split_whitespace().count());
        words.split_whitespace().nth(place).unwrap()
    }

    fn json(&mut self, depth: usize) -> String {
        match if depth == 0 { 0 } else { self.below(3) } {
            0 => self.word(SCALARS).to_owned(),
            1 => {
                let items: Vec<_> = (0..self.below(4)).map(|_| self.json(depth - 1)).collect();
                format!("[{}]", items.join(","))
            }
            _ => {
                let member = |dice: &mut Self| {
                    let name = dice.word(NAMES);
                    format!("\"{name}\":{}", dice.json(depth - 1))
                };
                let members: Vec<_> = (0..self.below(6)).map(|_| member(self)).collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }

    fn text(&mut self) -> String {
        const PIECES: &[&str] = &[
            "a", "\"", "\\", "\n", "\r\n", "\u{0}", "\u{85}", "\u{2028}", "é", "漢", "😀", "data: ",
        ];
        (0..self.below(12)).map(|_| PIECES[self.below(PIECES.len())]).collect()
    }

    fn event(&mut self) -> TurnEvent {
        match self.below(9) {
            0 => TurnEvent::Reasoning(self.text().into()),
            1 => {
                let index = u32::try_from(self.below(3)).unwrap();
                TurnEvent::ToolCallStarted {
                    index,
                    id: self.text().into(),
                    name: self.text().into(),
                    confirmation: Confirmation::Decision,
                }
            }
            2 => TurnEvent::ToolCallArguments { index: 0, delta: self.text().into() },
            3 => TurnEvent::Usage(Usage { input_tokens: u64::MAX, ..Usage::default() }),
            4 => TurnEvent::Citation(Arc::new(Citation {
                text: Some(self.text()),
                span: Some(Span { start: self.below(9), end: self.below(9) }),
                references: vec![Reference {
                    kind: self.text(),
                    location: Some(self.text()),
                    text: Some(self.text()),
                    metadata: Some(json!({ self.text(): self.text() })),
                }],
            })),
            5 => TurnEvent::File(Arc::new(OutputFile {
                id: FileId::generate(),
                name: self.text(),
                media_type: self.text(),
                bytes: self.text().into(),
            })),
            _ => TurnEvent::Text(self.text().into()),
        }
    }
}

fn head() -> Head {
    Head {
        turn: TurnId::generate(),
        session: SessionId::generate(),
        request: RequestId::generate(),
        model: "m".parse().unwrap(),
        created: SystemTime::now(),
        agent: None,
    }
}

fn decode_everywhere(body: &[u8]) {
    let fields = ["customer.number".to_owned(), "call.customer.number".to_owned()];
    let _ = caller::number(body, &fields);
    for format in FORMATS {
        let Err(failure) = format.decode(body, &Defaults::default()) else { continue };
        let is_theirs =
            matches!(failure.kind, FailureKind::BadRequest | FailureKind::UnsupportedParameter);
        assert!(is_theirs, "{failure} for {}", String::from_utf8_lossy(body));
        assert!(serde_json::from_slice::<Value>(&format.refusal(&failure)).is_ok());
    }
}

#[test]
fn whatever_json_comes_in_is_taken_or_refused() {
    let mut dice = Dice(0x5eed);
    for _ in 0..5_000 {
        let members: Vec<_> = (0..3).map(|_| dice.json(4)).collect();
        decode_everywhere(members[0].as_bytes());
        let body = format!(r#"{{"messages":[{}],"input_text":{}}}"#, members[1], members[2]);
        decode_everywhere(body.as_bytes());
    }
}

#[test]
fn whatever_bytes_come_in_are_taken_or_refused() {
    const GOOD: &str = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"h\u00e9 😀"},{"type":"image_url","image_url":{"url":"x"}}]},{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"tool_choice":"auto","outcrop":{"session_attributes":{"a":"b"},"latency":"standard","knowledge_base_configurations":[{"a":1}]},"metadata":{"a":1},"call":{"id":"c","customer":{"number":"+4930123456"}},"input_text":"x","session_attributes":{"a":[1]},"invocation_id":"i","return_control_results":[{"functionResult":{"a":1}}]}"#;
    let mut dice = Dice(0xfeed);
    for _ in 0..5_000 {
        let mut body = GOOD.as_bytes().to_vec();
        for _ in 0..=dice.below(4) {
            let at = dice.below(body.len());
            match dice.below(3) {
                0 => body[at] = u8::try_from(dice.below(256)).unwrap(),
                1 if body.len() > 1 => drop(body.remove(at)),
                _ => body.truncate(at + 1),
            }
        }
        decode_everywhere(&body);
    }
    for end in 0..=GOOD.len() {
        decode_everywhere(&GOOD.as_bytes()[..end]);
    }
}

/// Cuts a stream into its JSON documents, as a reader of it would: none holds a line break of
/// any kind.
fn documents(stream: &str) -> Vec<&str> {
    let breaks =
        |c: char| matches!(c, '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    assert!(!stream.contains(breaks), "{stream:?}");
    let lines = stream.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
    lines.filter(|line| line.starts_with('{')).collect()
}

#[test]
fn whatever_is_said_the_lines_are_json_and_the_text_survives() {
    let mut dice = Dice(0xd1ce);
    for _ in 0..2_000 {
        let mut events = vec![TurnEvent::Started];
        events.extend((0..dice.below(10)).map(|_| dice.event()));
        events.push(TurnEvent::Finished(FinishReason::Stop));
        let said: String = events.iter().filter_map(text_of).collect();
        for format in FORMATS {
            let mut encoder = format.encoder(head(), Options::default());
            let mut out = BytesMut::new();
            encoder.open(&mut out);
            for (sequence, event) in (1..).zip(&events) {
                encoder.event(sequence, event, &mut out);
            }
            let stream = String::from_utf8(out.to_vec()).unwrap();
            let heard: String = documents(&stream).into_iter().map(piece_in).collect();
            assert_eq!(heard, said, "{}", format.name());
            let whole = format.whole(&head(), Options::default(), &events);
            assert!(!documents(std::str::from_utf8(&whole).unwrap()).is_empty());
        }
    }
}

fn text_of(event: &TurnEvent) -> Option<&str> {
    match event {
        TurnEvent::Text(text) => Some(text),
        _ => None,
    }
}

/// The text that a document of either format adds.
fn piece_in(document: &str) -> String {
    let document: Value = serde_json::from_str(document).unwrap();
    let chat = document.pointer("/choices/0/delta/content");
    let piece = chat.or_else(|| document.get("content")).and_then(Value::as_str);
    piece.unwrap_or_default().to_owned()
}
