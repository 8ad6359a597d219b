//! What one call of Converse says: a turn of ours in the service's words.
//!
//! Everything that can be wrong with a request is found here, before anybody is called.

use std::collections::HashMap;

use aws_sdk_bedrockruntime::types::{
    ContentBlock, ConversationRole, GuardrailConfiguration, GuardrailStreamConfiguration,
    InferenceConfiguration, Message as AwsMessage, OutputConfig, PerformanceConfigLatency,
    PerformanceConfiguration, ServiceTier, ServiceTierType, SystemContentBlock, Tool as AwsTool,
    ToolConfiguration,
};
use aws_smithy_types::Document;
use serde_json::{Value, json};

use crate::backend::Ask;
use crate::config::{Model, PromptCache, Reasoning};
use crate::turn::{Failure, FailureKind, Generation, Latency, Message, Part, TurnRequest};

use super::answer::Reading;
use super::attachment::Attachment;
use super::cache::Prompt;
use super::families::{Caching, Family, Maker, Sampling, Thinking, Tools};
use super::fetch::Fetched;
use super::format::Shape;
use super::media::Media;
use super::names::ToolNames;
use super::piece::STOP_SEQUENCE;
use super::raw_json::RawJson;
use super::tools::{Offer, Offered};
use super::transcript::{Manner, Said, Writer, lacks_thoughts};
use super::{cache, fetch, format, thinking, tools};

/// Entries of `requestMetadata`; characters of a key or a value of it.
const METADATA_ENTRIES: usize = 16;
const METADATA_LENGTH: usize = 256;
/// The guardrail's version where none is configured: its working draft.
const DRAFT: &str = "DRAFT";

/// What is behind the URLs of a request.
pub(in crate::backend) type Contents = HashMap<String, Result<Fetched, Failure>>;

/// One call, ready to be made as often as it takes.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) messages: Vec<AwsMessage>,
    pub(super) system: Option<Vec<SystemContentBlock>>,
    pub(super) inference: InferenceConfiguration,
    pub(super) tools: Option<ToolConfiguration>,
    pub(super) fields: Option<Document>,
    pub(super) output: Option<OutputConfig>,
    pub(super) metadata: HashMap<String, String>,
    pub(super) performance: Option<PerformanceConfiguration>,
    pub(super) tier: Option<ServiceTier>,
    /// What of the model's own answer is asked for.
    pub(super) paths: Option<Vec<String>>,
    guardrail: Option<(String, String)>,
    /// What the SDK cannot write in order.
    pub(super) json: RawJson,
    /// How the answer is to be read.
    pub(super) reading: Reading,
    /// Whether the model streams such an answer.
    pub(super) streams: bool,
}

impl Call {
    pub(super) fn stream_guardrail(&self) -> Option<GuardrailStreamConfiguration> {
        let (id, version) = self.guardrail.as_ref()?;
        let guardrail = GuardrailStreamConfiguration::builder();
        Some(guardrail.guardrail_identifier(id).guardrail_version(version).build())
    }

    pub(super) fn guardrail(&self) -> Option<GuardrailConfiguration> {
        let (id, version) = self.guardrail.as_ref()?;
        let guardrail = GuardrailConfiguration::builder();
        Some(guardrail.guardrail_identifier(id).guardrail_version(version).build())
    }
}

/// Says a call by the builder of either operation. The SDK has one for each, with the same setters
/// but for the guardrail's, and no trait over them.
macro_rules! said {
    ($builder:expr, $call:expr) => {
        $builder
            .set_messages(Some($call.messages.clone()))
            .set_system($call.system.clone())
            .inference_config($call.inference.clone())
            .set_tool_config($call.tools.clone())
            .set_additional_model_request_fields($call.fields.clone())
            .set_additional_model_response_field_paths($call.paths.clone())
            .set_request_metadata(Some($call.metadata.clone()))
            .set_performance_config($call.performance.clone())
            .set_service_tier($call.tier.clone())
            .set_output_config($call.output.clone())
    };
}
pub(super) use said;

