use serde_json::{Map, Value, json};

use crate::turn::{AnswerFormat, Effort, FailureKind, Generation, JsonSchema, ToolChoice};

use super::super::*;

fn decode(members: &Value) -> Result<Generation, Failure> {
    let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let asked = OpenAiChat.decode(body.to_string().as_bytes(), &Defaults::default())?;
    Ok(asked.request.generation)
}

#[test]
fn a_request_that_says_nothing_leaves_all_to_the_model() {
    assert_eq!(decode(&json!({})).unwrap(), Generation::default());
    let nulls = json!({"max_tokens": null, "temperature": null, "stop": null, "seed": null,
        "response_format": null, "tool_choice": null, "logprobs": null, "user": "",
        "reasoning_effort": null, "service_tier": null, "x": null});
    assert_eq!(decode(&nulls).unwrap(), Generation::default());
}

#[test]
fn everything_that_says_how_an_answer_is_made_reaches_the_turn() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "json_schema": {
        "name": "thing", "description": "A thing.", "schema": schema, "strict": true}});
    let members = json!({
        "max_completion_tokens": 256.0, "max_tokens": 9, "temperature": 1, "top_p": 0.5,
        "top_k": 40, "stop": ["END", "\n\n"], "seed": -7, "frequency_penalty": -2,
        "presence_penalty": 0.25, "parallel_tool_calls": false, "response_format": format,
        "reasoning_effort": "minimal", "service_tier": "flex",
    });
    let expected = Generation {
        max_tokens: Some(256),
        temperature: Some(1.0),
        top_p: Some(0.5),
        top_k: Some(40),
        stop: vec!["END".to_owned(), "\n\n".to_owned()],
        seed: Some(-7),
        frequency_penalty: Some(-2.0),
        presence_penalty: Some(0.25),
        tool_choice: ToolChoice::Auto,
        parallel_tool_calls: Some(false),
        format: AnswerFormat::JsonSchema(JsonSchema {
            name: "thing".to_owned(),
            description: Some("A thing.".to_owned()),
            schema,
            strict: true,
        }),
        effort: Some(Effort::Minimal),
        thinking_budget: None,
        service_tier: Some("flex".to_owned()),
        extra: Map::new(),
    };
    assert_eq!(decode(&members).unwrap(), expected);
    let older = decode(&json!({"max_tokens": 9, "stop": "END"})).unwrap();
    assert_eq!((older.max_tokens, older.stop), (Some(9), vec!["END".to_owned()]));
    let object = decode(&json!({"response_format": {"type": "json_object"}})).unwrap();
    assert_eq!(object.format, AnswerFormat::JsonObject);
}

