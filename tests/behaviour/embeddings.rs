//! Vectors of texts: `POST /v1/embeddings`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::broker::{Broker, Setup};
use super::client::Reply;
use super::upstream::{Canned, Upstream};

const TITAN: &str = "amazon.titan-embed-text-v2:0";
const COHERE: &str = "cohere.embed-english-v3";
const NOVA: &str = "amazon.nova-2-multimodal-embeddings-v1:0";

/// A pool of two, of which nothing listens where the first is.
const POOL: &str = "[[models]]\nname = \"vectors\"\nbackend = \"pool\"\nupstreams = [\
                    {model = \"dead\", weight = 1000000}, {model = \"alive\", weight = 1}]\n\n\
                    [[models]]\nname = \"dead\"\nbackend = \"bedrock\"\n\
                    model_id = \"cohere.embed-v4:0\"\nendpoint_url = \"http://127.0.0.1:9\"\n\n\
                    [[models]]\nname = \"alive\"\nbackend = \"bedrock\"\n\
                    model_id = \"cohere.embed-v4:0\"\n";

async fn broker() -> Broker {
    with("").await
}

async fn with(tables: &str) -> Broker {
    let settings = "routing.allow_direct = true\nturn.breaker_failures = 2";
    Broker::with(Setup { settings, tables, ..Setup::default() }).await
}

/// Asks for the vectors of an input, with further members of the body.
async fn asked(broker: &Broker, model: &str, input: Value, more: Value) -> Reply {
    let mut body = json!({ "model": model, "input": input });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    broker.post("/v1/embeddings", &body).send().await
}

async fn made(broker: &Broker, model: &str, input: Value, more: Value) -> Value {
    let mut reply = asked(broker, model, input, more).await;
    let body = reply.json().await;
    assert_eq!(reply.status, 200, "{model}: {body}");
    body
}

/// The vectors of an answer, whose places are checked.
fn vectors(body: &Value) -> Vec<Vec<f32>> {
    let data = body["data"].as_array().unwrap().iter().enumerate();
    data.map(|(place, item)| {
        assert_eq!((&item["object"], &item["index"]), (&json!("embedding"), &json!(place)));
        match &item["embedding"] {
            Value::String(encoded) => {
                let bytes = STANDARD.decode(encoded).unwrap();
                bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
            }
            numbers => serde_json::from_value(numbers.clone()).unwrap(),
        }
    })
    .collect()
}

/// What of an error tells programs.
async fn told_of(mut reply: Reply) -> (u16, String, String) {
    let body = reply.json().await;
    let text = |member: &str| body["error"][member].as_str().unwrap_or_default().to_owned();
    (reply.status, text("code"), text("param"))
}

async fn calls(broker: &Broker) -> Vec<Value> {
    broker.upstream().await["models"]["calls"].as_array().unwrap().clone()
}

#[tokio::test]
async fn every_family_makes_vectors_in_either_encoding() {
    let broker = broker().await;
    for (model, length) in [
        ("amazon.titan-embed-text-v1", 1_536),
        (TITAN, 1_024),
        ("bedrock/amazon.titan-embed-image-v1", 1_024),
        (COHERE, 1_024),
        ("cohere.embed-multilingual-v3", 1_024),
        ("cohere.embed-v4:0", 1_536),
        (NOVA, 3_072),
    ] {
        let text = || json!("personal loans from five percent");
        let numbers = made(&broker, model, text(), json!({})).await;
        assert_eq!((&numbers["object"], &numbers["model"]), (&json!("list"), &json!(model)));
        let vector = vectors(&numbers);
        assert_eq!((vector.len(), vector[0].len()), (1, length), "{model}");
        let encoded = made(&broker, model, text(), json!({ "encoding_format": "base64" })).await;
        assert!(encoded["data"][0]["embedding"].is_string());
        assert_eq!(vectors(&encoded), vector, "{model}");
        let usage = &numbers["usage"];
        assert!(usage["prompt_tokens"].as_u64() >= Some(5), "{model}: {usage}");
        assert_eq!(usage["total_tokens"], usage["prompt_tokens"]);
        assert!(usage.get("estimated").is_none(), "{model} was counted upstream: {usage}");
    }
}

#[tokio::test]
async fn vectors_come_in_the_order_of_the_texts_however_many_calls_they_take() {
    let broker = broker().await;
    let texts: Vec<_> = (0..200).map(|number| format!("text number {number}")).collect();
    for (model, expected) in [(TITAN, 200), (COHERE, 3)] {
        broker.forget_upstream().await;
        let all = made(&broker, model, json!(texts), json!({})).await;
        let all_vectors = vectors(&all);
        assert_eq!((all_vectors.len(), calls(&broker).await.len()), (200, expected), "{model}");
        let mut tokens = 0;
        for place in [0, 95, 96, 199] {
            let one = made(&broker, model, json!(texts[place]), json!({})).await;
            assert_eq!(vectors(&one)[0], all_vectors[place], "{model}: {place}");
            tokens += one["usage"]["prompt_tokens"].as_u64().unwrap();
        }
        // They are all as long.
        assert_eq!(all["usage"]["prompt_tokens"], json!(tokens * 50), "{model}");
    }
    let batches = calls(&broker).await;
    let sizes = batches.iter().filter_map(|call| call["request"]["texts"].as_array());
    let mut sizes: Vec<_> = sizes.map(Vec::len).filter(|size| *size > 1).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [8, 96, 96]);
}

