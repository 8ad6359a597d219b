//! The members of a chat request that no field of ours holds, for upstreams that speak OpenAI's
//! dialect and may take them.
//!
//! Nothing that a voice platform adds is among them: such members name callers and hold the
//! platform's own keys, and upstreams refuse what they do not know.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::turn::{Failure, FailureKind};
use crate::wire::body::wrong;
use crate::wire::bounded::Allowance;

/// Members of OpenAI's that are passed on as they are.
const OPENAI: &[&str] = &[
    "logit_bias",
    "logprobs",
    "moderation",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "store",
    "top_logprobs",
    "verbosity",
    "web_search_options",
];
/// Members that are never passed on: they tell who calls, or name conversations.
const NEVER: &[&str] = &[
    "assistant",
    "assistant_id",
    "background",
    "chat",
    "customer",
    "org_id",
    "phoneNumber",
    "phone_number",
    "previous_response_id",
];
/// Members that are passed on at most.
const MOST: usize = 64;
/// Bytes of one name.
const LONGEST_NAME: usize = 64;
/// Bytes of all of them together, names and values.
const MOST_BYTES: usize = 256 << 10;
/// `top_logprobs`, by OpenAI's rule.
const TOP_LOGPROBS: std::ops::RangeInclusive<u64> = 0..=20;
/// Entries of `logit_bias`.
const MOST_BIASES: usize = 1_024;

/// Collects them; `from_platform` says that a voice platform sent the request.
///
/// Members that are not OpenAI's are left out where they do not fit: unknown members are no
/// mistake of the client.
///
/// # Errors
/// [`FailureKind::BadRequest`] at a member of OpenAI's that is wrong or too large.
pub(super) fn collect(
    rest: Vec<(String, &RawValue)>,
    from_platform: bool,
    allowance: &mut Allowance,
) -> Result<Map<String, Value>, Failure> {
    let mut passed = Map::new();
    let mut bytes = 0;
    for (name, raw) in rest {
        let is_known = OPENAI.contains(&name.as_str());
        let is_wanted = is_known || !(from_platform || NEVER.contains(&name.as_str()));
        if !is_wanted || raw.get() == "null" {
            continue;
        }
        let size = name.len() + raw.get().len();
        let fits = passed.len() < MOST && name.len() <= LONGEST_NAME && bytes + size <= MOST_BYTES;
        let read = if fits { allowance.read(raw) } else { Err("is too large") };
        match read {
            Ok(value) => {
                bytes += size;
                passed.insert(name, value);
            }
            Err(why) if is_known => return Err(wrong(name, why)),
            Err(_) => {}
        }
    }
    check(&passed)?;
    Ok(passed)
}

fn check(passed: &Map<String, Value>) -> Result<(), Failure> {
    let wants_logprobs = match passed.get("logprobs") {
        None => false,
        Some(Value::Bool(wanted)) => *wanted,
        Some(_) => return Err(wrong("logprobs", "must be true or false")),
    };
    if let Some(top) = passed.get("top_logprobs") {
        let is_fine = top.as_u64().is_some_and(|top| TOP_LOGPROBS.contains(&top));
        if !is_fine {
            return Err(wrong("top_logprobs", "must be a whole number from 0 to 20"));
        }
        if !wants_logprobs {
            let message = "top_logprobs needs logprobs; set it to true, or leave both out";
            return Err(Failure::new(FailureKind::BadRequest, message).at("top_logprobs"));
        }
    }
    let Some(biases) = passed.get("logit_bias") else { return Ok(()) };
    let is_bias = |bias: &Value| bias.as_f64().is_some_and(|bias| (-100.0..=100.0).contains(&bias));
    let is_fine = biases
        .as_object()
        .is_some_and(|biases| biases.len() <= MOST_BIASES && biases.values().all(is_bias));
    if is_fine {
        return Ok(());
    }
    let why = format!("must be an object of at most {MOST_BIASES} numbers from -100 to 100");
    Err(wrong("logit_bias", &why))
}
