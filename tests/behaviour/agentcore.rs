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

/// The tool message that answers a call with a text.
fn result((call, text): (&Value, &str)) -> Value {
    json!({ "role": "tool", "tool_call_id": call["id"], "content": text })
}

fn function(name: &str) -> Value {
    json!({ "type": "function",
        "function": { "name": name, "parameters": { "type": "object" } } })
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
        .with("tools", json!([function("weather")]))
        .text()
        .await;
    let invoked = &invocations(&broker).await[0];
    assert_eq!((&invoked["user"], &invoked["qualifier"]), (&json!("local/ann"), &json!("prod")));
    let messages = json!([{ "role": "user", "content": "hello there" }]);
    assert_eq!(
        invoked["body"],
        json!({ "messages": messages, "who": "ann", "tools": [function("weather")],
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
        let told: Vec<_> = calls.iter().zip(["rain", "noon"]).map(result).collect();
        let answer = ask(&broker, "runtime", "").session(shape).with("messages", json!(told));
        assert_eq!(answer.text().await, "The tools say: rain, noon", "{shape}");
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

/// The tool calls of an answer, and why it ended.
fn calls(answer: &Answer) -> (Vec<Value>, &str) {
    let choice = &answer.body["choices"][0];
    let calls = choice["message"]["tool_calls"].as_array().cloned().unwrap_or_default();
    (calls, choice["finish_reason"].as_str().unwrap())
}

#[tokio::test]
async fn inline_functions_of_a_harness_go_round_the_loop_of_tools() {
    let broker = broker().await;
    let tools = json!([function("weather"), function("clock")]);
    let ask =
        |text: &str| ask(&broker, "harness", text).session("one").with("tools", tools.clone());
    ask("my name is Ann").text().await;
    let handed = ask("call: weather city=Oslo call: clock").whole().answer().await;
    let (open, reason) = calls(&handed);
    assert_eq!((open.len(), reason), (2, "tool_calls"));
    assert_eq!(open[0]["function"]["arguments"], "{\"city\":\"Oslo\"}");
    // One of two results: the other call is stated again, and nothing goes up.
    let first = json!([result((&open[0], "rain"))]);
    let waiting = ask("").with("messages", first).whole().answer().await;
    let (left, reason) = calls(&waiting);
    assert_eq!((left.len(), reason), (1, "tool_calls"));
    assert_eq!(left[0]["id"], open[1]["id"]);
    assert_eq!(invocations(&broker).await.len(), 2);
    let mut failed = result((&open[1], "no battery"));
    failed["is_error"] = json!(true);
    let told = ask("").with("messages", json!([failed])).text().await;
    assert_eq!(told, "weather says: rain clock failed: no battery");
    let sent = &invocations(&broker).await[2]["body"]["messages"];
    assert_eq!(sent[0]["content"][1]["toolUse"]["name"], "clock", "the calls go up again");
    assert_eq!(sent[1]["content"][1]["toolResult"]["status"], "error");
    assert_eq!(ask("what is my name?").text().await, "Your name is Ann.");
}

#[tokio::test]
async fn a_user_who_speaks_instead_interrupts_the_calls_of_a_harness() {
    let broker = broker().await;
    let ask = |text: &str| ask(&broker, "harness", text).session("one");
    let handed = ask("call: lookup id=7").answer().await;
    assert_eq!(handed.finish_reason(), "tool_calls");
    assert_eq!(ask("repeat: never mind").text().await, "never mind");
    let sent = &invocations(&broker).await[1]["body"]["messages"];
    let content = &sent[1]["content"];
    assert_eq!(content[0]["toolResult"]["status"], "error");
    assert_eq!(content[0]["toolResult"]["content"][0]["text"], "the user interrupted");
    assert_eq!(content[1]["text"], "repeat: never mind");
}

#[tokio::test]
async fn a_harness_that_forgot_is_told_the_calls_of_the_transcript() {
    let tables = format!(
        "[[models]]\nname = \"core\"\nbackend = \"bedrock-agentcore\"\n\
         idle_session_ttl_seconds = 0.001\nharness_arn = \"{HARNESS}\"\n"
    );
    let broker = Broker::with(Setup { tables: &tables, ..Setup::default() }).await;
    let handed = ask(&broker, "core", "call: lookup id=7").session("one").whole().answer().await;
    let (open, _) = calls(&handed);
    let told = json!([result((&open[0], "seven"))]);
    let answer = ask(&broker, "core", "").session("one").with("messages", told).answer().await;
    assert_eq!((&*answer.text, answer.origin()), ("lookup says: seven", "rehydrated"));
}

#[tokio::test]
async fn a_harness_hands_over_on_the_agent_stream_too() {
    let broker = broker().await;
    let asked =
        json!({ "agent_id": "harness", "session_id": "one", "input_text": "call: lookup id=7" });
    let lines = stream(&broker, &asked).await;
    let handed = &lines[1];
    assert_eq!(handed["type"], "return_control", "{lines:?}");
    let used = &handed["invocation_inputs"][0]["toolUse"];
    assert_eq!((&used["name"], &used["input"]), (&json!("lookup"), &json!({ "id": 7 })));
    let result = json!({ "toolResult": { "toolUseId": used["toolUseId"],
        "content": [{ "text": "seven" }], "status": "success" } });
    let unknown = json!({ "toolResult": { "toolUseId": "other", "content": [] } });
    let back = |result: &Value| {
        json!({ "agent_id": "harness", "session_id": "one",
            "invocation_id": handed["invocation_id"], "return_control_results": [result] })
    };
    let refused = broker.post("/api/agent/stream", &back(&unknown)).send().await;
    assert_eq!(refused.status, 400);
    let lines = stream(&broker, &back(&result)).await;
    assert_eq!(lines.last().unwrap()["final_content"], "lookup says: seven");
}

/// The lines of an answer on the agent stream.
async fn stream(broker: &Broker, body: &Value) -> Vec<Value> {
    let mut reply = broker.post("/api/agent/stream", body).send().await;
    assert_eq!(reply.status, 200);
    let mut lines = Vec::new();
    while let Some(line) = reply.line().await {
        lines.push(serde_json::from_str(&line).unwrap());
    }
    lines
}

#[tokio::test]
async fn a_turn_after_a_cut_one_begins_another_session_that_knows_what_was_said() {
    let broker = broker().await;
    for model in ["runtime", "harness"] {
        let ask = |text: &str| ask(&broker, model, text).session(model);
        ask("my name is Ann").text().await;
        let mut cut = ask("count to 2000 slowly").begin().await;
        cut.first_text().await;
        let path = format!("/v1/sessions/{model}/interrupt");
        broker.post(&path, &json!({})).send().await;
        Answer::of(cut).await.expect_ok();
        assert_eq!(ask("what is my name?").text().await, "Your name is Ann.", "{model}");
    }
    let sessions: Vec<_> =
        invocations(&broker).await.iter().map(|asked| asked["session"].clone()).collect();
    assert_eq!(sessions[0], sessions[1]);
    assert_ne!(sessions[1], sessions[2]);
}
