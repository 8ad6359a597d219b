//! Amazon Bedrock agents, by `InvokeAgent`.
//!
//! `POST /agents/{id}/agentAliases/{alias}/sessions/{session}/text` answers with an event stream
//! whose end is a clean end of the body; the service keeps the conversation under the session id
//! that we choose, and forgets it without a word after the agent's idle time.
//! (Amazon Bedrock API Reference, "InvokeAgent"; API model of 2023-07-26.)
//!
//! What a turn says goes in through [`dialogue`]: texts by [`prose`], results by [`results`],
//! files by [`files`], settings by [`wishes`]. What comes back goes out through [`answer`]. The
//! inline agents next door share all of it.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_bedrockagentruntime::types::{BedrockModelConfigurations, SessionState};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, TryFutureExt as _};

use crate::config::Model;
use crate::turn::{Failure, FinishReason, HandedBack, Message, Pending};

use self::answer::Answer;
use self::dialogue::{Operation, Plan, Step, Upstream};
use self::failure::Refused;
use self::invocation::{Invocation, session_state, with_members};
use self::wishes::Wishes;
use super::discovery::IdleTime;
use super::{Ask, Backend, Deps, Farewell, Kind, Mistake, Outlet};

pub(super) mod answer;
mod arguments;
pub(super) mod call_names;
mod citation;
mod confirmation;
pub(super) mod dialogue;
pub(super) mod failure;
pub(super) mod fields;
mod files;
pub(super) mod invocation;
mod merge;
pub(super) mod prose;
pub(super) mod results;
pub(super) mod return_control;
mod spelled_result;
mod tally;
mod tap;
mod target;
#[cfg(test)]
mod tests;
mod trace;
pub(super) mod utf8;
pub(super) mod wishes;

pub(super) const NAME: &str = "bedrock-agent";
/// What the direct names of agents begin with; `AGENT` or `AGENT/ALIAS` follows.
pub(super) const DIRECT_PREFIX: &str = "bedrock/agent/";
/// The alias that stands for an agent's working draft.
pub(super) const DRAFT_ALIAS: &str = "TSTALIASID";
/// Agents forget a little before they say; past this share of their idle time we count a
/// session as forgotten.
pub(super) const MARGIN: f64 = 0.95;

/// What stands beside the id of a knowledge base.
const RETRIEVAL: &str = "retrievalConfiguration";
/// Where the configurations of knowledge bases stand in a request.
const KNOWLEDGE_BASES: &[&str] = &["sessionState", "knowledgeBaseConfigurations"];

/// The kind's entry in [`KINDS`](super::KINDS).
pub(super) const KIND: Kind = Kind {
    name: NAME,
    direct_prefix: Some(DIRECT_PREFIX),
    direct: direct_settings,
    may_direct: |_| true,
    fields: fields::FIELDS,
    check,
    open: |model, deps| Arc::new(BedrockAgent::open(model, deps)),
};

fn direct_settings(model: &mut Model, rest: &str) -> Result<(), Mistake> {
    let (agent, alias) = rest.split_once('/').unwrap_or((rest, DRAFT_ALIAS));
    model.agent_id = Some(agent.to_owned());
    model.agent_alias_id = Some(alias.to_owned());
    Ok(())
}

fn check(model: &Model) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    match &model.agent_id {
        None => mistakes.push(Mistake {
            setting: "agent_id",
            message: "a bedrock-agent model needs its agent_id".to_owned(),
        }),
        Some(id) if !is_agent_id(id) => mistakes.push(bad_id("agent_id", id)),
        Some(_) => {}
    }
    if let Some(alias) = &model.agent_alias_id
        && !is_agent_id(alias)
    {
        mistakes.push(bad_id("agent_alias_id", alias));
    }
    let bases = wishes::check_knowledge_bases(&model.agents.knowledge_bases, RETRIEVAL);
    if let Err(message) = bases {
        let message = format!("knowledge_bases{message}");
        mistakes.push(Mistake { setting: "knowledge_bases", message });
    }
    mistakes
}

