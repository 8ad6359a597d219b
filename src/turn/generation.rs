//! How an answer is to be made: sampling, limits, tools, shape and effort.
//!
//! Models take these; agents have settings of their own and take few. What a backend cannot
//! honour it refuses or ignores by its own documented table.

use serde_json::{Map, Value};

/// What a request says of the answer's making; what is not said is the model's own choice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Generation {
    /// Tokens that the answer may have, at least 1.
    pub max_tokens: Option<u32>,
    /// Sampling temperature, 0 to 2.
    pub temperature: Option<f64>,
    /// Nucleus sampling, 0 to 1.
    pub top_p: Option<f64>,
    /// Candidates to sample from, where the model has that.
    pub top_k: Option<u32>,
    /// Texts that end the answer, none of them empty.
    pub stop: Vec<String>,
    /// For answers that repeat, where the model has that.
    pub seed: Option<i64>,
    /// −2 to 2.
    pub frequency_penalty: Option<f64>,
    /// −2 to 2.
    pub presence_penalty: Option<f64>,
    /// Which of the request's tools may or must be called.
    pub tool_choice: ToolChoice,
    /// Whether several calls may come in one answer.
    pub parallel_tool_calls: Option<bool>,
    /// What shape the answer's text has.
    pub format: AnswerFormat,
    /// How much the model thinks before it answers.
    pub effort: Option<Effort>,
    /// The same in tokens, where the client's dialect counts them; `effort` says it in a word.
    pub thinking_budget: Option<u32>,
    /// The service tier, as the client calls it (`auto`, `default`, `flex`, `priority`).
    pub service_tier: Option<String>,
    /// Members of the request that no other field holds, in OpenAI's spelling: upstreams that
    /// speak it may take them.
    pub extra: Map<String, Value>,
}

/// Which tools may or must be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// None may be called, though the transcript may hold calls.
    None,
    /// At least one must be.
    Required,
    /// This one must be.
    Named(String),
}

/// What shape the answer's text has.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum AnswerFormat {
    /// Any text.
    #[default]
    Text,
    /// One JSON object.
    JsonObject,
    /// JSON that fits a schema.
    JsonSchema(JsonSchema),
}

/// A schema that an answer has to fit.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonSchema {
    /// Its name: 1 to 64 of `[a-zA-Z0-9_-]`.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The schema, an object.
    pub schema: Value,
    /// Whether the answer must fit it to the letter.
    pub strict: bool,
}

/// How much a model thinks (`reasoning_effort` of OpenAI's APIs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as it can.
    Minimal,
    /// Little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// More.
    XHigh,
    /// As much as it can.
    Max,
}

impl Effort {
    /// Every effort with its name in requests.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("minimal", Self::Minimal),
        ("low", Self::Low),
        ("medium", Self::Medium),
        ("high", Self::High),
        ("xhigh", Self::XHigh),
        ("max", Self::Max),
    ];
}
