use crate::store::UpstreamBinding;
use crate::turn::{Confirmation, PendingCall, ToolCall, TurnId};

use super::super::phrases::Phrases;
use super::*;

mod edits;

const TELLING: Telling<'_> = Telling { named: true, is_heard: false, phrases: Phrases::NONE };
const ROOM: Room = Room { bytes: 10_000, messages: 100 };

fn user(text: &str) -> Message {
    Message::text(Role::User, text)
}

fn assistant(text: &str) -> Message {
    Message::text(Role::Assistant, text)
}

fn model() -> ModelName {
    "m".parse().unwrap()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn conversation() -> Conversation {
    let key = SessionKey { tenant: "acme".parse().unwrap(), id: "s".parse().unwrap() };
    Conversation::new(key, model(), at(0))
}

fn prepare(held: &mut Conversation, messages: &[Message], now: u64) -> Prepared {
    let name = model();
    let prepared = held.prepare(&Arrival {
        messages,
        telling: TELLING,
        branches: false,
        is_delta: false,
        model: &name,
        remembers: Some(Duration::from_secs(60)),
        now: at(now),
        base: None,
        room: ROOM,
        handed_back: None,
    });
    prepared.unwrap()
}

fn binding(id: &UpstreamSessionId, now: u64) -> UpstreamBinding {
    UpstreamBinding {
        id: id.clone(),
        model: model(),
        last_used: at(now),
        memory_id: None,
        pending: None,
    }
}

fn turn(held: &mut Conversation, messages: &[Message], answer: &str, now: u64) -> Prepared {
    let prepared = prepare(held, messages, now);
    held.commit(Committed {
        turn: TurnId::generate(),
        said: prepared.said.clone(),
        answer: assistant(answer),
        upstream: Some(binding(&prepared.upstream, now)),
        model: model(),
        asked: model(),
        base: None,
        now: at(now),
        room: ROOM,
        phrases: Phrases::NONE,
    });
    prepared
}

#[test]
fn one_upstream_session_serves_the_conversation_and_only_the_new_message_goes_up() {
    let mut held = conversation();
    let first = turn(&mut held, &[user("hi")], "Hello!", 1);
    let second = turn(&mut held, &[user("hi"), assistant("Hello!"), user("loans?")], "Yes.", 2);
    assert_eq!((first.origin, second.origin), (Origin::New, Origin::Continued));
    assert_eq!(first.upstream, second.upstream);
    assert!(second.history.is_empty());
    assert_eq!(second.input, [user("loans?")]);
}

#[test]
fn an_upstream_that_has_forgotten_is_opened_anew_and_seeded() {
    let mut held = conversation();
    let first = turn(&mut held, &[user("hi")], "Hello!", 1);
    let later = prepare(&mut held, &[user("still there?")], 100);
    assert_eq!(later.origin, Origin::Rehydrated);
    assert_ne!(later.upstream, first.upstream);
    assert_eq!(later.history.len(), 2);
}

#[test]
fn a_session_from_the_store_is_revived_once() {
    let mut held = conversation();
    turn(&mut held, &[user("hi")], "Hello!", 1);
    let mut revived = Conversation::revive(Arc::clone(held.record()));
    assert_eq!(turn(&mut revived, &[user("one")], "1", 2).origin, Origin::Revived);
    assert_eq!(turn(&mut revived, &[user("two")], "2", 3).origin, Origin::Continued);
}

#[test]
fn a_transcript_that_comes_to_an_empty_session_seeds_it() {
    let mut held = conversation();
    let incoming = [user("my name is Ann"), assistant("Hello Ann."), user("and?")];
    let first = prepare(&mut held, &incoming, 1);
    assert_eq!(first.origin, Origin::Rehydrated);
    assert_eq!((first.history.len(), first.input.len()), (2, 1));
}

#[test]
fn a_greeting_before_the_first_message_does_not_make_a_session_old() {
    let mut held = conversation();
    let first = prepare(&mut held, &[assistant("Hello!"), user("hi")], 1);
    assert_eq!((first.origin, first.input), (Origin::New, vec![user("hi")]));
}

#[test]
fn a_fork_keeps_the_branch_it_leaves() {
    let mut held = conversation();
    turn(&mut held, &[user("hi")], "Hello!", 1);
    turn(&mut held, &[user("hi"), assistant("Hello!"), user("loans?")], "Yes.", 2);
    let forked = prepare(&mut held, &[user("hi"), assistant("Hello!"), user("cards?")], 3);
    assert_eq!(forked.origin, Origin::Forked);
    assert_eq!(forked.history.len(), 2);
    let branch = forked.left_behind.unwrap();
    assert_eq!((branch.key.id.as_str(), branch.messages.len()), ("s~1", 4));
}

#[test]
fn a_transcript_that_is_too_long_loses_its_oldest_turns_whole() {
    let mut held = conversation();
    for number in 0..10 {
        turn(&mut held, &[user(&format!("question {number}"))], "answer", number);
    }
    held.trim(Room { bytes: usize::MAX, messages: 5 });
    let first = &held.record().messages[0];
    assert_eq!((first.role, held.record().messages.len()), (Role::User, 4));
}

#[test]
fn a_turn_that_comes_to_nothing_changes_nothing() {
    let mut held = conversation();
    turn(&mut held, &[user("hi")], "Hello!", 1);
    let upstream = held.record().upstream.clone().unwrap().id;
    let forked = prepare(&mut held, &[user("hi"), assistant("other"), user("cards?")], 2);
    assert_eq!(forked.origin, Origin::Forked);
    held.take_back(false);
    assert_eq!((held.record().branches, held.record().messages.len()), (0, 2));
    assert_eq!(turn(&mut held, &[user("loans?")], "Yes.", 3).upstream, upstream);
}

#[test]
fn a_request_without_anything_new_forks_nothing() {
    let mut held = conversation();
    turn(&mut held, &[user("hi")], "Hello!", 1);
    let prepared = prepare(&mut held, &[user("hi"), assistant("other")], 2);
    assert!(prepared.input.is_empty() && prepared.left_behind.is_none());
    assert_eq!(held.record().messages[1].plain_text(), "Hello!");
}

#[test]
fn an_upstream_that_may_not_know_of_a_turn_is_not_asked_the_next_one() {
    let mut held = conversation();
    let first = prepare(&mut held, &[user("my name is Ann")], 1);
    let cut = Message { status: Status::Interrupted, ..assistant("") };
    held.commit(Committed {
        turn: TurnId::generate(),
        said: first.said,
        answer: cut,
        upstream: None,
        model: model(),
        asked: model(),
        base: None,
        now: at(1),
        room: ROOM,
        phrases: Phrases::NONE,
    });
    let next = prepare(&mut held, &[user("what is my name?")], 2);
    assert_ne!(next.upstream, first.upstream);
    assert_eq!(next.history[0].plain_text(), "my name is Ann");
}

#[test]
fn a_transcript_that_lost_its_oldest_turns_goes_on_without_a_fork() {
    let mut held = conversation();
    let mut sent = Vec::new();
    let name = model();
    let small = Room { bytes: usize::MAX, messages: 4 };
    for number in 0..6 {
        sent.push(user(&format!("question {number}")));
        for named in [true, false] {
            let base = (!named).then_some([number; 32]);
            held.change().head = base;
            let prepared = held.prepare(&Arrival {
                handed_back: None,
                messages: &sent,
                telling: Telling { named, ..TELLING },
                branches: false,
                is_delta: false,
                model: &name,
                remembers: Some(Duration::from_secs(60)),
                now: at(1),
                base,
                room: small,
            });
            let prepared = prepared.unwrap();
            assert_ne!(prepared.origin, Origin::Forked, "turn {number}");
            assert_eq!(prepared.input.len(), 1, "turn {number}");
            if named {
                held.take_back(false);
                continue;
            }
            held.commit(Committed {
                turn: TurnId::generate(),
                said: prepared.said,
                answer: assistant(&format!("answer {number}")),
                upstream: Some(binding(&prepared.upstream, 1)),
                model: model(),
                asked: model(),
                base: None,
                now: at(1),
                room: small,
                phrases: Phrases::NONE,
            });
        }
        sent.push(assistant(&format!("answer {number}")));
    }
    assert_eq!(held.record().messages.len(), 4);
}

#[test]
fn another_model_gets_an_upstream_session_of_its_own() {
    let mut held = conversation();
    turn(&mut held, &[user("hi")], "Hello!", 1);
    let other: ModelName = "other".parse().unwrap();
    let prepared = held.prepare(&Arrival {
        handed_back: None,
        messages: &[user("and you?")],
        telling: TELLING,
        branches: false,
        is_delta: false,
        model: &other,
        remembers: Some(Duration::from_secs(60)),
        now: at(2),
        base: None,
        room: ROOM,
    });
    let prepared = prepared.unwrap();
    assert_eq!((prepared.origin, prepared.history.len()), (Origin::Rehydrated, 2));
}

fn asks(ids: &[&str]) -> Message {
    let call = |id: &&str| ToolCall {
        id: (*id).to_owned(),
        name: "look_up".to_owned(),
        arguments: "{}".to_owned(),
        confirmation: Confirmation::None,
    };
    Message { tool_calls: ids.iter().map(call).collect(), ..assistant("One moment.") }
}

fn result(id: &str, text: &str) -> Message {
    Message { tool_call_id: Some(id.to_owned()), ..Message::text(Role::Tool, text) }
}

/// A session whose agent waits for the results of two calls.
fn waiting() -> (Conversation, UpstreamSessionId) {
    let mut held = conversation();
    let first = prepare(&mut held, &[user("look it up")], 1);
    let asked = asks(&["a", "b"]);
    let calls = asked.tool_calls.iter().map(|call| PendingCall {
        call: call.clone(),
        input: serde_json::Value::Null,
        result: None,
    });
    let pending = Pending { invocation_id: "inv".to_owned(), calls: calls.collect() };
    held.commit(Committed {
        turn: TurnId::generate(),
        said: first.said,
        answer: asked,
        upstream: Some(UpstreamBinding { pending: Some(pending), ..binding(&first.upstream, 1) }),
        model: model(),
        asked: model(),
        base: None,
        now: at(1),
        room: ROOM,
        phrases: Phrases::NONE,
    });
    (held, first.upstream)
}

#[test]
fn all_results_of_a_hand_over_go_up_together() {
    let (mut held, upstream) = waiting();
    let sent = [user("look it up"), asks(&["a", "b"]), result("a", "1"), result("b", "2")];
    let prepared = prepare(&mut held, &sent, 2);
    assert_eq!(prepared.upstream, upstream);
    assert!(prepared.pending.unwrap().is_answered());
    assert!(prepared.input.is_empty());
    assert_eq!(prepared.said.len(), 2);
}

#[test]
fn results_that_come_one_by_one_are_kept_until_the_last_one_also_in_the_store() {
    let (mut held, upstream) = waiting();
    let first = prepare(&mut held, &[result("b", "2")], 2);
    assert_eq!(first.unsettled.unwrap().open().count(), 1);
    let mut revived = Conversation::revive(Arc::clone(held.record()));
    let second = prepare(&mut revived, &[result("a", "1")], 3);
    assert_eq!(second.upstream, upstream);
    assert!(second.pending.unwrap().is_answered());
    assert_eq!(second.said, [result("b", "2"), result("a", "1")].map(Arc::new));
}

#[test]
fn a_user_who_speaks_instead_of_results_leaves_the_calls_to_be_answered() {
    let (mut held, upstream) = waiting();
    let prepared = prepare(&mut held, &[user("never mind")], 2);
    assert_eq!(prepared.upstream, upstream);
    assert_eq!(prepared.pending.unwrap().open().count(), 2);
    assert_eq!(prepared.input, [user("never mind")]);
}

#[test]
fn results_for_an_upstream_that_has_forgotten_are_told_with_the_history() {
    let (mut held, upstream) = waiting();
    let prepared = prepare(&mut held, &[result("a", "1"), result("b", "2")], 100);
    assert_ne!(prepared.upstream, upstream);
    assert!(prepared.pending.is_none());
    assert_eq!((prepared.history.len(), prepared.input.len()), (2, 2));
}

#[test]
fn a_result_for_no_call_is_refused_and_changes_nothing() {
    let (mut held, upstream) = waiting();
    let name = model();
    let sent = [result("z", "1")];
    let refused = held.prepare(&Arrival {
        handed_back: None,
        messages: &sent,
        telling: TELLING,
        branches: false,
        is_delta: false,
        model: &name,
        remembers: Some(Duration::from_secs(60)),
        now: at(2),
        base: None,
        room: ROOM,
    });
    assert_eq!(refused.unwrap_err().param.as_deref(), Some("messages"));
    let prepared = prepare(&mut held, &[result("a", "1"), result("b", "2")], 3);
    assert_eq!(prepared.upstream, upstream);
}

#[test]
fn a_client_that_drops_unanswered_calls_from_its_transcript_goes_on_here() {
    let (mut held, upstream) = waiting();
    let silent = Message { parts: Vec::new(), ..asks(&["a", "b"]) };
    *Arc::make_mut(held.change().messages.last_mut().unwrap()) = silent;
    let prepared = prepare(&mut held, &[user("look it up"), user("never mind")], 2);
    assert_eq!(prepared.upstream, upstream);
    assert_eq!(prepared.input, [user("never mind")]);
}

#[test]
fn a_moved_session_gives_its_transcript_to_the_next_model() {
    let mut held = conversation();
    let first = turn(&mut held, &[user("hi")], "Hello!", 1);
    held.move_to("core".parse().unwrap());
    assert_eq!(held.leave_upstream().unwrap().id, first.upstream);
    let moved = held.record().moved.clone().unwrap();
    assert_eq!((moved.from, moved.to), (model(), "core".parse().unwrap()));
    let next = prepare(&mut held, &[user("and?")], 2);
    assert_ne!(next.upstream, first.upstream);
    assert_eq!(next.history.len(), 2);
    held.move_to(model());
    assert_eq!(held.record().moved, None, "it is back where it was");
}

#[test]
fn instructions_are_kept_for_clients_that_send_only_what_is_new() {
    let mut held = conversation();
    let system = Message::text(Role::System, "be kind");
    turn(&mut held, &[system.clone(), user("hi")], "Hello!", 1);
    turn(&mut held, &[user("and?")], "Yes.", 2);
    assert_eq!(*held.record().system, *std::slice::from_ref(&system));
    let stern = Message::text(Role::System, "be stern");
    turn(&mut held, &[stern.clone(), user("again")], "No.", 3);
    assert_eq!(*held.record().system, [stern]);
    let resent = [user("hi"), assistant("Hello!"), user("and?"), assistant("Yes."), user("so?")];
    turn(&mut held, &resent, "So.", 4);
    assert!(held.record().system.is_empty(), "a whole transcript without any has none");
}

#[test]
fn a_move_outlives_the_turn_that_runs_also_one_that_comes_to_nothing() {
    let mut held = conversation();
    let first = turn(&mut held, &[user("hi")], "Hello!", 1);
    prepare(&mut held, &[user("and?")], 2);
    held.move_to("core".parse().unwrap());
    assert!(held.leave_upstream().is_none(), "a turn runs there");
    held.take_back(false);
    assert_eq!(held.leave_upstream().unwrap().id, first.upstream);
    assert!(held.record().moved.is_some() && held.record().upstream.is_none());
}

#[test]
fn a_session_whose_last_answer_was_cut_may_wait_for_more_than_we_know() {
    let mut held = conversation();
    turn(&mut held, &[user("hi")], "Hello!", 1);
    let sure = prepare(&mut held, &[user("and?")], 2);
    assert!(!held.is_doubtful(&sure));
    held.take_back(false);
    held.cut_last_answer("Hel");
    let doubtful = prepare(&mut held, &[user("and?")], 2);
    assert!(held.is_doubtful(&doubtful));
}

#[test]
fn results_whose_answer_broke_are_told_anew_in_place_of_it() {
    let (mut held, upstream) = waiting();
    let results = [result("a", "1"), result("b", "2")];
    let prepared = prepare(&mut held, &results, 2);
    held.commit(Committed {
        turn: TurnId::generate(),
        said: prepared.said.clone(),
        answer: Message { status: Status::Failed, ..assistant("So") },
        upstream: Some(binding(&prepared.upstream, 2)),
        model: model(),
        asked: model(),
        base: None,
        now: at(2),
        room: ROOM,
        phrases: Phrases::NONE,
    });
    let again = prepare(&mut held, &results, 3);
    assert_ne!(again.upstream, upstream, "that one has taken them");
    assert_eq!((again.history.len(), &again.input[..]), (2, &results[..]));
}
