//! Vectors of texts, by an OpenAI-compatible server: `POST {base_url}/embeddings`.
//!
//! What the client asks for goes along as it is, tokens too: the server knows its vocabulary.
//! Vectors are asked for in base64, which is a third of the size; servers that send numbers all
//! the same are understood, and one that refuses the wish is not told it again. (OpenAI's API
//! description 2.3.0.)

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::metrics::Outcome;
use crate::turn::{
    EmbeddingInput, EmbeddingRequest, Embeddings, Failure, FailureKind, Usage, tokens,
};

use super::failure::{self, Refused};
use super::{NAME, Shared, answer, retry};

/// Bytes that one vector may take, as numbers with a space between each two: the longest that
/// can be asked for has 16,384.
const VECTOR_BYTES: usize = 16_384 * 24;
/// Bytes of an answer, however many vectors there are.
const MOST_BYTES: usize = 256 << 20;
/// Members that are written here.
const RESERVED: &[&str] =
    &["dimensions", "encoding_format", "input", "input_type", "model", "user"];

#[derive(Debug, Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(serialize_with = "write_inputs")]
    input: &'a [EmbeddingInput],
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding_format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_type: Option<&'a str>,
    #[serde(flatten, serialize_with = "write_extra")]
    extra: &'a Map<String, Value>,
}

/// A text as such, tokens as a list.
fn write_inputs<S: Serializer>(inputs: &&[EmbeddingInput], out: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Written<'a> {
        Text(&'a str),
        Tokens(&'a [u32]),
    }
    out.collect_seq(inputs.iter().map(|input| match input {
        EmbeddingInput::Text(text) => Written::Text(text),
        EmbeddingInput::Tokens(tokens) => Written::Tokens(tokens),
    }))
}

fn write_extra<S: Serializer>(extra: &&Map<String, Value>, out: S) -> Result<S::Ok, S::Error> {
    out.collect_map(extra.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str())))
}

#[derive(Debug, Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    data: Vec<Item<'a>>,
    usage: Option<Counted>,
}

#[derive(Debug, Deserialize)]
struct Item<'a> {
    index: Option<usize>,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

#[derive(Debug, Deserialize)]
struct Counted {
    prompt_tokens: Option<u64>,
}

impl Shared {
    /// Makes a vector of each input.
    ///
    /// # Errors
    /// What the server says, as for a turn.
    pub(super) async fn embed(&self, request: &EmbeddingRequest) -> Result<Embeddings, Failure> {
        let mut delays = retry::delays(self.turn.retry_delay, self.turn.retries);
        loop {
            let in_base64 = self.server.takes_base64();
            let refused = match self.embed_once(request, in_base64).await {
                Ok(made) => {
                    self.metrics.upstream_request(NAME, Outcome::Ok);
                    self.server.budget.earn();
                    return Ok(made);
                }
                Err(refused) => refused,
            };
            self.metrics.upstream_request(NAME, Outcome::Failed);
            let said = refused.said.as_ref();
            if in_base64 && said.is_some_and(|said| self.server.learn_of_base64(said)) {
                continue;
            }
            self.metrics.upstream_error(NAME, refused.failure.kind);
            let wait = self.wait(&refused, &mut delays).filter(|_| self.server.budget.spend());
            let Some(wait) = wait else { return Err(about_input(refused.failure)) };
            self.metrics.upstream_retry(NAME);
            tokio::time::sleep(wait).await;
        }
    }

    async fn embed_once(
        &self,
        request: &EmbeddingRequest,
        in_base64: bool,
    ) -> Result<Embeddings, Refused> {
        let body = Body {
            model: self.model.text.model_id.as_deref().unwrap_or_default(),
            input: &request.inputs,
            encoding_format: in_base64.then_some("base64"),
            dimensions: request.dimensions,
            user: request.user.as_deref(),
            input_type: request.purpose.as_deref(),
            extra: &request.extra,
        };
        let body = serde_json::to_vec(&body).map_err(|error| failure::unwritable(&error))?;
        let url = &self.server.embeddings_url;
        let posted = self.server.client.post(url, self.headers(), body).await;
        let mut reply = posted.map_err(|error| failure::of_http(&error))?;
        if !reply.status().is_success() {
            return Err(failure::of_reply(reply).await);
        }
        let limit = MOST_BYTES.min(request.inputs.len().saturating_add(1) * VECTOR_BYTES);
        let read = answer::whole(&mut reply, Vec::new(), limit).await?;
        read_vectors(&read, &request.inputs).map_err(|error| {
            tracing::warn!(%error, "the upstream's vectors cannot be read");
            failure::protocol()
        })
    }
}

/// Why an answer is not the vectors that were asked for.
#[derive(Debug, thiserror::Error)]
enum NoVectors {
    #[error("the answer is not as it should be: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a vector is not base64 of whole numbers")]
    Encoding,
    #[error("there is not one vector for each input")]
    Count,
}

