//! What a session costs that nobody speaks in: many are opened by a short turn each.
//!
//! Some then get a second turn, which adds two messages and nothing else: so much of a session is
//! its history.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::client::{self, Dialect};
use super::load::{Ask, Clients};
use super::process::{Server, Settings};
use super::table::{self, Row, mebibytes};

/// Connections that open the sessions.
const CONNECTIONS: usize = 64;
/// What is said in each, and what is answered: all that a transcript holds.
const ASK: Ask<'static> = Ask { text: "count to 1", tokens: 1 };
const ANSWER: &str = "1 ";
/// Sessions opened before the first look at the memory, so that buffers and caches are there.
const WARM_UP: usize = 1_000;
/// One session of so many gets a second turn.
const SECOND_TURNS: usize = 4;
/// How long ended turns may stay resumable, so that they are gone at the second look.
const RESUME_SECONDS: u32 = 1;

/// Opens so many sessions and prints what each holds.
pub(crate) async fn measure(count: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    let emulator = Server::emulator(Duration::ZERO)?;
    let settings =
        Settings { traces: false, resume_seconds: RESUME_SECONDS, ..Settings::default() };
    let broker = Server::broker(emulator.address, &settings)?;
    let mut clients = Clients::open(broker.address, Dialect::Chat, CONNECTIONS, &ASK).await?;
    clients.one_session_a_turn(WARM_UP).await?;
    let before = settled(&broker, WARM_UP).await?;
    clients.one_session_a_turn(count).await?;
    let after = settled(&broker, WARM_UP + count).await?;
    clients.back_to_the_first();
    clients.one_session_a_turn(count / SECOND_TURNS).await?;
    let longer = settled(&broker, WARM_UP + count).await?;
    let each = share(after.saturating_sub(before), count);
    let history = share(longer.saturating_sub(after), count / SECOND_TURNS);
    let text = ASK.text.len() + ANSWER.len();
    table::head(
        &format!("{count} idle sessions ({:.0} s)", began.elapsed().as_secs_f64()),
        &["KiB a session", "without its history", "RSS before", "RSS after"],
    );
    let mut row = Row::new("broker");
    row.cells([
        format!("{each:.2}"),
        format!("{:.2} (history: {history:.2}, of that {text} bytes of text)", each - history),
    ]);
    row.cells([before, after].map(|bytes| format!("{:.0} MiB", mebibytes(bytes))));
    row.print();
    Ok(())
}

/// Bytes of one of so many, in KiB.
#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53 bytes")]
fn share(bytes: u64, count: usize) -> f64 {
    bytes as f64 / count as f64 / 1024.0
}

/// The resident bytes once nothing of the ended turns is left; checks that the sessions are.
async fn settled(broker: &Server, sessions: usize) -> anyhow::Result<u64> {
    // The sweep that lets ended turns go runs at least once a second.
    tokio::time::sleep(Duration::from_secs(u64::from(RESUME_SECONDS) + 2)).await;
    let page = client::get(broker.address, "/metrics").await?;
    let resident = page.lines().find_map(|line| line.strip_prefix("outcrop_sessions_resident "));
    let resident: usize = resident.context("no outcrop_sessions_resident")?.trim().parse()?;
    ensure!(resident == sessions, "{resident} sessions are resident, not {sessions}");
    broker.resident()
}
