//! Ctrl-C, one by one.

use std::io;

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

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // No more can come.
            std::future::pending::<()>().await;
        }
    }
}
