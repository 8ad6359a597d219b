//! The models that have a card, and what each takes and does.

/// What a model takes and does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum Can {
    /// Take a system text.
    System,
    /// Take images.
    Images,
    /// Take documents.
    Documents,
    /// Take videos.
    Videos,
    /// Call tools.
    Tools,
    /// Be told that it must call some tool, or which.
    BeForced,
    /// Continue an assistant message at the end of the transcript.
    Continue,
    /// Think with a budget of tokens.
    ThinkByBudget,
    /// Think as much as it likes.
    ThinkAdaptively,
    /// Think as much as it is told in `reasoningConfig` (Nova) or `reasoning_effort` (others).
    ThinkByEffort,
    /// Think, always.
    ThinkAlways,
    /// Keep prefixes.
    Cache,
    /// Keep them after every message, unasked.
    CacheUnasked,
    /// Answer by a JSON schema.
    FollowSchema,
    /// Be sampled, by temperature or by top-p.
    Sample,
    /// Be sampled by both at once.
    SampleByBoth,
    /// Stop at texts.
    StopAtTexts,
    /// Answer with optimised latency.
    Hurry,
    /// Take tiers other than the default.
    Tiers,
}

/// One model.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::emulator) struct Card {
    /// Its id.
    pub(in crate::emulator) id: &'static str,
    /// What people call it.
    pub(super) name: &'static str,
    /// Who makes it.
    pub(super) provider: &'static str,
    /// Tokens that prompt and answer may have together.
    pub(in crate::emulator) context: u64,
    /// Tokens that an answer may have.
    pub(in crate::emulator) max_output: u64,
    /// Prefixes of its inference profiles.
    pub(super) profiles: &'static [&'static str],
    /// Whether its bare id can be called.
    pub(super) on_demand: bool,
    can: &'static [Can],
}

impl Card {
    /// Whether it takes or does this.
    pub(in crate::emulator) fn can(&self, what: Can) -> bool {
        self.can.contains(&what)
    }

    /// Whether it thinks before it answers when asked to.
    pub(in crate::emulator) fn can_think(&self) -> bool {
        [Can::ThinkByBudget, Can::ThinkAdaptively, Can::ThinkByEffort, Can::ThinkAlways]
            .iter()
            .any(|way| self.can(*way))
    }

    /// Whether its provider is this one.
    pub(in crate::emulator) fn is_of(&self, provider: &str) -> bool {
        self.id.split('.').next() == Some(provider)
    }

    /// Whether it makes vectors instead of answers.
    pub(in crate::emulator) fn embeds(&self) -> bool {
        self.max_output == 0
    }

    /// Whether it is one of Amazon's Nova models.
    pub(in crate::emulator) fn is_nova(&self) -> bool {
        self.id.starts_with("amazon.nova")
    }
}

