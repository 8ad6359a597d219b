//! What a client may ask of a model beyond an answer, in whichever dialect has a word for it.

use serde_json::{Value, json};

use super::broker::{Broker, Setup};

const TABLES: &str = "[[models]]\nname = \"claude\"\nbackend = \"bedrock\"\n\
                      model_id = \"us.anthropic.claude-sonnet-4-5-20250929-v1:0\"\n\n\
                      [[models]]\nname = \"nova\"\nbackend = \"bedrock\"\n\
                      model_id = \"amazon.nova-lite-v1:0\"\n\n\
                      [[models]]\nname = \"gpt\"\nbackend = \"openai\"\n\
                      model_id = \"gpt-4o\"\n";

async fn broker() -> Broker {
    Broker::with(Setup { tables: TABLES, ..Setup::default() }).await
}

/// The requests that the models got, oldest first.
async fn requests(broker: &Broker) -> Vec<Value> {
    let state = broker.upstream().await;
    let calls = state["models"]["calls"].as_array().unwrap();
    calls.iter().map(|call| call["request"].clone()).collect()
}

#[tokio::test]
async fn the_text_that_ended_an_answer_is_told_in_each_dialect_that_can() {
    let broker = broker().await;
    let text = "say: one | two";
    let body = json!({
        "model": "claude", "max_tokens": 100, "stop_sequences": ["END", "|"],
        "messages": [{ "role": "user", "content": text }],
    });
    let message = broker.post("/v1/messages", &body).send().await.json().await;
    assert_eq!(message["content"][0]["text"], "one ");
    assert_eq!(
        (&message["stop_reason"], &message["stop_sequence"]),
        (&json!("stop_sequence"), &json!("|"))
    );
    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    let stream = broker.post("/v1/messages", &streamed).send().await.text().await;
    assert!(stream.contains(r#""stop_reason":"stop_sequence","stop_sequence":"|""#), "{stream}");
    let asked = requests(&broker).await;
    assert_eq!(asked[0]["additionalModelResponseFieldPaths"], json!(["/stop_sequence"]));
    let converse = json!({
        "messages": [{ "role": "user", "content": [{ "text": text }] }],
        "inferenceConfig": { "stopSequences": ["|"] },
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
    });
    // Nova does not say which; of one there is no doubt.
    for model in ["claude", "nova"] {
        let path = format!("/model/{model}/converse");
        let answer = broker.post(&path, &converse).send().await.json().await;
        assert_eq!(answer["stopReason"], "stop_sequence");
        assert_eq!(answer["additionalModelResponseFields"], json!({ "stop_sequence": "|" }));
    }
    let chat = broker.ask(text).at_model("claude").with("stop", json!("|")).answer().await;
    assert_eq!((chat.text.as_str(), chat.finish_reason().as_str()), ("one ", "stop"));
}

/// So many tokens that a cache keeps them.
fn long() -> String {
    "Our terms are these. ".repeat(800)
}

#[tokio::test]
async fn what_a_client_marks_for_the_cache_is_written_once_and_then_read() {
    let broker = broker().await;
    let body = |question: &str| {
        json!({
            "model": "claude", "max_tokens": 100,
            "system": [
                { "type": "text", "text": long(), "cache_control": { "type": "ephemeral", "ttl": "1h" } },
                { "type": "text", "text": "Be brief." },
            ],
            "messages": [{ "role": "user", "content": question }],
        })
    };
    let first = broker.post("/v1/messages", &body("one")).send().await.json().await;
    let second = broker.post("/v1/messages", &body("two")).send().await.json().await;
    let tokens = |of: &Value, name: &str| of["usage"][name].as_u64().unwrap();
    assert!(tokens(&first, "cache_creation_input_tokens") > 1_000, "{first}");
    assert_eq!(tokens(&first, "cache_read_input_tokens"), 0);
    assert!(tokens(&second, "cache_read_input_tokens") > 1_000, "{second}");
    assert_eq!(tokens(&second, "cache_creation_input_tokens"), 0);
    assert!(tokens(&second, "input_tokens") < 20, "{second}");
    let asked = requests(&broker).await;
    let system = asked[0]["system"].as_array().unwrap();
    assert_eq!(system[1], json!({ "cachePoint": { "type": "default", "ttl": "1h" } }));
    assert_eq!(system[2]["text"], "Be brief.");
    let points = asked[0].to_string().matches("cachePoint").count();
    assert_eq!(points, 1, "no others where the request has its own: {}", asked[0]);
}

#[tokio::test]
async fn marks_work_in_chat_and_converse_and_are_passed_over_without_a_cache() {
    let broker = broker().await;
    let part = json!({ "type": "text", "text": long(), "cache_control": { "type": "ephemeral" } });
    let content = json!([part, { "type": "text", "text": "say: fine" }]);
    let messages = json!([{ "role": "user", "content": content }]);
    let ask =
        |model: &str| broker.ask("").at_model(model).with("messages", messages.clone()).whole();
    for (model, name) in [("claude", "cache_creation_tokens"), ("nova", "cache_write_tokens")] {
        let usage = ask(model).answer().await.body["usage"].clone();
        assert!(usage["prompt_tokens_details"][name].as_u64() > Some(1_000), "{usage}");
        assert!(usage["prompt_tokens"].as_u64() > usage["prompt_tokens_details"][name].as_u64());
        let usage = ask(model).answer().await.body["usage"].clone();
        assert!(usage["prompt_tokens_details"]["cached_tokens"].as_u64() > Some(1_000), "{usage}");
    }
    // OpenAI keeps prompts unasked, and knows no marks.
    let written = ask("gpt").answer().await;
    written.expect_ok();
    assert!(!requests(&broker).await.last().unwrap().to_string().contains("cache_control"));
    let converse = json!({ "messages": [{ "role": "user", "content": [
        { "text": format!("{} Now.", long()) }, { "cachePoint": { "type": "default" } },
        { "text": "say: fine" },
    ] }] });
    let answer = broker.post("/model/nova/converse", &converse).send().await.json().await;
    assert!(answer["usage"]["cacheWriteInputTokens"].as_u64() > Some(1_000), "{answer}");
}

#[tokio::test]
async fn a_strict_tool_is_strict_upstream() {
    let broker = broker().await;
    let parameters = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    let function = json!({ "name": "look", "strict": true, "parameters": parameters });
    let tools = json!([{ "type": "function", "function": function }]);
    for model in ["claude", "gpt", "nova"] {
        let ask = broker.ask("call: look").at_model(model).with("tools", tools.clone());
        ask.answer().await.expect_ok();
    }
    let asked = requests(&broker).await;
    assert_eq!(asked[0]["toolConfig"]["tools"][0]["toolSpec"]["strict"], true);
    assert_eq!(asked[1]["tools"][0]["function"]["strict"], true);
    assert_eq!(asked[2]["toolConfig"]["tools"][0]["toolSpec"].get("strict"), None);
}
