//! What makes a request valid: the service's rules for every model, and the model's own.
//!
//! They are as strict as the service is known to be, so that a client that is sloppy with
//! transcripts is found out here. The wording follows the service's where it is known.

use std::collections::HashSet;

use crate::emulator::refusal::Refusal;

use super::cards::{Can, Card};
use super::media;
use super::prompt::GuardContent;
use super::prompt::{Block, CachePoint, Message, Prompt, ResultBlock, Role, SystemBlock};
use super::terms::Guardrail;
use super::terms::Tool;
use super::thinking::{self, Thinking};
use super::tool_rules;

/// Texts that may end an answer, at most.
const MAX_STOPS: usize = 2_500;
/// Cache points, at most.
const MAX_CACHE_POINTS: usize = 4;
/// Members of `requestMetadata`, at most, and characters of each.
const MAX_METADATA: (usize, usize) = (16, 256);
/// Pointers to further response fields, at most, and characters of each.
const MAX_PATHS: (usize, usize) = (10, 256);
/// What Claude knows besides Converse's own members.
const CLAUDE_FIELDS: &[&str] = &[
    "anthropic_beta",
    "context_management",
    "metadata",
    "output_config",
    "reasoning_config",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
];

/// Checks a whole request and says how the model is asked to think.
///
/// # Errors
/// `ValidationException` for the first rule that is broken.
pub(in crate::emulator) fn check(card: &Card, prompt: &Prompt) -> Result<Thinking, Refusal> {
    check_limits(prompt)?;
    check_model(card, prompt)?;
    if prompt.messages.is_empty() || prompt.messages[0].role == Role::Assistant {
        return Err(Refusal::validation(
            "A conversation must start with a user message. Try again with a conversation that \
             starts with a user message.",
        ));
    }
    for (place, message) in prompt.messages.iter().enumerate() {
        check_message(card, message, place)?;
    }
    check_system(card, prompt)?;
    check_turns(&prompt.messages)?;
    check_last(card, &prompt.messages)?;
    check_cache_points(card, prompt)?;
    tool_rules::check(card, prompt)?;
    let thinking = thinking::asked_for(card, prompt)?;
    thinking::check_returned(card, prompt, thinking)?;
    Ok(thinking)
}

/// A value that the service's own model does not allow.
pub(in crate::emulator) fn out_of_bounds(member: &str, rule: &str) -> Refusal {
    Refusal::validation(format!(
        "1 validation error detected: Value at '{member}' failed to satisfy constraint: {rule}"
    ))
}

/// A member that this model does not take.
fn not_taken(member: &str) -> Refusal {
    Refusal::validation(format!(
        "This model doesn't support the {member} field. Remove {member} and try again."
    ))
}

fn check_limits(prompt: &Prompt) -> Result<(), Refusal> {
    let inference = &prompt.inference_config;
    let in_range = |value: Option<f64>| value.is_none_or(|value| (0.0..=1.0).contains(&value));
    let metadata_fits = prompt.request_metadata.iter().all(|(key, value)| {
        (1..=MAX_METADATA.1).contains(&key.chars().count())
            && value.chars().count() <= MAX_METADATA.1
            && key.chars().chain(value.chars()).all(is_metadata_letter)
    });
    let paths = &prompt.additional_model_response_field_paths;
    let path_fits = |path: &String| path.starts_with('/') && path.len() <= MAX_PATHS.1;
    for (holds, member, rule) in [
        (
            inference.max_tokens.is_none_or(|most| most >= 1),
            "inferenceConfig.maxTokens",
            "Member must have value greater than or equal to 1",
        ),
        (
            in_range(inference.temperature),
            "inferenceConfig.temperature",
            "Member must have value between 0 and 1",
        ),
        (
            in_range(inference.top_p),
            "inferenceConfig.topP",
            "Member must have value between 0 and 1",
        ),
        (
            inference.stop_sequences.len() <= MAX_STOPS,
            "inferenceConfig.stopSequences",
            "Member must have length less than or equal to 2500",
        ),
        (
            inference.stop_sequences.iter().all(|stop| !stop.is_empty()),
            "inferenceConfig.stopSequences",
            "Member must have length greater than or equal to 1",
        ),
        (
            prompt.request_metadata.len() <= MAX_METADATA.0 && metadata_fits,
            "requestMetadata",
            "at most 16 members of 256 characters of [a-zA-Z0-9\\s:_@$#=/+,-.]",
        ),
        (
            paths.len() <= MAX_PATHS.0 && paths.iter().all(path_fits),
            "additionalModelResponseFieldPaths",
            "at most 10 JSON pointers of 256 characters",
        ),
    ] {
        if !holds {
            return Err(out_of_bounds(member, rule));
        }
    }
    prompt.guardrail_config.as_ref().map_or(Ok(()), check_guardrail)
}

fn is_metadata_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter.is_whitespace() || ":_@$#=/+,-.".contains(letter)
}

