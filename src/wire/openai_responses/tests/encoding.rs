use std::sync::Arc;

use crate::turn::{Citation, CollaboratorUsage, FailureKind, FileId, OutputFile, Reference, Usage};

use super::*;

/// The response of [`head`] without a request of its own, around these members.
fn response_json(status: &str, output: &str, usage: &str) -> String {
    format!(
        r#"{{"id":"resp_{SUFFIX}","object":"response","created_at":1767225600,"status":"{status}","error":null,"incomplete_details":null,"background":false,"model":"agent-support","previous_response_id":null,"instructions":null,"max_output_tokens":null,"max_tool_calls":null,"tools":[],"tool_choice":"auto","parallel_tool_calls":true,"temperature":null,"top_p":null,"top_logprobs":0,"text":{{"format":{{"type":"text"}}}},"reasoning":{{"effort":null,"summary":null}},"truncation":"disabled","store":true,"conversation":null,"service_tier":null,"prompt_cache_key":null,"safety_identifier":null,"metadata":{{}},"output":[{output}],"usage":{usage}}}"#
    )
}

/// Frames as they stand on the wire, from the members of each behind its number.
fn frames(wanted: &[(&str, String)]) -> String {
    let frames = wanted.iter().enumerate().map(|(number, (kind, members))| {
        format!(
            "event: {kind}\nid: turn_{SUFFIX}:{number}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{number},{members}}}\n\n"
        )
    });
    frames.collect()
}

fn usage() -> TurnEvent {
    TurnEvent::Usage(Usage {
        input_tokens: 9,
        output_tokens: 3,
        cached_input_tokens: 4,
        cache_written_tokens: 2,
        reasoning_tokens: 1,
        estimated: false,
    })
}

const USAGE: &str = r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":2},"output_tokens":3,"output_tokens_details":{"reasoning_tokens":1},"total_tokens":12}"#;

