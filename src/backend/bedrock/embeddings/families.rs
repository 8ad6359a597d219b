//! How each family of embedding models is asked and how it answers, as one table.
//!
//! (Amazon Bedrock User Guide, "Inference request parameters": the pages of Amazon Titan
//! Embeddings, Cohere Embed and Amazon Nova Multimodal Embeddings.)

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::turn::{Failure, FailureKind};

/// A family of models that make vectors.
#[derive(Debug)]
pub(in crate::backend::bedrock) struct Embedder {
    /// Pieces of the ids of its models, lowercase; any one of them tells it.
    ids: &'static [&'static str],
    /// The lengths that its vectors can have.
    lengths: &'static [u32],
    /// What it can be told of the vectors' purpose, and how it calls that. Where there is nothing,
    /// a vector is the same whatever it is for, and the purpose is passed over.
    purposes: &'static [(&'static str, &'static str)],
    /// Texts in one call.
    pub(super) texts: usize,
    /// Writes a call.
    pub(super) write: fn(&Wish<'_>) -> Value,
    /// Reads the answer to one.
    pub(super) read: fn(&[u8]) -> serde_json::Result<Made>,
}

/// What one call asks for.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    /// As many as the family takes in one call, and one at least.
    pub(super) texts: &'a [String],
    /// The length of the vectors, where it is not the only one.
    pub(super) length: Option<u32>,
    /// What they are for, in the family's own words; empty where it takes none.
    pub(super) purpose: &'static str,
}

/// What one call made.
#[derive(Debug)]
pub(super) struct Made {
    /// In the order of the texts.
    pub(super) vectors: Vec<Vec<f32>>,
    /// The tokens read, where the body tells.
    pub(super) tokens: Option<u64>,
}

const TITAN: Embedder = Embedder {
    ids: &["titan-embed-text-v1", "titan-embed-g1-text"],
    lengths: &[1_536],
    purposes: &[],
    texts: 1,
    write: titan,
    read: read_titan,
};

const COHERE: Embedder = Embedder {
    ids: &["cohere.embed"],
    lengths: &[1_024],
    purposes: &[
        ("search_document", "search_document"),
        ("search_query", "search_query"),
        ("classification", "classification"),
        ("clustering", "clustering"),
    ],
    texts: 96,
    write: cohere,
    read: read_cohere,
};

/// Every family, the narrower before the wider. The first purpose of each is the usual one.
const EMBEDDERS: &[Embedder] = &[
    TITAN,
    Embedder { ids: &["titan-embed-text"], lengths: &[256, 512, 1_024], ..TITAN },
    Embedder {
        ids: &["titan-embed-image"],
        lengths: &[256, 384, 1_024],
        write: titan_image,
        ..TITAN
    },
    Embedder { ids: &["cohere.embed-v4"], lengths: &[256, 512, 1_024, 1_536], ..COHERE },
    COHERE,
    Embedder {
        ids: &["multimodal-embeddings"],
        lengths: &[256, 384, 1_024, 3_072],
        purposes: &[
            ("search_document", "GENERIC_INDEX"),
            ("search_query", "GENERIC_RETRIEVAL"),
            ("classification", "CLASSIFICATION"),
            ("clustering", "CLUSTERING"),
            ("GENERIC_INDEX", "GENERIC_INDEX"),
            ("GENERIC_RETRIEVAL", "GENERIC_RETRIEVAL"),
            ("TEXT_RETRIEVAL", "TEXT_RETRIEVAL"),
            ("IMAGE_RETRIEVAL", "IMAGE_RETRIEVAL"),
            ("VIDEO_RETRIEVAL", "VIDEO_RETRIEVAL"),
            ("DOCUMENT_RETRIEVAL", "DOCUMENT_RETRIEVAL"),
            ("AUDIO_RETRIEVAL", "AUDIO_RETRIEVAL"),
            ("CLASSIFICATION", "CLASSIFICATION"),
            ("CLUSTERING", "CLUSTERING"),
        ],
        texts: 1,
        write: nova,
        read: read_nova,
    },
];

/// The family of a model, by its id, an inference profile's or an ARN; none where it makes no
/// vectors, or nobody can tell.
pub(in crate::backend::bedrock) fn of(model_id: &str) -> Option<&'static Embedder> {
    let id = model_id.to_ascii_lowercase();
    let knows = |embedder: &&Embedder| embedder.ids.iter().any(|piece| id.contains(piece));
    EMBEDDERS.iter().find(knows)
}