/// The URLs that have to be fetched: all of the new messages', and of what was said before the
/// latest ones, since the model keeps nothing.
///
/// # Errors
/// `BadRequest` where the new messages have too many.
pub(in crate::backend) fn urls(ask: &Ask) -> Result<Vec<String>, Failure> {
    let mut urls: Vec<_> = ask.input.iter().flat_map(urls_in).collect();
    if urls.len() > fetch::MOST {
        let message = format!("a request may point at {} URLs at most", fetch::MOST);
        return Err(Failure::bad_field("messages", message));
    }
    let before = ask.history.iter().rev().flat_map(|message| urls_in(message));
    urls.extend(before.take(fetch::MOST - urls.len()));
    Ok(urls)
}

fn urls_in(message: &Message) -> impl Iterator<Item = String> {
    message.parts.iter().filter_map(|part| match part {
        Part::Text(_) => None,
        Part::Attachment { kind, value } => {
            Some(Attachment::read(kind, value).ok()?.url()?.to_owned())
        }
    })
}

fn messages(ask: &Ask) -> impl Iterator<Item = &Message> {
    ask.history.iter().map(AsRef::as_ref).chain(&ask.input)
}

/// Says a turn in the service's words.
///
/// # Errors
/// At the request's member that is wrong, or that this model cannot honour.
pub(super) fn prepare(
    model: &Model,
    family: &'static Family,
    ask: &Ask,
    behind: &Contents,
) -> Result<Call, Failure> {
    let request = &ask.request;
    let generation = &request.generation;
    let must_not_think = tools::is_forced(request) || lacks_thoughts(&ask.history, &ask.input);
    let plan = thinking::plan(family, generation, must_not_think)?;
    let thinks = plan.is_on && family.maker == Maker::Anthropic;
    let shape = format::shape(request, family, thinks)?;
    let spoken = Turn { model, family, ask, behind, thinks }.speak(&shape)?;
    let Spoken { said, system, mut offer, names, mut json } = spoken;

    let has_tools = !offer.tools.is_empty();
    let mut more = plan.fields.clone();
    more.append(&mut offer.fields);
    more.extend(top_k(generation, family, plan.fixes_sampling));
    let more = (!more.is_empty()).then(|| json.keep(&Value::Object(more)));
    Ok(Call {
        messages: said.into_iter().map(Said::message).collect::<Result<_, _>>()?,
        system: (!system.is_empty()).then_some(system),
        inference: inference(model, generation, family, &plan)?,
        tools: tool_configuration(offer.tools, offer.choice)?,
        fields: more,
        output: output(&shape, plan.effort),
        metadata: metadata(model, ask),
        performance: performance(model, request),
        tier: tier(model, generation)?,
        guardrail: guardrail(model),
        json,
        reading: Reading {
            names,
            answer_tool: shape.into_tool(),
            one_call: generation.parallel_tool_calls == Some(false),
            shows_thoughts: shows_thoughts(model, family, request),
            only_stop: match generation.stop.as_slice() {
                [alone] => Some(alone.as_str().into()),
                _ => None,
            },
            taken: messages(ask).flat_map(|m| &m.tool_calls).map(|c| c.id.clone()).collect(),
        },
        paths: response_paths(generation, family),
        streams: model.stream && !(has_tools && family.tools == Tools::Whole),
    })
}

/// A turn to be said.
struct Turn<'a> {
    model: &'a Model,
    family: &'static Family,
    ask: &'a Ask,
    behind: &'a Contents,
    /// Whether the model thinks, and takes its thoughts back.
    thinks: bool,
}

/// What was said, and by which names.
struct Spoken {
    said: Vec<Said>,
    system: Vec<SystemContentBlock>,
    offer: Offer,
    names: ToolNames,
    json: RawJson,
}

impl Turn<'_> {
    fn speak(&self, shape: &Shape) -> Result<Spoken, Failure> {
        let Self { model, family, ask, .. } = *self;
        let request = &ask.request;
        let (mut names, mut json) = (ToolNames::default(), RawJson::default());
        let called = messages(ask).flat_map(|message| &message.tool_calls);
        let called: Vec<_> = called.map(|call| call.name.as_str()).collect();
        let offered = Offered { request, family, answer: shape.tool(), called: &called };
        let mut offer = offered.make(&mut names, &mut json)?;

        let calls_as_text = tools::are_told_as_text(request, family);
        let manner = Manner { family, calls_as_text, thoughts: self.thinks };
        let media = Media::new(family.reads, self.behind);
        let writer = Writer::new(manner, media, &mut names, &mut json);
        let mut said = writer.write(&ask.history, &ask.input)?;

        let mut system = instructions(&ask.system, family.cache)?;
        let told = shape.told().map(str::to_owned).into_iter().chain(offer.told.take());
        system.extend(told.map(SystemContentBlock::Text));
        if !family.system {
            put_before(&mut said, std::mem::take(&mut system));
        }
        let mut prompt = Prompt { tools: &mut offer.tools, system: &mut system, said: &mut said };
        if model.text.prompt_cache == PromptCache::Auto {
            prompt.mark(family.cache)?;
        }
        prompt.limit();
        Ok(Spoken { said, system, offer, names, json })
    }
}

