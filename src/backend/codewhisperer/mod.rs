//! CodeWhisperer, called Amazon Q Developer since: the conversation of AWS's own coding tools.
//!
//! `GenerateAssistantResponse` in awsJson 1.0, with the bearer token of a person's [sign-in]; the
//! answer is an event stream. The service is given the whole conversation with each turn, which
//! the session owns. The interface is not documented, and AWS promises nothing of it: events and
//! members that are not known are passed over, and whoever switches it on is warned once.
//!
//! A turn passes through: [`request`] says it in the service's words ([`transcript`],
//! [`instructions`], [`image`]); [`event`] and [`answer`] make events of what comes back;
//! [`failure`] says what went wrong.
//! (Amazon Q Developer CLI, published sources; npm `@aws/codewhisperer-streaming-client` 1.0.45.)
//!
//! [sign-in]: super::sign_in

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use uuid::Uuid;

use crate::config::{Model, Turn as TurnConfig};
use crate::metrics::{Metrics, Outcome};
use crate::turn::{Failure, FinishReason};

use super::bedrock::call::{Contents, urls};
use super::bedrock::fetch::Fetcher;
use super::sign_in::Token;
use super::{Ask, Backend, Deps, Farewell, Kind, Mistake, Outlet, retry};

mod access;
mod answer;
mod event;
mod failure;
mod fields;
mod image;
mod instructions;
mod models;
mod profiles;
mod request;
#[cfg(test)]
mod tests;
mod transcript;

pub use access::CodeWhispererAccess;
use answer::Ended;
use failure::{Again, Refused};
pub(super) use models::own_choice;
pub use profiles::{Profile, Profiles};
use request::Call;

pub(super) const NAME: &str = "codewhisperer";
/// The service's name of the operation.
const TARGET: &str = "AmazonCodeWhispererStreamingService.GenerateAssistantResponse";
/// Other tokens that are tried in one turn: one that another process left, and a renewed one.
const MOST_TOKENS: usize = 2;
/// An upstream that wants to be left alone for longer is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The kind's entry in [`KINDS`](super::KINDS).
pub(super) const KIND: Kind = Kind {
    name: NAME,
    direct_prefix: Some(NAME),
    direct,
    may_direct,
    fields: fields::FIELDS,
    check,
    open: |model, deps| Arc::new(CodeWhisperer::open(model, deps)),
};

/// Whether somebody wants it: by a setting, or by a sign-in.
pub(super) fn may_direct(deps: &Deps) -> bool {
    deps.config.codewhisperer.direct || deps.aws.codewhisperer(&deps.config).sign_in.exists()
}

/// `codewhisperer`, or that and `/MODEL`.
fn direct(model: &mut Model, rest: &str) -> Result<(), Mistake> {
    match rest.strip_prefix('/') {
        None if rest.is_empty() => Ok(()),
        Some(id) if !id.is_empty() => {
            model.text.model_id = Some(id.to_owned());
            Ok(())
        }
        _ => {
            let message = "no model of CodeWhisperer has this name; put its id behind \
                           codewhisperer/, or ask codewhisperer for the service's own choice";
            Err(Mistake { setting: "model_id", message: message.to_owned() })
        }
    }
}

fn check(model: &Model) -> Vec<Mistake> {
    if model.text.model_id.as_deref() != Some("") {
        return Vec::new();
    }
    let message = "leave model_id out for the model that CodeWhisperer chooses by itself";
    vec![Mistake { setting: "model_id", message: message.to_owned() }]
}

/// One model of CodeWhisperer's.
#[derive(Debug)]
struct CodeWhisperer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    access: Arc<CodeWhispererAccess>,
    model: Model,
    fetcher: Option<Fetcher>,
    metrics: Arc<Metrics>,
    turn: TurnConfig,
}

impl CodeWhisperer {
    fn open(model: &Model, deps: &Deps) -> Self {
        let access = Arc::clone(deps.aws.codewhisperer(&deps.config));
        access.warn();
        Self {
            shared: Arc::new(Shared {
                access,
                fetcher: model.text.fetch_urls.then(|| Fetcher::new(image::MOST_BYTES)),
                model: model.clone(),
                metrics: Arc::clone(&deps.metrics),
                turn: deps.config.turn.clone(),
            }),
        }
    }
}

