//! Titan's own format: one text in, one text out. A transcript is told in it by lines that begin
//! with `User:` and `Bot:`.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::emulator::refusal::Refusal;

use super::answer::{Answer, Said};
use super::claude::malformed;
use super::converse::pieces;
use super::native::{self, Chunk};
use super::prompt::{Block, Message, Prompt, Role};
use super::terms::Inference;
use super::tokens;

/// Tokens of an answer when nothing is said.
const USUAL_TOKENS: i64 = 512;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    input_text: String,
    #[serde(default)]
    text_generation_config: Config,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Config {
    temperature: Option<f64>,
    top_p: Option<f64>,
    max_token_count: Option<i64>,
    stop_sequences: Vec<String>,
}

/// Reads a body.
///
/// # Errors
/// `ValidationException`
pub(super) fn prompt(body: &[u8]) -> Result<Prompt, Refusal> {
    let body: Body = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    let config = body.text_generation_config;
    Ok(Prompt {
        messages: transcript(&body.input_text),
        inference_config: Inference {
            max_tokens: config.max_token_count.or(Some(USUAL_TOKENS)),
            temperature: config.temperature,
            top_p: config.top_p,
            stop_sequences: config.stop_sequences,
        },
        ..Prompt::default()
    })
}

/// The messages that a text tells; what stands before the first line of a speaker is the user's.
fn transcript(text: &str) -> Vec<Message> {
    let mut turns: Vec<(Role, String)> = Vec::new();
    for line in text.lines() {
        let (speaker, said) = match (line.strip_prefix("User:"), line.strip_prefix("Bot:")) {
            (Some(said), _) => (Some(Role::User), said.trim_start()),
            (None, Some(said)) => (Some(Role::Assistant), said.trim_start()),
            (None, None) => (None, line),
        };
        match turns.last_mut() {
            Some((role, before)) if speaker.is_none_or(|speaker| speaker == *role) => {
                before.push('\n');
                before.push_str(said);
            }
            _ => turns.push((speaker.unwrap_or(Role::User), said.to_owned())),
        }
    }
    let spoken = turns.into_iter().map(|(role, text)| (role, text.trim().to_owned()));
    let spoken = spoken.filter(|(role, text)| *role == Role::User || !text.is_empty());
    spoken.map(|(role, text)| Message { role, content: vec![Block::Text(text)] }).collect()
}

/// The answer in one piece.
pub(super) fn body(answer: &Answer) -> Value {
    json!({
        "inputTextTokenCount": answer.usage.prompt_total(),
        "results": [{
            "tokenCount": answer.usage.output,
            "outputText": text(answer),
            "completionReason": answer.stop.titan(),
        }],
    })
}

fn text(answer: &Answer) -> String {
    let texts = answer.blocks.iter().filter_map(|block| match block {
        Said::Text(text) | Said::Cited { text, .. } => Some(text.as_str()),
        Said::Thought { .. } | Said::Hidden(_) | Said::Call { .. } => None,
    });
    texts.collect()
}

/// The objects of a streamed answer; the last one says why it ends.
pub(super) fn chunks(answer: &Answer) -> impl Iterator<Item = Chunk> + Send + use<> {
    let input = answer.usage.prompt_total();
    let object = move |text: &str, total: Value, reason: Value| {
        json!({
            "index": 0, "inputTextTokenCount": input, "totalOutputTextTokenCount": total,
            "outputText": text, "completionReason": reason,
        })
    };
    let mut last = object("", json!(answer.usage.output), json!(answer.stop.titan()));
    last[native::METRICS] = native::metrics(answer.usage);
    let mut said = 0;
    let words = pieces(text(answer)).map(move |piece| {
        said += tokens::count(&piece);
        Chunk { object: object(&piece, json!(said), Value::Null), is_chunk: true }
    });
    words.chain([Chunk::frame(last)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_speakers_are_a_transcript() {
        let told = |text: &str| -> Vec<(Role, String)> {
            transcript(text).into_iter().map(|message| (message.role, message.text())).collect()
        };
        assert_eq!(
            told("Be brief.\nUser: I am Ann\nBot: Hello\nUser: Who\nam I?\nBot:"),
            [
                (Role::User, "Be brief.\nI am Ann".to_owned()),
                (Role::Assistant, "Hello".to_owned()),
                (Role::User, "Who\nam I?".to_owned()),
            ]
        );
        assert_eq!(told("hello"), [(Role::User, "hello".to_owned())]);
        assert!(told("").is_empty());
    }
}
