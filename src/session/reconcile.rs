//! The transcript that a session holds against the messages that came in.
//!
//! OpenAI's clients resend everything each time; some send only what is new. [`reconcile`] tells
//! which it is and what has to go upstream. It is a pure function over both.

use std::sync::Arc;

use crate::turn::{Message, Part, Role, Status};

use super::phrases::Phrases;

/// What to make of the messages that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// They continue what is held: those from here on are new.
    Continue {
        /// Index of the first new message among those that came in.
        from: usize,
        /// How the client's version of the last held message ends earlier than ours: an
        /// interrupted answer of which only this much was heard.
        heard: Option<String>,
    },
    /// They leave what is held: a new branch begins with those before `from`, and those from
    /// there on are new.
    Fork {
        /// Index of the first new message among those that came in.
        from: usize,
    },
}

/// How a client tells what was said.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Telling<'a> {
    /// Whether it named the session itself, so that messages which do not begin like the held
    /// ones are what is new.
    pub(super) named: bool,
    /// Whether answers are listened to, so that a last one which comes back shorter, or not at
    /// all, is what was heard of it.
    pub(super) is_heard: bool,
    /// What may be heard beside the answers; the messages that came in are without it.
    pub(super) phrases: Phrases<'a>,
}

/// Compares; `incoming` is without system messages.
pub(super) fn reconcile(held: &[Arc<Message>], incoming: &[Message], telling: Telling<'_>) -> Plan {
    let named = telling.named;
    let input = input_start(incoming);
    if let Some((from, heard)) = extension(held, incoming, telling)
        && (input..incoming.len()).contains(&from)
    {
        return Plan::Continue { from, heard };
    }
    let resends = incoming.iter().any(|message| message.role == Role::Assistant);
    if named && !resends {
        return Plan::Continue { from: 0, heard: None };
    }
    if named && !begins_alike(held, incoming, telling) {
        if let Some(from) = overlap(held, incoming, telling) {
            return Plan::Continue { from, heard: None };
        }
        if ends_alike(held, &incoming[..input], telling) {
            return Plan::Continue { from: input, heard: None };
        }
        return Plan::Continue { from: 0, heard: None };
    }
    Plan::Fork { from: input }
}

/// Where the new input begins: after the last assistant message.
pub(super) fn input_start(incoming: &[Message]) -> usize {
    incoming.iter().rposition(|message| message.role == Role::Assistant).map_or(0, |at| at + 1)
}

/// Where `incoming` goes on after all that is held, if it begins with all of it.
fn extension(
    held: &[Arc<Message>],
    incoming: &[Message],
    telling: Telling<'_>,
) -> Option<(usize, Option<String>)> {
    let mut at = 0;
    let mut heard = None;
    let mut is_skipping = false;
    for (place, message) in held.iter().enumerate() {
        let is_last = place + 1 == held.len();
        match incoming.get(at) {
            Some(theirs) if is_same(message, theirs, telling) => {
                at += 1;
                is_skipping = false;
            }
            Some(theirs) if let Some(part) = heard_part(message, theirs, is_last, telling) => {
                if is_last {
                    heard = Some(part);
                }
                at += 1;
            }
            _ if telling.is_heard && is_last && at > 0 && is_said(message) => {
                heard = Some(String::new());
            }
            // An answer that was cut before a word of it was heard is in no client's transcript,
            // and calls that the user did not wait for are not in every one.
            _ if is_unheard(message) || is_silent(message) => is_skipping = true,
            _ if is_skipping && message.role == Role::Tool => {}
            _ => return None,
        }
    }
    Some((at, heard))
}

fn begins_alike(held: &[Arc<Message>], incoming: &[Message], telling: Telling<'_>) -> bool {
    match (held.first(), incoming.first()) {
        (Some(ours), Some(theirs)) => {
            is_same(ours, theirs, telling) || heard_part(ours, theirs, false, telling).is_some()
        }
        _ => false,
    }
}

/// For a client that keeps only a window of the transcript: where `incoming` goes on after the
/// longest end of what is held that it begins with.
fn overlap(held: &[Arc<Message>], incoming: &[Message], telling: Telling<'_>) -> Option<usize> {
    (1..held.len()).find_map(|start| {
        let window = &held[start..];
        let fits = window.len() <= incoming.len()
            && window.iter().zip(incoming).all(|(ours, theirs)| is_same(ours, theirs, telling));
        fits.then_some(window.len())
    })
}

