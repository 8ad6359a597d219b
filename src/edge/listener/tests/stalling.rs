//! Clients that do not get to the point, and clients that do not read.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::{
    GET, HEADER_TIMEOUT, IDLE_TIMEOUT, SLACK, Server, TestBody, WRITE_TIMEOUT, assert_took, hello,
    limits, read_until, rest,
};

#[tokio::test]
async fn a_connection_without_a_whole_head_is_closed_at_the_header_timeout() {
    let server = Server::start(limits(10), hello).await;
    for begun in ["", "P", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r", "GET / HTTP/1.1\r\nhost:"]
    {
        let mut socket = server.send(begun).await;
        let (answer, took) = rest(&mut socket).await;
        assert_eq!(answer, b"", "{begun:?}");
        assert_took(took, HEADER_TIMEOUT);
    }
}

#[tokio::test]
async fn a_head_that_drips_is_closed_at_the_header_timeout() {
    let server = Server::start(limits(10), hello).await;
    let (mut reading, mut writing) = server.send("GET / HTTP/1.1\r\n").await.into_split();
    let began = Instant::now();
    let drip = async {
        while writing.write_all(b"x-drip: 1\r\n").await.is_ok() {
            sleep(HEADER_TIMEOUT / 10).await;
        }
    };
    let closed = async {
        let mut answer = Vec::new();
        let _ = reading.read_to_end(&mut answer).await;
        assert_took(began.elapsed(), HEADER_TIMEOUT);
        assert_eq!(answer, b"");
    };
    timeout(5 * SLACK, async { tokio::join!(closed, drip) }).await.unwrap();
}

#[tokio::test]
async fn an_idle_kept_connection_outlives_the_header_timeout_and_not_the_idle_timeout() {
    let server = Server::start(limits(10), hello).await;
    let mut socket = server.send(GET).await;
    read_until(&mut socket, "hello").await;
    let (answer, took) = rest(&mut socket).await;
    assert_eq!(answer, b"");
    assert_took(took, IDLE_TIMEOUT);
}

#[tokio::test]
async fn the_second_head_on_a_kept_connection_has_the_header_timeout_too() {
    let server = Server::start(limits(10), hello).await;
    let mut socket = server.send(GET).await;
    read_until(&mut socket, "hello").await;
    socket.write_all(b"GET / HT").await.unwrap();
    let (_, took) = rest(&mut socket).await;
    assert_took(took, HEADER_TIMEOUT);
}

#[tokio::test]
async fn an_http2_connection_without_a_stream_is_closed_at_the_idle_timeout() {
    let server = Server::start(limits(10), hello).await;
    let io = TokioIo::new(server.connect().await);
    let (_client, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io)
            .await
            .unwrap();
    let began = Instant::now();
    timeout(5 * SLACK, connection).await.unwrap().unwrap();
    assert_took(began.elapsed(), IDLE_TIMEOUT);
}

#[tokio::test]
async fn a_huge_head_is_answered_with_431_that_arrives() {
    let server = Server::start(limits(10), hello).await;
    let huge = format!("GET / HTTP/1.1\r\nhost: x\r\nx-huge: {}\r\n\r\n", "x".repeat(512 << 10));
    let (mut reading, mut writing) = server.connect().await.into_split();
    let sent = async {
        // The server may hang up before it has everything.
        let _ = writing.write_all(huge.as_bytes()).await;
        let _ = writing.shutdown().await;
    };
    let mut answer = String::new();
    let (read, ()) = tokio::join!(reading.read_to_string(&mut answer), sent);
    read.unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_does_not_wait_for_the_body_arrives() {
    let server = Server::start(limits(10), |_| async {
        let mut refusal = Response::new(Full::from("too large").boxed());
        *refusal.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        refusal
    })
    .await;
    let (mut reading, mut writing) = server.connect().await.into_split();
    let body = vec![0; 4 << 20];
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    // A client that sends everything before it reads anything.
    writing.write_all(head.as_bytes()).await.unwrap();
    writing.write_all(&body).await.unwrap();
    let answer = timeout(SLACK, async {
        let mut answer = String::new();
        reading.read_to_string(&mut answer).await.map(|_| answer)
    });
    let answer = answer.await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

/// An endless answer, and a notice when it is dropped.
fn flood() -> (Response<TestBody>, oneshot::Receiver<()>) {
    let (guard, dropped) = oneshot::channel::<()>();
    let chunk = Bytes::from(vec![b'x'; 64 << 10]);
    let frames =
        tokio_stream::StreamExt::map(tokio_stream::iter(std::iter::repeat(())), move |()| {
            let _held = &guard;
            Ok(Frame::data(chunk.clone()))
        });
    (Response::new(StreamBody::new(frames).boxed()), dropped)
}

/// A service that answers once with a flood, and the notices when it has begun and ended.
async fn flooding() -> (Server, mpsc::Receiver<oneshot::Receiver<()>>) {
    let (notices, begun) = mpsc::channel(10);
    let server = Server::start(limits(10), move |_| {
        let notices = notices.clone();
        async move {
            let (answer, dropped) = flood();
            notices.send(dropped).await.unwrap();
            answer
        }
    })
    .await;
    (server, begun)
}

#[tokio::test]
async fn a_client_with_a_closed_window_is_dropped_at_the_write_timeout() {
    let (server, mut begun) = flooding().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let mut socket = socket.connect(server.address).await.unwrap();
    socket.write_all(GET.as_bytes()).await.unwrap();
    let dropped = begun.recv().await.unwrap();
    let began = Instant::now();
    timeout(5 * SLACK, dropped).await.unwrap().unwrap_err();
    assert_took(began.elapsed(), WRITE_TIMEOUT);
}

#[tokio::test]
async fn an_http2_stream_without_a_window_is_reset_and_its_connection_lives() {
    let (server, mut begun) = flooding().await;
    let io = TokioIo::new(server.connect().await);
    let (mut client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1 << 10)
        .initial_connection_window_size(1 << 20)
        .handshake(io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = || Request::get("http://x/").body(Empty::<Bytes>::new()).unwrap();
    let unread = client.send_request(request()).await.unwrap();
    let dropped = begun.recv().await.unwrap();
    let began = Instant::now();
    timeout(5 * SLACK, dropped).await.unwrap().unwrap_err();
    assert_took(began.elapsed(), WRITE_TIMEOUT);
    assert!(client.send_request(request()).await.is_ok());
    drop(unread);
}
