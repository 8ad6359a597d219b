//! Sessions that are opened, annotated, paged through, forked, rewound, taken over and followed,
//! and keys that see those of all tenants.

use serde_json::{Value, json};

use super::ask::Answer;
use super::broker::{Broker, Setup, until};

const KEYS: &str = "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\n\n\
                    [[keys]]\ntenant = \"globex\"\nkey = \"sk-globex-first-key\"\n\n\
                    [[keys]]\ntenant = \"operators\"\nkey = \"sk-operators-key\"\nadmin = true\n";
const ACME: &str = "sk-acme-first-key";
const GLOBEX: &str = "sk-globex-first-key";
const ADMIN: &str = "sk-operators-key";

async fn post(broker: &Broker, path: &str, body: &Value) -> (u16, Value) {
    let mut reply = broker.post(path, body).send().await;
    (reply.status, reply.json().await)
}

async fn list(broker: &Broker, query: &str) -> (Vec<String>, Value) {
    let path = format!("/v1/sessions{query}");
    let mut page: Value = broker.get(&path).send().await.json().await;
    let data = page["data"].take();
    let ids = data.as_array().unwrap_or_else(|| panic!("{page}")).iter();
    (ids.map(|it| it["id"].as_str().unwrap().to_owned()).collect(), page)
}

