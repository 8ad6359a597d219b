use serde_json::{Value, json};

use crate::turn::{FailureKind, Status, Tool, ToolChoice};

use super::super::*;

fn decode(body: &Value) -> Result<Asked, Failure> {
    OpenAiChat.decode(body.to_string().as_bytes(), &Defaults::default())
}

fn offered(members: Value) -> Result<Vec<Tool>, Failure> {
    let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    decode(&body).map(|asked| asked.request.tools)
}

fn names(members: Value) -> Vec<String> {
    offered(members).unwrap().into_iter().map(|tool| tool.name).collect()
}

fn function(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name}})
}

#[test]
fn function_tools_reach_the_turn() {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let full = json!({"type": "function", "function": {
        "name": "get_time", "description": "Tells the time.", "strict": true, "parameters": schema}});
    let bare = json!({"function": {"name": "x", "description": null, "parameters": null}});
    let expected = [
        Tool {
            name: "get_time".into(),
            description: Some("Tells the time.".into()),
            parameters: Some(schema),
            strict: Some(true),
            cache: None,
        },
        Tool { name: "x".into(), ..Tool::default() },
    ];
    let members = json!({"tools": [full, bare], "parallel_tool_calls": true});
    assert_eq!(offered(members).unwrap(), expected);
}

#[test]
fn legacy_functions_are_tools_too() {
    let functions = json!([{"name": "old", "parameters": {}}]);
    assert_eq!(names(json!({"functions": functions, "function_call": {"name": "old"}})), ["old"]);
    let both = json!({"functions": functions, "tools": [function("new")]});
    assert_eq!(names(both), ["new", "old"]);
}

fn chosen(members: Value) -> Result<(Vec<String>, ToolChoice), Failure> {
    let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let request = decode(&body)?.request;
    let names = request.tools.into_iter().map(|tool| tool.name);
    Ok((names.collect(), request.generation.tool_choice))
}

#[test]
fn what_is_chosen_among_the_tools_reaches_the_turn() {
    let tools = json!([function("a"), function("b")]);
    let with = |choice: Value| chosen(json!({"tools": tools, "tool_choice": choice})).unwrap();
    let both = ["a".to_owned(), "b".to_owned()];
    let named = ToolChoice::Named("b".to_owned());
    for (choice, expected) in [
        (Value::Null, ToolChoice::Auto),
        (json!("auto"), ToolChoice::Auto),
        (json!("none"), ToolChoice::None),
        (json!("required"), ToolChoice::Required),
        (json!({"type": "function", "function": {"name": "b"}}), named.clone()),
        (json!({"function": {"name": "b"}}), named.clone()),
    ] {
        assert_eq!(with(choice), (both.to_vec(), expected));
    }
    let allowed = |mode: &str| {
        let one = json!({"type": "function", "function": {"name": "b"}});
        json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [one]}})
    };
    assert_eq!(with(allowed("auto")), (vec!["b".to_owned()], ToolChoice::Auto));
    assert_eq!(with(allowed("required")), (vec!["b".to_owned()], ToolChoice::Required));
}

#[test]
fn the_older_choice_is_one_among_functions() {
    let functions = json!([{"name": "old"}]);
    let with =
        |choice: Value| chosen(json!({"functions": functions, "function_call": choice})).unwrap().1;
    assert_eq!(with(json!("none")), ToolChoice::None);
    assert_eq!(with(json!({"name": "old"})), ToolChoice::Named("old".to_owned()));
    let mixed = |tools: &str, functions: &str| {
        let choices = json!({"tools": [function("new")], "functions": [{"name": "old"}],
            "tool_choice": tools, "function_call": functions});
        chosen(choices).unwrap()
    };
    assert_eq!(mixed("none", "auto"), (vec!["old".to_owned()], ToolChoice::Auto));
    assert_eq!(mixed("required", "none"), (vec!["new".to_owned()], ToolChoice::Required));
    let both = vec!["new".to_owned(), "old".to_owned()];
    assert_eq!(mixed("none", "none"), (both, ToolChoice::None));
}

