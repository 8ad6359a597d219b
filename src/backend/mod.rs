//! Who answers: one file or folder a kind of upstream.
//!
//! To add one, write `backend/<kind>.rs` with a [`Kind`] and list it in [`KINDS`]. A backend
//! runs a turn as one future that puts [`TurnEvent`]s into an [`Outlet`] as they come and
//! returns why the turn ended; dropping the future stops the upstream call. Retries, where they
//! are safe at all, happen inside, before the first event.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::config::{Config, Model};
use crate::metrics::Metrics;
use crate::turn::{
    EmbeddingRequest, Embeddings, Failure, FailureKind, FinishReason, HandedBack, Message,
    ModelName, Pending, SessionKey, TurnEvent, TurnRequest, UpstreamSessionId,
};

use fields::Fields;

pub mod http;

mod agentcore;
mod aws;
mod aws_refusal;
mod bedrock;
mod bedrock_agent;
mod bedrock_inline_agent;
pub mod breaker;
mod cache_counts;
#[cfg(test)]
mod canned;
mod codewhisperer;
mod discovery;
pub mod fields;
pub mod health;
mod openai;
mod pool;
mod retry;
mod routes;
pub mod sign_in;
pub mod sse;
mod template;
mod warm;

pub use aws::{AwsClients, AwsHealth};
#[cfg(test)]
pub(crate) use bedrock::there_and_back;
pub use codewhisperer::{CodeWhispererAccess, Profile, Profiles};
pub use discovery::{Discovery, FoundAgent, FoundModel};
pub use openai::OpenAiServers;
pub use routes::{Route, Routes};

/// Every kind of backend. Of two whose prefixes fit a direct name, the first is meant: `bedrock/`
/// is any model's, and stands last.
pub const KINDS: &[Kind] = &[
    bedrock_agent::KIND,
    bedrock_inline_agent::KIND,
    agentcore::KIND,
    openai::KIND,
    codewhisperer::KIND,
    pool::KIND,
    bedrock::KIND,
];

/// A kind of backend: what it is called and how one is made from a model's settings.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name in the configuration, in logs and as a metric label.
    pub name: &'static str,
    /// The prefix of its direct model names (`bedrock/agent/`), if it has any. One without a slash
    /// at its end is a name by itself too.
    pub direct_prefix: Option<&'static str>,
    /// Fills a model's settings in from what follows the prefix of a direct name.
    pub direct: fn(&mut Model, &str) -> Result<(), Mistake>,
    /// Whether its direct names may be asked for, where direct names are.
    pub may_direct: fn(&Deps) -> bool,
    /// What becomes of the members of a request. A pool has none: its members have.
    pub fields: Fields,
    /// Finds what is wrong with a model's settings.
    pub check: fn(&Model) -> Vec<Mistake>,
    /// Makes the backend; the settings were checked.
    pub open: fn(&Model, &Deps) -> Arc<dyn Backend>,
}

impl Kind {
    /// What of a direct name of this kind tells the model; `None` for other names.
    fn behind_prefix<'n>(&self, name: &'n str) -> Option<&'n str> {
        let prefix = self.direct_prefix?;
        let rest = name.strip_prefix(prefix)?;
        (prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }
}

/// A wrong setting of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The setting, as the configuration calls it.
    pub setting: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

/// What backends are made with.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Warm clients, one a region and endpoint.
    pub aws: Arc<AwsClients>,
    /// OpenAI-compatible servers, with warm connections.
    pub openai: Arc<OpenAiServers>,
    /// What is known of agents and models beyond the configuration.
    pub discovery: Arc<Discovery>,
    /// Where upstream calls are counted.
    pub metrics: Arc<Metrics>,
    /// The knobs.
    pub config: Arc<Config>,
}

/// Who answers.
pub trait Backend: Send + Sync + fmt::Debug {
    /// Runs one turn: puts its events into the outlet (not `Started`, `Finished` or `Failed`)
    /// and returns why it ended.
    ///
    /// # Errors
    /// The failure to show to the client; upstream details are logged here.
    fn answer(&self, ask: Ask, outlet: Outlet)
    -> BoxFuture<'static, Result<FinishReason, Failure>>;

    /// How long the upstream remembers a session without a turn; `None` when it keeps nothing
    /// and wants the history each time.
    fn remembers(&self) -> Option<Duration>;

    /// Whether an upstream session is over once an answer in it was cut: then the next turn
    /// opens another, seeded with the transcript.
    fn forgets_when_cut(&self) -> bool {
        false
    }

    /// Whether a turn may be run twice without harm: whether it does nothing but answer.
    fn is_repeatable(&self) -> bool {
        false
    }

    /// The key of the agent's long-term memory that a turn is run with.
    fn memory_id(&self, ask: &Ask) -> Option<String> {
        ask.request.memory_id.clone()
    }

    /// The agent and its alias, where there are such.
    fn agent(&self) -> Option<(&str, &str)> {
        None
    }

    /// Reads results that a client sent in the upstream's own spelling: a tool message for each.
    ///
    /// # Errors
    /// `BadRequest` for results that answer no call of the hand-over, `UnsupportedParameter`
    /// where the upstream has no such spelling.
    fn read_results(
        &self,
        pending: &Pending,
        handed_back: &HandedBack,
    ) -> Result<Vec<Message>, Failure> {
        let _ = (pending, handed_back);
        Err(Failure::new(
            FailureKind::UnsupportedParameter,
            "this model takes results as tool messages only",
        )
        .at("return_control_results"))
    }

