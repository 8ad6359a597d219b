//! What is told only once it is kept, and what becomes of it where it cannot be.

use tokio::sync::oneshot;

use super::*;

#[tokio::test]
async fn readers_see_the_end_once_the_store_has_it_and_not_before() {
    let setting = Setting::lasting().await;
    let mut reader = setting.submit("one", WAIT).await;
    assert_eq!(next_text(&mut reader).await, "Well. ");
    let asked = setting.store.asked();
    setting.store.set(Mood::Silent);
    setting.go_on.add_permits(1);
    assert_eq!(next_text(&mut reader).await, "Done.");
    setting.store.is_asked(asked + 1).await;
    let mut events = Vec::new();
    assert!(reader.read(&mut events).now_or_never().is_none(), "{events:?}");
    assert_eq!(setting.sessions.read(&key("one")).await.unwrap().record.turns, 1);
    setting.store.set(Mood::Later);
    assert_eq!(whole(reader).await.1, DONE);
}

#[tokio::test]
async fn a_store_that_does_not_last_keeps_no_reader_waiting() {
    let setting = Setting::with(Moody::late()).await;
    let mut reader = setting.submit("one", WAIT).await;
    next_text(&mut reader).await;
    setting.store.set(Mood::Silent);
    setting.go_on.add_permits(1);
    assert_eq!(whole(reader).await.1, DONE);
}

#[tokio::test]
async fn an_answer_that_cannot_be_kept_has_failed_and_is_kept_once_the_store_is_back() {
    let setting = Setting::lasting().await;
    let key = key("one");
    let mut reader = setting.submit("one", WAIT).await;
    next_text(&mut reader).await;
    setting.store.set(Mood::Failing);
    setting.go_on.add_permits(1);
    let (text, end) = whole(reader).await;
    assert_eq!((text.as_str(), failed_with(&end)), ("Done.", Some(FailureKind::StoreUnavailable)));
    assert_eq!(setting.sessions.read(&key).await.unwrap().record.turns, 1, "it is held");
    setting.store.set(Mood::Later);
    setting.put_away(&key).await;
    let kept = setting.store.record(&key).await.unwrap();
    assert_eq!((kept.turns, kept.messages[1].plain_text().as_str()), (1, "Well. Done."));
    assert_eq!(setting.run("one", "hello").await.1, DONE);
}

#[tokio::test]
async fn an_interrupted_answer_stays_so_where_it_cannot_be_kept() {
    let setting = Setting::lasting().await;
    let mut reader = setting.submit("one", WAIT).await;
    next_text(&mut reader).await;
    setting.store.set(Mood::Failing);
    let refused = setting.sessions.interrupt(&key("one"), None).await;
    assert_eq!(kind(refused), Some(FailureKind::StoreUnavailable));
    assert_eq!(whole(reader).await.1, CUT);
    setting.store.set(Mood::Later);
    // Nothing runs any more; what was said is kept now.
    setting.sessions.interrupt(&key("one"), Some("Well.".to_owned())).await.unwrap();
    let kept = setting.store.record(&key("one")).await.unwrap();
    assert_eq!(kept.messages[1].plain_text(), "Well.");
}

/// Gives an order that changes a session, while the store does not answer; and asserts that it is
/// told as done once the store has answered, and not before.
async fn is_told_once_kept<F>(setting: &Setting, order: F) -> Snapshot
where
    F: Future<Output = Result<Snapshot, Failure>> + Send + 'static,
{
    let asked = setting.store.asked();
    setting.store.set(Mood::Silent);
    let order = tokio::spawn(order);
    setting.store.is_asked(asked + 1).await;
    // The actor has done its part.
    setting.sessions.read(&key("one")).await.unwrap();
    assert!(!order.is_finished());
    setting.store.set(Mood::Later);
    order.await.unwrap().unwrap()
}

#[tokio::test]
async fn an_order_to_interrupt_is_told_once_it_is_kept_though_the_turn_stops_at_once() {
    let setting = Setting::lasting().await;
    let mut reader = setting.submit("one", WAIT).await;
    next_text(&mut reader).await;
    let sessions = setting.sessions.clone();
    let order = async move { sessions.interrupt(&key("one"), Some("Well.".to_owned())).await };
    let told = is_told_once_kept(&setting, order).await;
    assert_eq!((told.running, told.record.messages[1].status), (None, Status::Interrupted));
    assert_eq!(whole(reader).await.1, CUT);
    let kept = setting.store.record(&key("one")).await.unwrap();
    assert_eq!(kept.messages[1].plain_text(), "Well.");
}

#[tokio::test]
async fn what_was_heard_of_a_whole_answer_is_told_once_it_is_kept() {
    let setting = Setting::lasting().await;
    setting.run("one", "hello").await;
    let sessions = setting.sessions.clone();
    let order = async move { sessions.interrupt(&key("one"), Some("We".to_owned())).await };
    is_told_once_kept(&setting, order).await;
    let kept = setting.store.record(&key("one")).await.unwrap();
    assert_eq!(kept.messages[1].plain_text(), "We");
}

