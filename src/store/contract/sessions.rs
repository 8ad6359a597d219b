//! Clauses on sessions.

use std::sync::Arc;

use crate::store::{Mark, Moved, Query, Record, Save, SessionStore, UpstreamBinding};
use crate::turn::{
    Confirmation, Message, Part, Pending, PendingCall, Role, Status, Thought, ToolCall,
    UpstreamSessionId,
};

use super::{Clause, Store, at, clause, key, of, saying, session, shown, tenant, turn_id, whole};

pub(super) const CLAUSES: &[Clause] = &[
    ("a session is found by its own tenant only", |s| clause(tenants_are_apart(s))),
    ("a session comes back as it was saved", |s| clause(comes_back_whole(s))),
    ("an empty session comes back", |s| clause(comes_back_empty(s))),
    ("a transcript is kept through every way to change it", |s| clause(follows_changes(s))),
    ("a transcript is kept through any row of changes", |s| clause(follows_any_changes(s))),
    ("a save behind another is read at once", |s| clause(reads_what_was_asked(s))),
    ("saves that overtake their answers are all kept", |s| clause(saves_in_a_row(s))),
    ("sessions are listed by activity, page by page", |s| clause(lists_pages(s))),
    ("a list has a model's sessions only where that is asked", |s| clause(lists_models(s))),
    ("everybody's sessions are listed together", |s| clause(lists_everybody(s))),
    ("a list tells what is open", |s| clause(summaries_tell(s))),
    ("a census counts what is there", |s| clause(census_follows(s))),
    ("tenants that hold much are found", |s| clause(large_are_found(s))),
    ("only sessions without recent activity are expired", |s| clause(expires_old_ones(s))),
    ("a removed session is gone", |s| clause(removed_is_gone(s))),
    ("a digest is claimed once", |s| clause(claims_once(s))),
];

async fn tenants_are_apart(store: Store) {
    store.save(whole(session("acme", "s", 1))).await.unwrap();
    store.save(whole(session("globex", "s", 2))).await.unwrap();
    assert!(store.load(key("third", "s")).await.unwrap().is_none());
    assert!(!store.remove(key("third", "s")).await.unwrap());
    assert!(store.remove(key("acme", "s")).await.unwrap());
    assert!(store.load(key("acme", "s")).await.unwrap().is_none());
    let theirs = store.load(key("globex", "s")).await.unwrap().unwrap();
    assert_eq!(theirs.last_active, at(2));
}

/// A session with something in every field.
fn full() -> Record {
    let call = ToolCall {
        id: "call_1".to_owned(),
        name: "look_up".to_owned(),
        arguments: "{\"a\": 1}".to_owned(),
        confirmation: Confirmation::DecisionAndResult,
    };
    let mut asking = Message::text(Role::Assistant, "Let me see.\0\u{1f980}");
    asking.tool_calls.push(call.clone());
    asking.thoughts = vec![
        Thought::Text { text: "hm".to_owned(), signature: Some("s1g".to_owned()) },
        Thought::Redacted(vec![0, 255, 7].into()),
    ];
    let mut result = Message::text(Role::Tool, "");
    result.tool_call_id = Some("call_1".to_owned());
    result.status = Status::Failed;
    let mut shows = Message::text(Role::User, "look");
    shows.parts.push(Part::Attachment {
        kind: "image_url".to_owned(),
        value: Arc::new(serde_json::json!({ "image_url": { "url": "data:,", "n": [1, null] } })),
    });
    let mut record = saying(session("acme", "s", 3), &["first"]);
    record.messages.extend([shows, asking, result].map(Arc::new));
    record.marks.push(Mark { turn: turn_id("turn_2"), end: 14, is_answered: true });
    record.marks[0].end = 11;
    record.dropped = 10;
    let waiting = PendingCall {
        call,
        input: serde_json::json!({ "functionInvocationInput": { "function": "look_up" } }),
        result: Some(Arc::new(Message::text(Role::Tool, "42"))),
    };
    Record {
        model: "other".parse().unwrap(),
        asked: Some("wanted".parse().unwrap()),
        moved: Some(Moved { from: "a".parse().unwrap(), to: "b".parse().unwrap() }),
        turns: 7,
        system: [Message::text(Role::System, "be brief")].into(),
        metadata: [("k".to_owned(), "v".to_owned())].into(),
        head: Some([9; 32]),
        upstream: Some(UpstreamBinding {
            id: UpstreamSessionId::generate(),
            model: "other".parse().unwrap(),
            last_used: at(2),
            memory_id: Some("memory".to_owned()),
            pending: Some(Pending { invocation_id: "inv".to_owned(), calls: vec![waiting] }),
        }),
        branches: 3,
        ..record
    }
}

