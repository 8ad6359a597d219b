//! Embeddings: texts in, vectors out. They belong to no session.

use serde_json::{Map, Value};

use super::Usage;

/// What is to be embedded, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingRequest {
    /// The texts, in order; not empty, and none of them is.
    pub inputs: Vec<EmbeddingInput>,
    /// How long each vector is to be; the model's own length otherwise.
    pub dimensions: Option<u32>,
    /// What the vectors are for (`search_document`, `search_query`, …), for models that ask.
    pub purpose: Option<String>,
    /// Who asks, for upstreams that want to know.
    pub user: Option<String>,
    /// Members that no field holds, for upstreams that speak OpenAI's dialect and may take them.
    pub extra: Map<String, Value>,
}

/// One thing to be embedded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbeddingInput {
    /// A text.
    Text(String),
    /// The tokens of one, by a vocabulary that only the upstream knows.
    Tokens(Vec<u32>),
}

/// The vectors, one for each input in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// The vectors.
    pub vectors: Vec<Vec<f32>>,
    /// The tokens read; none are written.
    pub usage: Usage,
}