/// The client's instructions, a message of them in one text unless the prompt is to be kept up to
/// a place within it.
fn instructions(system: &[Message], caching: Caching) -> Result<Vec<SystemContentBlock>, Failure> {
    let mut blocks = Vec::new();
    let put = |parts: &[Part], blocks: &mut Vec<_>| {
        let text = Message::text_of(parts);
        blocks.extend((!text.trim().is_empty()).then_some(SystemContentBlock::Text(text)));
    };
    for message in system {
        let (mut rest, mut taken) = (message.parts.as_slice(), 0);
        let points = message.cache_points.iter().filter(|_| caching != Caching::None);
        for point in points {
            let (before, after) = rest.split_at(point.after.saturating_sub(taken).min(rest.len()));
            put(before, &mut blocks);
            (rest, taken) = (after, point.after);
            if blocks.last().is_some_and(SystemContentBlock::is_text) {
                let point = cache::point(caching, point.life)?;
                blocks.extend(point.map(SystemContentBlock::CachePoint));
            }
        }
        put(rest, &mut blocks);
    }
    Ok(blocks)
}

/// For models without a place for instructions: the user says them.
fn put_before(said: &mut [Said], instructions: Vec<SystemContentBlock>) {
    let Some(first) = said.iter_mut().find(|said| said.role == ConversationRole::User) else {
        return;
    };
    let texts = instructions.into_iter().filter_map(|block| match block {
        SystemContentBlock::Text(text) => Some(ContentBlock::Text(text)),
        _ => None,
    });
    first.blocks.splice(0..0, texts);
}

fn inference(
    model: &Model,
    generation: &Generation,
    family: &Family,
    plan: &thinking::Plan,
) -> Result<InferenceConfiguration, Failure> {
    let asked = generation.max_tokens.or(model.text.max_tokens.map(std::num::NonZeroU32::get));
    if asked == Some(0) {
        return Err(Failure::bad_field("max_tokens", "max_tokens must be at least 1"));
    }
    let max_tokens = plan.max_tokens(asked).map(|most| i32::try_from(most).unwrap_or(i32::MAX));
    let samples = !plan.fixes_sampling && family.sampling != Sampling::Fixed;
    let temperature = generation.temperature.filter(|_| samples);
    let is_one_too_many = family.sampling == Sampling::OneOf && temperature.is_some();
    let top_p = generation.top_p.filter(|_| samples && !is_one_too_many);
    if !family.stops && !generation.stop.is_empty() {
        let message = "this model takes no stop sequences; leave stop out";
        return Err(Failure::new(FailureKind::UnsupportedParameter, message).at("stop"));
    }
    let stops = (!generation.stop.is_empty()).then(|| generation.stop.clone());
    Ok(InferenceConfiguration::builder()
        .set_max_tokens(max_tokens)
        .set_temperature(temperature.map(within_one))
        .set_top_p(top_p.map(within_one))
        .set_stop_sequences(stops)
        .build())
}

/// Converse's range, where OpenAI's goes to 2.
#[expect(clippy::cast_possible_truncation, reason = "the service takes single precision")]
fn within_one(value: f64) -> f32 {
    value.clamp(0.0, 1.0) as f32
}

/// Converse has no member for it; two makers have.
fn top_k(generation: &Generation, family: &Family, is_fixed: bool) -> Option<(String, Value)> {
    let top_k = generation.top_k.filter(|_| !is_fixed && family.sampling != Sampling::Fixed)?;
    match family.maker {
        Maker::Anthropic => Some(("top_k".to_owned(), json!(top_k))),
        Maker::Amazon => Some(("inferenceConfig".to_owned(), json!({ "topK": top_k }))),
        Maker::Other => None,
    }
}

