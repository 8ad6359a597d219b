//! Agents that are made of settings and of what the client brings along.

use serde_json::{Value, json};

use super::ask::Ask;
use super::broker::{Broker, Setup};
use super::return_of_control::calls;

const MODEL: &str = r#"
[[models]]
name = "inline"
backend = "bedrock-inline-agent"
foundation_model = "anthropic.claude-3-haiku-20240307-v1:0"
instruction = "Look things up for the people who ask, and be brief."

[[models.action_groups]]
actionGroupName = "Weather"
actionGroupExecutor = { customControl = "RETURN_CONTROL" }

[[models.action_groups.functionSchema.functions]]
name = "forecast"
parameters = { city = { type = "string", required = true } }
"#;

async fn broker() -> Broker {
    Broker::with(Setup { tables: MODEL, ..Setup::default() }).await
}

fn say<'a>(broker: &'a Broker, text: &str) -> Ask<'a> {
    broker.ask(text).at_model("inline").session("one").whole()
}

fn tool(name: &str, properties: Value) -> Value {
    let parameters = json!({ "type": "object", "properties": properties });
    json!({ "type": "function", "function": { "name": name, "parameters": parameters } })
}

async fn last_body(broker: &Broker) -> Value {
    broker.calls().await.pop().unwrap()["body"].clone()
}

#[tokio::test]
async fn the_clients_tools_are_called_and_their_results_used_with_or_without_them() {
    let broker = broker().await;
    let tools = json!([
        tool("add", json!({ "a": { "type": "integer" }, "b": { "type": "integer" } })),
        tool("book", json!({ "who": { "type": "object", "properties": {} } })),
    ]);
    let both = "call: add a=1 b=2; call: book arguments_json='{\"who\": {\"name\": \"Ann\"}}'; \
                then say: Done.";
    let asked = say(&broker, both).with("tools", tools).answer().await;
    let [add, book] = &calls(&asked)[..] else { panic!("{asked:?}") };
    assert_eq!((&*add.name, &add.arguments), ("add", &json!({ "a": 1, "b": 2 })));
    assert_eq!((&*book.name, &book.arguments), ("book", &json!({ "who": { "name": "Ann" } })));
    let results = json!([add.result("3"), book.result("seat 4")]);
    let text = say(&broker, "x").with("messages", results).text().await;
    assert!(text.contains("add says: 3") && text.contains("book says: seat 4"), "{text}");
    assert!(text.ends_with("Done."), "{text}");
}

#[tokio::test]
async fn a_name_that_the_service_does_not_take_is_the_clients_own_again_in_its_call() {
    let broker = broker().await;
    let tools = json!([tool("__look__up", json!({ "q": { "type": "string" } }))]);
    say(&broker, "repeat: hello").with("tools", tools.clone()).text().await;
    let body = last_body(&broker).await;
    let group = &body["actionGroups"][1];
    assert_eq!(group["actionGroupName"], "client_tools");
    let name = group["functionSchema"]["functions"][0]["name"].as_str().unwrap().to_owned();
    let call = format!("call: {name} q=x; then say: Done.");
    let asked = say(&broker, &call).with("tools", tools).answer().await;
    let [call] = &calls(&asked)[..] else { panic!("{asked:?}") };
    assert_eq!(call.name, "__look__up");
    let results = json!([call.result("found")]);
    let text = say(&broker, "x").with("messages", results).text().await;
    assert!(text.contains("says: found"), "{text}");
}

#[tokio::test]
async fn functions_of_the_settings_are_called_too_and_their_names_are_theirs() {
    let broker = broker().await;
    let asked = say(&broker, "call: forecast city=Oslo; then say: Done.").answer().await;
    let [forecast] = &calls(&asked)[..] else { panic!("{asked:?}") };
    assert_eq!(forecast.arguments, json!({ "city": "Oslo" }));
    let tools = json!([tool("forecast", json!({}))]);
    let clash = broker.ask("hi").at_model("inline").whole().with("tools", tools).answer().await;
    assert_eq!((clash.status, &clash.error()["param"]), (400, &json!("tools")));
    let results = json!([forecast.result("rain")]);
    let text = say(&broker, "x").with("messages", results).text().await;
    assert!(text.contains("forecast says: rain"), "{text}");
}

#[tokio::test]
async fn system_messages_are_added_to_the_instruction() {
    let broker = broker().await;
    let messages = json!([
        { "role": "system", "content": "Answer in Norwegian." },
        { "role": "user", "content": "repeat: hei" },
    ]);
    assert_eq!(say(&broker, "x").with("messages", messages).text().await, "hei");
    let body = last_body(&broker).await;
    let instruction = body["instruction"].as_str().unwrap();
    assert!(instruction.starts_with("Look things up"), "{instruction}");
    assert!(instruction.ends_with("\n\nAnswer in Norwegian."), "{instruction}");
    assert_eq!(body["idleSessionTTLInSeconds"], 600);
}

#[tokio::test]
async fn a_user_who_speaks_instead_of_a_tool_is_answered() {
    let broker = broker().await;
    let tools = json!([tool("add", json!({ "a": { "type": "integer" } }))]);
    let asked = say(&broker, "call: add a=1; then say: unheard").with("tools", tools);
    assert_eq!(calls(&asked.answer().await).len(), 1);
    assert_eq!(say(&broker, "repeat: never mind").text().await, "never mind");
}
