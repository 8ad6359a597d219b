//! What Bedrock's control planes tell: which agents and which models there are, and how long an
//! agent remembers a session without a turn; and which models CodeWhisperer has.
//!
//! One task asks ([`Discovery::watch`]). Requests read what it last learnt, never wait for it,
//! and take no lock. A question that cannot be answered leaves what was known before: the last
//! list or, at first, the configured models alone; an agent's last idle time or, at first, the
//! one of its settings.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Model};
use crate::turn::ModelName;

use super::{AwsClients, bedrock_agent};

mod codewhisperer;
mod control_plane;
mod models;
mod watcher;

pub(super) use control_plane::Trouble;
pub(super) use models::Catalogue;
pub use models::FoundModel;

use watcher::Watcher;

/// What was learnt, shared by the one who asks and those who want to know.
#[derive(Debug, Default)]
pub struct Discovery {
    /// In the order of their names, each once.
    agents: ArcSwap<Vec<Arc<FoundAgent>>>,
    /// In the order of their names, each once.
    models: ArcSwap<Vec<Arc<FoundModel>>>,
    /// In the order of their names, each once.
    codewhisperer: ArcSwap<Vec<Arc<FoundModel>>>,
    idle: ArcSwap<IdleTimes>,
    /// Why agents and models cannot be listed: what to do about it.
    problems: ArcSwap<Problems>,
    /// Cancelled once agents and models were looked for, with or without success.
    looked: CancellationToken,
}

/// What to do where the last look failed.
#[derive(Debug, Clone, Copy, Default)]
struct Problems {
    agents: Option<&'static str>,
    models: Option<&'static str>,
}

/// The idle times of agents.
type IdleTimes = HashMap<AgentAt, Duration>;

/// An alias of an agent that the credentials can see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundAgent {
    /// The direct name by which it can be asked: `bedrock/agent/AGENT/ALIAS`.
    pub model: ModelName,
    /// The agent's id.
    pub agent: String,
    /// The alias's id.
    pub alias: String,
    /// What the agent is called by its owner.
    pub agent_name: String,
    /// What the alias is called by its owner.
    pub alias_name: String,
    /// What the agent's owner says of it, else of the alias.
    pub description: Option<String>,
}

impl FoundAgent {
    /// The kind of backend that answers for it.
    pub const KIND: &'static str = bedrock_agent::NAME;
}

/// An agent in its region.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct AgentAt {
    region: String,
    agent: String,
}

impl AgentAt {
    /// The agent of a model's settings, in the model's region.
    fn of(model: &Model, aws: &AwsClients) -> Option<Self> {
        let region = model.region.as_deref().unwrap_or(aws.region()).to_owned();
        Some(Self { region, agent: model.agent_id.clone()? })
    }
}

impl Discovery {
    /// Keeps what is known fresh until dropped; returns at once where there is nothing that the
    /// configuration wants to know.
    pub async fn watch(&self, aws: &AwsClients, config: &Config) {
        let planes = async {
            if let Some(watcher) = Watcher::new(self, aws, config) {
                watcher.run().await;
            }
        };
        let signed_in = async {
            if config.allows_direct() || config.discovery.models {
                let access = aws.codewhisperer(config);
                codewhisperer::watch(self, access, config.discovery.refresh).await;
            }
        };
        tokio::join!(planes, signed_in);
    }

    /// Waits until [`watch`](Self::watch) has looked for agents and models once, with or
    /// without success.
    pub async fn looked(&self) {
        self.looked.cancelled().await;
    }

    /// The agents that were found, in the order of their ids.
    #[must_use]
    pub fn agents(&self) -> Arc<Vec<Arc<FoundAgent>>> {
        self.agents.load_full()
    }

    /// The agent that was found under this direct name.
    #[must_use]
    pub fn agent(&self, model: &ModelName) -> Option<Arc<FoundAgent>> {
        let agents = self.agents.load();
        let place = agents.binary_search_by(|found| found.model.cmp(model)).ok()?;
        agents.get(place).cloned()
    }

    /// Bedrock's models that were found, in the order of their ids.
    #[must_use]
    pub fn models(&self) -> Arc<Vec<Arc<FoundModel>>> {
        self.models.load_full()
    }

