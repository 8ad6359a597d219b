//! Watches over all session actors: it is told when one ends or fails, and sweeps.
//!
//! ractor's default stops a supervisor with its first child; this one overrides every event and
//! outlives them all. A session whose actor failed is not restarted: its next turn revives it
//! from the store.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::metrics::EndReason;

use super::actor::SessionMsg;
use super::env::Env;
use super::retention;

/// What the supervisor can be told.
#[derive(Debug)]
pub(super) enum SupervisorMsg {
    /// From its own timer: look for what is idle or expired.
    Sweep,
}

/// The parent of all session actors.
#[derive(Debug)]
pub(super) struct Supervisor;

impl Actor for Supervisor {
    type Msg = SupervisorMsg;
    type State = Arc<Env>;
    type Arguments = Arc<Env>;

    async fn pre_start(
        &self,
        me: ActorRef<SupervisorMsg>,
        env: Arc<Env>,
    ) -> Result<Arc<Env>, ActorProcessingErr> {
        // The timer ends with the actor.
        drop(me.send_interval(period(&env), || SupervisorMsg::Sweep));
        Ok(env)
    }

    async fn handle(
        &self,
        _me: ActorRef<SupervisorMsg>,
        message: SupervisorMsg,
        env: &mut Arc<Env>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMsg::Sweep => sweep(env),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<SupervisorMsg>,
        event: SupervisionEvent,
        env: &mut Arc<Env>,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(_, error) => {
                tracing::error!(%error, "a session's actor failed; its next turn revives it");
                env.metrics.session_ended(EndReason::Crashed);
            }
            SupervisionEvent::ActorStarted(_)
            | SupervisionEvent::ActorTerminated(..)
            | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

/// Often enough that nothing outlives its time by much, and never busy.
fn period(env: &Env) -> Duration {
    let session = &env.config.session;
    let shortest = session.resident.min(session.expire).min(env.config.turn.resume);
    (shortest / 4).clamp(Duration::from_millis(100), Duration::from_secs(10))
}

fn sweep(env: &Arc<Env>) {
    let session = &env.config.session;
    let excess = env.directory.crowd(session).excess();
    let idle = env.directory.idle(session.resident);
    for actor in idle.into_iter().chain(env.directory.longest_idle(excess)) {
        // One that is gone needs no telling.
        let _ = actor.cast(SessionMsg::Retire);
    }
    env.turns.sweep();
    env.repeats.sweep();
    let now = SystemTime::now();
    let sweeper = Arc::clone(env);
    // Walks every known conversation, which is too long for a thread that serves.
    drop(env.afterwards.spawn_blocking(move || {
        sweeper.heads.sweep(now, sweeper.config.session.expire);
    }));
    if let Some(before) = now.checked_sub(session.expire) {
        let env = Arc::clone(env);
        env.afterwards.clone().spawn(async move { retention::expire(&env, before).await });
    }
    let trimmed = Arc::clone(env);
    env.afterwards.spawn(async move { retention::trim(&trimmed).await });
    if let Some(before) = now.checked_sub(env.config.turn.resume) {
        let swept = env.store.sweep_turns(before);
        env.afterwards.spawn(async move {
            if let Err(error) = swept.await {
                tracing::error!(%error, "turns past their time could not be removed");
            }
        });
    }
}
