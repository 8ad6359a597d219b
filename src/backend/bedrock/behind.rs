//! Which model is behind an id, where the id does not name it.
//!
//! What a model can do is known by its name. The ARN of an application inference profile has
//! none in it, so unless the settings name the `foundation_model` behind it, the control plane is
//! asked once, at the first turn. When that fails, the model is taken for one that nobody knows,
//! and asked about again after a while. (Amazon Bedrock API Reference, "GetInferenceProfile".)

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::backend::AwsClients;
use crate::backend::discovery::{Catalogue, Trouble};
use crate::config::Model;

use super::embeddings::{self, Embedder};
use super::families::{self, Family};

/// What tells an ARN whose model has to be asked for.
const PROFILE: &str = ":application-inference-profile/";
/// What a turn waits for the control plane.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long it is left alone after it could not tell.
const AGAIN: Duration = Duration::from_secs(300);

/// A model as far as it is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) family: &'static Family,
    /// How it makes vectors of texts, if it does that and nothing else.
    pub(super) embedder: Option<&'static Embedder>,
}

impl Known {
    fn by(name: &str) -> Self {
        Self { family: families::of(name), embedder: embeddings::of(name) }
    }
}

/// The model behind an id.
#[derive(Debug)]
pub(super) struct Behind {
    id: String,
    known: OnceLock<Known>,
    catalogue: Option<Catalogue>,
    /// When the control plane may be asked; whoever asks it holds this.
    next: Mutex<Instant>,
}

impl Behind {
    /// The one that the settings name, else the one that the id names.
    pub(super) fn of(model: &Model, id: &str, aws: &AwsClients, retry_delay: Duration) -> Self {
        let named = model.inline.foundation_model.as_deref();
        let is_hidden = named.is_none() && id.contains(PROFILE);
        let catalogue = is_hidden.then(|| {
            let region = families::region_of_arn(id).unwrap_or(aws.region());
            Catalogue::new(aws.catalogue(region), retry_delay)
        });
        let known = OnceLock::new();
        if !is_hidden {
            known.get_or_init(|| Known::by(named.unwrap_or(id)));
        }
        Self { id: id.to_owned(), known, catalogue, next: Mutex::new(Instant::now()) }
    }

    /// What is known of it; asks for it if need be and if it is time.
    pub(super) async fn get(&self) -> Known {
        if let Some(known) = self.known.get() {
            return *known;
        }
        let mut next = self.next.lock().await;
        // Another turn may have asked meanwhile.
        if let (None, Some(catalogue)) = (self.known.get(), &self.catalogue)
            && *next <= Instant::now()
        {
            match tokio::time::timeout(PATIENCE, catalogue.behind(&self.id)).await {
                Ok(Ok(Some(model))) => {
                    tracing::info!(model, "the model behind an inference profile was found");
                    return *self.known.get_or_init(|| Known::by(&model));
                }
                other => self.missed(other.ok().and_then(Result::err)),
            }
            *next = Instant::now() + AGAIN;
        }
        self.known.get().copied().unwrap_or_else(|| Known::by(&self.id))
    }

    fn missed(&self, trouble: Option<Trouble>) {
        let why = trouble.map_or_else(|| "it does not tell".to_owned(), |why| why.to_string());
        tracing::warn!(
            profile = self.id,
            error = why,
            "the model behind an inference profile is not known; grant \
             bedrock:GetInferenceProfile, or set foundation_model"
        );
    }
}
