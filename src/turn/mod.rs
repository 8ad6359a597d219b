//! The vocabulary everyone shares: what a turn asks, what happens in it, and how it fails.
//!
//! Wire formats decode bytes into a [`TurnRequest`] and encode [`TurnEvent`]s back into bytes;
//! backends turn a request into events. Nothing here does I/O, and nothing here serialises:
//! what travels or is stored is written by the modules that own the format.

pub mod embedding;
pub mod event;
pub mod failure;
pub mod fold;
pub mod generation;
pub mod ids;
pub mod item;
pub mod pending;
pub mod request;
pub mod tokens;
pub mod transcript;

pub use embedding::{EmbeddingInput, EmbeddingRequest, Embeddings};
pub use event::{
    Citation, CollaboratorUsage, FinishReason, Logprobs, OutputFile, Reference, ReturnControl,
    Span, Trace, TurnEvent, Usage,
};
pub use failure::{Failure, FailureKind, Fault};
pub use fold::{Fold, GrammarError};
pub use generation::{AnswerFormat, Effort, Generation, JsonSchema, ToolChoice};
pub use ids::{
    FileId, ModelName, RequestId, SessionId, SessionKey, TenantId, TurnId, UpstreamSessionId,
};
pub use item::{ItemId, ItemReference, Place};
pub use pending::{Pending, PendingCall};
pub use request::{
    AgentOptions, DisconnectPolicy, FileUse, HandedBack, IdempotencyKey, Keeping, Latency,
    SessionHints, Tool, ToolErrors, TurnPolicy, TurnRequest,
};
pub use transcript::{
    CacheLife, CachePoint, Confirmation, Message, Part, Role, Status, Thought, ToolCall,
};
