//! The body of a Converse request, but for its blocks.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::turn::request::named;
use crate::turn::{
    AnswerFormat, Failure, FailureKind, Generation, JsonSchema, Latency, Role, SessionHints, Tool,
    ToolChoice, TurnRequest,
};
use crate::wire::agent_fields::Texts;
use crate::wire::asking::{self, MAX_TOOLS, Sampling, Stops, Thinking};
use crate::wire::body::wrong;
use crate::wire::bounded::{Allowance, AtMost};
use crate::wire::cache_mark::CacheMark;
use crate::wire::extension::Extension;
use crate::wire::said::{MAX_BLOCKS_AT_ONCE, MAX_MESSAGES, Transcript};
use crate::wire::whole::Whole;
use crate::wire::{Asked, Defaults, Options, body};

use super::content::{self, Blocks};

/// Paths into the model's own answer; the API takes no more.
const MAX_PATHS: usize = 10;
/// The one that is known here.
const STOP_SEQUENCE: &str = "/stop_sequence";

/// The members that are read; every other one is skipped.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Body<'a> {
    #[serde(borrow)]
    messages: Option<AtMost<SentMessage<'a>, MAX_MESSAGES>>,
    #[serde(borrow)]
    system: Option<Blocks<'a>>,
    inference_config: Option<InferenceConfig>,
    #[serde(borrow)]
    tool_config: Option<ToolConfig<'a>>,
    #[serde(borrow)]
    additional_model_request_fields: Option<&'a RawValue>,
    request_metadata: Option<Texts>,
    performance_config: Option<Performance>,
    service_tier: Option<Tier>,
    output_config: Option<OutputConfig>,
    additional_model_response_field_paths: Option<AtMost<String, MAX_PATHS>>,
    guardrail_config: Option<IgnoredAny>,
    prompt_variables: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct SentMessage<'a> {
    role: SentRole,
    #[serde(borrow)]
    content: Option<Blocks<'a>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase", expecting = "user or assistant")]
enum SentRole {
    User,
    Assistant,
    System,
}

