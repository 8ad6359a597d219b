//! Amazon Bedrock agents, by `InvokeAgent`.
//!
//! `POST /agents/{id}/agentAliases/{alias}/sessions/{session}/text` answers with an event stream
//! whose end is a clean end of the body; the service keeps the conversation under the session id
//! that we choose, and forgets it without a word after the agent's idle time.
//! (Amazon Bedrock API Reference, "InvokeAgent"; API model of 2023-07-26.)

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_bedrockagentruntime::operation::invoke_agent::builders::InvokeAgentFluentBuilder;
use aws_sdk_bedrockagentruntime::types::{
    ContentBlock, ConversationHistory, ConversationRole, Message as AwsMessage, SessionState,
    StreamingConfigurations,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::config::{Model, Turn as TurnConfig};
use crate::metrics::{Metrics, Outcome};
use crate::turn::{
    Failure, FailureKind, FinishReason, Message, Part, Role, TurnRequest, UpstreamSessionId,
};

use super::aws::{AgentAccess, Place};
use super::discovery::IdleTime;
use super::{Ask, Backend, Deps, Farewell, Kind, Mistake, Outlet, retry};

pub(super) mod answer;
pub(super) mod failure;
pub(super) mod fields;
pub(super) mod return_control;
pub(super) mod tap;
mod trace;
mod utf8;

pub(super) const NAME: &str = "bedrock-agent";
/// What the direct names of agents begin with; `AGENT` or `AGENT/ALIAS` follows.
pub(super) const DIRECT_PREFIX: &str = "bedrock/agent/";
/// The alias that stands for an agent's working draft.
pub(super) const DRAFT_ALIAS: &str = "TSTALIASID";
/// Agents forget a little before they say; past this share of their idle time we count a
/// session as forgotten.
const MARGIN: f64 = 0.95;
/// Characters of one seeded conversation, well under what `InvokeAgent` takes as input text.
const HISTORY_LIMIT: usize = 400_000;

/// The kind's entry in [`KINDS`](super::KINDS).
pub(super) const KIND: Kind = Kind {
    name: NAME,
    direct_prefix: Some(DIRECT_PREFIX),
    direct: direct_settings,
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
    shared: Arc<Agent>,
}

#[derive(Debug)]
struct Agent {
    access: AgentAccess,
    metrics: Arc<Metrics>,
    model: Model,
    idle: IdleTime,
    agent: String,
    alias: String,
    turn: TurnConfig,
    debug_traces: bool,
}

impl BedrockAgent {
    fn open(model: &Model, deps: &Deps) -> Self {
        let place = Place { region: model.region.clone(), endpoint: model.endpoint_url.clone() };
        let alias = model.agent_alias_id.clone().unwrap_or_else(|| DRAFT_ALIAS.to_owned());
        Self {
            shared: Arc::new(Agent {
                access: deps.aws.agents(&place),
                metrics: Arc::clone(&deps.metrics),
                model: model.clone(),
                idle: deps.discovery.idle_time(model, &deps.aws),
                agent: model.agent_id.clone().unwrap_or_default(),
                alias,
                turn: deps.config.turn.clone(),
                debug_traces: deps.config.routing.debug_traces,
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
        let agent = Arc::clone(&self.shared);
        async move { agent.answer(&ask, &outlet).await }.boxed()
    }

    fn remembers(&self) -> Option<Duration> {
        Some(self.shared.idle.get().mul_f64(MARGIN))
    }

    fn agent(&self) -> Option<(&str, &str)> {
        Some((&self.shared.agent, &self.shared.alias))
    }

    fn end(&self, farewell: Farewell) -> BoxFuture<'static, Result<(), Failure>> {
        let agent = Arc::clone(&self.shared);
        async move { agent.end(farewell).await }.boxed()
    }
}

impl Agent {
    async fn answer(&self, ask: &Ask, outlet: &Outlet) -> Result<FinishReason, Failure> {
        let text = input_text(&ask.input)?;
        let mut delays = retry::delays(self.turn.retry_delay, self.turn.retries);
        loop {
            outlet.called();
            let refused = match self.attempt(ask, &text, outlet).await {
                Ok(reason) => {
                    self.metrics.upstream_request(NAME, Outcome::Ok);
                    self.access.budget.earn();
                    return Ok(reason);
                }
                Err(refused) => refused,
            };
            self.metrics.upstream_request(NAME, Outcome::Failed);
            self.metrics.upstream_error(NAME, refused.failure.kind);
            let wait = if refused.did_not_start { delays.next() } else { None };
            let Some(wait) = wait.filter(|_| self.access.budget.spend()) else {
                let may_have_run = !refused.did_not_start;
                return Err(Failure { may_have_run, ..refused.failure });
            };
            self.metrics.upstream_retry(NAME);
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(
        &self,
        ask: &Ask,
        text: &str,
        outlet: &Outlet,
    ) -> Result<FinishReason, failure::Refused> {
        let wants_raw = self.debug_traces && ask.request.wants_traces;
        let call = self.call(&ask.upstream, &ask.request, wants_raw);
        let call = call
            .set_input_text((!text.is_empty()).then(|| text.to_owned()))
            .end_session(ask.request.end_session)
            .session_state(self.session_state(ask));
        let (call, raw) = if wants_raw {
            let (interceptor, raw) = tap::tap();
            (call.customize().interceptor(interceptor), Some(raw))
        } else {
            (call.customize(), None)
        };
        let answered = call.send().await.map_err(|error| failure::of_call(&error))?;
        // Not yet a sign of life: the service sends its head before it thinks.
        answer::read(answered.completion, raw, outlet, failure::of_stream).await
    }

    fn call(
        &self,
        upstream: &UpstreamSessionId,
        request: &TurnRequest,
        wants_raw: bool,
    ) -> InvokeAgentFluentBuilder {
        let guardrail_interval =
            self.model.guardrail_interval.map(|n| i32::try_from(n.get()).unwrap_or(i32::MAX));
        let streaming = StreamingConfigurations::builder()
            .stream_final_response(self.model.stream)
            .set_apply_guardrail_interval(guardrail_interval)
            .build();
        self.access
            .client
            .invoke_agent()
            .agent_id(&self.agent)
            .agent_alias_id(&self.alias)
            .session_id(upstream.as_str())
            .enable_trace(self.model.traces || wants_raw)
            .set_memory_id(request.memory_id.clone())
            .streaming_configurations(streaming)
    }

    fn session_state(&self, ask: &Ask) -> SessionState {
        let request = &ask.request;
        let mut session: HashMap<_, _> =
            self.model.session_attributes.clone().into_iter().collect();
        if self.model.metadata_attributes {
            session.extend(request.metadata.clone());
        }
        if let Some(caller) = &request.caller
            && !self.model.caller_attribute.is_empty()
        {
            session.insert(self.model.caller_attribute.clone(), caller.clone());
        }
        session.extend(request.session_attributes.clone());
        let mut prompt: HashMap<_, _> = request.prompt_attributes.clone().into_iter().collect();
        if let Some(attribute) = &self.model.system_prompt_attribute {
            let system = system_text(&request.messages);
            if !system.is_empty() {
                prompt.entry(attribute.clone()).or_insert(system);
            }
        }
        SessionState::builder()
            .set_session_attributes((!session.is_empty()).then_some(session))
            .set_prompt_session_attributes((!prompt.is_empty()).then_some(prompt))
            .set_conversation_history(history(&ask.history))
            .build()
    }

    async fn end(&self, farewell: Farewell) -> Result<(), Failure> {
        let Farewell { upstream, memory_id } = farewell;
        let silent = TurnRequest { memory_id, ..TurnRequest::default() };
        let call = self.call(&upstream, &silent, false).end_session(true);
        let mut answered = call.send().await.map_err(|error| failure::of_call(&error).failure)?;
        // The session ends when its stream does; what it still says is for nobody.
        while let Ok(Some(_)) = answered.completion.recv().await {}
        Ok(())
    }
}

/// What the agent is told: the texts of what is new, joined.
fn input_text(input: &[Message]) -> Result<String, Failure> {
    let mut joined = String::new();
    for message in input {
        match message.role {
            Role::User => {}
            Role::Tool => return Err(no_tool_results()),
            Role::System | Role::Assistant => continue,
        }
        for part in &message.parts {
            let Part::Text(text) = part else { return Err(no_attachments()) };
            if !joined.is_empty() {
                joined.push_str("\n\n");
            }
            joined.push_str(text);
        }
    }
    Ok(joined)
}

fn no_attachments() -> Failure {
    Failure::new(
        FailureKind::UnsupportedParameter,
        "Bedrock agents take text here; send images, audio and files to a model that reads them",
    )
    .at("messages")
}

fn no_tool_results() -> Failure {
    Failure::new(
        FailureKind::UnsupportedParameter,
        "this version cannot hand tool results back to a Bedrock agent; answer with a user message",
    )
    .at("messages")
}

fn system_text(messages: &[Message]) -> String {
    let texts: Vec<_> = messages
        .iter()
        .filter(|message| message.role == Role::System)
        .map(Message::plain_text)
        .collect();
    texts.join("\n\n")
}

/// The earlier conversation as the service takes it: text only, user and assistant in turn,
/// the user first, the newest kept when it is too long.
fn history(messages: &[Arc<Message>]) -> Option<ConversationHistory> {
    let mut turns: Vec<(ConversationRole, String)> = Vec::new();
    for message in messages {
        let role = match message.role {
            Role::User => ConversationRole::User,
            Role::Assistant => ConversationRole::Assistant,
            Role::System | Role::Tool => continue,
        };
        let text = message.plain_text();
        if text.trim().is_empty() {
            continue;
        }
        match turns.last_mut() {
            Some((last, joined)) if *last == role => {
                joined.push_str("\n\n");
                joined.push_str(&text);
            }
            _ => turns.push((role, text)),
        }
    }
    let mut room = HISTORY_LIMIT;
    let fits = turns.iter().rev().take_while(|(_, text)| {
        room = room.saturating_sub(text.len());
        room > 0
    });
    let kept = turns.len() - fits.count();
    let from_user = turns[kept..].iter().position(|(role, _)| *role == ConversationRole::User)?;
    let messages: Vec<_> = turns.drain(kept + from_user..).filter_map(aws_message).collect();
    Some(ConversationHistory::builder().set_messages(Some(messages)).build())
}

fn aws_message((role, text): (ConversationRole, String)) -> Option<AwsMessage> {
    // Role and content are all that the builder asks for.
    AwsMessage::builder().role(role).content(ContentBlock::Text(text)).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arc(role: Role, text: &str) -> Arc<Message> {
        Arc::new(Message::text(role, text))
    }

    fn seeded(messages: &[Arc<Message>]) -> Vec<(ConversationRole, String)> {
        let Some(history) = history(messages) else { return Vec::new() };
        let text = |message: &AwsMessage| match &message.content()[0] {
            ContentBlock::Text(text) => text.clone(),
            _ => String::new(),
        };
        history.messages().iter().map(|message| (message.role().clone(), text(message))).collect()
    }

    #[test]
    fn a_seeded_history_begins_with_the_user_and_alternates() {
        let messages = [
            arc(Role::System, "be kind"),
            arc(Role::Assistant, "Hello!"),
            arc(Role::User, "my name is Ann"),
            arc(Role::User, "I want a loan"),
            arc(Role::Assistant, "Hello Ann."),
        ];
        let expected = [
            (ConversationRole::User, "my name is Ann\n\nI want a loan".to_owned()),
            (ConversationRole::Assistant, "Hello Ann.".to_owned()),
        ];
        assert_eq!(seeded(&messages), expected);
    }

    #[test]
    fn of_a_history_that_is_too_long_the_newest_turns_are_kept() {
        let long = "x".repeat(HISTORY_LIMIT);
        let messages = [
            arc(Role::User, &long),
            arc(Role::Assistant, "so much"),
            arc(Role::User, "short"),
            arc(Role::Assistant, "fine"),
        ];
        assert_eq!(seeded(&messages)[0].1, "short");
    }

    #[test]
    fn a_history_without_a_user_is_none() {
        assert!(history(&[arc(Role::Assistant, "Hello!")]).is_none());
    }

    #[test]
    fn agent_ids_that_the_service_would_not_take_are_mistakes() {
        let mut model = Model::new("m".parse().unwrap(), NAME);
        assert_eq!(check(&model)[0].setting, "agent_id");
        model.agent_id = Some("AGENT/../X".to_owned());
        assert_eq!(check(&model)[0].setting, "agent_id");
        model.agent_id = Some("AGENT12345".to_owned());
        assert!(check(&model).is_empty());
    }
}