/// For a session that dropped its oldest turns: whether all that it holds is the end of what
/// was said before the new input.
fn ends_alike(held: &[Arc<Message>], said: &[Message], telling: Telling<'_>) -> bool {
    let Some(start) = said.len().checked_sub(held.len()) else { return false };
    held.iter().zip(&said[start..]).all(|(ours, theirs)| is_same(ours, theirs, telling))
}

fn is_same(ours: &Message, theirs: &Message, telling: Telling<'_>) -> bool {
    ours.role == theirs.role
        && ours.tool_call_id == theirs.tool_call_id
        && (says_the_same(ours, theirs) || says_the_same(&telling.phrases.sent_back(ours), theirs))
        && ours
            .tool_calls
            .iter()
            .map(|call| &call.id)
            .eq(theirs.tool_calls.iter().map(|call| &call.id))
}

/// Most messages are one text, which needs no joining to be compared.
fn says_the_same(ours: &Message, theirs: &Message) -> bool {
    match (ours.parts.as_slice(), theirs.parts.as_slice()) {
        ([Part::Text(ours)], [Part::Text(theirs)]) => ours.trim() == theirs.trim(),
        _ => ours.plain_text().trim() == theirs.plain_text().trim(),
    }
}

/// What of our interrupted answer stands in their transcript, if theirs is a beginning of it. Of
/// answers that are listened to, the last one may have been interrupted after it was complete.
fn heard_part(
    ours: &Message,
    theirs: &Message,
    is_last: bool,
    telling: Telling<'_>,
) -> Option<String> {
    let both_answers = ours.role == Role::Assistant && theirs.role == Role::Assistant;
    let may_be_shorter = telling.is_heard && is_last && is_said(ours) && is_said(theirs);
    if !both_answers || (ours.status == Status::Completed && !may_be_shorter) {
        return None;
    }
    let part = theirs.plain_text();
    let part = part.trim().trim_end_matches(['…', '.', '-', '—']).trim_end();
    let is_beginning = |ours: &Message| ours.plain_text().trim().starts_with(part);
    if is_beginning(ours) || is_beginning(&telling.phrases.sent_back(ours)) {
        return Some(part.to_owned());
    }
    telling.phrases.is_cut_filler(part).then(String::new)
}

/// Whether it is an answer, and all of it is for ears.
fn is_said(message: &Message) -> bool {
    message.role == Role::Assistant && message.tool_calls.is_empty()
}

fn is_silent(message: &Message) -> bool {
    message.role == Role::Assistant && message.parts.is_empty()
}

