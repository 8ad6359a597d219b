//! Who asks the control plane, when, and what is made of the answers.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_bedrockagent::types::{AgentAliasSummary, AgentSummary};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

use crate::backend::AwsClients;
use crate::backend::bedrock_agent::{self, DIRECT_PREFIX, DRAFT_ALIAS};
use crate::config::{Config, Discovery as Knobs};

use super::control_plane::{Cause, ControlPlane, Trouble};
use super::models::Catalogue;
use super::{AgentAt, Discovery, FoundAgent};

/// Calls at once.
const AT_ONCE: usize = 4;
/// How soon a round that failed is repeated at first; it doubles up to the ordinary time.
const AGAIN: Duration = Duration::from_secs(15);
/// An agent that the credentials may not read is asked about again after this.
const DENIED_FOR: Duration = Duration::from_secs(3600);
/// The longest time between two rounds while the service throttles.
const THROTTLED_AT_MOST: Duration = Duration::from_secs(3600);
/// What the draft's alias is called where the service does not list it; the console says so.
const DRAFT_NAME: &str = "AgentTestAlias";

/// Asks, round after round.
pub(super) struct Watcher<'a> {
    known: &'a Discovery,
    knobs: &'a Knobs,
    /// The region whose agents are listed.
    home: String,
    planes: HashMap<String, ControlPlane>,
    /// Where models are listed, if they are.
    catalogue: Option<Catalogue>,
    /// The agents of the configuration.
    configured: BTreeSet<AgentAt>,
    /// The agents that the credentials may not read, and until when nobody asks again.
    denied: HashMap<AgentAt, Instant>,
    /// Whether the log was told that agents cannot be listed, and not yet that they can again.
    is_warned: bool,
    /// The same of models.
    is_warned_of_models: bool,
    /// Whether the log was told that an agent may not be read.
    is_denial_told: bool,
}

impl<'a> Watcher<'a> {
    /// Nobody, where the configuration wants nothing to be known.
    pub(super) fn new(known: &'a Discovery, aws: &AwsClients, config: &'a Config) -> Option<Self> {
        let knobs = &config.discovery;
        let models = config.models.iter().filter(|model| model.backend == bedrock_agent::NAME);
        let configured: BTreeSet<_> = models.filter_map(|model| AgentAt::of(model, aws)).collect();
        let wants_idle_times = knobs.idle_ttl && !configured.is_empty();
        if !knobs.agents && !knobs.models && !wants_idle_times {
            return None;
        }
        let home = aws.region().to_owned();
        let plane = |region: &String| {
            let client = aws.control_plane(region);
            (region.clone(), ControlPlane::new(client, config.turn.retry_delay))
        };
        let regions: BTreeSet<_> = configured.iter().map(|at| &at.region).chain([&home]).collect();
        Some(Self {
            known,
            knobs,
            catalogue: knobs
                .models
                .then(|| Catalogue::new(aws.catalogue(&home), config.turn.retry_delay)),
            planes: regions.into_iter().map(plane).collect(),
            home,
            configured,
            denied: HashMap::new(),
            is_warned: false,
            is_warned_of_models: false,
            is_denial_told: false,
        })
    }

