//! `outcrop config init`: a configuration file to begin with, of a few questions.

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::edit::replace;
use crate::cli::keys::new_key;
use crate::config::{Environment, SourceFile, Sources, load, secret};

use super::{EXIT_OK, EXIT_WRONG, Output};

/// Answers that make no sense before the question is given up.
const TRIES: usize = 5;

/// Where to, and whether to ask.
#[derive(Debug, Args)]
pub struct Init {
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "outcrop.toml")]
    config: PathBuf,
    /// Ask nothing, take what is in brackets
    #[arg(long, short)]
    yes: bool,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

/// What a question is about.
struct Question {
    words: &'static str,
    /// What is taken when nothing is said.
    otherwise: &'static str,
    /// Why an answer makes no sense.
    check: fn(&str) -> Result<(), String>,
}

const BACKEND: Question = Question {
    words: "Who is to answer: a Bedrock agent, a Bedrock model, or an OpenAI-compatible server \
            (agent, bedrock, openai)?",
    otherwise: "agent",
    check: |answer| one_of(answer, &["agent", "bedrock", "openai"]),
};
const NAME: Question = Question {
    words: "What are clients to call it?",
    otherwise: "assistant",
    check: |answer| {
        answer.parse::<crate::turn::ModelName>().map(drop).map_err(|error| error.to_string())
    },
};
const AGENT: Question =
    Question { words: "The agent's id (ten characters)?", otherwise: "ABCDEF1234", check: ten };
const ALIAS: Question = Question {
    words: "The id of its alias (TSTALIASID is the working draft)?",
    otherwise: "TSTALIASID",
    check: ten,
};
const MODEL: Question = Question {
    words: "The model's id or inference profile?",
    otherwise: "us.anthropic.claude-sonnet-4-20250514-v1:0",
    check: plain,
};
const URL: Question = Question {
    words: "Where is the server?",
    otherwise: "http://127.0.0.1:11434/v1",
    check: |answer| match answer.starts_with("http://") || answer.starts_with("https://") {
        true => plain(answer),
        false => Err("begins with http:// or https://".to_owned()),
    },
};
const UPSTREAM: Question =
    Question { words: "What does it call the model?", otherwise: "llama3", check: plain };
const LISTEN: Question = Question {
    words: "Address and port to listen on (0.0.0.0:8000 is reachable from elsewhere)?",
    otherwise: "127.0.0.1:8000",
    check: |answer| {
        let parsed = answer.parse::<SocketAddr>();
        parsed.map(drop).map_err(|_| "is an address and a port, as 127.0.0.1:8000".to_owned())
    },
};
const KEY: Question = Question {
    words: "Make an API key, so that not everybody may ask (yes, no)?",
    otherwise: "yes",
    check: |answer| one_of(answer, &["yes", "no"]),
};

fn one_of(answer: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&answer) { Ok(()) } else { Err(format!("is one of {}", known.join(", "))) }
}

fn ten(answer: &str) -> Result<(), String> {
    let is_id = answer.len() == 10 && answer.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_id { Ok(()) } else { Err("is ten letters and digits".to_owned()) }
}

fn plain(answer: &str) -> Result<(), String> {
    let is_plain = answer.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte));
    if is_plain { Ok(()) } else { Err("is one word of visible ASCII".to_owned()) }
}

/// Asks, or does not.
struct Interview<'a> {
    answers: Option<&'a mut dyn BufRead>,
    /// Where the questions go.
    out: &'a mut dyn Write,
}

impl Interview<'_> {
    /// The answer, which makes sense.
    fn ask(&mut self, question: &Question) -> io::Result<String> {
        let otherwise = question.otherwise.to_owned();
        let Some(answers) = &mut self.answers else { return Ok(otherwise) };
        for _ in 0..TRIES {
            write!(self.out, "{} [{}] ", question.words, question.otherwise)?;
            self.out.flush()?;
            let mut line = String::new();
            if answers.read_line(&mut line)? == 0 {
                let message = "the answers ended too early; --yes asks nothing";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
            }
            let answer = line.trim();
            if answer.is_empty() {
                return Ok(otherwise);
            }
            match (question.check)(answer) {
                Ok(()) => return Ok(answer.to_owned()),
                Err(why) => writeln!(self.out, "{answer:?} makes no sense here: it {why}")?,
            }
        }
        Err(io::Error::other("no answer made sense; --yes asks nothing"))
    }
}

impl Init {
    /// Writes the file.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub(super) fn run(&self, environment: &Environment, output: &mut Output<'_>) -> io::Result<u8> {
        let mut answers = io::stdin().lock();
        self.write(environment, &mut answers, output)
    }

    fn write(
        &self,
        environment: &Environment,
        answers: &mut dyn BufRead,
        output: &mut Output<'_>,
    ) -> io::Result<u8> {
        let path = self.config.display();
        if self.config.exists() && !self.force {
            writeln!(output.err, "{path} is there already; --force replaces it")?;
            return Ok(EXIT_WRONG);
        }
        let answers: Option<&mut dyn BufRead> = if self.yes { None } else { Some(&mut *answers) };
        let composed = compose(&mut Interview { answers, out: &mut *output.err });
        let text = match composed {
            Ok(text) => text,
            Err(error) => {
                writeln!(output.err, "{error}; nothing was written")?;
                return Ok(EXIT_WRONG);
            }
        };
        if let Err(error) = replace(&self.config, &text.file) {
            writeln!(output.err, "{path} cannot be written: {error}")?;
            return Ok(super::EXIT_FAILED);
        }
        writeln!(output.out, "{path} is written; next: outcrop serve --config {path}")?;
        if let Some(key) = text.key {
            writeln!(output.err, "the API key, which is not shown again: {key}")?;
        }
        note(&self.config, text.file, environment, output)?;
        Ok(EXIT_OK)
    }
}

