//! The tool calls of an answer, gathered until it is known whose they are.
//!
//! A stream shows calls that the agent runs itself as well as those that it hands over, and
//! nothing in a call says which it is. It shows later: a result follows, or the agent speaks on.
//! So calls are handed over at the end of an answer, whole.

use std::sync::Arc;

use uuid::Uuid;

use crate::turn::{Confirmation, TurnEvent};

use super::shapes::CallPart;

/// A call, as far as it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// What its pieces have in common.
    key: String,
    /// The agent's id for it.
    pub(super) id: Option<String>,
    /// The function.
    pub(super) name: String,
    /// Its arguments, as JSON text.
    pub(super) arguments: String,
}

impl Call {
    /// The arguments as clients want them: a document in any case.
    pub(super) fn document(&self) -> &str {
        if self.arguments.trim().is_empty() { "{}" } else { &self.arguments }
    }
}

/// The calls that nobody has run yet.
#[derive(Debug, Default)]
pub(super) struct Calls {
    open: Vec<Call>,
    /// Bytes of all of them.
    weight: usize,
}

/// The arguments of all calls together may be so long.
const HEAVIEST: usize = 8 << 20;

/// Calls are longer than anybody could want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

impl Calls {
    /// Takes a piece of a call: one with an id that is not that of the last call under the key
    /// begins another. An agent may use a key again.
    pub(super) fn take(&mut self, part: CallPart) -> Result<(), TooLong> {
        let CallPart { key, id, name, arguments, is_whole } = part;
        if is_whole && id.is_some() && self.open.iter().any(|call| call.id == id) {
            return Ok(());
        }
        let known = self.open.iter_mut().rev().find(|call| call.key == key);
        let continues = known.filter(|call| !is_whole && (id.is_none() || call.id == id));
        self.weight += arguments.len();
        match (continues, name) {
            (Some(call), _) => call.arguments.push_str(&arguments),
            (None, Some(name)) => {
                self.weight += name.len();
                self.open.push(Call { key, id, name, arguments });
            }
            // Arguments of nothing: nobody could run that.
            (None, None) => {}
        }
        if self.weight > HEAVIEST { Err(TooLong) } else { Ok(()) }
    }

    /// What comes under this key belongs to none of the calls so far.
    pub(super) fn close_key(&mut self, key: &str) {
        for call in self.open.iter_mut().filter(|call| call.key == key) {
            call.key.clear();
        }
    }

    /// The agent ran this call itself.
    pub(super) fn ran(&mut self, id: &str) {
        self.open.retain(|call| call.id.as_deref() != Some(id));
    }

    /// The agent goes on, so it has run all calls but those that stay open by their name.
    pub(super) fn ran_all_but(&mut self, stays: impl Fn(&str) -> bool) {
        self.open.retain(|call| stays(&call.name));
    }

    /// Whether no call is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The calls that are still open.
    pub(super) fn into_open(self) -> Vec<Call> {
        self.open
    }
}

/// The events of calls, numbered from 0, under ids of our own: an agent's may come again.
pub(super) fn events(calls: &[Call]) -> Vec<TurnEvent> {
    let pairs = (0u32..).zip(calls).flat_map(|(index, call)| {
        let id: Arc<str> = format!("call_{:.24}", Uuid::new_v4().simple().to_string()).into();
        let (name, confirmation) = (call.name.as_str().into(), Confirmation::None);
        let delta = call.document().into();
        [
            TurnEvent::ToolCallStarted { index, id, name, confirmation },
            TurnEvent::ToolCallArguments { index, delta },
        ]
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(key: &str, id: &str, name: &str) -> CallPart {
        let (id, name) = (Some(id.to_owned()), Some(name.to_owned()));
        CallPart { key: key.to_owned(), id, name, ..CallPart::default() }
    }

    fn more(key: &str, arguments: &str) -> CallPart {
        let (key, arguments) = (key.to_owned(), arguments.to_owned());
        CallPart { key, arguments, ..CallPart::default() }
    }

    fn gathered(parts: impl IntoIterator<Item = CallPart>) -> Calls {
        let mut calls = Calls::default();
        parts.into_iter().for_each(|part| calls.take(part).unwrap());
        calls
    }

    #[test]
    fn pieces_go_to_the_last_call_under_their_key() {
        let open = gathered([
            begun("0", "a", "weather"),
            more("0", "{\"a\""),
            begun("0", "b", "clock"),
            begun("1", "c", "map"),
            more("0", ":1}"),
            more("9", "lost"),
        ])
        .into_open();
        let seen: Vec<_> = open.iter().map(|call| (&*call.name, &*call.arguments)).collect();
        assert_eq!(seen, [("weather", "{\"a\""), ("clock", ":1}"), ("map", "")]);
    }

    #[test]
    fn a_whole_call_that_came_in_pieces_is_the_same_call() {
        let whole = CallPart { is_whole: true, ..begun("0", "a", "weather") };
        let other = CallPart { is_whole: true, ..begun("0", "b", "weather") };
        let open =
            gathered([begun("0", "a", "weather"), more("0", "{}"), whole, other]).into_open();
        let seen: Vec<_> = open.iter().map(Call::document).collect();
        assert_eq!(seen, ["{}", "{}"]);
    }

    #[test]
    fn calls_with_results_and_calls_that_were_spoken_over_are_not_open() {
        let mut calls =
            gathered([begun("a", "a", "shell"), begun("b", "b", "mine"), begun("c", "c", "shell")]);
        calls.ran("a");
        calls.ran_all_but(|name| name == "mine");
        let open = calls.into_open();
        assert_eq!(open.iter().map(|call| &*call.name).collect::<Vec<_>>(), ["mine"]);
    }

    #[test]
    fn arguments_have_a_bound() {
        let mut calls = gathered([begun("0", "a", "weather")]);
        calls.take(more("0", &"x".repeat(HEAVIEST / 2))).unwrap();
        assert_eq!(calls.take(more("0", &"x".repeat(HEAVIEST / 2))), Err(TooLong));
    }
}
