//! Bodies of `/v1/sessions` and the paths below it: what is asked of a session itself, not in a
//! turn.
//!
//! They are ours, and spelled as OpenAI spells things: messages as in a chat request, `metadata`
//! within OpenAI's limits. Members that are not known are passed over. Where every member may be
//! left out, so may the body.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::turn::{Failure, FailureKind, Message, ModelName, Role, SessionId, TurnId};

use super::body::{self, wrong};
use super::{agent_fields, openai_chat};

/// What a caller may say that was heard of an answer, in bytes.
const SPOKEN_BYTES: usize = 1 << 20;

/// A session that is to be opened.
#[derive(Debug, Default)]
pub struct Opening {
    /// Its name; one of ours where the client has none.
    pub id: Option<SessionId>,
    /// Who is to answer.
    pub model: Option<ModelName>,
    /// The client's notes on it.
    pub metadata: BTreeMap<String, String>,
    /// What was said elsewhere before, oldest first, with its instructions.
    pub messages: Vec<Message>,
    /// Whether the way upstream is to be opened ahead of the first turn.
    pub prewarm: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "an object")]
struct SentOpening<'a> {
    id: Option<String>,
    model: Option<String>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    prewarm: Option<bool>,
}

/// `POST /v1/sessions`
///
/// # Errors
/// [`FailureKind::BadRequest`] at the member at fault.
pub fn opening(sent: &[u8]) -> Result<Opening, Failure> {
    let sent: SentOpening<'_> = read_or_nothing(sent)?;
    Ok(Opening {
        id: sent.id.map(|id| parsed("id", &id)).transpose()?,
        model: sent.model.map(|name| parsed("model", &name)).transpose()?,
        metadata: sent.metadata.map(agent_fields::metadata).transpose()?.unwrap_or_default(),
        messages: sent.messages.map(openai_chat::transcript).transpose()?.unwrap_or_default(),
        prewarm: sent.prewarm.unwrap_or(false),
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "an object")]
struct SentPlace {
    turn: Option<String>,
}

/// `POST …/fork`: the turn up to which the session is copied, or all of it.
///
/// # Errors
/// [`FailureKind::BadRequest`] at the member at fault.
pub fn fork(sent: &[u8]) -> Result<Option<TurnId>, Failure> {
    let SentPlace { turn } = read_or_nothing(sent)?;
    turn.map(|turn| turn_id(&turn)).transpose()
}

/// `POST …/rewind`: the turn after which everything is forgotten.
///
/// # Errors
/// [`FailureKind::BadRequest`] at the member at fault.
pub fn rewind(sent: &[u8]) -> Result<TurnId, Failure> {
    let SentPlace { turn } = body::read(sent)?;
    turn_id(&turn.ok_or_else(|| wrong("turn", "is required"))?)
}

/// `POST …/messages`: what a person, or another program, puts into the conversation.
///
/// # Errors
/// [`FailureKind::BadRequest`] at the member at fault; [`FailureKind::UnsupportedParameter`] for
/// calls of tools, which only a model makes.
pub fn said(sent: &[u8]) -> Result<Message, Failure> {
    let message = openai_chat::message(sent)?;
    if message.role == Role::Tool {
        let why = "must be user, assistant or system; results of tools are sent in a turn";
        return Err(wrong("role", why));
    }
    if !message.tool_calls.is_empty() {
        let why = "tool_calls cannot be put into a session: nobody would wait for their results";
        return Err(Failure::new(FailureKind::UnsupportedParameter, why).at("tool_calls"));
    }
    if message.is_empty() {
        return Err(wrong("content", "is blank: nothing is said"));
    }
    Ok(message)
}

#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "an object")]
struct SentNotes<'a> {
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

/// `POST /v1/sessions/{id}`: the notes that stand in place of the old ones.
///
/// # Errors
/// [`FailureKind::BadRequest`] at `metadata`.
pub fn notes(sent: &[u8]) -> Result<BTreeMap<String, String>, Failure> {
    let SentNotes { metadata } = body::read(sent)?;
    agent_fields::metadata(metadata.ok_or_else(|| wrong("metadata", "is required"))?)
}

#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "an object")]
struct SentInterrupt {
    spoken: Option<String>,
}

/// `POST …/interrupt`: what of the answer was heard, where the caller knows.
///
/// # Errors
/// [`FailureKind::BadRequest`] at `spoken`.
pub fn interrupt(sent: &[u8]) -> Result<Option<String>, Failure> {
    let SentInterrupt { spoken } = read_or_nothing(sent)?;
    if spoken.as_ref().is_some_and(|spoken| spoken.len() > SPOKEN_BYTES) {
        return Err(wrong("spoken", "is longer than any answer"));
    }
    Ok(spoken)
}

#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "an object")]
struct SentMove {
    model: Option<String>,
}

/// `POST …/move`: the model that is to answer from now on.
///
/// # Errors
/// [`FailureKind::BadRequest`] at `model`.
pub fn destination(sent: &[u8]) -> Result<ModelName, Failure> {
    let SentMove { model } = body::read(sent)?;
    parsed("model", &model.ok_or_else(|| wrong("model", "is required"))?)
}

/// A body that may be left out.
fn read_or_nothing<'de, T: Deserialize<'de> + Default>(sent: &'de [u8]) -> Result<T, Failure> {
    if sent.iter().all(u8::is_ascii_whitespace) { Ok(T::default()) } else { body::read(sent) }
}

/// A turn, by its own name or by that of the response that it is.
fn turn_id(text: &str) -> Result<TurnId, Failure> {
    match text.strip_prefix("resp_").and_then(TurnId::from_suffix) {
        Some(turn) => Ok(turn),
        None => text.parse().map_err(|_| {
            wrong("turn", "must be the id of a turn, as the session's messages name theirs")
        }),
    }
}

fn parsed<T: FromStr<Err: fmt::Display>>(param: &'static str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error| Failure::bad_field(param, format!("{param}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param<T: fmt::Debug>(read: Result<T, Failure>) -> String {
        String::from(read.unwrap_err().param.unwrap_or_default())
    }

    #[test]
    fn an_opening_may_say_nothing_at_all() {
        for body in ["", " \n", "{}", r#"{"id":null,"messages":null,"metadata":null}"#] {
            let opening = opening(body.as_bytes()).unwrap();
            assert!(opening.id.is_none() && opening.messages.is_empty(), "{body}");
        }
    }

    #[test]
    fn an_opening_names_the_member_that_is_wrong() {
        let cases = [
            (r#"{"id":"two words"}"#, "id"),
            (r#"{"model":7}"#, "model"),
            (r#"{"metadata":[]}"#, "metadata"),
            (r#"{"messages":{}}"#, "messages"),
            (r#"{"messages":[{"role":"user"},{"content":"x"}]}"#, "messages[1].role"),
            (r#"{"messages":[{"role":"user","content":7}]}"#, "messages[0].content"),
            (r#"{"prewarm":"yes"}"#, "prewarm"),
        ];
        for (body, expected) in cases {
            assert_eq!(param(opening(body.as_bytes())), expected, "{body}");
        }
    }

    #[test]
    fn a_turn_goes_by_its_name_and_by_that_of_its_response() {
        let hex = "0123456789abcdef0123456789abcdef";
        let turn: TurnId = format!("turn_{hex}").parse().unwrap();
        for name in [format!("turn_{hex}"), format!("resp_{hex}")] {
            let body = format!(r#"{{"turn":"{name}"}}"#);
            assert_eq!(rewind(body.as_bytes()).unwrap(), turn);
            assert_eq!(fork(body.as_bytes()).unwrap(), Some(turn.clone()));
        }
        assert_eq!(fork(b"").unwrap(), None);
        assert_eq!(param(rewind(b"{}")), "turn");
        assert_eq!(param(rewind(br#"{"turn":"a b"}"#)), "turn");
    }

    #[test]
    fn only_what_people_and_models_say_can_be_put_in() {
        let message = said(br#"{"role":"assistant","content":[{"type":"text","text":"Hi"}]}"#);
        assert_eq!(message.unwrap().plain_text(), "Hi");
        let cases = [
            (r#"{"content":"x"}"#, "role"),
            (r#"{"role":"tool","tool_call_id":"a","content":"x"}"#, "role"),
            (r#"{"role":"robot","content":"x"}"#, "role"),
            (r#"{"role":"user","content":" "}"#, "content"),
            (r#"{"role":"user"}"#, "content"),
            (
                r#"{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f"}}]}"#,
                "tool_calls",
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(param(said(body.as_bytes())), expected, "{body}");
        }
    }

    #[test]
    fn notes_moves_and_interrupts_name_what_is_missing() {
        assert_eq!(param(notes(b"{}")), "metadata");
        assert_eq!(notes(br#"{"metadata":{"a":"b"}}"#).unwrap()["a"], "b");
        assert_eq!(param(destination(b"{}")), "model");
        assert_eq!(interrupt(b"").unwrap(), None);
        assert_eq!(interrupt(br#"{"spoken":"We"}"#).unwrap().as_deref(), Some("We"));
        assert!(interrupt(b"[]").is_err() && interrupt(b"rubbish").is_err());
    }
}