/// What the environment makes of the file may be something else than the file alone.
fn note(
    path: &Path,
    text: String,
    environment: &Environment,
    output: &mut Output<'_>,
) -> io::Result<()> {
    let file = Some(SourceFile { path: path.to_owned(), text });
    let sources = Sources { file, environment: environment.clone(), flags: Vec::new() };
    match load(&sources) {
        Ok(loaded) => loaded.notes.iter().try_for_each(|note| writeln!(output.err, "note: {note}")),
        Err(report) => {
            writeln!(output.err, "with this environment it does not load yet:\n{report}")
        }
    }
}

/// A file, and the key whose hash it holds.
struct Composed {
    file: String,
    key: Option<String>,
}

fn compose(interview: &mut Interview<'_>) -> io::Result<Composed> {
    let backend = interview.ask(&BACKEND)?;
    let name = interview.ask(&NAME)?;
    let model = match backend.as_str() {
        "agent" => {
            let (agent, alias) = (interview.ask(&AGENT)?, interview.ask(&ALIAS)?);
            format!(
                "backend = \"bedrock-agent\"\nagent_id = \"{agent}\"\n\
                 agent_alias_id = \"{alias}\"     # TSTALIASID is the working draft\n\
                 # turn_policy = \"interrupt\"      # who speaks into an answer stops it: for voice\n"
            )
        }
        "bedrock" => {
            let model = interview.ask(&MODEL)?;
            format!("backend = \"bedrock\"\nmodel_id = \"{model}\"\n# region = \"us-east-1\"\n")
        }
        _ => {
            let (url, model) = (interview.ask(&URL)?, interview.ask(&UPSTREAM)?);
            format!(
                "backend = \"openai\"\nbase_url = \"{url}\"\nmodel_id = \"{model}\"\n\
                 # api_key = \"${{UPSTREAM_KEY}}\"   # or \"file:/run/secrets/upstream_key\"\n"
            )
        }
    };
    let listen = interview.ask(&LISTEN)?;
    let key = (interview.ask(&KEY)? == "yes").then(new_key);
    let keys = key.as_deref().map(key_table).unwrap_or_default();
    let file = format!(
        "# Outcrop's configuration. Every setting, its unit and default: docs/configuration.md;\n\
         # `outcrop config check` says whether the file is in order.\n\n\
         [server]\nlisten = \"{listen}\"    # beyond 127.0.0.1 keys are due\n\
         # allowed_origins = [\"https://app.example.com\"]   # for browsers\n\n\
         [session]\n# resident_seconds = 300    # idle sessions leave memory after this\n\
         # expire_seconds = 86400    # and are forgotten after this\n\n\
         [log]\n# level = \"info\"            # or a filter: \"info,outcrop=debug\"\n\n\
         # What clients can ask for; there may be many.\n\
         [[models]]\nname = \"{name}\"\n{model}{keys}"
    );
    Ok(Composed { file, key })
}

fn key_table(key: &str) -> String {
    let hash = secret::hash_text(&secret::hash_key(key));
    format!(
        "\n# Who may ask; `outcrop keys` makes, lists and revokes them.\n\
         [[keys]]\ntenant = \"default\"\nhash = \"{hash}\"\n\
         # requests_per_minute = 600\n# concurrent_turns = 50\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn composed(answers: Option<&str>) -> io::Result<Composed> {
        let mut out = Vec::new();
        let mut lines = answers.unwrap_or_default().as_bytes();
        let answers = answers.map(|_| &mut lines as &mut dyn BufRead);
        compose(&mut Interview { answers, out: &mut out })
    }

    fn config(text: &str) -> Config {
        let file = Some(SourceFile { path: "o.toml".into(), text: text.to_owned() });
        load(&Sources { file, ..Sources::default() }).unwrap().config
    }

    #[test]
    fn without_answers_the_file_has_an_agent_and_a_key() {
        let composed = composed(None).unwrap();
        let config = config(&composed.file);
        assert_eq!(config.models[0].agent_id.as_deref(), Some("ABCDEF1234"));
        assert_eq!(config.keys[0].hash, secret::hash_key(&composed.key.unwrap()));
    }

    #[test]
    fn every_kind_of_upstream_makes_a_file_that_loads() {
        let answers = "bedrock\nclaude\n\n0.0.0.0:9000\nno\n";
        let bedrock = config(&composed(Some(answers)).unwrap().file);
        assert_eq!((bedrock.models[0].backend.as_str(), bedrock.keys.len()), ("bedrock", 0));
        assert_eq!(bedrock.server.listen.port(), 9000);
        let answers = "openai\n\nhttps://x/v1\nm\n\n\n";
        let openai = config(&composed(Some(answers)).unwrap().file);
        assert_eq!(openai.models[0].text.base_url.as_deref(), Some("https://x/v1"));
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_asked_for_again() {
        let answers = "robot\nagent\n\nshort\nABCDE12345\n\n\n\n";
        let composed = composed(Some(answers)).unwrap();
        assert!(composed.file.contains("agent_id = \"ABCDE12345\""));
    }

    #[test]
    fn answers_that_end_too_early_make_no_file() {
        assert!(composed(Some("agent\n")).is_err());
        assert!(composed(Some("x\nx\nx\nx\nx\n")).is_err());
    }
}
