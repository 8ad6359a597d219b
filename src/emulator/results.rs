//! Results of actions that come back, checked against what was handed over.
//!
//! All actions of a hand-over are answered in one call, each once: the service has no rule for a
//! part of them that anybody could rely on.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::actions::{Awaited, Target, Wanted};
use super::refusal::Refusal;

/// Most results in one call, by the service's model.
const MAX_RESULTS: usize = 5;
/// What the agent quotes of a body, in characters.
const MAX_QUOTED: usize = 2_000;
/// The content types of a function's result.
const FUNCTION_BODIES: &[&str] = &["TEXT", "IMAGES"];

/// A member of `returnControlInvocationResults`: one of the two.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Returned {
    api_result: Option<ActionResult>,
    function_result: Option<ActionResult>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ActionResult {
    action_group: String,
    function: Option<String>,
    api_path: Option<String>,
    http_method: Option<String>,
    http_status_code: Option<i32>,
    response_body: Option<BTreeMap<String, ContentBody>>,
    confirmation_state: Option<String>,
    response_state: Option<String>,
    agent_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ContentBody {
    body: Option<String>,
    images: Option<Vec<Value>>,
}

/// What a result amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The agent goes on, and says this in the end.
    Said(String),
    /// The call fails as something that the agent depends on.
    Failed,
}

/// Checks how many results there are.
///
/// # Errors
/// `ValidationException`
pub(super) fn check_count(results: &[Returned]) -> Result<(), Refusal> {
    match results.len() {
        1..=MAX_RESULTS => Ok(()),
        _ => Err(Refusal::constraint("returnControlInvocationResults", "1 to 5 members")),
    }
}

/// Matches the results to the actions and says what they amount to, in the order of the actions.
///
/// # Errors
/// `ValidationException` for a result that answers none of the actions, for an action that is
/// not answered, and for a result that does not answer what was asked.
pub(super) fn outcomes(results: &[Returned], awaited: &[Awaited]) -> Result<Vec<Outcome>, Refusal> {
    let mut unused = results.iter().map(Returned::result).collect::<Result<Vec<_>, _>>()?;
    let mut outcomes = Vec::with_capacity(awaited.len());
    for action in awaited {
        let place = unused.iter().position(|result| result.answers(action));
        let Some(place) = place else {
            let missing = action.target.spoken();
            return Err(Refusal::validation(format!(
                "no result in returnControlInvocationResults answers {missing} of the action \
                 group {}",
                action.group,
            )));
        };
        let result = unused.remove(place);
        result.check(action.wanted)?;
        outcomes.push(result.outcome(&action.target));
    }
    match unused.first() {
        None => Ok(outcomes),
        Some(result) => Err(Refusal::validation(format!(
            "a result of the action group {} in returnControlInvocationResults answers nothing \
             that is waited for",
            result.action_group,
        ))),
    }
}

impl Returned {
    fn result(&self) -> Result<&ActionResult, Refusal> {
        match (&self.api_result, &self.function_result) {
            (Some(result), None) | (None, Some(result)) => {
                result.check_form(self.api_result.is_some())?;
                Ok(result)
            }
            _ => Err(Refusal::constraint(
                "returnControlInvocationResults",
                "each member is either an apiResult or a functionResult",
            )),
        }
    }
}

impl ActionResult {
    fn check_form(&self, is_api: bool) -> Result<(), Refusal> {
        let is_one_of = |value: &Option<String>, allowed: &[&str]| {
            value.as_deref().is_none_or(|value| allowed.contains(&value))
        };
        if !is_one_of(&self.confirmation_state, &["CONFIRM", "DENY"]) {
            return Err(Refusal::constraint("confirmationState", "CONFIRM or DENY"));
        }
        if !is_one_of(&self.response_state, &["FAILURE", "REPROMPT"]) {
            return Err(Refusal::constraint("responseState", "FAILURE or REPROMPT"));
        }
        let names_function = self.function.is_some();
        let names_api = self.api_path.is_some() || self.http_method.is_some();
        if (is_api && names_function) || (!is_api && names_api) {
            return Err(Refusal::constraint(
                "returnControlInvocationResults",
                "a function for a functionResult, apiPath and httpMethod for an apiResult",
            ));
        }
        let mut types = self.response_body.iter().flatten().map(|(content, _)| content.as_str());
        if !is_api && !types.all(|content| FUNCTION_BODIES.contains(&content)) {
            return Err(Refusal::constraint("responseBody", "TEXT or IMAGES of a functionResult"));
        }
        Ok(())
    }

    fn answers(&self, action: &Awaited) -> bool {
        let is_target = match &action.target {
            Target::Function(name) => self.function.as_ref() == Some(name),
            Target::Api { method, path } => {
                self.http_method.as_ref() == Some(method) && self.api_path.as_ref() == Some(path)
            }
        };
        is_target && self.action_group == action.group && self.agent_id == action.agent_id
    }

    /// Whether it answers what was asked: the action, the question whether it may be run, or
    /// both. With a `responseState` it says that there is no answer.
    fn check(&self, wanted: Wanted) -> Result<(), Refusal> {
        if self.response_state.is_some() {
            return Ok(());
        }
        let has_body = self.response_body.is_some();
        let rule = match (wanted, self.confirmation_state.as_deref()) {
            (Wanted::Result, Some(_)) => "absent, since no confirmation was asked for",
            (Wanted::Confirmation | Wanted::ConfirmationAndResult, None) => {
                "present, since a confirmation was asked for"
            }
            (Wanted::Confirmation, Some(_)) if has_body => {
                "alone, since only a confirmation was asked for"
            }
            (Wanted::ConfirmationAndResult, Some("DENY")) if has_body => {
                "alone, since what is denied is not run"
            }
            (Wanted::ConfirmationAndResult, Some("CONFIRM")) if !has_body => {
                "with a responseBody, since the action was to be run"
            }
            _ => return Ok(()),
        };
        Err(Refusal::constraint("confirmationState", rule))
    }

