//! Writes that fail.

use std::panic::panic_any;

use futures_util::future::join_all;

use super::super::super::contract::{
    key, of, running, saying, session, shown, tenant, turn_id, whole,
};
use super::super::job::Work;
use super::*;

/// Lets the file grow by so many pages and no more.
async fn leave_room(store: &SqliteStore, pages: i64) {
    let limited = store.write(About::default(), move |db| {
        let now: i64 = db.pragma_query_value(None, "page_count", |row| row.get(0))?;
        let limit = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        Ok(db.pragma_update_and_check(None, "max_page_count", now + pages, limit)?)
    });
    limited.await.unwrap();
}

#[tokio::test]
async fn a_full_disk_fails_what_does_not_fit_and_nothing_else() {
    let folder = Folder::new();
    let store = folder.open();
    store.save(whole(session("acme", "s", 1))).await.unwrap();
    leave_room(&store, 8).await;
    let large = "x".repeat(1 << 20);
    let saves = (0..20).map(|number| {
        let record = session("acme", &number.to_string(), number);
        let is_large = number == 7;
        store.save(whole(if is_large { saying(record, &[&large]) } else { record }))
    });
    let outcomes = join_all(saves.collect::<Vec<_>>()).await;
    for (number, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.is_ok(), number != 7, "{number}: {outcome:?}");
    }
    let said = outcomes[7].as_ref().unwrap_err().to_string();
    assert!(said.contains("no room left"), "{said}");
    leave_room(&store, 1_000_000).await;
    store.save(whole(saying(session("acme", "7", 7), &[&large]))).await.unwrap();
}

#[tokio::test]
async fn a_save_that_failed_is_made_good_by_the_next_one() {
    let folder = Folder::new();
    let store = folder.open();
    let mut record = saying(session("acme", "s", 1), &["a", "b"]);
    store.save(whole(record.clone())).await.unwrap();
    leave_room(&store, 0).await;
    // What the second message says now, and a third one, come to nothing.
    let large = "x".repeat(1 << 20);
    record.messages[1] = saying(session("acme", "s", 1), &["B"]).messages[0].clone();
    record = saying(record, &[&large]);
    let failed = store.save(Save { record: Arc::new(record.clone()), unchanged: 1 }).await;
    assert!(failed.is_err());
    leave_room(&store, 1_000_000).await;
    record = saying(record, &["d"]);
    store.save(Save { record: Arc::new(record.clone()), unchanged: 3 }).await.unwrap();
    let found = store.load(key("acme", "s")).await.unwrap().unwrap();
    assert_eq!(shown(&found), shown(&record));
}

#[tokio::test]
async fn a_turn_whose_beginning_could_not_be_written_is_there_once_its_end_is() {
    let folder = Folder::new();
    let store = folder.open();
    store.save(whole(session("acme", "s", 1))).await.unwrap();
    let large = "x".repeat(1 << 20);
    let turn = running("acme", "s", "turn_1").named("again", 1);
    let removed = running("acme", "s", "turn_2");
    store.begin(removed.begin(None)).await.unwrap();
    leave_room(&store, 0).await;
    let begin = turn.begin(Some(whole(saying(session("acme", "s", 2), &[&large]))));
    store.begin(begin).await.unwrap_err();
    leave_room(&store, 1_000_000).await;
    turn.live.say(&["Hel", "lo"]);
    store.end(turn.end(9, None)).await.unwrap();
    let found = store.turn(tenant("acme"), turn_id("turn_1")).await.unwrap().unwrap();
    assert_eq!((found.ended.is_some(), found.events.len()), (true, 4));
    assert!(store.repeated(tenant("acme"), "again".into()).await.unwrap().is_some());
    // What was removed stays so.
    assert!(store.remove_turn(tenant("acme"), turn_id("turn_2")).await.unwrap());
    store.end(removed.end(9, None)).await.unwrap();
    assert!(store.turn(tenant("acme"), turn_id("turn_2")).await.unwrap().is_none());
}

