//! OpenAI's Conversations: sessions by another name.

use serde_json::{Value, json};

use super::broker::{Broker, Setup};
use super::respond::{Respond, Responded};

async fn call(broker: &Broker, method: &'static str, path: &str, body: Value) -> Responded {
    let request = broker.request(method, &format!("/v1/conversations{path}"));
    let request = if body.is_null() { request } else { request.json(&body) };
    Responded::of(request.send().await).await
}

async fn get(broker: &Broker, path: &str) -> Responded {
    call(broker, "GET", path, Value::Null).await
}

/// Makes a conversation and gives its id.
async fn create(broker: &Broker, body: Value) -> String {
    let made = call(broker, "POST", "", body).await;
    assert_eq!(made.status, 200, "{made:?}");
    made.id().to_owned()
}

/// What was said in a conversation, the oldest first: types or roles, with texts.
async fn said(broker: &Broker, id: &str) -> Vec<(String, String)> {
    let items = get(broker, &format!("/{id}/items?order=asc&limit=100")).await.body;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let said = |item: &Value| match item["role"].as_str() {
        Some(role) => (role.to_owned(), text(&item["content"][0]["text"])),
        None => (text(&item["type"]), text(&item["call_id"])),
    };
    items["data"].as_array().unwrap_or_else(|| panic!("{items}")).iter().map(said).collect()
}

fn user(text: &str) -> Value {
    json!({ "type": "message", "role": "user", "content": text })
}

#[tokio::test]
async fn a_conversation_is_made_read_annotated_and_deleted() {
    let broker = Broker::start().await;
    let made = call(&broker, "POST", "", json!({ "metadata": { "topic": "loans" } })).await;
    assert_eq!(made.status, 200);
    assert!(made.id().starts_with("conv_"), "{made:?}");
    assert!(made.body["created_at"].as_u64() > Some(1_700_000_000));
    assert_eq!(
        (&made.body["object"], &made.body["metadata"]),
        (&json!("conversation"), &json!({ "topic": "loans" }))
    );
    let path = format!("/{}", made.id());
    assert_eq!(get(&broker, &path).await.body, made.body);
    let changed = call(&broker, "POST", &path, json!({ "metadata": { "topic": "cars" } })).await;
    assert_eq!(changed.body["metadata"], json!({ "topic": "cars" }));
    assert_eq!(get(&broker, &path).await.body, changed.body);
    let missing = call(&broker, "POST", &path, json!({})).await;
    assert_eq!((missing.status, missing.refusal().2), (400, "metadata"));
    let deleted = call(&broker, "DELETE", &path, Value::Null).await;
    let expected = json!({ "id": made.id(), "object": "conversation.deleted", "deleted": true });
    assert_eq!((deleted.status, deleted.body), (200, expected));
    for (method, below) in [("GET", ""), ("DELETE", ""), ("GET", "/items"), ("GET", "/items/msg_1")]
    {
        let gone = call(&broker, method, &format!("{path}{below}"), Value::Null).await;
        assert_eq!(
            (gone.status, gone.refusal().1),
            (404, "conversation_not_found"),
            "{method} {below}"
        );
    }
    let empty = broker.request("POST", "/conversations").send().await;
    assert_eq!(empty.status, 200, "nothing needs to be said of it");
}

