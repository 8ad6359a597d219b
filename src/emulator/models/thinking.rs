//! What the model thinks before it answers, and the seal on it.
//!
//! Claude signs its thoughts: a thought that comes back in a transcript must carry the signature
//! it was given with, and an answer that called tools after thinking must come back with its
//! thought in front. The id of such a call tells that there was one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::emulator::refusal::Refusal;

use super::cards::{Can, Card};
use super::prompt::{Block, Message, Prompt, Reasoning, Role};
use super::rules::told;
use super::terms::ToolChoice;

/// What is signed along with a thought, so that a signature cannot be guessed from the text.
const SEAL: &str = "outcrop-emulator thought";
/// What a hidden thought begins with, in clear.
const HIDDEN: &[u8] = b"outcrop-emulator hidden ";
/// What the ids of calls begin with, in Converse and in Claude's own format.
pub(in crate::emulator) const CALLS: [&str; 2] = ["tooluse_", "toolu_bdrk_"];
/// The letter after that when a thought came before the call.
pub(in crate::emulator) const THOUGHT_OF: char = 'R';
/// The least budget.
const LEAST_BUDGET: i64 = 1_024;

/// How a request asks the model to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum Thinking {
    /// Not at all.
    Off,
    /// Within a budget of tokens.
    Budget,
    /// As much as it likes, or as it is told by an effort.
    Free,
}

/// The signature of a thought.
pub(in crate::emulator) fn signature(thought: &str) -> String {
    let digest = Sha256::new().chain_update(SEAL).chain_update(thought).finalize();
    STANDARD.encode(digest)
}

/// A thought that nobody but the model can read, in base64.
pub(in crate::emulator) fn hidden(thought: &str) -> String {
    STANDARD.encode([HIDDEN, &Sha256::digest(thought)].concat())
}

/// Reads how the request asks the model to think.
///
/// # Errors
/// `ValidationException` when it asks in a way that this model does not know, or that does not
/// go with the rest of the request.
pub(in crate::emulator) fn asked_for(card: &Card, prompt: &Prompt) -> Result<Thinking, Refusal> {
    let fields = &prompt.additional_model_request_fields;
    let effort = prompt.output_config.effort.as_deref();
    if card.can(Can::ThinkAlways) {
        return Ok(Thinking::Free);
    }
    if card.can(Can::ThinkByEffort) {
        let nova = fields.get("reasoningConfig").and_then(|config| config["type"].as_str());
        let told = fields.get("reasoning_effort").and_then(|effort| effort.as_str()).or(effort);
        let is_on = if card.is_nova() { nova == Some("enabled") } else { told.is_some() };
        return Ok(if is_on { Thinking::Free } else { Thinking::Off });
    }
    let thinking = fields.get("thinking").or_else(|| fields.get("reasoning_config"));
    let kind = thinking.and_then(|thinking| thinking["type"].as_str());
    let asked = match (thinking, kind) {
        (None, _) | (_, Some("disabled")) => return Ok(Thinking::Off),
        (_, Some("enabled")) if card.can(Can::ThinkByBudget) => Thinking::Budget,
        (_, Some("adaptive")) if card.can(Can::ThinkAdaptively) => Thinking::Free,
        (_, Some(other)) if card.can_think() => {
            return Err(told(&format!(
                "\"thinking.type.{other}\" is not supported for this model."
            )));
        }
        (_, Some(_)) => return Err(told("thinking: this model does not support thinking.")),
        (_, None) => return Err(told("thinking.type: Field required")),
    };
    if asked == Thinking::Budget {
        check_budget(
            card,
            prompt,
            thinking.and_then(|thinking| thinking["budget_tokens"].as_i64()),
        )?;
    }
    check_company(prompt)?;
    Ok(asked)
}

fn check_budget(card: &Card, prompt: &Prompt, budget: Option<i64>) -> Result<(), Refusal> {
    let Some(budget) = budget else {
        return Err(told("thinking.enabled.budget_tokens: Field required"));
    };
    if budget < LEAST_BUDGET {
        return Err(told(
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ));
    }
    let limit = i64::try_from(card.max_output).unwrap_or(i64::MAX);
    if budget >= prompt.inference_config.max_tokens.unwrap_or(limit) {
        return Err(told("`max_tokens` must be greater than `thinking.budget_tokens`."));
    }
    Ok(())
}

