//! The body of a request in Titan's dialect.

use serde::Deserialize;

use crate::turn::{Failure, Message, Role, SessionHints, TurnRequest};
use crate::wire::agent_fields::Texts;
use crate::wire::asking::{self, Sampling, Stops};
use crate::wire::body::wrong;
use crate::wire::bounded::Allowance;
use crate::wire::extension::Extension;
use crate::wire::said::MAX_MESSAGES;
use crate::wire::whole::Whole;
use crate::wire::{Asked, Defaults, Options, body};

use super::INPUT;

/// What stands before a turn of a conversation in a prompt, and whose turn it is.
const SPEAKERS: [(&str, Role); 2] = [("User:", Role::User), ("Bot:", Role::Assistant)];

/// The members that are read; every other one is skipped.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Body<'a> {
    #[serde(rename = "inputText")]
    input: Option<String>,
    #[serde(rename = "textGenerationConfig")]
    config: Option<Config>,
    model: Option<String>,
    stream: Option<bool>,
    session_id: Option<String>,
    #[serde(borrow)]
    outcrop: Option<Extension<'a, Texts>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Config {
    max_token_count: Option<Whole>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    stop_sequences: Option<Stops>,
}

/// Reads a request.
pub(super) fn decode(sent: &[u8], defaults: &Defaults) -> Result<Asked, Failure> {
    let body: Body<'_> = body::read(sent)?;
    let mut request = TurnRequest {
        model: asking::parsed("model", body.model.as_deref())?,
        ..TurnRequest::default()
    };
    if let Some(extension) = body.outcrop {
        extension.fill("outcrop.", &mut Allowance::default(), &mut request)?;
    }
    let named = asking::parsed("session_id", body.session_id.as_deref())?;
    request.hints = SessionHints { named, ..SessionHints::default() };
    let config = body.config.unwrap_or_default();
    let sampling = Sampling {
        max_tokens: ("textGenerationConfig.maxTokenCount", config.max_token_count),
        temperature: ("textGenerationConfig.temperature", config.temperature),
        top_p: ("textGenerationConfig.topP", config.top_p),
        top_k: ("textGenerationConfig.topK", None),
        stop: ("textGenerationConfig.stopSequences", config.stop_sequences),
    };
    sampling.fill(&mut request.generation)?;
    let Some(input) = body.input else { return Err(wrong(INPUT, "is required")) };
    request.messages = match transcript(&input)? {
        Some(messages) => messages,
        None => vec![Message::text(Role::User, input)],
    };
    let asks = request.messages.iter().rfind(|message| message.role == Role::User);
    if asks.is_none_or(Message::is_empty) && !request.end_session {
        return Err(wrong(INPUT, "is blank: nothing is asked"));
    }
    let stream = body.stream.unwrap_or(defaults.stream);
    let options = Options { include_usage: true, ..Options::default() };
    Ok(Asked { request, stream, options })
}

/// Reads a prompt that is a conversation; none where it is not written as one.
fn transcript(input: &str) -> Result<Option<Vec<Message>>, Failure> {
    let input = input.trim_end();
    let Some(before) = input.strip_suffix("Bot:").filter(|before| before.ends_with('\n')) else {
        return Ok(None);
    };
    let mut messages = Vec::new();
    let (mut role, mut said) = (Role::System, String::new());
    for line in before.lines() {
        let begins =
            SPEAKERS.iter().find_map(|(mark, role)| Some((line.strip_prefix(mark)?, *role)));
        let Some((words, speaker)) = begins else {
            said.push('\n');
            said.push_str(line);
            continue;
        };
        put(&mut messages, role, &said)?;
        (role, said) = (speaker, words.to_owned());
    }
    put(&mut messages, role, &said)?;
    let is_conversation = messages.iter().any(|message| message.role == Role::User);
    Ok(is_conversation.then_some(messages))
}

fn put(messages: &mut Vec<Message>, role: Role, said: &str) -> Result<(), Failure> {
    let said = said.trim();
    if role == Role::System && said.is_empty() {
        return Ok(());
    }
    if messages.len() == MAX_MESSAGES {
        return Err(wrong(INPUT, &format!("holds more than {MAX_MESSAGES} turns; send fewer")));
    }
    messages.push(Message::text(role, said));
    Ok(())
}
