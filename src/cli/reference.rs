//! What the command line is, told to shells, to `man` and to the documentation.
//!
//! `outcrop completions`, `outcrop man`, and the page `docs/cli.md`: all are made of what clap
//! knows, so none can differ from what the program does.

use std::path::PathBuf;

use clap::{Arg, Args, Command, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, EXIT_FAILED, EXIT_OK, complain, print, say};

/// For which shell.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

/// Where to.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The folder to write the pages to; it is made if it is not there
    folder: PathBuf,
}

impl Completions {
    /// Prints the completions.
    pub(super) fn run(&self) -> u8 {
        let mut command = Cli::command();
        let name = command.get_name().to_owned();
        // It does not bear a pipe that closes.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        print(&String::from_utf8_lossy(&script));
        EXIT_OK
    }
}

impl Man {
    /// Writes a page for the program and one for each verb.
    pub(super) fn run(&self) -> u8 {
        let written = std::fs::create_dir_all(&self.folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &self.folder));
        match written {
            Ok(()) => {
                let folder = self.folder.display();
                say(&format_args!(
                    "written to {folder}; man -l {folder}/outcrop.1 shows the first"
                ));
                EXIT_OK
            }
            Err(error) => {
                complain(&format_args!("cannot write to {}: {error}", self.folder.display()));
                EXIT_FAILED
            }
        }
    }
}

/// The page `docs/cli.md`.
#[must_use]
pub fn page() -> String {
    let mut command = Cli::command();
    command.build();
    let mut page = String::from(PREFACE);
    for verb in command.get_subcommands().filter(|verb| is_shown(verb)) {
        write_verb(verb, &mut page);
    }
    page
}

const PREFACE: &str = "\
# The command line

Made of the program's own help: `UPDATE=1 cargo test --test docs` writes it anew.

Every verb ends with one of these exit codes:

| code | what |
|---|---|
| 0 | all went well |
| 1 | something failed while running: a server that cannot be reached, says no or is silent for too long, a difference that `compare` found, a request of `bench` that failed, a model that `models` knows not to be healthy, a sign-in that cannot be used, a file that cannot be written |
| 2 | the command or the configuration is wrong; standard error says what |

Results go to standard output, complaints and progress to standard error. Colours and progress are for terminals only, and `NO_COLOR` switches colours off. With `--json` a verb prints one JSON document, and `sessions follow` one a line; what failed is told on standard error all the same. Whoever closes the pipe, as `head` does, ends the answer too.

Verbs that talk to a server send the key of `--api-key`, else of `OUTCROP_API_KEY`, else of `OPENAI_API_KEY`; `compare`, which talks to two, says below what goes where.
";

/// Verbs that clap adds, and those that are hidden, are not the page's business.
fn is_shown(verb: &Command) -> bool {
    !verb.is_hide_set() && verb.get_name() != "help"
}

fn write_verb(verb: &Command, page: &mut String) {
    let usage = verb.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let name = verb.get_bin_name().unwrap_or_else(|| verb.get_name());
    page.push_str(&format!("\n## {name}\n\n{}.\n", sentence(verb)));
    page.push_str(&format!("\n```text\n{usage}\n```\n"));
    let shown = |argument: &&Arg| {
        !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str())
    };
    let mut arguments = verb.get_arguments().filter(shown).peekable();
    if arguments.peek().is_some() {
        page.push_str("\n| argument | what |\n|---|---|\n");
    }
    for argument in arguments {
        page.push_str(&format!("| `{}` | {} |\n", spelling(argument), meaning(argument)));
    }
    if let Some(more) = verb.get_after_help() {
        page.push_str(&format!("\n```text\n{}\n```\n", more.to_string().trim()));
    }
    for inner in verb.get_subcommands().filter(|inner| is_shown(inner)) {
        write_verb(inner, page);
    }
}

fn sentence(verb: &Command) -> String {
    let about = verb.get_long_about().or(verb.get_about()).map(ToString::to_string);
    about.unwrap_or_default().trim_end_matches('.').to_owned()
}

fn spelling(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let takes_value = argument.get_action().takes_values();
    match argument.get_long() {
        Some(long) if takes_value => format!("--{long} {}", names.join(" ")),
        Some(long) => format!("--{long}"),
        None => names.join(" "),
    }
}

fn meaning(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let values = argument.get_default_values().iter().map(|value| value.to_string_lossy());
    let defaults = values.collect::<Vec<_>>().join(", ");
    let takes_value = argument.get_action().takes_values();
    let help = help.replace('|', "\\|");
    if defaults.is_empty() || !takes_value { help } else { format!("{help} (default: {defaults})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_verb_and_flag() {
        let page = page();
        for part in ["\n## outcrop serve\n", "\n## outcrop config set\n", "| `--listen ADDRESS` |"]
        {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("## outcrop help"));
    }
}
