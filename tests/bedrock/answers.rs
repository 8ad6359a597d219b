//! What models are asked for, and answer.

use std::sync::Arc;

use outcrop::turn::{
    AnswerFormat, Confirmation, Effort, FailureKind, FinishReason, JsonSchema, Message, Part, Role,
    Status, ToolCall, ToolChoice, TurnEvent,
};
use serde_json::{Value, json};

use crate::upstream::{
    HAIKU_3, LLAMA, NOVA, NOVA_2, OPUS_47, SONNET_4, SONNET_45, TITAN, Talk, Upstream, city_tool,
};

#[tokio::test]
async fn every_family_remembers_by_the_history_that_it_is_told() {
    let upstream = Upstream::start().await;
    for model in [HAIKU_3, SONNET_4, OPUS_47, NOVA, NOVA_2, LLAMA, TITAN] {
        let mut talk = upstream.talk(model);
        talk.request.messages = vec![Message::text(Role::System, "Be brief.")];
        talk.say("my name is Ann").await.ended(FinishReason::Stop);
        let said = talk.say("what is my name?").await;
        said.ended(FinishReason::Stop);
        assert_eq!(said.text(), "Your name is Ann.", "{model}");
        let usage = said.usage.unwrap();
        assert!(usage.input_tokens > 0 && usage.output_tokens > 0, "{model}: {usage:?}");
    }
}

#[tokio::test]
async fn instructions_arrive() {
    let upstream = Upstream::start().await;
    let mut talk = upstream.talk(HAIKU_3);
    talk.request.messages = vec![Message::text(Role::System, "Speak of loans only.")];
    let said = talk.say("what are your instructions?").await;
    assert_eq!(said.text(), "My instructions are: Speak of loans only.");
}

#[tokio::test]
async fn calls_come_in_order_beside_text_and_their_results_go_back() {
    let upstream = Upstream::start().await;
    for model in [HAIKU_3, NOVA, LLAMA] {
        let mut talk = upstream.talk(model);
        talk.request.tools = vec![city_tool("get_weather"), city_tool("get.local time")];
        let wishes = "say: Let me see; call: get_weather city=Oslo; call: get_weather city=Rome; \
                      then call: get_weather city=Bonn";
        let said = talk.say(wishes).await;
        said.ended(FinishReason::ToolCalls);
        assert_eq!(said.text(), "Let me see", "{model}");
        let expected =
            [("get_weather", json!({"city": "Oslo"})), ("get_weather", json!({"city": "Rome"}))];
        assert_eq!(said.calls(), expected, "{model}");
        let said = talk.answer_calls(&["3 degrees", "20 degrees"]).await;
        said.ended(FinishReason::ToolCalls);
        let said = talk.answer_calls(&["12 degrees"]).await;
        said.ended(FinishReason::Stop);
        assert!(said.text().contains("12 degrees"), "{model}: {}", said.text());
        // The same transcript, without the tools: they are made up.
        talk.request.tools.clear();
        talk.say("hello").await.ended(FinishReason::Stop);
    }
}

#[tokio::test]
async fn a_model_without_tools_is_told_of_calls_in_words() {
    let upstream = Upstream::start().await;
    let mut talk = upstream.talk(TITAN);
    let call = ToolCall {
        id: "call_1".to_owned(),
        name: "get_weather".to_owned(),
        arguments: "{}".to_owned(),
        confirmation: Confirmation::None,
    };
    let asked = Message { tool_calls: vec![call], ..Message::text(Role::Assistant, "") };
    let result = Message {
        tool_call_id: Some("call_1".to_owned()),
        ..Message::text(Role::Tool, "3 degrees")
    };
    let said = talk.send(vec![Message::text(Role::User, "hello"), asked, result]).await;
    said.ended(FinishReason::Stop);
    talk.request.tools = vec![city_tool("get_weather")];
    let failure = talk.say("hello").await.end.unwrap_err();
    assert_eq!(failure.param.as_deref(), Some("tools"));
}

