//! What an `InvokeAgent` request says, checked as the service checks it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::refusal::Refusal;
use super::results::{self, Returned};
use super::sessions::SessionKey;

/// The longest `inputText`, in characters, by the service's model.
const MAX_INPUT_TEXT: usize = 25_000_000;
/// Names and values of both attribute maps together, in bytes. The service's own limit is not
/// documented; this one bounds what a session holds.
const MAX_ATTRIBUTE_BYTES: usize = 16 << 10;

/// A request body.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ask {
    /// The message. The service ignores it when results are handed in.
    pub(super) input_text: Option<String>,
    enable_trace: Option<bool>,
    end_session: Option<bool>,
    memory_id: Option<String>,
    streaming_configurations: Option<Streaming>,
    session_state: Option<SessionState>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Streaming {
    stream_final_response: Option<bool>,
    apply_guardrail_interval: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SessionState {
    session_attributes: Option<BTreeMap<String, String>>,
    prompt_session_attributes: Option<BTreeMap<String, String>>,
    invocation_id: Option<String>,
    return_control_invocation_results: Option<Vec<Returned>>,
    conversation_history: Option<History>,
}

#[derive(Debug, Deserialize)]
struct History {
    messages: Option<Vec<HistoryMessage>>,
}

/// A message of a told history.
#[derive(Debug, Deserialize)]
pub(super) struct HistoryMessage {
    role: String,
    content: Vec<HistoryText>,
}

#[derive(Debug, Deserialize)]
struct HistoryText {
    text: Option<String>,
}

impl HistoryMessage {
    /// What the user said in it; `None` for the assistant's.
    pub(super) fn user_text(&self) -> Option<String> {
        let texts: Vec<_> =
            self.content.iter().filter_map(|content| content.text.as_deref()).collect();
        (self.role == "user").then(|| texts.join("\n"))
    }
}

impl Ask {
    /// Reads a request body.
    ///
    /// # Errors
    /// `SerializationException` for what is not the operation's JSON, `ValidationException` for
    /// what breaks one of its rules.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let body: &[u8] = if body.is_empty() { b"{}" } else { body };
        let ask: Self = serde_json::from_slice(body)
            .map_err(|error| Refusal::serialization(format!("the body cannot be read: {error}")))?;
        ask.check()?;
        Ok(ask)
    }

    /// Whether traces are wanted.
    pub(super) fn wants_traces(&self) -> bool {
        self.enable_trace.unwrap_or(false)
    }

    /// Whether the session is to end with this call.
    pub(super) fn ends_session(&self) -> bool {
        self.end_session.unwrap_or(false)
    }

    /// Whether the answer is to come in pieces.
    pub(super) fn wants_stream(&self) -> bool {
        let streaming = self.streaming_configurations.as_ref();
        streaming.and_then(|streaming| streaming.stream_final_response).unwrap_or(false)
    }

    /// `sessionAttributes`
    pub(super) fn session_attributes(&self) -> Option<&BTreeMap<String, String>> {
        self.session_state.as_ref()?.session_attributes.as_ref()
    }

    /// `promptSessionAttributes`
    pub(super) fn prompt_attributes(&self) -> Option<&BTreeMap<String, String>> {
        self.session_state.as_ref()?.prompt_session_attributes.as_ref()
    }

    /// The results of actions that are handed in, if any are.
    pub(super) fn results(&self) -> Option<&[Returned]> {
        self.session_state.as_ref()?.return_control_invocation_results.as_deref()
    }

    /// The id of the actions whose results are handed in.
    pub(super) fn invocation_id(&self) -> Option<&str> {
        self.session_state.as_ref()?.invocation_id.as_deref()
    }

    /// The messages of `conversationHistory`.
    pub(super) fn history(&self) -> &[HistoryMessage] {
        let history =
            self.session_state.as_ref().and_then(|state| state.conversation_history.as_ref());
        history.and_then(|history| history.messages.as_deref()).unwrap_or(&[])
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.input_text.is_none() && !self.ends_session() && self.results().is_none() {
            return Err(Refusal::validation(
                "inputText is required unless the session ends or results are returned",
            ));
        }
        let text_length = self.input_text.as_ref().map_or(0, String::len);
        if text_length > MAX_INPUT_TEXT {
            return Err(Refusal::constraint("inputText", "at most 25000000 characters"));
        }
        self.results().map_or(Ok(()), results::check_count)?;
        if self.guardrail_interval().is_some_and(|interval| interval < 1) {
            return Err(Refusal::constraint("applyGuardrailInterval", "1 or more"));
        }
        if self.memory_id.as_ref().is_some_and(|id| !is_session_id(id)) {
            return Err(Refusal::constraint("memoryId", SESSION_ID_RULE));
        }
        let roles_fit =
            self.history().iter().all(|message| matches!(&*message.role, "user" | "assistant"));
        if !roles_fit {
            return Err(Refusal::constraint("role", "user or assistant"));
        }
        check_attributes(self.session_attributes().into_iter().chain(self.prompt_attributes()))
    }

    fn guardrail_interval(&self) -> Option<i64> {
        self.streaming_configurations.as_ref()?.apply_guardrail_interval
    }
}

