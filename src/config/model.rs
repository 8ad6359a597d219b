//! `[[models]]`: what clients can ask for, and who answers.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::Value;

use super::{Profile, Secret, Voice};
use crate::turn::ModelName;
use crate::turn::request::{DisconnectPolicy, FileUse, Latency, ToolErrors, TurnPolicy};

/// `[[models]]`
///
/// Which settings a model needs depends on its backend, which checks them.
#[derive(Debug, Clone)]
pub struct Model {
    /// `name`: what clients ask for.
    pub name: ModelName,
    /// `backend`: who answers; one of the kinds that `backend` lists.
    pub backend: String,
    /// `profile`: `text` or `voice`: which defaults the other settings have. Default: text.
    pub profile: Profile,
    /// `turn_policy`: `queue`, `reject` or `interrupt`. Default: queue; interrupt in the voice
    /// profile.
    pub turn_policy: TurnPolicy,
    /// `disconnect_policy`: `cancel` or `detach`. Default: cancel.
    pub disconnect_policy: DisconnectPolicy,
    /// `keep_alive_seconds`: overrides `server.keep_alive_seconds`. Default: none; 1 in the
    /// voice profile.
    pub keep_alive: Option<Duration>,
    /// `session_per_key`: all requests of a key that name no session share one. Default: false.
    pub session_per_key: bool,
    /// `first_event_timeout_seconds`: overrides the one of `[turn]`.
    pub first_event_timeout: Option<Duration>,
    /// `stall_timeout_seconds`: overrides the one of `[turn]`.
    pub stall_timeout: Option<Duration>,
    /// `region`: overrides the one of `[aws]`.
    pub region: Option<String>,
    /// `endpoint_url`: overrides the one of `[aws]`.
    pub endpoint_url: Option<String>,
    /// `agent_id`: ten characters, for Bedrock agents.
    pub agent_id: Option<String>,
    /// `agent_alias_id`: Default: TSTALIASID, the working draft.
    pub agent_alias_id: Option<String>,
    /// `idle_session_ttl_seconds`: after so long without a turn the agent has forgotten the
    /// session, as set on the agent itself. Default: 600.
    pub idle_session_ttl: Duration,
    /// `stream`: whether the agent is asked to stream its final answer. Default: true.
    pub stream: bool,
    /// `traces`: whether the agent is asked for traces, which carry its token usage and tell
    /// thinking from dead. Default: true.
    pub traces: bool,
    /// `guardrail_interval`: characters between guardrail checks while streaming (1 or more).
    pub guardrail_interval: Option<NonZeroU32>,
    /// `system_prompt_attribute`: the prompt session attribute that carries the client's
    /// system messages. Default: none; they are ignored, as the agent has instructions of its
    /// own.
    pub system_prompt_attribute: Option<String>,
    /// `caller_attribute`: the session attribute that carries the caller's phone number.
    /// Default: `phone_number`; empty for none.
    pub caller_attribute: String,
    /// `caller_fields`: where in the request body that number stands, in order, as dotted
    /// paths. Default: `customer.number`, `call.customer.number`, then `phone_number`,
    /// `phoneNumber`, `phone` and `customer_number` under `metadata`.
    pub caller_fields: Vec<String>,
    /// `session_attributes`: sent with every turn. Values may hold `{user}`, `{tenant}`,
    /// `{session}`, `{model}`, `{caller}` and `{metadata.NAME}`; an attribute of which one of
    /// these is not known is left out.
    pub session_attributes: BTreeMap<String, String>,
    /// `metadata_attributes`: whether a request's `metadata` becomes session attributes.
    /// Default: true.
    pub metadata_attributes: bool,
    /// What else agents are told.
    pub agents: AgentSettings,
    /// `fallbacks`: models that answer, in order, when this one cannot begin to; they are given
    /// the transcript.
    pub fallbacks: Vec<ModelName>,
    /// `upstreams`: for pools, the models that answer, as tables of `model` and `weight`.
    pub upstreams: Vec<PoolMember>,
    /// `hedge_seconds`: after so long without a first event the next model is asked too, and
    /// the first that answers counts. Default: never.
    pub hedge_after: Option<Duration>,
    /// `hedge_agents`: whether that may happen to agents, whose actions may then run twice.
    /// Default: false.
    pub hedge_agents: bool,
    /// What is said to people who listen.
    pub voice: Voice,
    /// What inline agents are made of.
    pub inline: InlineAgent,
    /// Where AgentCore answers.
    pub core: AgentCore,
    /// What `bedrock`, `openai` and `codewhisperer` models are asked with.
    pub text: TextModel,
    /// What checks the prompts and answers.
    pub guardrail: Guardrail,
    /// Where the settings stand in the file, by name, for messages; the table itself under "".
    pub lines: BTreeMap<String, usize>,
}

