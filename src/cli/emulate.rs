//! `outcrop emulate`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::config::{Environment, Flag, Sources, load};
use crate::emulator;
use crate::metrics::Metrics;

use super::signals::Stops;
use super::{EXIT_FAILED, EXIT_OK, complain, logging, refuse, say};

/// What to emulate.
#[derive(Debug, Args)]
pub(super) struct Emulate {
    /// The configuration file, for its [emulator] table
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to listen on; port 0 picks a free one [default: 127.0.0.1:4566]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Seconds before the first chunk of every answer
    #[arg(long, value_name = "SECONDS")]
    first_token_delay: Option<String>,
    /// Seconds between two chunks
    #[arg(long, value_name = "SECONDS")]
    chunk_delay: Option<String>,
    /// A fault for every call, such as throttle, stall, cut:3 or
    /// exception:throttlingException:2
    #[arg(long, value_name = "FAULT")]
    fault: Option<String>,
}

impl Emulate {
    fn flags(&self) -> Vec<Flag> {
        let given = [
            ("--listen", "emulator.listen", &self.listen),
            ("--first-token-delay", "emulator.first_token_delay_seconds", &self.first_token_delay),
            ("--chunk-delay", "emulator.chunk_delay_seconds", &self.chunk_delay),
            ("--fault", "emulator.fault", &self.fault),
        ];
        let flag = |(name, key, value): (_, _, &Option<String>)| {
            value.clone().map(|value| Flag { name, key, value })
        };
        given.into_iter().filter_map(flag).collect()
    }
}

pub(super) async fn run(verb: Emulate, environment: Environment) -> u8 {
    let sources = Sources::find(verb.config.as_deref(), environment);
    let loaded = sources.and_then(|mut sources| {
        sources.flags.extend(verb.flags());
        load(&sources)
    });
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(report) => return refuse(&report),
    };
    let _log = match logging::start(&loaded.config.log, &Arc::new(Metrics::new())) {
        Ok(guard) => guard,
        Err(message) => return refuse(&message),
    };
    let emulator = match emulator::bind(&loaded.config.emulator).await {
        Ok(emulator) => emulator,
        Err(error) => {
            complain(&error);
            return EXIT_FAILED;
        }
    };
    let address = emulator.address();
    say(&format_args!("emulator listening on http://{address}"));
    say(&format_args!(
        "point AWS clients at it: AWS_ENDPOINT_URL=http://{address} AWS_REGION=us-east-1 \
         AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=emulated \
         AWS_SECRET_ACCESS_KEY=emulated"
    ));
    let stops = Stops::new();
    let _signals = stops.on_signals();
    let stop = CancellationToken::new();
    tokio::select! {
        () = emulator.serve(stop.clone()) => {}
        _ = stops.next() => stop.cancel(),
    }
    EXIT_OK
}