/// At most ten letters and digits (API model: `^[0-9a-zA-Z]+$`, 10).
pub(super) fn is_agent_id(id: &str) -> bool {
    (1..=10).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn bad_id(setting: &'static str, id: &str) -> Mistake {
    let shown: String = id.chars().take(40).collect();
    Mistake { setting, message: format!("{setting} {shown:?} must be 1 to 10 letters and digits") }
}

/// One agent alias.
#[derive(Debug)]
struct BedrockAgent {
    agent: Arc<Agent>,
}

#[derive(Debug)]
struct Agent {
    upstream: Upstream,
    idle: IdleTime,
    id: String,
    alias: String,
}

impl BedrockAgent {
    fn open(model: &Model, deps: &Deps) -> Self {
        Self {
            agent: Arc::new(Agent {
                upstream: Upstream::open(NAME, model, deps),
                idle: deps.discovery.idle_time(model, &deps.aws),
                id: model.agent_id.clone().unwrap_or_default(),
                alias: model.agent_alias_id.clone().unwrap_or_else(|| DRAFT_ALIAS.to_owned()),
            }),
        }
    }
}

impl Backend for BedrockAgent {
    fn answer(
        &self,
        ask: Ask,
        outlet: Outlet,
    ) -> BoxFuture<'static, Result<FinishReason, Failure>> {
        let agent = Arc::clone(&self.agent);
        async move { agent.answer(&ask, &outlet).await }.boxed()
    }

    fn remembers(&self) -> Option<Duration> {
        Some(self.agent.idle.get().mul_f64(MARGIN))
    }

    fn agent(&self) -> Option<(&str, &str)> {
        Some((&self.agent.id, &self.agent.alias))
    }

    fn memory_id(&self, ask: &Ask) -> Option<String> {
        // A wrong one fails the turn by itself.
        wishes::memory_id(&self.agent.upstream.model, ask).ok().flatten()
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
        async move { agent.end(farewell).await }.boxed()
    }
}

impl Agent {
    async fn answer(&self, ask: &Ask, outlet: &Outlet) -> Result<FinishReason, Failure> {
        let wishes = Wishes::of(&self.upstream.model, ask, self.upstream.debug_traces)?;
        let knowledge_bases = wishes::knowledge_bases(&self.upstream.model, &ask.request)?;
        let plan = Plan::of(ask, &wishes)?;
        let answer = Answer::new(outlet, &ask.request.tools, wishes.reasoning);
        let invocation = Invocation { ask, wishes, knowledge_bases: &knowledge_bases };
        let invoke = InvokeAgent { agent: self, invocation };
        dialogue::hold(&self.upstream, &invoke, plan, answer).await
    }

    async fn end(&self, farewell: Farewell) -> Result<(), Failure> {
        let call = self.upstream.access.client.invoke_agent();
        let call = call
            .agent_id(&self.id)
            .agent_alias_id(&self.alias)
            .session_id(farewell.upstream.as_str())
            .set_memory_id(farewell.memory_id)
            .end_session(true);
        invocation::leave(call.send().map_ok(|answered| answered.completion)).await
    }
}

/// `InvokeAgent`, for one turn.
struct InvokeAgent<'a> {
    agent: &'a Agent,
    invocation: Invocation<'a>,
}

impl Operation for InvokeAgent<'_> {
    async fn call(&self, step: &Step, answer: &mut Answer<'_>) -> Result<(), Refused> {
        let Self { agent, invocation } = self;
        let Invocation { ask, wishes, .. } = invocation;
        let performance = wishes.performance.clone().map(|performance| {
            BedrockModelConfigurations::builder().performance_config(performance).build()
        });
        let call = agent.upstream.access.client.invoke_agent();
        let call = with_members!(call, invocation, step)
            .agent_id(&agent.id)
            .agent_alias_id(&agent.alias)
            .session_id(ask.upstream.as_str())
            .set_memory_id(wishes.memory_id.clone())
            .set_bedrock_model_configurations(performance)
            .session_state(session_state!(SessionState, invocation, step));
        let (call, raw) = invocation.past_types(call.customize(), KNOWLEDGE_BASES);
        let sent = call.send().map_ok(|answered| answered.completion);
        invocation::hear(sent, raw, answer).await
    }
}