#[tokio::test]
async fn a_tools_schema_keeps_the_order_of_its_members() {
    let upstream = Upstream::start().await;
    let mut talk = upstream.talk(SONNET_4);
    talk.request.tools = vec![city_tool("get_weather")];
    for _ in 0..5 {
        talk.say("hello").await.ended(FinishReason::Stop);
    }
    // Read by hand: a JSON value of ours would forget nothing of the order.
    let state = http_get(upstream.address, "/_emulator/state").await;
    let in_order = r#""properties":{"city":{"type":"string"},"at":{"type":"string"}},"required""#;
    assert_eq!(state.matches(in_order).count(), 5, "{state}");
}

async fn http_get(address: std::net::SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn a_call_is_forced_forbidden_or_limited_to_one() {
    let upstream = Upstream::start().await;
    let mut talk = upstream.talk(HAIKU_3);
    talk.request.tools = vec![city_tool("get_weather"), city_tool("get_time")];
    talk.request.generation.tool_choice = ToolChoice::Named("get_time".to_owned());
    let said = talk.say("hello").await;
    assert_eq!(said.calls()[0].0, "get_time");
    let mut talk = upstream.talk(HAIKU_3);
    talk.request.tools = vec![city_tool("get_weather")];
    talk.request.generation.tool_choice = ToolChoice::None;
    let said = talk.say("call: get_weather city=Oslo").await;
    said.ended(FinishReason::Stop);
    assert!(said.text().contains("no tool named"), "{}", said.text());
    let wishes = "call: get_weather city=Oslo; call: get_time city=Rome";
    for model in [HAIKU_3, NOVA] {
        let mut talk = upstream.talk(model);
        talk.request.tools = vec![city_tool("get_weather"), city_tool("get_time")];
        talk.request.generation.parallel_tool_calls = Some(false);
        assert_eq!(talk.say(wishes).await.calls().len(), 1, "{model}");
    }
}

#[tokio::test]
async fn a_failed_result_and_one_that_never_came_are_taken() {
    let upstream = Upstream::start().await;
    let mut talk = upstream.talk(NOVA);
    talk.request.tools = vec![city_tool("get_weather")];
    let said = talk.say("call: get_weather city=Oslo; call: get_weather city=Rome").await;
    let failed = Message {
        tool_call_id: Some(said.message.tool_calls[0].id.clone()),
        status: Status::Failed,
        ..Message::text(Role::Tool, "no such city")
    };
    let said = talk.send(vec![failed, Message::text(Role::User, "hello")]).await;
    said.ended(FinishReason::Stop);
}

#[tokio::test]
async fn thinking_is_shown_and_kept_across_a_tools_turn() {
    let upstream = Upstream::start().await;
    for model in [SONNET_4, SONNET_45, OPUS_47] {
        let mut talk = upstream.talk(model);
        talk.request.tools = vec![city_tool("get_weather")];
        talk.request.generation.effort = Some(Effort::Medium);
        talk.request.generation.temperature = Some(0.3);
        let said = talk.say("think: Oslo it is.; call: get_weather city=Oslo").await;
        said.ended(FinishReason::ToolCalls);
        assert_eq!(said.reasoning, "Oslo it is.", "{model}");
        assert_eq!(said.message.thoughts.len(), 1, "{model}");
        let said = talk.answer_calls(&["3 degrees"]).await;
        said.ended(FinishReason::Stop);
        assert!(said.text().contains("3 degrees"), "{model}: {}", said.text());
        let said = talk.say("hide: secret").await;
        said.ended(FinishReason::Stop);
        assert_eq!(said.reasoning, "");
        talk.say("hello").await.ended(FinishReason::Stop);
    }
}

#[tokio::test]
async fn a_tools_turn_whose_thoughts_are_lost_goes_on_without_thinking() {
    let upstream = Upstream::start().await;
    let mut talk = upstream.talk(SONNET_4);
    talk.request.tools = vec![city_tool("get_weather")];
    talk.say("call: get_weather city=Oslo").await.ended(FinishReason::ToolCalls);
    talk.request.generation.effort = Some(Effort::High);
    let said = talk.answer_calls(&["3 degrees"]).await;
    said.ended(FinishReason::Stop);
    assert_eq!(said.reasoning, "");
}

#[tokio::test]
async fn other_families_think_in_their_own_way_and_some_not_at_all() {
    let upstream = Upstream::start().await;
    for (model, effort) in [
        (NOVA_2, Effort::Medium),
        (NOVA_2, Effort::High),
        ("openai.gpt-oss-120b-1:0", Effort::Max),
        ("us.deepseek.r1-v1:0", Effort::Low),
    ] {
        let mut talk = upstream.talk(model);
        talk.request.generation.effort = Some(effort);
        talk.request.generation.max_tokens = Some(500);
        let said = talk.say("hello").await;
        said.ended(FinishReason::Stop);
        assert!(!said.reasoning.is_empty(), "{model}");
        assert!(said.message.thoughts.is_empty(), "{model}: nobody would take it back");
        talk.say("and again").await.ended(FinishReason::Stop);
    }
    let mut talk = upstream.talk(NOVA);
    talk.request.generation.effort = Some(Effort::High);
    let failure = talk.say("hello").await.end.unwrap_err();
    assert_eq!(failure.kind, FailureKind::UnsupportedParameter);
    assert_eq!(failure.param.as_deref(), Some("reasoning_effort"));
}

fn wants(talk: &mut Talk, schema: Value) {
    talk.request.generation.format = AnswerFormat::JsonSchema(JsonSchema {
        name: "loan".to_owned(),
        description: None,
        schema,
        strict: true,
    });
}

#[tokio::test]
async fn an_answer_fits_its_schema_natively_and_by_a_tool() {
    let upstream = Upstream::start().await;
    let schema = json!({
        "type": "object",
        "properties": {"amount": {"type": "integer"}, "currency": {"enum": ["EUR", "USD"]}},
        "required": ["amount", "currency"],
        "additionalProperties": false,
    });
    for model in [SONNET_45, HAIKU_3, NOVA, OPUS_47] {
        let mut talk = upstream.talk(model);
        wants(&mut talk, schema.clone());
        let said = talk.say("I want a loan of 5000 EUR").await;
        said.ended(FinishReason::Stop);
        let answer: Value = serde_json::from_str(&said.text()).unwrap();
        assert!(answer["amount"].is_i64() && answer["currency"].is_string(), "{model}: {answer}");
        assert!(said.message.tool_calls.is_empty());
        // The answer is a text of the transcript, and the conversation goes on.
        talk.request.generation.format = AnswerFormat::Text;
        talk.say("thank you").await.ended(FinishReason::Stop);
    }
}

#[tokio::test]
async fn a_list_is_had_by_a_tool_whose_input_is_streamed_and_any_object_in_words() {
    let upstream = Upstream::start().await;
    let mut talk = upstream.talk(HAIKU_3);
    wants(&mut talk, json!({"type": "array", "items": {"type": "integer"}}));
    let said = talk.say("count").await;
    assert!(serde_json::from_str::<Vec<i64>>(&said.text()).is_ok(), "{}", said.text());
    talk.request.generation.format = AnswerFormat::JsonObject;
    let said = talk.say("describe yourself").await;
    let answer: Value = serde_json::from_str(&said.text()).unwrap();
    assert!(answer.as_object().is_some_and(|members| !members.is_empty()), "{answer}");
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"},
                        "b": {"type": "string"}}, "required": ["a", "b"]});
    wants(&mut talk, schema);
    let said = talk.say("go").await;
    let texts = said.events.iter().filter(|event| matches!(event, TurnEvent::Text(_))).count();
    assert!(texts > 1, "{:?}", said.events);
}

