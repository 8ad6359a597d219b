//! A broker put together: the parts in the order in which they need each other.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::backend::{self, AwsClients, Deps, Discovery, OpenAiServers, Routes};
use crate::config::{Config, Report, Store, StoreKind};
use crate::edge::{self, Edge};
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::session::Sessions;
use crate::store::{MemoryStore, SessionStore, SqliteStore, sqlite};

use super::signals::Stops;
use super::wrong_models;

/// How long the first look for agents and models may hold up the start, so that who asks for one by name
/// right after a restart finds it.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// A broker that listens.
#[derive(Debug)]
pub(super) struct Broker {
    edge: Arc<Edge>,
    socket: TcpListener,
    pub(super) address: SocketAddr,
    /// The store, where it is to be closed at the end.
    file: Option<Arc<SqliteStore>>,
    _health: AbortOnDropHandle<()>,
    _discovery: AbortOnDropHandle<()>,
    _sign_in: AbortOnDropHandle<()>,
}

/// Why a broker did not start: for the operator.
#[derive(Debug)]
pub(super) enum NotStarted {
    /// The configuration is wrong.
    Wrong(String),
    /// Something failed.
    Failed(String),
}

impl Broker {
    /// Puts a broker together and takes its address.
    pub(super) async fn open(
        config: Config,
        aws: AwsClients,
        metrics: Arc<Metrics>,
    ) -> Result<Self, NotStarted> {
        let config = Arc::new(config);
        let gate = open_gate(&config)?;
        let aws = Arc::new(aws);
        let discovery = Arc::new(Discovery::default());
        let deps = Deps {
            aws: Arc::clone(&aws),
            openai: Arc::new(OpenAiServers::new(config.turn.connect_timeout)),
            discovery: Arc::clone(&discovery),
            metrics: Arc::clone(&metrics),
            config: Arc::clone(&config),
        };
        let routes = Routes::open(deps)
            .map_err(|_| NotStarted::Wrong(Report::new(None, wrong_models(&config)).to_string()))?;
        let routes = Arc::new(routes);
        if config.models.iter().any(|model| !model.traces) {
            crate::turn::tokens::load();
        }
        let (store, file) = open_store(&config.store).await?;
        let sessions =
            Sessions::start(Arc::clone(&config), Arc::clone(&metrics), store, Arc::clone(&routes))
                .await;
        let sessions = sessions.map_err(|error| {
            NotStarted::Failed(format!("the session supervisor could not be started: {error}"))
        })?;
        let listen = config.server.listen;
        let socket = TcpListener::bind(listen).await;
        let socket = socket.map_err(|error| cannot_listen(listen, &error))?;
        let address = socket.local_addr().map_err(|error| cannot_listen(listen, &error))?;
        let watch = Arc::clone(&aws);
        let health = AbortOnDropHandle::new(tokio::spawn(async move { watch.watch().await }));
        let codewhisperer = aws.codewhisperer(&config);
        if config.codewhisperer.direct {
            codewhisperer.warn();
        }
        let watch = Arc::clone(codewhisperer);
        let sign_in = AbortOnDropHandle::new(tokio::spawn(async move { watch.watch().await }));
        let discovering = discover(discovery, &aws, &config).await;
        // Those that share a client share its way.
        for route in routes.configured() {
            sessions.warm(route);
        }
        let edge = Arc::new(Edge { config, gate, routes, sessions, metrics, aws });
        Ok(Self {
            edge,
            socket,
            address,
            file,
            _health: health,
            _discovery: discovering,
            _sign_in: sign_in,
        })
    }

    /// Serves until told to stop.
    pub(super) async fn serve(self, stops: Stops) {
        edge::serve(self.edge, self.socket, move || stops.next()).await;
        if let Some(file) = self.file {
            // What was asked of it is written before the process ends. One that panicked while
            // it closed has said so.
            let _ = tokio::task::spawn_blocking(move || file.close()).await;
        }
    }
}

/// A store, and the same where it has a file to be closed.
type Opened = (Arc<dyn SessionStore>, Option<Arc<SqliteStore>>);

async fn open_store(store: &Store) -> Result<Opened, NotStarted> {
    if store.kind.unwrap_or_default() == StoreKind::Memory {
        return Ok((Arc::new(MemoryStore::default()), None));
    }
    let path = store_path(store).map_err(NotStarted::Wrong)?;
    let &Store { synchronous, flush, readers, .. } = store;
    let options = sqlite::Options { synchronous, flush, readers };
    let shown = path.display().to_string();
    let opening = tokio::task::spawn_blocking(move || SqliteStore::open(&path, options));
    let opened = opening.await.map_err(|error| NotStarted::Failed(error.to_string()))?;
    let file = opened.map_err(|error| NotStarted::Failed(error.to_string()))?;
    tracing::info!(path = shown, "sessions are kept in a file");
    let file = Arc::new(file);
    Ok((Arc::clone(&file) as Arc<dyn SessionStore>, Some(file)))
}

/// The file that sessions are kept in.
pub(super) fn store_path(store: &Store) -> Result<PathBuf, String> {
    let path = store.path.as_deref().map(|path| Path::new(path).to_owned());
    path.ok_or_else(|| {
        "store.path: is not set, and there is no HOME to put a file in; name one with --store, \
         or have sessions end with the process by --store memory"
            .to_owned()
    })
}

/// Has the control plane asked from now on.
async fn discover(
    discovery: Arc<Discovery>,
    aws: &Arc<AwsClients>,
    config: &Arc<Config>,
) -> AbortOnDropHandle<()> {
    let (asking, aws, knobs) = (Arc::clone(&discovery), Arc::clone(aws), Arc::clone(config));
    let task = tokio::spawn(async move { asking.watch(&aws, &knobs).await });
    if config.discovery.agents || config.discovery.models {
        // What takes longer is waited for by nobody.
        let _ = tokio::time::timeout(FIRST_LOOK, discovery.looked()).await;
    }
    AbortOnDropHandle::new(task)
}

fn open_gate(config: &Config) -> Result<Gate, NotStarted> {
    let gate = Gate::new(config).map_err(|error| NotStarted::Wrong(error.to_string()))?;
    let server = &config.server;
    let openness = gate.check_bind(server.listen, server.insecure_no_auth);
    let openness = openness.map_err(NotStarted::Wrong)?;
    if let Some(warning) = openness.warning() {
        tracing::warn!(listen = %server.listen, "{warning}");
    }
    Ok(gate)
}

fn cannot_listen(listen: SocketAddr, error: &std::io::Error) -> NotStarted {
    NotStarted::Failed(format!("cannot listen on {listen}: {error}; choose another with --listen"))
}

/// The kinds of backend, for the line that says what was started.
pub(super) fn kinds() -> String {
    let names: Vec<_> = backend::KINDS.iter().map(|kind| kind.name).collect();
    names.join(", ")
}
