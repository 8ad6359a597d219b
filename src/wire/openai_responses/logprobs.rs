//! How likely tokens were, as a text of a response writes it.
//!
//! Upstreams tell it in the chat's spelling, where the bytes of a token may be null. Here they are
//! a list, those of the token's text where nobody told them; what an upstream adds of its own is
//! left out. Deltas have the same entries as the text that they add up to.

use bytes::{BufMut, BytesMut};
use serde::Serialize;
use serde_json::Value;

use crate::turn::Logprobs;
use crate::wire::json_text;

#[derive(Debug, Serialize)]
struct Entry<'a> {
    token: &'a str,
    logprob: f64,
    bytes: Vec<u64>,
    top_logprobs: Vec<Likely<'a>>,
}

/// A token that might have stood in the same place.
#[derive(Debug, Serialize)]
struct Likely<'a> {
    token: &'a str,
    logprob: f64,
    bytes: Vec<u64>,
}

/// Writes the entries, with a comma between two; nothing for what is no entry.
pub(super) fn write(logprobs: &Logprobs, out: &mut BytesMut) {
    let told = logprobs.content.iter().chain(&logprobs.refusal);
    for (index, entry) in told.filter_map(Entry::of).enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        json_text::value(&entry, out);
    }
}

impl<'a> Entry<'a> {
    fn of(told: &'a Value) -> Option<Self> {
        let Likely { token, logprob, bytes } = Likely::of(told)?;
        let others = told["top_logprobs"].as_array().into_iter().flatten();
        let top_logprobs = others.filter_map(Likely::of).collect();
        Some(Self { token, logprob, bytes, top_logprobs })
    }
}

impl<'a> Likely<'a> {
    fn of(told: &'a Value) -> Option<Self> {
        let token = told["token"].as_str()?;
        let bytes = match told["bytes"].as_array() {
            Some(bytes) => bytes.iter().filter_map(Value::as_u64).collect(),
            None => token.bytes().map(u64::from).collect(),
        };
        Some(Self { token, logprob: told["logprob"].as_f64()?, bytes })
    }
}
