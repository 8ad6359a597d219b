//! The built-in server that speaks the real AWS wire, for `demo`, for tests, and for users who
//! develop without an AWS account.
//!
//! It serves `InvokeAgent`, `InvokeInlineAgent`, `GetAgentMemory` and `DeleteAgentMemory` of
//! `bedrock-agent-runtime`, runtimes and harnesses of AgentCore, whose words are in
//! `docs/agentcore.md`, what can be read of `bedrock-agent` (`ListAgents`, `GetAgent`,
//! `ListAgentAliases`, `ListAgentActionGroups`, `GetAgentActionGroup`) and `GetCallerIdentity` of
//! STS, so that one `AWS_ENDPOINT_URL` does for everything. Requests must carry an
//! `Authorization` header, but no signature is checked; the access key `AKIADENIED` may do
//! nothing. Agents whose id begins with `MISSING` or `NOSUCH` do not exist; for all others one
//! demo agent answers, a banking assistant that remembers names and amounts. Some phrases are
//! there for tests:
//!
//! | message | answer |
//! |---|---|
//! | `count to N` | N words, each a chunk of its own when the answer is streamed; up to 2,000 |
//! | `repeat: …` | the text that follows, byte by byte the same |
//! | `call: NAME key=value …` | control returns to the caller, who is to run NAME; one of many phrases, all told in `docs/emulator.md` |
//! | `how many turns …` | the user messages that the session held before this one |
//! | `what was my last message?` | the user message before this one |
//!
//! As on AWS, an unknown or expired session starts blank without an error, attributes given in
//! `sessionAttributes` are kept, `conversationHistory` is taken up by a session without turns,
//! and a second call at once on a session is a `ConflictException`. A call is part of its session
//! from the moment that it is accepted, even if the client then hangs up. While results of
//! actions are waited for, a message is a `ValidationException`.
//!
//! Bedrock's models are there too (`Converse`, `InvokeModel`, embeddings, the catalogue), and an
//! OpenAI upstream below `/v1`, and CodeWhisperer with the service that signs its users in: one demo
//! model behind them all, that remembers nothing and reads its transcript; see `models`, `openai`,
//! `codewhisperer` and `sign_in`.
//!
//! # The way of a call
//! `routes` finds the operation; `invoke_agent` reads the request (`request`, `session_state`,
//! `inline_agent`) and takes the seat of its session; `converse` decides what the agent does, from
//! the phrases of the message (`wishes`), the results that came back (`results`) or the words that
//! it knows (`demo_agent`), and puts the answer together (`draft`); `script` lays down its course
//! (`course`), and `playback` plays it.
//!
//! # Settings
//! The configuration sets them for all calls, session attributes (or prompt session attributes,
//! which go first) for some: `outcrop-emulator-first-token-ms`, `outcrop-emulator-chunk-ms`, and
//! `outcrop-emulator-fault`. A session attribute is kept and so holds for the session's later
//! calls too; a prompt session attribute holds for its own call.
//!
//! # Faults
//! | fault | what happens |
//! |---|---|
//! | `none` | nothing; takes back a fault that was set before |
//! | `throttle` | 429 `ThrottlingException` |
//! | `access-denied` | 403 `AccessDeniedException` |
//! | `access-denied-streaming` | the same for want of `bedrock:InvokeModelWithResponseStream`, when the answer is to be streamed; other calls are answered |
//! | `not-found` | 404 `ResourceNotFoundException` |
//! | `validation` | 400 `ValidationException` |
//! | `conflict` | 409 `ConflictException` |
//! | `dependency` | 424 `DependencyFailedException` |
//! | `quota` | 400 `ServiceQuotaExceededException` |
//! | `model-not-ready` | 424 `ModelNotReadyException` |
//! | `internal` | 500 `InternalServerException` |
//! | `bad-gateway` | 502 `BadGatewayException` |
//! | `503` | a plain 503, as from a load balancer |
//! | `expired-token` | 403 `ExpiredTokenException` |
//! | `model-timeout` | 408 `ModelTimeoutException`; models alone have it, as the next two |
//! | `model-error` | 424 `ModelErrorException` |
//! | `context-overflow` | 400 `ValidationException`: the input is too long |
//! | any of these with `:N` | only the first N calls of the session, as in `throttle:2` |
//! | `stall-headers` | no answer at all |
//! | `stall` | a head, then silence |
//! | `stall:N` | silence after N chunks |
//! | `cut:N` | the connection closes in the middle of a frame after N chunks |
//! | `garbage:N` | a frame with a wrong checksum after N chunks |
//! | `error-frame:N` | a frame of `:message-type: error` after N chunks |
//! | `end:N` | a clean end after N chunks, as if that were all |
//! | `exception:NAME:N` | the exception NAME, in lower camel case, after N chunks |
//! | `slow` | every byte is written on its own |
//! | `empty` | no chunk, and a clean end |
//! | `unknown-event` | events of a type that nobody knows among the chunks |
//! | `thinking:MS` | a trace every 50 ms for MS before the first chunk; silence if traces were not asked for |
//!
//! Flaws are faults of the OpenAI upstream alone: an answer that is whole, and not as OpenAI writes it.
//!
//! | flaw | what happens |
//! |---|---|
//! | `no-role` | neither the first chunk nor the message says `assistant` |
//! | `wrong-index` | the only choice has the index 1 |
//! | `no-usage` | no usage, though it was asked for |
//! | `no-done` | the stream ends without `[DONE]` |
//! | `no-finish` | no `finish_reason` |
//! | `wrong-content-type` | `text/html`, streamed or not |
//! | `tool-index` | calls in a stream have the index -1 |
//! | `shared-call-id` | all calls have the same id |
//!
//! An answer with fewer chunks than N breaks after its last one; a hand-over and files count as
//! chunks, and `first` for N is before anything, traces too. A fault that is none of these is an
//! error: at start in the configuration, a `ValidationException` in an attribute. The control
//! plane's answers are documents: there the faults that refuse count (of `:N`, all its calls
//! together), `stall-headers` and `stall`, which are the same, and `thinking:MS`, a late answer.
//!
//! # The control plane
//! It lists four agents, of which one is not prepared, each with the aliases `LIVEALIAS1`,
//! `PAUSEDALI1`, which takes no turns, and `TSTALIASID`. Other agents can be asked all the same.
//! `POST /_emulator/control-plane` changes it for tests, as `{"agents": 250, "fault": "throttle:2",
//! "operation": "ListAgents", "idle_session_ttl_seconds": 60}`, each member optional.
//!
//! # What it saw
//! `GET /_emulator/state` tells the calls with their bodies and their tokens, how they ended, the
//! sessions, and how often the control plane was asked, as JSON; `POST /_emulator/reset` forgets
//! all that, and the long-term memories.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::config;

