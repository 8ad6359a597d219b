//! `InvokeModel` and its stream: bodies in the models' own formats.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::{Value, json};

use crate::emulator::frames;
use crate::emulator::refusal::Refusal;

use super::answer::{Answer, Stop, Usage};
use super::cards::Card;
use super::prompt::Prompt;
use super::script::{Piece, Pieces};
use super::terms::{Guardrail, Performance, Tier};
use super::{claude, claude_reply, titan};

/// The member of a stream's last object that tells what the answer cost.
pub(super) const METRICS: &str = "amazon-bedrock-invocationMetrics";
/// The member that tells whether the guardrail stepped in.
const GUARDRAIL: &str = "amazon-bedrock-guardrailAction";
/// What the service says that an answer took.
const LATENCY_MS: u32 = 25;
/// The headers that tell what an answer cost.
pub(super) const COUNTS: [&str; 4] = [
    "x-amzn-bedrock-input-token-count",
    "x-amzn-bedrock-output-token-count",
    "x-amzn-bedrock-cache-read-input-token-count",
    "x-amzn-bedrock-cache-write-input-token-count",
];

/// An object of a streamed answer.
#[derive(Debug)]
pub(super) struct Chunk {
    /// It.
    pub(super) object: Value,
    /// Whether it brings something of the answer.
    pub(super) is_chunk: bool,
}

impl Chunk {
    /// An object around the answer.
    pub(super) fn frame(object: Value) -> Self {
        Self { object, is_chunk: false }
    }
}

/// Reads a body in the format of this model, with what headers say of it.
///
/// # Errors
/// `ValidationException` when the model has another format.
pub(super) fn prompt(card: &Card, headers: &HeaderMap, body: &[u8]) -> Result<Prompt, Refusal> {
    let mut prompt = if card.is_of("anthropic") {
        claude::prompt(body)?
    } else if card.id.starts_with("amazon.titan-text") {
        titan::prompt(body)?
    } else {
        return Err(Refusal::validation(
            "Malformed input request: the emulator knows the native formats of Claude and Titan \
             alone, please use Converse.",
        ));
    };
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let guardrail = header("x-amzn-bedrock-guardrailidentifier");
    let version = header("x-amzn-bedrock-guardrailversion");
    if guardrail.is_some() || version.is_some() {
        prompt.guardrail_config = Some(Guardrail {
            guardrail_identifier: guardrail.unwrap_or_default(),
            guardrail_version: version.unwrap_or_default(),
            trace: header("x-amzn-bedrock-trace").map(|trace| trace.to_lowercase()),
        });
    }
    prompt.service_tier = header("x-amzn-bedrock-service-tier").map(|kind| Tier { kind });
    prompt.performance_config =
        header("x-amzn-bedrock-performanceconfig-latency").map(|latency| Performance { latency });
    if let Some(metadata) = header("x-amzn-bedrock-request-metadata") {
        prompt.request_metadata = super::parsed(metadata.as_bytes())?;
    }
    Ok(prompt)
}

/// The body of an answer.
pub(super) fn body(card: &Card, prompt: &Prompt, answer: &Answer) -> Value {
    let mut body = match card.is_of("anthropic") {
        true => claude_reply::body(card, answer),
        false => titan::body(answer),
    };
    if prompt.guardrail_config.is_some() {
        let acted = answer.stop == Stop::Guardrail;
        body[GUARDRAIL] = json!(if acted { "INTERVENED" } else { "NONE" });
        if let Some(guardrail) = &answer.guardrail {
            body["amazon-bedrock-trace"] = json!({"guardrail": guardrail});
        }
    }
    body
}

/// The events of a streamed answer: each holds an object in base64.
pub(super) fn events(card: &Card, answer: Answer) -> Pieces {
    let event = |chunk: Chunk| {
        let object = STANDARD.encode(chunk.object.to_string());
        let payload = json!({"bytes": object, "p": "abcdef"}).to_string();
        Piece { bytes: frames::event("chunk", payload), is_chunk: chunk.is_chunk }
    };
    match card.is_of("anthropic") {
        true => Box::new(claude_reply::chunks(card, answer).map(event)),
        false => Box::new(titan::chunks(&answer).map(event)),
    }
}

/// What an answer cost, as the last object of a stream tells it.
pub(super) fn metrics(usage: Usage) -> Value {
    let mut metrics = json!({
        "inputTokenCount": usage.prompt.input,
        "outputTokenCount": usage.output,
        "invocationLatency": LATENCY_MS,
        "firstByteLatency": LATENCY_MS,
    });
    if usage.prompt.cache_read + usage.prompt.cache_write() > 0 {
        metrics["cacheReadInputTokenCount"] = json!(usage.prompt.cache_read);
        metrics["cacheWriteInputTokenCount"] = json!(usage.prompt.cache_write());
    }
    metrics
}

/// What an answer cost, in the order of [`COUNTS`].
pub(super) fn counts(usage: Usage) -> [u64; 4] {
    [usage.prompt.input, usage.output, usage.prompt.cache_read, usage.prompt.cache_write()]
}
