//! Vectors of texts, by InvokeModel.
//!
//! InvokeModel takes a body in the words of the model's maker; [`families`] has them. A request
//! becomes as many calls as the model needs, of which a few run at a time, and the vectors come
//! out in the order of the texts. (Amazon Bedrock API Reference, "InvokeModel".)

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_bedrockruntime::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_types::Blob;
use futures_util::{StreamExt as _, stream};

use crate::backend::aws::ModelAccess;
use crate::turn::{
    EmbeddingInput, EmbeddingRequest, Embeddings, Failure, FailureKind, Usage, tokens,
};

use super::Shared;
use super::attempts::Attempts;
use super::failure::{self, Refused};

mod families;

pub(super) use families::{Embedder, of};

use families::{Made, Wish};

/// Calls of one request at a time.
const AT_ONCE: usize = 8;
const JSON: &str = "application/json";

/// A request that the model takes.
#[derive(Debug)]
struct Task {
    embedder: &'static Embedder,
    texts: Vec<String>,
    length: Option<u32>,
    purpose: &'static str,
}

/// Makes a vector of each text.
///
/// # Errors
/// `UnsupportedParameter` for what the model does not make, before it is asked; else what it says.
pub(super) async fn embed(
    shared: Arc<Shared>,
    request: EmbeddingRequest,
) -> Result<Embeddings, Failure> {
    let task = Arc::new(Task::of(shared.behind.get().await.embedder, request)?);
    let count = task.texts.len();
    let most = task.embedder.texts;
    let calls = (0..count).step_by(most).map(move |first| {
        let batch = first..count.min(first + most);
        Box::pin(call(Arc::clone(&shared), Arc::clone(&task), batch))
    });
    let mut calls = stream::iter(calls).buffered(AT_ONCE);
    let (mut vectors, mut usage) = (Vec::with_capacity(count), Usage::default());
    // The calls that are still on their way are dropped with the first that fails.
    while let Some(made) = calls.next().await {
        let made = made?;
        vectors.extend(made.vectors);
        usage.add(&made.usage);
    }
    Ok(Embeddings { vectors, usage })
}

impl Task {
    fn of(embedder: Option<&'static Embedder>, request: EmbeddingRequest) -> Result<Self, Failure> {
        let embedder = embedder.ok_or_else(|| {
            let message = "this model is none that is known to make embeddings; name one that \
                           does, or the foundation_model behind it in the broker's configuration";
            Failure::new(FailureKind::UnsupportedParameter, message).at("model")
        })?;
        let length = embedder.length(request.dimensions)?;
        let purpose = embedder.purpose(request.purpose.as_deref())?;
        Ok(Self { embedder, texts: texts(request.inputs)?, length, purpose })
    }
}

/// The texts; tokens are of a vocabulary that only their sender knows.
fn texts(inputs: Vec<EmbeddingInput>) -> Result<Vec<String>, Failure> {
    let text = |input| match input {
        EmbeddingInput::Text(text) => Ok(text),
        EmbeddingInput::Tokens(_) => {
            let message = "input: this model takes no tokens, as its vocabulary is another; send \
                           texts (with LangChain: check_embedding_ctx_length=False)";
            Err(Failure::new(FailureKind::UnsupportedParameter, message).at("input"))
        }
    };
    inputs.into_iter().map(text).collect()
}

/// Has some of the texts embedded.
async fn call(
    shared: Arc<Shared>,
    task: Arc<Task>,
    batch: Range<usize>,
) -> Result<Embeddings, Failure> {
    let texts = task.texts.get(batch.clone()).unwrap_or_default();
    let wish = Wish { texts, length: task.length, purpose: task.purpose };
    let body = Blob::new((task.embedder.write)(&wish).to_string());
    let mut attempts = Attempts::new(&shared);
    loop {
        let refused = match attempt(&shared.model_id, &task, attempts.access(), &body).await {
            Ok(made) if made.vectors.len() == texts.len() => {
                attempts.succeeded();
                let usage = usage(made.tokens, texts);
                return Ok(Embeddings { vectors: made.vectors, usage });
            }
            Ok(made) => {
                tracing::warn!(
                    made = made.vectors.len(),
                    wanted = texts.len(),
                    "vectors are missing"
                );
                Refused::no_vectors()
            }
            Err(refused) => refused,
        };
        attempts.failed(&refused);
        attempts.again(refused).await.map_err(|failure| about(failure, &task, &batch))?;
    }
}

