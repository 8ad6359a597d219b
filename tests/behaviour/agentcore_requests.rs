//! What AgentCore is sent beside the words, and what has no place there.

use serde_json::{Value, json};

use super::ask::Ask;
use super::broker::{Broker, Setup};

const MODELS: &str = r#"
[[models]]
name = "runtime"
backend = "bedrock-agentcore"
runtime_arn = "arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/bank-Ab12Cd34Ef"

[[models]]
name = "harness"
backend = "bedrock-agentcore"
harness_arn = "arn:aws:bedrock-agentcore:us-east-1:123456789012:harness/bank-Ab12Cd34Ef"
qualifier = "prod"
runtime_user = "{tenant}/{user}"
"#;

async fn broker() -> Broker {
    Broker::with(Setup { tables: MODELS, ..Setup::default() }).await
}

async fn sent(ask: Ask<'_>, broker: &Broker) -> Value {
    ask.text().await;
    broker.upstream().await["agentcore"]["invocations"].as_array().unwrap().last().unwrap().clone()
}

#[tokio::test]
async fn what_a_harness_is_sent_beside_the_messages() {
    let broker = broker().await;
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let tool = json!({ "type": "function", "function": { "name": "weather",
        "description": "The weather", "parameters": parameters } });
    let ask = broker.ask("hello there").at_model("harness").with("user", json!("ann"));
    let sent = sent(ask.with("tools", json!([tool])), &broker).await;
    assert!(sent["arn"].as_str().is_some_and(|arn| arn.ends_with("harness/bank-Ab12Cd34Ef")));
    assert_eq!((&sent["qualifier"], &sent["user"]), (&json!("prod"), &json!("local/ann")));
    assert!(sent["session"].as_str().is_some_and(|session| (33..=100).contains(&session.len())));
    let function = json!({ "inlineFunction":
        { "description": "The weather", "inputSchema": parameters } });
    let tool = json!({ "type": "inline_function", "name": "weather", "config": function });
    assert_eq!(sent["body"]["tools"], json!([tool]));
    let members: Vec<_> = sent["body"].as_object().unwrap().keys().collect();
    assert_eq!(members, ["messages", "tools"]);
}

#[tokio::test]
async fn what_only_other_agents_know_is_passed_over() {
    let options = json!({
        "session_attributes": { "plan": "gold" },
        "prompt_session_attributes": { "mood": "good" },
        "memory_id": "ann",
        "knowledge_base_configurations": [],
        "latency": "optimized",
        "guardrail_interval": 80,
        "tool_errors": "failure",
    });
    for model in ["runtime", "harness"] {
        let broker = broker().await;
        let ask = broker.ask("hello there").at_model(model);
        let plain = sent(ask.clone(), &broker).await;
        let asked = sent(ask.session("two").with("outcrop", options.clone()), &broker).await;
        assert_eq!(asked["body"], plain["body"]);
    }
}
