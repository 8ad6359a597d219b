//! Changes of a session that are no turns, with turns around them.

use super::*;

#[tokio::test]
async fn a_rewound_session_goes_on_from_there_and_its_upstream_is_told() {
    for setting in [Setting::new().await, Setting::lasting().await] {
        let (first, session) = setting.run_kept(after(None, "one")).await;
        setting.run_kept(after(Some(&first), "two")).await;
        let rewound = setting.sessions.edit(&session, Edit::Rewind(first.clone())).await.unwrap();
        assert_eq!((rewound.record.messages.len(), rewound.record.marks.len()), (2, 1));
        setting.put_away(&session).await;
        assert_eq!(setting.run_kept(after(Some(&first), "three")).await.1, session);
        assert_eq!(setting.last_history(), ["one", "Well. Done."]);
        let unknown = setting.sessions.edit(&session, Edit::Rewind(TurnId::generate())).await;
        assert_eq!(kind(unknown), Some(FailureKind::TurnNotFound));
    }
}

#[tokio::test]
async fn what_is_put_in_is_told_upstream_and_survives_a_client_that_resends() {
    for setting in [Setting::new().await, Setting::lasting().await] {
        setting.run("one", "hello").await;
        let taken_over = Message::text(Role::Assistant, "A colleague will call you.");
        let edit = Edit::Append(TurnId::generate(), vec![taken_over]);
        setting.sessions.edit(&key("one"), edit).await.unwrap();
        let resent = [user("hello"), Message::text(Role::Assistant, "Well. Done."), user("when?")];
        let request = TurnRequest { messages: resent.to_vec(), ..named("one", "") };
        assert_eq!(whole(setting.try_request(request).await.unwrap()).await.1, DONE);
        let told = ["hello", "Well. Done.", "A colleague will call you."];
        assert_eq!(setting.last_history(), told);
        assert_eq!(setting.texts(&key("one")).await.len(), 5);
    }
}

#[tokio::test]
async fn a_turn_that_runs_is_not_edited_under_its_feet_but_notes_are_taken() {
    let setting = Setting::lasting().await;
    let mut running = setting.submit("one", WAIT).await;
    next_text(&mut running).await;
    let put_in = Edit::Append(TurnId::generate(), vec![user("x")]);
    let refused = setting.sessions.edit(&key("one"), put_in).await;
    assert_eq!(kind(refused), Some(FailureKind::SessionBusy));
    let notes = Edit::Metadata([("a".to_owned(), "b".to_owned())].into());
    setting.sessions.edit(&key("one"), notes).await.unwrap();
    setting.go_on.add_permits(1);
    assert_eq!(whole(running).await.1, DONE);
    setting.put_away(&key("one")).await;
    assert_eq!(setting.store.record(&key("one")).await.unwrap().metadata["a"], "b");
}

#[tokio::test]
async fn notes_outlive_a_turn_that_comes_to_nothing() {
    let setting = Setting::lasting().await;
    setting.run("one", "hello").await;
    // Waits before it fails.
    let mut held = setting.submit("one", WAIT).await;
    next_text(&mut held).await;
    let failing = setting.submit("one", PANIC_AT_ONCE).await;
    let notes = Edit::Metadata([("a".to_owned(), "b".to_owned())].into());
    setting.sessions.edit(&key("one"), notes).await.unwrap();
    setting.go_on.add_permits(1);
    whole(held).await;
    assert_eq!(failed_with(&whole(failing).await.1), Some(FailureKind::Internal));
    assert_eq!(setting.sessions.read(&key("one")).await.unwrap().record.metadata["a"], "b");
}
