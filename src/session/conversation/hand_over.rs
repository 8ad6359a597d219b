//! Results of tool calls: which are there, which are missing, which belong to nothing.
//!
//! A hand-over is answered once, with the results of all its calls together. Clients may bring
//! them in several requests; what came so far is kept with the upstream session that waits. All
//! of this is pure.

use std::collections::HashSet;
use std::sync::Arc;

use crate::turn::{
    Failure, Message, Pending, ReturnControl, Role, Status, ToolCall, TurnEvent, Usage,
};

/// The new messages of a turn, its tool results sorted out.
#[derive(Debug, PartialEq)]
pub(super) struct Settled {
    /// Everything that is new in the transcript, results of earlier requests first.
    pub(super) said: Vec<Message>,
    /// What is not a result of the hand-over.
    pub(super) input: Vec<Message>,
    /// The hand-over with the results that are there.
    pub(super) pending: Pending,
}

impl Settled {
    /// Whether the upstream can go on: all results are there, or the user speaks instead.
    pub(super) fn goes_on(&self) -> bool {
        self.pending.is_answered() || self.input.iter().any(|message| message.role == Role::User)
    }
}

/// Sorts the new messages for an upstream session that waits for results.
///
/// # Errors
/// `BadRequest` for a result that belongs to no call of the hand-over, or that came before.
pub(super) fn settle(pending: &Pending, new: &[Message]) -> Result<Settled, Failure> {
    let mut pending = pending.clone();
    let mut came = HashSet::new();
    let (mut now, mut input) = (Vec::new(), Vec::<Message>::new());
    let earlier = pending.clone();
    for message in new {
        match message.role {
            Role::Tool if is_retold(message, &pending, &input) => {
                input.push(message.clone());
                now.push(message.clone());
            }
            Role::Tool => {
                take(&mut pending, &mut came, message)?;
                now.push(message.clone());
            }
            Role::Assistant if restates(message, &earlier) => {}
            Role::Assistant | Role::User | Role::System => {
                input.push(message.clone());
                now.push(message.clone());
            }
        }
    }
    let kept = earlier.calls.iter().filter(|call| !came.contains(&call.call.id));
    let mut said: Vec<_> = kept.filter_map(|call| call.result.as_deref().cloned()).collect();
    said.extend(now);
    Ok(Settled { said, input, pending })
}

/// Whether a result is one of an earlier turn, retold with its call by a client whose transcript
/// is not the one held.
fn is_retold(result: &Message, pending: &Pending, input: &[Message]) -> bool {
    let Some(id) = &result.tool_call_id else { return false };
    let mut calls = input.iter().flat_map(|message| &message.tool_calls);
    pending.call(id).is_none() && calls.any(|call| call.id == *id)
}

fn take(
    pending: &mut Pending,
    came: &mut HashSet<String>,
    message: &Message,
) -> Result<(), Failure> {
    let id = message.tool_call_id.as_deref().unwrap_or_default();
    let call = pending.calls.iter_mut().find(|call| call.call.id == id);
    let call = call.ok_or_else(|| not_pending(id))?;
    if !came.insert(id.to_owned()) {
        return Err(twice(id));
    }
    match &call.result {
        None => call.result = Some(Arc::new(message.clone())),
        // Clients resend what they sent.
        Some(held) if held.parts == message.parts && held.status == message.status => {}
        Some(_) => return Err(twice(id)),
    }
    Ok(())
}

/// Checks that every call of the last answer has its result, for clients that send only what is
/// new.
///
/// # Errors
/// `BadRequest` for the first call that has none.
pub(super) fn check_complete(last: Option<&Message>, new: &[Message]) -> Result<(), Failure> {
    let calls = last.into_iter().flat_map(|last| &last.tool_calls);
    let is_answered = |call: &&ToolCall| {
        new.iter().any(|message| message.tool_call_id.as_deref() == Some(call.id.as_str()))
    };
    match { calls }.find(|call| !is_answered(call)) {
        None => Ok(()),
        Some(call) => Err(Failure::bad_field(
            "input",
            format!("no tool output found for function call {}", call.id),
        )),
    }
}

