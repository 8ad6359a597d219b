//! What is told and refused where the store cannot keep what a turn brings.

use super::*;

#[tokio::test]
async fn a_store_that_is_gone_refuses_turns_before_they_cost_anything() {
    let setting = Setting::lasting().await;
    setting.run("one", "hello").await;
    assert_eq!(setting.sessions.unready(), None);
    setting.store.set(Mood::Gone);
    assert_eq!(setting.sessions.unready(), Some(Unready::StoreGone));
    let away = Some(FailureKind::StoreUnavailable);
    assert_eq!(kind(setting.try_request(named("one", "again")).await), away);
    assert_eq!(kind(setting.try_request(after(None, "again")).await), away);
    assert!(setting.last_history().is_empty(), "the upstream was asked once");
    let notes = Edit::Metadata(Default::default());
    assert_eq!(kind(setting.sessions.edit(&key("one"), notes).await), away);
    assert_eq!(kind(setting.sessions.interrupt(&key("one"), Some("W".into())).await), away);
    // What is kept nowhere needs no store.
    let request = TurnRequest { keeping: Keeping::Nothing, ..after(None, "hello") };
    assert_eq!(whole(setting.try_request(request).await.unwrap()).await.1, DONE);
}

#[tokio::test]
async fn a_store_that_fails_is_told_where_answers_have_to_be_kept() {
    let lasting = Setting::lasting().await;
    lasting.store.set(Mood::Failing);
    assert_eq!(lasting.sessions.unready(), Some(Unready::StoreFails));
    let forgetful = Setting::new().await;
    forgetful.store.set(Mood::Failing);
    assert_eq!(forgetful.sessions.unready(), None);
    lasting.sessions.begin_draining();
    assert_eq!(lasting.sessions.unready(), Some(Unready::Draining));
}