    /// Never returns.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            let trouble = self.round().await.err().map(|trouble| trouble.cause);
            failures = if trouble.is_some() { failures + 1 } else { 0 };
            tokio::time::sleep(wait(self.knobs.refresh, trouble, failures)).await;
        }
    }

    /// Asks everything once.
    async fn round(&mut self) -> Result<(), Trouble> {
        let listed = if self.knobs.agents { self.list().await } else { Ok(()) };
        let listed = listed.and(self.list_models().await);
        self.known.looked.cancel();
        let read = if self.knobs.idle_ttl { self.read_idle_times().await } else { Ok(()) };
        listed.and(read)
    }

    async fn list(&mut self) -> Result<(), Trouble> {
        let Some(plane) = self.planes.get(&self.home) else { return Ok(()) };
        let looked = find(plane, self.knobs.max_agents).await;
        let problem = looked.as_ref().err().map(|trouble| what_to_do(trouble.cause));
        self.known.set_agents_problem(problem);
        match looked {
            Ok(found) => {
                if found.len() != self.known.agents.load().len() || self.is_warned {
                    let is_full = found.len() == self.knobs.max_agents;
                    tracing::info!(aliases = found.len(), is_full, "agents were discovered");
                }
                self.is_warned = false;
                self.known.agents.store(Arc::new(found));
                Ok(())
            }
            Err(trouble) if self.is_warned => {
                tracing::debug!(error = %trouble, "agents still cannot be listed");
                Err(trouble)
            }
            Err(trouble) => {
                self.is_warned = true;
                let todo = what_to_do(trouble.cause);
                tracing::warn!(error = %trouble, "agents cannot be listed; {todo}");
                Err(trouble)
            }
        }
    }

    async fn list_models(&mut self) -> Result<(), Trouble> {
        let Some(catalogue) = &self.catalogue else { return Ok(()) };
        let looked = catalogue.models().await;
        let problem = looked.as_ref().err().map(|trouble| what_to_do_about_models(trouble.cause));
        self.known.set_models_problem(problem);
        match looked {
            Ok(found) => {
                if found.len() != self.known.models.load().len() || self.is_warned_of_models {
                    tracing::info!(models = found.len(), "models were discovered");
                }
                self.is_warned_of_models = false;
                self.known.models.store(Arc::new(found));
                Ok(())
            }
            Err(trouble) if self.is_warned_of_models => {
                tracing::debug!(error = %trouble, "models still cannot be listed");
                Err(trouble)
            }
            Err(trouble) => {
                self.is_warned_of_models = true;
                let todo = what_to_do_about_models(trouble.cause);
                tracing::warn!(error = %trouble, "models cannot be listed; {todo}");
                Err(trouble)
            }
        }
    }

    async fn read_idle_times(&mut self) -> Result<(), Trouble> {
        let now = Instant::now();
        self.denied.retain(|_, until| *until > now);
        let agents = self.agents();
        let mut times = self.known.idle.load().as_ref().clone();
        times.retain(|at, _| agents.contains(at));
        let asked = agents.iter().filter(|at| !self.denied.contains_key(at)).filter_map(|at| {
            let plane = self.planes.get(&at.region)?;
            Some(async move { (at, plane.idle_time(&at.agent).await) })
        });
        let asked: Vec<_> = asked.collect();
        let mut answers = stream::iter(asked).buffer_unordered(AT_ONCE);
        let (mut denied, mut failed, mut ended) = (Vec::new(), 0, Ok(()));
        while let Some((at, answer)) = answers.next().await {
            match answer {
                Ok(Some(time)) => {
                    times.insert(at.clone(), time);
                }
                Ok(None) | Err(Trouble { cause: Cause::Missing, .. }) => {
                    times.remove(at);
                }
                Err(trouble) if trouble.cause == Cause::Denied => denied.push((at, trouble)),
                Err(trouble) => {
                    tracing::debug!(
                        agent = at.agent, error = %trouble, "the agent's idle time cannot be read"
                    );
                    failed += 1;
                    let is_hopeless = trouble.cause == Cause::Throttled || failed == AT_ONCE;
                    ended = Err(trouble);
                    if is_hopeless {
                        break;
                    }
                }
            }
        }
        drop(answers);
        for (at, trouble) in denied {
            if !std::mem::replace(&mut self.is_denial_told, true) {
                tracing::debug!(
                    agent = at.agent, error = %trouble,
                    "the agent's idle time may not be read; idle_session_ttl_seconds counts"
                );
            }
            self.denied.insert(at.clone(), now + DENIED_FOR);
        }
        self.known.idle.store(Arc::new(times));
        ended
    }

    /// The agents of the configuration and those that were found.
    fn agents(&self) -> BTreeSet<AgentAt> {
        let found = self.known.agents();
        let found = found
            .iter()
            .map(|found| AgentAt { region: self.home.clone(), agent: found.agent.clone() });
        self.configured.iter().cloned().chain(found).collect()
    }
}