impl From<SentRole> for Role {
    fn from(sent: SentRole) -> Self {
        match sent {
            SentRole::User => Self::User,
            SentRole::Assistant => Self::Assistant,
            SentRole::System => Self::System,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct InferenceConfig {
    max_tokens: Option<Whole>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    stop_sequences: Option<Stops>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct ToolConfig<'a> {
    #[serde(borrow)]
    tools: Option<AtMost<SentTool<'a>, MAX_BLOCKS_AT_ONCE>>,
    tool_choice: Option<SentChoice>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct SentTool<'a> {
    #[serde(borrow)]
    tool_spec: Option<ToolSpec<'a>>,
    cache_point: Option<CacheMark>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct ToolSpec<'a> {
    name: Option<String>,
    description: Option<String>,
    #[serde(borrow)]
    input_schema: Option<InputSchema<'a>>,
    strict: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct InputSchema<'a> {
    #[serde(borrow)]
    json: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct SentChoice {
    auto: Option<IgnoredAny>,
    any: Option<IgnoredAny>,
    tool: Option<ChosenTool>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct ChosenTool {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Performance {
    latency: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Tier {
    r#type: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct OutputConfig {
    text_format: Option<TextFormat>,
    effort: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct TextFormat {
    r#type: Option<String>,
    structure: Option<Structure>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Structure {
    json_schema: Option<SentSchema>,
}

/// A schema, which the API wants as text.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct SentSchema {
    schema: String,
    name: Option<String>,
    description: Option<String>,
}

/// Of the fields that are the model's own, those that are understood.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "an object")]
struct ModelFields<'a> {
    top_k: Option<Whole>,
    #[serde(alias = "reasoning_config")]
    thinking: Option<Thinking>,
    reasoning_effort: Option<String>,
    #[serde(borrow)]
    outcrop: Option<Extension<'a, Texts>>,
}

/// Reads a request.
pub(super) fn decode(sent: &[u8], defaults: &Defaults) -> Result<Asked, Failure> {
    let mut body: Body<'_> = body::read(sent)?;
    body.refuse_what_cannot_be_honoured()?;
    let mut said = Transcript::default();
    let fields = body.additional_model_request_fields;
    let mut fields: ModelFields<'_> = match fields {
        Some(raw) => body::read_at(raw, "additionalModelRequestFields")?,
        None => ModelFields::default(),
    };
    let metadata = body.request_metadata.take().unwrap_or_default().0;
    let noted = |name: &str| metadata.get(name).map(String::as_str);
    let hints = SessionHints {
        named: asking::parsed("requestMetadata.session_id", noted("session_id"))?,
        speaker: asking::speaker("requestMetadata.user_id", noted("user_id"))?,
        ..SessionHints::default()
    };
    let mut request = TurnRequest { metadata, hints, ..TurnRequest::default() };
    if let Some(extension) = fields.outcrop.take() {
        let at = "additionalModelRequestFields.outcrop.";
        extension.fill(at, said.allowance(), &mut request)?;
    }
    if let Some(system) = body.system.take() {
        let blocks = content::read("system", system, &mut said)?;
        said.push("system", Role::System, blocks)?;
    }
    let Some(messages) = body.messages.take() else {
        return Err(wrong("messages", "is required"));
    };
    for (index, message) in messages.0.into_iter().enumerate() {
        let at = format!("messages[{index}]");
        let Some(content) = message.content else {
            return Err(wrong(format!("{at}.content"), "is required"));
        };
        let blocks = content::read(&format!("{at}.content"), content, &mut said)?;
        said.push(&at, message.role.into(), blocks)?;
    }
    let paths = body.additional_model_response_field_paths.take();
    let tells_stop = paths.is_some_and(|paths| paths.0.iter().any(|path| path == STOP_SEQUENCE));
    body.fill(&mut request, fields, said.allowance())?;
    request.messages = said.finish(request.end_session)?;
    let options = Options { include_usage: true, tells_stop, ..Options::default() };
    Ok(Asked { request, stream: defaults.stream, options })
}

impl Body<'_> {
    fn refuse_what_cannot_be_honoured(&self) -> Result<(), Failure> {
        let unsupported = |param: &'static str, message: &'static str| {
            Err(Failure::new(FailureKind::UnsupportedParameter, message).at(param))
        };
        if self.guardrail_config.is_some() {
            let message = "guardrailConfig must be left out: guardrails are set with the model";
            return unsupported("guardrailConfig", message);
        }
        if self.prompt_variables.is_some() {
            return unsupported("promptVariables", "promptVariables are not filled in here");
        }
        Ok(())
    }

    /// Puts how the answer is to be made into the request.
    fn fill(
        self,
        request: &mut TurnRequest,
        fields: ModelFields<'_>,
        allowance: &mut Allowance,
    ) -> Result<(), Failure> {
        let config = self.inference_config.unwrap_or_default();
        let sampling = Sampling {
            max_tokens: ("inferenceConfig.maxTokens", config.max_tokens),
            temperature: ("inferenceConfig.temperature", config.temperature),
            top_p: ("inferenceConfig.topP", config.top_p),
            top_k: ("additionalModelRequestFields.top_k", fields.top_k),
            stop: ("inferenceConfig.stopSequences", config.stop_sequences),
        };
        sampling.fill(&mut request.generation)?;
        request.generation.service_tier = self.service_tier.and_then(|tier| tier.r#type);
        if let Some(latency) = self.performance_config.and_then(|config| config.latency) {
            let known = named(Latency::NAMES, &latency);
            let why = "must be standard or optimized";
            let known = known.ok_or_else(|| wrong("performanceConfig.latency", why))?;
            request.agent.latency = Some(known);
        }
        if let Some(tools) = self.tool_config {
            tools.fill(request, allowance)?;
        }
        if let Some(config) = self.output_config {
            config.fill(&mut request.generation)?;
        }
        if let Some(effort) = fields.reasoning_effort {
            let param = "additionalModelRequestFields.reasoning_effort";
            request.generation.effort = Some(asking::effort(param, &effort)?);
        }
        match fields.thinking {
            Some(thinking) => thinking.fill("additionalModelRequestFields.thinking", request),
            None => Ok(()),
        }
    }
}

impl ToolConfig<'_> {
    fn fill(self, request: &mut TurnRequest, allowance: &mut Allowance) -> Result<(), Failure> {
        let mut tools: Vec<Tool> = Vec::new();
        let sent = self.tools.map(|tools| tools.0).unwrap_or_default();
        for (index, tool) in sent.into_iter().enumerate() {
            let at = format!("toolConfig.tools[{index}]");
            match (tool.tool_spec, tool.cache_point) {
                (Some(spec), _) => tools.push(spec.read(&format!("{at}.toolSpec"), allowance)?),
                (None, Some(CacheMark(life))) => {
                    // One in front of all tools keeps nothing.
                    tools.last_mut().into_iter().for_each(|tool| tool.cache = Some(life));
                }
                (None, None) => {
                    let message = format!("{at} must be a toolSpec: other tools are not run here");
                    let failure = Failure::new(FailureKind::UnsupportedParameter, message);
                    return Err(failure.at(at));
                }
            }
        }
        if tools.len() > MAX_TOOLS {
            let why = format!("must hold at most {MAX_TOOLS} tools");
            return Err(wrong("toolConfig.tools", &why));
        }
        let choice = match self.tool_choice {
            Some(SentChoice { tool: Some(tool), .. }) => ToolChoice::Named(tool.name),
            Some(SentChoice { any: Some(_), .. }) => ToolChoice::Required,
            Some(SentChoice { auto: Some(_), .. }) | None => ToolChoice::Auto,
            Some(SentChoice { tool: None, any: None, auto: None }) => {
                return Err(wrong("toolConfig.toolChoice", "must be auto, any or tool"));
            }
        };
        asking::offer(request, tools, choice, ("toolConfig.tools", "toolConfig.toolChoice"))
    }
}

impl ToolSpec<'_> {
    fn read(self, at: &str, allowance: &mut Allowance) -> Result<Tool, Failure> {
        let schema = self.input_schema.and_then(|schema| schema.json);
        let schema = ("inputSchema.json", schema);
        let tool = asking::tool(at, (self.name, self.description), schema, allowance)?;
        Ok(Tool { strict: self.strict, ..tool })
    }
}

impl OutputConfig {
    fn fill(self, generation: &mut Generation) -> Result<(), Failure> {
        if let Some(effort) = self.effort {
            generation.effort = Some(asking::effort("outputConfig.effort", &effort)?);
        }
        let Some(format) = self.text_format else { return Ok(()) };
        match (format.r#type.as_deref(), format.structure.and_then(|held| held.json_schema)) {
            (Some("json_schema"), Some(sent)) => {
                generation.format = AnswerFormat::JsonSchema(sent.read()?);
                Ok(())
            }
            (Some("text"), None) => Ok(()),
            _ => Err(wrong("outputConfig.textFormat", "must be a json_schema with its structure")),
        }
    }
}

impl SentSchema {
    fn read(self) -> Result<JsonSchema, Failure> {
        let param = "outputConfig.textFormat.structure.jsonSchema.schema";
        let raw: &RawValue =
            serde_json::from_str(&self.schema).map_err(|_| wrong(param, "must be JSON text"))?;
        let schema = Allowance::default().object(raw).map_err(|why| wrong(param, why))?;
        let name = self.name.unwrap_or_else(|| "answer".to_owned());
        Ok(JsonSchema { name, description: self.description, schema, strict: true })
    }
}