impl Backend for CodeWhisperer {
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

    fn end(&self, _farewell: Farewell) -> BoxFuture<'static, Result<(), Failure>> {
        ready(Ok(())).boxed()
    }
}

impl Shared {
    async fn answer(&self, ask: &Ask, outlet: &Outlet) -> Result<FinishReason, Failure> {
        let behind = self.fetched(ask).await?;
        let mut call = request::prepare(&self.model, ask, &behind)?;
        let own = call.conversation().to_owned();
        self.access.conversations.resume(&own, &mut call);
        let mut token = self.access.sign_in.token().await.map_err(|why| failure::of(&why))?;
        let mut delays = retry::delays(self.turn.retry_delay, self.turn.retries);
        let (mut renewals, mut may_begin_anew) = (MOST_TOKENS, true);
        loop {
            outlet.called();
            let refused = match self.attempt(&call, &token, outlet).await {
                Ok(Ended { reason, conversation }) => {
                    self.metrics.upstream_request(NAME, Outcome::Ok);
                    self.access.budget.earn();
                    if let Some(told) = conversation.filter(|told| told != call.conversation()) {
                        self.access.conversations.moved(own, told);
                    }
                    return Ok(reason);
                }
                Err(refused) => refused,
            };
            self.metrics.upstream_request(NAME, Outcome::Failed);
            let Refused { failure, again } = refused;
            match again {
                // Never after an event went out.
                _ if outlet.has_begun() => {}
                Again::WithAnotherToken if renewals > 0 => {
                    if renewals < MOST_TOKENS {
                        self.access.sign_in.was_refused_anew(Arc::clone(&token));
                    }
                    renewals -= 1;
                    if let Some(other) = self.renewed(&token).await? {
                        token = other;
                        continue;
                    }
                }
                Again::AsAnotherConversation if std::mem::take(&mut may_begin_anew) => {
                    let fresh = Uuid::new_v4().hyphenated().to_string();
                    self.access.conversations.moved(own.clone(), fresh);
                    self.access.conversations.resume(&own, &mut call);
                    continue;
                }
                Again::Later(wait) => {
                    let wait = delays.next().map(|delay| delay.max(wait));
                    let wait = wait.filter(|wait| *wait <= LONGEST_WAIT);
                    if let Some(wait) = wait.filter(|_| self.access.budget.spend()) {
                        self.metrics.upstream_retry(NAME);
                        tokio::time::sleep(wait).await;
                        continue;
                    }
                }
                Again::WithAnotherToken | Again::AsAnotherConversation | Again::Never => {}
            }
            self.metrics.upstream_error(NAME, failure.kind);
            return Err(failure);
        }
    }

    /// Another token than the one that was refused; `None` where that would not help.
    async fn renewed(&self, refused: &Arc<Token>) -> Result<Option<Arc<Token>>, Failure> {
        let renewed = self.access.sign_in.other_than(Arc::clone(refused)).await;
        if matches!(renewed, Ok(Some(_))) {
            tracing::info!("the service refused the token; the turn goes on with another");
        }
        renewed.map_err(|why| failure::of(&why))
    }

    async fn attempt(&self, call: &Call, token: &Token, outlet: &Outlet) -> Result<Ended, Refused> {
        let profile = self.model.text.profile_arn.as_deref().or(token.profile_arn.as_deref());
        let region = self.model.region.as_deref().unwrap_or_else(|| access::region_of(profile));
        let url = self.access.url(self.model.endpoint_url.as_deref(), region);
        let headers = self.access.headers(TARGET, token).ok_or_else(failure::no_header)?;
        let body = call.body(profile).map_err(|error| failure::unwritable(&error))?;
        let posted = self.access.client.post(&url, headers, body).await;
        let reply = posted.map_err(|error| failure::of_http(&error))?;
        if !reply.status().is_success() {
            return Err(failure::of_reply(reply).await);
        }
        answer::read(reply, outlet, &call.reading, self.turn.output_bytes).await
    }

    /// What is behind the URLs of a request, where that is wanted.
    async fn fetched(&self, ask: &Ask) -> Result<Contents, Failure> {
        match &self.fetcher {
            Some(fetcher) => Ok(fetcher.fetch(urls(ask)?).await),
            None => Ok(HashMap::new()),
        }
    }
}
