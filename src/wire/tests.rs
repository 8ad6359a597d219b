//! What holds for every format, whatever comes in.

use std::sync::Arc;
use std::time::SystemTime;

use aws_smithy_eventstream::frame::read_message_from;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::turn::{
    Citation, Confirmation, Fault, FileId, FinishReason, Fold, OutputFile, Reference, Span,
    Thought, Usage,
};

use super::*;

/// JSON scalars that mean something somewhere, or nothing anywhere.
const SCALARS: &str = r#""tool_use" "tool_result" "image" "document" "thinking" "base64" "aGk="
    "redacted_thinking" "enabled" "User: a\nBot:" null true 0 -1 1.5 256.0 1e400 18446744073709551616 "" "user" "text"
    "tool" "function_call" "function_call_output" "reasoning" "item_reference" "custom" "input_text"
    "input_image" "a\tb" "\ud83d\ude00" "\ud800" "+49301234567" "assistant" "s-1" "refusal""#;

/// Members that the formats look for, and one that none does.
const NAMES: &str = "messages role content type text tool_calls function name id arguments
    metadata call customer number session_id conversation n stream outcrop input_text agent_id
    session_attributes refusal stream_options include_usage response_format tool_call_id x tools
    parameters tool_choice is_error status return_control_results invocation_id functionResult
    latency guardrail_interval knowledge_base_configurations prompt_creation_configurations
    anthropic_version system max_tokens source media_type data url tool_use_id input input_schema
    thinking signature is_error budget_tokens output_config effort format schema stop_sequences
    inputText textGenerationConfig maxTokenCount inferenceConfig maxTokens topP toolConfig
    toolSpec inputSchema json toolChoice any auto toolUse toolResult toolUseId reasoningContent
    reasoningText redactedContent image document bytes s3Location uri requestMetadata
    additionalModelRequestFields top_k service_tier title cachePoint guardContent
    stop top_logprobs logprobs logit_bias json_schema temperature allowed_tools mode
    instructions previous_response_id store background include max_output_tokens truncation
    reasoning summary call_id output encrypted_content image_url file_data detail strict";

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
        match self.below(11) {
            6 => TurnEvent::Thought(Arc::new(Thought::Text {
                text: self.text(),
                signature: Some(self.text()),
            })),
            7 => TurnEvent::Thought(Arc::new(Thought::Redacted(self.text().into()))),
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
        previous: None,
        is_background: false,
        echo: None,
    }
}

