//! One actor a conversation: the heart of the broker.
//!
//! [`Sessions`] is the only way in. It works out which session a turn belongs to (the client's
//! own name for it, or the transcript that it resends), finds or makes the session's actor, and
//! hands the turn over. What comes back is a [`TurnReader`] on the turn's log.
//!
//! ```text
//! Sessions ── Submit ──▶ actor ── spawns ──▶ pump ── polls ──▶ backend
//!     ▲                    │  ▲                │
//!  TurnReader ◀── log ◀────┘  └──── Pumped ◀───┘
//! ```

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ractor::{Actor as _, ActorRef, SpawnErr};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::task::TaskTracker;

use crate::backend::{Route, Routes};
use crate::config::Config;
use crate::metrics::{EndReason, InterruptReason, Limit, Metrics};
use crate::store::{Query, SessionStore};
use crate::turn::{
    Failure, FailureKind, FileId, ModelName, RequestId, SessionId, SessionKey, TenantId, TurnId,
    TurnRequest,
};

mod actor;
mod attempt;
mod conversation;
mod directory;
mod farewell;
mod files;
mod identity;
mod phase;
mod pump;
mod reconcile;
mod resume;
mod running;
mod state;
mod supervisor;
#[cfg(test)]
mod tests;
mod told;
mod turn_log;

pub use actor::{Hold, Snapshot};
pub use files::{FilePage, SessionFile};
pub use turn_log::{Origin, Timing, TurnMeta, TurnReader};

use actor::{Beginning, Birth, Call, Interrupt, SessionActor, SessionMsg, Submit};
use conversation::drop_restated;
use directory::Directory;
use files::Files;
use identity::{Found, Heads, Transcript};
use resume::Turns;
use state::Env;
use supervisor::{Supervisor, SupervisorMsg};
use turn_log::TurnLog;

/// How often a turn that met an actor on its way out looks for the next one.
const HANDOVERS: usize = 5;
/// What an answer of an actor may take; they never wait for anything.
const ANSWER: Duration = Duration::from_secs(5);

/// Every conversation.
#[derive(Debug, Clone)]
pub struct Sessions {
    env: Arc<Env>,
    supervisor: ActorRef<SupervisorMsg>,
    in_flight: Arc<Semaphore>,
    draining: Arc<AtomicBool>,
}

/// A turn to be run.
pub struct Submission {
    /// Whose it is.
    pub tenant: TenantId,
    /// Who is to answer.
    pub route: Arc<Route>,
    /// What is asked.
    pub request: TurnRequest,
    /// The HTTP request it came with.
    pub request_id: RequestId,
    /// What stands for the key that asked, for models whose keys have one session each.
    pub key_label: String,
    /// When it was received.
    pub received: Instant,
    /// Told what the turn used, and let go when it has ended.
    pub hold: Box<dyn Hold>,
}

impl std::fmt::Debug for Submission {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Submission").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

/// Which session a turn goes to.
struct Destination {
    key: SessionKey,
    named: bool,
    branches: bool,
    is_new: bool,
    base: Option<identity::Digest>,
    /// The head that was taken away from the session.
    claimed: Option<identity::Digest>,
}

impl Sessions {
    /// Starts the supervisor.
    ///
    /// # Errors
    /// When its actor cannot be spawned.
    pub async fn start(
        config: Arc<Config>,
        metrics: Arc<Metrics>,
        store: Arc<dyn SessionStore>,
        routes: Arc<Routes>,
    ) -> Result<Self, SpawnErr> {
        let turn = &config.turn;
        let in_flight = Arc::new(Semaphore::new(turn.max_in_flight));
        let env = Arc::new(Env {
            metrics,
            store,
            routes,
            directory: Arc::new(Directory::new()),
            files: Files::new(config.session.files_bytes),
            heads: Heads::default(),
            turns: Turns::new(turn.resume, turn.resume_bytes),
            detached: Arc::new(Semaphore::new(turn.max_detached)),
            afterwards: TaskTracker::new(),
            config,
        });
        let (supervisor, _) = Supervisor::spawn(None, Supervisor, Arc::clone(&env)).await?;
        Ok(Self { env, supervisor, in_flight, draining: Arc::default() })
    }

