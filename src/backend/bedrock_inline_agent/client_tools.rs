//! The client's tools as an action group that returns control.
//!
//! Each tool is a function of the group [`GROUP`]. A name that the service does not take is
//! replaced, and put back when the function is called.

use std::collections::HashMap;

use aws_sdk_bedrockagentruntime::types::{
    ActionGroupExecutor, AgentActionGroup, CustomControlMethod, FunctionDefinition, FunctionSchema,
    ParameterType,
};
use serde_json::{Map, Value};

use crate::backend::bedrock_agent::return_control::Toolbox;
use crate::turn::{Failure, Pending, PendingCall, Tool};

use super::schema::{PACKED, Parameters, cut, detail, parameters};
use super::service_names::service_name;

/// The action group that the client's tools are.
pub(super) const GROUP: &str = "client_tools";
/// Characters of a function's description.
const DESCRIPTION_LIMIT: usize = 1_200;

/// The tools that a client brought along.
#[derive(Debug, Default)]
pub(super) struct ClientTools {
    tools: Vec<ClientTool>,
}

#[derive(Debug)]
struct ClientTool {
    /// As the client calls it.
    name: String,
    /// As the service does: what is sent.
    function: FunctionDefinition,
    is_packed: bool,
}

impl ClientTools {
    /// The tools of a request, and those that the agent waits for the results of, which the
    /// request need not declare again. `is_taken` says which functions the agent has besides.
    ///
    /// # Errors
    /// `BadRequest` for a tool whose name is taken.
    pub(super) fn of(
        tools: &[Tool],
        pending: Option<&Pending>,
        is_taken: impl Fn(&str) -> bool,
    ) -> Result<Self, Failure> {
        let mut found = Self::default();
        for tool in tools {
            let client_tool = client_tool(tool).ok_or_else(Failure::internal)?;
            let service_name = client_tool.function.name();
            if is_taken(service_name) {
                return Err(taken(&tool.name, "the agent has a function of its own"));
            }
            if found.tool(service_name).is_some() {
                return Err(taken(&tool.name, "there are two tools"));
            }
            found.tools.push(client_tool);
        }
        for call in pending.iter().flat_map(|pending| &pending.calls) {
            if let Some(tool) = waited_for(call)
                && found.tool(tool.function.name()).is_none()
            {
                found.tools.push(tool);
            }
        }
        Ok(found)
    }

    /// The action group; none without a tool.
    pub(super) fn group(&self) -> Option<AgentActionGroup> {
        if self.tools.is_empty() {
            return None;
        }
        let functions = self.tools.iter().map(|tool| tool.function.clone()).collect();
        AgentActionGroup::builder()
            .action_group_name(GROUP)
            .action_group_executor(ActionGroupExecutor::CustomControl(
                CustomControlMethod::ReturnControl,
            ))
            .function_schema(FunctionSchema::Functions(functions))
            .build()
            .ok()
    }

    fn tool(&self, function: &str) -> Option<&ClientTool> {
        self.tools.iter().find(|tool| tool.function.name() == function)
    }
}

impl Toolbox for ClientTools {
    fn declares(&self, name: &str) -> bool {
        self.tools.iter().any(|tool| tool.name == name)
    }

    fn unpack(
        &self,
        group: &str,
        function: &str,
        arguments: &Map<String, Value>,
    ) -> Option<(String, Map<String, Value>)> {
        let tool = self.tool(function).filter(|_| group == GROUP)?;
        let held = arguments.get(PACKED).filter(|_| tool.is_packed).and_then(Value::as_str);
        let unpacked = held.and_then(|text| serde_json::from_str(text).ok());
        Some((tool.name.clone(), unpacked.unwrap_or_else(|| arguments.clone())))
    }
}

fn taken(name: &str, why: &str) -> Failure {
    let name: String = name.chars().take(64).collect();
    Failure::bad_field("tools", format!("{why} named {name:?}; rename the tool"))
}

fn client_tool(tool: &Tool) -> Option<ClientTool> {
    let (parameters, is_packed) = match parameters(tool.parameters.as_ref()) {
        Parameters::Flat(details) => (details, false),
        Parameters::Packed(detail) => (HashMap::from([(PACKED.to_owned(), detail)]), true),
    };
    let description = tool.description.as_deref().filter(|text| !text.is_empty());
    let function = FunctionDefinition::builder()
        .name(service_name(&tool.name))
        .set_description(description.map(|text| cut(text, DESCRIPTION_LIMIT)))
        .set_parameters((!parameters.is_empty()).then_some(parameters))
        .build()
        .ok()?;
    Some(ClientTool { name: tool.name.clone(), function, is_packed })
}

