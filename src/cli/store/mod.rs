//! `outcrop store`: copy the file that sessions are kept in, take sessions out and put them in,
//! look whether it is in order.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::config::{Environment, Sources, StoreKind, load};
use crate::store::StoreError;
use crate::store::sqlite::{self, Checked, Exported, Imported, Step};
use crate::turn::TenantId;

use super::broker::store_path;
use super::config::Output;
use super::{EXIT_FAILED, EXIT_OK, EXIT_WRONG};

/// On a terminal, how many sessions pass between two signs of life.
const SHOWN_EVERY: u64 = 1_000;

/// What can be done with the file that sessions are kept in.
#[derive(Debug, Subcommand)]
pub enum StoreVerb {
    /// Copy the file as it is at this moment; a broker may be running
    Backup(Backup),
    /// Write sessions and their turns as JSON, each a line; a broker may be running
    Export(Export),
    /// Take sessions in that were exported; no broker may be running
    Import(Import),
    /// Read everything in the file and say what is wrong with it
    Check(Which),
}

/// Which file.
#[derive(Debug, Args)]
pub struct Which {
    /// The configuration file; else the one in OUTCROP_CONFIG, else ./outcrop.toml if it exists
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The file that sessions are kept in; wins over the configuration
    #[arg(long, value_name = "PATH")]
    store: Option<PathBuf>,
}

/// What to copy where.
#[derive(Debug, Args)]
pub struct Backup {
    /// The file to make
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    which: Which,
}

/// What to write where.
#[derive(Debug, Args)]
pub struct Export {
    /// The file to write, or - for standard output
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Only the sessions of this tenant
    #[arg(long)]
    tenant: Option<TenantId>,
    #[command(flatten)]
    which: Which,
}

/// What to take in.
#[derive(Debug, Args)]
pub struct Import {
    /// The file to read, or - for standard input
    file: PathBuf,
    /// Replace sessions that are there already; otherwise they are left as they are
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    which: Which,
}

/// Why a verb came to nothing.
enum Refusal {
    /// The command or the configuration is wrong.
    Wrong(String),
    /// Something failed.
    Failed(String),
}

impl Refusal {
    fn failed(StoreError(error): StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Which {
    fn path(&self, environment: Environment) -> Result<PathBuf, Refusal> {
        if let Some(path) = &self.store {
            return Ok(path.clone());
        }
        let sources = Sources::find(self.config.as_deref(), environment);
        let loaded = sources.and_then(|sources| load(&sources));
        let loaded = loaded.map_err(|report| Refusal::Wrong(report.to_string()))?;
        if loaded.config.store.kind == Some(StoreKind::Memory) {
            let what = "store.kind: is memory, so there is no file; name one with --store";
            return Err(Refusal::Wrong(what.to_owned()));
        }
        store_path(&loaded.config.store).map_err(Refusal::Wrong)
    }
}

impl StoreVerb {
    /// Runs the verb and returns the exit code.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn run(&self, environment: Environment, output: &mut Output<'_>) -> io::Result<u8> {
        let ran = match self {
            Self::Backup(verb) => verb.run(environment, output),
            Self::Export(verb) => verb.run(environment, output),
            Self::Import(verb) => verb.run(environment, output),
            Self::Check(which) => check(which, environment, output),
        };
        let (message, code) = match ran {
            Ok(code) => return Ok(code),
            Err(Refusal::Wrong(message)) => (message, EXIT_WRONG),
            Err(Refusal::Failed(message)) => (message, EXIT_FAILED),
        };
        writeln!(output.err, "{}", message.trim_end())?;
        Ok(code)
    }
}

impl Backup {
    fn run(&self, environment: Environment, output: &mut Output<'_>) -> Result<u8, Refusal> {
        let path = self.which.path(environment)?;
        let bytes = sqlite::backup(&path, &self.file, self.force).map_err(Refusal::failed)?;
        let line = format!("{} holds a copy of {bytes} bytes", self.file.display());
        say(output.out, &line)
    }
}

impl Export {
    fn run(&self, environment: Environment, output: &mut Output<'_>) -> Result<u8, Refusal> {
        let path = self.which.path(environment)?;
        let mut file = None;
        let is_standard = self.file == Path::new("-");
        if !is_standard {
            let made = private(&self.file).map_err(|error| cannot("write", &self.file, error))?;
            file = Some(BufWriter::new(made));
        }
        let mut progress = Progress::on(&mut *output.err);
        let exported = match &mut file {
            Some(file) => self.export(&path, file, &mut progress),
            None => self.export(&path, &mut *output.out, &mut progress),
        };
        progress.end();
        let Exported { sessions, turns, left_out } = exported?;
        if let Some(file) = file {
            let file = file.into_inner().map_err(|error| error.into_error());
            let synced = file.and_then(|file| file.sync_all());
            synced.map_err(|error| cannot("write", &self.file, error))?;
        }
        say(output.err, &format!("exported {}", with_turns(sessions, turns)))?;
        Ok(if left_out == 0 { EXIT_OK } else { EXIT_FAILED })
    }

