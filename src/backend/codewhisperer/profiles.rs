//! The profiles that a sign-in of IAM Identity Center can be used with.

use serde::Deserialize;
use serde_json::json;

use crate::backend::sign_in::{SignInProblem, Token};

use super::CodeWhispererAccess;
use super::access::HOME_REGION;

const TARGET: &str = "AmazonCodeWhispererService.ListAvailableProfiles";
/// Where profiles can be; each place tells its own.
const REGIONS: [&str; 2] = [HOME_REGION, "eu-central-1"];
/// Pages of one place that are read.
const PAGES: usize = 20;

/// A profile.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// Names it to the service; its region is where the service is asked.
    pub arn: String,
    /// What its owner calls it.
    #[serde(default)]
    pub profile_name: String,
}

/// The profiles that were found.
#[derive(Debug, Default)]
pub struct Profiles {
    /// In the order in which they were told.
    pub profiles: Vec<Profile>,
    /// Whether every place has answered.
    pub is_complete: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    profiles: Vec<Profile>,
    next_token: Option<String>,
}

impl CodeWhispererAccess {
    /// Asks which profiles there are, in every place.
    ///
    /// # Errors
    /// When the sign-in cannot be used.
    pub async fn profiles(&self) -> Result<Profiles, SignInProblem> {
        let token = self.sign_in.token().await?;
        let mut urls: Vec<_> = REGIONS.map(|region| self.url(None, region)).to_vec();
        // One endpoint may stand for all.
        urls.dedup();
        let mut found = Profiles { profiles: Vec::new(), is_complete: true };
        for url in urls {
            let listed = self.profiles_at(&url, &token).await;
            found.is_complete &= listed.is_some();
            found.profiles.extend(listed.unwrap_or_default());
        }
        found.profiles.dedup();
        Ok(found)
    }

    /// Those of one place; `None` where it does not answer.
    async fn profiles_at(&self, url: &str, token: &Token) -> Option<Vec<Profile>> {
        let (mut profiles, mut next) = (Vec::new(), None);
        for _ in 0..PAGES {
            let body = json!({ "maxResults": 10, "nextToken": next });
            let page: Page = self.question(url, TARGET, token, &body).await?;
            profiles.extend(page.profiles);
            next = page.next_token;
            if next.is_none() {
                break;
            }
        }
        Some(profiles)
    }
}
