//! The two phases in which a server ends.

use tokio_util::sync::CancellationToken;

/// Tells a server, and whoever else asks, that the end has come. Clones share one state.
///
/// First it drains: nothing new is taken on, and what runs may finish. Then, at a deadline that
/// the caller keeps, what still runs is aborted. Neither can be taken back.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    abort: CancellationToken,
}

impl Shutdown {
    /// A shutdown that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the first phase: no new connections, no further requests on old ones.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Begins the second phase, and the first if it has not begun: cuts off what still runs.
    pub fn abort(&self) {
        self.drain.cancel();
        self.abort.cancel();
    }

    /// Whether the first phase has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Waits until the first phase begins.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Waits until the second phase begins.
    pub async fn aborted(&self) {
        self.abort.cancelled().await;
    }

    /// Cancelled when the second phase begins, or earlier by whoever holds it.
    pub(super) fn abort_token(&self) -> CancellationToken {
        self.abort.child_token()
    }
}
