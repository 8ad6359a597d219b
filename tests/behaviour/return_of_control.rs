//! Calls that an agent hands over: out as tool calls, back as results.

use std::time::Duration;

use serde_json::{Value, json};

use super::ask::{Answer, Ask};
use super::broker::{Broker, Setup};

/// Two functions at once, then a confirmation, then the answer.
const TOUR: &str = "say: One moment.; call: forecast city=Oslo days=3; call: flights to=Oslo; \
                    then call: book to=Oslo @confirm; then say: Have a good flight.";

/// A tool call as a client sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    id: String,
    pub(crate) name: String,
    pub(crate) arguments: Value,
    confirmation: Value,
}

impl Call {
    fn read(call: &Value) -> Self {
        let function = &call["function"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            id: text(&call["id"]),
            name: text(&function["name"]),
            arguments: serde_json::from_str(&text(&function["arguments"])).unwrap(),
            confirmation: call["outcrop"]["confirmation"].clone(),
        }
    }

    pub(crate) fn result(&self, content: &str) -> Value {
        json!({ "role": "tool", "tool_call_id": self.id, "content": content })
    }
}

/// The calls of a reply in one piece, which must have ended for them.
pub(crate) fn calls(answer: &Answer) -> Vec<Call> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let choice = &answer.body["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{answer:?}");
    choice["message"]["tool_calls"].as_array().unwrap().iter().map(Call::read).collect()
}

/// Asks in session `one`, for an answer in one piece.
fn say<'a>(broker: &'a Broker, text: &str) -> Ask<'a> {
    broker.ask(text).session("one").whole()
}

/// Sends these messages in session `one`, for an answer in one piece.
fn send<'a>(broker: &'a Broker, messages: &[Value]) -> Ask<'a> {
    say(broker, "x").with("messages", messages.into())
}

async fn last_call(broker: &Broker) -> Value {
    broker.calls().await.pop().unwrap()
}

