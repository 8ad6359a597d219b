//! New sessions: opened before anybody speaks in them, or forked from another one.

use warp::reply::Response;

use crate::edge::{Edge, models};
use crate::session::Opening;
use crate::turn::{Failure, FailureKind, SessionId, SessionKey};
use crate::wire;

use super::{Call, Reach};

impl Edge {
    /// `POST /v1/sessions`: a session with notes, and with what was said elsewhere, where the
    /// caller has such. With `prewarm` the way to its model is opened meanwhile.
    pub(super) async fn open_session(&self, call: &Call<'_>) -> Result<Response, Failure> {
        let asked = wire::sessions::opening(&call.body)?;
        let mut route = match &asked.model {
            Some(name) => Some(self.routes.exactly(name).ok_or_else(models::unknown)?),
            None => None,
        };
        if asked.prewarm && route.is_none() {
            route = Some(self.routes.find(None)?);
        }
        if let Some(route) = &route {
            call.caller.may_use(&route.model.name)?;
        }
        let tenant = call.caller.tenant.clone();
        let opening = Opening {
            key: SessionKey { tenant, id: asked.id.unwrap_or_else(SessionId::generate) },
            model: asked.model,
            metadata: asked.metadata,
            messages: asked.messages,
        };
        let snapshot = self.sessions.open(opening).await?;
        if let Some(route) = route.filter(|_| asked.prewarm) {
            self.sessions.warm(&route);
        }
        Ok(call.new_session(&snapshot))
    }

    /// `POST /v1/sessions/{id}/fork`: a session that begins with what this one held up to the end
    /// of a turn, or holds now.
    pub(super) async fn fork_session(&self, call: &Call<'_>) -> Result<Response, Failure> {
        let key = call.key(Reach::Own)?;
        let upto = wire::sessions::fork(&call.body)?;
        let forked = self.sessions.fork(&key, upto).await;
        let snapshot = forked.map_err(at_turn)?;
        Ok(call.new_session(&snapshot))
    }
}

/// A turn that is not there was named in the body.
pub(super) fn at_turn(failure: Failure) -> Failure {
    if failure.kind == FailureKind::TurnNotFound { failure.at("turn") } else { failure }
}
