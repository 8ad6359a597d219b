//! Turns that go on from others, run once, run without their clients, or leave nothing behind.

use super::*;

fn background(text: &str) -> TurnRequest {
    TurnRequest { is_background: true, ..after(None, text) }
}

fn in_session(session: &SessionKey, request: TurnRequest) -> TurnRequest {
    let named = Some(session.id.clone());
    TurnRequest { hints: SessionHints { named, ..request.hints }, ..request }
}

fn once(name: &str, text: &str) -> TurnRequest {
    let mut fingerprint = [0; 32];
    fingerprint[..text.len()].copy_from_slice(text.as_bytes());
    let idempotency = Some(IdempotencyKey { key: name.into(), fingerprint });
    TurnRequest { idempotency, ..after(None, text) }
}

#[tokio::test]
async fn a_turn_goes_on_from_the_last_one_in_its_session_and_from_an_earlier_one_in_another() {
    for setting in [Setting::new().await, Setting::lasting().await] {
        let (first, session) = setting.run_kept(after(None, "one")).await;
        let (second, same) = setting.run_kept(after(Some(&first), "two")).await;
        assert_eq!(same, session);
        let (third, other) = setting.run_kept(after(Some(&first), "three")).await;
        assert_ne!(other, session);
        assert_eq!(setting.texts(&other).await, ["one", "Well. Done.", "three", "Well. Done."]);
        assert_eq!(setting.run_kept(after(Some(&second), "four")).await.1, session);
        assert_eq!(setting.run_kept(after(Some(&third), "five")).await.1, other);
        setting.put_away(&other).await;
        let (_, again) = setting.run_kept(after(Some(&first), "six")).await;
        assert!(again != session && again != other, "the copy of a copy has its turns too");
    }
}

#[tokio::test]
async fn two_that_go_on_from_one_turn_at_once_get_a_session_each() {
    for setting in [Setting::new().await, Setting::lasting().await] {
        let (first, session) = setting.run_kept(after(None, "one")).await;
        setting.put_away(&session).await;
        let (left, right) = tokio::join!(
            setting.try_request(after(Some(&first), WAIT)),
            setting.try_request(after(Some(&first), WAIT)),
        );
        let (left, right) = (left.unwrap(), right.unwrap());
        let sessions = [left.meta().key.clone(), right.meta().key.clone()];
        assert_ne!(sessions[0], sessions[1]);
        assert!(sessions.contains(&session));
        setting.go_on.add_permits(2);
        assert_eq!((whole(left).await.1, whole(right).await.1), (DONE, DONE));
        for held in sessions {
            assert_eq!(setting.texts(&held).await[..3], ["one", "Well. Done.", WAIT]);
        }
    }
}

#[tokio::test]
async fn a_branch_whose_first_turn_fails_leaves_nothing() {
    for setting in [Setting::new().await, Setting::lasting().await] {
        let (first, session) = setting.run_kept(after(None, "one")).await;
        setting.run_kept(after(Some(&first), "two")).await;
        let reader = setting.try_request(after(Some(&first), PANIC_AT_ONCE)).await.unwrap();
        let branch = reader.meta().key.clone();
        assert_ne!(branch, session);
        assert_eq!(failed_with(&whole(reader).await.1), Some(FailureKind::Internal));
        let gone = Some(FailureKind::SessionNotFound);
        while setting.sessions.env.directory.holds(&branch) {
            tokio::task::yield_now().await;
        }
        assert_eq!(kind(setting.sessions.read(&branch).await), gone);
        assert_eq!(setting.store.sessions().await, 1);
    }
}

#[tokio::test]
async fn what_cannot_be_gone_on_from_is_refused() {
    let setting = Setting::lasting().await;
    let refused = Some(FailureKind::PreviousResponseNotFound);
    let unknown = TurnId::generate();
    assert_eq!(kind(setting.try_request(after(Some(&unknown), "x")).await), refused);
    let running = setting.try_request(after(None, WAIT)).await.unwrap();
    let turn = running.meta().turn.clone();
    let failure = setting.try_request(after(Some(&turn), "x")).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::PreviousResponseNotFound);
    assert_eq!(failure.param.as_deref(), Some("previous_response_id"));
    setting.go_on.add_permits(1);
    whole(running).await;
    setting.sessions.remove_turn(&TenantId::open(), &turn).await.unwrap();
    assert_eq!(kind(setting.try_request(after(Some(&turn), "x")).await), refused);
    assert_eq!(setting.store.sessions().await, 0, "nothing is left of its session");
}

#[tokio::test]
async fn a_turn_of_which_nothing_is_kept_leaves_nothing() {
    for setting in [Setting::new().await, Setting::lasting().await] {
        let (first, session) = setting.run_kept(after(None, "one")).await;
        let before = setting.texts(&session).await;
        for previous in [None, Some(&first)] {
            let request = TurnRequest { keeping: Keeping::Nothing, ..after(previous, "two") };
            let reader = setting.try_request(request).await.unwrap();
            let (turn, key) = (reader.meta().turn.clone(), reader.meta().key.clone());
            assert_ne!(key, session);
            assert_eq!(whole(reader).await.1, DONE);
            let said = if previous.is_some() { before.clone() } else { Vec::new() };
            assert_eq!(setting.last_history(), said);
            while setting.sessions.env.directory.holds(&key) {
                tokio::task::yield_now().await;
            }
            assert!(setting.sessions.turn(&TenantId::open(), &turn).await.is_err());
            let next = setting.try_request(after(Some(&turn), "three")).await;
            assert_eq!(kind(next), Some(FailureKind::PreviousResponseNotFound));
        }
        assert_eq!(setting.store.sessions().await, 1);
        assert_eq!(setting.texts(&session).await, before);
        assert_eq!(setting.run_kept(after(Some(&first), "two")).await.1, session);
    }
}

