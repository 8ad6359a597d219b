//! Every knob: its unit, its default and the reason for it.
//!
//! One TOML file, environment over file, flags over both. [`load()`] reads them and finds every
//! mistake at once; nothing else in the program reads the environment or a configuration file.
//! Durations are written as seconds (fractions allowed) under names that end in `_seconds`; short
//! ones as whole milliseconds under names that end in `_ms`.
//!
//! To add a setting, add its field here and name it in `fields`, which will not compile without;
//! `docs/configuration.md` is tested against the same list.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use crate::turn::{DisconnectPolicy, ModelName, TenantId};

mod environment;
mod fields;
mod kind;
mod load;
mod lookup;
mod model;
mod model_fields;
mod problem;
mod read;
pub mod secret;
mod show;
mod store;
mod structured;
mod tables;
#[cfg(test)]
mod tests;
mod text;
mod voice;

pub use environment::{Environment, Flag, load_dotenv};
pub use load::{Loaded, SourceFile, Sources, load};
pub use model::{
    AgentCore, AgentSettings, Guardrail, InlineAgent, Model, PoolMember, PromptCache, Reasoning,
    TextModel,
};
pub use problem::{Place, Problem, Report};
pub use secret::Secret;
pub use show::Hashes;
pub use store::{Store, StoreKind, Synchronous};
pub use voice::{Profile, Voice};

/// Everything the broker can be told.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `[server]`: the listener and what it bears.
    pub server: Server,
    /// `[session]`: how long conversations live and how much they may hold.
    pub session: Session,
    /// `[store]`: where they live, and what is waited for before they count as kept.
    pub store: Store,
    /// `[turn]`: how long one answer may take and how large it may get.
    pub turn: Turn,
    /// `[limits]`: what the broker takes on in all, whoever asks.
    pub limits: Limits,
    /// `[aws]`: how AWS is reached, where the AWS environment does not say.
    pub aws: Aws,
    /// `[openai]`: what `openai` models are asked of that say nothing else.
    pub openai: OpenAi,
    /// `[codewhisperer]`: what all `codewhisperer` models share.
    pub codewhisperer: CodeWhisperer,
    /// `[log]`: what is written down.
    pub log: Log,
    /// `[routing]`: which model stands in for which name.
    pub routing: Routing,
    /// `[[models]]`: the names clients ask for.
    pub models: Vec<Model>,
    /// `[[keys]]`: who may ask.
    pub keys: Vec<Key>,
    /// `[discovery]`: what is asked of the control plane.
    pub discovery: Discovery,
    /// `[emulator]`: how the built-in upstream behaves.
    pub emulator: Emulator,
}

/// `[server]`
#[derive(Debug, Clone)]
pub struct Server {
    /// `listen`: address and port. Default: 127.0.0.1:8000, since beyond loopback keys are due.
    /// `PORT` replaces the port alone.
    pub listen: SocketAddr,
    /// `insecure_no_auth`: listen beyond loopback without any key. Default: false.
    pub insecure_no_auth: bool,
    /// `allowed_origins`: for browsers, by CORS; `*` is any. Default: `["*"]`.
    /// `ALLOWED_ORIGINS` is a comma-separated list.
    pub allowed_origins: Vec<String>,
    /// `body_limit_bytes`: the largest request body. Default: 20 MiB, room for a few images.
    pub body_limit_bytes: usize,
    /// `body_timeout_seconds`: a body must be there by then. Default: 30.
    pub body_timeout: Duration,
    /// `header_limit_bytes`: the largest request head. Default: 64 KiB.
    pub header_limit_bytes: usize,
    /// `header_timeout_seconds`: a request head must be complete by then, from the first byte
    /// or, on a new connection, from its acceptance. Default: 10.
    pub header_timeout: Duration,
    /// `idle_timeout_seconds`: a kept-alive connection without a request is closed after this.
    /// Default: 75, above the 60 of common load balancers, which should be first to close.
    pub idle_timeout: Duration,
    /// `write_timeout_seconds`: a client that takes no byte for so long is dropped. Default: 60.
    pub write_timeout: Duration,
    /// `max_connections`: open at once; further ones wait in the kernel's backlog.
    /// Default: 20,000.
    pub max_connections: usize,
    /// `keep_alive_seconds`: silence on a stream after which a comment is sent. Default: 10.
    pub keep_alive: Duration,
    /// `voice_keep_alive_seconds`: the same on `/api/chat/completions`, whose clients are voice
    /// platforms and give up sooner. Default: 1.
    pub voice_keep_alive: Duration,
    /// `drain_seconds`: running turns may go on for so long after SIGTERM. Default: 30.
    pub drain: Duration,
    /// `health_account`: whether `/health` shows the AWS account and region. Default: true.
    pub health_account: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8000)),
            insecure_no_auth: false,
            allowed_origins: vec!["*".to_owned()],
            body_limit_bytes: 20 << 20,
            body_timeout: Duration::from_secs(30),
            header_limit_bytes: 64 << 10,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(60),
            max_connections: 20_000,
            keep_alive: Duration::from_secs(10),
            voice_keep_alive: Duration::from_secs(1),
            drain: Duration::from_secs(30),
            health_account: true,
        }
    }
}

