//! The models that a sign-in can be asked for.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use crate::backend::FoundModel;
use crate::backend::sign_in::SignInProblem;

use super::{CodeWhispererAccess, NAME, access, request};

const TARGET: &str = "AmazonCodeWhispererService.ListAvailableModels";
/// Pages that are read.
const PAGES: usize = 20;
/// Models of a page.
const PAGE: u32 = 50;
/// Models that are kept at most; the service has a handful.
const MOST: usize = 200;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    models: Vec<Listed>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    model_id: String,
    model_name: Option<String>,
    #[serde(default)]
    supported_input_types: Vec<String>,
}

impl CodeWhispererAccess {
    /// Asks which models there are, in the order of their names; `None` where no answer comes that
    /// makes sense. The service's own choice is one of them.
    ///
    /// # Errors
    /// When the sign-in cannot be used.
    pub(in crate::backend) async fn models(
        &self,
    ) -> Result<Option<Vec<Arc<FoundModel>>>, SignInProblem> {
        let token = self.sign_in.token().await?;
        let profile = token.profile_arn.as_deref();
        let url = self.url(None, access::region_of(profile));
        let (mut models, mut next) = (vec![Arc::new(own_choice())], None);
        for _ in 0..PAGES {
            let mut body = json!({ "origin": request::ORIGIN, "maxResults": PAGE });
            for (member, value) in [("profileArn", profile), ("nextToken", next.as_deref())] {
                if let Some(value) = value {
                    body[member] = json!(value);
                }
            }
            let Some(page) = self.question::<Page>(&url, TARGET, &token, &body).await else {
                return Ok(None);
            };
            models.extend(page.models.into_iter().filter_map(found).map(Arc::new));
            next = page.next_token;
            if next.is_none() || models.len() >= MOST {
                break;
            }
        }
        models.sort_by(|one, other| one.model.cmp(&other.model));
        models.dedup_by(|one, other| one.model == other.model);
        models.truncate(MOST);
        Ok(Some(models))
    }
}

/// The model without an id: whichever the service takes.
pub(in crate::backend) fn own_choice() -> FoundModel {
    FoundModel {
        model: NAME.parse().expect("the kind's name is a name for a model"),
        kind: NAME,
        name: "the service's own choice".to_owned(),
        provider: NAME.to_owned(),
        reads: vec!["text".to_owned(), "image".to_owned()],
        makes: vec!["text".to_owned()],
        streams: true,
    }
}

fn found(listed: Listed) -> Option<FoundModel> {
    let reads = listed.supported_input_types.iter().map(|kind| kind.to_lowercase());
    let reads: Vec<_> = reads.collect();
    let usual = own_choice();
    Some(FoundModel {
        model: format!("{NAME}/{}", listed.model_id).parse().ok()?,
        name: listed.model_name.unwrap_or(listed.model_id),
        reads: if reads.is_empty() { usual.reads } else { reads },
        ..usual
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_listed_by_the_name_that_it_is_asked_by() {
        let listed = json!({ "models": [
            { "modelId": "claude-sonnet-4", "supportedInputTypes": ["TEXT"], "rateMultiplier": 1.3 },
            { "modelId": "auto", "modelName": "Auto", "supportedInputTypes": [] },
            { "modelId": "no name for a model" },
        ]});
        let page: Page = serde_json::from_value(listed).unwrap();
        let models: Vec<_> = page.models.into_iter().filter_map(found).collect();
        let told: Vec<_> =
            models.iter().map(|found| (found.model.as_str(), &*found.name, &found.reads)).collect();
        let (text, both) = (vec!["text".to_owned()], own_choice().reads);
        assert_eq!(
            told,
            [
                ("codewhisperer/claude-sonnet-4", "claude-sonnet-4", &text),
                ("codewhisperer/auto", "Auto", &both)
            ]
        );
    }
}
