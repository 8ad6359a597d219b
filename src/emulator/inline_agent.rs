//! `InvokeInlineAgent`: an agent that comes with the call, checked as the service checks it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::openapi;
use super::refusal::Refusal;
use super::request::{Ask, read};
use super::session_state::SessionState;
use super::tool_box::{Function, ToolBox};

/// The shortest instruction, in characters.
const MIN_INSTRUCTION: usize = 40;
/// The longest id of a model, in characters.
const MAX_MODEL: usize = 2_048;
/// How long a session may be idle, in seconds.
const IDLE_SECONDS: std::ops::RangeInclusive<i64> = 60..=3_600;
/// Most letters and digits in a name.
const MAX_NAME: usize = 100;
/// The longest description of an action group, a function and a parameter, in characters.
const MAX_DESCRIPTIONS: [usize; 3] = [200, 1_200, 500];
/// The types of a function's parameters.
const TYPES: &[&str] = &["string", "number", "integer", "boolean", "array"];

/// What a body says beside what `InvokeAgent` takes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InlineAgent {
    foundation_model: Option<String>,
    instruction: Option<String>,
    #[serde(rename = "idleSessionTTLInSeconds")]
    idle_session_ttl_in_seconds: Option<i64>,
    inline_session_state: Option<SessionState>,
    action_groups: Option<Vec<ActionGroup>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ActionGroup {
    action_group_name: String,
    description: Option<String>,
    action_group_executor: Option<Executor>,
    function_schema: Option<FunctionSchema>,
    api_schema: Option<ApiSchema>,
    parent_action_group_signature: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Executor {
    custom_control: Option<String>,
    lambda: Option<String>,
}

#[derive(Debug, Deserialize)]
struct FunctionSchema {
    functions: Vec<FunctionDefinition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FunctionDefinition {
    name: String,
    description: Option<String>,
    parameters: Option<BTreeMap<String, Parameter>>,
    require_confirmation: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Parameter {
    r#type: String,
    description: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ApiSchema {
    payload: Option<String>,
    s3: Option<Value>,
}

/// Reads a request body: what is asked, and what the agent may hand over.
///
/// # Errors
/// `SerializationException` for what is not the operation's JSON, `ValidationException` for what
/// breaks one of its rules.
pub(super) fn parse(body: &[u8]) -> Result<(Ask, ToolBox), Refusal> {
    let agent: InlineAgent = read(body)?;
    agent.check()?;
    let mut tools = ToolBox::default();
    let mut names = BTreeSet::new();
    for group in agent.action_groups.iter().flatten() {
        if !names.insert(&group.action_group_name) {
            return Err(Refusal::constraint("actionGroups", "names that differ"));
        }
        group.unpack(&mut tools)?;
    }
    Ok((Ask::parse_inline(body, agent.inline_session_state)?, tools))
}

impl InlineAgent {
    fn check(&self) -> Result<(), Refusal> {
        let length = |text: &Option<String>| text.as_ref().map(|text| text.chars().count());
        if !length(&self.foundation_model).is_some_and(|length| (1..=MAX_MODEL).contains(&length)) {
            return Err(Refusal::constraint("foundationModel", "present, 1 to 2048 characters"));
        }
        if length(&self.instruction).is_none_or(|length| length < MIN_INSTRUCTION) {
            return Err(Refusal::constraint("instruction", "present, at least 40 characters"));
        }
        if self.idle_session_ttl_in_seconds.is_some_and(|ttl| !IDLE_SECONDS.contains(&ttl)) {
            return Err(Refusal::constraint("idleSessionTTLInSeconds", "60 to 3600"));
        }
        Ok(())
    }
}

impl ActionGroup {
    /// Checks it, and adds what it has the caller run.
    fn unpack(&self, tools: &mut ToolBox) -> Result<(), Refusal> {
        if !is_name(&self.action_group_name) {
            return Err(Refusal::constraint("actionGroupName", NAME_RULE));
        }
        check_description(self.description.as_deref(), MAX_DESCRIPTIONS[0])?;
        if self.parent_action_group_signature.is_some() {
            return Ok(());
        }
        let returns_control = self.returns_control()?;
        match (&self.function_schema, &self.api_schema) {
            (Some(schema), None) => self.add_functions(schema, returns_control, tools),
            (None, Some(schema)) => self.add_operations(schema, returns_control, tools),
            _ => Err(Refusal::constraint(
                "actionGroups",
                "either a functionSchema or an apiSchema in each",
            )),
        }
    }

    fn returns_control(&self) -> Result<bool, Refusal> {
        let executor = self.action_group_executor.as_ref();
        match executor.map(|by| (by.custom_control.as_deref(), by.lambda.as_deref())) {
            Some((Some("RETURN_CONTROL"), None)) => Ok(true),
            Some((None, Some(_))) => Ok(false),
            _ => Err(Refusal::constraint(
                "actionGroupExecutor",
                "customControl that is RETURN_CONTROL, or lambda",
            )),
        }
    }

    fn add_functions(
        &self,
        schema: &FunctionSchema,
        returns_control: bool,
        tools: &mut ToolBox,
    ) -> Result<(), Refusal> {
        if schema.functions.is_empty() {
            return Err(Refusal::constraint("functions", "at least 1 member"));
        }
        let mut names = BTreeSet::new();
        for definition in &schema.functions {
            definition.check()?;
            if !names.insert(&definition.name) {
                return Err(Refusal::constraint("functions", "names that differ"));
            }
            if returns_control {
                tools.functions.push(definition.function(&self.action_group_name));
            }
        }
        Ok(())
    }

    fn add_operations(
        &self,
        schema: &ApiSchema,
        returns_control: bool,
        tools: &mut ToolBox,
    ) -> Result<(), Refusal> {
        match (&schema.payload, &schema.s3) {
            (Some(payload), None) => {
                let operations = openapi::operations(payload, &self.action_group_name)?;
                tools.operations.extend(operations.into_iter().filter(|_| returns_control));
                Ok(())
            }
            // What is stored elsewhere cannot be known here.
            (None, Some(_)) => Ok(()),
            _ => Err(Refusal::constraint("apiSchema", "either a payload or s3")),
        }
    }
}

impl FunctionDefinition {
    fn check(&self) -> Result<(), Refusal> {
        if !is_name(&self.name) {
            return Err(Refusal::constraint("name", NAME_RULE));
        }
        check_description(self.description.as_deref(), MAX_DESCRIPTIONS[1])?;
        if !matches!(self.require_confirmation.as_deref(), None | Some("ENABLED" | "DISABLED")) {
            return Err(Refusal::constraint("requireConfirmation", "ENABLED or DISABLED"));
        }
        for (name, parameter) in self.parameters.iter().flatten() {
            if !is_name(name) {
                return Err(Refusal::constraint("parameters", NAME_RULE));
            }
            if !TYPES.contains(&&*parameter.r#type) {
                return Err(Refusal::constraint(
                    "type",
                    "string, number, integer, boolean or array",
                ));
            }
            check_description(parameter.description.as_deref(), MAX_DESCRIPTIONS[2])?;
        }
        Ok(())
    }

    fn function(&self, group: &str) -> Function {
        let parameters = self.parameters.iter().flatten();
        Function {
            group: group.to_owned(),
            name: self.name.clone(),
            types: parameters.map(|(name, kind)| (name.clone(), kind.r#type.clone())).collect(),
            is_confirmed: self.require_confirmation.as_deref() == Some("ENABLED"),
        }
    }
}

const NAME_RULE: &str = "1 to 100 letters and digits, one _ or - at most after each";

/// The service's `([0-9a-zA-Z][_-]?){1,100}`.
fn is_name(text: &str) -> bool {
    let is_mark = |byte: &u8| matches!(byte, b'_' | b'-');
    let allowed = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_mark(&byte));
    let letters = text.bytes().filter(u8::is_ascii_alphanumeric).count();
    let begins_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let doubled = text.as_bytes().windows(2).any(|pair| pair.iter().all(is_mark));
    allowed && begins_well && !doubled && (1..=MAX_NAME).contains(&letters)
}

fn check_description(text: Option<&str>, longest: usize) -> Result<(), Refusal> {
    let fits = text.is_none_or(|text| (1..=longest).contains(&text.chars().count()));
    if fits {
        return Ok(());
    }
    Err(Refusal::validation(format!(
        "1 validation error detected: Value at 'description' failed to satisfy constraint: 1 to \
         {longest} characters"
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(change: impl FnOnce(&mut Value)) -> Value {
        let parameter = json!({"type": "string", "description": "where", "required": true});
        let function = json!({"name": "get_forecast", "parameters": {"city": parameter}});
        let mut body = json!({
            "foundationModel": "model",
            "instruction": "You are an assistant that helps people with the weather.",
            "inputText": "hello",
            "actionGroups": [{
                "actionGroupName": "Weather",
                "actionGroupExecutor": {"customControl": "RETURN_CONTROL"},
                "functionSchema": {"functions": [function]},
            }],
        });
        change(&mut body);
        body
    }

    fn refused(change: impl FnOnce(&mut Value)) -> Option<&'static str> {
        parse(body(change).to_string().as_bytes()).err().and_then(|refusal| refusal.kind)
    }

    #[test]
    fn functions_that_return_control_are_known() {
        let (ask, tools) = parse(body(|_| ()).to_string().as_bytes()).unwrap();
        assert_eq!(ask.input_text.as_deref(), Some("hello"));
        let [function] = &tools.functions[..] else { panic!("not one function") };
        assert_eq!((&*function.group, &*function.name), ("Weather", "get_forecast"));
        assert_eq!(function.types["city"], "string");
    }

    #[test]
    fn what_breaks_a_rule_of_the_model_is_refused() {
        assert_eq!(refused(|_| ()), None);
        let long = |length: usize| Value::from("x".repeat(length));
        let group = "/actionGroups/0";
        let function = "/actionGroups/0/functionSchema/functions/0";
        let city = "/actionGroups/0/functionSchema/functions/0/parameters/city";
        let changes: Vec<(&str, &str, Value)> = vec![
            ("", "foundationModel", Value::Null),
            ("", "foundationModel", long(2_049)),
            ("", "instruction", long(39)),
            ("", "idleSessionTTLInSeconds", 59.into()),
            (group, "actionGroupName", "a b".into()),
            (group, "actionGroupName", "_a".into()),
            (group, "actionGroupName", "a__b".into()),
            (group, "description", "".into()),
            (group, "description", long(201)),
            (group, "actionGroupExecutor", Value::Null),
            (group, "actionGroupExecutor", json!({"customControl": "KEEP"})),
            (group, "functionSchema", Value::Null),
            (group, "apiSchema", json!({"payload": "{}"})),
            (function, "name", "".into()),
            (function, "name", long(101)),
            (function, "description", long(1_201)),
            (function, "requireConfirmation", "MAYBE".into()),
            (city, "type", "object".into()),
            (city, "description", long(501)),
        ];
        for (place, member, value) in changes {
            let told = format!("{place}/{member} {value}");
            let refusal = refused(|body| body.pointer_mut(place).unwrap()[member] = value);
            assert_eq!(refusal, Some("ValidationException"), "{told}");
        }
        assert_eq!(
            refused(|body| body.pointer_mut(city).unwrap()["type"] = json!({"type": "object"})),
            Some("SerializationException"),
        );
    }

    #[test]
    fn names_are_those_of_the_services_pattern() {
        for name in ["a", "get_forecast", "a-b_c-", &"x".repeat(100), &"x_".repeat(100)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", "a--b", "a.b", "né", &"x".repeat(101)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
