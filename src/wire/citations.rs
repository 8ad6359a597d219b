//! Citations: what OpenAI has a place for, as `url_citation` annotations, and whole, in our own
//! member.
//!
//! OpenAI's schema wants the offsets of the cited part and leaves their unit open; clients slice
//! `[start, end)`, so they are code points, end exclusive. Upstreams do not agree on how they
//! count, so the cited text is looked for in the answer, and what the upstream says of its place
//! only serves where the text is not found.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::turn::{Citation, Reference, Span};

/// Citations of one answer; further ones are left out.
const MAX_CITATIONS: usize = 256;
/// Annotations on one answer, and sources of its citations; further ones are left out.
const MAX_SOURCES: usize = 256;

/// The citations of an answer, both ways.
#[derive(Debug, Default)]
pub(super) struct Cited<'a> {
    /// One for each source that has an address.
    pub(super) annotations: Vec<Annotation<'a>>,
    /// All of them, with what is known of their sources.
    pub(super) citations: Vec<CitedPart<'a>>,
}

/// An annotation on an answer.
#[derive(Debug, Serialize)]
pub(super) struct Annotation<'a> {
    r#type: &'static str,
    pub(super) url_citation: UrlCitation<'a>,
}

/// The part of the answer, in code points, and the source.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct UrlCitation<'a> {
    pub(super) start_index: usize,
    pub(super) end_index: usize,
    pub(super) url: &'a str,
    pub(super) title: &'a str,
}

/// A part of an answer with its sources.
#[derive(Debug, Serialize)]
pub(super) struct CitedPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    start_index: usize,
    end_index: usize,
    references: Vec<Source<'a>>,
}

#[derive(Debug, Serialize)]
struct Source<'a> {
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Value>,
}

/// Places the citations in their answer.
pub(super) fn cited<'a>(answer: &'a str, citations: &'a [Arc<Citation>]) -> Cited<'a> {
    let mut places = Places { answer, searched: 0, points_before: 0 };
    let mut cited = Cited::default();
    let mut room = MAX_SOURCES;
    for citation in citations.iter().take(MAX_CITATIONS) {
        let Span { start: start_index, end: end_index } = places.of(citation);
        let sources = &citation.references[..citation.references.len().min(room)];
        room -= sources.len();
        let addresses = sources.iter().filter_map(address);
        cited.annotations.extend(addresses.map(|url| Annotation {
            r#type: "url_citation",
            url_citation: UrlCitation { start_index, end_index, url, title: title(url) },
        }));
        cited.citations.push(CitedPart {
            text: citation.text.as_deref(),
            start_index,
            end_index,
            references: sources.iter().map(Source::from).collect(),
        });
    }
    cited
}

impl<'a> From<&'a Reference> for Source<'a> {
    fn from(reference: &'a Reference) -> Self {
        Self {
            r#type: &reference.kind,
            location: reference.location.as_deref(),
            text: reference.text.as_deref(),
            metadata: reference.metadata.as_ref(),
        }
    }
}

fn address(reference: &Reference) -> Option<&str> {
    reference.location.as_deref().filter(|location| !location.is_empty())
}

/// The last segment of an address's path, or the address where it has none.
fn title(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or(url).trim_end_matches('/');
    match path.rsplit('/').next() {
        Some(last) if !last.is_empty() => last,
        _ => url,
    }
}

/// Finds cited texts, each from where the one before it ended, as citations come in order.
struct Places<'a> {
    answer: &'a str,
    /// Byte at which the next search starts.
    searched: usize,
    /// Code points before that byte.
    points_before: usize,
}

impl Places<'_> {
    fn of(&mut self, citation: &Citation) -> Span {
        let text = citation.text.as_deref().filter(|text| !text.is_empty());
        text.and_then(|text| self.next(text).or_else(|| self.first(text)))
            .unwrap_or_else(|| self.told(citation.span))
    }

    fn next(&mut self, text: &str) -> Option<Span> {
        let rest = &self.answer[self.searched..];
        let at = rest.find(text)?;
        let start = self.points_before + points(&rest[..at]);
        let end = start + points(text);
        self.searched += at + text.len();
        self.points_before = end;
        Some(Span { start, end })
    }

    fn first(&self, text: &str) -> Option<Span> {
        let start = points(&self.answer[..self.answer.find(text)?]);
        Some(Span { start, end: start + points(text) })
    }

    /// Where the upstream says it is, or the whole answer where it says nothing usable.
    fn told(&self, span: Option<Span>) -> Span {
        let all = points(self.answer);
        let told = span.map(|span| Span { start: span.start, end: span.end.min(all) });
        told.filter(|span| span.start < span.end).unwrap_or(Span { start: 0, end: all })
    }
}