#[test]
fn values_out_of_range_or_of_the_wrong_type_are_named() {
    let schema = |schema: Value| json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}});
    let named = |name: &str| json!({"response_format": {"type": "json_schema", "json_schema": {"name": name, "schema": {}}}});
    let format = |format: Value| json!({"response_format": format});
    let many: Map<String, Value> = (0..1_025).map(|n| (n.to_string(), json!(1))).collect();
    for (members, param) in [
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"max_tokens": 5, "max_completion_tokens": -1}), "max_completion_tokens"),
        (json!({"max_tokens": "5"}), "max_tokens"),
        (json!({"max_tokens": 1.5}), "max_tokens"),
        (json!({"temperature": 2.1}), "temperature"),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"top_p": -0.1}), "top_p"),
        (json!({"top_k": 0}), "top_k"),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
        (json!({"stop": vec!["a"; 9]}), "stop"),
        (json!({"stop": ""}), "stop"),
        (json!({"stop": [1]}), "stop[0]"),
        (json!({"stop": "x".repeat(257)}), "stop"),
        (json!({"stop": {}}), "stop"),
        (json!({"seed": "1"}), "seed"),
        (json!({"frequency_penalty": 3}), "frequency_penalty"),
        (json!({"presence_penalty": -3}), "presence_penalty"),
        (json!({"parallel_tool_calls": 1}), "parallel_tool_calls"),
        (json!({"reasoning_effort": "maximal"}), "reasoning_effort"),
        (json!({"service_tier": "two words"}), "service_tier"),
        (format(json!("json")), "response_format"),
        (format(json!({})), "response_format.type"),
        (format(json!({"type": "xml"})), "response_format.type"),
        (format(json!({"type": "json_schema"})), "response_format.json_schema"),
        (
            format(json!({"type": "json_schema", "json_schema": {"schema": {}}})),
            "response_format.json_schema.name",
        ),
        (
            format(json!({"type": "json_schema", "json_schema": {"name": "x"}})),
            "response_format.json_schema.schema",
        ),
        (named("two words"), "response_format.json_schema.name"),
        (schema(json!("{}")), "response_format.json_schema.schema"),
        (schema(json!({"type": "text"})), "response_format.json_schema.schema.type"),
        (json!({"logprobs": 1}), "logprobs"),
        (json!({"logprobs": true, "top_logprobs": 21}), "top_logprobs"),
        (json!({"top_logprobs": 2}), "top_logprobs"),
        (json!({"logprobs": false, "top_logprobs": 2}), "top_logprobs"),
        (json!({"logit_bias": [1]}), "logit_bias"),
        (json!({"logit_bias": {"50256": -101}}), "logit_bias"),
        (json!({"logit_bias": many}), "logit_bias"),
        (json!({"prediction": {"content": "x".repeat(300_000)}}), "prediction"),
    ] {
        let failure = decode(&members).unwrap_err();
        assert_eq!(failure.kind, FailureKind::BadRequest, "{members}");
        assert_eq!(failure.param.as_deref(), Some(param), "{failure}");
    }
}

#[test]
fn members_that_no_field_holds_are_passed_on() {
    let members = json!({"verbosity": "low", "logit_bias": {"50256": -100}, "user": "ann",
        "safety_identifier": "s", "store": true, "chat_template_kwargs": {"think": [1]}, "min_p": 0.1});
    let extra = decode(&members).unwrap().extra;
    assert_eq!(&Value::Object(extra), &members);
}

#[test]
fn what_names_sessions_or_callers_is_never_passed_on() {
    let ours = json!({"session_id": "a", "conversation": "b", "conversation_id": "c",
        "metadata": {"a": "b"}, "previous_response_id": "x", "customer": {"number": "+15550100199"},
        "phoneNumber": {"token": "x"}, "user_id": "v", "elevenlabs_extra_body": {},
        "outcrop": {"reasoning": true}, "stream_options": {"include_obfuscation": false}});
    assert!(decode(&ours).unwrap().extra.is_empty());
    let platform = json!({"call": {"id": "7f"}, "tier": "gold", "verbosity": "low"});
    assert_eq!(Value::Object(decode(&platform).unwrap().extra), json!({"verbosity": "low"}));
}

#[test]
fn unknown_members_that_do_not_fit_are_left_out() {
    let mut members = Map::new();
    members.insert("large".to_owned(), json!("x".repeat(300_000)));
    members.insert("n".repeat(65), json!(1));
    members.extend((0..80).map(|n| (format!("m{n}"), json!(n))));
    let extra = decode(&Value::Object(members)).unwrap().extra;
    assert_eq!(extra.len(), 64);
    assert!(!extra.contains_key("large"));
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let body = format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],"deep":{deep},"b":1}}"#);
    let asked = OpenAiChat.decode(body.as_bytes(), &Defaults::default()).unwrap();
    assert_eq!(Value::Object(asked.request.generation.extra), json!({"b": 1}));
}

#[test]
fn reasoning_that_a_client_sends_back_is_no_part_of_the_transcript() {
    let messages = json!([{"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello.", "reasoning_content": "They greet me."},
        {"role": "user", "content": "and?"}]);
    let body = json!({ "messages": messages }).to_string();
    let asked = OpenAiChat.decode(body.as_bytes(), &Defaults::default()).unwrap();
    assert_eq!(asked.request.messages[1].plain_text(), "Hello.");
    assert!(asked.request.messages[1].thoughts.is_empty());
}