#[test]
fn a_choice_that_is_not_offered_is_named() {
    let tools = json!([function("a")]);
    let function = |name: &str| json!({"type": "function", "function": {"name": name}});
    let allowed = |mode: &str, tools: Value| json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}});
    for (tools, choice) in [
        (&tools, function("b")),
        (&tools, json!({"type": "function"})),
        (&tools, allowed("auto", json!([function("b")]))),
        (&tools, allowed("required", json!([]))),
        (&tools, allowed("any", json!([]))),
        (&Value::Null, json!("required")),
        (&json!([]), function("a")),
    ] {
        let failure = chosen(json!({"tools": tools, "tool_choice": choice})).unwrap_err();
        assert_eq!(failure.kind, FailureKind::BadRequest, "{choice}");
        assert!(failure.param.unwrap().starts_with("tool_choice"), "{choice}");
    }
    let custom = json!({"type": "custom", "custom": {"name": "a"}});
    let failure = chosen(json!({"tools": tools, "tool_choice": custom})).unwrap_err();
    assert_eq!(failure.kind, FailureKind::UnsupportedParameter);
    let failure = chosen(json!({"function_call": {"name": "x"}, "functions": [{"name": "old"}]}));
    assert_eq!(failure.unwrap_err().param.as_deref(), Some("function_call"));
}

#[test]
fn what_is_wrong_with_an_offer_is_named() {
    let named = |name: &str| json!({"tools": [function("a"), function(name)]});
    let with = |parameters: Value| json!({"tools": [{"type": "function", "function": {"name": "a", "parameters": parameters}}]});
    let many: Vec<_> = (0..129).map(|n| function(&format!("f{n}"))).collect();
    let cases = [
        (named(""), "tools[1].function.name"),
        (named("two words"), "tools[1].function.name"),
        (named(&"x".repeat(65)), "tools[1].function.name"),
        (named("größe"), "tools[1].function.name"),
        (named("a"), "tools"),
        (with(json!([])), "tools[0].function.parameters"),
        (with(json!("{}")), "tools[0].function.parameters"),
        (with(json!(false)), "tools[0].function.parameters"),
        (with(json!({"type": "text"})), "tools[0].function.parameters.type"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].function"),
        (json!({"tools": [{"type": "function", "function": {}}]}), "tools[0].function.name"),
        (
            json!({"tools": [{"function": {"name": "a", "description": 1}}]}),
            "tools[0].function.description",
        ),
        (json!({"tools": many}), "tools"),
        (json!({"tools": many[..128], "functions": [{"name": "old"}]}), "functions"),
        (json!({"tools": {}}), "tools"),
        (json!({"tools": ["a"]}), "tools[0]"),
        (json!({"functions": [{"name": 1}]}), "functions[0].name"),
        (json!({"functions": [{}]}), "functions[0].name"),
        (json!({"tool_choice": "any"}), "tool_choice"),
        (json!({"tool_choice": 1}), "tool_choice"),
        (json!({"function_call": []}), "function_call"),
        (json!({"parallel_tool_calls": "yes"}), "parallel_tool_calls"),
    ];
    for (members, param) in cases {
        let failure = offered(members.clone()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::BadRequest, "{members}");
        assert_eq!(failure.param.as_deref(), Some(param), "{members}: {failure}");
    }
}

#[test]
fn a_tool_that_is_no_function_is_refused_by_name() {
    for kind in ["custom", "web_search"] {
        let custom = json!({"type": kind, "custom": {"name": "say"}});
        let failure = offered(json!({"tools": [function("a"), custom]})).unwrap_err();
        assert_eq!(failure.kind, FailureKind::UnsupportedParameter);
        assert_eq!(failure.param.as_deref(), Some("tools[1].type"));
        assert_eq!(failure.message, "tools[1].type must be function: other tools are not called");
    }
}

