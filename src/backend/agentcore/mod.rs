//! Agents on Amazon Bedrock AgentCore: containers of the operator's own (`runtime`) and those
//! that the service itself runs (`harness`).
//!
//! Both keep the conversation under a session id that we choose, of 33 characters or more, and
//! forget it after the idle time that is set on them (900 seconds unless told). A runtime is
//! sent what the operator's template says ([`payload`]), and answers in a shape of its own
//! ([`shapes`]); a harness takes messages and runs tools in the client's stead or by its hand.
//!
//! An answer that is cut goes on upstream unless its session is stopped, and with it what the
//! session knows: see [`stop`].

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_bedrockagentcore::types::HarnessMessage;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::config::{Model, Turn as TurnConfig};
use crate::metrics::{Metrics, Outcome};
use crate::turn::{Failure, FinishReason, HandedBack, Message, Pending, TurnRequest};

use super::aws::{CoreAccess, Place};
use super::{Ask, Backend, Deps, Farewell, Kind, Mistake, Outlet, retry, template};

mod answer;
mod arn;
mod calls;
mod document;
mod failure;
mod handed;
mod harness;
mod inline_function;
mod lines;
mod payload;
mod runtime;
mod shapes;
mod spelling;
mod stop;
mod thoughts;
mod transcript;

use arn::{Arn, Resource};
use failure::Refused;
use payload::Template;
use stop::StopIfCut;
use thoughts::Thoughts;

pub(super) const NAME: &str = "bedrock-agentcore";
/// Sessions are forgotten a little before they say; past this share of their idle time we count
/// one as forgotten.
const MARGIN: f64 = 0.95;
/// The longest id of a user (`StringType` in the API model), in characters.
const USER_LENGTH: usize = 1_024;

/// The kind's entry in [`KINDS`](super::KINDS).
pub(super) const KIND: Kind = Kind {
    name: NAME,
    direct_prefix: Some("bedrock/agentcore/"),
    direct: direct_settings,
    may_direct: |_| true,
    fields: super::bedrock_agent::fields::FIELDS,
    check,
    open: |model, deps| match AgentCore::open(model, deps) {
        Some(backend) => Arc::new(backend),
        None => unreachable!("the settings were checked"),
    },
};

fn direct_settings(model: &mut Model, rest: &str) -> Result<(), Mistake> {
    let arn: Arn = rest
        .parse()
        .map_err(|shape| mistake("runtime_arn", format!("{:?}: {shape}", short(rest))))?;
    match arn.resource {
        Resource::Runtime => model.core.runtime_arn = Some(arn.text),
        Resource::Harness => model.core.harness_arn = Some(arn.text),
    }
    Ok(())
}

fn check(model: &Model) -> Vec<Mistake> {
    let core = &model.core;
    let mut mistakes = Vec::new();
    if core.runtime_arn.is_some() == core.harness_arn.is_some() {
        let message = "a bedrock-agentcore model needs its runtime_arn or its harness_arn, and \
                       not both";
        mistakes.push(mistake("runtime_arn", message.to_owned()));
    }
    let arns = [
        ("runtime_arn", &core.runtime_arn, Resource::Runtime),
        ("harness_arn", &core.harness_arn, Resource::Harness),
    ];
    for (setting, arn, wanted) in arns {
        let Some(text) = arn else { continue };
        match text.parse::<Arn>() {
            Ok(arn) if arn.resource == wanted => {}
            Ok(_) => mistakes.push(mistake(
                setting,
                "the ARN is of the other resource: a runtime's belongs to runtime_arn, a \
                 harness's to harness_arn"
                    .to_owned(),
            )),
            Err(shape) => {
                mistakes.push(mistake(setting, format!("{setting} {:?}: {shape}", short(text))));
            }
        }
    }
    if core.payload.is_some() && core.harness_arn.is_some() {
        let message = "a harness takes messages; payload is for runtimes";
        mistakes.push(mistake("payload", message.to_owned()));
    } else if let Err(message) = Template::parse(core.payload.as_deref()) {
        mistakes.push(mistake("payload", message));
    }
    mistakes
}

fn mistake(setting: &'static str, message: String) -> Mistake {
    Mistake { setting, message }
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

/// One runtime or harness.
#[derive(Debug)]
struct AgentCore {
    core: Arc<Core>,
}

/// What all its turns share.
#[derive(Debug)]
struct Core {
    access: CoreAccess,
    metrics: Arc<Metrics>,
    model: Model,
    arn: Arn,
    template: Template,
    turn: TurnConfig,
    debug_traces: bool,
}

impl AgentCore {
    /// Nothing where the settings have mistakes.
    fn open(model: &Model, deps: &Deps) -> Option<Self> {
        let core = &model.core;
        let arn: Arn = core.runtime_arn.as_ref().or(core.harness_arn.as_ref())?.parse().ok()?;
        // A call must be signed for the region that the resource is in.
        let region = model.region.clone().unwrap_or_else(|| arn.region.clone());
        let place = Place { region: Some(region), endpoint: model.endpoint_url.clone() };
        Some(Self {
            core: Arc::new(Core {
                access: deps.aws.agentcore(&place),
                metrics: Arc::clone(&deps.metrics),
                template: Template::parse(core.payload.as_deref()).ok()?,
                model: model.clone(),
                arn,
                turn: deps.config.turn.clone(),
                debug_traces: deps.config.routing.debug_traces,
            }),
        })
    }
}

impl Backend for AgentCore {
    fn answer(
        &self,
        ask: Ask,
        outlet: Outlet,
    ) -> BoxFuture<'static, Result<FinishReason, Failure>> {
        let core = Arc::clone(&self.core);
        async move { answer(&core, &ask, &outlet).await }.boxed()
    }

    fn remembers(&self) -> Option<Duration> {
        Some(self.core.model.idle_session_ttl.mul_f64(MARGIN))
    }

    fn forgets_when_cut(&self) -> bool {
        true
    }

    fn read_results(
        &self,
        pending: &Pending,
        handed_back: &HandedBack,
    ) -> Result<Vec<Message>, Failure> {
        handed::read(pending, handed_back)
    }

    fn warm(&self) -> BoxFuture<'static, ()> {
        let core = Arc::clone(&self.core);
        async move { core.access.warm().await }.boxed()
    }

    fn end(&self, farewell: Farewell) -> BoxFuture<'static, Result<(), Failure>> {
        let core = Arc::clone(&self.core);
        async move { stop::stop(&core, &farewell.upstream).await }.boxed()
    }
}

