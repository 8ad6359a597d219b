//! Who is behind a model, and how it stands with it, as far as the broker knows without asking.
//!
//! What is known comes from what happens anyway: turns tell their [`Breaker`](super::breaker), the
//! credentials and the sign-in are looked after by tasks of their own, and so are the lists of
//! what was discovered. Nothing is asked upstream for it.

use std::sync::Arc;
use std::time::SystemTime;

use http::Uri;

use crate::config::Model;
use crate::turn::FailureKind;

use super::sign_in::SignInProblem;
use super::{
    Discovery, FoundModel, Route, Routes, agentcore, bedrock_agent, bedrock_inline_agent,
    codewhisperer,
};

/// The kinds that cannot be asked without AWS credentials; models can, with a key of Bedrock's.
const SIGNED: [&str; 3] = [bedrock_agent::NAME, bedrock_inline_agent::NAME, agentcore::NAME];

/// How it stands with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has asked it since the broker started.
    Unknown,
    /// It answered when it was last asked.
    Ready,
    /// It failed when it was last asked.
    Failing,
    /// It failed again and again: those that can answer in its place are asked first.
    PassedOver,
    /// The sign-in that it needs is missing or cannot be used.
    SignedOut,
    /// No AWS credentials were found.
    NoCredentials,
    /// It was discovered, and whether it is still there cannot be found out now.
    Stale,
}

impl Standing {
    /// Its name in replies.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ready => "ready",
            Self::Failing => "failing",
            Self::PassedOver => "passed_over",
            Self::SignedOut => "signed_out",
            Self::NoCredentials => "no_credentials",
            Self::Stale => "stale",
        }
    }

    /// Whether the model can be expected to answer; `None` where nobody knows.
    #[must_use]
    pub fn is_healthy(self) -> Option<bool> {
        match self {
            Self::Unknown | Self::Stale => None,
            Self::Ready => Some(true),
            Self::Failing | Self::PassedOver | Self::SignedOut | Self::NoCredentials => Some(false),
        }
    }
}

/// The last failure of a model's upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastFailure {
    /// What it was.
    pub kind: FailureKind,
    /// When it came.
    pub at: SystemTime,
}

/// How it stands with a model, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// In one word.
    pub standing: Standing,
    /// The last failure since the start, whatever came after it.
    pub last_failure: Option<LastFailure>,
    /// What is wrong and what to do, for the operator: it may name files of this machine.
    pub problem: Option<String>,
}

impl From<Standing> for Health {
    fn from(standing: Standing) -> Self {
        Self { standing, last_failure: None, problem: None }
    }
}

/// What is known of everything that several models share, looked up once for all of them.
#[derive(Debug)]
pub struct Outlook<'a> {
    routes: &'a Routes,
    /// Why there are no credentials.
    credentials: Option<&'static str>,
    /// Why the sign-in to CodeWhisperer cannot be used.
    sign_in: Option<String>,
}

impl Routes {
    /// What is known now. Reads the files of the sign-in where a model needs it, and asks nobody.
    pub async fn outlook(&self) -> Outlook<'_> {
        let deps = self.deps();
        let needs_sign_in = self.configured().any(|route| route.kind == codewhisperer::NAME);
        let sign_in = &deps.aws.codewhisperer(&deps.config).sign_in;
        let sign_in = match needs_sign_in || sign_in.exists() {
            true => sign_in.status().await.and_then(|found| found.ok_or(SignInProblem::SignedOut)),
            false => Err(SignInProblem::SignedOut),
        };
        let sign_in = sign_in.err().map(|problem| problem.to_string());
        let credentials = deps.aws.health().and_then(|health| health.error);
        Outlook { routes: self, credentials, sign_in }
    }
}

