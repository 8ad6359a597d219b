//! What the emulator saw: how many calls, how each ended, and what the latest ones asked.
//!
//! Tests read it at `GET /_emulator/state`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

use super::playback::Audience;
use super::sessions::{Seat, SessionKey};

/// Calls kept with what they asked.
const KEPT_CALLS: usize = 200;
/// What is kept of an input text, in characters.
const KEPT_TEXT: usize = 2_000;

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

/// What a call asked.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Asked {
    /// The message, shortened.
    pub(super) input_text: Option<String>,
    /// Messages of `conversationHistory`.
    pub(super) history_messages: usize,
    /// Whether traces were asked for.
    pub(super) has_trace: bool,
    /// Whether the answer was to be streamed.
    pub(super) stream: bool,
    /// `endSession`
    pub(super) end_session: bool,
    /// Results of actions that were handed in.
    pub(super) results: usize,
    /// `sessionAttributes` as sent.
    pub(super) attributes: BTreeMap<String, String>,
    /// `promptSessionAttributes` as sent.
    pub(super) prompt_attributes: BTreeMap<String, String>,
}

impl Asked {
    /// What is kept of a message.
    pub(super) fn shortened(text: &str) -> String {
        text.chars().take(KEPT_TEXT).collect()
    }
}

/// Tokens that a trace told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spent {
    /// The collaborator who took them; `None` for the agent itself.
    pub(super) collaborator: Option<String>,
    /// Tokens read.
    pub(super) input: u64,
    /// Tokens written.
    pub(super) output: u64,
}

/// A sum of tokens over the traces of a call.
#[derive(Debug, Clone, Default, Serialize)]
struct Tokens {
    input_tokens: u64,
    output_tokens: u64,
}

impl Tokens {
    fn add(&mut self, spent: &Spent) {
        self.input_tokens = self.input_tokens.saturating_add(spent.input);
        self.output_tokens = self.output_tokens.saturating_add(spent.output);
    }
}

#[derive(Debug, Clone, Serialize)]
struct Call {
    session: String,
    agent: String,
    alias: String,
    operation: Option<&'static str>,
    #[serde(flatten)]
    asked: Asked,
    /// The request body, unless it is too large.
    body: Option<Box<RawValue>>,
    /// The HTTP status, once there is one.
    status: Option<u16>,
    started_ms: u64,
    ended_ms: Option<u64>,
    ended: Option<Ending>,
    max_concurrent_per_session: u32,
    /// All that was told in traces.
    usage: Tokens,
    /// What collaborators took of it, by their names.
    collaborators: BTreeMap<String, Tokens>,
}

/// The totals and the latest calls, as they are shown.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Shown {
    /// Calls since the start or the last reset.
    calls_total: u64,
    /// Calls being answered now.
    calls_open: u64,
    /// Calls whose client hung up.
    disconnected: u64,
    /// When that last happened, in milliseconds of Unix time.
    last_disconnect_ms: Option<u64>,
    /// The latest calls, oldest first.
    calls: Vec<Call>,
}

/// The log of calls.
#[derive(Debug, Default)]
pub(super) struct Calls {
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    total: u64,
    open: u64,
    disconnected: u64,
    last_disconnect_ms: Option<u64>,
    recent: VecDeque<(u64, Call)>,
    next_id: u64,
    /// The first call since the last reset.
    since: u64,
}

impl Calls {
    /// Takes down that a call has come in.
    pub(super) fn open(self: &Arc<Self>, key: &SessionKey) -> OpenCall {
        let call = Call {
            session: key.session.clone(),
            agent: key.agent.clone(),
            alias: key.alias.clone(),
            operation: None,
            asked: Asked::default(),
            body: None,
            status: None,
            started_ms: unix_ms(),
            ended_ms: None,
            ended: None,
            max_concurrent_per_session: 1,
            usage: Tokens::default(),
            collaborators: BTreeMap::new(),
        };
        let mut log = self.lock();
        let id = log.next_id;
        log.next_id += 1;
        log.total += 1;
        log.open += 1;
        if log.recent.len() == KEPT_CALLS {
            log.recent.pop_front();
        }
        log.recent.push_back((id, call));
        OpenCall { calls: Arc::clone(self), id, seat: None, is_over: false }
    }

    /// Forgets everything but how many calls are open.
    pub(super) fn reset(&self) {
        let mut log = self.lock();
        let (open, next_id) = (log.open, log.next_id);
        *log = Log { open, next_id, since: next_id, ..Log::default() };
    }

