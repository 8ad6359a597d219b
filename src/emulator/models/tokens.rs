//! How many tokens there are, and which of them a cache holds already.
//!
//! A token is a word with the space after it, or as much of a longer word as twelve characters.
//! Media and documents count by their size. Nothing of a real model's counts is imitated but that
//! they grow with the prompt and stay the same for the same one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::cards::{Can, Card};
use super::prompt::{
    Block, CachePoint, Chunk, Document, GuardContent, Media, Prompt, Reasoning, ResultBlock,
    Source, SystemBlock,
};
use super::terms::{InputSchema, Tool};

/// The longest token, in characters.
const LONGEST: usize = 12;
/// Tokens that a model's own frame around each message takes.
const PER_MESSAGE: u64 = 3;
/// Tokens of the smallest and of the largest picture.
const PICTURE: (u64, u64) = (85, 1_600);
/// Bytes of a picture, and of a document, for a token.
const BYTES_PER_TOKEN: (u64, u64) = (750, 6);
/// The shortest prefix that is kept, in tokens; shorter ones are passed over without a word.
pub(in crate::emulator) const LEAST_CACHED: u64 = 1_024;
/// Most prefixes that are kept at once.
const MAX_PREFIXES: usize = 10_000;

/// Cuts off the first token of a text; `None` when the text is empty.
pub(in crate::emulator) fn next_token(text: &str) -> Option<(&str, &str)> {
    if text.is_empty() {
        return None;
    }
    let mut after_space = false;
    for (letters, (at, letter)) in text.char_indices().enumerate() {
        let is_space = letter.is_whitespace();
        if (after_space && !is_space) || letters == LONGEST {
            return Some(text.split_at(at));
        }
        after_space |= is_space;
    }
    Some((text, ""))
}

/// The tokens of a text, in order.
pub(in crate::emulator) fn tokens(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (token, rest) = next_token(text)?;
        text = rest;
        Some(token)
    })
}

/// How many tokens a text has.
pub(in crate::emulator) fn count(text: &str) -> u64 {
    tokens(text).count() as u64
}

/// What a prompt costs, and where it may be cut for the cache.
#[derive(Debug)]
pub(in crate::emulator) struct Measured {
    /// All its tokens.
    pub(in crate::emulator) total: u64,
    /// Of everything in it and the model that reads it.
    pub(in crate::emulator) digest: [u8; 32],
    points: Vec<Point>,
}

/// A cache point.
#[derive(Debug)]
struct Point {
    /// Of everything before it.
    digest: [u8; 32],
    /// Of everything before it.
    tokens: u64,
    lives_an_hour: bool,
}

/// Measures a prompt as this model reads it: tools, then system texts, then messages.
pub(in crate::emulator) fn measure(card: &Card, prompt: &Prompt) -> Measured {
    let mut ruler = Ruler { digest: Sha256::new(), tokens: 0, points: Vec::new() };
    ruler.digest.update(card.id);
    for tool in prompt.tool_config.iter().flat_map(|config| &config.tools) {
        match tool {
            Tool::Spec(spec) => {
                let InputSchema::Json(schema) = &spec.input_schema;
                ruler.text(&spec.name);
                ruler.text(spec.description.as_deref().unwrap_or_default());
                ruler.json(schema);
            }
            Tool::System(named) => ruler.text(&named.name),
            Tool::CachePoint(point) => ruler.point(point),
        }
    }
    for block in &prompt.system {
        match block {
            SystemBlock::Text(text) => ruler.text(text),
            SystemBlock::GuardContent(guarded) => ruler.guarded(guarded),
            SystemBlock::CachePoint(point) => ruler.point(point),
        }
    }
    for message in &prompt.messages {
        ruler.digest.update([message.role as u8]);
        ruler.tokens += PER_MESSAGE;
        message.content.iter().for_each(|block| ruler.block(block));
        if card.can(Can::CacheUnasked) {
            ruler.end_prefix(false);
        }
    }
    Measured { total: ruler.tokens, digest: ruler.digest.finalize().into(), points: ruler.points }
}

struct Ruler {
    digest: Sha256,
    tokens: u64,
    points: Vec<Point>,
}