fn check_guardrail(guardrail: &Guardrail) -> Result<(), Refusal> {
    let (id, version) = (&guardrail.guardrail_identifier, &guardrail.guardrail_version);
    let is_id = id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_arn = id.starts_with("arn:aws") && id.contains(":guardrail/");
    let is_number = !version.starts_with('0') && version.bytes().all(|byte| byte.is_ascii_digit());
    if id.is_empty() || version.is_empty() {
        return Err(Refusal::validation(
            "The guardrail identifier and the guardrail version must be provided together.",
        ));
    }
    if !(is_id || is_arn) || !(is_number || version == "DRAFT") {
        return Err(Refusal::validation(
            "The guardrail identifier or version provided in the request does not exist.",
        ));
    }
    Ok(())
}

/// What this model does not take at all.
fn check_model(card: &Card, prompt: &Prompt) -> Result<(), Refusal> {
    let inference = &prompt.inference_config;
    let samples = (inference.temperature.is_some(), inference.top_p.is_some());
    let latency = prompt.performance_config.as_ref().map(|config| config.latency.as_str());
    let tier = prompt.service_tier.as_ref().map(|tier| tier.kind.as_str());
    if card.embeds() {
        return Err(Refusal::validation("The provided model doesn't support this operation."));
    }
    if !card.can(Can::Sample) && samples != (false, false) {
        return Err(told("`temperature` and `top_p` are deprecated for this model."));
    }
    if !card.can(Can::SampleByBoth) && samples == (true, true) {
        return Err(told(
            "`temperature` and `top_p` cannot both be specified for this model. \
                         Please use only one.",
        ));
    }
    if !card.can(Can::StopAtTexts) && !inference.stop_sequences.is_empty() {
        return Err(not_taken("stopSequences"));
    }
    if card.is_of("anthropic") && inference.stop_sequences.iter().any(|stop| stop.trim().is_empty())
    {
        return Err(told("stop_sequences: each stop sequence must contain non-whitespace"));
    }
    if inference.max_tokens.is_some_and(|most| most.unsigned_abs() > card.max_output) {
        return Err(Refusal::validation(format!(
            "The maximum tokens you requested exceeds the model limit of {}. Try again with a \
             maximum tokens value that is lower than {}.",
            card.max_output, card.max_output,
        )));
    }
    if latency == Some("optimized") && !card.can(Can::Hurry) {
        return Err(Refusal::validation(
            "Latency performance configuration is not supported for \
                                        this model.",
        ));
    }
    if !matches!(tier, None | Some("default")) && !card.can(Can::Tiers) {
        return Err(Refusal::validation(
            "The provided service tier is not supported for this \
                                        model.",
        ));
    }
    if prompt.output_config.text_format.is_some() && !card.can(Can::FollowSchema) {
        return Err(not_taken("outputConfig.textFormat"));
    }
    check_enums(latency, tier, prompt.output_config.effort.as_deref())?;
    check_fields(card, prompt)
}

fn check_enums(
    latency: Option<&str>,
    tier: Option<&str>,
    effort: Option<&str>,
) -> Result<(), Refusal> {
    for (value, member, known) in [
        (latency, "performanceConfig.latency", &["standard", "optimized"][..]),
        (tier, "serviceTier.type", &["priority", "default", "flex", "reserved"]),
        (effort, "outputConfig.effort", &["low", "medium", "high", "xhigh", "max"]),
    ] {
        if value.is_some_and(|value| !known.contains(&value)) {
            let rule = format!("Member must satisfy enum value set: [{}]", known.join(", "));
            return Err(out_of_bounds(member, &rule));
        }
    }
    Ok(())
}

fn check_fields(card: &Card, prompt: &Prompt) -> Result<(), Refusal> {
    let strange = |name: &&String| !CLAUDE_FIELDS.contains(&name.as_str());
    let found = prompt.additional_model_request_fields.keys().find(strange);
    match found.filter(|_| card.is_of("anthropic")) {
        Some(name) => Err(Refusal::validation(format!(
            "Malformed input request: extraneous key [{name}] is not permitted, please reformat \
             your input and try again."
        ))),
        None => Ok(()),
    }
}

fn check_message(card: &Card, message: &Message, place: usize) -> Result<(), Refusal> {
    if message.role == Role::System {
        return Err(Refusal::validation(format!(
            "This model doesn't support the system role at messages.{place}. Put the text into \
             the system field and try again."
        )));
    }
    if message.content.is_empty() {
        return Err(Refusal::validation(format!(
            "The content field in the Message object at messages.{place} is empty. Add a \
             ContentBlock object to the content field and try again."
        )));
    }
    for (at, block) in message.content.iter().enumerate() {
        check_texts(block, &format!("messages.{place}.content.{at}"))?;
    }
    media::check(card, message, place)
}

