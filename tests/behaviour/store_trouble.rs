//! Files that cannot be used: from the start, or from some moment on.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::broker::{Broker, Setup, new_folder, outcrop, until};

/// A user that owns nothing.
const NOBODY: u32 = 65_534;
/// Where SQLite keeps `user_version` in a file's first page, as four bytes.
const SCHEMA_AT: usize = 60;

/// Less than a log of SQLite's holds as soon as there are tables, and more than a broker's own.
const LIMIT: u64 = 32 << 10;

/// A folder with a store in it that a broker has closed.
async fn closed_store() -> (PathBuf, PathBuf) {
    let folder = new_folder();
    let file = folder.join("sessions.db");
    let settings = format!("store.kind = \"sqlite\"\nstore.path = \"{}\"", file.display());
    let broker = Broker::with(Setup { settings: &settings, ..Setup::default() }).await;
    broker.ask("my name is Ann").session("one").text().await;
    broker.terminate();
    assert!(broker.exit().await.success());
    (folder, file)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// How `outcrop` ends on this file, run by somebody whom permissions bind: code and message.
fn refused(folder: &Path, arguments: &[&str], file: &Path) -> (Option<i32>, String) {
    let arguments = [arguments, &["--store", file.to_str().unwrap()]].concat();
    let mut command = outcrop(folder, &arguments);
    // Permissions do not bind root.
    if fs::metadata(folder).unwrap().uid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    let done = command.output().unwrap();
    (done.status.code(), String::from_utf8(done.stderr).unwrap())
}

fn serve(folder: &Path, file: &Path) -> (Option<i32>, String) {
    refused(folder, &["serve", "--listen", "127.0.0.1:0"], file)
}

#[tokio::test]
async fn a_folder_or_file_that_may_not_be_written_keeps_a_broker_from_starting() {
    let (folder, file) = closed_store().await;
    let before = fs::read(&file).unwrap();
    // Its folder.
    set_mode(&file, 0o666);
    set_mode(&folder.join("sessions.db.lock"), 0o444);
    set_mode(&folder, 0o555);
    let (code, told) = serve(&folder, &file);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("sessions.db.lock: Permission denied"), "{told}");
    assert!(told.contains("name another file by --store or store.path"), "{told}");
    let (code, told) = serve(&folder, &folder.join("new.db"));
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("new.db.lock: Permission denied"), "{told}");
    let (code, told) = serve(&folder, &folder.join("below/new.db"));
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("cannot make the folder") && told.contains("below"), "{told}");
    // The file itself, which may be read or not even that.
    set_mode(&folder, 0o777);
    set_mode(&folder.join("sessions.db.lock"), 0o666);
    for mode in [0o444, 0o000] {
        set_mode(&file, mode);
        let (code, told) = serve(&folder, &file);
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("cannot write to ") && told.contains("sessions.db: "), "{told}");
        let (code, told) = refused(&folder, &["store", "import", "/dev/null"], &file);
        assert_eq!(code, Some(1), "{told}");
    }
    let (code, told) = refused(&folder, &["store", "export"], &file);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("sessions.db: its file cannot be opened"), "{told}");
    set_mode(&file, 0o600);
    assert_eq!(fs::read(&file).unwrap(), before, "nothing was changed");
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_file_of_a_newer_schema_keeps_a_broker_from_starting_and_is_left_as_it_is() {
    let (folder, file) = closed_store().await;
    let mut bytes = fs::read(&file).unwrap();
    bytes[SCHEMA_AT..SCHEMA_AT + 4].copy_from_slice(&9_u32.to_be_bytes());
    fs::write(&file, &bytes).unwrap();
    let path = file.to_str().unwrap();
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["store", "export"]] {
        let arguments = [arguments, &["--store", path]].concat();
        let done = outcrop(&folder, &arguments).output().unwrap();
        let told = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(1), "{told}");
        let says = "sessions.db: it was written by a newer outcrop (its schema is 9";
        assert!(told.contains(says) && told.contains("restore a backup"), "{told}");
    }
    assert_eq!(fs::read(&file).unwrap(), bytes);
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_file_that_another_program_keeps_locked_keeps_a_broker_from_starting() {
    let (folder, file) = closed_store().await;
    let other = rusqlite::Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--store", file.to_str().unwrap()];
    let done = outcrop(&folder, &arguments).output().unwrap();
    let told = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{told}");
    assert!(told.contains("sessions.db: another program keeps its file locked"), "{told}");
    drop(other);
    fs::remove_dir_all(folder).unwrap();
}

async fn readiness(broker: &Broker) -> (u16, Value) {
    let mut reply = broker.get("/readyz").send().await;
    (reply.status, reply.json().await)
}

/// Has the files of a broker meet their limit and run into it; what is said then is not kept.
async fn run_out_of_room(broker: &Broker) {
    broker.limit_files(Some(LIMIT));
    let failed = broker.ask("my name is Bob").session("two").whole().answer().await;
    assert_eq!((failed.status, failed.code().as_str()), (503, "store_unavailable"), "{failed:?}");
    let moved = broker.post("/v1/sessions/one/interrupt", &serde_json::json!({ "spoken": "Nice" }));
    assert_eq!(moved.send().await.status, 503);
}

#[tokio::test]
async fn a_store_that_has_no_room_is_told_to_probes_and_comes_back_by_itself() {
    let settings = "store.kind = \"sqlite\"\nstore.path = \"sessions.db\"";
    let mut broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let greeted = broker.ask("my name is Ann").session("one").text().await;
    assert_eq!(readiness(&broker).await.0, 200);
    run_out_of_room(&broker).await;
    assert_eq!(readiness(&broker).await.0, 200, "it may pass");
    until("probes to be told", async || readiness(&broker).await.0 == 503).await;
    let (_, told) = readiness(&broker).await;
    assert_eq!(told["status"], "store_unavailable");
    assert!(told["reason"].as_str().unwrap().contains("the session store cannot"), "{told}");
    assert_eq!(broker.get("/livez").send().await.status, 200);
    // What is in memory is still to be read, and nothing that was acknowledged is lost.
    assert_eq!(broker.session("two").await["turns"], 1);
    broker.limit_files(None);
    until("room to be found", async || readiness(&broker).await.0 == 200).await;
    broker.ask("and now?").session("two").text().await;
    assert!(broker.log().contains("the store can be written to again"));
    broker.crash();
    broker.start_again().await;
    assert_eq!(broker.session("one").await["messages"][1]["content"], greeted);
    assert_eq!(broker.session("two").await["turns"], 2, "the turn that failed is kept with it");
}

#[tokio::test]
async fn where_answers_do_not_wait_for_the_store_its_failure_keeps_nobody_away() {
    let settings = "store.kind = \"sqlite\"\nstore.path = \"sessions.db\"\nstore.durable = false";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    broker.ask("my name is Ann").session("one").text().await;
    broker.limit_files(Some(LIMIT));
    assert_eq!(broker.ask("what is my name?").session("one").text().await, "Your name is Ann.");
    until("the log to say so", async || broker.log().contains("cannot be written to")).await;
    assert_eq!(readiness(&broker).await.0, 200);
    broker.limit_files(None);
}