fn decode_everywhere(body: &[u8]) {
    let fields = ["customer.number".to_owned(), "call.customer.number".to_owned()];
    let _ = caller::number(body, &fields);
    for format in FORMATS {
        let Err(failure) = format.decode(body, &Defaults::default()) else { continue };
        let is_theirs = failure.kind.status() == 400 && failure.kind.fault() == Fault::Client;
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
        let content = format!("{},{}", members[1], members[2]);
        let body = format!(r#"{{"messages":[{{"role":"user","content":[{content}]}}]}}"#);
        decode_everywhere(body.as_bytes());
        let body = format!(r#"{{"input":[{content}],"tools":[{}]}}"#, members[0]);
        decode_everywhere(body.as_bytes());
        let body = format!(r#"{{"input":[{{"role":"user","content":[{content}]}}]}}"#);
        decode_everywhere(body.as_bytes());
    }
}

/// A good request in each of the dialects, as wide as it gets.
const GOOD: &[&str] = &[
    r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"h\u00e9 😀"},{"type":"image_url","image_url":{"url":"x"}}]},{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"tool_choice":"auto","outcrop":{"session_attributes":{"a":"b"},"latency":"standard","knowledge_base_configurations":[{"a":1}]},"metadata":{"a":1},"call":{"id":"c","customer":{"number":"+4930123456"}},"input_text":"x","session_attributes":{"a":[1]},"invocation_id":"i","return_control_results":[{"functionResult":{"a":1}}]}"#,
    r#"{"anthropic_version":"bedrock-2023-05-31","model":"m","max_tokens":9000,"system":[{"type":"text","text":"Be kind."}],"messages":[{"role":"user","content":[{"type":"text","text":"h\u00e9"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk="}},{"type":"document","title":"t","source":{"type":"text","data":"x"}}]},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"aGk="},{"type":"tool_use","id":"a","name":"f","input":{"a":[1]}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":"x"}],"is_error":true}]}],"tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"tool","name":"f"},"thinking":{"type":"enabled","budget_tokens":2000},"metadata":{"user_id":"u"},"temperature":1,"top_k":5,"stop_sequences":["END"],"output_config":{"effort":"high","format":{"type":"json_schema","schema":{}}}}"#,
    r#"{"inputText":"Be kind.\nUser: hi\nBot: Hello\nUser: how\nare you?\nBot:","textGenerationConfig":{"maxTokenCount":5,"temperature":0,"topP":0.9,"stopSequences":["x"]}}"#,
    r#"{"system":[{"text":"Be kind."},{"cachePoint":{"type":"default"}}],"messages":[{"role":"user","content":[{"text":"h\u00e9"},{"image":{"format":"png","source":{"bytes":"aGk="}}},{"document":{"format":"md","name":"n","source":{"text":"x"}}}]},{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"hm","signature":"s"}}},{"reasoningContent":{"redactedContent":"aGk="}},{"toolUse":{"toolUseId":"a","name":"f","input":{"a":1}}}]},{"role":"user","content":[{"toolResult":{"toolUseId":"a","content":[{"json":{"a":1}},{"text":"x"}],"status":"error"}}]}],"inferenceConfig":{"maxTokens":5000,"temperature":0.2,"topP":1,"stopSequences":["x"]},"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{}}}}],"toolChoice":{"any":{}}},"additionalModelRequestFields":{"top_k":4,"thinking":{"type":"enabled","budget_tokens":1024}},"requestMetadata":{"session_id":"s"},"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":"{}"}}}}}"#,
    r#"{"model":"m","instructions":"Be kind.","input":[{"role":"user","content":[{"type":"input_text","text":"h\u00e9 😀"},{"type":"input_image","image_url":"x","detail":"low"},{"type":"input_file","file_data":"aGk=","filename":"n"}]},{"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]},{"type":"function_call","call_id":"a","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"a","output":"x"},{"type":"item_reference","id":"msg_00112233445566778899aabbccddeeff_0"}],"tools":[{"type":"function","name":"f","parameters":{"type":"object"},"strict":true},{"type":"custom","name":"g"}],"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"}]},"previous_response_id":"resp_00112233445566778899aabbccddeeff","include":["reasoning.encrypted_content"],"reasoning":{"effort":"low","summary":"auto"},"text":{"format":{"type":"json_schema","name":"s","schema":{}}},"metadata":{"a":"b"},"max_output_tokens":16,"temperature":1,"truncation":"auto","outcrop":{"latency":"standard"}}"#,
];

#[test]
fn the_good_requests_are_taken_in_their_own_dialects() {
    let takes = |body: &str| {
        let taken = FORMATS.iter().filter(|format| {
            format.recognises(body.as_bytes())
                && format.decode(body.as_bytes(), &Defaults::default()).is_ok()
        });
        taken.map(|format| format.name()).collect::<Vec<_>>()
    };
    let expected: [&[&str]; 5] = [
        &["openai-chat", "ndjson"],
        &["claude-native", "anthropic", "claude-invoke"],
        &["titan-native", "titan-invoke"],
        &["converse"],
        &["openai-responses"],
    ];
    for (body, expected) in GOOD.iter().zip(expected) {
        assert_eq!(takes(body), expected, "{body}");
    }
}

#[test]
fn whatever_bytes_come_in_are_taken_or_refused() {
    let mut dice = Dice(0xfeed);
    for (round, good) in (0..6_000).zip(GOOD.iter().cycle()) {
        let mut body = good.as_bytes().to_vec();
        for _ in 0..=dice.below(4) {
            let at = dice.below(body.len());
            match dice.below(3) {
                0 => body[at] = u8::try_from(dice.below(256)).unwrap(),
                1 if body.len() > 1 => drop(body.remove(at)),
                _ if round % 8 == 0 => body.truncate(at + 1),
                _ => body.insert(at, b'"'),
            }
        }
        decode_everywhere(&body);
    }
    for good in GOOD {
        for end in 0..=good.len() {
            decode_everywhere(&good.as_bytes()[..end]);
        }
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
            let heard: String = match format.stream_type() {
                bedrock_frames::MEDIA_TYPE => {
                    payloads(&out).iter().map(|json| piece_in(json)).collect()
                }
                _ => {
                    let stream = String::from_utf8(out.to_vec()).unwrap();
                    documents(&stream).into_iter().map(piece_in).collect()
                }
            };
            assert_eq!(heard, said, "{}", format.name());
            let whole = format.whole(&head(), Options::default(), &events);
            assert!(!documents(std::str::from_utf8(&whole).unwrap()).is_empty());
        }
    }
}

