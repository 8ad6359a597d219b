use serde_json::json;

use super::*;

fn piece(text: &str) -> Said {
    Said::Piece(text.to_owned())
}

fn whole(text: &str) -> Said {
    Said::Whole(text.to_owned())
}

fn started(key: &str, id: &str, name: &str) -> Said {
    let (id, name) = (Some(id.to_owned()), Some(name.to_owned()));
    Said::Call(CallPart { key: key.to_owned(), id, name, ..CallPart::default() })
}

fn more(key: &str, arguments: &str) -> Said {
    let (key, arguments) = (key.to_owned(), arguments.to_owned());
    Said::Call(CallPart { key, arguments, ..CallPart::default() })
}

/// Holds each value to what it says.
fn check(cases: &[(Value, &[Said])]) {
    for (value, expected) in cases {
        assert_eq!(read(value), *expected, "{value}");
    }
}

#[test]
fn strings_are_pieces_and_so_are_strings_that_hold_events() {
    check(&[
        (json!("Hello"), &[piece("Hello")]),
        (json!(7), &[piece("7")]),
        (json!("{\"data\":\"Hi\"}"), &[Said::Echo("Hi".to_owned())]),
        (json!("{\"name\": "), &[piece("{\"name\": ")]),
        (json!(null), &[]),
    ]);
}

#[test]
fn events_that_python_printed_are_not_shown() {
    let printed = "{'data': 'Hello', 'agent': <strands.agent.Agent object at 0x7f>}";
    check(&[
        (json!(printed), &[]),
        (json!("{'init_event_loop': True}"), &[]),
        (json!("{'a': 1}"), &[piece("{'a': 1}")]),
        (json!({ "result": "{'result': <x>}" }), &[]),
    ]);
}

#[test]
fn strands_agents_say_it_in_the_events_of_their_model() {
    let usage = Usage {
        input_tokens: 15,
        output_tokens: 3,
        cached_input_tokens: 4,
        cache_written_tokens: 1,
        ..Usage::default()
    };
    let counted = json!({ "inputTokens": 10, "outputTokens": 3, "cacheReadInputTokens": 4,
        "cacheWriteInputTokens": 1 });
    let using = json!({ "toolUse": { "toolUseId": "t1", "name": "weather" } });
    let event = |event: Value| json!({ "event": event });
    check(&[
        (json!({ "init_event_loop": true }), &[]),
        (json!({ "start": true }), &[]),
        (
            event(json!({ "messageStart": { "role": "assistant" } })),
            &[Said::Message { by_agent: true }],
        ),
        (event(json!({ "contentBlockDelta": { "delta": { "text": "Hi" } } })), &[piece("Hi")]),
        (json!({ "data": "Hi", "delta": { "text": "Hi" } }), &[Said::Echo("Hi".to_owned())]),
        (
            event(json!({ "contentBlockStart": { "contentBlockIndex": 1, "start": using } })),
            &[started("1", "t1", "weather")],
        ),
        (
            event(json!({ "contentBlockDelta": { "contentBlockIndex": 1,
                "delta": { "toolUse": { "input": "{}" } } } })),
            &[more("1", "{}")],
        ),
        (
            event(json!({ "messageStop": { "stopReason": "tool_use" } })),
            &[Said::Stopped(Stop::Tools)],
        ),
        (
            json!({ "message": { "role": "user", "content": [
                { "toolResult": { "toolUseId": "t1", "content": [{ "text": "rain" }] } }] } }),
            &[Said::Result { id: "t1".to_owned() }],
        ),
        (
            event(json!({ "metadata": { "usage": counted, "metrics": {} } })),
            &[Said::Used(Tokens::More(usage))],
        ),
        (
            json!({ "result": { "stop_reason": "end_turn",
                "message": { "role": "assistant", "content": [{ "text": "Hi" }] } } }),
            &[whole("Hi")],
        ),
        (json!({ "force_stop": true, "force_stop_reason": "secret" }), &[Said::Failed]),
    ]);
}

