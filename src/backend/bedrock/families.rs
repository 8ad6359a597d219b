//! What which family of models can do, as one table.
//!
//! Converse is one API, yet models differ in what they take: tools, images, a system prompt,
//! thinking. The table says so in one place, and everything else asks it. A family is known by a
//! piece of the model's id, so that inference profiles (`us.…`, `global.…`) and the ARNs that
//! name a model fall under it too. A model that no row knows is trusted with everything that
//! Converse has, and Bedrock's own refusal goes to the client.
//! (Amazon Bedrock User Guide, "Supported models and model features" of the Converse API,
//! "Prompt caching", "Structured outputs", and the pages of each model's parameters.)

/// What a family can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Family {
    /// Pieces of the ids of its models, lowercase; any one of them tells it.
    ids: &'static [&'static str],
    /// Its maker's way with thinking tokens, signatures and vendor fields.
    pub(super) maker: Maker,
    /// Whether there is a place for instructions beside the messages.
    pub(super) system: bool,
    /// Whether and how it calls tools.
    pub(super) tools: Tools,
    /// How far a call can be forced.
    pub(super) forced: Forced,
    /// What it reads besides text.
    pub(super) reads: Reads,
    /// How it is told to think.
    pub(super) thinking: Thinking,
    /// Which sampling parameters it takes.
    pub(super) sampling: Sampling,
    /// Whether it takes stop sequences.
    pub(super) stops: bool,
    /// Whether it keeps to a JSON schema by itself, in answers (`outputConfig.textFormat`) and in
    /// the arguments of tools (`strict`).
    pub(super) native_schema: bool,
    /// Where its prompts can be cached.
    pub(super) cache: Caching,
}

impl Family {
    /// Whether it stands in the table.
    pub(super) fn is_known(&self) -> bool {
        !self.ids.is_empty()
    }
}

/// Who made a family, where that decides the spelling of what Converse has no member for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    Anthropic,
    Amazon,
    Other,
}

/// Whether and how a family calls tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tools {
    /// Not at all: earlier calls are told as text.
    None,
    /// Only in answers that come in one piece.
    Whole,
    /// In streams too.
    Streamed,
}

/// How far a call can be forced (`toolChoice`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Forced {
    /// Not at all.
    Never,
    /// Some call.
    Any,
    /// A certain one.
    Named,
}

/// What a family reads besides text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reads {
    pub(super) images: bool,
    pub(super) documents: bool,
    pub(super) video: bool,
    pub(super) audio: bool,
    /// Images and documents within tool results, and their `status`.
    pub(super) rich_results: bool,
}

/// How a family is told to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinking {
    /// It does not, or takes no word on it.
    None,
    /// It always does, as much as it likes.
    Always,
    /// `thinking: {"type": "enabled", "budget_tokens": n}`, n from 1024 and below `maxTokens`.
    Budget,
    /// `thinking: {"type": "adaptive"}`, and `outputConfig.effort`.
    Adaptive,
    /// `reasoningConfig: {"type": "enabled", "maxReasoningEffort": …}`.
    ReasoningConfig,
    /// `reasoning_effort`, as in OpenAI's API.
    ReasoningEffort,
}

/// Which sampling parameters a family takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sampling {
    /// All of them.
    Free,
    /// Temperature or `top_p`, not both.
    OneOf,
    /// None.
    Fixed,
}

/// Where a family's prompts can be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caching {
    /// Nowhere.
    None,
    /// After the system prompt and within messages.
    Prompts,
    /// After the tools as well.
    Tools,
    /// The same, and for an hour where that is wanted.
    Hour,
}

impl Caching {
    /// Whether the tools can be kept.
    pub(super) fn has_tools(self) -> bool {
        matches!(self, Self::Tools | Self::Hour)
    }
}

const TEXT_ONLY: Reads =
    Reads { images: false, documents: false, video: false, audio: false, rich_results: false };
const DOCUMENTS: Reads = Reads { documents: true, ..TEXT_ONLY };
const IMAGES: Reads = Reads { images: true, ..DOCUMENTS };
const CLAUDE: Reads = Reads { rich_results: true, ..IMAGES };
const NOVA: Reads = Reads { video: true, ..CLAUDE };

/// A model that no row knows: Bedrock will say what it cannot do.
const UNKNOWN: Family = Family {
    ids: &[],
    maker: Maker::Other,
    system: true,
    tools: Tools::Streamed,
    forced: Forced::Named,
    reads: Reads { images: true, documents: true, video: true, audio: true, rich_results: true },
    thinking: Thinking::None,
    sampling: Sampling::Free,
    stops: true,
    native_schema: false,
    cache: Caching::None,
};

const CLAUDE_3: Family = Family {
    ids: &["claude-3"],
    maker: Maker::Anthropic,
    forced: Forced::Named,
    reads: CLAUDE,
    ..UNKNOWN
};

