//! `outcrop login`: sign in to AWS Builder ID or IAM Identity Center, for CodeWhisperer.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::backend::sign_in::{
    BUILDER_ID, BUILDER_ID_REGION, Device, SignInProblem, SignInStatus, Wanted,
};
use crate::backend::{AwsClients, CodeWhispererAccess};
use crate::config::{Config, Environment, Sources, load};

use super::terminal::harmless;
use super::{EXIT_FAILED, EXIT_OK, EXIT_WRONG, complain, refuse, say};

/// What to sign in to.
#[derive(Debug, Args)]
pub(super) struct Login {
    /// The configuration file; else the one in OUTCROP_CONFIG, else ./outcrop.toml if it exists
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The start URL of an IAM Identity Center [default: AWS Builder ID]
    #[arg(long, value_name = "URL", requires = "region")]
    start_url: Option<String>,
    /// The region of the IAM Identity Center [default: us-east-1, where AWS Builder ID is]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// The profile of CodeWhisperer to use, where there are several
    #[arg(long, value_name = "ARN")]
    profile_arn: Option<String>,
    /// Say how it stands with the sign-in, and exit with 1 where it cannot be used
    #[arg(long, conflicts_with_all = ["start_url", "region", "profile_arn"])]
    status: bool,
    /// Say that as JSON
    #[arg(long, requires = "status")]
    json: bool,
}

pub(super) async fn run(verb: Login, environment: Environment) -> u8 {
    let config = match configured(verb.config.as_deref(), environment) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let aws = AwsClients::load(&config).await;
    let access = aws.codewhisperer(&config);
    if verb.status {
        return status(access, verb.json).await;
    }
    let wanted = match verb.wanted() {
        Ok(wanted) => wanted,
        Err(message) => return refuse(&message),
    };
    let signed_in = tokio::select! {
        signed_in = sign_in(access, &wanted) => signed_in,
        Ok(()) = tokio::signal::ctrl_c() => {
            complain(&"the code is not waited for any more; run `outcrop login` to get another");
            return EXIT_FAILED;
        }
    };
    match signed_in {
        Ok(()) => EXIT_OK,
        Err(problem) => {
            complain(&problem);
            EXIT_FAILED
        }
    }
}

/// The configuration, for where the sign-in is kept and what stands in for AWS.
pub(super) fn configured(file: Option<&Path>, environment: Environment) -> Result<Config, u8> {
    let loaded = Sources::find(file, environment).and_then(|sources| load(&sources));
    match loaded {
        Ok(loaded) => Ok(loaded.config),
        Err(report) => {
            refuse(&report);
            Err(EXIT_WRONG)
        }
    }
}

impl Login {
    fn wanted(&self) -> Result<Wanted, String> {
        let start_url = plain(self.start_url.as_deref().unwrap_or(BUILDER_ID));
        if !start_url.starts_with("https://") {
            return Err(format!("--start-url must be an https URL, not {start_url:?}"));
        }
        let region = self.region.as_deref().unwrap_or(BUILDER_ID_REGION);
        let is_region =
            region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !is_region || region.is_empty() {
            return Err(format!("--region must be one such as \"eu-central-1\", not {region:?}"));
        }
        if start_url == BUILDER_ID && region != BUILDER_ID_REGION {
            return Err(format!(
                "--region is of an IAM Identity Center, whose --start-url is missing: AWS Builder \
                 ID is in {BUILDER_ID_REGION} only"
            ));
        }
        let profile_arn = self.profile_arn.clone();
        if profile_arn.as_deref().is_some_and(|arn| !arn.starts_with("arn:")) {
            return Err("--profile-arn must be an ARN".to_owned());
        }
        let (start_url, region) = (start_url.to_owned(), region.to_owned());
        Ok(Wanted { start_url, region, profile_arn })
    }
}

/// A start URL without what browsers and portals put behind it (`…/start/#/`, `…/start/`).
fn plain(url: &str) -> &str {
    let url = url.trim();
    url.split_once('#').map_or(url, |(url, _)| url).trim_end_matches('/')
}

