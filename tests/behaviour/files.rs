//! Files that come with answers, fetched as OpenAI's clients fetch them.

use std::path::Path;

use serde_json::{Value, json};

use super::ask::Answer;
use super::broker::{Broker, Setup, until};
use super::recorded::Recorded;

const ACME: &str = "sk-acme-first-key";
const GLOBEX: &str = "sk-globex-first-key";
const TWO_TENANTS: &str = "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\n\n\
                           [[keys]]\ntenant = \"globex\"\nkey = \"sk-globex-first-key\"\n";
/// Files of one answer, in their order.
const NAMES: [&str; 3] = ["Tilgungsplan – 2026.csv", "plan.svg", "empty.bin"];
const TABLE: &str = "month,rate\n1,250.00 €\n2,250.00 €\n";

/// A broker whose agent sends three files with every answer.
struct WithFiles {
    broker: Broker,
    _upstream: Recorded,
}

impl WithFiles {
    async fn start(setup: Setup<'_>) -> Self {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/agents");
        let upstream = Recorded::play(&golden.join("files")).await;
        let model = upstream.settings();
        let broker = Broker::with(Setup { model: &model, ..setup }).await;
        Self { broker, _upstream: upstream }
    }

    async fn ask(&self, session: &str, key: &str) {
        self.broker.ask("a plan, please").session(session).key(key).text().await;
    }

    async fn get(&self, path: &str, key: &str) -> Answer {
        Answer::of(self.broker.get(path).key(key).send().await).await
    }

