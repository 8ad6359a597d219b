//! Inline agents: made for each call of a foundation model, an instruction and action groups, by
//! `InvokeInlineAgent`.
//!
//! `POST /agents/{session}`; the events, errors and sessions are those of `InvokeAgent`, and so
//! is the code for them. What the agent is comes with every call: the settings of the model, the
//! client's system messages, which are added to the instruction, and the client's tools.
//! (Amazon Bedrock API Reference, "InvokeInlineAgent"; API model of 2023-07-26.)

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_bedrockagentruntime::operation::invoke_inline_agent::builders::InvokeInlineAgentFluentBuilder;
use aws_sdk_bedrockagentruntime::types::{
    AgentActionGroup, GuardrailConfigurationWithArn, InlineBedrockModelConfigurations,
    InlineSessionState,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, TryFutureExt as _};

use crate::config::Model;
use crate::turn::{
    Failure, FailureKind, FinishReason, HandedBack, Message, Pending, ToolChoice, UpstreamSessionId,
};

use self::client_tools::ClientTools;
use super::bedrock_agent::answer::Answer;
use super::bedrock_agent::dialogue::{self, Operation, Plan, Step, Upstream};
use super::bedrock_agent::failure::Refused;
use super::bedrock_agent::invocation::{self, Invocation, session_state, with_members};
use super::bedrock_agent::results;
use super::bedrock_agent::wishes::{Wishes, check_knowledge_bases};
use super::bedrock_agent::{MARGIN, prose};
use super::{Ask, Backend, Deps, Farewell, Kind, Mistake, Outlet};

mod action_groups;
mod client_tools;
mod schema;
mod service_names;
#[cfg(test)]
mod tests;

pub(super) const NAME: &str = "bedrock-inline-agent";
/// Characters that an instruction must have, by the API model.
const SHORTEST: usize = 40;
/// Characters of an instruction with the client's system messages; the service says no figure,
/// this is the one of a prompt template.
const LONGEST: usize = 100_000;
/// Seconds that the service remembers a session, as each call says it.
const REMEMBERED: std::ops::RangeInclusive<u64> = 60..=3_600;
/// The version of a guardrail that is not published.
const DRAFT: &str = "DRAFT";
/// Where the knowledge bases stand in a request.
const KNOWLEDGE_BASES: &[&str] = &["knowledgeBases"];

/// The kind's entry in [`KINDS`](super::KINDS).
pub(super) const KIND: Kind = Kind {
    name: NAME,
    direct_prefix: None,
    direct: |_, _| Ok(()),
    may_direct: |_| true,
    fields: super::bedrock_agent::fields::FIELDS,
    check,
    open: |model, deps| Arc::new(BedrockInlineAgent::open(model, deps)),
};

fn check(model: &Model) -> Vec<Mistake> {
    let inline = &model.inline;
    let mut mistakes = Vec::new();
    let mut wrong = |setting, message: String| mistakes.push(Mistake { setting, message });
    if inline.foundation_model.as_ref().is_none_or(|id| !(1..=2048).contains(&id.len())) {
        let message = "a bedrock-inline-agent model needs its foundation_model, by id or ARN";
        wrong("foundation_model", message.to_owned());
    }
    let instruction = inline.instruction.as_deref().unwrap_or_default().chars().count();
    if !(SHORTEST..=LONGEST).contains(&instruction) {
        let message = format!(
            "a bedrock-inline-agent model needs an instruction of {SHORTEST} to {LONGEST} \
             characters; this one has {instruction}"
        );
        wrong("instruction", message);
    }
    match action_groups::read(&inline.action_groups) {
        Err(message) => wrong("action_groups", format!("action_groups{message}")),
        Ok(groups) => {
            if groups.iter().any(|group| group.action_group_name() == client_tools::GROUP) {
                let name = client_tools::GROUP;
                let message = format!("the action group {name} is the client's; rename yours");
                wrong("action_groups", message);
            }
        }
    }
    if let Err(message) = check_knowledge_bases(&model.agents.knowledge_bases, "description") {
        wrong("knowledge_bases", format!("knowledge_bases{message}"));
    }
    if model.guardrail.version.is_some() && model.guardrail.id.is_none() {
        wrong("guardrail_version", "there is no guardrail_id that it is a version of".to_owned());
    }
    if model.agents.memory_id.is_some() {
        wrong("memory_id", "inline agents have no long-term memory; leave it out".to_owned());
    }
    mistakes
}

/// One inline agent, as its model's settings have it.
#[derive(Debug)]
struct BedrockInlineAgent {
    agent: Arc<Agent>,
}

#[derive(Debug)]
struct Agent {
    upstream: Upstream,
    foundation_model: String,
    instruction: String,
    groups: Vec<AgentActionGroup>,
    guardrail: Option<GuardrailConfigurationWithArn>,
    /// How long the service is told to remember a session, in seconds.
    remembers: u64,
}

impl BedrockInlineAgent {
    fn open(model: &Model, deps: &Deps) -> Self {
        let inline = &model.inline;
        let ttl = model.idle_session_ttl.as_secs();
        Self {
            agent: Arc::new(Agent {
                upstream: Upstream::open(NAME, model, deps),
                foundation_model: inline.foundation_model.clone().unwrap_or_default(),
                instruction: inline.instruction.clone().unwrap_or_default(),
                // The settings were checked.
                groups: action_groups::read(&inline.action_groups).unwrap_or_default(),
                guardrail: guardrail(model),
                remembers: ttl.clamp(*REMEMBERED.start(), *REMEMBERED.end()),
            }),
        }
    }
}

