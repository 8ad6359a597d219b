//! Bedrock's own models: which there are to talk to or to make vectors with, by id and by
//! cross-region inference profile.
//!
//! (Amazon Bedrock API Reference, "ListFoundationModels", "ListInferenceProfiles" and
//! "GetInferenceProfile"; API model of 2023-04-20.)

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_bedrock::Client;
use aws_sdk_bedrock::types::{
    FoundationModelLifecycleStatus, FoundationModelSummary, InferenceProfileStatus,
    InferenceProfileSummary, InferenceProfileType, InferenceType, ModelModality,
};

use crate::backend::bedrock;
use crate::turn::ModelName;

use super::control_plane::{Trouble, call};

/// Profiles asked for at once; the service takes 1 to 1,000.
const PAGE: i32 = 1_000;
/// Pages of profiles that are read.
const PAGES: usize = 10;
/// Models that are kept at most; AWS has a few hundred.
const MOST: usize = 2_000;
/// What stands before an id in a direct name.
const PREFIX: &str = "bedrock/";

/// A model that the credentials can see: one of Bedrock's or, with a sign-in, of CodeWhisperer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundModel {
    /// The direct name by which it can be asked: `bedrock/MODEL_ID`, `codewhisperer[/MODEL_ID]`.
    pub model: ModelName,
    /// The kind of backend that answers for it.
    pub kind: &'static str,
    /// What its maker calls it, or the profile that leads to it.
    pub name: String,
    /// Who made it, in lower case; CodeWhisperer does not say.
    pub provider: String,
    /// What it reads: `text`, `image`, …
    pub reads: Vec<String>,
    /// What it makes: `text`, `embedding`, …
    pub makes: Vec<String>,
    /// Whether it answers in streams.
    pub streams: bool,
}

/// What of a direct name tells the model: its id.
pub(super) fn id_of(name: &ModelName) -> &str {
    name.as_str().strip_prefix(PREFIX).unwrap_or(name.as_str())
}

/// The catalogue of one region.
#[derive(Debug)]
pub(in crate::backend) struct Catalogue {
    client: Client,
    /// Before the first further attempt of a call.
    retry_delay: Duration,
}

impl Catalogue {
    pub(in crate::backend) fn new(client: Client, retry_delay: Duration) -> Self {
        Self { client, retry_delay }
    }

    /// The id of the model that an inference profile leads to, if it leads to one.
    pub(in crate::backend) async fn behind(
        &self,
        profile: &str,
    ) -> Result<Option<String>, Trouble> {
        let ask = || self.client.get_inference_profile().inference_profile_identifier(profile);
        let told = call(self.retry_delay, || ask().send()).await?;
        let arns = told.models.iter().filter_map(|model| model.model_arn.as_deref());
        let mut ids = arns.filter_map(|arn| arn.rsplit_once("foundation-model/"));
        Ok(ids.next().map(|(_, id)| id.to_owned()))
    }

    /// The models that can be asked, in the order of their ids.
    pub(super) async fn models(&self) -> Result<Vec<Arc<FoundModel>>, Trouble> {
        let ask = || self.client.list_foundation_models().send();
        let listed = call(self.retry_delay, ask).await?;
        let summaries = listed.model_summaries.unwrap_or_default();
        Ok(chosen(&summaries, &self.profiles().await?))
    }

    async fn profiles(&self) -> Result<Vec<InferenceProfileSummary>, Trouble> {
        let (mut profiles, mut token) = (Vec::new(), None);
        for _ in 0..PAGES {
            let ask = || {
                let ask = self.client.list_inference_profiles().max_results(PAGE);
                // Those of an account have names that are ARNs, which are nobody else's business.
                let ask = ask.type_equals(InferenceProfileType::SystemDefined);
                ask.set_next_token(token.clone()).send()
            };
            let page = call(self.retry_delay, ask).await?;
            profiles.extend(page.inference_profile_summaries.unwrap_or_default());
            token = page.next_token;
            if token.is_none() {
                break;
            }
        }
        Ok(profiles)
    }
}

/// The models that can be asked by their own ids, and the profiles that lead to one that can.
fn chosen(
    summaries: &[FoundationModelSummary],
    profiles: &[InferenceProfileSummary],
) -> Vec<Arc<FoundModel>> {
    let useful = summaries.iter().filter(|summary| is_useful(summary));
    let useful: HashMap<_, _> =
        useful.map(|summary| (summary.model_id.as_str(), summary)).collect();
    let own = useful.values().filter(|summary| is_on_demand(summary)).filter_map(|summary| {
        let name = summary.model_name.as_ref().unwrap_or(&summary.model_id);
        found(&summary.model_id, name, summary)
    });
    let led = profiles.iter().filter_map(|profile| {
        let is_active = profile.status == InferenceProfileStatus::Active;
        let arns = profile.models.iter().filter_map(|model| model.model_arn.as_deref());
        let mut ids = arns.filter_map(|arn| arn.rsplit_once("foundation-model/"));
        let summary = ids.find_map(|(_, id)| useful.get(id)).filter(|_| is_active)?;
        found(&profile.inference_profile_id, &profile.inference_profile_name, summary)
    });
    let mut models: Vec<_> = own.chain(led).map(Arc::new).collect();
    models.sort_by(|one, other| one.model.cmp(&other.model));
    models.dedup_by(|one, other| one.model == other.model);
    models.truncate(MOST);
    models
}

