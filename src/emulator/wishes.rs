//! What a message asks of the agent, in the phrases that are there for tests.
//!
//! A message that begins with a phrase holds several of them, separated by semicolons; those after
//! `then` wait for the results of the hand-over before. A message is read whole before anything of
//! it is done, and one that cannot be read is answered with the reason. `docs/emulator.md` has
//! the table of phrases.

use super::actions::{self, Action};
use super::citations::Cited;
use super::files_out::MadeFile;
use super::guardrail::Guard;
use super::steps;
use super::words;

/// The longest message with phrases, in bytes: what is left of it is kept while results are
/// waited for.
const MAX_MESSAGE: usize = 64 << 10;
/// Most hand-overs that one message may cause.
const MAX_STAGES: usize = 10;
/// Most actions in one hand-over, by the service's model.
const MAX_ACTIONS: usize = 5;
/// Most files in one answer, by the service's model.
const MAX_FILES: usize = 5;
/// The longest name of an exception.
const MAX_EXCEPTION: usize = 64;

/// One thing that a message asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// To say this.
    Say(String),
    /// To hand this action over, together with the others of the stage.
    Act(Action),
    /// To say a sentence and what it rests on.
    Cite(Cited),
    /// To make this file.
    Make(MadeFile),
    /// To let a guardrail do this.
    Guard(Guard),
    /// To say this to itself.
    Think(String),
    /// To let the model reason so; nobody may read it when it is empty.
    Reason(String),
    /// To ask a collaborator.
    Ask {
        /// The collaborator's name.
        collaborator: String,
        /// What it is asked.
        question: String,
    },
    /// To be seen doing these steps.
    Step(Vec<&'static steps::Kind>),
    /// To end with this exception.
    Fail(String),
}

/// What is done in one call: everything until control goes to the caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stage {
    /// In the order of the message.
    pub(super) wishes: Vec<Wish>,
}

impl Stage {
    /// Whether it ends with control going to the caller.
    pub(super) fn hands_over(&self) -> bool {
        self.actions() > 0
    }

    fn count(&self, is_counted: fn(&Wish) -> bool) -> usize {
        self.wishes.iter().filter(|wish| is_counted(wish)).count()
    }

    fn actions(&self) -> usize {
        self.count(|wish| matches!(wish, Wish::Act(_)))
    }
}

/// Reads what follows a phrase, or says what is wrong with it.
type Reader = fn(&str) -> Result<Wish, String>;

/// Every phrase: the word before its colon, and how the rest is read.
const PHRASES: &[(&str, Reader)] = &[
    ("say", |rest| Ok(Wish::Say(rest.to_owned()))),
    ("call", |rest| Action::function(rest).map(Wish::Act)),
    ("api", |rest| Action::api(rest).map(Wish::Act)),
    ("cite", |rest| Cited::read(rest).map(Wish::Cite)),
    ("file", |rest| MadeFile::read(rest).map(Wish::Make)),
    ("guardrail", |rest| Guard::read(rest).map(Wish::Guard)),
    ("think", |rest| Ok(Wish::Think(rest.to_owned()))),
    ("reason", |rest| Ok(Wish::Reason(rest.to_owned()))),
    ("ask", collaborator),
    ("trace", |rest| steps::kinds(rest).map(Wish::Step)),
    ("fail", exception),
];

/// The stages of a message that begins with a phrase; `None` for any other message.
///
/// The reason stands for a message that cannot be read.
pub(super) fn stages(message: &str) -> Option<Result<Vec<Stage>, String>> {
    phrase(message)?;
    if message.len() > MAX_MESSAGE {
        return Some(Err(format!("a message with phrases has at most {MAX_MESSAGE} bytes")));
    }
    Some(read(message))
}

