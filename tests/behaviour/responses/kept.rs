//! What is kept of responses: their input, read again, named by its ids, and deleted.

use serde_json::{Value, json};

use crate::broker::{Broker, Setup};
use crate::respond::{Respond, Responded, output};

use super::{NOBODYS, status_of, with_model};

#[tokio::test]
async fn the_input_of_a_response_is_listed_page_by_page() {
    let broker = Broker::start().await;
    let input: Vec<_> =
        (1..=5).map(|n| json!({ "role": "user", "content": format!("part {n}") })).collect();
    let made = Respond::to(&broker, json!(input)).complete().await;
    let list = async |query: &str| made.get(&broker, &format!("/input_items{query}")).await.body;
    let ids = |page: &Value| -> Vec<String> {
        page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = list("?order=asc").await;
    assert_eq!((&all["object"], &all["has_more"]), (&json!("list"), &json!(false)));
    let texts: Vec<_> =
        all["data"].as_array().unwrap().iter().map(|it| it["content"][0]["text"].clone()).collect();
    assert_eq!(json!(texts), json!(["part 1", "part 2", "part 3", "part 4", "part 5"]));
    let mut newest_first = ids(&all);
    newest_first.reverse();
    assert_eq!(ids(&list("").await), newest_first);
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = list(&format!("?limit=2{after}")).await;
        seen.extend(ids(&page));
        assert_eq!(page["last_id"], json!(seen.last()));
        after = format!("&after={}", seen.last().unwrap());
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!(seen, newest_first);
    let wrong =
        [("limit", "0"), ("limit", "101"), ("limit", "x"), ("order", "up"), ("after", "msg_1")];
    for (param, value) in wrong {
        let refused = made.get(&broker, &format!("/input_items?{param}={value}")).await;
        assert_eq!((refused.status, refused.refusal().2), (400, param), "{value}");
    }
}

#[tokio::test]
async fn all_that_was_sent_is_the_input_of_a_response() {
    let broker = Broker::start().await;
    let input = json!([
        { "role": "user", "content": "my name is Ann" },
        { "role": "assistant", "content": "Hello Ann." },
        { "role": "user", "content": "What is my name?" },
    ]);
    let made = Respond::to(&broker, input).complete().await;
    assert!(made.text().contains("Ann"), "{}", made.text());
    let listed = made.get(&broker, "/input_items?order=asc").await.body;
    let said = |item: &Value| (item["role"].clone(), item["content"][0]["text"].clone());
    let said: Vec<_> = listed["data"].as_array().unwrap().iter().map(said).collect();
    let expected =
        [("user", "my name is Ann"), ("assistant", "Hello Ann."), ("user", "What is my name?")];
    assert_eq!(said, expected.map(|(role, text)| (json!(role), json!(text))));
    let next = Respond::to(&broker, "what was my last message?").after(&made).complete().await;
    assert!(next.text().contains("What is my name?"), "{}", next.text());
}

/// The texts of what a response's model was given, the oldest first.
async fn given(broker: &Broker, response: &Responded) -> Vec<String> {
    let listed = response.get(broker, "/input_items?order=asc&limit=100").await.body;
    let items = listed["data"].as_array().unwrap_or_else(|| panic!("no list: {listed}"));
    let text = |item: &Value| match item["type"].as_str().unwrap() {
        "message" => item["content"][0]["text"].as_str().unwrap().to_owned(),
        "function_call" => item["name"].as_str().unwrap().to_owned(),
        _ => item["output"].as_str().unwrap().to_owned(),
    };
    items.iter().map(text).collect()
}

#[tokio::test]
async fn what_a_response_went_on_from_is_listed_before_its_own_input() {
    let broker = Broker::start().await;
    let first = Respond::to(&broker, "call: forecast city=Oslo; then say: So.").complete().await;
    let [call] = &first.calls()[..] else { panic!("{first:?}") };
    let second = Respond::to(&broker, json!([output(call, "rain")])).after(&first).complete().await;
    let third = Respond::to(&broker, "count to 2").after(&second).complete().await;
    // A branch, and a later one in the same session, are nothing to them.
    let branch = Respond::to(&broker, "count to 3").after(&second).complete().await;
    Respond::to(&broker, "count to 4").after(&third).complete().await;
    let asked = "call: forecast city=Oslo; then say: So.";
    assert_eq!(given(&broker, &first).await, [asked]);
    assert_eq!(given(&broker, &second).await, [asked, "forecast", "rain"]);
    let said = second.text();
    assert_eq!(given(&broker, &third).await, [asked, "forecast", "rain", &said, "count to 2"]);
    assert_eq!(given(&broker, &branch).await, [asked, "forecast", "rain", &said, "count to 3"]);
    // The items have the ids that they came with, and pages go over all of them.
    let newest = third.get(&broker, "/input_items?limit=2").await.body;
    assert_eq!(newest["data"][0]["content"][0]["text"], "count to 2");
    assert_eq!(
        (&newest["data"][1]["id"], &newest["has_more"]),
        (&second.body["output"][0]["id"], &json!(true))
    );
    let rest = format!("/input_items?after={}", newest["last_id"].as_str().unwrap());
    let rest = third.get(&broker, &rest).await.body;
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["has_more"]), (3, &json!(false)));
    assert_eq!(rest["data"][1]["call_id"], call["call_id"]);
}

