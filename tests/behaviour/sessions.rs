//! Sessions as their own resource: list, read, interrupt, end.

use std::path::Path;

use serde_json::{Value, json};

use super::ask::Answer;
use super::broker::{Broker, Setup, until};
use super::recorded::Recorded;

const TWO_TENANTS: &str = "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\n\n\
                           [[keys]]\ntenant = \"globex\"\nkey = \"sk-globex-first-key\"\n";

async fn interrupt(broker: &Broker, id: &str, body: &Value) -> Value {
    let mut reply = broker.post(&format!("/v1/sessions/{id}/interrupt"), body).send().await;
    assert_eq!(reply.status, 200);
    reply.json().await
}

#[tokio::test]
async fn a_session_tells_what_it_is_and_what_was_said() {
    let broker = Broker::start().await;
    let answer = broker.ask("my name is Ann").session("call-7").answer().await;
    let session = broker.session("call-7").await;
    assert_eq!(session["messages"][0]["turn"], answer.header("x-outcrop-turn"));
    let answer = answer.text;
    let turn = &session["messages"][0]["turn"];
    let expected = json!([
        { "role": "user", "content": "my name is Ann", "status": "completed", "turn": turn },
        { "role": "assistant", "content": answer, "status": "completed", "turn": turn },
    ]);
    assert_eq!(session["messages"], expected);
    assert_eq!(
        [&session["id"], &session["object"], &session["model"], &session["state"]],
        ["call-7", "session", "agent", "idle"]
    );
    assert_eq!(session["turns"], 1);
    let (created, active) = (session["created_at"].as_u64(), session["last_active_at"].as_u64());
    assert!(created > Some(1_700_000_000) && created <= active, "{session}");
}

#[tokio::test]
async fn sessions_are_listed_the_last_active_first_and_no_more_than_asked_for() {
    let broker = Broker::start().await;
    for id in ["one", "two", "three", "one"] {
        broker.ask("hello there").session(id).text().await;
    }
    let list = async |query: &str| {
        let listed = broker.get(&format!("/v1/sessions{query}")).send().await.json().await;
        let ids = listed["data"].as_array().unwrap().iter().map(|held| held["id"].clone());
        (listed["object"].clone(), ids.collect::<Value>())
    };
    assert_eq!(list("").await, (json!("list"), json!(["one", "three", "two"])));
    assert_eq!(list("?limit=1").await.1, json!(["one"]));
    for limit in ["0", "x", "-1", "100000"] {
        let refused = broker.get(&format!("/v1/sessions?limit={limit}")).send().await;
        assert_eq!(refused.status, 400, "{limit}");
    }
}

#[tokio::test]
async fn a_running_session_says_so() {
    let broker = Broker::start().await;
    let mut reply = broker.ask("count to 400").session("one").pace(0, 10).begin().await;
    reply.first_text().await;
    let session = broker.session("one").await;
    assert_eq!((&session["state"], &session["queued"]), (&json!("running"), &json!(0)));
    assert_eq!(session["running_turn"], reply.header("x-outcrop-turn"));
}

#[tokio::test]
async fn an_interrupt_ends_the_running_turn_and_keeps_what_the_client_got() {
    let broker = Broker::start().await;
    let mut reply = broker.ask("count to 400").session("one").pace(0, 10).begin().await;
    let (_, mut said) = reply.first_text().await;
    let session = interrupt(&broker, "one", &json!({})).await;
    let rest = Answer::of(reply).await;
    rest.expect_ok();
    assert_eq!(rest.finish_reason(), "stop");
    said.push_str(&rest.text);
    assert_eq!(
        (&session["messages"][1]["content"], &session["messages"][1]["status"]),
        (&json!(said), &json!("interrupted"))
    );
    assert_eq!((&session["state"], &session["object"]), (&json!("idle"), &json!("session")));
    broker.open_calls_become(0).await;
    let next = broker.ask("what was my last message?").session("one").answer().await;
    assert_eq!(
        (next.origin(), &*next.text),
        ("continued", "Your last message was: \"count to 400\"")
    );
}

