//! Actions that the agent hands over to its caller: "return of control".
//!
//! The answer then ends in a `returnControl` event with one to five inputs, and the caller's next
//! call brings back the results of all of them under the id of the event. Values travel as
//! strings, whatever their type.

use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use super::frames;
use super::words;

/// The action group of actions that name none.
const ACTION_GROUP: &str = "demo";
/// The longest name of an action or a parameter, in bytes; the service allows as many in a name
/// that it can be given by `InvokeInlineAgent`.
const MAX_NAME: usize = 100;
/// Most parameters of an action; further ones are left out.
const MAX_PARAMETERS: usize = 32;
/// The types that a parameter may be declared with.
const TYPES: &[&str] = &["string", "number", "integer", "boolean", "array", "object"];
/// The methods of an API.
const METHODS: &[&str] = &["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"];
/// Characters in an agent's id.
const AGENT_ID: usize = 10;

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A function, by its name.
    Function(String),
    /// An operation of an API.
    Api {
        /// Its method, in capitals.
        method: String,
        /// Its path, with the names of its parameters in braces.
        path: String,
    },
}

/// What the caller is to do with an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Run it.
    Result,
    /// Ask the user whether it may be run.
    Confirmation,
    /// Ask the user, and run it if they agree.
    ConfirmationAndResult,
}

impl Wanted {
    /// As `actionInvocationType` says it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Result => "RESULT",
            Self::Confirmation => "USER_CONFIRMATION",
            Self::ConfirmationAndResult => "USER_CONFIRMATION_AND_RESULT",
        }
    }
}

/// An argument of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Argument {
    /// Its name.
    pub(super) name: String,
    /// Its type, where the phrase says one.
    pub(super) declared: Option<String>,
    /// Its value; `None` leaves the member out.
    pub(super) value: Option<String>,
}

/// An action that the caller is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Action {
    /// What is to be run.
    pub(super) target: Target,
    /// The action group that it belongs to, where the phrase names one.
    pub(super) group: Option<String>,
    /// What the caller is to do with it.
    pub(super) wanted: Wanted,
    /// The collaborator who wants it, if it is not the agent itself.
    pub(super) collaborator: Option<String>,
    /// Its parameters.
    pub(super) parameters: Vec<Argument>,
    /// The properties of its request body.
    pub(super) body: Vec<Argument>,
}

/// An action that was handed over, as its result must name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Awaited {
    /// What was to be run.
    pub(super) target: Target,
    /// The action group that it belongs to.
    pub(super) group: String,
    /// What the caller is to do with it.
    pub(super) wanted: Wanted,
    /// The id of the collaborator who wants it.
    pub(super) agent_id: Option<String>,
}

/// Actions that were handed over together.
#[derive(Debug)]
pub(super) struct HandedOver {
    /// The `returnControl` event.
    pub(super) event: Bytes,
    /// The id under which the results come back.
    pub(super) invocation_id: String,
    /// The actions, in the order of the event.
    pub(super) awaited: Vec<Awaited>,
}

