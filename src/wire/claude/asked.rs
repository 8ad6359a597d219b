//! The body of a request in Claude's dialect, but for its blocks.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::turn::{
    AnswerFormat, Failure, FailureKind, Generation, JsonSchema, Role, SessionHints, Tool,
    ToolChoice, TurnRequest,
};
use crate::wire::agent_fields::{Attributes, Texts};
use crate::wire::asking::{self, MAX_TOOLS, Sampling, Stops, Thinking};
use crate::wire::body::wrong;
use crate::wire::bounded::{Allowance, AtMost};
use crate::wire::cache_mark::CacheMark;
use crate::wire::extension::Extension;
use crate::wire::said::{MAX_MESSAGES, Transcript};
use crate::wire::whole::Whole;
use crate::wire::{Asked, Defaults, Options, body};

use super::content;

/// The members that are read; every other one is skipped.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Body<'a> {
    model: Option<String>,
    max_tokens: Option<Whole>,
    #[serde(borrow)]
    messages: Option<AtMost<SentMessage<'a>, MAX_MESSAGES>>,
    #[serde(borrow)]
    system: Option<&'a RawValue>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<Whole>,
    stop_sequences: Option<Stops>,
    #[serde(borrow)]
    tools: Option<AtMost<SentTool<'a>, MAX_TOOLS>>,
    tool_choice: Option<SentChoice>,
    thinking: Option<Thinking>,
    #[serde(borrow)]
    output_config: Option<OutputConfig<'a>>,
    metadata: Option<Attributes>,
    service_tier: Option<String>,
    mcp_servers: Option<IgnoredAny>,
    stream: Option<bool>,
    session_id: Option<String>,
    #[serde(borrow)]
    outcrop: Option<Extension<'a, Texts>>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct SentMessage<'a> {
    role: SentRole,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
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

/// One entry of `tools`; those that the client runs are `custom`, or say nothing.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct SentTool<'a> {
    r#type: Option<String>,
    name: Option<String>,
    description: Option<String>,
    #[serde(borrow)]
    input_schema: Option<&'a RawValue>,
    strict: Option<bool>,
    cache_control: Option<CacheMark>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct SentChoice {
    r#type: String,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct OutputConfig<'a> {
    effort: Option<String>,
    #[serde(borrow)]
    format: Option<OutputFormat<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct OutputFormat<'a> {
    r#type: String,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
}

/// Reads a request.
pub(super) fn decode(sent: &[u8], defaults: &Defaults) -> Result<Asked, Failure> {
    let mut body: Body<'_> = body::read(sent)?;
    if body.mcp_servers.is_some() {
        let message = "mcp_servers are not called; leave them out, or offer their tools";
        return Err(Failure::new(FailureKind::UnsupportedParameter, message).at("mcp_servers"));
    }
    let mut said = Transcript::default();
    let mut request = TurnRequest {
        model: asking::parsed("model", body.model.as_deref())?,
        metadata: body.metadata.take().unwrap_or_default().0,
        ..TurnRequest::default()
    };
    if let Some(extension) = body.outcrop.take() {
        extension.fill("outcrop.", said.allowance(), &mut request)?;
    }
    request.hints = hints(body.session_id.as_deref(), &request)?;
    if let Some(system) = body.system {
        let blocks = content::system(system, &mut said)?;
        said.push("system", Role::System, blocks)?;
    }
    let Some(messages) = body.messages.take() else {
        return Err(wrong("messages", "is required"));
    };
    for (index, message) in messages.0.into_iter().enumerate() {
        let at = format!("messages[{index}]");
        let blocks = content::read(&at, message.content, &mut said)?;
        said.push(&at, message.role.into(), blocks)?;
    }
    let stream = body.stream.unwrap_or(defaults.stream);
    body.fill(&mut request, said.allowance())?;
    request.messages = said.finish(request.end_session)?;
    let options = Options { include_usage: true, ..Options::default() };
    Ok(Asked { request, stream, options })
}

fn hints(session_id: Option<&str>, request: &TurnRequest) -> Result<SessionHints, Failure> {
    let noted = |name: &str| request.metadata.get(name).map(String::as_str);
    let named = asking::parsed("session_id", session_id)?;
    let named = match named {
        Some(named) => Some(named),
        None => asking::parsed("metadata.session_id", noted("session_id"))?,
    };
    let speaker = asking::speaker("metadata.user_id", noted("user_id"))?;
    Ok(SessionHints { named, speaker, ..SessionHints::default() })
}

impl Body<'_> {
    /// Puts how the answer is to be made into the request.
    fn fill(self, request: &mut TurnRequest, allowance: &mut Allowance) -> Result<(), Failure> {
        let sampling = Sampling {
            max_tokens: ("max_tokens", self.max_tokens),
            temperature: ("temperature", self.temperature),
            top_p: ("top_p", self.top_p),
            top_k: ("top_k", self.top_k),
            stop: ("stop_sequences", self.stop_sequences),
        };
        sampling.fill(&mut request.generation)?;
        request.generation.service_tier = self.service_tier.map(tier).transpose()?;
        let tools = self.tools.map(|tools| tools.0).unwrap_or_default().into_iter().enumerate();
        let tools = tools.map(|(index, tool)| tool.read(&format!("tools[{index}]"), allowance));
        let tools = tools.collect::<Result<Vec<_>, _>>()?;
        if let Some(choice) = &self.tool_choice {
            let is_single = choice.disable_parallel_tool_use;
            request.generation.parallel_tool_calls = is_single.map(|is_single| !is_single);
        }
        let choice = self.tool_choice.map_or(Ok(ToolChoice::Auto), SentChoice::read)?;
        asking::offer(request, tools, choice, ("tools", "tool_choice"))?;
        if let Some(config) = self.output_config {
            config.fill(&mut request.generation, allowance)?;
        }
        let Some(thinking) = self.thinking else { return Ok(()) };
        thinking.fill("thinking", request)
    }
}

