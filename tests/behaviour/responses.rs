//! OpenAI's Responses: made, gone on from, kept, read again, cancelled and deleted.

use serde_json::{Value, json};

use super::broker::{Broker, Setup, until};
use super::client::Frame;
use super::respond::{Respond, Responded, check_stream, output};

const MODEL: &str = "[[models]]\nname = \"claude\"\nbackend = \"bedrock\"\n\
                     model_id = \"us.anthropic.claude-sonnet-4-20250514-v1:0\"\n";
const NOBODYS: &str = "resp_00000000000000000000000000000000";

async fn with_model() -> Broker {
    Broker::with(Setup { tables: MODEL, ..Setup::default() }).await
}

/// What was said to the agent, with the upstream session that it was said in.
async fn told(broker: &Broker) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let calls = broker.calls().await;
    calls.iter().map(|call| (text(&call["input_text"]), text(&call["session"]))).collect()
}

async fn status_of(broker: &Broker, method: &'static str, path: &str) -> (u16, String) {
    let reply = Responded::of(broker.request(method, path).send().await).await;
    (reply.status, reply.refusal().1.to_owned())
}

fn kinds(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(|frame| frame.event.as_str()).collect()
}

// --- answers ------------------------------------------------------------------------------------

#[tokio::test]
async fn a_response_in_one_piece_has_what_the_schema_wants_and_is_kept() {
    let broker = Broker::start().await;
    let ask = Respond::to(&broker, "count to 5")
        .with("instructions", "be brief")
        .with("metadata", json!({ "order": "7" }));
    let made = ask.complete().await;
    assert_eq!(made.text().split_whitespace().collect::<Vec<_>>(), ["1", "2", "3", "4", "5"]);
    let expected = [
        ("object", json!("response")),
        ("model", json!("agent")),
        ("error", Value::Null),
        ("incomplete_details", Value::Null),
        ("instructions", json!("be brief")),
        ("metadata", json!({ "order": "7" })),
        ("previous_response_id", Value::Null),
        ("store", json!(true)),
        ("background", json!(false)),
        ("tools", json!([])),
        ("tool_choice", json!("auto")),
        ("parallel_tool_calls", json!(true)),
    ];
    for (member, value) in expected {
        assert_eq!(made.body[member], value, "{member}");
    }
    let usage = &made.body["usage"];
    let tokens = |member: &str| usage[member].as_u64().unwrap();
    assert_eq!(tokens("input_tokens") + tokens("output_tokens"), tokens("total_tokens"));
    let mut kept = made.get(&broker, "").await;
    assert!(kept.body["completed_at"].as_u64() >= kept.body["created_at"].as_u64());
    kept.body.as_object_mut().unwrap().remove("completed_at");
    assert_eq!(kept.body, made.body);
    let without = broker.get(&made.path().replace("/v1", "")).send().await;
    assert_eq!(without.status, 200);
}

#[tokio::test]
async fn a_stream_brings_every_event_in_order() {
    let broker = Broker::start().await;
    let streamed = Respond::to(&broker, "count to 3").streamed().send().await;
    check_stream(&streamed.frames);
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(kinds(&streamed.frames), expected);
    assert_eq!(streamed.state(), "completed");
    assert_eq!(streamed.get(&broker, "").await.body["output"], streamed.body["output"]);
}

