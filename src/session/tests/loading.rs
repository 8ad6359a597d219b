//! What is asked of a session while its record is being fetched.

use tokio::sync::oneshot;

use super::*;
use crate::metrics::{EndReason, InterruptReason};
use crate::session::actor::{Beginning, Interrupt};
use crate::store::Query;
use crate::turn::ModelName;

/// A session of one turn whose actor is made anew, and waits for its record.
async fn being_loaded(setting: &Setting) -> (SessionKey, TurnReader) {
    setting.run("one", "hello").await;
    let key = key("one");
    setting.put_away(&key).await;
    setting.store.set(Mood::Silent);
    setting.sessions.spawn_with(&key, ModelName::none(), Beginning::Load).unwrap();
    let reader = setting.submit("one", "again").await;
    (key, reader)
}

#[tokio::test]
async fn whoever_reads_is_told_once_the_record_is_there() {
    let setting = Setting::lasting().await;
    let (key, reader) = being_loaded(&setting).await;
    let mut read = Box::pin(setting.sessions.read(&key));
    assert!((&mut read).now_or_never().is_none());
    setting.store.set(Mood::Later);
    let held = read.await.unwrap();
    assert_eq!(held.record.messages[0].plain_text(), "hello");
    assert_eq!(whole(reader).await.1, DONE);
    assert_eq!(setting.sessions.read(&key).await.unwrap().record.turns, 2);
}

#[tokio::test]
async fn orders_are_carried_out_in_their_order_once_the_record_is_there() {
    let setting = Setting::lasting().await;
    let (key, reader) = being_loaded(&setting).await;
    let actor = setting.sessions.env.directory.get(&key).unwrap();
    let (moved, read) = (oneshot::channel(), oneshot::channel());
    let (noted, stopped) = (oneshot::channel(), oneshot::channel());
    let notes = Edit::Metadata([("a".to_owned(), "b".to_owned())].into());
    let reason = InterruptReason::Request;
    let stop = Interrupt { reason, spoken: None, reply: stopped.0 };
    for order in [
        SessionMsg::Move("other".parse().unwrap(), moved.0),
        SessionMsg::Edit(Box::new(notes), noted.0),
        SessionMsg::Interrupt(Box::new(stop)),
        SessionMsg::Read(read.0),
    ] {
        actor.cast(order).unwrap();
    }
    let mut moved = moved.1;
    assert!((&mut moved).now_or_never().is_none(), "the record is not there");
    setting.store.set(Mood::Later);
    assert_eq!(moved.await.unwrap().unwrap().record.moved.clone().unwrap().to.as_str(), "other");
    assert_eq!(noted.1.await.unwrap().unwrap().record.metadata["a"], "b");
    assert_eq!(stopped.1.await.unwrap().unwrap().state, SessionState::Idle);
    let held = read.1.await.unwrap().record;
    assert_eq!((held.turns, held.metadata["a"].as_str()), (2, "b"));
    assert_eq!(whole(reader).await.1, CUT);
}

#[tokio::test]
async fn a_session_may_end_before_its_record_was_there() {
    let setting = Setting::lasting().await;
    let (key, reader) = being_loaded(&setting).await;
    let actor = setting.sessions.env.directory.get(&key).unwrap();
    let (ended, noted) = (oneshot::channel(), oneshot::channel());
    actor.cast(SessionMsg::End(EndReason::Ended, ended.0)).unwrap();
    let late = Edit::Metadata([("a".to_owned(), "b".to_owned())].into());
    actor.cast(SessionMsg::Edit(Box::new(late), noted.0)).unwrap();
    setting.store.set(Mood::Later);
    assert_eq!(ended.1.await.unwrap(), Ok(()));
    assert!(noted.1.await.is_err(), "it is for the next actor");
    assert_eq!(whole(reader).await.1, CUT);
    assert_eq!(kind(setting.sessions.read(&key).await), Some(FailureKind::SessionNotFound));
    assert!(setting.store.record(&key).await.is_none());
}

#[tokio::test]
async fn a_session_that_cannot_be_loaded_fails_what_is_asked_and_comes_back_with_the_store() {
    let setting = Setting::lasting().await;
    let (first, key) = setting.run_kept(after(None, "hello")).await;
    setting.put_away(&key).await;
    setting.store.set(Mood::Failing);
    let away = Some(FailureKind::StoreUnavailable);
    let named = TurnRequest {
        hints: SessionHints { named: Some(key.id.clone()), ..SessionHints::default() },
        ..after(None, "again")
    };
    let (_, end) = whole(setting.try_request(named.clone()).await.unwrap()).await;
    assert_eq!(failed_with(&end), away, "{end:?}");
    assert_eq!(kind(setting.try_request(after(Some(&first), "again")).await), away);
    assert_eq!(kind(setting.sessions.read(&key).await), away);
    let notes = Edit::Metadata(Default::default());
    assert_eq!(kind(setting.sessions.edit(&key, notes).await), away);
    assert_eq!(kind(setting.sessions.end(&key).await), away);
    setting.store.set(Mood::Later);
    assert_eq!(whole(setting.try_request(named).await.unwrap()).await.1, DONE);
    assert_eq!(setting.sessions.read(&key).await.unwrap().record.turns, 2);
}

#[tokio::test]
async fn what_goes_on_from_a_turn_is_refused_by_its_name_where_the_record_cannot_be_had() {
    let setting = Setting::lasting().await;
    let (first, key) = setting.run_kept(after(None, "hello")).await;
    setting.put_away(&key).await;
    setting.sessions.env.turns.drop_turn(&first);
    let asked = setting.store.asked();
    setting.store.set(Mood::Silent);
    let mut going_on = Box::pin(setting.try_request(after(Some(&first), "and?")));
    assert!((&mut going_on).now_or_never().is_none());
    setting.store.is_asked(asked + 1).await;
    // The turn that it goes on from is found; the session's record is not.
    setting.store.set(Mood::Later);
    setting.store.set(Mood::Failing);
    assert_eq!(kind(going_on.await), Some(FailureKind::StoreUnavailable));
    setting.store.set(Mood::Later);
    assert_eq!(setting.run_kept(after(Some(&first), "and?")).await.1, key);
}

#[tokio::test]
async fn a_session_that_nobody_knows_is_told_so_though_an_actor_looked_for_it() {
    let setting = Setting::lasting().await;
    let key = key("nobody");
    let gone = Some(FailureKind::SessionNotFound);
    assert_eq!(kind(setting.sessions.fork(&key, None).await), gone);
    let actor = setting.sessions.spawn_with(&key, ModelName::none(), Beginning::Load);
    let (copied, edited) = (oneshot::channel(), oneshot::channel());
    let actor = actor.unwrap();
    actor.cast(SessionMsg::Copy(Box::new((None, key.clone())), copied.0)).unwrap();
    actor.cast(SessionMsg::Edit(Box::new(Edit::Metadata(Default::default())), edited.0)).unwrap();
    assert_eq!(kind(copied.1.await.unwrap()), gone);
    assert_eq!(kind(edited.1.await.unwrap()), gone);
    assert_eq!(kind(setting.sessions.read(&key).await), gone);
    assert_eq!(kind(setting.sessions.next_turn(&key, Duration::from_secs(9)).await), gone);
    assert_eq!(
        setting
            .sessions
            .list(Query { limit: 10, ..Query::default() }, None)
            .await
            .unwrap()
            .sessions
            .len(),
        0
    );
}
