//! What a model is sent, in the shape of Converse. The other dialects are read into it too, so
//! that one model answers them all.
//!
//! Members that nobody here looks at are passed over, but a block of an unknown kind, a member of
//! the wrong type and a union with two members are errors, as they are to the service.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::terms::{
    Guardrail, Inference, OutputConfig, Performance, Tier, Tool, ToolChoice, ToolConfig, ToolSpec,
};

/// One request to a model.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::emulator) struct Prompt {
    /// The transcript.
    pub(in crate::emulator) messages: Vec<Message>,
    /// What stands above it.
    pub(in crate::emulator) system: Vec<SystemBlock>,
    /// Limits and sampling.
    pub(in crate::emulator) inference_config: Inference,
    /// The tools on offer.
    pub(in crate::emulator) tool_config: Option<ToolConfig>,
    /// Who watches over both sides.
    pub(in crate::emulator) guardrail_config: Option<Guardrail>,
    /// What only some models know.
    pub(in crate::emulator) additional_model_request_fields: Map<String, Value>,
    /// What else of the model's own answer is to be told: JSON pointers.
    pub(in crate::emulator) additional_model_response_field_paths: Vec<String>,
    /// For the invocation log.
    pub(in crate::emulator) request_metadata: BTreeMap<String, String>,
    /// `performanceConfig`
    pub(in crate::emulator) performance_config: Option<Performance>,
    /// `serviceTier`
    pub(in crate::emulator) service_tier: Option<Tier>,
    /// What the answer has to look like.
    pub(in crate::emulator) output_config: OutputConfig,
}

/// One message.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::emulator) struct Message {
    /// Whose it is.
    pub(in crate::emulator) role: Role,
    /// What it holds.
    pub(in crate::emulator) content: Vec<Block>,
}

/// Whose a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::emulator) enum Role {
    /// The caller's.
    User,
    /// The model's own.
    Assistant,
    /// In the service's model, and taken by no model here.
    System,
}

/// A block of a message.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) enum Block {
    /// `text`
    Text(String),
    /// `image`
    Image(Media),
    /// `document`
    Document(Document),
    /// `video`
    Video(Media),
    /// `audio`
    Audio(Media),
    /// `toolUse`
    ToolUse(ToolUse),
    /// `toolResult`
    ToolResult(ToolResult),
    /// `reasoningContent`
    ReasoningContent(Reasoning),
    /// `guardContent`
    GuardContent(GuardContent),
    /// `cachePoint`
    CachePoint(CachePoint),
    /// `citationsContent`, of an earlier answer
    CitationsContent(Cited),
    /// `searchResult`
    SearchResult(SearchResult),
}

/// A block above the transcript.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) enum SystemBlock {
    /// `text`
    Text(String),
    /// `guardContent`
    GuardContent(GuardContent),
    /// `cachePoint`
    CachePoint(CachePoint),
}

/// An image, a video or a recording.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::emulator) struct Media {
    /// What it is said to be.
    pub(in crate::emulator) format: String,
    /// Where it is.
    pub(in crate::emulator) source: Source,
}

/// Where bytes are.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) enum Source {
    /// Here, in base64.
    Bytes(String),
    /// In a bucket.
    S3Location(S3Location),
    /// Here, as text; documents alone.
    Text(String),
    /// Here, in chunks; documents alone.
    Content(Vec<Chunk>),
}

/// A place in a bucket.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::emulator) struct S3Location {
    /// `s3://…`
    pub(in crate::emulator) uri: String,
}

/// A chunk of a document.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) enum Chunk {
    /// `text`
    Text(String),
}

/// A document.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::emulator) struct Document {
    /// What it is said to be; `txt` when nothing is said.
    pub(in crate::emulator) format: Option<String>,
    /// What it is called.
    pub(in crate::emulator) name: String,
    /// Where it is.
    pub(in crate::emulator) source: Source,
    /// Whether answers are to cite it.
    pub(in crate::emulator) citations: Option<Switch>,
}

/// On or off.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(in crate::emulator) struct Switch {
    /// Which.
    pub(in crate::emulator) enabled: bool,
}

/// A call that the model asked for in an earlier answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) struct ToolUse {
    /// What its result must name.
    pub(in crate::emulator) tool_use_id: String,
    /// The tool.
    pub(in crate::emulator) name: String,
    /// Its arguments.
    pub(in crate::emulator) input: Value,
}

/// What came of a call.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) struct ToolResult {
    /// The call.
    pub(in crate::emulator) tool_use_id: String,
    /// What came of it.
    pub(in crate::emulator) content: Vec<ResultBlock>,
    /// `success` or `error`
    pub(in crate::emulator) status: Option<String>,
}

