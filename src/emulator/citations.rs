//! What an answer rests on: citations with references of every type of place.
//!
//! `generatedResponsePart` tells the cited text and its span. The service's model does not say
//! what a span counts; here it is characters, and its end is the last one, as public samples
//! have it.

use serde_json::{Value, json};

/// What is cited when the phrase gives no text.
const SENTENCE: &str = "Fees are waived in year one.";

/// A type of place where references are found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// As the phrase has it.
    word: &'static str,
    /// As `location.type` has it.
    kind: &'static str,
    /// The member of `location`, and the member of that.
    member: [&'static str; 2],
    /// Where it is: a URL, an id or a query.
    place: &'static str,
}

const fn source(
    word: &'static str,
    kind: &'static str,
    member: [&'static str; 2],
    place: &'static str,
) -> Source {
    Source { word, kind, member, place }
}

/// Every type of place.
const SOURCES: &[Source] = &[
    source("s3", "S3", ["s3Location", "uri"], "s3://kb-bucket/fees.pdf"),
    source("web", "WEB", ["webLocation", "url"], "https://example.com/fees"),
    source(
        "confluence",
        "CONFLUENCE",
        ["confluenceLocation", "url"],
        "https://example.atlassian.net/wiki/fees",
    ),
    source(
        "salesforce",
        "SALESFORCE",
        ["salesforceLocation", "url"],
        "https://example.my.salesforce.com/fees",
    ),
    source(
        "sharepoint",
        "SHAREPOINT",
        ["sharePointLocation", "url"],
        "https://example.sharepoint.com/fees",
    ),
    source(
        "onedrive",
        "ONEDRIVE",
        ["oneDriveLocation", "url"],
        "https://example-my.sharepoint.com/fees",
    ),
    source(
        "googledrive",
        "GOOGLEDRIVE",
        ["googleDriveLocation", "url"],
        "https://drive.google.com/file/d/fees",
    ),
    source("custom", "CUSTOM", ["customDocumentLocation", "id"], "fees-2026"),
    source(
        "kendra",
        "KENDRA",
        ["kendraDocumentLocation", "uri"],
        "https://example.com/kendra/fees",
    ),
    source("sql", "SQL", ["sqlLocation", "query"], "SELECT fee FROM fees WHERE year = 1"),
];

/// A sentence with the references that it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cited {
    sources: Vec<&'static Source>,
    /// The sentence.
    pub(super) text: String,
}

impl Cited {
    /// Reads `PLACE,PLACE… TEXT`; `all` is every type of place.
    ///
    /// # Errors
    /// Which type of place there is not.
    pub(super) fn read(rest: &str) -> Result<Self, String> {
        let (places, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let text = match text.trim() {
            "" => SENTENCE.to_owned(),
            text => text.to_owned(),
        };
        if places == "all" {
            return Ok(Self { sources: SOURCES.iter().collect(), text });
        }
        let found = |word| {
            let source = SOURCES.iter().find(|source| source.word == word);
            source.ok_or_else(|| format!("{word:?} is no type of place that can be cited"))
        };
        let sources = places.split(',').map(found).collect::<Result<_, _>>()?;
        Ok(Self { sources, text })
    }

    /// Its member of `citations`, for a text that begins after so many characters.
    pub(super) fn citation(&self, start: usize) -> Value {
        let end = start + self.text.chars().count().saturating_sub(1);
        let part = json!({"text": self.text, "span": {"start": start, "end": end}});
        let references: Vec<_> = self.sources.iter().copied().map(reference).collect();
        json!({
            "generatedResponsePart": {"textResponsePart": part},
            "retrievedReferences": references,
        })
    }
}

/// A member of `retrievedReferences`. A table has rows, any other place has text.
pub(super) fn reference(source: &Source) -> Value {
    let [member, inner] = source.member;
    let content = match source.kind {
        "SQL" => json!({"type": "ROW", "row": [
            {"columnName": "fee", "columnValue": "0", "type": "DOUBLE"},
        ]}),
        _ => json!({"type": "TEXT", "text": "… year one is free of fees …"}),
    };
    json!({
        "content": content,
        "location": {"type": source.kind, member: {inner: source.place}},
        "metadata": {"x-amz-bedrock-kb-source-uri": source.place, "page": 4},
    })
}

/// The references that a look-up in a knowledge base finds.
pub(super) fn found() -> Vec<Value> {
    SOURCES.iter().take(1).map(reference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_named_one_by_one_or_all_together() {
        let cited = Cited::read("s3,web Grüße von hier.").unwrap();
        let citation = cited.citation(10);
        let part = &citation["generatedResponsePart"]["textResponsePart"];
        assert_eq!(part["span"], json!({"start": 10, "end": 24}));
        let references = citation["retrievedReferences"].as_array().unwrap();
        assert_eq!(references.len(), 2);
        assert_eq!(
            references[1]["location"],
            json!({"type": "WEB", "webLocation": {"url": "https://example.com/fees"}})
        );
        let all = Cited::read("all").unwrap();
        assert_eq!((all.sources.len(), &*all.text), (10, SENTENCE));
        assert!(Cited::read("s3,moon").unwrap_err().contains("moon"));
        assert!(Cited::read("").is_err());
    }
}
