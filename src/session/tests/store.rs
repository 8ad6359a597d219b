//! A store in memory that answers when it is told to, and fails when it is told to.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use tokio::sync::watch;

use crate::store::{
    Answer, Begin, Census, End, Expired, Health, MemoryStore, Query, Record, Save, SessionStore,
    StoreError, StoredTurn, Summary,
};
use crate::turn::{SessionKey, TenantId, TurnId};

/// How a store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// At once.
    Prompt,
    /// A little later than the call.
    Later,
    /// Not before it is in another mood.
    Silent,
    /// A little later, that it did not do what it was asked.
    Failing,
    /// The same, for good.
    Gone,
}

/// Such a store.
#[derive(Debug)]
pub(super) struct Moody {
    kept: MemoryStore,
    is_durable: bool,
    mood: watch::Sender<Mood>,
    /// How often it was asked about one session or turn.
    asked: watch::Sender<usize>,
}

impl Moody {
    /// Answers at once; what it keeps does not last.
    pub(super) fn forgetful() -> Self {
        Self::new(false, Mood::Prompt)
    }

    /// Answers later; what it keeps lasts.
    pub(super) fn lasting() -> Self {
        Self::new(true, Mood::Later)
    }

    /// Answers later, though what it keeps does not last.
    pub(super) fn late() -> Self {
        Self::new(false, Mood::Later)
    }

    fn new(is_durable: bool, mood: Mood) -> Self {
        let (mood, asked) = (watch::Sender::new(mood), watch::Sender::new(0));
        Self { kept: MemoryStore::default(), is_durable, mood, asked }
    }

    pub(super) fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// How often it was asked about one session or turn.
    pub(super) fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    /// Waits until it was asked so often.
    pub(super) async fn is_asked(&self, times: usize) {
        self.asked.subscribe().wait_for(|asked| *asked >= times).await.unwrap();
    }

    /// The session, as it is kept.
    pub(super) async fn record(&self, key: &SessionKey) -> Option<Arc<Record>> {
        self.kept.load(key.clone()).await.unwrap()
    }

    /// How many sessions it keeps of the one tenant.
    pub(super) async fn sessions(&self) -> usize {
        self.kept.census(TenantId::open()).await.unwrap().sessions
    }

    /// Answers what is asked about one session or turn.
    fn about_one<T: Send + 'static>(
        &self,
        work: impl FnOnce(&MemoryStore) -> Answer<T>,
    ) -> Answer<T> {
        self.asked.send_modify(|asked| *asked += 1);
        self.answer(work)
    }

    fn answer<T: Send + 'static>(&self, work: impl FnOnce(&MemoryStore) -> Answer<T>) -> Answer<T> {
        let mood = *self.mood.borrow();
        if mood == Mood::Prompt {
            return work(&self.kept);
        }
        // Done in the order of the calls, whenever it is told.
        let does = !matches!(mood, Mood::Failing | Mood::Gone);
        let done = does.then(|| work(&self.kept));
        let mut mood = self.mood.subscribe();
        async move {
            mood.wait_for(|mood| *mood != Mood::Silent).await.unwrap();
            tokio::task::yield_now().await;
            match done {
                Some(done) => done.await,
                None => Err(StoreError("it was told to fail".to_owned())),
            }
        }
        .boxed()
    }
}

impl SessionStore for Moody {
    fn is_durable(&self) -> bool {
        self.is_durable
    }

    fn health(&self) -> Health {
        match *self.mood.borrow() {
            Mood::Gone => Health::Gone,
            Mood::Failing => Health::Failing {
                since: Duration::from_secs(60),
                why: StoreError("it was told to fail".to_owned()),
            },
            Mood::Prompt | Mood::Later | Mood::Silent => Health::Well,
        }
    }

    fn load(&self, key: SessionKey) -> Answer<Option<Arc<Record>>> {
        self.about_one(|kept| kept.load(key))
    }

    fn save(&self, save: Save) -> Answer<()> {
        self.about_one(|kept| kept.save(save))
    }

    fn remove(&self, key: SessionKey) -> Answer<bool> {
        self.about_one(|kept| kept.remove(key))
    }

    fn list(&self, query: Query) -> Answer<Vec<Summary>> {
        self.answer(|kept| kept.list(query))
    }

    fn census(&self, tenant: TenantId) -> Answer<Census> {
        self.answer(|kept| kept.census(tenant))
    }

    fn beyond(&self, bytes: u64, limit: usize) -> Answer<Vec<TenantId>> {
        self.answer(|kept| kept.beyond(bytes, limit))
    }

    fn expired(&self, before: SystemTime, limit: usize) -> Answer<Vec<Expired>> {
        self.answer(|kept| kept.expired(before, limit))
    }

    fn claim(&self, heads: Vec<[u8; 32]>) -> Answer<Option<([u8; 32], SessionKey)>> {
        self.answer(|kept| kept.claim(heads))
    }

    fn begin(&self, begin: Begin) -> Answer<()> {
        self.about_one(|kept| kept.begin(begin))
    }

    fn end(&self, end: End) -> Answer<()> {
        self.about_one(|kept| kept.end(end))
    }

    fn turn(&self, tenant: TenantId, turn: TurnId) -> Answer<Option<StoredTurn>> {
        self.about_one(|kept| kept.turn(tenant, turn))
    }

    fn remove_turn(&self, tenant: TenantId, turn: TurnId) -> Answer<bool> {
        self.about_one(|kept| kept.remove_turn(tenant, turn))
    }

    fn repeated(&self, tenant: TenantId, key: Arc<str>) -> Answer<Option<(TurnId, [u8; 32])>> {
        self.about_one(|kept| kept.repeated(tenant, key))
    }

    fn sweep_turns(&self, before: SystemTime) -> Answer<usize> {
        self.answer(|kept| kept.sweep_turns(before))
    }
}
