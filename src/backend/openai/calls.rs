//! Tool calls out of fragments, in the order that turns want them in.
//!
//! Upstreams number their calls, but some leave gaps, mix the fragments of several, repeat an id
//! in each fragment, or send none. A turn has its calls one after the other, each with an id of
//! its own in the conversation. The first call goes out as it comes; a further one goes out as it
//! comes once the one before is complete JSON, and at the end otherwise.

use std::collections::HashSet;
use std::sync::Arc;

use serde::de::IgnoredAny;
use uuid::Uuid;

use crate::turn::{Confirmation, TurnEvent};

use super::chunk::CallDelta;

/// Calls in one answer; as many as tools can be offered.
const MOST: usize = 128;

/// Fragments that make no calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadCalls {
    /// A call never got a name.
    #[error("a tool call has no name")]
    Nameless,
    /// There are too many.
    #[error("more than {MOST} tool calls")]
    TooMany,
    /// A call went on after it was complete.
    #[error("a tool call went on after its end")]
    AfterEnd,
}

/// The calls of one answer.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    /// How many have gone out; the last of them may go on.
    out: usize,
    /// Ids of the conversation, which no new call may have.
    taken: HashSet<String>,
}

#[derive(Debug)]
struct Call {
    index: Option<u64>,
    /// As the upstream named it.
    told_id: Option<String>,
    name: String,
    arguments: String,
    /// How much of the arguments has gone out.
    sent: usize,
}

impl Call {
    fn is_complete(&self) -> bool {
        serde_json::from_str::<IgnoredAny>(&self.arguments).is_ok()
    }
}

impl Calls {
    /// None yet; those ids are in the conversation already.
    pub(super) fn new(taken: HashSet<String>) -> Self {
        Self { taken, ..Self::default() }
    }

    /// Whether any call began.
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Takes a fragment in, and appends the events that can go out by it.
    ///
    /// # Errors
    /// When the fragments make no calls.
    pub(super) fn push(
        &mut self,
        fragment: CallDelta,
        events: &mut Vec<TurnEvent>,
    ) -> Result<(), BadCalls> {
        let id = fragment.id.filter(|id| !id.is_empty());
        let has_name = fragment
            .function
            .as_ref()
            .is_some_and(|function| function.name.as_ref().is_some_and(|name| !name.is_empty()));
        let at = match self.find(fragment.index, id.as_deref(), has_name) {
            Some(at) => at,
            None => self.open(fragment.index)?,
        };
        let Some(call) = self.calls.get_mut(at) else { return Ok(()) };
        if call.told_id.is_none() {
            call.told_id = id;
        }
        let Some(function) = fragment.function else { return Ok(()) };
        // A name comes once; those who repeat it mean the same.
        if call.name.is_empty() {
            call.name = function.name.unwrap_or_default();
        }
        if at + 1 < self.out && !function.arguments.0.trim().is_empty() {
            return Err(BadCalls::AfterEnd);
        }
        call.arguments.push_str(&function.arguments.0);
        self.go_on(events);
        Ok(())
    }

    /// A further call, of which nothing came yet, and its place.
    fn open(&mut self, index: Option<u64>) -> Result<usize, BadCalls> {
        let at = self.calls.len();
        if at == MOST {
            return Err(BadCalls::TooMany);
        }
        let (name, arguments) = (String::new(), String::new());
        self.calls.push(Call { index, told_id: None, name, arguments, sent: 0 });
        Ok(at)
    }

    /// Appends what is left when the answer is over.
    ///
    /// # Errors
    /// When a call has no name.
    pub(super) fn finish(&mut self, events: &mut Vec<TurnEvent>) -> Result<(), BadCalls> {
        while let Some(next) = self.calls.get(self.out) {
            if next.name.is_empty() {
                return Err(BadCalls::Nameless);
            }
            self.start_next(events);
        }
        Ok(())
    }

