//! The transcript in OpenAI's spelling.
//!
//! OpenAI and most compatible servers refuse an assistant message with calls unless a result of
//! each follows it, and a result without its call. A session may hold both: a user who did not
//! wait, an answer that was cut, oldest turns that were dropped. So results are put behind their
//! calls, one that never came is said not to have come, and one whose call is gone is told as
//! the user's words.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::backend::Ask;
use crate::turn::{Message, Part, Role, Status, Thought, ToolCall};

/// Stands for a result that never came.
const NO_RESULT: &str = "no result: the call was not waited for";
/// Stands for what a tool that failed did not say.
const FAILED: &str = "the tool failed";

/// One message as it is sent.
#[derive(Debug, Serialize)]
pub(super) struct Sent<'a> {
    role: &'static str,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<SentCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Debug)]
enum Content<'a> {
    Nothing,
    Text(Cow<'a, str>),
    Parts(&'a [Part]),
}

#[derive(Debug, Serialize)]
struct SentCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: SentFunction<'a>,
}

#[derive(Debug, Serialize)]
struct SentFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct TextPart<'a> {
    r#type: &'static str,
    text: &'a str,
}

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => out.serialize_unit(),
            Self::Text(text) => out.serialize_str(text),
            Self::Parts(parts) => out.collect_seq(parts.iter().map(SentPart)),
        }
    }
}

/// A part: a text, or an attachment in its client's own spelling.
struct SentPart<'a>(&'a Part);

impl Serialize for SentPart<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Part::Text(text) => TextPart { r#type: "text", text }.serialize(out),
            Part::Attachment { value, .. } => Value::serialize(value, out),
        }
    }
}

/// Everything that is said to the model: the client's instructions, what was said before, and
/// what is new. `with_thoughts` sends back what the model thought within the turn of its calls.
pub(super) fn of(ask: &Ask, with_thoughts: bool) -> Vec<Sent<'_>> {
    let instructions = ask.system.iter().filter(|message| !message.is_empty());
    let mut sent: Vec<_> = instructions.map(plain).collect();
    let history = ask.history.iter().map(AsRef::as_ref);
    let said: Vec<&Message> =
        history.chain(&ask.input).filter(|message| message.role != Role::System).collect();
    let last_user = said.iter().rposition(|message| message.role == Role::User).unwrap_or(0);
    for (at, message) in said.iter().copied().enumerate() {
        match message.role {
            Role::Assistant => {
                // What was cut before a word of it came says nothing.
                if message.is_empty() {
                    continue;
                }
                let is_of_turn = with_thoughts && at > last_user;
                sent.push(answer(message, is_of_turn));
                sent.extend(results(message, said.get(at + 1..).unwrap_or_default()));
            }
            Role::Tool if has_call(message, said.get(..at).unwrap_or_default()) => {}
            Role::Tool => sent.push(orphan(message)),
            Role::User | Role::System => sent.push(plain(message)),
        }
    }
    sent
}

fn plain(message: &Message) -> Sent<'_> {
    Sent {
        role: message.role.as_str(),
        content: content(message),
        reasoning_content: None,
        tool_calls: Vec::new(),
        tool_call_id: None,
    }
}

fn content(message: &Message) -> Content<'_> {
    match message.parts.as_slice() {
        [] => Content::Text(Cow::Borrowed("")),
        [Part::Text(text)] => Content::Text(Cow::Borrowed(text)),
        parts => Content::Parts(parts),
    }
}

fn answer(message: &Message, with_thoughts: bool) -> Sent<'_> {
    let calls: Vec<_> = message.tool_calls.iter().map(sent_call).collect();
    let is_blank = |part: &Part| matches!(part, Part::Text(text) if text.is_empty());
    let has_nothing_but_calls = message.parts.iter().all(is_blank) && !calls.is_empty();
    let thoughts = message.thoughts.iter().filter_map(unsigned);
    let thoughts: String = if with_thoughts { thoughts.collect() } else { String::new() };
    Sent {
        content: if has_nothing_but_calls { Content::Nothing } else { content(message) },
        reasoning_content: Some(thoughts).filter(|thoughts| !thoughts.is_empty()),
        tool_calls: calls,
        ..plain(message)
    }
}

/// Thinking that its upstream did not sign: that of others is for others.
fn unsigned(thought: &Thought) -> Option<&str> {
    match thought {
        Thought::Text { text, signature: None } => Some(text),
        Thought::Text { .. } | Thought::Redacted(_) => None,
    }
}

fn sent_call(call: &ToolCall) -> SentCall<'_> {
    // Servers parse the arguments; those of a call that was cut are no JSON.
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&call.arguments).is_ok();
    let arguments = if is_json { call.arguments.as_str() } else { "{}" };
    let function = SentFunction { name: &call.name, arguments };
    SentCall { id: &call.id, r#type: "function", function }
}

/// A result for each call of an answer, out of what follows it up to the next answer with calls.
fn results<'a>(answer: &'a Message, after: &[&'a Message]) -> impl Iterator<Item = Sent<'a>> {
    let mine = after.iter().take_while(|message| message.tool_calls.is_empty());
    let mine: Vec<&'a Message> =
        mine.copied().filter(|message| message.role == Role::Tool).collect();
    answer.tool_calls.iter().map(move |call| {
        let found = mine.iter().find(|result| result.tool_call_id.as_deref() == Some(&call.id));
        Sent {
            role: Role::Tool.as_str(),
            content: found.map_or(Content::Text(Cow::Borrowed(NO_RESULT)), |found| told(found)),
            reasoning_content: None,
            tool_calls: Vec::new(),
            tool_call_id: Some(&call.id),
        }
    })
}

/// What a tool says. OpenAI has no word for one that failed, so the text has to say it.
fn told(result: &Message) -> Content<'_> {
    let has_attachment = result.parts.iter().any(|part| matches!(part, Part::Attachment { .. }));
    if has_attachment || result.status != Status::Failed {
        return content(result);
    }
    let text = result.plain_text();
    let says_so = text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("error"));
    Content::Text(match text.trim() {
        "" => Cow::Borrowed(FAILED),
        _ if says_so => Cow::Owned(text),
        _ => Cow::Owned(format!("error: {text}")),
    })
}

/// Whether the last answer with calls before a result made its call.
fn has_call(result: &Message, before: &[&Message]) -> bool {
    let asked = before.iter().rev().find(|message| !message.tool_calls.is_empty());
    let id = result.tool_call_id.as_deref();
    asked.is_some_and(|asked| asked.tool_calls.iter().any(|call| Some(call.id.as_str()) == id))
}

fn orphan(result: &Message) -> Sent<'_> {
    let text = format!("(an earlier tool call had this result: {})", result.plain_text());
    Sent { role: Role::User.as_str(), content: Content::Text(Cow::Owned(text)), ..plain(result) }
}
