//! The sessions that the agents remember, with the service's idle time.
//!
//! A session that is unknown or has been idle for too long starts blank, without an error. One
//! call at a time may hold a session's [`Seat`]. When sessions get too many or remember too much,
//! the ones idle for longest are forgotten.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

mod session;

use session::State;

pub(super) use session::{Session, SessionKey};

/// Sessions remembered at once.
const MAX_SESSIONS: usize = 200_000;
/// What all sessions together remember, in bytes.
const MAX_BYTES: usize = 256 << 20;
/// Sessions shown by [`Sessions::shown`].
const MAX_SHOWN: usize = 1_000;
/// How long a call waits for a session to be free before it is a conflict. The end of a
/// connection that its client has closed is noticed a moment later, and a client that has hung
/// up on one call may begin the next at once.
const CONFLICT_GRACE: Duration = Duration::from_millis(10);

/// All sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    held: Mutex<Held>,
    idle_ttl: Duration,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Held {
    by_key: HashMap<Arc<SessionKey>, Session>,
    /// Sessions without a call, longest idle first.
    idle: BTreeMap<u64, Arc<SessionKey>>,
    next_ticket: u64,
    bytes: usize,
    peak: u32,
}

impl Sessions {
    /// No sessions yet; each will be forgotten after `idle_ttl` without a call.
    pub(super) fn new(idle_ttl: Duration) -> Self {
        Self { held: Mutex::default(), idle_ttl, freed: Notify::new() }
    }

    /// Takes the session's seat, or `None` when another call holds it and does not end at once.
    pub(super) async fn enter(self: &Arc<Self>, key: SessionKey) -> Option<Seat> {
        let key = Arc::new(key);
        let seat = |ticket| Seat { sessions: Arc::clone(self), key: Arc::clone(&key), ticket };
        if let Some(ticket) = self.take(&key) {
            return Some(seat(ticket));
        }
        let _rival = Rival::new(self, &key);
        let attempts = async {
            loop {
                let freed = self.freed.notified();
                if let Some(ticket) = self.take(&key) {
                    return seat(ticket);
                }
                freed.await;
            }
        };
        let seat = timeout(CONFLICT_GRACE, attempts).await.ok();
        if seat.is_none() {
            self.lock().conflict(&key);
        }
        seat
    }

    /// Forgets a session, also while a call holds it; says whether there was one.
    pub(super) fn stop(&self, key: &SessionKey) -> bool {
        let is_stopped = self.lock().stop(key);
        self.freed.notify_waiters();
        is_stopped
    }

    /// Forgets everything; calls under way keep running and change nothing when they end.
    pub(super) fn reset(&self) {
        let mut held = self.lock();
        let next_ticket = held.next_ticket;
        *held = Held { next_ticket, ..Held::default() };
        drop(held);
        self.freed.notify_waiters();
    }

    /// The sessions as JSON, the latest used first, and how many there are.
    pub(super) fn shown(&self) -> (Vec<Value>, usize) {
        let held = self.lock();
        let mut sessions: Vec<_> = held.by_key.iter().collect();
        sessions.sort_by_key(|(_, session)| std::cmp::Reverse(session.last_used));
        let shown = sessions.iter().take(MAX_SHOWN).map(|(key, session)| session.shown(key));
        (shown.collect(), held.by_key.len())
    }

    /// Most calls at once on any one session.
    pub(super) fn peak(&self) -> u32 {
        self.lock().peak
    }

