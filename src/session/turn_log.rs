//! One turn's events: appended once, followed by many, resumed anywhere.
//!
//! Only the session's actor holds the [`TurnWriter`]. Any number of [`TurnReader`]s follow, each
//! at its own pace, from any sequence number; a slow one only lags behind. When the last reader
//! of a turn that still runs goes away, the actor is told.
//!
//! Sequence numbers count from 1; 0 stands before the first event.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use tokio::sync::Notify;

use crate::metrics::TurnMetrics;
use crate::store::LiveTurn;
use crate::turn::{Failure, ModelName, SessionKey, TurnEvent, TurnId};

/// What all readers of a turn may want to know of it.
#[derive(Debug, Clone)]
pub struct TurnMeta {
    /// The turn.
    pub turn: TurnId,
    /// Its session and tenant.
    pub key: SessionKey,
    /// The model as the client asked for it.
    pub model: ModelName,
    /// When the turn was asked for.
    pub created: SystemTime,
    /// The agent and its alias, where the backend has them.
    pub agent: Option<(String, String)>,
    /// The turn that it goes on from, where the client named one.
    pub previous: Option<TurnId>,
    /// Whether it runs without its client.
    pub is_background: bool,
    /// Whether it may be looked up, and gone on from, by its id.
    pub is_kept: bool,
    /// What the format that read the request keeps of it.
    pub echo: Option<Arc<str>>,
}

/// Where a turn's session came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Nobody had spoken here before.
    New,
    /// The session was there and went on.
    Continued,
    /// Its actor had been stopped; it came back from the store.
    Revived,
    /// Nothing was held of it; the transcript that came in seeds a new upstream session.
    Rehydrated,
    /// The transcript leaves the held one midway; a new branch goes on from there.
    Forked,
}

impl Origin {
    /// The value of `x-outcrop-session`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Continued => "continued",
            Self::Revived => "revived",
            Self::Rehydrated => "rehydrated",
            Self::Forked => "forked",
        }
    }
}

/// The moments that tell our share of a turn's time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    /// When the upstream was called.
    pub called: Option<Instant>,
    /// When its first visible event came.
    pub first_event: Option<Instant>,
}

/// Who answers a turn, and when that began.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The counts of the model that answers, which may be another one than was asked for.
    pub metrics: Arc<TurnMetrics>,
    /// The moments of its call.
    pub timing: Timing,
}

/// Tells the session that nobody follows a turn any more.
pub(super) type OnAbandoned = Box<dyn Fn() + Send + Sync>;

pub(super) struct TurnLog {
    meta: TurnMeta,
    state: Mutex<State>,
    grew: Notify,
    readers: AtomicUsize,
    on_abandoned: OnAbandoned,
}

#[derive(Default)]
struct State {
    events: Vec<TurnEvent>,
    weight: usize,
    ended: bool,
    origin: Option<Origin>,
    answered: Option<Answered>,
}

impl fmt::Debug for TurnLog {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TurnLog").field("turn", &self.meta.turn).finish_non_exhaustive()
    }
}

impl TurnLog {
    /// A log with its one writer.
    pub(super) fn begin(meta: TurnMeta, on_abandoned: OnAbandoned) -> (Arc<Self>, TurnWriter) {
        let log = Arc::new(Self {
            meta,
            state: Mutex::default(),
            grew: Notify::new(),
            readers: AtomicUsize::new(0),
            on_abandoned,
        });
        (Arc::clone(&log), TurnWriter { log })
    }

    /// The log of a turn that ended elsewhere or long ago.
    pub(super) fn replay(meta: TurnMeta, events: Vec<TurnEvent>) -> Arc<Self> {
        let (log, writer) = Self::begin(meta, Box::new(|| {}));
        writer.append(events);
        // Where the last event is missing, dropping the writer is the end.
        drop(writer);
        log
    }

    /// A reader that continues after the event numbered `after`.
    pub(super) fn follow(self: &Arc<Self>, after: u64) -> TurnReader {
        self.readers.fetch_add(1, Ordering::AcqRel);
        let next = usize::try_from(after).unwrap_or(usize::MAX);
        TurnReader { log: Arc::clone(self), next, is_repeat: false }
    }

