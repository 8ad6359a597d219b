//! The calls to the control plane of Bedrock agents, each bounded, and why they fail.
//!
//! (Agents for Amazon Bedrock API Reference, "ListAgents", "ListAgentAliases", "GetAgent"; API
//! model of 2023-06-05.)

use std::fmt;
use std::future::Future;
use std::time::Duration;

use aws_sdk_bedrockagent::Client;
use aws_sdk_bedrockagent::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockagent::types::{
    AgentAliasStatus, AgentAliasSummary, AgentStatus, AgentSummary, AliasInvocationState,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::backend::aws::aws_error;
use crate::backend::retry;

/// What one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Further attempts of a call that was throttled.
const RETRIES: usize = 5;
/// Agents or aliases asked for at once; the service takes 1 to 1,000.
const PAGE: i32 = 100;
/// Pages of one list that are read. An account has far fewer agents than these hold.
const PAGES: usize = 50;

/// Why a call failed: what its caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The credentials may not.
    Denied,
    /// The service wants to be asked less; it was asked several times already.
    Throttled,
    /// There is no such agent.
    Missing,
    /// Anything else: out of reach, too slow, not understood.
    Failed,
}

/// A call that failed.
#[derive(Debug)]
pub(in crate::backend) struct Trouble {
    pub(super) cause: Cause,
    /// What AWS said, for the log.
    said: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.said)
    }
}

impl Trouble {
    fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        Self { cause: cause(error.code(), status), said: aws_error(error) }
    }
}

fn cause(code: Option<&str>, status: Option<u16>) -> Cause {
    match (code, status) {
        (Some("AccessDeniedException"), _) => Cause::Denied,
        (Some("ThrottlingException"), _) | (_, Some(429)) => Cause::Throttled,
        (Some("ResourceNotFoundException"), _) => Cause::Missing,
        _ => Cause::Failed,
    }
}

/// The control plane of one region.
#[derive(Debug)]
pub(super) struct ControlPlane {
    client: Client,
    /// Before the first further attempt.
    retry_delay: Duration,
}

impl ControlPlane {
    pub(super) fn new(client: Client, retry_delay: Duration) -> Self {
        Self { client, retry_delay }
    }

    /// Every agent that is prepared, in the order of their ids.
    pub(super) async fn agents(&self) -> Result<Vec<AgentSummary>, Trouble> {
        let (mut agents, mut token) = (Vec::new(), None);
        for _ in 0..PAGES {
            let ask = || self.client.list_agents().max_results(PAGE).set_next_token(token.clone());
            let page = call(self.retry_delay, || ask().send()).await?;
            let prepared =
                |agent: &AgentSummary| matches!(agent.agent_status, AgentStatus::Prepared);
            agents.extend(page.agent_summaries.into_iter().filter(prepared));
            token = page.next_token;
            if token.is_none() {
                break;
            }
        }
        agents.sort_by(|one, other| one.agent_id.cmp(&other.agent_id));
        Ok(agents)
    }

    /// The aliases of an agent that take turns; none when the agent is gone.
    pub(super) async fn aliases(&self, agent: &str) -> Result<Vec<AgentAliasSummary>, Trouble> {
        let (mut aliases, mut token) = (Vec::new(), None);
        for _ in 0..PAGES {
            let ask = || {
                let ask = self.client.list_agent_aliases().agent_id(agent);
                ask.max_results(PAGE).set_next_token(token.clone())
            };
            let page = match call(self.retry_delay, || ask().send()).await {
                Ok(page) => page,
                Err(Trouble { cause: Cause::Missing, .. }) => return Ok(Vec::new()),
                Err(trouble) => return Err(trouble),
            };
            aliases.extend(page.agent_alias_summaries.into_iter().filter(takes_turns));
            token = page.next_token;
            if token.is_none() {
                break;
            }
        }
        Ok(aliases)
    }

    /// How long an agent's working draft remembers a session without a turn, where it says so.
    pub(super) async fn idle_time(&self, agent: &str) -> Result<Option<Duration>, Trouble> {
        let found =
            call(self.retry_delay, || self.client.get_agent().agent_id(agent).send()).await?;
        let seconds = found.agent.map_or(0, |agent| agent.idle_session_ttl_in_seconds);
        let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
        Ok(seconds.map(Duration::from_secs))
    }
}

/// Makes a call, and again after a while when the service throttles.
pub(super) async fn call<T, E, F>(retry_delay: Duration, ask: impl Fn() -> F) -> Result<T, Trouble>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    let mut delays = retry::delays(retry_delay, RETRIES);
    loop {
        let asked = tokio::time::timeout(CALL_TIMEOUT, Box::pin(ask())).await;
        let trouble = match asked {
            Ok(Ok(told)) => return Ok(told),
            Ok(Err(error)) => Trouble::of(&error),
            Err(_) => Trouble { cause: Cause::Failed, said: "no answer in time".to_owned() },
        };
        let wait = if trouble.cause == Cause::Throttled { delays.next() } else { None };
        let Some(wait) = wait else { return Err(trouble) };
        tokio::time::sleep(wait).await;
    }
}

/// An alias that says nothing of its state is older than the state.
fn takes_turns(alias: &AgentAliasSummary) -> bool {
    let is_there =
        matches!(alias.agent_alias_status, AgentAliasStatus::Prepared | AgentAliasStatus::Updating);
    is_there && alias.alias_invocation_state != Some(AliasInvocationState::RejectInvocations)
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::DateTime;

    use super::*;

    #[test]
    fn a_cause_is_found_by_its_name_or_its_status() {
        for (code, status, expected) in [
            (Some("AccessDeniedException"), Some(403), Cause::Denied),
            (Some("ExpiredTokenException"), Some(403), Cause::Failed),
            (Some("ThrottlingException"), Some(429), Cause::Throttled),
            (Some("TooManyRequestsException"), Some(429), Cause::Throttled),
            (Some("ResourceNotFoundException"), Some(404), Cause::Missing),
            (Some("UnknownOperationException"), Some(404), Cause::Failed),
            (None, Some(503), Cause::Failed),
            (None, None, Cause::Failed),
        ] {
            assert_eq!(cause(code, status), expected, "{code:?} {status:?}");
        }
    }

    #[test]
    fn only_aliases_that_are_there_and_not_paused_take_turns() {
        let alias = |status, state| {
            AgentAliasSummary::builder()
                .agent_alias_id("LIVEALIAS1")
                .agent_alias_name("live")
                .agent_alias_status(status)
                .set_alias_invocation_state(state)
                .created_at(DateTime::from_secs(0))
                .updated_at(DateTime::from_secs(0))
                .build()
                .unwrap()
        };
        let (accepts, rejects) =
            (AliasInvocationState::AcceptInvocations, AliasInvocationState::RejectInvocations);
        assert!(takes_turns(&alias(AgentAliasStatus::Prepared, None)));
        assert!(takes_turns(&alias(AgentAliasStatus::Updating, Some(accepts.clone()))));
        assert!(!takes_turns(&alias(AgentAliasStatus::Prepared, Some(rejects))));
        assert!(!takes_turns(&alias(AgentAliasStatus::Failed, Some(accepts))));
    }
}
