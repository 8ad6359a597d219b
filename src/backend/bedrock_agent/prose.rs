//! What an agent is told as text.
//!
//! An agent takes one text a turn, and for a session that it does not know an earlier
//! conversation of texts. Tool calls and results that its session has not seen are told in
//! words, one line each: `Called NAME (ARGUMENTS)` on the assistant's side,
//! `Result of NAME (ARGUMENTS): CONTENT` or `Error of NAME (ARGUMENTS): CONTENT` on the user's.

use std::borrow::Cow;
use std::sync::Arc;

use aws_sdk_bedrockagentruntime::types::{
    ContentBlock, ConversationHistory, ConversationRole, Message as AwsMessage,
};

use crate::backend::Ask;
use crate::turn::{Failure, Message, Part, Role, Status, ToolCall};

use super::results::{SPELLED, no_attachment};

/// Characters of one seeded conversation, well under what `InvokeAgent` takes as input text.
const HISTORY_LIMIT: usize = 400_000;
/// Bytes of a call's arguments that are told.
const ARGUMENTS_LIMIT: usize = 2_000;

/// What is new, joined by blank lines: the user's texts, and results that the agent's session
/// does not wait for. Empty where there is none.
///
/// # Errors
/// `UnsupportedParameter` for results that are more than text.
pub(super) fn input_text(ask: &Ask) -> Result<String, Failure> {
    let known = ask.history.iter().map(AsRef::as_ref).chain(&ask.input);
    let calls: Vec<_> = known.flat_map(|message| &message.tool_calls).collect();
    let mut joined = String::new();
    for message in &ask.input {
        match message.role {
            Role::User => {
                for part in &message.parts {
                    let Part::Text(text) = part else { continue };
                    join(&mut joined, text);
                }
            }
            Role::Tool => {
                check_is_text(message)?;
                join(&mut joined, &told_result(message, &calls));
            }
            Role::System | Role::Assistant => {}
        }
    }
    Ok(joined)
}

/// The client's system messages, joined by blank lines.
pub(in crate::backend) fn system_text<'a>(messages: impl Iterator<Item = &'a Message>) -> String {
    let system = messages.filter(|message| message.role == Role::System);
    let texts: Vec<_> = system.map(Message::plain_text).collect();
    texts.join("\n\n")
}

/// The earlier conversation as the service takes it: text only, user and assistant in turn,
/// the user first, the newest kept when it is too long.
pub(in crate::backend) fn history(messages: &[Arc<Message>]) -> Option<ConversationHistory> {
    let calls: Vec<_> = messages.iter().flat_map(|message| &message.tool_calls).collect();
    let mut turns: Vec<(ConversationRole, String)> = Vec::new();
    for message in messages {
        let (role, text) = match message.role {
            Role::User => (ConversationRole::User, message.plain_text()),
            Role::Assistant => (ConversationRole::Assistant, told_calls(message)),
            Role::Tool => (ConversationRole::User, told_result(message, &calls)),
            Role::System => continue,
        };
        if text.trim().is_empty() {
            continue;
        }
        match turns.last_mut() {
            Some((last, joined)) if *last == role => join(joined, &text),
            _ => turns.push((role, text)),
        }
    }
    let mut room = HISTORY_LIMIT;
    let fits = turns.iter().rev().take_while(|(_, text)| {
        room = room.saturating_sub(text.len());
        room > 0
    });
    let left_out = turns.len().saturating_sub(fits.count());
    let is_answer = |(role, _): &(ConversationRole, String)| *role != ConversationRole::User;
    let kept = turns.into_iter().skip(left_out).skip_while(is_answer);
    let messages: Vec<_> = kept.filter_map(aws_message).collect();
    if messages.is_empty() {
        return None;
    }
    Some(ConversationHistory::builder().set_messages(Some(messages)).build())
}

fn aws_message((role, text): (ConversationRole, String)) -> Option<AwsMessage> {
    // Role and content are all that the builder asks for.
    AwsMessage::builder().role(role).content(ContentBlock::Text(text)).build().ok()
}

fn join(joined: &mut String, text: &str) {
    if !joined.is_empty() {
        joined.push_str("\n\n");
    }
    joined.push_str(text);
}

/// An assistant's text and the calls that it made.
fn told_calls(message: &Message) -> String {
    let mut told = message.plain_text();
    for call in &message.tool_calls {
        join(&mut told, &format!("Called {}", told_call(call)));
    }
    told
}

fn told_result(message: &Message, calls: &[&ToolCall]) -> String {
    let id = message.tool_call_id.as_deref();
    // Ids of calls are the client's as often as ours: of two that are the same, the later counts.
    let call = calls.iter().rev().find(|call| Some(call.id.as_str()) == id);
    let call = call.map_or_else(|| "a call".into(), |call| Cow::Owned(told_call(call)));
    let what = if message.status == Status::Failed { "Error" } else { "Result" };
    format!("{what} of {call}: {}", message.plain_text())
}

