//! What tells a server to stop.

use std::io;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::edge::Stop;

/// Orders that may wait; more than two say nothing new.
const WAITING: usize = 4;

/// SIGXFSZ, of the same number on every system that has the broker's prebuilt programs.
const FILE_TOO_LARGE: SignalKind = SignalKind::from_raw(25);

/// Where orders to stop come in.
#[derive(Debug, Clone)]
pub(super) struct Stops {
    orders: Arc<Mutex<mpsc::Receiver<Stop>>>,
    give: mpsc::Sender<Stop>,
}

impl Stops {
    pub(super) fn new() -> Self {
        let (give, orders) = mpsc::channel(WAITING);
        Self { orders: Arc::new(Mutex::new(orders)), give }
    }

    /// Waits for the next order.
    pub(super) fn next(&self) -> BoxFuture<'static, Stop> {
        let orders = Arc::clone(&self.orders);
        // The sender lives as long as this, so orders never run out.
        async move { orders.lock().await.recv().await.unwrap_or(Stop::Now) }.boxed()
    }

    /// Gives an order; one beyond those that wait says nothing new.
    pub(super) fn order(&self, stop: Stop) {
        let _ = self.give.try_send(stop);
    }

    /// Makes SIGTERM and SIGINT such orders, until dropped: the first drains, the second does
    /// not wait. A file that grows beyond what the process may write no longer ends it.
    ///
    /// # Errors
    /// When the system does not let signals be handled.
    pub(super) fn on_signals(&self) -> io::Result<AbortOnDropHandle<()>> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // Once asked for it ends the process no more; the write that met the limit fails.
        drop(signal(FILE_TOO_LARGE)?);
        let stops = self.clone();
        Ok(AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::info!("told to stop");
                stops.order(Stop::Gracefully);
            }
        })))
    }
}