const SESSION_ID_RULE: &str = "2 to 100 characters of [0-9a-zA-Z._:-]";

/// Checks the ids of a path.
///
/// # Errors
/// `ValidationException`, naming the first that breaks its rule.
pub(super) fn check_key(key: &SessionKey) -> Result<(), Refusal> {
    for (name, id) in [("agentId", &key.agent), ("agentAliasId", &key.alias)] {
        let is_id =
            (1..=10).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_id {
            return Err(Refusal::constraint(name, "1 to 10 characters of [0-9a-zA-Z]"));
        }
    }
    if !is_session_id(&key.session) {
        return Err(Refusal::constraint("sessionId", SESSION_ID_RULE));
    }
    Ok(())
}

/// Checks that attributes are not too large in all.
///
/// # Errors
/// `ValidationException`
pub(super) fn check_attributes<'a>(
    maps: impl IntoIterator<Item = &'a BTreeMap<String, String>>,
) -> Result<(), Refusal> {
    let pairs = maps.into_iter().flatten();
    let bytes: usize = pairs.map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_ATTRIBUTE_BYTES {
        return Err(Refusal::constraint("sessionState", "at most 16384 bytes of attributes"));
    }
    Ok(())
}

fn is_session_id(id: &str) -> bool {
    let allows = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    (2..=100).contains(&id.len()) && id.bytes().all(allows)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn refused(body: &str) -> Refusal {
        Ask::parse(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_call_needs_a_text_or_results_or_an_end() {
        assert_eq!(refused("{}").kind, Some("ValidationException"));
        assert_eq!(refused("").kind, Some("ValidationException"));
        assert!(Ask::parse(br#"{"endSession":true}"#).is_ok());
        let results = r#"{"sessionState":{"returnControlInvocationResults":[{}]}}"#;
        assert_eq!(Ask::parse(results.as_bytes()).unwrap().results().unwrap().len(), 1);
    }

    #[test]
    fn what_is_not_json_of_the_operation_is_a_serialization_error() {
        for body in ["{", "[]", r#"{"inputText":1}"#, "nonsense"] {
            let refusal = refused(body);
            let expected = (StatusCode::BAD_REQUEST, Some("SerializationException"));
            assert_eq!((refusal.status, refusal.kind), expected, "{body}");
        }
    }

    #[test]
    fn values_outside_the_model_are_refused_by_name() {
        let cases = [
            (r#"{"inputText":"a","memoryId":"é"}"#, "memoryId"),
            (
                r#"{"inputText":"a","streamingConfigurations":{"applyGuardrailInterval":0}}"#,
                "applyGuardrailInterval",
            ),
            (
                r#"{"inputText":"a","sessionState":{"conversationHistory":{"messages":[{"role":"system","content":[]}]}}}"#,
                "role",
            ),
            (
                r#"{"sessionState":{"returnControlInvocationResults":[{},{},{},{},{},{}]}}"#,
                "returnControlInvocationResults",
            ),
        ];
        for (body, member) in cases {
            let refusal = refused(body);
            assert!(refusal.message.contains(member), "{refusal:?}");
        }
    }

    #[test]
    fn nulls_count_as_absent_and_unknown_members_are_passed_over() {
        let body = br#"{"inputText":"a","enableTrace":null,"sessionState":{"sessionAttributes":null},"news":1}"#;
        assert!(!Ask::parse(body).unwrap().wants_traces());
    }

    #[test]
    fn ids_are_checked_as_the_service_does() {
        let key = |agent: &str, alias: &str, session: &str| SessionKey {
            agent: agent.into(),
            alias: alias.into(),
            session: session.into(),
        };
        assert!(check_key(&key("ABCDEF1234", "TSTALIASID", "oc:1.2_3-4")).is_ok());
        for bad in [
            key("ABCDEF12345", "TSTALIASID", "ok"),
            key("", "TSTALIASID", "ok"),
            key("ABC", "A-B", "ok"),
            key("ABC", "DEF", "x"),
            key("ABC", "DEF", "a b"),
            key("ABC", "DEF", &"x".repeat(101)),
        ] {
            assert_eq!(check_key(&bad).unwrap_err().kind, Some("ValidationException"), "{bad:?}");
        }
    }
}