/// Checks that results which wait for others are no larger than a whole transcript may be.
///
/// # Errors
/// `BadRequest` where they are.
pub(super) fn check_room(pending: &Pending, bytes: usize) -> Result<(), Failure> {
    let results = pending.calls.iter().filter_map(|call| call.result.as_deref());
    if results.map(Message::weight).sum::<usize>() <= bytes {
        return Ok(());
    }
    Err(refused(
        "the results are too large to be kept; send those of all calls together".to_owned(),
    ))
}

/// Whether an assistant's message only says again which calls are open, as we told a client that
/// brought some of the results.
fn restates(message: &Message, pending: &Pending) -> bool {
    message.parts.is_empty()
        && !message.tool_calls.is_empty()
        && message.tool_calls.iter().all(|call| pending.call(&call.id).is_some())
}

/// Drops, from all that a client sent, the assistant's messages that say again which calls of the
/// one before are open: they are not part of the conversation.
pub(in crate::session) fn drop_restated(messages: &mut Vec<Message>) {
    if messages.iter().filter(|message| !message.tool_calls.is_empty()).count() < 2 {
        return;
    }
    let mut open: HashSet<String> = HashSet::new();
    messages.retain(|message| {
        if let Some(answered) = &message.tool_call_id {
            open.remove(answered);
            return true;
        }
        let calls = &message.tool_calls;
        let is_restated = message.parts.is_empty()
            && !calls.is_empty()
            && calls.iter().all(|call| open.contains(&call.id));
        if !is_restated {
            open = calls.iter().map(|call| call.id.clone()).collect();
        }
        !is_restated
    });
}

/// Checks the tool results among new messages where no upstream session waits for them: they
/// answer the calls of the assistant's message before, each of them once, unless the user speaks
/// instead.
///
/// # Errors
/// `BadRequest` for a result that belongs to no such call, or comes twice, and for a call
/// without one.
pub(super) fn check(before: Option<&Message>, new: &[Message]) -> Result<(), Failure> {
    let mut calls = before.map_or(&[][..], calls_of);
    let mut came = HashSet::new();
    for message in new {
        if message.role == Role::Assistant {
            // Earlier turns, retold by a client whose transcript is not the one held.
            calls = calls_of(message);
            came.clear();
        }
        if message.role != Role::Tool {
            continue;
        }
        let id = message.tool_call_id.as_deref().unwrap_or_default();
        if !calls.iter().any(|call| call.id == id) {
            return Err(not_pending(id));
        }
        if !came.insert(id) {
            return Err(twice(id));
        }
    }
    let missing = calls.iter().find(|call| !came.contains(call.id.as_str()));
    let speaks = new.iter().any(|message| message.role == Role::User);
    match missing {
        Some(call) if !came.is_empty() && !speaks => Err(without_result(&call.id)),
        _ => Ok(()),
    }
}

fn calls_of(message: &Message) -> &[ToolCall] {
    match message.role {
        Role::Assistant => &message.tool_calls,
        Role::System | Role::User | Role::Tool => &[],
    }
}

/// Where the answer to results came to no end and a client sends these again: how many of the
/// held messages come before them.
pub(super) fn resent_after(held: &[Arc<Message>], new: &[Message]) -> Option<usize> {
    let (last, before) = held.split_last()?;
    if last.role != Role::Assistant || last.status == Status::Completed {
        return None;
    }
    let calling = before.iter().rposition(|message| message.role == Role::Assistant)?;
    let is_of = |calls: &[ToolCall], result: &Message| {
        calls.iter().any(|call| Some(&call.id) == result.tool_call_id.as_ref())
    };
    let mut results = new.iter().filter(|message| message.role == Role::Tool).peekable();
    results.peek()?;
    let is_resent = results.all(|result| {
        !is_of(&last.tool_calls, result) && is_of(&before[calling].tool_calls, result)
    });
    is_resent.then_some(calling + 1)
}