fn found(id: &str, name: &str, summary: &FoundationModelSummary) -> Option<FoundModel> {
    Some(FoundModel {
        model: format!("{PREFIX}{id}").parse().ok()?,
        kind: bedrock::NAME,
        name: name.to_owned(),
        provider: summary.provider_name.as_deref().unwrap_or("amazon").to_lowercase(),
        reads: modalities(summary.input_modalities()),
        makes: modalities(summary.output_modalities()),
        streams: summary.response_streaming_supported == Some(true),
    })
}

fn modalities(of: &[ModelModality]) -> Vec<String> {
    of.iter().map(|modality| modality.as_str().to_lowercase()).collect()
}

/// Whether it is not on its way out, and either streams what it says to texts or makes vectors
/// in a way that is known here.
fn is_useful(summary: &FoundationModelSummary) -> bool {
    let lifecycle = summary.model_lifecycle.as_ref();
    let is_active =
        lifecycle.is_none_or(|cycle| cycle.status == FoundationModelLifecycleStatus::Active);
    let makes = |modality| summary.output_modalities().contains(&modality);
    let talks = makes(ModelModality::Text) && summary.response_streaming_supported == Some(true);
    let embeds = makes(ModelModality::Embedding) && bedrock::makes_embeddings(&summary.model_id);
    let reads_text = summary.input_modalities().contains(&ModelModality::Text);
    is_active && reads_text && (talks || embeds)
}

/// Others are reached by a profile or a purchase only.
fn is_on_demand(summary: &FoundationModelSummary) -> bool {
    summary.inference_types_supported().contains(&InferenceType::OnDemand)
}

#[cfg(test)]
mod tests {
    use aws_sdk_bedrock::types::{FoundationModelLifecycle, InferenceProfileModel};

    use super::*;

    struct Listed {
        id: &'static str,
        output: ModelModality,
        streams: bool,
        on_demand: bool,
        status: FoundationModelLifecycleStatus,
    }

    const TALKS: Listed = Listed {
        id: "amazon.nova-lite-v1:0",
        output: ModelModality::Text,
        streams: true,
        on_demand: true,
        status: FoundationModelLifecycleStatus::Active,
    };

    impl Listed {
        fn summary(self) -> FoundationModelSummary {
            let kind = match self.on_demand {
                true => InferenceType::OnDemand,
                false => InferenceType::Provisioned,
            };
            let lifecycle = FoundationModelLifecycle::builder().status(self.status).build();
            FoundationModelSummary::builder()
                .model_arn(format!("arn:aws:bedrock:us-east-1::foundation-model/{}", self.id))
                .model_id(self.id)
                .model_name("Some Model")
                .provider_name("Amazon")
                .input_modalities(ModelModality::Text)
                .output_modalities(self.output)
                .response_streaming_supported(self.streams)
                .inference_types_supported(kind)
                .model_lifecycle(lifecycle.unwrap())
                .build()
                .unwrap()
        }
    }

    fn profile(id: &str, of: &str) -> InferenceProfileSummary {
        let arn = format!("arn:aws:bedrock:us-west-2::foundation-model/{of}");
        InferenceProfileSummary::builder()
            .inference_profile_name("US Some Model")
            .inference_profile_id(id)
            .inference_profile_arn("arn:aws:bedrock:us-east-1:123456789012:inference-profile/x")
            .models(InferenceProfileModel::builder().model_arn(arn).build())
            .status(InferenceProfileStatus::Active)
            .r#type(InferenceProfileType::SystemDefined)
            .build()
            .unwrap()
    }

    fn ids(found: &[Arc<FoundModel>]) -> Vec<&str> {
        found.iter().map(|found| id_of(&found.model)).collect()
    }

    #[test]
    fn models_that_can_be_asked_are_chosen_by_id_and_by_profile() {
        let summaries = [
            TALKS.summary(),
            Listed { id: "us-only.model", on_demand: false, ..TALKS }.summary(),
            Listed {
                id: "cohere.embed-v4:0",
                output: ModelModality::Embedding,
                streams: false,
                ..TALKS
            }
            .summary(),
        ];
        let profiles =
            [profile("us.us-only.model", "us-only.model"), profile("us.unknown", "unknown")];
        let found = chosen(&summaries, &profiles);
        assert_eq!(ids(&found), ["amazon.nova-lite-v1:0", "cohere.embed-v4:0", "us.us-only.model"]);
        assert_eq!(found[2].name, "US Some Model");
        assert_eq!(
            (&*found[2].provider, &found[2].makes[..]),
            ("amazon", &["text".to_owned()][..])
        );
    }

    #[test]
    fn what_cannot_be_asked_here_is_left_out() {
        let picture = Listed { output: ModelModality::Image, ..TALKS };
        let ranker = Listed { streams: false, ..TALKS };
        let old = Listed { status: FoundationModelLifecycleStatus::Legacy, ..TALKS };
        let strange = Listed { id: "new.embedder", output: ModelModality::Embedding, ..TALKS };
        for listed in [picture, ranker, old, strange] {
            let id = listed.id;
            assert_eq!(chosen(&[listed.summary()], &[profile("us.x", id)]), [], "{id}");
        }
        let unnamed = Listed { id: "two words", ..TALKS };
        assert_eq!(chosen(&[unnamed.summary()], &[]), []);
    }
}