/// `[session]`
#[derive(Debug, Clone)]
pub struct Session {
    /// `resident_seconds`: an idle session's actor stops after this; the session lives on in
    /// the store. Default: 300.
    pub resident: Duration,
    /// `expire_seconds`: a session without a turn is forgotten after this. Default: 86,400.
    pub expire: Duration,
    /// `max_per_tenant`: sessions a tenant may hold. Default: 100,000.
    pub max_per_tenant: usize,
    /// `max_resident`: actors at once, all tenants. Default: 200,000.
    pub max_resident: usize,
    /// `resident_bytes`: what they may hold together, roughly; beyond, those that rest the
    /// longest are put away. Default: 1 GiB.
    pub resident_bytes: usize,
    /// `history_bytes`: a session's transcript; the oldest turns are dropped beyond.
    /// Default: 1 MiB.
    pub history_bytes: usize,
    /// `history_messages`: messages in a session's transcript. Default: 1,000.
    pub history_messages: usize,
    /// `match_transcripts`: whether a request that names no session is matched to one by the
    /// transcript it resends. Default: true.
    pub match_transcripts: bool,
    /// `files_bytes`: what the files of all sessions' answers may take together; the oldest go
    /// first. Default: 64 MiB.
    pub files_bytes: usize,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            resident: Duration::from_secs(300),
            expire: Duration::from_secs(86_400),
            max_per_tenant: 100_000,
            max_resident: 200_000,
            resident_bytes: 1 << 30,
            history_bytes: 1 << 20,
            history_messages: 1_000,
            match_transcripts: true,
            files_bytes: 64 << 20,
        }
    }
}

/// `[turn]`
#[derive(Debug, Clone)]
pub struct Turn {
    /// `queue`: turns that may wait in one session. Default: 8.
    pub queue: usize,
    /// `queue_wait_seconds`: how long one may wait there. Default: 60.
    pub queue_wait: Duration,
    /// `max_in_flight`: turns running at once, all sessions. Default: 10,000.
    pub max_in_flight: usize,
    /// `max_detached`: turns that run on without a reader. Default: 1,000.
    pub max_detached: usize,
    /// `connect_timeout_seconds`: TCP and TLS to the upstream. Default: 3.
    pub connect_timeout: Duration,
    /// `first_event_timeout_seconds`: from the call to the upstream's first event, traces
    /// counted. Default: 120, since agents think before they speak.
    pub first_event_timeout: Duration,
    /// `stall_timeout_seconds`: silence between two events, traces counted: a silent upstream
    /// is taken for dead, one that traces is thinking. Default: 120.
    pub stall_timeout: Duration,
    /// `total_timeout_seconds`: a whole turn. Default: 900.
    pub total_timeout: Duration,
    /// `output_bytes`: what one turn may produce, events and all. Default: 8 MiB.
    pub output_bytes: usize,
    /// `retries`: further attempts before the first event when the upstream throttles or
    /// cannot be reached. Default: 2.
    pub retries: usize,
    /// `retry_delay_seconds`: before the first retry; doubles, with jitter. Default: 0.1.
    pub retry_delay: Duration,
    /// `breaker_failures`: failures in a row after which a model is passed over where another
    /// can answer. Default: 5.
    pub breaker_failures: NonZeroU32,
    /// `breaker_seconds`: for how long, at first. Default: 10.
    pub breaker_pause: Duration,
    /// `resume_seconds`: how long an ended turn's events are kept for readers that come back.
    /// Default: 60.
    pub resume: Duration,
    /// `resume_bytes`: what all ended turns together may hold for them; the oldest go first.
    /// Default: 16 MiB.
    pub resume_bytes: usize,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            queue: 8,
            queue_wait: Duration::from_secs(60),
            max_in_flight: 10_000,
            max_detached: 1_000,
            connect_timeout: Duration::from_secs(3),
            first_event_timeout: Duration::from_secs(120),
            stall_timeout: Duration::from_secs(120),
            total_timeout: Duration::from_secs(900),
            output_bytes: 8 << 20,
            retries: 2,
            retry_delay: Duration::from_millis(100),
            breaker_failures: NonZeroU32::MIN.saturating_add(4),
            breaker_pause: Duration::from_secs(10),
            resume: Duration::from_secs(60),
            resume_bytes: 16 << 20,
        }
    }
}

