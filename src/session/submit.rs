//! A turn on its way to its session: which one it is, and that it has an actor.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::{Either, select};
use ractor::{ActorRef, SpawnErr};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::backend::Route;
use crate::metrics::{EndReason, Limit};
use crate::store::{Health, Query};
use crate::turn::{
    DisconnectPolicy, Failure, FailureKind, Keeping, ModelName, RequestId, SessionId, SessionKey,
    TenantId, TurnId, TurnRequest,
};

use super::actor::{Beginning, Birth, Call, Hold, Refused, SessionActor, SessionMsg, Submit};
use super::conversation::drop_restated;
use super::identity::{self, Found, Transcript};
use super::loading::store_is_away;
use super::phrases::Phrases;
use super::running::Detached;
use super::supervisor::SupervisorMsg;
use super::turn_log::{TurnLog, TurnMeta, TurnReader};
use super::{HANDOVERS, Sessions};

/// Where a session has to go: of so many that were active the longest ago one is surely not in
/// use, or nobody goes.
const BUSY_AT_MOST: usize = 32;

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
    /// The turn that has to be its last one.
    goes_on_from: Option<TurnId>,
    /// Whether nothing is kept of it.
    is_ephemeral: bool,
    /// How its actor begins, if it has none.
    beginning: Beginning,
    base: Option<identity::Digest>,
    /// The head that was taken away from the session.
    claimed: Option<identity::Digest>,
}

/// A turn before it has a session.
struct Bound {
    call: Arc<Call>,
    permit: OwnedSemaphorePermit,
    detached: Option<Detached>,
}

impl Sessions {
    /// Hands a turn to its session and gives a reader from its beginning. One that was asked for
    /// under the same name before is not run again: its reader is given.
    ///
    /// # Errors
    /// `Draining`, `Overloaded`, `SessionBusy`, `QueueFull`, `PreviousResponseNotFound`,
    /// `ConversationNotFound`, `IdempotencyKeyReused`, and what the store says.
    pub async fn submit(&self, submission: Submission) -> Result<TurnReader, Failure> {
        if self.is_draining() {
            return Err(draining());
        }
        self.check_store(&submission.request)?;
        let Some(named) = submission.request.idempotency.clone() else {
            return self.submit_new(submission).await;
        };
        let mut place = self.env.repeats.place(&submission.tenant, &named).await;
        if let Some(reader) = self.repeated(&submission.tenant, &named, place.turn()).await? {
            return Ok(reader);
        }
        let reader = self.submit_new(submission).await?;
        place.take(reader.meta().turn.clone());
        Ok(reader)
    }

    /// Refuses a turn whose answer could not be kept anyhow.
    fn check_store(&self, request: &TurnRequest) -> Result<(), Failure> {
        let is_gone = self.env.waits_for_store && self.env.store.health() == Health::Gone;
        if is_gone && !is_ephemeral(request) {
            return Err(store_is_away());
        }
        Ok(())
    }

    async fn submit_new(&self, mut submission: Submission) -> Result<TurnReader, Failure> {
        let permit = self.permit()?;
        drop_restated(&mut submission.request.messages);
        let phrases = Phrases::of(&submission.route.model.voice);
        phrases.take_out(&mut submission.request.messages);
        self.settle_what_is_new(&mut submission.request);
        let destination = self.destination(&submission).await?;
        let is_resident = self.env.directory.get(&destination.key).is_some();
        let takes_room = !is_resident && !destination.is_ephemeral;
        let room_for = takes_room.then(|| destination.key.clone());
        let is_new = destination.is_new;
        let Submission { route, request, request_id, received, hold, .. } = submission;
        let detached = self.right_to_detach(request.is_background)?;
        // The route's own copy of its name, if that was asked for: every session keeps one.
        let other = request.model.as_ref().filter(|asked| **asked != route.model.name);
        let call = Arc::new(Call {
            model: other.unwrap_or(&route.model.name).clone(),
            turn_policy: request.turn_policy.unwrap_or(route.model.turn_policy),
            disconnect_policy: disconnect_policy(&request, &route),
            request: Arc::new(request),
            route,
            request_id,
            named: destination.named,
            branches: destination.branches,
            is_ephemeral: destination.is_ephemeral,
            base: destination.base,
            received,
            hold,
        });
        let claimed = destination.claimed.map(|head| (head, destination.key.clone()));
        let handing = self.hand_over(destination, Bound { call, permit, detached });
        let handed = match room_for {
            Some(key) => self.beside_making_room(key, is_new, handing).await,
            None => handing.await,
        };
        if handed.is_err()
            && let Some((head, key)) = claimed
        {
            // The session holds what it held; the same request may come again.
            self.env.heads.register(head, key);
        }
        handed
    }

