//! A broker put together: the parts in the order in which they need each other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::backend::{self, AwsClients, Deps, Discovery, OpenAiServers, Routes};
use crate::config::{Config, Report};
use crate::edge::{self, Edge};
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::session::Sessions;
use crate::store::MemoryStore;

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
        let store = Arc::new(MemoryStore::default());
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
        let sign_in = aws.codewhisperer(&config).sign_in.clone();
        let sign_in = AbortOnDropHandle::new(tokio::spawn(async move { sign_in.watch().await }));
        let discovering = discover(discovery, &aws, &config).await;
        let edge = Arc::new(Edge { config, gate, routes, sessions, metrics, aws });
        Ok(Self {
            edge,
            socket,
            address,
            _health: health,
            _discovery: discovering,
            _sign_in: sign_in,
        })
    }

    /// Serves until told to stop.
    pub(super) async fn serve(self, stops: Stops) {
        edge::serve(self.edge, self.socket, move || stops.next()).await;
    }
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