    pub(super) fn meta(&self) -> &TurnMeta {
        &self.meta
    }

    pub(super) fn weight(&self) -> usize {
        self.state().weight
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state().ended
    }

    pub(super) fn has_readers(&self) -> bool {
        self.readers.load(Ordering::Acquire) > 0
    }

    /// Every change leaves the state whole, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveTurn for TurnLog {
    fn events_since(&self, after: usize) -> Vec<TurnEvent> {
        self.state().events.get(after..).unwrap_or_default().to_vec()
    }
}

/// Appends a turn's events; dropped before the end, it ends the turn as a failure of ours, so
/// that no reader waits for ever.
#[derive(Debug)]
pub(super) struct TurnWriter {
    log: Arc<TurnLog>,
}

impl TurnWriter {
    /// Appends events that came together; nothing after the last one.
    pub(super) fn append(&self, events: impl IntoIterator<Item = TurnEvent>) {
        let mut state = self.log.state();
        for event in events {
            if state.ended {
                break;
            }
            state.ended = event.is_last();
            state.weight += event.weight();
            state.events.push(event);
        }
        drop(state);
        self.log.grew.notify_waiters();
    }

    pub(super) fn set_origin(&self, origin: Origin) {
        self.log.state().origin = Some(origin);
    }

    pub(super) fn set_answered(&self, answered: Answered) {
        self.log.state().answered = Some(answered);
    }

    pub(super) fn log(&self) -> &Arc<TurnLog> {
        &self.log
    }
}

impl Drop for TurnWriter {
    fn drop(&mut self) {
        self.append([TurnEvent::Failed(Failure::internal())]);
    }
}

/// Follows a turn.
#[derive(Debug)]
pub struct TurnReader {
    log: Arc<TurnLog>,
    next: usize,
    is_repeat: bool,
}

impl TurnReader {
    /// Waits until there are events not yet read and moves them into `events`; returns the
    /// sequence number of the first of them, or `None` when the turn is over and all is read.
    ///
    /// Cancel safe: nothing is lost when the future is dropped.
    pub async fn read(&mut self, events: &mut Vec<TurnEvent>) -> Option<u64> {
        loop {
            let grew = self.log.grew.notified();
            tokio::pin!(grew);
            // Registered before looking, so that an append in between is not missed.
            grew.as_mut().enable();
            {
                let state = self.log.state();
                if let Some(fresh) = state.events.get(self.next..).filter(|rest| !rest.is_empty()) {
                    events.extend_from_slice(fresh);
                    let first = self.next as u64 + 1;
                    self.next = state.events.len();
                    return Some(first);
                }
                if state.ended {
                    return None;
                }
            }
            grew.await;
        }
    }

    /// The events before the point this reader continues from, for encoders that accumulate.
    #[must_use]
    pub fn already_read(&self) -> Vec<TurnEvent> {
        let state = self.log.state();
        let upto = self.next.min(state.events.len());
        state.events[..upto].to_vec()
    }

    /// The same reader for a request that came before.
    pub(super) fn of_a_repeat(mut self) -> Self {
        self.is_repeat = true;
        self
    }

    /// Whether the turn was asked for by an earlier request, of which this one is a repeat.
    #[must_use]
    pub fn is_repeat(&self) -> bool {
        self.is_repeat
    }

    /// The same reader before the first event.
    #[must_use]
    pub fn from_the_beginning(mut self) -> Self {
        self.next = 0;
        self
    }

    /// What the turn is.
    #[must_use]
    pub fn meta(&self) -> &TurnMeta {
        &self.log.meta
    }

    /// Where the session came from; known once the turn was started.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        self.log.state().origin
    }

    /// Who answers, from the first visible event on; none for a turn that ran long ago.
    #[must_use]
    pub fn answered(&self) -> Option<Answered> {
        self.log.state().answered.clone()
    }
}