/// A block of a result.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) enum ResultBlock {
    /// `json`
    Json(Value),
    /// `text`
    Text(String),
    /// `image`
    Image(Media),
    /// `document`
    Document(Document),
    /// `video`
    Video(Media),
    /// `searchResult`
    SearchResult(SearchResult),
}

/// What the model thought before an earlier answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) enum Reasoning {
    /// In words.
    ReasoningText(ReasoningText),
    /// Hidden, in base64.
    RedactedContent(String),
}

/// A thought in words.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::emulator) struct ReasoningText {
    /// The words.
    pub(in crate::emulator) text: String,
    /// The model's seal on them.
    pub(in crate::emulator) signature: Option<String>,
}

/// Text that a guardrail is to look at.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) enum GuardContent {
    /// `text`
    Text(GuardText),
    /// `image`
    Image(Media),
}

/// The text.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::emulator) struct GuardText {
    /// Itself.
    pub(in crate::emulator) text: String,
}

/// Where a prefix ends that is to be kept.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::emulator) struct CachePoint {
    /// `default`
    #[serde(rename = "type")]
    pub(in crate::emulator) kind: String,
    /// `5m` (the default) or `1h`
    pub(in crate::emulator) ttl: Option<String>,
}

/// Text of an earlier answer with what it rested on.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in crate::emulator) struct Cited {
    /// The text.
    pub(in crate::emulator) content: Vec<Chunk>,
}

/// Something that the caller found.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::emulator) struct SearchResult {
    /// Where.
    pub(in crate::emulator) source: String,
    /// Its title.
    pub(in crate::emulator) title: String,
    /// What it says.
    pub(in crate::emulator) content: Vec<FoundText>,
    /// Whether answers are to cite it.
    pub(in crate::emulator) citations: Option<Switch>,
}

/// A text of a search result.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::emulator) struct FoundText {
    /// Itself.
    pub(in crate::emulator) text: String,
}

impl Prompt {
    /// A prompt of these words alone.
    pub(in crate::emulator) fn saying(text: &str) -> Self {
        let content = vec![Block::Text(text.to_owned())];
        Self { messages: vec![Message { role: Role::User, content }], ..Self::default() }
    }

    /// The tools that the caller runs.
    pub(in crate::emulator) fn tools(&self) -> impl Iterator<Item = &ToolSpec> {
        let tools = self.tool_config.iter().flat_map(|config| &config.tools);
        tools.filter_map(|tool| match tool {
            Tool::Spec(spec) => Some(spec),
            Tool::System(_) | Tool::CachePoint(_) => None,
        })
    }

    /// Which tools may or must be called.
    pub(in crate::emulator) fn tool_choice(&self) -> Option<&ToolChoice> {
        self.tool_config.as_ref().and_then(|config| config.tool_choice.as_ref())
    }

    /// The system texts, in order.
    pub(in crate::emulator) fn system_texts(&self) -> impl Iterator<Item = &str> {
        self.system.iter().filter_map(|block| match block {
            SystemBlock::Text(text) => Some(text.as_str()),
            SystemBlock::GuardContent(GuardContent::Text(guarded)) => Some(guarded.text.as_str()),
            SystemBlock::GuardContent(GuardContent::Image(_)) | SystemBlock::CachePoint(_) => None,
        })
    }

    /// What the caller said in the last message that has words of theirs.
    pub(in crate::emulator) fn last_words(&self) -> String {
        let spoken = self.messages.iter().rev().filter(|message| message.role == Role::User);
        spoken.map(Message::text).find(|text| !text.is_empty()).unwrap_or_default()
    }
}

impl Message {
    /// Its texts, a line each.
    pub(in crate::emulator) fn text(&self) -> String {
        let texts: Vec<&str> = self.content.iter().filter_map(Block::text).collect();
        texts.join("\n")
    }

    /// The calls that it asks for.
    pub(in crate::emulator) fn calls(&self) -> impl Iterator<Item = &ToolUse> {
        self.content.iter().filter_map(|block| match block {
            Block::ToolUse(call) => Some(call),
            _ => None,
        })
    }

    /// The results that it brings.
    pub(in crate::emulator) fn results(&self) -> impl Iterator<Item = &ToolResult> {
        self.content.iter().filter_map(|block| match block {
            Block::ToolResult(result) => Some(result),
            _ => None,
        })
    }
}

impl Block {
    /// Words, where it holds some of its author's own.
    pub(in crate::emulator) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::GuardContent(GuardContent::Text(guarded)) => Some(&guarded.text),
            Self::CitationsContent(cited) => cited.content.first().map(|Chunk::Text(text)| &**text),
            _ => None,
        }
    }
}
