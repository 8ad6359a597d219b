//! What a streamed turn costs, against the bare loop: rounds of each, in turn.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::client::Dialect;
use super::load::{Ask, Clients, Times};
use super::process::{Server, Settings};
use super::table::{self, Row, ms, spread};

/// The answer of every turn: 64 tokens.
const ASK: Ask<'static> = Ask { text: "count to 64", tokens: 64 };
/// Rounds of which nothing is counted: connections open, caches fill.
const WARM_UP: usize = 1;

/// One kind of load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) connections: usize,
    /// Between two tokens; zero is as fast as they go.
    pub(crate) chunk_delay: Duration,
    /// Streams in a round.
    pub(crate) streams: usize,
    pub(crate) rounds: usize,
}

/// Who is measured.
struct Subject {
    name: &'static str,
    /// `None` is the emulator itself.
    server: Option<Server>,
    clients: Clients,
    first_tokens: Times,
    /// Processor seconds for a thousand streams, a round each.
    cpu: Vec<f64>,
    peak: u64,
}

/// Measures one load and prints its rows.
pub(crate) async fn measure(load: &Load) -> anyhow::Result<()> {
    let began = Instant::now();
    let emulator = Server::emulator(load.chunk_delay)?;
    let mut subjects = subjects(load, &emulator).await?;
    for round in 0..WARM_UP + load.rounds {
        for subject in &mut subjects {
            subject.round(load, round >= WARM_UP).await?;
        }
    }
    print(load, &mut subjects, began.elapsed());
    Ok(())
}

/// Asks a chat server that runs already, over 64 connections; prints what came of it.
pub(crate) async fn drive(server: SocketAddr, streams: usize) -> anyhow::Result<()> {
    let mut clients = Clients::open(server, Dialect::Chat, 64, &ASK).await?;
    let began = Instant::now();
    let mut times = clients.one_after_another(streams).await?;
    let (p50, p99) = (times.percentile(0.5), times.percentile(0.99));
    println!("{streams} streams in {:.1?}; first token {}, {}", began.elapsed(), ms(p50), ms(p99));
    Ok(())
}

async fn subjects(load: &Load, emulator: &Server) -> anyhow::Result<Vec<Subject>> {
    let upstream = emulator.address;
    let servers = [
        ("upstream itself", Dialect::Agent { traces: false }, None),
        ("bare loop", Dialect::Chat, Some(Server::bare(upstream)?)),
        (
            "broker, traces off",
            Dialect::Chat,
            Some(Server::broker(upstream, &Settings { traces: false, ..Settings::default() })?),
        ),
        ("upstream, traces on", Dialect::Agent { traces: true }, None),
        ("broker, defaults", Dialect::Chat, Some(Server::broker(upstream, &Settings::default())?)),
    ];
    let mut subjects = Vec::new();
    for (name, dialect, server) in servers {
        let address = server.as_ref().map_or(upstream, |server| server.address);
        let clients = Clients::open(address, dialect, load.connections, &ASK).await?;
        let (first_tokens, cpu) = (Times::default(), Vec::new());
        subjects.push(Subject { name, server, clients, first_tokens, cpu, peak: 0 });
    }
    Ok(subjects)
}

impl Subject {
    async fn round(&mut self, load: &Load, counts: bool) -> anyhow::Result<()> {
        let before = self.spent()?;
        let times = if load.chunk_delay.is_zero() {
            self.clients.one_after_another(load.streams).await?
        } else {
            // Half of a stream's length: for the other half all of them are open.
            self.clients.all_at_once(load.chunk_delay * 32).await?
        };
        let streams = u32::try_from(times.0.len())?;
        let spent = self.spent()? - before;
        if counts {
            self.first_tokens.extend(times);
            self.cpu.push(spent.as_secs_f64() * 1_000.0 / f64::from(streams));
        }
        if let Some(server) = &self.server {
            self.peak = server.peak_resident()?;
        }
        Ok(())
    }

    fn spent(&self) -> anyhow::Result<Duration> {
        self.server.as_ref().map_or(Ok(Duration::ZERO), Server::cpu)
    }
}

fn print(load: &Load, subjects: &mut [Subject], took: Duration) {
    let bare: Vec<f64> = subjects[1].cpu.clone();
    table::head(
        &format!("{} ({} rounds each, {:.0} s)", load.name, load.rounds, took.as_secs_f64()),
        &[
            "CPU / bare: min · median · max",
            "CPU s per 1,000",
            "first token p50, p99",
            "added p50, p99",
            "peak RSS",
        ],
    );
    // The upstream that an added time is measured from stands before those who add it.
    let mut direct = (Duration::ZERO, Duration::ZERO);
    for subject in subjects {
        let times = &mut subject.first_tokens;
        let (p50, p99) = (times.percentile(0.5), times.percentile(0.99));
        let mut row = Row::new(subject.name);
        if subject.server.is_none() {
            direct = (p50, p99);
            row.cells(["", ""].map(String::from));
            row.cells([format!("{}, {}", ms(p50), ms(p99)), String::new(), String::new()]);
            row.print();
            continue;
        }
        let ratios: Vec<f64> =
            subject.cpu.iter().zip(&bare).map(|(own, bare)| own / bare).collect();
        let (low, median, high) = spread(&ratios);
        let (_, cpu, _) = spread(&subject.cpu);
        row.cells([format!("{low:.2} · {median:.2} · {high:.2}"), format!("{cpu:.3}")]);
        row.cells([
            format!("{}, {}", ms(p50), ms(p99)),
            format!("{}, {}", added(p50, direct.0), added(p99, direct.1)),
            format!("{:.0} MiB", table::mebibytes(subject.peak)),
        ]);
        row.print();
    }
}

/// How much longer, in milliseconds; noise may make it less than nothing.
fn added(via: Duration, direct: Duration) -> String {
    format!("{:+.2} ms", (via.as_secs_f64() - direct.as_secs_f64()) * 1_000.0)
}
