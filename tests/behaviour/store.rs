//! Sessions that outlive their broker.

use std::fs;
use std::path::Path;

use super::broker::{Broker, Setup, new_folder, outcrop};
use super::respond::Respond;

/// A broker that keeps its sessions in this file.
async fn broker_on(file: &Path) -> Broker {
    let settings = format!("store.kind = \"sqlite\"\nstore.path = \"{}\"", file.display());
    Broker::with(Setup { settings: &settings, ..Setup::default() }).await
}

#[tokio::test]
async fn a_restart_forgets_nothing() {
    let folder = new_folder();
    let file = folder.join("state/sessions.db");
    let first = broker_on(&file).await;
    let said = first.ask("my name is Ann").session("one").text().await;
    first.terminate();
    assert!(first.exit().await.success());
    let second = broker_on(&file).await;
    let session = second.session("one").await;
    assert_eq!((&session["state"], &session["turns"]), (&"passivated".into(), &1.into()));
    assert_eq!(session["messages"][0]["content"], "my name is Ann");
    assert_eq!(session["messages"][1]["content"], said);
    assert_eq!(second.ask("and now?").session("one").answer().await.origin(), "revived");
    assert_eq!(second.session("one").await["messages"].as_array().unwrap().len(), 4);
    assert_eq!(second.session("two").await["error"]["code"], "session_not_found");
    drop((first, second));
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_session_that_was_ended_is_gone_after_a_restart_too() {
    let folder = new_folder();
    let file = folder.join("sessions.db");
    let first = broker_on(&file).await;
    first.ask("my name is Ann").session("one").text().await;
    assert_eq!(first.request("DELETE", "/v1/sessions/one").send().await.status, 200);
    first.terminate();
    assert!(first.exit().await.success());
    let second = broker_on(&file).await;
    assert_eq!(second.session("one").await["error"]["code"], "session_not_found");
    drop((first, second));
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_file_has_one_broker_and_may_be_read_beside_it() {
    let folder = new_folder();
    let file = folder.join("sessions.db");
    let broker = broker_on(&file).await;
    broker.ask("hello there").session("one").text().await;
    let path = file.to_str().unwrap();
    let run = |arguments: &[&str]| outcrop(&folder, arguments).output().unwrap();
    let refused = run(&["serve", "--listen", "127.0.0.1:0", "--store", path]);
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("in use by another outcrop (process "), "{told}");
    let checked = run(&["store", "check", "--store", path]);
    assert!(checked.status.success(), "{checked:?}");
    let copy = folder.join("copy.db");
    let copied = run(&["store", "backup", copy.to_str().unwrap(), "--store", path]);
    assert!(copied.status.success() && copy.exists(), "{copied:?}");
    drop(broker);
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn responses_that_were_exported_and_imported_are_there_and_are_gone_on_from() {
    let folder = new_folder();
    let (old, new) = (folder.join("old.db"), folder.join("new.db"));
    let (lines, to) = (folder.join("sessions.jsonl"), new.to_str().unwrap());
    let first = broker_on(&old).await;
    let greeted = Respond::to(&first, "my name is Ann").header("idempotency-key", "greeting-1");
    let one = greeted.complete().await;
    let two = Respond::to(&first, "and now?").after(&one).streamed().send().await;
    let items = one.get(&first, "/input_items").await.body;
    let run = |arguments: &[&str]| {
        let done = outcrop(&folder, arguments).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    // Beside the broker that has the file.
    run(&["store", "export", lines.to_str().unwrap(), "--store", old.to_str().unwrap()]);
    let said = run(&["store", "import", lines.to_str().unwrap(), "--store", to]);
    assert_eq!(said, "imported 1 session with 2 turns\n");
    let second = broker_on(&new).await;
    for response in [&one, &two] {
        let kept = response.get(&second, "").await;
        assert_eq!((kept.status, &kept.body), (200, &response.get(&first, "").await.body));
    }
    assert_eq!(one.get(&second, "/input_items").await.body, items);
    let replayed = two.get(&second, "?stream=true").await;
    assert_eq!(replayed.frames, two.frames);
    let three = Respond::to(&second, "who am I?").after(&two).complete().await;
    assert_eq!(three.body["previous_response_id"], two.id());
    let branch = Respond::to(&second, "who was I?").after(&one).complete().await;
    assert_eq!(branch.body["previous_response_id"], one.id());
    let again = Respond::to(&second, "my name is Ann").header("idempotency-key", "greeting-1");
    assert_eq!(again.complete().await.id(), one.id());
    drop((first, second));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_file_that_cannot_be_used_keeps_a_broker_from_starting() {
    let folder = new_folder();
    let notes = folder.join("notes.txt");
    fs::write(&notes, "not a database, by any means: ".repeat(50)).unwrap();
    let serve = |store: &str| {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--store", store];
        let refused = outcrop(&folder, &arguments).output().unwrap();
        (refused.status.code(), String::from_utf8(refused.stderr).unwrap())
    };
    let (code, told) = serve(notes.to_str().unwrap());
    assert_eq!(code, Some(1));
    assert!(told.contains("notes.txt") && told.contains("no SQLite database"), "{told}");
    let (code, told) = serve("~/sessions.db");
    assert_eq!(code, Some(2));
    assert!(told.contains("--store: must be a path that does not begin with ~"), "{told}");
    fs::remove_dir_all(folder).unwrap();
}