    /// CodeWhisperer's models that were found, in the order of their names: the service's own
    /// choice is the first.
    #[must_use]
    pub fn codewhisperer(&self) -> Arc<Vec<Arc<FoundModel>>> {
        self.codewhisperer.load_full()
    }

    /// The model that was found under this direct name, one of Bedrock's with or without its
    /// prefix.
    #[must_use]
    pub fn model(&self, name: &ModelName) -> Option<Arc<FoundModel>> {
        let id = models::id_of(name);
        [&self.models, &self.codewhisperer].into_iter().find_map(|list| {
            let found = list.load();
            let place = found.binary_search_by(|found| models::id_of(&found.model).cmp(id)).ok()?;
            found.get(place).cloned()
        })
    }

    /// What to do where agents could not be listed when they were last looked for.
    #[must_use]
    pub fn agents_problem(&self) -> Option<&'static str> {
        self.problems.load().agents
    }

    /// What to do where models could not be listed when they were last looked for.
    #[must_use]
    pub fn models_problem(&self) -> Option<&'static str> {
        self.problems.load().models
    }

    fn set_agents_problem(&self, agents: Option<&'static str>) {
        self.problems.rcu(|problems| Problems { agents, ..**problems });
    }

    fn set_models_problem(&self, models: Option<&'static str>) {
        self.problems.rcu(|problems| Problems { models, ..**problems });
    }

    /// The idle time of a model's agent, to be read at every turn.
    pub(super) fn idle_time(self: &Arc<Self>, model: &Model, aws: &AwsClients) -> IdleTime {
        IdleTime {
            discovery: Arc::clone(self),
            at: AgentAt::of(model, aws),
            otherwise: model.idle_session_ttl,
        }
    }
}

/// How long one agent remembers a session without a turn.
#[derive(Debug)]
pub(super) struct IdleTime {
    discovery: Arc<Discovery>,
    at: Option<AgentAt>,
    otherwise: Duration,
}

impl IdleTime {
    /// What the agent says, else what its settings say.
    pub(super) fn get(&self) -> Duration {
        let times = self.discovery.idle.load();
        let told = self.at.as_ref().and_then(|at| times.get(at));
        told.copied().unwrap_or(self.otherwise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(region: Option<&str>) -> Model {
        let mut model = Model::new("loans".parse().unwrap(), "bedrock-agent");
        model.agent_id = Some("LOANAGENT1".to_owned());
        model.region = region.map(str::to_owned);
        model.idle_session_ttl = Duration::from_secs(600);
        model
    }

    #[test]
    fn an_idle_time_is_the_settings_until_the_agent_of_that_region_says_its_own() {
        let discovery = Arc::new(Discovery::default());
        let aws = AwsClients::emulated("http://127.0.0.1:1");
        let here = discovery.idle_time(&model(None), &aws);
        let elsewhere = discovery.idle_time(&model(Some("eu-west-1")), &aws);
        assert_eq!(here.get(), Duration::from_secs(600));
        let told = |seconds| {
            let at = AgentAt::of(&model(None), &aws).unwrap();
            discovery.idle.store(Arc::new(HashMap::from([(at, Duration::from_secs(seconds))])));
        };
        told(1_800);
        assert_eq!(here.get(), Duration::from_secs(1_800));
        assert_eq!(elsewhere.get(), Duration::from_secs(600));
        told(60);
        assert_eq!(here.get(), Duration::from_secs(60));
    }

    #[test]
    fn an_agent_is_found_by_its_direct_name_only() {
        let found = |alias: &str| {
            Arc::new(FoundAgent {
                model: format!("bedrock/agent/LOANAGENT1/{alias}").parse().unwrap(),
                agent: "LOANAGENT1".to_owned(),
                alias: alias.to_owned(),
                agent_name: "loan-advisor".to_owned(),
                alias_name: "live".to_owned(),
                description: None,
            })
        };
        let discovery = Discovery::default();
        discovery.agents.store(Arc::new(vec![found("LIVEALIAS1"), found("TSTALIASID")]));
        let at = |name: &str| discovery.agent(&name.parse().unwrap()).map(|f| f.alias.clone());
        assert_eq!(at("bedrock/agent/LOANAGENT1/TSTALIASID").as_deref(), Some("TSTALIASID"));
        assert_eq!(at("bedrock/agent/LOANAGENT1/OTHERALIAS"), None);
        assert_eq!(at("LOANAGENT1"), None);
    }
}
