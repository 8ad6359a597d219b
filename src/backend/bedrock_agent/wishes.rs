//! How a turn is to be run: what the request wants, else what the model's settings say.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_bedrockagentruntime::types::{
    PerformanceConfigLatency, PerformanceConfiguration, PromptCreationConfigurations,
    StreamingConfigurations,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::backend::{Ask, template};
use crate::config::{Model, Reasoning};
use crate::turn::{Failure, FileUse, Latency, ToolErrors, TurnRequest};

use super::prose::system_text;

/// What all calls of a turn are made with.
#[derive(Debug)]
pub(in crate::backend) struct Wishes {
    /// `sessionAttributes`; none where there are none.
    pub(in crate::backend) session_attributes: Option<HashMap<String, String>>,
    /// `promptSessionAttributes`; none where there are none.
    pub(in crate::backend) prompt_attributes: Option<HashMap<String, String>>,
    /// `memoryId`.
    pub(in crate::backend) memory_id: Option<String>,
    /// `performanceConfig`.
    pub(in crate::backend) performance: Option<PerformanceConfiguration>,
    /// `promptCreationConfigurations`.
    pub(in crate::backend) prompt_creation: Option<PromptCreationConfigurations>,
    /// `streamingConfigurations`.
    pub(in crate::backend) streaming: StreamingConfigurations,
    /// `enableTrace`.
    pub(in crate::backend) traces: bool,
    /// Whether the client gets the traces as they are.
    pub(in crate::backend) raw_traces: bool,
    /// Whether the client gets the reasoning among them.
    pub(in crate::backend) reasoning: bool,
    /// What a tool's error means.
    pub(in crate::backend) tool_errors: ToolErrors,
    /// What the turn's files are for.
    pub(in crate::backend) file_use: FileUse,
}

impl Wishes {
    /// What this turn of this model wants; `debug_traces` where clients of all models may have
    /// raw traces.
    ///
    /// # Errors
    /// `BadRequest` for a memory id that the service would not take.
    pub(in crate::backend) fn of(
        model: &Model,
        ask: &Ask,
        debug_traces: bool,
    ) -> Result<Self, Failure> {
        let request = &ask.request;
        let (settings, options) = (&model.agents, &request.agent);
        let raw_traces = request.wants_traces && (debug_traces || settings.expose_traces);
        let reasoning = shows_reasoning(settings.reasoning, request, debug_traces);
        Ok(Self {
            session_attributes: session_attributes(model, ask),
            prompt_attributes: prompt_attributes(model, ask),
            memory_id: memory_id(model, ask)?,
            performance: options.latency.or(settings.latency).and_then(performance),
            prompt_creation: prompt_creation(model, request),
            streaming: streaming(model, request),
            traces: model.traces || raw_traces || reasoning,
            raw_traces,
            reasoning,
            tool_errors: options.tool_errors.unwrap_or(settings.tool_errors),
            file_use: options.file_use.unwrap_or(settings.file_use),
        })
    }
}

fn shows_reasoning(setting: Reasoning, request: &TurnRequest, debug_traces: bool) -> bool {
    match setting {
        Reasoning::Never => false,
        Reasoning::Asked => request.wants_reasoning.unwrap_or(debug_traces && request.wants_traces),
        Reasoning::Always => request.wants_reasoning.unwrap_or(true),
    }
}

fn session_attributes(model: &Model, ask: &Ask) -> Option<HashMap<String, String>> {
    let request = &ask.request;
    let mut attributes = filled(&model.session_attributes, ask);
    if model.metadata_attributes {
        attributes.extend(request.metadata.clone());
    }
    if let Some(caller) = &request.caller
        && !model.caller_attribute.is_empty()
    {
        attributes.insert(model.caller_attribute.clone(), caller.clone());
    }
    attributes.extend(request.session_attributes.clone());
    (!attributes.is_empty()).then_some(attributes)
}

fn prompt_attributes(model: &Model, ask: &Ask) -> Option<HashMap<String, String>> {
    let request = &ask.request;
    let mut attributes = filled(&model.agents.prompt_session_attributes, ask);
    if let Some(attribute) = &model.system_prompt_attribute {
        let system = system_text(request.messages.iter());
        if !system.is_empty() {
            attributes.insert(attribute.clone(), system);
        }
    }
    attributes.extend(request.prompt_attributes.clone());
    (!attributes.is_empty()).then_some(attributes)
}

/// Those of the settings whose placeholders this request can fill.
fn filled(settings: &BTreeMap<String, String>, ask: &Ask) -> HashMap<String, String> {
    let fill =
        |(name, value): (&String, &String)| Some((name.clone(), template::fill(value, ask)?));
    settings.iter().filter_map(fill).collect()
}

