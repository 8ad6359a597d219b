//! Models behind an OpenAI-compatible upstream: the emulator's.

use serde_json::{Value, json};

use super::broker::{Broker, Setup};

const GPT: &str = "[[models]]\nname = \"gpt\"\nbackend = \"openai\"\nmodel_id = \"gpt-4o\"\n";

async fn broker() -> Broker {
    with(GPT).await
}

async fn with(tables: &str) -> Broker {
    let settings = "turn.retries = 1\nrouting.allow_direct = true";
    Broker::with(Setup { settings, tables, ..Setup::default() }).await
}

/// The calls that the upstream's models saw, oldest first.
async fn asked(broker: &Broker) -> Vec<Value> {
    broker.upstream().await["models"]["calls"].as_array().unwrap().clone()
}

fn tools() -> Value {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}});
    json!([tool("first"), tool("second")])
}

#[tokio::test]
async fn the_session_remembers_for_the_model() {
    let broker = broker().await;
    broker.ask("my name is Ann").at_model("gpt").session("one").text().await;
    let ask = broker.ask("what is my name?").at_model("gpt").session("one");
    let answer = ask.with("stream_options", json!({"include_usage": true})).answer().await;
    answer.expect_ok();
    assert_eq!(
        (answer.text.as_str(), answer.finish_reason().as_str()),
        ("Your name is Ann.", "stop")
    );
    let usage = answer.frames[answer.frames.len() - 2].json()["usage"].clone();
    assert!(usage["prompt_tokens"].as_u64() > Some(3), "{usage}");
    assert!(usage.get("estimated").is_none(), "the upstream was asked for its usage: {usage}");
    let calls = asked(&broker).await;
    let roles: Vec<_> = calls[1]["request"]["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert_eq!(calls[1]["model"], "gpt-4o");
    assert_eq!(calls[1]["request"]["stream"], true);
}

#[tokio::test]
async fn a_direct_name_asks_the_shared_server() {
    let broker = broker().await;
    assert_eq!(broker.ask("say: hello").at_model("openai/gpt-4o-mini").text().await, "hello");
    assert_eq!(asked(&broker).await[0]["model"], "gpt-4o-mini");
    let missing = broker.ask("say: hello").at_model("openai/missing").answer().await;
    assert_eq!((missing.status, missing.code().as_str()), (404, "model_not_found"));
}

#[tokio::test]
async fn tools_are_called_in_order_and_their_results_answered() {
    let broker = broker().await;
    let ask = broker.ask("say: Let me look.; call: first a=1; call: second b=2").at_model("gpt");
    let ask = ask.with("tools", tools());
    let whole = ask.clone().whole().session("other").answer().await;
    whole.expect_ok();
    let answer = ask.session("one").answer().await;
    answer.expect_ok();
    assert_eq!(
        (answer.text.as_str(), answer.finish_reason().as_str()),
        ("Let me look.", "tool_calls")
    );
    let message = &whole.body["choices"][0]["message"];
    assert_eq!(message["content"], "Let me look.");
    let functions: Vec<_> = message["tool_calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| (call["function"]["name"].clone(), call["function"]["arguments"].clone()))
        .collect();
    assert_eq!(
        functions,
        [(json!("first"), json!(r#"{"a":1}"#)), (json!("second"), json!(r#"{"b":2}"#))]
    );
    let indexes: Vec<_> = answer
        .frames
        .iter()
        .filter_map(|frame| frame.json().pointer("/choices/0/delta/tool_calls/0/index")?.as_u64())
        .collect();
    assert!(indexes.is_sorted() && indexes.first() == Some(&0) && indexes.last() == Some(&1));
    let ids: Vec<_> =
        message["tool_calls"].as_array().unwrap().iter().map(|call| &call["id"]).collect();
    // In the other order, as tools may finish.
    let results = json!([
        {"role": "tool", "tool_call_id": ids[1], "content": "two"},
        {"role": "tool", "tool_call_id": ids[0], "content": "one"},
    ]);
    let results = broker.ask("").at_model("gpt").session("other").with("messages", results);
    let told = results.with("tools", tools()).text().await;
    assert_eq!(told, "first says: one second says: two");
}

#[tokio::test]
async fn a_tool_that_is_chosen_is_called_and_none_is_where_none_is_chosen() {
    let broker = broker().await;
    let ask = || broker.ask("hello there").at_model("gpt").with("tools", tools());
    let named = json!({"type": "function", "function": {"name": "second"}});
    let answer = ask().with("tool_choice", named).whole().answer().await;
    let calls = &answer.body["choices"][0]["message"]["tool_calls"];
    assert_eq!(calls[0]["function"]["name"], "second");
    let answer = ask().with("tool_choice", json!("none")).answer().await;
    assert_eq!(answer.finish_reason(), "stop");
}

#[tokio::test]
async fn reasoning_comes_beside_the_answer_and_is_counted() {
    let broker = broker().await;
    let ask = broker.ask("what do you offer?").at_model("gpt").whole();
    let answer = ask.with("reasoning_effort", json!("high")).answer().await;
    answer.expect_ok();
    let message = &answer.body["choices"][0]["message"];
    assert!(!message["reasoning_content"].as_str().unwrap().is_empty());
    let details = &answer.body["usage"]["completion_tokens_details"];
    assert!(details["reasoning_tokens"].as_u64() > Some(0), "{details}");
}

#[tokio::test]
async fn a_model_is_held_to_a_schema_and_an_agent_is_not() {
    let broker = broker().await;
    let schema =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let format = json!({"type": "json_schema", "json_schema": {"name": "place", "schema": schema}});
    let ask = || broker.ask("Where? In JSON, please.").with("response_format", format.clone());
    let answer = ask().at_model("gpt").text().await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert!(answer["city"].is_string());
    let refused = ask().session("of-agent").answer().await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "unsupported_parameter"));
    assert_eq!(refused.error()["param"], "response_format");
    let message = "response_format must be text: agents cannot be held to a schema";
    assert_eq!(refused.error()["message"], message);
    assert!(broker.calls().await.is_empty(), "the agent was not asked");
    broker.ask("hello there").session("of-agent").text().await;
}

#[tokio::test]
async fn logprobs_are_refused_by_name_where_there_are_none() {
    let broker = broker().await;
    for model in ["bedrock/amazon.nova-lite-v1:0", "agent"] {
        let ask = broker.ask("hello there").at_model(model).with("logprobs", json!(true));
        let refused = ask.answer().await;
        assert_eq!((refused.status, refused.error()["param"].as_str()), (400, Some("logprobs")));
        broker.ask("hello there").at_model(model).with("logprobs", json!(false)).text().await;
    }
}

#[tokio::test]
async fn how_an_answer_is_made_reaches_the_model() {
    let broker = broker().await;
    let ask = broker.ask("count to 50").at_model("gpt").with("max_completion_tokens", json!(5));
    let answer = ask.answer().await;
    assert_eq!(answer.finish_reason(), "length");
    let ask = broker.ask("count to 9").at_model("gpt").with("stop", json!(["4"]));
    assert_eq!(ask.text().await.trim(), "1 2 3");
    let filtered = broker.ask("say: well; stop: content_filtered").at_model("gpt").answer().await;
    assert_eq!(filtered.finish_reason(), "content_filter");
    let ask = broker.ask("say: hi").at_model("gpt").with("verbosity", json!("low"));
    ask.with("user", json!("ann-17")).with("top_k", json!(7)).text().await;
    let request = &asked(&broker).await[3]["request"];
    assert_eq!((&request["verbosity"], &request["user"]), (&json!("low"), &json!("ann-17")));
    assert_eq!(request["top_k"], 7);
}

#[tokio::test]
async fn an_upstreams_refusal_is_one_of_ours() {
    let broker = broker().await;
    for (fault, status, code, attempts) in [
        ("throttle", 429, "upstream_throttled", 2),
        ("quota", 429, "upstream_throttled", 1),
        ("context-overflow", 400, "context_length_exceeded", 1),
        ("503", 503, "upstream_unavailable", 2),
        ("internal", 503, "upstream_unavailable", 2),
        ("end", 502, "upstream_protocol", 1),
    ] {
        broker.forget_upstream().await;
        let text = format!("say: hello\noutcrop-emulator-fault: {fault}");
        let answer = broker.ask(&text).at_model("gpt").session(fault).answer().await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{fault}");
        assert_eq!(asked(&broker).await.len(), attempts, "{fault}");
        broker.ask("say: hello").at_model("gpt").session(fault).text().await;
    }
    let retries = broker.metric("outcrop_upstream_retries_total", &["openai"]).await;
    assert!((retries - 3.0).abs() < 0.1, "{retries}");
}

#[tokio::test]
async fn a_passing_failure_is_retried_before_the_first_event() {
    let broker = broker().await;
    let text = "say: hello\noutcrop-emulator-fault: throttle:1";
    assert_eq!(broker.ask(text).at_model("gpt").text().await, "hello");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_failure_and_not_asked_for_again() {
    let broker = broker().await;
    for fault in ["end:2", "cut:2", "garbage:2", "exception:overloaded:2"] {
        broker.forget_upstream().await;
        let text = format!("count to 9\noutcrop-emulator-fault: {fault}");
        let answer = broker.ask(&text).at_model("gpt").session(fault).answer().await;
        assert_eq!(answer.status, 200, "{fault}");
        assert!(!answer.code().is_empty() && !answer.is_done(), "{fault}: {answer:?}");
        assert_eq!(asked(&broker).await.len(), 1, "{fault}");
        broker.ask("say: hello").at_model("gpt").session(fault).text().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_upstream() {
    let broker = broker().await;
    let text = "words: 5000\noutcrop-emulator-chunk-ms: 20";
    let mut reply = broker.ask(text).at_model("gpt").begin().await;
    reply.frame().await.unwrap();
    drop(reply);
    super::broker::until("the upstream to be left", async || {
        broker.upstream().await["models"]["calls_open"] == 0
    })
    .await;
    assert_eq!(broker.upstream().await["models"]["disconnected"], 1);
}

#[tokio::test]
async fn a_key_is_sent_to_its_own_server_and_to_no_other() {
    let emulated = |name: &str, base: &str, key: &str| {
        format!(
            "[[models]]\nname = \"{name}\"\nbackend = \"openai\"\nmodel_id = \"gpt-4o\"\n{base}\n{key}\n"
        )
    };
    let other = super::upstream::Upstream::start([super::upstream::Canned::events(&[
        r#"{"choices":[{"delta":{"content":"hello"},"finish_reason":"stop"}]}"#,
        "[DONE]",
    ])])
    .await;
    let elsewhere = format!("base_url = \"http://{}/v1\"", other.address);
    let tables = [
        emulated("shared", "", ""),
        emulated("own", "", "api_key = \"denied\""),
        emulated("elsewhere", &elsewhere, ""),
        emulated("keyed", &elsewhere, "api_key = \"its-own-key\""),
    ];
    let settings = "openai.api_key = \"a-key-of-some-length\"";
    let tables = tables.concat();
    let broker = Broker::with(Setup { settings, tables: &tables, ..Setup::default() }).await;
    broker.keep_secret("a-key-of-some-length");
    broker.keep_secret("its-own-key");
    broker.ask("say: hello").at_model("shared").text().await;
    assert_eq!(asked(&broker).await[0]["authorization"], "bearer");
    let denied = broker.ask("say: hello").at_model("own").answer().await;
    assert_eq!((denied.status, denied.code().as_str()), (502, "upstream_denied"));
    for model in ["elsewhere", "keyed"] {
        broker.ask("hello").at_model(model).text().await;
    }
    let heads: Vec<_> = other.heard().into_iter().map(|heard| heard.head.to_lowercase()).collect();
    assert!(!heads[0].contains("authorization"), "{}", heads[0]);
    assert!(heads[1].contains("authorization: bearer its-own-key"), "{}", heads[1]);
}

#[tokio::test]
async fn models_stand_in_for_each_other_with_the_transcript() {
    let tables = format!(
        "{GPT}\n[[models]]\nname = \"first\"\nbackend = \"openai\"\nmodel_id = \"x\"\n\
                          base_url = \"http://127.0.0.1:9/v1\"\nfallbacks = [\"gpt\"]\n"
    );
    let broker = with(&tables).await;
    broker.ask("my name is Ann").at_model("first").session("one").text().await;
    let text = broker.ask("what is my name?").at_model("first").session("one").text().await;
    assert_eq!(text, "Your name is Ann.");
}