    fn export(
        &self,
        path: &Path,
        out: &mut dyn Write,
        progress: &mut Progress<'_>,
    ) -> Result<Exported, Refusal> {
        let step = &mut |step: Step<'_>| progress.step(&step);
        sqlite::export(path, self.tenant.as_ref(), out, step).map_err(Refusal::failed)
    }
}

/// A file for this user alone, since it holds what was said.
fn private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

impl Import {
    fn run(&self, environment: Environment, output: &mut Output<'_>) -> Result<u8, Refusal> {
        let path = self.which.path(environment)?;
        let mut lines: Box<dyn BufRead> = if self.file == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            let file = File::open(&self.file);
            Box::new(BufReader::new(file.map_err(|error| cannot("read", &self.file, error))?))
        };
        let mut progress = Progress::on(&mut *output.err);
        let step = &mut |step: Step<'_>| progress.step(&step);
        let imported = sqlite::import(&path, &mut *lines, self.replace, step);
        progress.end();
        let Imported { new, replaced, skipped, turns, bad } = imported.map_err(Refusal::failed)?;
        let mut line = format!("imported {}", with_turns(new + replaced, turns));
        for (number, what) in [
            (replaced, "of these replaced what was there"),
            (skipped, "were there already and left as they are"),
            (bad, "were left out: lines that cannot be taken"),
        ] {
            if number > 0 {
                line.push_str(&format!("; {number} {what}"));
            }
        }
        say(output.out, &line)?;
        Ok(if bad == 0 { EXIT_OK } else { EXIT_FAILED })
    }
}

fn check(which: &Which, environment: Environment, output: &mut Output<'_>) -> Result<u8, Refusal> {
    let path = which.path(environment)?;
    let mut progress = Progress::on(&mut *output.err);
    let checked = sqlite::check(&path, &mut |step| progress.step(&step));
    progress.end();
    let Checked { schema, sessions: number, messages, turns, bytes, problems } =
        checked.map_err(Refusal::failed)?;
    for problem in &problems {
        say(output.err, problem)?;
    }
    let state = if problems.is_empty() { "is in order" } else { "is damaged" };
    let line = format!(
        "{} {state}: {}, {messages} messages, {turns} turns, {bytes} bytes, schema {schema}",
        path.display(),
        sessions(number)
    );
    say(output.out, &line)?;
    Ok(if problems.is_empty() { EXIT_OK } else { EXIT_FAILED })
}

fn with_turns(number: u64, turns: u64) -> String {
    match turns {
        0 => sessions(number),
        1 => format!("{} with 1 turn", sessions(number)),
        _ => format!("{} with {turns} turns", sessions(number)),
    }
}

fn sessions(number: u64) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} session{ending}")
}

fn cannot(verb: &str, path: &Path, error: io::Error) -> Refusal {
    Refusal::Failed(format!("cannot {verb} {}: {error}", path.display()))
}

fn say(to: &mut dyn Write, line: &str) -> Result<u8, Refusal> {
    let said = writeln!(to, "{line}");
    said.map_err(|error| Refusal::Failed(format!("the output cannot be written: {error}")))?;
    Ok(EXIT_OK)
}

/// Tells how far something has come, to people who watch; and what is left out, to all.
struct Progress<'a> {
    to: &'a mut dyn Write,
    is_watched: bool,
    is_shown: bool,
}

impl<'a> Progress<'a> {
    fn on(to: &'a mut dyn Write) -> Self {
        Self { to, is_watched: io::stderr().is_terminal(), is_shown: false }
    }

    /// What cannot be shown is lost: the work goes on.
    fn step(&mut self, step: &Step<'_>) {
        match step {
            Step::Done(number) if self.is_watched && number % SHOWN_EVERY == 0 => {
                self.is_shown = true;
                let _ = write!(self.to, "\r{}", sessions(*number));
                let _ = self.to.flush();
            }
            Step::Done(_) => {}
            Step::LeftOut(what) => {
                self.end();
                let _ = writeln!(self.to, "left out {what}");
            }
        }
    }

    /// Clears the line that was shown.
    fn end(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = write!(self.to, "\r\u{1b}[K");
        }
    }
}

#[cfg(test)]
mod tests;
