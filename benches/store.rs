//! What it costs to keep sessions in a file: a broker that does beside one that keeps them in
//! memory, round by round; then how long one takes that has been put away.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::client::{self, Dialect};
use super::load::{Ask, Clients, Times};
use super::process::{Server, Settings};
use super::table::{self, Row, ms, spread};

/// The answer of every turn: 64 tokens.
const ASK: Ask<'static> = Ask { text: "count to 64", tokens: 64 };
/// A turn that is over at once, to fill a store.
const SHORT: Ask<'static> = Ask { text: "count to 1", tokens: 1 };
const CONNECTIONS: usize = 64;
/// Longer than a disk takes: what was idle while it was waited for is idle without it too.
const PAUSE: Duration = Duration::from_millis(20);
/// Rounds of which nothing is counted.
const WARM_UP: usize = 1;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) rounds: usize,
    /// Turns of a round at 64 connections.
    pub(crate) turns: usize,
    /// Turns of a round on one connection.
    pub(crate) alone: usize,
    /// Sessions in the file that others are brought back from.
    pub(crate) sessions: usize,
    /// Sessions brought back.
    pub(crate) revived: usize,
}

/// A broker that is measured.
struct Subject {
    name: &'static str,
    server: Server,
    many: Clients,
    one: Clients,
    /// Turns a second, a round each.
    rates: Vec<f64>,
    first_tokens: Times,
    /// The same where the client takes its time between turns.
    apart: Times,
    cpu: Vec<f64>,
}

/// Measures both and prints their rows.
pub(crate) async fn measure(load: &Load) -> anyhow::Result<()> {
    let emulator = Server::emulator(Duration::ZERO)?;
    let mut subjects = Vec::new();
    for (name, keeps) in [("memory", false), ("SQLite", true)] {
        let settings = Settings { keeps, ..Settings::default() };
        let server = Server::broker(emulator.address, &settings)?;
        let many = Clients::open(server.address, Dialect::Chat, CONNECTIONS, &ASK).await?;
        let one = Clients::open(server.address, Dialect::Chat, 1, &ASK).await?;
        subjects.push(Subject {
            name,
            server,
            many,
            one,
            rates: Vec::new(),
            first_tokens: Times::default(),
            apart: Times::default(),
            cpu: Vec::new(),
        });
    }
    for round in 0..WARM_UP + load.rounds {
        for subject in &mut subjects {
            subject.round(load, round >= WARM_UP).await?;
        }
    }
    print(&mut subjects);
    revive(load, &emulator).await
}

impl Subject {
    #[expect(clippy::cast_precision_loss, reason = "a round has thousands of turns")]
    async fn round(&mut self, load: &Load, counts: bool) -> anyhow::Result<()> {
        let (began, spent) = (Instant::now(), self.server.cpu()?);
        self.many.one_after_another(load.turns).await?;
        let (took, spent) = (began.elapsed(), self.server.cpu()? - spent);
        let first_tokens = self.one.one_after_another(load.alone).await?;
        let apart = self.one.apart(load.alone, PAUSE).await?;
        if counts {
            self.rates.push(load.turns as f64 / took.as_secs_f64());
            self.cpu.push(spent.as_secs_f64() * 1_000.0 / load.turns as f64);
            self.first_tokens.extend(first_tokens);
            self.apart.extend(apart);
        }
        Ok(())
    }
}

fn print(subjects: &mut [Subject]) {
    let memory = subjects[0].rates.clone();
    let direct = subjects[0].first_tokens.percentile(0.5);
    let direct_apart = subjects[0].apart.percentile(0.5);
    table::head(
        "64 tokens, sessions in memory and in a file",
        &[
            "turns a second / memory, 64 connections: min · median · max",
            "turns a second",
            "CPU s per 1,000",
            "first token p50, p99, one connection",
            "p50 / memory",
            "first token p50, p99, turns 20 ms apart",
            "p50 / memory",
        ],
    );
    for subject in subjects {
        let ratios: Vec<f64> =
            subject.rates.iter().zip(&memory).map(|(own, memory)| own / memory).collect();
        let (least, middle, most) = spread(&ratios);
        let (p50, p99) =
            (subject.first_tokens.percentile(0.5), subject.first_tokens.percentile(0.99));
        let apart = (subject.apart.percentile(0.5), subject.apart.percentile(0.99));
        let mut row = Row::new(subject.name);
        row.cells([
            format!("{least:.2} · {middle:.2} · {most:.2}"),
            format!("{:.0}", spread(&subject.rates).1),
            format!("{:.2}", spread(&subject.cpu).1),
            format!("{}, {}", ms(p50), ms(p99)),
            format!("{:.2}", p50.as_secs_f64() / direct.as_secs_f64()),
            format!("{}, {}", ms(apart.0), ms(apart.1)),
            format!("{:.2}", apart.0.as_secs_f64() / direct_apart.as_secs_f64()),
        ]);
        row.print();
    }
}

/// Fills a file with sessions, waits until they are put away, and brings some back.
#[expect(clippy::cast_precision_loss, reason = "a file is far below 2^53 bytes")]
async fn revive(load: &Load, emulator: &Server) -> anyhow::Result<()> {
    let settings =
        Settings { keeps: true, resident_seconds: 1, resume_seconds: 1, ..Settings::default() };
    let broker = Server::broker(emulator.address, &settings)?;
    let mut clients = Clients::open(broker.address, Dialect::Chat, CONNECTIONS, &SHORT).await?;
    let began = Instant::now();
    clients.one_session_a_turn(load.sessions).await?;
    let filled = began.elapsed();
    put_away(&broker).await?;
    let bytes = broker.kept()? as f64 / load.sessions as f64;
    clients.back_to_the_first();
    // What a turn takes in a session that is there is what it takes without being brought back.
    let mut one = Clients::open(broker.address, Dialect::Chat, 1, &SHORT).await?;
    let mut fresh = one.one_session_a_turn(load.revived).await?;
    let mut alone = clients.only_one();
    let mut revived = alone.one_session_a_turn(load.revived).await?;
    let page = client::get(broker.address, "/metrics").await?;
    let counted =
        page.lines().find_map(|line| line.strip_prefix("outcrop_sessions_revived_total "));
    let counted: usize = counted.context("no outcrop_sessions_revived_total")?.trim().parse()?;
    ensure!(counted == load.revived, "{counted} sessions were revived, not {}", load.revived);
    table::head(
        &format!("{} sessions in a file (filled in {:.0} s)", load.sessions, filled.as_secs_f64()),
        &["KiB a session", "first token, revived: p50, p99", "new: p50, p99"],
    );
    let mut row = Row::new("SQLite");
    row.cells([
        format!("{:.2}", bytes / 1024.0),
        format!("{}, {}", ms(revived.percentile(0.5)), ms(revived.percentile(0.99))),
        format!("{}, {}", ms(fresh.percentile(0.5)), ms(fresh.percentile(0.99))),
    ]);
    row.print();
    Ok(())
}

/// Waits until no session has an actor.
async fn put_away(broker: &Server) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let page = client::get(broker.address, "/metrics").await?;
        let resident =
            page.lines().find_map(|line| line.strip_prefix("outcrop_sessions_resident "));
        if resident.context("no outcrop_sessions_resident")?.trim() == "0" {
            return Ok(());
        }
    }
}
