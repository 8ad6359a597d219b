//! Conversations with CodeWhisperer: tools, images, citations, thoughts, and tokens that expire
//! in their middle.

use serde_json::{Value, json};

use super::ask::Ask;
use super::broker::{Broker, Setup};
use super::sign_in::{MODEL, Signed};

const DOT: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=";

fn ask<'a>(signed: &'a Signed, text: &str) -> Ask<'a> {
    signed.broker.ask(text).at_model("q")
}

/// What the service was sent, oldest first.
async fn sent(broker: &Broker) -> Vec<Value> {
    let calls = broker.upstream().await["models"]["calls"].as_array().unwrap().clone();
    calls.iter().map(|call| call["request"]["conversationState"].clone()).collect()
}

fn current(state: &Value) -> &Value {
    &state["currentMessage"]["userInputMessage"]
}

fn tools(names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| {
            json!({"type": "function", "function": {"name": name, "description": "Looks.",
                "parameters": {"type": "object"}}})
        })
        .collect()
}

#[tokio::test]
async fn a_conversation_with_tools_goes_on_when_its_token_expires() {
    let signed = Signed::up("", MODEL).await;
    let question = ask(&signed, "my name is Ann").session("one");
    assert!(question.text().await.contains("Ann"));
    signed.broker.set_up_sign_in(&json!({ "expire": true })).await;
    let script = "say: Let me look.; call: look x=1; call: find y=2";
    let tools = tools(&["look", "find"]);
    let answer = ask(&signed, script).session("one").whole().with("tools", tools.clone());
    let answer = answer.answer().await;
    answer.expect_ok();
    let message = &answer.body["choices"][0]["message"];
    assert_eq!(message["content"], "Let me look.");
    let calls = message["tool_calls"].as_array().unwrap();
    let told: Vec<_> = calls
        .iter()
        .map(|call| (&call["function"]["name"], &call["function"]["arguments"]))
        .collect();
    assert_eq!(
        told,
        [(&json!("look"), &json!("{\"x\":1}")), (&json!("find"), &json!("{\"y\":2}"))]
    );
    assert_eq!(signed.renewals().await, 1);
    signed.broker.set_up_sign_in(&json!({ "expire": true })).await;
    let results = json!([
        {"role": "tool", "tool_call_id": calls[1]["id"], "content": "two"},
        {"role": "tool", "tool_call_id": calls[0]["id"], "content": "one"},
    ]);
    let answer = ask(&signed, "").session("one").with("messages", results).with("tools", tools);
    assert_eq!(answer.text().await, "look says: one find says: two");
    assert_eq!(signed.renewals().await, 2);
    assert_eq!(ask(&signed, "what is my name?").session("one").text().await, "Your name is Ann.");
    let sent = sent(&signed.broker).await;
    let last = sent.last().unwrap();
    assert_eq!(last["conversationId"], sent[0]["conversationId"]);
    let id = last["conversationId"].as_str().unwrap();
    assert_eq!((id.len(), id.matches('-').count()), (36, 4), "{id} is a UUID");
    // Without tools, what was called is told in words.
    assert!(
        last["history"][3]["assistantResponseMessage"]["content"]
            .as_str()
            .unwrap()
            .contains("[called look with"),
        "{last}"
    );
    for token in ["access_token", "refresh_token"] {
        signed.broker.keep_secret(signed.kept()[token].as_str().unwrap());
    }
}

#[tokio::test]
async fn two_processes_renew_a_token_once() {
    let signed = Signed::up("", MODEL).await;
    let settings = format!("codewhisperer.directory = {:?}", signed.place);
    let beside = Some(&signed.broker);
    let setup = Setup { settings: &settings, tables: MODEL, beside, ..Setup::default() };
    let other = Broker::with(setup).await;
    let both = [&signed.broker, &other];
    for broker in both {
        assert_eq!(broker.ask("say: before").at_model("q").text().await, "before");
    }
    let expired = json!({ "expire": true, "renewal_ms": 300 });
    signed.broker.set_up_sign_in(&expired).await;
    let turns = (0..6).map(|number| {
        let broker = both[number % 2];
        let text = format!("say: after {number}");
        async move { broker.ask(&text).at_model("q").text().await }
    });
    let answers = futures_util::future::join_all(turns).await;
    assert_eq!(answers.len(), 6);
    assert!(answers.iter().all(|answer| answer.starts_with("after ")), "{answers:?}");
    assert_eq!(signed.renewals().await, 1);
}