async fn sign_in(access: &CodeWhispererAccess, wanted: &Wanted) -> Result<(), SignInProblem> {
    let device = access.sign_in.begin(wanted).await?;
    say(&invitation(&device));
    access.sign_in.finish(device).await?;
    say(&format_args!("signed in to {}", whom(&wanted.start_url)));
    if wanted.start_url == BUILDER_ID || wanted.profile_arn.is_some() {
        return Ok(());
    }
    let listed = access.profiles().await?;
    match listed.profiles.as_slice() {
        [] if listed.is_complete => {
            say(&"no profile of CodeWhisperer was found: ask whoever runs your IAM Identity \
                  Center for one, and sign in again");
        }
        [] => {
            say(&"the profiles of CodeWhisperer could not be asked for: sign in again later, or \
                    with --profile-arn")
        }
        [only] if listed.is_complete => {
            access.sign_in.use_profile(only.arn.clone()).await?;
            say(&format_args!("the profile is {} ({})", harmless(&only.profile_name), only.arn));
        }
        several => {
            say(&"which profile to use is not clear; sign in again with --profile-arn, or set \
                  profile_arn of the models:");
            for profile in several {
                say(&format_args!("  {}  {}", profile.arn, harmless(&profile.profile_name)));
            }
        }
    }
    Ok(())
}

fn whom(start_url: &str) -> &str {
    if start_url == BUILDER_ID { "AWS Builder ID" } else { start_url }
}

fn invitation(device: &Device) -> String {
    let minutes = match device.lifetime.as_secs() / 60 {
        0 => String::new(),
        1 => " within a minute".to_owned(),
        minutes => format!(" within {minutes} minutes"),
    };
    let (link, user_code) = (harmless(&device.link), harmless(&device.user_code));
    format!(
        "To sign in, open this link in a browser, on this machine or another:\n\n  {link}\n\n\
         and confirm{minutes} that the code is\n\n  {user_code}\n\nWaiting …"
    )
}

async fn status(access: &CodeWhispererAccess, is_json: bool) -> u8 {
    let found = access.sign_in.status().await;
    let (is_signed_in, told, shown) = match &found {
        Ok(Some(status)) => {
            let until = status.expires_at.format(&Rfc3339).unwrap_or_default();
            let told = json!({
                "state": if status.is_valid { "valid" } else { "renewable" },
                "renewable": status.is_renewable,
                "expires_at": until,
                "start_url": status.start_url,
                "region": status.region,
                "profile_arn": status.profile_arn,
            });
            (true, told, words(status))
        }
        Ok(None) => (false, json!({ "state": "signed_out" }), SignInProblem::SignedOut.to_string()),
        Err(problem) => {
            let state = if matches!(problem, SignInProblem::Ended) { "ended" } else { "unusable" };
            (false, json!({ "state": state, "problem": problem.to_string() }), problem.to_string())
        }
    };
    match (is_json, is_signed_in) {
        (true, _) => {
            let mut told = told;
            told["signed_in"] = is_signed_in.into();
            say(&told);
        }
        (false, true) => say(&shown),
        (false, false) => complain(&shown),
    }
    if is_signed_in { EXIT_OK } else { EXIT_FAILED }
}

fn words(status: &SignInStatus) -> String {
    let whom = whom(&status.start_url);
    let minutes = (status.expires_at - OffsetDateTime::now_utc()).whole_minutes();
    match (status.is_valid, status.is_renewable) {
        (false, _) => {
            format!("signed in to {whom}; the token has expired and will be renewed when needed")
        }
        (true, true) => {
            format!(
                "signed in to {whom}; the token is good for {minutes} minutes and renews itself"
            )
        }
        (true, false) => format!(
            "signed in to {whom}; the token is good for {minutes} minutes and cannot be renewed; \
             run `outcrop login` before it expires"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(start_url: Option<&str>, region: Option<&str>) -> Result<Wanted, String> {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let (start_url, region) = (text(start_url), text(region));
        let (config, profile_arn) = (None, None);
        Login { config, start_url, region, profile_arn, status: false, json: false }.wanted()
    }

    #[test]
    fn a_start_url_is_taken_as_people_copy_it() {
        let url = "https://acme.awsapps.com/start";
        for copied in [url, "https://acme.awsapps.com/start/", "https://acme.awsapps.com/start/#/"]
        {
            assert_eq!(wanted(Some(copied), Some("eu-west-1")).unwrap().start_url, url);
        }
        let home = wanted(Some("https://view.awsapps.com/start/"), Some("us-east-1")).unwrap();
        assert_eq!(home.start_url, BUILDER_ID);
    }

    #[test]
    fn a_region_by_itself_is_half_of_an_identity_center() {
        assert!(wanted(None, Some("eu-west-1")).unwrap_err().contains("--start-url is missing"));
        assert!(wanted(None, Some(BUILDER_ID_REGION)).is_ok());
    }
}
