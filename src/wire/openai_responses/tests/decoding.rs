use crate::turn::{
    AnswerFormat, DisconnectPolicy, Effort, FailureKind, ItemId, Keeping, Latency, Message, Part,
    Place, Role, Status,
};

use crate::turn::request::Overflow;

use super::*;

fn messages(items: Value) -> Vec<Message> {
    decoded(&json!({ "input": items })).messages
}

fn id(place: Place) -> String {
    ItemId { turn: turn(), place }.to_string()
}

#[test]
fn a_text_is_what_the_user_says_and_instructions_come_before_it() {
    let request = decoded(&json!({"model": "m", "input": "hi", "instructions": "Be kind."}));
    let expected = [Message::text(Role::System, "Be kind."), Message::text(Role::User, "hi")];
    assert_eq!(request.messages, expected);
    assert!(request.is_delta);
    assert_eq!(request.model.unwrap().as_str(), "m");
}

#[test]
fn messages_are_read_in_every_spelling() {
    let said = messages(json!([
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "one"},
        {"type": "message", "role": "user", "status": "completed",
         "content": [{"type": "input_text", "text": "two"}, {"type": "text", "text": "three"}]},
        {"type": "message", "id": "msg_68a2", "role": "assistant", "status": "incomplete",
         "phase": "final_answer", "content": [
            {"type": "output_text", "text": "fo", "annotations": [], "logprobs": []},
            {"type": "refusal", "refusal": "ur"}]},
        {"role": "user", "content": "five", "type": null},
    ]));
    let roles: Vec<_> = said.iter().map(|message| message.role).collect();
    let user = Role::User;
    assert_eq!(roles, [Role::System, user, user, Role::Assistant, user]);
    assert_eq!(said[2].plain_text(), "two\n\nthree");
    assert_eq!((said[3].plain_text().as_str(), said[3].status), ("four", Status::Interrupted));
}

#[test]
fn attachments_are_kept_as_backends_read_them() {
    let said = messages(json!([{"role": "user", "content": [
        {"type": "input_image", "image_url": "https://x/a.png", "detail": "original"},
        {"type": "image_url", "image_url": {"url": "https://x/b.png"}},
        {"type": "input_image", "file_id": "file-1"},
        {"type": "input_file", "file_data": "aGk=", "filename": "a.txt", "file_url": null},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
    ]}]));
    let values = said[0].parts.iter().map(|part| match part {
        Part::Attachment { kind, value } => {
            assert_eq!(value["type"], *kind);
            Value::clone(value)
        }
        Part::Text(_) => panic!("a text"),
    });
    let values: Vec<_> = values.collect();
    let expected = [
        json!({"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "high"}}),
        json!({"type": "image_url", "image_url": {"url": "https://x/b.png"}}),
        json!({"type": "image_url", "file_id": "file-1"}),
        json!({"type": "file", "file": {"file_data": "aGk=", "filename": "a.txt"}}),
        json!({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}),
    ];
    assert_eq!(values, expected);
}

#[test]
fn calls_and_their_outputs_become_messages() {
    let said = messages(json!([
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{\"x\":1}"},
        {"type": "custom_tool_call", "call_id": "b", "name": "g", "input": "ls \"x\""},
        {"type": "function_call", "call_id": "c", "name": "h"},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
        {"type": "custom_tool_call_output", "call_id": "b",
         "output": [{"type": "input_text", "text": "2"}]},
        {"type": "function_call_output", "call_id": "c", "output": "", "is_error": true},
    ]));
    let arguments: Vec<_> = said[0].tool_calls.iter().map(|call| &*call.arguments).collect();
    assert_eq!(arguments, ["{\"x\":1}", "{\"input\":\"ls \\\"x\\\"\"}", "{}"]);
    let results: Vec<_> = said[1..]
        .iter()
        .map(|m| (m.role, m.tool_call_id.as_deref().unwrap(), m.plain_text(), m.status))
        .collect();
    let expected = [
        (Role::Tool, "a", "1".to_owned(), Status::Completed),
        (Role::Tool, "b", "2".to_owned(), Status::Completed),
        (Role::Tool, "c", String::new(), Status::Failed),
    ];
    assert_eq!(results, expected);
}

#[test]
fn items_of_one_answer_are_one_message_again() {
    let spoken = |id: String, text: &str| {
        json!({"type": "message", "role": "assistant", "id": id,
               "content": [{"type": "output_text", "text": text}]})
    };
    let call = json!({"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"});
    let thinking = json!({"type": "reasoning", "id": id(Place::Thinking(0)), "summary": [],
        "content": [{"type": "reasoning_text", "text": "Hm."}]});
    let said = messages(json!([
        thinking,
        spoken(id(Place::Text(0)), "One. "),
        call,
        spoken(id(Place::Text(1)), "Two."),
    ]));
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].plain_text(), "One. Two.");
    assert_eq!((said[0].thoughts.len(), said[0].tool_calls.len()), (1, 1));
    let strangers = messages(json!([
        spoken("msg_1".to_owned(), "One."),
        spoken("msg_2".to_owned(), "Two."),
        call,
    ]));
    assert_eq!(strangers.len(), 2);
    assert_eq!(strangers[1].tool_calls.len(), 1);
}

