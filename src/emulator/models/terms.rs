//! The terms on which a model answers: limits, tools, guardrail, and the shape of the answer.

use serde::Deserialize;
use serde_json::Value;

use super::prompt::CachePoint;

/// Limits and sampling.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::emulator) struct Inference {
    /// Tokens that the answer may have.
    pub(in crate::emulator) max_tokens: Option<i64>,
    /// 0 to 1.
    pub(in crate::emulator) temperature: Option<f64>,
    /// 0 to 1.
    pub(in crate::emulator) top_p: Option<f64>,
    /// Texts that end the answer.
    pub(in crate::emulator) stop_sequences: Vec<String>,
}

/// The tools on offer.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) struct ToolConfig {
    /// Which.
    pub(in crate::emulator) tools: Vec<Tool>,
    /// Which may or must be called.
    pub(in crate::emulator) tool_choice: Option<ToolChoice>,
}

/// A tool, or where a prefix ends.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) enum Tool {
    /// One that the caller runs.
    #[serde(rename = "toolSpec")]
    Spec(ToolSpec),
    /// One that runs in the service.
    #[serde(rename = "systemTool")]
    System(Named),
    /// `cachePoint`
    CachePoint(CachePoint),
}

/// A tool that the caller runs.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) struct ToolSpec {
    /// Its name.
    pub(in crate::emulator) name: String,
    /// What it does.
    pub(in crate::emulator) description: Option<String>,
    /// What it takes.
    pub(in crate::emulator) input_schema: InputSchema,
    /// Whether calls must fit that to the letter.
    pub(in crate::emulator) strict: Option<bool>,
}

/// What a tool takes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) enum InputSchema {
    /// A JSON schema.
    Json(Value),
}

/// Which tools may or must be called.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) enum ToolChoice {
    /// As the model likes.
    Auto(Empty),
    /// At least one.
    Any(Empty),
    /// This one.
    Tool(Named),
    /// None; Claude's own format alone has this.
    #[serde(skip)]
    None,
}

/// `{}`
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(in crate::emulator) struct Empty {}

/// Something with a name.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::emulator) struct Named {
    /// The name.
    pub(in crate::emulator) name: String,
}

/// Who watches over both sides.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::emulator) struct Guardrail {
    /// Its id or ARN.
    pub(in crate::emulator) guardrail_identifier: String,
    /// `DRAFT` or a number.
    pub(in crate::emulator) guardrail_version: String,
    /// `enabled`, `disabled` or `enabled_full`
    pub(in crate::emulator) trace: Option<String>,
}

/// `performanceConfig`
#[derive(Debug, Clone, Deserialize)]
pub(in crate::emulator) struct Performance {
    /// `standard` or `optimized`
    pub(in crate::emulator) latency: String,
}

/// `serviceTier`
#[derive(Debug, Clone, Deserialize)]
pub(in crate::emulator) struct Tier {
    /// `priority`, `default`, `flex` or `reserved`
    #[serde(rename = "type")]
    pub(in crate::emulator) kind: String,
}

/// What the answer has to look like.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::emulator) struct OutputConfig {
    /// A schema for its text.
    pub(in crate::emulator) text_format: Option<TextFormat>,
    /// How much the model is to think.
    pub(in crate::emulator) effort: Option<String>,
}

/// A schema for the answer's text.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::emulator) struct TextFormat {
    /// `json_schema`
    #[serde(rename = "type")]
    pub(in crate::emulator) kind: String,
    /// It.
    pub(in crate::emulator) structure: Structure,
}

/// The schema, wrapped as the service wraps it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) enum Structure {
    /// `jsonSchema`
    JsonSchema(SchemaText),
}

/// The schema as a string.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::emulator) struct SchemaText {
    /// JSON.
    pub(in crate::emulator) schema: String,
}