#[tokio::test]
async fn a_length_and_a_purpose_are_passed_on_in_the_models_words() {
    let broker = broker().await;
    let wish = json!({ "dimensions": 256, "input_type": "search_query" });
    for model in [TITAN, "amazon.titan-embed-image-v1", "cohere.embed-v4:0", NOVA] {
        let body = made(&broker, model, json!("hello there"), wish.clone()).await;
        assert_eq!(vectors(&body)[0].len(), 256, "{model}");
    }
    let calls = calls(&broker).await;
    assert_eq!(calls[2]["request"]["input_type"], "search_query");
    let params = &calls[3]["request"]["singleEmbeddingParams"];
    assert_eq!(params["embeddingPurpose"], "GENERIC_RETRIEVAL");
    made(&broker, COHERE, json!("hello there"), json!({})).await;
    let usual = broker.upstream().await["models"]["calls"][4]["request"]["input_type"].clone();
    assert_eq!(usual, "search_document");
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_name_before_anybody_is_asked() {
    let broker = broker().await;
    let text = || json!("hello there");
    for (model, input, more, expected) in [
        (TITAN, text(), json!({"dimensions": 300}), ("unsupported_parameter", "dimensions")),
        (COHERE, text(), json!({"dimensions": 256}), ("unsupported_parameter", "dimensions")),
        (NOVA, text(), json!({"dimensions": 512}), ("unsupported_parameter", "dimensions")),
        (COHERE, text(), json!({"input_type": "poem"}), ("unsupported_parameter", "input_type")),
        (NOVA, text(), json!({"input_type": "poem"}), ("unsupported_parameter", "input_type")),
        (TITAN, json!([1, 2, 3]), json!({}), ("unsupported_parameter", "input")),
        (COHERE, json!([[1], [2]]), json!({}), ("unsupported_parameter", "input")),
        (TITAN, json!(""), json!({}), ("invalid_request", "input")),
        (TITAN, json!(["a", ""]), json!({}), ("invalid_request", "input[1]")),
        ("agent", text(), json!({}), ("unsupported_parameter", "model")),
        ("amazon.nova-lite-v1:0", text(), json!({}), ("unsupported_parameter", "model")),
    ] {
        let told = told_of(asked(&broker, model, input, more.clone()).await).await;
        let (code, param) = expected;
        assert_eq!(told, (400, code.to_owned(), param.to_owned()), "{model} {more}");
    }
    assert_eq!(calls(&broker).await.len(), 0);
    let missing = told_of(asked(&broker, "nobody", text(), json!({})).await).await;
    assert_eq!((missing.0, &*missing.2), (404, "model"));
}

#[tokio::test]
async fn a_text_that_is_too_long_is_named_by_its_place() {
    let broker = broker().await;
    let long = "loan ".repeat(9_000);
    let told = told_of(asked(&broker, TITAN, json!(["short", long]), json!({})).await).await;
    assert_eq!(told, (400, "context_length_exceeded".to_owned(), "input[1]".to_owned()));
}

#[tokio::test]
async fn a_model_that_makes_vectors_is_not_talked_to() {
    let broker = broker().await;
    let answer = broker.ask("hello there").at_model(TITAN).answer().await;
    assert_eq!((answer.status, &*answer.code()), (400, "unsupported_parameter"));
    assert_eq!(answer.error()["param"], "model");
    assert_eq!(calls(&broker).await.len(), 0);
}

#[tokio::test]
async fn a_call_that_fails_in_passing_is_repeated_and_one_that_goes_on_failing_is_told() {
    let broker = broker().await;
    let faulty = |fault: &str| json!(["hello", format!("hi; outcrop-emulator-fault: {fault}")]);
    for fault in ["throttle:1", "503:2", "internal:1"] {
        let body = made(&broker, TITAN, faulty(fault), json!({})).await;
        assert_eq!(vectors(&body).len(), 2, "{fault}");
    }
    let retries = broker.metric("outcrop_upstream_retries_total", &[]).await;
    assert!((retries - 4.0).abs() < 0.1, "{retries}");
    for (fault, status, code) in [
        ("throttle", 429, "upstream_throttled"),
        ("503", 503, "upstream_unavailable"),
        ("access-denied", 404, "model_not_found"),
        ("cut:0", 502, "upstream_protocol"),
    ] {
        let mut reply = asked(&broker, TITAN, faulty(fault), json!({})).await;
        let body = reply.json().await;
        assert_eq!((reply.status, &body["error"]["code"]), (status, &json!(code)), "{fault}");
    }
}

#[tokio::test]
async fn a_member_of_a_pool_that_fails_is_passed_over_and_then_not_asked_first() {
    let broker = with(POOL).await;
    for _ in 0..3 {
        let body = made(&broker, "vectors", json!("hello there"), json!({})).await;
        assert_eq!(body["model"], "vectors");
    }
    assert_eq!(calls(&broker).await.len(), 3);
    let is_open = broker.metric("outcrop_breaker_open", &["model=\"dead\""]).await;
    assert!((is_open - 1.0).abs() < 0.1, "{is_open}");
    // Three attempts of each of the two requests that went there.
    let failed = broker.metric("outcrop_upstream_errors_total", &[]).await;
    assert!((failed - 6.0).abs() < 0.1, "{failed}");
    let read = broker.metric("outcrop_tokens_total", &["model=\"vectors\""]).await;
    assert!(read > 0.0, "{read}");
}

#[tokio::test]
async fn the_tokens_are_taken_from_the_keys_allowance() {
    let key = "sk-acme-first-key";
    let tables = format!("[[keys]]\ntenant = \"acme\"\nkey = \"{key}\"\ntokens_per_minute = 50\n");
    let broker = with(&tables).await;
    let body = json!({ "model": TITAN, "input": "loan ".repeat(200) });
    let ask = || broker.post("/v1/embeddings", &body).key(key);
    let first = ask().send().await;
    assert_eq!((first.status, first.header("x-ratelimit-limit-tokens")), (200, "50"));
    let second = ask().send().await;
    assert_eq!(second.status, 429);
    assert!(!second.header("retry-after").is_empty());
    assert_eq!(broker.post("/v1/embeddings", &body).send().await.status, 401);
}

#[tokio::test]
async fn an_openai_upstream_makes_vectors_of_texts_and_of_tokens() {
    let broker = broker().await;
    let model = "openai/text-embedding-3-small";
    for encoding in ["float", "base64"] {
        let more = json!({ "encoding_format": encoding, "dimensions": 64, "colour": "blue" });
        let body = made(&broker, model, json!(["one", "two"]), more).await;
        let vectors = vectors(&body);
        assert!(vectors.len() == 2 && vectors.iter().all(|vector| vector.len() == 64));
        assert!(body["usage"]["prompt_tokens"].as_u64() >= Some(2), "{body}");
    }
    made(&broker, model, json!([[1, 2], [3]]), json!({ "user": "ann" })).await;
    let calls = calls(&broker).await;
    let told = json!({
        "model": "text-embedding-3-small", "input": ["one", "two"], "encoding_format": "base64",
        "dimensions": 64, "colour": "blue",
    });
    assert_eq!((&calls[0]["request"], &calls[1]["request"]), (&told, &told));
    assert_eq!(calls[2]["request"]["input"], json!([[1, 2], [3]]));
    assert_eq!(calls[2]["request"]["user"], "ann");
    let refused = asked(&broker, model, json!("hello"), json!({ "dimensions": 9_999 })).await;
    let expected = (400, "upstream_rejected".to_owned(), "dimensions".to_owned());
    assert_eq!(told_of(refused).await, expected);
    let passing = json!("hi; outcrop-emulator-fault: throttle:1");
    assert_eq!(vectors(&made(&broker, model, passing, json!({})).await).len(), 1);
}

#[tokio::test]
async fn a_server_that_does_not_know_base64_is_asked_for_numbers_from_then_on() {
    let refusal = json!({ "message": "Unknown parameter: encoding_format" });
    let vectors_of_two = json!({ "data": [
        { "index": 1, "embedding": [0.25, 1] },
        { "index": 0, "embedding": [0.5, -1] },
    ] });
    let upstream = Upstream::start([
        Canned::error(400, &refusal),
        Canned::new(200, "application/json", vectors_of_two.to_string()),
    ])
    .await;
    let broker = with(&upstream.model("local", "")).await;
    for _ in 0..2 {
        let body = made(&broker, "local", json!(["a", "b"]), json!({})).await;
        assert_eq!(vectors(&body), [[0.5, -1.0], [0.25, 1.0]]);
        assert_eq!(body["usage"]["estimated"], true);
    }
    let asked: Vec<_> =
        upstream.bodies().iter().map(|body| body["encoding_format"].clone()).collect();
    assert_eq!(asked, [json!("base64"), Value::Null, Value::Null]);
}

#[tokio::test]
async fn an_answer_without_a_vector_for_each_text_is_a_broken_protocol() {
    let one = json!({ "data": [{ "index": 0, "embedding": [0.5] }] });
    let upstream = Upstream::start([Canned::new(200, "application/json", one.to_string())]).await;
    let broker = with(&upstream.model("local", "")).await;
    let reply = asked(&broker, "local", json!(["a", "b"]), json!({})).await;
    assert_eq!(told_of(reply).await, (502, "upstream_protocol".to_owned(), String::new()));
    assert_eq!(upstream.bodies().len(), 1);
}
