//! Answers as clients of each format hear them, in streams.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use serde_json::Value;

use crate::turn::{Message, Thought};
use crate::wire::tests::payloads;
use crate::wire::{Options, WireFormat, bedrock_frames};

use super::{events, head};

/// What a client hears of an answer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Heard {
    text: String,
    thoughts: String,
    signatures: String,
    sealed: String,
    /// Ids, names and arguments.
    calls: Vec<(String, String, String)>,
}

/// What a format can say of an answer.
pub(super) struct Says {
    thoughts: bool,
    proofs: bool,
    calls: bool,
}

pub(super) fn sayable(format: &dyn WireFormat) -> Says {
    let says = |thoughts, proofs, calls| Says { thoughts, proofs, calls };
    match format.name() {
        "openai-chat" | "openai-responses" => says(true, false, true),
        "anthropic" | "claude-native" | "claude-invoke" | "converse" => says(true, true, true),
        // An agent's calls come in its own words; a model has none.
        "ndjson" | "titan-native" | "titan-invoke" => says(false, false, false),
        other => panic!("say here what {other} can say"),
    }
}

pub(super) fn hearable(message: &Message, says: &Says) -> Heard {
    let mut heard = Heard { text: message.plain_text(), ..Heard::default() };
    for thought in &message.thoughts {
        match thought {
            Thought::Text { text, signature } => {
                heard.thoughts.push_str(if says.thoughts { text } else { "" });
                let proof = signature.as_deref().filter(|_| says.proofs);
                heard.signatures.push_str(proof.unwrap_or_default());
            }
            Thought::Redacted(bytes) if says.proofs => {
                heard.sealed.push_str(&STANDARD.encode(bytes));
            }
            Thought::Redacted(_) => {}
        }
    }
    if says.calls {
        let calls = message.tool_calls.iter();
        let calls = calls.map(|call| (call.id.clone(), call.name.clone(), call.arguments.clone()));
        heard.calls.extend(calls);
    }
    heard
}

impl Heard {
    fn add(&mut self, event: &Value) {
        let text = |place: &str| event.pointer(place).and_then(Value::as_str);
        let kind = event["type"].as_str().unwrap_or_default();
        if kind.starts_with("response.") {
            return self.add_response(kind, event);
        }
        let texts = ["/choices/0/delta/content", "/content", "/outputText", "/delta/text"];
        self.text.push_str(texts.iter().find_map(|place| text(place)).unwrap_or_default());
        for place in [
            "/choices/0/delta/reasoning_content",
            "/delta/thinking",
            "/delta/reasoningContent/text",
        ] {
            self.thoughts.push_str(text(place).unwrap_or_default());
        }
        for place in ["/delta/signature", "/delta/reasoningContent/signature"] {
            self.signatures.push_str(text(place).unwrap_or_default());
        }
        for place in ["/content_block/data", "/delta/reasoningContent/redactedContent"] {
            self.sealed.push_str(text(place).unwrap_or_default());
        }
        let starts = [
            ("/choices/0/delta/tool_calls/0/id", "/choices/0/delta/tool_calls/0/function/name"),
            ("/content_block/id", "/content_block/name"),
            ("/start/toolUse/toolUseId", "/start/toolUse/name"),
        ];
        for (id, name) in starts {
            let begun = text(id).zip(text(name));
            let begun = begun.map(|(id, name)| (id.to_owned(), name.to_owned(), String::new()));
            self.calls.extend(begun);
        }
        let arguments = [
            "/choices/0/delta/tool_calls/0/function/arguments",
            "/delta/partial_json",
            "/delta/toolUse/input",
        ];
        if let (Some(call), Some(piece)) =
            (self.calls.last_mut(), arguments.iter().find_map(|place| text(place)))
        {
            call.2.push_str(piece);
        }
    }

    /// Takes an event of a response.
    fn add_response(&mut self, kind: &str, event: &Value) {
        let delta = event["delta"].as_str().unwrap_or_default();
        match kind {
            "response.output_text.delta" => self.text.push_str(delta),
            "response.reasoning_text.delta" => self.thoughts.push_str(delta),
            "response.function_call_arguments.delta" => {
                self.calls.last_mut().unwrap().2.push_str(delta);
            }
            "response.output_item.added" if event["item"]["type"] == "function_call" => {
                let text = |name: &str| event["item"][name].as_str().unwrap().to_owned();
                self.calls.push((text("call_id"), text("name"), String::new()));
            }
            _ => {}
        }
    }

    /// Arguments of none are an empty object, or nothing.
    pub(super) fn settled(mut self) -> Self {
        for (_, _, arguments) in &mut self.calls {
            if arguments.is_empty() {
                "{}".clone_into(arguments);
            }
        }
        self
    }
}

/// Reads a stream as a client of the format does.
pub(super) fn heard(format: &dyn WireFormat, message: &Message) -> Heard {
    let mut encoder = format.encoder(head(), Options::default());
    let mut out = BytesMut::new();
    encoder.open(&mut out);
    for (sequence, event) in (1..).zip(&events(message)) {
        encoder.event(sequence, event, &mut out);
    }
    let documents = match format.stream_type() {
        bedrock_frames::MEDIA_TYPE => payloads(&out),
        _ => {
            let stream = String::from_utf8(out.to_vec()).unwrap();
            let lines = stream.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
            lines.filter(|line| line.starts_with('{')).map(str::to_owned).collect()
        }
    };
    let mut heard = Heard::default();
    for document in documents {
        heard.add(&serde_json::from_str(&document).unwrap());
    }
    heard.settled()
}