/// A tool as far as the agent's call of it shows it.
fn waited_for(call: &PendingCall) -> Option<ClientTool> {
    let input = call.input.get("functionInvocationInput")?;
    if input.get("actionGroup")? != GROUP {
        return None;
    }
    let name = input.get("function")?.as_str()?;
    let mut parameters = HashMap::new();
    for parameter in input.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        let text = |member: &str| parameter.get(member).and_then(Value::as_str);
        let Some(name) = text("name") else { continue };
        let kind = ParameterType::from(text("type").unwrap_or("string"));
        parameters.insert(name.to_owned(), detail(kind, String::new(), false)?);
    }
    let is_packed = parameters.len() == 1 && parameters.contains_key(PACKED);
    let function = FunctionDefinition::builder()
        .name(name)
        .set_parameters((!parameters.is_empty()).then_some(parameters))
        .build()
        .ok()?;
    Some(ClientTool { name: call.call.name.clone(), function, is_packed })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::turn::{Confirmation, ToolCall};

    use super::super::action_groups;
    use super::*;

    fn tool(name: &str, parameters: Value) -> Tool {
        Tool {
            name: name.to_owned(),
            description: None,
            parameters: Some(parameters),
            ..Tool::default()
        }
    }

    fn of(tools: &[Tool], pending: Option<&Pending>) -> ClientTools {
        ClientTools::of(tools, pending, |_| false).unwrap()
    }

    fn pending(function: &str, parameters: Value) -> Pending {
        let call = ToolCall {
            id: "c".to_owned(),
            name: "__ask".to_owned(),
            arguments: "{}".to_owned(),
            confirmation: Confirmation::None,
        };
        let input = json!({ "functionInvocationInput": { "actionGroup": GROUP,
            "function": function, "parameters": parameters } });
        let call = PendingCall { call, input, result: None };
        Pending { invocation_id: "i".to_owned(), calls: vec![call] }
    }

    fn packed(text: &str) -> Map<String, Value> {
        Map::from_iter([(PACKED.to_owned(), text.into())])
    }

    #[test]
    fn a_name_that_was_replaced_is_put_back() {
        let tools = of(&[tool("__ask", json!({}))], None);
        let group = tools.group().unwrap();
        let replaced = action_groups::functions(&group).next().unwrap();
        assert_ne!(replaced, "__ask");
        let (back, _) = tools.unpack(GROUP, replaced, &Map::new()).unwrap();
        assert_eq!(back, "__ask");
    }

    #[test]
    fn deep_arguments_are_unpacked_and_stay_as_they_are_where_they_cannot_be() {
        let deep = json!({ "type": "object", "properties": { "o": { "type": "object" } } });
        let tools = of(&[tool("deep", deep)], None);
        let unpack = |text: &str| tools.unpack(GROUP, "deep", &packed(text)).unwrap().1;
        assert_eq!(Value::Object(unpack(r#"{"o":{"n":1}}"#)), json!({ "o": { "n": 1 } }));
        assert_eq!(unpack("{o: 1}"), packed("{o: 1}"));
        assert_eq!(unpack("[1]"), packed("[1]"));
        assert!(tools.unpack("Other", "deep", &Map::new()).is_none());
        assert!(tools.unpack(GROUP, "else", &Map::new()).is_none());
    }

    #[test]
    fn calls_that_wait_for_results_are_declared_though_the_request_brings_no_tools() {
        let parameters = json!([{ "name": PACKED, "type": "string", "value": "{}" }]);
        let waits = pending("ask_1", parameters);
        let tools = of(&[], Some(&waits));
        let group = tools.group().unwrap();
        let FunctionSchema::Functions(functions) = group.function_schema().unwrap() else {
            panic!("no functions")
        };
        assert_eq!(functions[0].name(), "ask_1");
        assert_eq!(tools.unpack(GROUP, "ask_1", &packed("{\"a\":1}")).unwrap().0, "__ask");
        let declared = of(&[tool("ask_1", json!({}))], Some(&waits));
        assert_eq!(declared.tools.len(), 1);
    }

    #[test]
    fn a_name_that_is_taken_is_refused() {
        let tools = [tool("get", json!({})), tool("get", json!({}))];
        let failure = ClientTools::of(&tools[..1], None, |name| name == "get").unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("tools"));
        assert!(ClientTools::of(&tools, None, |_| false).is_err());
    }

    #[test]
    fn there_is_no_group_without_a_tool() {
        assert!(of(&[], None).group().is_none());
    }
}
