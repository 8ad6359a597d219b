//! Actions that the agent hands over to its caller: "return of control".
//!
//! `call: NAME key=value …` has the agent ask for one. Its answer is then a `returnControl` event
//! instead of text, and the caller's next call brings the result back under the same id.

use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use super::frames;

/// The action group that all actions belong to.
const ACTION_GROUP: &str = "demo";
/// The longest name of an action or a parameter, in bytes.
const MAX_NAME: usize = 64;
/// Most parameters of an action; further ones are left out.
const MAX_PARAMETERS: usize = 16;

/// An action that the caller is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Action {
    /// Its name.
    pub(super) function: String,
    parameters: Vec<(String, String)>,
}

/// An action whose result the session waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    /// What the result must name.
    pub(super) invocation_id: String,
    /// The action.
    pub(super) function: String,
}

impl Action {
    /// Reads `call: NAME key=value …`; `None` for any other text.
    pub(super) fn asked_for(text: &str) -> Option<Self> {
        let head = text.get(..5).filter(|head| head.eq_ignore_ascii_case("call:"))?;
        let mut words = text[head.len()..].split_whitespace();
        let function = words.next().filter(|name| is_name(name))?.to_owned();
        let pairs = words.filter_map(|word| word.split_once('=')).filter(|(name, _)| is_name(name));
        let owned = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Some(Self { function, parameters: owned.take(MAX_PARAMETERS).collect() })
    }

    /// Hands it over: the `returnControl` event, and what the session waits for from then on.
    pub(super) fn hand_over(self) -> (Bytes, Pending) {
        let invocation_id = Uuid::new_v4().hyphenated().to_string();
        let parameters: Vec<Value> = self
            .parameters
            .iter()
            .map(|(name, value)| json!({"name": name, "type": type_of(value), "value": value}))
            .collect();
        let input = json!({"functionInvocationInput": {
            "actionGroup": ACTION_GROUP,
            "function": self.function,
            "parameters": parameters,
            "actionInvocationType": "RESULT",
        }});
        let payload = json!({"invocationId": invocation_id, "invocationInputs": [input]});
        let frame = frames::event("returnControl", payload.to_string());
        (frame, Pending { invocation_id, function: self.function })
    }
}

/// What the agent says to results; `pending` is the action that it waited for.
pub(super) fn acknowledge(results: &[Value], pending: Option<&Pending>) -> String {
    if let ([result], Some(pending)) = (results, pending)
        && let Some(body) = result["functionResult"]["responseBody"]["TEXT"]["body"].as_str()
    {
        return format!("{} says: {body}", pending.function);
    }
    match results.len() {
        1 => "Thank you, I have the result of the action.".to_owned(),
        many => format!("Thank you, I have the results of {many} actions."),
    }
}

fn is_name(text: &str) -> bool {
    let allows = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(allows)
}

/// The type that the service would declare for a value, which always travels as a string.
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
    fn an_action_is_read_with_its_parameters() {
        let action = Action::asked_for("call: get_forecast city=Oslo days=3 nonsense").unwrap();
        assert_eq!(action.function, "get_forecast");
        let expected = [("city", "Oslo"), ("days", "3")];
        assert!(action.parameters.iter().map(|(name, value)| (&**name, &**value)).eq(expected));
        for other in ["call me Ann", "call:", "call: né", "calls"] {
            assert_eq!(Action::asked_for(other), None, "{other}");
        }
    }

    #[test]
    fn values_are_declared_with_the_type_they_look_like() {
        let types = ["3", "2.5", "true", "[1]", "Oslo", "nan"].map(type_of);
        assert_eq!(types, ["integer", "number", "boolean", "array", "string", "string"]);
    }

    #[test]
    fn a_result_is_told_with_the_action_it_belongs_to() {
        let (_, pending) = Action::asked_for("call: weather").unwrap().hand_over();
        let result = json!({"functionResult": {"responseBody": {"TEXT": {"body": "rain"}}}});
        assert_eq!(
            acknowledge(std::slice::from_ref(&result), Some(&pending)),
            "weather says: rain"
        );
        let thanks = acknowledge(&[result.clone(), result], Some(&pending));
        assert_eq!(thanks, "Thank you, I have the results of 2 actions.");
    }
}
