//! Clauses on turns.

use crate::store::TurnRecord;
use crate::turn::{FinishReason, TurnEvent};

use super::{
    Clause, Running, Store, at, clause, key, running, running_as, saying, session, tenant, turn_id,
    whole,
};

pub(super) const CLAUSES: &[Clause] = &[
    ("a turn comes back with its events in their pieces", |s| clause(comes_back(s))),
    ("a turn that waited brings what it is said to at last", |s| clause(is_told_twice(s))),
    ("a turn that runs is found", |s| clause(running_is_found(s))),
    ("a turn is found by its own tenant only", |s| clause(tenants_are_apart(s))),
    ("a turn that begins or ends saves its session", |s| clause(saves_sessions(s))),
    ("a turn that is removed is gone and its session stays", |s| clause(removed_is_gone(s))),
    ("a turn that was removed while it ran stays so", |s| clause(is_not_resurrected(s))),
    ("a session takes its turns with it", |s| clause(sessions_take_turns(s))),
    ("a request is found by the name its client gave it", |s| clause(names_are_found(s))),
    ("the same name of two tenants is two requests", |s| clause(names_are_apart(s))),
    ("the later of two requests of one name has it", |s| clause(names_move_on(s))),
    ("what is not to be kept is swept", |s| clause(sweeps(s))),
    ("a turn that nobody waited for is there", |s| clause(reads_what_was_asked(s))),
];

fn events(pieces: &[&str]) -> Vec<TurnEvent> {
    let texts = pieces.iter().map(|piece| TurnEvent::Text((*piece).into()));
    let mut events = vec![TurnEvent::Started];
    events.extend(texts);
    events
}

fn ended(pieces: &[&str]) -> Vec<TurnEvent> {
    let mut events = events(pieces);
    events.push(TurnEvent::Finished(FinishReason::Stop));
    events
}

async fn run(store: &Store, turn: &Running, pieces: &[&str]) {
    store.begin(turn.begin(None)).await.unwrap();
    turn.live.say(pieces);
    store.end(turn.end(9, None)).await.unwrap();
}

async fn comes_back(store: Store) {
    let turn = running("acme", "s", "turn_1");
    let pieces = ["Hel", "lo ", "", "\"quoted\"", "\u{1f980}"];
    run(&store, &turn, &pieces).await;
    let found = store.turn(tenant("acme"), turn_id("turn_1")).await.unwrap().unwrap();
    assert_eq!(found.events, ended(&pieces));
    assert_eq!(found.ended, Some(at(9)));
    assert_eq!(format!("{:?}", found.record), format!("{:?}", turn.record));
}

async fn is_told_twice(store: Store) {
    let waiting = running("acme", "s", "turn_1").named("again", 1);
    store.begin(waiting.begin(None)).await.unwrap();
    let mut record = TurnRecord::clone(&waiting.record);
    record.said.clear();
    let begun = running_as(record);
    let before = saying(session("acme", "s", 1), &["a"]);
    store.begin(begun.begin(Some(whole(before)))).await.unwrap();
    assert_eq!(store.load(key("acme", "s")).await.unwrap().unwrap().messages.len(), 1);
    begun.live.say(&["x"]);
    store.end(begun.end(9, None)).await.unwrap();
    let found = store.turn(tenant("acme"), turn_id("turn_1")).await.unwrap().unwrap();
    assert_eq!((found.record.said.len(), found.events), (0, ended(&["x"])));
    assert!(store.repeated(tenant("acme"), "again".into()).await.unwrap().is_some());
}

async fn running_is_found(store: Store) {
    let turn = running("acme", "s", "turn_1");
    store.begin(turn.begin(None)).await.unwrap();
    turn.live.say(&["Hel", "lo"]);
    let found = store.turn(tenant("acme"), turn_id("turn_1")).await.unwrap().unwrap();
    assert_eq!(found.ended, None);
    assert_eq!(found.events, events(&["Hel", "lo"]));
}

async fn tenants_are_apart(store: Store) {
    let (ours, theirs) = (running("acme", "s", "turn_1"), running("globex", "s", "turn_1"));
    run(&store, &ours, &["ours"]).await;
    run(&store, &theirs, &["theirs"]).await;
    assert!(store.turn(tenant("third"), turn_id("turn_1")).await.unwrap().is_none());
    assert!(!store.remove_turn(tenant("third"), turn_id("turn_1")).await.unwrap());
    assert!(store.remove_turn(tenant("acme"), turn_id("turn_1")).await.unwrap());
    assert!(store.turn(tenant("acme"), turn_id("turn_1")).await.unwrap().is_none());
    let found = store.turn(tenant("globex"), turn_id("turn_1")).await.unwrap().unwrap();
    assert_eq!(found.events, ended(&["theirs"]));
}

async fn saves_sessions(store: Store) {
    let turn = running("acme", "s", "turn_1");
    let before = saying(session("acme", "s", 1), &["a"]);
    store.begin(turn.begin(Some(whole(before)))).await.unwrap();
    assert_eq!(store.load(key("acme", "s")).await.unwrap().unwrap().messages.len(), 1);
    let after = saying(session("acme", "s", 2), &["a", "b"]);
    store.end(turn.end(9, Some(whole(after)))).await.unwrap();
    let found = store.load(key("acme", "s")).await.unwrap().unwrap();
    assert_eq!((found.messages.len(), found.last_active), (2, at(2)));
}

