//! What an agent's answer brings beside the words: sources, files, guardrails, traces, tokens.

use serde_json::{Value, json};

use super::ask::Ask;
use super::broker::{Broker, Setup};
use super::return_of_control::{calls, results_of};

fn whole<'a>(broker: &'a Broker, text: &str) -> Ask<'a> {
    broker.ask(text).session("one").whole()
}

/// The lines of an answer on the agent stream.
async fn lines(broker: &Broker, body: &Value) -> Vec<Value> {
    let text = broker.post("/api/agent/stream", body).send().await.text().await;
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_citation_of_every_type_of_place_has_its_address() {
    let broker = Broker::start().await;
    let answer = whole(&broker, "say: Good news.; cite: all Grüße: no fees.").answer().await;
    let message = &answer.body["choices"][0]["message"];
    let text = message["content"].as_str().unwrap();
    let citation = &message["outcrop"]["citations"][0];
    let sources = citation["references"].as_array().unwrap();
    let kinds: Vec<_> = sources.iter().map(|source| source["type"].as_str().unwrap()).collect();
    let known = [
        "S3",
        "WEB",
        "CONFLUENCE",
        "SALESFORCE",
        "SHAREPOINT",
        "ONEDRIVE",
        "GOOGLEDRIVE",
        "CUSTOM",
        "KENDRA",
        "SQL",
    ];
    assert_eq!(kinds, known);
    let annotations = message["annotations"].as_array().unwrap();
    assert_eq!(annotations.len(), sources.len());
    for (annotation, source) in annotations.iter().zip(sources) {
        let cited = &annotation["url_citation"];
        assert_eq!(cited["url"], source["location"]);
        // What was found in a table has rows in place of a text.
        assert_eq!(source["text"].is_string(), source["type"] != "SQL", "{source}");
        assert_eq!(source["metadata"]["page"], 4);
        let at = |name: &str| usize::try_from(cited[name].as_u64().unwrap()).unwrap();
        let (start, end) = (at("start_index"), at("end_index"));
        let part: String = text.chars().skip(start).take(end - start).collect();
        assert_eq!(part, "Grüße: no fees.");
    }
}

#[tokio::test]
async fn what_a_guardrail_blocks_is_filtered_and_what_it_masks_is_an_answer() {
    let broker = Broker::start().await;
    for side in ["block", "block-answer"] {
        for policy in ["topic", "content", "word", "profanity", "pii", "regex"] {
            let blocked = broker.ask(&format!("guardrail: {side} {policy}")).answer().await;
            blocked.expect_ok();
            assert_eq!(blocked.finish_reason(), "content_filter", "{side} {policy}");
            assert_eq!(blocked.text, "Sorry, the model cannot answer this question.");
        }
    }
    for harmless in ["guardrail: mask", "guardrail: pass"] {
        let answer = broker.ask(harmless).answer().await;
        assert_eq!(answer.finish_reason(), "stop", "{harmless}");
    }
}

#[tokio::test]
async fn raw_traces_come_where_the_model_exposes_them_and_name_their_collaborator() {
    let model = "expose_traces = true";
    let broker = Broker::with(Setup { model, ..Setup::default() }).await;
    let kinds = "trace: pre post routing custom failure lookup code action";
    let text = format!("{kinds}; ask: loans Rates?; say: It is 3 %.");
    let mut body = json!({ "agent_id": "agent", "session_id": "s1", "input_text": text });
    let said = lines(&broker, &body).await;
    let traces: Vec<_> = said.iter().filter(|line| line["type"] == "trace").collect();
    let of = |step: &str| traces.iter().any(|line| line.to_string().contains(step));
    for step in [
        "preProcessingTrace",
        "orchestrationTrace",
        "postProcessingTrace",
        "routingClassifierTrace",
        "customOrchestrationTrace",
        "failureTrace",
        "knowledgeBaseLookupInput",
        "codeInterpreterInvocationInput",
        "actionGroupInvocationInput",
    ] {
        assert!(of(step), "no {step} in {traces:?}");
    }
    assert!(of("\"collaboratorName\":\"loans\""), "{traces:?}");
    assert_eq!(said.last().unwrap()["final_content"], "It is 3 %.");
    body["enable_trace"] = false.into();
    let said = lines(&broker, &body).await;
    assert!(said.iter().all(|line| line["type"] != "trace"), "{said:?}");
}

#[tokio::test]
async fn a_session_takes_as_many_tokens_as_the_agent_counts_tool_results_and_all() {
    let broker = Broker::start().await;
    let tour = "call: forecast city=Oslo; ask: loans Rates?; then say: Done.; trace: post";
    let asked = whole(&broker, tour).answer().await;
    let results = results_of(&calls(&asked), "rain");
    let told = whole(&broker, "x").with("messages", results).answer().await;
    let after = whole(&broker, "trace: pre routing; say: Bye.").answer().await;
    let sent = broker.calls().await;
    assert_eq!(sent.len(), 3);
    for (answer, call) in [asked, told, after].iter().zip(&sent) {
        let usage = &answer.body["usage"];
        assert_eq!(usage["prompt_tokens"], call["usage"]["input_tokens"], "{usage}");
        assert_eq!(usage["completion_tokens"], call["usage"]["output_tokens"], "{usage}");
        let sum = |name: &str| usage[name].as_u64().unwrap();
        assert_eq!(sum("total_tokens"), sum("prompt_tokens") + sum("completion_tokens"));
    }
}

#[tokio::test]
async fn files_of_an_answer_come_with_its_text_on_every_wire() {
    let broker = Broker::start().await;
    let text = "say: Here.; file: fees.csv 30; file: plan.txt 9";
    let answer = whole(&broker, text).answer().await;
    let files = answer.body["choices"][0]["message"]["outcrop"]["files"].clone();
    let names: Vec<_> = files.as_array().unwrap().iter().map(|file| &file["filename"]).collect();
    assert_eq!(names, ["fees.csv", "plan.txt"]);
    assert_eq!((&files[0]["media_type"], &files[0]["bytes"]), (&json!("text/csv"), &json!(30)));
    let streamed = broker.ask(text).session("one").answer().await;
    let late = streamed.frames.iter().rev().find_map(|frame| {
        frame.json().pointer("/choices/0/delta/outcrop/files").and_then(Value::as_array).cloned()
    });
    assert_eq!(late.unwrap().len(), 2);
    let body = json!({ "agent_id": "agent", "session_id": "one", "input_text": text });
    let last = lines(&broker, &body).await.pop().unwrap();
    assert_eq!(last["files"].as_array().map(Vec::len), Some(2), "{last}");
}

#[tokio::test]
async fn an_agent_that_is_not_to_stream_says_it_in_one_piece() {
    let broker = Broker::with(Setup { model: "stream = false", ..Setup::default() }).await;
    let answer = broker.ask("count to 9").answer().await;
    answer.expect_ok();
    assert_eq!(answer.text.trim_end(), "1 2 3 4 5 6 7 8 9");
    let pieces = answer.frames.iter().filter(|frame| !frame.text().is_empty());
    assert_eq!(pieces.count(), 1);
    assert_eq!(broker.calls().await[0]["stream"], false);
}