    fn take(&self, key: &Arc<SessionKey>) -> Option<u64> {
        self.lock().take(key, self.idle_ttl, Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Makes the session busy and returns the call's ticket; `None` when it is busy already.
    fn take(&mut self, key: &Arc<SessionKey>, ttl: Duration, now: Instant) -> Option<u64> {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let session = self
            .by_key
            .entry(Arc::clone(key))
            .or_insert_with(|| Session::new(State::Busy(ticket), now));
        match session.state {
            State::Idle(place) => {
                self.idle.remove(&place);
            }
            State::Busy(holder) if holder != ticket => return None,
            State::Busy(_) => {}
        }
        if now.duration_since(session.last_used) > ttl {
            session.forget();
        }
        session.state = State::Busy(ticket);
        session.last_used = now;
        session.peak = 1;
        self.peak = self.peak.max(1);
        self.evict(ttl, now);
        Some(ticket)
    }

    /// Forgets idle sessions: those past their time, and the oldest while there is too much.
    fn evict(&mut self, ttl: Duration, now: Instant) {
        while let Some((&place, key)) = self.idle.first_key_value() {
            let is_full = self.by_key.len() > MAX_SESSIONS || self.bytes > MAX_BYTES;
            let is_old = self
                .by_key
                .get(key)
                .is_none_or(|session| now.duration_since(session.last_used) > ttl);
            if !is_full && !is_old {
                return;
            }
            if let Some(session) = self.by_key.remove(key) {
                self.bytes = self.bytes.saturating_sub(session.weight);
            }
            self.idle.remove(&place);
        }
    }

    fn stop(&mut self, key: &SessionKey) -> bool {
        let Some(session) = self.by_key.remove(key) else { return false };
        self.bytes = self.bytes.saturating_sub(session.weight);
        if let State::Idle(place) = session.state {
            self.idle.remove(&place);
        }
        true
    }

    fn conflict(&mut self, key: &SessionKey) {
        if let Some(session) = self.by_key.get_mut(key) {
            session.peak = session.peak.max(1 + session.rivals);
            self.peak = self.peak.max(session.peak);
        }
    }

    fn release(&mut self, key: &Arc<SessionKey>, ticket: u64, now: Instant) {
        let Some(session) = self.by_key.get_mut(key) else { return };
        if session.state != State::Busy(ticket) {
            return;
        }
        self.bytes = self.bytes.saturating_sub(session.weight);
        if session.ending {
            self.by_key.remove(key);
            return;
        }
        session.weight = session.weigh();
        self.bytes += session.weight;
        session.last_used = now;
        self.next_ticket += 1;
        session.state = State::Idle(self.next_ticket);
        self.idle.insert(self.next_ticket, Arc::clone(key));
    }
}

/// The right of one call to a session; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    sessions: Arc<Sessions>,
    key: Arc<SessionKey>,
    ticket: u64,
}

impl Seat {
    /// Lets the call work on its session; `None` when all sessions were reset meanwhile.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let mut held = self.sessions.lock();
        let session = held.by_key.get_mut(&self.key)?;
        (session.state == State::Busy(self.ticket)).then(|| work(session))
    }

    /// Most calls at once on the session while this one ran.
    pub(super) fn peak(&self) -> u32 {
        self.with(|session| session.peak).unwrap_or(1)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.sessions.lock().release(&self.key, self.ticket, Instant::now());
        self.sessions.freed.notify_waiters();
    }
}

/// Counts a call among those that wait for a session.
struct Rival<'a> {
    sessions: &'a Sessions,
    key: &'a SessionKey,
}

impl<'a> Rival<'a> {
    fn new(sessions: &'a Sessions, key: &'a SessionKey) -> Self {
        if let Some(session) = sessions.lock().by_key.get_mut(key) {
            session.rivals += 1;
        }
        Self { sessions, key }
    }
}

impl Drop for Rival<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.sessions.lock().by_key.get_mut(self.key) {
            session.rivals = session.rivals.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::demo_agent::Memory;

    const TTL: Duration = Duration::from_secs(600);

    fn key(session: &str) -> SessionKey {
        SessionKey { agent: "AGENT".into(), alias: "ALIAS".into(), session: session.into() }
    }

    #[tokio::test]
    async fn a_session_remembers_from_call_to_call() {
        let sessions = Arc::new(Sessions::new(TTL));
        let first = sessions.enter(key("one")).await.unwrap();
        first.with(|session| session.memory.listen("I am Ann")).unwrap();
        drop(first);
        let second = sessions.enter(key("one")).await.unwrap();
        assert_eq!(second.with(|session| session.memory.name.clone()).unwrap().unwrap(), "Ann");
        let other = sessions.enter(key("two")).await.unwrap();
        assert_eq!(other.with(|session| session.memory.name.clone()).unwrap(), None);
    }

