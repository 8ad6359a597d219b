//! The verbs of the command line, as a shell runs them: the real program, its output and its
//! exit code.

use std::io::Write as _;
use std::process::{Child, Stdio};

use tokio::task::spawn_blocking;

use super::broker::{new_folder, outcrop, soon};

mod bench;
mod chat;
mod compare;
mod keys;
mod models;
mod pipes;
mod sessions;
mod trouble;

/// What came of a command.
#[derive(Debug)]
struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Done {
    /// Of one that is running, once it has ended.
    async fn of(process: Child) -> Self {
        // The emulator runs on this thread, and the command talks to it.
        let ended = spawn_blocking(move || process.wait_with_output().unwrap());
        let ended = soon("the command to end", ended).await.unwrap();
        Self {
            code: ended.status.code(),
            out: String::from_utf8(ended.stdout).unwrap(),
            err: String::from_utf8(ended.stderr).unwrap(),
        }
    }

    /// What it printed, if all went well.
    fn well(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        self.out
    }
}

/// Starts a command in a folder of its own.
fn start(arguments: &[&str]) -> Child {
    let mut command = outcrop(&new_folder(), arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs a command to its end.
async fn run(arguments: &[&str]) -> Done {
    let mut process = start(arguments);
    drop(process.stdin.take());
    Done::of(process).await
}

/// Runs a command that is told something through a pipe.
async fn run_with(arguments: &[&str], input: &str) -> Done {
    let mut process = start(arguments);
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Done::of(process).await
}
