//! What the broker costs, measured against a bare loop in the same run.
//!
//! `cargo bench --bench broker` prints tables of ratios; `-- --quick` takes less than a minute
//! and is less sure of them; `-- --only NAME` measures one thing; `-- drive ADDRESS STREAMS` puts a
//! server that runs already under the load of 64 connections, for a profiler. The broker, the bare loop, the
//! emulator behind them and the client, which is this program, are processes of their own, all on
//! loopback. Only the ratios mean something on a machine that does other things meanwhile: the
//! programs take turns, round by round, so that what disturbs one disturbs all.

use std::time::Duration;

use anyhow::{Context as _, bail};

mod bare;
mod cancel;
mod client;
mod load;
mod open;
mod process;
mod sessions;
mod store;
mod streams;
mod table;

use load::Ask;
use open::Open;
use streams::Load;

/// What is measured, by name.
const NAMES: &[&str] = &[
    "stream-1",
    "stream-64",
    "slow-100",
    "slow-1000",
    "sessions",
    "open-2000",
    "open-10000",
    "cancel",
    "store",
];

const SLOW: Duration = Duration::from_millis(20);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, endpoint] = arguments.as_slice()
        && role == "bare"
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return runtime.block_on(bare::serve(endpoint));
    }
    // One thread: the client must not take both cores from what it measures.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let [role, address, streams] = arguments.as_slice()
        && role == "drive"
    {
        return runtime.block_on(streams::drive(address.parse()?, streams.parse()?));
    }
    runtime.block_on(measure(&Wanted::parse(&arguments)?))
}

/// What the command line asks for.
#[derive(Debug, Default)]
struct Wanted {
    quick: bool,
    only: Option<String>,
}

impl Wanted {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut wanted = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo says so to every bench.
                "--bench" => {}
                "--quick" => wanted.quick = true,
                "--only" => {
                    let name = arguments.next().context("--only needs a name")?;
                    if !NAMES.contains(&name.as_str()) {
                        bail!("nothing is called {name:?}; there are: {}", NAMES.join(", "));
                    }
                    wanted.only = Some(name.clone());
                }
                other => bail!("{other:?} is not an option; there are: --quick, --only NAME"),
            }
        }
        Ok(wanted)
    }

    fn has(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == name)
    }

    /// Less of something when it has to be quick.
    fn either<T>(&self, whole: T, quick: T) -> T {
        if self.quick { quick } else { whole }
    }
}

async fn measure(wanted: &Wanted) -> anyhow::Result<()> {
    for load in loads(wanted) {
        if wanted.has(load.0) {
            streams::measure(&load.1).await?;
        }
    }
    if wanted.has("sessions") {
        sessions::measure(wanted.either(100_000, 10_000)).await?;
    }
    if wanted.has("open-2000") {
        open::measure(&two_thousand()).await?;
    }
    if wanted.has("open-10000") && (!wanted.quick || wanted.only.is_some()) {
        open::measure(&ten_thousand()).await?;
    }
    if wanted.has("cancel") {
        cancel::measure(wanted.either(200, 40)).await?;
    }
    if wanted.has("store") {
        store::measure(&kept(wanted)).await?;
    }
    Ok(())
}

fn loads(wanted: &Wanted) -> [(&'static str, Load); 4] {
    let load = |name, connections, chunk_delay, streams| Load {
        name,
        connections,
        chunk_delay,
        streams,
        rounds: wanted.either(5, 2),
    };
    let fast = wanted.either(2_000, 600);
    [
        ("stream-1", load("64 tokens, one connection", 1, Duration::ZERO, wanted.either(400, 150))),
        ("stream-64", load("64 tokens, 64 connections", 64, Duration::ZERO, fast)),
        ("slow-100", load("64 tokens, 20 ms each, 100 open", 100, SLOW, 100)),
        ("slow-1000", load("64 tokens, 20 ms each, 1,000 open", 1_000, SLOW, 1_000)),
    ]
}

fn kept(wanted: &Wanted) -> store::Load {
    store::Load {
        rounds: wanted.either(5, 2),
        turns: wanted.either(4_000, 1_000),
        alone: wanted.either(300, 100),
        sessions: wanted.either(50_000, 5_000),
        revived: wanted.either(2_000, 500),
    }
}

fn two_thousand() -> Open {
    Open {
        streams: 2_000,
        chunk_delay: Duration::from_millis(60),
        spread: Duration::from_secs(2),
        ask: Ask { text: "count to 50", tokens: 50 },
    }
}

fn ten_thousand() -> Open {
    Open {
        streams: 10_000,
        chunk_delay: Duration::from_millis(500),
        spread: Duration::from_secs(7),
        ask: Ask { text: "count to 20", tokens: 20 },
    }
}
