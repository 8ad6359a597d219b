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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use uuid::Uuid;

use crate::config::{Config, Model, Turn as TurnConfig};
use crate::metrics::{Metrics, Outcome};
use crate::turn::{Failure, FinishReason};

use super::bedrock::call::{Contents, urls};
use super::bedrock::fetch::Fetcher;
use super::http::Client;
use super::retry::Budget;
use super::sign_in::{SignIn, Token};
use super::{Ask, AwsClients, Backend, Deps, Farewell, Kind, Mistake, Outlet, retry};

mod answer;
mod event;
mod failure;
mod fields;
mod image;
mod instructions;
mod profiles;
mod request;
#[cfg(test)]
mod tests;
mod transcript;

use failure::{Again, Refused};
pub use profiles::Profile;
use request::Call;

pub(super) const NAME: &str = "codewhisperer";
/// The service's name of the operation.
const TARGET: &str = "AmazonCodeWhispererStreamingService.GenerateAssistantResponse";
/// Where the service is for a sign-in without a profile.
const HOME_REGION: &str = "us-east-1";
/// An upstream that wants to be left alone for longer is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The kind's entry in [`KINDS`](super::KINDS).
pub(super) const KIND: Kind = Kind {
    name: NAME,
    direct_prefix: Some(NAME),
    direct,
    may_direct: |deps| {
        let is_signed_in = || deps.aws.codewhisperer(&deps.config).sign_in.exists();
        deps.config.codewhisperer.direct || is_signed_in()
    },
    fields: fields::FIELDS,
    check,
    open: |model, deps| Arc::new(CodeWhisperer::open(model, deps)),
};

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

/// How CodeWhisperer is reached, by whatever model.
#[derive(Debug)]
pub struct CodeWhispererAccess {
    /// The sign-in that it is asked with.
    pub sign_in: SignIn,
    client: Client,
    /// What all turns may spend on retries.
    budget: Budget,
    opts_out: bool,
    /// Stands in for the service's own hosts.
    endpoint: Option<String>,
    was_warned: AtomicBool,
}

impl CodeWhispererAccess {
    /// Opens no connection and reads no file.
    #[must_use]
    pub fn new(config: &Config, aws: &AwsClients) -> Self {
        Self {
            sign_in: SignIn::new(&config.codewhisperer, aws),
            client: Client::new(config.turn.connect_timeout),
            budget: Budget::default(),
            opts_out: config.codewhisperer.opt_out,
            endpoint: aws.endpoint().map(str::to_owned),
            was_warned: AtomicBool::new(false),
        }
    }

    /// Says once in the log what it means that this is in use.
    fn warn(&self) {
        if !self.was_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "CodeWhisperer is switched on: its interface is internal to AWS, without any \
                 promise, and may change or refuse at any time; see docs/codewhisperer.md"
            );
        }
    }

    /// Where the service is, with a final slash.
    fn url(&self, own: Option<&str>, region: &str) -> String {
        match own.or(self.endpoint.as_deref()) {
            Some(endpoint) => format!("{}/", endpoint.trim_end_matches('/')),
            None => format!("https://q.{region}.amazonaws.com/"),
        }
    }

    fn headers(&self, target: &'static str, token: &Token) -> Option<HeaderMap> {
        const AGENT: &str = concat!("outcrop/", env!("CARGO_PKG_VERSION"));
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.access.expose())).ok()?;
        bearer.set_sensitive(true);
        let opt_out = if self.opts_out { "true" } else { "false" };
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer);
        let json = "application/x-amz-json-1.0";
        for (name, value) in [(CONTENT_TYPE, json), (ACCEPT, "*/*"), (USER_AGENT, AGENT)] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert("x-amz-target", HeaderValue::from_static(target));
        headers.insert("x-amzn-codewhisperer-optout", HeaderValue::from_static(opt_out));
        headers.insert("amz-sdk-invocation-id", invocation_id());
        Some(headers)
    }
}

fn invocation_id() -> HeaderValue {
    let id = Uuid::new_v4().hyphenated().to_string();
    HeaderValue::try_from(id).expect("a UUID is visible ASCII")
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
        let mut token = self.access.sign_in.token().await.map_err(|why| failure::of(&why))?;
        let mut delays = retry::delays(self.turn.retry_delay, self.turn.retries);
        let (mut may_renew, mut may_begin_anew) = (true, true);
        loop {
            outlet.called();
            let refused = match self.attempt(&call, &token, outlet).await {
                Ok(reason) => {
                    self.metrics.upstream_request(NAME, Outcome::Ok);
                    self.access.budget.earn();
                    return Ok(reason);
                }
                Err(refused) => refused,
            };
            self.metrics.upstream_request(NAME, Outcome::Failed);
            let Refused { failure, again } = refused;
            match again {
                // Never after an event went out.
                _ if outlet.has_begun() => {}
                Again::WithAnotherToken if std::mem::take(&mut may_renew) => {
                    token = self.renewed(token).await?;
                    continue;
                }
                Again::AsAnotherConversation if std::mem::take(&mut may_begin_anew) => {
                    call.converse_as(request::fresh_conversation(&ask.upstream));
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

    async fn renewed(&self, refused: Arc<Token>) -> Result<Arc<Token>, Failure> {
        tracing::info!("the service refused the token, which is renewed");
        let renewed = self.access.sign_in.other_than(refused).await;
        renewed.map_err(|why| failure::of(&why))
    }

    async fn attempt(
        &self,
        call: &Call,
        token: &Token,
        outlet: &Outlet,
    ) -> Result<FinishReason, Refused> {
        let profile = self.model.text.profile_arn.as_deref().or(token.profile_arn.as_deref());
        let of_profile = profile.and_then(|arn| arn.split(':').nth(3));
        let region = self.model.region.as_deref().or(of_profile).unwrap_or(HOME_REGION);
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
