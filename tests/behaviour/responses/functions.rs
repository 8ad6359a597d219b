//! Responses that end with calls, and their outputs.

use serde_json::{Value, json};

use crate::broker::Broker;
use crate::respond::{Respond, check_stream, output};

use super::{told, with_model};

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
