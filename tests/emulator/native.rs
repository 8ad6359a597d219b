//! `InvokeModel` in the models' own formats, embeddings, `CountTokens` and the catalogue.

use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ConversationRole, ConverseTokensRequest, CountTokensInput, Message,
    ResponseStream,
};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::bedrock::{HAIKU, runtime};
use crate::harness::{PATIENCE, Running, SIGNED, start};

const TITAN: &str = "amazon.titan-text-express-v1";

fn claude(messages: &Value) -> Value {
    json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": messages})
}

async fn invoked(emulator: &Running, model: &str, body: &Value) -> Value {
    let call = runtime(emulator).invoke_model().model_id(model);
    let call = call.body(Blob::new(body.to_string()));
    let output = timeout(PATIENCE, call.send()).await.unwrap().unwrap();
    serde_json::from_slice(output.body().as_ref()).unwrap()
}

/// The objects of a streamed answer.
async fn streamed(emulator: &Running, model: &str, body: &Value) -> Vec<Value> {
    let call = runtime(emulator).invoke_model_with_response_stream().model_id(model);
    let call = call.body(Blob::new(body.to_string()));
    let listen = async {
        let mut output = call.send().await.unwrap();
        let mut objects = Vec::new();
        while let Some(event) = output.body.recv().await.unwrap() {
            let ResponseStream::Chunk(part) = event else { panic!("{event:?}") };
            objects.push(serde_json::from_slice(part.bytes().unwrap().as_ref()).unwrap());
        }
        objects
    };
    timeout(PATIENCE, listen).await.unwrap()
}

#[tokio::test]
async fn claude_answers_in_its_own_format() {
    let emulator = start().await;
    let tool = json!({"name": "get_time", "description": "Tell the time",
                      "input_schema": {"type": "object", "properties": {}}});
    let mut body =
        claude(&json!([{"role": "user", "content": "say: Sure; call: get_time tz=UTC"}]));
    body["tools"] = json!([tool]);
    let answer = invoked(&emulator, HAIKU, &body).await;
    assert_eq!(answer["model"], "claude-3-haiku-20240307");
    assert_eq!(answer["stop_reason"], "tool_use");
    assert_eq!(answer["content"][0], json!({"type": "text", "text": "Sure"}));
    assert_eq!(answer["content"][1]["input"], json!({"tz": "UTC"}));
    assert!(answer["usage"]["input_tokens"].as_u64().unwrap() > 0);
    let id = answer["content"][1]["id"].clone();
    body["messages"] = json!([
        {"role": "user", "content": "say: Sure; call: get_time tz=UTC"},
        {"role": "assistant", "content": answer["content"]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": id, "content": "noon"},
        ]},
    ]);
    let answer = invoked(&emulator, HAIKU, &body).await;
    assert_eq!(answer["content"][0]["text"], "get_time says: noon");
}