/// The key of the agent's long-term memory in this turn.
///
/// What a setting is filled to can be anything, an e-mail address say; the service takes 2 to
/// 100 characters of `[0-9a-zA-Z._:-]`. A text that it would not take stands for itself by its
/// digest, so that no two people share a memory.
///
/// # Errors
/// `BadRequest` for one that the request names and the service would not take.
pub(in crate::backend) fn memory_id(model: &Model, ask: &Ask) -> Result<Option<String>, Failure> {
    if let Some(id) = &ask.request.memory_id {
        if is_memory_id(id) {
            return Ok(Some(id.clone()));
        }
        let message = "memory_id must be 2 to 100 characters of [0-9a-zA-Z._:-]";
        return Err(Failure::bad_field("memory_id", message));
    }
    let filled = model.agents.memory_id.as_ref().and_then(|id| template::fill(id, ask));
    Ok(filled.map(|id| if is_memory_id(&id) { id } else { digest(&id) }))
}

fn is_memory_id(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    (2..=100).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn digest(text: &str) -> String {
    let digest = Sha256::digest(text);
    let digits: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("oc-{digits}")
}

fn performance(latency: Latency) -> Option<PerformanceConfiguration> {
    let latency = match latency {
        Latency::Standard => PerformanceConfigLatency::Standard,
        Latency::Optimized => PerformanceConfigLatency::Optimized,
    };
    Some(PerformanceConfiguration::builder().latency(latency).build())
}

fn prompt_creation(model: &Model, request: &TurnRequest) -> Option<PromptCreationConfigurations> {
    let (settings, options) = (&model.agents, &request.agent);
    let asked = options.previous_turns.map(|turns| i32::try_from(turns).unwrap_or(i32::MAX));
    let set = settings.previous_turns.map(|turns| i32::try_from(turns).unwrap_or(i32::MAX));
    let turns = asked.or(set);
    let excludes = options.exclude_thinking.unwrap_or(settings.exclude_thinking);
    // Nothing is said where nothing was set.
    (turns.is_some() || excludes).then(|| {
        PromptCreationConfigurations::builder()
            .set_previous_conversation_turns_to_include(turns)
            .exclude_previous_thinking_steps(excludes)
            .build()
    })
}

fn streaming(model: &Model, request: &TurnRequest) -> StreamingConfigurations {
    let interval = request.agent.guardrail_interval.or(model.guardrail_interval);
    StreamingConfigurations::builder()
        .stream_final_response(model.stream)
        .set_apply_guardrail_interval(
            interval.map(|characters| i32::try_from(characters.get()).unwrap_or(i32::MAX)),
        )
        .build()
}

/// How an agent's knowledge bases are searched in this turn, in the service's spelling.
///
/// # Errors
/// `BadRequest` for configurations of the request that are none.
pub(super) fn knowledge_bases(model: &Model, request: &TurnRequest) -> Result<Vec<Value>, Failure> {
    let Some(asked) = &request.agent.knowledge_bases else {
        return Ok(model.agents.knowledge_bases.clone());
    };
    match check_knowledge_bases(asked, "retrievalConfiguration") {
        Ok(()) => Ok(asked.clone()),
        Err(message) => Err(Failure::bad_field(
            "knowledge_base_configurations",
            format!("knowledge_base_configurations{message}"),
        )),
    }
}

/// Checks what stands beside the id of each knowledge base: an object or a text called
/// `beside`. What is deeper the service checks, which knows more of it with every release.
///
/// # Errors
/// What is wrong, after the place where: `[0]: …`.
pub(in crate::backend) fn check_knowledge_bases(
    entries: &[Value],
    beside: &str,
) -> Result<(), String> {
    for (place, entry) in entries.iter().enumerate() {
        let id = entry.get("knowledgeBaseId").and_then(Value::as_str).unwrap_or_default();
        let is_id = (1..=10).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_id {
            return Err(format!("[{place}].knowledgeBaseId must be 1 to 10 letters and digits"));
        }
        let fits = match entry.get(beside) {
            Some(Value::Object(_)) => beside == "retrievalConfiguration",
            Some(Value::String(text)) => beside == "description" && !text.is_empty(),
            _ => false,
        };
        if !fits {
            let wanted = if beside == "description" { "a text" } else { "an object" };
            return Err(format!("[{place}].{beside} must be {wanted}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use serde_json::json;

    use crate::turn::{FailureKind, SessionKey, UpstreamSessionId};

    use super::*;

    fn model() -> Model {
        Model::new("m".parse().unwrap(), "bedrock-agent")
    }

    fn ask(request: TurnRequest) -> Ask {
        Ask {
            key: SessionKey { tenant: "acme".parse().unwrap(), id: "s1".parse().unwrap() },
            upstream: UpstreamSessionId::generate(),
            history: Vec::new(),
            input: Vec::new(),
            pending: None,
            request: Arc::new(request),
        }
    }

    fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn attributes_are_filled_and_the_request_overrides_them() {
        let mut model = model();
        model.session_attributes =
            attributes(&[("tenant", "{tenant}"), ("plan", "free"), ("city", "{metadata.city}")]);
        model.agents.prompt_session_attributes = attributes(&[("who", "{user}"), ("tone", "warm")]);
        let mut request = TurnRequest {
            session_attributes: attributes(&[("plan", "gold")]),
            prompt_attributes: attributes(&[("tone", "dry")]),
            caller: Some("+15550100".to_owned()),
            ..TurnRequest::default()
        };
        request.hints.speaker = Some("ann".to_owned());
        let wishes = Wishes::of(&model, &ask(request), false).unwrap();
        let session =
            attributes(&[("tenant", "acme"), ("plan", "gold"), ("phone_number", "+15550100")]);
        assert_eq!(wishes.session_attributes, Some(session.into_iter().collect()));
        let prompt = attributes(&[("who", "ann"), ("tone", "dry")]);
        assert_eq!(wishes.prompt_attributes, Some(prompt.into_iter().collect()));
    }

    #[test]
    fn a_memory_id_that_the_service_would_not_take_stands_by_its_digest() {
        let mut model = model();
        model.agents.memory_id = Some("{user}".to_owned());
        let of = |speaker: &str| {
            let mut request = TurnRequest::default();
            request.hints.speaker = Some(speaker.to_owned());
            memory_id(&model, &ask(request)).unwrap().unwrap()
        };
        assert_eq!(of("ann"), "ann");
        assert!(is_memory_id(&of("ann@example.com")));
        assert_ne!(of("ann@example.com"), of("ann example.com"));
        assert_eq!(memory_id(&model, &ask(TurnRequest::default())), Ok(None));
        let request = TurnRequest { memory_id: Some("a b".to_owned()), ..TurnRequest::default() };
        assert_eq!(memory_id(&model, &ask(request)).unwrap_err().kind, FailureKind::BadRequest);
    }

    #[test]
    fn options_of_the_request_go_before_those_of_the_model() {
        let mut model = model();
        model.agents.previous_turns = Some(4);
        model.agents.latency = Some(Latency::Optimized);
        model.guardrail_interval = NonZeroU32::new(50);
        model.agents.tool_errors = ToolErrors::Failure;
        let set = Wishes::of(&model, &ask(TurnRequest::default()), false).unwrap();
        let creation = set.prompt_creation.unwrap();
        assert_eq!(creation.previous_conversation_turns_to_include(), Some(4));
        assert_eq!(set.tool_errors, ToolErrors::Failure);
        let mut request = TurnRequest::default();
        request.agent.previous_turns = Some(0);
        request.agent.latency = Some(Latency::Standard);
        request.agent.guardrail_interval = NonZeroU32::new(7);
        request.agent.tool_errors = Some(ToolErrors::Reprompt);
        let asked = Wishes::of(&model, &ask(request), false).unwrap();
        let creation = asked.prompt_creation.unwrap();
        assert_eq!(creation.previous_conversation_turns_to_include(), Some(0));
        assert_eq!(asked.performance.unwrap().latency(), &PerformanceConfigLatency::Standard);
        assert_eq!(asked.streaming.apply_guardrail_interval(), Some(7));
        assert_eq!(asked.tool_errors, ToolErrors::Reprompt);
    }

    #[test]
    fn reasoning_is_shown_as_the_model_and_the_request_say() {
        let shows = |setting, wants: Option<bool>, wants_traces, debug| {
            let request =
                TurnRequest { wants_reasoning: wants, wants_traces, ..TurnRequest::default() };
            shows_reasoning(setting, &request, debug)
        };
        assert!(!shows(Reasoning::Never, Some(true), true, true));
        assert!(shows(Reasoning::Asked, Some(true), false, false));
        assert!(!shows(Reasoning::Asked, None, true, false));
        assert!(shows(Reasoning::Asked, None, true, true));
        assert!(shows(Reasoning::Always, None, false, false));
        assert!(!shows(Reasoning::Always, Some(false), true, true));
    }

    #[test]
    fn raw_traces_need_the_request_and_the_operator() {
        let mut model = model();
        model.traces = false;
        let wants = TurnRequest { wants_traces: true, ..TurnRequest::default() };
        let of = |model: &Model| Wishes::of(model, &ask(wants.clone()), false).unwrap();
        let plain = of(&model);
        assert!(!plain.raw_traces && !plain.traces);
        model.agents.expose_traces = true;
        let exposed = of(&model);
        assert!(exposed.raw_traces && exposed.traces);
    }

    #[test]
    fn knowledge_bases_of_the_request_replace_those_of_the_model() {
        let mut model = model();
        model.agents.knowledge_bases = vec![json!({ "knowledgeBaseId": "KB1" })];
        let mut request = TurnRequest::default();
        assert_eq!(knowledge_bases(&model, &request).unwrap().len(), 1);
        request.agent.knowledge_bases = Some(Vec::new());
        assert!(knowledge_bases(&model, &request).unwrap().is_empty());
        let wrong = json!({ "knowledgeBaseId": "KB1", "retrievalConfiguration": [] });
        request.agent.knowledge_bases = Some(vec![wrong]);
        let failure = knowledge_bases(&model, &request).unwrap_err();
        assert!(failure.message.starts_with("knowledge_base_configurations[0].retrieval"));
        assert!(check_knowledge_bases(&[json!(3)], "description").is_err());
    }
}
