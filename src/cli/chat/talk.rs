//! The loop of a conversation in a terminal.

use std::path::Path;

use http::Method;
use serde_json::Value;

use crate::cli::answer::{Call, Piece};
use crate::cli::edit::owners_own;
use crate::cli::server::Trouble;
use crate::cli::sessions::path_of;
use crate::cli::terminal::{Paint, harmless};
use crate::cli::{EXIT_FAILED, EXIT_OK, complain, print, refuse, say};
use crate::config::Environment;

use super::command::{Typed, help};
use super::conversation::{Conversation, Ended};
use super::interrupts::Interrupts;
use super::lines::{Line, Lines};

/// What a file of tools may take.
const TOOLS_BYTES: u64 = 1 << 20;
/// Answers in a row that may call tools, until the user is asked to go on.
const ROUNDS: usize = 32;

/// A conversation, and the terminal that it is held in.
struct Talk {
    conversation: Conversation,
    interrupts: Interrupts,
    lines: Lines,
    paint: Paint,
    /// Ctrl-C was the last that came of the user; a second one leaves.
    was_interrupted: bool,
}

/// Whether the conversation goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Goes,
    Ends,
}

pub(super) async fn run(
    conversation: Conversation,
    interrupts: Interrupts,
    environment: &Environment,
    paint: Paint,
) -> u8 {
    let lines = match Lines::open(environment) {
        Ok(lines) => lines,
        Err(message) => {
            complain(&message);
            return EXIT_FAILED;
        }
    };
    let name = conversation.server().name();
    say(&paint.dim(format_args!(
        "{} at {name}; /help says what can be typed",
        harmless(&conversation.model)
    )));
    Talk { conversation, interrupts, lines, paint, was_interrupted: false }.run().await;
    EXIT_OK
}

impl Talk {
    async fn run(mut self) {
        loop {
            let typed = match self.lines.read("you> ").await {
                Line::Typed(typed) => typed,
                Line::Interrupted if !self.was_interrupted => {
                    self.was_interrupted = true;
                    say(&self.paint.dim("Ctrl-C again leaves, as Ctrl-D and /quit do"));
                    continue;
                }
                Line::Interrupted | Line::Ended => return,
            };
            self.was_interrupted = false;
            if typed.trim().is_empty() {
                continue;
            }
            self.lines.keep(&typed);
            match self.perform(&Typed::read(&typed)).await {
                Ok(Next::Goes) => {}
                Ok(Next::Ends) => return,
                Err(trouble) => complain(&trouble),
            }
        }
    }

    async fn perform(&mut self, typed: &Typed<'_>) -> Result<Next, Trouble> {
        match typed {
            Typed::Said(text) => return self.say(text).await,
            Typed::Model(None) => self.show_models().await?,
            Typed::Model(Some(name)) => {
                self.conversation.move_to(name).await?;
                self.note(&format!("{name} answers from now on"));
            }
            Typed::Session(None) => self.show_session().await?,
            Typed::Session(Some("new")) => {
                self.conversation.forget();
                self.note("begun anew");
            }
            Typed::Session(Some(id)) => {
                self.conversation.take_up(id).await?;
                let count = self.conversation.messages.len();
                self.note(&format!("session {id}, {count} messages"));
            }
            Typed::Interrupt(spoken) => match self.conversation.interrupt(*spoken).await? {
                Some(session) => self.note(&format!("the session is {}", session["state"])),
                None => self.note("there is no session yet"),
            },
            Typed::Tools(file) => self.tools(*file),
            Typed::Save(file) => self.save(file),
            Typed::Help => say(&help()),
            Typed::Quit => return Ok(Next::Ends),
            Typed::Unknown(name) => {
                let name = harmless(name);
                complain(&format_args!("there is no /{name}; /help shows what there is"));
            }
        }
        Ok(Next::Goes)
    }

    fn note(&self, text: &str) {
        say(&self.paint.dim(harmless(text)));
    }

    /// Says something, and goes on as long as the answers call tools and those are answered.
    async fn say(&mut self, text: &str) -> Result<Next, Trouble> {
        self.conversation.says(text);
        for _ in 0..ROUNDS {
            let paint = self.paint;
            let mut was_thought = false;
            let mut show = |piece: &Piece| match piece {
                Piece::Text(text) => {
                    print(&if was_thought {
                        format!("\n{}", harmless(text))
                    } else {
                        harmless(text)
                    });
                    was_thought = false;
                }
                Piece::Thought(text) => {
                    print(&paint.dim(harmless(text)));
                    was_thought = true;
                }
            };
            let ended = self.conversation.turn(&mut self.interrupts, &mut show).await;
            say(&"");
            match ended? {
                Ended::Answered(whole) if whole.calls.is_empty() => return Ok(Next::Goes),
                Ended::Answered(whole) => {
                    if self.answer_calls(&whole.calls).await == Next::Ends {
                        self.conversation.leave_calls_open();
                        return Ok(Next::Goes);
                    }
                }
                Ended::Interrupted(_) => {
                    self.note("interrupted; Ctrl-C again leaves");
                    self.was_interrupted = true;
                    return Ok(Next::Goes);
                }
                Ended::Left(_) => return Ok(Next::Ends),
            }
        }
        self.note("the model goes on calling tools; say something to go on");
        Ok(Next::Goes)
    }

