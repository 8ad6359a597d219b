//! What is left of turns that were cut off.

use serde_json::json;

use super::super::super::contract::{
    Running, at, key, running, running_as, saying, session, tenant, turn_id, whole,
};
use super::super::super::{TurnRecord, UpstreamBinding};
use super::*;
use crate::turn::{
    Confirmation, FailureKind, Message, Pending, PendingCall, Role, Status, ToolCall, TurnEvent,
    UpstreamSessionId,
};

/// Waits until so many events of the only turn are in the file.
async fn until_saved(folder: &Folder, store: &SqliteStore, events: i64) {
    let saved = || {
        folder.look(|db| {
            db.query_row("SELECT events FROM turns", [], |row| row.get::<_, i64>(0)).unwrap()
        })
    };
    for _ in 0..10_000 {
        if saved() == events {
            return;
        }
        // The writer looks at turns between two transactions.
        store.sweep_turns(at(0)).await.unwrap();
    }
    panic!("{} events are saved, not {events}", saved());
}

/// A broker that began this turn and was killed.
async fn cut_off(folder: &Folder, turn: &Running, before: Record) -> Record {
    let store = folder.open();
    let key = before.key.clone();
    store.save(whole(before)).await.unwrap();
    store.begin(turn.begin(None)).await.unwrap();
    turn.live.say(&["We ", "offer"]);
    until_saved(folder, &store, 3).await;
    store.close();
    let store = folder.open();
    Record::clone(&*store.load(key).await.unwrap().unwrap())
}

#[tokio::test]
async fn a_turn_that_was_cut_off_is_interrupted_with_what_was_saved_of_it() {
    let folder = Folder::new();
    let turn = running("acme", "s", "turn_1");
    let before = Record { head: Some([1; 32]), ..saying(session("acme", "s", 1), &["a"]) };
    let after = cut_off(&folder, &turn, before).await;
    let said: Vec<_> = after.messages.iter().map(|said| (said.plain_text(), said.status)).collect();
    let expected = [
        ("a".to_owned(), Status::Completed),
        ("hello".to_owned(), Status::Completed),
        ("We offer".to_owned(), Status::Interrupted),
    ];
    assert_eq!(said, expected);
    let mark = after.marks.last().unwrap();
    assert_eq!((mark.turn.as_str(), mark.end, mark.is_answered), ("turn_1", 3, true));
    assert_eq!((after.turns, after.head), (2, None));
    // Its readers find its end.
    let store = folder.open();
    let found = store.turn(tenant("acme"), turn_id("turn_1")).await.unwrap().unwrap();
    let pieces = ["We ", "offer"].map(|piece| TurnEvent::Text(piece.into()));
    assert_eq!(found.events[1..3], pieces);
    let Some(TurnEvent::Failed(failure)) = found.events.last() else { panic!("no end") };
    assert_eq!(failure.kind, FailureKind::Internal);
    assert!(found.ended.is_some());
}

#[tokio::test]
async fn a_turn_is_brought_in_order_once() {
    let folder = Folder::new();
    let turn = running("acme", "s", "turn_1");
    let after = cut_off(&folder, &turn, session("acme", "s", 1)).await;
    let again = folder.open();
    let again = again.load(key("acme", "s")).await.unwrap().unwrap();
    assert_eq!(again.messages.len(), after.messages.len());
}

#[tokio::test]
async fn a_session_whose_first_turn_was_cut_off_is_there() {
    let folder = Folder::new();
    let store = folder.open();
    let turn = running("acme", "new", "turn_1");
    store.begin(turn.begin(None)).await.unwrap();
    drop(store);
    let store = folder.open();
    let found = store.load(key("acme", "new")).await.unwrap().unwrap();
    let roles: Vec<_> = found.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant]);
    assert_eq!(store.census(tenant("acme")).await.unwrap().sessions, 1);
}