/// Converse does not say which text ended an answer; Claude's own answer does.
fn response_paths(generation: &Generation, family: &Family) -> Option<Vec<String>> {
    let is_told = family.maker == Maker::Anthropic && !generation.stop.is_empty();
    is_told.then(|| vec![format!("/{STOP_SEQUENCE}")])
}

fn tool_configuration(
    tools: Vec<AwsTool>,
    choice: Option<aws_sdk_bedrockruntime::types::ToolChoice>,
) -> Result<Option<ToolConfiguration>, Failure> {
    if tools.is_empty() {
        return Ok(None);
    }
    let configuration =
        ToolConfiguration::builder().set_tools(Some(tools)).set_tool_choice(choice).build();
    configuration.map(Some).map_err(|_| Failure::internal())
}

fn output(shape: &Shape, effort: Option<&'static str>) -> Option<OutputConfig> {
    let format = match shape {
        Shape::Native(format) => Some(format.clone()),
        Shape::Free | Shape::Tool(_) | Shape::Told(_) => None,
    };
    if format.is_none() && effort.is_none() {
        return None;
    }
    let output = OutputConfig::builder().set_text_format(format);
    Some(output.set_effort(effort.map(str::to_owned)).build())
}

/// What the invocation log is told: whose session it is, and the request's own notes.
fn metadata(model: &Model, ask: &Ask) -> HashMap<String, String> {
    let ours = [("session_id", ask.key.id.as_str()), ("tenant", ask.key.tenant.as_str())];
    let mut told: HashMap<String, String> = ours
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.replace(|c| !is_noted(c), "_")))
        .collect();
    if !model.metadata_attributes {
        return told;
    }
    for (name, value) in &ask.request.metadata {
        let fits = |text: &str| {
            (1..=METADATA_LENGTH).contains(&text.chars().count()) && text.chars().all(is_noted)
        };
        if told.len() < METADATA_ENTRIES && fits(name) && fits(value) {
            told.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    told
}

/// `[a-zA-Z0-9\s:_@$#=/+,-.]` (Converse API model, `RequestMetadata`).
fn is_noted(c: char) -> bool {
    c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":_@$#=/+,-.".contains(c)
}

fn performance(model: &Model, request: &TurnRequest) -> Option<PerformanceConfiguration> {
    let latency = match request.agent.latency.or(model.agents.latency)? {
        Latency::Standard => PerformanceConfigLatency::Standard,
        Latency::Optimized => PerformanceConfigLatency::Optimized,
    };
    Some(PerformanceConfiguration::builder().latency(latency).build())
}

/// OpenAI's names and Bedrock's; `auto` leaves it to the model's setting.
fn tier(model: &Model, generation: &Generation) -> Result<Option<ServiceTier>, Failure> {
    let asked = generation.service_tier.as_deref().filter(|tier| *tier != "auto");
    let tier = match asked.or(model.text.service_tier.as_deref()) {
        None | Some("auto" | "default" | "standard_only") => return Ok(None),
        Some("flex") => ServiceTierType::Flex,
        Some("priority") => ServiceTierType::Priority,
        Some("reserved") => ServiceTierType::Reserved,
        Some(_) => {
            let message = "service_tier must be auto, default, flex, priority or reserved here";
            return Err(Failure::new(FailureKind::UnsupportedParameter, message).at("service_tier"));
        }
    };
    let tier = ServiceTier::builder().r#type(tier).build();
    tier.map(Some).map_err(|_| Failure::internal())
}

fn guardrail(model: &Model) -> Option<(String, String)> {
    let version = model.guardrail.version.clone().unwrap_or_else(|| DRAFT.to_owned());
    model.guardrail.id.clone().map(|id| (id, version))
}

fn shows_thoughts(model: &Model, family: &Family, request: &TurnRequest) -> bool {
    let is_asked = thinking::is_wanted(&request.generation) || family.thinking == Thinking::Always;
    match model.agents.reasoning {
        Reasoning::Never => false,
        Reasoning::Asked => request.wants_reasoning.unwrap_or(is_asked),
        Reasoning::Always => request.wants_reasoning.unwrap_or(true),
    }
}