impl Action {
    /// Reads `NAME key=value …`, a function.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn function(rest: &str) -> Result<Self, String> {
        let mut words = words::split(rest).into_iter();
        let name = words.next().filter(|name| is_name(name));
        let name = name.ok_or("a call begins with the name of its function")?;
        Self::read(Target::Function(name.to_owned()), words)
    }

    /// Reads `METHOD /path key=value … body key=value …`, an operation of an API.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn api(rest: &str) -> Result<Self, String> {
        let mut words = words::split(rest).into_iter();
        let method = words.next().unwrap_or_default().to_ascii_uppercase();
        let path = words.next().filter(|path| path.starts_with('/'));
        match path {
            Some(path) if METHODS.contains(&&*method) => {
                Self::read(Target::Api { method, path: path.to_owned() }, words)
            }
            _ => Err("an api call begins with a method and a path".to_owned()),
        }
    }

    fn read<'a>(target: Target, words: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut action = Self {
            target,
            group: None,
            wanted: Wanted::Result,
            collaborator: None,
            parameters: Vec::new(),
            body: Vec::new(),
        };
        let mut is_body = false;
        for word in words {
            if let Some(manner) = word.strip_prefix('@') {
                action.be(manner)?;
            } else if word == "body" && matches!(action.target, Target::Api { .. }) {
                is_body = true;
            } else if let Some(argument) = Argument::read(word) {
                let list = if is_body { &mut action.body } else { &mut action.parameters };
                if list.len() < MAX_PARAMETERS {
                    list.push(argument);
                }
            }
        }
        Ok(action)
    }

    fn be(&mut self, manner: &str) -> Result<(), String> {
        match manner.split_once('=') {
            None if manner == "confirm" => self.wanted = Wanted::Confirmation,
            None if manner == "confirm-run" => self.wanted = Wanted::ConfirmationAndResult,
            Some(("group", group)) if is_name(group) => self.group = Some(group.to_owned()),
            Some(("by", name)) if is_name(name) => self.collaborator = Some(name.to_owned()),
            _ => return Err(format!("@{manner} is none of @confirm, @confirm-run, @group=, @by=")),
        }
        Ok(())
    }

    fn group(&self) -> &str {
        self.group.as_deref().unwrap_or(ACTION_GROUP)
    }

    fn agent_id(&self) -> Option<String> {
        self.collaborator.as_deref().map(agent_id)
    }

    /// Its member of `invocationInputs`.
    fn input(&self) -> Value {
        let mut input = json!({
            "actionGroup": self.group(),
            "actionInvocationType": self.wanted.as_str(),
            "parameters": listed(&self.parameters),
        });
        if let Some(name) = &self.collaborator {
            input["agentId"] = agent_id(name).into();
            input["collaboratorName"] = name.as_str().into();
        }
        match &self.target {
            Target::Function(name) => {
                input["function"] = name.as_str().into();
                json!({"functionInvocationInput": input})
            }
            Target::Api { method, path } => {
                input["apiPath"] = path.as_str().into();
                input["httpMethod"] = method.as_str().into();
                if !self.body.is_empty() {
                    let properties = json!({"properties": listed(&self.body)});
                    input["requestBody"] = json!({"content": {"application/json": properties}});
                }
                json!({"apiInvocationInput": input})
            }
        }
    }

    /// The trace that tells of it: `invocationInput` of the orchestration.
    pub(super) fn trace(&self, invocation_id: &str) -> Value {
        let mut input = json!({
            "actionGroupName": self.group(),
            "executionType": "RETURN_CONTROL",
            "invocationId": invocation_id,
            "parameters": listed(&self.parameters),
        });
        match &self.target {
            Target::Function(name) => input["function"] = name.as_str().into(),
            Target::Api { method, path } => {
                input["apiPath"] = path.as_str().into();
                input["verb"] = method.to_ascii_lowercase().into();
            }
        }
        json!({"orchestrationTrace": {"invocationInput": {
            "invocationType": "ACTION_GROUP",
            "actionGroupInvocationInput": input,
            "traceId": "act-1",
        }}})
    }

    fn awaited(&self) -> Awaited {
        Awaited {
            target: self.target.clone(),
            group: self.group().to_owned(),
            wanted: self.wanted,
            agent_id: self.agent_id(),
        }
    }
}

impl Argument {
    /// Reads `name=value`, `name:type=value` or `name:type`; `None` for any other word.
    fn read(word: &str) -> Option<Self> {
        let (head, value) = match word.split_once('=') {
            Some((head, value)) => (head, Some(words::unquoted(value).to_owned())),
            None => (word, None),
        };
        let (name, declared) = match head.split_once(':') {
            Some((name, declared)) => (name, Some(declared)),
            None => (head, None),
        };
        let is_argument = is_name(name)
            && declared.is_none_or(|declared| TYPES.contains(&declared))
            && (value.is_some() || declared.is_some());
        is_argument.then(|| Self {
            name: name.to_owned(),
            declared: declared.map(str::to_owned),
            value,
        })
    }
}

