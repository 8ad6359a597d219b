//! The tasks of HTTP/2 streams, and the limit on clients that open no window.
//!
//! On HTTP/2 a client can refuse the bytes of one stream and still read the connection, so the
//! write limit of the [socket](super::socket) does not see it. Here each stream keeps a [`Pace`]:
//! after its answer was asked for more and gave it, the turn is the client's until it is asked
//! again. A client that keeps its turn for too long loses the stream, not the connection.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

tokio::task_local! {
    /// The pace of the stream that the current task serves.
    static PACE: Arc<Pace>;
}

/// Where hyper spawns the streams of HTTP/2 connections.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    /// The owner of the tasks.
    pub(super) tasks: TaskTracker,
    /// Ends them at once.
    pub(super) abort: CancellationToken,
    /// How long a client may keep a frame waiting.
    pub(super) write_timeout: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let paced = paced(stream, self.write_timeout);
        self.tasks.spawn(self.abort.clone().run_until_cancelled_owned(paced));
    }
}

/// Whose turn it is on a stream.
#[derive(Debug, Default)]
struct Pace {
    /// Frames handed to hyper, the head included.
    handed_over: AtomicUsize,
    is_clients_turn: AtomicBool,
}

/// Notes that the stream of this task was asked for a frame, and whether it gave one.
///
/// Does nothing on HTTP/1.1, where the socket itself tells.
pub(super) fn was_asked(gave_a_frame: bool) {
    // No pace means no stream: an HTTP/1.1 connection.
    let _ = PACE.try_with(|pace| {
        pace.is_clients_turn.store(gave_a_frame, Ordering::Relaxed);
        if gave_a_frame {
            pace.handed_over.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// Runs a stream to its end, or until its client leaves a frame waiting for too long; dropping
/// it then resets it.
async fn paced(stream: impl Future<Output = ()>, write_timeout: Duration) {
    let pace = Arc::new(Pace::default());
    let mut stream = pin!(PACE.scope(Arc::clone(&pace), stream));
    let mut stall = Stall::default();
    std::future::poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !pace.is_clients_turn.load(Ordering::Relaxed) {
            stall.timer = None;
            return Poll::Pending;
        }
        stall.poll(cx, pace.handed_over.load(Ordering::Relaxed), write_timeout)
    })
    .await;
}

/// How long the client has been keeping one frame waiting.
#[derive(Default)]
struct Stall {
    frame: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    fn poll(&mut self, cx: &mut Context<'_>, frame: usize, limit: Duration) -> Poll<()> {
        if frame != self.frame {
            self.frame = frame;
            self.timer = None;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        tracing::debug!("client left an HTTP/2 stream waiting for too long");
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};

    use tokio::time::{Instant, timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_stream_whose_frame_is_left_waiting_ends() {
        let began = Instant::now();
        let handed_over = async {
            was_asked(true);
            pending::<()>().await;
        };
        paced(handed_over, LIMIT).await;
        assert!(began.elapsed() >= LIMIT);
    }

    #[tokio::test]
    async fn a_stream_that_has_nothing_to_say_does_not() {
        let silent = poll_fn(|_| {
            was_asked(false);
            Poll::<()>::Pending
        });
        assert!(timeout(3 * LIMIT, paced(silent, LIMIT)).await.is_err());
    }

    #[tokio::test]
    async fn each_frame_that_is_taken_starts_the_limit_anew() {
        let began = Instant::now();
        let slow = async {
            for _ in 0..8 {
                was_asked(true);
                sleep(LIMIT / 4).await;
            }
        };
        paced(slow, LIMIT).await;
        assert!(began.elapsed() >= 2 * LIMIT);
    }
}
