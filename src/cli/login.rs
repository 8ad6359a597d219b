//! `outcrop login`: sign in to AWS Builder ID or IAM Identity Center, for CodeWhisperer.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::backend::sign_in::{BUILDER_ID, BUILDER_ID_REGION, Device, SignInProblem, Wanted};
use crate::backend::{AwsClients, CodeWhispererAccess};
use crate::config::{Config, Environment, Sources, load};

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
    match sign_in(access, &wanted).await {
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
        let start_url = self.start_url.as_deref().unwrap_or(BUILDER_ID);
        if !start_url.starts_with("https://") {
            return Err(format!("--start-url must be an https URL, not {start_url:?}"));
        }
        let region = self.region.as_deref().unwrap_or(BUILDER_ID_REGION);
        let is_region =
            region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !is_region || region.is_empty() {
            return Err(format!("--region must be one such as \"eu-central-1\", not {region:?}"));
        }
        let profile_arn = self.profile_arn.clone();
        if profile_arn.as_deref().is_some_and(|arn| !arn.starts_with("arn:")) {
            return Err("--profile-arn must be an ARN".to_owned());
        }
        let (start_url, region) = (start_url.to_owned(), region.to_owned());
        Ok(Wanted { start_url, region, profile_arn })
    }
}

async fn sign_in(access: &CodeWhispererAccess, wanted: &Wanted) -> Result<(), SignInProblem> {
    let device = access.sign_in.begin(wanted).await?;
    say(&invitation(&device));
    access.sign_in.finish(device).await?;
    say(&"signed in; models of the kind codewhisperer can be asked now");
    if wanted.start_url == BUILDER_ID || wanted.profile_arn.is_some() {
        return Ok(());
    }
    let profiles = access.profiles().await?;
    match profiles.as_slice() {
        [] => say(&"no profile of CodeWhisperer was found: ask whoever runs your IAM Identity \
                    Center for one, and sign in again"),
        [only] => {
            access.sign_in.use_profile(only.arn.clone()).await?;
            say(&format_args!("the profile is {} ({})", only.profile_name, only.arn));
        }
        several => {
            say(&"there are several profiles; sign in again with --profile-arn, or set \
                  profile_arn of the models:");
            for profile in several {
                say(&format_args!("  {}  {}", profile.arn, profile.profile_name));
            }
        }
    }
    Ok(())
}

fn invitation(device: &Device) -> String {
    let minutes = match device.lifetime.as_secs() / 60 {
        0 => String::new(),
        1 => " within a minute".to_owned(),
        minutes => format!(" within {minutes} minutes"),
    };
    let Device { link, user_code, .. } = device;
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
                "expires_at": until,
                "start_url": status.start_url,
                "region": status.region,
                "profile_arn": status.profile_arn,
            });
            (true, told, words(&status.start_url, status.is_valid, status.expires_at))
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

fn words(start_url: &str, is_valid: bool, expires_at: OffsetDateTime) -> String {
    let whom = if start_url == BUILDER_ID { "AWS Builder ID" } else { start_url };
    if !is_valid {
        return format!(
            "signed in to {whom}; the token has expired and will be renewed when needed"
        );
    }
    let left = (expires_at - OffsetDateTime::now_utc()).whole_minutes();
    format!("signed in to {whom}; the token is good for {left} minutes and renews itself")
}