fn points(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn citation(text: Option<&str>, span: Option<(usize, usize)>, urls: &[&str]) -> Arc<Citation> {
        let reference = |url: &&str| Reference {
            kind: "WEB".into(),
            location: Some((*url).to_owned()),
            text: None,
            metadata: None,
        };
        Arc::new(Citation {
            text: text.map(str::to_owned),
            span: span.map(|(start, end)| Span { start, end }),
            references: urls.iter().map(reference).collect(),
        })
    }

    fn spans(answer: &str, citations: &[Arc<Citation>]) -> Vec<(usize, usize)> {
        let place = |a: &Annotation<'_>| (a.url_citation.start_index, a.url_citation.end_index);
        cited(answer, citations).annotations.iter().map(place).collect()
    }

    #[test]
    fn offsets_are_code_points_with_the_end_exclusive() {
        let cited = [citation(Some("große 😀"), None, &["https://x/a"])];
        assert_eq!(spans("Äh: große 😀 Welt", &cited), [(4, 11)]);
    }

    #[test]
    fn a_text_that_is_cited_twice_is_found_in_both_places_and_then_again() {
        let twice = citation(Some("é."), None, &["https://x/a"]);
        let cited = [Arc::clone(&twice), Arc::clone(&twice), twice];
        assert_eq!(spans("é. é.", &cited), [(0, 2), (3, 5), (0, 2)]);
    }

    #[test]
    fn where_the_text_is_not_found_the_upstream_is_believed_within_bounds() {
        let cases = [
            (Some((1, 3)), (1, 3)),
            (Some((2, 99)), (2, 5)),
            (Some((7, 9)), (0, 5)),
            (None, (0, 5)),
        ];
        for (told, expected) in cases {
            assert_eq!(spans("hello", &[citation(Some("bye"), told, &["u"])]), [expected]);
        }
    }

    #[test]
    fn a_source_without_an_address_is_told_but_annotates_nothing() {
        let row = Reference {
            kind: "SQL".into(),
            location: None,
            text: Some("x".into()),
            metadata: Some(json!({"page": 4})),
        };
        let bare = [Arc::new(Citation { text: None, span: None, references: vec![row] })];
        let cited = cited("hello", &bare);
        assert!(cited.annotations.is_empty());
        let told = json!([{
            "start_index": 0, "end_index": 5,
            "references": [{"type": "SQL", "text": "x", "metadata": {"page": 4}}],
        }]);
        assert_eq!(serde_json::to_value(&cited.citations).unwrap(), told);
    }

    #[test]
    fn both_lists_tell_the_same_places() {
        let unaddressed = citation(Some("b"), None, &[]);
        let parts =
            [citation(Some("b"), None, &["u"]), unaddressed, citation(Some("b"), None, &["v"])];
        let cited = cited("a b b b", &parts);
        let told: Vec<_> = cited.citations.iter().map(|c| (c.start_index, c.end_index)).collect();
        assert_eq!(told, [(2, 3), (4, 5), (6, 7)]);
        assert_eq!(spans("a b b b", &parts), [(2, 3), (6, 7)]);
    }

    #[test]
    fn citations_and_sources_are_bounded() {
        let wide = [citation(None, None, &["u"; 200]), citation(None, None, &["u"; 200])];
        assert_eq!(cited("hello", &wide).annotations.len(), MAX_SOURCES);
        let many: Vec<_> = (0..300).map(|_| citation(Some("h"), None, &[])).collect();
        assert_eq!(cited("hello", &many).citations.len(), MAX_CITATIONS);
    }

    #[test]
    fn a_title_is_the_last_segment_of_the_path() {
        assert_eq!(title("s3://bucket/docs/fees.pdf"), "fees.pdf");
        assert_eq!(title("https://example.org/a/b/?page=4#x"), "b");
        assert_eq!(title("doc-17"), "doc-17");
        assert_eq!(title("///"), "///");
    }
}
