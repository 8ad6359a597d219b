//! Many streams open at once, each slow: what they hold, and how late a further one begins.

use std::time::{Duration, Instant};

use super::client::Dialect;
use super::load::{Ask, Clients, Times};
use super::process::{Server, Settings, open_files_limit};
use super::table::{self, Row, mebibytes, ms};

/// Files that a server needs besides two sockets a stream.
const OTHER_FILES: usize = 200;

/// Streams that are to be open at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open {
    pub(crate) streams: usize,
    pub(crate) chunk_delay: Duration,
    /// Over how long they begin.
    pub(crate) spread: Duration,
    pub(crate) ask: Ask<'static>,
}

/// Opens the streams to the emulator, the bare loop and the broker, one after another.
pub(crate) async fn measure(open: &Open) -> anyhow::Result<()> {
    let began = Instant::now();
    let most = open_files_limit()?.saturating_sub(OTHER_FILES) / 2;
    let count = open.streams.min(most);
    let emulator = Server::emulator(open.chunk_delay)?;
    let (_, mut direct) = run(&emulator, Dialect::Agent { traces: false }, open, count).await?;
    let bare = Server::bare(emulator.address)?;
    let (bare_before, mut via_bare) = run(&bare, Dialect::Chat, open, count).await?;
    let bare_peak = bare.peak_resident()?;
    drop(bare);
    let broker =
        Server::broker(emulator.address, &Settings { traces: false, ..Settings::default() })?;
    let (before, mut via) = run(&broker, Dialect::Chat, open, count).await?;
    let peak = broker.peak_resident()?;
    let wanted = if count < open.streams {
        format!(" of {} wanted: the limit of open files allows no more", open.streams)
    } else {
        String::new()
    };
    table::head(
        &format!("{count} open streams{wanted} ({:.0} s)", began.elapsed().as_secs_f64()),
        &["first token p50, p99", "peak RSS", "KiB a stream"],
    );
    print("upstream itself", &mut direct, None, count);
    print("bare loop", &mut via_bare, Some((bare_before, bare_peak)), count);
    print("broker, traces off", &mut via, Some((before, peak)), count);
    Ok(())
}

async fn run(
    server: &Server,
    dialect: Dialect,
    open: &Open,
    count: usize,
) -> anyhow::Result<(u64, Times)> {
    let mut clients = Clients::open(server.address, dialect, count, &open.ask).await?;
    let before = server.resident()?;
    Ok((before, clients.all_at_once(open.spread).await?))
}

fn print(name: &str, times: &mut Times, memory: Option<(u64, u64)>, count: usize) {
    let mut row = Row::new(name);
    row.cells([format!("{}, {}", ms(times.percentile(0.5)), ms(times.percentile(0.99)))]);
    if let Some((before, peak)) = memory {
        #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53 bytes")]
        let each = peak.saturating_sub(before) as f64 / count as f64 / 1024.0;
        row.cells([format!("{:.0} MiB", mebibytes(peak)), format!("{each:.1}")]);
    } else {
        row.cells([String::new(), String::new()]);
    }
    row.print();
}