impl Model {
    /// A model of this name and backend with every default.
    #[must_use]
    pub fn new(name: ModelName, backend: impl Into<String>) -> Self {
        let caller_fields = [
            "customer.number",
            "call.customer.number",
            "metadata.phone_number",
            "metadata.phoneNumber",
            "metadata.phone",
            "metadata.customer_number",
        ];
        Self {
            name,
            backend: backend.into(),
            profile: Profile::default(),
            turn_policy: TurnPolicy::default(),
            disconnect_policy: DisconnectPolicy::default(),
            keep_alive: None,
            session_per_key: false,
            first_event_timeout: None,
            stall_timeout: None,
            region: None,
            endpoint_url: None,
            agent_id: None,
            agent_alias_id: None,
            idle_session_ttl: Duration::from_secs(600),
            stream: true,
            traces: true,
            guardrail_interval: None,
            system_prompt_attribute: None,
            caller_attribute: "phone_number".to_owned(),
            caller_fields: caller_fields.map(str::to_owned).to_vec(),
            session_attributes: BTreeMap::new(),
            metadata_attributes: true,
            agents: AgentSettings::default(),
            fallbacks: Vec::new(),
            upstreams: Vec::new(),
            hedge_after: None,
            hedge_agents: false,
            voice: Voice::default(),
            inline: InlineAgent::default(),
            core: AgentCore::default(),
            text: TextModel::default(),
            guardrail: Guardrail::default(),
            lines: BTreeMap::new(),
        }
    }
}

/// A model of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolMember {
    /// Which model.
    pub model: ModelName,
    /// How often it is asked, against the others. Default: 1.
    pub weight: NonZeroU32,
}

/// What agents are told besides; the settings stand in the model's own table.
#[derive(Debug, Clone, Default)]
pub struct AgentSettings {
    /// `prompt_session_attributes`: sent with every turn, for that turn only.
    pub prompt_session_attributes: BTreeMap<String, String>,
    /// `memory_id`: the key of the agent's long-term memory, with the same placeholders.
    pub memory_id: Option<String>,
    /// `knowledge_bases`: for agents, how their knowledge bases are searched
    /// (`knowledgeBaseConfigurations`); for inline agents, the knowledge bases that they have
    /// (`knowledgeBases`). In the service's own spelling.
    pub knowledge_bases: Vec<Value>,
    /// `latency`: `standard` or `optimized`. Default: the service's.
    pub latency: Option<Latency>,
    /// `previous_turns`: earlier turns that the agent puts into its prompt. Default: the
    /// service's.
    pub previous_turns: Option<usize>,
    /// `exclude_thinking`: whether the agent leaves the thinking of earlier turns out of its
    /// prompt. Default: false.
    pub exclude_thinking: bool,
    /// `tool_errors`: `reprompt` or `failure`: what a tool's error means to the agent.
    /// Default: reprompt.
    pub tool_errors: ToolErrors,
    /// `file_use`: `chat` or `code_interpreter`: what the files of a request are for.
    /// Default: chat.
    pub file_use: FileUse,
    /// `reasoning`: `never`, `asked` or `always`: when clients see an agent's rationale and
    /// its model's reasoning. Default: asked.
    pub reasoning: Reasoning,
    /// `expose_traces`: whether clients may have this model's raw traces, which hold prompts.
    /// Default: false; `routing.debug_traces` allows it for all.
    pub expose_traces: bool,
}