async fn attempt(
    model_id: &str,
    task: &Task,
    access: &ModelAccess,
    body: &Blob,
) -> Result<Made, Refused> {
    let count = TokenCount::default();
    let request = access.client.invoke_model().model_id(model_id).body(body.clone());
    let request = request.content_type(JSON).accept(JSON).customize().interceptor(count.clone());
    let answer = request.send().await.map_err(|error| failure::of_call(&error))?;
    let made = (task.embedder.read)(answer.body.as_ref()).map_err(|error| {
        tracing::warn!(%error, "the vectors cannot be read");
        Refused::no_vectors()
    })?;
    let tokens = made.tokens.or_else(|| count.get());
    Ok(Made { tokens, ..made })
}

fn usage(told: Option<u64>, texts: &[String]) -> Usage {
    let estimated = || texts.iter().map(|text| tokens::estimate(text)).sum();
    Usage {
        input_tokens: told.unwrap_or_else(estimated),
        estimated: told.is_none(),
        ..Usage::default()
    }
}

/// A failure of a call, for who asked for vectors: there is no conversation that could be too
/// long.
fn about(failure: Failure, task: &Task, batch: &Range<usize>) -> Failure {
    if failure.kind != FailureKind::ContextLengthExceeded {
        return failure;
    }
    let place = match batch.len() {
        1 if task.texts.len() > 1 => format!("input[{}]", batch.start),
        _ => "input".to_owned(),
    };
    let message = format!("{place}: longer than this model can read; split it");
    Failure::new(FailureKind::ContextLengthExceeded, message).at(place)
}

/// The tokens that a reply counts in its headers, which the SDK does not hand out.
#[derive(Debug, Clone, Default)]
struct TokenCount {
    /// One more than the header says; zero where there is none.
    beyond: Arc<AtomicU64>,
}

impl TokenCount {
    const HEADER: &str = "x-amzn-bedrock-input-token-count";

    fn get(&self) -> Option<u64> {
        self.beyond.load(Ordering::Relaxed).checked_sub(1)
    }
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for TokenCount {
    fn name(&self) -> &'static str {
        "token count"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let told = context.response().headers().get(Self::HEADER);
        let told = told.and_then(|count| count.trim().parse::<u64>().ok());
        self.beyond.store(told.map_or(0, |count| count.saturating_add(1)), Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_refused_with_what_to_do() {
        let mixed = vec![EmbeddingInput::Text("a".to_owned()), EmbeddingInput::Tokens(vec![1, 2])];
        let failure = texts(mixed).unwrap_err();
        assert_eq!(failure.kind, FailureKind::UnsupportedParameter);
        assert_eq!(failure.param.as_deref(), Some("input"));
        assert!(failure.message.contains("send texts"));
    }

    #[test]
    fn what_nobody_counted_is_estimated_and_marked() {
        let texts = ["hello there".to_owned()];
        assert_eq!(usage(Some(7), &texts), Usage { input_tokens: 7, ..Usage::default() });
        let estimated = usage(None, &texts);
        assert!(estimated.estimated && estimated.input_tokens > 0);
    }

    #[test]
    fn the_text_that_is_too_long_is_named_where_that_is_known() {
        let task = |count: usize| Task {
            embedder: of("amazon.titan-embed-text-v2:0").unwrap(),
            texts: vec![String::new(); count],
            length: None,
            purpose: "",
        };
        let long = || Failure::new(FailureKind::ContextLengthExceeded, "long").at("messages");
        let param = |task: &Task, batch| about(long(), task, &batch).param.unwrap_or_default();
        assert_eq!(param(&task(3), 1..2), "input[1]");
        assert_eq!(param(&task(1), 0..1), "input");
        assert_eq!(param(&task(3), 0..3), "input");
        let other = Failure::new(FailureKind::UpstreamThrottled, "busy");
        assert_eq!(about(other.clone(), &task(1), &(0..1)), other);
    }
}
