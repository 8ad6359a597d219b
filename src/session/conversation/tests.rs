use super::*;

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
    held.prepare(&Arrival {
        messages,
        named: true,
        branches: false,
        model: &name,
        remembers: Some(Duration::from_secs(60)),
        now: at(now),
        base: None,
        room: ROOM,
    })
}

fn turn(held: &mut Conversation, messages: &[Message], answer: &str, now: u64) -> Prepared {
    let prepared = prepare(held, messages, now);
    held.commit(Committed {
        input: prepared.input.clone(),
        answer: assistant(answer),
        upstream: Some(prepared.upstream.clone()),
        model: model(),
        base: None,
        began: at(now),
        now: at(now),
        room: ROOM,
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
        input: first.input,
        answer: cut,
        upstream: None,
        model: model(),
        base: None,
        began: at(1),
        now: at(1),
        room: ROOM,
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
                messages: &sent,
                named,
                branches: false,
                model: &name,
                remembers: Some(Duration::from_secs(60)),
                now: at(1),
                base,
                room: small,
            });
            assert_ne!(prepared.origin, Origin::Forked, "turn {number}");
            assert_eq!(prepared.input.len(), 1, "turn {number}");
            if named {
                held.take_back(false);
                continue;
            }
            held.commit(Committed {
                input: prepared.input,
                answer: assistant(&format!("answer {number}")),
                upstream: Some(prepared.upstream),
                model: model(),
                base: None,
                began: at(1),
                now: at(1),
                room: small,
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
        messages: &[user("and you?")],
        named: true,
        branches: false,
        model: &other,
        remembers: Some(Duration::from_secs(60)),
        now: at(2),
        base: None,
        room: ROOM,
    });
    assert_eq!((prepared.origin, prepared.history.len()), (Origin::Rehydrated, 2));
}