fn read(message: &str) -> Result<Vec<Stage>, String> {
    let mut done = Vec::new();
    let mut stage = Stage::default();
    for clause in words::clauses(message) {
        let clause = clause.trim();
        let is_rest = |rest: &&str| rest.is_empty() || rest.starts_with(char::is_whitespace);
        let after_then = clause.strip_prefix("then").filter(is_rest);
        if after_then.is_some() {
            if !stage.hands_over() {
                return Err("before `then` stands a call that is handed over".to_owned());
            }
            done.push(std::mem::take(&mut stage));
        }
        let clause = after_then.unwrap_or(clause).trim_start();
        if clause.is_empty() {
            continue;
        }
        let (read, rest) = phrase(clause).ok_or_else(|| unknown(clause))?;
        stage.wishes.push(read(rest)?);
        check(&stage)?;
    }
    done.push(stage);
    match done.len() {
        ..=MAX_STAGES => Ok(done),
        _ => Err(format!("a message has at most {MAX_STAGES} stages")),
    }
}

fn check(stage: &Stage) -> Result<(), String> {
    if stage.actions() > MAX_ACTIONS {
        return Err(format!("at most {MAX_ACTIONS} calls are handed over at once"));
    }
    if stage.count(|wish| matches!(wish, Wish::Make(_))) > MAX_FILES {
        return Err(format!("at most {MAX_FILES} files come with an answer"));
    }
    Ok(())
}

/// The phrase that a text begins with, and what follows it.
fn phrase(text: &str) -> Option<(Reader, &str)> {
    let (head, rest) = text.split_once(':')?;
    let head = head.trim_start();
    let (_, read) = PHRASES.iter().find(|(word, _)| word.eq_ignore_ascii_case(head))?;
    Some((*read, rest.trim()))
}

fn unknown(clause: &str) -> String {
    let known: Vec<_> = PHRASES.iter().map(|(word, _)| *word).collect();
    let begin: String = clause.chars().take(40).collect();
    format!("{begin:?} begins with none of {}", known.join(", "))
}

fn collaborator(rest: &str) -> Result<Wish, String> {
    let (name, question) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if !actions::is_name(name) {
        return Err("a collaborator is named by letters, digits, _ and -".to_owned());
    }
    let (collaborator, question) = (name.to_owned(), question.trim().to_owned());
    Ok(Wish::Ask { collaborator, question })
}

fn exception(name: &str) -> Result<Wish, String> {
    let is_name = (1..=MAX_EXCEPTION).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_name {
        Ok(Wish::Fail(name.to_owned()))
    } else {
        Err("an exception is named by 1 to 64 letters and digits".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(message: &str) -> Vec<usize> {
        stages(message).unwrap().unwrap().iter().map(Stage::actions).collect()
    }

    #[test]
    fn calls_up_to_a_then_are_handed_over_together() {
        let message = "say: One moment; call: a x=\"1; 2\"; Call: b; then call: c @confirm;\n\
                       then; api: GET /d; then say: it's done;";
        assert_eq!(counted(message), [2, 1, 1, 0]);
        assert_eq!(counted("call: thenceforth"), [1]);
    }

    #[test]
    fn every_phrase_is_documented() {
        let page = include_str!("../../docs/emulator.md");
        for (word, _) in PHRASES {
            assert!(page.contains(&format!("| `{word}: ")), "{word}");
        }
    }

    #[test]
    fn other_messages_hold_no_phrases() {
        for message in ["hello", "call me Ann", "calls: a", "what do you say: yes or no?", ""] {
            assert_eq!(stages(message), None, "{message}");
        }
    }

    #[test]
    fn a_message_that_cannot_be_read_is_answered_with_the_reason() {
        let six = "call: a;".repeat(6);
        let eleven = "call: a; then ".repeat(11);
        for (message, told) in [
            ("call:", "name of its function"),
            ("say: hello; then say: more", "before `then`"),
            ("say: hello; dance: tango", "\"dance: tango\" begins with none of say, call"),
            ("fail: no such thing", "letters and digits"),
            (&six, "at most 5 calls"),
            (&"file: a;".repeat(6), "at most 5 files"),
            ("ask: né what?", "a collaborator is named"),
            ("trace: pre nothing", "one of pre, post"),
            (&eleven, "at most 10 stages"),
            (&format!("say: {}", "x".repeat(MAX_MESSAGE)), "65536 bytes"),
        ] {
            let reason = stages(message).unwrap().unwrap_err();
            assert!(reason.contains(told), "{reason}");
        }
    }
}
