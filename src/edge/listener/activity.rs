//! When a connection has been quiet for too long.
//!
//! ```text
//!                 first byte                head complete
//!       Idle ───────────────────▶ Head ────────────────────▶ a request is open
//!        ▲                         ▲                                │
//!        │                         └─ a new HTTP/1.1 connection     │
//!        └───────────────────────── last answer ended ──────────────┘
//! ```
//!
//! `Head` may last for the header timeout, `Idle` for the idle timeout; an open request has no
//! limit here. hyper 1.12 cannot tell the two apart: the clock of its `header_read_timeout`
//! starts as soon as an answer ends, so with a header timeout of 10 s no kept connection would
//! live for 75 s. That is why hyper's is off and this one is here.
//!
//! On HTTP/2 a byte may belong to a ping, so bytes say nothing: a connection is idle when no
//! stream is open.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// How long a connection may be without an open request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// From the first byte of a head, or from the acceptance, to the end of the head.
    pub(super) header: Duration,
    /// From the end of an answer to the first byte of the next head.
    pub(super) idle: Duration,
}

/// Which limit a connection has run into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// A head was begun and not ended in time.
    Head,
    /// No request came in time.
    Idle,
}

/// What one connection is doing, as told by its socket and its service.
#[derive(Debug)]
pub(super) struct Activity {
    patience: Patience,
    /// Whether bytes without an open request belong to a request: on HTTP/2 they may be pings.
    bytes_tell: bool,
    state: Mutex<State>,
    /// Rung when a deadline begins; only [`expired`](Self::expired) listens.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    open: usize,
    quiet: Quiet,
}

/// What a connection without an open request waits for.
#[derive(Debug, Clone, Copy)]
enum Quiet {
    Head(Instant),
    Idle(Instant),
}

impl Activity {
    /// A new HTTP/1.1 connection: the head is due at once.
    pub(super) fn http1(patience: Patience, accepted: Instant) -> Arc<Self> {
        Self::new(patience, true, Quiet::Head(accepted))
    }

    /// A new HTTP/2 connection, its preface read.
    pub(super) fn http2(patience: Patience) -> Arc<Self> {
        Self::new(patience, false, Quiet::Idle(Instant::now()))
    }

    fn new(patience: Patience, bytes_tell: bool, quiet: Quiet) -> Arc<Self> {
        let state = Mutex::new(State { open: 0, quiet });
        Arc::new(Self { patience, bytes_tell, state, changed: Notify::new() })
    }

    /// A request has come; it is open until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> OpenRequest {
        self.lock().open += 1;
        OpenRequest(Arc::clone(self))
    }

    /// Bytes have come.
    pub(super) fn received(&self) {
        if !self.bytes_tell {
            return;
        }
        let mut state = self.lock();
        if state.open == 0 && matches!(state.quiet, Quiet::Idle(_)) {
            state.quiet = Quiet::Head(Instant::now());
            self.changed.notify_one();
        }
    }

    /// Bytes have gone: the tail of an answer counts as no silence.
    pub(super) fn sent(&self) {
        if !self.bytes_tell {
            return;
        }
        let mut state = self.lock();
        if state.open == 0 && matches!(state.quiet, Quiet::Idle(_)) {
            state.quiet = Quiet::Idle(Instant::now());
        }
    }

    /// Begins the idle time anew.
    pub(super) fn restart(&self) {
        self.lock().quiet = Quiet::Idle(Instant::now());
    }

    /// Waits until a limit is reached.
    pub(super) async fn expired(&self) -> Expiry {
        loop {
            let changed = self.changed.notified();
            let Some((deadline, expiry)) = self.deadline() else {
                changed.await;
                continue;
            };
            if deadline <= Instant::now() {
                return expiry;
            }
            // What woke us does not matter: the deadline is looked up again.
            let _ = timeout_at(deadline, changed).await;
        }
    }

    fn deadline(&self) -> Option<(Instant, Expiry)> {
        let state = self.lock();
        if state.open > 0 {
            return None;
        }
        match state.quiet {
            Quiet::Head(since) => Some((since + self.patience.header, Expiry::Head)),
            Quiet::Idle(since) => Some((since + self.patience.idle, Expiry::Idle)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the state is locked, and each of its values is a fair one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that has come and whose answer has not ended.
#[derive(Debug)]
pub(super) struct OpenRequest(Arc<Activity>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.open = state.open.saturating_sub(1);
        if state.open == 0 {
            state.quiet = Quiet::Idle(Instant::now());
            self.0.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const HEADER: Duration = Duration::from_millis(60);
    const IDLE: Duration = Duration::from_millis(240);
    const PATIENCE: Patience = Patience { header: HEADER, idle: IDLE };

    /// Waits for this limit, which must not be reached before so long.
    async fn expires(activity: &Activity, expected: Expiry, at_least: Duration) {
        let began = Instant::now();
        assert_eq!(activity.expired().await, expected);
        assert!(began.elapsed() >= at_least, "after {:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_new_connection_owes_a_head_from_its_acceptance() {
        let activity = Activity::http1(PATIENCE, Instant::now());
        let second_byte = async {
            sleep(HEADER / 2).await;
            activity.received();
        };
        tokio::join!(expires(&activity, Expiry::Head, HEADER), second_byte);
    }

    #[tokio::test]
    async fn a_kept_connection_waits_for_the_idle_timeout() {
        let activity = Activity::http1(PATIENCE, Instant::now());
        drop(activity.begin());
        expires(&activity, Expiry::Idle, IDLE).await;
    }

    #[tokio::test]
    async fn the_first_byte_on_a_kept_connection_starts_the_header_timeout() {
        let activity = Activity::http1(PATIENCE, Instant::now());
        drop(activity.begin());
        let first_byte = async {
            sleep(HEADER).await;
            activity.received();
        };
        tokio::join!(expires(&activity, Expiry::Head, 2 * HEADER), first_byte);
    }

    #[tokio::test]
    async fn the_tail_of_an_answer_still_on_its_way_is_not_idleness() {
        let activity = Activity::http1(PATIENCE, Instant::now());
        drop(activity.begin());
        let tail = async {
            sleep(2 * HEADER).await;
            activity.sent();
        };
        tokio::join!(expires(&activity, Expiry::Idle, IDLE + 2 * HEADER), tail);
    }

    #[test]
    fn an_open_request_has_no_deadline() {
        let activity = Activity::http1(PATIENCE, Instant::now());
        let (first, second) = (activity.begin(), activity.begin());
        assert!(activity.deadline().is_none());
        drop(first);
        assert!(activity.deadline().is_none());
        drop(second);
        assert!(activity.deadline().is_some());
    }

    #[tokio::test]
    async fn a_ping_does_not_keep_an_http2_connection() {
        let activity = Activity::http2(PATIENCE);
        let ping = async {
            sleep(IDLE / 2).await;
            activity.received();
            activity.sent();
        };
        let began = Instant::now();
        tokio::join!(expires(&activity, Expiry::Idle, IDLE), ping);
        assert!(began.elapsed() < IDLE + IDLE / 2);
    }
}