/// The service tier by the name that OpenAI's format has for it.
fn tier(name: String) -> Result<String, Failure> {
    match name.as_str() {
        "auto" => Ok(name),
        "standard_only" => Ok("default".to_owned()),
        _ => Err(wrong("service_tier", "must be auto or standard_only")),
    }
}

impl SentTool<'_> {
    fn read(self, at: &str, allowance: &mut Allowance) -> Result<Tool, Failure> {
        if self.r#type.as_deref().is_some_and(|kind| kind != "custom") {
            let param = format!("{at}.type");
            let message = format!("{param} must be custom: tools of other types are not run here");
            return Err(Failure::new(FailureKind::UnsupportedParameter, message).at(param));
        }
        let schema = ("input_schema", self.input_schema);
        let tool = asking::tool(at, (self.name, self.description), schema, allowance)?;
        Ok(Tool { strict: self.strict, cache: self.cache_control.map(|mark| mark.0), ..tool })
    }
}

impl SentChoice {
    fn read(self) -> Result<ToolChoice, Failure> {
        match (self.r#type.as_str(), self.name) {
            ("auto", _) => Ok(ToolChoice::Auto),
            ("any", _) => Ok(ToolChoice::Required),
            ("none", _) => Ok(ToolChoice::None),
            ("tool", Some(name)) => Ok(ToolChoice::Named(name)),
            ("tool", None) => Err(wrong("tool_choice.name", "is required")),
            _ => Err(wrong("tool_choice.type", "must be auto, any, tool or none")),
        }
    }
}

impl OutputConfig<'_> {
    fn fill(self, generation: &mut Generation, allowance: &mut Allowance) -> Result<(), Failure> {
        if let Some(name) = self.effort {
            generation.effort = Some(asking::effort("output_config.effort", &name)?);
        }
        let Some(format) = self.format else { return Ok(()) };
        if format.r#type != "json_schema" {
            return Err(wrong("output_config.format.type", "must be json_schema"));
        }
        let param = "output_config.format.schema";
        let schema = format.schema.ok_or_else(|| wrong(param, "is required"))?;
        let schema = allowance.object(schema).map_err(|why| wrong(param, why))?;
        let name = "answer".to_owned();
        let schema = JsonSchema { name, description: None, schema, strict: true };
        generation.format = AnswerFormat::JsonSchema(schema);
        Ok(())
    }
}