/// A turn as a model that thinks and calls may make it, by the grammar of events.
fn thoughtful_turn(dice: &mut Dice) -> Vec<TurnEvent> {
    let mut events = vec![TurnEvent::Started];
    let mut calls = 0;
    for _ in 0..dice.below(6) {
        let text = format!("x{}", dice.text());
        match dice.below(4) {
            0 => {
                let signature = Some(format!("s{}", dice.text()));
                events.push(TurnEvent::Reasoning(text.as_str().into()));
                events.push(TurnEvent::Thought(Thought::Text { text, signature }.into()));
            }
            1 => events.push(TurnEvent::Thought(Thought::Redacted(text.into()).into())),
            2 => events.push(TurnEvent::Text(text.into())),
            _ => {
                let (id, name) = (format!("call_{calls}").into(), "f".into());
                let confirmation = Confirmation::None;
                let index = calls;
                events.push(TurnEvent::ToolCallStarted { index, id, name, confirmation });
                let arguments = json!({ "a": text }).to_string();
                let (one, other) = arguments.split_at(4);
                for delta in [one, other] {
                    events.push(TurnEvent::ToolCallArguments { index, delta: delta.into() });
                }
                calls += 1;
            }
        }
    }
    events.push(TurnEvent::Finished(FinishReason::Stop));
    events
}

#[test]
fn an_answer_in_blocks_that_comes_back_reads_as_the_session_holds_it() {
    let mut dice = Dice(0xb10c);
    let dialects: [(&dyn WireFormat, &str, Value); 2] = [
        (&claude::Anthropic, "/content", json!("hi")),
        (&converse::Converse, "/output/message/content", json!([{ "text": "hi" }])),
    ];
    for _ in 0..500 {
        let events = thoughtful_turn(&mut dice);
        let mut fold = Fold::default();
        events.iter().for_each(|event| fold.push(event).unwrap());
        let held = fold.into_message();
        for (format, place, asked) in &dialects {
            let whole = format.whole(&head(), Options::default(), &events);
            let whole: Value = serde_json::from_slice(&whole).unwrap();
            let body = json!({ "messages": [
                { "role": "user", "content": asked },
                { "role": "assistant", "content": whole.pointer(place).unwrap() },
            ] });
            let decoded = format.decode(body.to_string().as_bytes(), &Defaults::default());
            let came_back = decoded.unwrap().request.messages.pop().unwrap();
            assert_eq!(came_back, held, "{}", format.name());
        }
    }
}

fn text_of(event: &TurnEvent) -> Option<&str> {
    match event {
        TurnEvent::Text(text) => Some(text),
        _ => None,
    }
}

/// The JSON that the frames of a stream carry, or that their chunks do.
pub(super) fn payloads(stream: &[u8]) -> Vec<String> {
    let mut rest = stream;
    let mut payloads = Vec::new();
    while !rest.is_empty() {
        let message = read_message_from(&mut rest).unwrap();
        let payload: Value = serde_json::from_slice(message.payload()).unwrap();
        let inner = payload["bytes"].as_str().map(|bytes| STANDARD.decode(bytes).unwrap());
        payloads.push(match inner {
            Some(inner) => String::from_utf8(inner).unwrap(),
            None => payload.to_string(),
        });
    }
    payloads
}

/// The text that a document of any format adds.
fn piece_in(document: &str) -> String {
    let document: Value = serde_json::from_str(document).unwrap();
    if document["type"] == "response.output_text.delta" {
        return document["delta"].as_str().unwrap().to_owned();
    }
    let places = ["/choices/0/delta/content", "/content", "/outputText", "/delta/text"];
    let piece = places.iter().find_map(|place| document.pointer(place)?.as_str());
    piece.unwrap_or_default().to_owned()
}

#[test]
fn a_filler_is_no_text_of_a_format_that_cannot_mark_it() {
    let events = [
        TurnEvent::Started,
        TurnEvent::Filler("One moment, please. ".into()),
        TurnEvent::Text("Hello!".into()),
        TurnEvent::Finished(FinishReason::Stop),
    ];
    for format in FORMATS {
        let mut encoder = format.encoder(head(), Options::default());
        let mut out = BytesMut::new();
        encoder.open(&mut out);
        for (sequence, event) in (1..).zip(&events) {
            encoder.event(sequence, event, &mut out);
        }
        let is_marked = memchr::memmem::find(&out, b"\"filler\":true").is_some();
        let is_said = memchr::memmem::find(&out, b"One moment").is_some();
        assert_eq!((is_said, is_marked), (format.name() == "openai-chat", is_said));
        let whole = format.whole(&head(), Options::default(), &events);
        assert!(memchr::memmem::find(&whole, b"One moment").is_none(), "{}", format.name());
    }
}