async fn removed_is_gone(store: Store) {
    store.save(whole(session("acme", "s", 1))).await.unwrap();
    let turn = running("acme", "s", "turn_1").named("again", 1);
    run(&store, &turn, &["x"]).await;
    assert!(store.remove_turn(tenant("acme"), turn_id("turn_1")).await.unwrap());
    assert!(!store.remove_turn(tenant("acme"), turn_id("turn_1")).await.unwrap());
    assert!(store.turn(tenant("acme"), turn_id("turn_1")).await.unwrap().is_none());
    assert!(store.repeated(tenant("acme"), "again".into()).await.unwrap().is_none());
    assert!(store.load(key("acme", "s")).await.unwrap().is_some());
}

async fn is_not_resurrected(store: Store) {
    let turn = running("acme", "s", "turn_1");
    store.begin(turn.begin(None)).await.unwrap();
    assert!(store.remove_turn(tenant("acme"), turn_id("turn_1")).await.unwrap());
    let after = saying(session("acme", "s", 2), &["a"]);
    store.end(turn.end(9, Some(whole(after)))).await.unwrap();
    assert!(store.turn(tenant("acme"), turn_id("turn_1")).await.unwrap().is_none());
    // What was said stays said.
    assert!(store.load(key("acme", "s")).await.unwrap().is_some());
}

async fn sessions_take_turns(store: Store) {
    store.save(whole(session("acme", "s", 1))).await.unwrap();
    store.save(whole(session("acme", "t", 1))).await.unwrap();
    let running_on = running("acme", "s", "turn_2");
    let elsewhere = running("acme", "t", "turn_3");
    run(&store, &running("acme", "s", "turn_1").named("again", 1), &["x"]).await;
    run(&store, &elsewhere, &["y"]).await;
    store.begin(running_on.begin(None)).await.unwrap();
    assert!(store.remove(key("acme", "s")).await.unwrap());
    for turn in ["turn_1", "turn_2"] {
        assert!(store.turn(tenant("acme"), turn_id(turn)).await.unwrap().is_none(), "{turn}");
    }
    assert!(store.repeated(tenant("acme"), "again".into()).await.unwrap().is_none());
    assert!(store.turn(tenant("acme"), turn_id("turn_3")).await.unwrap().is_some());
    store.end(running_on.end(9, None)).await.unwrap();
    assert!(store.turn(tenant("acme"), turn_id("turn_2")).await.unwrap().is_none());
}

async fn names_are_found(store: Store) {
    assert!(store.repeated(tenant("acme"), "again".into()).await.unwrap().is_none());
    let turn = running("acme", "s", "turn_1").named("again", 7);
    store.begin(turn.begin(None)).await.unwrap();
    let named = Some((turn_id("turn_1"), [7; 32]));
    assert_eq!(store.repeated(tenant("acme"), "again".into()).await.unwrap(), named);
    store.end(turn.end(9, None)).await.unwrap();
    assert_eq!(store.repeated(tenant("acme"), "again".into()).await.unwrap(), named);
    assert!(store.repeated(tenant("acme"), "other".into()).await.unwrap().is_none());
}

async fn names_are_apart(store: Store) {
    run(&store, &running("acme", "s", "turn_1").named("again", 1), &[]).await;
    run(&store, &running("globex", "s", "turn_2").named("again", 2), &[]).await;
    let ours = store.repeated(tenant("acme"), "again".into()).await.unwrap();
    assert_eq!(ours, Some((turn_id("turn_1"), [1; 32])));
    let theirs = store.repeated(tenant("globex"), "again".into()).await.unwrap();
    assert_eq!(theirs, Some((turn_id("turn_2"), [2; 32])));
    assert!(store.repeated(tenant("third"), "again".into()).await.unwrap().is_none());
}

async fn names_move_on(store: Store) {
    run(&store, &running("acme", "s", "turn_1").named("again", 1), &[]).await;
    run(&store, &running("acme", "s", "turn_2").named("again", 2), &[]).await;
    let found = store.repeated(tenant("acme"), "again".into()).await.unwrap();
    assert_eq!(found, Some((turn_id("turn_2"), [2; 32])));
    // The earlier one goes without taking the name along.
    assert!(store.remove_turn(tenant("acme"), turn_id("turn_1")).await.unwrap());
    assert!(store.repeated(tenant("acme"), "again".into()).await.unwrap().is_some());
}

async fn sweeps(store: Store) {
    store.save(whole(session("acme", "s", 1))).await.unwrap();
    run(&store, &running("acme", "s", "turn_kept"), &["x"]).await;
    // Its session never came to be.
    run(&store, &running("acme", "lost", "turn_lost"), &["x"]).await;
    let brief = TurnRecord {
        is_kept: false,
        turn: turn_id("turn_brief"),
        ..TurnRecord::clone(&running("acme", "s", "turn_x").record)
    };
    run(&store, &running_as(brief), &["x"]).await;
    let going = running("acme", "lost", "turn_going");
    store.begin(going.begin(None)).await.unwrap();
    assert_eq!(store.sweep_turns(at(9)).await.unwrap(), 0);
    let swept = store.sweep_turns(at(10)).await.unwrap();
    assert_eq!(swept, if store.is_durable() { 2 } else { 1 });
    for (turn, is_there) in
        [("turn_kept", true), ("turn_lost", false), ("turn_brief", false), ("turn_going", true)]
    {
        let found = store.turn(tenant("acme"), turn_id(turn)).await.unwrap();
        assert_eq!(found.is_some(), is_there, "{turn}");
    }
}

async fn reads_what_was_asked(store: Store) {
    let turn = running("acme", "s", "turn_1").named("again", 1);
    drop(store.begin(turn.begin(None)));
    assert!(store.repeated(tenant("acme"), "again".into()).await.unwrap().is_some());
    turn.live.say(&["x"]);
    drop(store.end(turn.end(9, None)));
    let found = store.turn(tenant("acme"), turn_id("turn_1")).await.unwrap().unwrap();
    assert_eq!(found.events, ended(&["x"]));
}
