//! What the service lists: the models and the profiles of a person.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::emulator::routes::json_reply;

use super::{Operation, Wrong};

/// The profiles of an organisation.
const PROFILES: [(&str, &str); 1] =
    [("arn:aws:codewhisperer:us-east-1:123456789012:profile/EMULATED0001", "developers")];
/// The models: id, name, and what they cost of the usual price.
const MODELS: [(&str, &str, f64); 3] = [
    ("auto", "Auto", 1.0),
    ("claude-sonnet-4", "Claude Sonnet 4", 1.3),
    ("claude-sonnet-4.5", "Claude Sonnet 4.5", 1.3),
];
/// Entries of a page, where nobody says otherwise.
const PAGE: usize = 50;
/// Conversations that are remembered to be over, at most; then all are forgotten.
const MOST_OVER: usize = 10_000;

/// What the service knows beside its answers.
#[derive(Debug, Default)]
pub(in crate::emulator) struct Known {
    /// Conversations that take no more.
    over: Mutex<HashSet<String>>,
    /// How often a list was asked for.
    asked: Mutex<BTreeMap<&'static str, u64>>,
}

impl Known {
    /// What tests are shown.
    pub(in crate::emulator) fn shown(&self) -> Value {
        json!(*locked(&self.asked))
    }

    /// Forgets how often it was asked.
    pub(in crate::emulator) fn reset(&self) {
        locked(&self.asked).clear();
    }

    /// From now on a conversation takes no more.
    pub(super) fn ends(&self, conversation: &str) {
        let mut over = locked(&self.over);
        if over.len() >= MOST_OVER {
            over.clear();
        }
        over.insert(conversation.to_owned());
    }

    /// Refuses a conversation that takes no more.
    pub(super) fn check(&self, conversation: &str) -> Result<(), Wrong> {
        if !locked(&self.over).contains(conversation) {
            return Ok(());
        }
        Err(Wrong {
            status: StatusCode::PAYMENT_REQUIRED,
            kind: "ServiceQuotaExceededException",
            message: "The conversation has reached its limit.".to_owned(),
            reason: Some("CONVERSATION_LIMIT_EXCEEDED"),
        })
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Asked {
    origin: Option<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// Answers with a page of a list.
pub(super) fn answer(
    known: &Known,
    operation: Operation,
    body: &[u8],
) -> Result<Response<Full<Bytes>>, Wrong> {
    let asked: Asked = serde_json::from_slice(body).map_err(|_| Wrong::improper())?;
    let from = asked.next_token.as_deref().map_or(Ok(0), str::parse);
    let from: usize = from.map_err(|_| Wrong::invalid("Invalid nextToken.", None))?;
    let (name, member, entries): (_, _, Vec<Value>) = match operation {
        Operation::ListProfiles => {
            let profile = |(arn, name): &(&str, &str)| json!({ "arn": arn, "profileName": name });
            ("ListAvailableProfiles", "profiles", PROFILES.iter().map(profile).collect())
        }
        Operation::ListModels | Operation::Converse => {
            if asked.origin.is_none() {
                return Err(Wrong::improper());
            }
            ("ListAvailableModels", "models", MODELS.iter().map(model).collect())
        }
    };
    *locked(&known.asked).entry(name).or_default() += 1;
    let until = from.saturating_add(asked.max_results.unwrap_or(PAGE)).min(entries.len());
    let mut page = json!({ member: entries.get(from..until).unwrap_or_default() });
    if until < entries.len() {
        page["nextToken"] = json!(until.to_string());
    }
    if operation == Operation::ListModels {
        page["defaultModel"] = model(&MODELS[0]);
    }
    Ok(json_reply(&page))
}

fn model((id, name, rate): &(&str, &str, f64)) -> Value {
    json!({
        "modelId": id,
        "modelName": name,
        "description": format!("The emulated {name}"),
        "rateMultiplier": rate,
        "rateUnit": "credit",
        "tokenLimits": { "maxInputTokens": 200_000, "maxOutputTokens": 64_000 },
        "supportedInputTypes": ["TEXT", "IMAGE"],
        "supportsPromptCache": true,
    })
}