#[tokio::test]
async fn an_interrupt_with_what_was_spoken_keeps_only_that() {
    let broker = Broker::start().await;
    let mut reply = broker.ask("count to 400").session("one").pace(0, 10).begin().await;
    reply.first_text().await;
    let session = interrupt(&broker, "one", &json!({ "spoken": "1 2" })).await;
    let kept = &session["messages"][1];
    assert_eq!((&kept["content"], &kept["status"]), (&json!("1 2"), &json!("interrupted")));
    assert_eq!(broker.session("one").await["messages"][1], *kept);
    let heard = [("user", "count to 400"), ("assistant", "1 2"), ("user", "go on then")];
    assert_eq!(broker.send(&heard).session("one").answer().await.origin(), "continued");
}

#[tokio::test]
async fn an_interrupt_after_the_answer_cuts_it_to_what_was_spoken_or_changes_nothing() {
    let settings = "session.resident_seconds = 0.2";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let text = broker.ask("what loans do you offer?").session("one").text().await;
    let unchanged = interrupt(&broker, "one", &json!({})).await;
    assert_eq!(unchanged["messages"][1]["content"], text);
    broker.metric_becomes("outcrop_sessions_resident", 0.0).await;
    let cut = interrupt(&broker, "one", &json!({ "spoken": "We offer" })).await;
    assert_eq!(
        (&cut["messages"][1]["content"], &cut["messages"][1]["status"]),
        (&json!("We offer"), &json!("interrupted"))
    );
    broker.metric_becomes("outcrop_sessions_resident", 0.0).await;
    assert_eq!(broker.session("one").await["messages"][1]["content"], "We offer");
}

#[tokio::test]
async fn an_interrupt_lets_the_next_turn_in_the_queue_begin() {
    let broker = Broker::start().await;
    let mut first = broker.ask("count to 400").session("one").pace(0, 10).begin().await;
    first.first_text().await;
    let second = broker.ask("what loans do you offer?").session("one").request();
    let second = tokio::spawn(async move { Answer::of(second.send().await).await });
    broker.metric_becomes("outcrop_turns_queued", 1.0).await;
    interrupt(&broker, "one", &json!({})).await;
    second.await.unwrap().expect_ok();
    Answer::of(first).await.expect_ok();
}

#[tokio::test]
async fn an_order_to_interrupt_that_makes_no_sense_is_refused() {
    let broker = Broker::start().await;
    broker.ask("hello there").session("one").text().await;
    for body in ["{\"spoken\": 7}", "[]", "rubbish"] {
        let reply = broker.request("POST", "/v1/sessions/one/interrupt").body(body).send().await;
        assert_eq!(Answer::of(reply).await.status, 400, "{body}");
    }
    let empty = broker.request("POST", "/v1/sessions/one/interrupt").send().await;
    assert_eq!(empty.status, 200);
}

#[tokio::test]
async fn a_session_that_is_ended_is_gone_and_so_is_its_running_turn() {
    let broker = Broker::start().await;
    let mut reply = broker.ask("count to 400").session("one").pace(0, 10).begin().await;
    reply.first_text().await;
    let mut deleted = broker.request("DELETE", "/v1/sessions/one").send().await;
    let expected = json!({ "id": "one", "object": "session.deleted", "deleted": true });
    assert_eq!((deleted.status, deleted.json().await), (200, expected));
    let rest = Answer::of(reply).await;
    assert_eq!(rest.finish_reason(), "stop");
    broker.open_calls_become(0).await;
    for method in ["GET", "DELETE"] {
        assert_eq!(broker.request(method, "/v1/sessions/one").send().await.status, 404);
    }
    assert_eq!(broker.ask("hello there").session("one").answer().await.origin(), "new");
}

