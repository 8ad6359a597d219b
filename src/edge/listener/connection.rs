//! The life of one connection: find the protocol, serve, end in time.

use std::error::Error;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, Service};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::activity::{Activity, Expiry, Patience};
use super::exchange::Watched;
use super::sniff::{Protocol, Sniffed, sniff};
use super::socket::Socket;
use super::stream::Streams;
use super::{Limits, Peer, Shutdown};

/// The least that hyper takes for its buffers.
const LEAST_BUFFER: usize = 8 << 10;
/// Requests at once on one HTTP/2 connection, as Envoy advises for the edge.
const MAX_STREAMS: u32 = 100;
/// Streams that a client may open and reset before we have looked at them; more is the rapid
/// reset attack (CVE-2023-44487).
const MAX_UNSEEN_RESETS: usize = 20;
/// Streams that a client may make us reset (RUSTSEC-2024-0003).
const MAX_FORCED_RESETS: usize = 100;
/// What one HTTP/2 stream may hold back for a slow client.
const MAX_STREAM_BUFFER: usize = 64 << 10;
/// Silence on an HTTP/2 connection after which it is pinged, and how long the answer may take.
const PING: Duration = Duration::from_secs(20);

/// What the connections of one listener share.
#[derive(Debug)]
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<Streams>,
    limits: Limits,
    shutdown: Shutdown,
}

/// A connection that was just accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) socket: TcpStream,
    pub(super) peer: Peer,
    pub(super) at: Instant,
}

impl Protocols {
    pub(super) fn new(limits: Limits, streams: Streams, shutdown: Shutdown) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            // `Activity` does this, since hyper's clock also runs while a connection is idle.
            .header_read_timeout(None)
            .max_header_size(limits.header_bytes)
            .max_buf_size(limits.header_bytes.max(LEAST_BUFFER));
        let mut http2 = http2::Builder::new(streams);
        http2
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
            .max_local_error_reset_streams(MAX_FORCED_RESETS)
            .max_send_buf_size(MAX_STREAM_BUFFER)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING);
        Self { http1, http2, limits, shutdown }
    }

    /// Serves one connection until it ends, is idle for too long, or breaks a limit.
    pub(super) async fn serve<S, B>(&self, accepted: Accepted, service: S) -> Ended
    where
        S: Service<Request<Incoming>, Response = Response<B>>,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Accepted { mut socket, peer, at } = accepted;
        let Some((protocol, sniffed)) = self.find_protocol(&mut socket, at).await else {
            return Ended::Silent;
        };
        let activity = self.activity(protocol, at);
        let io = self.io(socket, sniffed, &activity);
        let service = Watched { service, peer, activity: Arc::clone(&activity) };
        match protocol {
            Protocol::Http1 => {
                let connection = pin!(self.http1.serve_connection(io, service));
                self.tend(connection, &activity).await
            }
            Protocol::Http2 => {
                let connection = pin!(self.http2.serve_connection(io, service));
                self.tend(connection, &activity).await
            }
        }
    }

    async fn find_protocol(
        &self,
        socket: &mut TcpStream,
        accepted: Instant,
    ) -> Option<(Protocol, Sniffed)> {
        let sniffed = timeout_at(accepted + self.limits.header_timeout, sniff(socket));
        tokio::select! {
            biased;
            found = sniffed => found.ok()?.ok(),
            // Nothing was asked yet, so nothing is lost.
            () = self.shutdown.draining() => None,
        }
    }

    fn activity(&self, protocol: Protocol, accepted: Instant) -> Arc<Activity> {
        let Limits { header_timeout: header, idle_timeout: idle, .. } = self.limits;
        match protocol {
            Protocol::Http1 => Activity::http1(Patience { header, idle }, accepted),
            Protocol::Http2 => Activity::http2(Patience { header, idle }),
        }
    }

    fn io(
        &self,
        socket: TcpStream,
        sniffed: Sniffed,
        activity: &Arc<Activity>,
    ) -> TokioIo<Socket<TcpStream>> {
        let activity = Arc::clone(activity);
        TokioIo::new(Socket::new(socket, sniffed, activity, self.limits.write_timeout))
    }

    /// Drives a connection; asks it to end when the server drains or when it has been idle.
    async fn tend<C: Graceful>(&self, mut connection: Pin<&mut C>, activity: &Activity) -> Ended {
        let mut expired = pin!(activity.expired());
        let mut is_ending = false;
        loop {
            tokio::select! {
                // The connection first: a request that has arrived is answered even while draining.
                biased;
                ended = connection.as_mut() => return ended.map_or_else(Ended::Badly, |()| Ended::Well),
                () = self.shutdown.draining(), if !is_ending => {}
                expiry = expired.as_mut() => {
                    if is_ending || expiry == Expiry::Head {
                        return Ended::Late(expiry);
                    }
                    // HTTP/2 says goodbye, and takes the requests that cross it on the way.
                    activity.restart();
                    expired.set(activity.expired());
                }
            }
            is_ending = true;
            connection.as_mut().graceful_shutdown();
        }
    }
}

/// How a connection ended.
pub(super) enum Ended {
    /// Before the client had said which protocol it speaks.
    Silent,
    /// As HTTP has it.
    Well,
    /// The client left in the middle, broke the protocol, or took no bytes for too long.
    Badly(hyper::Error),
    /// At one of our limits.
    Late(Expiry),
}

impl fmt::Display for Ended {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => out.write_str("no request came"),
            Self::Well => out.write_str("as it should"),
            Self::Badly(error) => write!(out, "{error}"),
            Self::Late(Expiry::Head) => out.write_str("a request head took too long"),
            Self::Late(Expiry::Idle) => out.write_str("idle for too long"),
        }
    }
}

/// A connection of either protocol that can be asked to end when it has answered.
trait Graceful: Future<Output = hyper::Result<()>> {
    /// Takes no further requests; an idle connection ends.
    fn graceful_shutdown(self: Pin<&mut Self>);
}

impl<I, B, S> Graceful for http1::Connection<I, S>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    I: Read + Write + Unpin,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        Self::graceful_shutdown(self);
    }
}

impl<I, B, S> Graceful for http2::Connection<I, S, Streams>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    I: Read + Write + Unpin,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        Self::graceful_shutdown(self);
    }
}