/// `[limits]`
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// `requests_per_minute`: all keys together. Default: no limit.
    pub requests_per_minute: Option<NonZeroU32>,
}

/// `[aws]`
///
/// The AWS SDK reads the usual variables and profile files by itself; these stand in where they
/// say nothing.
#[derive(Debug, Clone, Default)]
pub struct Aws {
    /// `region`. Default: what the AWS environment says, else us-east-1.
    pub region: Option<String>,
    /// `endpoint_url`: for every AWS service, as `AWS_ENDPOINT_URL` would be.
    pub endpoint_url: Option<String>,
}

/// `[openai]`
///
/// For `openai/NAME`, and for models that have no `base_url` of their own: those that have one
/// never get this key.
#[derive(Debug, Clone)]
pub struct OpenAi {
    /// `base_url`: what `/chat/completions` is put behind. Default: OpenAI's own.
    /// `OPENAI_BASE_URL`.
    pub base_url: String,
    /// `api_key`: in the clear or as a `${ENV}` or `file:` reference. Default: none.
    /// `OPENAI_API_KEY`.
    pub api_key: Option<Secret>,
}

impl Default for OpenAi {
    fn default() -> Self {
        Self { base_url: "https://api.openai.com/v1".to_owned(), api_key: None }
    }
}

/// `[codewhisperer]`
///
/// CodeWhisperer, called Amazon Q Developer since, is asked with the sign-in of a person, which
/// `outcrop login` makes.
#[derive(Debug, Clone)]
pub struct CodeWhisperer {
    /// `direct`: whether `codewhisperer[/MODEL]` may be asked for, where direct names are allowed,
    /// before anybody has signed in. Default: false; once somebody has, it may.
    pub direct: bool,
    /// `opt_out`: whether the service is told not to use what is said to better itself.
    /// Default: true.
    pub opt_out: bool,
    /// `directory`: where the sign-in is kept. Default: `outcrop` in the state directory of the
    /// platform (`XDG_STATE_HOME`, else `~/.local/state`).
    pub directory: Option<String>,
    /// Where the sign-in is kept, worked out of `directory` and the environment; none where these
    /// do not tell.
    pub kept_in: Option<PathBuf>,
    /// Where a sign-in is looked for besides: what earlier proxies left in the home directory.
    pub older: Option<PathBuf>,
}

impl Default for CodeWhisperer {
    fn default() -> Self {
        Self { direct: false, opt_out: true, directory: None, kept_in: None, older: None }
    }
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// `level`: a level, or a filter such as `info,outcrop=debug`. Default: info. `LOG_LEVEL`.
    pub level: String,
    /// `format`: how lines look. Default: JSON unless standard error is a terminal.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Auto }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Every format with its name.
    pub const NAMES: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("human", Self::Human), ("json", Self::Json)];
}