const CLAUDE_3: &[Can] = &[
    Can::System,
    Can::Images,
    Can::Documents,
    Can::Tools,
    Can::BeForced,
    Can::Continue,
    Can::Sample,
    Can::SampleByBoth,
    Can::StopAtTexts,
    Can::Hurry,
];
const CLAUDE_4: &[Can] = &[
    Can::System,
    Can::Images,
    Can::Documents,
    Can::Tools,
    Can::BeForced,
    Can::Continue,
    Can::ThinkByBudget,
    Can::Cache,
    Can::Sample,
    Can::SampleByBoth,
    Can::StopAtTexts,
];
const CLAUDE_45: &[Can] = &[
    Can::System,
    Can::Images,
    Can::Documents,
    Can::Tools,
    Can::BeForced,
    Can::Continue,
    Can::ThinkByBudget,
    Can::Cache,
    Can::FollowSchema,
    Can::Sample,
    Can::StopAtTexts,
    Can::Tiers,
];
const CLAUDE_NEWEST: &[Can] = &[
    Can::System,
    Can::Images,
    Can::Documents,
    Can::Tools,
    Can::BeForced,
    Can::ThinkAdaptively,
    Can::Cache,
    Can::FollowSchema,
    Can::StopAtTexts,
    Can::Tiers,
];
const NOVA: &[Can] = &[
    Can::System,
    Can::Images,
    Can::Documents,
    Can::Videos,
    Can::Tools,
    Can::BeForced,
    Can::Continue,
    Can::Cache,
    Can::Sample,
    Can::SampleByBoth,
    Can::StopAtTexts,
    Can::Hurry,
    Can::Tiers,
];
const NOVA_TEXT: &[Can] = &[
    Can::System,
    Can::Tools,
    Can::BeForced,
    Can::Continue,
    Can::Cache,
    Can::Sample,
    Can::SampleByBoth,
    Can::StopAtTexts,
    Can::Tiers,
];
const NOVA_2: &[Can] = &[
    Can::System,
    Can::Images,
    Can::Documents,
    Can::Videos,
    Can::Tools,
    Can::BeForced,
    Can::ThinkByEffort,
    Can::Cache,
    Can::Sample,
    Can::SampleByBoth,
    Can::StopAtTexts,
    Can::Tiers,
];
const TITAN: &[Can] = &[Can::Continue, Can::Sample, Can::SampleByBoth, Can::StopAtTexts];
const LLAMA: &[Can] = &[Can::System, Can::Tools, Can::Sample, Can::SampleByBoth, Can::Hurry];
const MISTRAL: &[Can] = &[
    Can::System,
    Can::Documents,
    Can::Tools,
    Can::BeForced,
    Can::Sample,
    Can::SampleByBoth,
    Can::StopAtTexts,
];
const DEEPSEEK: &[Can] = &[
    Can::System,
    Can::Documents,
    Can::ThinkAlways,
    Can::Sample,
    Can::SampleByBoth,
    Can::StopAtTexts,
];
const GPT_OSS: &[Can] = &[
    Can::System,
    Can::Tools,
    Can::BeForced,
    Can::ThinkByEffort,
    Can::FollowSchema,
    Can::Sample,
    Can::SampleByBoth,
    Can::Tiers,
];
const UPSTREAMS: &[Can] = &[
    Can::System,
    Can::Tools,
    Can::BeForced,
    Can::ThinkByEffort,
    Can::Cache,
    Can::CacheUnasked,
    Can::FollowSchema,
    Can::Sample,
    Can::SampleByBoth,
    Can::Tiers,
];
const COHERE: &[Can] =
    &[Can::System, Can::Documents, Can::Tools, Can::Sample, Can::SampleByBoth, Can::StopAtTexts];

