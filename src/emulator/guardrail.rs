//! A guardrail that steps in: the trace of it, and what is said instead.

use serde_json::{Value, json};

/// What is said instead of what is blocked.
const BLOCKED: &str = "Sorry, the model cannot answer this question.";
/// What is said with a part of it masked.
const MASKED: &str = "Your card is {CREDIT_DEBIT_CARD_NUMBER}.";

/// What a guardrail does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// Blocks the message, or the answer to it, by this policy.
    Block {
        /// Whether it is the answer that is blocked.
        answer: bool,
        /// The policy.
        policy: &'static str,
    },
    /// Masks a part of the answer.
    Mask,
    /// Finds nothing.
    Pass,
}

/// Policies by which it can block.
const POLICIES: &[&str] = &["topic", "content", "word", "profanity", "pii", "regex"];

impl Guard {
    /// Reads `block POLICY`, `block-answer POLICY`, `mask` or `pass`; the policy may be missing.
    ///
    /// # Errors
    /// What there is to choose from.
    pub(super) fn read(rest: &str) -> Result<Self, String> {
        let (action, policy) = rest.split_once(' ').unwrap_or((rest, "topic"));
        let policy = POLICIES.iter().find(|known| **known == policy.trim());
        match (action, policy) {
            ("mask", _) => Ok(Self::Mask),
            ("pass", _) => Ok(Self::Pass),
            ("block", Some(policy)) => Ok(Self::Block { answer: false, policy }),
            ("block-answer", Some(policy)) => Ok(Self::Block { answer: true, policy }),
            _ => Err(format!(
                "a guardrail does mask, pass, block or block-answer, by one of {}",
                POLICIES.join(", ")
            )),
        }
    }

    /// What is said; nothing where nothing is changed.
    pub(super) fn said(self) -> &'static str {
        match self {
            Self::Block { .. } => BLOCKED,
            Self::Mask => MASKED,
            Self::Pass => "",
        }
    }

    /// The `guardrailTrace`.
    pub(super) fn trace(self) -> Value {
        let mut trace = json!({"action": "INTERVENED", "traceId": "guard-1"});
        match self {
            Self::Block { answer: false, policy } => {
                trace["inputAssessments"] = json!([blocking(policy)]);
            }
            Self::Block { answer: true, policy } => {
                trace["outputAssessments"] = json!([blocking(policy)]);
            }
            Self::Mask => {
                let found = json!({
                    "type": "CREDIT_DEBIT_CARD_NUMBER",
                    "match": "4111 1111 1111 1111",
                    "action": "ANONYMIZED",
                });
                trace["outputAssessments"] =
                    json!([{"sensitiveInformationPolicy": {"piiEntities": [found]}}]);
            }
            Self::Pass => trace["action"] = "NONE".into(),
        }
        json!({"guardrailTrace": trace})
    }
}

/// An assessment of what is blocked by a policy.
fn blocking(policy: &str) -> Value {
    match policy {
        "content" => json!({"contentPolicy": {"filters": [
            {"type": "INSULTS", "confidence": "HIGH", "action": "BLOCKED"},
        ]}}),
        "word" => json!({"wordPolicy": {"customWords": [
            {"match": "rival bank", "action": "BLOCKED"},
        ]}}),
        "profanity" => json!({"wordPolicy": {"managedWordLists": [
            {"match": "darn", "type": "PROFANITY", "action": "BLOCKED"},
        ]}}),
        "pii" => json!({"sensitiveInformationPolicy": {"piiEntities": [
            {"type": "PIN", "match": "1234", "action": "BLOCKED"},
        ]}}),
        "regex" => json!({"sensitiveInformationPolicy": {"regexes": [
            {"name": "account", "regex": "AC[0-9]+", "match": "AC42", "action": "BLOCKED"},
        ]}}),
        _ => json!({"topicPolicy": {"topics": [
            {"name": "investment advice", "type": "DENY", "action": "BLOCKED"},
        ]}}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_can_block_and_a_mask_blocks_nothing() {
        for policy in POLICIES {
            let guard = Guard::read(&format!("block-answer {policy}")).unwrap();
            let trace = guard.trace().to_string();
            assert!(trace.contains("\"outputAssessments\"") && trace.contains("\"BLOCKED\""));
        }
        assert_eq!(Guard::read("block"), Ok(Guard::Block { answer: false, policy: "topic" }));
        assert!(!Guard::Mask.trace().to_string().contains("BLOCKED"));
        assert!(Guard::read("block by mistake").is_err() && Guard::read("").is_err());
    }
}
