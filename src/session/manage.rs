//! Sessions that are asked for otherwise than by a turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::backend::Route;
use crate::metrics::{EndReason, InterruptReason, StoreOp};
use crate::store::{Save, StoreError};
use crate::turn::{Failure, FailureKind, Message, ModelName, SessionId, SessionKey, TurnId};

use super::actor::{Beginning, Interrupt, SessionMsg, SessionState, Snapshot};
use super::conversation::Edit;
use super::{ANSWER, HANDOVERS, Sessions};

/// A session that is to be made before anybody speaks in it.
#[derive(Debug)]
pub struct Opening {
    /// Its id.
    pub key: SessionKey,
    /// Who is to answer; nobody is known yet where it is none.
    pub model: Option<ModelName>,
    /// The client's notes on it.
    pub metadata: BTreeMap<String, String>,
    /// What was said in it elsewhere, oldest first, with its instructions.
    pub messages: Vec<Message>,
}

impl Sessions {
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
        let timer = self.env.metrics.store_op(StoreOp::Load);
        let loaded = self.env.store.load(key.clone()).await;
        drop(timer);
        match loaded {
            Ok(Some(record)) => {
                Ok(Snapshot { record, state: SessionState::Passivated, running: None, queued: 0 })
            }
            Ok(None) => Err(no_session()),
            Err(error) => Err(store_failed(&error)),
        }
    }

    /// Makes a session that nobody has spoken in. It has an actor then, which is put away like
    /// any other.
    ///
    /// # Errors
    /// `SessionBusy` where there is one of this id; `BadRequest` for instructions that are longer
    /// than a session may be; what the store says.
    pub async fn open(&self, opening: Opening) -> Result<Snapshot, Failure> {
        let key = opening.key.clone();
        match self.read(&key).await {
            Ok(_) => return Err(exists()),
            Err(failure) if failure.kind == FailureKind::SessionNotFound => {}
            Err(failure) => return Err(failure),
        }
        self.check_crowd()?;
        self.make_room(&key, true).await;
        self.change(&key, Edit::Open(Box::new(opening))).await
    }

    /// Has the way opened to whoever may answer for a model, ahead of a turn. Nobody waits.
    pub fn warm(&self, route: &Arc<Route>) {
        for candidate in self.env.routes.candidates(route, None) {
            self.env.afterwards.spawn(candidate.backend.warm());
        }
    }

    /// Makes a session that begins with what another one held, up to the end of a turn.
    ///
    /// # Errors
    /// `SessionNotFound`, `TurnNotFound`; what the store says.
    pub async fn fork(&self, key: &SessionKey, upto: Option<TurnId>) -> Result<Snapshot, Failure> {
        self.read(key).await?;
        let tenant = key.tenant.clone();
        let other = SessionKey { tenant, id: SessionId::generate() };
        let copied =
            self.ask(key, |reply| SessionMsg::Copy(Box::new((upto.clone(), other.clone())), reply));
        let record = Arc::new(*copied.await??);
        self.make_room(&other, true).await;
        let timer = self.env.metrics.store_op(StoreOp::Save);
        let save = Save { record: Arc::clone(&record), unchanged: 0 };
        let saved = self.env.store.save(save).await;
        drop(timer);
        saved.map_err(|error| store_failed(&error))?;
        Ok(Snapshot { record, state: SessionState::Passivated, running: None, queued: 0 })
    }

    /// Changes what a session holds; done once the store has it.
    ///
    /// # Errors
    /// `SessionNotFound`, also for another tenant's; `SessionBusy` while a turn runs;
    /// `TurnNotFound` and `ConversationNotFound` for what is not in it; what the store says, which
    /// leaves the change to be kept later.
    pub async fn edit(&self, key: &SessionKey, edit: Edit) -> Result<Snapshot, Failure> {
        self.read(key).await?;
        self.change(key, edit).await
    }

    async fn change(&self, key: &SessionKey, edit: Edit) -> Result<Snapshot, Failure> {
        let mut edit = Some(edit);
        // Sent once: one that an actor on its way out did not take comes back unread.
        for _ in 0..HANDOVERS {
            let Some(wanted) = edit.take() else { break };
            let actor = self.spawn_with(key, ModelName::none(), Beginning::Load)?;
            let (reply, answer) = oneshot::channel();
            let sent = actor.cast(SessionMsg::Edit(Box::new(wanted), reply));
            if let Err(ractor::MessagingErr::SendErr(SessionMsg::Edit(unread, _))) = sent {
                edit = Some(*unread);
                tokio::task::yield_now().await;
                continue;
            }
            if let Ok(Ok(edited)) = tokio::time::timeout(ANSWER, answer).await {
                return edited;
            }
        }
        // It may have been taken all the same.
        Err(Failure { may_have_run: true, ..try_again() })
    }

    /// Stops a session's running turn, if one runs; `spoken` is what of the answer was heard.
    /// Done once the store has what was said.
    ///
    /// # Errors
    /// `SessionNotFound`, also for another tenant's; what the store says: the turn has stopped all
    /// the same, and is kept later.
    pub async fn interrupt(
        &self,
        key: &SessionKey,
        spoken: Option<String>,
    ) -> Result<Snapshot, Failure> {
        let held = self.read(key).await?;
        if held.state == SessionState::Passivated && spoken.is_none() {
            return Ok(held);
        }
        self.ask(key, |reply| {
            let spoken = spoken.clone();
            let order = Interrupt { reason: InterruptReason::Request, spoken, reply };
            SessionMsg::Interrupt(Box::new(order))
        })
        .await?
    }

    /// Sends a session's further turns to another model, which is given the transcript. A turn
    /// that runs goes on where it is. Done once the store has it.
    ///
    /// # Errors
    /// `SessionNotFound`, also for another tenant's; what the store says, which leaves the move to
    /// be kept later.
    pub async fn move_to(&self, key: &SessionKey, to: Arc<Route>) -> Result<Snapshot, Failure> {
        self.read(key).await?;
        self.ask(key, |reply| SessionMsg::Move(to.model.name.clone(), reply)).await?
    }

    /// Ends a session: stops its turn and forgets it.
    ///
    /// # Errors
    /// `SessionNotFound`, also for another tenant's; what the store says, which has it still then.
    pub async fn end(&self, key: &SessionKey) -> Result<(), Failure> {
        self.read(key).await?;
        self.forget(key, EndReason::Ended).await
    }

    /// Has a session's actor end it.
    pub(super) async fn forget(&self, key: &SessionKey, reason: EndReason) -> Result<(), Failure> {
        self.ask(key, |reply| SessionMsg::End(reason, reply)).await?
    }

    /// Asks a session's actor something, the next one where it met one on its way out.
    async fn ask<T>(
        &self,
        key: &SessionKey,
        message: impl Fn(oneshot::Sender<T>) -> SessionMsg,
    ) -> Result<T, Failure> {
        for _ in 0..HANDOVERS {
            // The record of one that is loaded tells its model.
            let actor = self.spawn_with(key, ModelName::none(), Beginning::Load)?;
            let (reply, answer) = oneshot::channel();
            // One that is gone does not answer.
            let _ = actor.cast(message(reply));
            match tokio::time::timeout(ANSWER, answer).await {
                Ok(Ok(answered)) => return Ok(answered),
                Ok(Err(_)) => tokio::task::yield_now().await,
                Err(_) => break,
            }
        }
        Err(try_again())
    }
}

pub(super) fn exists() -> Failure {
    let message = "there is a session of this id; choose another, or leave it out";
    Failure::new(FailureKind::SessionBusy, message).at("id")
}

pub(super) fn no_session() -> Failure {
    Failure::new(FailureKind::SessionNotFound, "no session of this id exists")
}

fn try_again() -> Failure {
    Failure::new(FailureKind::Overloaded, "the session does not answer; try again")
        .after(Duration::from_secs(1))
}

pub(super) fn store_failed(error: &StoreError) -> Failure {
    tracing::error!(%error, "the session store failed");
    Failure::new(FailureKind::StoreUnavailable, "the session store does not answer")
        .after(Duration::from_secs(2))
}
