//! What an `InvokeAgent` request says, checked as the service checks it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::refusal::Refusal;
use super::results::Returned;
use super::session_state::{HistoryMessage, SessionState};
use super::sessions::SessionKey;

/// The longest `inputText`, in characters, by the service's model.
const MAX_INPUT_TEXT: usize = 25_000_000;
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
    prompt_creation_configurations: Option<PromptCreation>,
    bedrock_model_configurations: Option<ModelConfigurations>,
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
struct PromptCreation {
    previous_conversation_turns_to_include: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModelConfigurations {
    performance_config: Option<Performance>,
}

#[derive(Debug, Default, Deserialize)]
struct Performance {
    latency: Option<String>,
}

impl Ask {
    /// Reads a request body.
    ///
    /// # Errors
    /// `SerializationException` for what is not the operation's JSON, `ValidationException` for
    /// what breaks one of its rules.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let mut ask: Self = read(body)?;
        ask.check()?;
        Ok(ask)
    }

    /// Reads the body of an `InvokeInlineAgent`, whose session state has another name.
    ///
    /// # Errors
    /// As of [`Ask::parse`].
    pub(super) fn parse_inline(body: &[u8], state: Option<SessionState>) -> Result<Self, Refusal> {
        let mut ask = Self { session_state: state, ..read(body)? };
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
        self.session_state.as_ref().map_or(&[], SessionState::history)
    }

    /// What the agent can say of the files that came along.
    pub(super) fn files(&self) -> &[String] {
        self.session_state.as_ref().map_or(&[], SessionState::files)
    }

    /// The long-term memory that the session belongs to.
    pub(super) fn memory_id(&self) -> Option<&str> {
        self.memory_id.as_deref()
    }

    fn check(&mut self) -> Result<(), Refusal> {
        if self.input_text.is_none() && !self.ends_session() && self.results().is_none() {
            return Err(Refusal::validation(
                "inputText is required unless the session ends or results are returned",
            ));
        }
        let text_length = self.input_text.as_ref().map_or(0, String::len);
        if text_length > MAX_INPUT_TEXT {
            return Err(Refusal::constraint("inputText", "at most 25000000 characters"));
        }
        if self.guardrail_interval().is_some_and(|interval| interval < 1) {
            return Err(Refusal::constraint("applyGuardrailInterval", "1 or more"));
        }
        if self.previous_turns().is_some_and(|turns| turns < 0) {
            return Err(Refusal::constraint("previousConversationTurnsToInclude", "0 or more"));
        }
        if self.latency().is_some_and(|latency| !matches!(latency, "standard" | "optimized")) {
            return Err(Refusal::constraint("latency", "standard or optimized"));
        }
        if self.memory_id().is_some_and(|id| !is_session_id(id)) {
            return Err(Refusal::constraint("memoryId", SESSION_ID_RULE));
        }
        self.session_state.as_mut().map_or(Ok(()), SessionState::check)
    }

    fn guardrail_interval(&self) -> Option<i64> {
        self.streaming_configurations.as_ref()?.apply_guardrail_interval
    }

    fn previous_turns(&self) -> Option<i64> {
        self.prompt_creation_configurations.as_ref()?.previous_conversation_turns_to_include
    }

    fn latency(&self) -> Option<&str> {
        let model = self.bedrock_model_configurations.as_ref()?;
        model.performance_config.as_ref()?.latency.as_deref()
    }
}

/// Reads a body; none at all is one without members.
///
/// # Errors
/// `SerializationException` for what is not the operation's JSON.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| Refusal::serialization(format!("the body cannot be read: {error}")))
}

const SESSION_ID_RULE: &str = "2 to 100 characters of [0-9a-zA-Z._:-]";

/// Checks the ids of a path.
///
/// # Errors
/// `ValidationException`, naming the first that breaks its rule.
pub(super) fn check_key(key: &SessionKey) -> Result<(), Refusal> {
    if !key.is_inline() {
        check_alias(&key.agent, &key.alias)?;
    }
    if !is_session_id(&key.session) {
        return Err(Refusal::constraint("sessionId", SESSION_ID_RULE));
    }
    Ok(())
}

/// Checks the ids of an agent and its alias.
///
/// # Errors
/// `ValidationException`, naming the first that breaks its rule.
pub(super) fn check_alias(agent: &str, alias: &str) -> Result<(), Refusal> {
    for (name, id) in [("agentId", agent), ("agentAliasId", alias)] {
        let is_id =
            (1..=10).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_id {
            return Err(Refusal::constraint(name, "1 to 10 characters of [0-9a-zA-Z]"));
        }
    }
    Ok(())
}

/// Whether a text may be the id of a session or of a memory.
pub(super) fn is_session_id(id: &str) -> bool {
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
                r#"{"inputText":"a","promptCreationConfigurations":{"previousConversationTurnsToInclude":-1}}"#,
                "previousConversationTurnsToInclude",
            ),
            (
                r#"{"inputText":"a","bedrockModelConfigurations":{"performanceConfig":{"latency":"fast"}}}"#,
                "latency",
            ),
            (
                r#"{"inputText":"a","sessionState":{"knowledgeBaseConfigurations":[]}}"#,
                "knowledgeBaseConfigurations",
            ),
            (
                r#"{"inputText":"a","sessionState":{"knowledgeBaseConfigurations":[{"knowledgeBaseId":"a-b","retrievalConfiguration":{}}]}}"#,
                "knowledgeBaseId",
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