#[tokio::test]
async fn instructions_images_and_files_of_text_reach_the_model() {
    let signed = Signed::up("", MODEL).await;
    let messages = json!([
        {"role": "system", "content": "You are kind."},
        {"role": "user", "content": [
            {"type": "text", "text": "What is this picture?"},
            {"type": "image_url", "image_url": {"url": DOT}},
            {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,aGVsbG8gZmlsZQ=="}},
        ]},
    ]);
    ask(&signed, "").with("messages", messages).text().await;
    let sent = sent(&signed.broker).await;
    let now = current(&sent[0]);
    let content = now["content"].as_str().unwrap();
    assert!(
        content.starts_with("<instructions>\nYou are kind.\n</instructions>\n\nWhat is"),
        "{content}"
    );
    assert!(content.ends_with("The file \"a.txt\":\nhello file"), "{content}");
    assert_eq!(now["images"][0]["format"], "png");
    assert_eq!(sent[0]["chatTriggerType"], "MANUAL");
    assert!(now.get("modelId").is_none(), "the service chooses");
    let url = json!([{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}]);
    let answer = ask(&signed, "").with("messages", url).answer().await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "unsupported_parameter"));
}

#[tokio::test]
async fn citations_become_annotations_and_nothing_is_said_twice() {
    let signed = Signed::up("", MODEL).await;
    let web = ask(&signed, "cite: https://docs.example.org/page All is well.").whole();
    let web = web.answer().await;
    let message = &web.body["choices"][0]["message"];
    assert_eq!(message["content"], "All is well.");
    assert_eq!(message["annotations"][0]["url_citation"]["url"], "https://docs.example.org/page");
    let code =
        ask(&signed, "cite: https://github.com/acme/tool fn main() {}").whole().answer().await;
    let message = &code.body["choices"][0]["message"];
    assert_eq!(message["content"], "fn main() {}");
    let source = &code.body["choices"][0]["message"]["annotations"][0]["url_citation"];
    assert_eq!(
        (&source["url"], &source["end_index"]),
        (&json!("https://github.com/acme/tool"), &json!(12))
    );
    assert!(code.body.to_string().contains("\"license\":\"MIT\""), "{}", code.body);
}