/// How long to wait for the next round, after so many that failed in a row.
fn wait(refresh: Duration, trouble: Option<Cause>, failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
    match trouble {
        None => refresh,
        Some(Cause::Throttled) => {
            let longer = refresh.saturating_mul(doubled.saturating_mul(2));
            longer.min(THROTTLED_AT_MOST).max(refresh)
        }
        Some(Cause::Denied | Cause::Missing | Cause::Failed) => {
            AGAIN.saturating_mul(doubled).min(refresh)
        }
    }
}

fn what_to_do(cause: Cause) -> &'static str {
    match cause {
        Cause::Denied => {
            "grant bedrock:ListAgents and bedrock:ListAgentAliases to the broker's credentials, \
             or set discovery.agents = false"
        }
        Cause::Throttled => "raise discovery.refresh_seconds",
        Cause::Missing | Cause::Failed => {
            "see that the control plane of Bedrock agents can be reached from here, or set \
             discovery.agents = false"
        }
    }
}

fn what_to_do_about_models(cause: Cause) -> &'static str {
    match cause {
        Cause::Denied => {
            "grant bedrock:ListFoundationModels and bedrock:ListInferenceProfiles to the broker's \
             credentials, or set discovery.models = false"
        }
        Cause::Throttled => "raise discovery.refresh_seconds",
        Cause::Missing | Cause::Failed => {
            "see that the control plane of Bedrock can be reached from here, or set \
             discovery.models = false"
        }
    }
}

/// The aliases that take turns, in the order of their names, and not more of them than `most`.
async fn find(plane: &ControlPlane, most: usize) -> Result<Vec<Arc<FoundAgent>>, Trouble> {
    let mut agents = plane.agents().await?;
    // Each has one alias at least.
    agents.truncate(most);
    let asked = agents.iter().map(|agent| async move {
        match plane.aliases(&agent.agent_id).await {
            Ok(aliases) => Ok(Ok(named(agent, aliases))),
            Err(trouble) if trouble.cause == Cause::Denied => Ok(Err(trouble)),
            Err(trouble) => Err(trouble),
        }
    });
    let asked: Vec<_> = asked.collect();
    let asked: Vec<_> = stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
    let mut found = Vec::new();
    // A grant may be for some agents only; one for none is a mistake.
    let mut denied = None;
    for aliases in asked {
        match aliases {
            Ok(aliases) => found.extend(aliases.into_iter().map(Arc::new)),
            Err(trouble) => denied = Some(trouble),
        }
    }
    if let Some(trouble) = denied.filter(|_| found.is_empty()) {
        return Err(trouble);
    }
    found.sort_by(|one, other| one.model.cmp(&other.model));
    found.dedup_by(|one, other| one.model == other.model);
    found.truncate(most);
    Ok(found)
}

