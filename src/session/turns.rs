//! Turns looked up by their ids: those that run, those that ended lately, those in the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::metrics::StoreOp;
use crate::store::{StoredTurn, TurnRecord};
use crate::turn::{
    Failure, FailureKind, IdempotencyKey, ModelName, SessionKey, TenantId, TurnEvent, TurnId,
};

use super::actor::{Beginning, SessionMsg};
use super::conversation::Edit;
use super::manage::store_failed;
use super::turn_log::{TurnLog, TurnMeta, TurnReader};
use super::{ANSWER, Sessions};

impl Sessions {
    /// A reader of a tenant's turn that continues after the event numbered `after`.
    ///
    /// # Errors
    /// `TurnNotFound`, also for another tenant's, and when the turn ended too long ago.
    pub async fn resume(
        &self,
        tenant: &TenantId,
        turn: &TurnId,
        after: u64,
    ) -> Result<TurnReader, Failure> {
        let reader = match self.env.turns.follow(tenant, turn, after) {
            Some(reader) => reader,
            None => replay(self.stored(tenant, turn).await?.ok_or_else(no_turn)?).follow(after),
        };
        self.env.metrics.stream_resumed();
        Ok(reader)
    }

    /// The turn of a session that runs, or the next one to begin within so long.
    ///
    /// # Errors
    /// `SessionNotFound`, also for another tenant's; `TurnNotFound` when none has begun by then;
    /// `Overloaded` where too many wait.
    pub async fn next_turn(&self, key: &SessionKey, patience: Duration) -> Result<TurnId, Failure> {
        let waits = async {
            loop {
                self.read(key).await?;
                let actor = self.spawn_with(key, ModelName::none(), Beginning::Load)?;
                let (reply, answer) = oneshot::channel();
                // One that is gone, or goes before a turn begins, leaves it to the next.
                let _ = actor.cast(SessionMsg::NextTurn(reply));
                match answer.await {
                    Ok(answered) => return answered,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(patience, waits).await.unwrap_or_else(|_| Err(no_next_turn(patience)))
    }

    /// A tenant's turn that is kept, whether it runs or has ended.
    ///
    /// # Errors
    /// `ResponseNotFound`, also for another tenant's.
    pub async fn turn(&self, tenant: &TenantId, turn: &TurnId) -> Result<StoredTurn, Failure> {
        let stored = self.stored(tenant, turn).await?;
        let mut stored = stored.filter(|it| it.record.is_kept).ok_or_else(no_response)?;
        if stored.ended.is_none() {
            match self.env.turns.events(tenant, turn) {
                Some(events) => stored.events = events,
                // Whoever ran it is gone.
                None => stored.events.push(TurnEvent::Failed(Failure::internal())),
            }
        }
        Ok(stored)
    }

    /// Stops a turn that runs without its client, and waits until it has stopped.
    ///
    /// # Errors
    /// `ResponseNotFound`; `BadRequest` for one that is not in the background, or has ended
    /// otherwise.
    pub async fn cancel(&self, tenant: &TenantId, turn: &TurnId) -> Result<(), Failure> {
        let stored = self.turn(tenant, turn).await?;
        if !stored.record.is_background {
            let message = "only a response with background: true can be cancelled; close the \
                           stream of another one";
            return Err(Failure::new(FailureKind::BadRequest, message));
        }
        if let Some(actor) = self.env.directory.get(&stored.record.key) {
            let (reply, answer) = oneshot::channel();
            // One that is gone runs no turn.
            let _ = actor.cast(SessionMsg::Cancel(turn.clone(), reply));
            // It never waits for anything.
            let _ = tokio::time::timeout(ANSWER, answer).await;
        }
        let mut reader = self.env.turns.follow(tenant, turn, 0);
        let mut events = Vec::new();
        if let Some(reader) = &mut reader {
            let end = async { while reader.read(&mut events).await.is_some() {} };
            // A store that hangs holds the end back; the turn is stopped all the same.
            let _ = tokio::time::timeout(ANSWER, end).await;
        } else {
            events = stored.events;
        }
        match events.last() {
            Some(TurnEvent::Finished(crate::turn::FinishReason::Interrupted)) | None => Ok(()),
            Some(last) if last.is_last() => {
                let message = "the response has ended; only one that runs can be cancelled";
                Err(Failure::new(FailureKind::BadRequest, message))
            }
            Some(_) => Ok(()),
        }
    }

    /// Forgets a turn and takes what it brought out of its session; a session that nobody named
    /// ends with its last turn.
    ///
    /// # Errors
    /// `ResponseNotFound`, also for another tenant's; `SessionBusy` while a turn of the session
    /// runs.
    pub async fn remove_turn(&self, tenant: &TenantId, turn: &TurnId) -> Result<(), Failure> {
        let stored = self.turn(tenant, turn).await?;
        let key = &stored.record.key;
        match self.edit(key, Edit::RemoveTurn(turn.clone())).await {
            Ok(snapshot) if snapshot.record.messages.is_empty() && key.id.is_nobodys_choice() => {
                self.end(key).await?;
            }
            Ok(_) => {}
            // Nothing of it is left there.
            Err(failure)
                if matches!(
                    failure.kind,
                    FailureKind::TurnNotFound | FailureKind::SessionNotFound
                ) => {}
            Err(failure) => return Err(failure),
        }
        self.env.turns.drop_turn(turn);
        let removed = self.env.store.remove_turn(tenant.clone(), turn.clone()).await;
        removed.map(drop).map_err(|error| store_failed(&error))
    }

    /// Whether a turn that can be followed is one of this session's.
    #[must_use]
    pub fn is_turn_of(&self, key: &SessionKey, turn: &TurnId) -> bool {
        self.env.turns.is_of(key, turn)
    }

    /// The session of a turn that a request goes on from.
    ///
    /// # Errors
    /// `PreviousResponseNotFound` at `previous_response_id` for a turn that is unknown, another
    /// tenant's, not kept or not ended.
    pub async fn session_of(
        &self,
        tenant: &TenantId,
        previous: &TurnId,
    ) -> Result<SessionKey, Failure> {
        let refused = |message: &'static str| Failure {
            param: Some("previous_response_id".into()),
            ..Failure::new(FailureKind::PreviousResponseNotFound, message)
        };
        // Most go on from a turn that has just ended, which nobody has to be asked about.
        let known = match self.env.turns.standing(tenant, previous) {
            Some((meta, has_ended)) => Some((meta.key, meta.is_kept, has_ended)),
            None => self.stored(tenant, previous).await?.map(|stored| {
                let record = &stored.record;
                (record.key.clone(), record.is_kept, stored.ended.is_some())
            }),
        };
        match known {
            Some((key, true, true)) => Ok(key),
            Some((_, true, false)) => {
                Err(refused("that response has not ended; wait for it, or cancel it"))
            }
            Some((_, false, _)) | None => Err(refused(
                "no response of this id is kept; it was made with store: false, deleted, or \
                 never was",
            )),
        }
    }

    /// A reader of the turn that was asked for under the same name before, unless that failed.
    pub(super) async fn repeated(
        &self,
        tenant: &TenantId,
        named: &IdempotencyKey,
        known: Option<(TurnId, [u8; 32])>,
    ) -> Result<Option<TurnReader>, Failure> {
        let known = match known {
            Some(known) => Some(known),
            None => {
                let asked = self.env.store.repeated(tenant.clone(), Arc::clone(&named.key));
                asked.await.map_err(|error| store_failed(&error))?
            }
        };
        let Some((turn, fingerprint)) = known else { return Ok(None) };
        if fingerprint != named.fingerprint {
            return Err(Failure::new(
                FailureKind::IdempotencyKeyReused,
                "this idempotency key came with another request before; use a new one",
            )
            .at("Idempotency-Key"));
        }
        let events = match self.env.turns.events(tenant, &turn) {
            Some(events) => Some(events),
            None => self.stored(tenant, &turn).await?.map(|stored| stored.events),
        };
        match events {
            Some(events) if matches!(events.last(), Some(TurnEvent::Failed(_))) => Ok(None),
            Some(_) => self.resume(tenant, &turn, 0).await.map(|it| Some(it.of_a_repeat())),
            // It ended too long ago to be told again, and did what it did.
            None => Ok(None),
        }
    }

    async fn stored(
        &self,
        tenant: &TenantId,
        turn: &TurnId,
    ) -> Result<Option<StoredTurn>, Failure> {
        let timer = self.env.metrics.store_op(StoreOp::Turn);
        let stored = self.env.store.turn(tenant.clone(), turn.clone()).await;
        drop(timer);
        stored.map_err(|error| store_failed(&error))
    }
}

/// The log of a turn that nobody holds any more.
fn replay(stored: StoredTurn) -> Arc<TurnLog> {
    let record = TurnRecord::clone(&stored.record);
    let meta = TurnMeta {
        turn: record.turn,
        key: record.key,
        model: record.model,
        created: record.created,
        agent: record.agent,
        previous: record.previous,
        is_background: record.is_background,
        is_kept: record.is_kept,
        echo: record.echo,
    };
    TurnLog::replay(meta, stored.events)
}

fn no_turn() -> Failure {
    Failure::new(
        FailureKind::TurnNotFound,
        "no turn of this id can be resumed; it ended too long ago, or never was",
    )
}

fn no_next_turn(patience: Duration) -> Failure {
    let message =
        format!("no turn of this session began within {} seconds; ask again", patience.as_secs());
    Failure::new(FailureKind::TurnNotFound, message)
}

fn no_response() -> Failure {
    Failure::new(
        FailureKind::ResponseNotFound,
        "no response of this id is kept; it was made with store: false, deleted, or never was",
    )
}
