//! What the sessions of a broker have in common.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::task::TaskTracker;

use crate::backend::Routes;
use crate::config::Config;
use crate::metrics::{Metrics, StoreOp};
use crate::store::{SessionStore, StoreError};

use super::conversation::Room;
use super::directory::Directory;
use super::files::Files;
use super::identity::Heads;
use super::repeats::Repeats;
use super::resume::Turns;

/// What all sessions share.
#[derive(Debug)]
pub(super) struct Env {
    pub(super) config: Arc<Config>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) routes: Arc<Routes>,
    /// Whether an answer is complete only once the store has it.
    pub(super) waits_for_store: bool,
    pub(super) directory: Arc<Directory>,
    pub(super) heads: Heads,
    pub(super) files: Files,
    pub(super) turns: Turns,
    pub(super) repeats: Repeats,
    /// Held while tenants that hold too much are made smaller.
    pub(super) trimming: Mutex<()>,
    /// Turns that run on without a reader may take one of these.
    pub(super) detached: Arc<Semaphore>,
    /// What goes on after its session's actor: saves, farewells to upstreams.
    pub(super) afterwards: TaskTracker,
}

impl Env {
    pub(super) fn room(&self) -> Room {
        let session = &self.config.session;
        Room { bytes: session.history_bytes, messages: session.history_messages }
    }

    /// Runs a store operation to its end: at once where it can, else on a task of its own.
    pub(super) fn run<T: Send + 'static>(
        &self,
        op: StoreOp,
        mut work: BoxFuture<'static, Result<T, StoreError>>,
        done: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) -> Option<Result<T, StoreError>> {
        let timer = self.metrics.store_op(op);
        if let Some(result) = (&mut work).now_or_never() {
            return Some(result);
        }
        self.afterwards.spawn(async move {
            let result = work.await;
            drop(timer);
            done(result);
        });
        None
    }
}