#[tokio::test]
async fn responses_go_on_in_a_conversation() {
    let broker = Broker::start().await;
    let items = json!([user("My name is Ann."), { "role": "assistant", "content": "Hello Ann." }]);
    let id = create(&broker, json!({ "items": items })).await;
    let ask = |text: &str| Respond::to(&broker, text);
    let first = ask("What is my name?").with("conversation", id.as_str()).complete().await;
    assert!(first.text().contains("Ann"), "{}", first.text());
    assert_eq!(first.body["conversation"], json!({ "id": id }));
    let second =
        ask("count to 2").with("conversation", json!({ "id": id })).streamed().complete().await;
    let expected = [
        ("user", "My name is Ann."),
        ("assistant", "Hello Ann."),
        ("user", "What is my name?"),
        ("assistant", &first.text()),
        ("user", "count to 2"),
        ("assistant", &second.text()),
    ];
    let expected = expected.map(|(role, text)| (role.to_owned(), text.to_owned()));
    assert_eq!(said(&broker, &id).await, expected);
    let calls = broker.calls().await;
    assert_eq!(
        (&calls[0]["session"], &calls[1]["history_messages"]),
        (&calls[1]["session"], &json!(0))
    );
    // An item has one id, in the response and in the conversation.
    let items = get(&broker, &format!("/{id}/items?limit=1")).await.body;
    assert_eq!(items["data"][0]["id"], second.body["output"][0]["id"]);
    let missing = ask("hello").with("conversation", "conv_nobodys").send().await;
    assert_eq!((missing.status, missing.refusal().1), (404, "conversation_not_found"));
}

#[tokio::test]
async fn items_are_put_in_found_and_taken_out() {
    let broker = Broker::start().await;
    let id = create(&broker, json!({})).await;
    let path = format!("/{id}/items");
    let added = call(
        &broker,
        "POST",
        &path,
        json!({ "items": [user("My name is Ann."), user("I live in Oslo.")] }),
    )
    .await;
    assert_eq!((added.status, &added.body["object"]), (200, &json!("list")), "{added:?}");
    let data = added.body["data"].as_array().unwrap();
    assert_eq!(data[0]["content"], json!([{ "type": "input_text", "text": "My name is Ann." }]));
    assert_eq!((&added.body["first_id"], &added.body["last_id"]), (&data[0]["id"], &data[1]["id"]));
    let item = format!("{path}/{}", data[1]["id"].as_str().unwrap());
    assert_eq!(get(&broker, &item).await.body, data[1]);
    let removed = call(&broker, "DELETE", &item, Value::Null).await;
    assert_eq!((removed.status, &removed.body["object"]), (200, &json!("conversation")));
    assert_eq!(get(&broker, &item).await.refusal().1, "conversation_not_found");
    assert_eq!(call(&broker, "DELETE", &item, Value::Null).await.status, 404);
    assert_eq!(said(&broker, &id).await, [("user".to_owned(), "My name is Ann.".to_owned())]);
    // The agent is told what was put in, and not what was taken out.
    let answer =
        Respond::to(&broker, "What is my name?").with("conversation", id.as_str()).complete().await;
    assert!(answer.text().contains("Ann"), "{}", answer.text());
    let seen = broker.upstream().await.to_string();
    assert!(seen.contains("My name is Ann.") && !seen.contains("Oslo"), "{seen}");
}

#[tokio::test]
async fn items_are_listed_page_by_page() {
    let broker = Broker::start().await;
    let items: Vec<_> = (0..20).map(|number| user(&format!("part {number}"))).collect();
    let id = create(&broker, json!({ "items": items })).await;
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = get(&broker, &format!("/{id}/items?limit=7&order=asc{after}")).await.body;
        let data = page["data"].as_array().unwrap();
        seen.extend(
            data.iter().map(|item| item["content"][0]["text"].as_str().unwrap().to_owned()),
        );
        after = format!("&after={}", page["last_id"].as_str().unwrap());
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!(seen, (0..20).map(|number| format!("part {number}")).collect::<Vec<_>>());
    let empty = create(&broker, json!({})).await;
    let page = get(&broker, &format!("/{empty}/items")).await.body;
    assert_eq!((&page["data"], &page["has_more"]), (&json!([]), &json!(false)));
    for (param, value) in [("limit", "0"), ("limit", "101"), ("order", "x"), ("after", "msg_1")] {
        let refused = get(&broker, &format!("/{id}/items?{param}={value}")).await;
        assert_eq!((refused.status, refused.refusal().2), (400, param));
    }
}

