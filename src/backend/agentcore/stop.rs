//! Ending a session upstream, by `StopRuntimeSession`.
//!
//! A runtime goes on with its answer though nobody listens any more; stopping its session is the
//! only way to stop it, and takes the session's memory with it. ("Stop a running session" of the
//! AgentCore developer guide: the operation ends the session and any stream of it at once.) The
//! operation takes the ARN "of the agent that contains the session"; no source says whether that
//! of a harness will do, so it is an assumption here that it does. Where it is wrong, the call
//! is refused, which is logged and does no harm.

use std::sync::Arc;
use std::time::Duration;

use crate::turn::{Failure, FailureKind, UpstreamSessionId};

use super::{Core, failure};

/// What it may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Ends the session. One that is not there has ended.
///
/// # Errors
/// When the service does not do so in time.
pub(super) async fn stop(core: &Core, upstream: &UpstreamSessionId) -> Result<(), Failure> {
    let call = core
        .access
        .client
        .stop_runtime_session()
        .agent_runtime_arn(&core.arn.text)
        .set_qualifier(core.model.core.qualifier.clone())
        .runtime_session_id(upstream.as_str())
        .send();
    let Ok(stopped) = tokio::time::timeout(TIMEOUT, call).await else {
        tracing::warn!("AgentCore did not end a session in time");
        return Err(Failure::new(FailureKind::UpstreamTimeout, "AgentCore did not answer in time"));
    };
    match stopped {
        Ok(_) => Ok(()),
        Err(error) => match error.as_service_error() {
            Some(refused) if refused.is_resource_not_found_exception() => Ok(()),
            _ => Err(failure::of_call(&error).failure),
        },
    }
}

/// Stops the session when it is dropped in the middle of an answer.
#[derive(Debug)]
pub(super) struct StopIfCut {
    core: Arc<Core>,
    upstream: Option<UpstreamSessionId>,
}

impl StopIfCut {
    /// An answer begins.
    pub(super) fn new(core: &Arc<Core>, upstream: &UpstreamSessionId) -> Self {
        Self { core: Arc::clone(core), upstream: Some(upstream.clone()) }
    }

    /// The answer came to its end, whatever that was.
    pub(super) fn ended(mut self) {
        self.upstream = None;
    }
}

impl Drop for StopIfCut {
    fn drop(&mut self) {
        let Some(upstream) = self.upstream.take() else { return };
        let core = Arc::clone(&self.core);
        // Without a runtime there is no connection left to stop anything by.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        // It ends by itself, within its timeout, and tells the log what there is to tell.
        drop(runtime.spawn(async move {
            match stop(&core, &upstream).await {
                Ok(()) => tracing::debug!("a session whose answer was cut was stopped upstream"),
                Err(failure) => {
                    tracing::debug!(kind = failure.kind.code(), "a cut answer may go on upstream");
                }
            }
        }));
    }
}
