//! `sessionState` of a call, checked as the service checks it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::input_files::{self, InputFile};
use super::refusal::Refusal;
use super::results::{self, Returned};

/// Names and values of both attribute maps together, in bytes. The service's own limit is not
/// documented; this one bounds what a session holds.
const MAX_ATTRIBUTE_BYTES: usize = 16 << 10;

/// `sessionState`, or `inlineSessionState`, which is the same without the configurations of
/// knowledge bases.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionState {
    /// Attributes that the session keeps.
    pub(super) session_attributes: Option<BTreeMap<String, String>>,
    /// Attributes of this call.
    pub(super) prompt_session_attributes: Option<BTreeMap<String, String>>,
    /// The id of the hand-over that is answered.
    pub(super) invocation_id: Option<String>,
    /// The results of what was handed over.
    pub(super) return_control_invocation_results: Option<Vec<Returned>>,
    conversation_history: Option<History>,
    files: Option<Vec<InputFile>>,
    knowledge_base_configurations: Option<Vec<KnowledgeBase>>,
    /// What the agent can say of the files; filled in by [`SessionState::check`].
    #[serde(skip)]
    described: Vec<String>,
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

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KnowledgeBase {
    knowledge_base_id: String,
    retrieval_configuration: Value,
}

impl HistoryMessage {
    /// What the user said in it; `None` for the assistant's.
    pub(super) fn user_text(&self) -> Option<String> {
        let texts: Vec<_> =
            self.content.iter().filter_map(|content| content.text.as_deref()).collect();
        (self.role == "user").then(|| texts.join("\n"))
    }
}

impl SessionState {
    /// The messages of `conversationHistory`.
    pub(super) fn history(&self) -> &[HistoryMessage] {
        let history = self.conversation_history.as_ref();
        history.and_then(|history| history.messages.as_deref()).unwrap_or(&[])
    }

    /// What the agent can say of the files that came along.
    pub(super) fn files(&self) -> &[String] {
        &self.described
    }

    /// Checks it and reads its files.
    ///
    /// # Errors
    /// `ValidationException` that names the first member that breaks its rule.
    pub(super) fn check(&mut self) -> Result<(), Refusal> {
        self.return_control_invocation_results.as_deref().map_or(Ok(()), results::check_count)?;
        let roles_fit =
            self.history().iter().all(|message| matches!(&*message.role, "user" | "assistant"));
        if !roles_fit {
            return Err(Refusal::constraint("role", "user or assistant"));
        }
        let knowledge_bases = self.knowledge_base_configurations.as_deref();
        knowledge_bases.map_or(Ok(()), check_knowledge_bases)?;
        if let Some(files) = &self.files {
            self.described = input_files::described(files)?;
        }
        let maps = [&self.session_attributes, &self.prompt_session_attributes];
        check_attributes(maps.into_iter().flatten())
    }
}

fn check_knowledge_bases(list: &[KnowledgeBase]) -> Result<(), Refusal> {
    if list.is_empty() {
        return Err(Refusal::constraint("knowledgeBaseConfigurations", "at least 1 member"));
    }
    let is_id = |id: &str| {
        (1..=10).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    for base in list {
        if !is_id(&base.knowledge_base_id) {
            return Err(Refusal::constraint(
                "knowledgeBaseId",
                "1 to 10 characters of [0-9a-zA-Z]",
            ));
        }
        if !base.retrieval_configuration.is_object() {
            return Err(Refusal::constraint("retrievalConfiguration", "a structure"));
        }
        let search = &base.retrieval_configuration["vectorSearchConfiguration"];
        let number = &search["numberOfResults"];
        if !number.is_null() && !number.as_u64().is_some_and(|number| (1..=100).contains(&number)) {
            return Err(Refusal::constraint("numberOfResults", "1 to 100"));
        }
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
