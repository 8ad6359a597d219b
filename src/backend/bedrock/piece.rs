//! What an answer of Converse is made of, whether it comes as a stream or in one piece.

use aws_sdk_bedrockruntime::operation::converse::ConverseOutput as Whole;
use aws_sdk_bedrockruntime::types::{
    Citation as WholeCitation, CitationGeneratedContent, CitationLocation, CitationSourceContent,
    CitationsDelta, ContentBlock, ContentBlockDelta, ContentBlockStart, ConverseOutput,
    ConverseStreamOutput, ReasoningContentBlock, ReasoningContentBlockDelta, StopReason,
    TokenUsage,
};
use aws_smithy_types::{Document, Number};
use serde_json::{Map, Value};

use crate::backend::cache_counts::{CacheCounts, count};
use crate::turn::{Citation, Reference, Usage};

/// The member of Claude's answers that says which text ended one.
pub(super) const STOP_SEQUENCE: &str = "stop_sequence";

/// A piece of an answer. Blocks are told apart by their number, which counts all of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    /// Text of the answer.
    Text(String),
    /// A call begins.
    CallStarted { block: i32, id: String, name: String },
    /// A part of a call's arguments.
    CallInput { block: i32, input: String },
    /// A part of a thought.
    Thought { block: i32, text: String },
    /// What proves a thought.
    Signature { block: i32, signature: String },
    /// A thought that nobody may read.
    Redacted { block: i32, bytes: Vec<u8> },
    /// What a part of the text rests on.
    Citation(Citation),
    /// A block is complete.
    Ended { block: i32 },
    /// The model stopped, at this text where it tells.
    Stopped { reason: StopReason, at: Option<String> },
    /// What it all took; nothing comes after.
    Measured(Option<Usage>),
    /// A sign of life.
    Nothing,
}

impl From<ConverseStreamOutput> for Piece {
    fn from(event: ConverseStreamOutput) -> Self {
        match event {
            ConverseStreamOutput::ContentBlockStart(event) => {
                started(event.content_block_index, event.start)
            }
            ConverseStreamOutput::ContentBlockDelta(event) => {
                delta(event.content_block_index, event.delta)
            }
            ConverseStreamOutput::ContentBlockStop(event) => {
                Self::Ended { block: event.content_block_index }
            }
            ConverseStreamOutput::MessageStop(event) => {
                stopped(event.stop_reason, event.additional_model_response_fields.as_ref())
            }
            ConverseStreamOutput::Metadata(event) => {
                Self::Measured(event.usage.as_ref().map(usage))
            }
            // The role is known, and a newer service may send what this SDK does not know.
            _ => Self::Nothing,
        }
    }
}

fn started(block: i32, start: Option<ContentBlockStart>) -> Piece {
    match start {
        // Tools that run inside Bedrock are none of the client's.
        Some(ContentBlockStart::ToolUse(call)) if call.r#type.is_none() => {
            Piece::CallStarted { block, id: call.tool_use_id, name: call.name }
        }
        _ => Piece::Nothing,
    }
}

fn delta(block: i32, delta: Option<ContentBlockDelta>) -> Piece {
    match delta {
        Some(ContentBlockDelta::Text(text)) => Piece::Text(text),
        Some(ContentBlockDelta::ToolUse(call)) => Piece::CallInput { block, input: call.input },
        Some(ContentBlockDelta::Citation(cited)) => Piece::Citation(citation(cited)),
        Some(ContentBlockDelta::ReasoningContent(thought)) => match thought {
            ReasoningContentBlockDelta::Text(text) => Piece::Thought { block, text },
            ReasoningContentBlockDelta::Signature(signature) => {
                Piece::Signature { block, signature }
            }
            ReasoningContentBlockDelta::RedactedContent(bytes) => {
                Piece::Redacted { block, bytes: bytes.into_inner() }
            }
            _ => Piece::Nothing,
        },
        _ => Piece::Nothing,
    }
}

/// The pieces of an answer that came in one.
pub(super) fn of_whole(answer: Whole) -> Vec<Piece> {
    let mut pieces = Vec::new();
    if let Some(ConverseOutput::Message(message)) = answer.output {
        for (block, content) in (0..).zip(message.content) {
            of_block(block, content, &mut pieces);
            pieces.push(Piece::Ended { block });
        }
    }
    pieces.push(stopped(answer.stop_reason, answer.additional_model_response_fields.as_ref()));
    pieces.push(Piece::Measured(answer.usage.as_ref().map(usage)));
    pieces
}