#[tokio::test]
async fn tools_of_the_clients_own_stand_beside_a_schema() {
    let upstream = Upstream::start().await;
    let mut talk = upstream.talk(HAIKU_3);
    wants(&mut talk, json!({"type": "object", "properties": {"a": {"type": "integer"}}}));
    talk.request.tools = vec![city_tool("get_weather")];
    let said = talk.say("call: get_weather city=Oslo").await;
    said.ended(FinishReason::ToolCalls);
    talk.request.generation.effort = None;
    let said = talk.answer_calls(&["3 degrees"]).await;
    said.ended(FinishReason::Stop);
    let answer: Value = serde_json::from_str(&said.text()).unwrap();
    assert!(answer["a"].is_i64(), "{answer}");
}

#[tokio::test]
async fn pictures_documents_and_films_are_seen() {
    let upstream = Upstream::start().await;
    let attached = |value: Value| Part::Attachment {
        kind: value["type"].as_str().unwrap().to_owned(),
        value: Arc::new(value),
    };
    let png = "data:image/jpeg;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB";
    let message = Message {
        parts: vec![
            Part::Text("What is this?".to_owned()),
            attached(json!({"type": "image_url", "image_url": {"url": png}})),
            attached(json!({"type": "file", "file": {"filename": "a b.txt",
                            "file_data": "data:text/plain;base64,aGVsbG8="}})),
        ],
        ..Message::text(Role::User, "")
    };
    for model in [HAIKU_3, NOVA] {
        let mut talk = upstream.talk(model);
        let said = talk.send(vec![message.clone()]).await;
        said.ended(FinishReason::Stop);
        assert!(said.text().contains("image") && said.text().contains("a b"), "{}", said.text());
        talk.say("and again?").await.ended(FinishReason::Stop);
    }
    let film = attached(json!({"type": "video_url", "video_url": {"url": "s3://films/a.mp4"}}));
    let film = Message { parts: vec![film], ..Message::text(Role::User, "") };
    let said = upstream.talk(NOVA).send(vec![film.clone()]).await;
    assert!(said.text().contains("video"), "{said:?}");
    let failure = upstream.talk(HAIKU_3).send(vec![film]).await.end.unwrap_err();
    assert_eq!(failure.kind, FailureKind::UnsupportedParameter);
}