#[tokio::test]
async fn turns_are_cancelled_where_they_run_and_where_they_wait() {
    for setting in [Setting::new().await, Setting::lasting().await] {
        let tenant = TenantId::open();
        let mut running = setting.try_request(background(WAIT)).await.unwrap();
        next_text(&mut running).await;
        let session = running.meta().key.clone();
        let waiting = in_session(&session, background("two"));
        let waiting = setting.try_request(waiting).await.unwrap();
        let last = setting.try_request(in_session(&session, background("three"))).await.unwrap();
        let ids = [waiting.meta().turn.clone(), running.meta().turn.clone()];
        drop(waiting);
        for turn in &ids {
            setting.sessions.cancel(&tenant, turn).await.unwrap();
            let stored = setting.sessions.turn(&tenant, turn).await.unwrap();
            assert_eq!(stored.events.last(), Some(&CUT));
        }
        assert_eq!(whole(running).await.1, CUT);
        assert_eq!(whole(last).await.1, DONE, "the next one in the queue runs");
        // As often as anybody likes.
        setting.sessions.cancel(&tenant, &ids[0]).await.unwrap();
        let texts = setting.texts(&session).await;
        assert_eq!(texts, [WAIT, "Well. ", "three", "Well. Done."]);
    }
}

#[tokio::test]
async fn only_turns_in_the_background_that_have_not_ended_can_be_cancelled() {
    let setting = Setting::lasting().await;
    let tenant = TenantId::open();
    let (attended, _) = setting.run_kept(after(None, "one")).await;
    let (ended, _) = setting.run_kept(background("two")).await;
    for turn in [attended, ended] {
        let cancelled = setting.sessions.cancel(&tenant, &turn).await;
        assert_eq!(kind(cancelled), Some(FailureKind::BadRequest));
    }
    let unknown = setting.sessions.cancel(&tenant, &TurnId::generate()).await;
    assert_eq!(kind(unknown), Some(FailureKind::ResponseNotFound));
}

#[tokio::test]
async fn a_request_that_is_repeated_runs_once_and_each_hears_all_of_it() {
    for setting in [Setting::new().await, Setting::lasting().await] {
        let (first, second) = tokio::join!(
            setting.try_request(once("k", WAIT)),
            setting.try_request(once("k", WAIT)),
        );
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first.meta().turn, second.meta().turn);
        setting.go_on.add_permits(1);
        let both = tokio::join!(whole(first), whole(second));
        assert_eq!(both.0, both.1);
        let third = setting.try_request(once("k", WAIT)).await.unwrap();
        assert_eq!(whole(third).await, both.0, "also when it has ended");
        let other = setting.try_request(once("k", "another")).await;
        assert_eq!(kind(other), Some(FailureKind::IdempotencyKeyReused));
        assert_eq!(setting.told.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_request_that_failed_is_run_again_under_its_name() {
    let setting = Setting::lasting().await;
    let failed = setting.try_request(once("k", THROTTLE)).await.unwrap();
    let turn = failed.meta().turn.clone();
    whole(failed).await;
    let again = setting.try_request(once("k", THROTTLE)).await.unwrap();
    assert_ne!(again.meta().turn, turn);
}

#[tokio::test]
async fn whoever_waits_for_a_turn_is_told_of_the_one_that_runs_or_the_next() {
    for setting in [Setting::new().await, Setting::lasting().await] {
        setting.run("one", "hello").await;
        let key = key("one");
        let mut next = Box::pin(setting.sessions.next_turn(&key, Duration::from_secs(60)));
        assert!((&mut next).now_or_never().is_none());
        let running = setting.submit("one", WAIT).await;
        assert_eq!(next.await.as_ref(), Ok(&running.meta().turn));
        let now = setting.sessions.next_turn(&key, Duration::from_secs(60)).await;
        assert_eq!(now.as_ref(), Ok(&running.meta().turn));
    }
}

#[tokio::test]
async fn whoever_waits_for_a_turn_outlasts_the_actor_but_not_the_session() {
    let setting = Setting::lasting().await;
    setting.run("one", "hello").await;
    let key = key("one");
    let sessions = setting.sessions.clone();
    let named = key.clone();
    let next = tokio::spawn(async move { sessions.next_turn(&named, PATIENCE).await });
    let actor = setting.sessions.env.directory.get(&key).unwrap();
    setting.retire(&key);
    let is_another = || {
        let now = setting.sessions.env.directory.get(&key);
        now.is_some_and(|now| now.get_id() != actor.get_id())
    };
    while !is_another() {
        setting.retire(&key);
        tokio::task::yield_now().await;
    }
    setting.sessions.end(&key).await.unwrap();
    assert_eq!(kind(next.await.unwrap()), Some(FailureKind::SessionNotFound));
}

#[tokio::test]
async fn nobody_waits_for_a_turn_for_ever() {
    let setting = Setting::new().await;
    setting.run("one", "hello").await;
    let next = setting.sessions.next_turn(&key("one"), Duration::from_millis(1)).await;
    assert_eq!(kind(next), Some(FailureKind::TurnNotFound));
}

const PATIENCE: Duration = Duration::from_secs(60);
