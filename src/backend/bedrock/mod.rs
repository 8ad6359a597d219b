//! Amazon Bedrock's models, by Converse and ConverseStream.
//!
//! One API for models of every maker: messages of blocks in, a stream of blocks out. The model
//! keeps nothing, so each turn says the whole conversation again; the session owns it.
//!
//! A turn passes through: [`call`] says it in the service's words ([`transcript`], [`media`],
//! [`tools`], [`format`](mod@format), [`thinking`], [`cache`], each asking [`families`] what the
//! model can do, whose name [`behind`] knows); the SDK sends it; [`piece`] and [`answer`] make
//! events of what comes back; [`failure`] says what went wrong. A model has no side effects: until
//! it has said something, the call may be made again, and in another region ([`attempts`]). Models
//! that make [`embeddings`] instead of answers are asked by InvokeModel, each family in its own
//! words.
//! (Amazon Bedrock API Reference, "Converse" and "ConverseStream"; API model of 2023-09-30.)

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture};

use crate::config::{Model, Turn as TurnConfig};
use crate::metrics::Metrics;
use crate::turn::{EmbeddingRequest, Embeddings, Failure, FailureKind, FinishReason};

use super::aws::{ModelAccess, ModelPlace};
use super::{Ask, Backend, Deps, Farewell, Kind, Mistake, Outlet};

mod answer;
pub(super) mod attachment;
mod attempts;
mod behind;
mod cache;
pub(super) mod call;
mod embeddings;
mod failure;
mod families;
pub(super) mod fetch;
mod fields;
pub(super) mod file_format;
mod format;
mod media;
pub(super) mod names;
mod piece;
mod raw_json;
mod references;
#[cfg(test)]
mod tests;
mod thinking;
mod tools;
mod transcript;

pub(in crate::backend) use families::is_model_id;
#[cfg(test)]
pub(crate) use tests::reading::there_and_back;

use answer::Answer;
use attempts::Attempts;
use behind::{Behind, Known};
use call::{Call, Contents, said};
use failure::Refused;
use fetch::Fetcher;
use piece::Piece;

/// The kind's name.
pub(super) const NAME: &str = "bedrock";

/// The kind's entry in [`KINDS`](super::KINDS).
pub(super) const KIND: Kind = Kind {
    name: NAME,
    direct_prefix: Some("bedrock/"),
    direct: direct_settings,
    may_direct: |_| true,
    fields: fields::FIELDS,
    check,
    open: |model, deps| Arc::new(Bedrock::open(model, deps)),
};

/// `MODEL_ID`, `converse/MODEL_ID` or `REGION/MODEL_ID`: the forms that LiteLLM has.
fn direct_settings(model: &mut Model, rest: &str) -> Result<(), Mistake> {
    let mut rest = rest.strip_prefix("converse/").unwrap_or(rest);
    if let Some((region, id)) = rest.split_once('/')
        && is_region(region)
    {
        model.region = Some(region.to_owned());
        rest = id;
    }
    let is_other = rest.starts_with("agent/") || rest.starts_with("agentcore/");
    if rest.is_empty() || is_other {
        let message = "no model of Bedrock has this name; put its id behind bedrock/";
        return Err(Mistake { setting: "model_id", message: message.to_owned() });
    }
    model.text.model_id = Some(rest.to_owned());
    Ok(())
}

/// `us-east-1`, `us-gov-west-1` and their like.
fn is_region(text: &str) -> bool {
    let words: Vec<_> = text.split('-').collect();
    let is_word = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase()) && !word.is_empty();
    match words.split_last() {
        Some((number, words)) => {
            (2..=3).contains(&words.len())
                && words.iter().all(is_word)
                && number.parse::<u8>().is_ok()
        }
        None => false,
    }
}

fn check(model: &Model) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut wrong = |setting, message: &str| {
        mistakes.push(Mistake { setting, message: message.to_owned() });
    };
    match &model.text.model_id {
        None => wrong("model_id", "a bedrock model needs its model_id"),
        Some(id) if id.len() > 2048 || !id.bytes().all(|byte| byte.is_ascii_graphic()) => {
            wrong("model_id", "model_id must be up to 2048 visible characters without spaces");
        }
        Some(id) => {
            let of_arn = families::region_of_arn(id);
            if of_arn.is_some_and(|region| regions(model).any(|named| named != region)) {
                wrong("regions", "the ARN in model_id belongs to another region");
            }
        }
    }
    if model.guardrail.version.is_some() && model.guardrail.id.is_none() {
        wrong("guardrail_version", "a guardrail_version needs a guardrail_id");
    }
    let tier = model.text.service_tier.as_deref();
    if !matches!(tier, None | Some("auto" | "default" | "flex" | "priority" | "reserved")) {
        wrong("service_tier", "service_tier must be default, flex, priority or reserved");
    }
    mistakes
}

/// Whether the model of this id makes vectors, in a way that is known here.
pub(super) fn makes_embeddings(model_id: &str) -> bool {
    embeddings::of(model_id).is_some()
}

/// The regions that are configured, in order.
fn regions(model: &Model) -> impl Iterator<Item = &str> {
    let listed = model.text.regions.iter();
    let alone = model.region.iter().filter(|_| model.text.regions.is_empty());
    listed.chain(alone).map(String::as_str)
}

/// One model.
#[derive(Debug)]
struct Bedrock {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Clients of the regions, in the order in which they are asked; never empty.
    access: Vec<ModelAccess>,
    metrics: Arc<Metrics>,
    model: Model,
    model_id: String,
    /// What is behind the id.
    behind: Behind,
    fetcher: Option<Fetcher>,
    turn: TurnConfig,
}

