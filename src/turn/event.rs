//! What happens in a turn: the hub vocabulary between backends and wire formats.
//!
//! The grammar, checked by [`Fold`](super::Fold):
//!
//! ```text
//! turn  = Started { event } ( Finished | Failed )
//! event = Filler | Text | Reasoning | Thought | ToolCallStarted { ToolCallArguments }
//!       | ReturnControl | Citation | Trace | File | Usage | UsageByCollaborator | StopSequence
//!       | Logprobs
//! ```
//!
//! Tool calls are numbered from 0 without gaps, and the arguments of one are complete before the
//! next one starts. `Filler` comes once at most, before any text and any call.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::{Confirmation, Failure, FileId, Thought};

/// One thing that happened in a turn. Cheap to clone: texts are shared.
#[derive(Debug, Clone, PartialEq)]
pub enum TurnEvent {
    /// The session took the turn from its queue and called the backend. Always first.
    Started,
    /// A sentence that bridges the silence before the answer, with the space that parts it from
    /// what follows. Only who listens gets it: it is no part of the answer, of the transcript, or
    /// of what is compared with it. The session speaks it, no backend does.
    Filler(Arc<str>),
    /// A piece of the answer, whole characters only.
    Text(Arc<str>),
    /// A piece of what the model thought on the way to the answer.
    Reasoning(Arc<str>),
    /// A block of that thinking is complete, as its upstream wants it back in a later turn. Its
    /// text has come as `Reasoning` before, where it may be shown.
    Thought(Arc<Thought>),
    /// A tool call began; `index` counts from 0 within the turn.
    ToolCallStarted {
        /// Its place among the turn's calls.
        index: u32,
        /// The call's id, ours and unique in the conversation.
        id: Arc<str>,
        /// The function to call.
        name: Arc<str>,
        /// Whether a person has to agree to it.
        confirmation: Confirmation,
    },
    /// A piece of the arguments of the call last started, as JSON text.
    ToolCallArguments {
        /// Its place among the turn's calls.
        index: u32,
        /// The piece.
        delta: Arc<str>,
    },
    /// An agent hands its calls over, in the service's own spelling. The same calls come before
    /// as `ToolCall…` events, the last of them in the same order; a format shows one or the
    /// other. At most one in a turn.
    ReturnControl(Arc<ReturnControl>),
    /// A part of the answer rests on sources.
    Citation(Arc<Citation>),
    /// The backend tells what it is doing.
    Trace(Arc<Trace>),
    /// The answer comes with a file.
    File(Arc<OutputFile>),
    /// Tokens used so far in this turn; later ones replace earlier ones.
    Usage(Usage),
    /// How much of the usage was whose, where several agents worked on the answer; later ones
    /// replace earlier ones.
    UsageByCollaborator(Arc<[CollaboratorUsage]>),
    /// One of the texts in the request's [`stop`](super::Generation::stop) ended the answer:
    /// which one, where that is known. At most once, before `Finished(Stop)`.
    StopSequence(Option<Arc<str>>),
    /// How likely the tokens of the text that came last were, where the client asks for it.
    Logprobs(Arc<Logprobs>),
    /// The turn ended as it should. Last.
    Finished(FinishReason),
    /// The turn ended as it should not. Last.
    Failed(Failure),
}

impl TurnEvent {
    /// Whether nothing can follow.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Finished(_) | Self::Failed(_))
    }

    /// Whether some format shows a client something of it.
    ///
    /// The edge holds its status back until the first of these.
    #[must_use]
    pub fn is_visible(&self) -> bool {
        match self {
            Self::Filler(_)
            | Self::Text(_)
            | Self::Reasoning(_)
            | Self::ToolCallStarted { .. }
            | Self::ToolCallArguments { .. }
            | Self::ReturnControl(_)
            | Self::File(_)
            | Self::Logprobs(_)
            | Self::Finished(_)
            | Self::Failed(_) => true,
            Self::Started
            | Self::Thought(_)
            | Self::Citation(_)
            | Self::Trace(_)
            | Self::Usage(_)
            | Self::UsageByCollaborator(_)
            | Self::StopSequence(_) => false,
        }
    }

    /// Roughly how many bytes the event holds, for the bounds on what a turn may keep.
    #[must_use]
    pub fn weight(&self) -> usize {
        const FIXED: usize = 64;
        FIXED
            + match self {
                Self::Filler(text) | Self::Text(text) | Self::Reasoning(text) => text.len(),
                Self::Thought(thought) => thought.weight(),
                Self::ToolCallStarted { id, name, .. } => id.len() + name.len(),
                Self::ToolCallArguments { delta, .. } => delta.len(),
                Self::ReturnControl(handed) => handed.weight,
                Self::Citation(citation) => citation.weight(),
                Self::Trace(trace) => trace.weight,
                Self::File(file) => file.bytes.len(),
                Self::UsageByCollaborator(shares) => shares.len() * FIXED,
                Self::Logprobs(logprobs) => logprobs.weight,
                Self::StopSequence(text) => text.as_ref().map_or(0, |text| text.len()),
                Self::Started | Self::Usage(_) | Self::Finished(_) | Self::Failed(_) => 0,
            }
    }
}

