//! Models on AgentCore: runtimes and harnesses behind the same sessions as agents.

use serde_json::{Value, json};

use super::ask::{Answer, Ask};
use super::broker::{Broker, Setup, until};

const RUNTIME: &str = "arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/bank-Ab12Cd34Ef";
const HARNESS: &str = "arn:aws:bedrock-agentcore:us-east-1:123456789012:harness/bank-Ab12Cd34Ef";

/// A broker with the models `runtime` and `harness`; `settings` are the runtime's besides.
async fn broker_with(settings: &str) -> Broker {
    let tables = format!(
        "[[models]]\nname = \"runtime\"\nbackend = \"bedrock-agentcore\"\n\
         runtime_arn = \"{RUNTIME}\"\n{settings}\n\
         [[models]]\nname = \"harness\"\nbackend = \"bedrock-agentcore\"\n\
         harness_arn = \"{HARNESS}\"\n"
    );
    Broker::with(Setup { tables: &tables, ..Setup::default() }).await
}

async fn broker() -> Broker {
    broker_with("").await
}

fn ask<'a>(broker: &'a Broker, model: &str, text: &str) -> Ask<'a> {
    broker.ask(text).with("model", json!(model))
}

/// What AgentCore was asked, oldest first.
async fn invocations(broker: &Broker) -> Vec<Value> {
    broker.upstream().await["agentcore"]["invocations"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_runtime_answers_streamed_and_whole_and_remembers() {
    let broker = broker().await;
    for model in ["runtime", "harness"] {
        let told = ask(&broker, model, "my name is Ann").session(model).text().await;
        assert!(told.starts_with("Nice to meet you, Ann."), "{told}");
        let asked = ask(&broker, model, "what is my name?").session(model).whole().text().await;
        assert_eq!(asked, "Your name is Ann.");
    }
    let invocations = invocations(&broker).await;
    assert_eq!(invocations[1]["body"], json!({ "prompt": "what is my name?" }));
    assert_eq!(invocations[0]["session"], invocations[1]["session"]);
    assert_ne!(invocations[0]["session"], invocations[2]["session"]);
    let asked = json!([{ "role": "user", "content": [{ "text": "what is my name?" }] }]);
    assert_eq!(invocations[3]["body"]["messages"], asked);
}

#[tokio::test]
async fn a_runtime_is_understood_whatever_shape_it_answers_in() {
    let broker = broker().await;
    let shapes = [
        "strings",
        "strands",
        "openai",
        "agui",
        "anthropic",
        "langgraph",
        "lines",
        "plain",
        "json",
    ];
    for shape in shapes {
        let text = format!("repeat: Grüße an 北京 und alle as {shape}");
        let answer = ask(&broker, "runtime", &text).session(shape).answer().await;
        answer.expect_ok();
        assert_eq!(answer.text, "Grüße an 北京 und alle", "{shape}");
        assert_eq!(answer.finish_reason(), "stop", "{shape}");
        let dripped = format!("{text} with fault slow");
        let answer = ask(&broker, "runtime", &dripped).session(shape).text().await;
        assert_eq!(answer, "Grüße an 北京 und alle", "{shape}, byte by byte");
    }
    let unknown = ask(&broker, "runtime", "repeat: x as unknown").text().await;
    assert_eq!(unknown, "{\"reply\":{\"said\":\"x\"}}");
}

#[tokio::test]
async fn usage_is_what_the_upstream_counts() {
    let broker = broker().await;
    let cases = [
        ("runtime", "count to 8 as strands"),
        ("runtime", "count to 8 as openai"),
        ("runtime", "count to 8 as anthropic"),
        ("harness", "count to 8"),
    ];
    for (model, text) in cases {
        let answer = ask(&broker, model, text).whole().answer().await;
        let usage = &answer.body["usage"];
        let input = if model == "harness" { text } else { "count to 8" };
        assert_eq!(usage["prompt_tokens"], input.len().div_ceil(4), "{text}: {usage}");
        assert_eq!(usage["completion_tokens"], 4, "{text}: {usage}");
    }
}

#[tokio::test]
async fn a_payload_of_the_operators_own_carries_what_it_names() {
    let broker = broker_with(
        "runtime_user = \"{tenant}/{user}\"\nqualifier = \"prod\"\n\
         payload = '{\"messages\":\"{messages}\",\"who\":\"{user}\",\"tools\":\"{tools}\",\
         \"notes\":\"{metadata}\",\"session\":\"s={session}\"}'",
    )
    .await;
    ask(&broker, "runtime", "hello there")
        .session("one")
        .with("user", json!("ann"))
        .with("metadata", json!({ "plan": "gold" }))
        .text()
        .await;
    let invoked = &invocations(&broker).await[0];
    assert_eq!((&invoked["user"], &invoked["qualifier"]), (&json!("local/ann"), &json!("prod")));
    let messages = json!([{ "role": "user", "content": "hello there" }]);
    assert_eq!(
        invoked["body"],
        json!({ "messages": messages, "who": "ann", "tools": [],
            "notes": { "plan": "gold" }, "session": "s=one" })
    );
}

#[tokio::test]
async fn a_direct_name_needs_no_configuration() {
    let settings = "routing.allow_direct = true";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    for arn in [RUNTIME, HARNESS] {
        let model = format!("bedrock/agentcore/{arn}");
        assert_eq!(ask(&broker, &model, "repeat: hi").session(arn).text().await, "hi");
    }
    let answer = ask(&broker, "bedrock/agentcore/bank", "repeat: hi").answer().await;
    assert_eq!((answer.status, &*answer.code()), (404, "model_not_found"));
    let missing = RUNTIME.replace("bank", "missing");
    let answer = ask(&broker, &format!("bedrock/agentcore/{missing}"), "repeat: hi").answer().await;
    assert_eq!((answer.status, &*answer.code()), (404, "model_not_found"));
    assert!(!answer.everything().contains("123456789012"), "no account id reaches the client");
}

#[tokio::test]
async fn a_session_that_was_forgotten_upstream_is_told_what_was_said() {
    for model in ["runtime", "harness"] {
        let tables = format!(
            "[[models]]\nname = \"core\"\nbackend = \"bedrock-agentcore\"\n\
             idle_session_ttl_seconds = 0.001\n{model}_arn = \"{}\"\n",
            if model == "runtime" { RUNTIME } else { HARNESS }
        );
        let broker = Broker::with(Setup { tables: &tables, ..Setup::default() }).await;
        ask(&broker, "core", "my name is Ann").session("one").text().await;
        let again = ask(&broker, "core", "what is my name?").session("one").answer().await;
        assert_eq!((&*again.text, again.origin()), ("Your name is Ann.", "rehydrated"), "{model}");
        let invocations = invocations(&broker).await;
        assert_ne!(invocations[0]["session"], invocations[1]["session"]);
    }
}

#[tokio::test]
async fn an_interrupt_stops_the_session_upstream_and_leaves_ours_usable() {
    let broker = broker().await;
    for (place, model) in ["runtime", "harness"].into_iter().enumerate() {
        let ask = |text: &str| ask(&broker, model, text).session(model);
        let mut cut = ask("count to 2000 slowly").begin().await;
        cut.first_text().await;
        let path = format!("/v1/sessions/{model}/interrupt");
        let interrupted = broker.post(&path, &json!({})).send().await;
        assert_eq!(interrupted.status, 200);
        Answer::of(cut).await.expect_ok();
        let mut stopped = Value::Null;
        until("the session to be stopped upstream", async || {
            stopped = broker.upstream().await["agentcore"]["stopped"][place].clone();
            !stopped.is_null()
        })
        .await;
        let begun = invocations(&broker).await.last().unwrap().clone();
        assert_eq!((&stopped["arn"], &stopped["session"]), (&begun["arn"], &begun["session"]));
        assert_eq!(ask("repeat: go on").text().await, "go on");
        let session = broker.session(model).await;
        assert_eq!(session["messages"][1]["status"], "interrupted");
    }
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_session_upstream() {
    let broker = broker().await;
    let mut left = ask(&broker, "runtime", "count to 2000 slowly").begin().await;
    left.first_text().await;
    left.hang_up();
    until("the session to be stopped upstream", async || {
        broker.upstream().await["agentcore"]["stopped"][0].is_object()
    })
    .await;
    broker.open_calls_become(0).await;
}

#[tokio::test]
async fn a_session_that_is_ended_is_stopped_upstream() {
    let broker = broker().await;
    ask(&broker, "runtime", "hello there").session("one").text().await;
    let ended = broker.request("DELETE", "/v1/sessions/one").send().await;
    assert!(ended.status < 300, "{ended:?}");
    until("the session to be stopped upstream", async || {
        broker.upstream().await["agentcore"]["stopped"][0].is_object()
    })
    .await;
    let ending = json!({ "end_session": true });
    ask(&broker, "runtime", "goodbye then").session("two").with("outcrop", ending).text().await;
    let stopped = &broker.upstream().await["agentcore"]["stopped"];
    assert_eq!(stopped.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn failures_tell_what_to_do_and_leave_the_session_usable() {
    let broker = broker().await;
    let cases = [
        ("runtime", "internal", 503, "upstream_unavailable"),
        ("runtime", "access-denied", 502, "upstream_denied"),
        ("runtime", "validation", 400, "upstream_rejected"),
        ("runtime", "exception:ValueError:0", 502, "upstream_dependency"),
        ("harness", "throttle", 429, "upstream_throttled"),
        ("harness", "exception:runtimeClientError:0", 502, "upstream_dependency"),
        ("harness", "exception:internalServerException:1", 503, "upstream_unavailable"),
        ("harness", "exception:validationException:1", 400, "upstream_rejected"),
        ("harness", "cut:2", 502, "upstream_protocol"),
        ("harness", "garbage:2", 502, "upstream_protocol"),
        ("harness", "empty", 502, "upstream_protocol"),
        ("harness", "ending", 502, "upstream_dependency"),
    ];
    for (model, fault, status, code) in cases {
        let text = match fault {
            "ending" => "repeat: hi ending malformed_tool_use".to_owned(),
            fault => format!("repeat: hi with fault {fault}"),
        };
        let failed = ask(&broker, model, &text).session(fault).whole().answer().await;
        assert_eq!((failed.status, &*failed.code()), (status, code), "{model} {fault}");
        assert!(!failed.everything().contains("emulated"), "{:?}", failed.body);
        let next = ask(&broker, model, "repeat: still here").session(fault).text().await;
        assert_eq!(next, "still here", "after {fault}");
    }
}

#[tokio::test]
async fn an_error_in_mid_stream_ends_the_stream_with_it() {
    let broker = broker().await;
    for (model, fault) in
        [("runtime", "exception:ValueError:3"), ("harness", "exception:runtimeClientError:4")]
    {
        let text = format!("count to 9 with fault {fault}");
        let failed = ask(&broker, model, &text).session(model).answer().await;
        assert!(!failed.text.is_empty(), "some text comes first");
        assert_eq!(failed.code(), "upstream_dependency");
        assert!(!failed.everything().contains("emulated"), "what the agent said is not shown");
        let next = ask(&broker, model, "repeat: still here").session(model).text().await;
        assert_eq!(next, "still here");
    }
}

#[tokio::test]
async fn what_did_not_begin_is_tried_again_and_what_may_have_is_not() {
    let broker = broker().await;
    let text = "repeat: hi with fault throttle:2";
    assert_eq!(ask(&broker, "runtime", text).text().await, "hi");
    assert_eq!(invocations(&broker).await.len(), 3);
    let text = "repeat: hi with fault internal:1";
    let failed = ask(&broker, "runtime", text).session("two").whole().answer().await;
    assert_eq!(failed.status, 503);
    assert_eq!(invocations(&broker).await.len(), 4);
}

#[tokio::test]
async fn calls_of_a_runtime_are_tool_calls_and_their_results_are_told() {
    let broker = broker().await;
    for shape in ["strands", "openai", "agui", "anthropic", "langgraph"] {
        let text = format!("call: weather city=Oslo days=3 call: clock as {shape}");
        let asked = ask(&broker, "runtime", &text).session(shape).whole().answer().await;
        let choice = &asked.body["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls", "{shape}: {choice}");
        let calls = choice["message"]["tool_calls"].as_array().unwrap();
        let called: Vec<_> = calls
            .iter()
            .map(|call| (call["function"]["name"].as_str(), call["function"]["arguments"].as_str()))
            .collect();
        let expected = [("weather", "{\"city\":\"Oslo\",\"days\":3}"), ("clock", "{}")];
        assert_eq!(called, expected.map(|(name, json)| (Some(name), Some(json))), "{shape}");
        let id = calls[0]["id"].as_str().unwrap();
        let told = json!([{ "role": "tool", "tool_call_id": id, "content": "rain" }]);
        let answer = ask(&broker, "runtime", "").session(shape).with("messages", told);
        assert_eq!(answer.text().await, "The tool says: rain", "{shape}");
    }
}

#[tokio::test]
async fn tools_that_run_upstream_are_not_shown() {
    let broker = broker().await;
    let cases = [("runtime", "run: shell cmd=ls as strands"), ("harness", "run: shell cmd=ls")];
    for (model, text) in cases {
        let answer = ask(&broker, model, text).session(model).whole().answer().await;
        let message = &answer.body["choices"][0]["message"];
        assert_eq!(message["content"], "shell has run.");
        assert!(message["tool_calls"].is_null(), "{message}");
        assert_eq!(answer.body["choices"][0]["finish_reason"], "stop");
    }
}

#[tokio::test]
async fn stop_reasons_of_a_harness_become_finish_reasons() {
    let broker = broker().await;
    for (ending, reason) in [
        ("end_turn", "stop"),
        ("max_iterations_exceeded", "length"),
        ("content_filtered", "content_filter"),
        ("hook_stopped", "content_filter"),
    ] {
        let text = format!("repeat: hi ending {ending}");
        let answer = ask(&broker, "harness", &text).answer().await;
        answer.expect_ok();
        assert_eq!(answer.finish_reason(), reason, "{ending}");
    }
}