    /// Hands a turn to its session and gives a reader from its beginning.
    ///
    /// # Errors
    /// `Draining`, `Overloaded`, `SessionBusy`, `QueueFull`, and what the store says.
    pub async fn submit(&self, mut submission: Submission) -> Result<TurnReader, Failure> {
        if self.is_draining() {
            return Err(draining());
        }
        let permit = self.permit()?;
        drop_restated(&mut submission.request.messages);
        let destination = self.destination(&submission);
        if self.env.directory.get(&destination.key).is_none() {
            self.make_room(&destination.key).await;
        }
        let Submission { route, request, request_id, received, hold, .. } = submission;
        // The route's own copy of its name, if that was asked for: every session keeps one.
        let other = request.model.as_ref().filter(|asked| **asked != route.model.name);
        let call = Arc::new(Call {
            model: other.unwrap_or(&route.model.name).clone(),
            turn_policy: request.turn_policy.unwrap_or(route.model.turn_policy),
            disconnect_policy: request.disconnect_policy.unwrap_or(route.model.disconnect_policy),
            request: Arc::new(request),
            route,
            request_id,
            named: destination.named,
            branches: destination.branches,
            base: destination.base,
            received,
            hold,
        });
        let handed = self.hand_over(&destination, call, permit).await;
        if handed.is_err()
            && let Some(head) = destination.claimed
        {
            // The session holds what it held; the same request may come again.
            self.env.heads.register(head, destination.key);
        }
        handed
    }

    async fn hand_over(
        &self,
        destination: &Destination,
        call: Arc<Call>,
        mut permit: OwnedSemaphorePermit,
    ) -> Result<TurnReader, Failure> {
        for _ in 0..HANDOVERS {
            let actor = self.actor(destination, &call)?;
            let (submit, reader, answer) = self.prepare(&actor, destination, &call, permit);
            // Sending fails for an actor that is gone; so does waiting for its answer.
            let _ = actor.cast(SessionMsg::Submit(Box::new(submit)));
            match answer.await {
                Ok(Ok(())) => return Ok(reader),
                Ok(Err(failure)) => return Err(failure),
                Err(_) => permit = self.permit()?,
            }
            tokio::task::yield_now().await;
        }
        Err(Failure::new(FailureKind::Overloaded, "the session is being put away; try again")
            .after(Duration::from_secs(1)))
    }

    fn prepare(
        &self,
        actor: &ActorRef<SessionMsg>,
        destination: &Destination,
        call: &Arc<Call>,
        permit: OwnedSemaphorePermit,
    ) -> (Submit, TurnReader, oneshot::Receiver<Result<(), Failure>>) {
        let agent = call.route.backend.agent();
        let meta = TurnMeta {
            turn: TurnId::generate(),
            key: destination.key.clone(),
            model: call.model.clone(),
            created: SystemTime::now(),
            agent: agent.map(|(agent, alias)| (agent.to_owned(), alias.to_owned())),
            previous: call.request.hints.previous.clone(),
            is_background: call.request.is_background,
            echo: call.request.echo.clone(),
        };
        let (owner, turn) = (actor.clone(), meta.turn.clone());
        let on_abandoned = Box::new(move || {
            // An actor that is gone runs no turn.
            let _ = owner.cast(SessionMsg::Abandoned(turn.clone()));
        });
        let (log, writer) = TurnLog::begin(meta, on_abandoned);
        self.env.turns.add(&log);
        let reader = log.follow(0);
        let (reply, answer) = oneshot::channel();
        (Submit { writer, call: Arc::clone(call), permit, reply }, reader, answer)
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| {
            self.env.metrics.rate_limited(Limit::TurnsInFlight);
            Failure::new(FailureKind::Overloaded, "too many turns are running")
                .after(Duration::from_secs(1))
        })
    }