/// Thinking does not go with sampling, nor with a call that must be made.
fn check_company(prompt: &Prompt) -> Result<(), Refusal> {
    let inference = &prompt.inference_config;
    if inference.temperature.is_some_and(|temperature| temperature < 1.0) {
        return Err(told("`temperature` may only be set to 1 when thinking is enabled."));
    }
    if inference.top_p.is_some_and(|top_p| top_p < 0.95) {
        return Err(told(
            "`top_p` must be greater than or equal to 0.95 or unset when thinking is \
                         enabled.",
        ));
    }
    if prompt.additional_model_request_fields.contains_key("top_k") {
        return Err(told("`top_k` must be unset when thinking is enabled."));
    }
    match prompt.tool_choice() {
        Some(ToolChoice::Any(_) | ToolChoice::Tool(_)) => {
            Err(told("Thinking may not be enabled when tool_choice forces tool use."))
        }
        _ => Ok(()),
    }
}

/// Checks the thoughts that come back.
///
/// # Errors
/// `ValidationException` when one is changed, in the wrong place, or missing.
pub(in crate::emulator) fn check_returned(
    card: &Card,
    prompt: &Prompt,
    thinking: Thinking,
) -> Result<(), Refusal> {
    for (place, message) in prompt.messages.iter().enumerate() {
        let thoughts = message.content.iter().enumerate().filter_map(|(at, block)| match block {
            Block::ReasoningContent(thought) => Some((at, thought)),
            _ => None,
        });
        for (at, thought) in thoughts {
            if !card.can_think() {
                return Err(Refusal::validation(
                    "This model doesn't support the reasoningContent field. Remove \
                     reasoningContent and try again.",
                ));
            }
            if message.role != Role::Assistant {
                return Err(Refusal::validation(format!(
                    "User messages cannot contain reasoning content: messages.{place}.content.{at}."
                )));
            }
            check_seal(card, thought, place, at)?;
        }
    }
    if card.is_of("anthropic") { check_presence(&prompt.messages, thinking) } else { Ok(()) }
}

fn check_seal(card: &Card, thought: &Reasoning, place: usize, at: usize) -> Result<(), Refusal> {
    if !card.is_of("anthropic") {
        return Ok(());
    }
    let (kind, is_genuine) = match thought {
        Reasoning::ReasoningText(thought) => {
            ("thinking", thought.signature.as_ref() == Some(&signature(&thought.text)))
        }
        Reasoning::RedactedContent(base64) => {
            let decoded = STANDARD.decode(base64).unwrap_or_default();
            ("redacted_thinking", decoded.starts_with(HIDDEN))
        }
    };
    if is_genuine {
        return Ok(());
    }
    Err(told(&format!("messages.{place}.content.{at}: Invalid `signature` in `{kind}` block")))
}

/// An assistant message that is being continued with results must begin with its thought.
fn check_presence(messages: &[Message], thinking: Thinking) -> Result<(), Refusal> {
    let [.., asked, answered] = messages else { return Ok(()) };
    let mut calls = asked.calls().peekable();
    if thinking == Thinking::Off || calls.peek().is_none() || answered.results().next().is_none() {
        return Ok(());
    }
    let was_thought_of = calls.any(|call| is_thought_of(&call.tool_use_id));
    let begins_with_thought = matches!(asked.content.first(), Some(Block::ReasoningContent(_)));
    if begins_with_thought || (thinking == Thinking::Free && !was_thought_of) {
        return Ok(());
    }
    let place = messages.len() - 2;
    Err(told(&format!(
        "messages.{place}.content.0.type: Expected `thinking` or `redacted_thinking`, but found \
         `{}`. When `thinking` is enabled, a final `assistant` message must start with a thinking \
         block (before the last set of `tool_use` and `tool_result` blocks).",
        if matches!(asked.content.first(), Some(Block::ToolUse(_))) { "tool_use" } else { "text" },
    )))
}

fn is_thought_of(id: &str) -> bool {
    CALLS.iter().filter_map(|prefix| id.strip_prefix(prefix)).any(|id| id.starts_with(THOUGHT_OF))
}