#[tokio::test]
async fn a_failure_before_the_first_word_is_a_status_and_later_one_an_event() {
    let broker = Broker::start().await;
    for streams in [false, true] {
        let ask = Respond::to(&broker, "hello").with("stream", streams).fault("dependency");
        let refused = ask.send().await;
        assert_eq!((refused.status, refused.refusal().1), (502, "upstream_dependency"));
    }
    let ask = Respond::to(&broker, "count to 5").streamed().fault("cut:2");
    let failed = ask.send().await;
    check_stream(&failed.frames);
    assert_eq!((failed.status, failed.state()), (200, "failed"));
    assert_eq!(failed.body["error"]["code"], "server_error");
    let kept = failed.get(&broker, "").await;
    assert_eq!((kept.state(), &kept.body["error"]), ("failed", &failed.body["error"]));
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_by_name() {
    let broker = Broker::start().await;
    let cases = [
        ("tools", json!([{ "type": "web_search" }]), "tools[0].type"),
        ("prompt", json!({ "id": "pmpt_1" }), "prompt"),
        ("max_output_tokens", json!(3), "max_output_tokens"),
        ("include", json!(["everything"]), "include[0]"),
        ("truncation", json!("sometimes"), "truncation"),
        ("metadata", json!({ "k": "v".repeat(513) }), "metadata"),
        ("input", json!(""), "input"),
    ];
    for (member, value, param) in cases {
        let refused = Respond::to(&broker, "hello").with(member, value).send().await;
        assert_eq!((refused.status, refused.refusal().2), (400, param), "{refused:?}");
    }
    let background = Respond::to(&broker, "hello").in_background().with("store", false);
    assert_eq!(background.send().await.refusal().2, "background");
    assert_eq!(broker.calls().await.len(), 0);
}

// --- going on -----------------------------------------------------------------------------------

#[tokio::test]
async fn a_chain_of_responses_goes_on_in_one_upstream_session_with_only_what_is_new() {
    let broker = Broker::start().await;
    let first = Respond::to(&broker, "My name is Ann.").complete().await;
    let second = Respond::to(&broker, "count to 3").after(&first).streamed().complete().await;
    assert_eq!(second.body["previous_response_id"], first.id());
    let third = Respond::to(&broker, "What is my name?").after(&second).complete().await;
    assert!(third.text().contains("Ann"), "{}", third.text());
    let told = told(&broker).await;
    let texts: Vec<_> = told.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts, ["My name is Ann.", "count to 3", "What is my name?"]);
    assert!(told.iter().all(|(_, session)| *session == told[0].1), "{told:?}");
    assert!(broker.calls().await.iter().all(|call| call["history_messages"] == 0));
}

#[tokio::test]
async fn a_model_is_told_what_a_chain_of_responses_holds() {
    let broker = with_model().await;
    let say = |text| Respond::to(&broker, text).with("model", "claude");
    let first = say("my name is Ann").with("instructions", "you are a banker").complete().await;
    let second = say("what is my name?").after(&first).complete().await;
    assert_eq!(second.text(), "Your name is Ann.");
    assert_eq!(second.body["instructions"], Value::Null);
    let calls = broker.upstream().await["models"]["calls"].clone();
    assert!(calls[0]["request"]["system"].to_string().contains("banker"), "{calls}");
    assert!(!calls[1]["request"]["system"].to_string().contains("banker"), "not inherited");
}

#[tokio::test]
async fn two_responses_may_go_on_from_the_same_one() {
    let broker = Broker::start().await;
    let first = Respond::to(&broker, "My name is Ann.").complete().await;
    let ask = |text| Respond::to(&broker, text).after(&first);
    let one = ask("count to 2").complete().await;
    let two = ask("What is my name?").complete().await;
    assert!(two.text().contains("Ann"), "{}", two.text());
    // Each branch goes on for itself.
    let last = "what was my last message?";
    for (branch, said) in [(&one, "count to 2"), (&two, "What is my name?")] {
        let told = Respond::to(&broker, last).after(branch).complete().await;
        assert!(told.text().contains(said), "{}", told.text());
    }
    assert_eq!(ask("count to 1").complete().await.text().trim(), "1");
}

#[tokio::test]
async fn two_responses_may_go_on_from_the_same_one_at_once() {
    let broker = Broker::start().await;
    let first = Respond::to(&broker, "My name is Ann.").complete().await;
    let ask = || Respond::to(&broker, "What is my name?").after(&first).pace(100, 0);
    let (one, two, three) = (ask(), ask(), ask());
    let (one, two, three) = tokio::join!(one.complete(), two.complete(), three.complete());
    for branch in [&one, &two, &three] {
        assert!(branch.text().contains("Ann"), "{}", branch.text());
        assert_eq!(branch.body["previous_response_id"], first.id());
    }
    let upstream: std::collections::BTreeSet<_> =
        told(&broker).await.into_iter().map(|(_, session)| session).collect();
    assert_eq!(upstream.len(), 3, "each has an upstream session of its own");
}

