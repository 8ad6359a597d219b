//! `outcrop chat`: a conversation with any OpenAI-compatible server, in a terminal or through a
//! pipe.
//!
//! [`conversation`] holds what was said and runs turns, [`talk`] is the loop of a terminal with
//! its [`command`]s, and [`lines`] edits what is typed.

use std::io::{self, IsTerminal as _, Read as _};

use clap::Args;
use serde_json::json;

use crate::config::Environment;

use super::server::{ServerArgs, Trouble};
use super::terminal::{Paint, harmless};
use super::{EXIT_FAILED, EXIT_OK, complain, is_unheard, print, refuse, say};

mod command;
mod conversation;
mod interrupts;
mod lines;
mod talk;

use conversation::{Conversation, Ended};
use interrupts::Interrupts;

/// What a prompt from a pipe may take.
const PROMPT_BYTES: u64 = 8 << 20;

/// With whom, and what to say.
#[derive(Debug, Args)]
#[command(after_help = "\
Without a prompt, and with a terminal, this is a conversation; /help says what else can be typed.
With a prompt, as an argument or through a pipe, it is one answer in plain text.

Ctrl-C stops the answer, a second one leaves.")]
pub(super) struct Chat {
    #[command(flatten)]
    server: ServerArgs,
    /// The model; the first that the server lists, unless told
    #[arg(long, short, value_name = "MODEL")]
    model: Option<String>,
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// The session to go on with, where the server is an Outcrop; one of this name is begun if
    /// there is none
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// What to say; - stands for standard input
    prompt: Vec<String>,
    /// Print the answer to a prompt as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(verb: Chat, environment: Environment) -> u8 {
    let paint = Paint::for_output(&environment);
    let server = match verb.server.server(&environment) {
        Ok(server) => server,
        Err(message) => return refuse(&message),
    };
    let prompt = match prompt(&verb.prompt) {
        Ok(prompt) => prompt,
        Err(message) => return refuse(&message),
    };
    if prompt.is_none() && verb.json {
        return refuse(&"--json is for one answer: give a prompt as an argument or through a pipe");
    }
    let interrupts = match Interrupts::new() {
        Ok(interrupts) => interrupts,
        Err(error) => {
            complain(&format_args!("signals cannot be handled: {error}"));
            return EXIT_FAILED;
        }
    };
    let conversation = async {
        let model = server.model(verb.model.as_deref()).await?;
        let mut conversation = Conversation::new(server, model, verb.system.clone());
        if let Some(session) = &verb.session {
            conversation.take_up(session).await?;
        }
        Ok::<_, Trouble>(conversation)
    };
    let conversation = match conversation.await {
        Ok(conversation) => conversation,
        Err(trouble) => {
            complain(&trouble);
            return EXIT_FAILED;
        }
    };
    match prompt {
        Some(prompt) => answer_once(conversation, interrupts, &prompt, verb.json).await,
        None => talk::run(conversation, interrupts, &environment, paint).await,
    }
}

/// What is to be said, if it is to be one answer.
fn prompt(words: &[String]) -> Result<Option<String>, String> {
    let from_pipe = words.is_empty() && !io::stdin().is_terminal();
    if words.is_empty() && !from_pipe {
        return Ok(None);
    }
    let piped = if from_pipe || words.iter().any(|word| word == "-") {
        let mut text = String::new();
        let read = io::stdin().lock().take(PROMPT_BYTES + 1).read_to_string(&mut text);
        read.map_err(|error| format!("standard input cannot be read: {error}"))?;
        if text.len() as u64 > PROMPT_BYTES {
            return Err(format!("standard input holds more than {PROMPT_BYTES} bytes"));
        }
        text.trim_end().to_owned()
    } else {
        String::new()
    };
    let words = words.iter().map(|word| if word == "-" { &piped } else { word });
    let said: Vec<&str> = words.map(String::as_str).collect();
    let said = if from_pipe { piped.clone() } else { said.join(" ") };
    if said.trim().is_empty() {
        return Err("the prompt is empty; say something, or start it in a terminal".to_owned());
    }
    Ok(Some(said))
}

async fn answer_once(
    mut conversation: Conversation,
    mut interrupts: Interrupts,
    prompt: &str,
    json: bool,
) -> u8 {
    let to_terminal = io::stdout().is_terminal();
    conversation.says(prompt);
    let mut show = |piece: &super::answer::Piece| match piece {
        super::answer::Piece::Text(text) if !json && to_terminal => print(&harmless(text)),
        super::answer::Piece::Text(text) if !json => print(text),
        _ => {}
    };
    let ended = conversation.turn(&mut interrupts, &mut show).await;
    let (whole, code) = match ended {
        Ok(Ended::Answered(whole)) => (whole, EXIT_OK),
        Ok(Ended::Interrupted(whole) | Ended::Left(whole)) => (whole, EXIT_FAILED),
        Err(trouble) => {
            if !json {
                say(&"");
            }
            complain(&trouble);
            return EXIT_FAILED;
        }
    };
    let calls: Vec<_> = whole.calls.iter().map(super::answer::Call::written).collect();
    if json {
        say(&json!({
            "text": whole.text, "tool_calls": calls, "finish_reason": whole.finish_reason,
            "usage": whole.usage, "model": conversation.model, "session": conversation.session,
        }));
    } else {
        if !whole.text.is_empty() && !whole.text.ends_with('\n') {
            say(&"");
        }
        calls.iter().for_each(|call| say(call));
    }
    if code != EXIT_OK && !is_unheard() {
        complain(&"interrupted");
    }
    code
}
