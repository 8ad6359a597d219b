//! What an upstream sends: `chat.completion.chunk`s, or one `chat.completion`.
//!
//! Read leniently: servers leave members out, send `null` or empty texts in their place, and add
//! their own. (OpenAI's API description 2.3.0, "chat.completion.chunk"; the reasoning members are
//! those of vLLM, DeepSeek and OpenRouter.)

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::turn::Usage;

/// A chunk, or a whole completion: they differ in `delta` and `message` alone.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Chunk {
    pub(super) choices: Option<Vec<Choice>>,
    pub(super) usage: Option<SentUsage>,
    pub(super) error: Option<Value>,
}

/// One of the answers; ours is the first.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice {
    pub(super) index: Option<u64>,
    pub(super) delta: Option<Delta>,
    pub(super) message: Option<Delta>,
    pub(super) logprobs: Option<SentLogprobs>,
    pub(super) finish_reason: Option<String>,
}

/// How likely the tokens were. Servers that tell it in another shape tell nothing here.
#[derive(Debug, Default)]
pub(super) struct SentLogprobs {
    pub(super) content: Vec<Value>,
    pub(super) refusal: Vec<Value>,
}

impl<'de> Deserialize<'de> for SentLogprobs {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let mut told = Value::deserialize(source)?;
        let mut entries = |name: &str| match told.get_mut(name).map(Value::take) {
            Some(Value::Array(entries)) => entries,
            _ => Vec::new(),
        };
        Ok(Self { content: entries("content"), refusal: entries("refusal") })
    }
}

/// What is new of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta {
    pub(super) content: Content,
    pub(super) refusal: Option<String>,
    pub(super) reasoning_content: Option<String>,
    pub(super) reasoning: Content,
    pub(super) tool_calls: Option<Vec<CallDelta>>,
    pub(super) function_call: Option<FunctionDelta>,
    pub(super) annotations: Option<Vec<Annotation>>,
}

/// What is new of a tool call.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CallDelta {
    pub(super) index: Option<u64>,
    pub(super) id: Option<String>,
    pub(super) function: Option<FunctionDelta>,
}

/// What is new of the function that it calls.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FunctionDelta {
    pub(super) name: Option<String>,
    pub(super) arguments: Arguments,
}

/// A source that the answer names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Annotation {
    pub(super) url_citation: Option<UrlCitation>,
}

/// A page that the answer rests on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UrlCitation {
    pub(super) start_index: Option<usize>,
    pub(super) end_index: Option<usize>,
    pub(super) url: Option<String>,
    pub(super) title: Option<String>,
}

/// Tokens, as told.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SentUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
    /// DeepSeek's own.
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    /// LiteLLM's name of the same.
    cache_creation_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

impl From<SentUsage> for Usage {
    fn from(sent: SentUsage) -> Self {
        let prompt = sent.prompt_tokens_details.unwrap_or_default();
        let reasoning = sent.completion_tokens_details.and_then(|details| details.reasoning_tokens);
        Self {
            input_tokens: sent.prompt_tokens.unwrap_or_default(),
            output_tokens: sent.completion_tokens.unwrap_or_default(),
            cached_input_tokens: prompt
                .cached_tokens
                .or(sent.prompt_cache_hit_tokens)
                .unwrap_or_default(),
            cache_written_tokens: prompt
                .cache_write_tokens
                .or(prompt.cache_creation_tokens)
                .unwrap_or_default(),
            reasoning_tokens: reasoning.unwrap_or_default(),
            estimated: false,
        }
    }
}

/// A text, or a list of parts, of which the texts count; nothing else does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content(pub(super) String);

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(ContentVisitor).map(Self)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = String;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a text or a list of parts")
    }

    fn visit_unit<E>(self) -> Result<String, E> {
        Ok(String::new())
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_string<E>(self, text: String) -> Result<String, E> {
        Ok(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<String, A::Error> {
        let mut joined = String::new();
        while let Some(part) = parts.next_element::<TextPart>()? {
            joined.push_str(part.text.as_deref().unwrap_or_default());
        }
        Ok(joined)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<String, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(String::new())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TextPart {
    text: Option<String>,
}

/// Arguments as JSON text; some servers send the JSON itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments(pub(super) String);

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let raw = <Box<RawValue>>::deserialize(source)?;
        let text = match raw.get() {
            "null" => String::new(),
            quoted if quoted.starts_with('"') => {
                serde_json::from_str(quoted).map_err(serde::de::Error::custom)?
            }
            json => json.to_owned(),
        };
        Ok(Self(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(json: &str) -> Delta {
        let chunk = format!(r#"{{"choices":[{{"delta":{json}}}]}}"#);
        let chunk: Chunk = serde_json::from_str(&chunk).unwrap();
        chunk.choices.unwrap().remove(0).delta.unwrap()
    }

    #[test]
    fn whatever_is_left_out_or_null_is_nothing() {
        for json in ["{}", r#"{"content":null,"tool_calls":null,"reasoning":null,"role":null}"#] {
            let delta = delta(json);
            assert_eq!((delta.content.0.as_str(), delta.tool_calls.is_none()), ("", true));
        }
        let chunk: Chunk = serde_json::from_str(r#"{"choices":null,"usage":null}"#).unwrap();
        assert!(chunk.choices.is_none() && chunk.error.is_none());
    }

    #[test]
    fn content_may_be_a_list_of_parts() {
        let listed = delta(r#"{"content":[{"type":"text","text":"a"},{"type":"x"},{"text":"b"}]}"#);
        assert_eq!(listed.content.0, "ab");
    }

    #[test]
    fn arguments_may_be_the_json_itself() {
        let arguments = |json: &str| {
            let call = format!(r#"{{"function_call":{{"arguments":{json}}}}}"#);
            delta(&call).function_call.unwrap().arguments.0
        };
        assert_eq!(arguments(r#""{\"a\":1}""#), r#"{"a":1}"#);
        assert_eq!(arguments(r#"{"a": 1}"#), r#"{"a": 1}"#);
        assert_eq!(arguments("null"), "");
    }

    #[test]
    fn usage_is_told_in_either_spelling() {
        let usage = |json: &str| Usage::from(serde_json::from_str::<SentUsage>(json).unwrap());
        let full = usage(
            r#"{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14,
                "prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},
                "completion_tokens_details":{"reasoning_tokens":3}}"#,
        );
        assert_eq!((full.input_tokens, full.output_tokens), (9, 5));
        assert_eq!((full.cached_input_tokens, full.reasoning_tokens), (4, 3));
        let cached = usage(r#"{"prompt_tokens":9,"prompt_cache_hit_tokens":8}"#);
        assert_eq!((cached.cached_input_tokens, cached.estimated), (8, false));
        for name in ["cache_write_tokens", "cache_creation_tokens"] {
            let json = format!(r#"{{"prompt_tokens_details":{{"{name}":7}}}}"#);
            assert_eq!(usage(&json).cache_written_tokens, 7);
        }
    }
}