fn told_call(call: &ToolCall) -> String {
    let arguments = &call.arguments;
    let mut ends = arguments.char_indices().map(|(at, _)| at);
    let end = ends.find(|at| *at >= ARGUMENTS_LIMIT);
    match end.and_then(|end| arguments.get(..end)) {
        Some(told) => format!("{} ({told}…)", call.name),
        None => format!("{} ({arguments})", call.name),
    }
}

/// A result in the service's own spelling comes with its text.
fn check_is_text(message: &Message) -> Result<(), Failure> {
    for part in &message.parts {
        if let Part::Attachment { kind, .. } = part
            && kind != SPELLED
        {
            return Err(no_attachment(kind));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::turn::{Confirmation, SessionKey, TurnRequest, UpstreamSessionId};

    use super::*;

    fn arc(role: Role, text: &str) -> Arc<Message> {
        Arc::new(Message::text(role, text))
    }

    fn calling(text: &str, id: &str, name: &str, arguments: &str) -> Arc<Message> {
        let call = ToolCall {
            id: id.to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            confirmation: Confirmation::None,
        };
        Arc::new(Message { tool_calls: vec![call], ..Message::text(Role::Assistant, text) })
    }

    fn result(id: &str, content: &str) -> Message {
        Message { tool_call_id: Some(id.to_owned()), ..Message::text(Role::Tool, content) }
    }

    fn seeded(messages: &[Arc<Message>]) -> Vec<(ConversationRole, String)> {
        let Some(history) = history(messages) else { return Vec::new() };
        let text = |message: &AwsMessage| match &message.content()[0] {
            ContentBlock::Text(text) => text.clone(),
            _ => String::new(),
        };
        history.messages().iter().map(|message| (message.role().clone(), text(message))).collect()
    }

    #[test]
    fn a_seeded_history_begins_with_the_user_and_alternates() {
        let messages = [
            arc(Role::System, "be kind"),
            arc(Role::Assistant, "Hello!"),
            arc(Role::User, "my name is Ann"),
            arc(Role::User, "I want a loan"),
            arc(Role::Assistant, "Hello Ann."),
        ];
        let expected = [
            (ConversationRole::User, "my name is Ann\n\nI want a loan".to_owned()),
            (ConversationRole::Assistant, "Hello Ann.".to_owned()),
        ];
        assert_eq!(seeded(&messages), expected);
    }

    #[test]
    fn calls_and_results_of_a_history_are_told_in_words() {
        let messages = [
            arc(Role::User, "rain?"),
            calling("Let me see.", "c1", "forecast", r#"{"city":"Oslo"}"#),
            Arc::new(result("c1", "wet")),
            arc(Role::Assistant, "Yes."),
        ];
        let expected = [
            (ConversationRole::User, "rain?".to_owned()),
            (
                ConversationRole::Assistant,
                "Let me see.\n\nCalled forecast ({\"city\":\"Oslo\"})".to_owned(),
            ),
            (ConversationRole::User, "Result of forecast ({\"city\":\"Oslo\"}): wet".to_owned()),
            (ConversationRole::Assistant, "Yes.".to_owned()),
        ];
        assert_eq!(seeded(&messages), expected);
    }

    #[test]
    fn results_that_the_session_does_not_wait_for_are_told_in_order() {
        let failed = Message { status: Status::Failed, ..result("c2", "gone") };
        let ask = Ask {
            system: Arc::default(),
            key: SessionKey { tenant: "acme".parse().unwrap(), id: "s1".parse().unwrap() },
            upstream: UpstreamSessionId::generate(),
            history: vec![calling("", "c1", "forecast", "{}")],
            input: vec![result("c1", "wet"), failed, Message::text(Role::User, "so?")],
            pending: None,
            request: Arc::new(TurnRequest::default()),
        };
        let text = input_text(&ask).unwrap();
        assert_eq!(text, "Result of forecast ({}): wet\n\nError of a call: gone\n\nso?");
    }

    #[test]
    fn long_arguments_are_told_in_part() {
        let told = told_call(&calling("", "c", "f", &"é".repeat(ARGUMENTS_LIMIT)).tool_calls[0]);
        assert!(told.ends_with("…)") && told.len() < ARGUMENTS_LIMIT + 20);
    }

    #[test]
    fn of_a_history_that_is_too_long_the_newest_turns_are_kept() {
        let long = "x".repeat(HISTORY_LIMIT);
        let messages = [
            arc(Role::User, &long),
            arc(Role::Assistant, "so much"),
            arc(Role::User, "short"),
            arc(Role::Assistant, "fine"),
        ];
        assert_eq!(seeded(&messages)[0].1, "short");
    }

    #[test]
    fn a_history_without_a_user_is_none() {
        assert!(history(&[arc(Role::Assistant, "Hello!")]).is_none());
    }
}