    /// A client that names nothing to go on from may resend the conversation in a dialect that
    /// takes only what is new: then the transcript tells its session, as it does elsewhere.
    fn settle_what_is_new(&self, request: &mut TurnRequest) {
        let hints = &request.hints;
        let goes_on = hints.named.is_some() || hints.previous.is_some();
        let is_found = self.env.config.session.match_transcripts;
        request.is_delta &= goes_on || !is_found || request.keeping == Keeping::Nothing;
    }

    async fn hand_over(
        &self,
        mut destination: Destination,
        mut bound: Bound,
    ) -> Result<TurnReader, Failure> {
        for _ in 0..HANDOVERS {
            let actor = self.actor(&mut destination, &bound.call)?;
            let call = Arc::clone(&bound.call);
            let is_background = call.request.is_background;
            let (submit, reader, answer) = self.prepare(&actor, &destination, bound);
            // Sending fails for an actor that is gone; so does waiting for its answer.
            let _ = actor.cast(SessionMsg::Submit(Box::new(submit)));
            match answer.await {
                Ok(Ok(())) => return Ok(reader),
                Ok(Err(Refused::Failed(failure))) => return Err(failure),
                Ok(Err(Refused::Branch(mut record))) => {
                    record.key.id = SessionId::generate();
                    destination.key = record.key.clone();
                    destination.goes_on_from = None;
                    destination.beginning = Beginning::Branch(record);
                    self.make_room(&destination.key, true).await;
                }
                Err(_) => {}
            }
            let permit = self.permit()?;
            bound = Bound { call, permit, detached: self.right_to_detach(is_background)? };
            tokio::task::yield_now().await;
        }
        Err(Failure::new(FailureKind::Overloaded, "the session is being put away; try again")
            .after(Duration::from_secs(1)))
    }

    fn prepare(
        &self,
        actor: &ActorRef<SessionMsg>,
        destination: &Destination,
        bound: Bound,
    ) -> (Submit, TurnReader, oneshot::Receiver<Result<(), Refused>>) {
        let Bound { call, permit, detached } = bound;
        let agent = call.route.backend.agent();
        let meta = TurnMeta {
            turn: TurnId::generate(),
            key: destination.key.clone(),
            model: call.model.clone(),
            created: SystemTime::now(),
            agent: agent.map(|(agent, alias)| (agent.to_owned(), alias.to_owned())),
            previous: call.request.hints.previous.clone(),
            is_background: call.request.is_background,
            is_kept: call.request.keeping == Keeping::Turn,
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
        let goes_on_from = destination.goes_on_from.clone();
        (Submit { writer, call, permit, detached, goes_on_from, reply }, reader, answer)
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| {
            self.env.metrics.rate_limited(Limit::TurnsInFlight);
            Failure::new(FailureKind::Overloaded, "too many turns are running")
                .after(Duration::from_secs(1))
        })
    }

