//! The listener over real sockets, with limits short enough to wait for.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use warp::Filter;

use super::*;

mod ending;
mod leaving;
mod stalling;

const HEADER_TIMEOUT: Duration = Duration::from_millis(200);
const IDLE_TIMEOUT: Duration = Duration::from_millis(600);
const WRITE_TIMEOUT: Duration = Duration::from_millis(400);
/// What a limit may be late on a busy machine.
const SLACK: Duration = Duration::from_secs(1);
/// How soon a client's leaving must be noticed.
const NOTICE: Duration = Duration::from_millis(50);

type TestBody = BoxBody<Bytes, Infallible>;

/// A server under test. Dropping it aborts it.
struct Server {
    address: SocketAddr,
    connections: Connections,
    shutdown: Shutdown,
    ended: JoinHandle<()>,
}

fn limits(connections: usize) -> Limits {
    Limits {
        connections: Connections::up_to(connections),
        header_bytes: 16 << 10,
        header_timeout: HEADER_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        write_timeout: WRITE_TIMEOUT,
    }
}

impl Server {
    /// Serves what `answer` makes of each request.
    async fn start<A, F>(limits: Limits, answer: A) -> Self
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<TestBody>> + Send + 'static,
    {
        let service = hyper::service::service_fn(move |request| {
            let answered = answer(request);
            async { Ok::<_, Infallible>(answered.await) }
        });
        Self::start_service(limits, service).await
    }

    async fn start_service<S, B>(limits: Limits, service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = limits.connections.clone();
        let shutdown = Shutdown::new();
        let ended = tokio::spawn(serve(listener, service, limits, shutdown.clone()));
        Self { address, connections, shutdown, ended }
    }

    async fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    /// A connection with this already sent on it.
    async fn send(&self, bytes: &str) -> TcpStream {
        let mut socket = self.connect().await;
        socket.write_all(bytes.as_bytes()).await.unwrap();
        socket
    }

    async fn end(mut self) {
        timeout(5 * SLACK, &mut self.ended).await.unwrap().unwrap();
        assert_eq!(self.connections.open(), 0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.abort();
    }
}

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

async fn hello(_: Request<Incoming>) -> Response<TestBody> {
    Response::new(Full::from("hello").boxed())
}

/// An answer of which each line is what was last sent into the channel.
fn streamed(lines: mpsc::Receiver<Bytes>) -> Response<TestBody> {
    let frames =
        tokio_stream::StreamExt::map(ReceiverStream::new(lines), |line| Ok(Frame::data(line)));
    Response::new(StreamBody::new(frames).boxed())
}

/// Reads until `end` is there; fails when the connection ends before.
async fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let byte = timeout(SLACK, socket.read_u8()).await.unwrap().unwrap();
        read.push(byte);
    }
    String::from_utf8(read).unwrap()
}

