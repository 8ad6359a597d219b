//! OpenAI Embeddings: `POST /v1/embeddings`.
//!
//! After OpenAI's API description 2.3.0. Beyond it, a request may carry `input_type`: what the
//! vectors are for, which Cohere's models want to know.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::turn::{EmbeddingInput, EmbeddingRequest, Embeddings, Failure, ModelName};

use super::bounded::Allowance;
use super::sieve::Sieved;
use super::whole::Whole;
use super::{body, json_text};

/// Inputs in one request, by OpenAI's rule.
const MAX_INPUTS: usize = 2_048;
/// Tokens in one input that comes as such.
const MAX_TOKENS: usize = 8_192;
/// The longest vector that can be asked for.
const MAX_DIMENSIONS: i64 = 16_384;
/// Characters of a purpose or of a user's name.
const LONGEST_WORD: usize = 512;
/// Further members that are passed on, at most; bytes of one's name, and of one's value.
const FURTHER: (usize, usize, usize) = (64, 64, 64 << 10);

/// A decoded request.
#[derive(Debug)]
pub struct Asked {
    /// The model named, if any.
    pub model: Option<ModelName>,
    /// What is to be embedded.
    pub request: EmbeddingRequest,
    /// How the vectors are to be written.
    pub encoding: Encoding,
}

/// How vectors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// As numbers.
    #[default]
    Float,
    /// As base64 of little-endian 32-bit floats, which the OpenAI SDKs ask for by themselves.
    Base64,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Body {
    model: Option<String>,
    input: Option<Input>,
    encoding_format: Option<String>,
    dimensions: Option<Whole>,
    input_type: Option<String>,
    user: Option<String>,
}

/// Reads a request.
///
/// # Errors
/// [`FailureKind::BadRequest`](crate::turn::FailureKind) with the member at fault.
pub fn decode(sent: &[u8]) -> Result<Asked, Failure> {
    let Sieved { known: sent, rest } = body::read::<Sieved<'_, Body>>(sent)?;
    let model = sent.model.map(|name| {
        name.parse().map_err(|bad| Failure::bad_field("model", format!("model: {bad}")))
    });
    let encoding = match sent.encoding_format.as_deref() {
        None | Some("float") => Encoding::Float,
        Some("base64") => Encoding::Base64,
        Some(_) => return Err(body::wrong("encoding_format", "must be float or base64")),
    };
    let dimensions = match sent.dimensions {
        None => None,
        Some(Whole(n)) if (1..=MAX_DIMENSIONS).contains(&n) => u32::try_from(n).ok(),
        Some(_) => {
            return Err(body::wrong("dimensions", &format!("must be 1 to {MAX_DIMENSIONS}")));
        }
    };
    let Some(Input(inputs)) = sent.input else {
        return Err(body::wrong("input", "is required"));
    };
    check(&inputs)?;
    let request = EmbeddingRequest {
        inputs,
        dimensions,
        purpose: word("input_type", sent.input_type)?,
        user: word("user", sent.user)?,
        extra: further(rest),
    };
    Ok(Asked { model: model.transpose()?, request, encoding })
}

/// Further members, as far as they fit: one that is not known is no mistake of the client.
fn further(rest: Vec<(String, &RawValue)>) -> Map<String, Value> {
    let (most, longest_name, longest) = FURTHER;
    let fits = |(name, raw): &(String, &RawValue)| {
        name.len() <= longest_name && raw.get().len() <= longest && raw.get() != "null"
    };
    let mut allowance = Allowance::default();
    let fitting = rest.into_iter().filter(fits).take(most);
    fitting.filter_map(|(name, raw)| Some((name, allowance.read(raw).ok()?))).collect()
}

fn check(inputs: &[EmbeddingInput]) -> Result<(), Failure> {
    if inputs.is_empty() {
        return Err(body::wrong("input", "must hold at least one text"));
    }
    let blank = inputs.iter().position(|input| match input {
        EmbeddingInput::Text(text) => text.is_empty(),
        EmbeddingInput::Tokens(tokens) => tokens.is_empty(),
    });
    match blank {
        Some(_) if inputs.len() == 1 => Err(body::wrong("input", "must not be empty")),
        Some(index) => Err(body::wrong(format!("input[{index}]"), "must not be empty")),
        None => Ok(()),
    }
}

fn word(param: &'static str, text: Option<String>) -> Result<Option<String>, Failure> {
    match text {
        Some(text) if text.len() > LONGEST_WORD => {
            Err(body::wrong(param, &format!("must be at most {LONGEST_WORD} characters")))
        }
        Some(text) if text.is_empty() => Ok(None),
        text => Ok(text),
    }
}

/// `input`: a text, a list of texts, a list of tokens, or a list of such lists.
#[derive(Debug)]
struct Input(Vec<EmbeddingInput>);

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(InputVisitor)
    }
}

struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = Input;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string, or a list of strings, of tokens or of lists of tokens")
    }

    fn visit_str<E>(self, text: &str) -> Result<Input, E> {
        Ok(Input(vec![EmbeddingInput::Text(text.to_owned())]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Input, A::Error> {
        let mut inputs = Vec::new();
        let mut tokens = Vec::new();
        while let Some(entry) = list.next_element()? {
            match entry {
                Entry::Text(text) => inputs.push(EmbeddingInput::Text(text)),
                Entry::Tokens(tokens) => inputs.push(EmbeddingInput::Tokens(tokens)),
                Entry::Token(token) => tokens.push(token),
            }
            if inputs.len() > MAX_INPUTS {
                let message = format_args!("more than {MAX_INPUTS} inputs; send fewer");
                return Err(A::Error::custom(message));
            }
            if tokens.len() > MAX_TOKENS {
                let message = format_args!("more than {MAX_TOKENS} tokens in one input");
                return Err(A::Error::custom(message));
            }
        }
        match (inputs.is_empty(), tokens.is_empty()) {
            (true, false) => Ok(Input(vec![EmbeddingInput::Tokens(tokens)])),
            (false, false) => Err(A::Error::custom("texts and tokens in one list")),
            (_, true) => Ok(Input(inputs)),
        }
    }
}

/// An entry of a list.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a string, a token or a list of tokens")]
enum Entry {
    Text(String),
    Token(u32),
    Tokens(Vec<u32>),
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Item<'a>>,
    model: &'a str,
    usage: Counted,
}

#[derive(Serialize)]
struct Item<'a> {
    object: &'static str,
    index: usize,
    embedding: Vector<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector<'a> {
    Numbers(&'a [f32]),
    Encoded(String),
}

#[derive(Serialize)]
struct Counted {
    prompt_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    estimated: bool,
}

/// Writes the vectors.
#[must_use]
pub fn write(model: &ModelName, made: &Embeddings, encoding: Encoding) -> Bytes {
    let items = made.vectors.iter().enumerate().map(|(index, vector)| Item {
        object: "embedding",
        index,
        embedding: match encoding {
            Encoding::Float => Vector::Numbers(vector),
            Encoding::Base64 => Vector::Encoded(encoded(vector)),
        },
    });
    let list = List {
        object: "list",
        data: items.collect(),
        model: model.as_str(),
        usage: Counted {
            prompt_tokens: made.usage.input_tokens,
            total_tokens: made.usage.input_tokens,
            estimated: made.usage.estimated,
        },
    };
    let mut out = BytesMut::new();
    json_text::value(&list, &mut out);
    out.freeze()
}

fn encoded(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::turn::Usage;

    use super::*;

    fn asked(body: &Value) -> Result<Asked, Failure> {
        decode(body.to_string().as_bytes())
    }

    fn inputs(input: &Value) -> Vec<EmbeddingInput> {
        asked(&json!({ "model": "m", "input": input })).unwrap().request.inputs
    }

    #[test]
    fn an_input_is_a_text_or_texts_or_tokens() {
        let text = |text: &str| EmbeddingInput::Text(text.to_owned());
        assert_eq!(inputs(&json!("hello")), [text("hello")]);
        assert_eq!(inputs(&json!(["a", "b"])), [text("a"), text("b")]);
        assert_eq!(inputs(&json!([1, 2])), [EmbeddingInput::Tokens(vec![1, 2])]);
        let lists = [EmbeddingInput::Tokens(vec![1]), EmbeddingInput::Tokens(vec![2, 3])];
        assert_eq!(inputs(&json!([[1], [2, 3]])), lists);
    }

    #[test]
    fn members_that_are_not_known_are_kept_as_far_as_they_fit() {
        let body = json!({
            "input": "a", "user": "ann", "truncate": true, "nothing": null,
            "large": "x".repeat(FURTHER.2), "n".repeat(FURTHER.1 + 1): 1,
        });
        let extra = asked(&body).unwrap().request.extra;
        assert_eq!(Value::Object(extra), json!({ "truncate": true }));
    }

    #[test]
    fn what_cannot_be_embedded_is_refused_by_name() {
        let cases = [
            (json!({ "model": "m" }), "input"),
            (json!({ "input": "" }), "input"),
            (json!({ "input": [] }), "input"),
            (json!({ "input": ["a", ""] }), "input[1]"),
            (json!({ "input": ["a", 1] }), "input"),
            (json!({ "input": "a", "dimensions": 0 }), "dimensions"),
            (json!({ "input": "a", "encoding_format": "int8" }), "encoding_format"),
            (json!({ "input": "a", "model": "two words" }), "model"),
            (json!({ "input": vec!["a"; MAX_INPUTS + 1] }), "input"),
        ];
        for (body, param) in cases {
            let refused = asked(&body).unwrap_err();
            assert_eq!(refused.param.as_deref(), Some(param), "{body}");
        }
    }

    #[test]
    fn vectors_are_numbers_or_little_endian_floats() {
        let made = Embeddings {
            vectors: vec![vec![0.5, -1.0]],
            usage: Usage { input_tokens: 3, ..Usage::default() },
        };
        let model = "m".parse().unwrap();
        let numbers: Value =
            serde_json::from_slice(&write(&model, &made, Encoding::Float)).unwrap();
        let expected = json!({
            "object": "list",
            "data": [{ "object": "embedding", "index": 0, "embedding": [0.5, -1.0] }],
            "model": "m",
            "usage": { "prompt_tokens": 3, "total_tokens": 3 },
        });
        assert_eq!(numbers, expected);
        let text: Value = serde_json::from_slice(&write(&model, &made, Encoding::Base64)).unwrap();
        assert_eq!(text["data"][0]["embedding"], "AAAAPwAAgL8=");
    }
}
