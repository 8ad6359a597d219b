//! What the model is told beside the conversation. The service has no place for it, so it stands
//! in the user's first message, between marks that models know for such.

use crate::turn::{AnswerFormat, Generation, Message, ToolChoice};

use super::transcript::Entry;

/// What the instructions are made of.
#[derive(Debug)]
pub(super) struct Instructions<'a> {
    /// The client's system messages.
    pub(super) system: &'a [Message],
    /// The wishes that the service has no member for.
    pub(super) generation: &'a Generation,
    /// The service's name of the tool that must be called, where one is named.
    pub(super) must_call: Option<String>,
    /// What descriptions of tools say beyond the service's bound.
    pub(super) overlong: Vec<String>,
}

/// Puts them before what the user says first.
pub(super) fn put(entries: &mut [Entry], told: &Instructions<'_>) {
    let texts = told.texts();
    let Some(Entry::User { said }) = entries.first_mut().filter(|_| !texts.is_empty()) else {
        return;
    };
    let spoken = if said.content.trim().is_empty() { "" } else { &said.content };
    said.content = format!("<instructions>\n{}\n</instructions>\n\n{spoken}", texts.join("\n\n"));
}

impl Instructions<'_> {
    fn texts(&self) -> Vec<String> {
        let system = self.system.iter().map(Message::plain_text);
        let told = [format(&self.generation.format), self.choice()];
        let all = system.chain(self.overlong.iter().cloned()).chain(told.into_iter().flatten());
        all.filter(|text| !text.trim().is_empty()).collect()
    }

    fn choice(&self) -> Option<String> {
        match (&self.generation.tool_choice, &self.must_call) {
            (ToolChoice::Required, _) => Some("Call at least one of the tools.".to_owned()),
            (ToolChoice::Named(_), Some(name)) => {
                Some(format!("Call the tool {name}, and no other."))
            }
            (ToolChoice::Auto | ToolChoice::None | ToolChoice::Named(_), _) => None,
        }
    }
}

fn format(format: &AnswerFormat) -> Option<String> {
    match format {
        AnswerFormat::Text => None,
        AnswerFormat::JsonObject => {
            Some("Answer with one JSON object and nothing else, without a code fence.".to_owned())
        }
        AnswerFormat::JsonSchema(shape) => Some(format!(
            "Answer with one JSON value that fits this schema and nothing else, without a code \
             fence:\n{}",
            shape.schema
        )),
    }
}