/// What still comes until the server closes, and how long that takes. A reset is a close too.
async fn rest(socket: &mut TcpStream) -> (Vec<u8>, Duration) {
    let began = Instant::now();
    let mut read = Vec::new();
    let ended = timeout(5 * SLACK, socket.read_to_end(&mut read)).await.expect("never closed");
    if let Err(error) = ended {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    (read, began.elapsed())
}

#[track_caller]
fn assert_took(took: Duration, limit: Duration) {
    // The client's clock starts a little after the server's.
    let at_least = limit - limit / 10;
    assert!(took >= at_least && took < limit + SLACK, "took {took:?} with a limit of {limit:?}");
}

#[tokio::test]
async fn a_warp_filter_is_served_and_learns_the_peer() {
    let route =
        warp::path!("who").and(warp::ext::get::<Peer>()).map(|peer: Peer| peer.0.to_string());
    let service = TowerToHyperService::new(warp::service(route));
    let server = Server::start_service(limits(10), service).await;
    let mut socket = server.send("GET /who HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let ours = socket.local_addr().unwrap().to_string();
    let (answer, _) = rest(&mut socket).await;
    assert!(String::from_utf8(answer).unwrap().ends_with(&ours));
}

#[tokio::test]
async fn a_kept_connection_serves_one_request_after_the_other() {
    let server = Server::start(limits(10), hello).await;
    let mut socket = server.connect().await;
    for _ in 0..3 {
        socket.write_all(GET.as_bytes()).await.unwrap();
        read_until(&mut socket, "hello").await;
    }
    assert_eq!(server.connections.open(), 1);
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served_on_the_same_port() {
    let server = Server::start(limits(10), hello).await;
    let io = TokioIo::new(server.connect().await);
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let request = Request::get("http://x/").body(Empty::<Bytes>::new()).unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
}

/// Writes 200 lines, one a millisecond, each with the microsecond at which it was written.
async fn tick(epoch: Instant, lines: mpsc::Sender<Bytes>) {
    let mut cadence = tokio::time::interval(Duration::from_millis(1));
    for _ in 0..200 {
        cadence.tick().await;
        let line = format!("{:012}\n", epoch.elapsed().as_micros());
        lines.send(line.into()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_arrive_as_they_are_written() {
    let epoch = Instant::now();
    let server = Server::start(limits(10), move |request| async move {
        if request.uri() == "/" {
            return hello(request).await;
        }
        let (lines, body) = mpsc::channel(1);
        tokio::spawn(tick(epoch, lines));
        streamed(body)
    })
    .await;
    let mut socket = server.connect().await;
    // A client that answers what it reads delays its acknowledgements: Nagle would wait for them.
    for _ in 0..5 {
        socket.write_all(GET.as_bytes()).await.unwrap();
        read_until(&mut socket, "hello").await;
    }
    let mut tries = Vec::new();
    // Nagle would hold them back each time, a busy machine only now and then.
    while tries.len() < 3 && tries.iter().all(|p90| *p90 >= 10_000) {
        tries.push(ninetieth_percentile(&mut socket, epoch).await);
    }
    assert!(tries.iter().any(|p90| *p90 < 10_000), "p90 in µs: {tries:?}");
}

/// Within how many microseconds nine of ten chunks came.
async fn ninetieth_percentile(socket: &mut TcpStream, epoch: Instant) -> u128 {
    socket.write_all(b"GET /ticks HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(socket, "\r\n\r\n").await;
    let mut latencies = Vec::new();
    for _ in 0..200 {
        // A chunk: its length, the line and the line's end.
        let mut chunk = [0; "d\r\n".len() + "000000000000\n".len() + "\r\n".len()];
        socket.read_exact(&mut chunk).await.unwrap();
        let sent: u128 = std::str::from_utf8(&chunk[3..15]).unwrap().parse().unwrap();
        latencies.push(epoch.elapsed().as_micros().saturating_sub(sent));
    }
    // The last chunk, which says that there are no more.
    let mut end = [0; "0\r\n\r\n".len()];
    socket.read_exact(&mut end).await.unwrap();
    latencies.sort_unstable();
    latencies[180]
}

#[tokio::test]
async fn no_more_connections_are_served_than_may_be_open() {
    let server = Server::start(limits(2), hello).await;
    let mut first = server.send(GET).await;
    let mut second = server.send(GET).await;
    read_until(&mut first, "hello").await;
    read_until(&mut second, "hello").await;
    let mut third = server.send(GET).await;
    assert!(timeout(HEADER_TIMEOUT / 2, third.read_u8()).await.is_err());
    assert_eq!(server.connections.open(), 2);
    drop(first);
    read_until(&mut third, "hello").await;
    assert_eq!(server.connections.open(), 2);
}

#[test]
fn the_pauses_after_failed_accepts_grow_to_a_bound() {
    let pauses: Vec<_> = pauses().take(40).collect();
    assert!(pauses[0] >= FIRST_PAUSE && pauses[0] <= 2 * FIRST_PAUSE);
    assert!(pauses[39] >= LONGEST_PAUSE);
    assert!(pauses.iter().all(|pause| *pause <= 2 * LONGEST_PAUSE));
}