impl Embedder {
    /// The length to ask for, where one is to be named.
    ///
    /// # Errors
    /// `UnsupportedParameter` where the family makes no such vectors.
    pub(super) fn length(&self, asked: Option<u32>) -> Result<Option<u32>, Failure> {
        match asked {
            Some(length) if !self.lengths.contains(&length) => {
                let made = self.lengths.iter().map(u32::to_string);
                let message =
                    format!("dimensions: this model's vectors have {} numbers", either(made));
                Err(unsupported(message, "dimensions"))
            }
            asked => Ok(asked.filter(|_| self.lengths.len() > 1)),
        }
    }

    /// What the vectors are for, in the family's words.
    ///
    /// # Errors
    /// `UnsupportedParameter` for a purpose that the family does not have.
    pub(super) fn purpose(&self, asked: Option<&str>) -> Result<&'static str, Failure> {
        let Some((_, usual)) = self.purposes.first() else { return Ok("") };
        let Some(asked) = asked else { return Ok(usual) };
        let known = self.purposes.iter().find(|(name, _)| *name == asked);
        known.map(|(_, own)| *own).ok_or_else(|| {
            let names = self.purposes.iter().map(|(name, _)| (*name).to_owned());
            let message = format!("input_type: this model knows {}", either(names));
            unsupported(message, "input_type")
        })
    }
}

fn unsupported(message: String, param: &'static str) -> Failure {
    Failure::new(FailureKind::UnsupportedParameter, message).at(param)
}

/// `a, b or c`
fn either(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<_> = names.collect();
    let last = names.pop().unwrap_or_default();
    if names.is_empty() { last } else { format!("{} or {last}", names.join(", ")) }
}

fn titan(wish: &Wish<'_>) -> Value {
    let mut body = json!({ "inputText": wish.texts.first() });
    if let Some(length) = wish.length {
        body["dimensions"] = json!(length);
    }
    body
}

fn titan_image(wish: &Wish<'_>) -> Value {
    let mut body = json!({ "inputText": wish.texts.first() });
    if let Some(length) = wish.length {
        body["embeddingConfig"] = json!({ "outputEmbeddingLength": length });
    }
    body
}

/// Texts that are too long are refused, not cut: `truncate` stays `NONE`.
fn cohere(wish: &Wish<'_>) -> Value {
    let mut body = json!({ "texts": wish.texts, "input_type": wish.purpose });
    if let Some(length) = wish.length {
        body["output_dimension"] = json!(length);
    }
    body
}

