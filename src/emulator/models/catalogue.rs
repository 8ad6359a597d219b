//! Which models there are, what each can do, and how a model is named.
//!
//! A name is a foundation model's id, a cross-region inference profile's, or an ARN of either. An
//! id that is not in the table is taken when its provider is: it then behaves as that provider's
//! usual model. ARNs that do not tell the model (application profiles, provisioned and imported
//! models) mean [`OPAQUE`].

use http::StatusCode;
use serde_json::{Value, json};

use crate::emulator::refusal::Refusal;

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
    name: &'static str,
    provider: &'static str,
    /// Tokens that prompt and answer may have together.
    pub(in crate::emulator) context: u64,
    /// Tokens that an answer may have.
    pub(in crate::emulator) max_output: u64,
    /// Prefixes of its inference profiles.
    profiles: &'static [&'static str],
    /// Whether its bare id can be called.
    on_demand: bool,
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

const fn embedder(
    id: &'static str,
    name: &'static str,
    provider: &'static str,
    context: u64,
) -> Card {
    let (profiles, can) = (&[] as &[&str], &[] as &[Can]);
    Card { id, name, provider, context, max_output: 0, profiles, on_demand: true, can }
}

/// The model behind an ARN that does not tell.
const OPAQUE: &str = "us.anthropic.claude-sonnet-4-20250514-v1:0";
/// Prefixes of cross-region inference profiles.
const PREFIXES: &[&str] = &["us", "eu", "apac", "au", "jp", "in", "us-gov", "global"];
/// Resources whose names do not tell the model.
const OPAQUE_RESOURCES: &[&str] = &[
    "application-inference-profile",
    "provisioned-model",
    "custom-model",
    "custom-model-deployment",
    "imported-model",
    "prompt-router",
    "default-prompt-router",
];

/// The model that a name means.
///
/// # Errors
/// `ValidationException` when it means none, or one that only an inference profile reaches.
pub(in crate::emulator) fn find(name: &str) -> Result<&'static Card, Refusal> {
    let id = match name.strip_prefix("arn:") {
        Some(arn) => match resource(arn).ok_or_else(invalid)? {
            (kind, _) if OPAQUE_RESOURCES.contains(&kind) => OPAQUE,
            ("inference-profile" | "foundation-model", id) => id,
            _ => return Err(invalid()),
        },
        None => name,
    };
    let (prefix, bare) = match id.split_once('.') {
        Some((prefix, bare)) if PREFIXES.contains(&prefix) => (Some(prefix), bare),
        _ => (None, id),
    };
    let Some(card) = CARDS.iter().find(|card| is_id_of(card, bare)) else {
        return kin(bare).ok_or_else(invalid);
    };
    match prefix {
        None if !card.on_demand => Err(Refusal::validation(format!(
            "Invocation of model ID {bare} with on-demand throughput isn\u{2019}t supported. Retry \
             your request with the ID or ARN of an inference profile that contains this model."
        ))),
        Some(prefix) if !card.profiles.contains(&prefix) => Err(invalid()),
        _ => Ok(card),
    }
}

/// The kind and the id of a resource in an ARN without its `arn:`.
fn resource(arn: &str) -> Option<(&str, &str)> {
    let mut parts = arn.splitn(5, ':');
    let (_, service) = (parts.next()?, parts.next()?);
    let resource = parts.nth(2)?;
    if service != "bedrock" {
        return None;
    }
    resource.split_once('/').filter(|(_, id)| !id.is_empty())
}

/// A context suffix such as `:48k` belongs to the id too.
fn is_id_of(card: &Card, id: &str) -> bool {
    id.strip_prefix(card.id).is_some_and(|rest| {
        let size = rest.strip_prefix(':').and_then(|rest| rest.strip_suffix('k'));
        rest.is_empty() || size.is_some_and(|size| size.parse::<u32>().is_ok())
    })
}

/// The first model of the provider that an id names, where it looks like an id at all.
fn kin(id: &str) -> Option<&'static Card> {
    let (provider, rest) = id.split_once('.')?;
    let allows =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".:-".contains(&byte);
    let looks_right = !rest.is_empty() && rest.bytes().all(allows);
    CARDS.iter().find(|card| looks_right && card.is_of(provider))
}

fn invalid() -> Refusal {
    Refusal::validation("The provided model identifier is invalid.")
}

/// `ListFoundationModels`
pub(in crate::emulator) fn foundation_models(query: &str) -> Value {
    let wanted = |name: &str| {
        let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        pair.map(str::to_ascii_lowercase)
    };
    let (provider, output, inference) =
        (wanted("byProvider"), wanted("byOutputModality"), wanted("byInferenceType"));
    let fits = |card: &&Card| {
        let modality = if card.embeds() { "embedding" } else { "text" };
        provider.as_ref().is_none_or(|name| *name == card.provider.to_ascii_lowercase())
            && output.as_ref().is_none_or(|kind| kind == modality)
            && inference.as_ref().is_none_or(|kind| (kind == "on_demand") == card.on_demand)
    };
    let models: Vec<Value> = CARDS.iter().filter(fits).map(summary).collect();
    json!({"modelSummaries": models})
}

/// `GetFoundationModel`
pub(in crate::emulator) fn foundation_model(id: &str) -> Result<Value, Refusal> {
    let id = id.rsplit('/').next().unwrap_or(id);
    let card = CARDS.iter().find(|card| card.id == id).ok_or_else(|| Refusal {
        status: StatusCode::NOT_FOUND,
        kind: Some("ResourceNotFoundException"),
        message: "Could not resolve the foundation model from the provided model identifier."
            .into(),
    })?;
    Ok(json!({"modelDetails": summary(card)}))
}

