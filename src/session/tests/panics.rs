//! Backends and actors that panic, and backends that break the rules.

use super::*;

fn is_our_bug(end: &TurnEvent) -> bool {
    matches!(end, TurnEvent::Failed(failure) if failure.kind == FailureKind::Internal)
}

#[tokio::test]
async fn a_backend_that_panics_fails_its_turn_and_harms_no_other() {
    let setting = Setting::new().await;
    let mut other = setting.submit("other", WAIT).await;
    other.read(&mut Vec::new()).await;
    for panic in [PANIC_LATER, PANIC_AT_ONCE] {
        let (_, end) = setting.run("one", panic).await;
        assert!(is_our_bug(&end), "{panic}: {end:?}");
        let (text, end) = setting.run("one", "hello").await;
        assert_eq!(text, "Well. Done.", "after {panic}");
        assert_eq!(end, TurnEvent::Finished(FinishReason::Stop));
    }
    setting.go_on.add_permits(1);
    let (text, end) = whole(other).await;
    assert!(text.ends_with("Done."), "{text}");
    assert_eq!(end, TurnEvent::Finished(FinishReason::Stop));
}

#[tokio::test]
async fn a_turn_that_waits_behind_one_that_panics_is_run() {
    let setting = Setting::new().await;
    let first = setting.submit("one", WAIT).await;
    let broken = setting.submit("one", PANIC_AT_ONCE).await;
    let last = setting.submit("one", "hello").await;
    setting.go_on.add_permits(1);
    assert_eq!(whole(first).await.0, "Well. Done.");
    assert!(is_our_bug(&whole(broken).await.1));
    assert_eq!(whole(last).await.0, "Well. Done.");
}

#[tokio::test]
async fn a_backend_that_breaks_the_grammar_of_turns_fails_its_turn() {
    let setting = Setting::new().await;
    let (text, end) = setting.run("one", BABBLE).await;
    assert!(is_our_bug(&end), "{end:?}");
    assert!(!text.contains("Done."), "{text}");
    assert_eq!(setting.run("one", "hello").await.0, "Well. Done.");
}

#[tokio::test]
async fn a_session_whose_actor_dies_comes_back_from_the_store() {
    let setting = Setting::new().await;
    setting.run("one", "hello").await;
    let key = SessionKey { tenant: TenantId::open(), id: "one".parse().unwrap() };
    let before = setting.sessions.env.directory.get(&key).unwrap();
    let running = setting.submit("one", WAIT).await;
    before.kill();
    assert!(is_our_bug(&whole(running).await.1), "its reader is told");
    assert_eq!(setting.run("one", "hello").await.0, "Well. Done.");
    assert_eq!(setting.sessions.read(&key).await.unwrap().record.turns, 2);
}
