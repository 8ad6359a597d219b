//! The `outcrop` command: arguments, and nothing else.

use std::process::ExitCode;

use clap::Parser as _;
use outcrop::cli::{self, Cli};
use outcrop::config;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Before any thread: a `.env` file becomes part of the process's environment, where the AWS
    // SDK looks too.
    match config::load_dotenv() {
        Ok(environment) => cli::run(cli, environment).into(),
        Err(report) => cli::refuse(&report).into(),
    }
}