fn guardrail(model: &Model) -> Option<GuardrailConfigurationWithArn> {
    let version = model.guardrail.version.as_deref().unwrap_or(DRAFT);
    // Both of its members are there.
    GuardrailConfigurationWithArn::builder()
        .guardrail_identifier(model.guardrail.id.as_ref()?)
        .guardrail_version(version)
        .build()
        .ok()
}

impl Backend for BedrockInlineAgent {
    fn answer(
        &self,
        ask: Ask,
        outlet: Outlet,
    ) -> BoxFuture<'static, Result<FinishReason, Failure>> {
        let agent = Arc::clone(&self.agent);
        async move { agent.answer(&ask, &outlet).await }.boxed()
    }

    fn remembers(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.agent.remembers).mul_f64(MARGIN))
    }

    fn memory_id(&self, _ask: &Ask) -> Option<String> {
        None
    }

    fn read_results(
        &self,
        pending: &Pending,
        handed_back: &HandedBack,
    ) -> Result<Vec<Message>, Failure> {
        results::read(pending, handed_back)
    }

    fn warm(&self) -> BoxFuture<'static, ()> {
        let agent = Arc::clone(&self.agent);
        async move { agent.upstream.access.warm().await }.boxed()
    }

    fn end(&self, farewell: Farewell) -> BoxFuture<'static, Result<(), Failure>> {
        let agent = Arc::clone(&self.agent);
        async move { agent.end(&farewell.upstream).await }.boxed()
    }
}

impl Agent {
    async fn answer(&self, ask: &Ask, outlet: &Outlet) -> Result<FinishReason, Failure> {
        refuse_what_only_agents_have(ask)?;
        let wishes = Wishes::of(&self.upstream.model, ask, self.upstream.debug_traces)?;
        let plan = Plan::of(ask, &wishes)?;
        let tools = self.client_tools(ask)?;
        let mut groups = self.groups.clone();
        groups.extend(tools.group());
        let instruction = self.instruction(ask)?;
        let answer = Answer::new(outlet, &tools, wishes.reasoning);
        let knowledge_bases = &self.upstream.model.agents.knowledge_bases;
        let invocation = Invocation { ask, wishes, knowledge_bases };
        let invoke = InvokeInlineAgent { agent: self, invocation, instruction, groups };
        dialogue::hold(&self.upstream, &invoke, plan, answer).await
    }

    fn client_tools(&self, ask: &Ask) -> Result<ClientTools, Failure> {
        let request = &ask.request;
        let may_call = request.generation.tool_choice != ToolChoice::None;
        let tools = if may_call { request.tools.as_slice() } else { &[] };
        ClientTools::of(tools, ask.pending.as_ref(), |name| {
            self.groups.iter().flat_map(action_groups::functions).any(|known| known == name)
        })
    }

    /// The instruction of the settings, and the client's system messages after it.
    fn instruction(&self, ask: &Ask) -> Result<String, Failure> {
        let system = prose::system_text(ask.system.iter());
        if system.is_empty() {
            return Ok(self.instruction.clone());
        }
        let instruction = format!("{}\n\n{system}", self.instruction);
        let length = instruction.chars().count();
        if length > LONGEST {
            let over = length - LONGEST;
            let message = format!("the system messages are {over} characters too long");
            return Err(Failure::bad_field("messages", message));
        }
        Ok(instruction)
    }

    /// What is the same in every call.
    fn call(&self, session: &UpstreamSessionId) -> InvokeInlineAgentFluentBuilder {
        let call = self.upstream.access.client.invoke_inline_agent();
        call.session_id(session.as_str())
            .foundation_model(&self.foundation_model)
            .idle_session_ttl_in_seconds(i32::try_from(self.remembers).unwrap_or(i32::MAX))
            .set_guardrail_configuration(self.guardrail.clone())
    }

    async fn end(&self, session: &UpstreamSessionId) -> Result<(), Failure> {
        let call = self.call(session).instruction(&self.instruction).end_session(true);
        invocation::leave(call.send().map_ok(|answered| answered.completion)).await
    }
}

/// `InvokeInlineAgent` has no place for these.
fn refuse_what_only_agents_have(ask: &Ask) -> Result<(), Failure> {
    let refused =
        |param, message| Err(Failure::new(FailureKind::UnsupportedParameter, message).at(param));
    if ask.request.memory_id.is_some() {
        return refused("memory_id", "inline agents have no long-term memory");
    }
    if ask.request.agent.knowledge_bases.is_some() {
        let message = "the knowledge bases of an inline agent are its model's settings";
        return refused("knowledge_base_configurations", message);
    }
    Ok(())
}

/// `InvokeInlineAgent`, for one turn.
struct InvokeInlineAgent<'a> {
    agent: &'a Agent,
    invocation: Invocation<'a>,
    instruction: String,
    groups: Vec<AgentActionGroup>,
}

impl Operation for InvokeInlineAgent<'_> {
    async fn call(&self, step: &Step, answer: &mut Answer<'_>) -> Result<(), Refused> {
        let Self { agent, invocation, .. } = self;
        let performance = invocation.wishes.performance.clone().map(|performance| {
            InlineBedrockModelConfigurations::builder().performance_config(performance).build()
        });
        let groups = (!self.groups.is_empty()).then(|| self.groups.clone());
        let call = agent.call(&invocation.ask.upstream);
        let call = with_members!(call, invocation, step)
            .instruction(&self.instruction)
            .set_action_groups(groups)
            .set_bedrock_model_configurations(performance)
            .inline_session_state(session_state!(InlineSessionState, invocation, step));
        let (call, raw) = invocation.past_types(call.customize(), KNOWLEDGE_BASES);
        let sent = call.send().map_ok(|answered| answered.completion);
        invocation::hear(sent, raw, answer).await
    }
}