async fn comes_back_whole(store: Store) {
    let record = full();
    store.save(whole(record.clone())).await.unwrap();
    let found = store.load(key("acme", "s")).await.unwrap().unwrap();
    assert_eq!(shown(&found), shown(&record));
}

async fn comes_back_empty(store: Store) {
    let mut record = session("acme", "s", 0);
    record.messages.push(Arc::new(Message { parts: Vec::new(), ..Message::text(Role::User, "") }));
    record.messages.push(Arc::new(Message::text(Role::Assistant, "")));
    store.save(whole(record.clone())).await.unwrap();
    let found = store.load(key("acme", "s")).await.unwrap().unwrap();
    assert_eq!(shown(&found), shown(&record));
    store.save(whole(session("acme", "s", 0))).await.unwrap();
    let found = store.load(key("acme", "s")).await.unwrap().unwrap();
    assert_eq!((found.messages.len(), found.marks.len()), (0, 0));
}

/// Saves a record as it became and finds it so.
async fn keeps(store: &Store, record: &Record, unchanged: u64) {
    let save = Save { record: Arc::new(record.clone()), unchanged };
    store.save(save).await.unwrap();
    let found = store.load(record.key.clone()).await.unwrap().unwrap();
    assert_eq!(shown(&found), shown(record), "with {unchanged} unchanged");
}

async fn follows_changes(store: Store) {
    let mut record = saying(session("acme", "s", 1), &["a", "b", "c"]);
    keeps(&store, &record, 0).await;
    // Two more.
    record = saying(record, &["d", "e"]);
    keeps(&store, &record, 3).await;
    // Nothing.
    keeps(&store, &record, 5).await;
    // The last one said otherwise.
    record.messages[4] = Arc::new(Message::text(Role::User, "E"));
    keeps(&store, &record, 4).await;
    // Two fewer.
    record.messages.truncate(3);
    record.marks.truncate(3);
    keeps(&store, &record, 3).await;
    // The first ones are no longer held, and one more is.
    record.messages.drain(..2);
    record.marks.drain(..2);
    record.dropped = 2;
    record = saying(record, &["f"]);
    keeps(&store, &record, 3).await;
    // The middle replaced.
    record = saying(record, &["g", "h"]);
    keeps(&store, &record, 4).await;
    record.messages[1] = Arc::new(Message::text(Role::Assistant, "F"));
    record.marks[1].is_answered = true;
    keeps(&store, &record, 3).await;
    // A turn that brought nothing, and one more behind it.
    record.marks.push(Mark { turn: turn_id("empty"), end: record.end(), is_answered: false });
    keeps(&store, &record, record.end()).await;
    let before = record.end();
    record = saying(record, &["i"]);
    keeps(&store, &record, before).await;
    // All replaced, with fewer dropped than before: nothing of it was kept.
    let record = saying(session("acme", "s", 2), &["x", "y"]);
    keeps(&store, &record, 0).await;
    // All dropped.
    let mut record = session("acme", "s", 3);
    record.dropped = 2;
    keeps(&store, &record, 2).await;
}

/// Changes a record in some way, and says before which position nothing changed.
fn change(record: &mut Record, roll: &mut impl FnMut(u64) -> u64) -> u64 {
    let (first, end) = (record.dropped, record.end());
    let position = first + roll(end - first + 1);
    let place = usize::try_from(position - first).unwrap();
    match roll(5) {
        // The messages from here on are taken back.
        0 => {
            record.messages.truncate(place);
            record.marks.retain(|mark| mark.end <= position);
            position
        }
        // Those before are no longer held; a mark of theirs may be.
        1 => {
            record.messages.drain(..place);
            record.dropped = position;
            let keeps = roll(2) == 0;
            record.marks.retain(|mark| mark.end > position || (keeps && mark.end == position));
            end
        }
        // One is said otherwise, by another turn.
        2 if position < end => {
            record.messages[place] = Arc::new(Message::text(Role::User, position.to_string()));
            record.marks.retain(|mark| mark.end != position + 1);
            position
        }
        // A turn brought nothing.
        3 => {
            record.marks.push(Mark { turn: turn_id("empty"), end, is_answered: false });
            end
        }
        _ => {
            *record = saying(record.clone(), &["one", "more"]);
            end
        }
    }
}

async fn follows_any_changes(store: Store) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut roll = |sides: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % sides
    };
    let mut record = session("acme", "s", 1);
    for _ in 0..300 {
        // Some saves overtake the answers to those before them.
        for _ in 0..roll(3) {
            let unchanged = change(&mut record, &mut roll);
            drop(store.save(Save { record: Arc::new(record.clone()), unchanged }));
        }
        let unchanged = change(&mut record, &mut roll);
        keeps(&store, &record, unchanged).await;
    }
}