#[tokio::test]
async fn every_reason_to_stop_has_its_end() {
    use FinishReason::{ContentFilter, Length, Stop};
    let upstream = Upstream::start().await;
    for model in [HAIKU_3, LLAMA] {
        for (reason, expected) in [
            ("end_turn", Stop),
            ("stop_sequence", Stop),
            ("max_tokens", Length),
            ("model_context_window_exceeded", Length),
            ("guardrail_intervened", ContentFilter),
            ("content_filtered", ContentFilter),
        ] {
            let said = upstream.talk(model).say(&format!("say: hello; stop: {reason}")).await;
            said.ended(expected);
        }
        for reason in ["malformed_model_output", "malformed_tool_use"] {
            let mut talk = upstream.talk(model);
            let failure = talk.say(&format!("say: hello; stop: {reason}")).await.end.unwrap_err();
            assert_eq!(failure.kind, FailureKind::UpstreamProtocol, "{reason}");
        }
    }
}

#[tokio::test]
async fn limits_and_stop_texts_hold() {
    let upstream = Upstream::start().await;
    let mut talk = upstream.talk(HAIKU_3);
    talk.request.generation.max_tokens = Some(5);
    talk.say("words: 50").await.ended(FinishReason::Length);
    talk.request.generation.max_tokens = None;
    talk.request.generation.stop = vec!["STOP".to_owned()];
    let said = talk.say("say: one STOP two").await;
    said.ended(FinishReason::Stop);
    assert_eq!(said.text(), "one ");
}

#[tokio::test]
async fn what_the_next_turn_repeats_is_read_from_the_cache() {
    let upstream = Upstream::start().await;
    for model in [SONNET_4, NOVA] {
        let mut talk = upstream.talk(model);
        let long = "Our terms are these. ".repeat(800);
        talk.request.messages = vec![Message::text(Role::System, long)];
        let first = talk.say("hello").await.usage.unwrap();
        assert_eq!(first.cached_input_tokens, 0, "{model}");
        let second = talk.say("and again").await.usage.unwrap();
        assert!(second.cached_input_tokens > 1_000, "{model}: {second:?}");
        assert!(second.input_tokens >= second.cached_input_tokens, "{model}: {second:?}");
    }
}

#[tokio::test]
async fn sources_of_an_answer_are_told() {
    let upstream = Upstream::start().await;
    let said = upstream.talk(HAIKU_3).say("cite: https://example.com/rates Rates rose.").await;
    let cited = said.events.iter().find_map(|event| match event {
        TurnEvent::Citation(citation) => citation.references[0].location.clone(),
        _ => None,
    });
    assert_eq!(cited.as_deref(), Some("https://example.com/rates"), "{said:?}");
}
