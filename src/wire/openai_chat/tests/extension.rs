use serde_json::{Value, json};

use crate::turn::{
    AgentOptions, DisconnectPolicy, FailureKind, FileUse, Latency, ToolErrors, TurnPolicy,
    TurnRequest,
};

use super::super::*;

fn extended(extension: Value) -> Result<TurnRequest, Failure> {
    let body = json!({"messages": [{"role": "user", "content": "hi"}], "outcrop": extension});
    let asked = OpenAiChat.decode(body.to_string().as_bytes(), &Defaults::default());
    asked.map(|asked| asked.request)
}

#[test]
fn all_of_the_extension_reaches_the_turn() {
    let bases = json!([{"knowledgeBaseId": "KB12345678", "retrievalConfiguration": {}}]);
    let request = extended(json!({
        "session_attributes": {"tier": "gold"},
        "prompt_session_attributes": {"today": "Monday"},
        "memory_id": "ann",
        "end_session": true,
        "turn_policy": "interrupt",
        "disconnect_policy": "detach",
        "traces": true,
        "reasoning": false,
        "knowledge_base_configurations": bases,
        "prompt_creation_configurations": {
            "previous_conversation_turns_to_include": 3,
            "exclude_previous_thinking_steps": true,
        },
        "latency": "optimized",
        "guardrail_interval": 50.0,
        "tool_errors": "failure",
        "file_use": "code_interpreter",
        "unheard_of": {},
    }))
    .unwrap();
    assert_eq!(request.session_attributes["tier"], "gold");
    assert_eq!(request.prompt_attributes["today"], "Monday");
    assert_eq!(request.memory_id.as_deref(), Some("ann"));
    assert!(request.end_session && request.wants_traces);
    assert_eq!(request.wants_reasoning, Some(false));
    assert_eq!(request.turn_policy, Some(TurnPolicy::Interrupt));
    assert_eq!(request.disconnect_policy, Some(DisconnectPolicy::Detach { grace: None }));
    let expected = AgentOptions {
        knowledge_bases: Some(bases.as_array().unwrap().clone()),
        previous_turns: Some(3),
        exclude_thinking: Some(true),
        latency: Some(Latency::Optimized),
        guardrail_interval: 50.try_into().ok(),
        tool_errors: Some(ToolErrors::Failure),
        file_use: Some(FileUse::CodeInterpreter),
    };
    assert_eq!(request.agent, expected);
}

#[test]
fn what_the_extension_leaves_out_or_null_is_left_to_the_model() {
    let nulls = json!({
        "session_attributes": null, "memory_id": null, "end_session": null, "traces": null,
        "reasoning": null, "knowledge_base_configurations": null,
        "prompt_creation_configurations": {"exclude_previous_thinking_steps": null},
        "latency": null, "guardrail_interval": null, "tool_errors": null, "file_use": null,
    });
    for extension in [Value::Null, json!({}), nulls] {
        let request = extended(extension).unwrap();
        assert_eq!(request.agent, AgentOptions::default());
        assert_eq!((request.wants_reasoning, request.wants_traces), (None, false));
        assert!(request.session_attributes.is_empty() && !request.end_session);
    }
}

#[test]
fn a_member_of_the_extension_that_is_wrong_is_named() {
    let turns = "prompt_creation_configurations.previous_conversation_turns_to_include";
    let thinking = "prompt_creation_configurations.exclude_previous_thinking_steps";
    let many = vec![json!({}); 33];
    let cases = [
        (json!({"session_attributes": {"a": "x", "n": 5}}), "session_attributes.n"),
        (json!({"session_attributes": {"b": true}}), "session_attributes.b"),
        (json!({"session_attributes": {"o": {}}}), "session_attributes.o"),
        (json!({"prompt_session_attributes": {"none": null}}), "prompt_session_attributes.none"),
        (json!({"session_attributes": []}), "session_attributes"),
        (json!({"session_attributes": "x"}), "session_attributes"),
        (json!({"memory_id": "x"}), "memory_id"),
        (json!({"memory_id": 5}), "memory_id"),
        (json!({"end_session": "yes"}), "end_session"),
        (json!({"turn_policy": "barge"}), "turn_policy"),
        (json!({"disconnect_policy": true}), "disconnect_policy"),
        (json!({"traces": 1}), "traces"),
        (json!({"reasoning": "high"}), "reasoning"),
        (json!({"knowledge_base_configurations": {}}), "knowledge_base_configurations"),
        (json!({"knowledge_base_configurations": [{}, 1]}), "knowledge_base_configurations[1]"),
        (json!({"knowledge_base_configurations": many}), "knowledge_base_configurations"),
        (json!({"prompt_creation_configurations": 3}), "prompt_creation_configurations"),
        (
            json!({"prompt_creation_configurations":
            {"previous_conversation_turns_to_include": -1}}),
            turns,
        ),
        (
            json!({"prompt_creation_configurations":
            {"previous_conversation_turns_to_include": 2_147_483_648_i64}}),
            turns,
        ),
        (
            json!({"prompt_creation_configurations":
            {"previous_conversation_turns_to_include": "3"}}),
            turns,
        ),
        (
            json!({"prompt_creation_configurations":
            {"exclude_previous_thinking_steps": "no"}}),
            thinking,
        ),
        (json!({"latency": "fast"}), "latency"),
        (json!({"guardrail_interval": 0}), "guardrail_interval"),
        (json!({"guardrail_interval": 1.5}), "guardrail_interval"),
        (json!({"guardrail_interval": u64::MAX}), "guardrail_interval"),
        (json!({"tool_errors": "retry"}), "tool_errors"),
        (json!({"file_use": "CHAT"}), "file_use"),
    ];
    for (extension, member) in cases {
        let failure = extended(extension.clone()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::BadRequest, "{extension}");
        let param = format!("outcrop.{member}");
        assert_eq!(failure.param.as_deref(), Some(param.as_str()), "{extension}: {failure}");
        assert!(failure.message.starts_with(&param), "{failure}");
    }
    assert_eq!(extended(json!([])).unwrap_err().param.as_deref(), Some("outcrop"));
}

#[test]
fn a_choice_that_is_none_is_answered_with_the_choices() {
    let said = |extension: Value| extended(extension).unwrap_err().message.into_owned();
    let latency = said(json!({"latency": "fast"}));
    assert_eq!(latency, "outcrop.latency must be one of standard, optimized");
    let attribute = said(json!({"session_attributes": {"n": 5}}));
    assert!(
        attribute.starts_with("outcrop.session_attributes.n: expected a string"),
        "{attribute}"
    );
}