fn read_vectors(body: &[u8], inputs: &[EmbeddingInput]) -> Result<Embeddings, NoVectors> {
    let List { data, usage } = serde_json::from_slice(body)?;
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; inputs.len()];
    for (place, item) in data.into_iter().enumerate() {
        let vector = vectors.get_mut(item.index.unwrap_or(place)).ok_or(NoVectors::Count)?;
        if vector.replace(read_vector(item.embedding)?).is_some() {
            return Err(NoVectors::Count);
        }
    }
    let vectors: Option<Vec<_>> = vectors.into_iter().collect();
    let told = usage.and_then(|usage| usage.prompt_tokens);
    let usage = Usage {
        input_tokens: told.unwrap_or_else(|| inputs.iter().map(estimated).sum()),
        estimated: told.is_none(),
        ..Usage::default()
    };
    Ok(Embeddings { vectors: vectors.ok_or(NoVectors::Count)?, usage })
}

/// Numbers, or base64 of little-endian 32-bit floats.
fn read_vector(raw: &RawValue) -> Result<Vec<f32>, NoVectors> {
    if !raw.get().starts_with('"') {
        return Ok(serde_json::from_str(raw.get())?);
    }
    let encoded: String = serde_json::from_str(raw.get())?;
    let bytes = STANDARD.decode(encoded).map_err(|_| NoVectors::Encoding)?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(NoVectors::Encoding);
    }
    Ok(numbers.iter().map(|four| f32::from_le_bytes(*four)).collect())
}

fn estimated(input: &EmbeddingInput) -> u64 {
    match input {
        EmbeddingInput::Text(text) => tokens::estimate(text),
        EmbeddingInput::Tokens(tokens) => tokens.len() as u64,
    }
}

/// There is no conversation here that could be too long.
fn about_input(failure: Failure) -> Failure {
    if failure.kind != FailureKind::ContextLengthExceeded {
        return failure;
    }
    let message = "an input is longer than the model can read; split it";
    Failure::new(FailureKind::ContextLengthExceeded, message).at("input")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(text: &str) -> EmbeddingInput {
        EmbeddingInput::Text(text.to_owned())
    }

    fn read(body: &Value, inputs: usize) -> Result<Embeddings, NoVectors> {
        let inputs: Vec<_> = (0..inputs).map(|_| text("hello")).collect();
        read_vectors(body.to_string().as_bytes(), &inputs)
    }

    #[test]
    fn what_was_asked_goes_along_as_it_is() {
        let inputs = [text("a"), EmbeddingInput::Tokens(vec![1, 2])];
        let extra = json!({"truncate_prompt_tokens": 5, "model": "other"});
        let body = Body {
            model: "m",
            input: &inputs,
            encoding_format: Some("base64"),
            dimensions: None,
            user: Some("ann"),
            input_type: None,
            extra: extra.as_object().unwrap(),
        };
        let expected = json!({
            "model": "m", "input": ["a", [1, 2]], "encoding_format": "base64", "user": "ann",
            "truncate_prompt_tokens": 5,
        });
        assert_eq!(serde_json::to_value(&body).unwrap(), expected);
    }

    #[test]
    fn vectors_are_read_as_numbers_or_base64_and_put_in_their_places() {
        let encoded = STANDARD.encode([0.5_f32, -1.0].map(f32::to_le_bytes).concat());
        let body = json!({
            "data": [{"index": 1, "embedding": [2, 3.5]}, {"index": 0, "embedding": encoded}],
            "usage": {"prompt_tokens": 7, "total_tokens": 7},
        });
        let made = read(&body, 2).unwrap();
        assert_eq!(made.vectors, [vec![0.5, -1.0], vec![2.0, 3.5]]);
        assert_eq!(made.usage, Usage { input_tokens: 7, ..Usage::default() });
        let unmarked = json!({"data": [{"embedding": [1]}, {"embedding": [2]}]});
        let made = read(&unmarked, 2).unwrap();
        assert_eq!(made.vectors, [[1.0], [2.0]]);
        assert!(made.usage.estimated);
    }

    #[test]
    fn what_is_not_a_vector_for_each_input_is_refused() {
        let item = |index: usize| json!({"index": index, "embedding": [1]});
        for bad in [
            json!({"data": [item(0)]}),
            json!({"data": [item(0), item(0)]}),
            json!({"data": [item(0), item(2)]}),
            json!({"data": [item(0), {"index": 1, "embedding": "AAA="}]}),
            json!({"data": [item(0), {"index": 1, "embedding": "?"}]}),
            json!({"data": [item(0), {"index": 1, "embedding": null}]}),
            json!({"error": "no"}),
        ] {
            assert!(read(&bad, 2).is_err(), "{bad}");
        }
    }
}
