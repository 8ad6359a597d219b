//! A list of calls: how many there were, how each ended, and the latest of them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use serde::Serialize;

use super::playback::Audience;

/// Calls kept with what they asked.
const KEPT_CALLS: usize = 200;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ending {
    /// Its answer was sent whole.
    Ok,
    /// The client hung up before that.
    Disconnected,
    /// It was refused, or its answer broke off by design.
    Fault,
}

/// What became of a call.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Fate {
    /// The HTTP status, once there is one.
    status: Option<u16>,
    started_ms: u64,
    /// When it ended, in milliseconds of Unix time.
    pub(super) ended_ms: Option<u64>,
    /// How.
    pub(super) ended: Option<Ending>,
}

impl Fate {
    /// That of a call that has just come in.
    pub(super) fn open() -> Self {
        Self { status: None, started_ms: unix_ms(), ended_ms: None, ended: None }
    }
}

/// What is kept of a call.
pub(super) trait Record: Clone + fmt::Debug {
    /// What became of it.
    fn fate(&mut self) -> &mut Fate;
}

/// How many calls there were since the start or the last reset.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    /// All.
    pub(super) all: u64,
    /// Calls being answered now, those from before a reset too.
    pub(super) open: u64,
    /// Calls whose client hung up.
    pub(super) disconnected: u64,
    /// When that last happened, in milliseconds of Unix time.
    pub(super) last_disconnect_ms: Option<u64>,
}

/// The calls to one service.
#[derive(Debug)]
pub(super) struct Ledger<R> {
    pages: Mutex<Pages<R>>,
}

#[derive(Debug)]
struct Pages<R> {
    totals: Totals,
    /// The latest calls by their ids, which have no gaps.
    recent: VecDeque<(u64, R)>,
    next_id: u64,
    /// The first call since the last reset.
    since: u64,
}

impl<R> Default for Ledger<R> {
    fn default() -> Self {
        let pages =
            Pages { totals: Totals::default(), recent: VecDeque::new(), next_id: 0, since: 0 };
        Self { pages: Mutex::new(pages) }
    }
}

impl<R: Record> Ledger<R> {
    /// Takes down that a call has come in.
    pub(super) fn enter(self: &Arc<Self>, record: R) -> Entry<R> {
        let mut pages = self.lock();
        let id = pages.next_id;
        pages.next_id += 1;
        pages.totals.all += 1;
        pages.totals.open += 1;
        if pages.recent.len() == KEPT_CALLS {
            pages.recent.pop_front();
        }
        pages.recent.push_back((id, record));
        Entry { ledger: Arc::clone(self), id, is_over: false }
    }

    /// Forgets everything but how many calls are open.
    pub(super) fn reset(&self) {
        let mut pages = self.lock();
        let (open, next_id) = (pages.totals.open, pages.next_id);
        let totals = Totals { open, ..Totals::default() };
        *pages = Pages { totals, recent: VecDeque::new(), next_id, since: next_id };
    }

    /// The totals, and the latest calls, oldest first.
    pub(super) fn read(&self) -> (Totals, Vec<R>) {
        let pages = self.lock();
        let recent = pages.recent.iter().map(|(_, record)| record.clone());
        (pages.totals.clone(), recent.collect())
    }
}

impl<R> Ledger<R> {
    fn lock(&self) -> MutexGuard<'_, Pages<R>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Pages<R> {
    /// The call with this id, unless it is too old or from before a reset.
    fn record(&mut self, id: u64) -> Option<&mut R> {
        let first = self.recent.front()?.0;
        let place = usize::try_from(id.checked_sub(first)?).ok()?;
        self.recent.get_mut(place).map(|(_, record)| record)
    }
}

/// A call that is being answered. Dropped before its end, it was left by its client.
#[derive(Debug)]
pub(super) struct Entry<R: Record> {
    ledger: Arc<Ledger<R>>,
    id: u64,
    is_over: bool,
}

impl<R: Record> Entry<R> {
    /// Takes something down, unless the call is forgotten already.
    pub(super) fn note(&self, note: impl FnOnce(&mut R)) {
        if let Some(record) = self.ledger.lock().record(self.id) {
            note(record);
        }
    }
}

impl<R: Record> Audience for Entry<R> {
    fn answered(&self, status: StatusCode) {
        self.note(|record| record.fate().status = Some(status.as_u16()));
    }

    fn end(&mut self, ending: Ending) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let now = unix_ms();
        let mut pages = self.ledger.lock();
        pages.totals.open = pages.totals.open.saturating_sub(1);
        if ending == Ending::Disconnected && self.id >= pages.since {
            pages.totals.disconnected += 1;
            pages.totals.last_disconnect_ms = Some(now);
        }
        if let Some(record) = pages.record(self.id) {
            let fate = record.fate();
            fate.ended = Some(ending);
            fate.ended_ms = Some(now);
        }
    }
}

impl<R: Record> Drop for Entry<R> {
    fn drop(&mut self) {
        self.end(Ending::Disconnected);
    }
}

/// Milliseconds since 1970.
fn unix_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone)]
    struct Call(Fate);

    impl Record for Call {
        fn fate(&mut self) -> &mut Fate {
            &mut self.0
        }
    }

    fn call() -> Call {
        Call(Fate::open())
    }

    #[test]
    fn a_call_that_is_dropped_was_left_by_its_client() {
        let calls = Arc::new(Ledger::default());
        drop(calls.enter(call()));
        let (totals, calls) = calls.read();
        assert_eq!((totals.all, totals.open, totals.disconnected), (1, 0, 1));
        assert_eq!(calls[0].0.ended, Some(Ending::Disconnected));
        assert_eq!(calls[0].0.ended_ms, totals.last_disconnect_ms);
    }

    #[test]
    fn a_call_ends_once() {
        let calls = Arc::new(Ledger::default());
        let mut entry = calls.enter(call());
        entry.end(Ending::Ok);
        drop(entry);
        let (totals, calls) = calls.read();
        assert_eq!(totals.disconnected, 0);
        assert_eq!(calls[0].0.ended, Some(Ending::Ok));
    }

    #[test]
    fn only_the_latest_calls_are_kept_and_all_are_counted() {
        let calls = Arc::new(Ledger::default());
        let mut first = calls.enter(call());
        for _ in 0..KEPT_CALLS {
            calls.enter(call()).end(Ending::Fault);
        }
        first.end(Ending::Ok);
        let (totals, calls) = calls.read();
        assert_eq!((calls.len(), totals.all), (KEPT_CALLS, KEPT_CALLS as u64 + 1));
        assert!(calls.iter().all(|call| call.0.ended == Some(Ending::Fault)));
    }

    #[test]
    fn a_call_from_before_a_reset_stays_open_and_ends_unseen() {
        let calls = Arc::new(Ledger::default());
        let mut early = calls.enter(call());
        calls.reset();
        assert_eq!(calls.read().0.open, 1);
        early.end(Ending::Ok);
        let (totals, _) = calls.read();
        assert_eq!((totals.open, totals.all), (0, 0));
    }
}