fn contents(session: &Value) -> Vec<&str> {
    let messages = session["messages"].as_array().unwrap_or_else(|| panic!("{session}"));
    messages.iter().map(|message| message["content"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_session_is_opened_with_what_was_said_elsewhere_and_goes_on_with_it() {
    let broker = Broker::start().await;
    let body = json!({
        "id": "call-7",
        "model": "agent",
        "metadata": { "crm": "4711" },
        "prewarm": true,
        "messages": [
            { "role": "user", "content": "my name is Ann" },
            { "role": "assistant", "content": [{ "type": "text", "text": "Hello Ann." }] },
        ],
    });
    let (status, session) = post(&broker, "/v1/sessions", &body).await;
    assert_eq!(status, 201, "{session}");
    assert_eq!((&session["id"], &session["object"]), (&json!("call-7"), &json!("session")));
    assert_eq!((&session["model"], &session["turns"]), (&json!("agent"), &json!(0)));
    assert_eq!(session["metadata"]["crm"], "4711");
    assert_eq!(contents(&session), ["my name is Ann", "Hello Ann."]);
    let answer = broker.ask("what is my name?").session("call-7").answer().await;
    assert_eq!((answer.origin(), &*answer.text), ("rehydrated", "Your name is Ann."));
    let (status, refused) = post(&broker, "/v1/sessions", &body).await;
    assert_eq!((status, &refused["error"]["param"]), (409, &json!("id")));
}

#[tokio::test]
async fn a_session_is_opened_with_nothing_at_all() {
    let broker = Broker::start().await;
    let mut reply = broker.request("POST", "/v1/sessions").send().await;
    assert_eq!(reply.status, 201);
    let session = reply.json().await;
    let id = session["id"].as_str().unwrap();
    assert!(id.starts_with("sess_"), "{session}");
    assert_eq!((&session["model"], &session["messages"]), (&Value::Null, &json!([])));
    let answer = broker.ask("hello there").session(id).answer().await;
    assert_eq!(answer.origin(), "new");
    assert_eq!(broker.session(id).await["model"], "agent");
}

#[tokio::test]
async fn an_opening_that_cannot_be_is_refused_by_the_member_at_fault() {
    let tables = "[[models]]\nname = \"secret\"\nbackend = \"bedrock-agent\"\n\
                  agent_id = \"SECRET1234\"\n\n[[keys]]\ntenant = \"acme\"\n\
                  key = \"sk-acme-first-key\"\nmodels = [\"agent\"]\n";
    let broker = Broker::with(Setup { tables, ..Setup::default() }).await;
    let cases = [
        (json!({ "id": "two words" }), 400, "id"),
        (json!({ "model": "nobody" }), 404, "model"),
        (json!({ "model": "secret" }), 403, "model"),
        (json!({ "metadata": { "a": "x".repeat(513) } }), 400, "metadata"),
        (json!({ "messages": [{ "role": "robot" }] }), 400, "messages[0].role"),
        (json!({ "messages": "hello" }), 400, "messages"),
        (json!({ "prewarm": 1 }), 400, "prewarm"),
    ];
    for (body, status, param) in cases {
        let reply = broker.post("/v1/sessions", &body).key(ACME).send().await;
        let refused = Answer::of(reply).await;
        assert_eq!((refused.status, refused.error()["param"].as_str()), (status, Some(param)));
    }
    let keyless = broker.post("/v1/sessions", &json!({})).send().await;
    assert_eq!(keyless.status, 401);
}

#[tokio::test]
async fn notes_are_replaced_also_while_a_turn_runs() {
    let broker = Broker::start().await;
    let mut reply = broker.ask("count to 400").session("one").pace(0, 10).begin().await;
    reply.first_text().await;
    let notes = json!({ "metadata": { "mood": "calm" } });
    let (status, session) = post(&broker, "/v1/sessions/one", &notes).await;
    assert_eq!((status, &session["metadata"]), (200, &notes["metadata"]));
    reply.hang_up();
    broker.metric_becomes("outcrop_turns_in_flight", 0.0).await;
    assert_eq!(broker.session("one").await["metadata"], notes["metadata"]);
    let (status, refused) = post(&broker, "/v1/sessions/one", &json!({})).await;
    assert_eq!((status, &refused["error"]["param"]), (400, &json!("metadata")));
    assert_eq!(post(&broker, "/v1/sessions/two", &notes).await.0, 404);
}

#[tokio::test]
async fn sessions_are_paged_through_filtered_and_turned_around() {
    let settings = "session.resident_seconds = 0.2";
    let tables = "[[models]]\nname = \"other\"\nbackend = \"bedrock-agent\"\n\
                  agent_id = \"OTHER12345\"\n";
    let broker = Broker::with(Setup { settings, tables, ..Setup::default() }).await;
    for id in ["a", "b", "c", "d"] {
        let model = if id == "b" { "other" } else { "agent" };
        broker.ask("hello there").at_model(model).session(id).text().await;
    }
    broker.metric_becomes("outcrop_sessions_resident", 0.0).await;
    let mut running = broker.ask("count to 400").session("e").pace(0, 10).begin().await;
    running.first_text().await;
    let (ids, page) = list(&broker, "?limit=2").await;
    assert_eq!(ids, ["e", "d"]);
    assert_eq!((&page["first_id"], &page["last_id"]), (&json!("e"), &json!("d")));
    assert_eq!((&page["has_more"], &page["object"]), (&json!(true), &json!("list")));
    let next = page["next"].as_str().unwrap();
    for after in [next, "d"] {
        let (ids, page) = list(&broker, &format!("?limit=2&after={after}")).await;
        assert_eq!((ids, &page["has_more"]), (vec!["c".to_owned(), "b".to_owned()], &json!(true)));
    }
    let (ids, page) = list(&broker, "?limit=2&order=asc&after=c").await;
    assert_eq!((ids, &page["has_more"]), (vec!["d".to_owned(), "e".to_owned()], &json!(false)));
    assert_eq!(page["next"], Value::Null);
    assert_eq!(list(&broker, "?model=other").await.0, ["b"]);
    assert_eq!(list(&broker, "?state=running").await.0, ["e"]);
    assert_eq!(list(&broker, "?state=passivated&order=asc").await.0, ["a", "b", "c", "d"]);
    assert_eq!(list(&broker, "?state=idle").await.0, [""; 0]);
    for wrong in ["order=up", "state=dead", "after=nobody", "model=a%20b", "limit=0"] {
        let refused = broker.get(&format!("/v1/sessions?{wrong}")).send().await;
        let refused = Answer::of(refused).await;
        let param = wrong.split('=').next();
        assert_eq!((refused.status, refused.error()["param"].as_str()), (400, param));
    }
}

#[tokio::test]
async fn a_fork_goes_its_own_way_from_the_turn_that_is_named() {
    let broker = Broker::start().await;
    broker.ask("my name is Ann").session("one").text().await;
    let first = broker.session("one").await["messages"][0]["turn"].clone();
    broker.ask("my name is Bob").session("one").text().await;
    let (status, fork) = post(&broker, "/v1/sessions/one/fork", &json!({ "turn": first })).await;
    assert_eq!((status, contents(&fork).len()), (201, 2), "{fork}");
    assert_eq!(fork["messages"][1]["turn"], first);
    let id = fork["id"].as_str().unwrap();
    let name = broker.ask("what is my name?").session(id).text().await;
    assert_eq!(name, "Your name is Ann.");
    assert_eq!(broker.ask("what is my name?").session("one").text().await, "Your name is Bob.");
    let mut reply = broker.request("POST", "/v1/sessions/one/fork").send().await;
    assert_eq!(reply.status, 201);
    assert_eq!(contents(&reply.json().await).len(), 6, "all of it");
    let unknown = json!({ "turn": format!("turn_{}", "0".repeat(32)) });
    for (path, body, expected) in [
        ("/v1/sessions/one/fork", &unknown, (404, "turn_not_found")),
        ("/v1/sessions/nobody/fork", &json!({}), (404, "session_not_found")),
        ("/v1/sessions/one/fork", &json!({ "turn": 7 }), (400, "invalid_request")),
    ] {
        let (status, refused) = post(&broker, path, body).await;
        assert_eq!((status, refused["error"]["code"].as_str().unwrap()), expected);
    }
    assert_eq!(broker.get("/v1/sessions/nobody").send().await.status, 404);
}

#[tokio::test]
async fn a_rewound_session_has_forgotten_what_came_after() {
    let broker = Broker::start().await;
    broker.ask("my name is Ann").session("one").text().await;
    let first = broker.session("one").await["messages"][0]["turn"].clone();
    broker.ask("my name is Bob").session("one").text().await;
    let body = json!({ "turn": first });
    let (status, session) = post(&broker, "/v1/sessions/one/rewind", &body).await;
    assert_eq!((status, contents(&session).len()), (200, 2));
    let name = broker.ask("what is my name?").session("one").answer().await;
    assert_eq!((name.origin(), &*name.text), ("rehydrated", "Your name is Ann."));
    let mut running = broker.ask("count to 400").session("one").pace(0, 10).begin().await;
    running.first_text().await;
    let (status, refused) = post(&broker, "/v1/sessions/one/rewind", &body).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("session_busy")));
    let (status, refused) = post(&broker, "/v1/sessions/one/rewind", &json!({})).await;
    assert_eq!((status, &refused["error"]["param"]), (400, &json!("turn")));
}

#[tokio::test]
async fn a_person_takes_over_and_the_agent_is_told() {
    let broker = Broker::start().await;
    broker.ask("hello there").session("one").text().await;
    let said = json!({ "role": "user", "content": "my name is Ann" });
    let (status, session) = post(&broker, "/v1/sessions/one/messages", &said).await;
    assert_eq!(
        (status, session["messages"][2]["content"].as_str()),
        (200, said["content"].as_str())
    );
    assert!(session["messages"][2]["turn"].is_string());
    let promise = json!({ "role": "assistant", "content": "A colleague will call you, Ann." });
    post(&broker, "/v1/sessions/one/messages", &promise).await;
    let name = broker.ask("what is my name?").session("one").answer().await;
    assert_eq!((name.origin(), &*name.text), ("rehydrated", "Your name is Ann."));
    assert_eq!(broker.session("one").await["messages"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn a_client_that_resends_its_transcript_goes_on_after_a_person_took_over() {
    let broker = Broker::start().await;
    let hello = broker.ask("hello there").session("one").text().await;
    let said = json!({ "role": "user", "content": "my name is Ann" });
    post(&broker, "/v1/sessions/one/messages", &said).await;
    let resent = [("user", "hello there"), ("assistant", &*hello), ("user", "what is my name?")];
    assert_eq!(broker.send(&resent).session("one").text().await, "Your name is Ann.");
    let session = broker.session("one").await;
    assert_eq!(contents(&session)[2..4], ["my name is Ann", "what is my name?"]);
}

#[tokio::test]
async fn what_makes_no_sense_in_a_conversation_is_not_put_in() {
    let broker = Broker::start().await;
    broker.ask("hello there").session("one").text().await;
    let cases = [
        (json!({ "content": "x" }), "role"),
        (json!({ "role": "tool", "tool_call_id": "a", "content": "x" }), "role"),
        (json!({ "role": "user", "content": "" }), "content"),
        (json!({ "role": "user", "content": 7 }), "content"),
    ];
    for (body, param) in cases {
        let (status, refused) = post(&broker, "/v1/sessions/one/messages", &body).await;
        assert_eq!((status, refused["error"]["param"].as_str()), (400, Some(param)));
    }
    let said = json!({ "role": "user", "content": "x" });
    assert_eq!(post(&broker, "/v1/sessions/nobody/messages", &said).await.0, 404);
    let mut running = broker.ask("count to 400").session("one").pace(0, 10).begin().await;
    running.first_text().await;
    assert_eq!(post(&broker, "/v1/sessions/one/messages", &said).await.0, 409);
}

#[tokio::test]
async fn a_follower_waits_for_the_next_turn_and_sees_all_of_it() {
    let broker = Broker::start().await;
    broker.ask("hello there").session("one").text().await;
    assert_eq!(broker.get("/v1/sessions/one/events").send().await.status, 404);
    let follow = broker.get("/v1/sessions/one/events?wait=true");
    let following = tokio::spawn(async move { Answer::of(follow.send().await).await });
    // Nothing tells from outside that somebody waits; who comes late follows the turn that runs.
    let asked = broker.ask("words: 30").session("one").pace(200, 10).answer().await;
    let followed = following.await.unwrap();
    followed.expect_ok();
    assert_eq!(followed.text, asked.text);
    assert_eq!(followed.header("x-outcrop-turn"), asked.header("x-outcrop-turn"));
    for (path, status) in [("one/events?wait=maybe", 400), ("nobody/events?wait=true", 404)] {
        let refused = broker.get(&format!("/v1/sessions/{path}")).send().await;
        assert_eq!(refused.status, status, "{path}");
    }
}

#[tokio::test]
async fn an_admin_key_lists_reads_follows_interrupts_and_ends_the_sessions_of_all() {
    let broker = Broker::with(Setup { tables: KEYS, ..Setup::default() }).await;
    broker.ask("hello there").session("quiet").key(GLOBEX).text().await;
    let ask = broker.ask("count to 400").session("busy").key(ACME).pace(0, 10);
    let mut reply = ask.begin().await;
    reply.first_text().await;
    let admin = async |method: &'static str, path: &str| {
        let request = broker.request(method, path).key(ADMIN);
        Answer::of(request.send().await).await
    };
    let all = admin("GET", "/v1/sessions").await.body;
    let told: Vec<_> = all["data"].as_array().unwrap().iter().map(|it| &it["tenant"]).collect();
    assert_eq!(told, ["acme", "globex"]);
    let theirs = admin("GET", "/v1/sessions?tenant=globex").await.body;
    assert_eq!((&theirs["data"][0]["id"], &theirs["last_id"]), (&json!("quiet"), &json!("quiet")));
    let own = admin("GET", "/v1/sessions?tenant=operators").await.body;
    assert_eq!(own["data"], json!([]));
    let first = admin("GET", "/v1/sessions?limit=1").await.body;
    let next = first["next"].as_str().unwrap();
    let second = admin("GET", &format!("/v1/sessions?limit=1&after={next}")).await.body;
    assert_eq!(second["data"][0]["tenant"], "globex");

    assert_eq!(admin("GET", "/v1/sessions/busy").await.status, 404, "it is not of its tenant");
    let read = admin("GET", "/v1/sessions/busy?tenant=acme").await.body;
    assert_eq!((&read["state"], &read["tenant"]), (&json!("running"), &json!("acme")));
    let follow = broker.get("/v1/sessions/busy/events?tenant=acme").key(ADMIN);
    let mut followed = follow.send().await;
    followed.first_text().await;
    let stopped = admin("POST", "/v1/sessions/busy/interrupt?tenant=acme").await;
    assert_eq!((stopped.status, &stopped.body["state"]), (200, &json!("idle")));
    Answer::of(reply).await.expect_ok();
    Answer::of(followed).await.expect_ok();
    assert_eq!(admin("DELETE", "/v1/sessions/quiet?tenant=globex").await.status, 200);
    let gone = broker.get("/v1/sessions/quiet").key(GLOBEX).send().await;
    assert_eq!(gone.status, 404);
}

#[tokio::test]
async fn nobody_changes_and_nobody_else_sees_the_sessions_of_other_tenants() {
    let broker = Broker::with(Setup { tables: KEYS, ..Setup::default() }).await;
    broker.ask("hello there").session("one").key(ACME).text().await;
    let said =
        json!({ "role": "user", "content": "x", "turn": "t", "metadata": {}, "model": "agent" });
    let asked = async |key: &str, method: &'static str, path: &str| {
        let request =
            if method == "POST" { broker.post(path, &said) } else { broker.request(method, path) };
        let reply = Answer::of(request.key(key).send().await).await;
        (reply.status, reply.code())
    };
    let (not_found, not_allowed) = ("session_not_found".to_owned(), "not_allowed".to_owned());
    let changes = ["", "/messages", "/fork", "/rewind", "/move"];
    for rest in changes {
        let path = format!("/v1/sessions/one{rest}?tenant=acme");
        assert_eq!(asked(ADMIN, "POST", &path).await, (403, not_allowed.clone()), "{rest}");
        assert_eq!(asked(GLOBEX, "POST", &path).await, (404, not_found.clone()), "{rest}");
    }
    for (method, rest) in [("GET", ""), ("DELETE", ""), ("POST", "/interrupt"), ("GET", "/events")]
    {
        let path = format!("/v1/sessions/one{rest}?tenant=acme");
        assert_eq!(asked(GLOBEX, method, &path).await, (404, not_found.clone()), "{rest}");
    }
    let listed = asked(GLOBEX, "GET", "/v1/sessions?tenant=acme").await;
    assert_eq!(listed, (403, not_allowed));
    assert_eq!(asked(ADMIN, "GET", "/v1/sessions?tenant=a%20b").await.0, 400);
    assert_eq!(asked(ACME, "GET", "/v1/sessions/one?tenant=acme").await.0, 200, "its own");
    let own = broker.get("/v1/sessions/one").key(ACME).send().await.json().await;
    assert_eq!(own["messages"].as_array().unwrap().len(), 2);
    assert_eq!(own.get("tenant"), None);
}

#[tokio::test]
async fn nothing_is_asked_upstream_before_the_first_turn_though_the_way_is_opened() {
    let broker = Broker::start().await;
    let body = json!({ "id": "one", "model": "agent", "prewarm": true });
    assert_eq!(post(&broker, "/v1/sessions", &body).await.0, 201);
    assert_eq!(broker.ask("hello there").session("one").answer().await.origin(), "new");
    until("one call, that of the turn", async || broker.calls().await.len() == 1).await;
}
