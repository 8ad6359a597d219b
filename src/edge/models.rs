//! The models there are.

use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use serde_json::{Value, json};
use warp::reply::Response;

use crate::backend::FoundAgent;
use crate::turn::{Failure, FailureKind, ModelName};

use super::request::Incoming;
use super::{Edge, reply};

impl Edge {
    /// `GET /v1/models`: those of the configuration, then those that were discovered, as far as
    /// the key may use them. Nothing is asked upstream.
    pub(super) fn models(&self, incoming: &Incoming) -> Result<Response, Failure> {
        let caller = self.gate.identify(&incoming.headers)?;
        let usable =
            self.routes.configured().filter(|route| caller.may_use(&route.model.name).is_ok());
        let mut data: Vec<_> =
            usable.map(|route| self.written(&route.model.name, route.kind, None)).collect();
        let discovered = self.routes.discovered();
        let usable = discovered.iter().filter(|found| caller.may_use(&found.model).is_ok());
        data.extend(usable.map(|found| self.written(&found.model, FoundAgent::KIND, Some(found))));
        Ok(reply::json(StatusCode::OK, &json!({ "object": "list", "data": data })))
    }

    /// `GET /v1/models/{id}`.
    pub(super) fn model(&self, incoming: &Incoming) -> Result<Response, Failure> {
        let caller = self.gate.identify(&incoming.headers)?;
        let asked = incoming.captured.as_deref().unwrap_or_default();
        let name: ModelName = asked.parse().map_err(|_| unknown())?;
        let route = self.routes.exactly(&name).ok_or_else(unknown)?;
        caller.may_use(&name).map_err(|_| unknown())?;
        let found = self.routes.discovered_as(&name);
        let model = self.written(&name, route.kind, found.as_deref());
        Ok(reply::json(StatusCode::OK, &model))
    }

    fn written(&self, name: &ModelName, kind: &str, found: Option<&FoundAgent>) -> Value {
        let mut model = json!({
            "id": name.as_str(),
            "object": "model",
            "created": epoch_seconds(self.routes.opened()),
            "owned_by": kind,
        });
        if let Some(found) = found {
            model["outcrop"] = json!({
                "agent_id": found.agent,
                "agent_alias_id": found.alias,
                "agent_name": found.agent_name,
                "alias_name": found.alias_name,
                "description": found.description,
            });
        }
        model
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