    /// Makes vectors of texts. Retries, where they help, happen inside.
    ///
    /// # Errors
    /// `UnsupportedParameter` where the model makes none; else what the upstream says.
    fn embed(&self, request: EmbeddingRequest) -> BoxFuture<'static, Result<Embeddings, Failure>> {
        drop(request);
        let message = "this model makes no embeddings; name one that does";
        let failure = Failure::new(FailureKind::UnsupportedParameter, message).at("model");
        Box::pin(std::future::ready(Err(failure)))
    }

    /// Opens the way to the upstream ahead of a turn, where that can be done without asking for
    /// anything: see `backend/warm.rs`. Says nothing of how it went; the turn will.
    fn warm(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Tells the upstream that a session is over.
    fn end(&self, farewell: Farewell) -> BoxFuture<'static, Result<(), Failure>>;
}

/// What a session asks of its backend in one turn.
#[derive(Debug)]
pub struct Ask {
    /// The session, for what is told of it upstream.
    pub key: SessionKey,
    /// The upstream session: ours, and warm unless there is a history to seed it with.
    pub upstream: UpstreamSessionId,
    /// The client's system messages: those of this turn, or those that it last sent.
    pub system: Arc<[Message]>,
    /// What was said before, for an upstream session that does not know it yet.
    pub history: Vec<Arc<Message>>,
    /// What is new: ends with a user or tool message. Tool messages among it answer calls of
    /// the hand-over, or of the history where the upstream session does not know them.
    pub input: Vec<Message>,
    /// The hand-over that the upstream session waits for, with the results that are there. One
    /// without its result is to be answered as interrupted, since a user message came instead.
    pub pending: Option<Pending>,
    /// The request's other wishes; its `messages` are not to be used.
    pub request: Arc<TurnRequest>,
}

/// A session that is over, for its upstream.
#[derive(Debug, Clone)]
pub struct Farewell {
    /// The upstream session.
    pub upstream: UpstreamSessionId,
    /// The key of the agent's long-term memory that it was used with.
    pub memory_id: Option<String>,
}

/// Where a backend puts the events of its turn.
///
/// The session's pump takes them out after each poll of the backend, so those that came
/// together travel together, and none waits.
#[derive(Debug, Clone)]
pub struct Outlet {
    shared: Arc<OutletShared>,
}

#[derive(Debug)]
struct OutletShared {
    waiting: Mutex<Vec<TurnEvent>>,
    /// Counts signs of life, events or not.
    signs: AtomicU64,
    called: Mutex<Option<Instant>>,
    has_begun: AtomicBool,
}

impl Default for Outlet {
    fn default() -> Self {
        Self {
            shared: Arc::new(OutletShared {
                waiting: Mutex::new(Vec::new()),
                signs: AtomicU64::new(0),
                called: Mutex::new(None),
                has_begun: AtomicBool::new(false),
            }),
        }
    }
}

impl Outlet {
    /// Events that may wait before [`push`](Self::push) yields to the pump.
    const FULL: usize = 64;

    /// Puts an event in; yields once when many wait, so that the pump can take them.
    pub async fn push(&self, event: TurnEvent) {
        self.alive();
        self.shared.has_begun.store(true, Ordering::Relaxed);
        let waiting = {
            let mut events = self.waiting();
            events.push(event);
            events.len()
        };
        if waiting >= Self::FULL {
            tokio::task::yield_now().await;
        }
    }

    /// Whether any event was put in: then the turn must not be tried again.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.shared.has_begun.load(Ordering::Relaxed)
    }

    /// Says that the upstream shows life though there is no event: it thinks, it is not dead.
    pub fn alive(&self) {
        self.shared.signs.fetch_add(1, Ordering::Relaxed);
    }

    /// Says that the upstream call begins now; the first such moment counts.
    pub fn called(&self) {
        let mut called = lock(&self.shared.called);
        called.get_or_insert_with(Instant::now);
    }

    /// When the upstream call began.
    #[must_use]
    pub fn called_at(&self) -> Option<Instant> {
        *lock(&self.shared.called)
    }

    /// How many signs of life there were.
    #[must_use]
    pub fn signs(&self) -> u64 {
        self.shared.signs.load(Ordering::Relaxed)
    }

    /// How many events there are to take.
    #[must_use]
    pub fn waits(&self) -> usize {
        self.waiting().len()
    }

    /// Takes what waits.
    #[must_use]
    pub fn take(&self) -> Vec<TurnEvent> {
        std::mem::take(&mut *self.waiting())
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<TurnEvent>> {
        lock(&self.shared.waiting)
    }
}

/// A lock whose holder panicked guards plain data that is whole at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds every wrong model setting in a configuration.
#[must_use]
pub fn check(config: &Config) -> Vec<(ModelName, Mistake)> {
    let mut mistakes = Vec::new();
    for model in &config.models {
        let found = match kind(&model.backend) {
            Some(kind) => (kind.check)(model),
            None => vec![unknown_kind(&model.backend)],
        };
        let found = found.into_iter().chain(pool::wrong_names(config, model));
        mistakes.extend(found.map(|mistake| (model.name.clone(), mistake)));
    }
    mistakes
}

/// A name short enough to repeat in a message.
fn short(name: &ModelName) -> &str {
    let text = name.as_str();
    text.get(..100).unwrap_or(text)
}

fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

fn unknown_kind(name: &str) -> Mistake {
    let known: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
    Mistake {
        setting: "backend",
        message: format!("no backend {name:?}; there are: {}", known.join(", ")),
    }
}