#[tokio::test]
async fn a_response_that_is_not_there_cannot_be_gone_on_from() {
    let tables = "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\n\n\
                  [[keys]]\ntenant = \"globex\"\nkey = \"sk-globex-first-key\"\n";
    let broker = Broker::with(Setup { tables, ..Setup::default() }).await;
    let theirs = Respond::to(&broker, "hello").key("sk-acme-first-key").complete().await;
    for id in [theirs.id(), NOBODYS, "resp_1", "", "../etc"] {
        for streams in [false, true] {
            let ask = Respond::to(&broker, "hello")
                .key("sk-globex-first-key")
                .with("previous_response_id", id)
                .with("stream", streams);
            let refused = ask.send().await;
            let expected = (400, "previous_response_not_found", "previous_response_id");
            assert_eq!(refused.refusal(), expected, "{id}");
        }
    }
    assert_eq!(broker.calls().await.len(), 1);
}

#[tokio::test]
async fn a_response_that_runs_or_is_deleted_cannot_be_gone_on_from() {
    let broker = Broker::start().await;
    let running = Respond::to(&broker, "count to 400").in_background().pace(0, 10).send().await;
    let refused = Respond::to(&broker, "hello").after(&running).send().await;
    assert_eq!(refused.refusal().1, "previous_response_not_found");
    let first = Respond::to(&broker, "hello there").complete().await;
    assert_eq!(status_of(&broker, "DELETE", &first.path()).await.0, 200);
    let refused = Respond::to(&broker, "hello").after(&first).send().await;
    assert_eq!(refused.refusal().1, "previous_response_not_found");
}

#[tokio::test]
async fn a_response_goes_on_from_one_or_in_a_conversation_but_not_both() {
    let broker = Broker::start().await;
    let first = Respond::to(&broker, "hello").complete().await;
    let ask = || Respond::to(&broker, "hello").after(&first);
    let both = ask().with("conversation", "conv_1").send().await;
    assert_eq!((both.status, both.refusal().2), (400, "conversation"));
    let both = ask().header("x-session-id", "one").send().await;
    assert_eq!((both.status, both.refusal().2), (400, "previous_response_id"));
}

// --- what is not kept -----------------------------------------------------------------------------

#[tokio::test]
async fn a_response_that_is_not_to_be_stored_is_gone_with_its_answer() {
    let broker = Broker::start().await;
    let whole = Respond::to(&broker, "count to 3").with("store", false).complete().await;
    let ask = Respond::to(&broker, "count to 3").with("store", false).streamed();
    let streamed = ask.complete().await;
    check_stream(&streamed.frames);
    for response in [whole, streamed] {
        assert_eq!(response.body["store"], false);
        for below in ["", "?stream=true", "/input_items"] {
            let gone = response.get(&broker, below).await;
            assert_eq!(gone.refusal().1, "response_not_found", "{below}");
        }
        let refused = Respond::to(&broker, "hello").after(&response).send().await;
        assert_eq!(refused.refusal().1, "previous_response_not_found");
    }
    let sessions = broker.get("/v1/sessions").send().await.json().await;
    assert_eq!(sessions["data"], json!([]));
}

#[tokio::test]
async fn a_response_that_is_not_stored_may_go_on_from_one_that_is_and_leaves_it_as_it_was() {
    let broker = Broker::start().await;
    let first = Respond::to(&broker, "My name is Ann.").complete().await;
    let aside = Respond::to(&broker, "What is my name?").after(&first).with("store", false);
    assert!(aside.complete().await.text().contains("Ann"));
    let next = Respond::to(&broker, "what was my last message?").after(&first).complete().await;
    assert!(next.text().contains("My name is Ann."), "{}", next.text());
}

#[tokio::test]
async fn a_client_that_keeps_all_itself_sends_all_of_it() {
    let broker = with_model().await;
    let ask =
        |input: Value| Respond::to(&broker, input).with("model", "claude").with("store", false);
    let question = json!({ "role": "user", "content": "my name is Ann" });
    let first = ask(json!([question])).complete().await;
    let mut input = vec![question];
    input.extend(first.body["output"].as_array().unwrap().clone());
    input.push(json!({ "role": "user", "content": "what is my name?" }));
    assert_eq!(ask(json!(input)).complete().await.text(), "Your name is Ann.");
}

// --- functions ------------------------------------------------------------------------------------