#[test]
fn thinking_comes_back_by_its_carrier_and_one_that_is_damaged_is_refused() {
    let kept = Thought::Text { text: "Hm.".to_owned(), signature: Some("proof".to_owned()) };
    let sealed = carrier::seal(&kept);
    let with = |carrier: &str| {
        json!({"input": [
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": carrier},
            {"type": "message", "role": "assistant", "content": "Yes."},
            {"role": "user", "content": "and?"},
        ]})
    };
    assert_eq!(decoded(&with(&sealed)).messages[0].thoughts, [kept]);
    assert!(decoded(&with("gAAAAAB")).messages[0].thoughts.is_empty());
    let failure = refused(with(&sealed[..sealed.len() - 2]));
    assert_eq!(param(&failure), "input[0].encrypted_content");
}

#[test]
fn references_say_where_they_belong() {
    let item = ItemId { turn: turn(), place: Place::Call(0) };
    let request = decoded(&json!({"instructions": "Be kind.", "input": [
        {"role": "user", "content": "a"},
        {"type": "item_reference", "id": item.to_string()},
        {"id": item.to_string()},
        {"role": "user", "content": "b"},
    ]}));
    let places: Vec<_> =
        request.references.iter().map(|r| (r.before, r.named_at.as_str())).collect();
    assert_eq!(places, [(2, "input[1].id"), (2, "input[2].id")]);
    assert!(request.references.iter().all(|reference| reference.item == item));
    assert_eq!(request.messages.len(), 3);
    let failure = refused(json!({"input": [{"type": "item_reference", "id": "msg_foreign"}]}));
    assert_eq!(param(&failure), "input[0].id");
}

#[test]
fn what_a_turn_goes_on_from_is_a_hint() {
    let hints = decoded(&json!({"input": "x", "previous_response_id": format!("resp_{SUFFIX}"),
                                "safety_identifier": "ann"}))
    .hints;
    assert_eq!(hints.previous, Some(turn()));
    assert_eq!(hints.speaker.as_deref(), Some("ann"));
    for conversation in [json!("conv_1"), json!({"id": "conv_1"})] {
        let hints = decoded(&json!({"input": "x", "conversation": conversation})).hints;
        assert_eq!((hints.named.unwrap().as_str(), hints.must_exist), ("conv_1", true));
    }
    for foreign in ["resp_1", "", "turn_00112233445566778899aabbccddeeff", "resp_é"] {
        let failure = refused(json!({"input": "x", "previous_response_id": foreign}));
        assert_eq!(failure.kind, FailureKind::PreviousResponseNotFound, "{foreign}");
        assert_eq!(param(&failure), "previous_response_id");
    }
}

#[test]
fn what_is_kept_follows_store_and_background() {
    let kept = |body: Value| {
        let request = decoded(&body);
        (request.keeping, request.is_background, request.disconnect_policy)
    };
    assert_eq!(kept(json!({"input": "x"})), (Keeping::Turn, false, None));
    assert_eq!(kept(json!({"input": "x", "store": false})), (Keeping::Nothing, false, None));
    let detached = Some(DisconnectPolicy::Detach { grace: None });
    assert_eq!(kept(json!({"input": "x", "background": true})), (Keeping::Turn, true, detached));
}

#[test]
fn how_the_answer_is_made_reaches_the_turn() {
    let asked = decode(&json!({
        "input": "x", "stream": true, "max_output_tokens": 16.0, "temperature": 2, "top_p": 0,
        "parallel_tool_calls": false, "service_tier": "flex", "user": "u",
        "reasoning": {"effort": "high", "generate_summary": "concise"},
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "s", "strict": true,
            "schema": {"type": "object"}}},
        "metadata": {"a": "b"}, "outcrop": {"latency": "optimized"},
        "stream_options": {"include_obfuscation": false}, "never_heard_of": [1],
    }))
    .unwrap();
    assert!(asked.stream);
    let request = asked.request;
    let generation = &request.generation;
    assert_eq!((generation.max_tokens, generation.temperature), (Some(16), Some(2.0)));
    assert_eq!((generation.top_p, generation.parallel_tool_calls), (Some(0.0), Some(false)));
    assert_eq!((generation.effort, request.wants_reasoning), (Some(Effort::High), Some(true)));
    assert_eq!(generation.service_tier.as_deref(), Some("flex"));
    let AnswerFormat::JsonSchema(schema) = &generation.format else { panic!("a schema") };
    assert!(schema.strict && schema.name == "s");
    assert_eq!(Value::from(generation.extra.clone()), json!({"verbosity": "low", "user": "u"}));
    assert_eq!(request.metadata["a"], "b");
    assert_eq!(request.agent.latency, Some(Latency::Optimized));
}

