//! Where formats are spoken: their paths, and what the paths presume.

use bytes::Bytes;

/// A place where a format is spoken, and perhaps others with it: formats that name the same
/// endpoint share it.
#[derive(Debug)]
pub struct Endpoint {
    /// The route's name in metrics and logs.
    pub name: &'static str,
    /// Its paths; `{}` stands for one segment, percent-encoded, which is the model's name.
    pub paths: &'static [&'static str],
    /// Whether answers stream there.
    pub streams: Streams,
    /// Whether voice platforms ask there, which bear less silence.
    pub is_for_voice: bool,
    /// What is asked for there.
    pub asks: Asks,
}

/// Whether the answers of an endpoint stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// Where the body says so.
    IfAsked,
    /// Unless the body declines.
    UnlessDeclined,
    /// Whatever the body says.
    Always,
    /// Never, whatever the body says.
    Never,
}

impl Streams {
    /// Whether to stream where the body is silent.
    #[must_use]
    pub fn presumed(self) -> bool {
        matches!(self, Self::UnlessDeclined | Self::Always)
    }

    /// Whether to stream, given what the body asks for.
    #[must_use]
    pub fn settle(self, asked: bool) -> bool {
        match self {
            Self::IfAsked | Self::UnlessDeclined => asked,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// What an endpoint is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Asks {
    /// A turn.
    Turn,
    /// How many tokens a turn would read; this writes the number down.
    Tokens(fn(u64) -> Bytes),
}

/// OpenAI's chat, and the paths that its clients make of a base URL.
///
/// The native formats of Bedrock's models are taken here too, told by their bodies.
pub(super) const CHAT: &[Endpoint] = &[
    Endpoint {
        name: "/v1/chat/completions",
        paths: &[
            "/v1/chat/completions",
            "/chat/completions",
            "/v1/chat/completions/chat/completions",
            "/chat/completions/chat/completions",
        ],
        streams: Streams::IfAsked,
        is_for_voice: false,
        asks: Asks::Turn,
    },
    Endpoint {
        name: "/api/chat/completions",
        paths: &[
            "/api/chat/completions",
            "/api/chat/completions/chat/completions",
            "/api/agent/query/openai",
        ],
        streams: Streams::UnlessDeclined,
        is_for_voice: true,
        asks: Asks::Turn,
    },
];

/// Headers by which clients of `InvokeModel` ask for a guardrail; guardrails are set where models
/// are configured.
pub(super) const GUARDRAIL: &[&str] =
    &["x-amzn-bedrock-guardrailidentifier", "x-amzn-bedrock-guardrailversion"];

/// `InvokeModel` and its stream: the native formats of Bedrock's models, told by their bodies.
pub(super) const INVOKE: &[Endpoint] = &[
    Endpoint {
        name: "/model/{id}/invoke",
        paths: &["/model/{}/invoke"],
        streams: Streams::Never,
        is_for_voice: false,
        asks: Asks::Turn,
    },
    Endpoint {
        name: "/model/{id}/invoke-with-response-stream",
        paths: &["/model/{}/invoke-with-response-stream"],
        streams: Streams::Always,
        is_for_voice: false,
        asks: Asks::Turn,
    },
];