    fn destination(&self, submission: &Submission) -> Destination {
        let tenant = &submission.tenant;
        let key = |id: SessionId| SessionKey { tenant: tenant.clone(), id };
        let request = &submission.request;
        let by_name = |id: SessionId| Destination {
            key: key(id),
            named: true,
            branches: false,
            is_new: false,
            base: None,
            claimed: None,
        };
        if let Some(named) = &request.hints.named {
            return by_name(named.clone());
        }
        let model = &submission.route.model;
        if model.session_per_key
            && let Some(id) = per_key(&submission.key_label, model.name.as_str())
        {
            return by_name(id);
        }
        if !self.env.config.session.match_transcripts {
            return Destination { is_new: true, named: false, ..by_name(SessionId::generate()) };
        }
        let speaker = request.hints.speaker.as_deref();
        let asked = request.model.as_ref().unwrap_or(&model.name);
        let transcript = Transcript::of(tenant, asked, speaker, &request.messages);
        let found = self.env.heads.claim(&transcript);
        let branches = found == Found::Passed;
        let (key, is_new) = match found {
            Found::Head(held) => (held, false),
            Found::Passed | Found::Unknown | Found::Fresh => (key(SessionId::generate()), true),
        };
        let claimed = (!is_new).then_some(transcript.base);
        Destination { key, named: false, branches, is_new, base: Some(transcript.base), claimed }
    }

    fn actor(
        &self,
        destination: &Destination,
        call: &Call,
    ) -> Result<ActorRef<SessionMsg>, Failure> {
        if let Some(actor) = self.env.directory.get(&destination.key) {
            return Ok(actor);
        }
        if self.env.directory.len() >= self.env.config.session.max_resident {
            self.env.metrics.rate_limited(Limit::ResidentSessions);
            return Err(Failure::new(FailureKind::Overloaded, "too many sessions are active")
                .after(Duration::from_secs(5)));
        }
        let beginning = if destination.is_new { Beginning::New } else { Beginning::Load };
        self.spawn(&destination.key, call, beginning)
    }

    fn spawn(
        &self,
        key: &SessionKey,
        call: &Call,
        beginning: Beginning,
    ) -> Result<ActorRef<SessionMsg>, Failure> {
        self.spawn_with(key, call.model.clone(), beginning).map_err(|error| {
            tracing::error!(%error, "a session's actor could not be spawned");
            Failure::internal()
        })
    }

    fn spawn_with(
        &self,
        key: &SessionKey,
        model: ModelName,
        beginning: Beginning,
    ) -> Result<ActorRef<SessionMsg>, SpawnErr> {
        self.env.directory.get_or_spawn(key.clone(), |activity| {
            let env = Arc::clone(&self.env);
            let birth = Box::new(Birth { key: key.clone(), model, beginning, env, activity });
            let parent = self.supervisor.get_cell();
            let (actor, _) =
                ractor::ActorRuntime::spawn_linked_instant(None, SessionActor, birth, parent)?;
            Ok(actor)
        })
    }

    /// Lets the tenant's oldest session go when it has as many as it may and one more comes.
    async fn make_room(&self, key: &SessionKey) {
        let store = &self.env.store;
        let Ok(census) = store.census(key.tenant.clone()).await else { return };
        let Some(oldest) = census.oldest else { return };
        if census.sessions < self.env.config.session.max_per_tenant {
            return;
        }
        if matches!(store.load(key.clone()).await, Ok(Some(_))) {
            return;
        }
        self.env.metrics.rate_limited(Limit::TenantSessions);
        self.forget(&oldest, EndReason::Evicted).await;
    }

    /// What a session holds.
    ///
    /// # Errors
    /// `SessionNotFound`, also for another tenant's.
    pub async fn read(&self, key: &SessionKey) -> Result<Snapshot, Failure> {
        if let Some(actor) = self.env.directory.get(key) {
            let (reply, answer) = oneshot::channel();
            // One that is on its way out has its record in the store.
            let _ = actor.cast(SessionMsg::Read(reply));
            if let Ok(Ok(snapshot)) = tokio::time::timeout(ANSWER, answer).await {
                return Ok(snapshot);
            }
        }
        match self.env.store.load(key.clone()).await {
            Ok(Some(record)) => {
                Ok(Snapshot { record, state: "passivated", running: None, queued: 0 })
            }
            Ok(None) => Err(no_session()),
            Err(error) => Err(store_failed(&error)),
        }
    }

