//! The demo guardrail: it blocks the word "forbidden", in what is asked and in what is answered.
//!
//! It looks only where a request configures one. Of the prompt it sees the last message, or, where
//! there are `guardContent` blocks, these alone.

use serde_json::{Value, json};

use super::answer::Said;
use super::prompt::{Block, GuardContent, Prompt};
use super::terms::Guardrail;

/// The word that it blocks.
const WORD: &str = "forbidden";
/// What is said instead.
const BLOCKED: &str = "Sorry, the guardrail does not let me talk about this.";

/// What is said instead of an answer, and the trace where one is wanted.
type Judgement = (Vec<Said>, Option<Value>);

/// Judges a prompt; `None` when it may be answered.
pub(in crate::emulator) fn judge_input(prompt: &Prompt) -> Option<Judgement> {
    let guardrail = prompt.guardrail_config.as_ref()?;
    let blocks = prompt.messages.iter().flat_map(|message| &message.content);
    let mut guarded = blocks
        .filter_map(|block| match block {
            Block::GuardContent(GuardContent::Text(guarded)) => Some(guarded.text.as_str()),
            _ => None,
        })
        .peekable();
    let is_blocked = match guarded.peek() {
        Some(_) => guarded.any(is_forbidden),
        None => prompt.messages.last().is_some_and(|last| is_forbidden(&last.text())),
    };
    let trace = |id: &str| json!({"inputAssessment": {id: assessment()}});
    is_blocked.then(|| judgement(guardrail, trace))
}

/// Judges an answer; `None` when it may be given.
pub(in crate::emulator) fn judge_output(prompt: &Prompt, blocks: &[Said]) -> Option<Judgement> {
    let guardrail = prompt.guardrail_config.as_ref()?;
    let text = |block: &Said| match block {
        Said::Text(text) | Said::Cited { text, .. } => Some(text.clone()),
        _ => None,
    };
    let texts: Vec<String> = blocks.iter().filter_map(text).collect();
    let trace = |id: &str| json!({"modelOutput": texts, "outputAssessments": {id: [assessment()]}});
    texts.iter().any(|text| is_forbidden(text)).then(|| judgement(guardrail, trace))
}

fn is_forbidden(text: &str) -> bool {
    text.to_lowercase().contains(WORD)
}

fn judgement(guardrail: &Guardrail, trace: impl Fn(&str) -> Value) -> Judgement {
    let is_traced = matches!(guardrail.trace.as_deref(), Some("enabled" | "enabled_full"));
    let trace = is_traced.then(|| {
        let mut trace = trace(&guardrail.guardrail_identifier);
        trace["actionReason"] = json!("Guardrail blocked.");
        trace
    });
    (vec![Said::Text(BLOCKED.to_owned())], trace)
}

fn assessment() -> Value {
    json!({
        "wordPolicy": {
            "customWords": [{"match": WORD, "action": "BLOCKED", "detected": true}],
            "managedWordLists": [],
        },
        "invocationMetrics": {
            "guardrailProcessingLatency": 1,
            "usage": {
                "topicPolicyUnits": 0,
                "contentPolicyUnits": 0,
                "wordPolicyUnits": 1,
                "sensitiveInformationPolicyUnits": 0,
                "sensitiveInformationPolicyFreeUnits": 0,
                "contextualGroundingPolicyUnits": 0,
            },
        },
    })
}
