//! How the service writes an answer down: frames of its own union of events.

use serde_json::{Value, json};

use crate::emulator::frames;
use crate::emulator::models::answer::{Answer, Said};
use crate::emulator::models::converse::{fragments, pieces as texts};
use crate::emulator::models::script::{Piece, Pieces};

/// What a token costs, in the service's own coin.
const CREDITS: f64 = 0.001;

/// The frames of an answer.
pub(super) fn pieces(conversation: &str, answer: Answer) -> Pieces {
    let prompt = answer.usage.prompt;
    let total = answer.usage.prompt_total() + answer.usage.output;
    let begin = [
        frame("initial-response", &json!({})),
        frame(
            "messageMetadataEvent",
            &json!({ "conversationId": conversation, "utteranceId": answer.id }),
        ),
    ];
    let usage = json!({ "tokenUsage": {
        "uncachedInputTokens": prompt.input,
        "cacheReadInputTokens": prompt.cache_read,
        "cacheWriteInputTokens": prompt.cache_write(),
        "outputTokens": answer.usage.output,
        "totalTokens": total,
    }});
    let metered =
        json!({ "usage": total as f64 * CREDITS, "unit": "credit", "unitPlural": "credits" });
    let end = [
        frame("contextUsageEvent", &json!({ "contextUsagePercentage": 1.5 })),
        frame("meteringEvent", &metered),
        frame("metadataEvent", &usage),
    ];
    let blocks = answer.blocks.into_iter().flat_map(block);
    Box::new(begin.into_iter().chain(blocks).chain(end))
}

fn frame(event: &'static str, payload: &Value) -> Piece {
    let is_chunk = matches!(event, "assistantResponseEvent" | "reasoningContentEvent")
        || payload.get("input").is_some();
    Piece { bytes: frames::event(event, payload.to_string()), is_chunk }
}

fn block(said: Said) -> Box<dyn Iterator<Item = Piece> + Send> {
    match said {
        Said::Thought { text, signature } => {
            let thought = |text: String| frame("reasoningContentEvent", &json!({ "text": text }));
            let seal =
                signature.map(|seal| frame("reasoningContentEvent", &json!({ "signature": seal })));
            Box::new(texts(text).map(thought).chain(seal))
        }
        Said::Hidden(base64) => {
            let hidden = json!({ "redactedContent": base64 });
            Box::new(std::iter::once(frame("reasoningContentEvent", &hidden)))
        }
        Said::Text(text) => Box::new(texts(text).map(spoken)),
        Said::Cited { text, citation } => {
            let source = sourced(&text, &citation);
            Box::new(texts(text).map(spoken).chain(source))
        }
        Said::Call { id, name, input } => {
            let start = json!({ "toolUseId": id, "name": name });
            let stop = json!({ "toolUseId": id, "name": name, "stop": true });
            // A call without arguments comes without any fragment.
            let input = if input == "{}" { String::new() } else { input };
            let more = fragments(input).map(move |piece| {
                frame("toolUseEvent", &json!({ "toolUseId": id, "name": name, "input": piece }))
            });
            let start = std::iter::once(frame("toolUseEvent", &start));
            Box::new(start.chain(more).chain([frame("toolUseEvent", &stop)]))
        }
    }
}

fn spoken(piece: String) -> Piece {
    frame("assistantResponseEvent", &json!({ "content": piece }))
}

/// What the text before rests on: code of somebody's, before which the service repeats the end of
/// what it said, or a page.
fn sourced(text: &str, citation: &Value) -> Vec<Piece> {
    let url = citation["location"]["web"]["url"].as_str().unwrap_or_default();
    let domain = citation["location"]["web"]["domain"].as_str().unwrap_or_default();
    if domain != "github.com" {
        let link = json!({ "url": url, "title": domain, "snippet": text });
        let links = json!({ "supplementaryWebLinks": [link] });
        return vec![frame("supplementaryWebLinksEvent", &links)];
    }
    let last = texts(text.to_owned()).last().unwrap_or_default();
    let again = Piece { is_chunk: false, ..spoken(last) };
    let length = text.chars().count();
    let reference = json!({
        "licenseName": "MIT",
        "repository": url.trim_start_matches("https://github.com/"),
        "url": url,
        "recommendationContentSpan": { "start": 0, "end": length },
    });
    let mut both = again.bytes.to_vec();
    both.extend_from_slice(
        &frame("codeReferenceEvent", &json!({ "references": [reference] })).bytes,
    );
    vec![Piece { bytes: both.into(), is_chunk: false }]
}