impl Bedrock {
    fn open(model: &Model, deps: &Deps) -> Self {
        let model_id = model.text.model_id.clone().unwrap_or_default();
        let of_arn = families::region_of_arn(&model_id);
        let mut named: Vec<_> = regions(model).map(|region| Some(region.to_owned())).collect();
        if named.is_empty() {
            named.push(of_arn.map(str::to_owned));
        }
        let place = |region| ModelPlace {
            region,
            endpoint: model.endpoint_url.clone(),
            api_key: model.text.api_key.clone(),
        };
        Self {
            shared: Arc::new(Shared {
                access: named.into_iter().map(|region| deps.aws.models(&place(region))).collect(),
                metrics: Arc::clone(&deps.metrics),
                behind: Behind::of(model, &model_id, &deps.aws, deps.config.turn.retry_delay),
                fetcher: model.text.fetch_urls.then(|| Fetcher::new(media::DOCUMENT_BYTES)),
                turn: deps.config.turn.clone(),
                model: model.clone(),
                model_id,
            }),
        }
    }
}

impl Backend for Bedrock {
    fn answer(
        &self,
        ask: Ask,
        outlet: Outlet,
    ) -> BoxFuture<'static, Result<FinishReason, Failure>> {
        let shared = Arc::clone(&self.shared);
        async move { shared.answer(&ask, &outlet).await }.boxed()
    }

    fn remembers(&self) -> Option<Duration> {
        None
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn embed(&self, request: EmbeddingRequest) -> BoxFuture<'static, Result<Embeddings, Failure>> {
        embeddings::embed(Arc::clone(&self.shared), request).boxed()
    }

    fn warm(&self) -> BoxFuture<'static, ()> {
        let shared = Arc::clone(&self.shared);
        // The other regions are for when this one fails.
        let first = async move { shared.access[0].warm().await };
        first.boxed()
    }

    fn end(&self, _farewell: Farewell) -> BoxFuture<'static, Result<(), Failure>> {
        // Nothing is kept that could be ended.
        future::ready(Ok(())).boxed()
    }
}

impl Shared {
    async fn answer(&self, ask: &Ask, outlet: &Outlet) -> Result<FinishReason, Failure> {
        let Known { family, embedder } = self.behind.get().await;
        if embedder.is_some() {
            let message = "this model makes embeddings and does not talk; POST /v1/embeddings";
            return Err(Failure::new(FailureKind::UnsupportedParameter, message).at("model"));
        }
        let contents = self.fetch(ask).await?;
        let mut call = call::prepare(&self.model, family, ask, &contents)?;
        drop(contents);
        let mut attempts = Attempts::new(self);
        loop {
            outlet.called();
            let refused = match self.attempt(attempts.access(), &call, outlet).await {
                Ok(reason) => {
                    attempts.succeeded();
                    return Ok(reason);
                }
                Err(refused) => refused,
            };
            attempts.failed(&refused);
            if refused.wants_whole && call.streams {
                call.streams = false;
                continue;
            }
            attempts.again(refused).await?;
        }
    }

    async fn fetch(&self, ask: &Ask) -> Result<Contents, Failure> {
        let Some(fetcher) = &self.fetcher else { return Ok(Contents::new()) };
        Ok(fetcher.fetch(call::urls(ask)?).await)
    }

    async fn attempt(
        &self,
        access: &ModelAccess,
        call: &Call,
        outlet: &Outlet,
    ) -> Result<FinishReason, Refused> {
        let mut answer = Answer::new(&call.reading);
        let read = if call.streams {
            self.streamed(access, call, outlet, &mut answer).await
        } else {
            self.whole(access, call, outlet, &mut answer).await
        };
        let ended = read.and_then(|()| answer.end().map_err(Refused::no_answer));
        ended.map_err(|refused| Refused {
            may_repeat: refused.may_repeat && !answer.has_spoken,
            wants_whole: refused.wants_whole && !answer.has_spoken,
            ..refused
        })
    }

    async fn streamed(
        &self,
        access: &ModelAccess,
        call: &Call,
        outlet: &Outlet,
        answer: &mut Answer<'_>,
    ) -> Result<(), Refused> {
        let request = said!(access.client.converse_stream(), call)
            .model_id(&self.model_id)
            .set_guardrail_config(call.stream_guardrail());
        let sent = request.customize().interceptor(call.json.clone()).send().await;
        let mut stream = sent.map_err(|error| failure::of_call(&error))?.stream;
        while let Some(event) = stream.recv().await.map_err(|error| failure::of_stream(&error))? {
            put(event.into(), answer, outlet).await;
        }
        Ok(())
    }

    async fn whole(
        &self,
        access: &ModelAccess,
        call: &Call,
        outlet: &Outlet,
        answer: &mut Answer<'_>,
    ) -> Result<(), Refused> {
        let request = said!(access.client.converse(), call)
            .model_id(&self.model_id)
            .set_guardrail_config(call.guardrail());
        let sent = request.customize().interceptor(call.json.clone()).send().await;
        let whole = sent.map_err(|error| failure::of_call(&error))?;
        for piece in piece::of_whole(whole) {
            put(piece, answer, outlet).await;
        }
        Ok(())
    }
}

async fn put(piece: Piece, answer: &mut Answer<'_>, outlet: &Outlet) {
    outlet.alive();
    for event in answer.take(piece) {
        outlet.push(event).await;
    }
}