    /// A tenant's sessions, the last active first, at most `limit`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, tenant: &TenantId, limit: usize) -> Result<Vec<Snapshot>, Failure> {
        let tenant_wanted = Some(tenant.clone());
        let query = Query { tenant: tenant_wanted, limit, ..Query::default() };
        let records = self.env.store.list(query).await;
        let records = records.map_err(|error| store_failed(&error))?;
        // Those with an actor may know more than the store.
        let mut keys: HashSet<_> =
            self.env.directory.of_tenant(tenant, limit).into_iter().collect();
        keys.extend(records.iter().map(|record| record.key.clone()));
        let mut listed = Vec::new();
        for key in keys {
            // One that ended meanwhile is not listed.
            listed.extend(self.read(&key).await.ok());
        }
        listed.sort_by_key(|snapshot| Reverse(snapshot.record.last_active));
        listed.truncate(limit);
        Ok(listed)
    }

    /// Stops a session's running turn, if one runs; `spoken` is what of the answer was heard.
    ///
    /// # Errors
    /// `SessionNotFound`, also for another tenant's.
    pub async fn interrupt(
        &self,
        key: &SessionKey,
        spoken: Option<String>,
    ) -> Result<Snapshot, Failure> {
        let held = self.read(key).await?;
        if held.state == "passivated" && spoken.is_none() {
            return Ok(held);
        }
        let actor = self.spawn_with(key, held.record.model.clone(), Beginning::Load);
        let actor = actor.map_err(|_| Failure::internal())?;
        let (reply, answer) = oneshot::channel();
        let order = Interrupt { reason: InterruptReason::Request, spoken, reply };
        // One that is gone does not answer, which is told below.
        let _ = actor.cast(SessionMsg::Interrupt(Box::new(order)));
        tokio::time::timeout(ANSWER, answer).await.ok().and_then(Result::ok).ok_or_else(no_session)
    }

    /// Sends a session's further turns to another model, which is given the transcript. A turn
    /// that runs goes on where it is.
    ///
    /// # Errors
    /// `SessionNotFound`, also for another tenant's.
    pub async fn move_to(&self, key: &SessionKey, to: Arc<Route>) -> Result<Snapshot, Failure> {
        let held = self.read(key).await?;
        for _ in 0..HANDOVERS {
            let actor = self.spawn_with(key, held.record.model.clone(), Beginning::Load);
            let actor = actor.map_err(|_| Failure::internal())?;
            let (reply, answer) = oneshot::channel();
            // One that is gone does not answer.
            let _ = actor.cast(SessionMsg::Move(to.model.name.clone(), reply));
            match tokio::time::timeout(ANSWER, answer).await {
                Ok(Ok(snapshot)) => return Ok(snapshot),
                // It met an actor on its way out.
                Ok(Err(_)) => tokio::task::yield_now().await,
                Err(_) => break,
            }
        }
        Err(no_session())
    }

    /// Ends a session: stops its turn and forgets it.
    ///
    /// # Errors
    /// `SessionNotFound`, also for another tenant's.
    pub async fn end(&self, key: &SessionKey) -> Result<(), Failure> {
        self.read(key).await?;
        if self.forget(key, EndReason::Ended).await {
            return Ok(());
        }
        Err(Failure::new(FailureKind::Overloaded, "the session could not be ended; try again")
            .after(Duration::from_secs(1)))
    }

    /// Has a session's actor end it; says whether it did.
    async fn forget(&self, key: &SessionKey, reason: EndReason) -> bool {
        let model = match self.env.store.load(key.clone()).await {
            Ok(Some(record)) => record.model.clone(),
            _ => ModelName::none(),
        };
        for _ in 0..HANDOVERS {
            let Ok(actor) = self.spawn_with(key, model.clone(), Beginning::Load) else { break };
            let (reply, answer) = oneshot::channel();
            // One that is gone does not answer.
            let _ = actor.cast(SessionMsg::End(reason, reply));
            match tokio::time::timeout(ANSWER, answer).await {
                Ok(Ok(ended)) => return ended,
                // It met an actor on its way out.
                Ok(Err(_)) => tokio::task::yield_now().await,
                Err(_) => break,
            }
        }
        false
    }

    /// A reader of a tenant's turn that continues after the event numbered `after`.
    ///
    /// # Errors
    /// `TurnNotFound`, also for another tenant's, and when the turn ended too long ago.
    pub fn resume(
        &self,
        tenant: &TenantId,
        turn: &TurnId,
        after: u64,
    ) -> Result<TurnReader, Failure> {
        let reader = self.env.turns.follow(tenant, turn, after);
        let reader = reader.ok_or_else(|| {
            Failure::new(
                FailureKind::TurnNotFound,
                "no turn of this id can be resumed; it ended too long ago, or never was",
            )
        })?;
        self.env.metrics.stream_resumed();
        Ok(reader)
    }

    /// Whether a turn that can be followed is one of this session's.
    #[must_use]
    pub fn is_turn_of(&self, key: &SessionKey, turn: &TurnId) -> bool {
        self.env.turns.is_of(key, turn)
    }

    /// A tenant's file that came with an answer, while its session lives and there is room.
    #[must_use]
    pub fn file(&self, tenant: &TenantId, id: &FileId) -> Option<Arc<SessionFile>> {
        self.env.files.get(tenant, id)
    }

    /// At most `limit` of a tenant's files that came before the one called `after`, the newest
    /// first; `None` when the tenant has no such file.
    #[must_use]
    pub fn files(
        &self,
        tenant: &TenantId,
        after: Option<&FileId>,
        limit: usize,
    ) -> Option<FilePage> {
        self.env.files.page(tenant, after, limit)
    }

    /// Forgets a tenant's file; says whether there was one.
    #[must_use]
    pub fn remove_file(&self, tenant: &TenantId, id: &FileId) -> bool {
        self.env.files.remove(tenant, id)
    }

    /// Whether new turns are refused because the broker shuts down.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// From now on, refuses new turns.
    pub fn begin_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Waits until no turn runs, for at most `grace`; then fails those that still do. Says
    /// whether all ended by themselves.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.begin_draining();
        let all = u32::try_from(self.env.config.turn.max_in_flight).unwrap_or(u32::MAX);
        let ended = tokio::time::timeout(grace, self.in_flight.acquire_many(all)).await.is_ok();
        if !ended {
            for actor in self.env.directory.all() {
                // One that is gone has nothing to fail.
                let _ = actor.cast(SessionMsg::Shutdown);
            }
            // They never wait for anything, so this is soon over.
            let _ = tokio::time::timeout(ANSWER, self.in_flight.acquire_many(all)).await;
        }
        self.env.afterwards.close();
        // A store that hangs must not keep the process.
        let _ = tokio::time::timeout(ANSWER, self.env.afterwards.wait()).await;
        ended
    }
}

/// The id of the one session that a key has with a model.
fn per_key(label: &str, model: &str) -> Option<SessionId> {
    let digest = Sha256::new().chain_update(label).chain_update([0]).chain_update(model).finalize();
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("key_{hex}").parse().ok()
}

fn draining() -> Failure {
    Failure::new(FailureKind::Draining, "the broker is shutting down; try another, or again soon")
        .after(Duration::from_secs(1))
}

fn no_session() -> Failure {
    Failure::new(FailureKind::SessionNotFound, "no session of this id exists")
}

fn store_failed(error: &crate::store::StoreError) -> Failure {
    tracing::error!(%error, "the session store failed");
    Failure::new(FailureKind::Overloaded, "the session store does not answer")
        .after(Duration::from_secs(2))
}
