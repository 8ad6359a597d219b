//! Answers of servers that are right, as each make of them was seen to send its own: none of them
//! is to be complained about.

use serde_json::{Value, json};

use super::exchange::{Exchange, recorded};
use super::{Finding, Weight, difference, rules};

/// A stream of chunks that have these members in common.
fn stream(request: &'static str, common: &Value, own: &[Value]) -> Exchange {
    let events = own.iter().map(|own| {
        let mut chunk = common.clone();
        for (name, value) in own.as_object().unwrap() {
            chunk[name] = value.clone();
        }
        format!("data: {chunk}\n\n")
    });
    recorded(request, &format!("{}data: [DONE]\n\n", events.collect::<String>()))
}

fn choice(delta: &Value, finish_reason: &Value) -> Value {
    json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason }])
}

fn said(delta: &Value) -> Value {
    json!({ "choices": choice(delta, &Value::Null) })
}

fn finish(delta: &Value, reason: &str) -> Value {
    json!({ "choices": choice(delta, &json!(reason)) })
}

fn common(id: &str, model: &str) -> Value {
    let object = "chat.completion.chunk";
    json!({ "id": id, "object": object, "created": 1_760_000_000, "model": model })
}

fn usage() -> Value {
    json!({ "prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12 })
}

/// OpenAI itself: `service_tier`, `system_fingerprint`, a member that hides how long each word
/// is, `usage: null` until the last chunk, whose details clients read.
fn openai() -> Exchange {
    let mut common = common("chatcmpl-C1", "gpt-4o-2024-08-06");
    common["service_tier"] = json!("default");
    common["system_fingerprint"] = json!("fp_e819e3438b");
    common["usage"] = Value::Null;
    let mut used = usage();
    used["prompt_tokens_details"] = json!({ "cached_tokens": 0, "audio_tokens": 0 });
    used["completion_tokens_details"] = json!({ "reasoning_tokens": 0 });
    let hidden = |mut chunk: Value, noise: &str| {
        chunk["obfuscation"] = json!(noise);
        chunk
    };
    let first = json!({ "role": "assistant", "content": "", "refusal": null });
    stream(
        "stream",
        &common,
        &[
            hidden(said(&first), "aJ3"),
            hidden(said(&json!({ "content": "One" })), "k"),
            hidden(said(&json!({ "content": ", two" })), ""),
            hidden(finish(&json!({}), "stop"), "Zq81"),
            hidden(json!({ "choices": [], "usage": used }), "x0"),
        ],
    )
}

/// OpenAI's calls: the role comes with the first of them, arguments in pieces.
fn openai_calls() -> Exchange {
    let call = |index: u32, id: &str, name: &str| {
        let function = json!({ "name": name, "arguments": "" });
        json!([{ "index": index, "id": id, "type": "function", "function": function }])
    };
    let more = |index: u32, text: &str| {
        let function = json!({ "arguments": text });
        said(&json!({ "tool_calls": [{ "index": index, "function": function }] }))
    };
    let first =
        json!({ "role": "assistant", "content": null, "tool_calls": call(0, "call_a", "f") });
    stream(
        "stream with tools",
        &common("chatcmpl-C2", "gpt-4o"),
        &[
            said(&first),
            more(0, "{\"city\":"),
            more(0, "\"Oslo\"}"),
            said(&json!({ "tool_calls": call(1, "call_b", "f") })),
            more(1, "{}"),
            finish(&json!({}), "tool_calls"),
            json!({ "choices": [], "usage": usage() }),
        ],
    )
}

/// vLLM: `stop_reason`, text thought before, `content: ""` where the answer ends.
fn vllm() -> Exchange {
    let mut end = finish(&json!({ "content": "" }), "stop");
    end["choices"][0]["stop_reason"] = Value::Null;
    stream(
        "stream",
        &common("chatcmpl-9f", "Qwen/Qwen3-8B"),
        &[
            said(&json!({ "role": "assistant", "content": "" })),
            said(&json!({ "reasoning_content": "They count." })),
            said(&json!({ "content": "One" })),
            end,
            json!({ "choices": [], "usage": usage() }),
        ],
    )
}

/// vLLM told to count as it goes: usage in every chunk, ever more of it.
fn vllm_counting() -> Exchange {
    let counted = |mut chunk: Value, count: u64| {
        let total = 9 + count;
        chunk["usage"] = json!({
            "prompt_tokens": 9, "completion_tokens": count, "total_tokens": total });
        chunk
    };
    stream(
        "stream",
        &common("chatcmpl-9g", "Qwen/Qwen3-8B"),
        &[
            counted(said(&json!({ "role": "assistant", "content": "" })), 0),
            counted(said(&json!({ "content": "One" })), 1),
            counted(finish(&json!({ "content": "" }), "stop"), 2),
            counted(json!({ "choices": [] }), 2),
        ],
    )
}

/// Ollama: the role with every word, a second of its own in each chunk.
fn ollama() -> Exchange {
    let said = |text: &str| said(&json!({ "role": "assistant", "content": text }));
    let mut later = said(" two");
    later["created"] = json!(1_760_000_001);
    let mut common = common("chatcmpl-412", "llama3");
    common["system_fingerprint"] = json!("fp_ollama");
    let end = finish(&json!({ "role": "assistant", "content": "" }), "stop");
    let counted = json!({ "choices": [], "usage": usage() });
    stream("stream", &common, &[said("One"), later, end, counted])
}

/// LiteLLM: a choice without a word beside the usage, members that are null.
fn litellm() -> Exchange {
    let mut counted = said(&json!({}));
    counted["usage"] = usage();
    stream(
        "stream",
        &common("chatcmpl-7d0e", "bedrock-claude"),
        &[
            said(&json!({ "role": "assistant", "content": "One", "function_call": null })),
            said(&json!({ "content": " two", "tool_calls": null, "audio": null })),
            finish(&json!({}), "stop"),
            counted,
        ],
    )
}

/// LiteLLM's calls: id and name are null after the first piece, the type comes again.
fn litellm_calls() -> Exchange {
    let part = |id: Value, name: Value, text: &str| {
        let function = json!({ "name": name, "arguments": text });
        let call = json!({ "id": id, "function": function, "type": "function", "index": 0 });
        json!({ "content": null, "tool_calls": [call] })
    };
    let mut first = part(json!("tooluse_1"), json!("f"), "");
    first["role"] = json!("assistant");
    stream(
        "stream with tools",
        &common("chatcmpl-7d0f", "bedrock-claude"),
        &[
            said(&first),
            said(&part(Value::Null, Value::Null, "{\"city\": \"Oslo\"}")),
            finish(&json!({}), "tool_calls"),
            json!({ "choices": [], "usage": usage() }),
        ],
    )
}

/// Azure: a first chunk about the prompt alone, and what its filter made of each.
fn azure() -> Exchange {
    let filtered = json!({ "hate": { "filtered": false, "severity": "safe" } });
    let preface = json!({
        "id": "", "object": "", "created": 0, "model": "", "choices": [],
        "prompt_filter_results": [{ "prompt_index": 0, "content_filter_results": filtered }],
    });
    let mut word = said(&json!({ "content": "One" }));
    word["choices"][0]["content_filter_results"] = filtered;
    stream(
        "stream",
        &common("chatcmpl-Az", "gpt-4o-2024-08-06"),
        &[
            preface,
            said(&json!({ "role": "assistant", "content": "", "refusal": null })),
            word,
            finish(&json!({}), "stop"),
            json!({ "choices": [], "usage": usage() }),
        ],
    )
}

/// One document of OpenAI's.
fn openai_whole() -> Exchange {
    let message = json!({
        "role": "assistant", "content": "One", "refusal": null, "annotations": [] });
    let choice =
        json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": "stop" });
    let mut whole = common("chatcmpl-C3", "gpt-4o-2024-08-06");
    whole["object"] = json!("chat.completion");
    whole["choices"] = json!([choice]);
    whole["usage"] = usage();
    whole["service_tier"] = json!("default");
    recorded("whole", &whole.to_string())
}

fn rules_broken(exchange: &Exchange) -> Vec<Finding> {
    let mut found = Vec::new();
    rules::check("A", exchange, &mut found);
    found
}

#[test]
fn no_make_of_server_is_complained_about() {
    let silent = [
        openai(),
        openai_calls(),
        openai_whole(),
        vllm(),
        litellm_calls(),
        azure(),
        // Worth a note: where the usage is, and what comes with it.
        vllm_counting(),
        ollama(),
        litellm(),
    ];
    let notes = ["usage-choices", "repeated-role", "changing-member"];
    for (place, exchange) in silent.iter().enumerate() {
        let found = rules_broken(exchange);
        let is_noted = |one: &Finding| one.weight == Weight::Note && notes.contains(&one.rule);
        let is_right = if place < 6 { found.is_empty() } else { found.iter().all(is_noted) };
        assert!(is_right, "{place}: {found:?}");
    }
}

#[test]
fn two_makes_do_not_differ_in_what_a_client_could_notice() {
    let noticed = |a: &Exchange, b: &Exchange| {
        let mut found = Vec::new();
        difference::find(a, b, &mut found);
        found.retain(|one| one.weight == Weight::Noticed);
        found
    };
    let others = [vllm(), vllm_counting(), ollama(), litellm(), azure()];
    for (place, other) in others.iter().enumerate() {
        assert_eq!(noticed(&openai(), other), [], "{place}");
        assert_eq!(noticed(other, &openai()), [], "{place}");
    }
    assert_eq!(noticed(&openai_calls(), &litellm_calls()), []);
}