#[tokio::test]
async fn what_a_conversation_held_is_input_also_of_a_response_that_runs_or_fails() {
    let broker = Broker::start().await;
    let items = json!([{ "role": "user", "content": "My name is Ann." }]);
    let made =
        broker.post("/v1/conversations", &json!({ "items": items })).send().await.json().await;
    let ask = |text| Respond::to(&broker, text).with("conversation", made["id"].clone());
    let failed = ask("hello").in_background().fault("dependency").send().await;
    failed.ended(&broker).await;
    assert_eq!(given(&broker, &failed).await, ["hello"]);
    let running = ask("count to 400").in_background().pace(0, 10).send().await;
    assert_eq!(given(&broker, &running).await, ["My name is Ann.", "count to 400"]);
    broker.post(&format!("{}/cancel", running.path()), &json!({})).send().await;
    assert_eq!(given(&broker, &running).await, ["My name is Ann.", "count to 400"]);
}

#[tokio::test]
async fn what_is_to_be_included_when_it_is_read_again_is_there_or_refused_by_name() {
    let broker = with_model().await;
    let ask = Respond::to(&broker, "think: Hm.; say: Yes.").with("model", "claude");
    let made =
        ask.with("reasoning", json!({ "effort": "low", "summary": "auto" })).complete().await;
    let sealed = |body: &Value| body["output"][0]["encrypted_content"].is_string();
    assert!(made.body["output"][0]["type"] == "reasoning" && !sealed(&made.body), "{made:?}");
    for name in ["include", "include[]", "include%5B0%5D"] {
        let query = format!("?{name}=reasoning.encrypted_content");
        assert!(sealed(&made.get(&broker, &query).await.body), "{name}");
        let streamed = made.get(&broker, &format!("{query}&stream=true")).await;
        assert!(sealed(&streamed.body), "{name}");
        for below in ["?", "?stream=true&", "/input_items?"] {
            let known = made.get(&broker, &format!("{below}{name}=file_search_call.results")).await;
            assert_eq!(known.status, 200, "{below}{name}");
            let unknown = made.get(&broker, &format!("{below}{name}=everything")).await;
            assert_eq!((unknown.status, unknown.refusal().2), (400, "include"), "{below}{name}");
        }
    }
    assert!(!sealed(&made.get(&broker, "").await.body));
}

#[tokio::test]
async fn a_deleted_response_is_gone_and_so_is_what_it_brought() {
    let broker = Broker::start().await;
    let first =
        Respond::to(&broker, "my card is 4111").header("x-session-id", "one").complete().await;
    let second = Respond::to(&broker, "count to 2").after(&first).complete().await;
    let deleted = Responded::of(broker.request("DELETE", &first.path()).send().await).await;
    let said = json!({ "id": first.id(), "object": "response", "deleted": true });
    assert_eq!((deleted.status, deleted.body), (200, said));
    for (method, below) in [
        ("GET", ""),
        ("GET", "?stream=true"),
        ("GET", "/input_items"),
        ("DELETE", ""),
        ("POST", "/cancel"),
    ] {
        let path = format!("{}{below}", first.path());
        assert_eq!(
            status_of(&broker, method, &path).await,
            (404, "response_not_found".to_owned()),
            "{path}"
        );
    }
    let session = broker.session("one").await;
    assert!(!session.to_string().contains("4111"), "{session}");
    assert_eq!(session["messages"].as_array().unwrap().len(), 2);
    let third = Respond::to(&broker, "what was my last message?").after(&second).complete().await;
    assert!(third.text().contains("count to 2"), "{}", third.text());
    assert!(!third.text().contains("4111"), "{}", third.text());
}

#[tokio::test]
async fn a_response_of_somebody_else_is_as_good_as_none() {
    let tables = "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\n\n\
                  [[keys]]\ntenant = \"globex\"\nkey = \"sk-globex-first-key\"\n";
    let broker = Broker::with(Setup { tables, ..Setup::default() }).await;
    let theirs = Respond::to(&broker, "hello").key("sk-acme-first-key").complete().await;
    for id in [theirs.id(), NOBODYS, "resp_1", "msg_1", "%20"] {
        for (method, below) in
            [("GET", ""), ("GET", "/input_items"), ("DELETE", ""), ("POST", "/cancel")]
        {
            let request = broker.request(method, &format!("/v1/responses/{id}{below}"));
            let reply = Responded::of(request.key("sk-globex-first-key").send().await).await;
            assert_eq!(
                (reply.status, reply.refusal().1),
                (404, "response_not_found"),
                "{method} {id}{below}"
            );
        }
    }
    let keyless = broker.get(&theirs.path()).send().await;
    assert_eq!(keyless.status, 401);
    let own = broker.get(&theirs.path()).key("sk-acme-first-key").send().await;
    assert_eq!(own.status, 200);
}

#[tokio::test]
async fn items_may_be_named_instead_of_sent() {
    let broker = with_model().await;
    let ask = |input: Value| Respond::to(&broker, input).with("model", "claude");
    let first = ask(json!("my name is Ann")).complete().await;
    let said = first.get(&broker, "/input_items").await.body["data"][0]["id"].clone();
    let answered = first.body["output"][0]["id"].clone();
    let input = json!([
        { "type": "item_reference", "id": said },
        { "id": answered },
        { "role": "user", "content": "what is my name?" },
    ]);
    assert_eq!(ask(input).complete().await.text(), "Your name is Ann.");
    let unknown = said.as_str().unwrap().replace("_i0", "_i7");
    for id in ["msg_1", &*unknown, &format!("msg_{}_0", "0".repeat(32))] {
        let input =
            json!([{ "role": "user", "content": "hello" }, { "type": "item_reference", "id": id }]);
        let refused = ask(input).send().await;
        assert_eq!(
            (refused.status, refused.refusal().2),
            (400, "input[1].id"),
            "{id}: {refused:?}"
        );
    }
}