    /// The call that a fragment belongs to. One that brings a name and another id is another call
    /// even at an index that is in use: some servers number all calls 0.
    fn find(&self, index: Option<u64>, id: Option<&str>, has_name: bool) -> Option<usize> {
        if index.is_none() && id.is_none() && !has_name {
            return self.calls.len().checked_sub(1);
        }
        self.calls.iter().rposition(|call| {
            let is_other = match (call.told_id.as_deref(), id) {
                (Some(told), Some(id)) => told != id && (has_name || index.is_none()),
                // Without any mark of its own, a name begins a call.
                _ => index.is_none() && id.is_none() && !call.name.is_empty(),
            };
            !is_other && (index.is_none() || call.index.is_none() || call.index == index)
        })
    }

    fn go_on(&mut self, events: &mut Vec<TurnEvent>) {
        if let Some(last) = self.out.checked_sub(1) {
            self.send_arguments(last, events);
        }
        while self.calls.get(self.out).is_some_and(|next| !next.name.is_empty()) {
            let before = self.out.checked_sub(1).and_then(|last| self.calls.get(last));
            if !before.is_none_or(Call::is_complete) {
                return;
            }
            self.start_next(events);
        }
    }

    fn start_next(&mut self, events: &mut Vec<TurnEvent>) {
        let at = self.out;
        let Some(call) = self.calls.get(at) else { return };
        let told = call.told_id.clone().filter(|id| !self.taken.contains(id));
        let id = told.unwrap_or_else(|| format!("call_{}", Uuid::new_v4().simple()));
        self.taken.insert(id.clone());
        events.push(TurnEvent::ToolCallStarted {
            index: place(at),
            id: Arc::from(id.as_str()),
            name: Arc::from(call.name.as_str()),
            confirmation: Confirmation::None,
        });
        self.out += 1;
        self.send_arguments(at, events);
    }

    fn send_arguments(&mut self, at: usize, events: &mut Vec<TurnEvent>) {
        let Some(call) = self.calls.get_mut(at) else { return };
        let fresh = call.arguments.get(call.sent..).unwrap_or_default();
        if !fresh.is_empty() {
            events.push(TurnEvent::ToolCallArguments { index: place(at), delta: fresh.into() });
            call.sent = call.arguments.len();
        }
    }
}

