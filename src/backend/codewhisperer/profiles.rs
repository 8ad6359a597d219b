//! The profiles that a sign-in of IAM Identity Center can be used with.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::backend::sign_in::SignInProblem;

use super::{CodeWhispererAccess, HOME_REGION};

const TARGET: &str = "AmazonCodeWhispererService.ListAvailableProfiles";
/// Where profiles can be; each place tells its own.
const REGIONS: [&str; 2] = [HOME_REGION, "eu-central-1"];
/// What one question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pages of one place that are read.
const PAGES: usize = 20;
/// Bytes of one page.
const PAGE_BYTES: usize = 1 << 20;

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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    profiles: Vec<Profile>,
    next_token: Option<String>,
}

impl CodeWhispererAccess {
    /// Asks which profiles there are, in every place; one that does not answer has none.
    ///
    /// # Errors
    /// When the sign-in cannot be used.
    pub async fn profiles(&self) -> Result<Vec<Profile>, SignInProblem> {
        let token = self.sign_in.token().await?;
        let mut urls: Vec<_> = REGIONS.map(|region| self.url(None, region)).to_vec();
        // One endpoint may stand for all.
        urls.dedup();
        let mut found: Vec<Profile> = Vec::new();
        for url in urls {
            let mut next = None;
            for _ in 0..PAGES {
                let Some(headers) = self.headers(TARGET, &token) else { break };
                let Some(page) = self.page(&url, headers, next.as_deref()).await else { break };
                found.extend(page.profiles);
                next = page.next_token;
                if next.is_none() {
                    break;
                }
            }
        }
        found.dedup();
        Ok(found)
    }

    async fn page(&self, url: &str, headers: http::HeaderMap, next: Option<&str>) -> Option<Page> {
        let body = json!({ "maxResults": 10, "nextToken": next }).to_string();
        let asking = async {
            let mut reply = self.client.post(url, headers, body).await.ok()?;
            let is_page = reply.status().is_success();
            let bytes = reply.beginning(PAGE_BYTES).await.ok().filter(|_| is_page)?;
            serde_json::from_slice(&bytes).ok()
        };
        tokio::time::timeout(PATIENCE, asking).await.ok().flatten()
    }
}
