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

#[tokio::test]
async fn how_likely_tokens_were_comes_back_whole_and_in_streams() {
    let broker = broker().await;
    let ask = || {
        let ask = broker.ask("say: one two").at_model("gpt").with("logprobs", json!(true));
        ask.with("top_logprobs", json!(2))
    };
    let whole = ask().whole().answer().await;
    let entries = whole.body["choices"][0]["logprobs"]["content"].as_array().unwrap();
    let tokens: String = entries.iter().map(|entry| entry["token"].as_str().unwrap()).collect();
    assert_eq!(tokens, "one two");
    assert_eq!(entries[0]["top_logprobs"].as_array().unwrap().len(), 2);
    let streamed = ask().answer().await;
    let told = streamed.frames.iter().filter_map(|frame| {
        let entries = frame.json().pointer("/choices/0/logprobs/content")?.clone();
        Some(entries[0]["token"].as_str()?.to_owned())
    });
    assert_eq!((streamed.text.as_str(), told.collect::<String>()), ("one two", tokens));
    let without = broker.ask("say: one two").at_model("gpt").whole().answer().await;
    assert_eq!(without.body["choices"][0]["logprobs"], Value::Null);
}

#[tokio::test]
async fn thoughts_that_were_signed_and_budgets_for_them_stay_away_from_openai() {
    let broker = broker().await;
    let signed = json!({ "type": "thinking", "thinking": "My own.", "signature": "c2ln" });
    let body = json!({
        "model": "gpt", "max_tokens": 4_000,
        "thinking": { "type": "enabled", "budget_tokens": 3_000 },
        "tools": [{ "name": "look", "input_schema": { "type": "object" } }],
        "messages": [
            { "role": "user", "content": "What is there?" },
            { "role": "assistant", "content": [
                signed,
                { "type": "redacted_thinking", "data": "aGk=" },
                { "type": "tool_use", "id": "t1", "name": "look", "input": {} },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t1", "content": "A tree." },
            ] },
        ],
    });
    let mut reply = broker.post("/v1/messages", &body).send().await;
    let answer = reply.text().await;
    assert_eq!(reply.status, 200, "{answer}");
    let asked = requests(&broker).await.remove(0);
    assert_eq!(asked["reasoning_effort"], "medium");
    assert_eq!(asked.get("thinking"), None);
    for sealed in ["My own.", "c2ln", "aGk="] {
        assert!(!asked.to_string().contains(sealed), "{asked}");
    }
}

#[tokio::test]
async fn the_model_behind_an_inference_profile_is_asked_for_once() {
    let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123";
    let tables =
        format!("[[models]]\nname = \"ours\"\nbackend = \"bedrock\"\nmodel_id = \"{arn}\"\n");
    let broker = Broker::with(Setup { tables: &tables, ..Setup::default() }).await;
    for _ in 0..2 {
        let ask = broker.ask("think: I wonder.; say: fine").at_model("ours");
        let answer = ask.with("reasoning_effort", json!("medium")).answer().await;
        assert_eq!(answer.text, "fine");
    }
    let asked = requests(&broker).await;
    let thinking = &asked[1]["additionalModelRequestFields"]["thinking"];
    assert_eq!(thinking["budget_tokens"], 2_048, "as Claude is told: {}", asked[1]);
    assert_eq!(broker.control_plane_calls("GetInferenceProfile").await, 1);
    assert!(broker.log().contains("claude-sonnet-4"), "{}", broker.log());
}

#[tokio::test]
async fn a_profile_that_may_not_be_looked_into_is_trusted_but_for_thinking() {
    let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123";
    let tables =
        format!("[[models]]\nname = \"ours\"\nbackend = \"bedrock\"\nmodel_id = \"{arn}\"\n");
    let fault = json!({ "fault": "access-denied", "operation": "GetInferenceProfile" });
    let setup = Setup { tables: &tables, control_plane: Some(fault), ..Setup::default() };
    let broker = Broker::with(setup).await;
    assert_eq!(broker.ask("say: fine").at_model("ours").text().await, "fine");
    let ask = broker.ask("say: fine").at_model("ours").with("reasoning_effort", json!("high"));
    let refused = ask.answer().await;
    assert_eq!(
        (refused.status, refused.error()["param"].as_str()),
        (400, Some("reasoning_effort"))
    );
    assert!(refused.error()["message"].as_str().unwrap().contains("foundation_model"));
    assert_eq!(broker.control_plane_calls("GetInferenceProfile").await, 1);
}

