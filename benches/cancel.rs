//! How soon the upstream call stops when a client leaves in the middle of an answer.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::client::{self, Connection, Dialect};
use super::load::{Times, fresh_session};
use super::process::{Server, Settings};
use super::table::{self, Row, ms};

/// Between two tokens: long against what is measured.
const CHUNK_DELAY: Duration = Duration::from_millis(20);
/// After which the emulator is taken not to notice at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// Leaves so many answers, through the broker and without it.
pub(crate) async fn measure(trials: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    let emulator = Server::emulator(CHUNK_DELAY)?;
    let settings = Settings { traces: false, ..Settings::default() };
    let broker = Server::broker(emulator.address, &settings)?;
    let mut direct = Times::default();
    let mut via = Times::default();
    for trial in 0..trials {
        let agent = Dialect::Agent { traces: false };
        direct.0.push(leave(&emulator, &emulator, agent, trial).await?);
        via.0.push(leave(&broker, &emulator, Dialect::Chat, trial).await?);
    }
    table::head(
        &format!("{trials} answers left midway ({:.0} s)", began.elapsed().as_secs_f64()),
        &["upstream call stopped after p50, p99", "longest", "bar"],
    );
    for (name, times) in [("upstream itself", &mut direct), ("broker", &mut via)] {
        let mut row = Row::new(name);
        row.cells([format!("{}, {}", ms(times.percentile(0.5)), ms(times.percentile(0.99)))]);
        row.cells([ms(times.percentile(1.0)), "50 ms".to_owned()]);
        row.print();
    }
    Ok(())
}

/// Leaves one answer after a few tokens; gives the time until the emulator has said that its
/// client is gone. Its clock shows milliseconds, so it is asked again and again instead: what
/// comes out is an upper bound, by one question.
async fn leave(
    server: &Server,
    emulator: &Server,
    dialect: Dialect,
    trial: usize,
) -> anyhow::Result<Duration> {
    let connection = Connection::open(server.address, dialect).await?;
    client::post(emulator.address, "/_emulator/reset").await?;
    let tokens = 2 + trial % 3;
    let connection = connection.begin(&fresh_session(), "count to 64", tokens).await?;
    let mut watch = client::Watch::open(emulator.address).await?;
    // Anywhere between two tokens, not just after one.
    let wait = CHUNK_DELAY * u32::try_from(trial % 16)? / 16;
    tokio::time::sleep(wait).await;
    let left = Instant::now();
    drop(connection);
    while !watch.has_seen_a_disconnect().await? {
        ensure!(left.elapsed() < PATIENCE, "the emulator did not notice that its client left");
    }
    Ok(left.elapsed())
}