fn is_unheard(message: &Message) -> bool {
    message.role == Role::Assistant && message.status != Status::Completed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Voice;

    fn user(text: &str) -> Message {
        Message::text(Role::User, text)
    }

    fn assistant(text: &str) -> Message {
        Message::text(Role::Assistant, text)
    }

    fn cut(text: &str) -> Message {
        Message { status: Status::Interrupted, ..assistant(text) }
    }

    fn plan(held: &[Message], incoming: &[Message], named: bool) -> Plan {
        let held: Vec<_> = held.iter().cloned().map(Arc::new).collect();
        reconcile(&held, incoming, Telling { named, ..Telling::default() })
    }

    fn goes_on(from: usize) -> Plan {
        Plan::Continue { from, heard: None }
    }

    #[test]
    fn a_resent_transcript_leaves_only_what_is_new() {
        let held = [user("hi"), assistant("Hello!")];
        let incoming = [user("hi"), assistant("Hello! "), user("my name is Ann")];
        assert_eq!(plan(&held, &incoming, false), goes_on(2));
        assert_eq!(plan(&held, &incoming, true), goes_on(2));
    }

    #[test]
    fn a_first_message_is_new_altogether() {
        assert_eq!(plan(&[], &[user("hi")], false), goes_on(0));
    }

    #[test]
    fn a_named_session_takes_messages_that_do_not_resend_as_what_is_new() {
        let held = [user("hi"), assistant("Hello!")];
        assert_eq!(plan(&held, &[user("hi")], true), goes_on(0));
        assert_eq!(plan(&held, &[user("and now?")], true), goes_on(0));
    }

    #[test]
    fn a_regenerated_answer_forks() {
        let held = [user("hi"), assistant("Hello!"), user("tell me"), assistant("No.")];
        let incoming = [user("hi"), assistant("Hello!"), user("tell me")];
        assert_eq!(plan(&held, &incoming, false), Plan::Fork { from: 2 });
        assert_eq!(plan(&held, &incoming, true), Plan::Fork { from: 2 });
    }

    #[test]
    fn an_edited_message_forks() {
        let held = [user("hi"), assistant("Hello!"), user("a loan"), assistant("Sure.")];
        let incoming =
            [user("hi"), assistant("Hello!"), user("a card"), assistant("Sure."), user("go on")];
        assert_eq!(plan(&held, &incoming, true), Plan::Fork { from: 4 });
    }

    #[test]
    fn a_window_of_the_transcript_goes_on_where_the_held_one_ends() {
        let held = [user("one"), assistant("1"), user("two"), assistant("2")];
        let incoming = [user("two"), assistant("2"), user("three")];
        assert_eq!(plan(&held, &incoming, true), goes_on(2));
    }

    #[test]
    fn a_named_session_takes_a_transcript_with_another_beginning_as_what_is_new() {
        let held = [user("a loan"), assistant("Sure."), user("how much?"), assistant("Much.")];
        let incoming = [user("a card"), assistant("Fine."), user("which?")];
        assert_eq!(plan(&held, &incoming, true), goes_on(0));
    }

    #[test]
    fn a_session_that_dropped_its_oldest_turns_goes_on_with_a_whole_transcript() {
        let held = [user("two"), assistant("2")];
        let incoming = [user("one"), assistant("1"), user("two"), assistant("2"), user("three")];
        assert_eq!(plan(&held, &incoming, true), goes_on(4));
    }

    #[test]
    fn an_interrupted_answer_matches_the_part_that_was_heard() {
        let held = [user("loans?"), cut("We offer personal, home and auto loans")];
        let incoming = [user("loans?"), assistant("We offer personal…"), user("stop")];
        let heard = Some("We offer personal".to_owned());
        assert_eq!(plan(&held, &incoming, true), Plan::Continue { from: 2, heard });
    }

    #[test]
    fn an_answer_that_nobody_heard_is_not_expected_back() {
        let held = [user("hi"), assistant("Hello!"), user("wait"), cut("")];
        let incoming = [user("hi"), assistant("Hello!"), user("wait"), user("never mind")];
        assert_eq!(plan(&held, &incoming, false), goes_on(3));
    }

    #[test]
    fn a_session_that_dropped_everything_takes_what_follows_the_last_answer() {
        let incoming = [user("hi"), assistant("Hello!"), user("again")];
        assert_eq!(plan(&[], &incoming, true), goes_on(2));
    }

    /// The plan for a client whose people listen, and may hear a filler.
    fn heard(held: &[Message], incoming: &[Message]) -> Plan {
        let voice = Voice { filler: vec!["One moment.".to_owned()], ..Voice::default() };
        let phrases = Phrases::of(&voice);
        let held: Vec<_> = held.iter().cloned().map(Arc::new).collect();
        let mut incoming = incoming.to_vec();
        phrases.take_out(&mut incoming);
        reconcile(&held, &incoming, Telling { named: true, is_heard: true, phrases })
    }

    fn cut_to(from: usize, heard: &str) -> Plan {
        Plan::Continue { from, heard: Some(heard.to_owned()) }
    }

    #[test]
    fn a_filler_that_comes_back_does_not_keep_a_transcript_from_matching() {
        let held = [user("hi"), assistant("Hello!")];
        let incoming = [user("hi"), assistant("One moment. Hello!"), user("loans?")];
        assert_eq!(heard(&held, &incoming), goes_on(2));
        let alike = [user("hi"), assistant("One moment. I look.")];
        let incoming = [user("hi"), assistant("One moment. I look."), user("loans?")];
        assert_eq!(heard(&alike, &incoming), goes_on(2), "the model said it itself");
    }

    #[test]
    fn a_complete_answer_that_comes_back_shorter_was_heard_so_far() {
        let held = [user("loans?"), assistant("We offer personal and home loans.")];
        let part = [user("loans?"), assistant("We offer personal"), user("stop")];
        assert_eq!(heard(&held, &part), cut_to(2, "We offer personal"));
        assert_eq!(plan(&held, &part, true), Plan::Fork { from: 2 }, "readers saw all of it");
        let filler = [user("loans?"), assistant("One mom"), user("stop")];
        assert_eq!(heard(&held, &filler), cut_to(2, ""));
        let whole_filler = [user("loans?"), assistant("One moment."), user("stop")];
        assert_eq!(heard(&held, &whole_filler), cut_to(2, ""));
        let nothing = [user("loans?"), user("stop")];
        assert_eq!(heard(&held, &nothing), cut_to(1, ""));
    }

    #[test]
    fn an_answer_before_the_last_does_not_get_shorter() {
        let held = [user("a"), assistant("We offer loans."), user("b"), assistant("Yes.")];
        let incoming = [user("a"), assistant("We"), user("b"), assistant("Yes."), user("c")];
        assert_eq!(heard(&held, &incoming), Plan::Fork { from: 4 });
    }
}