fn check_texts(block: &Block, at: &str) -> Result<(), Refusal> {
    if block.text().is_some_and(|text| text.trim().is_empty()) {
        return Err(blank(at));
    }
    let Block::ToolResult(result) = block else { return Ok(()) };
    if result.content.is_empty() {
        return Err(Refusal::validation(format!(
            "The content field in the ToolResultBlock object at {at} is empty. Add content and try \
             again."
        )));
    }
    for (place, part) in result.content.iter().enumerate() {
        match part {
            ResultBlock::Text(text) if text.trim().is_empty() => {
                return Err(blank(&format!("{at}.toolResult.content.{place}")));
            }
            ResultBlock::Json(value) if !value.is_object() => {
                return Err(Refusal::validation(format!(
                    "The value at {at}.toolResult.content.{place}.json is invalid. Provide a json \
                     object for the field and try again."
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

fn blank(at: &str) -> Refusal {
    Refusal::validation(format!(
        "The text field in the ContentBlock object at {at} is blank. Add text to the text field, \
         and try again."
    ))
}

fn check_system(card: &Card, prompt: &Prompt) -> Result<(), Refusal> {
    if !prompt.system.is_empty() && !card.can(Can::System) {
        return Err(Refusal::validation(
            "This model doesn't support system messages. Try again without a system message or \
             use a model that supports system messages.",
        ));
    }
    for (at, block) in prompt.system.iter().enumerate() {
        let text = match block {
            SystemBlock::Text(text) => text,
            SystemBlock::GuardContent(GuardContent::Text(guarded)) => &guarded.text,
            SystemBlock::GuardContent(GuardContent::Image(_)) | SystemBlock::CachePoint(_) => {
                continue;
            }
        };
        if text.trim().is_empty() {
            return Err(Refusal::validation(format!(
                "The text field in the SystemContentBlock object at system.{at} is blank. Add text \
                 to the text field, and try again."
            )));
        }
    }
    Ok(())
}

/// Roles alternate, and document names do not repeat.
fn check_turns(messages: &[Message]) -> Result<(), Refusal> {
    if messages.windows(2).any(|pair| pair[0].role == pair[1].role) {
        return Err(Refusal::validation(
            "A conversation must alternate between user and assistant roles: roles must alternate. \
             Make sure the conversation alternates between user and assistant roles and try again.",
        ));
    }
    let mut names = HashSet::new();
    let blocks = messages.iter().flat_map(|message| &message.content);
    for block in blocks {
        if let Block::Document(document) = block
            && !names.insert(document.name.as_str())
        {
            return Err(Refusal::validation(
                "Messages can't contain duplicate document names. Make sure that each document \
                 has its own name and try again.",
            ));
        }
    }
    Ok(())
}

/// A trailing assistant message is one that the model is to continue.
fn check_last(card: &Card, messages: &[Message]) -> Result<(), Refusal> {
    let Some(last) = messages.last().filter(|last| last.role == Role::Assistant) else {
        return Ok(());
    };
    if !card.can(Can::Continue) {
        return Err(told(
            "This model does not support assistant message prefill. The conversation \
                         must end with a user message.",
        ));
    }
    match last.content.last() {
        Some(Block::Text(text)) if text.ends_with(char::is_whitespace) => {
            Err(told("messages: final assistant content cannot end with trailing whitespace"))
        }
        _ => Ok(()),
    }
}

fn check_cache_points(card: &Card, prompt: &Prompt) -> Result<(), Refusal> {
    let tools = prompt.tool_config.iter().flat_map(|config| &config.tools);
    let in_tools = tools.filter_map(|tool| match tool {
        Tool::CachePoint(point) => Some(point),
        _ => None,
    });
    let in_system = prompt.system.iter().filter_map(|block| match block {
        SystemBlock::CachePoint(point) => Some(point),
        _ => None,
    });
    let blocks = prompt.messages.iter().flat_map(|message| &message.content);
    let in_messages = blocks.filter_map(|block| match block {
        Block::CachePoint(point) => Some(point),
        _ => None,
    });
    let points: Vec<&CachePoint> = in_tools.chain(in_system).chain(in_messages).collect();
    if points.is_empty() {
        return Ok(());
    }
    if !card.can(Can::Cache) {
        return Err(Refusal::validation(
            "You invoked an unsupported model or your request did not allow prompt caching. See \
             the documentation for more information.",
        ));
    }
    if points.len() > MAX_CACHE_POINTS {
        return Err(told(&format!(
            "A maximum of {MAX_CACHE_POINTS} blocks with cache_control may be provided. Found {}.",
            points.len(),
        )));
    }
    let is_known = |point: &&CachePoint| {
        point.kind == "default" && matches!(point.ttl.as_deref(), None | Some("5m" | "1h"))
    };
    if !points.iter().all(is_known) {
        return Err(out_of_bounds("cachePoint", "type default and ttl 5m or 1h"));
    }
    let stands_first =
        |message: &Message| matches!(message.content.first(), Some(Block::CachePoint(_)));
    if prompt.messages.iter().any(stands_first) {
        return Err(Refusal::validation("A cachePoint must follow the content that it caches."));
    }
    Ok(())
}

/// A refusal of the model itself, passed on by the service.
pub(super) fn told(error: &str) -> Refusal {
    Refusal::validation(format!("The model returned the following errors: {error}"))
}
