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