#[tokio::test]
async fn calls_go_out_together_and_their_results_back_until_the_answer_is_there() {
    let broker = Broker::start().await;
    let asked = say(&broker, TOUR).answer().await;
    assert_eq!(asked.text, "One moment.");
    let [forecast, flights] = &calls(&asked)[..] else { panic!("{asked:?}") };
    assert_eq!((&*forecast.name, &*flights.name), ("forecast", "flights"));
    assert_eq!(forecast.arguments, json!({ "city": "Oslo", "days": 3 }));
    assert_eq!(forecast.confirmation, Value::Null);
    // In any order.
    let results = [flights.result("SK 4167"), forecast.result("rain")];
    let confirms = send(&broker, &results).answer().await;
    let [book] = &calls(&confirms)[..] else { panic!("{confirms:?}") };
    assert_eq!((&*book.name, &book.confirmation), ("book", &json!("decision")));
    let decided = book.result(r#"{"confirmationState":"CONFIRM"}"#);
    let done = send(&broker, &[decided]).answer().await;
    assert_eq!(done.body["choices"][0]["finish_reason"], "stop");
    assert!(done.text.contains("forecast says: rain"), "{}", done.text);
    assert!(done.text.contains("flights says: SK 4167"), "{}", done.text);
    assert!(done.text.contains("book was confirmed"), "{}", done.text);
    assert!(done.text.ends_with("Have a good flight."), "{}", done.text);
    assert_eq!(broker.calls().await.len(), 3);
    assert_eq!(say(&broker, "repeat: still here").text().await, "still here");
}

#[tokio::test]
async fn a_client_that_resends_everything_finds_its_session_and_answers_the_same_calls() {
    let broker = Broker::start().await;
    let question = json!({ "role": "user", "content": "call: forecast city=Oslo; then say: So." });
    let ask = broker.ask("x").whole();
    let asked = ask.clone().with("messages", json!([question])).answer().await;
    let [call] = &calls(&asked)[..] else { panic!("{asked:?}") };
    let said = &asked.body["choices"][0]["message"];
    let messages = json!([question, said, call.result("rain"), { "role": "user", "content": "repeat: and now" }]);
    let done = ask.with("messages", messages).answer().await;
    assert_eq!(done.origin(), "continued");
    assert_eq!(done.session(), asked.session());
    // The answer to the results, and after a blank line the answer to the text.
    assert!(done.text.starts_with("forecast says: rain"), "{}", done.text);
    assert!(done.text.ends_with("So.\n\nand now"), "{}", done.text);
    assert_eq!(broker.calls().await.len(), 3);
}

#[tokio::test]
async fn operations_of_an_api_are_calls_too() {
    let broker = Broker::start().await;
    let api = "api: POST /orders/{id}/notes id=42 body note=\"call back\" urgent=true";
    let asked = say(&broker, &format!("{api}; then say: Noted.")).answer().await;
    let [call] = &calls(&asked)[..] else { panic!("{asked:?}") };
    assert_eq!(call.name, "demo__post_orders_id_notes");
    assert_eq!(call.arguments, json!({ "id": 42, "note": "call back", "urgent": true }));
    let text = send(&broker, &[call.result(r#"{"ok":true}"#)]).text().await;
    assert!(text.contains(r#"POST /orders/{id}/notes (200) says: {"ok":true}"#), "{text}");
}

#[tokio::test]
async fn results_may_come_one_by_one_and_are_sent_together() {
    let broker = Broker::start().await;
    let asked = say(&broker, "call: a; call: b; then say: Both.").answer().await;
    let [a, b] = &calls(&asked)[..] else { panic!("{asked:?}") };
    let partly = send(&broker, &[b.result("2")]).answer().await;
    assert_eq!(calls(&partly), std::slice::from_ref(a));
    assert_eq!(broker.calls().await.len(), 1);
    let again = send(&broker, &[b.result("3")]).answer().await;
    assert_eq!((again.status, &again.error()["param"]), (400, &json!("messages")));
    let text = send(&broker, &[a.result("1")]).text().await;
    assert!(text.contains("a says: 1") && text.contains("b says: 2"), "{text}");
    assert_eq!(broker.calls().await.len(), 2);
}

#[tokio::test]
async fn results_of_calls_that_nobody_made_are_refused_and_the_calls_stay_open() {
    let broker = Broker::start().await;
    let asked = say(&broker, "call: a; then say: Done.").answer().await;
    let [a] = &calls(&asked)[..] else { panic!("{asked:?}") };
    let unknown = json!({ "role": "tool", "tool_call_id": "call_unknown", "content": "x" });
    let nameless = json!({ "role": "tool", "content": "x" });
    let twice = [a.result("1"), a.result("2")];
    for wrong in [[a.result("1"), unknown], [a.result("1"), nameless], twice] {
        let refused = send(&broker, &wrong).answer().await;
        assert_eq!((refused.status, &*refused.code()), (400, "invalid_request"), "{refused:?}");
    }
    assert_eq!(broker.calls().await.len(), 1);
    assert!(send(&broker, &[a.result("1")]).text().await.contains("a says: 1"));
}

#[tokio::test]
async fn a_user_who_speaks_instead_interrupts_the_calls() {
    let broker = Broker::start().await;
    let asked = say(&broker, "call: a; then call: b; then say: unheard").answer().await;
    assert_eq!(calls(&asked).len(), 1);
    let answer = say(&broker, "repeat: never mind").answer().await;
    assert_eq!((&*answer.text, answer.origin()), ("never mind", "continued"));
    let calls = broker.calls().await;
    // The call, its interruption, that of what the agent handed over then, and the text.
    assert_eq!(calls.len(), 4, "{calls:?}");
    let used: u64 =
        calls[1..].iter().map(|call| call["usage"]["input_tokens"].as_u64().unwrap()).sum();
    assert_eq!(answer.body["usage"]["prompt_tokens"], used);
}

#[tokio::test]
async fn a_tools_error_is_told_to_the_agent_or_fails_the_turn_where_that_is_asked() {
    let broker = Broker::start().await;
    let failed = |call: &Call| {
        let mut result = call.result("no luck");
        result["is_error"] = true.into();
        result
    };
    let asked = say(&broker, "call: a; then say: Done.").answer().await;
    let text = send(&broker, &[failed(&calls(&asked)[0])]).text().await;
    assert!(text.contains("a did not work, so I try it otherwise: no luck"), "{text}");
    let asked = say(&broker, "call: a; then say: Done.").answer().await;
    let options = json!({ "tool_errors": "failure" });
    let ask = send(&broker, &[failed(&calls(&asked)[0])]).with("outcrop", options);
    let refused = ask.answer().await;
    assert_eq!((refused.status, &*refused.code()), (502, "upstream_dependency"));
    assert_eq!(say(&broker, "repeat: usable").text().await, "usable");
}

#[tokio::test]
async fn results_that_fail_on_their_way_leave_a_session_that_goes_on() {
    let broker = Broker::start().await;
    let faults = [
        ("validation", 400),
        ("dependency", 502),
        ("exception:throttlingException:0", 429),
        ("exception:validationException:1", 400),
        ("garbage:0", 502),
        ("cut:0", 502),
    ];
    for (fault, status) in faults {
        let asked = broker.ask("call: a; then say: Done.").session(fault).whole();
        let asked = asked.answer().await;
        let [a] = &calls(&asked)[..] else { panic!("{asked:?}") };
        let results = json!([a.result("1")]);
        let ask = broker.ask("x").session(fault).with("messages", results).whole();
        let failed = ask.clone().fault(fault).answer().await;
        assert_eq!(failed.status, status, "{fault}: {failed:?}");
        // Where the agent took them in after all, it does not wait for them a second time; where
        // the answer had begun, the turn was had.
        let again = [ask.answer().await.status, ask.answer().await.status];
        assert!(again.contains(&200) || fault.ends_with(":1"), "{fault}: {again:?}");
        let usable = broker.ask("repeat: usable").session(fault).whole().text().await;
        assert_eq!(usable, "usable", "{fault}");
    }
}

#[tokio::test]
async fn a_confirmation_is_yes_or_no_and_nothing_else() {
    let broker = Broker::start().await;
    let asked = say(&broker, "call: book @confirm; then say: Done.").answer().await;
    let [book] = &calls(&asked)[..] else { panic!("{asked:?}") };
    let refused = send(&broker, &[book.result("perhaps")]).answer().await;
    assert_eq!(refused.status, 400);
    let message = refused.error()["message"].to_string();
    assert!(message.contains("CONFIRM") && message.contains("DENY"), "{message}");
    let text = send(&broker, &[book.result("No")]).text().await;
    assert!(text.contains("book was denied"), "{text}");
    let asked = say(&broker, "call: book @confirm-run; then say: Done.").answer().await;
    let [book] = &calls(&asked)[..] else { panic!("{asked:?}") };
    assert_eq!(book.confirmation, "decision_and_result");
    let text = send(&broker, &[book.result("seat 4")]).text().await;
    assert!(text.contains("book was confirmed and says: seat 4"), "{text}");
}

#[tokio::test]
async fn a_confirmation_that_the_user_talks_over_is_denied() {
    let broker = Broker::start().await;
    let asked = say(&broker, "call: book @confirm; then say: Done.").answer().await;
    assert_eq!(calls(&asked).len(), 1);
    assert_eq!(say(&broker, "repeat: wait").text().await, "wait");
}

#[tokio::test]
async fn a_collaborators_call_is_answered_to_the_collaborator() {
    let broker = Broker::start().await;
    let asked = say(&broker, "call: rates @by=loans @group=Bank; then say: Done.").answer().await;
    let [rates] = &calls(&asked)[..] else { panic!("{asked:?}") };
    let text = send(&broker, &[rates.result("3.2 %")]).text().await;
    assert!(text.contains("rates says: 3.2 %"), "{text}");
}

#[tokio::test]
async fn functions_of_one_name_are_told_apart_by_their_groups() {
    let broker = Broker::start().await;
    let both = "call: find @group=Shops x=1; call: find @group=Roads x=2; then say: Done.";
    let asked = say(&broker, both).answer().await;
    let [shops, roads] = &calls(&asked)[..] else { panic!("{asked:?}") };
    assert_eq!((&*shops.name, &*roads.name), ("Shops__find", "Roads__find"));
    send(&broker, &[roads.result("E6"), shops.result("Ringen")]).text().await;
    let tool = json!({ "type": "function", "function": { "name": "Shops__find" } });
    let ask = say(&broker, "call: find @group=Shops; then say: Done.").with("tools", json!([tool]));
    assert_eq!(calls(&ask.answer().await)[0].name, "Shops__find");
}

#[tokio::test]
async fn a_stream_brings_the_same_calls() {
    let broker = Broker::start().await;
    let asked = broker.ask(TOUR).session("one").answer().await;
    asked.expect_ok();
    assert_eq!((&*asked.text, &*asked.finish_reason()), ("One moment.", "tool_calls"));
    let deltas = asked.frames.iter().filter_map(|frame| {
        let calls = frame.json().pointer("/choices/0/delta/tool_calls")?.clone();
        Some(calls[0].clone())
    });
    let ids: Vec<_> = deltas.filter_map(|call| call["id"].as_str().map(str::to_owned)).collect();
    let result = |id: &String| json!({ "role": "tool", "tool_call_id": id, "content": "x" });
    let results: Vec<_> = ids.iter().map(result).collect();
    let confirms = send(&broker, &results).answer().await;
    assert_eq!(calls(&confirms)[0].name, "book");
}

#[tokio::test]
async fn calls_wait_while_their_session_is_away_from_memory() {
    let settings = "session.resident_seconds = 0.05";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let asked = say(&broker, "call: a; then say: Done.").answer().await;
    let [a] = &calls(&asked)[..] else { panic!("{asked:?}") };
    broker.metric_becomes("outcrop_sessions_resident", 0.0).await;
    let answer = send(&broker, &[a.result("1")]).answer().await;
    assert_eq!(answer.origin(), "revived");
    assert!(answer.text.contains("a says: 1"), "{answer:?}");
}

#[tokio::test]
async fn results_for_a_session_that_the_agent_has_forgotten_are_told_as_text() {
    let remembers = Duration::from_millis(300);
    let model = "idle_session_ttl_seconds = 0.3";
    let setup = Setup { model, agent_remembers: Some(remembers), ..Setup::default() };
    let broker = Broker::with(setup).await;
    let asked = say(&broker, "call: a n=1; then say: Done.").answer().await;
    let [a] = &calls(&asked)[..] else { panic!("{asked:?}") };
    // Nothing happens when an agent forgets: only time passes.
    tokio::time::sleep(remembers + Duration::from_millis(50)).await;
    let answer = send(&broker, &[a.result("1")]).answer().await;
    assert_eq!((answer.status, answer.origin()), (200, "rehydrated"), "{answer:?}");
    let call = last_call(&broker).await;
    assert_eq!(call["input_text"], "Result of a ({\"n\":1}): 1", "{call}");
}

#[tokio::test]
async fn the_agent_stream_hands_over_and_takes_back_in_the_services_spelling() {
    let broker = Broker::start().await;
    let post = async |body: Value| {
        let reply = broker.post("/api/agent/stream", &body).send().await.text().await;
        let lines = reply.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.collect::<Vec<_>>()
    };
    let ask = |member: &str, value: Value| {
        let mut body = json!({ "agent_id": "AGENT12345", "session_id": "s1" });
        body[member] = value;
        body
    };
    let lines = post(ask("input_text", "call: a; call: b; then say: Done.".into())).await;
    let handed = lines.iter().find(|line| line["type"] == "return_control").unwrap();
    let result = |name: &str, said: &str| {
        json!({ "functionResult": { "actionGroup": "demo", "function": name,
            "responseBody": { "TEXT": { "body": said } } } })
    };
    let back = |results: Value, id: &Value| {
        let mut body = ask("return_control_results", results);
        body["invocation_id"] = id.clone();
        body
    };
    let id = &handed["invocation_id"];
    let wrong = post(back(json!([result("c", "1")]), id)).await;
    assert!(wrong[0].to_string().contains("demo.c"), "{wrong:?}");
    let lines = post(back(json!([result("b", "2"), result("a", "1")]), id)).await;
    let text = format!("{lines:?}");
    assert!(text.contains("a says: 1") && text.contains("b says: 2"), "{text}");
}

#[tokio::test]
async fn usage_is_that_of_all_agents_that_worked_on_the_answer() {
    let broker = Broker::start().await;
    let asked = "ask: loans What is the rate?; trace: pre post routing; say: It is 3 %.";
    let answer = say(&broker, asked).answer().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let sent = last_call(&broker).await;
    let usage = &answer.body["usage"];
    assert_eq!(usage["prompt_tokens"], sent["usage"]["input_tokens"]);
    assert_eq!(usage["completion_tokens"], sent["usage"]["output_tokens"]);
    let shares = usage["outcrop"]["collaborators"].as_array().unwrap();
    let loans = shares.iter().find(|share| share["name"] == "loans").unwrap();
    assert_eq!(loans["prompt_tokens"], sent["collaborators"]["loans"]["input_tokens"]);
    assert_eq!(shares.len(), 2);
}

#[tokio::test]
async fn reasoning_is_shown_to_who_asks_for_it() {
    let broker = Broker::start().await;
    let ask = say(&broker, "think: The desk knows.; ask: loans Rates?; say: It is 3 %.");
    let asked = ask.clone().with("outcrop", json!({ "reasoning": true })).answer().await;
    let reasoning = &asked.body["choices"][0]["message"]["reasoning_content"];
    assert!(reasoning.as_str().unwrap().contains("The desk knows.\n\n"), "{reasoning}");
    let not_asked = ask.answer().await;
    assert!(!not_asked.everything().contains("The desk knows"), "{not_asked:?}");
}

#[tokio::test]
async fn files_go_to_the_agent_and_six_are_too_many() {
    let broker = Broker::start().await;
    let file = json!({ "type": "file",
        "file": { "filename": "fees.csv", "file_data": "data:text/csv;base64,YSxi" } });
    let text = json!({ "type": "text", "text": "repeat: thanks" });
    let message = |files: usize| {
        let mut parts = vec![text.clone()];
        parts.extend(vec![file.clone(); files]);
        json!({ "role": "user", "content": parts })
    };
    assert_eq!(send(&broker, &[message(2)]).text().await, "thanks");
    let refused = send(&broker, &[message(6)]).answer().await;
    assert_eq!((refused.status, &refused.error()["param"]), (400, &json!("messages")));
    assert!(refused.error()["message"].to_string().contains("5 files"));
    assert_eq!(send(&broker, &[message(0)]).text().await, "thanks");
}
