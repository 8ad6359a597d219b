//! Opening and closing.

use rusqlite::Connection;

use super::super::super::contract::{of, saying, session, shown, tenant, whole};
use super::*;

#[tokio::test]
async fn what_was_answered_is_there_when_the_file_is_opened_again() {
    let folder = Folder::new();
    let record = saying(session("acme", "s", 1), &["a", "b"]);
    let store = folder.open();
    store.save(whole(record.clone())).await.unwrap();
    store.close();
    assert!(store.load(record.key.clone()).await.is_err(), "a closed store answers nothing");
    assert!(store.save(whole(record.clone())).await.is_err());
    drop(store);
    let store = folder.open();
    let found = store.load(record.key.clone()).await.unwrap().unwrap();
    assert_eq!(shown(&found), shown(&record));
    assert_eq!(store.census(tenant("acme")).await.unwrap().sessions, 1);
    assert_eq!(store.list(of("acme")).await.unwrap().len(), 1);
}

#[test]
fn what_was_asked_before_the_end_is_written() {
    let folder = Folder::new();
    let store = folder.open();
    for number in 0..100 {
        drop(store.save(whole(session("acme", &number.to_string(), number))));
    }
    drop(store);
    let sessions = folder.look(|db| {
        db.query_row("SELECT sessions FROM tenants", [], |row| row.get::<_, i64>(0)).unwrap()
    });
    assert_eq!(sessions, 100);
}

#[test]
fn a_closed_store_is_one_file_and_its_lock() {
    let folder = Folder::new();
    let store = folder.open();
    drop(store.save(whole(session("acme", "s", 1))));
    drop(store);
    let mut names: Vec<_> = fs::read_dir(&folder.0).unwrap().flatten().collect();
    names.sort_by_key(fs::DirEntry::file_name);
    let names: Vec<_> = names.iter().map(fs::DirEntry::file_name).collect();
    assert_eq!(names, ["sessions.db", "sessions.db.lock"]);
}

#[test]
fn a_second_store_on_the_same_file_is_refused_until_the_first_is_closed() {
    let folder = Folder::new();
    let store = folder.open();
    let refusal = folder.try_open().unwrap_err().to_string();
    let process = format!("in use by another outcrop (process {})", std::process::id());
    assert!(refusal.contains(&process), "{refusal}");
    drop(store);
    folder.open();
}

#[test]
fn folders_on_the_way_are_made_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let path = folder.0.join("a/b/sessions.db");
    drop(SqliteStore::open(&path, quick()).unwrap());
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.0.join("a")), 0o700);
    assert_eq!(mode(path), 0o600);
}

#[test]
fn a_file_of_a_newer_schema_is_left_alone() {
    let folder = Folder::new();
    drop(folder.open());
    let newer = Connection::open(folder.file()).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let refusal = folder.try_open().unwrap_err().to_string();
    assert!(refusal.contains("written by a newer outcrop (its schema is 99"), "{refusal}");
    assert!(refusal.contains("sessions.db"), "{refusal}");
}

#[test]
fn what_is_no_database_or_anothers_is_left_alone() {
    let folder = Folder::new();
    fs::write(folder.file(), "These are my notes, and no database at all. ".repeat(100)).unwrap();
    let refusal = folder.try_open().unwrap_err().to_string();
    assert!(refusal.contains("no SQLite database"), "{refusal}");
    assert!(fs::read_to_string(folder.file()).unwrap().starts_with("These are my notes"));
    fs::remove_file(folder.file()).unwrap();
    let other = Connection::open(folder.file()).unwrap();
    other.execute_batch("CREATE TABLE notes (note TEXT)").unwrap();
    drop(other);
    let refusal = folder.try_open().unwrap_err().to_string();
    assert!(refusal.contains("not one of outcrop's"), "{refusal}");
}

#[test]
fn a_path_that_cannot_be_a_file_is_refused_by_name() {
    let folder = Folder::new();
    let refusal = SqliteStore::open(&folder.0, quick()).unwrap_err().to_string();
    assert!(refusal.contains("is a folder"), "{refusal}");
    fs::write(folder.0.join("file"), "").unwrap();
    let refusal = SqliteStore::open(&folder.0.join("file/sessions.db"), quick()).unwrap_err();
    assert!(refusal.to_string().contains("cannot make the folder"), "{refusal}");
}

#[test]
fn the_file_says_what_it_is_and_can_be_read_by_people() {
    let folder = Folder::new();
    let store = folder.open();
    drop(store.save(whole(saying(session("acme", "s", 1), &["hello"]))));
    drop(store);
    folder.look(|db| {
        let pragma =
            |name: &str| -> i64 { db.pragma_query_value(None, name, |row| row.get(0)).unwrap() };
        assert_eq!(pragma("application_id"), i64::from(file::APPLICATION_ID));
        assert_eq!(pragma("user_version"), 1);
        assert_eq!(pragma("auto_vacuum"), 2, "pages of what is deleted are given back");
        let said: (String, String, String, bool) = db
            .query_row("SELECT turn, role, text, is_answer FROM transcripts", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .unwrap();
        assert_eq!(said, ("turn_hello".into(), "user".into(), "hello".into(), false));
        let when: String =
            db.query_row("SELECT last_active FROM activity", [], |row| row.get(0)).unwrap();
        assert_eq!(when, "2023-11-14 22:13:21");
    });
}

#[tokio::test]
async fn nothing_of_a_removed_session_is_left_in_the_file() {
    let folder = Folder::new();
    let store = folder.open();
    let secret = "my password is correct horse battery staple. ".repeat(2_000);
    let record = saying(session("acme", "s", 1), &[&secret]);
    store.save(whole(record.clone())).await.unwrap();
    store.save(whole(session("acme", "t", 1))).await.unwrap();
    assert!(store.remove(record.key.clone()).await.unwrap());
    store.close();
    for entry in fs::read_dir(&folder.0).unwrap().flatten() {
        let bytes = fs::read(entry.path()).unwrap();
        let found = String::from_utf8_lossy(&bytes).contains("battery staple");
        assert!(!found, "{:?}", entry.path());
    }
    let size = fs::metadata(folder.file()).unwrap().len();
    assert!(size < secret.len() as u64, "the file takes {size} bytes still");
}
