//! What the models saw: how many calls, how each ended, and what the latest ones were sent.
//!
//! Tests read it at `GET /_emulator/state`, in `models`.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::emulator::ledger::{Entry, Fate, Ledger, Record};

use super::answer::Answer;

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

/// A call as it is shown.
#[derive(Debug, Clone, Serialize)]
pub(in crate::emulator) struct Call {
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
    #[serde(flatten)]
    fate: Fate,
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

impl Record for Call {
    fn fate(&mut self) -> &mut Fate {
        &mut self.fate
    }
}

/// The log of calls.
pub(in crate::emulator) type Calls = Ledger<Call>;

impl Calls {
    /// Takes down that a call has come in.
    pub(in crate::emulator) fn open(
        self: &Arc<Self>,
        api: &'static str,
        model: &str,
        authorization: Option<&'static str>,
    ) -> OpenCall {
        self.enter(Call {
            api,
            model: model.chars().take(KEPT_TEXT).collect(),
            authorization,
            text: String::new(),
            request: Value::Null,
            tokens: Tokens::default(),
            stop_reason: None,
            fate: Fate::open(),
        })
    }

    /// What is to be shown.
    pub(in crate::emulator) fn shown(&self) -> Shown {
        let (totals, calls) = self.read();
        Shown {
            calls_total: totals.all,
            calls_open: totals.open,
            disconnected: totals.disconnected,
            calls,
        }
    }
}

/// A call that is being answered.
pub(in crate::emulator) type OpenCall = Entry<Call>;

impl OpenCall {
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
}