#[test]
fn converse_events_need_no_envelope() {
    let thought = json!({ "reasoningContent": { "text": "hm" } });
    check(&[
        (json!({ "contentBlockDelta": { "delta": thought } }), &[Said::Thought("hm".to_owned())]),
        (
            json!({ "messageStop": { "stopReason": "guardrail_intervened" } }),
            &[Said::Stopped(Stop::Filtered)],
        ),
        (json!({ "messageStart": { "role": "user" } }), &[Said::Message { by_agent: false }]),
        (json!({ "throttlingException": { "message": "x" } }), &[Said::Failed]),
    ]);
}

#[test]
fn chunks_and_completions_of_openai_are_known() {
    let begun =
        json!({ "index": 0, "id": "c1", "function": { "name": "weather", "arguments": "" } });
    let went_on = json!({ "index": 0, "function": { "arguments": "{}" } });
    let usage = Usage { input_tokens: 5, output_tokens: 2, ..Usage::default() };
    let calls = |calls: &Value| json!({ "choices": [{ "delta": { "tool_calls": [calls] } }] });
    check(&[
        (json!({ "choices": [{ "delta": { "role": "assistant", "content": "" } }] }), &[piece("")]),
        (
            json!({ "choices": [{ "delta": { "content": "Hi" }, "finish_reason": null }] }),
            &[piece("Hi")],
        ),
        (calls(&begun), &[started("0", "c1", "weather")]),
        (calls(&went_on), &[more("0", "{}")]),
        (
            json!({ "choices": [{ "delta": {}, "finish_reason": "length" }] }),
            &[Said::Stopped(Stop::Length)],
        ),
        (
            json!({ "choices": [], "usage": { "prompt_tokens": 5, "completion_tokens": 2 } }),
            &[Said::Used(Tokens::All(usage))],
        ),
        (
            json!({ "choices": [{ "message": { "content": "Hi" }, "finish_reason": "stop" }] }),
            &[whole("Hi"), Said::Stopped(Stop::Done)],
        ),
    ]);
}

#[test]
fn ag_ui_events_are_known() {
    let id = "c1";
    check(&[
        (json!({ "type": "RUN_STARTED", "threadId": "t" }), &[]),
        (json!({ "type": "TEXT_MESSAGE_CONTENT", "delta": "Hi" }), &[piece("Hi")]),
        (
            json!({ "type": "TOOL_CALL_START", "toolCallId": id, "toolCallName": "weather" }),
            &[started(id, id, "weather")],
        ),
        (
            json!({ "type": "TOOL_CALL_ARGS", "toolCallId": id, "delta": "{}" }),
            &[Said::Call(CallPart {
                key: id.to_owned(),
                id: Some(id.to_owned()),
                arguments: "{}".to_owned(),
                ..CallPart::default()
            })],
        ),
        (json!({ "type": "TOOL_CALL_END", "toolCallId": id }), &[]),
        (
            json!({ "type": "TOOL_CALL_RESULT", "toolCallId": id, "content": "rain" }),
            &[Said::Result { id: id.to_owned() }],
        ),
        (json!({ "type": "RUN_ERROR", "message": "secret" }), &[Said::Failed]),
        (json!({ "type": "RUN_FINISHED", "result": { "text": "x" } }), &[]),
    ]);
}

