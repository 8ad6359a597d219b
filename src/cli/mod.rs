//! The command line: one file a verb.

use std::fmt::Display;
use std::future::Future;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};

use crate::backend;
use crate::config::{Config, Environment, Problem};

pub mod config;
pub mod store;

mod answer;
mod bench;
mod broker;
mod chat;
mod compare;
mod demo;
mod edit;
mod emulate;
mod keys;
mod logging;
mod login;
mod logout;
mod models;
mod reference;
mod serve;
mod server;
mod sessions;
mod signals;
mod terminal;
mod trouble;

pub use reference::page as reference;

/// All went well.
pub const EXIT_OK: u8 = 0;
/// Something failed while running.
pub const EXIT_FAILED: u8 = 1;
/// The command or the configuration is wrong.
pub const EXIT_WRONG: u8 = 2;

/// A session broker: OpenAI-compatible clients hold live, server-side conversations with Amazon
/// Bedrock
#[derive(Debug, Parser)]
#[command(name = "outcrop", version, arg_required_else_help = true, after_help = HELP)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const HELP: &str = "\
To see it work without an AWS account:   outcrop demo
To talk to a server:                     outcrop chat --server-url http://127.0.0.1:8000
To serve an agent of yours:              AGENT_ID=… AGENT_ALIAS_ID=… outcrop serve
To check a configuration:                outcrop config check --config outcrop.toml

Exit codes: 0 all went well, 1 something failed, 2 the command or the configuration is wrong.
Every setting, its unit and default: docs/configuration.md; every verb: docs/cli.md";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve the configured models until told to stop (SIGTERM drains)
    Serve(serve::Serve),
    /// Run the emulator and the broker in one process and hold a conversation through both
    Demo(demo::Demo),
    /// Run the built-in upstream alone: it speaks the AWS wire, for tests and development
    Emulate(emulate::Emulate),
    /// Talk to any OpenAI-compatible server: in a terminal, or one answer to a prompt
    Chat(chat::Chat),
    /// List the models, who answers for them, and whether they can
    Models(models::Models),
    /// List, show, follow and end the sessions of a running Outcrop
    Sessions(sessions::Sessions),
    /// Ask one server or two the same, and tell what a client of OpenAI's API would notice
    Compare(compare::Compare),
    /// Put a small load on a server of OpenAI's API, and measure it
    Bench(bench::Bench),
    /// Sign in to AWS Builder ID or IAM Identity Center, for CodeWhisperer
    Login(login::Login),
    /// Forget that sign-in
    Logout(logout::Logout),
    /// Begin, check, show or change the configuration
    #[command(subcommand)]
    Config(config::ConfigVerb),
    /// Make, list and revoke API keys in the configuration file
    Keys(keys::Keys),
    /// Print completions for a shell
    Completions(reference::Completions),
    /// Write manual pages to a folder
    Man(reference::Man),
    /// Copy, export, import or check the file that sessions are kept in
    #[command(subcommand)]
    Store(store::StoreVerb),
}

/// Runs a command and gives its exit code.
#[must_use]
pub fn run(cli: Cli, environment: Environment) -> u8 {
    match cli.verb {
        Verb::Serve(verb) => on_runtime(serve::run(verb, environment)),
        Verb::Demo(verb) => on_runtime(demo::run(verb, environment)),
        Verb::Emulate(verb) => on_runtime(emulate::run(verb, environment)),
        Verb::Chat(verb) => on_runtime(chat::run(verb, environment)),
        Verb::Models(verb) => on_runtime(models::run(verb, environment)),
        Verb::Sessions(verb) => on_runtime(sessions::run(verb, environment)),
        Verb::Bench(verb) => on_runtime(bench::run(verb, environment)),
        Verb::Compare(verb) => on_runtime(compare::run(verb, environment)),
        Verb::Keys(verb) => keys::run(verb, environment),
        Verb::Completions(verb) => verb.run(),
        Verb::Man(verb) => verb.run(),
        Verb::Login(verb) => on_runtime(login::run(verb, environment)),
        Verb::Logout(verb) => on_runtime(logout::run(verb, environment)),
        Verb::Config(verb) => printing(|output| verb.run(environment, wrong_models, output)),
        Verb::Store(verb) => printing(|output| verb.run(environment, output)),
    }
}

/// Runs a verb that prints what it finds.
fn printing(verb: impl FnOnce(&mut config::Output<'_>) -> io::Result<u8>) -> u8 {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut output = config::Output { out: &mut out, err: &mut err };
    // Whoever closed the pipe does not want the rest.
    verb(&mut output).unwrap_or(EXIT_FAILED)
}

/// Says what is wrong with the command or the configuration.
pub fn refuse(what: &dyn Display) -> u8 {
    complain(what);
    EXIT_WRONG
}

/// What the backends find wrong with the models' settings.
fn wrong_models(config: &Config) -> Vec<Problem> {
    let mistakes = backend::check(config);
    let problem = |(name, mistake): (_, backend::Mistake)| {
        let model = config.model(&name)?;
        Some(Problem::in_model(model, mistake.setting, mistake.message))
    };
    mistakes.into_iter().filter_map(problem).collect()
}

fn on_runtime(work: impl Future<Output = u8>) -> u8 {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            complain(&format_args!("the runtime could not be started: {error}"));
            EXIT_FAILED
        }
    }
}

/// Prints a line; one that nobody takes is lost.
fn say(line: &dyn Display) {
    print(&format!("{line}\n"));
}

/// Whether the other end of standard output was closed.
static IS_UNHEARD: AtomicBool = AtomicBool::new(false);

/// Prints a piece of a line; one that nobody takes is lost.
fn print(piece: &str) {
    let mut out = io::stdout().lock();
    let printed = out.write_all(piece.as_bytes()).and_then(|()| out.flush());
    if printed.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        IS_UNHEARD.store(true, Ordering::Relaxed);
    }
}

/// Whether nobody reads what is printed any more: then work that prints as it goes may end.
fn is_unheard() -> bool {
    IS_UNHEARD.load(Ordering::Relaxed)
}

/// Prints a complaint; one that nobody takes is lost.
fn complain(what: &dyn Display) {
    let _ = writeln!(io::stderr(), "{}", what.to_string().trim_end());
}