#[tokio::test]
async fn what_cannot_be_written_fails_alone() {
    let folder = Folder::new();
    let store = folder.open();
    // A session that is saved beside something that fails, between two others.
    let (about, mut save) = store.saving(whole(session("acme", "beside", 1)));
    let failing = move |db: &Connection| {
        save(db)?;
        Err::<(), _>(Trouble::Stored(StoreError("it does not fit".to_owned())))
    };
    let asked = [
        store.save(whole(session("acme", "before", 1))),
        store.write(about, failing),
        store.save(whole(session("acme", "after", 1))),
    ];
    let outcomes: Vec<_> = join_all(asked).await.into_iter().map(|it| it.is_ok()).collect();
    assert_eq!(outcomes, [true, false, true]);
    assert!(store.load(key("acme", "beside")).await.unwrap().is_none());
    assert!(store.load(key("acme", "after")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_disk_that_has_room_again_is_noticed_though_nobody_asks() {
    let folder = Folder::new();
    let store = folder.open();
    assert_eq!(store.health(), Health::Well);
    leave_room(&store, 0).await;
    let large = saying(session("acme", "s", 1), &["x".repeat(1 << 20).as_str()]);
    store.save(whole(large)).await.unwrap_err();
    let Health::Failing { why, .. } = store.health() else { panic!("it is {:?}", store.health()) };
    assert!(why.to_string().contains("no room left"), "{why}");
    // A page more is enough for the little that is written to find out.
    becomes(&store, &Health::Well).await;
}

/// Waits until the store is so.
async fn becomes(store: &SqliteStore, health: &Health) {
    let looked = async {
        while store.health() != *health {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), looked).await.unwrap();
}

#[tokio::test]
async fn a_fault_of_the_program_fails_what_showed_it_and_nothing_else() {
    let folder = Folder::new();
    let store = folder.open();
    let faulty = store.write(About::default(), |_| -> Result<(), Trouble> { panic_any("a fault") });
    let save = store.save(whole(session("acme", "s", 1)));
    assert!(faulty.await.unwrap_err().to_string().contains("please report it"));
    save.await.unwrap();
    for _ in 0..3 {
        let faulty = store.read(None, |_| -> Result<(), Trouble> { panic_any("a fault") });
        faulty.await.unwrap_err();
    }
    assert!(store.load(key("acme", "s")).await.unwrap().is_some());
    assert_eq!(store.health(), Health::Well);
}

/// Work that takes the writer along.
struct Poison;

impl Work for Poison {
    fn apply(&mut self, _db: &Connection) -> Result<(), Trouble> {
        Ok(())
    }

    fn answer(self: Box<Self>, _outcome: Result<(), StoreError>) {
        panic_any("nobody catches this");
    }
}

#[tokio::test]
async fn when_the_writer_is_gone_that_is_told_and_whatever_needs_it_fails_at_once() {
    let folder = Folder::new();
    let store = folder.open();
    store.save(whole(session("acme", "s", 1))).await.unwrap();
    let turn = running("acme", "s", "turn_1");
    store.begin(turn.begin(None)).await.unwrap();
    store.orders.place(Job { about: About::default(), work: Box::new(Poison) }).unwrap();
    // Asked for before anybody knows, or after: it fails.
    let saves = (0..5).map(|number| store.save(whole(session("acme", "s", number))));
    let saves: Vec<_> = saves.collect();
    for save in saves {
        save.await.unwrap_err();
    }
    // They may hear of it before the thread has told.
    becomes(&store, &Health::Gone).await;
    store.end(turn.end(9, None)).await.unwrap_err();
    store.remove(key("acme", "s")).await.unwrap_err();
    // What was kept is still to be read, unless something about it was to be written.
    assert_eq!(store.list(of("acme")).await.unwrap().len(), 1);
    store.close();
    assert_eq!(folder.open().health(), Health::Well);
}

#[tokio::test]
async fn a_session_that_is_damaged_is_said_to_be() {
    let folder = Folder::new();
    let store = folder.open();
    store.save(whole(saying(session("acme", "s", 1), &["a", "b", "c"]))).await.unwrap();
    let damage =
        |sql: &'static str| store.write(About::default(), move |db| Ok(db.execute(sql, [])?));
    damage("DELETE FROM messages WHERE position = 1").await.unwrap();
    let said = store.load(key("acme", "s")).await.unwrap_err().to_string();
    assert!(said.contains("messages of it are missing"), "{said}");
    damage("UPDATE messages SET role = 'parrot'").await.unwrap();
    damage("UPDATE messages SET position = 1 WHERE position = 2").await.unwrap();
    let said = store.load(key("acme", "s")).await.unwrap_err().to_string();
    assert!(said.contains("`parrot`"), "{said}");
    // It goes as any other.
    assert!(store.remove(key("acme", "s")).await.unwrap());
}