#[tokio::test]
async fn calls_of_an_agent_are_answered_with_their_outputs() {
    let broker = Broker::start().await;
    let script =
        "say: One moment.; call: forecast city=Oslo; call: flights to=Oslo; then say: Done.";
    let asked = Respond::to(&broker, script).streamed().complete().await;
    check_stream(&asked.frames);
    let [forecast, flights] = &asked.calls()[..] else { panic!("{asked:?}") };
    assert_eq!((&forecast["name"], &flights["name"]), (&json!("forecast"), &json!("flights")));
    assert_ne!(forecast["id"], forecast["call_id"]);
    let arguments: Value = serde_json::from_str(forecast["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({ "city": "Oslo" }));
    // One of them is missing; the calls stay open.
    let partly = Respond::to(&broker, json!([output(forecast, "rain")])).after(&asked).send().await;
    assert_eq!((partly.status, partly.refusal().2), (400, "input"), "{partly:?}");
    let missing = partly.body["error"]["message"].as_str().unwrap();
    assert!(missing.contains(flights["call_id"].as_str().unwrap()), "{missing}");
    let outputs = json!([output(flights, "SK 4167"), output(forecast, "rain")]);
    let done = Respond::to(&broker, outputs).after(&asked).complete().await;
    assert!(done.text().contains("forecast says: rain"), "{}", done.text());
    assert!(done.text().ends_with("Done."), "{}", done.text());
    let calls = broker.calls().await;
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0]["session"], calls[1]["session"]);
}

#[tokio::test]
async fn a_client_that_resends_all_items_answers_the_calls_that_the_agent_waits_for() {
    let broker = Broker::start().await;
    let question = json!({ "role": "user", "content": "call: forecast city=Oslo; then say: So." });
    let asked = Respond::to(&broker, json!([question])).complete().await;
    let [call] = &asked.calls()[..] else { panic!("{asked:?}") };
    let mut input = vec![question, call.clone(), output(call, "rain")];
    let done = Respond::to(&broker, json!(input)).complete().await;
    assert!(done.text().starts_with("forecast says: rain"), "{}", done.text());
    assert!(done.head.contains("x-outcrop-session: continued"), "{}", done.head);
    input.extend(done.body["output"].as_array().unwrap().clone());
    input.push(json!({ "role": "user", "content": "count to 2" }));
    assert_eq!(Respond::to(&broker, json!(input)).complete().await.text().trim(), "1 2");
    let told = told(&broker).await;
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|(_, session)| *session == told[0].1), "{told:?}");
    let unknown = json!([{ "type": "function_call_output", "call_id": "call_x", "output": "x" }]);
    let refused = Respond::to(&broker, unknown).after(&asked).send().await;
    assert_eq!((refused.status, refused.refusal().2), (400, "input"), "{refused:?}");
}

#[tokio::test]
async fn calls_of_a_model_are_answered_with_their_outputs() {
    let broker = with_model().await;
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } },
                             "required": ["city"], "additionalProperties": false });
    let tool = json!({ "type": "function", "name": "get_weather", "parameters": parameters,
                       "strict": true });
    let ask = |input: Value| {
        Respond::to(&broker, input).with("model", "claude").with("tools", json!([tool]))
    };
    let script = "say: Let me look.; call: get_weather city=Oslo; then say: Done.";
    let asked = ask(json!(script)).complete().await;
    assert_eq!(asked.body["tools"][0]["name"], "get_weather");
    let [call] = &asked.calls()[..] else { panic!("{asked:?}") };
    let refused = ask(json!("hello?")).after(&asked).send().await;
    assert_eq!((refused.status, refused.refusal().2), (400, "input"), "{refused:?}");
    let done = ask(json!([output(call, "rain")])).after(&asked).complete().await;
    assert!(done.text().contains("Done."), "{}", done.text());
    let again = ask(json!([output(call, "snow")])).after(&done).send().await;
    assert_eq!(again.status, 400, "it has its output: {again:?}");
    // The same turn once more, as a branch.
    let branch = ask(json!([output(call, "sun")])).after(&asked).complete().await;
    assert!(branch.text().contains("Done."), "{}", branch.text());
}

// --- in the background ----------------------------------------------------------------------------

