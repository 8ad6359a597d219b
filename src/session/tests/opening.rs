//! Sessions that are opened, forked and listed.

use super::*;
use crate::store::Query;

fn opening(id: &str, messages: &[Message]) -> Opening {
    Opening {
        key: key(id),
        model: None,
        metadata: [("from".to_owned(), "elsewhere".to_owned())].into(),
        messages: messages.to_vec(),
    }
}

#[tokio::test]
async fn a_session_that_was_opened_with_a_conversation_goes_on_with_it() {
    for setting in [Setting::new().await, Setting::lasting().await] {
        let said = [
            Message::text(Role::System, "be kind"),
            user("my name is Ann"),
            Message::text(Role::Assistant, "Hello Ann."),
        ];
        let opened = setting.sessions.open(opening("one", &said)).await.unwrap();
        assert_eq!(*opened.record.system, said[..1]);
        let kept = setting.store.record(&key("one")).await.unwrap();
        assert_eq!((kept.messages.len(), kept.turns, kept.marks.len()), (2, 0, 1));
        setting.put_away(&key("one")).await;
        assert_eq!(setting.run("one", "and?").await.1, DONE);
        assert_eq!(setting.last_history(), ["my name is Ann", "Hello Ann."]);
        let held = setting.sessions.read(&key("one")).await.unwrap().record;
        assert_eq!((held.messages.len(), held.metadata["from"].as_str()), (4, "elsewhere"));
    }
}

#[tokio::test]
async fn a_session_that_was_opened_empty_is_there() {
    let setting = Setting::lasting().await;
    let opened = setting.sessions.open(opening("one", &[])).await.unwrap();
    assert_eq!(opened.record.marks, []);
    setting.put_away(&key("one")).await;
    assert_eq!(setting.sessions.read(&key("one")).await.unwrap().state, SessionState::Passivated);
    assert_eq!(setting.run("one", THROTTLE).await.0, "");
    assert!(setting.sessions.read(&key("one")).await.is_ok(), "though its first turn failed");
    let forked = setting.sessions.fork(&key("one"), None).await.unwrap();
    assert_eq!(forked.record.metadata["from"], "elsewhere");
}

#[tokio::test]
async fn of_two_that_open_a_session_of_one_name_one_does() {
    for setting in [Setting::new().await, Setting::lasting().await] {
        let (left, right) = tokio::join!(
            setting.sessions.open(opening("one", &[user("left")])),
            setting.sessions.open(opening("one", &[user("right")])),
        );
        let outcomes = [kind(left), kind(right)];
        assert!(outcomes.contains(&None), "{outcomes:?}");
        assert!(outcomes.contains(&Some(FailureKind::SessionBusy)), "{outcomes:?}");
        assert_eq!(setting.texts(&key("one")).await.len(), 1);
        setting.submit("two", WAIT).await;
        let taken = setting.sessions.open(opening("two", &[])).await;
        assert_eq!(kind(taken), Some(FailureKind::SessionBusy));
    }
}

#[tokio::test]
async fn a_session_that_could_not_be_kept_was_not_opened() {
    let setting = Setting::lasting().await;
    setting.store.set(Mood::Failing);
    let opened = setting.sessions.open(opening("one", &[])).await;
    assert_eq!(kind(opened), Some(FailureKind::StoreUnavailable));
}

#[tokio::test]
async fn a_fork_is_of_what_was_sure_when_it_was_asked_for() {
    for setting in [Setting::new().await, Setting::lasting().await] {
        let (first, session) = setting.run_kept(after(None, "one")).await;
        let mut running = setting.try_request(after(Some(&first), WAIT)).await.unwrap();
        next_text(&mut running).await;
        let whole_one = setting.sessions.fork(&session, None).await.unwrap();
        assert_eq!(setting.texts(&whole_one.record.key).await, ["one", "Well. Done."]);
        let unknown = setting.sessions.fork(&session, Some(TurnId::generate())).await;
        assert_eq!(kind(unknown), Some(FailureKind::TurnNotFound));
        setting.go_on.add_permits(1);
        whole(running).await;
        let forked = setting.sessions.fork(&session, Some(first.clone())).await.unwrap();
        let fork = &forked.record.key;
        assert_eq!(setting.run(fork.id.as_str(), "two").await.1, DONE);
        assert_eq!(setting.last_history(), ["one", "Well. Done."]);
        let again = setting.sessions.fork(fork, Some(first)).await.unwrap();
        assert_eq!(again.record.messages.len(), 2, "its turns have the names that they had");
    }
}

async fn listed(setting: &Setting, query: &Query, state: Option<SessionState>) -> Vec<String> {
    let mut query = query.clone();
    let mut ids = Vec::new();
    loop {
        let page = setting.sessions.list(query.clone(), state).await.unwrap();
        assert!(page.sessions.len() <= query.limit);
        ids.extend(page.sessions.iter().map(|it| it.summary.key.id.as_str().to_owned()));
        let Some(next) = page.next else { return ids };
        query.after = Some(next);
    }
}

#[tokio::test]
async fn pages_show_every_session_once_in_their_order_wherever_it_is() {
    for setting in [Setting::new().await, Setting::lasting().await] {
        for id in ["a", "b", "c", "d", "e"] {
            setting.run(id, "hello").await;
        }
        setting.put_away(&key("b")).await;
        setting.put_away(&key("d")).await;
        let mut running = setting.submit("f", WAIT).await;
        next_text(&mut running).await;
        for limit in 1..8 {
            let newest = Query { limit, ..Query::default() };
            let oldest = Query { is_oldest_first: true, ..newest.clone() };
            assert_eq!(listed(&setting, &newest, None).await, ["f", "e", "d", "c", "b", "a"]);
            assert_eq!(listed(&setting, &oldest, None).await, ["a", "b", "c", "d", "e", "f"]);
            let state = |state| listed(&setting, &newest, Some(state));
            assert_eq!(state(SessionState::Running).await, ["f"]);
            assert_eq!(state(SessionState::Idle).await, ["e", "c", "a"]);
            assert_eq!(state(SessionState::Passivated).await, ["d", "b"]);
            let other = Query { model: Some("other".parse().unwrap()), ..newest };
            assert_eq!(listed(&setting, &other, None).await, [""; 0]);
        }
    }
}

#[tokio::test]
async fn a_session_that_was_active_since_is_not_shown_twice() {
    let setting = Setting::new().await;
    for id in ["a", "b", "c"] {
        setting.run(id, "hello").await;
    }
    let query = Query { limit: 2, ..Query::default() };
    let page = setting.sessions.list(query.clone(), None).await.unwrap();
    assert_eq!(page.sessions[1].summary.key.id.as_str(), "b");
    setting.run("b", "again").await;
    let rest = Query { after: page.next, ..query };
    assert_eq!(listed(&setting, &rest, None).await, ["a"]);
}