/// Why a turn ended as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model had said everything, or met a stop sequence
    /// ([`StopSequence`](TurnEvent::StopSequence)).
    Stop,
    /// A token or byte limit cut the answer.
    Length,
    /// The model waits for the results of its tool calls.
    ToolCalls,
    /// A guardrail or content filter stepped in.
    ContentFilter,
    /// Somebody stopped the turn: the client left, barged in, or asked for it.
    Interrupted,
}

impl FinishReason {
    /// The reason as a label: closed set.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Tokens used in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens read, cached ones included.
    pub input_tokens: u64,
    /// Tokens written, reasoning included.
    pub output_tokens: u64,
    /// Of the input, those read from a prompt cache.
    pub cached_input_tokens: u64,
    /// Of the input, those written to a prompt cache.
    pub cache_written_tokens: u64,
    /// Of the output, those spent on reasoning.
    pub reasoning_tokens: u64,
    /// Counted by us, not told by the upstream.
    pub estimated: bool,
}

impl Usage {
    /// Input and output together.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// Of the input, those that no prompt cache had or took.
    #[must_use]
    pub fn uncached_tokens(&self) -> u64 {
        let cached = self.cached_input_tokens.saturating_add(self.cache_written_tokens);
        self.input_tokens.saturating_sub(cached)
    }

    /// Adds what a further upstream call of the same turn used.
    pub fn add(&mut self, other: &Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cached_input_tokens =
            self.cached_input_tokens.saturating_add(other.cached_input_tokens);
        self.cache_written_tokens =
            self.cache_written_tokens.saturating_add(other.cache_written_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
        self.estimated |= other.estimated;
    }
}

/// What one agent of several used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollaboratorUsage {
    /// The agent's name among its collaborators; the agent that was asked has none.
    pub collaborator: Option<String>,
    /// Its tokens.
    pub usage: Usage,
}

/// What a Bedrock agent asks its caller to do (`returnControl` in the InvokeAgent stream).
#[derive(Debug, Clone, PartialEq)]
pub struct ReturnControl {
    /// Names the hand-over; the results must quote it.
    pub invocation_id: String,
    /// The calls, each in the service's own JSON spelling.
    pub inputs: Vec<Value>,
    /// Roughly how many bytes it holds.
    pub weight: usize,
}

/// How likely tokens were (`logprobs` of OpenAI's chat), an entry each in OpenAI's spelling.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// Tokens of the answer.
    pub content: Vec<Value>,
    /// Tokens of a refusal.
    pub refusal: Vec<Value>,
    /// Roughly how many bytes it holds.
    pub weight: usize,
}

/// A half-open range of code points in the answer's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First code point.
    pub start: usize,
    /// One past the last.
    pub end: usize,
}

/// A part of the answer and what it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Citation {
    /// The part of the answer, where the upstream told it.
    pub text: Option<String>,
    /// Where that part stands, as the upstream counts; a hint only, since services differ in
    /// the unit and in whether the end is inclusive.
    pub span: Option<Span>,
    /// The sources.
    pub references: Vec<Reference>,
}

impl Citation {
    fn weight(&self) -> usize {
        let references: usize = self.references.iter().map(Reference::weight).sum();
        self.text.as_ref().map_or(0, String::len) + references
    }
}

/// One source of a citation.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// What kind of place it is (`S3`, `WEB`, …), in the upstream's spelling.
    pub kind: String,
    /// Its address: a URL, a URI or an id.
    pub location: Option<String>,
    /// The passage itself, where it is text.
    pub text: Option<String>,
    /// What the source is known by besides, in the upstream's own spelling; an object.
    pub metadata: Option<Value>,
}

impl Reference {
    fn weight(&self) -> usize {
        self.kind.len()
            + self.location.as_ref().map_or(0, String::len)
            + self.text.as_ref().map_or(0, String::len)
            + self.metadata.as_ref().map_or(0, |metadata| metadata.to_string().len())
    }
}

/// What a backend tells of its own doing. Holds prompts and personal data: never logged.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Which step it is about, from a closed set of the backend's (`orchestration`, …).
    pub step: &'static str,
    /// The agent that did it, where it was not the one asked.
    pub collaborator: Option<String>,
    /// The whole record in the upstream's own spelling, where the operator opted in.
    pub raw: Option<Value>,
    /// Roughly how many bytes it holds.
    pub weight: usize,
}

/// A file that came with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFile {
    /// Its id, ours: what it is fetched by while the session lives.
    pub id: FileId,
    /// Its name, as the upstream gave it.
    pub name: String,
    /// Its media type, as the upstream gave it.
    pub media_type: String,
    /// Its content.
    pub bytes: Bytes,
}
