//! Which models there are, what each can do, and how a model is named.
//!
//! A name is a foundation model's id, a cross-region inference profile's, or an ARN of either. An
//! id that is not in the table is taken when its provider is: it then behaves as that provider's
//! usual model. ARNs that do not tell the model (application profiles, provisioned and imported
//! models) mean [`OPAQUE`].

use http::StatusCode;
use serde_json::{Value, json};

use crate::emulator::refusal::Refusal;

use super::cards::{CARDS, Can, Card};

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

/// `GetInferenceProfile`: of one that every account has, or of one that an account made for
/// itself, by their ids or ARNs.
///
/// # Errors
/// `ResourceNotFoundException`
pub(in crate::emulator) fn inference_profile(name: &str, account: &str) -> Result<Value, Refusal> {
    let found = || {
        let (kind, id) = match name.strip_prefix("arn:") {
            Some(arn) => resource(arn)?,
            None => ("inference-profile", name),
        };
        let is_own = kind == "application-inference-profile";
        let (prefix, bare) = if is_own { OPAQUE } else { id }.split_once('.')?;
        let card = CARDS.iter().find(|card| card.id == bare && card.profiles.contains(&prefix))?;
        let mut found = profile(card, prefix, account);
        if is_own {
            found["inferenceProfileId"] = json!(id);
            found["inferenceProfileArn"] = json!(name);
            found["type"] = json!("APPLICATION");
        }
        Some(found)
    };
    found().ok_or_else(|| Refusal {
        status: StatusCode::NOT_FOUND,
        kind: Some("ResourceNotFoundException"),
        message: "The specified inference profile is not found.".into(),
    })
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