/// Those that think by a budget.
const CLAUDE_4: Family = Family {
    ids: &["claude-sonnet-4", "claude-opus-4"],
    thinking: Thinking::Budget,
    cache: Caching::Tools,
    ..CLAUDE_3
};

const NOVA_1: Family = Family {
    ids: &["nova-"],
    maker: Maker::Amazon,
    forced: Forced::Named,
    reads: NOVA,
    cache: Caching::Prompts,
    ..UNKNOWN
};

/// Llama from 3.1 on.
const LLAMA: Family = Family {
    ids: &["meta.llama"],
    tools: Tools::Whole,
    forced: Forced::Never,
    reads: DOCUMENTS,
    stops: false,
    ..UNKNOWN
};

/// The newer models with open weights.
const OPEN: Family = Family {
    ids: &["qwen.", "google.", "nvidia.", "minimax.", "moonshot", "zai.", "writer."],
    forced: Forced::Never,
    native_schema: true,
    ..UNKNOWN
};

const BARE: Family = Family { system: false, tools: Tools::None, reads: TEXT_ONLY, ..UNKNOWN };

/// Every family, the narrower before the wider.
const FAMILIES: &[Family] = &[
    Family { ids: &["claude-v2", "claude-instant"], tools: Tools::None, ..CLAUDE_3 },
    Family { ids: &["claude-3-7"], thinking: Thinking::Budget, cache: Caching::Tools, ..CLAUDE_3 },
    Family {
        ids: &["claude-3-5-haiku", "claude-3-5-sonnet-20241022"],
        cache: Caching::Tools,
        ..CLAUDE_3
    },
    CLAUDE_3,
    Family { ids: &["claude-opus-4-1"], sampling: Sampling::OneOf, ..CLAUDE_4 },
    Family {
        ids: &["claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-5"],
        sampling: Sampling::OneOf,
        native_schema: true,
        cache: Caching::Hour,
        ..CLAUDE_4
    },
    Family {
        ids: &["claude-sonnet-4-6", "claude-opus-4-6"],
        sampling: Sampling::OneOf,
        thinking: Thinking::Adaptive,
        native_schema: true,
        cache: Caching::Hour,
        ..CLAUDE_4
    },
    Family { ids: &["claude-sonnet-4-2", "claude-opus-4-2"], ..CLAUDE_4 },
    // What came after takes neither budgets nor sampling parameters.
    Family {
        ids: &["anthropic.claude"],
        thinking: Thinking::Adaptive,
        sampling: Sampling::Fixed,
        native_schema: true,
        cache: Caching::Hour,
        ..CLAUDE_4
    },
    Family { ids: &["nova-micro"], reads: TEXT_ONLY, ..NOVA_1 },
    Family { ids: &["nova-2"], thinking: Thinking::ReasoningConfig, ..NOVA_1 },
    NOVA_1,
    Family { ids: &["amazon.titan-text", "titan-tg1"], maker: Maker::Amazon, ..BARE },
    Family { ids: &["llama2", "llama3-8b", "llama3-70b"], tools: Tools::None, ..LLAMA },
    Family { ids: &["llama3-2-11b", "llama3-2-90b", "llama4"], reads: IMAGES, ..LLAMA },
    LLAMA,
    Family { ids: &["mistral-7b", "mixtral-8x7b"], reads: DOCUMENTS, ..BARE },
    Family { ids: &["pixtral"], reads: IMAGES, forced: Forced::Any, ..UNKNOWN },
    Family { ids: &["voxtral"], reads: Reads { audio: true, ..TEXT_ONLY }, ..OPEN },
    Family {
        ids: &["mistral-large", "mistral-small"],
        tools: Tools::Whole,
        forced: Forced::Any,
        reads: DOCUMENTS,
        ..UNKNOWN
    },
    Family { ids: &["cohere.command-text", "cohere.command-light", "ai21.j2"], ..BARE },
    Family { ids: &["cohere.command"], forced: Forced::Never, reads: DOCUMENTS, ..UNKNOWN },
    Family {
        ids: &["ai21.jamba"],
        tools: Tools::Whole,
        forced: Forced::Never,
        reads: DOCUMENTS,
        ..UNKNOWN
    },
    Family {
        ids: &["deepseek.r1"],
        tools: Tools::None,
        thinking: Thinking::Always,
        reads: DOCUMENTS,
        ..UNKNOWN
    },
    Family { ids: &["deepseek."], thinking: Thinking::ReasoningEffort, reads: TEXT_ONLY, ..OPEN },
    Family {
        ids: &["openai.gpt-oss"],
        thinking: Thinking::ReasoningEffort,
        reads: TEXT_ONLY,
        stops: false,
        ..OPEN
    },
    Family {
        ids: &["openai.gpt", "xai."],
        thinking: Thinking::ReasoningEffort,
        stops: false,
        ..OPEN
    },
    OPEN,
];

