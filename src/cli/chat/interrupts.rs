//! Ctrl-C, one by one.

use std::io;

use futures_util::FutureExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The Ctrl-Cs that come while no line is edited.
#[derive(Debug)]
pub(super) struct Interrupts(Signal);

impl Interrupts {
    /// From now on Ctrl-C does not end the process by itself.
    ///
    /// # Errors
    /// When the system does not let signals be handled.
    pub(super) fn new() -> io::Result<Self> {
        signal(SignalKind::interrupt()).map(Self)
    }

    /// Passes over those that came before.
    pub(super) fn forget(&mut self) {
        while let Some(Some(())) = self.0.recv().now_or_never() {}
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // No more can come.
            std::future::pending::<()>().await;
        }
    }
}