    /// What is to be shown.
    pub(super) fn shown(&self) -> Shown {
        let log = self.lock();
        Shown {
            calls_total: log.total,
            calls_open: log.open,
            disconnected: log.disconnected,
            last_disconnect_ms: log.last_disconnect_ms,
            calls: log.recent.iter().map(|(_, call)| call.clone()).collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// The call with this id, unless it is too old or from before a reset.
    fn call(&mut self, id: u64) -> Option<&mut Call> {
        let first = self.recent.front()?.0;
        let place = usize::try_from(id.checked_sub(first)?).ok()?;
        self.recent.get_mut(place).map(|(_, call)| call)
    }
}

/// A call that is being answered. Dropped before its end, it was left by its client.
#[derive(Debug)]
pub(super) struct OpenCall {
    calls: Arc<Calls>,
    id: u64,
    seat: Option<Seat>,
    is_over: bool,
}

impl OpenCall {
    /// Takes down for which operation the call is, and its body as it is to be shown.
    pub(super) fn sends(&self, operation: &'static str, body: Option<Box<RawValue>>) {
        if let Some(call) = self.calls.lock().call(self.id) {
            (call.operation, call.body) = (Some(operation), body);
        }
    }

    /// Takes down what the call asks.
    pub(super) fn asks(&self, asked: Asked) {
        if let Some(call) = self.calls.lock().call(self.id) {
            call.asked = asked;
        }
    }

    /// Keeps the session's seat until the call ends.
    pub(super) fn hold(&mut self, seat: Seat) {
        self.seat = Some(seat);
    }
}

impl Audience for OpenCall {
    fn answered(&self, status: StatusCode) {
        if let Some(call) = self.calls.lock().call(self.id) {
            call.status = Some(status.as_u16());
        }
    }

    fn spends(&self, spent: &Spent) {
        if let Some(call) = self.calls.lock().call(self.id) {
            call.usage.add(spent);
            if let Some(name) = &spent.collaborator {
                call.collaborators.entry(name.clone()).or_default().add(spent);
            }
        }
    }

    fn end(&mut self, ending: Ending) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let peak = self.seat.take().map(|seat| seat.peak());
        let now = unix_ms();
        let mut log = self.calls.lock();
        log.open = log.open.saturating_sub(1);
        if ending == Ending::Disconnected && self.id >= log.since {
            log.disconnected += 1;
            log.last_disconnect_ms = Some(now);
        }
        if let Some(call) = log.call(self.id) {
            call.ended = Some(ending);
            call.ended_ms = Some(now);
            call.max_concurrent_per_session = peak.unwrap_or(call.max_concurrent_per_session);
        }
    }
}

impl Drop for OpenCall {
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

    fn key() -> SessionKey {
        SessionKey { agent: "AGENT".into(), alias: "ALIAS".into(), session: "one".into() }
    }

    #[test]
    fn a_call_that_is_dropped_was_left_by_its_client() {
        let calls = Arc::new(Calls::default());
        drop(calls.open(&key()));
        let shown = calls.shown();
        assert_eq!((shown.calls_total, shown.calls_open, shown.disconnected), (1, 0, 1));
        assert_eq!(shown.calls[0].ended, Some(Ending::Disconnected));
        assert_eq!(shown.calls[0].ended_ms, shown.last_disconnect_ms);
    }

    #[test]
    fn a_call_ends_once() {
        let calls = Arc::new(Calls::default());
        let mut call = calls.open(&key());
        call.end(Ending::Ok);
        drop(call);
        assert_eq!(calls.shown().disconnected, 0);
        assert_eq!(calls.shown().calls[0].ended, Some(Ending::Ok));
    }

    #[test]
    fn only_the_latest_calls_are_kept_and_all_are_counted() {
        let calls = Arc::new(Calls::default());
        let mut first = calls.open(&key());
        for _ in 0..KEPT_CALLS {
            calls.open(&key()).end(Ending::Fault);
        }
        first.end(Ending::Ok);
        let shown = calls.shown();
        assert_eq!((shown.calls.len(), shown.calls_total), (KEPT_CALLS, KEPT_CALLS as u64 + 1));
        assert!(shown.calls.iter().all(|call| call.ended == Some(Ending::Fault)));
    }

    #[test]
    fn a_call_from_before_a_reset_stays_open_and_ends_unseen() {
        let calls = Arc::new(Calls::default());
        let mut early = calls.open(&key());
        calls.reset();
        assert_eq!(calls.shown().calls_open, 1);
        early.end(Ending::Ok);
        assert_eq!((calls.shown().calls_open, calls.shown().calls_total), (0, 0));
    }
}