impl Target {
    /// As the agent speaks of it.
    pub(super) fn spoken(&self) -> String {
        match self {
            Self::Function(name) => name.clone(),
            Self::Api { method, path } => format!("{method} {path}"),
        }
    }
}

/// Hands actions over together.
pub(super) fn hand_over(actions: &[Action]) -> HandedOver {
    let invocation_id = Uuid::new_v4().hyphenated().to_string();
    let inputs: Vec<_> = actions.iter().map(Action::input).collect();
    let payload = json!({"invocationId": invocation_id, "invocationInputs": inputs});
    HandedOver {
        event: frames::event("returnControl", payload.to_string()),
        invocation_id,
        awaited: actions.iter().map(Action::awaited).collect(),
    }
}

/// The id of a collaborator, made of its name: its letters and digits in capitals, and zeros.
pub(super) fn agent_id(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters
        .map(|letter| letter.to_ascii_uppercase())
        .chain(std::iter::repeat('0'))
        .take(AGENT_ID)
        .collect()
}

/// Whether a text may name an action, a parameter, an action group or a collaborator.
pub(super) fn is_name(text: &str) -> bool {
    let allows = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(allows)
}

fn listed(arguments: &[Argument]) -> Vec<Value> {
    let member = |argument: &Argument| {
        let mut member = json!({"name": argument.name});
        let value = argument.value.as_deref();
        let looks_like = || value.map(type_of);
        if let Some(kind) = argument.declared.as_deref().or_else(looks_like) {
            member["type"] = kind.into();
        }
        if let Some(value) = value {
            member["value"] = value.into();
        }
        member
    };
    arguments.iter().map(member).collect()
}

/// The type that the service would declare for a value.
fn type_of(value: &str) -> &'static str {
    match value {
        "true" | "false" => "boolean",
        _ if value.parse::<i64>().is_ok() => "integer",
        _ if value.parse::<f64>().is_ok_and(f64::is_finite) => "number",
        _ if value.starts_with('[') => "array",
        _ => "string",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_read_with_its_parameters() {
        let action = Action::function("get_forecast city=Oslo days:string=3 nonsense").unwrap();
        assert_eq!(action.target, Target::Function("get_forecast".to_owned()));
        let input = &action.input()["functionInvocationInput"];
        assert_eq!(
            input["parameters"],
            json!([
                {"name": "city", "type": "string", "value": "Oslo"},
                {"name": "days", "type": "string", "value": "3"},
            ])
        );
        assert_eq!((&input["actionGroup"], &input["agentId"]), (&json!("demo"), &Value::Null));
        for other in ["", "né", "a b=1 @sometimes"] {
            assert!(Action::function(other).is_err(), "{other}");
        }
    }

    #[test]
    fn an_operation_of_an_api_has_a_body_of_its_own() {
        let phrase = "post /orders/{id}/notes id=42 body note=\"call back\" urgent=true gap:object \
                      @group=Orders @confirm-run @by=Night-Desk";
        let input = &Action::api(phrase).unwrap().input()["apiInvocationInput"];
        assert_eq!(
            (&input["httpMethod"], &input["apiPath"]),
            (&json!("POST"), &json!("/orders/{id}/notes"))
        );
        assert_eq!(input["actionInvocationType"], "USER_CONFIRMATION_AND_RESULT");
        assert_eq!(
            (&input["agentId"], &input["collaboratorName"]),
            (&json!("NIGHTDESK0"), &json!("Night-Desk"))
        );
        assert_eq!(
            input["requestBody"]["content"]["application/json"]["properties"],
            json!([
                {"name": "note", "type": "string", "value": "call back"},
                {"name": "urgent", "type": "boolean", "value": "true"},
                {"name": "gap", "type": "object"},
            ])
        );
        assert!(Action::api("/orders").is_err() && Action::api("FETCH /orders").is_err());
    }

    #[test]
    fn values_are_declared_with_the_type_they_look_like() {
        let types = ["3", "2.5", "true", "[1]", "Oslo", "nan", "{}"].map(type_of);
        let expected = ["integer", "number", "boolean", "array", "string", "string", "string"];
        assert_eq!(types, expected);
    }
}