mod actions;
mod agentcore;
mod behaviour;
mod calls;
mod citations;
mod codewhisperer;
mod control_plane;
mod converse;
mod course;
mod demo_agent;
mod draft;
mod facts;
mod faults;
mod files_out;
mod fleet;
mod frames;
mod guardrail;
mod inline_agent;
mod input_files;
mod invoke_agent;
mod ledger;
mod memories;
mod models;
mod openai;
mod openapi;
mod particulars;
mod pieces;
mod playback;
mod recorded;
mod refusal;
mod request;
mod results;
mod routes;
mod script;
mod session_state;
mod sessions;
mod sign_in;
mod steps;
mod sts;
mod tool_box;
mod traces;
mod wishes;
mod words;

/// The header with the service's id for a request.
const REQUEST_ID: &str = "x-amzn-requestid";
/// Connections open at once; further ones wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 20_000;
/// Connections that the kernel holds ready; thousands may come in one burst.
const BACKLOG: u32 = 4_096;
/// How long a connection may take to send a request head, waiting for its next request counted
/// in. Above the 90 seconds for which AWS SDKs keep idle connections, so that they close first.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
/// How long to wait when the machine cannot take a connection, for want of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the emulator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address wanted.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// `emulator.fault` is none that there is; the text says so.
    #[error("emulator.fault: {0}")]
    Fault(String),
    /// `emulator.account` is not an account id.
    #[error("emulator.account: an AWS account id has twelve digits, not {0:?}")]
    Account(String),
}

/// An emulator that listens and does not answer yet.
#[derive(Debug)]
pub struct Emulator {
    listener: TcpListener,
    address: SocketAddr,
    permits: Arc<Semaphore>,
    emulated: Arc<Emulated>,
}

/// What all connections share.
#[derive(Debug)]
struct Emulated {
    sessions: Arc<sessions::Sessions>,
    calls: Arc<calls::Calls>,
    models: models::Models,
    agentcore: agentcore::Log,
    fleet: control_plane::Fleet,
    memories: memories::Memories,
    sign_ins: sign_in::SignIns,
    codewhisperer: codewhisperer::Known,
    behaviour: behaviour::Behaviour,
    account: String,
}

/// Takes the address, so that clients may connect from here on.
///
/// # Errors
/// When the address cannot be listened on, or a setting is not valid.
pub async fn bind(config: &config::Emulator) -> Result<Emulator, BindError> {
    let behaviour = behaviour::Behaviour::configured(config)
        .map_err(|error| BindError::Fault(error.to_string()))?;
    let is_account =
        config.account.len() == 12 && config.account.bytes().all(|b| b.is_ascii_digit());
    if !is_account {
        return Err(BindError::Account(config.account.clone()));
    }
    let address = config.listen;
    let unheard = |source| BindError::Listen { address, source };
    let listener = listen(address).map_err(unheard)?;
    Ok(Emulator {
        address: listener.local_addr().map_err(unheard)?,
        listener,
        permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        emulated: Arc::new(Emulated {
            sessions: Arc::new(sessions::Sessions::new(config.idle_session_ttl)),
            calls: Arc::default(),
            models: models::Models::default(),
            agentcore: agentcore::Log::default(),
            fleet: control_plane::Fleet::new(&config.account, config.idle_session_ttl),
            memories: memories::Memories::default(),
            sign_ins: sign_in::SignIns::new(config.token_lifetime),
            codewhisperer: codewhisperer::Known::default(),
            behaviour,
            account: config.account.clone(),
        }),
    })
}

impl Emulator {
    /// Where it listens; the port is the real one where the configuration left it open.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until told to stop. Every connection ends with it, also when it is dropped.
    pub async fn serve(self, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                (socket, permit) = self.next_connection() => {
                    connections.spawn(converse(socket, permit, Arc::clone(&self.emulated)));
                }
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        warn!("a connection of the emulator failed: {error}");
                    }
                }
            }
        }
        connections.shutdown().await;
    }

    async fn next_connection(&self) -> (TcpStream, Option<OwnedSemaphorePermit>) {
        // The semaphore is never closed, so there is always a permit in the end.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((socket, _)) => return (socket, permit),
                Err(error) => {
                    warn!("the emulator cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves one connection to its end; it holds its permit until then.
async fn converse(
    socket: TcpStream,
    _permit: Option<OwnedSemaphorePermit>,
    emulated: Arc<Emulated>,
) {
    // Chunks would come late otherwise; a socket that is gone already shows below.
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| routes::answer(Arc::clone(&emulated), request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(socket), service)
        .await;
    if let Err(error) = served {
        debug!("a connection of the emulator broke off: {error}");
    }
}
