//! Accepts connections and serves HTTP on them, within limits, until told to stop.
//!
//! The loop is our own because `warp::serve` sets no `TCP_NODELAY` (chunks then wait some 40 ms
//! for the peer's delayed acknowledgement), limits neither connections nor their time, and
//! drains without a deadline. What a connection may do:
//!
//! | limit | what happens at it |
//! |---|---|
//! | connections | the next ones wait in the kernel's backlog |
//! | size of a head | 431 without a body, by hyper; also beyond 100 fields; 414 for a long URI |
//! | time for a head, from its first byte or the acceptance | closed |
//! | time without a request | closed; HTTP/2 with a goodbye |
//! | time in which a client takes no byte that we have for it | closed; on HTTP/2, if only one stream stalls, that stream is reset |
//! | time for a request's body | not here: the service reads it |
//!
//! A client that leaves, be it by closing, by resetting or by closing its sending half only,
//! ends its request at once: the service's future or the answer's body is dropped.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use crate::config;

use self::connection::{Accepted, Protocols};
use self::stream::Streams;

mod activity;
mod connection;
mod exchange;
mod shutdown;
mod sniff;
mod socket;
mod stream;
#[cfg(test)]
mod tests;

pub use self::shutdown::Shutdown;

/// Silence on a connection after which the kernel asks whether the peer is still there.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// The pauses after a failed accept: out of file descriptors, most likely, and the only cure is
/// that connections end.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The address of the client, among the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// What connections may do; see the module's table.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How many may be open, and how many are.
    pub connections: Connections,
    /// The largest request head.
    pub header_bytes: usize,
    /// For a request head, from its first byte or from the acceptance.
    pub header_timeout: Duration,
    /// For a connection without a request.
    pub idle_timeout: Duration,
    /// For a client that takes no bytes.
    pub write_timeout: Duration,
}

impl From<&config::Server> for Limits {
    fn from(server: &config::Server) -> Self {
        Self {
            connections: Connections::up_to(server.max_connections),
            header_bytes: server.header_limit_bytes,
            header_timeout: server.header_timeout,
            idle_timeout: server.idle_timeout,
            write_timeout: server.write_timeout,
        }
    }
}

/// Counts the open connections, up to a limit. Clones share one count.
#[derive(Debug, Clone)]
pub struct Connections {
    permits: Arc<Semaphore>,
    open: Arc<AtomicUsize>,
}

impl Connections {
    /// Lets so many be open at once.
    #[must_use]
    pub fn up_to(limit: usize) -> Self {
        let permits = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        Self { permits, open: Arc::default() }
    }

    /// How many are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Waits until one more may be open. `None` never happens: the semaphore is not closed.
    async fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }

    fn opened(&self, permit: OwnedSemaphorePermit) -> OpenConnection {
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenConnection { open: Arc::clone(&self.open), _permit: permit }
    }
}

/// One open connection in the count.
#[derive(Debug)]
struct OpenConnection {
    open: Arc<AtomicUsize>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves connections until told to drain; returns when the last one is gone.
///
/// Draining closes the listener and the idle connections and lets running answers finish;
/// aborting cuts them off. So does dropping this future.
pub async fn serve<S, B>(listener: TcpListener, service: S, limits: Limits, shutdown: Shutdown)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let tasks = TaskTracker::new();
    let abort = shutdown.abort_token();
    let _abort_on_drop = abort.clone().drop_guard();
    let streams =
        Streams { tasks: tasks.clone(), abort: abort.clone(), write_timeout: limits.write_timeout };
    let connections = limits.connections.clone();
    let write_timeout = limits.write_timeout;
    let protocols = Arc::new(Protocols::new(limits, streams, shutdown.clone()));

    while let Some((accepted, open)) = next(&listener, &connections, &shutdown).await {
        if let Err(error) = set_up(&accepted.socket, write_timeout) {
            // The peer is gone already.
            tracing::debug!(peer = %accepted.peer.0, "set up connection: {error}");
            continue;
        }
        let protocols = Arc::clone(&protocols);
        let service = service.clone();
        let connection = async move {
            let peer = accepted.peer.0;
            let ended = protocols.serve(accepted, service).await;
            // Clients end in all manners all day: nobody needs to look.
            tracing::debug!(%peer, "connection ended: {ended}");
            drop(open);
        };
        tasks.spawn(abort.clone().run_until_cancelled_owned(connection));
    }

    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// Waits for room and then for a connection; `None` once the server drains.
async fn next(
    listener: &TcpListener,
    connections: &Connections,
    shutdown: &Shutdown,
) -> Option<(Accepted, OpenConnection)> {
    let accepted = async {
        let permit = connections.room().await?;
        let (socket, peer) = accept(listener).await;
        let open = connections.opened(permit);
        Some((Accepted { socket, peer: Peer(peer), at: Instant::now() }, open))
    };
    tokio::select! {
        biased;
        () = shutdown.draining() => None,
        accepted = accepted => accepted,
    }
}

/// Accepts a connection, however often that takes.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut pauses = pauses();
    loop {
        let error = match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => error,
        };
        if is_of_one_connection(&error) {
            continue;
        }
        let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
        tracing::warn!(pause_ms = pause.as_millis(), "accept connections: {error}");
        sleep(pause).await;
    }
}

/// Doubles from the first pause to the longest, each with as much again of jitter.
fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .with_jitter()
        .build()
}

/// Whether an accept failed for a reason that says nothing about the next one.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn set_up(socket: &TcpStream, write_timeout: Duration) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let kernel = SockRef::from(socket);
    kernel.set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEPALIVE))?;
    // A peer that vanished while bytes are on their way is not asked for by keep-alive probes,
    // and the kernel would go on sending to it for a quarter of an hour.
    #[cfg(target_os = "linux")]
    kernel.set_tcp_user_timeout(Some(write_timeout))?;
    #[cfg(not(target_os = "linux"))]
    let _ = write_timeout;
    Ok(())
}
