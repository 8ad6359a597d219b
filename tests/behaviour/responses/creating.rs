//! Responses made: whole, as a stream, failed, and refused.

use serde_json::{Value, json};

use crate::broker::{Broker, Setup};
use crate::client::Frame;
use crate::respond::{Respond, Responded, check_stream};

use super::kinds;

#[tokio::test]
async fn a_response_in_one_piece_has_what_the_schema_wants_and_is_kept() {
    let broker = Broker::start().await;
    let ask = Respond::to(&broker, "count to 5")
        .with("instructions", "be brief")
        .with("metadata", json!({ "order": "7" }));
    let made = ask.complete().await;
    assert_eq!(made.text().split_whitespace().collect::<Vec<_>>(), ["1", "2", "3", "4", "5"]);
    let expected = [
        ("object", json!("response")),
        ("model", json!("agent")),
        ("error", Value::Null),
        ("incomplete_details", Value::Null),
        ("instructions", json!("be brief")),
        ("metadata", json!({ "order": "7" })),
        ("previous_response_id", Value::Null),
        ("store", json!(true)),
        ("background", json!(false)),
        ("tools", json!([])),
        ("tool_choice", json!("auto")),
        ("parallel_tool_calls", json!(true)),
    ];
    for (member, value) in expected {
        assert_eq!(made.body[member], value, "{member}");
    }
    let usage = &made.body["usage"];
    let tokens = |member: &str| usage[member].as_u64().unwrap();
    assert_eq!(tokens("input_tokens") + tokens("output_tokens"), tokens("total_tokens"));
    let mut kept = made.get(&broker, "").await;
    assert!(kept.body["completed_at"].as_u64() >= kept.body["created_at"].as_u64());
    kept.body.as_object_mut().unwrap().remove("completed_at");
    assert_eq!(kept.body, made.body);
    let without = broker.get(&made.path().replace("/v1", "")).send().await;
    assert_eq!(without.status, 200);
}

#[tokio::test]
async fn a_stream_brings_every_event_in_order() {
    let broker = Broker::start().await;
    let streamed = Respond::to(&broker, "count to 3").streamed().send().await;
    check_stream(&streamed.frames);
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(kinds(&streamed.frames), expected);
    assert_eq!(streamed.state(), "completed");
    assert_eq!(streamed.get(&broker, "").await.body["output"], streamed.body["output"]);
}

#[tokio::test]
async fn a_failure_before_the_first_word_is_a_status_and_later_one_an_event() {
    let broker = Broker::start().await;
    for streams in [false, true] {
        let ask = Respond::to(&broker, "hello").with("stream", streams).fault("dependency");
        let refused = ask.send().await;
        assert_eq!((refused.status, refused.refusal().1), (502, "upstream_dependency"));
    }
    let ask = Respond::to(&broker, "count to 5").streamed().fault("cut:2");
    let failed = ask.send().await;
    check_stream(&failed.frames);
    assert_eq!((failed.status, failed.state()), (200, "failed"));
    assert_eq!(failed.body["error"]["code"], "server_error");
    let kept = failed.get(&broker, "").await;
    assert_eq!((kept.state(), &kept.body["error"]), ("failed", &failed.body["error"]));
}

#[tokio::test]
async fn how_likely_the_tokens_were_comes_with_the_text_where_it_is_asked_for() {
    let tables = "[[models]]\nname = \"gpt\"\nbackend = \"openai\"\nmodel_id = \"gpt-4o\"\n";
    let broker = Broker::with(Setup { tables, ..Setup::default() }).await;
    let ask = || {
        Respond::to(&broker, "count to 3")
            .with("model", "gpt")
            .with("include", json!(["message.output_text.logprobs"]))
            .with("top_logprobs", 2)
    };
    let told = |made: &Responded| made.body["output"][0]["content"][0]["logprobs"].clone();
    let text_of = |entries: &Value| -> String {
        let entries = entries.as_array().unwrap().iter();
        entries.map(|entry| entry["token"].as_str().unwrap()).collect()
    };
    let whole = ask().complete().await;
    assert_eq!(text_of(&told(&whole)), whole.text());
    assert_eq!(whole.body["top_logprobs"], 2);
    for entry in told(&whole).as_array().unwrap() {
        assert!(entry["logprob"].is_f64() && entry["bytes"].is_array(), "{entry}");
        assert_eq!(entry["top_logprobs"].as_array().unwrap().len(), 2);
    }
    let streamed = ask().streamed().complete().await;
    check_stream(&streamed.frames);
    assert_eq!(told(&streamed), told(&whole));
    let frames: Vec<_> = streamed.frames.iter().map(Frame::json).collect();
    let of_type = |kind: &'static str| frames.iter().filter(move |frame| frame["type"] == kind);
    let deltas = of_type("response.output_text.delta").flat_map(|it| it["logprobs"].as_array());
    assert_eq!(json!(deltas.flatten().collect::<Vec<_>>()), told(&whole));
    let done = of_type("response.output_text.done").next().unwrap();
    assert_eq!(done["logprobs"], told(&whole));
    assert_eq!(told(&whole.get(&broker, "").await), told(&whole));
    let unasked = Respond::to(&broker, "count to 3").with("model", "gpt").with("top_logprobs", 2);
    assert_eq!(told(&unasked.complete().await), json!([]));
    let refused = ask().with("model", "agent").send().await;
    assert_eq!((refused.status, refused.refusal().2), (400, "include"), "{refused:?}");
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_by_name() {
    let broker = Broker::start().await;
    let cases = [
        ("tools", json!([{ "type": "web_search" }]), "tools[0].type"),
        ("prompt", json!({ "id": "pmpt_1" }), "prompt"),
        ("max_output_tokens", json!(3), "max_output_tokens"),
        ("include", json!(["everything"]), "include[0]"),
        ("truncation", json!("sometimes"), "truncation"),
        ("metadata", json!({ "k": "v".repeat(513) }), "metadata"),
        ("input", json!(""), "input"),
    ];
    for (member, value, param) in cases {
        let refused = Respond::to(&broker, "hello").with(member, value).send().await;
        assert_eq!((refused.status, refused.refusal().2), (400, param), "{refused:?}");
    }
    let background = Respond::to(&broker, "hello").in_background().with("store", false);
    assert_eq!(background.send().await.refusal().2, "background");
    assert_eq!(broker.calls().await.len(), 0);
}