#[tokio::test]
async fn claude_streams_typed_objects() {
    let emulator = start().await;
    let mut body = claude(&json!([{"role": "user", "content": "say: one two; call: t a=1"}]));
    body["tools"] = json!([{"name": "t", "input_schema": {"type": "object"}}]);
    let objects = streamed(&emulator, HAIKU, &body).await;
    let types: Vec<&str> = objects.iter().map(|object| object["type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    let input: String =
        objects.iter().filter_map(|object| object["delta"]["partial_json"].as_str()).collect();
    assert_eq!(input, r#"{"a":1}"#);
    assert_eq!(objects[10]["delta"]["stop_reason"], "tool_use");
    let metrics = &objects[11]["amazon-bedrock-invocationMetrics"];
    assert_eq!(metrics["outputTokenCount"], objects[10]["usage"]["output_tokens"]);
}

#[tokio::test]
async fn what_is_not_claudes_format_is_malformed() {
    let emulator = start().await;
    let path = format!("/model/{HAIKU}/invoke");
    let mut body = claude(&json!([{"role": "user", "content": "hi"}]));
    body["model"] = json!("claude");
    let (head, told) = emulator.post(&path, Some(SIGNED), body.to_string()).await;
    assert_eq!(head.status(), StatusCode::BAD_REQUEST);
    assert_eq!(
        told["message"],
        "Malformed input request: extraneous key [model] is not permitted, please reformat your \
         input and try again."
    );
    let body = json!({"prompt": "hi"}).to_string();
    let path = "/model/meta.llama3-8b-instruct-v1:0/invoke";
    let (head, _) = emulator.post(path, Some(SIGNED), body).await;
    assert_eq!(head.headers()["x-amzn-errortype"], "ValidationException");
}

#[tokio::test]
async fn titan_reads_a_transcript_and_says_why_it_ends() {
    let emulator = start().await;
    let body = |text: &str, most: u32| json!({"inputText": text, "textGenerationConfig": {"maxTokenCount": most}});
    let told = "User: My name is Ann\nBot: Hello\nUser: What is my name?\nBot:";
    let answer = invoked(&emulator, TITAN, &body(told, 100)).await;
    assert_eq!(answer["results"][0]["outputText"], "Your name is Ann.");
    assert_eq!(answer["results"][0]["completionReason"], "FINISH");
    let objects = streamed(&emulator, TITAN, &body("count to 9", 4)).await;
    let text: String = objects.iter().filter_map(|object| object["outputText"].as_str()).collect();
    assert_eq!(text, "1 2 3 4 ");
    let last = objects.last().unwrap();
    assert_eq!(
        (&last["completionReason"], &last["totalOutputTextTokenCount"]),
        (&json!("LENGTH"), &json!(4))
    );
    assert_eq!(last["amazon-bedrock-invocationMetrics"]["outputTokenCount"], 4);
}

#[tokio::test]
async fn an_embedding_tells_its_tokens_in_a_header() {
    let emulator = start().await;
    let path = "/model/cohere.embed-english-v3/invoke";
    let body = json!({"texts": ["one two", "three"], "input_type": "search_document"});
    let (head, body) = emulator.post(path, Some(SIGNED), body.to_string()).await;
    assert_eq!(head.headers()["x-amzn-bedrock-input-token-count"], "3");
    assert_eq!(body["embeddings"].as_array().unwrap().len(), 2);
    let path = path.replace("/invoke", "/invoke-with-response-stream");
    let (head, _) = emulator.post(&path, Some(SIGNED), "{}".to_owned()).await;
    assert_eq!(head.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn tokens_are_counted_as_they_are_charged() {
    let emulator = start().await;
    let message = Message::builder()
        .role(ConversationRole::User)
        .content(ContentBlock::Text("count to 3".to_owned()))
        .build()
        .unwrap();
    let input = ConverseTokensRequest::builder().messages(message.clone()).build();
    let count = runtime(&emulator).count_tokens().model_id(HAIKU);
    let count = count.input(CountTokensInput::Converse(input)).send().await.unwrap();
    let charged = runtime(&emulator).converse().model_id(HAIKU).messages(message);
    let charged = charged.send().await.unwrap().usage().unwrap().input_tokens();
    assert_eq!(count.input_tokens(), charged);
    let body = claude(&json!([{"role": "user", "content": "count to 3"}])).to_string();
    let native = aws_sdk_bedrockruntime::types::InvokeModelTokensRequest::builder();
    let native = native.body(Blob::new(body)).build().unwrap();
    let count = runtime(&emulator).count_tokens().model_id(HAIKU);
    let count = count.input(CountTokensInput::InvokeModel(native)).send().await.unwrap();
    assert_eq!(count.input_tokens(), charged);
}

#[tokio::test]
async fn the_catalogue_lists_models_and_their_profiles() {
    let emulator = start().await;
    let get = |path: &'static str| emulator.request(Method::GET, path, Some(SIGNED), "");
    let (head, models) = get("/foundation-models?byOutputModality=TEXT").await;
    assert_eq!(head.status(), StatusCode::OK);
    let models = models["modelSummaries"].as_array().unwrap();
    assert!(models.iter().any(|model| model["modelId"] == HAIKU));
    assert!(models.iter().all(|model| model["outputModalities"] == json!(["TEXT"])));
    let (_, profiles) = get("/inference-profiles?maxResults=3").await;
    assert_eq!(profiles["inferenceProfileSummaries"].as_array().unwrap().len(), 3);
    assert_eq!(profiles["nextToken"], "3");
    let (_, model) = get("/foundation-models/amazon.nova-lite-v1%3A0").await;
    assert_eq!(model["modelDetails"]["modelName"], "Nova Lite");
    assert_eq!(get("/foundation-models/none.such").await.0.status(), StatusCode::NOT_FOUND);
}
