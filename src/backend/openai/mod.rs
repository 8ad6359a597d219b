//! Any server that speaks OpenAI's Chat Completions: OpenAI, vLLM, Ollama, Bedrock's own OpenAI
//! endpoints, other gateways.
//!
//! `POST {base_url}/chat/completions`, always streamed. Such servers keep nothing: the session
//! gives the whole transcript each time. What a request says in OpenAI's own words and no field
//! of ours holds goes along as it came. [`embeddings`] are asked for beside it. (OpenAI's API description 2.3.0.)

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use http::header::{ACCEPT, AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue};

use crate::config::{Model, OpenAi as Defaults, Secret, Turn as TurnConfig};
use crate::metrics::{Metrics, Outcome};
use crate::turn::{EmbeddingRequest, Embeddings, Failure, FinishReason};

use super::{Ask, Backend, Deps, Farewell, Kind, Mistake, Outlet, retry};

mod answer;
mod calls;
mod chunk;
mod embeddings;
mod failure;
mod fields;
mod messages;
mod request;
mod server;
#[cfg(test)]
mod tests;

use failure::Refused;
pub use server::OpenAiServers;
use server::{Server, Spelling};

const NAME: &str = "openai";
/// An upstream that wants to be left alone for longer is not waited for: another may answer.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Spellings that a server may be offered in one turn, beyond the first.
const RESPELLINGS: usize = 2;

/// The kind's entry in [`KINDS`](super::KINDS).
pub(super) const KIND: Kind = Kind {
    name: NAME,
    direct_prefix: Some("openai/"),
    direct: |model, name| {
        model.text.model_id = Some(name.to_owned());
        Ok(())
    },
    may_direct: |_| true,
    fields: fields::FIELDS,
    check,
    open: |model, deps| Arc::new(OpenAi::open(model, deps)),
};

fn check(model: &Model) -> Vec<Mistake> {
    if model.text.model_id.as_ref().is_some_and(|id| !id.is_empty()) {
        return Vec::new();
    }
    let message = "an openai model needs its model_id, the name by which its server knows it";
    vec![Mistake { setting: "model_id", message: message.to_owned() }]
}

/// One model of one server.
#[derive(Debug)]
struct OpenAi {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: Arc<Server>,
    model: Model,
    key: Option<Secret>,
    metrics: Arc<Metrics>,
    turn: TurnConfig,
}

impl OpenAi {
    fn open(model: &Model, deps: &Deps) -> Self {
        let Defaults { base_url, api_key } = &deps.config.openai;
        // The key of the shared server is for no other.
        let (base_url, key) = match &model.text.base_url {
            Some(own) => (own, model.text.api_key.clone()),
            None => (base_url, model.text.api_key.clone().or_else(|| api_key.clone())),
        };
        Self {
            shared: Arc::new(Shared {
                server: deps.openai.at(base_url),
                model: model.clone(),
                key,
                metrics: Arc::clone(&deps.metrics),
                turn: deps.config.turn.clone(),
            }),
        }
    }
}

impl Backend for OpenAi {
    fn answer(
        &self,
        ask: Ask,
        outlet: Outlet,
    ) -> BoxFuture<'static, Result<FinishReason, Failure>> {
        let model = Arc::clone(&self.shared);
        async move { model.answer(&ask, &outlet).await }.boxed()
    }

    fn remembers(&self) -> Option<Duration> {
        None
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn embed(&self, request: EmbeddingRequest) -> BoxFuture<'static, Result<Embeddings, Failure>> {
        let model = Arc::clone(&self.shared);
        async move { model.embed(&request).await }.boxed()
    }

    fn end(&self, _farewell: Farewell) -> BoxFuture<'static, Result<(), Failure>> {
        ready(Ok(())).boxed()
    }
}

impl Shared {
    async fn answer(&self, ask: &Ask, outlet: &Outlet) -> Result<FinishReason, Failure> {
        let mut delays = retry::delays(self.turn.retry_delay, self.turn.retries);
        let mut respellings = RESPELLINGS;
        loop {
            outlet.called();
            let spelling = self.server.spelling();
            let refused = match self.attempt(ask, outlet, spelling).await {
                Ok(reason) => {
                    self.metrics.upstream_request(NAME, Outcome::Ok);
                    self.server.budget.earn();
                    return Ok(reason);
                }
                Err(refused) => refused,
            };
            self.metrics.upstream_request(NAME, Outcome::Failed);
            let said = refused.said.as_ref();
            if respellings > 0 && said.is_some_and(|said| self.server.learn(said, spelling)) {
                respellings -= 1;
                continue;
            }
            self.metrics.upstream_error(NAME, refused.failure.kind);
            // Never after an event went out.
            let wait = if outlet.has_begun() { None } else { self.wait(&refused, &mut delays) };
            let Some(wait) = wait.filter(|_| self.server.budget.spend()) else {
                return Err(refused.failure);
            };
            self.metrics.upstream_retry(NAME);
            tokio::time::sleep(wait).await;
        }
    }

    /// How long to wait for another attempt, if there is to be one.
    fn wait(
        &self,
        refused: &Refused,
        delays: &mut impl Iterator<Item = Duration>,
    ) -> Option<Duration> {
        if !refused.is_passing {
            return None;
        }
        let wait = delays.next()?.max(refused.wait.unwrap_or_default());
        (wait <= LONGEST_WAIT).then_some(wait)
    }

    async fn attempt(
        &self,
        ask: &Ask,
        outlet: &Outlet,
        spelling: Spelling,
    ) -> Result<FinishReason, Refused> {
        let body = request::write(&self.model, ask, spelling)
            .map_err(|error| failure::unwritable(&error))?;
        let posted = self.server.client.post(&self.server.url, self.headers(), body).await;
        let reply = posted.map_err(|error| failure::of_http(&error))?;
        if !reply.status().is_success() {
            return Err(failure::of_reply(reply).await);
        }
        answer::read(reply, outlet, call_ids(ask), self.turn.output_bytes).await
    }

    fn headers(&self) -> HeaderMap {
        const AGENT: &str = concat!("outcrop/", env!("CARGO_PKG_VERSION"));
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let accepted = HeaderValue::from_static("text/event-stream, application/json");
        headers.insert(ACCEPT, accepted);
        let bearer = self.key.as_ref().map(|key| format!("Bearer {}", key.expose()));
        // Keys that make no header were refused with the configuration.
        if let Some(mut bearer) = bearer.and_then(|bearer| HeaderValue::try_from(bearer).ok()) {
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        headers
    }
}

/// The ids of the calls in a conversation.
fn call_ids(ask: &Ask) -> HashSet<String> {
    let history = ask.history.iter().map(AsRef::as_ref);
    let calls = history.chain(&ask.input).flat_map(|message| &message.tool_calls);
    calls.map(|call| call.id.clone()).collect()
}
