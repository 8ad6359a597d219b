//! What a person decided, as tool messages say it.
//!
//! A call that a person has to agree to is answered with `{"confirmationState": "CONFIRM"}` or
//! `{"confirmationState": "DENY"}` (any case; the key may be `confirmation`), or with one of the
//! words confirm, confirmed, yes, ok, true, deny, denied, no, reject, false. Where the upstream
//! wants a result besides, that is the member `body`, or the whole content if it says nothing of
//! a decision: who sends a result has agreed.

use aws_sdk_bedrockagentruntime::types::ConfirmationState;
use serde_json::Value;

use crate::turn::Failure;

const CONFIRM: &[&str] = &["confirm", "confirmed", "yes", "ok", "true"];
const DENY: &[&str] = &["deny", "denied", "no", "reject", "false"];

/// A decision, and the result where there is one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) state: ConfirmationState,
    pub(super) body: Option<String>,
}

/// The answer to a call that wants a decision alone.
///
/// # Errors
/// `BadRequest` where the content is none.
pub(super) fn decision(content: &str) -> Result<ConfirmationState, Failure> {
    let state = match Said::read(content) {
        Said::State { state, .. } => state,
        Said::Word(state) => Some(state),
        Said::Other => None,
    };
    state.ok_or_else(undecided)
}

/// The answer to a call that wants a decision and, where it is yes, a result.
///
/// # Errors
/// `BadRequest` where the content names a decision that there is not, or agrees without a result.
pub(super) fn decision_and_result(content: String) -> Result<Decided, Failure> {
    match Said::read(&content) {
        Said::State { state: None, .. } => Err(undecided()),
        Said::State { state: Some(ConfirmationState::Confirm), body: None } => {
            Err(Failure::bad_field(
                "messages",
                "a call that asks for confirmation and a result needs the result too, as \
                 {\"confirmationState\": \"CONFIRM\", \"body\": …}",
            ))
        }
        Said::State { state: Some(ConfirmationState::Confirm), body } => {
            Ok(Decided { state: ConfirmationState::Confirm, body })
        }
        Said::State { state: Some(state), .. } => Ok(Decided { state, body: None }),
        Said::Word(ConfirmationState::Deny) => {
            Ok(Decided { state: ConfirmationState::Deny, body: None })
        }
        Said::Word(_) | Said::Other => {
            Ok(Decided { state: ConfirmationState::Confirm, body: Some(content) })
        }
    }
}

fn undecided() -> Failure {
    Failure::bad_field(
        "messages",
        "a call that asks for confirmation is answered with {\"confirmationState\": \"CONFIRM\"} \
         or {\"confirmationState\": \"DENY\"}",
    )
}

/// What a content says of a decision.
enum Said {
    /// An object with a decision; none where its value is no decision.
    State { state: Option<ConfirmationState>, body: Option<String> },
    /// One of the words.
    Word(ConfirmationState),
    /// Nothing.
    Other,
}

impl Said {
    fn read(content: &str) -> Self {
        if let Some(state) = word(content) {
            return Self::Word(state);
        }
        let value = serde_json::from_str::<Value>(content).unwrap_or_default();
        if let Some(state) = value.as_str().and_then(word) {
            return Self::Word(state);
        }
        let Some(said) = value.get("confirmationState").or_else(|| value.get("confirmation"))
        else {
            return Self::Other;
        };
        let body = value.get("body").map(|body| match body {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let state = match said {
            Value::String(text) => word(text),
            other => word(&other.to_string()),
        };
        Self::State { state, body }
    }
}

fn word(text: &str) -> Option<ConfirmationState> {
    let is_in = |words: &[&str]| words.iter().any(|word| text.trim().eq_ignore_ascii_case(word));
    if is_in(CONFIRM) {
        return Some(ConfirmationState::Confirm);
    }
    is_in(DENY).then_some(ConfirmationState::Deny)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_an_object_or_a_word() {
        for yes in
            [r#"{"confirmationState":"confirm"}"#, r#"{"confirmation":true}"#, " Yes\n", "\"ok\""]
        {
            assert_eq!(decision(yes), Ok(ConfirmationState::Confirm), "{yes}");
        }
        for no in [r#"{"confirmationState":"DENY"}"#, "no", "false", "Reject"] {
            assert_eq!(decision(no), Ok(ConfirmationState::Deny), "{no}");
        }
    }

    #[test]
    fn anything_else_is_no_decision_and_the_message_names_the_two() {
        for other in ["", "maybe", "{}", "[]", r#"{"confirmationState":"LATER"}"#] {
            let failure = decision(other).unwrap_err();
            assert!(failure.message.contains("CONFIRM") && failure.message.contains("DENY"));
            assert_eq!(failure.param.as_deref(), Some("messages"));
        }
    }

    #[test]
    fn a_result_stands_for_consent_and_a_denial_has_none() {
        let decided = |content: &str| {
            let Decided { state, body } = decision_and_result(content.to_owned()).unwrap();
            (state == ConfirmationState::Confirm, body)
        };
        assert_eq!(decided(r#"{"sent":1}"#), (true, Some(r#"{"sent":1}"#.to_owned())));
        assert_eq!(decided("ok"), (true, Some("ok".to_owned())));
        assert_eq!(decided("no"), (false, None));
        assert_eq!(decided(r#"{"confirmationState":"DENY","body":"x"}"#), (false, None));
        let both = r#"{"confirmationState":"CONFIRM","body":{"sent":1}}"#;
        assert_eq!(decided(both), (true, Some(r#"{"sent":1}"#.to_owned())));
        for wrong in [r#"{"confirmationState":"LATER"}"#, r#"{"confirmationState":"CONFIRM"}"#] {
            assert!(decision_and_result(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