    /// The tenant's files, the newest first.
    async fn list(&self, query: &str, key: &str) -> Value {
        let answer = self.get(&format!("/v1/files{query}"), key).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.body["object"], "list");
        answer.body
    }

    async fn ids(&self, key: &str) -> Vec<String> {
        let listed = self.list("", key).await;
        let files = listed["data"].as_array().unwrap().iter();
        files.map(|file| file["id"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn the_files_of_an_answer_are_listed_read_and_fetched() {
    let with = WithFiles::start(Setup::default()).await;
    with.ask("one", ACME).await;
    let listed = with.list("", ACME).await;
    let files = listed["data"].as_array().unwrap();
    let names: Vec<_> = files.iter().rev().map(|file| file["filename"].as_str().unwrap()).collect();
    assert_eq!(names, NAMES);
    let table = &files[2];
    assert!(table["id"].as_str().unwrap().starts_with("file-"), "{table}");
    assert!(table["created_at"].as_u64() > Some(1_700_000_000), "{table}");
    assert_eq!(
        [&table["object"], &table["purpose"], &table["session_id"], &table["media_type"]],
        ["file", "assistants_output", "one", "text/csv"]
    );
    assert_eq!(table["bytes"], TABLE.len());
    let path = format!("/v1/files/{}", table["id"].as_str().unwrap());
    assert_eq!(with.get(&path, ACME).await.body, *table);
    let mut content = with.broker.get(&format!("{path}/content")).key(ACME).send().await;
    assert_eq!((content.status, content.header("content-type")), (200, "text/csv"));
    assert_eq!(
        content.header("content-disposition"),
        "attachment; filename=\"Tilgungsplan _ 2026.csv\"; \
         filename*=UTF-8''Tilgungsplan%20%E2%80%93%202026.csv"
    );
    assert_eq!(content.header("x-content-type-options"), "nosniff");
    assert_eq!(content.text().await, TABLE);
}

#[tokio::test]
async fn a_file_that_could_run_in_a_browser_is_told_as_bytes() {
    let with = WithFiles::start(Setup::default()).await;
    with.ask("one", ACME).await;
    let [empty, picture, _] = &with.ids(ACME).await[..] else { panic!("three files") };
    let fetch = async |id: &str| {
        let mut reply = with.broker.get(&format!("/v1/files/{id}/content")).key(ACME).send().await;
        (reply.header("content-type").to_owned(), reply.text().await)
    };
    let (media_type, content) = fetch(picture).await;
    assert_eq!(media_type, "application/octet-stream");
    assert!(content.starts_with("<svg"), "{content}");
    assert_eq!(fetch(empty).await, ("application/octet-stream".to_owned(), String::new()));
}

#[tokio::test]
async fn lists_come_in_pages() {
    let with = WithFiles::start(Setup::default()).await;
    with.ask("one", ACME).await;
    let ids = with.ids(ACME).await;
    let first = with.list("?limit=2", ACME).await;
    assert_eq!(
        [&first["first_id"], &first["last_id"], &first["has_more"]],
        [&json!(ids[0]), &json!(ids[1]), &json!(true)]
    );
    let rest = with.list(&format!("?limit=2&after={}", ids[1]), ACME).await;
    assert_eq!((&rest["data"][0]["id"], &rest["has_more"]), (&json!(ids[2]), &json!(false)));
    let inputs = with.list("?purpose=assistants", ACME).await;
    assert_eq!((&inputs["data"], &inputs["first_id"]), (&json!([]), &Value::Null));
    for (query, param) in [
        ("?limit=0", "limit"),
        ("?limit=10001", "limit"),
        ("?limit=x", "limit"),
        ("?after=file-of-nobody", "after"),
        ("?after=two%20words", "after"),
        ("?order=asc", "order"),
    ] {
        let refused = with.get(&format!("/v1/files{query}"), ACME).await;
        assert_eq!((refused.status, &refused.error()["param"]), (400, &json!(param)), "{query}");
    }
}

#[tokio::test]
async fn a_file_that_is_deleted_is_gone_and_another_tenants_was_never_there() {
    let with = WithFiles::start(Setup { tables: TWO_TENANTS, ..Setup::default() }).await;
    with.ask("one", ACME).await;
    let ids = with.ids(ACME).await;
    assert_eq!(with.list("", GLOBEX).await["data"], json!([]));
    let path = format!("/v1/files/{}", ids[0]);
    let ask = async |method: &'static str, path: &str, key: &str| {
        let answer = Answer::of(with.broker.request(method, path).key(key).send().await).await;
        (answer.status, answer.body)
    };
    for (method, rest) in [("GET", ""), ("GET", "/content"), ("DELETE", "")] {
        let theirs = ask(method, &format!("{path}{rest}"), GLOBEX).await;
        let absent = ask(method, &format!("/v1/files/file-absent{rest}"), GLOBEX).await;
        assert_eq!(theirs, absent, "{method} {rest}");
        assert_eq!((theirs.0, &theirs.1["error"]["code"]), (404, &json!("file_not_found")));
    }
    let deleted = json!({ "id": ids[0], "object": "file", "deleted": true });
    assert_eq!(ask("DELETE", &path, ACME).await, (200, deleted));
    assert_eq!(ask("DELETE", &path, ACME).await.0, 404);
    assert_eq!(with.ids(ACME).await, ids[1..]);
}

#[tokio::test]
async fn files_go_when_their_session_ends() {
    let with = WithFiles::start(Setup::default()).await;
    with.ask("one", ACME).await;
    with.ask("two", ACME).await;
    assert_eq!(with.ids(ACME).await.len(), 6);
    let ended = with.broker.request("DELETE", "/v1/sessions/one").send().await;
    assert_eq!(ended.status, 200);
    let listed = with.list("", ACME).await;
    let sessions: Vec<_> =
        listed["data"].as_array().unwrap().iter().map(|file| &file["session_id"]).collect();
    assert_eq!(sessions, ["two"; 3]);
}

#[tokio::test]
async fn files_go_when_their_session_expires_or_makes_room() {
    let settings = "session.resident_seconds = 0.1\nsession.expire_seconds = 0.3";
    let expiring = WithFiles::start(Setup { settings, ..Setup::default() }).await;
    expiring.ask("one", ACME).await;
    until("the files to go", async || expiring.ids(ACME).await.is_empty()).await;
    let settings = "session.max_per_tenant = 1";
    let crowded = WithFiles::start(Setup { settings, ..Setup::default() }).await;
    crowded.ask("one", ACME).await;
    crowded.ask("two", ACME).await;
    assert_eq!(crowded.ids(ACME).await.len(), 3);
}

#[tokio::test]
async fn files_stay_while_their_session_rests_in_the_store() {
    let settings = "session.resident_seconds = 0.1";
    let with = WithFiles::start(Setup { settings, ..Setup::default() }).await;
    with.ask("one", ACME).await;
    until("the session to rest", async || {
        with.broker.session("one").await["state"] == "passivated"
    })
    .await;
    assert_eq!(with.ids(ACME).await.len(), 3);
}

#[tokio::test]
async fn the_oldest_files_make_room() {
    let settings = "session.files_bytes = 2000";
    let with = WithFiles::start(Setup { settings, ..Setup::default() }).await;
    with.ask("one", ACME).await;
    let first = with.ids(ACME).await;
    with.ask("two", ACME).await;
    let second = with.ids(ACME).await;
    assert_eq!((first.len(), second.len()), (3, 3));
    assert!(first.iter().all(|id| !second.contains(id)));
}