impl Ruler {
    fn take(&mut self, kind: &str, bytes: &[u8], tokens: u64) {
        self.digest.update(kind);
        self.digest.update((bytes.len() as u64).to_be_bytes());
        self.digest.update(bytes);
        self.tokens += tokens;
    }

    fn text(&mut self, text: &str) {
        self.take("text", text.as_bytes(), count(text));
    }

    fn json(&mut self, value: &Value) {
        let text = value.to_string();
        self.take("json", text.as_bytes(), text.len().div_ceil(4) as u64);
    }

    fn picture(&mut self, media: &Media) {
        let bytes = self.source(&media.source);
        self.tokens += (bytes / BYTES_PER_TOKEN.0).clamp(PICTURE.0, PICTURE.1);
    }

    fn document(&mut self, document: &Document) {
        self.text(&document.name);
        let bytes = self.source(&document.source);
        self.tokens += bytes.div_ceil(BYTES_PER_TOKEN.1);
    }

    /// Takes in a source and says how many bytes it has.
    fn source(&mut self, source: &Source) -> u64 {
        match source {
            Source::Bytes(base64) => {
                self.take("bytes", base64.as_bytes(), 0);
                base64.len() as u64 * 3 / 4
            }
            Source::S3Location(place) => {
                self.take("place", place.uri.as_bytes(), 0);
                0
            }
            Source::Text(text) => {
                self.take("text", text.as_bytes(), 0);
                text.len() as u64
            }
            Source::Content(chunks) => chunks
                .iter()
                .map(|Chunk::Text(text)| {
                    self.take("text", text.as_bytes(), 0);
                    text.len() as u64
                })
                .sum(),
        }
    }

    fn guarded(&mut self, guarded: &GuardContent) {
        match guarded {
            GuardContent::Text(guarded) => self.text(&guarded.text),
            GuardContent::Image(image) => self.picture(image),
        }
    }

    fn point(&mut self, point: &CachePoint) {
        self.end_prefix(point.ttl.as_deref() == Some("1h"));
    }

    /// Ends a prefix that is to be kept.
    fn end_prefix(&mut self, lives_an_hour: bool) {
        let digest = self.digest.clone().finalize().into();
        self.points.push(Point { digest, tokens: self.tokens, lives_an_hour });
    }

    fn block(&mut self, block: &Block) {
        match block {
            Block::Text(text) => self.text(text),
            Block::Image(media) | Block::Video(media) | Block::Audio(media) => self.picture(media),
            Block::Document(document) => self.document(document),
            Block::ToolUse(call) => {
                self.text(&call.tool_use_id);
                self.text(&call.name);
                self.json(&call.input);
            }
            Block::ToolResult(result) => {
                self.text(&result.tool_use_id);
                result.content.iter().for_each(|block| self.result(block));
            }
            Block::ReasoningContent(Reasoning::ReasoningText(thought)) => self.text(&thought.text),
            Block::ReasoningContent(Reasoning::RedactedContent(hidden)) => self.text(hidden),
            Block::GuardContent(guarded) => self.guarded(guarded),
            Block::CachePoint(point) => self.point(point),
            Block::CitationsContent(cited) => {
                cited.content.iter().for_each(|Chunk::Text(text)| self.text(text));
            }
            Block::SearchResult(found) => {
                self.text(&found.title);
                found.content.iter().for_each(|part| self.text(&part.text));
            }
        }
    }

    fn result(&mut self, block: &ResultBlock) {
        match block {
            ResultBlock::Json(value) => self.json(value),
            ResultBlock::Text(text) => self.text(text),
            ResultBlock::Image(media) | ResultBlock::Video(media) => self.picture(media),
            ResultBlock::Document(document) => self.document(document),
            ResultBlock::SearchResult(found) => self.text(&found.title),
        }
    }
}

/// How a prompt's tokens are charged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::emulator) struct Charged {
    /// Read anew.
    pub(in crate::emulator) input: u64,
    /// Read from the cache.
    pub(in crate::emulator) cache_read: u64,
    /// Written to the cache, to live five minutes.
    pub(in crate::emulator) written_5m: u64,
    /// Written to the cache, to live an hour.
    pub(in crate::emulator) written_1h: u64,
}

