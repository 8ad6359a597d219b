use crate::turn::{FailureKind, ToolChoice};

use super::*;

fn with(members: Value) -> Value {
    let mut body = json!({"input": "hi", "tools": [
        {"type": "function", "name": "f", "description": "F", "parameters": {"type": "object"}},
        {"type": "custom", "name": "g"},
    ]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

#[test]
fn tools_are_flat_and_a_custom_one_is_a_function_of_one_text() {
    let request = decoded(&with(json!({})));
    assert_eq!(request.tools[0].name, "f");
    assert_eq!(request.tools[0].description.as_deref(), Some("F"));
    assert_eq!(request.tools[0].parameters, Some(json!({"type": "object"})));
    let parameters = request.tools[1].parameters.as_ref().unwrap();
    assert_eq!(parameters["required"], json!(["input"]));
    assert_eq!(request.generation.tool_choice, ToolChoice::Auto);
}

#[test]
fn every_choice_is_understood() {
    let function = json!({"type": "function", "name": "f"});
    let allowed = |mode: &str| json!({"type": "allowed_tools", "mode": mode, "tools": [function]});
    let cases = [
        (json!("auto"), ToolChoice::Auto, 2),
        (json!("none"), ToolChoice::None, 0),
        (json!("required"), ToolChoice::Required, 2),
        (function.clone(), ToolChoice::Named("f".to_owned()), 2),
        (json!({"type": "custom", "name": "g"}), ToolChoice::Named("g".to_owned()), 2),
        (allowed("auto"), ToolChoice::Auto, 1),
        (allowed("required"), ToolChoice::Required, 1),
    ];
    for (choice, expected, offered) in cases {
        let request = decoded(&with(json!({ "tool_choice": choice })));
        assert_eq!(request.generation.tool_choice, expected, "{choice}");
        assert_eq!(request.offered().len(), offered, "{choice}");
    }
}

#[test]
fn a_tool_that_nobody_here_runs_is_refused_by_its_name() {
    for kind in ["web_search", "file_search", "code_interpreter", "mcp", "image_generation"] {
        let failure = refused(json!({"input": "hi", "tools": [{"type": kind}]}));
        assert_eq!(failure.kind, FailureKind::UnsupportedParameter);
        assert_eq!(param(&failure), "tools[0].type");
        assert!(failure.message.contains(kind), "{}", failure.message);
    }
    let failure = refused(with(json!({"tool_choice": {"type": "web_search"}})));
    assert_eq!(
        (failure.kind, param(&failure)),
        (FailureKind::UnsupportedParameter, "tool_choice.type")
    );
}

#[test]
fn what_is_wrong_with_a_tool_or_a_choice_is_named() {
    let cases = [
        (json!({"tools": [{}]}), "tools[0].type"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].name"),
        (json!({"tools": [{"type": "function", "name": "a b"}]}), "tools[0].name"),
        (
            json!({"tools": [{"type": "function", "name": "f", "parameters": {"type": 5}}]}),
            "tools[0].parameters.type",
        ),
        (
            json!({"tools": [{"type": "custom", "name": "g",
                "format": {"type": "grammar", "syntax": "lark", "definition": "x"}}]}),
            "tools[0].format",
        ),
        (
            json!({"tools": [{"type": "custom", "name": "f"}, {"type": "function", "name": "f"}]}),
            "tools",
        ),
        (json!({"tool_choice": "always"}), "tool_choice"),
        (json!({"tool_choice": {"type": "function"}}), "tool_choice.name"),
        (json!({"tool_choice": {"type": "function", "name": "h"}}), "tool_choice"),
        (json!({"tool_choice": {"type": "allowed_tools"}}), "tool_choice.tools"),
        (
            json!({"tool_choice": {"type": "allowed_tools", "mode": "x", "tools": []}}),
            "tool_choice.mode",
        ),
        (
            json!({"tool_choice": {"type": "allowed_tools", "tools": [{"type": "function", "name": "h"}]}}),
            "tool_choice.tools[0]",
        ),
        (
            json!({"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": []}}),
            "tool_choice",
        ),
        (json!({"tools": [], "tool_choice": "required"}), "tool_choice"),
    ];
    for (members, expected) in cases {
        assert_eq!(param(&refused(with(members.clone()))), expected, "{members}");
    }
}
