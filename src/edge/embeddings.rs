//! Embeddings over HTTP: `POST /v1/embeddings`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use http::StatusCode;
use http::header::HeaderValue;
use tokio_stream::Stream;
use warp::reply::Response;

use crate::backend::Route;
use crate::backend::breaker::Trial;
use crate::gate::{Admission, Caller};
use crate::turn::{EmbeddingRequest, Embeddings, Failure, FailureKind};
use crate::wire::USUAL;
use crate::wire::openai_embeddings::{decode, write};

use super::request::{Incoming, read_body};
use super::{Edge, reply};

impl Edge {
    /// Takes the request from the caller's allowance, has it answered and charges the tokens.
    pub(super) async fn embeddings<S, B>(&self, incoming: &Incoming, body: S) -> Response
    where
        S: Stream<Item = Result<B, warp::Error>> + Send,
        B: Buf + Send,
    {
        let (caller, admission) = match self.admit(incoming) {
            Ok(admitted) => admitted,
            Err(refused) => return refused.write(USUAL, &incoming.id),
        };
        let answered = self.embed(incoming, body, &caller, &admission).await;
        let mut response = answered.unwrap_or_else(|failure| reply::failure(&failure));
        admission.standing.write(response.headers_mut());
        response
    }

    async fn embed<S, B>(
        &self,
        incoming: &Incoming,
        body: S,
        caller: &Caller,
        admission: &Admission,
    ) -> Result<Response, Failure>
    where
        S: Stream<Item = Result<B, warp::Error>> + Send,
        B: Buf + Send,
    {
        let body = read_body(&incoming.headers, body, &self.config.server).await?;
        let asked = decode(&body)?;
        drop(body);
        let route = self.routes.find(asked.model.as_ref())?;
        caller.may_use(&route.model.name)?;
        let made = self.embedded(&route, asked.request).await?;
        route.metrics.tokens(&made.usage);
        admission.charge(&made.usage);
        let name = asked.model.as_ref().unwrap_or(&route.model.name);
        let json = HeaderValue::from_static("application/json");
        Ok(reply::bytes(StatusCode::OK, json, write(name, &made, asked.encoding)))
    }

    /// Asks the members of a pool in turn. Fallbacks are for answers: another model's vectors
    /// would be of another kind.
    async fn embedded(
        &self,
        route: &Arc<Route>,
        request: EmbeddingRequest,
    ) -> Result<Embeddings, Failure> {
        let is_member = |other: &Arc<Route>| {
            let members = &route.model.upstreams;
            members.iter().any(|member| member.model == other.model.name)
        };
        let mut candidates = match route.model.upstreams.is_empty() {
            true => vec![Arc::clone(route)],
            false => self.routes.candidates(route, None),
        };
        candidates.retain(|candidate| Arc::ptr_eq(candidate, route) || is_member(candidate));
        let mut failed = None;
        for candidate in candidates {
            let mut trial = Trial::of(Arc::clone(&candidate));
            let made = within(candidate.first_event_timeout, &candidate, request.clone()).await;
            match made {
                Ok(made) => {
                    trial.succeeded();
                    return Ok(made);
                }
                Err(failure) => {
                    trial.failed(failure.kind);
                    if !failure.kind.may_retry() {
                        return Err(failure);
                    }
                    failed = Some(failure);
                }
            }
        }
        Err(failed.unwrap_or_else(Failure::internal))
    }
}

async fn within(
    limit: Duration,
    route: &Route,
    request: EmbeddingRequest,
) -> Result<Embeddings, Failure> {
    let made = tokio::time::timeout(limit, route.backend.embed(request)).await;
    made.unwrap_or_else(|_| {
        Err(Failure::new(FailureKind::UpstreamTimeout, "the model took too long; try again"))
    })
}