#[tokio::test]
async fn a_response_in_the_background_is_there_at_once_and_found_later() {
    let broker = Broker::start().await;
    let ask = Respond::to(&broker, "count to 20").in_background().pace(300, 5);
    let begun = ask.send().await;
    assert_eq!((begun.status, &begun.body["background"]), (200, &json!(true)));
    assert!(matches!(begun.state(), "queued" | "in_progress"), "{begun:?}");
    assert_eq!((&begun.body["output"], &begun.body["usage"]), (&json!([]), &Value::Null));
    let ended = begun.ended(&broker).await;
    assert_eq!(ended.state(), "completed");
    assert_eq!(ended.text().split_whitespace().count(), 20);
    assert_eq!(broker.upstream().await["disconnected"], 0);
    let next = Respond::to(&broker, "what was my last message?").after(&ended).complete().await;
    assert!(next.text().contains("count to 20"), "{}", next.text());
}

#[tokio::test]
async fn a_response_in_the_background_runs_on_without_its_reader_and_failures_are_in_it() {
    let broker = Broker::start().await;
    let ask = Respond::to(&broker, "count to 20").in_background().streamed().pace(0, 5);
    let mut reply = ask.begin().await;
    let created = reply.frame().await.unwrap().json();
    assert_eq!(
        (&created["type"], &created["response"]["status"]),
        (&json!("response.created"), &json!("queued"))
    );
    assert_eq!(reply.frame().await.unwrap().event, "response.queued");
    reply.hang_up();
    let begun = Responded {
        status: 200,
        head: String::new(),
        body: created["response"].clone(),
        frames: Vec::new(),
    };
    let ended = begun.ended(&broker).await;
    assert_eq!((ended.state(), ended.text().split_whitespace().count()), ("completed", 20));
    let failing = Respond::to(&broker, "hello").in_background().fault("dependency").send().await;
    assert_eq!(failing.status, 200);
    let failed = failing.ended(&broker).await;
    assert_eq!((failed.state(), &failed.body["error"]["code"]), ("failed", &json!("server_error")));
}

#[tokio::test]
async fn a_cancelled_response_keeps_what_it_said_and_stops_upstream() {
    let broker = Broker::start().await;
    let running = Respond::to(&broker, "count to 400").in_background().pace(0, 10).send().await;
    until("some text", async || !running.get(&broker, "").await.text().is_empty()).await;
    let cancel = format!("{}/cancel", running.path());
    let cancelled = Responded::of(broker.post(&cancel, &json!({})).send().await).await;
    assert_eq!((cancelled.status, cancelled.state()), (200, "cancelled"), "{cancelled:?}");
    assert!(!cancelled.text().is_empty());
    broker.open_calls_become(0).await;
    assert_eq!(broker.upstream().await["disconnected"], 1);
    let again = Responded::of(broker.post(&cancel, &json!({})).send().await).await;
    assert_eq!((again.status, again.body), (200, cancelled.body));
    let next = Respond::to(&broker, "what was my last message?").after(&running).complete().await;
    assert!(next.text().contains("count to 400"), "{}", next.text());
}

#[tokio::test]
async fn only_what_runs_in_the_background_can_be_cancelled() {
    let broker = Broker::start().await;
    let foreground = Respond::to(&broker, "hello").complete().await;
    let background = Respond::to(&broker, "hello").in_background().send().await;
    background.ended(&broker).await;
    for response in [&foreground, &background] {
        let path = format!("{}/cancel", response.path());
        assert_eq!(status_of(&broker, "POST", &path).await, (400, "invalid_request".to_owned()));
    }
    let path = format!("/v1/responses/{NOBODYS}/cancel");
    assert_eq!(status_of(&broker, "POST", &path).await, (404, "response_not_found".to_owned()));
}