/// Every model that has a card. The first of a provider stands for its others.
pub(in crate::emulator) const CARDS: &[Card] = &[
    Card {
        id: "anthropic.claude-sonnet-4-20250514-v1:0",
        name: "Claude Sonnet 4",
        provider: "Anthropic",
        context: 200_000,
        max_output: 64_000,
        profiles: &["us", "eu", "apac", "global"],
        on_demand: false,
        can: CLAUDE_4,
    },
    Card {
        id: "anthropic.claude-3-haiku-20240307-v1:0",
        name: "Claude 3 Haiku",
        provider: "Anthropic",
        context: 200_000,
        max_output: 4_096,
        profiles: &["us", "eu", "apac"],
        on_demand: true,
        can: CLAUDE_3,
    },
    Card {
        id: "anthropic.claude-3-7-sonnet-20250219-v1:0",
        name: "Claude 3.7 Sonnet",
        provider: "Anthropic",
        context: 200_000,
        max_output: 64_000,
        profiles: &["us", "eu", "apac"],
        on_demand: false,
        can: CLAUDE_4,
    },
    Card {
        id: "anthropic.claude-sonnet-4-5-20250929-v1:0",
        name: "Claude Sonnet 4.5",
        provider: "Anthropic",
        context: 200_000,
        max_output: 64_000,
        profiles: &["us", "eu", "jp", "au", "global"],
        on_demand: false,
        can: CLAUDE_45,
    },
    Card {
        id: "anthropic.claude-haiku-4-5-20251001-v1:0",
        name: "Claude Haiku 4.5",
        provider: "Anthropic",
        context: 200_000,
        max_output: 64_000,
        profiles: &["us", "eu", "jp", "au", "global"],
        on_demand: false,
        can: CLAUDE_45,
    },
    Card {
        id: "anthropic.claude-opus-4-7",
        name: "Claude Opus 4.7",
        provider: "Anthropic",
        context: 1_000_000,
        max_output: 128_000,
        profiles: &["us", "eu", "jp", "au", "global"],
        on_demand: false,
        can: CLAUDE_NEWEST,
    },
    Card {
        id: "amazon.nova-lite-v1:0",
        name: "Nova Lite",
        provider: "Amazon",
        context: 300_000,
        max_output: 10_000,
        profiles: &["us", "eu", "apac"],
        on_demand: true,
        can: NOVA,
    },
    Card {
        id: "amazon.nova-pro-v1:0",
        name: "Nova Pro",
        provider: "Amazon",
        context: 300_000,
        max_output: 10_000,
        profiles: &["us", "eu", "apac"],
        on_demand: true,
        can: NOVA,
    },
    Card {
        id: "amazon.nova-micro-v1:0",
        name: "Nova Micro",
        provider: "Amazon",
        context: 128_000,
        max_output: 10_000,
        profiles: &["us", "eu", "apac"],
        on_demand: true,
        can: NOVA_TEXT,
    },
    Card {
        id: "amazon.nova-2-lite-v1:0",
        name: "Nova 2 Lite",
        provider: "Amazon",
        context: 1_000_000,
        max_output: 64_000,
        profiles: &["us", "eu", "jp", "global"],
        on_demand: false,
        can: NOVA_2,
    },
    Card {
        id: "amazon.titan-text-express-v1",
        name: "Titan Text G1 - Express",
        provider: "Amazon",
        context: 8_192,
        max_output: 8_192,
        profiles: &[],
        on_demand: true,
        can: TITAN,
    },
    Card {
        id: "amazon.titan-text-lite-v1",
        name: "Titan Text G1 - Lite",
        provider: "Amazon",
        context: 4_096,
        max_output: 4_096,
        profiles: &[],
        on_demand: true,
        can: TITAN,
    },
    Card {
        id: "meta.llama3-3-70b-instruct-v1:0",
        name: "Llama 3.3 70B Instruct",
        provider: "Meta",
        context: 128_000,
        max_output: 8_192,
        profiles: &["us"],
        on_demand: false,
        can: LLAMA,
    },
    Card {
        id: "mistral.mistral-large-2407-v1:0",
        name: "Mistral Large (24.07)",
        provider: "Mistral AI",
        context: 128_000,
        max_output: 8_192,
        profiles: &[],
        on_demand: true,
        can: MISTRAL,
    },
    Card {
        id: "deepseek.r1-v1:0",
        name: "DeepSeek-R1",
        provider: "DeepSeek",
        context: 128_000,
        max_output: 32_768,
        profiles: &["us"],
        on_demand: false,
        can: DEEPSEEK,
    },
    Card {
        id: "openai.gpt-oss-120b-1:0",
        name: "gpt-oss-120b",
        provider: "OpenAI",
        context: 128_000,
        max_output: 128_000,
        profiles: &[],
        on_demand: true,
        can: GPT_OSS,
    },
    Card {
        id: "cohere.command-r-v1:0",
        name: "Command R",
        provider: "Cohere",
        context: 128_000,
        max_output: 4_096,
        profiles: &[],
        on_demand: true,
        can: COHERE,
    },
    embedder("amazon.titan-embed-text-v2:0", "Titan Text Embeddings V2", "Amazon", 8_192),
    embedder("amazon.titan-embed-text-v1", "Titan Embeddings G1 - Text", "Amazon", 8_192),
    embedder("amazon.titan-embed-image-v1", "Titan Multimodal Embeddings G1", "Amazon", 128),
    embedder("amazon.nova-2-multimodal-embeddings-v1:0", "Nova Embeddings", "Amazon", 8_192),
    embedder("cohere.embed-english-v3", "Embed English", "Cohere", 512),
    embedder("cohere.embed-multilingual-v3", "Embed Multilingual", "Cohere", 512),
    embedder("cohere.embed-v4:0", "Embed v4", "Cohere", 128_000),
];

/// What answers as an OpenAI upstream, whatever the model is called.
pub(in crate::emulator) const UPSTREAM: Card = Card {
    id: "upstream",
    name: "Upstream",
    provider: "OpenAI",
    context: 128_000,
    max_output: 128_000,
    profiles: &[],
    on_demand: true,
    can: UPSTREAMS,
};

const fn embedder(
    id: &'static str,
    name: &'static str,
    provider: &'static str,
    context: u64,
) -> Card {
    let (profiles, can) = (&[] as &[&str], &[] as &[Can]);
    Card { id, name, provider, context, max_output: 0, profiles, on_demand: true, can }
}