impl Outlook<'_> {
    /// How it stands with a model of the configuration. A pool stands as the best of its members.
    #[must_use]
    pub fn of(&self, route: &Arc<Route>) -> Health {
        if route.model.upstreams.is_empty() {
            return self.alone(route);
        }
        let members = self.routes.candidates(route, None);
        let healths = members.iter().map(|member| self.alone(member));
        let best = healths.min_by_key(|health| match health.standing.is_healthy() {
            Some(true) => 0,
            None => 1,
            Some(false) => 2,
        });
        best.unwrap_or_else(|| Standing::Unknown.into())
    }

    /// How it stands with the agents that were discovered.
    #[must_use]
    pub fn of_agents(&self) -> Health {
        self.of_found(self.discovery().agents_problem())
    }

    /// How it stands with the models that were discovered.
    #[must_use]
    pub fn of_models(&self) -> Health {
        self.of_found(self.discovery().models_problem())
    }

    /// How it stands with a model that was discovered.
    #[must_use]
    pub fn of_model(&self, found: &FoundModel) -> Health {
        match &self.sign_in {
            _ if found.kind != codewhisperer::NAME => self.of_models(),
            None => Standing::Unknown.into(),
            problem => Health { problem: problem.clone(), ..Standing::SignedOut.into() },
        }
    }

    fn discovery(&self) -> &Discovery {
        &self.routes.deps().discovery
    }

    fn of_found(&self, problem: Option<&'static str>) -> Health {
        let standing = if problem.is_some() { Standing::Stale } else { Standing::Unknown };
        Health { problem: problem.map(str::to_owned), ..standing.into() }
    }

    fn alone(&self, route: &Route) -> Health {
        let known = route.breaker.known();
        let last_failure = known.last_failure;
        if route.kind == codewhisperer::NAME && self.sign_in.is_some() {
            let problem = self.sign_in.clone();
            return Health { standing: Standing::SignedOut, last_failure, problem };
        }
        let standing = match known.is_well {
            _ if route.breaker.is_open() => Standing::PassedOver,
            Some(true) => Standing::Ready,
            Some(false) => Standing::Failing,
            None if self.credentials.is_some() && SIGNED.contains(&route.kind) => {
                let problem = self.credentials.map(str::to_owned);
                return Health { problem, ..Standing::NoCredentials.into() };
            }
            None => Standing::Unknown,
        };
        Health { standing, last_failure, problem: None }
    }
}

/// What stands behind a model, by the setting that names it: `AGENT/ALIAS`, or a model's id and
/// the host where it is. Without account numbers, credentials and the paths of URLs; empty where
/// the upstream chooses by itself.
#[must_use]
pub fn upstream(model: &Model) -> String {
    if let Some(agent) = &model.agent_id {
        let alias = model.agent_alias_id.as_deref().unwrap_or("TSTALIASID");
        return format!("{agent}/{alias}");
    }
    if !model.upstreams.is_empty() {
        let names: Vec<_> = model.upstreams.iter().map(|member| member.model.as_str()).collect();
        return names.join(", ");
    }
    let core = [&model.core.runtime_arn, &model.core.harness_arn];
    let named = core.into_iter().chain([&model.inline.foundation_model]).flatten().next();
    let named = named.or(model.text.model_id.as_ref()).map_or("", |named| without_account(named));
    let host = model.text.base_url.as_deref().map(host).unwrap_or_default();
    match (named, host.as_str()) {
        ("", host) => host.to_owned(),
        (named, "") => named.to_owned(),
        (named, host) => format!("{named} at {host}"),
    }
}

/// What an ARN names, without whose it is: `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`.
fn without_account(name: &str) -> &str {
    match name.starts_with("arn:") {
        true => name.splitn(6, ':').nth(5).unwrap_or_default(),
        false => name,
    }
}

/// Host and port of a URL, without a name and password before them.
fn host(url: &str) -> String {
    let parsed = url.parse::<Uri>().ok();
    let authority = parsed.as_ref().and_then(Uri::authority).map_or("", |found| found.as_str());
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(backend: &str) -> Model {
        Model::new("m".parse().unwrap(), backend)
    }

    #[test]
    fn a_model_is_told_by_what_stands_behind_it() {
        let mut agent = model("bedrock-agent");
        agent.agent_id = Some("ABCDEF1234".to_owned());
        assert_eq!(upstream(&agent), "ABCDEF1234/TSTALIASID");
        let mut openai = model("openai");
        openai.text.model_id = Some("llama3".to_owned());
        assert_eq!(upstream(&openai), "llama3");
        openai.text.base_url = Some("http://ann:secret@x:11434/v1?key=1".to_owned());
        assert_eq!(upstream(&openai), "llama3 at x:11434");
        assert_eq!(upstream(&model("codewhisperer")), "");
    }

    #[test]
    fn nobody_is_told_whose_account_it_is() {
        let mut core = model("bedrock-agentcore");
        let arn = "arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/loans-AbC";
        core.core.runtime_arn = Some(arn.to_owned());
        assert_eq!(upstream(&core), "runtime/loans-AbC");
        let mut profile = model("bedrock");
        let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/ab12";
        profile.text.model_id = Some(arn.to_owned());
        assert_eq!(upstream(&profile), "application-inference-profile/ab12");
        profile.text.model_id = Some("anthropic.claude-v2:1".to_owned());
        assert_eq!(upstream(&profile), "anthropic.claude-v2:1");
    }
}
