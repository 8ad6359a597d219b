//! The models there are.

use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use serde_json::{Value, json};
use warp::reply::Response;

use crate::backend::{FoundAgent, FoundModel};
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
            usable.map(|route| self.written(&route.model.name, route.kind)).collect();
        let discovered = self.routes.discovered();
        let usable = discovered.iter().filter(|found| caller.may_use(&found.model).is_ok());
        data.extend(usable.map(|found| self.agent(found)));
        let discovered = self.routes.discovered_models();
        let of_person = self.routes.codewhisperer_models();
        let discovered = discovered.iter().chain(&of_person);
        let usable = discovered.filter(|found| caller.may_use(&found.model).is_ok());
        data.extend(usable.map(|found| self.foundation_model(&found.model, found)));
        Ok(reply::json(StatusCode::OK, &json!({ "object": "list", "data": data })))
    }

    /// `GET /v1/models/{id}`.
    pub(super) fn model(&self, incoming: &Incoming) -> Result<Response, Failure> {
        let caller = self.gate.identify(&incoming.headers)?;
        let asked = incoming.captured.as_deref().unwrap_or_default();
        let name: ModelName = asked.parse().map_err(|_| unknown())?;
        let route = self.routes.exactly(&name).ok_or_else(unknown)?;
        caller.may_use(&name).map_err(|_| unknown())?;
        let model = match (self.routes.discovered_as(&name), self.routes.discovered_model(&name)) {
            (Some(found), _) => self.agent(&found),
            (None, Some(found)) if route.is_direct => self.foundation_model(&name, &found),
            (None, _) => self.written(&name, route.kind),
        };
        Ok(reply::json(StatusCode::OK, &model))
    }

    fn agent(&self, found: &FoundAgent) -> Value {
        let mut model = self.written(&found.model, FoundAgent::KIND);
        model["outcrop"] = json!({
            "agent_id": found.agent,
            "agent_alias_id": found.alias,
            "agent_name": found.agent_name,
            "alias_name": found.alias_name,
            "description": found.description,
        });
        model
    }

    /// `name` is the one that the client used.
    fn foundation_model(&self, name: &ModelName, found: &FoundModel) -> Value {
        let mut model = self.written(name, &found.provider);
        model["outcrop"] = json!({
            "name": found.name,
            "input_modalities": found.reads,
            "output_modalities": found.makes,
            "streaming": found.streams,
        });
        model
    }

    fn written(&self, name: &ModelName, owner: &str) -> Value {
        json!({
            "id": name.as_str(),
            "object": "model",
            "created": epoch_seconds(self.routes.opened()),
            "owned_by": owner,
        })
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