/// `[routing]`
#[derive(Debug, Clone, Default)]
pub struct Routing {
    /// `default`: the model for a request that names none, or one we do not know.
    /// Default: none; then a request without a model takes the only one configured, if there
    /// is only one.
    pub default: Option<ModelName>,
    /// `allow_direct`: whether `bedrock/agent/AGENT_ID/ALIAS_ID` and its like may be asked for
    /// without being configured. Default: true when no model is configured.
    pub allow_direct: Option<bool>,
    /// `debug_traces`: whether clients may see raw agent traces, which hold prompts.
    /// Default: false. `DEBUG_MODE`.
    pub debug_traces: bool,
}

/// `[[keys]]`
///
/// A tenant may have several. `API_KEY` adds one, in the clear, for the tenant `default`.
#[derive(Debug, Clone)]
pub struct Key {
    /// `tenant`: whose key it is.
    pub tenant: TenantId,
    /// `hash`: `sha256:` and 64 hexadecimal digits; or `key`, in the clear or as a `${ENV}` or
    /// `file:` reference, which is hashed when read. Exactly one of the two.
    pub hash: [u8; 32],
    /// `requests_per_minute`. Default: no limit.
    pub requests_per_minute: Option<NonZeroU32>,
    /// `tokens_per_minute`: read and written, both counted. Default: no limit.
    pub tokens_per_minute: Option<NonZeroU32>,
    /// `concurrent_turns`. Default: no limit.
    pub concurrent_turns: Option<NonZeroU32>,
    /// `models`: the only ones this key may use. Default: all.
    pub models: Option<Vec<ModelName>>,
    /// `disconnect_policy`: what happens to its turns when it leaves, in the place of the model's.
    /// Default: what the model says.
    pub disconnect_policy: Option<DisconnectPolicy>,
    /// `admin`: whether it may list, read, follow, interrupt and end the sessions of all tenants.
    /// Default: false.
    pub admin: bool,
}

/// `[discovery]`
///
/// What Bedrock's control planes are asked (`bedrock:ListAgents`, `bedrock:ListAgentAliases`,
/// `bedrock:GetAgent`; `bedrock:ListFoundationModels`, `bedrock:ListInferenceProfiles`). A failure
/// leaves what the configuration says.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// `agents`: whether `GET /v1/models` lists the agents that the credentials can see, and
    /// they may be asked. Default: false.
    pub agents: bool,
    /// `models`: the same of Bedrock's own models and inference profiles, those that talk or make
    /// embeddings; and of CodeWhisperer's, once somebody has signed in. Default: false; those of
    /// CodeWhisperer are listed wherever direct names are allowed.
    pub models: bool,
    /// `idle_ttl`: whether an agent's idle time is read from the agent itself, in place of
    /// `idle_session_ttl_seconds`. Default: true.
    pub idle_ttl: bool,
    /// `refresh_seconds`: how long what was found is believed. Default: 300.
    pub refresh: Duration,
    /// `max_agents`: aliases that are listed at most. Default: 500.
    pub max_agents: usize,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            agents: false,
            models: false,
            idle_ttl: true,
            refresh: Duration::from_secs(300),
            max_agents: 500,
        }
    }
}

/// `[emulator]`
#[derive(Debug, Clone)]
pub struct Emulator {
    /// `listen`: address and port; port 0 picks a free one. Default: 127.0.0.1:4566.
    pub listen: SocketAddr,
    /// `idle_session_ttl_seconds`: after so long without a turn a session starts blank, as on
    /// AWS. Default: 600.
    pub idle_session_ttl: Duration,
    /// `first_token_delay_seconds`: before the first chunk. Default: 0.
    pub first_token_delay: Duration,
    /// `chunk_delay_seconds`: between chunks. Default: 0.
    pub chunk_delay: Duration,
    /// `fault`: a fault for every call, as [`fault`](Self::fault) is spelled in the emulator's
    /// documentation. Default: none.
    pub fault: Option<String>,
    /// `account`: the account that STS names. Default: 123456789012.
    pub account: String,
    /// `token_lifetime_seconds`: how long the access tokens of a sign-in are good for.
    /// Default: 3600, an hour.
    pub token_lifetime: Duration,
}

impl Default for Emulator {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 4566)),
            idle_session_ttl: Duration::from_secs(600),
            first_token_delay: Duration::ZERO,
            chunk_delay: Duration::ZERO,
            fault: None,
            account: "123456789012".to_owned(),
            token_lifetime: Duration::from_secs(3_600),
        }
    }
}
