//! Clients that leave.

use std::future::pending;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{GET, NOTICE, Server, limits, read_until, streamed};

#[derive(Debug, Clone, Copy)]
enum Leaving {
    Closes,
    ClosesItsSendingHalf,
    Resets,
}

const WAYS_TO_LEAVE: [Leaving; 3] =
    [Leaving::Closes, Leaving::ClosesItsSendingHalf, Leaving::Resets];

/// Leaves, and gives back what must be kept so that this is all that happens.
async fn leave(mut socket: TcpStream, how: Leaving) -> Option<TcpStream> {
    match how {
        Leaving::Closes => None,
        Leaving::ClosesItsSendingHalf => {
            socket.shutdown().await.unwrap();
            Some(socket)
        }
        Leaving::Resets => {
            SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
            None
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_ends_its_request() {
    let (requests, mut begun) = mpsc::channel(1);
    let server = Server::start(limits(10), move |_| {
        let requests = requests.clone();
        async move {
            let (_guard, dropped) = oneshot::channel::<()>();
            requests.send(dropped).await.unwrap();
            pending().await
        }
    })
    .await;
    for how in WAYS_TO_LEAVE {
        let socket = server.send(GET).await;
        let dropped = begun.recv().await.unwrap();
        let _kept = leave(socket, how).await;
        timeout(NOTICE, dropped).await.unwrap_or_else(|_| panic!("{how:?}")).unwrap_err();
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_silent_stream_ends_it() {
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
    for how in WAYS_TO_LEAVE {
        let mut socket = server.send(GET).await;
        read_until(&mut socket, "first\n\r\n").await;
        let lines = begun.recv().await.unwrap();
        let _kept = leave(socket, how).await;
        timeout(NOTICE, lines.closed()).await.unwrap_or_else(|_| panic!("{how:?}"));
    }
}
