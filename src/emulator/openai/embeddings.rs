//! `POST /v1/embeddings`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::emulator::models::{tokens, vectors};

use super::wrong::Wrong;

/// Inputs of a request, at most.
const MAX_INPUTS: usize = 2_048;
/// Tokens of an input, at most.
const MAX_TOKENS: u64 = 8_192;
/// Numbers in a vector when nothing is said, and at most.
const DIMENSIONS: usize = 1_536;

/// A request that makes sense.
#[derive(Debug)]
pub(super) struct Asked {
    /// The model, as it is called.
    pub(super) model: String,
    /// The texts.
    pub(super) inputs: Vec<String>,
    dimensions: usize,
    in_base64: bool,
}

#[derive(Debug, Deserialize)]
struct Body {
    model: String,
    input: Value,
    dimensions: Option<usize>,
    encoding_format: Option<String>,
}

/// Reads a request.
///
/// # Errors
/// 400, with the member that makes no sense.
pub(super) fn read(body: &[u8]) -> Result<Asked, Wrong> {
    let body: Body = serde_json::from_slice(body)
        .map_err(|error| Wrong::at("", format!("the body cannot be read: {error}")))?;
    let dimensions = body.dimensions.unwrap_or(DIMENSIONS);
    if !(1..=DIMENSIONS).contains(&dimensions) {
        let message = format!("'dimensions' must be 1 to {DIMENSIONS}.");
        return Err(Wrong::at("dimensions", message));
    }
    let in_base64 = match body.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(Wrong::at("encoding_format", "must be float or base64.")),
    };
    let inputs = inputs(&body.input)?;
    let is_too_long = |text: &String| tokens::count(text) > MAX_TOKENS;
    if inputs.iter().any(is_too_long) {
        let message = format!("This model's maximum context length is {MAX_TOKENS} tokens.");
        return Err(Wrong::at("input", message).coded("context_length_exceeded"));
    }
    Ok(Asked { model: body.model, inputs, dimensions, in_base64 })
}

/// Texts, or lists of tokens, which are as good as texts here.
fn inputs(input: &Value) -> Result<Vec<String>, Wrong> {
    let inputs: Vec<String> = match input {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) if values.iter().all(Value::is_number) && !values.is_empty() => {
            vec![input.to_string()]
        }
        Value::Array(values) => values
            .iter()
            .filter_map(|value| match value {
                Value::String(text) => Some(text.clone()),
                Value::Array(_) => Some(value.to_string()),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    let is_whole = input
        .as_array()
        .is_none_or(|values| values.len() == inputs.len() || values.iter().all(Value::is_number));
    let fits = (1..=MAX_INPUTS).contains(&inputs.len());
    if !is_whole || !fits || inputs.iter().any(String::is_empty) {
        let message = "'input' is a text or 1 to 2048 of them, none of them empty.";
        return Err(Wrong::at("input", format!("'$.input' is invalid: {message}")));
    }
    Ok(inputs)
}

/// The answer, and the tokens that it cost.
pub(super) fn body(asked: &Asked) -> (Value, u64) {
    let vector = |(place, text): (usize, &String)| {
        let vector = vectors::of(text, asked.dimensions);
        let embedding = if asked.in_base64 { json!(encoded(&vector)) } else { json!(vector) };
        json!({"object": "embedding", "index": place, "embedding": embedding})
    };
    let data: Vec<Value> = asked.inputs.iter().enumerate().map(vector).collect();
    let count = asked.inputs.iter().map(|text| tokens::count(text)).sum();
    let usage = json!({"prompt_tokens": count, "total_tokens": count});
    (json!({"object": "list", "model": asked.model, "data": data, "usage": usage}), count)
}

/// Little-endian single floats in base64.
#[expect(clippy::cast_possible_truncation, reason = "that is what single precision is")]
fn encoded(vector: &[f64]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|value| (*value as f32).to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(input: &Value, more: &Value) -> Result<Value, Wrong> {
        let mut request = json!({"model": "m", "input": input});
        for (name, value) in more.as_object().into_iter().flatten() {
            request[name] = value.clone();
        }
        Ok(body(&read(request.to_string().as_bytes())?).0)
    }

    #[test]
    fn texts_and_tokens_are_embedded_in_order() {
        let nothing = json!({});
        let two = answered(&json!(["a", "b"]), &nothing).unwrap();
        assert_eq!(two["data"][1]["index"], 1);
        assert_eq!(two["data"][0]["embedding"].as_array().unwrap().len(), DIMENSIONS);
        assert_eq!(
            answered(&json!([1, 2]), &nothing).unwrap()["data"].as_array().unwrap().len(),
            1
        );
        let two = answered(&json!([[1], [2]]), &nothing).unwrap();
        assert_eq!(two["data"].as_array().unwrap().len(), 2);
        for bad in [json!(""), json!([]), json!(["a", ""]), json!([{}]), json!(7)] {
            assert!(answered(&bad, &nothing).is_err(), "{bad}");
        }
    }

    #[test]
    fn base64_holds_single_floats() {
        let wanted = json!({"dimensions": 4, "encoding_format": "base64"});
        let body = answered(&json!("hi"), &wanted).unwrap();
        let bytes = STANDARD.decode(body["data"][0]["embedding"].as_str().unwrap()).unwrap();
        assert_eq!(bytes.len(), 16);
    }
}
