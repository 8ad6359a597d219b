//! What the broker itself says to people who listen, and how it is told from the answer.
//!
//! A filler or an apology is spoken, so clients take it into the history that they send back. It
//! is no part of the conversation: it is taken out of what comes in, so that it is never kept,
//! compared, or told to a model. Platforms send back what was played, perhaps cut in the middle
//! and with other punctuation, which is borne with.

use std::borrow::Cow;

use crate::config::Voice;
use crate::turn::{Message, Part, Role};

/// Characters of a cut apology by which it is known for one.
const TELLING: usize = 12;

/// The sentences that a model's broker side may say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Phrases<'a> {
    fillers: &'a [String],
    apology: Option<&'a str>,
}

impl<'a> Phrases<'a> {
    /// None at all.
    #[cfg(test)]
    pub(super) const NONE: Self = Self { fillers: &[], apology: None };

    pub(super) fn of(voice: &'a Voice) -> Self {
        Self { fillers: &voice.filler, apology: voice.spoken_apology() }
    }

    fn are_none(self) -> bool {
        self.fillers.is_empty() && self.apology.is_none()
    }

    /// The filler for a session's turn, another one than in the turn before where there are
    /// several, with the space that parts it from the answer.
    pub(super) fn filler(self, turn: u64) -> Option<String> {
        let many = u64::try_from(self.fillers.len()).ok()?;
        let at = usize::try_from(turn.checked_rem(many)?).ok()?;
        Some(format!("{} ", self.fillers.get(at)?.trim()))
    }

    /// Takes the sentences out of what a client sent. An answer of which nothing else was heard
    /// stays as an empty one; an apology alone stood for no answer, and goes.
    pub(super) fn take_out(self, messages: &mut Vec<Message>) {
        if self.are_none() {
            return;
        }
        messages.retain_mut(|message| {
            let Some((rest, has_apologised)) = self.rest(message) else { return true };
            let rest = rest.to_owned();
            let goes = has_apologised && rest.is_empty() && message.tool_calls.is_empty();
            set_text(message, rest);
            !goes
        });
    }

    /// A message as a client would send it back, by the same rules.
    pub(super) fn sent_back(self, message: &Message) -> Cow<'_, Message> {
        match self.rest(message) {
            Some((rest, _)) => {
                let mut sent = message.clone();
                set_text(&mut sent, rest.to_owned());
                Cow::Owned(sent)
            }
            None => Cow::Borrowed(message),
        }
    }

    /// What of an answer was heard, given what was spoken before and during it.
    pub(super) fn heard(self, spoken: &str, answer: &str) -> String {
        if answer.trim_start().starts_with(spoken.trim()) {
            return spoken.to_owned();
        }
        if self.is_cut_filler(spoken) {
            return String::new();
        }
        self.without_filler(spoken).unwrap_or(spoken).to_owned()
    }

    /// Whether a text is the beginning of a filler, or all of it.
    pub(super) fn is_cut_filler(self, text: &str) -> bool {
        let text = bare(text);
        !text.is_empty() && self.fillers.iter().any(|filler| filler.trim().starts_with(text))
    }

    /// What is left of an assistant's text without the sentences, and whether an apology was
    /// among them; nothing where none is.
    fn rest(self, message: &Message) -> Option<(&str, bool)> {
        if self.are_none() || message.role != Role::Assistant {
            return None;
        }
        let [Part::Text(text)] = message.parts.as_slice() else { return None };
        let unfilled = self.without_filler(text);
        let said = unfilled.unwrap_or(text);
        match self.without_apology(said) {
            Some(rest) => Some((rest, true)),
            None => unfilled.map(|rest| (rest, false)),
        }
    }

    fn without_filler(self, text: &str) -> Option<&str> {
        let text = text.trim();
        self.fillers.iter().find_map(|filler| {
            let rest = text.strip_prefix(bare(filler))?;
            let parts = |c: char| c.is_whitespace() || matches!(c, '.' | '…' | '!' | '?' | ',');
            let is_apart = rest.is_empty() || rest.starts_with(parts);
            is_apart.then(|| rest.trim_start_matches(parts))
        })
    }

    fn without_apology(self, text: &str) -> Option<&str> {
        let apology = bare(self.apology?);
        let text = text.trim();
        let said = bare(text);
        if said.len() >= TELLING && apology.starts_with(said) {
            return Some("");
        }
        said.strip_suffix(apology).map(str::trim_end)
    }
}