/// What goes up in a turn.
enum Sent {
    Payload(Value),
    Messages(Vec<HarnessMessage>),
}

impl Sent {
    fn of(core: &Core, ask: &Ask) -> Result<Self, Failure> {
        match core.arn.resource {
            Resource::Runtime => core.template.fill(ask).map(Self::Payload),
            Resource::Harness => transcript::messages(ask).map(Self::Messages),
        }
    }
}

async fn answer(core: &Arc<Core>, ask: &Ask, outlet: &Outlet) -> Result<FinishReason, Failure> {
    let is_silent = ask.input.is_empty() && ask.pending.is_none();
    let finish = if is_silent {
        // There is nothing to say: the session is only to end.
        FinishReason::Stop
    } else {
        converse(core, ask, &Sent::of(core, ask)?, outlet).await?
    };
    if ask.request.end_session {
        // The answer is there; a session that could not be ended ends by itself.
        let _ = stop::stop(core, &ask.upstream).await;
    }
    Ok(finish)
}

async fn converse(
    core: &Arc<Core>,
    ask: &Ask,
    sent: &Sent,
    outlet: &Outlet,
) -> Result<FinishReason, Failure> {
    let mut delays = retry::delays(core.turn.retry_delay, core.turn.retries);
    loop {
        outlet.called();
        let cut = StopIfCut::new(core, &ask.upstream);
        let attempted = match sent {
            Sent::Payload(payload) => runtime::ask(core, ask, payload, outlet).await,
            Sent::Messages(messages) => harness::ask(core, ask, messages, outlet).await,
        };
        cut.ended();
        let Refused { failure, did_not_start } = match attempted {
            Ok(reason) => {
                core.metrics.upstream_request(NAME, Outcome::Ok);
                core.access.budget.earn();
                return Ok(reason);
            }
            Err(refused) => refused,
        };
        core.metrics.upstream_request(NAME, Outcome::Failed);
        core.metrics.upstream_error(NAME, failure.kind);
        let wait = if did_not_start { delays.next() } else { None };
        let Some(wait) = wait.filter(|_| core.access.budget.spend()) else {
            return Err(Failure { may_have_run: !did_not_start, ..failure });
        };
        core.metrics.upstream_retry(NAME);
        tokio::time::sleep(wait).await;
    }
}

impl Core {
    /// Who the agent is told that speaks.
    fn runtime_user(&self, ask: &Ask) -> Option<String> {
        let user = template::fill(self.model.core.runtime_user.as_deref()?, ask)?;
        let user: String = user.chars().take(USER_LENGTH).collect();
        (!user.is_empty()).then_some(user)
    }

    fn thoughts(&self, request: &TurnRequest) -> Thoughts {
        Thoughts::allowed(&self.model, request, self.debug_traces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNTIME: &str = "arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/bank-Ab12Cd";
    const HARNESS: &str = "arn:aws:bedrock-agentcore:us-east-1:123456789012:harness/bank-Ab12Cd";

    fn model() -> Model {
        Model::new("m".parse().unwrap(), NAME)
    }

    #[test]
    fn a_direct_name_picks_by_the_resource_of_its_arn() {
        let mut runtime = model();
        direct_settings(&mut runtime, RUNTIME).unwrap();
        assert_eq!(runtime.core.runtime_arn.as_deref(), Some(RUNTIME));
        let mut harness = model();
        direct_settings(&mut harness, HARNESS).unwrap();
        assert_eq!(harness.core.harness_arn.as_deref(), Some(HARNESS));
        assert!(check(&runtime).is_empty() && check(&harness).is_empty());
        assert!(direct_settings(&mut model(), "bank").is_err());
    }

    #[test]
    fn wrong_settings_are_named() {
        let wrong = |change: fn(&mut Model)| {
            let mut model = model();
            change(&mut model);
            let mistakes = check(&model);
            mistakes.iter().map(|mistake| mistake.setting).collect::<Vec<_>>()
        };
        assert_eq!(wrong(|_| {}), ["runtime_arn"]);
        let both = wrong(|model| {
            model.core.runtime_arn = Some(RUNTIME.to_owned());
            model.core.harness_arn = Some(HARNESS.to_owned());
        });
        assert_eq!(both, ["runtime_arn"]);
        assert_eq!(
            wrong(|model| model.core.harness_arn = Some(RUNTIME.to_owned())),
            ["harness_arn"]
        );
        assert_eq!(wrong(|model| model.core.runtime_arn = Some("x".to_owned())), ["runtime_arn"]);
        let payload = wrong(|model| {
            model.core.runtime_arn = Some(RUNTIME.to_owned());
            model.core.payload = Some("{input}".to_owned());
        });
        assert_eq!(payload, ["payload"]);
        let with_harness = wrong(|model| {
            model.core.harness_arn = Some(HARNESS.to_owned());
            model.core.payload = Some("{\"prompt\":\"{input}\"}".to_owned());
        });
        assert_eq!(with_harness, ["payload"]);
    }
}