#[tokio::test]
async fn thoughts_are_shown_where_they_are_wanted_and_go_back_with_their_proof() {
    let signed = Signed::up("", MODEL).await;
    let script = "think: I should look.; call: look x=1";
    let offer = tools(&["look"]);
    let first = ask(&signed, script).session("one").with("tools", offer.clone());
    let answer = first.with("reasoning_effort", json!("low")).whole().answer().await;
    let message = &answer.body["choices"][0]["message"];
    assert_eq!(message["reasoning_content"], "I should look.");
    let result =
        json!([{"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "x"}]);
    ask(&signed, "").session("one").with("messages", result).with("tools", offer).text().await;
    let sent = sent(&signed.broker).await;
    let thought =
        &sent[1]["history"][1]["assistantResponseMessage"]["reasoningContent"]["reasoningText"];
    assert_eq!(thought["text"], "I should look.");
    assert!(thought["signature"].is_string(), "{thought}");
    let quiet = ask(&signed, "think: Not for you.; say: hi").whole().answer().await;
    assert!(!quiet.everything().contains("Not for you"), "nobody asked");
}

#[tokio::test]
async fn the_price_is_the_services_own() {
    let signed = Signed::up("", MODEL).await;
    let answer = ask(&signed, "words: 7").whole().answer().await;
    let usage = &answer.body["usage"];
    assert_eq!(usage["completion_tokens"], 7);
    assert!(
        usage["prompt_tokens"].as_u64() > Some(0) && usage.get("estimated").is_none(),
        "{usage}"
    );
}

#[tokio::test]
async fn a_direct_name_is_there_once_somebody_has_signed_in() {
    let signed = Signed::out("", "").await;
    let direct = |name: &str, text: &str| signed.broker.ask(text).at_model(name);
    let answer = direct("codewhisperer", "hello there").answer().await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "model_not_found"));
    signed.log_in().await;
    assert_eq!(direct("codewhisperer", "say: hi").text().await, "hi");
    assert_eq!(direct("codewhisperer/claude-sonnet-4", "say: hi").text().await, "hi");
    let sent = sent(&signed.broker).await;
    assert_eq!(current(&sent[1])["modelId"], "claude-sonnet-4");
    let missing = direct("codewhisperer/missing-model", "say: hi").answer().await;
    assert_eq!((missing.status, missing.code().as_str()), (404, "model_not_found"));
    let other = direct("codewhisperers", "say: hi").answer().await;
    assert_eq!((other.status, other.code().as_str()), (404, "model_not_found"));
}

#[tokio::test]
async fn a_direct_name_that_is_opted_into_says_what_to_run() {
    let signed = Signed::out("codewhisperer.direct = true", "").await;
    let answer = signed.broker.ask("hello there").at_model("codewhisperer").answer().await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_denied"));
}

#[tokio::test]
async fn a_key_may_have_a_conversation_of_its_own() {
    let tables = format!("{MODEL}session_per_key = true\n");
    let signed = Signed::up("", &tables).await;
    ask(&signed, "my name is Ann").text().await;
    let again = ask(&signed, "what is my name?").answer().await;
    assert_eq!((again.text.as_str(), again.origin()), ("Your name is Ann.", "continued"));
}

#[tokio::test]
async fn what_the_service_refuses_has_its_kind() {
    let signed = Signed::up("", MODEL).await;
    for (fault, status, code) in [
        ("throttle:9", 429, "upstream_throttled"),
        ("quota", 429, "upstream_throttled"),
        ("access-denied", 502, "upstream_denied"),
        ("context-overflow", 400, "context_length_exceeded"),
        ("validation", 400, "upstream_rejected"),
        ("internal", 503, "upstream_unavailable"),
        ("503", 503, "upstream_unavailable"),
        ("empty", 502, "upstream_protocol"),
        ("end:0", 502, "upstream_protocol"),
    ] {
        let text = format!("say: {fault} it is; outcrop-emulator-fault: {fault}");
        let answer = ask(&signed, &text).answer().await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{fault}");
    }
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_breaks_off_is_no_answer() {
    let signed = Signed::up("", MODEL).await;
    let fault = |name: &str| format!("say: {name} is over now; outcrop-emulator-fault: {name}");
    for passing in ["throttle:1", "503:1", "expired-token:1", "unknown-event", "slow"] {
        let told = ask(&signed, &fault(passing)).text().await;
        assert_eq!(told, format!("{passing} is over now"));
    }
    assert_eq!(signed.renewals().await, 1);
    for breaking in ["cut:2", "garbage:2", "error-frame:2", "exception:throttlingException:2"] {
        let answer = ask(&signed, &fault(breaking)).answer().await;
        assert!(!answer.code().is_empty(), "{breaking}: {answer:?}");
        assert!(!answer.text.is_empty(), "{breaking}: what came is the client's");
    }
    let half = "call: look text=something_that_is_long; outcrop-emulator-fault: end:1";
    let answer = ask(&signed, half).with("tools", tools(&["look"])).answer().await;
    assert_eq!(answer.code(), "upstream_protocol", "half a call is no call");
}

#[tokio::test]
async fn a_shape_and_a_choice_are_told_in_words() {
    let signed = Signed::up("", MODEL).await;
    let object = json!({"type": "json_object"});
    let answer = ask(&signed, "hello there").with("response_format", object).text().await;
    assert!(
        serde_json::from_str::<Value>(&answer).is_ok_and(|value| value.is_object()),
        "{answer}"
    );
    let choice = json!({"type": "function", "function": {"name": "look"}});
    let chosen = ask(&signed, "hello there").with("tools", tools(&["look"]));
    chosen.with("tool_choice", choice).answer().await.expect_ok();
    let none = ask(&signed, "hello again").with("tools", tools(&["look"]));
    none.with("tool_choice", json!("none")).answer().await.expect_ok();
    let sent = sent(&signed.broker).await;
    assert!(current(&sent[1])["content"].as_str().unwrap().contains("Call the tool look"));
    assert!(current(&sent[2]).get("userInputMessageContext").is_none());
}