    /// The right to run without a reader, for a turn that will have none.
    fn right_to_detach(&self, is_background: bool) -> Result<Option<Detached>, Failure> {
        if !is_background {
            return Ok(None);
        }
        let permit = Arc::clone(&self.env.detached).try_acquire_owned().map_err(|_| {
            Failure::new(FailureKind::Overloaded, "too many turns run in the background")
                .after(Duration::from_secs(5))
        })?;
        Ok(Some(Detached::new(permit, &self.env)))
    }

    async fn destination(&self, submission: &Submission) -> Result<Destination, Failure> {
        let tenant = &submission.tenant;
        let key = |id: SessionId| SessionKey { tenant: tenant.clone(), id };
        let request = &submission.request;
        let hints = &request.hints;
        let is_ephemeral = is_ephemeral(request);
        let fresh = || Destination {
            is_ephemeral,
            beginning: Beginning::New,
            is_new: true,
            ..Destination::named(key(SessionId::generate()))
        };
        if let Some(previous) = &hints.previous
            && hints.named.is_none()
        {
            let key = self.session_of(tenant, previous).await?;
            let goes_on_from = Some(previous.clone());
            return Ok(Destination { goes_on_from, is_ephemeral, ..Destination::named(key) });
        }
        if let Some(named) = &hints.named {
            return Ok(Destination::named(key(named.clone())));
        }
        let model = &submission.route.model;
        if model.session_per_key
            && let Some(id) = per_key(&submission.key_label, model.name.as_str())
        {
            return Ok(Destination::named(key(id)));
        }
        // What nothing is kept of does not go on in a session that is.
        if is_ephemeral || !self.env.config.session.match_transcripts || request.is_delta {
            return Ok(Destination { named: request.is_delta, ..fresh() });
        }
        let asked = request.model.as_ref().unwrap_or(&model.name);
        let speaker = hints.speaker.as_deref();
        let transcript = Transcript::of(tenant, asked, speaker, &request.messages);
        Ok(self.by_transcript(&transcript, fresh()).await)
    }

    /// The session that holds what is resended, or a new one.
    async fn by_transcript(&self, transcript: &Transcript, fresh: Destination) -> Destination {
        let base = Some(transcript.base);
        let found = match self.env.heads.claim(transcript) {
            // A head that this process does not know may be that of a session in the store.
            Found::Unknown if self.env.store.is_durable() => {
                let held = self.env.store.claim(vec![transcript.base]).await;
                match held {
                    Ok(Some((_, key))) if key.tenant == fresh.key.tenant => Found::Head(key),
                    _ => Found::Unknown,
                }
            }
            found => found,
        };
        let branches = found == Found::Passed;
        let fresh = Destination { named: false, branches, base, ..fresh };
        match found {
            Found::Head(held) => {
                let claimed = Some(transcript.base);
                Destination { named: false, base, claimed, ..Destination::named(held) }
            }
            Found::Passed | Found::Unknown | Found::Fresh => fresh,
        }
    }

    fn actor(
        &self,
        destination: &mut Destination,
        call: &Call,
    ) -> Result<ActorRef<SessionMsg>, Failure> {
        if let Some(actor) = self.env.directory.get(&destination.key) {
            return Ok(actor);
        }
        self.check_crowd()?;
        let beginning = std::mem::replace(&mut destination.beginning, Beginning::Load);
        self.spawn_with(&destination.key, call.model.clone(), beginning)
    }

    /// Has those that rest make room before the house is full.
    pub(super) fn check_crowd(&self) -> Result<(), Failure> {
        let crowd = self.env.directory.crowd(&self.env.config.session);
        if crowd.is_near() && self.env.directory.calls_for_room() {
            // The sweep is over before the next is called for.
            let _ = self.supervisor.cast(SupervisorMsg::Sweep);
        }
        if !crowd.is_full() {
            return Ok(());
        }
        self.env.metrics.rate_limited(Limit::ResidentSessions);
        Err(Failure::new(FailureKind::Overloaded, "too many sessions are active")
            .after(Duration::from_secs(5)))
    }

