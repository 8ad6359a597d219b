//! What a model answers, before any dialect writes it down.

use serde_json::{Value, json};

use super::tokens::{self, Charged};

/// One answer.
#[derive(Debug, Clone)]
pub(in crate::emulator) struct Answer {
    /// Names it: a function of the prompt.
    pub(in crate::emulator) id: String,
    /// Its blocks, in order.
    pub(in crate::emulator) blocks: Vec<Said>,
    /// Why it ends.
    pub(in crate::emulator) stop: Stop,
    /// The text that ended it.
    pub(in crate::emulator) stop_sequence: Option<String>,
    /// What it cost.
    pub(in crate::emulator) usage: Usage,
    /// What the guardrail says of it, in Converse's shape, where that is to be told.
    pub(in crate::emulator) guardrail: Option<Value>,
}

/// A block of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::emulator) enum Said {
    /// A thought, with the seal of models that have one.
    Thought {
        /// In words.
        text: String,
        /// The seal.
        signature: Option<String>,
    },
    /// A thought that stays hidden, in base64.
    Hidden(String),
    /// Text.
    Text(String),
    /// Text that rests on something.
    Cited {
        /// The text.
        text: String,
        /// On what, in Converse's shape.
        citation: Value,
    },
    /// A call of a tool.
    Call {
        /// What its result must name.
        id: String,
        /// The tool.
        name: String,
        /// Its arguments: JSON, or the beginning of it where the answer was cut off.
        input: String,
    },
}

impl Said {
    /// What counts as output.
    pub(in crate::emulator) fn words(&self) -> &str {
        match self {
            Self::Thought { text, .. } | Self::Text(text) | Self::Cited { text, .. } => text,
            Self::Hidden(base64) => base64,
            Self::Call { input, .. } => input,
        }
    }

    /// Visible text, where it is that.
    pub(in crate::emulator) fn visible(&mut self) -> Option<&mut String> {
        match self {
            Self::Text(text) | Self::Cited { text, .. } => Some(text),
            Self::Thought { .. } | Self::Hidden(_) | Self::Call { .. } => None,
        }
    }

    /// Cuts it down to so many tokens.
    pub(in crate::emulator) fn shorten(&mut self, most: usize) {
        let length = tokens::tokens(self.words()).take(most).map(str::len).sum();
        match self {
            Self::Thought { text, .. } | Self::Text(text) | Self::Cited { text, .. } => {
                text.truncate(length);
            }
            Self::Call { input, .. } => input.truncate(length),
            Self::Hidden(_) => {}
        }
    }

    /// The arguments of a call as a value; none at all when they were cut off.
    pub(in crate::emulator) fn arguments(input: &str) -> Value {
        serde_json::from_str(input).unwrap_or_else(|_| json!({}))
    }
}

/// What an answer cost, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::emulator) struct Usage {
    /// The prompt's.
    pub(in crate::emulator) prompt: Charged,
    /// The answer's, thoughts counted in.
    pub(in crate::emulator) output: u64,
    /// Those of the thoughts.
    pub(in crate::emulator) thoughts: u64,
}

impl Usage {
    /// The whole prompt, cached or not.
    pub(in crate::emulator) fn prompt_total(self) -> u64 {
        self.prompt.input + self.prompt.cache_read + self.prompt.cache_write()
    }
}

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum Stop {
    /// All is said.
    EndTurn,
    /// Tools are to be run.
    ToolUse,
    /// It is as long as it may be.
    MaxTokens,
    /// A stop sequence came up.
    Sequence,
    /// The guardrail stepped in.
    Guardrail,
    /// The model's own filter stepped in.
    Filtered,
    /// The model made no sense.
    MalformedOutput,
    /// The model made a call that makes no sense.
    MalformedCall,
    /// Prompt and answer fill the model's window.
    Window,
}

/// The names of a stop reason in each dialect.
struct Names {
    stop: Stop,
    converse: &'static str,
    claude: &'static str,
    titan: &'static str,
    openai: &'static str,
}

const fn names(
    stop: Stop,
    converse: &'static str,
    [claude, titan, openai]: [&'static str; 3],
) -> Names {
    Names { stop, converse, claude, titan, openai }
}

const STOPS: &[Names] = &[
    names(Stop::EndTurn, "end_turn", ["end_turn", "FINISH", "stop"]),
    names(Stop::ToolUse, "tool_use", ["tool_use", "FINISH", "tool_calls"]),
    names(Stop::MaxTokens, "max_tokens", ["max_tokens", "LENGTH", "length"]),
    names(Stop::Sequence, "stop_sequence", ["stop_sequence", "STOP_CRITERIA_MET", "stop"]),
    names(
        Stop::Guardrail,
        "guardrail_intervened",
        ["refusal", "CONTENT_FILTERED", "content_filter"],
    ),
    names(Stop::Filtered, "content_filtered", ["refusal", "CONTENT_FILTERED", "content_filter"]),
    names(Stop::MalformedOutput, "malformed_model_output", ["end_turn", "FINISH", "stop"]),
    names(Stop::MalformedCall, "malformed_tool_use", ["end_turn", "FINISH", "stop"]),
    names(
        Stop::Window,
        "model_context_window_exceeded",
        ["model_context_window_exceeded", "LENGTH", "length"],
    ),
];

impl Stop {
    /// The reason of this name in Converse.
    pub(in crate::emulator) fn named(name: &str) -> Option<Self> {
        STOPS.iter().find(|names| names.converse == name).map(|names| names.stop)
    }

    fn names(self) -> &'static Names {
        STOPS.iter().find(|names| names.stop == self).expect("every reason has its names")
    }

    /// Its name in Converse.
    pub(in crate::emulator) fn converse(self) -> &'static str {
        self.names().converse
    }

    /// Its name in Claude's own format.
    pub(in crate::emulator) fn claude(self) -> &'static str {
        self.names().claude
    }

    /// Its name in Titan's own format.
    pub(in crate::emulator) fn titan(self) -> &'static str {
        self.names().titan
    }

    /// Its name in OpenAI's format.
    pub(in crate::emulator) fn openai(self) -> &'static str {
        self.names().openai
    }
}