/// What `bedrock-inline-agent` models are made of; the settings stand in the model's own table.
#[derive(Debug, Clone, Default)]
pub struct InlineAgent {
    /// `foundation_model`: the model or inference profile, by id or ARN. For `bedrock` models, the
    /// one behind a `model_id` that does not name it (an application inference profile, a
    /// provisioned model): what it can do is known by it.
    pub foundation_model: Option<String>,
    /// `instruction`: what the agent is to do; at least 40 characters. The
    /// client's system messages are added.
    pub instruction: Option<String>,
    /// `action_groups`: `actionGroups`, in the service's own spelling; the
    /// client's tools are added as one more.
    pub action_groups: Vec<Value>,
}

/// A guardrail of Bedrock; the settings stand in the model's own table.
#[derive(Debug, Clone, Default)]
pub struct Guardrail {
    /// `guardrail_id`: the guardrail, by id or ARN.
    pub id: Option<String>,
    /// `guardrail_version`: a number or `DRAFT`, the default.
    pub version: Option<String>,
}

/// What `bedrock`, `openai` and `codewhisperer` models are asked with; the settings stand in the model's own
/// table. Such models keep nothing: the session owns the history.
#[derive(Debug, Clone, Default)]
pub struct TextModel {
    /// `model_id`: the model as its upstream calls it; on Bedrock an id, an inference profile
    /// or an ARN.
    pub model_id: Option<String>,
    /// `base_url`: for `openai`, what `/chat/completions` is put behind.
    pub base_url: Option<String>,
    /// `api_key`: the upstream's key. On Bedrock, an API key in place of AWS credentials.
    pub api_key: Option<Secret>,
    /// `max_tokens`: how long an answer may be where the request does not say.
    pub max_tokens: Option<NonZeroU32>,
    /// `regions`: for `bedrock`, the regions to ask, in order: the next one where one throttles
    /// or is down before it answers. Default: `region` alone.
    pub regions: Vec<String>,
    /// `fetch_urls`: whether http and https URLs of images and files are fetched for clients;
    /// never from private addresses. Default: false.
    pub fetch_urls: bool,
    /// `prompt_cache`: `auto` or `off`: whether the broker marks what a model's prompt cache
    /// should keep. Default: auto.
    pub prompt_cache: PromptCache,
    /// `service_tier`: the tier where a request names none. Default: the upstream's own.
    pub service_tier: Option<String>,
    /// `profile_arn`: for `codewhisperer`, the profile that a sign-in of IAM Identity Center is
    /// used with. Default: the one that `outcrop login` found.
    pub profile_arn: Option<String>,
}

/// Whether prompts are marked for a model's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PromptCache {
    /// After the tools, the system prompt and the last two turns of the user.
    #[default]
    Auto,
    /// Only where the client says so.
    Off,
}

impl PromptCache {
    /// Every case with its name.
    pub const NAMES: &'static [(&'static str, Self)] = &[("auto", Self::Auto), ("off", Self::Off)];
}

/// Where `bedrock-agentcore` models answer; the settings stand in the model's own table.
#[derive(Debug, Clone, Default)]
pub struct AgentCore {
    /// `runtime_arn`: the runtime; or `harness_arn`.
    pub runtime_arn: Option<String>,
    /// `harness_arn`: the managed harness.
    pub harness_arn: Option<String>,
    /// `qualifier`: the endpoint of the runtime or harness. Default: the service's.
    pub qualifier: Option<String>,
    /// `payload`: for runtimes, the JSON they take: a string that is one of the
    /// placeholders `{input}`, `{messages}`, `{history}`, `{tools}`, `{session}`, `{user}`,
    /// `{tenant}`, `{metadata}` stands for that value. Default: `{"prompt": "{input}"}`.
    pub payload: Option<String>,
    /// `runtime_user`: the user it is told, with the placeholders of
    /// `session_attributes`.
    pub runtime_user: Option<String>,
}

/// When clients see an agent's reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reasoning {
    /// Never.
    Never,
    /// When they ask for it.
    #[default]
    Asked,
    /// Unless they ask not to.
    Always,
}

impl Reasoning {
    /// Every case with its name.
    pub const NAMES: &'static [(&'static str, Self)] =
        &[("never", Self::Never), ("asked", Self::Asked), ("always", Self::Always)];
}