#[tokio::test]
async fn another_tenants_session_looks_like_one_that_is_not_there() {
    let broker = Broker::with(Setup { tables: TWO_TENANTS, ..Setup::default() }).await;
    let mut turn = broker.ask("count to 400").session("secret-one").key("sk-acme-first-key");
    turn = turn.pace(0, 10);
    let mut reply = turn.begin().await;
    reply.first_text().await;
    let paths = [("GET", ""), ("DELETE", ""), ("POST", "/interrupt"), ("GET", "/events")];
    for (method, rest) in paths {
        let ask = async |id: &str| {
            let path = format!("/v1/sessions/{id}{rest}");
            let request = broker.request(method, &path).key("sk-globex-first-key");
            let reply = Answer::of(request.send().await).await;
            (reply.status, reply.body)
        };
        let (theirs, absent) = (ask("secret-one").await, ask("absent-one").await);
        assert_eq!(theirs, absent, "{method} {rest}");
        assert_eq!((theirs.0, &theirs.1["error"]["code"]), (404, &json!("session_not_found")));
    }
    let listed = broker.get("/v1/sessions").key("sk-globex-first-key").send().await.json().await;
    assert_eq!((&listed["data"], &listed["has_more"]), (&json!([]), &json!(false)));
    let own = broker.get("/v1/sessions/secret-one").key("sk-acme-first-key").send().await;
    assert_eq!(Answer::of(own).await.body["state"], "running");
}

#[tokio::test]
async fn a_session_whose_id_holds_a_slash_is_found_by_its_escaped_name() {
    let broker = Broker::start().await;
    broker.ask("hello there").session("team/7").text().await;
    assert_eq!(broker.session("team%2F7").await["id"], "team/7");
}

#[tokio::test]
async fn a_session_that_waits_for_results_names_the_calls() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/agents");
    let agent = Recorded::play(&golden.join("return-of-control")).await;
    let broker = Broker::with(Setup { model: &agent.settings(), ..Setup::default() }).await;
    let asked = broker.ask("how is the weather?").session("one").whole().answer().await;
    let calls = asked.body["choices"][0]["message"]["tool_calls"].as_array().unwrap().clone();
    let told =
        calls.iter().map(|call| json!({ "id": call["id"], "name": call["function"]["name"] }));
    let session = broker.session("one").await;
    assert_eq!(session["pending_tool_calls"], told.collect::<Value>());
    assert_eq!(session["pending_tool_calls"][0]["name"], "get_forecast");
}

#[tokio::test]
async fn the_end_of_a_session_is_told_upstream() {
    let broker = Broker::start().await;
    broker.ask("my name is Ann").session("one").text().await;
    assert_eq!(broker.request("DELETE", "/v1/sessions/one").send().await.status, 200);
    until("the upstream session to end", async || broker.calls().await.len() == 2).await;
    let calls = broker.calls().await;
    assert_eq!(
        (&calls[1]["session"], &calls[1]["end_session"]),
        (&calls[0]["session"], &json!(true))
    );
}

#[tokio::test]
async fn after_a_turn_that_ends_its_upstream_session_the_conversation_starts_over() {
    let broker = Broker::start().await;
    broker.ask("my name is Ann").session("one").text().await;
    let goodbye = broker.ask("goodbye for now").session("one");
    let goodbye = goodbye.with("outcrop", json!({ "end_session": true })).text().await;
    assert_eq!(goodbye, "Goodbye, Ann, and thank you for calling.");
    assert_eq!(broker.calls().await[1]["end_session"], true);
    assert_eq!(broker.session("one").await["messages"], json!([]));
    let next = broker.ask("what is my name?").session("one").answer().await;
    assert_eq!((next.origin(), &*next.text), ("new", "You have not told me your name yet."));
}

#[tokio::test]
async fn a_session_that_ends_takes_the_turns_that_wait_with_it() {
    let broker = Broker::start().await;
    let mut first = broker.ask("count to 400").session("one").pace(0, 10).begin().await;
    first.first_text().await;
    let waiting = broker.ask("are you there?").session("one").whole().request();
    let waiting = tokio::spawn(async move { Answer::of(waiting.send().await).await });
    broker.metric_becomes("outcrop_turns_queued", 1.0).await;
    broker.request("DELETE", "/v1/sessions/one").send().await;
    assert_eq!(waiting.await.unwrap().text, "");
    Answer::of(first).await.expect_ok();
    broker.metric_becomes("outcrop_turns_in_flight", 0.0).await;
}