#[tokio::test]
async fn what_is_too_much_or_makes_no_sense_is_refused() {
    let broker = Broker::start().await;
    let id = create(&broker, json!({})).await;
    let many: Vec<_> = (0..21).map(|_| user("x")).collect();
    let keys: serde_json::Map<_, _> = (0..17).map(|n| (n.to_string(), json!("v"))).collect();
    let bodies = [
        (json!({ "items": many }), "items"),
        (json!({ "items": [{ "type": "message" }] }), "items[0].role"),
        (json!({ "items": [{ "type": "web_search_call", "id": "ws_1" }] }), "items[0].type"),
        (json!({ "items": [{ "role": "developer", "content": "be brief" }] }), "items"),
        (json!({ "metadata": keys }), "metadata"),
        (json!({ "metadata": { "k".repeat(65): "v" } }), "metadata"),
        (json!({ "metadata": { "k": "v".repeat(513) } }), "metadata"),
    ];
    for (body, param) in bodies {
        let refused = call(&broker, "POST", "", body).await;
        assert_eq!((refused.status, refused.refusal().2), (400, param), "{refused:?}");
    }
    let path = format!("/{id}/items");
    for (body, param) in
        [(json!({}), "items"), (json!({ "items": [] }), "items"), (json!({ "items": 7 }), "items")]
    {
        let refused = call(&broker, "POST", &path, body).await;
        assert_eq!((refused.status, refused.refusal().2), (400, param), "{refused:?}");
    }
    for body in ["rubbish", "[]", "{\"items\":"] {
        let request = broker.request("POST", "/v1/conversations").body(body);
        assert_eq!(request.send().await.status, 400, "{body}");
    }
}

#[tokio::test]
async fn a_conversation_cannot_be_changed_while_it_is_answered_and_can_be_ended() {
    let broker = Broker::start().await;
    let id = create(&broker, json!({})).await;
    let ask = Respond::to(&broker, "count to 400").with("conversation", id.as_str());
    let running = ask.in_background().pace(0, 10).send().await;
    assert_eq!(running.status, 200, "{running:?}");
    let busy =
        call(&broker, "POST", &format!("/{id}/items"), json!({ "items": [user("hello")] })).await;
    assert_eq!((busy.status, busy.refusal().1), (409, "session_busy"));
    let deleted = call(&broker, "DELETE", &format!("/{id}"), Value::Null).await;
    assert_eq!(deleted.status, 200);
    broker.open_calls_become(0).await;
    assert_eq!(running.get(&broker, "").await.refusal().1, "response_not_found");
}

#[tokio::test]
async fn a_conversation_outlives_its_last_response() {
    let broker = Broker::start().await;
    let id = create(&broker, json!({})).await;
    let ask = |text: &str| Respond::to(&broker, text).with("conversation", id.as_str());
    let only = ask("hello there").complete().await;
    assert_eq!(broker.request("DELETE", &only.path()).send().await.status, 200);
    assert_eq!(said(&broker, &id).await, []);
    assert_eq!(ask("count to 2").complete().await.text().trim(), "1 2");
}

#[tokio::test]
async fn any_session_is_a_conversation_and_nobody_elses_is() {
    let tables = "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\n\n\
                  [[keys]]\ntenant = \"globex\"\nkey = \"sk-globex-first-key\"\n";
    let broker = Broker::with(Setup { tables, ..Setup::default() }).await;
    broker.ask("My name is Ann.").session("call-7").key("sk-acme-first-key").text().await;
    let read = |key: &str| broker.get("/v1/conversations/call-7").key(key);
    assert_eq!(read("sk-acme-first-key").send().await.status, 200);
    let ask = Respond::to(&broker, "What is my name?").with("conversation", "call-7");
    let told = ask.clone().key("sk-acme-first-key").complete().await;
    assert!(told.text().contains("Ann"), "{}", told.text());
    let foreign = Responded::of(read("sk-globex-first-key").send().await).await;
    assert_eq!((foreign.status, foreign.refusal().1), (404, "conversation_not_found"));
    let foreign = ask.key("sk-globex-first-key").send().await;
    assert_eq!((foreign.status, foreign.refusal().1), (404, "conversation_not_found"));
}