async fn reads_what_was_asked(store: Store) {
    // Nobody waits for this one.
    drop(store.save(whole(saying(session("acme", "s", 1), &["a"]))));
    let found = store.load(key("acme", "s")).await.unwrap().unwrap();
    assert_eq!(found.messages.len(), 1);
    drop(store.remove(key("acme", "s")));
    assert!(store.load(key("acme", "s")).await.unwrap().is_none());
}

async fn saves_in_a_row(store: Store) {
    let mut record = session("acme", "s", 1);
    for turn in 0..50 {
        let unchanged = record.end();
        record = saying(record, &[&format!("{turn}")]);
        drop(store.save(Save { record: Arc::new(record.clone()), unchanged }));
    }
    let found = store.load(key("acme", "s")).await.unwrap().unwrap();
    assert_eq!(shown(&found), shown(&record));
}

async fn ids(store: &dyn SessionStore, query: Query) -> Vec<String> {
    let listed = store.list(query).await.unwrap();
    listed.iter().map(|summary| summary.key.id.to_string()).collect()
}

async fn lists_pages(store: Store) {
    // Two of one moment, and one that moves to the front when it is saved again.
    for (id, active) in [("e", 1), ("a", 1), ("b", 2), ("c", 2), ("d", 3), ("e", 4)] {
        store.save(whole(session("acme", id, active))).await.unwrap();
    }
    store.save(whole(session("globex", "z", 9))).await.unwrap();
    assert_eq!(ids(&*store, of("acme")).await, ["e", "d", "c", "b", "a"]);
    let two = |after: Option<(u64, &str)>| Query {
        after: after.map(|(active, id)| (at(active), id.parse().unwrap())),
        limit: 2,
        ..of("acme")
    };
    assert_eq!(ids(&*store, two(None)).await, ["e", "d"]);
    assert_eq!(ids(&*store, two(Some((3, "d")))).await, ["c", "b"]);
    assert_eq!(ids(&*store, two(Some((2, "b")))).await, ["a"]);
    assert!(ids(&*store, two(Some((1, "a")))).await.is_empty());
    let upwards = |after| Query { is_oldest_first: true, ..two(after) };
    assert_eq!(ids(&*store, upwards(None)).await, ["a", "b"]);
    assert_eq!(ids(&*store, upwards(Some((2, "b")))).await, ["c", "d"]);
    // Where nobody is any more, too.
    assert_eq!(ids(&*store, two(Some((3, "0")))).await, ["c", "b"]);
    assert!(ids(&*store, Query { limit: 0, ..of("acme") }).await.is_empty());
    assert!(ids(&*store, of("nobody")).await.is_empty());
}

async fn lists_models(store: Store) {
    for (id, model) in [("a", "m1"), ("b", "m2"), ("c", "m1"), ("d", "m2")] {
        let model = model.parse().unwrap();
        store.save(whole(Record { model, ..session("acme", id, 1) })).await.unwrap();
    }
    let query = Query { model: Some("m1".parse().unwrap()), ..of("acme") };
    assert_eq!(ids(&*store, query).await, ["c", "a"]);
}

async fn lists_everybody(store: Store) {
    for (tenant, id, active) in [("acme", "a", 1), ("globex", "b", 2), ("acme", "c", 3)] {
        store.save(whole(session(tenant, id, active))).await.unwrap();
    }
    let all = Query { limit: 2, ..Query::default() };
    assert_eq!(ids(&*store, all.clone()).await, ["c", "b"]);
    let rest = Query { after: Some((at(2), "b".parse().unwrap())), ..all.clone() };
    assert_eq!(ids(&*store, rest).await, ["a"]);
    assert_eq!(ids(&*store, Query { is_oldest_first: true, ..all }).await, ["a", "b"]);
}

async fn summaries_tell(store: Store) {
    let mut record = full();
    if let Some(pending) = record.upstream.as_mut().and_then(|bound| bound.pending.as_mut()) {
        pending.calls[0].result = None;
    }
    store.save(whole(record.clone())).await.unwrap();
    let listed = store.list(of("acme")).await.unwrap();
    assert_eq!(listed, [record.summary()]);
    assert_eq!(listed[0].open_calls, [("call_1".to_owned(), "look_up".to_owned())]);
}

async fn large_are_found(store: Store) {
    let large = "x".repeat(10_000);
    store.save(whole(saying(session("acme", "s", 1), &[&large]))).await.unwrap();
    store.save(whole(saying(session("globex", "s", 1), &[&large, &large]))).await.unwrap();
    store.save(whole(saying(session("third", "s", 1), &["x"]))).await.unwrap();
    let beyond = async |bytes, limit| store.beyond(bytes, limit).await.unwrap();
    assert_eq!(beyond(9_000, 5).await, [tenant("globex"), tenant("acme")]);
    assert_eq!(beyond(9_000, 1).await, [tenant("globex")]);
    assert_eq!(beyond(1 << 20, 5).await, []);
}