impl Drop for TurnReader {
    fn drop(&mut self) {
        let was_last = self.log.readers.fetch_sub(1, Ordering::AcqRel) == 1;
        if was_last && !self.log.has_ended() {
            (self.log.on_abandoned)();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::turn::{FailureKind, FinishReason};

    fn log_with_flag() -> (Arc<TurnLog>, TurnWriter, Arc<AtomicBool>) {
        let abandoned = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&abandoned);
        let meta = TurnMeta {
            turn: TurnId::generate(),
            key: SessionKey { tenant: "acme".parse().unwrap(), id: "s".parse().unwrap() },
            model: "m".parse().unwrap(),
            created: SystemTime::now(),
            agent: None,
            previous: None,
            is_background: false,
            is_kept: false,
            echo: None,
        };
        let (log, writer) =
            TurnLog::begin(meta, Box::new(move || flag.store(true, Ordering::SeqCst)));
        (log, writer, abandoned)
    }

    fn text(piece: &str) -> TurnEvent {
        TurnEvent::Text(piece.into())
    }

    #[tokio::test]
    async fn two_readers_see_the_same_events_each_at_its_own_pace() {
        let (log, writer, _) = log_with_flag();
        let mut early = log.follow(0);
        writer.append([TurnEvent::Started, text("a")]);
        let mut events = Vec::new();
        assert_eq!(early.read(&mut events).await, Some(1));
        writer.append([text("b"), TurnEvent::Finished(FinishReason::Stop)]);
        assert_eq!(early.read(&mut events).await, Some(3));
        assert_eq!(early.read(&mut events).await, None);
        let mut late = Vec::new();
        assert_eq!(log.follow(0).read(&mut late).await, Some(1));
        assert_eq!(events, late);
    }

    #[tokio::test]
    async fn a_reader_resumes_after_the_number_it_names() {
        let (log, writer, _) = log_with_flag();
        writer.append([TurnEvent::Started, text("a"), text("b")]);
        let mut reader = log.follow(2);
        assert_eq!(reader.already_read(), [TurnEvent::Started, text("a")]);
        let mut events = Vec::new();
        assert_eq!(reader.read(&mut events).await, Some(3));
        assert_eq!(events, [text("b")]);
    }

    #[tokio::test]
    async fn a_reader_from_beyond_the_end_waits_or_ends_but_does_not_fail() {
        let (log, writer, _) = log_with_flag();
        writer.append([TurnEvent::Started]);
        let mut reader = log.follow(u64::MAX);
        let mut events = Vec::new();
        assert!(reader.read(&mut events).now_or_never().is_none());
        writer.append([TurnEvent::Finished(FinishReason::Stop)]);
        assert_eq!(reader.read(&mut events).await, None);
    }

    #[tokio::test]
    async fn nothing_is_appended_after_the_end() {
        let (log, writer, _) = log_with_flag();
        writer.append([TurnEvent::Started, TurnEvent::Finished(FinishReason::Interrupted)]);
        writer.append([text("late")]);
        let mut events = Vec::new();
        log.follow(0).read(&mut events).await;
        assert_eq!(events.len(), 2);
    }

    #[tokio::test]
    async fn a_writer_that_is_dropped_early_ends_the_turn_as_our_failure() {
        let (log, writer, _) = log_with_flag();
        drop(writer);
        let mut events = Vec::new();
        log.follow(0).read(&mut events).await;
        let [TurnEvent::Failed(failure)] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(failure.kind, FailureKind::Internal);
    }

    #[test]
    fn the_session_hears_when_the_last_reader_leaves_a_running_turn() {
        let (log, writer, abandoned) = log_with_flag();
        let (one, two) = (log.follow(0), log.follow(0));
        drop(one);
        assert!(!abandoned.load(Ordering::SeqCst));
        drop(two);
        assert!(abandoned.load(Ordering::SeqCst));
        drop(writer);
    }

    #[test]
    fn a_turn_that_has_ended_is_not_abandoned() {
        let (log, writer, abandoned) = log_with_flag();
        let reader = log.follow(0);
        writer.append([TurnEvent::Finished(FinishReason::Stop)]);
        drop(reader);
        assert!(!abandoned.load(Ordering::SeqCst));
    }
}