/// What a client is told that brought some of the results: the calls that are still open.
pub(in crate::session) fn restated(pending: &Pending) -> Vec<TurnEvent> {
    let mut events = Vec::new();
    for (index, call) in (0..).zip(pending.open()) {
        events.push(TurnEvent::ToolCallStarted {
            index,
            id: call.id.as_str().into(),
            name: call.name.as_str().into(),
            confirmation: call.confirmation,
        });
        events.push(TurnEvent::ToolCallArguments { index, delta: call.arguments.as_str().into() });
    }
    let open = pending.calls.iter().filter(|call| call.result.is_none());
    let inputs: Vec<_> = open.map(|call| call.input.clone()).collect();
    let weight = inputs.iter().map(|input| input.to_string().len()).sum();
    let invocation_id = pending.invocation_id.clone();
    events.push(TurnEvent::ReturnControl(Arc::new(ReturnControl {
        invocation_id,
        inputs,
        weight,
    })));
    // Nobody was asked anything.
    events.push(TurnEvent::Usage(Usage::default()));
    events
}

fn not_pending(id: &str) -> Failure {
    refused(format!(
        "no tool call {:?} waits for a result; send results for the calls of the last answer only",
        short(id)
    ))
}

fn twice(id: &str) -> Failure {
    refused(format!("the tool call {:?} has its result already; send each result once", short(id)))
}

fn without_result(id: &str) -> Failure {
    refused(format!(
        "the tool call {:?} has no result; send the results of all calls together",
        short(id)
    ))
}

fn refused(message: String) -> Failure {
    Failure::bad_field("messages", message)
}

