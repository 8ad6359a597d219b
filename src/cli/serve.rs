//! `outcrop serve`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::backend::AwsClients;
use crate::config::{Environment, Flag, Loaded, Report, Sources, StoreKind, load};
use crate::metrics::Metrics;

use super::broker::{Broker, NotStarted, kinds};
use super::signals::Stops;
use super::{EXIT_FAILED, EXIT_OK, complain, logging, refuse, say};

/// What to serve.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The configuration file; else the one in OUTCROP_CONFIG, else ./outcrop.toml if it exists
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to listen on; wins over the configuration [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The file that sessions are kept in, or "memory"; wins over the configuration
    #[arg(long, value_name = "PATH|memory")]
    store: Option<String>,
    /// Listen beyond this machine although no API keys are configured
    #[arg(long)]
    insecure_no_auth: bool,
}

/// Loads the configuration as this command line wants it.
fn configure(verb: &Serve, environment: Environment) -> Result<Loaded, Report> {
    let mut sources = Sources::find(verb.config.as_deref(), environment)?;
    if let Some(listen) = &verb.listen {
        let flag = Flag { name: "--listen", key: "server.listen", value: listen.clone() };
        sources.flags.push(flag);
    }
    if verb.insecure_no_auth {
        let (name, key) = ("--insecure-no-auth", "server.insecure_no_auth");
        sources.flags.push(Flag { name, key, value: "true".to_owned() });
    }
    sources.flags.extend(verb.store.as_deref().map(store_flags).into_iter().flatten());
    let mut loaded = load(&sources)?;
    // Who serves others is not to forget what they said.
    loaded.config.store.kind.get_or_insert(StoreKind::Sqlite);
    Ok(loaded)
}

/// What `--store` sets.
fn store_flags(store: &str) -> Vec<Flag> {
    let flag = |key, value: &str| Flag { name: "--store", key, value: value.to_owned() };
    match store {
        "memory" => vec![flag("store.kind", store)],
        path => vec![flag("store.kind", "sqlite"), flag("store.path", path)],
    }
}

pub(super) async fn run(verb: Serve, environment: Environment) -> u8 {
    let loaded = match configure(&verb, environment) {
        Ok(loaded) => loaded,
        Err(report) => return refuse(&report),
    };
    let metrics = Arc::new(Metrics::new());
    let _log = match logging::start(&loaded.config.log, &metrics) {
        Ok(guard) => guard,
        Err(message) => return refuse(&message),
    };
    for note in &loaded.notes {
        tracing::warn!("{note}");
    }
    let aws = AwsClients::load(&loaded.config).await;
    let broker = match Broker::open(loaded.config, aws, metrics).await {
        Ok(broker) => broker,
        Err(NotStarted::Wrong(message)) => return refuse(&message),
        Err(NotStarted::Failed(message)) => {
            complain(&message);
            return EXIT_FAILED;
        }
    };
    serve(broker).await;
    EXIT_OK
}

async fn serve(broker: Broker) {
    let stops = Stops::new();
    let signals = stops.on_signals();
    if let Err(error) = &signals {
        tracing::warn!(%error, "signals cannot be handled: stopping will not drain");
    }
    tracing::info!(address = %broker.address, backends = %kinds(), "serving");
    say(&format_args!("outcrop listening on http://{}", broker.address));
    broker.serve(stops).await;
}