/// The family of a model, by its id, an inference profile's or an ARN.
pub(super) fn of(model_id: &str) -> &'static Family {
    let id = model_id.to_ascii_lowercase();
    let knows = |family: &&Family| family.ids.iter().any(|piece| id.contains(piece));
    FAMILIES.iter().find(knows).unwrap_or(&UNKNOWN)
}

/// Who makes models on Bedrock: what a bare id begins with, after a region if there is one.
const PROVIDERS: &[&str] = &[
    "ai21",
    "amazon",
    "anthropic",
    "cohere",
    "deepseek",
    "google",
    "luma",
    "meta",
    "minimax",
    "mistral",
    "moonshot",
    "moonshotai",
    "nvidia",
    "openai",
    "qwen",
    "stability",
    "twelvelabs",
    "writer",
    "xai",
    "zai",
];

/// Whether a name says by itself that it is a model of Bedrock: a bare id, an inference
/// profile's id, or an ARN.
pub(in crate::backend) fn is_model_id(name: &str) -> bool {
    if is_arn(name) {
        return true;
    }
    let mut pieces = name.splitn(3, '.');
    let (Some(first), Some(second)) = (pieces.next(), pieces.next()) else { return false };
    // A region stands before the provider: `us`, `apac`, `us-gov`, `global`.
    PROVIDERS.contains(&first) && !second.is_empty()
        || PROVIDERS.contains(&second)
            && pieces.next().is_some_and(|model| !model.is_empty())
            && first.len() <= 6
            && first.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

/// Whether this is the ARN of something that Converse takes for a model.
pub(super) fn is_arn(name: &str) -> bool {
    let mut fields = name.splitn(6, ':');
    fields.next() == Some("arn")
        && fields.next().is_some_and(|partition| partition.starts_with("aws"))
        && matches!(fields.next(), Some("bedrock" | "sagemaker"))
        && fields.nth(2).is_some_and(|resource| !resource.is_empty())
}

/// The region that an ARN belongs to, if it is one and names one.
pub(super) fn region_of_arn(name: &str) -> Option<&str> {
    is_arn(name).then(|| name.split(':').nth(3))?.filter(|region| !region.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_known_by_id_profile_and_arn_alike() {
        let budget = [
            "anthropic.claude-3-7-sonnet-20250219-v1:0",
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-1-20250805-v1:0",
            "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ];
        for id in budget {
            assert_eq!(of(id).thinking, Thinking::Budget, "{id}");
        }
        assert_eq!(of("anthropic.claude-opus-4-6-v1").thinking, Thinking::Adaptive);
        assert_eq!(of("us.anthropic.claude-opus-5-v1:0").sampling, Sampling::Fixed);
        assert_eq!(of("anthropic.claude-3-haiku-20240307-v1:0").thinking, Thinking::None);
        assert_eq!(of("us.amazon.nova-2-lite-v1:0").thinking, Thinking::ReasoningConfig);
        assert!(!of("amazon.nova-micro-v1:0").reads.images);
        assert_eq!(of("us.meta.llama3-1-70b-instruct-v1:0").tools, Tools::Whole);
        assert_eq!(of("meta.llama3-8b-instruct-v1:0").tools, Tools::None);
        assert_eq!(of("openai.gpt-oss-120b-1:0").thinking, Thinking::ReasoningEffort);
    }

    #[test]
    fn a_model_that_nobody_knows_is_trusted() {
        let opaque = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123";
        assert_eq!(of(opaque), &UNKNOWN);
        assert_eq!(of("newcomer.model-1"), &UNKNOWN);
    }

    #[test]
    fn every_piece_of_an_id_leads_to_its_own_row() {
        for family in FAMILIES {
            for piece in family.ids {
                assert_eq!(of(piece).ids, family.ids, "{piece} is hidden by an earlier row");
            }
        }
    }

    #[test]
    fn bedrock_ids_are_told_from_other_names() {
        let ids = [
            "anthropic.claude-3-haiku-20240307-v1:0",
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            "us-gov.amazon.nova-lite-v1:0",
            "ai21.jamba-1-5-large-v1:0",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/x",
            "arn:aws-us-gov:sagemaker:us-gov-west-1:123456789012:endpoint/e",
        ];
        for id in ids {
            assert!(is_model_id(id), "{id}");
        }
        let others = [
            "gpt-4.1",
            "loan-advisor",
            "anthropic.",
            "us.anthropic.",
            "some.anthropic-thing.x",
            "arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/x",
            "arn:aws:s3:::bucket",
        ];
        for name in others {
            assert!(!is_model_id(name), "{name}");
        }
    }

    #[test]
    fn an_arn_names_its_region() {
        let arn = "arn:aws:bedrock:eu-west-1:123456789012:provisioned-model/abc";
        assert_eq!(region_of_arn(arn), Some("eu-west-1"));
        assert_eq!(region_of_arn("amazon.nova-lite-v1:0"), None);
    }
}
