//! What the emulator saw: how many calls, how each ended, and what the latest ones asked.
//!
//! Tests read it at `GET /_emulator/state`.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

use super::ledger::{Ending, Entry, Fate, Ledger, Record};
use super::playback::Audience;
use super::sessions::{Seat, SessionKey};

/// What is kept of an input text, in characters.
const KEPT_TEXT: usize = 2_000;

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

/// A call as it is shown.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Call {
    session: String,
    agent: String,
    alias: String,
    operation: Option<&'static str>,
    #[serde(flatten)]
    asked: Asked,
    /// The request body, unless it is too large.
    body: Option<Box<RawValue>>,
    #[serde(flatten)]
    fate: Fate,
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

impl Record for Call {
    fn fate(&mut self) -> &mut Fate {
        &mut self.fate
    }
}

/// The log of calls.
pub(super) type Calls = Ledger<Call>;

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
            fate: Fate::open(),
            max_concurrent_per_session: 1,
            usage: Tokens::default(),
            collaborators: BTreeMap::new(),
        };
        OpenCall { entry: self.enter(call), seat: None }
    }

    /// What is to be shown.
    pub(super) fn shown(&self) -> Shown {
        let (totals, calls) = self.read();
        Shown {
            calls_total: totals.all,
            calls_open: totals.open,
            disconnected: totals.disconnected,
            last_disconnect_ms: totals.last_disconnect_ms,
            calls,
        }
    }
}

/// A call that is being answered. Dropped before its end, it was left by its client.
#[derive(Debug)]
pub(super) struct OpenCall {
    entry: Entry<Call>,
    seat: Option<Seat>,
}

impl OpenCall {
    /// Takes down for which operation the call is, and its body as it is to be shown.
    pub(super) fn sends(&self, operation: &'static str, body: Option<Box<RawValue>>) {
        self.entry.note(|call| (call.operation, call.body) = (Some(operation), body));
    }

    /// Takes down what the call asks.
    pub(super) fn asks(&self, asked: Asked) {
        self.entry.note(|call| call.asked = asked);
    }

    /// Keeps the session's seat until the call ends.
    pub(super) fn hold(&mut self, seat: Seat) {
        self.seat = Some(seat);
    }
}

impl Audience for OpenCall {
    fn answered(&self, status: StatusCode) {
        self.entry.answered(status);
    }

    fn spends(&self, spent: &Spent) {
        self.entry.note(|call| {
            call.usage.add(spent);
            if let Some(name) = &spent.collaborator {
                call.collaborators.entry(name.clone()).or_default().add(spent);
            }
        });
    }

    fn end(&mut self, ending: Ending) {
        if let Some(seat) = self.seat.take() {
            let peak = seat.peak();
            // The session is free before the call is seen to have ended.
            drop(seat);
            self.entry.note(|call| call.max_concurrent_per_session = peak);
        }
        self.entry.end(ending);
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.end(Ending::Disconnected);
    }
}
