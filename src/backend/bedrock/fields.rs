//! What becomes of each member of a chat request, as one table.
//!
//! Documentation is checked against it, and the members that no field of ours holds are refused
//! by it.

use serde_json::{Map, Value};

use crate::turn::{Failure, FailureKind};

/// What becomes of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Converse has it, or the like.
    Mapped,
    /// Left out, whatever it says: the answer's meaning does not hang on it.
    Ignored,
    /// Refused where it asks for something.
    Refused,
}

/// Every member of an OpenAI chat request that says how an answer is made.
pub const FIELDS: &[(&str, Treatment)] = &[
    ("messages", Treatment::Mapped),
    ("max_tokens", Treatment::Mapped),
    ("max_completion_tokens", Treatment::Mapped),
    ("temperature", Treatment::Mapped),
    ("top_p", Treatment::Mapped),
    ("top_k", Treatment::Mapped),
    ("stop", Treatment::Mapped),
    ("tools", Treatment::Mapped),
    ("tool_choice", Treatment::Mapped),
    ("parallel_tool_calls", Treatment::Mapped),
    ("response_format", Treatment::Mapped),
    ("reasoning_effort", Treatment::Mapped),
    ("thinking", Treatment::Mapped),
    ("service_tier", Treatment::Mapped),
    ("metadata", Treatment::Mapped),
    ("seed", Treatment::Ignored),
    ("frequency_penalty", Treatment::Ignored),
    ("presence_penalty", Treatment::Ignored),
    ("prediction", Treatment::Ignored),
    ("prompt_cache_key", Treatment::Ignored),
    ("prompt_cache_retention", Treatment::Ignored),
    ("safety_identifier", Treatment::Ignored),
    ("store", Treatment::Ignored),
    ("user", Treatment::Ignored),
    ("verbosity", Treatment::Ignored),
    ("audio", Treatment::Refused),
    ("logit_bias", Treatment::Refused),
    ("logprobs", Treatment::Refused),
    ("modalities", Treatment::Refused),
    ("n", Treatment::Refused),
    ("top_logprobs", Treatment::Refused),
    ("web_search_options", Treatment::Refused),
];

/// Looks for what cannot be honoured among the members that no field of ours holds.
///
/// # Errors
/// `UnsupportedParameter` at the member.
pub(super) fn check(extra: &Map<String, Value>) -> Result<(), Failure> {
    for (name, treatment) in FIELDS {
        let Some(value) = extra.get(*name) else { continue };
        if *treatment == Treatment::Refused && asks_for_something(name, value) {
            let message = format!("models on Bedrock have no {name}; leave it out");
            return Err(Failure::new(FailureKind::UnsupportedParameter, message).at(*name));
        }
    }
    Ok(())
}

/// Whether a member's value is more than the way things are anyhow.
fn asks_for_something(name: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) if name == "n" => number.as_u64() != Some(1),
        Value::Number(number) => number.as_u64() != Some(0),
        Value::Array(entries) if name == "modalities" => {
            entries.iter().any(|entry| entry != "text")
        }
        Value::Array(entries) => !entries.is_empty(),
        Value::Object(members) => !members.is_empty() || name == "web_search_options",
        Value::Bool(true) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;

    fn refused_at(extra: Value) -> Option<String> {
        let failure = check(extra.as_object().unwrap()).err()?;
        assert_eq!(failure.kind, FailureKind::UnsupportedParameter);
        failure.param.map(|param| param.into_owned())
    }

    #[test]
    fn what_changes_the_answer_and_cannot_be_had_is_refused_by_name() {
        assert_eq!(refused_at(json!({"n": 2})).as_deref(), Some("n"));
        assert_eq!(refused_at(json!({"logprobs": true})).as_deref(), Some("logprobs"));
        assert_eq!(
            refused_at(json!({"logit_bias": {"50256": -100}})).as_deref(),
            Some("logit_bias")
        );
        let audio = json!({"modalities": ["text", "audio"]});
        assert_eq!(refused_at(audio).as_deref(), Some("modalities"));
        let search = json!({"web_search_options": {}});
        assert_eq!(refused_at(search).as_deref(), Some("web_search_options"));
    }

    #[test]
    fn what_asks_for_nothing_or_is_not_known_passes() {
        let idle = json!({
            "n": 1, "logprobs": false, "top_logprobs": 0, "logit_bias": {}, "audio": null,
            "modalities": ["text"], "store": true, "colour": "blue"
        });
        assert_eq!(refused_at(idle), None);
    }

    #[test]
    fn no_member_is_named_twice() {
        let names: HashSet<_> = FIELDS.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), FIELDS.len());
    }
}
