//! `outcrop logout`: forget the sign-in.

use std::path::PathBuf;

use clap::Args;

use crate::backend::AwsClients;
use crate::config::Environment;

use super::login::configured;
use super::{EXIT_FAILED, EXIT_OK, complain, say};

/// Which sign-in.
#[derive(Debug, Args)]
pub(super) struct Logout {
    /// The configuration file; else the one in OUTCROP_CONFIG, else ./outcrop.toml if it exists
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) async fn run(verb: Logout, environment: Environment) -> u8 {
    let config = match configured(verb.config.as_deref(), environment) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let aws = AwsClients::load(&config).await;
    match aws.codewhisperer(&config).sign_in.log_out().await {
        Ok(removed) if removed.is_empty() => {
            say(&"nobody was signed in");
            EXIT_OK
        }
        Ok(removed) => {
            for path in removed {
                say(&format_args!("removed {}", path.display()));
            }
            EXIT_OK
        }
        Err(problem) => {
            complain(&problem);
            EXIT_FAILED
        }
    }
}