#[tokio::test]
async fn a_move_is_told_once_it_is_kept() {
    let setting = Setting::lasting().await;
    setting.run("one", "hello").await;
    let actor = setting.sessions.env.directory.get(&key("one")).unwrap();
    let order = async move {
        let (reply, answer) = oneshot::channel();
        actor.cast(SessionMsg::Move("other".parse().unwrap(), reply)).unwrap();
        answer.await.unwrap()
    };
    let told = is_told_once_kept(&setting, order).await;
    let kept = setting.store.record(&key("one")).await.unwrap();
    assert_eq!((&kept.moved, kept.moved.is_some()), (&told.record.moved, true));
}

#[tokio::test]
async fn an_order_without_a_change_waits_for_what_was_changed_before() {
    let setting = Setting::lasting().await;
    setting.run("one", "hello").await;
    let asked = setting.store.asked();
    setting.store.set(Mood::Silent);
    let sessions = setting.sessions.clone();
    let notes = async move { sessions.edit(&key("one"), Edit::Metadata(notes("a"))).await };
    let notes = tokio::spawn(notes);
    setting.store.is_asked(asked + 1).await;
    let session = key("one");
    let mut order = Box::pin(setting.sessions.interrupt(&session, None));
    assert!((&mut order).now_or_never().is_none());
    setting.sessions.read(&key("one")).await.unwrap();
    assert!((&mut order).now_or_never().is_none(), "the notes are not kept");
    setting.store.set(Mood::Failing);
    // What was asked before is done; what failed since would be told.
    notes.await.unwrap().unwrap();
    order.await.unwrap();
}

#[tokio::test]
async fn a_session_is_not_put_away_before_it_is_kept() {
    let setting = Setting::lasting().await;
    let key = key("one");
    setting.run("one", "hello").await;
    setting.store.set(Mood::Failing);
    let edited = setting.sessions.edit(&key, Edit::Metadata(notes("a"))).await;
    assert_eq!(kind(edited), Some(FailureKind::StoreUnavailable));
    for _ in 0..3 {
        let asked = setting.store.asked();
        setting.retire(&key);
        setting.store.is_asked(asked + 1).await;
    }
    assert!(setting.sessions.env.directory.holds(&key), "it holds what nobody else does");
    setting.store.set(Mood::Later);
    setting.put_away(&key).await;
    assert_eq!(setting.store.record(&key).await.unwrap().metadata, notes("a"));
}

#[tokio::test]
async fn a_change_is_told_once_it_is_kept() {
    let setting = Setting::lasting().await;
    let key = key("one");
    setting.run("one", "hello").await;
    let asked = setting.store.asked();
    setting.store.set(Mood::Silent);
    let sessions = setting.sessions.clone();
    let edit = async move { sessions.edit(&key, Edit::Metadata(notes("a"))).await };
    let edit = tokio::spawn(edit);
    setting.store.is_asked(asked + 1).await;
    assert!(!edit.is_finished());
    setting.store.set(Mood::Later);
    assert_eq!(edit.await.unwrap().unwrap().record.metadata, notes("a"));
}

#[tokio::test]
async fn the_end_of_a_session_is_told_once_it_is_forgotten_or_that_it_is_not() {
    let setting = Setting::lasting().await;
    let key = key("one");
    setting.run("one", "hello").await;
    setting.store.set(Mood::Failing);
    assert_eq!(kind(setting.sessions.end(&key).await), Some(FailureKind::StoreUnavailable));
    setting.store.set(Mood::Later);
    assert!(setting.sessions.read(&key).await.is_ok(), "it is still there, and may be ended");
    let asked = setting.store.asked();
    let mut end = Box::pin(setting.sessions.end(&key));
    while setting.store.asked() == asked {
        assert!((&mut end).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    assert_eq!(end.await, Ok(()));
    assert_eq!(kind(setting.sessions.read(&key).await), Some(FailureKind::SessionNotFound));
}

#[tokio::test]
async fn a_session_whose_first_turn_came_to_nothing_is_put_away() {
    for store in [Moody::forgetful(), Moody::lasting()] {
        let setting = Setting::with(store).await;
        let (_, end) = setting.run("one", THROTTLE).await;
        assert_eq!(failed_with(&end), Some(FailureKind::UpstreamThrottled));
        setting.put_away(&key("one")).await;
        assert_eq!(setting.store.sessions().await, 0);
        assert_eq!(setting.run("one", "hello").await.1, DONE);
    }
}

fn notes(value: &str) -> std::collections::BTreeMap<String, String> {
    [("note".to_owned(), value.to_owned())].into()
}