    fn outcome(&self, target: &Target) -> Outcome {
        let status = self.http_status_code.map_or_else(String::new, |code| format!(" ({code})"));
        let action = format!("{}{status}", target.spoken());
        let body = self.body();
        Outcome::Said(match (self.response_state.as_deref(), self.confirmation_state.as_deref()) {
            (Some("FAILURE"), _) => return Outcome::Failed,
            (Some(_), _) => format!("{action} did not work, so I try it otherwise: {body}"),
            (None, Some("DENY")) => format!("{action} was denied"),
            (None, Some(_)) if self.response_body.is_none() => format!("{action} was confirmed"),
            (None, Some(_)) => format!("{action} was confirmed and says: {body}"),
            (None, None) => format!("{action} says: {body}"),
        })
    }

    /// What is quoted of the body.
    fn body(&self) -> String {
        let said = |content: &ContentBody| match (&content.body, &content.images) {
            (Some(body), _) => body.chars().take(MAX_QUOTED).collect(),
            (None, Some(images)) => format!("{} images", images.len()),
            (None, None) => String::new(),
        };
        let bodies: Vec<String> =
            self.response_body.iter().flatten().map(|(_, c)| said(c)).collect();
        if bodies.is_empty() { "nothing".to_owned() } else { bodies.join(" ") }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::emulator::actions::{Action, hand_over};

    fn judged(phrases: &[&str], results: &Value) -> Result<Vec<Outcome>, String> {
        let actions: Vec<_> =
            phrases.iter().map(|phrase| Action::function(phrase).unwrap()).collect();
        let results: Vec<Returned> = serde_json::from_value(results.clone()).unwrap();
        check_count(&results)
            .and_then(|()| outcomes(&results, &hand_over(&actions).awaited))
            .map_err(|refusal| refusal.message.into_owned())
    }

    fn result(function: &str, more: &Value) -> Value {
        let mut result = json!({"actionGroup": "demo", "function": function});
        for (name, value) in more.as_object().unwrap() {
            result[name] = value.clone();
        }
        json!({"functionResult": result})
    }

    fn said(text: &str) -> Value {
        json!({"responseBody": {"TEXT": {"body": text}}})
    }

    #[test]
    fn results_may_come_in_any_order_and_are_told_in_that_of_the_actions() {
        let results = json!([result("b", &said("2")), result("a", &said("1"))]);
        let told = judged(&["a", "b"], &results).unwrap();
        let expected = ["a says: 1", "b says: 2"].map(|text| Outcome::Said(text.to_owned()));
        assert_eq!(told, expected);
    }

    #[test]
    fn every_action_is_answered_exactly_once() {
        let (a, b) = (result("a", &said("1")), result("b", &said("2")));
        let wrong_agent = result("a", &json!({"agentId": "SOMEBODY00"}));
        for results in [
            json!([]),
            json!([a]),
            json!([a, a]),
            json!([a, b, b]),
            json!([a, wrong_agent]),
            json!([{}, a]),
            json!([a, a, a, a, a, a]),
        ] {
            assert!(judged(&["a", "b"], &results).is_err(), "{results}");
        }
        assert!(judged(&["a", "a"], &json!([a, a])).is_ok());
    }

    #[test]
    fn a_confirmation_is_answered_with_a_decision_alone() {
        let decided = |state: &str| json!({"confirmationState": state});
        let judge = |manner: &str, more: &Value| {
            judged(&[&format!("a {manner}")], &json!([result("a", more)]))
        };
        let mut both = said("done");
        both["confirmationState"] = "CONFIRM".into();
        let mut denied = said("done");
        denied["confirmationState"] = "DENY".into();
        for (manner, more, is_right) in [
            ("@confirm", &decided("CONFIRM"), true),
            ("@confirm", &decided("DENY"), true),
            ("@confirm", &decided("MAYBE"), false),
            ("@confirm", &said("yes"), false),
            ("@confirm", &both, false),
            ("@confirm-run", &both, true),
            ("@confirm-run", &decided("DENY"), true),
            ("@confirm-run", &decided("CONFIRM"), false),
            ("@confirm-run", &denied, false),
            ("@confirm-run", &said("done"), false),
            ("", &decided("CONFIRM"), false),
        ] {
            assert_eq!(judge(manner, more).is_ok(), is_right, "{manner} {more}");
        }
    }

    #[test]
    fn a_response_state_stands_for_an_answer() {
        let mut reprompt = said("interrupted");
        reprompt["responseState"] = "REPROMPT".into();
        let told = judged(&["a @confirm"], &json!([result("a", &reprompt)])).unwrap();
        let expected = "a did not work, so I try it otherwise: interrupted";
        assert_eq!(told, [Outcome::Said(expected.to_owned())]);
        let failure = json!({"responseState": "FAILURE"});
        let told = judged(&["a"], &json!([result("a", &failure)])).unwrap();
        assert_eq!(told, [Outcome::Failed]);
    }
}