/// An id short enough to repeat in a message.
fn short(id: &str) -> String {
    id.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::turn::{Confirmation, Part, PendingCall};

    use super::*;

    fn call(id: &str) -> ToolCall {
        ToolCall {
            id: id.to_owned(),
            name: format!("do_{id}"),
            arguments: "{}".to_owned(),
            confirmation: Confirmation::None,
        }
    }

    fn asks(ids: &[&str]) -> Message {
        Message {
            parts: Vec::new(),
            tool_calls: ids.iter().map(|id| call(id)).collect(),
            ..Message::text(Role::Assistant, "")
        }
    }

    fn pending(ids: &[&str]) -> Pending {
        let calls = ids.iter().map(|id| PendingCall {
            call: call(id),
            input: json!({ "function": id }),
            result: None,
        });
        Pending { invocation_id: "inv".to_owned(), calls: calls.collect() }
    }

    fn result(id: &str, text: &str) -> Message {
        Message { tool_call_id: Some(id.to_owned()), ..Message::text(Role::Tool, text) }
    }

    fn user(text: &str) -> Message {
        Message::text(Role::User, text)
    }

    #[test]
    fn results_are_collected_until_all_are_there() {
        let first = settle(&pending(&["a", "b"]), &[result("b", "2")]).unwrap();
        assert!(!first.goes_on());
        let second = settle(&first.pending, &[asks(&["a"]), result("a", "1")]).unwrap();
        assert!(second.goes_on());
        assert_eq!(second.said, [result("b", "2"), result("a", "1")]);
        assert!(second.input.is_empty());
    }

    #[test]
    fn a_resent_result_counts_once_and_a_changed_one_is_refused() {
        let first = settle(&pending(&["a", "b"]), &[result("a", "1")]).unwrap();
        let again = settle(&first.pending, &[result("a", "1"), result("b", "2")]).unwrap();
        assert!(again.goes_on());
        assert_eq!(again.said, [result("a", "1"), result("b", "2")]);
        assert!(settle(&first.pending, &[result("a", "other")]).is_err());
    }

    #[test]
    fn a_user_who_speaks_instead_lets_the_conversation_go_on() {
        let settled = settle(&pending(&["a"]), &[user("never mind")]).unwrap();
        assert!(settled.goes_on() && !settled.pending.is_answered());
        assert_eq!(settled.input, [user("never mind")]);
    }

    #[test]
    fn results_of_unknown_calls_and_double_ones_are_refused_by_id() {
        let unknown = settle(&pending(&["a"]), &[result("z", "1")]).unwrap_err();
        assert!(unknown.message.contains("\"z\""), "{unknown}");
        let double = vec![result("a", "1"), result("a", "1")];
        assert!(settle(&pending(&["a"]), &double).is_err());
    }

    #[test]
    fn without_a_hand_over_results_answer_the_message_before() {
        let before = asks(&["a", "b"]);
        let all = [result("a", "1"), result("b", "2")];
        assert!(check(Some(&before), &all).is_ok());
        assert!(check(Some(&before), &all[..1]).is_err(), "one is missing");
        assert!(check(Some(&before), &[user("never mind")]).is_ok());
        assert!(check(Some(&user("hi")), &all).is_err());
        assert!(check(None, &all).is_err());
    }

    #[test]
    fn a_restated_call_is_not_part_of_the_conversation() {
        let mut sent = vec![user("go"), asks(&["a", "b"]), result("a", "1"), asks(&["b"])];
        sent.push(result("b", "2"));
        drop_restated(&mut sent);
        let calls = sent.iter().filter(|message| !message.tool_calls.is_empty()).count();
        assert_eq!((sent.len(), calls), (4, 1));
    }

    #[test]
    fn a_call_that_has_the_id_of_an_answered_one_is_a_call_of_its_own() {
        let turn = || [user("go"), asks(&["a"]), result("a", "1")];
        let mut sent: Vec<_> = turn().into_iter().chain(turn()).collect();
        sent.extend([asks(&["a"]), result("a", "2")]);
        let before = sent.clone();
        drop_restated(&mut sent);
        assert_eq!(sent, before);
    }

    #[test]
    fn results_that_wait_for_others_are_bounded() {
        let settled = settle(&pending(&["a", "b"]), &[result("a", &"x".repeat(900))]).unwrap();
        assert!(check_room(&settled.pending, 1_000).is_ok());
        assert!(check_room(&settled.pending, 900).is_err());
    }

    #[test]
    fn results_of_earlier_turns_may_be_retold_with_their_calls() {
        let retold = [user("go"), asks(&["x"]), result("x", "1"), user("and now?")];
        assert!(check(Some(&user("hi")), &retold).is_ok());
        assert!(check(Some(&user("hi")), &retold[2..]).is_err(), "the call is missing");
        let settled = settle(&pending(&["a"]), &retold).unwrap();
        assert!(settled.goes_on() && !settled.pending.is_answered());
        assert_eq!(settled.input.len(), 4);
    }

    #[test]
    fn results_are_sent_again_where_their_answer_came_to_no_end() {
        let failed = |ids: &[&str]| Message { status: Status::Failed, ..asks(ids) };
        let held = |last| [user("go"), asks(&["a"]), result("a", "1"), last].map(Arc::new);
        let again = [result("a", "1")];
        assert_eq!(resent_after(&held(failed(&[])), &again), Some(2));
        assert_eq!(resent_after(&held(asks(&[])), &again), None, "it was answered");
        assert_eq!(resent_after(&held(failed(&["a"])), &again), None, "it was asked again");
        assert_eq!(resent_after(&held(failed(&[])), &[user("never mind")]), None);
        assert_eq!(resent_after(&held(failed(&[])), &[result("z", "1")]), None);
    }

    #[test]
    fn what_is_open_is_stated_again_with_the_same_ids() {
        let first = settle(&pending(&["a", "b"]), &[result("a", "1")]).unwrap();
        let events = restated(&first.pending);
        let TurnEvent::ToolCallStarted { index: 0, id, .. } = &events[0] else {
            panic!("{events:?}")
        };
        assert_eq!(&**id, "b");
        assert_eq!(events.len(), 4);
    }

    #[test]
    fn text_beside_calls_makes_a_message_of_its_own() {
        let spoken = Message { parts: vec![Part::Text("Let me see".into())], ..asks(&["a"]) };
        let mut sent = vec![asks(&["a"]), spoken];
        drop_restated(&mut sent);
        assert_eq!(sent.len(), 2);
    }
}