async fn census_follows(store: Store) {
    let census = async || store.census(tenant("acme")).await.unwrap();
    assert_eq!(census().await, super::super::Census::default());
    store.save(whole(session("acme", "a", 1))).await.unwrap();
    let empty = census().await;
    assert_eq!((empty.sessions, empty.oldest), (1, Some(key("acme", "a"))));
    let text = "x".repeat(10_000);
    store.save(whole(saying(session("acme", "a", 3), &[&text]))).await.unwrap();
    store.save(whole(session("acme", "b", 2))).await.unwrap();
    let two = census().await;
    assert_eq!((two.sessions, &two.oldest), (2, &Some(key("acme", "b"))));
    assert!(two.bytes > empty.bytes + 10_000, "{two:?}");
    // Saved with less in it.
    let save = Save { record: Arc::new(session("acme", "a", 4)), unchanged: 0 };
    store.save(save).await.unwrap();
    let less = census().await;
    assert_eq!((less.sessions, less.bytes), (2, 2 * empty.bytes));
    store.remove(key("acme", "b")).await.unwrap();
    let one = census().await;
    assert_eq!((one.sessions, one.bytes), (1, empty.bytes));
    store.remove(key("acme", "a")).await.unwrap();
    assert_eq!(census().await, super::super::Census::default());
    assert_eq!(store.census(tenant("globex")).await.unwrap().sessions, 0);
}

async fn expires_old_ones(store: Store) {
    for (tenant, id, active) in [("acme", "a", 1), ("globex", "b", 2), ("acme", "c", 3)] {
        store.save(whole(session(tenant, id, active))).await.unwrap();
    }
    let mut record = full();
    record.key = key("acme", "d");
    record.last_active = at(0);
    store.save(whole(record.clone())).await.unwrap();
    let expired = store.expired(at(3), 10).await.unwrap();
    let mut keys: Vec<_> = expired.iter().map(|old| old.key.clone()).collect();
    keys.sort();
    assert_eq!(keys, [key("acme", "a"), key("acme", "d"), key("globex", "b")]);
    let rich = expired.iter().find(|old| old.key.id.as_str() == "d").unwrap();
    assert_eq!(rich.head, record.head);
    let (found, kept) = (rich.upstream.as_ref().unwrap(), record.upstream.as_ref().unwrap());
    assert_eq!(found.id, kept.id);
    assert_eq!(store.expired(at(3), 2).await.unwrap().len(), 2);
    assert!(store.expired(at(0), 10).await.unwrap().is_empty());
}

async fn removed_is_gone(store: Store) {
    store.save(whole(full())).await.unwrap();
    assert!(store.remove(key("acme", "s")).await.unwrap());
    assert!(!store.remove(key("acme", "s")).await.unwrap());
    assert!(store.list(of("acme")).await.unwrap().is_empty());
    assert!(store.expired(at(100), 10).await.unwrap().is_empty());
    // What comes under the same id later has nothing of it.
    let anew = Save { record: Arc::new(saying(session("acme", "s", 9), &["n"])), unchanged: 0 };
    store.save(anew).await.unwrap();
    let found = store.load(key("acme", "s")).await.unwrap().unwrap();
    assert_eq!((found.messages.len(), found.head), (1, None));
}

async fn claims_once(store: Store) {
    let with_head =
        |id: &str, head: u8| Record { head: Some([head; 32]), ..session("acme", id, 1) };
    store.save(whole(with_head("a", 1))).await.unwrap();
    store.save(whole(with_head("b", 2))).await.unwrap();
    if !store.is_durable() {
        // It forgets sessions with the process, which knows their digests itself.
        assert!(store.claim(vec![[1; 32]]).await.unwrap().is_none());
        return;
    }
    assert!(store.claim(vec![[3; 32]]).await.unwrap().is_none());
    assert!(store.claim(Vec::new()).await.unwrap().is_none());
    let claimed = store.claim(vec![[3; 32], [2; 32], [1; 32]]).await.unwrap();
    assert_eq!(claimed, Some(([2; 32], key("acme", "b"))));
    let rest = store.claim(vec![[2; 32], [1; 32]]).await.unwrap();
    assert_eq!(rest, Some(([1; 32], key("acme", "a"))));
    assert!(store.claim(vec![[2; 32], [1; 32]]).await.unwrap().is_none());
    // The session is as it was otherwise, and has a head again when it is saved with one.
    assert_eq!(store.load(key("acme", "a")).await.unwrap().unwrap().head, None);
    store.save(whole(with_head("a", 4))).await.unwrap();
    let asked = [store.claim(vec![[4; 32]]), store.claim(vec![[4; 32]])];
    let claimed = futures_util::future::join_all(asked).await;
    assert_eq!(claimed.into_iter().filter_map(Result::unwrap).count(), 1);
}