/// Each of the requests that say this besides their input, or instead of it, is refused there.
fn refused_at(cases: &[(Value, &str)]) {
    for (members, expected) in cases {
        let mut body = json!({"input": "hi"});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let failure = refused(body);
        assert_eq!(failure.kind.status(), 400);
        assert_eq!(param(&failure), *expected, "{members}");
    }
}

#[test]
fn an_input_that_cannot_be_read_is_refused_at_the_member() {
    let output = json!({"type": "function_call_output", "call_id": "a", "output": "x"});
    let cases = [
        (json!({"input": null}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": " "}), "input"),
        (json!({"input": [{"role": "system", "content": "x"}]}), "input"),
        (json!({"input": 5}), "input"),
        (json!({"input": [5]}), "input[0]"),
        (json!({"input": [{"role": "user"}]}), "input[0].content"),
        (
            json!({"input": [{"type": "function_call", "call_id": "a", "name": "f", "arguments": 5}]}),
            "input[0].arguments",
        ),
        (json!({"input": [{"role": "critic", "content": "x"}]}), "input[0].role"),
        (json!({"input": [{"type": "message", "content": "x"}]}), "input[0].role"),
        (json!({"input": [{"role": "user", "content": 5}]}), "input[0].content"),
        (json!({"input": [{"role": "user", "content": [{}]}]}), "input[0].content[0].type"),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}),
            "input[0].content[0].text",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}),
            "input[0].content[0].image_url",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}),
            "input[0].content[0]",
        ),
        (json!({"input": [{"type": "web_search_call", "id": "ws_1"}]}), "input[0].type"),
        (json!({"input": [{"type": "function_call", "name": "f"}]}), "input[0].call_id"),
        (json!({"input": [{"type": "function_call_output", "call_id": "a"}]}), "input[0].output"),
        (json!({"input": [output, output]}), "input[1].call_id"),
    ];
    refused_at(&cases);
}

#[test]
fn what_cannot_be_had_is_refused_at_its_member() {
    let resp = format!("resp_{SUFFIX}");
    let cases = [
        (json!({"prompt": {"id": "p"}}), "prompt"),
        (json!({"n": 2}), "n"),
        (json!({"conversation": "c", "previous_response_id": resp}), "conversation"),
        (json!({"conversation": {}}), "conversation.id"),
        (json!({"background": true, "store": false}), "background"),
        (
            json!({"background": true, "outcrop": {"disconnect_policy": "cancel"}}),
            "outcrop.disconnect_policy",
        ),
        (json!({"truncation": "middle"}), "truncation"),
        (json!({"max_output_tokens": 15}), "max_output_tokens"),
        (json!({"max_tool_calls": 0}), "max_tool_calls"),
        (json!({"temperature": 2.1}), "temperature"),
        (json!({"top_p": -1}), "top_p"),
        (json!({"top_logprobs": 21}), "top_logprobs"),
        (json!({"include": ["thoughts"]}), "include[0]"),
        (json!({"stream_options": 5}), "stream_options"),
        (json!({"context_management": {}}), "context_management"),
        (json!({"moderation": []}), "moderation"),
        (json!({"prompt_cache_options": "24h"}), "prompt_cache_options"),
        (json!({"reasoning": {"effort": "huge"}}), "reasoning.effort"),
        (json!({"reasoning": {"summary": "long"}}), "reasoning.summary"),
        (json!({"text": {"verbosity": "max"}}), "text.verbosity"),
        (json!({"text": {"format": {"type": "xml"}}}), "text.format.type"),
        (json!({"text": {"format": {"type": "json_schema"}}}), "text.format.name"),
        (json!({"text": {"format": {"type": "json_schema", "name": "s"}}}), "text.format.schema"),
        (json!({"service_tier": "a b"}), "service_tier"),
        (json!({"prompt_cache_retention": "1y"}), "prompt_cache_retention"),
        (json!({"metadata": {"k".repeat(65): "v"}}), "metadata"),
    ];
    refused_at(&cases);
}

#[test]
fn what_an_agent_ends_with_may_be_silent() {
    assert!(decoded(&json!({"input": [], "outcrop": {"end_session": true}})).end_session);
}

#[test]
fn what_is_too_long_is_dropped_or_refused_as_the_client_says() {
    let overflow =
        |truncation: Value| decoded(&json!({"input": "x", "truncation": truncation})).overflow;
    assert_eq!(overflow(json!(null)), Overflow::Usual);
    assert_eq!(overflow(json!("auto")), Overflow::DropOldest);
    assert_eq!(overflow(json!("disabled")), Overflow::Refuse);
}

#[test]
fn a_refusal_names_the_member_as_it_was_sent() {
    let cases = [
        ("messages", "input"),
        ("messages[0].content[1].image_url.url", "input"),
        ("logprobs", "include"),
        ("response_format.json_schema.name", "text.format"),
        ("tools[0].function.parameters", "tools[0].parameters"),
        ("tools[0].function", "tools[0].function"),
        ("temperature", "temperature"),
        ("messages_too", "messages_too"),
    ];
    for (param, own) in cases {
        let body = Responses.refusal(&Failure::bad_field(param, "x"));
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["param"], own);
    }
}