#[test]
fn anthropic_events_are_known() {
    let read_tokens = Usage { input_tokens: 9, ..Usage::default() };
    let written = Usage { output_tokens: 4, ..Usage::default() };
    let using = json!({ "type": "tool_use", "id": "t1", "name": "weather", "input": {} });
    check(&[
        (
            json!({ "type": "message_start", "message": { "usage": { "input_tokens": 9 } } }),
            &[Said::Message { by_agent: true }, Said::Used(Tokens::More(read_tokens))],
        ),
        (
            json!({ "type": "content_block_delta", "index": 0,
                "delta": { "type": "text_delta", "text": "Hi" } }),
            &[piece("Hi")],
        ),
        (
            json!({ "type": "content_block_start", "index": 1, "content_block": using }),
            &[started("1", "t1", "weather")],
        ),
        (
            json!({ "type": "content_block_delta", "index": 1,
                "delta": { "type": "input_json_delta", "partial_json": "{}" } }),
            &[more("1", "{}")],
        ),
        (
            json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use" },
                "usage": { "output_tokens": 4 } }),
            &[Said::Stopped(Stop::Tools), Said::Used(Tokens::More(written))],
        ),
        (json!({ "type": "error", "error": { "message": "secret" } }), &[Said::Failed]),
    ]);
}

#[test]
fn messages_and_states_of_langchain_are_known() {
    let chunk = json!({ "type": "AIMessageChunk", "content": "Hi" });
    let blocks = json!([{ "type": "text", "text": "Hi" }]);
    let called = json!([{ "name": "weather", "args": { "city": "Oslo" }, "id": "c1" }]);
    let ai = json!({ "type": "ai", "content": "Hi", "tool_calls": [] });
    let call = Said::Call(CallPart {
        key: "0".to_owned(),
        id: Some("c1".to_owned()),
        name: Some("weather".to_owned()),
        arguments: "{\"city\":\"Oslo\"}".to_owned(),
        is_whole: true,
    });
    check(&[
        (chunk.clone(), &[piece("Hi")]),
        (json!([chunk, { "langgraph_node": "agent" }]), &[piece("Hi")]),
        (json!({ "type": "AIMessageChunk", "content": blocks }), &[piece("Hi")]),
        (json!({ "type": "ai", "content": "", "tool_calls": called }), &[call]),
        (
            json!({ "type": "tool", "tool_call_id": "c1", "content": "rain" }),
            &[Said::Result { id: "c1".to_owned() }],
        ),
        (json!({ "messages": [{ "type": "human", "content": "?" }, ai] }), &[whole("Hi")]),
        (json!({ "agent": { "messages": [ai] } }), &[whole("Hi")]),
        (json!({ "messages": [{ "role": "assistant", "content": "Hi" }] }), &[whole("Hi")]),
        (
            json!({ "lc": 1, "type": "constructor", "kwargs": { "content": "Hi" },
                "id": ["langchain", "schema", "messages", "AIMessageChunk"] }),
            &[piece("Hi")],
        ),
    ]);
}

#[test]
fn documents_have_their_text_under_a_known_name() {
    check(&[
        (json!({ "result": "Hi" }), &[whole("Hi")]),
        (json!({ "response": "Hi", "status": "ok" }), &[whole("Hi")]),
        (json!({ "output": { "message": { "content": [{ "text": "Hi" }] } } }), &[whole("Hi")]),
        (json!({ "completion": "Hi" }), &[whole("Hi")]),
        (json!({ "message": "Hi" }), &[whole("Hi")]),
        (json!({ "text": "Hi" }), &[piece("Hi")]),
        (json!({ "type": "token", "content": "Hi" }), &[piece("Hi")]),
        (json!({ "role": "assistant", "content": [{ "text": "Hi" }] }), &[whole("Hi")]),
        (json!({ "error": null, "result": "Hi" }), &[whole("Hi")]),
        (json!({ "error": "secret", "error_type": "ValueError", "message": "x" }), &[Said::Failed]),
    ]);
}

#[test]
fn what_nobody_knows_says_nothing() {
    let deep = (0..50).fold(json!("Hi"), |inner, _| json!([inner]));
    let nested = (0..50).fold(json!("Hi"), |inner, _| json!({ "result": inner }));
    check(&[
        (json!({ "progress": 0.5, "step": "plan" }), &[]),
        (json!({}), &[]),
        (json!({ "choices": "x", "type": 3 }), &[]),
        (deep, &[]),
        (nested, &[]),
    ]);
}
