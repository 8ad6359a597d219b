//! The client's socket as hyper sees it.
//!
//! It gives back the bytes that [`sniff`](super::sniff::sniff) took, ends a write that the client will
//! not take, tells the [`Activity`] what passes, and hangs up so that the last answer arrives.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::activity::Activity;
use super::sniff::Sniffed;

/// How long a client that is still sending when we hang up is listened to.
///
/// To close a socket with unread bytes sends a reset, which may overtake the answer (a 413, a
/// 431) that says why.
const LINGER: Duration = Duration::from_secs(2);

/// A timer that is there only while something waits for it.
type Timer = Option<Pin<Box<Sleep>>>;

/// A socket with limits on its peer's patience and ours.
#[derive(Debug)]
pub(super) struct Socket<T> {
    inner: T,
    sniffed: Sniffed,
    activity: Arc<Activity>,
    write_timeout: Duration,
    /// Runs from the first write that the client did not take to the next one that it did.
    stalled: Timer,
    /// Runs from the first byte that came after our end of the connection was closed.
    lingering: Timer,
    is_shut: bool,
}

impl<T> Socket<T> {
    pub(super) fn new(
        inner: T,
        sniffed: Sniffed,
        activity: Arc<Activity>,
        write_timeout: Duration,
    ) -> Self {
        Self {
            inner,
            sniffed,
            activity,
            write_timeout,
            stalled: None,
            lingering: None,
            is_shut: false,
        }
    }

    /// Lets the outcome of a write pass, unless the client has been stalling for too long.
    fn limit(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            self.activity.sent();
            return written;
        }
        let timeout = self.write_timeout;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Socket<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.sniffed.give_back(into) {
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, into))?;
        if into.filled().len() > before {
            this.activity.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.limit(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, slices);
        this.limit(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    /// Closes our end; if the client is still sending, listens until it stops or [`LINGER`] ends.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_shut {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            this.is_shut = true;
        }
        let mut scratch = [0; 8 << 10];
        loop {
            let mut into = ReadBuf::new(&mut scratch);
            let read = Pin::new(&mut this.inner).poll_read(cx, &mut into);
            let is_sending = !into.filled().is_empty();
            let is_gone = read.is_ready() && !is_sending;
            let is_silent = read.is_pending() && this.lingering.is_none();
            if is_gone || is_silent {
                return Poll::Ready(Ok(()));
            }
            let timer = this.lingering.get_or_insert_with(|| Box::pin(sleep(LINGER)));
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if read.is_pending() {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{Instant, timeout};

    use super::super::activity::Patience;
    use super::*;

    const WRITE_TIMEOUT: Duration = Duration::from_millis(100);

    fn pair() -> (Socket<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(4);
        let patience = Patience { header: WRITE_TIMEOUT, idle: WRITE_TIMEOUT };
        let activity = Activity::http1(patience, Instant::now());
        (Socket::new(ours, Sniffed::default(), activity, WRITE_TIMEOUT), theirs)
    }

    #[tokio::test]
    async fn a_write_that_the_client_does_not_take_times_out() {
        let (mut socket, _client) = pair();
        let began = Instant::now();
        let written = timeout(LINGER, socket.write_all(b"more than four")).await.unwrap();
        let error = written.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= WRITE_TIMEOUT);
    }

    #[tokio::test]
    async fn a_client_that_takes_a_byte_now_and_then_is_not_timed_out() {
        let (mut socket, mut client) = pair();
        let slow_reader = async {
            for _ in 0..10 {
                sleep(WRITE_TIMEOUT / 4).await;
                client.read_u8().await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(socket.write_all(b"ten and four.."), slow_reader);
        assert!(written.is_ok());
    }

    #[tokio::test]
    async fn a_silent_client_does_not_hold_up_the_hang_up() {
        let (mut socket, _client) = pair();
        timeout(LINGER / 4, socket.shutdown()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_is_still_sending_is_listened_to_for_a_while() {
        let (mut socket, mut client) = pair();
        client.write_all(b"more").await.unwrap();
        let began = Instant::now();
        let sender = async { while client.write_all(b"more").await.is_ok() {} };
        let hang_up = async {
            socket.shutdown().await.unwrap();
            drop(socket);
            began.elapsed()
        };
        let (after, ()) = tokio::join!(hang_up, sender);
        assert!(after >= LINGER && after < 2 * LINGER, "{after:?}");
    }
}