    #[tokio::test]
    async fn a_second_call_at_once_is_a_conflict_and_is_counted() {
        let sessions = Arc::new(Sessions::new(TTL));
        let first = sessions.enter(key("one")).await.unwrap();
        assert!(sessions.enter(key("one")).await.is_none());
        assert_eq!((first.peak(), sessions.peak()), (2, 2));
    }

    #[tokio::test]
    async fn a_call_that_ends_at_once_makes_room_for_the_next() {
        let sessions = Arc::new(Sessions::new(TTL));
        let first = sessions.enter(key("one")).await.unwrap();
        let (second, ()) = tokio::join!(sessions.enter(key("one")), async {
            tokio::task::yield_now().await;
            drop(first);
        });
        assert!(second.is_some());
        assert_eq!(sessions.peak(), 1);
    }

    #[test]
    fn a_session_idle_for_too_long_starts_blank() {
        let mut held = Held::default();
        let (one, start) = (Arc::new(key("one")), Instant::now());
        let ticket = held.take(&one, TTL, start).unwrap();
        held.by_key.get_mut(&one).unwrap().memory.listen("I am Ann");
        held.release(&one, ticket, start);
        let ticket = held.take(&one, TTL, start + TTL).unwrap();
        assert_eq!(held.by_key[&one].memory.turns, 1);
        held.release(&one, ticket, start + TTL);
        held.take(&one, TTL, start + TTL * 3).unwrap();
        assert_eq!(held.by_key[&one].memory, Memory::default());
    }

    #[test]
    fn idle_sessions_past_their_time_are_forgotten_when_others_are_used() {
        let mut held = Held::default();
        let start = Instant::now();
        for name in ["one", "two"] {
            let key = Arc::new(key(name));
            let ticket = held.take(&key, TTL, start).unwrap();
            held.release(&key, ticket, start);
        }
        held.take(&Arc::new(key("three")), TTL, start + TTL * 2).unwrap();
        assert_eq!((held.by_key.len(), held.idle.len(), held.bytes), (1, 0, 0));
    }

    #[test]
    fn the_longest_idle_session_makes_room_when_too_much_is_remembered() {
        let mut held = Held::default();
        let now = Instant::now();
        for name in ["one", "two"] {
            let key = Arc::new(key(name));
            let ticket = held.take(&key, TTL, now).unwrap();
            held.release(&key, ticket, now);
        }
        let excess = MAX_BYTES + 1 - held.bytes;
        held.bytes += excess;
        held.take(&Arc::new(key("three")), TTL, now).unwrap();
        let names: Vec<_> = held.by_key.keys().map(|key| key.session.as_str()).collect();
        assert!(!names.contains(&"one") && names.contains(&"three"), "{names:?}");
    }

    #[tokio::test]
    async fn an_ended_session_is_forgotten_when_its_call_ends() {
        let sessions = Arc::new(Sessions::new(TTL));
        let seat = sessions.enter(key("one")).await.unwrap();
        seat.with(|session| session.ending = true).unwrap();
        assert_eq!(sessions.shown().1, 1);
        drop(seat);
        assert_eq!(sessions.shown().1, 0);
    }

    #[tokio::test]
    async fn a_stopped_session_is_forgotten_at_once_also_while_a_call_holds_it() {
        let sessions = Arc::new(Sessions::new(TTL));
        let seat = sessions.enter(key("one")).await.unwrap();
        seat.with(|session| session.memory.listen("I am Ann")).unwrap();
        assert!(sessions.stop(&key("one")));
        assert!(!sessions.stop(&key("one")));
        let next = sessions.enter(key("one")).await.unwrap();
        drop(seat);
        assert_eq!(next.with(|session| session.memory.name.clone()).unwrap(), None);
        drop(next);
        assert!(sessions.stop(&key("one")));
        assert_eq!((sessions.shown().1, sessions.lock().idle.len()), (0, 0));
    }

    #[tokio::test]
    async fn a_call_from_before_a_reset_frees_nothing_when_it_ends() {
        let sessions = Arc::new(Sessions::new(TTL));
        let before = sessions.enter(key("one")).await.unwrap();
        sessions.reset();
        let after = sessions.enter(key("one")).await.unwrap();
        drop(before);
        assert!(after.with(|_| ()).is_some());
    }
}
