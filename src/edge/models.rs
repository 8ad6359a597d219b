//! The models there are, and how it stands with them.
//!
//! What OpenAI's API does not know stands in the member `outcrop`: who answers, whether the model
//! can be expected to, and why not. What is behind a model is for operators: it is shown to admin
//! keys, and to everybody on a broker without keys. Nothing is asked upstream for any of it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use serde_json::{Value, json};
use warp::reply::Response;

use crate::backend::health::{Health, Outlook, Standing, upstream};
use crate::backend::{FoundAgent, FoundModel, Route};
use crate::gate::Caller;
use crate::turn::{Failure, FailureKind, ModelName};

use super::request::Incoming;
use super::{Edge, reply};

impl Edge {
    /// `GET /v1/models`: those of the configuration, then those that were discovered, as far as
    /// the key may use them.
    pub(super) async fn models(&self, incoming: &Incoming) -> Result<Response, Failure> {
        let caller = self.gate.identify(&incoming.headers)?;
        let shown = self.shown_to(&caller).await;
        let may_use = |name: &ModelName| caller.may_use(name).is_ok();
        let configured = self.routes.configured().filter(|route| may_use(&route.model.name));
        let mut data: Vec<_> =
            configured.map(|route| shown.configured(&route.model.name, route)).collect();
        let agents = self.routes.discovered();
        let agents = agents.iter().filter(|found| may_use(&found.model));
        data.extend(agents.map(|found| shown.agent(found)));
        let (models, of_person) =
            (self.routes.discovered_models(), self.routes.codewhisperer_models());
        let models = models.iter().chain(&of_person).filter(|found| may_use(&found.model));
        data.extend(models.map(|found| shown.foundation_model(&found.model, found)));
        let mut list = json!({ "object": "list", "data": data });
        if let Some(problems) = shown.of_discovery() {
            list["outcrop"] = json!({ "discovery": problems });
        }
        Ok(reply::json(StatusCode::OK, &list))
    }

    /// `GET /v1/models/{id}`.
    pub(super) async fn model(&self, incoming: &Incoming) -> Result<Response, Failure> {
        let caller = self.gate.identify(&incoming.headers)?;
        let asked = incoming.captured.as_deref().unwrap_or_default();
        let name: ModelName = asked.parse().map_err(|_| unknown())?;
        let route = self.routes.exactly(&name).ok_or_else(unknown)?;
        caller.may_use(&name).map_err(|_| unknown())?;
        let shown = self.shown_to(&caller).await;
        let model = match (self.routes.discovered_as(&name), self.routes.discovered_model(&name)) {
            (Some(found), _) => shown.agent(&found),
            (None, Some(found)) if route.is_direct => shown.foundation_model(&name, &found),
            (None, _) => shown.configured(&name, &route),
        };
        Ok(reply::json(StatusCode::OK, &model))
    }

    async fn shown_to(&self, caller: &Caller) -> Shown<'_> {
        Shown {
            outlook: self.routes.outlook().await,
            opened: epoch_seconds(self.routes.opened()),
            to_operator: caller.is_admin || caller.key.is_none(),
        }
    }
}

/// What one caller is shown of models.
struct Shown<'a> {
    outlook: Outlook<'a>,
    /// When the models began to be there, in seconds since 1970.
    opened: u64,
    /// Whether the caller may see what is behind them.
    to_operator: bool,
}

impl Shown<'_> {
    /// `name` is the one that the client used.
    fn configured(&self, name: &ModelName, route: &Arc<Route>) -> Value {
        let mut more = json!({ "backend": route.kind });
        let behind = upstream(&route.model);
        if self.to_operator && !behind.is_empty() {
            more["upstream"] = behind.into();
        }
        self.written(name, route.kind, more, &self.outlook.of(route))
    }

    fn agent(&self, found: &FoundAgent) -> Value {
        let more = json!({
            "backend": FoundAgent::KIND,
            "agent_id": found.agent,
            "agent_alias_id": found.alias,
            "agent_name": found.agent_name,
            "alias_name": found.alias_name,
            "description": found.description,
        });
        self.written(&found.model, FoundAgent::KIND, more, &self.outlook.of_agents())
    }

    /// `name` is the one that the client used.
    fn foundation_model(&self, name: &ModelName, found: &FoundModel) -> Value {
        let more = json!({
            "backend": found.kind,
            "name": found.name,
            "input_modalities": found.reads,
            "output_modalities": found.makes,
            "streaming": found.streams,
        });
        self.written(name, &found.provider, more, &self.outlook.of_model(found))
    }

    fn written(&self, name: &ModelName, owner: &str, mut more: Value, health: &Health) -> Value {
        more["state"] = health.standing.name().into();
        more["healthy"] = health.standing.is_healthy().into();
        if let Some(last) = health.last_failure {
            let at = epoch_seconds(last.at);
            more["last_failure"] = json!({ "code": last.kind.code(), "at": at });
        }
        if let Some(problem) = health.problem.as_ref().filter(|_| self.to_operator) {
            more["problem"] = problem.as_str().into();
        }
        json!({
            "id": name.as_str(),
            "object": "model",
            "created": self.opened,
            "owned_by": owner,
            "outcrop": more,
        })
    }

    /// Which lists could not be had when they were last asked for; none where all could.
    fn of_discovery(&self) -> Option<Value> {
        let mut problems = serde_json::Map::new();
        for (what, health) in
            [("agents", self.outlook.of_agents()), ("models", self.outlook.of_models())]
        {
            if health.standing == Standing::Stale {
                let problem = health.problem.filter(|_| self.to_operator);
                let failed = match problem {
                    Some(problem) => json!({ "failed": true, "problem": problem }),
                    None => json!({ "failed": true }),
                };
                problems.insert(what.to_owned(), failed);
            }
        }
        (!problems.is_empty()).then(|| problems.into())
    }
}

/// What a client is told who names a model that is not there.
pub(super) fn unknown() -> Failure {
    Failure::new(
        FailureKind::ModelNotFound,
        "this model does not exist; GET /v1/models lists those that do",
    )
    .at("model")
}

/// Seconds since 1970, as OpenAI's formats count.
pub(super) fn epoch_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
