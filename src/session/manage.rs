//! Sessions that are asked for otherwise than by a turn.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use crate::backend::Route;
use crate::metrics::{EndReason, InterruptReason, StoreOp};
use crate::store::{Mark, Query, Record, Save, StoreError, Summary};
use crate::turn::{Failure, FailureKind, Message, ModelName, Role, SessionId, SessionKey, TurnId};

use super::actor::{Beginning, Interrupt, SessionMsg, Snapshot};
use super::conversation::Edit;
use super::{ANSWER, HANDOVERS, Sessions};

/// A session in a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The session.
    pub summary: Summary,
    /// What it is doing: `idle`, `running` or `passivated`.
    pub state: &'static str,
    /// Turns that wait.
    pub queued: usize,
}

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
                Ok(Snapshot { record, state: "passivated", running: None, queued: 0 })
            }
            Ok(None) => Err(no_session()),
            Err(error) => Err(store_failed(&error)),
        }
    }

    /// The sessions that are wanted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, query: Query) -> Result<Vec<Listed>, Failure> {
        let timer = self.env.metrics.store_op(StoreOp::List);
        let kept = self.env.store.list(query.clone()).await;
        drop(timer);
        let kept = kept.map_err(|error| store_failed(&error))?;
        let is_full = kept.len() >= query.limit;
        // Those with an actor may know more than the store, and some are not in it yet.
        let mut residents: HashSet<_> = kept
            .iter()
            .map(|kept| &kept.key)
            .filter(|key| self.is_resident(key))
            .cloned()
            .collect();
        if query.after.is_none() && !(query.is_oldest_first && is_full) {
            residents.extend(self.env.directory.of_tenant(query.tenant.as_ref(), query.limit));
        }
        let mut listed = Vec::new();
        for key in &residents {
            // One that ended meanwhile is not listed.
            let Ok(held) = self.read(key).await else { continue };
            if query.model.as_ref().is_none_or(|model| *model == held.record.model) {
                let (summary, state) = (held.record.summary(), held.state);
                listed.push(Listed { summary, state, queued: held.queued });
            }
        }
        let rest = kept.into_iter().filter(|kept| !residents.contains(&kept.key));
        listed.extend(rest.map(|summary| Listed { summary, state: "passivated", queued: 0 }));
        let place = |it: &Listed| (it.summary.last_active, it.summary.key.id.clone());
        if query.is_oldest_first {
            listed.sort_by_cached_key(place);
        } else {
            listed.sort_by_cached_key(|it| Reverse(place(it)));
        }
        listed.truncate(query.limit);
        Ok(listed)
    }

    fn is_resident(&self, key: &SessionKey) -> bool {
        self.env.directory.get(key).is_some()
    }

    /// Makes a session that nobody has spoken in.
    ///
    /// # Errors
    /// `SessionBusy` where there is one of this id; what the store says.
    pub async fn open(&self, opening: Opening) -> Result<Snapshot, Failure> {
        let Opening { key, model, metadata, messages } = opening;
        match self.read(&key).await {
            Ok(_) => {
                let message = "there is a session of this id; choose another, or leave it out";
                return Err(Failure::new(FailureKind::SessionBusy, message).at("id"));
            }
            Err(failure) if failure.kind == FailureKind::SessionNotFound => {}
            Err(failure) => return Err(failure),
        }
        self.make_room(&key, true).await;
        let now = SystemTime::now();
        let (system, said): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|message| message.role == Role::System);
        let end = said.len() as u64;
        let mark = Mark { turn: TurnId::generate(), end, is_answered: false };
        let record = Record {
            key,
            model: model.unwrap_or_else(ModelName::none),
            asked: None,
            moved: None,
            created_at: now,
            last_active: now,
            turns: 0,
            marks: if said.is_empty() { Vec::new() } else { vec![mark] },
            messages: said.into_iter().map(Arc::new).collect(),
            dropped: 0,
            system: system.into(),
            metadata,
            head: None,
            upstream: None,
            branches: 0,
        };
        self.found(record).await
    }

    /// Makes a session that begins with what another one held, up to the end of a turn.
    ///
    /// # Errors
    /// `SessionNotFound`, `TurnNotFound`; what the store says.
    pub async fn fork(&self, key: &SessionKey, upto: Option<TurnId>) -> Result<Snapshot, Failure> {
        let tenant = key.tenant.clone();
        let other = SessionKey { tenant, id: SessionId::generate() };
        let copied =
            self.ask(key, |reply| SessionMsg::Copy(Box::new((upto.clone(), other.clone())), reply));
        let record = copied.await??;
        self.make_room(&other, true).await;
        self.found(*record).await
    }

    /// Has the store keep a session that is new, and only then says that there is one.
    async fn found(&self, record: Record) -> Result<Snapshot, Failure> {
        let record = Arc::new(record);
        let timer = self.env.metrics.store_op(StoreOp::Save);
        let save = Save { record: Arc::clone(&record), unchanged: 0 };
        let saved = self.env.store.save(save).await;
        drop(timer);
        saved.map_err(|error| store_failed(&error))?;
        Ok(Snapshot { record, state: "passivated", running: None, queued: 0 })
    }

    /// Changes what a session holds.
    ///
    /// # Errors
    /// `SessionNotFound`, also for another tenant's; `SessionBusy` while a turn runs;
    /// `TurnNotFound` and `ConversationNotFound` for what is not in it.
    pub async fn edit(&self, key: &SessionKey, edit: Edit) -> Result<Snapshot, Failure> {
        let mut edit = Some(edit);
        self.read(key).await?;
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
        Err(try_again())
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
        self.ask(key, |reply| {
            let spoken = spoken.clone();
            let order = Interrupt { reason: InterruptReason::Request, spoken, reply };
            SessionMsg::Interrupt(Box::new(order))
        })
        .await
    }

    /// Sends a session's further turns to another model, which is given the transcript. A turn
    /// that runs goes on where it is.
    ///
    /// # Errors
    /// `SessionNotFound`, also for another tenant's.
    pub async fn move_to(&self, key: &SessionKey, to: Arc<Route>) -> Result<Snapshot, Failure> {
        self.read(key).await?;
        self.ask(key, |reply| SessionMsg::Move(to.model.name.clone(), reply)).await
    }

    /// Ends a session: stops its turn and forgets it.
    ///
    /// # Errors
    /// `SessionNotFound`, also for another tenant's.
    pub async fn end(&self, key: &SessionKey) -> Result<(), Failure> {
        self.read(key).await?;
        if self.forget(key, EndReason::Ended).await { Ok(()) } else { Err(try_again()) }
    }

    /// Has a session's actor end it; says whether it did.
    pub(super) async fn forget(&self, key: &SessionKey, reason: EndReason) -> bool {
        self.ask(key, |reply| SessionMsg::End(reason, reply)).await.unwrap_or(false)
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

fn no_session() -> Failure {
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
