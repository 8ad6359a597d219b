//! Telling an upstream that a session is over, so that an agent writes its long-term memory.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::backend::{Farewell, Route};
use crate::store::UpstreamBinding;

use super::env::Env;

/// What it may take to tell an upstream that a session is over.
const PATIENCE: Duration = Duration::from_secs(3);

/// Tells it in the background. An upstream that has forgotten the session by itself has written
/// its memory then, and is not told.
pub(super) fn say(env: &Arc<Env>, bound: Option<UpstreamBinding>) {
    let Some(bound) = bound else { return };
    let Some(route) = env.routes.exactly(&bound.model) else { return };
    if !is_warm(&route, &bound) {
        return;
    }
    let farewell = Farewell { upstream: bound.id, memory_id: bound.memory_id };
    let told = tokio::time::timeout(PATIENCE, route.backend.end(farewell));
    env.afterwards.spawn(async move {
        if !matches!(told.await, Ok(Ok(()))) {
            tracing::debug!("an upstream did not hear that its session ended");
        }
    });
}

fn is_warm(route: &Route, bound: &UpstreamBinding) -> bool {
    let idle = SystemTime::now().duration_since(bound.last_used).unwrap_or_default();
    route.backend.remembers().is_some_and(|limit| idle < limit)
}
