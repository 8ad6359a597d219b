//! What can be typed beside what is said: commands begin with a slash.

/// The commands, with what follows them and what they do.
pub(super) const COMMANDS: &[(&str, &str, &str)] = &[
    ("/model", "[NAME]", "show the models, or have another one answer from now on"),
    ("/session", "[ID | new]", "show the session, go on with another, or begin anew"),
    ("/interrupt", "[TEXT]", "stop the session's turn; TEXT is what was heard of its answer"),
    ("/tools", "[FILE | off]", "show the tools, or offer those of a JSON file"),
    ("/save", "FILE", "write the conversation down: JSON if the name ends so, else Markdown"),
    ("/help", "", "show this"),
    ("/quit", "", "leave, as Ctrl-D does"),
];

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Typed<'a> {
    /// Something is said.
    Said(&'a str),
    Model(Option<&'a str>),
    Session(Option<&'a str>),
    Interrupt(Option<&'a str>),
    Tools(Option<&'a str>),
    /// With the file's name; empty if there is none.
    Save(&'a str),
    Help,
    Quit,
    /// A command that there is not.
    Unknown(&'a str),
}

impl<'a> Typed<'a> {
    /// Reads a line. What begins with two slashes is said, with one of them.
    pub(super) fn read(line: &'a str) -> Self {
        let line = line.trim();
        let Some(command) = line.strip_prefix('/') else { return Self::Said(line) };
        if command.starts_with('/') {
            return Self::Said(command);
        }
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        let some = Some(rest).filter(|rest| !rest.is_empty());
        match name {
            "model" => Self::Model(some),
            "session" => Self::Session(some),
            "interrupt" => Self::Interrupt(some),
            "tools" => Self::Tools(some),
            "save" => Self::Save(rest),
            "help" | "?" => Self::Help,
            "quit" | "exit" | "q" => Self::Quit,
            _ => Self::Unknown(name),
        }
    }
}

/// What `/help` shows.
pub(super) fn help() -> String {
    let lines = COMMANDS
        .iter()
        .map(|(name, argument, what)| format!("  {:<24}{what}", format!("{name} {argument}")));
    let lines: Vec<_> = lines.collect();
    format!(
        "{}\n\nA line that ends in \\ goes on in the next one; so does what stands between two \
         lines of \"\"\".\nLines that are pasted are one message. Ctrl-C stops the answer; a second one leaves.",
        lines.join("\n")
    )
}

/// Whether more lines belong to what was typed so far.
pub(super) fn goes_on(typed: &str) -> bool {
    match is_quoted(typed) {
        true => quoted(typed).is_none(),
        false => typed.ends_with('\\'),
    }
}

/// What several lines say: without the marks that held them together. Between quotes, and in
/// what was pasted with its own line breaks, every line stays as it is.
pub(super) fn joined(typed: &str) -> String {
    if is_quoted(typed) {
        return quoted(typed).unwrap_or_else(|| typed.to_owned());
    }
    let mut lines = typed.lines().rev();
    let last = lines.next().unwrap_or_default();
    // Each line but the last was typed with a mark at its end, or none was.
    let is_marked = |line: &str| line.ends_with('\\');
    if !lines.clone().all(is_marked) {
        return typed.to_owned();
    }
    let before = lines.rev().map(|line| line.strip_suffix('\\').unwrap_or(line));
    before.chain([last]).collect::<Vec<_>>().join("\n")
}

fn is_quoted(typed: &str) -> bool {
    typed.lines().next().is_some_and(|line| line.trim() == QUOTES)
}

/// What stands between the first line and the last, if both are quotes.
fn quoted(typed: &str) -> Option<String> {
    let lines: Vec<&str> = typed.lines().collect();
    let [_, between @ .., last] = lines.as_slice() else { return None };
    (last.trim() == QUOTES).then(|| between.join("\n"))
}

const QUOTES: &str = "\"\"\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_with_a_slash_is_a_command() {
        assert_eq!(Typed::read(" hello "), Typed::Said("hello"));
        assert_eq!(Typed::read("//etc is a path"), Typed::Said("/etc is a path"));
        assert_eq!(Typed::read("/model"), Typed::Model(None));
        assert_eq!(Typed::read("/model  gpt "), Typed::Model(Some("gpt")));
        assert_eq!(Typed::read("/interrupt one two"), Typed::Interrupt(Some("one two")));
        assert_eq!(Typed::read("/save"), Typed::Save(""));
        assert_eq!(Typed::read("/quit"), Typed::Quit);
        assert_eq!(Typed::read("/nope x"), Typed::Unknown("nope"));
    }

    #[test]
    fn every_command_is_known_and_in_the_help() {
        for (name, _, what) in COMMANDS {
            assert!(!matches!(Typed::read(name), Typed::Unknown(_) | Typed::Said(_)), "{name}");
            assert!(help().contains(what), "{name}");
        }
    }

    #[test]
    fn lines_go_on_after_a_backslash_and_between_quotes() {
        assert!(goes_on("one\\") && !goes_on("one\\\ntwo"));
        assert!(goes_on("\"\"\"\none") && !goes_on("\"\"\"\none\n\"\"\""));
        assert_eq!(joined("one\\\ntwo"), "one\ntwo");
        assert_eq!(joined("\"\"\"\none\n two\n\"\"\""), "one\n two");
    }

    #[test]
    fn what_is_pasted_stays_as_it_is() {
        for pasted in ["one\ntwo \\\n  three", "def f():\n    \"\"\"\n    Why\n    \"\"\"", "a", ""]
        {
            assert_eq!(joined(pasted), pasted);
        }
        assert!(!goes_on("def f():\n    \"\"\"\n    pass"));
        assert_eq!(joined("\"\"\"\ncurl \\\n  x\n\"\"\""), "curl \\\n  x");
    }
}