/// The aliases of an agent under their names. A prepared agent's draft can be asked whether or
/// not the service lists its alias.
fn named(agent: &AgentSummary, aliases: Vec<AgentAliasSummary>) -> Vec<FoundAgent> {
    let is_draft_listed = aliases.iter().any(|alias| alias.agent_alias_id == DRAFT_ALIAS);
    let listed = aliases
        .into_iter()
        .map(|alias| (alias.agent_alias_id, alias.agent_alias_name, alias.description));
    let draft = (DRAFT_ALIAS.to_owned(), DRAFT_NAME.to_owned(), None);
    let draft = (!is_draft_listed).then_some(draft);
    let found = listed.chain(draft).filter_map(|(alias, alias_name, description)| {
        let is_known = bedrock_agent::is_agent_id(&agent.agent_id);
        if !is_known || !bedrock_agent::is_agent_id(&alias) {
            return None;
        }
        Some(FoundAgent {
            model: format!("{DIRECT_PREFIX}{}/{alias}", agent.agent_id).parse().ok()?,
            agent: agent.agent_id.clone(),
            alias,
            agent_name: agent.agent_name.clone(),
            alias_name,
            description: agent.description.clone().or(description),
        })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_bedrockagent::types::{AgentAliasStatus, AgentStatus};
    use aws_smithy_types::DateTime;

    use crate::config::Model;

    use super::*;

    const REFRESH: Duration = Duration::from_secs(300);

    fn agent(id: &str) -> AgentSummary {
        let summary = AgentSummary::builder().agent_id(id).agent_name("loan-advisor");
        let summary = summary.agent_status(AgentStatus::Prepared);
        summary.updated_at(DateTime::from_secs(0)).build().unwrap()
    }

    fn alias(id: &str, name: &str) -> AgentAliasSummary {
        AgentAliasSummary::builder()
            .agent_alias_id(id)
            .agent_alias_name(name)
            .agent_alias_status(AgentAliasStatus::Prepared)
            .description("what the public gets")
            .created_at(DateTime::from_secs(0))
            .updated_at(DateTime::from_secs(0))
            .build()
            .unwrap()
    }

    fn names(found: &[FoundAgent]) -> Vec<(&str, &str)> {
        found.iter().map(|found| (found.model.as_str(), found.alias_name.as_str())).collect()
    }

    #[test]
    fn the_draft_of_a_prepared_agent_is_named_once_listed_or_not() {
        let live = alias("LIVEALIAS1", "live");
        let unlisted = named(&agent("LOANAGENT1"), vec![live.clone()]);
        let draft = ("bedrock/agent/LOANAGENT1/TSTALIASID", DRAFT_NAME);
        let expected = [("bedrock/agent/LOANAGENT1/LIVEALIAS1", "live"), draft];
        assert_eq!(names(&unlisted), expected);
        assert_eq!(unlisted[0].description.as_deref(), Some("what the public gets"));
        let listed = named(&agent("LOANAGENT1"), vec![alias(DRAFT_ALIAS, "mine"), live]);
        assert_eq!(listed.len(), 2);
        assert_eq!(listed[0].alias_name, "mine");
    }

    #[test]
    fn an_id_that_would_make_another_name_is_left_out() {
        assert_eq!(named(&agent("A/B"), vec![alias("LIVEALIAS1", "live")]), []);
        assert_eq!(named(&agent("LOANAGENT1"), vec![alias("x y", "odd")]).len(), 1);
    }

    #[test]
    fn agents_are_asked_about_in_the_region_of_their_model() {
        let known = Discovery::default();
        let aws = AwsClients::emulated("http://127.0.0.1:1");
        let mut config = Config::default();
        assert!(Watcher::new(&known, &aws, &config).is_none(), "there is nobody to ask about");
        for (name, region) in [("here", None), ("there", Some("eu-west-1"))] {
            let mut model = Model::new(name.parse().unwrap(), bedrock_agent::NAME);
            model.agent_id = Some("LOANAGENT1".to_owned());
            model.region = region.map(str::to_owned);
            config.models.push(model);
        }
        let watcher = Watcher::new(&known, &aws, &config).unwrap();
        let agents: Vec<_> = watcher.agents().into_iter().map(|at| at.region).collect();
        assert_eq!(agents, ["eu-west-1", "us-east-1"]);
        assert!(agents.iter().all(|region| watcher.planes.contains_key(region)));
        config.discovery.idle_ttl = false;
        assert!(Watcher::new(&known, &aws, &config).is_none(), "nothing is to be known");
    }

    #[test]
    fn a_round_that_failed_is_repeated_sooner_and_a_throttled_one_later() {
        let seconds = |trouble, failures| wait(REFRESH, trouble, failures).as_secs();
        assert_eq!(seconds(None, 0), 300);
        let failed: Vec<_> = (1..=6).map(|n| seconds(Some(Cause::Failed), n)).collect();
        assert_eq!(failed, [15, 30, 60, 120, 240, 300]);
        let throttled: Vec<_> = (1..=5).map(|n| seconds(Some(Cause::Throttled), n)).collect();
        assert_eq!(throttled, [600, 1_200, 2_400, 3_600, 3_600]);
        assert_eq!(wait(Duration::from_secs(1), Some(Cause::Failed), u32::MAX).as_secs(), 1);
        let day = Duration::from_secs(86_400);
        assert_eq!(wait(day, Some(Cause::Throttled), u32::MAX), day);
    }
}
