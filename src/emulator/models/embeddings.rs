//! The embedding models of `InvokeModel`: Titan, Cohere and Nova, each in its own format.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::emulator::refusal::Refusal;

use super::cards::Card;
use super::claude::malformed;
use super::{tokens, vectors};

/// Texts in a call of Cohere's, at most, and characters of each.
const COHERE_TEXTS: (usize, usize) = (96, 2_048);
/// Characters of a text of Titan's, at most.
const TITAN_TEXT: usize = 50_000;

/// Vectors, and the tokens that they were made of.
#[derive(Debug)]
pub(super) struct Embedded {
    /// The body of the answer.
    pub(super) body: Value,
    /// What the words count.
    pub(super) tokens: u64,
    /// The first text, for the log.
    pub(super) text: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TitanText {
    input_text: String,
    dimensions: Option<usize>,
    normalize: Option<bool>,
    embedding_types: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TitanImage {
    input_text: Option<String>,
    input_image: Option<String>,
    embedding_config: Option<TitanLength>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TitanLength {
    output_embedding_length: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cohere {
    #[serde(default)]
    texts: Vec<String>,
    #[serde(default)]
    images: Vec<String>,
    input_type: String,
    truncate: Option<String>,
    embedding_types: Option<Vec<String>>,
    output_dimension: Option<usize>,
    max_tokens: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Nova {
    task_type: String,
    single_embedding_params: NovaParams,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NovaParams {
    embedding_purpose: String,
    embedding_dimension: Option<usize>,
    text: Option<NovaText>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NovaText {
    truncation_mode: String,
    value: String,
}

/// Makes the vectors that a body asks for.
///
/// # Errors
/// `ValidationException`
pub(super) fn embed(card: &Card, body: &[u8]) -> Result<Embedded, Refusal> {
    match card.id {
        "amazon.titan-embed-text-v1" => titan(read(body)?, &[1_536], false),
        "amazon.titan-embed-text-v2:0" => titan(read(body)?, &[1_024, 512, 256], true),
        "amazon.titan-embed-image-v1" => titan_image(&read(body)?),
        id if id.starts_with("cohere.embed-v4") => {
            cohere(&read(body)?, &[1_536, 1_024, 512, 256], usize::MAX)
        }
        id if id.starts_with("cohere") => cohere(&read(body)?, &[1_024], COHERE_TEXTS.1),
        _ => nova(&read(body)?),
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| malformed(&error))
}

fn invalid(why: &str) -> Refusal {
    Refusal::validation(format!(
        "Malformed input request: {why}, please reformat your input and try again."
    ))
}

fn dimensions(asked: Option<usize>, known: &[usize]) -> Result<usize, Refusal> {
    let wanted = asked.unwrap_or(known[0]);
    match known.contains(&wanted) {
        true => Ok(wanted),
        false => Err(invalid(&format!("#/dimensions: {wanted} is not a valid enum value"))),
    }
}

fn is_one_of(value: &str, known: &[&str], member: &str) -> Result<(), Refusal> {
    match known.contains(&value) {
        true => Ok(()),
        false => Err(invalid(&format!("#/{member}: {value} is not a valid enum value"))),
    }
}

fn titan(body: TitanText, known: &[usize], is_v2: bool) -> Result<Embedded, Refusal> {
    let text = body.input_text;
    if text.is_empty() {
        return Err(invalid("#/inputText: expected minLength: 1, actual: 0"));
    }
    let length = text.chars().count();
    if length > TITAN_TEXT {
        return Err(invalid(&format!(
            "#/inputText: expected maxLength: {TITAN_TEXT}, actual: {length}"
        )));
    }
    let counted = tokens::count(&text);
    if counted > 8_192 {
        return Err(Refusal::validation(format!(
            "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token \
             count: {counted}"
        )));
    }
    let strange = [
        (body.dimensions.is_some(), "dimensions"),
        (body.normalize.is_some(), "normalize"),
        (body.embedding_types.is_some(), "embeddingTypes"),
    ];
    if let Some((_, name)) = strange.iter().find(|(is_there, _)| *is_there && !is_v2) {
        return Err(invalid(&format!("extraneous key [{name}] is not permitted")));
    }
    let mut vector = vectors::of(&text, dimensions(body.dimensions, known)?);
    if body.normalize == Some(false) {
        vector.iter_mut().for_each(|value| *value *= 10.0);
    }
    let mut answer = json!({"embedding": vector, "inputTextTokenCount": counted});
    if is_v2 {
        let types = body.embedding_types.unwrap_or_else(|| vec!["float".to_owned()]);
        let mut by_type = json!({});
        for kind in &types {
            is_one_of(kind, &["float", "binary"], "embeddingTypes")?;
            by_type[kind] = converted(&vector, kind);
        }
        answer["embeddingsByType"] = by_type;
        if !types.iter().any(|kind| kind == "float")
            && let Some(members) = answer.as_object_mut()
        {
            members.remove("embedding");
        }
    }
    Ok(Embedded { body: answer, tokens: counted, text })
}

fn titan_image(body: &TitanImage) -> Result<Embedded, Refusal> {
    if body.input_text.is_none() && body.input_image.is_none() {
        return Err(invalid("one of inputText and inputImage is required"));
    }
    let text = body.input_text.clone().unwrap_or_default();
    let seed = format!("{text}{}", body.input_image.as_deref().unwrap_or_default());
    let asked = body.embedding_config.as_ref().map(|config| config.output_embedding_length);
    let vector = vectors::of(&seed, dimensions(asked, &[1_024, 384, 256])?);
    let counted = tokens::count(&text);
    let body = json!({"embedding": vector, "inputTextTokenCount": counted, "message": null});
    Ok(Embedded { body, tokens: counted, text })
}

fn cohere(body: &Cohere, known: &[usize], longest: usize) -> Result<Embedded, Refusal> {
    let purposes = ["search_document", "search_query", "classification", "clustering", "image"];
    is_one_of(&body.input_type, &purposes, "input_type")?;
    let truncate = body.truncate.as_deref().unwrap_or("NONE");
    is_one_of(truncate, &["NONE", "START", "END", "LEFT", "RIGHT"], "truncate")?;
    if known.len() == 1 && (body.output_dimension.is_some() || body.max_tokens.is_some()) {
        return Err(invalid("extraneous key [output_dimension] is not permitted"));
    }
    let inputs = if body.images.is_empty() { &body.texts } else { &body.images };
    if inputs.is_empty() || inputs.len() > COHERE_TEXTS.0 {
        return Err(invalid(&format!(
            "#/texts: expected 1 to {} items, actual: {}",
            COHERE_TEXTS.0,
            inputs.len(),
        )));
    }
    if body.images.is_empty() {
        let is_wrong = |text: &String| {
            text.is_empty() || (truncate == "NONE" && text.chars().count() > longest)
        };
        if let Some(at) = inputs.iter().position(is_wrong) {
            return Err(invalid(&format!("#/texts/{at}: expected 1 to {longest} characters")));
        }
    }
    let size = dimensions(body.output_dimension, known)?;
    let made: Vec<Vec<f64>> = inputs.iter().map(|text| vectors::of(text, size)).collect();
    let (embeddings, response_type) = match &body.embedding_types {
        None => (json!(made), "embeddings_floats"),
        Some(types) => {
            let mut by_type = json!({});
            for kind in types {
                is_one_of(
                    kind,
                    &["float", "int8", "uint8", "binary", "ubinary"],
                    "embedding_types",
                )?;
                let shape = if kind == "binary" { "packed" } else { kind };
                by_type[kind] = made.iter().map(|vector| converted(vector, shape)).collect();
            }
            (by_type, "embeddings_by_type")
        }
    };
    let tokens = body.texts.iter().map(|text| tokens::count(text)).sum();
    let text = body.texts.first().cloned().unwrap_or_default();
    let answer = json!({
        "id": "outcrop-emulator", "texts": body.texts, "embeddings": embeddings,
        "response_type": response_type,
    });
    Ok(Embedded { body: answer, tokens, text })
}

fn nova(body: &Nova) -> Result<Embedded, Refusal> {
    is_one_of(&body.task_type, &["SINGLE_EMBEDDING"], "taskType")?;
    let params = &body.single_embedding_params;
    let purposes = [
        "GENERIC_INDEX",
        "GENERIC_RETRIEVAL",
        "TEXT_RETRIEVAL",
        "IMAGE_RETRIEVAL",
        "VIDEO_RETRIEVAL",
        "DOCUMENT_RETRIEVAL",
        "AUDIO_RETRIEVAL",
        "CLASSIFICATION",
        "CLUSTERING",
    ];
    is_one_of(&params.embedding_purpose, &purposes, "embeddingPurpose")?;
    let Some(text) = &params.text else {
        return Err(invalid("required key [text] not found"));
    };
    is_one_of(&text.truncation_mode, &["START", "END", "NONE"], "truncationMode")?;
    if text.value.is_empty() {
        return Err(invalid("#/text/value: expected minLength: 1, actual: 0"));
    }
    let size = dimensions(params.embedding_dimension, &[3_072, 1_024, 384, 256])?;
    let vector = vectors::of(&text.value, size);
    let body = json!({"embeddings": [{"embeddingType": "TEXT", "embedding": vector}]});
    Ok(Embedded { body, tokens: tokens::count(&text.value), text: text.value.clone() })
}

/// A vector as numbers of another kind. Titan's `binary` is a digit for each number, Cohere's and
/// `ubinary` are bytes of eight.
fn converted(vector: &[f64], kind: &str) -> Value {
    let bit = |value: &f64| u8::from(*value > 0.0);
    let bytes = || vector.chunks(8).map(|bits| bits.iter().fold(0, |byte, of| byte << 1 | bit(of)));
    match kind {
        "int8" => vector.iter().map(|value| json!(scaled(*value))).collect(),
        "uint8" => vector.iter().map(|value| json!(scaled(*value) + 128)).collect(),
        "binary" => vector.iter().map(|value| json!(bit(value))).collect(),
        "packed" => bytes().map(|byte| json!(byte.cast_signed())).collect(),
        "ubinary" => bytes().map(|byte: u8| json!(byte)).collect(),
        _ => json!(vector),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to a byte's range before")]
fn scaled(value: f64) -> i32 {
    (value * 512.0).round().clamp(-128.0, 127.0) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::models::catalogue;

    fn made(model: &str, body: &Value) -> Result<Value, String> {
        let card = catalogue::find(model).unwrap();
        let made = embed(card, body.to_string().as_bytes());
        made.map(|made| made.body).map_err(|refusal| refusal.message.into_owned())
    }

    fn length(vector: &Value) -> usize {
        vector.as_array().unwrap().len()
    }

    #[test]
    fn titan_makes_the_length_and_the_kinds_asked_for() {
        let v2 = "amazon.titan-embed-text-v2:0";
        let both = json!({"inputText": "hi", "dimensions": 256,
                          "embeddingTypes": ["binary", "float"]});
        let body = made(v2, &both).unwrap();
        assert_eq!(length(&body["embedding"]), 256);
        assert_eq!(length(&body["embeddingsByType"]["binary"]), 256);
        assert_eq!(body["inputTextTokenCount"], 1);
        assert!(made(v2, &json!({"inputText": ""})).is_err());
        assert!(made(v2, &json!({"inputText": "hi", "dimensions": 7})).is_err());
        assert!(made(v2, &json!({"text": "hi"})).unwrap_err().contains("extraneous key [text]"));
        let v1 = "amazon.titan-embed-text-v1";
        assert_eq!(length(&made(v1, &json!({"inputText": "hi"})).unwrap()["embedding"]), 1_536);
        assert!(made(v1, &json!({"inputText": "hi", "dimensions": 256})).is_err());
    }

    #[test]
    fn cohere_takes_a_batch_with_its_purpose() {
        let v3 = "cohere.embed-english-v3";
        let batch = |texts: &Value| json!({"texts": texts, "input_type": "search_query"});
        let body = made(v3, &batch(&json!(["a", "b"]))).unwrap();
        assert_eq!((length(&body["embeddings"]), length(&body["embeddings"][1])), (2, 1_024));
        assert_eq!(body["response_type"], "embeddings_floats");
        assert!(made(v3, &json!({"texts": ["a"]})).unwrap_err().contains("[input_type]"));
        assert!(made(v3, &batch(&json!(vec!["a"; 97]))).is_err());
        assert!(made(v3, &batch(&json!(["a".repeat(2_049)]))).is_err());
        let typed = json!({"texts": ["a"], "input_type": "search_document",
                           "embedding_types": ["int8", "binary"], "output_dimension": 256});
        let body = made("cohere.embed-v4:0", &typed).unwrap();
        assert_eq!(length(&body["embeddings"]["int8"][0]), 256);
        assert_eq!(length(&body["embeddings"]["binary"][0]), 32);
    }

    #[test]
    fn nova_embeds_one_text() {
        let model = "amazon.nova-2-multimodal-embeddings-v1:0";
        let body = json!({"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {
            "embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": 384,
            "text": {"truncationMode": "END", "value": "hi"},
        }});
        assert_eq!(length(&made(model, &body).unwrap()["embeddings"][0]["embedding"]), 384);
    }
}