impl Charged {
    /// Written to the cache in all.
    pub(in crate::emulator) fn cache_write(self) -> u64 {
        self.written_5m + self.written_1h
    }
}

/// Prefixes that were written. The only thing that outlives a request here, as on the service.
#[derive(Debug, Default)]
pub(in crate::emulator) struct Cache {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    until: HashMap<[u8; 32], Instant>,
    order: VecDeque<[u8; 32]>,
}

impl Cache {
    /// Charges a prompt: what an earlier one wrote is read, and what stands before its cache
    /// points is written.
    pub(in crate::emulator) fn charge(&self, card: &Card, measured: &Measured) -> Charged {
        let mut charged = Charged::default();
        let now = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let long_enough = |point: &&Point| card.can(Can::Cache) && point.tokens >= LEAST_CACHED;
        let points: Vec<&Point> = measured.points.iter().filter(long_enough).collect();
        let held = |point: &&Point| kept.until.get(&point.digest).is_some_and(|end| *end > now);
        let read = points.iter().rposition(held);
        charged.cache_read = read.map_or(0, |place| points[place].tokens);
        let mut before = charged.cache_read;
        for point in &points[read.map_or(0, |place| place + 1)..] {
            let written =
                if point.lives_an_hour { &mut charged.written_1h } else { &mut charged.written_5m };
            *written += point.tokens - before;
            before = point.tokens;
        }
        for point in points {
            kept.keep(point, now);
        }
        charged.input = measured.total - before;
        charged
    }

    /// Forgets everything.
    pub(in crate::emulator) fn reset(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
    }
}

impl Kept {
    fn keep(&mut self, point: &Point, now: Instant) {
        let life = Duration::from_secs(if point.lives_an_hour { 3_600 } else { 300 });
        if self.until.insert(point.digest, now + life).is_none() {
            self.order.push_back(point.digest);
        }
        if self.order.len() > MAX_PREFIXES
            && let Some(oldest) = self.order.pop_front()
        {
            self.until.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::emulator::models::catalogue;

    #[test]
    fn tokens_are_words_with_the_space_after_them() {
        assert_eq!(tokens("1 2  three").collect::<Vec<_>>(), ["1 ", "2  ", "three"]);
        assert_eq!(tokens(" a").collect::<Vec<_>>(), [" ", "a"]);
        assert_eq!(tokens("ÄÄÄÄÄÄÄÄÄÄÄÄÖ").collect::<Vec<_>>(), ["ÄÄÄÄÄÄÄÄÄÄÄÄ", "Ö"]);
        assert_eq!(count(""), 0);
    }

    fn prompt(long: &str, question: &str) -> Measured {
        let body = json!({
            "system": [{"text": long}, {"cachePoint": {"type": "default"}}],
            "messages": [{"role": "user", "content": [{"text": question}]}],
        });
        let card = catalogue::find("amazon.nova-lite-v1:0").unwrap();
        measure(card, &serde_json::from_value(body).unwrap())
    }

    #[test]
    fn the_second_prompt_reads_what_the_first_wrote() {
        let (cache, long) = (Cache::default(), "word ".repeat(2_000));
        let card = catalogue::find("amazon.nova-lite-v1:0").unwrap();
        let first = cache.charge(card, &prompt(&long, "one"));
        assert_eq!((first.cache_read, first.written_5m, first.input), (0, 2_000, 4));
        let second = cache.charge(card, &prompt(&long, "and another"));
        assert_eq!((second.cache_read, second.written_5m, second.input), (2_000, 0, 5));
        cache.reset();
        assert_eq!(cache.charge(card, &prompt(&long, "one")), first);
    }

    #[test]
    fn a_short_prefix_is_not_kept() {
        let (cache, card) = (Cache::default(), catalogue::find("amazon.nova-lite-v1:0").unwrap());
        for _ in 0..2 {
            let charged = cache.charge(card, &prompt("short", "one"));
            assert_eq!((charged.cache_read, charged.cache_write(), charged.input), (0, 0, 5));
        }
    }
}