#[tokio::test]
async fn films_reach_nova_in_every_dialect_that_has_them_and_no_model_that_sees_none() {
    let broker = broker().await;
    let (film, url) = ("AAAAGGZ0eXBtcDQy", "data:video/mp4;base64,AAAAGGZ0eXBtcDQy");
    let part = json!({ "type": "video_url", "video_url": { "url": url } });
    let content = json!([{ "type": "text", "text": "What is this?" }, part]);
    let messages = json!([{ "role": "user", "content": content }]);
    let ask = |model: &str| broker.ask("").at_model(model).with("messages", messages.clone());
    let answer = ask("nova").answer().await;
    answer.expect_ok();
    assert!(answer.text.contains("video (mp4"), "{}", answer.text);
    for source in [json!({ "bytes": film }), json!({ "s3Location": { "uri": "s3://films/a.mp4" } })]
    {
        let video = json!({ "video": { "format": "mp4", "source": source } });
        let messages = json!([{ "role": "user", "content": [video, { "text": "What is this?" }] }]);
        let body = json!({ "messages": messages });
        let answer = broker.post("/model/nova/converse", &body).send().await.json().await;
        let text = answer["output"]["message"]["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("video"), "{answer}");
    }
    let asked = requests(&broker).await;
    assert_eq!(asked[0]["messages"][0]["content"][1]["video"]["source"]["bytes"], film);
    let refused = ask("claude").answer().await;
    assert_eq!((refused.status, refused.error()["param"].as_str()), (400, Some("messages")));
    assert!(refused.error()["message"].as_str().unwrap().contains("videos"));
}

/// The vector of a text, and the body that the model was asked with.
async fn embedded(broker: &Broker, model: &str, more: &Value) -> (usize, Value) {
    let mut body = json!({ "model": model, "input": "fees" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = broker.post("/v1/embeddings", &body).send().await.json().await;
    let length = answer["data"][0]["embedding"].as_array().map_or(0, Vec::len);
    (length, requests(broker).await.pop().unwrap())
}

#[tokio::test]
async fn cohere_is_asked_for_vectors_in_its_own_words() {
    let settings = "routing.allow_direct = true";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    for purpose in ["search_document", "search_query", "classification", "clustering"] {
        let wish = json!({ "input_type": purpose });
        let expected = json!({ "texts": ["fees"], "input_type": purpose });
        assert_eq!(embedded(&broker, "cohere.embed-english-v3", &wish).await, (1_024, expected));
    }
    for length in [256, 512, 1_024, 1_536] {
        let wish = json!({ "dimensions": length });
        let (made, asked) = embedded(&broker, "cohere.embed-v4:0", &wish).await;
        assert_eq!((made, &asked["output_dimension"]), (length, &json!(length)));
    }
}

#[tokio::test]
async fn nova_is_asked_for_vectors_in_its_own_words_and_talks_by_converse_alone() {
    let settings = "routing.allow_direct = true";
    let setup = Setup { settings, tables: TABLES, ..Setup::default() };
    let broker = Broker::with(setup).await;
    let model = "amazon.nova-2-multimodal-embeddings-v1:0";
    for (length, asked, purpose) in [
        (256, "TEXT_RETRIEVAL", "TEXT_RETRIEVAL"),
        (384, "search_document", "GENERIC_INDEX"),
        (1_024, "clustering", "CLUSTERING"),
        (3_072, "search_query", "GENERIC_RETRIEVAL"),
    ] {
        let wish = json!({ "dimensions": length, "input_type": asked });
        let params = json!({
            "embeddingPurpose": purpose, "embeddingDimension": length,
            "text": { "truncationMode": "NONE", "value": "fees" },
        });
        let expected = json!({ "taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params });
        assert_eq!(embedded(&broker, model, &wish).await, (length, expected));
    }
    let native = json!({
        "schemaVersion": "messages-v1", "inferenceConfig": { "maxTokens": 9 },
        "messages": [{ "role": "user", "content": [{ "text": "hello" }] }],
    });
    let mut refused = broker.post("/model/nova/invoke", &native).send().await;
    assert_eq!((refused.status, refused.header("x-amzn-errortype")), (400, "ValidationException"));
    let told = refused.json().await;
    assert!(told["message"].as_str().unwrap().contains("neither Claude's nor Titan's"), "{told}");
}
