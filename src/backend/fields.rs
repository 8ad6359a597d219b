//! What becomes of the members of a request, kind of backend by kind.
//!
//! Each [`Kind`](super::Kind) brings a table over [`MEMBERS`], by OpenAI's names of them. What it
//! says is refused is refused here, before the backend is asked; `docs/formats.md` is tested
//! against it.

use serde_json::Value;

use crate::turn::{AnswerFormat, Failure, FailureKind, ToolChoice, TurnRequest};

/// What becomes of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// The upstream has it, or the like.
    Mapped,
    /// It goes along as it is; what the upstream makes of it is its own affair.
    Passed,
    /// Left out, whatever it says: the answer's meaning does not hang on it.
    Ignored,
    /// Refused where it asks for something, with this message.
    Refused(&'static str),
}

impl Treatment {
    /// Its name in documentation.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Passed => "passed",
            Self::Ignored => "ignored",
            Self::Refused(_) => "refused",
        }
    }
}

/// A kind's table: every one of [`MEMBERS`], in that order.
pub type Fields = &'static [(&'static str, Treatment)];

/// Stands for members that are none of OpenAI's.
pub const ANY_OTHER: &str = "any other";

/// Whether a tool's arguments must fit its schema to the letter.
pub const STRICT: &str = "tools[].function.strict";
/// Up to where a prompt is to be kept: on parts, messages and tools, as gateways take it.
pub const CACHE_CONTROL: &str = "cache_control";

/// The members that say what an answer is made of and how.
pub const MEMBERS: &[&str] = &[
    "messages",
    "tools",
    STRICT,
    CACHE_CONTROL,
    "tool_choice",
    "parallel_tool_calls",
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "response_format",
    "reasoning_effort",
    "thinking",
    "verbosity",
    "service_tier",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "prediction",
    "web_search_options",
    "moderation",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "store",
    "metadata",
    "user",
    "safety_identifier",
    ANY_OTHER,
];

/// Looks for what a kind of backend cannot honour.
///
/// # Errors
/// `UnsupportedParameter` at the first such member.
pub fn check(fields: Fields, request: &TurnRequest) -> Result<(), Failure> {
    for (member, treatment) in fields {
        if let Treatment::Refused(message) = treatment
            && asks(member, request)
        {
            return Err(Failure::new(FailureKind::UnsupportedParameter, *message).at(*member));
        }
    }
    Ok(())
}

/// Whether a request asks for something by this member.
fn asks(member: &str, request: &TurnRequest) -> bool {
    let generation = &request.generation;
    match member {
        "messages" => !request.messages.is_empty(),
        "tools" => !request.tools.is_empty(),
        STRICT => request.tools.iter().any(|tool| tool.strict == Some(true)),
        CACHE_CONTROL => keeps_prompt(request),
        "tool_choice" => generation.tool_choice != ToolChoice::Auto,
        "parallel_tool_calls" => generation.parallel_tool_calls.is_some(),
        "max_completion_tokens" | "max_tokens" => generation.max_tokens.is_some(),
        "temperature" => generation.temperature.is_some(),
        "top_p" => generation.top_p.is_some(),
        "top_k" => generation.top_k.is_some(),
        "stop" => !generation.stop.is_empty(),
        "seed" => generation.seed.is_some(),
        "frequency_penalty" => generation.frequency_penalty.is_some(),
        "presence_penalty" => generation.presence_penalty.is_some(),
        "response_format" => generation.format != AnswerFormat::Text,
        "reasoning_effort" => generation.effort.is_some(),
        "service_tier" => generation.service_tier.is_some(),
        "metadata" => !request.metadata.is_empty(),
        _ => generation.extra.get(member).is_some_and(|value| is_a_wish(member, value)),
    }
}

/// Whether a request says up to where its prompt is to be kept.
fn keeps_prompt(request: &TurnRequest) -> bool {
    request.tools.iter().any(|tool| tool.cache.is_some())
        || request.messages.iter().any(|message| !message.cache_points.is_empty())
}

/// Whether a member's value is more than the way things are anyhow.
fn is_a_wish(member: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Array(entries) => !entries.is_empty(),
        // To be there is all that this one needs.
        Value::Object(members) => !members.is_empty() || member == "web_search_options",
        Value::Bool(true) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::backend::KINDS;

    use super::*;

    #[test]
    fn every_kind_says_what_becomes_of_every_member() {
        for kind in KINDS.iter().filter(|kind| !kind.fields.is_empty()) {
            let named: Vec<_> = kind.fields.iter().map(|(member, _)| *member).collect();
            assert_eq!(named, MEMBERS, "{}", kind.name);
        }
    }

    #[test]
    fn what_is_refused_is_refused_by_name_and_only_where_it_asks_for_something() {
        const FIELDS: Fields = &[
            ("response_format", Treatment::Refused("no shapes here")),
            ("logprobs", Treatment::Refused("no logprobs here")),
            ("seed", Treatment::Ignored),
        ];
        let mut request = TurnRequest::default();
        request.generation.seed = Some(1);
        request.generation.extra.insert("logprobs".to_owned(), json!(false));
        assert_eq!(check(FIELDS, &request), Ok(()));
        request.generation.extra.insert("logprobs".to_owned(), json!(true));
        assert_eq!(check(FIELDS, &request).unwrap_err().param.as_deref(), Some("logprobs"));
        request.generation.format = AnswerFormat::JsonObject;
        let failure = check(FIELDS, &request).unwrap_err();
        assert_eq!(failure.kind, FailureKind::UnsupportedParameter);
        assert_eq!(failure.message, "no shapes here");
    }
}