fn summary(card: &Card) -> Value {
    let mut inputs = vec!["TEXT"];
    let sees = card.can(Can::Images) || card.id.contains("image") || card.id.contains("multimodal");
    inputs.extend(sees.then_some("IMAGE"));
    inputs.extend(card.can(Can::Videos).then_some("VIDEO"));
    let (outputs, streams) = if card.embeds() { (["EMBEDDING"], false) } else { (["TEXT"], true) };
    let types = if card.on_demand { ["ON_DEMAND"] } else { ["INFERENCE_PROFILE"] };
    json!({
        "modelArn": format!("arn:aws:bedrock:us-east-1::foundation-model/{}", card.id),
        "modelId": card.id,
        "modelName": card.name,
        "providerName": card.provider,
        "inputModalities": inputs,
        "outputModalities": outputs,
        "responseStreamingSupported": streams,
        "customizationsSupported": [],
        "inferenceTypesSupported": types,
        "modelLifecycle": {"status": if card.id.contains("titan-text") { "LEGACY" } else { "ACTIVE" }},
    })
}

/// `ListInferenceProfiles`, page by page.
///
/// # Errors
/// `ValidationException` when the query makes no sense.
pub(in crate::emulator) fn inference_profiles(
    query: &str,
    account: &str,
) -> Result<Value, Refusal> {
    let value =
        |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let number = |name: &str, otherwise: usize| match value(name) {
        Some(text) => {
            let bad = || Refusal::validation(format!("{name} is not a number that fits"));
            text.parse().map_err(|_| bad())
        }
        None => Ok(otherwise),
    };
    let (most, from) = (number("maxResults", 1_000)?, number("nextToken", 0)?);
    if !(1..=1_000).contains(&most) {
        return Err(Refusal::validation("maxResults must be 1 to 1000"));
    }
    let is_system = value("type").is_none_or(|kind| kind == "SYSTEM_DEFINED");
    let all = CARDS.iter().filter(|_| is_system);
    let mut profiles = all.flat_map(|card| card.profiles.iter().map(move |prefix| (card, *prefix)));
    let page: Vec<Value> = profiles
        .by_ref()
        .skip(from)
        .take(most)
        .map(|(card, prefix)| profile(card, prefix, account))
        .collect();
    let mut body = json!({"inferenceProfileSummaries": page});
    if profiles.next().is_some() {
        body["nextToken"] = json!((from + most).to_string());
    }
    Ok(body)
}

fn profile(card: &Card, prefix: &str, account: &str) -> Value {
    let id = format!("{prefix}.{}", card.id);
    let model = |region: &str| json!({"modelArn": format!("arn:aws:bedrock:{region}::foundation-model/{}", card.id)});
    json!({
        "inferenceProfileName": format!("{} {}", prefix.to_ascii_uppercase(), card.name),
        "inferenceProfileId": id,
        "inferenceProfileArn": format!("arn:aws:bedrock:us-east-1:{account}:inference-profile/{id}"),
        "description": format!("Routes requests to {} in {prefix} regions.", card.name),
        "models": [model("us-east-1"), model("us-west-2")],
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
        "createdAt": "2025-06-01T00:00:00Z",
        "updatedAt": "2025-06-01T00:00:00Z",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str) -> Option<&'static str> {
        find(name).ok().map(|card| card.id)
    }

    #[test]
    fn a_model_is_found_by_every_form_of_its_name() {
        let sonnet = Some("anthropic.claude-sonnet-4-20250514-v1:0");
        for name in [
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            "global.anthropic.claude-sonnet-4-20250514-v1:0",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-20250514-v1:0",
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abcdef123456",
        ] {
            assert_eq!(found(name), sonnet, "{name}");
        }
        let nova = Some("amazon.nova-lite-v1:0");
        assert_eq!(found("amazon.nova-lite-v1:0"), nova);
        assert_eq!(found("amazon.nova-lite-v1:0:24k"), nova);
        assert_eq!(
            found("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"),
            nova
        );
        assert_eq!(found("mistral.brand-new-v9:0"), Some("mistral.mistral-large-2407-v1:0"));
    }

    #[test]
    fn a_name_that_means_nothing_is_invalid() {
        for name in ["gpt-4o", "nosuch.model-v1:0", "arn:aws:s3:::bucket", "arn:aws", "", "jp.x.y"]
        {
            let refusal = find(name).unwrap_err();
            assert_eq!(refusal.message, "The provided model identifier is invalid.", "{name}");
        }
        assert_eq!(found("jp.amazon.nova-lite-v1:0"), None);
    }

    #[test]
    fn a_model_with_profiles_only_is_not_called_by_its_bare_id() {
        let refusal = find("anthropic.claude-sonnet-4-20250514-v1:0").unwrap_err();
        assert!(refusal.message.contains("on-demand throughput"));
    }

    #[test]
    fn the_catalogue_is_filtered_and_paged() {
        let embedders = foundation_models("byOutputModality=EMBEDDING&byProvider=cohere");
        assert_eq!(embedders["modelSummaries"].as_array().unwrap().len(), 3);
        let page = inference_profiles("maxResults=2&nextToken=1", "123456789012").unwrap();
        assert_eq!(page["inferenceProfileSummaries"].as_array().unwrap().len(), 2);
        assert_eq!(page["nextToken"], "3");
        assert!(inference_profiles("maxResults=0", "1").is_err());
        let none = inference_profiles("type=APPLICATION", "1").unwrap();
        assert_eq!(none["inferenceProfileSummaries"], json!([]));
    }
}