#[tokio::test]
async fn a_stream_is_resumed_after_every_number_live_and_when_it_has_ended() {
    let broker = Broker::start().await;
    let ask = Respond::to(&broker, "count to 12").in_background().streamed().pace(50, 10);
    let mut first = ask.begin().await;
    let created = first.frame().await.unwrap();
    let id = created.json()["response"]["id"].as_str().unwrap().to_owned();
    // While it runs, readers come for what there will be.
    let resumed = (0..20).map(|number| {
        let path = format!("/v1/responses/{id}?stream=true&starting_after={number}");
        let request = broker.get(&path);
        async move { (number, Responded::of(request.send().await).await) }
    });
    let live = futures_util::future::join_all(resumed).await;
    let mut all = Responded::of(first).await.frames;
    all.insert(0, created);
    check_stream(&all);
    for (number, reply) in live {
        assert_eq!(reply.frames, all[(number + 1).min(all.len())..], "after {number}");
    }
    for number in 0..all.len() {
        let path = format!("/v1/responses/{id}?stream=true&starting_after={number}");
        let rest = Responded::of(broker.get(&path).send().await).await;
        assert_eq!((rest.status, &*rest.frames), (200, &all[number + 1..]), "after {number}");
        let reconnect = broker.get(&format!("/v1/responses/{id}"));
        let rest = reconnect.header("last-event-id", &all[number].id).send().await;
        assert_eq!(Responded::of(rest).await.frames, all[number + 1..], "after {number}");
    }
    let whole = broker.get(&format!("/v1/responses/{id}?stream=true")).send().await;
    assert_eq!(Responded::of(whole).await.frames, all);
    let beyond = all.len();
    for after in [beyond.to_string(), "-1".to_owned(), "x".to_owned(), "1e3".to_owned()] {
        let path = format!("/v1/responses/{id}?stream=true&starting_after={after}");
        let refused = Responded::of(broker.get(&path).send().await).await;
        assert_eq!((refused.status, refused.refusal().2), (400, "starting_after"), "{after}");
    }
    let foreign = broker.get(&format!("/v1/responses/{id}")).header("last-event-id", "turn_x:1");
    assert_eq!(Responded::of(foreign.send().await).await.refusal().2, "Last-Event-ID");
}

// --- what is kept -----------------------------------------------------------------------------------

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

// --- repeated requests ------------------------------------------------------------------------------

#[tokio::test]
async fn a_request_that_is_sent_twice_at_once_under_one_name_runs_once() {
    let broker = Broker::start().await;
    let ask =
        || Respond::to(&broker, "count to 5").pace(100, 0).header("idempotency-key", "order-7");
    let (one, two) = (ask(), ask());
    let (one, two) = tokio::join!(one.complete(), two.complete());
    assert_eq!(one.body, two.body);
    let late = ask().complete().await;
    assert_eq!(late.body, one.body);
    let is_replayed = |it: &Responded| it.head.contains("idempotent-replayed: true");
    assert!(is_replayed(&one) != is_replayed(&two) && is_replayed(&late));
    assert_eq!(broker.calls().await.len(), 1);
    let streamed = ask().streamed().send().await;
    assert_eq!(streamed.refusal(), (422, "idempotency_key_reused", "Idempotency-Key"));
    for wrong in ["", "two words", &"x".repeat(256)] {
        let refused = Respond::to(&broker, "hello").header("idempotency-key", wrong).send().await;
        assert_eq!((refused.status, refused.refusal().2), (400, "Idempotency-Key"), "{wrong}");
    }
}

#[tokio::test]
async fn every_way_to_ask_heeds_the_name_of_a_request() {
    let broker = Broker::start().await;
    let chat = broker.ask("count to 3").header("idempotency-key", "chat-1");
    let first = chat.answer().await;
    let second = chat.answer().await;
    assert_eq!((&first.frames, second.header("idempotent-replayed")), (&second.frames, "true"));
    assert_eq!(first.header("idempotent-replayed"), "");
    let message = json!({ "model": "agent", "max_tokens": 50,
                          "messages": [{ "role": "user", "content": "count to 3" }] });
    let ask = || broker.post("/v1/messages", &message).header("idempotency-key", "claude-1");
    let (one, two) = (ask().send().await.json().await, ask().send().await.json().await);
    assert_eq!(one, two);
    assert_eq!(broker.calls().await.len(), 2);
    let failing =
        Respond::to(&broker, "hello").fault("dependency").header("idempotency-key", "bad");
    for _ in 0..2 {
        assert_eq!(failing.send().await.status, 502, "what failed is run again");
    }
    assert_eq!(broker.calls().await.len(), 4);
}