    /// The actor of a session, made where it has none.
    pub(super) fn spawn_with(
        &self,
        key: &SessionKey,
        model: ModelName,
        beginning: Beginning,
    ) -> Result<ActorRef<SessionMsg>, Failure> {
        let spawned = self.env.directory.get_or_spawn(key.clone(), |activity| {
            let env = Arc::clone(&self.env);
            let birth = Box::new(Birth { key: key.clone(), model, beginning, env, activity });
            let parent = self.supervisor.get_cell();
            let (actor, _) =
                ractor::ActorRuntime::spawn_linked_instant(None, SessionActor, birth, parent)?;
            Ok(actor)
        });
        spawned.map_err(|error: SpawnErr| {
            tracing::error!(%error, "a session's actor could not be spawned");
            Failure::internal()
        })
    }

    /// Does this while room is made: a store takes its time to count, and more to forget, and
    /// nobody waits for that.
    async fn beside_making_room<T>(
        &self,
        key: SessionKey,
        is_new: bool,
        handing: impl Future<Output = T>,
    ) -> T {
        let sessions = self.clone();
        let room = Box::pin(async move { sessions.make_room(&key, is_new).await });
        match select(pin!(handing), room).await {
            Either::Left((handed, room)) => {
                self.env.afterwards.spawn(room);
                handed
            }
            Either::Right(((), handing)) => handing.await,
        }
    }

    /// Lets the tenant's oldest session go when it has as many as it may, or as much, and one
    /// more comes.
    /// `is_new` says that this is surely not one of them.
    pub(super) async fn make_room(&self, key: &SessionKey, is_new: bool) {
        let Ok(census) = self.env.store.census(key.tenant.clone()).await else { return };
        let Some(oldest) = census.oldest else { return };
        let config = &self.env.config;
        let most = config.store.tenant_bytes.map_or(u64::MAX, |bytes| bytes as u64);
        if census.sessions < config.session.max_per_tenant && census.bytes <= most {
            return;
        }
        if !is_new && matches!(self.env.store.load(key.clone()).await, Ok(Some(_))) {
            return;
        }
        self.env.metrics.rate_limited(Limit::TenantSessions);
        if !self.has_gone(&oldest).await {
            self.let_another_go(key).await;
        }
    }

    /// Has a session go, unless a turn runs in it; says whether it is not in use.
    async fn has_gone(&self, key: &SessionKey) -> bool {
        let gone = self.forget(key, EndReason::Evicted).await;
        !gone.is_err_and(|failure| failure.kind == FailureKind::SessionBusy)
    }

    /// Lets the oldest session go that is neither in use nor this one.
    async fn let_another_go(&self, key: &SessionKey) {
        let tenant = Some(key.tenant.clone());
        let limit = BUSY_AT_MOST;
        let query = Query { tenant, limit, is_oldest_first: true, ..Query::default() };
        let Ok(oldest) = self.env.store.list(query).await else { return };
        for candidate in oldest.into_iter().filter(|it| it.key != *key) {
            if self.has_gone(&candidate.key).await {
                return;
            }
        }
    }
}

impl Destination {
    /// The session of this key, whoever may know it.
    fn named(key: SessionKey) -> Self {
        Self {
            key,
            named: true,
            branches: false,
            is_new: false,
            is_ephemeral: false,
            goes_on_from: None,
            beginning: Beginning::Load,
            base: None,
            claimed: None,
        }
    }
}

/// Whether nothing is kept of what a request brings.
fn is_ephemeral(request: &TurnRequest) -> bool {
    request.keeping == Keeping::Nothing && request.hints.named.is_none()
}

fn disconnect_policy(request: &TurnRequest, route: &Route) -> DisconnectPolicy {
    if request.is_background {
        return DisconnectPolicy::Detach { grace: None };
    }
    request.disconnect_policy.unwrap_or(route.model.disconnect_policy)
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