#[test]
fn a_text_turn_is_these_frames() {
    let events = [TurnEvent::Started, text("Hel"), text("lo."), usage(), finished()];
    let at = format!(r#""item_id":"msg_{SUFFIX}_0","output_index":0,"content_index":0"#);
    let part = r#"{"type":"output_text","text":"Hello.","annotations":[],"logprobs":[]}"#;
    let item = format!(
        r#"{{"id":"msg_{SUFFIX}_0","type":"message","status":"completed","role":"assistant","content":[{part}]}}"#
    );
    let begun = format!(r#""response":{}"#, response_json("in_progress", "", "null"));
    let ended = format!(r#""response":{}"#, response_json("completed", &item, USAGE));
    let added = format!(
        r#""output_index":0,"item":{{"id":"msg_{SUFFIX}_0","type":"message","status":"in_progress","role":"assistant","content":[]}}"#
    );
    let empty = r#"{"type":"output_text","text":"","annotations":[],"logprobs":[]}"#;
    let expected = frames(&[
        ("response.created", begun.clone()),
        ("response.in_progress", begun),
        ("response.output_item.added", added),
        ("response.content_part.added", format!(r#"{at},"part":{empty}"#)),
        ("response.output_text.delta", format!(r#"{at},"delta":"Hel","logprobs":[]"#)),
        ("response.output_text.delta", format!(r#"{at},"delta":"lo.","logprobs":[]"#)),
        ("response.output_text.done", format!(r#"{at},"text":"Hello.","logprobs":[]"#)),
        ("response.content_part.done", format!(r#"{at},"part":{part}"#)),
        ("response.output_item.done", format!(r#""output_index":0,"item":{item}"#)),
        ("response.completed", ended),
    ]);
    assert_eq!(streamed(&head(), None, &events), expected);
}

#[test]
fn a_function_call_is_these_frames() {
    let events = [
        TurnEvent::Started,
        call(0, "call_1", "get_time"),
        arguments(0, "{\"a\":"),
        arguments(0, "1}"),
        TurnEvent::Finished(FinishReason::ToolCalls),
    ];
    let at = format!(r#""item_id":"fc_{SUFFIX}_0","output_index":0"#);
    let item = |status: &str, arguments: &str| {
        format!(
            r#"{{"id":"fc_{SUFFIX}_0","type":"function_call","status":"{status}","call_id":"call_1","name":"get_time","arguments":"{arguments}"}}"#
        )
    };
    let done = item("completed", r#"{\"a\":1}"#);
    let begun = format!(r#""response":{}"#, response_json("in_progress", "", "null"));
    let ended = format!(r#""response":{}"#, response_json("completed", &done, "null"));
    let expected = frames(&[
        ("response.created", begun.clone()),
        ("response.in_progress", begun),
        (
            "response.output_item.added",
            format!(r#""output_index":0,"item":{}"#, item("in_progress", "")),
        ),
        ("response.function_call_arguments.delta", format!(r#"{at},"delta":"{{\"a\":""#)),
        ("response.function_call_arguments.delta", format!(r#"{at},"delta":"1}}""#)),
        (
            "response.function_call_arguments.done",
            format!(r#"{at},"name":"get_time","arguments":"{{\"a\":1}}""#),
        ),
        ("response.output_item.done", format!(r#""output_index":0,"item":{done}"#)),
        ("response.completed", ended),
    ]);
    assert_eq!(streamed(&head(), None, &events), expected);
}

/// The names of a stream's events from the first item on, without `response.`, and the last
/// document.
fn told(head: &Head, events: &[TurnEvent]) -> (Vec<String>, Value) {
    let mut documents = documents(&streamed(head, None, events));
    let names = documents[2..].iter().map(|document| {
        document["type"].as_str().unwrap().strip_prefix("response.").unwrap().to_owned()
    });
    (names.collect(), documents.pop().unwrap())
}

#[test]
fn thinking_is_an_item_before_the_text_and_is_sealed_where_that_is_asked() {
    let sealed = head_of(json!({"include": ["reasoning.encrypted_content"]}));
    let events = [
        TurnEvent::Started,
        TurnEvent::Reasoning("Hm.".into()),
        thought("Hm.", "proof"),
        TurnEvent::Thought(Thought::Redacted(Bytes::from_static(b"x")).into()),
        text("Yes."),
        finished(),
    ];
    let (names, last) = told(&sealed, &events);
    assert_eq!(
        names[..8],
        [
            "output_item.added",
            "content_part.added",
            "reasoning_text.delta",
            "reasoning_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "output_item.done",
        ]
    );
    let output = &last["response"]["output"];
    assert_eq!(output[0]["content"], json!([{"type": "reasoning_text", "text": "Hm."}]));
    assert_eq!(output[0]["summary"], json!([]));
    let thinking = |item: &Value| carrier::open(item["encrypted_content"].as_str().unwrap());
    let expected = Thought::Text { text: "Hm.".to_owned(), signature: Some("proof".to_owned()) };
    assert_eq!(thinking(&output[0]), Ok(Some(expected)));
    assert_eq!(thinking(&output[1]), Ok(Some(Thought::Redacted(Bytes::from_static(b"x")))));
    assert_eq!(output[2]["type"], "message");
    let open = &whole(&head(), &events)["output"];
    assert!(open[0].get("encrypted_content").is_none() && open[1]["summary"] == json!([]));
}

#[test]
fn thinking_is_a_summary_where_one_is_asked_for() {
    let summary = head_of(json!({"reasoning": {"summary": "auto"}}));
    let events = [TurnEvent::Started, TurnEvent::Reasoning("Hm.".into()), finished()];
    let (names, last) = told(&summary, &events);
    assert_eq!(
        names,
        [
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.done",
            "reasoning_summary_part.done",
            "output_item.done",
            "completed",
        ]
    );
    let item = &last["response"]["output"][0];
    assert_eq!(item["summary"], json!([{"type": "summary_text", "text": "Hm."}]));
    assert!(item.get("content").is_none());
}

#[test]
fn thinking_that_was_not_shown_is_no_item() {
    let sealed = head_of(json!({"include": ["reasoning.encrypted_content"]}));
    let events = [TurnEvent::Started, thought("secret", "proof"), text("Yes."), finished()];
    let stream = streamed(&sealed, None, &events);
    assert!(!stream.contains("reasoning_text") && !stream.contains("encrypted_content\":"));
}

#[test]
fn a_custom_tool_gets_its_text_in_one_piece() {
    let head = head_of(json!({"tools": [{"type": "custom", "name": "sh"}]}));
    let events = [
        TurnEvent::Started,
        call(0, "c1", "sh"),
        arguments(0, "{\"inp"),
        arguments(0, "ut\":\"ls\\n\"}"),
        call(1, "c2", "sh"),
        arguments(1, "not what was agreed"),
        call(2, "c3", "sh"),
        TurnEvent::Finished(FinishReason::ToolCalls),
    ];
    let (names, last) = told(&head, &events);
    assert_eq!(
        names[..4],
        [
            "output_item.added",
            "custom_tool_call_input.delta",
            "custom_tool_call_input.done",
            "output_item.done",
        ]
    );
    let output = &last["response"]["output"];
    let expected = json!({
        "id": format!("fc_{SUFFIX}_0"), "type": "custom_tool_call", "status": "completed",
        "call_id": "c1", "name": "sh", "input": "ls\n",
    });
    assert_eq!(output[0], expected);
    assert_eq!(output[1]["input"], "not what was agreed");
    assert_eq!(output[2]["input"], "");
}

#[test]
fn a_call_without_arguments_gets_an_empty_object_and_says_who_has_to_agree() {
    let started = TurnEvent::ToolCallStarted {
        index: 0,
        id: "c".into(),
        name: "f".into(),
        confirmation: Confirmation::Decision,
    };
    let events = [TurnEvent::Started, started, finished()];
    let (names, last) = told(&head(), &events);
    assert_eq!(names[1], "function_call_arguments.delta");
    let item = &last["response"]["output"][0];
    assert_eq!(item["arguments"], "{}");
    assert_eq!(item["outcrop"]["confirmation"], "decision");
}

#[test]
fn texts_around_a_call_are_items_of_their_own() {
    let events = [TurnEvent::Started, text("One."), call(0, "c", "f"), text("Two."), finished()];
    let output = &whole(&head(), &events)["output"];
    let ids: Vec<_> = output.as_array().unwrap().iter().map(|item| &item["id"]).collect();
    let expected = ["msg_X_0", "fc_X_0", "msg_X_1"].map(|id| json!(id.replace('X', SUFFIX)));
    assert_eq!(ids, expected.iter().collect::<Vec<_>>());
}

fn citation(text: &str, url: &str) -> TurnEvent {
    TurnEvent::Citation(Arc::new(Citation {
        text: Some(text.to_owned()),
        span: None,
        references: vec![Reference {
            kind: "WEB".to_owned(),
            location: Some(url.to_owned()),
            text: None,
            metadata: None,
        }],
    }))
}

#[test]
fn sources_annotate_the_text_that_rests_on_them() {
    let events = [
        TurnEvent::Started,
        text("Größe 7."),
        citation("7", "https://x.org/sizes"),
        citation("Größe", "doc-17"),
        call(0, "c", "f"),
        text("And more."),
        citation("more", "s3://b/k.pdf"),
        finished(),
        citation("late", "https://x.org/late"),
    ];
    let (names, last) = told(&head(), &events);
    let annotated = names.iter().filter(|name| *name == "output_text.annotation.added").count();
    assert_eq!(annotated, 3);
    assert_eq!(
        names[3..6],
        ["output_text.annotation.added"; 2]
            .iter()
            .chain(&["output_text.done"])
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    );
    let annotations = |item: usize| &last["response"]["output"][item]["content"][0]["annotations"];
    assert_eq!(
        *annotations(0),
        json!([
            {"type": "url_citation", "start_index": 6, "end_index": 7,
             "url": "https://x.org/sizes", "title": "sizes"},
            {"type": "file_citation", "file_id": "doc-17", "filename": "doc-17", "index": 1},
        ])
    );
    assert_eq!(annotations(2)[0]["url"], "s3://b/k.pdf");
}

#[test]
fn files_and_shares_of_the_usage_are_told_at_the_end() {
    let file = OutputFile {
        id: "file-1".parse::<FileId>().unwrap(),
        name: "a.csv".to_owned(),
        media_type: "text/csv".to_owned(),
        bytes: Bytes::from_static(b"a"),
    };
    let used = Usage { input_tokens: 2, output_tokens: 1, ..Usage::default() };
    let shares = [CollaboratorUsage { collaborator: Some("billing".to_owned()), usage: used }];
    let events = [
        TurnEvent::Started,
        TurnEvent::File(Arc::new(file)),
        TurnEvent::Usage(Usage { estimated: true, ..used }),
        TurnEvent::UsageByCollaborator(Arc::from(shares)),
        finished(),
    ];
    let response = whole(&head(), &events);
    let expected = json!({"files": [
        {"id": "file-1", "filename": "a.csv", "media_type": "text/csv", "bytes": 1},
    ]});
    assert_eq!(response["outcrop"], expected);
    assert_eq!(response["usage"]["estimated"], true);
    let shares = json!([{"name": "billing", "input_tokens": 2, "output_tokens": 1}]);
    assert_eq!(response["usage"]["outcrop"]["collaborators"], shares);
}

#[test]
fn every_end_has_its_event_its_status_and_its_reason() {
    let failed = |kind| TurnEvent::Failed(Failure::new(kind, "no luck"));
    let cases = [
        (finished(), "completed", "completed", Value::Null, Value::Null),
        (
            TurnEvent::Finished(FinishReason::Length),
            "incomplete",
            "incomplete",
            json!("max_output_tokens"),
            Value::Null,
        ),
        (
            TurnEvent::Finished(FinishReason::ContentFilter),
            "incomplete",
            "incomplete",
            json!("content_filter"),
            Value::Null,
        ),
        (
            TurnEvent::Finished(FinishReason::Interrupted),
            "incomplete",
            "cancelled",
            Value::Null,
            Value::Null,
        ),
        (
            failed(FailureKind::UpstreamThrottled),
            "failed",
            "failed",
            Value::Null,
            json!("rate_limit_exceeded"),
        ),
        (
            failed(FailureKind::ContextLengthExceeded),
            "failed",
            "failed",
            Value::Null,
            json!("invalid_prompt"),
        ),
        (failed(FailureKind::Internal), "failed", "failed", Value::Null, json!("server_error")),
    ];
    for (end, event, status, reason, code) in cases {
        let (names, last) = told(&head(), &[TurnEvent::Started, text("a"), end]);
        let response = &last["response"];
        assert_eq!(names.last().unwrap(), event);
        assert_eq!(response["status"], status);
        assert_eq!(response["incomplete_details"]["reason"], reason, "{status}");
        assert_eq!(response["error"]["code"], code, "{status}");
        let item = if status == "completed" { "completed" } else { "incomplete" };
        assert_eq!(response["output"][0]["status"], item, "{status}");
    }
}

#[test]
fn a_response_in_the_background_is_queued_until_it_begins() {
    let background = Head { is_background: true, ..head() };
    let documents = documents(&streamed(&background, None, &[TurnEvent::Started]));
    let names: Vec<_> = documents.iter().map(|document| document["type"].clone()).collect();
    assert_eq!(names, ["response.created", "response.queued", "response.in_progress"]);
    let statuses: Vec<_> = documents.iter().map(|d| d["response"]["status"].clone()).collect();
    assert_eq!(statuses, ["queued", "queued", "in_progress"]);
    let unfinished = |events: &[TurnEvent]| {
        let body = Responses.unfinished(&background, events).unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()
    };
    assert_eq!(unfinished(&[])["status"], "queued");
    let running = unfinished(&[TurnEvent::Started, text("So"), text(" far")]);
    assert_eq!((&running["status"], &running["usage"]), (&json!("in_progress"), &Value::Null));
    assert_eq!(running["output"][0]["status"], "in_progress");
    assert_eq!(running["output"][0]["content"][0]["text"], "So far");
}

#[test]
fn a_response_says_when_it_was_completed_only_if_it_was() {
    let ended = UNIX_EPOCH + Duration::from_secs(1_767_225_602);
    let at = |end: TurnEvent| {
        let body = response((&head(), Options::default()), &[TurnEvent::Started, end], Some(ended));
        serde_json::from_slice::<Value>(&body).unwrap().get("completed_at").cloned()
    };
    assert_eq!(at(finished()), Some(json!(1_767_225_602)));
    assert_eq!(at(TurnEvent::Finished(FinishReason::Interrupted)), None);
}

#[test]
fn a_response_repeats_its_request() {
    let mut said = json!({
        "instructions": "Be\u{2028}kind.", "max_output_tokens": 16, "max_tool_calls": 3,
        "parallel_tool_calls": false, "temperature": 0.5, "top_p": 0.25, "top_logprobs": 2,
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"}, "truncation": "auto", "store": true,
        "service_tier": "flex", "prompt_cache_key": "k", "safety_identifier": "s", "user": "u",
        "metadata": {"a": "b"}, "prompt_cache_retention": "24h",
        "tools": [{"type": "function", "name": "f", "description": null, "parameters": {},
                   "strict": true}, {"type": "custom", "name": "g", "format": {"type": "text"}}],
    });
    let head = head_of(said.clone());
    let response = whole(&head, &[TurnEvent::Started, finished()]);
    for (name, value) in said.as_object_mut().unwrap() {
        assert_eq!(response[name], *value, "{name}");
    }
    assert!(!streamed(&head, None, &[]).contains('\u{2028}'));
    let head = head_of(json!({"conversation": "conv_1"}));
    let head = Head { previous: Some(turn()), ..head };
    let response = whole(&head, &[]);
    assert_eq!(response["conversation"], json!({"id": "conv_1"}));
    assert_eq!(response["previous_response_id"], format!("resp_{SUFFIX}"));
}

#[test]
fn a_sign_of_life_ends_no_frame() {
    assert_eq!(Responses.encoder(head(), Options::default()).keep_alive(), b": keep-alive\n");
}