fn nova(wish: &Wish<'_>) -> Value {
    let mut params = json!({
        "embeddingPurpose": wish.purpose,
        "text": { "truncationMode": "NONE", "value": wish.texts.first() },
    });
    if let Some(length) = wish.length {
        params["embeddingDimension"] = json!(length);
    }
    json!({ "taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params })
}

#[derive(Debug, Deserialize)]
struct ByType {
    float: Vec<Vec<f32>>,
}

fn read_titan(body: &[u8]) -> serde_json::Result<Made> {
    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Titan {
        embedding: Vec<f32>,
        input_text_token_count: Option<u64>,
    }
    let Titan { embedding, input_text_token_count } = serde_json::from_slice(body)?;
    Ok(Made { vectors: vec![embedding], tokens: input_text_token_count })
}

/// Vectors of one type come as a list, or by the type's name.
fn read_cohere(body: &[u8]) -> serde_json::Result<Made> {
    #[derive(Debug, Deserialize)]
    struct Cohere<'a> {
        #[serde(borrow)]
        embeddings: &'a RawValue,
    }
    let Cohere { embeddings } = serde_json::from_slice(body)?;
    let vectors = match embeddings.get() {
        by_type if by_type.starts_with('{') => serde_json::from_str::<ByType>(by_type)?.float,
        list => serde_json::from_str(list)?,
    };
    Ok(Made { vectors, tokens: None })
}

fn read_nova(body: &[u8]) -> serde_json::Result<Made> {
    #[derive(Debug, Deserialize)]
    struct Nova {
        embeddings: Vec<OfOneType>,
    }
    #[derive(Debug, Deserialize)]
    struct OfOneType {
        embedding: Vec<f32>,
    }
    let Nova { embeddings } = serde_json::from_slice(body)?;
    let vectors = embeddings.into_iter().map(|one| one.embedding).collect();
    Ok(Made { vectors, tokens: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(model: &str, dimensions: Option<u32>, purpose: Option<&str>) -> Value {
        let embedder = of(model).unwrap();
        let texts = ["hello".to_owned()];
        let length = embedder.length(dimensions).unwrap();
        let purpose = embedder.purpose(purpose).unwrap();
        (embedder.write)(&Wish { texts: &texts, length, purpose })
    }

    #[test]
    fn each_family_is_asked_in_its_own_words() {
        let cases = [
            ("amazon.titan-embed-text-v1", Some(1_536), json!({"inputText": "hello"})),
            (
                "amazon.titan-embed-text-v2:0",
                Some(512),
                json!({"inputText": "hello", "dimensions": 512}),
            ),
            (
                "amazon.titan-embed-image-v1",
                Some(384),
                json!({"inputText": "hello", "embeddingConfig": {"outputEmbeddingLength": 384}}),
            ),
            (
                "cohere.embed-english-v3",
                Some(1_024),
                json!({"texts": ["hello"], "input_type": "search_document"}),
            ),
            (
                "us.cohere.embed-v4:0",
                Some(256),
                json!({"texts": ["hello"], "input_type": "search_document", "output_dimension": 256}),
            ),
            (
                "amazon.nova-2-multimodal-embeddings-v1:0",
                None,
                json!({"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {
                    "embeddingPurpose": "GENERIC_INDEX",
                    "text": {"truncationMode": "NONE", "value": "hello"},
                }}),
            ),
        ];
        for (model, dimensions, expected) in cases {
            assert_eq!(written(model, dimensions, None), expected, "{model}");
        }
    }

    #[test]
    fn a_purpose_has_the_familys_own_name() {
        let query = Some("search_query");
        let nova = written("amazon.nova-2-multimodal-embeddings-v1:0", Some(3_072), query);
        let params = &nova["singleEmbeddingParams"];
        assert_eq!(params["embeddingPurpose"], "GENERIC_RETRIEVAL");
        assert_eq!(params["embeddingDimension"], 3_072);
        assert_eq!(written("cohere.embed-v4:0", None, query)["input_type"], "search_query");
        let titan = written("amazon.titan-embed-text-v2:0", None, query);
        assert_eq!(titan, json!({"inputText": "hello"}));
    }

    #[test]
    fn what_a_family_does_not_make_is_refused_with_what_it_does() {
        let v2 = of("amazon.titan-embed-text-v2:0").unwrap();
        let failure = v2.length(Some(7)).unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("dimensions"));
        assert_eq!(
            failure.message,
            "dimensions: this model's vectors have 256, 512 or 1024 numbers"
        );
        let v3 = of("cohere.embed-multilingual-v3").unwrap();
        let fixed = v3.length(Some(256)).unwrap_err();
        assert_eq!(fixed.message, "dimensions: this model's vectors have 1024 numbers");
        let failure = v3.purpose(Some("rhyming")).unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("input_type"));
        assert!(failure.message.contains("search_query, classification or clustering"));
    }

    #[test]
    fn only_models_that_make_vectors_have_a_family() {
        let arn = "arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-g1-text-02";
        assert!(of(arn).is_some());
        for id in ["amazon.nova-lite-v1:0", "cohere.command-r-v1:0", "amazon.titan-text-lite-v1"] {
            assert!(of(id).is_none(), "{id}");
        }
    }

    #[test]
    fn every_piece_of_an_id_leads_to_its_own_row() {
        for embedder in EMBEDDERS {
            for piece in embedder.ids {
                assert_eq!(of(piece).unwrap().ids, embedder.ids, "{piece} is hidden");
            }
        }
    }

    #[test]
    fn each_shape_of_answer_is_read() {
        let titan = read_titan(br#"{"embedding":[0.5,-1],"inputTextTokenCount":3}"#).unwrap();
        assert_eq!((titan.vectors, titan.tokens), (vec![vec![0.5, -1.0]], Some(3)));
        for cohere in [
            &br#"{"embeddings":[[1],[2]],"response_type":"embeddings_floats"}"#[..],
            br#"{"embeddings": {"float":[[1],[2]]},"response_type":"embeddings_by_type"}"#,
        ] {
            assert_eq!(read_cohere(cohere).unwrap().vectors, [[1.0], [2.0]]);
        }
        let nova = read_nova(br#"{"embeddings":[{"embeddingType":"TEXT","embedding":[1]}]}"#);
        assert_eq!(nova.unwrap().vectors, [[1.0]]);
        for read in [read_titan, read_cohere, read_nova] {
            for rubbish in [&b""[..], b"{}", b"[]", br#"{"embeddings":{"int8":[[1]]}}"#] {
                assert!(read(rubbish).is_err());
            }
        }
    }
}