/// There are never more than [`MOST`].
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What comes of fragments: each call as id, name and arguments; and of the events as they
    /// went out, which call each was of.
    fn calls(fragments: &[Value]) -> Result<(Vec<[String; 3]>, Vec<u32>), BadCalls> {
        let mut calls = Calls::new(HashSet::from(["old".to_owned()]));
        let mut events = Vec::new();
        for fragment in fragments {
            let fragment = serde_json::from_value(fragment.clone()).unwrap();
            calls.push(fragment, &mut events)?;
        }
        calls.finish(&mut events)?;
        let (mut heard, mut order): (Vec<[String; 3]>, Vec<u32>) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                TurnEvent::ToolCallStarted { index, id, name, .. } => {
                    order.push(index);
                    heard.push([id.to_string(), name.to_string(), String::new()]);
                }
                TurnEvent::ToolCallArguments { index, delta } => {
                    assert_eq!(index + 1, u32::try_from(heard.len()).unwrap(), "grammar");
                    order.push(index);
                    heard.last_mut().unwrap()[2].push_str(&delta);
                }
                other => panic!("{other:?}"),
            }
        }
        Ok((heard, order))
    }

    fn call(index: u64, id: &str, name: &str, arguments: &str) -> Value {
        json!({"index": index, "id": id, "type": "function",
            "function": {"name": name, "arguments": arguments}})
    }

    fn more(index: u64, arguments: &str) -> Value {
        json!({"index": index, "function": {"arguments": arguments}})
    }

    fn heard(id: &str, name: &str, arguments: &str) -> [String; 3] {
        [id, name, arguments].map(str::to_owned)
    }

    #[test]
    fn calls_one_after_the_other_go_out_as_they_come() {
        let sent = [
            call(0, "a", "f", ""),
            more(0, "{\"x\":"),
            more(0, "1}"),
            call(1, "b", "g", ""),
            more(1, "{"),
            more(1, "}"),
        ];
        let expected = vec![heard("a", "f", "{\"x\":1}"), heard("b", "g", "{}")];
        assert_eq!(calls(&sent).unwrap(), (expected, vec![0, 0, 0, 1, 1, 1]));
    }

    #[test]
    fn calls_whose_fragments_are_mixed_are_put_in_order() {
        let sent = [
            call(0, "a", "f", ""),
            call(1, "b", "g", ""),
            more(1, "{\"y\":"),
            more(0, "{\"x\":"),
            more(1, "2}"),
            more(0, "1}"),
        ];
        let expected = vec![heard("a", "f", "{\"x\":1}"), heard("b", "g", "{\"y\":2}")];
        assert_eq!(calls(&sent).unwrap().0, expected);
    }

    #[test]
    fn numbers_need_not_begin_at_zero_nor_be_close() {
        let sent = [call(3, "a", "f", "{}"), call(1, "b", "g", "{}"), more(9, "")];
        let found = calls(&sent);
        assert_eq!(found, Err(BadCalls::Nameless));
        let expected = vec![heard("a", "f", "{}"), heard("b", "g", "{}")];
        assert_eq!(calls(&sent[..2]).unwrap().0, expected);
    }

    #[test]
    fn ids_and_names_that_are_repeated_count_once() {
        let sent = [call(0, "a", "f", "{"), call(0, "a", "f", "}")];
        assert_eq!(calls(&sent).unwrap().0, [heard("a", "f", "{}")]);
        let fresh_id_each_time = json!({"index": 0, "id": "z", "function": {"arguments": "}"}});
        let sent = [call(0, "a", "f", "{"), fresh_id_each_time];
        assert_eq!(calls(&sent).unwrap().0, [heard("a", "f", "{}")]);
    }

    #[test]
    fn calls_that_are_all_numbered_zero_are_told_apart_by_id() {
        let sent = [call(0, "a", "f", "{}"), call(0, "b", "f", "{\"x\":1}")];
        let expected = vec![heard("a", "f", "{}"), heard("b", "f", "{\"x\":1}")];
        assert_eq!(calls(&sent).unwrap().0, expected);
    }

    #[test]
    fn whole_calls_without_a_mark_are_calls_of_their_own() {
        let whole = |name: &str| json!({"function": {"name": name, "arguments": {"a": 1}}});
        let found = calls(&[whole("f"), whole("g")]).unwrap().0;
        let names: Vec<_> = found.iter().map(|call| (call[1].as_str(), call[2].as_str())).collect();
        assert_eq!(names, [("f", "{\"a\":1}"), ("g", "{\"a\":1}")]);
        assert!(found.iter().all(|call| call[0].starts_with("call_")));
        assert_ne!(found[0][0], found[1][0]);
    }

    #[test]
    fn an_id_that_the_conversation_has_already_is_not_used_again() {
        let found = calls(&[call(0, "old", "f", "{}"), call(1, "new", "g", "{}")]).unwrap().0;
        assert!(found[0][0].starts_with("call_"));
        assert_eq!(found[1][0], "new");
        let twice = calls(&[call(0, "a", "f", "{}"), call(1, "a", "g", "{}")]).unwrap().0;
        assert_ne!(twice[0][0], twice[1][0]);
    }

    #[test]
    fn a_call_may_have_no_arguments() {
        let found = calls(&[json!({"index": 0, "id": "a", "function": {"name": "f"}})]);
        assert_eq!(found.unwrap().0, [heard("a", "f", "")]);
    }

    #[test]
    fn what_makes_no_calls_is_said_so() {
        let late = [call(0, "a", "f", "{}"), call(1, "b", "g", "{}"), more(0, "{}")];
        assert_eq!(calls(&late), Err(BadCalls::AfterEnd));
        let many: Vec<_> = (0..=128).map(|n| call(n, &n.to_string(), "f", "{}")).collect();
        assert_eq!(calls(&many), Err(BadCalls::TooMany));
    }
}
