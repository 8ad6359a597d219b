//! The verbs as they are typed, on files of their own.

use std::fs;
use std::sync::Arc;

use clap::Parser;
use uuid::Uuid;

use super::*;
use crate::store::{
    Begin, End, LiveTurn, Record, Save, SessionStore as _, SqliteStore, TurnRecord,
};
use crate::turn::{FinishReason, IdempotencyKey, Message, Role, SessionKey, TurnEvent};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    verb: StoreVerb,
}

/// A folder with a file in it that holds some sessions, gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("outcrop-verbs-{}", Uuid::new_v4().simple());
        let folder = Self(std::env::temp_dir().join(name));
        let store = folder.open("a.db");
        for (tenant, id) in [("acme", "one"), ("acme", "two"), ("globex", "one")] {
            drop(store.save(Save { record: Arc::new(session(tenant, id)), unchanged: 0 }));
        }
        folder
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn open(&self, name: &str) -> SqliteStore {
        SqliteStore::open(&self.0.join(name), sqlite::Options::default()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn session(tenant: &str, id: &str) -> Record {
    let key = SessionKey { tenant: tenant.parse().unwrap(), id: id.parse().unwrap() };
    Record {
        key,
        model: "m".parse().unwrap(),
        asked: None,
        moved: None,
        created_at: std::time::UNIX_EPOCH,
        last_active: std::time::UNIX_EPOCH,
        turns: 1,
        messages: vec![Arc::new(Message::text(Role::User, format!("I am {tenant}\n{id}")))],
        dropped: 0,
        marks: Vec::new(),
        system: Arc::default(),
        metadata: Default::default(),
        head: None,
        upstream: None,
        branches: 0,
    }
}

fn run(arguments: &[&str]) -> (u8, String, String) {
    run_in(arguments, Environment::default())
}

fn run_in(arguments: &[&str], environment: Environment) -> (u8, String, String) {
    let cli = Cli::try_parse_from([&["store"], arguments].concat()).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut output = Output { out: &mut out, err: &mut err };
    let code = cli.verb.run(environment, &mut output).unwrap();
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[tokio::test]
async fn a_backup_is_made_while_a_broker_runs_and_opens_as_a_store() {
    let folder = Folder::new();
    let (from, to) = (folder.path("a.db"), folder.path("b.db"));
    let broker = folder.open("a.db");
    let late = session("acme", "late");
    broker.save(Save { record: Arc::new(late.clone()), unchanged: 0 }).await.unwrap();
    let (code, out, err) = run(&["backup", &to, "--store", &from]);
    assert_eq!((code, err.as_str()), (EXIT_OK, ""));
    assert!(out.contains("b.db holds a copy of "), "{out}");
    let (code, _, err) = run(&["backup", &to, "--store", &from]);
    assert_eq!(code, EXIT_FAILED);
    assert!(err.contains("is there already") && err.contains("--force"), "{err}");
    assert_eq!(run(&["backup", &to, "--store", &from, "--force"]).0, EXIT_OK);
    let (code, _, err) = run(&["backup", &from, "--store", &from, "--force"]);
    assert_eq!(code, EXIT_FAILED, "{err}");
    drop(broker);
    let copy = folder.open("b.db");
    assert!(copy.load(late.key).await.unwrap().is_some());
}

#[test]
fn sessions_go_out_and_in_again() {
    let folder = Folder::new();
    let (from, lines, to) = (folder.path("a.db"), folder.path("lines"), folder.path("b.db"));
    let (code, out, err) = run(&["export", "--store", &from]);
    assert_eq!((code, out.lines().count(), err.as_str()), (EXIT_OK, 3, "exported 3 sessions\n"));
    let (code, ours, _) = run(&["export", "--tenant", "acme", "--store", &from]);
    assert_eq!((code, ours.lines().count()), (EXIT_OK, 2));
    assert_eq!(run(&["export", &lines, "--store", &from]).0, EXIT_OK);
    assert_eq!(fs::read_to_string(&lines).unwrap(), out);
    let (code, said, _) = run(&["import", &lines, "--store", &to]);
    assert_eq!((code, said.as_str()), (EXIT_OK, "imported 3 sessions\n"));
    assert_eq!(run(&["export", "--store", &to]).1, out);
    let (_, said, _) = run(&["import", &lines, "--store", &to]);
    assert_eq!(said, "imported 0 sessions; 3 were there already and left as they are\n");
    let (_, said, _) = run(&["import", &lines, "--store", &to, "--replace"]);
    assert_eq!(said, "imported 3 sessions; 3 of these replaced what was there\n");
    assert_eq!(run(&["export", "--store", &to]).1, out);
}

/// Has a session hold a turn that has ended, under a name of its client's.
async fn run_turn(store: &SqliteStore, key: &SessionKey, turn: &str, created: u64) {
    let record = Arc::new(TurnRecord {
        turn: turn.parse().unwrap(),
        key: key.clone(),
        model: "m".parse().unwrap(),
        agent: None,
        created: std::time::UNIX_EPOCH + std::time::Duration::from_secs(created),
        said: vec![Arc::new(Message::text(Role::User, "hello"))],
        previous: None,
        is_kept: true,
        is_background: false,
        echo: None,
        idempotency: Some(IdempotencyKey { key: "order-7".into(), fingerprint: [7; 32] }),
    });
    let live: Arc<dyn LiveTurn> = Arc::new(Said);
    let begin = Begin { turn: Arc::clone(&record), live: Arc::downgrade(&live), session: None };
    store.begin(begin).await.unwrap();
    let (last, at) = (TurnEvent::Finished(FinishReason::Stop), std::time::SystemTime::now());
    store.end(End { turn: record, live, last, at, session: None }).await.unwrap();
}

/// What every turn here says.
#[derive(Debug)]
struct Said;

impl LiveTurn for Said {
    fn events_since(&self, after: usize) -> Vec<TurnEvent> {
        let events = [TurnEvent::Started, TurnEvent::Text("Well.".into())];
        events.into_iter().skip(after).collect()
    }
}

async fn has_turn(store: &SqliteStore, turn: &str) -> bool {
    store.turn("acme".parse().unwrap(), turn.parse().unwrap()).await.unwrap().is_some()
}

#[tokio::test]
async fn turns_go_the_way_of_their_sessions() {
    let folder = Folder::new();
    let (from, lines, to) = (folder.path("a.db"), folder.path("lines"), folder.path("b.db"));
    let key = session("acme", "one").key;
    let store = folder.open("a.db");
    run_turn(&store, &key, "resp_1", 1).await;
    run_turn(&store, &key, "resp_2", 2).await;
    drop(store);
    let (_, out, err) = run(&["export", "--store", &from]);
    assert_eq!((out.lines().count(), err.as_str()), (5, "exported 3 sessions with 2 turns\n"));
    assert_eq!(run(&["export", &lines, "--store", &from]).0, EXIT_OK);
    let (code, said, _) = run(&["import", &lines, "--store", &to]);
    assert_eq!((code, said.as_str()), (EXIT_OK, "imported 3 sessions with 2 turns\n"));
    assert_eq!(run(&["export", "--store", &to]).1, out);
    // The name is the later one's, as it was.
    let store = folder.open("b.db");
    let named = store.repeated(key.tenant.clone(), "order-7".into()).await.unwrap();
    assert_eq!(named, Some(("resp_2".parse().unwrap(), [7; 32])));
    // What is gone stays gone where a session is left as it is, and comes back with it else.
    assert!(store.remove_turn(key.tenant.clone(), "resp_1".parse().unwrap()).await.unwrap());
    run_turn(&store, &key, "resp_3", 3).await;
    drop(store);
    assert_eq!(run(&["import", &lines, "--store", &to]).0, EXIT_OK);
    let store = folder.open("b.db");
    assert!(!has_turn(&store, "resp_1").await && has_turn(&store, "resp_3").await);
    drop(store);
    let (_, said, _) = run(&["import", &lines, "--store", &to, "--replace"]);
    assert!(said.starts_with("imported 3 sessions with 2 turns; 3 of these replaced"), "{said}");
    let store = folder.open("b.db");
    assert!(has_turn(&store, "resp_1").await && !has_turn(&store, "resp_3").await);
}

#[tokio::test]
async fn a_turn_without_its_session_is_left_out_and_a_name_stays_with_the_later_request() {
    let folder = Folder::new();
    let (from, lines, to) = (folder.path("a.db"), folder.path("lines"), folder.path("b.db"));
    let store = folder.open("a.db");
    run_turn(&store, &session("acme", "two").key, "resp_1", 1).await;
    drop(store);
    assert_eq!(run(&["export", &lines, "--store", &from]).0, EXIT_OK);
    let other = folder.open("b.db");
    let elsewhere = session("acme", "three");
    other.save(Save { record: Arc::new(elsewhere.clone()), unchanged: 0 }).await.unwrap();
    run_turn(&other, &elsewhere.key, "resp_9", 9).await;
    drop(other);
    let text = fs::read_to_string(&lines).unwrap();
    let (one, two, turn) = {
        let lines: Vec<&str> = text.lines().collect();
        (lines[0].to_owned(), lines[1].to_owned(), lines[2].to_owned())
    };
    let unended = turn.replace("{\"finished\":\"stop\"}", "{\"started\":{}}");
    assert_ne!(unended, turn);
    let text = [&turn, &one, &turn, &two, &unended, &turn, &turn].map(|it| it.as_str()).join("\n");
    fs::write(&lines, text).unwrap();
    let (code, out, err) = run(&["import", &lines, "--store", &to]);
    assert_eq!(code, EXIT_FAILED);
    let expected = "imported 2 sessions with 1 turn; 4 were left out: lines that cannot be taken\n";
    assert_eq!(out, expected);
    for said in ["line 1: ", "line 3: ", "line 5: its events", "line 7: a turn of this id"] {
        assert!(err.contains(said), "{said} in {err}");
    }
    let store = folder.open("b.db");
    assert!(has_turn(&store, "resp_1").await);
    let named = store.repeated("acme".parse().unwrap(), "order-7".into()).await.unwrap();
    assert_eq!(named, Some(("resp_9".parse().unwrap(), [7; 32])));
}

#[test]
fn a_bad_line_is_named_by_its_number_and_the_others_are_taken() {
    let folder = Folder::new();
    let (from, lines, to) = (folder.path("a.db"), folder.path("lines"), folder.path("b.db"));
    let good = run(&["export", "--store", &from]).1;
    let good: Vec<&str> = good.lines().collect();
    let newer = good[1].replace("{\"v\":1", "{\"v\":9");
    let text = format!("{}\n\nnonsense\n{newer}\n{}", good[0], good[2]);
    fs::write(&lines, text).unwrap();
    let (code, out, err) = run(&["import", &lines, "--store", &to]);
    assert_eq!(code, EXIT_FAILED);
    assert_eq!(out, "imported 2 sessions; 2 were left out: lines that cannot be taken\n");
    assert!(err.contains("line 3: ") && err.contains("line 4: "), "{err}");
    assert!(err.contains("of version 9"), "{err}");
}

#[test]
fn nothing_is_imported_while_a_broker_has_the_file() {
    let folder = Folder::new();
    let (from, lines) = (folder.path("a.db"), folder.path("lines"));
    assert_eq!(run(&["export", &lines, "--store", &from]).0, EXIT_OK);
    let _broker = folder.open("a.db");
    let (code, _, err) = run(&["import", &lines, "--store", &from]);
    assert_eq!(code, EXIT_FAILED);
    assert!(err.contains("in use by another outcrop"), "{err}");
    assert_eq!(run(&["export", "--store", &from]).0, EXIT_OK, "reading is allowed");
}

#[test]
fn a_check_tells_what_is_there_and_what_is_wrong() {
    let folder = Folder::new();
    let path = folder.path("a.db");
    let (code, out, err) = run(&["check", "--store", &path]);
    assert_eq!((code, err.as_str()), (EXIT_OK, ""));
    assert!(out.contains("a.db is in order: 3 sessions, 3 messages, 0 turns, "), "{out}");
    let store = folder.open("a.db");
    drop(store);
    // Somewhere in the pages of what was said.
    let mut bytes = fs::read(&path).unwrap();
    let place = bytes.windows(9).position(|some| some == b"I am acme").unwrap();
    bytes[place..place + 9].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let (code, out, err) = run(&["check", "--store", &path]);
    assert_eq!(code, EXIT_FAILED);
    assert!(out.contains("is damaged: 3 sessions"), "{out}");
    assert!(err.contains("of acme: "), "{err}");
}

#[test]
fn the_file_is_the_configurations_unless_one_is_named() {
    let folder = Folder::new();
    let state = folder.path("");
    let variables = || Environment::from([("STATE_DIRECTORY", state.as_str())]);
    let (code, _, err) = run_in(&["check"], variables());
    assert_eq!(code, EXIT_FAILED);
    assert!(err.contains("sessions.db: there is no such file"), "{err}");
    fs::rename(folder.path("a.db"), folder.path("sessions.db")).unwrap();
    assert_eq!(run_in(&["check"], variables()).0, EXIT_OK);
    let (code, _, err) = run(&["check"]);
    assert_eq!(code, EXIT_WRONG);
    assert!(err.contains("store.path: is not set"), "{err}");
    let memory = Environment::from([("OUTCROP_STORE__KIND", "memory")]);
    let (code, _, err) = run_in(&["check"], memory);
    assert_eq!(code, EXIT_WRONG);
    assert!(err.contains("store.kind: is memory"), "{err}");
}
