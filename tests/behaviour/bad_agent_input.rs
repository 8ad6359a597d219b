//! Requests that ask an agent for what it would not take: which field is at fault, and that the
//! session goes on.

use serde_json::{Value, json};

use super::ask::Ask;
use super::broker::{Broker, Setup};
use super::return_of_control::{calls, results_of};

fn say<'a>(broker: &'a Broker, text: &str) -> Ask<'a> {
    broker.ask(text).session("one").whole()
}

/// A request that is refused as the client's mistake at this field, without a call upstream.
async fn expect_refused(broker: &Broker, ask: Ask<'_>, param: &str) {
    let before = broker.calls().await.len();
    let refused = ask.answer().await;
    assert_eq!((refused.status, &refused.error()["param"]), (400, &json!(param)), "{refused:?}");
    assert_eq!(broker.calls().await.len(), before, "{param} went up");
}

#[tokio::test]
async fn wishes_that_an_agent_would_not_take_are_refused_by_name() {
    let broker = Broker::start().await;
    say(&broker, "my name is Ann").text().await;
    let wrong = [
        (json!({ "session_attributes": { "plan": 3 } }), "outcrop.session_attributes.plan"),
        (
            json!({ "prompt_session_attributes": { "who": { "name": "Ann" } } }),
            "outcrop.prompt_session_attributes.who",
        ),
        (json!({ "session_attributes": ["plan"] }), "outcrop.session_attributes"),
        (json!({ "memory_id": "ann@example.com" }), "outcrop.memory_id"),
        (json!({ "guardrail_interval": 0 }), "outcrop.guardrail_interval"),
        (json!({ "latency": "fast" }), "outcrop.latency"),
        (json!({ "file_use": "print" }), "outcrop.file_use"),
        (json!({ "tool_errors": "ignore" }), "outcrop.tool_errors"),
    ];
    for (options, param) in wrong {
        expect_refused(&broker, say(&broker, "hello there").with("outcrop", options), param).await;
    }
    let bases = json!({ "knowledge_base_configurations": [{ "knowledgeBaseId": "KB1" }] });
    let ask = say(&broker, "hello there").with("outcrop", bases);
    expect_refused(&broker, ask, "knowledge_base_configurations").await;
    assert_eq!(say(&broker, "what is my name?").text().await, "Your name is Ann.");
}

#[tokio::test]
async fn files_over_the_limits_are_refused() {
    let broker = Broker::start().await;
    let message = |files: &[Value]| {
        let mut parts = vec![json!({ "type": "text", "text": "repeat: thanks" })];
        parts.extend_from_slice(files);
        json!([{ "role": "user", "content": parts }])
    };
    let file = |data: &str, name: &str| json!({ "type": "file", "file": { "file_data": data, "filename": name } });
    // 10,485,760 bytes are the most; four characters of base64 are three bytes.
    let large = file(&"AAAA".repeat(10_485_760 / 3 + 1), "large.txt");
    let half = file(&"AAAA".repeat(10_485_760 / 6 + 1), "half.txt");
    let small = file("YSxi", "a.csv");
    let wrong = [
        vec![small.clone(); 6],
        vec![large],
        vec![half.clone(), half],
        vec![file("YSxi", "a.unknown")],
        vec![file("not base64!", "a.csv")],
        vec![file("https://example.com/a.csv", "a.csv")],
    ];
    for files in wrong {
        let ask = say(&broker, "x").with("messages", message(&files));
        expect_refused(&broker, ask, "messages").await;
    }
    let most = say(&broker, "x").with("messages", message(&vec![small; 5]));
    assert_eq!(most.text().await, "thanks");
}

#[tokio::test]
async fn six_results_are_too_many_and_five_are_taken() {
    let broker = Broker::start().await;
    let five = "call: a; call: b; call: c; call: d; call: e; then say: Done.";
    let asked = say(&broker, five).answer().await;
    let open = calls(&asked);
    assert_eq!(open.len(), 5);
    let mut six = results_of(&open, "1");
    let stranger = json!({ "role": "tool", "tool_call_id": "call_of_nobody", "content": "1" });
    six.as_array_mut().unwrap().push(stranger);
    let ask = say(&broker, "x").with("messages", six);
    expect_refused(&broker, ask, "messages").await;
    let spelled = json!({ "functionResult": { "actionGroup": "demo", "function": "a",
        "responseBody": { "TEXT": { "body": "1" } } } });
    let body = json!({ "agent_id": "agent", "session_id": "one", "invocation_id": "any",
        "return_control_results": vec![spelled; 6] });
    let refused = broker.post("/api/agent/stream", &body).send().await;
    assert_eq!(refused.status, 400);
    let told = say(&broker, "x").with("messages", results_of(&open, "1")).text().await;
    assert!(told.contains("e says: 1") && told.ends_with("Done."), "{told}");
}

#[tokio::test]
async fn results_of_the_wrong_type_are_refused_and_the_calls_stay_open() {
    let broker = Broker::start().await;
    let asked = say(&broker, "call: a; then say: Done.").answer().await;
    let right = results_of(&calls(&asked), "1");
    let with = |member: &str, value: Value| {
        let mut wrong = right.clone();
        wrong[0][member] = value;
        wrong
    };
    let wrong = [
        (with("content", json!(7)), "messages[0].content"),
        (with("content", json!({ "answer": 7 })), "messages[0].content"),
        (with("tool_call_id", json!(7)), "messages[0].tool_call_id"),
        (with("is_error", json!("perhaps")), "messages[0].is_error"),
        (with("role", json!("function_result")), "messages[0].role"),
    ];
    for (messages, param) in wrong {
        expect_refused(&broker, say(&broker, "x").with("messages", messages), param).await;
    }
    let told = say(&broker, "x").with("messages", right).text().await;
    assert!(told.contains("a says: 1"), "{told}");
}

#[tokio::test]
async fn an_agent_that_does_not_exist_leaves_its_session_to_another() {
    let tables = "[[models]]\nname = \"lost\"\nbackend = \"bedrock-agent\"\nagent_id = \
                  \"MISSING123\"\n\n[[models]]\nname = \"inline\"\n\
                  backend = \"bedrock-inline-agent\"\nfoundation_model = \"any\"\n\
                  instruction = \"Look things up for the people who ask, and be brief.\"\n";
    let broker = Broker::with(Setup { tables, ..Setup::default() }).await;
    for fault in [None, Some("not-found")] {
        let model = if fault.is_some() { "inline" } else { "lost" };
        let ask = say(&broker, "my name is Ann").at_model(model);
        let ask = fault.map_or_else(|| ask.clone(), |fault| ask.clone().fault(fault));
        let lost = ask.answer().await;
        assert_eq!((lost.status, &*lost.code()), (404, "model_not_found"), "{lost:?}");
        assert_eq!(lost.error()["param"], "model");
        assert!(!lost.everything().contains("MISSING123"), "{lost:?}");
    }
    assert_eq!(say(&broker, "repeat: found").text().await, "found");
}
