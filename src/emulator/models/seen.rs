//! What the models saw: how many calls, how each ended, and what the latest ones were sent.
//!
//! Tests read it at `GET /_emulator/state`, in `models`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use crate::emulator::calls::Ending;
use crate::emulator::playback::Audience;

use super::answer::Answer;

/// Calls kept with what they were sent.
const KEPT_CALLS: usize = 200;
/// The longest text in a kept request, in characters; of longer ones the beginning is kept.
const KEPT_TEXT: usize = 2_000;
/// What is kept of a text that is too long, in characters.
const BEGINNING: usize = 100;
/// The longest request that is kept, in bytes of JSON.
const KEPT_REQUEST: usize = 64 << 10;

/// What a call cost, as the client is told.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Tokens {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
}

#[derive(Debug, Clone, Serialize)]
struct Call {
    api: &'static str,
    model: String,
    /// `sigv4`, `bearer` or nothing.
    authorization: Option<&'static str>,
    /// What the caller said last.
    text: String,
    /// The body, long texts shortened; null when it was none or too large.
    request: Value,
    tokens: Tokens,
    stop_reason: Option<&'static str>,
    status: Option<u16>,
    started_ms: u64,
    ended_ms: Option<u64>,
    ended: Option<Ending>,
}

/// The totals and the latest calls, as they are shown.
#[derive(Debug, Clone, Serialize)]
pub(in crate::emulator) struct Shown {
    calls_total: u64,
    calls_open: u64,
    /// Calls whose client hung up.
    disconnected: u64,
    /// The latest calls, oldest first.
    calls: Vec<Call>,
}

/// The log of calls.
#[derive(Debug, Default)]
pub(in crate::emulator) struct Calls {
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    total: u64,
    open: u64,
    disconnected: u64,
    recent: VecDeque<(u64, Call)>,
    next_id: u64,
    /// The first call since the last reset.
    since: u64,
}

impl Calls {
    /// Takes down that a call has come in.
    pub(in crate::emulator) fn open(
        self: &Arc<Self>,
        api: &'static str,
        model: &str,
        authorization: Option<&'static str>,
    ) -> OpenCall {
        let call = Call {
            api,
            model: model.chars().take(KEPT_TEXT).collect(),
            authorization,
            text: String::new(),
            request: Value::Null,
            tokens: Tokens::default(),
            stop_reason: None,
            status: None,
            started_ms: unix_ms(),
            ended_ms: None,
            ended: None,
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
        OpenCall { calls: Arc::clone(self), id, is_over: false }
    }

    /// Forgets everything but how many calls are open.
    pub(in crate::emulator) fn reset(&self) {
        let mut log = self.lock();
        let (open, next_id) = (log.open, log.next_id);
        *log = Log { open, next_id, since: next_id, ..Log::default() };
    }

    /// What is to be shown.
    pub(in crate::emulator) fn shown(&self) -> Shown {
        let log = self.lock();
        Shown {
            calls_total: log.total,
            calls_open: log.open,
            disconnected: log.disconnected,
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
pub(in crate::emulator) struct OpenCall {
    calls: Arc<Calls>,
    id: u64,
    is_over: bool,
}

impl OpenCall {
    fn note(&self, note: impl FnOnce(&mut Call)) {
        if let Some(call) = self.calls.lock().call(self.id) {
            note(call);
        }
    }

    /// Takes down the body that was sent.
    pub(in crate::emulator) fn sent(&self, body: &[u8]) {
        let request = serde_json::from_slice(body).map_or(Value::Null, shortened);
        let fits = request.to_string().len() <= KEPT_REQUEST;
        self.note(|call| call.request = if fits { request } else { Value::Null });
    }

    /// Takes down the model, where the path does not name it.
    pub(in crate::emulator) fn names(&self, model: &str) {
        self.note(|call| call.model = model.chars().take(KEPT_TEXT).collect());
    }

    /// Takes down what the caller said last.
    pub(in crate::emulator) fn says(&self, text: &str) {
        self.note(|call| call.text = text.chars().take(KEPT_TEXT).collect());
    }

    /// Takes down what is going to be answered.
    pub(in crate::emulator) fn answers(&self, answer: &Answer) {
        let usage = answer.usage;
        self.note(|call| {
            call.stop_reason = Some(answer.stop.converse());
            call.tokens = Tokens {
                input: usage.prompt.input,
                output: usage.output,
                cache_read: usage.prompt.cache_read,
                cache_write: usage.prompt.cache_write(),
            };
        });
    }

    /// Takes down what a call cost that has no words for an answer.
    pub(in crate::emulator) fn reads(&self, input: u64) {
        self.note(|call| call.tokens.input = input);
    }
}

impl Audience for OpenCall {
    fn answered(&self, status: StatusCode) {
        self.note(|call| call.status = Some(status.as_u16()));
    }

    fn end(&mut self, ending: Ending) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let mut log = self.calls.lock();
        log.open = log.open.saturating_sub(1);
        if ending == Ending::Disconnected && self.id >= log.since {
            log.disconnected += 1;
        }
        if let Some(call) = log.call(self.id) {
            call.ended = Some(ending);
            call.ended_ms = Some(unix_ms());
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.end(Ending::Disconnected);
    }
}

/// A body without its long texts.
fn shortened(body: Value) -> Value {
    match body {
        Value::String(text) if text.chars().count() > KEPT_TEXT => {
            let beginning: String = text.chars().take(BEGINNING).collect();
            json!(format!("{beginning}… ({} bytes)", text.len()))
        }
        Value::Array(values) => values.into_iter().map(shortened).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, shortened(value))).collect()
        }
        other => other,
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

    #[test]
    fn long_texts_are_kept_by_their_beginning() {
        let calls = Arc::new(Calls::default());
        let call = calls.open("converse", "m", None);
        let image = "A".repeat(5_000);
        call.sent(json!({"messages": [{"bytes": image, "text": "hi"}]}).to_string().as_bytes());
        let kept = calls.shown().calls[0].request["messages"][0].clone();
        assert_eq!(kept["text"], "hi");
        assert!(kept["bytes"].as_str().unwrap().ends_with("… (5000 bytes)"));
    }

    #[test]
    fn only_the_latest_calls_are_kept_and_all_are_counted() {
        let calls = Arc::new(Calls::default());
        for _ in 0..=KEPT_CALLS {
            calls.open("converse", "m", None).end(Ending::Ok);
        }
        drop(calls.open("converse", "m", None));
        let shown = calls.shown();
        assert_eq!((shown.calls.len(), shown.calls_total), (KEPT_CALLS, KEPT_CALLS as u64 + 2));
        assert_eq!((shown.calls_open, shown.disconnected), (0, 1));
        calls.reset();
        assert_eq!(calls.shown().calls_total, 0);
    }
}