#[tokio::test]
async fn what_a_store_has_last_seen_of_a_turn_is_saved_when_it_is_closed() {
    let folder = Folder::new();
    let slow = Options { flush: Duration::from_secs(3_600), ..Options::default() };
    let store = SqliteStore::open(&folder.file(), slow).unwrap();
    let turn = running("acme", "s", "turn_1");
    store.begin(turn.begin(None)).await.unwrap();
    turn.live.say(&["late"]);
    store.close();
    let events = folder.look(|db| turns::load(db, &tenant("acme"), &turn_id("turn_1")));
    assert_eq!(events.unwrap().unwrap().events.len(), 2);
}

#[tokio::test]
async fn pieces_that_were_saved_on_the_way_are_not_saved_twice() {
    let folder = Folder::new();
    let store = folder.open();
    let turn = running("acme", "s", "turn_1");
    store.begin(turn.begin(None)).await.unwrap();
    for (number, piece) in ["a", "b", "c"].iter().enumerate() {
        turn.live.say(&[piece]);
        until_saved(&folder, &store, i64::try_from(number).unwrap() + 2).await;
    }
    turn.live.say(&["d"]);
    store.end(turn.end(9, None)).await.unwrap();
    let found = store.turn(tenant("acme"), turn_id("turn_1")).await.unwrap().unwrap();
    let texts = found.events.iter().filter_map(|event| match event {
        TurnEvent::Text(text) => Some(&**text),
        _ => None,
    });
    assert_eq!(texts.collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    assert_eq!(found.events.len(), 6);
}

/// A session that waits for the result of a call.
fn waiting() -> Record {
    let call = ToolCall {
        id: "call_1".to_owned(),
        name: "look_up".to_owned(),
        arguments: "{}".to_owned(),
        confirmation: Confirmation::None,
    };
    let waits = PendingCall { call, input: json!({}), result: None };
    Record {
        upstream: Some(UpstreamBinding {
            id: UpstreamSessionId::generate(),
            model: "m".parse().unwrap(),
            last_used: at(1),
            memory_id: None,
            pending: Some(Pending { invocation_id: "inv".to_owned(), calls: vec![waits] }),
        }),
        ..session("acme", "s", 1)
    }
}

#[tokio::test]
async fn calls_that_the_turn_did_not_answer_wait_on() {
    let folder = Folder::new();
    let after = cut_off(&folder, &running("acme", "s", "turn_1"), waiting()).await;
    assert_eq!(after.upstream.unwrap().pending.unwrap().open().count(), 1);
}

#[tokio::test]
async fn an_upstream_that_may_have_taken_the_turn_in_is_left() {
    let folder = Folder::new();
    let mut result = Message::text(Role::Tool, "42");
    result.tool_call_id = Some("call_1".to_owned());
    let template = running("acme", "s", "turn_1").record;
    let turn = TurnRecord { said: vec![Arc::new(result)], ..TurnRecord::clone(&template) };
    let after = cut_off(&folder, &running_as(turn), waiting()).await;
    assert!(after.upstream.is_none());
    let folder = Folder::new();
    let mut idle = waiting();
    idle.upstream.as_mut().unwrap().pending = None;
    let after = cut_off(&folder, &running("acme", "s", "turn_1"), idle).await;
    assert!(after.upstream.is_none());
}

#[tokio::test]
async fn a_turn_that_cannot_be_read_keeps_no_store_from_opening() {
    let folder = Folder::new();
    let store = folder.open();
    store.save(whole(saying(session("acme", "s", 1), &["a"]))).await.unwrap();
    store.begin(running("acme", "s", "turn_1").begin(None)).await.unwrap();
    let ruined = store.write(About::default(), |db| {
        Ok(db.execute("UPDATE turns SET said = '{\"v\":7,\"body\":[]}'", [])?)
    });
    assert_eq!(ruined.await.unwrap(), 1);
    drop(store);
    let store = folder.open();
    assert_eq!(store.load(key("acme", "s")).await.unwrap().unwrap().messages.len(), 1);
    let said = store.turn(tenant("acme"), turn_id("turn_1")).await.unwrap_err().to_string();
    assert!(said.contains("of version 7"), "{said}");
    let unended = folder.look(|db| turns::unended(db).unwrap());
    assert!(unended.is_empty());
}