    /// Asks the user for what the tools say; `Ends` if that is not told.
    async fn answer_calls(&mut self, calls: &[Call]) -> Next {
        for call in calls {
            let told = format!("{}({})", call.name, call.arguments);
            say(&self.paint.odd(format_args!("calls {}", harmless(&told))));
            let prompt = format!("what does {} say? ", harmless(&call.name));
            let Line::Typed(result) = self.lines.read(&prompt).await else {
                self.note("left open; say something else");
                return Next::Ends;
            };
            self.conversation.tool_says(&call.id, &result);
        }
        Next::Goes
    }

    async fn show_models(&self) -> Result<(), Trouble> {
        let models = self.conversation.server().models().await?;
        for model in models.iter().filter_map(|model| model["id"].as_str()) {
            let is_it = model == self.conversation.model;
            say(&format_args!("{} {}", if is_it { "*" } else { " " }, harmless(model)));
        }
        Ok(())
    }

    async fn show_session(&self) -> Result<(), Trouble> {
        let Some(id) = &self.conversation.session else {
            let count = self.conversation.messages.len();
            self.note(&format!("no session yet, or the server keeps none; {count} messages here"));
            return Ok(());
        };
        let session = self.conversation.server().document(Method::GET, &path_of(id)).await?;
        let text = |name: &str| session[name].as_str().unwrap_or("?");
        let (model, state) = (text("model"), text("state"));
        self.note(&format!("{id}  {model}  {state}  {} turns", session["turns"]));
        Ok(())
    }

    fn tools(&mut self, file: Option<&str>) {
        match file {
            None if self.conversation.tools.is_empty() => self.note("no tools are offered"),
            None => {
                for tool in &self.conversation.tools {
                    let function = &tool["function"];
                    let text = |name: &str| harmless(function[name].as_str().unwrap_or_default());
                    say(&format_args!("{}  {}", text("name"), text("description")));
                }
            }
            Some("off") => {
                self.conversation.tools.clear();
                self.note("no tools are offered from now on");
            }
            Some(file) => match read_tools(Path::new(file)) {
                Ok(tools) => {
                    self.note(&match tools.len() {
                        1 => "1 tool is offered from now on".to_owned(),
                        count => format!("{count} tools are offered from now on"),
                    });
                    self.conversation.tools = tools;
                }
                Err(message) => {
                    refuse(&message);
                }
            },
        }
    }

    fn save(&self, file: &str) {
        if file.is_empty() {
            complain(&"/save wants the name of a file");
            return;
        }
        let path = Path::new(file);
        let is_json = path.extension().is_some_and(|ending| ending == "json");
        let text =
            if is_json { as_json(&self.conversation) } else { as_markdown(&self.conversation) };
        let saved = owners_own(path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
        match saved {
            Ok(()) => self.note(&format!("written to {file}")),
            Err(error) => complain(&format_args!("{} cannot be written: {error}", harmless(file))),
        }
    }
}

/// The tools of a file: a list of OpenAI's tools.
fn read_tools(path: &Path) -> Result<Vec<Value>, String> {
    let shown = path.display();
    let length = std::fs::metadata(path).map(|file| file.len());
    if length.is_ok_and(|length| length > TOOLS_BYTES) {
        return Err(format!("{shown} holds more than {TOOLS_BYTES} bytes"));
    }
    let text = std::fs::read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let tools: Vec<Value> = serde_json::from_slice(&text)
        .map_err(|error| format!("{shown} is no JSON list of tools: {error}"))?;
    match tools.iter().position(|tool| !tool["function"]["name"].is_string()) {
        Some(place) => Err(format!("{shown}: tool {place} has no function.name")),
        None => Ok(tools),
    }
}

fn as_json(conversation: &Conversation) -> String {
    let whole = serde_json::json!({
        "model": conversation.model,
        "session": conversation.session,
        "messages": conversation.messages,
    });
    format!("{whole:#}\n")
}

fn as_markdown(conversation: &Conversation) -> String {
    let mut text = format!("# A conversation with {}\n", conversation.model);
    for message in &conversation.messages {
        let role = message["role"].as_str().unwrap_or("?");
        let content = message["content"].as_str().unwrap_or_default();
        text.push_str(&format!("\n**{role}**\n\n{content}\n"));
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            text.push_str(&format!("\n```json\n{}\n```\n", call["function"]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::cli::server::Server;

    use super::*;

    #[test]
    fn a_conversation_is_written_down_for_people_and_for_programs() {
        let server = Server::new("http://x", None).unwrap();
        let mut conversation = Conversation::new(server, "m".to_owned(), None);
        conversation.says("hi");
        let markdown = "# A conversation with m\n\n**user**\n\nhi\n";
        assert_eq!(as_markdown(&conversation), markdown);
        let json: Value = serde_json::from_str(&as_json(&conversation)).unwrap();
        assert_eq!(json["messages"][0]["content"], "hi");
    }

    #[test]
    fn a_file_that_holds_no_tools_is_told() {
        assert!(read_tools(Path::new("/no/such")).unwrap_err().contains("cannot be read"));
        let path = std::env::temp_dir().join(format!("{}.json", uuid::Uuid::new_v4().simple()));
        std::fs::write(&path, r#"[{"function": {"name": "f"}}, {"name": "g"}]"#).unwrap();
        assert!(read_tools(&path).unwrap_err().ends_with("tool 1 has no function.name"));
        std::fs::remove_file(path).unwrap();
    }
}
