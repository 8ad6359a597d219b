//! The end of a server.

use std::io;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::{GET, HEADER_TIMEOUT, IDLE_TIMEOUT, Server, hello, limits, read_until, rest, streamed};

/// A server with one stream running, of which the first line was read.
async fn with_a_running_stream() -> (Server, TcpStream, mpsc::Sender<Bytes>) {
    let (streams, mut begun) = mpsc::channel(1);
    let server = Server::start(limits(10), move |_| {
        let (lines, body) = mpsc::channel(1);
        let streams = streams.clone();
        async move {
            lines.send("first\n".into()).await.unwrap();
            streams.send(lines).await.unwrap();
            streamed(body)
        }
    })
    .await;
    let mut socket = server.send(GET).await;
    read_until(&mut socket, "first\n\r\n").await;
    let lines = begun.recv().await.unwrap();
    (server, socket, lines)
}

#[tokio::test]
async fn draining_lets_a_running_stream_finish_and_takes_nothing_new() {
    let (server, mut socket, lines) = with_a_running_stream().await;
    let mut silent = server.connect().await;
    server.shutdown.drain();
    let (_, took) = rest(&mut silent).await;
    assert!(took < HEADER_TIMEOUT / 2, "the silent one was closed after {took:?}");
    let refused = TcpStream::connect(server.address).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    lines.send("last\n".into()).await.unwrap();
    drop(lines);
    let (tail, _) = rest(&mut socket).await;
    assert_eq!(tail, b"5\r\nlast\n\r\n0\r\n\r\n");
    server.end().await;
}

#[tokio::test]
async fn draining_closes_an_idle_kept_connection_at_once() {
    let server = Server::start(limits(10), hello).await;
    let mut socket = server.send(GET).await;
    read_until(&mut socket, "hello").await;
    server.shutdown.drain();
    let (_, took) = rest(&mut socket).await;
    assert!(took < IDLE_TIMEOUT / 2, "after {took:?}");
    server.end().await;
}

#[tokio::test]
async fn draining_lets_an_http2_stream_finish() {
    let (requests, mut begun) = mpsc::channel(1);
    let server = Server::start(limits(10), move |request| {
        let requests = requests.clone();
        async move {
            let (release, released) = oneshot::channel::<()>();
            requests.send(release).await.unwrap();
            released.await.unwrap();
            hello(request).await
        }
    })
    .await;
    let io = TokioIo::new(server.connect().await);
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://x/").body(Empty::<Bytes>::new()).unwrap();
    let response = tokio::spawn(client.send_request(request));
    let release = begun.recv().await.unwrap();
    server.shutdown.drain();
    release.send(()).unwrap();
    let body = response.await.unwrap().unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "hello");
    connection.await.unwrap().unwrap();
    server.end().await;
}

#[tokio::test]
async fn aborting_cuts_off_what_still_runs() {
    let (server, mut socket, lines) = with_a_running_stream().await;
    server.shutdown.drain();
    server.shutdown.abort();
    let (tail, _) = rest(&mut socket).await;
    assert_eq!(tail, b"", "no proper end");
    assert!(lines.is_closed());
    server.end().await;
}

#[tokio::test]
async fn dropping_the_server_cuts_off_its_connections() {
    let (mut server, mut socket, lines) = with_a_running_stream().await;
    server.ended.abort();
    assert!((&mut server.ended).await.unwrap_err().is_cancelled());
    lines.closed().await;
    rest(&mut socket).await;
}