#[test]
fn the_schemas_of_one_request_are_bounded_together() {
    let schema = |values: usize| json!({"type": "object", "enum": vec![0; values]});
    let tool = |name: &str, values: usize| json!({"type": "function", "function": {"name": name, "parameters": schema(values)}});
    assert!(offered(json!({"tools": [tool("a", 90_000), tool("b", 90_000)]})).is_ok());
    let failure = offered(json!({"tools": [tool("a", 90_000), tool("b", 110_000)]})).unwrap_err();
    assert_eq!(failure.param.as_deref(), Some("tools[1].function.parameters"));
}

fn result(id: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": "x"})
}

#[test]
fn a_tool_says_that_it_failed_in_either_word() {
    let status = |members: Value| {
        let mut message = result("call_1");
        message.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        decode(&json!({"messages": [message]})).map(|asked| asked.request.messages[0].status)
    };
    for members in [
        json!({"is_error": true}),
        json!({"status": "error"}),
        json!({"is_error": false, "status": "error"}),
    ] {
        assert_eq!(status(members.clone()).unwrap(), Status::Failed, "{members}");
    }
    for members in [
        json!({}),
        json!({"is_error": null, "status": null}),
        json!({"is_error": false}),
        json!({"status": "success"}),
        json!({"content": "error"}),
    ] {
        assert_eq!(status(members.clone()).unwrap(), Status::Completed, "{members}");
    }
    for (members, param) in [
        (json!({"is_error": "true"}), "messages[0].is_error"),
        (json!({"is_error": 1}), "messages[0].is_error"),
        (json!({"status": 1}), "messages[0].status"),
        (json!({"status": true}), "messages[0].status"),
    ] {
        assert_eq!(status(members).unwrap_err().param.as_deref(), Some(param));
    }
    let elsewhere = json!({"role": "user", "content": "x", "is_error": 1, "status": {}});
    let asked = decode(&json!({"messages": [elsewhere]})).unwrap();
    assert_eq!(asked.request.messages[0].status, Status::Completed);
}

#[test]
fn a_call_has_one_result_until_the_next_answer() {
    let answer = |id: &str| {
        let call = json!({"id": id, "type": "function", "function": {"name": "f"}});
        json!({"role": "assistant", "tool_calls": [call]})
    };
    let user = json!({"role": "user", "content": "hi"});
    let fine = [answer("a"), result("a"), result("b"), answer("a"), result("a")];
    assert!(decode(&json!({"messages": fine})).is_ok());
    for (twice, param) in [
        (vec![result("a"), result("a")], "messages[1].tool_call_id"),
        (
            vec![answer("a"), result("a"), result("b"), user, result("a")],
            "messages[4].tool_call_id",
        ),
    ] {
        let failure = decode(&json!({"messages": twice})).unwrap_err();
        assert_eq!(failure.kind, FailureKind::BadRequest);
        assert_eq!(failure.param.as_deref(), Some(param));
    }
}

#[test]
fn calls_and_their_results_are_bounded() {
    let results = |count: usize| -> Vec<_> { (0..count).map(|n| result(&n.to_string())).collect() };
    assert!(decode(&json!({"messages": results(128)})).is_ok());
    let failure = decode(&json!({"messages": results(129)})).unwrap_err();
    assert_eq!(failure.param.as_deref(), Some("messages[128]"));

    let call = json!({"id": "a", "function": {"name": "f"}});
    let answer =
        |count: usize| json!({"role": "assistant", "tool_calls": vec![call.clone(); count]});
    assert!(decode(&json!({"messages": [answer(128)]})).is_ok());
    let failure = decode(&json!({"messages": [answer(129)]})).unwrap_err();
    assert_eq!(failure.param.as_deref(), Some("messages[0].tool_calls"));
    let failure = decode(&json!({"messages": vec![answer(100); 201]})).unwrap_err();
    assert_eq!(failure.param.as_deref(), Some("messages"));
}