/// Which text it was is no part of the API: Claude's own answer has it, in [`STOP_SEQUENCE`].
fn stopped(reason: StopReason, fields: Option<&Document>) -> Piece {
    let member = fields.and_then(Document::as_object).and_then(|fields| fields.get(STOP_SEQUENCE));
    Piece::Stopped { reason, at: member.and_then(Document::as_string).map(str::to_owned) }
}

fn of_block(block: i32, content: ContentBlock, pieces: &mut Vec<Piece>) {
    match content {
        ContentBlock::Text(text) => pieces.push(Piece::Text(text)),
        ContentBlock::ToolUse(call) if call.r#type.is_none() => {
            pieces.push(Piece::CallStarted { block, id: call.tool_use_id, name: call.name });
            pieces.push(Piece::CallInput { block, input: json(&call.input).to_string() });
        }
        ContentBlock::ReasoningContent(ReasoningContentBlock::ReasoningText(thought)) => {
            pieces.push(Piece::Thought { block, text: thought.text });
            let proof = thought.signature;
            pieces.extend(proof.map(|signature| Piece::Signature { block, signature }));
        }
        ContentBlock::ReasoningContent(ReasoningContentBlock::RedactedContent(bytes)) => {
            pieces.push(Piece::Redacted { block, bytes: bytes.into_inner() });
        }
        ContentBlock::CitationsContent(cited) => {
            for part in cited.content.unwrap_or_default() {
                if let CitationGeneratedContent::Text(text) = part {
                    pieces.push(Piece::Text(text));
                }
            }
            let citations = cited.citations.unwrap_or_default();
            pieces
                .extend(citations.into_iter().map(|cited| Piece::Citation(whole_citation(cited))));
        }
        _ => pieces.push(Piece::Nothing),
    }
}

/// The service counts what it read of a cache, and what it wrote to it, apart from the input.
fn usage(used: &TokenUsage) -> Usage {
    let counts = CacheCounts {
        input: count(used.input_tokens),
        cached: count(used.cache_read_input_tokens.unwrap_or_default()),
        written: count(used.cache_write_input_tokens.unwrap_or_default()),
        output: count(used.output_tokens),
    };
    counts.usage()
}

fn citation(cited: CitationsDelta) -> Citation {
    let parts = cited.source_content.unwrap_or_default();
    let text: String = parts.into_iter().filter_map(|part| part.text).collect();
    rests_on(cited.title, cited.source, text, cited.location)
}

fn whole_citation(cited: WholeCitation) -> Citation {
    let parts = cited.source_content.unwrap_or_default().into_iter();
    let text = parts.filter_map(|part| match part {
        CitationSourceContent::Text(text) => Some(text),
        _ => None,
    });
    rests_on(cited.title, cited.source, text.collect(), cited.location)
}

fn rests_on(
    title: Option<String>,
    source: Option<String>,
    text: String,
    at: Option<CitationLocation>,
) -> Citation {
    let (kind, address) = match at {
        Some(CitationLocation::Web(web)) => ("WEB", web.url),
        Some(CitationLocation::SearchResultLocation(_)) => ("SEARCH_RESULT", None),
        _ => ("DOCUMENT", None),
    };
    let reference = Reference {
        kind: kind.to_owned(),
        location: address.or(source).or_else(|| title.clone()),
        text: Some(text).filter(|text| !text.is_empty()),
        metadata: title.map(|title| Value::from_iter([("title", title)])),
    };
    Citation { text: None, span: None, references: vec![reference] }
}

/// A document of the SDK as JSON.
fn json(document: &Document) -> Value {
    match document {
        Document::Object(members) => {
            // The SDK forgets their order; this one is at least always the same.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.as_str());
            let members = members.into_iter().map(|(name, value)| (name.clone(), json(value)));
            Value::Object(Map::from_iter(members))
        }
        Document::Array(entries) => entries.iter().map(json).collect(),
        Document::Number(Number::PosInt(number)) => (*number).into(),
        Document::Number(Number::NegInt(number)) => (*number).into(),
        Document::Number(Number::Float(number)) => (*number).into(),
        Document::String(text) => text.as_str().into(),
        Document::Bool(value) => (*value).into(),
        Document::Null => Value::Null,
    }
}