/// A sentence without its end, which platforms spell in their own ways.
fn bare(sentence: &str) -> &str {
    sentence.trim().trim_end_matches(|c: char| is_end(c) || c.is_whitespace())
}

fn is_end(c: char) -> bool {
    matches!(c, '.' | '…' | '!' | '?' | ',' | ';' | ':' | '-' | '–' | '—')
}

fn set_text(message: &mut Message, text: String) {
    message.parts = if text.is_empty() { Vec::new() } else { vec![Part::Text(text)] };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice() -> Voice {
        Voice {
            filler: vec!["One moment, please.".to_owned(), "Let me check...".to_owned()],
            spoken_errors: true,
            apology: "I am sorry, that did not work.".to_owned(),
            ..Voice::default()
        }
    }

    fn taken_out(text: &str) -> Option<String> {
        let voice = voice();
        let mut messages = vec![Message::text(Role::Assistant, text)];
        Phrases::of(&voice).take_out(&mut messages);
        messages.pop().map(|message| message.plain_text())
    }

    #[test]
    fn a_filler_is_taken_from_the_front_of_an_answer_however_its_end_is_spelled() {
        for text in [
            "One moment, please. Hello!",
            "One moment, please… Hello!",
            " One moment, please Hello! ",
            "Let me check... Hello!",
            "Hello!",
        ] {
            assert_eq!(taken_out(text).as_deref(), Some("Hello!"), "{text}");
        }
        let other = "One moment, pleased to meet you.";
        assert_eq!(taken_out(other).as_deref(), Some(other));
        let later = "Hello! One moment, please.";
        assert_eq!(taken_out(later).as_deref(), Some(later));
    }

    #[test]
    fn an_answer_that_was_a_filler_only_stays_as_an_empty_one_and_an_apology_goes() {
        assert_eq!(taken_out("One moment, please.").as_deref(), Some(""));
        assert_eq!(taken_out("I am sorry, that did not work."), None);
        assert_eq!(taken_out("I am sorry, that did"), None, "it was cut");
        assert_eq!(taken_out("One moment, please. I am sorry, that did not work."), None);
        let partly = taken_out("We offer I am sorry, that did not work.");
        assert_eq!(partly.as_deref(), Some("We offer"));
        assert_eq!(taken_out("I am sorry.").as_deref(), Some("I am sorry."));
    }

    #[test]
    fn users_and_models_without_phrases_say_what_they_like() {
        let voice = voice();
        let mut messages = vec![Message::text(Role::User, "One moment, please.")];
        Phrases::of(&voice).take_out(&mut messages);
        let mut said = vec![Message::text(Role::Assistant, "One moment, please.")];
        Phrases::default().take_out(&mut said);
        assert_eq!(messages[0].plain_text(), said[0].plain_text());
    }

    #[test]
    fn what_was_heard_is_what_was_spoken_without_the_filler() {
        let voice = voice();
        let heard = |spoken: &str| Phrases::of(&voice).heard(spoken, "One loan is enough.");
        assert_eq!(heard("One moment, please. One loan"), "One loan");
        assert_eq!(heard("One mom"), "");
        assert_eq!(heard("One"), "One", "the answer begins so too");
        assert_eq!(heard("Something else"), "Something else");
    }

    #[test]
    fn fillers_take_turns() {
        let voice = voice();
        let filler = |turn| Phrases::of(&voice).filler(turn);
        assert_eq!(filler(0).as_deref(), Some("One moment, please. "));
        assert_eq!(filler(1).as_deref(), Some("Let me check... "));
        assert_eq!(filler(2), filler(0));
        assert_eq!(Phrases::default().filler(0), None);
    }
}
