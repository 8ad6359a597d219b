//! Citations as `url_citation` annotations.
//!
//! OpenAI's schema wants the offsets of the cited part and leaves their unit open; clients slice
//! `[start, end)`, so they are code points, end exclusive. Upstreams do not agree on how they
//! count, so the cited text is looked for in the answer, and what the upstream says of its place
//! only serves where the text is not found.

use std::sync::Arc;

use serde::Serialize;

use crate::turn::{Citation, Reference, Span};

/// Annotations on one answer; further ones are left out.
const MAX_ANNOTATIONS: usize = 256;

/// An annotation on an answer.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Annotation {
    r#type: &'static str,
    url_citation: UrlCitation,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct UrlCitation {
    start_index: usize,
    end_index: usize,
    url: String,
    title: String,
}

/// The annotations for an answer: one for each source that has an address.
pub(super) fn annotations(answer: &str, citations: &[Arc<Citation>]) -> Vec<Annotation> {
    let mut places = Places { answer, searched: 0, points_before: 0 };
    let mut annotations = Vec::new();
    for citation in citations {
        let room = MAX_ANNOTATIONS - annotations.len();
        let mut addressed = citation.references.iter().filter_map(address).take(room).peekable();
        if addressed.peek().is_none() {
            continue;
        }
        let span = places.of(citation);
        annotations.extend(addressed.map(|url| Annotation {
            r#type: "url_citation",
            url_citation: UrlCitation {
                start_index: span.start,
                end_index: span.end,
                url: url.to_owned(),
                title: title(url).to_owned(),
            },
        }));
    }
    annotations
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
        let place = |a: &Annotation| (a.url_citation.start_index, a.url_citation.end_index);
        annotations(answer, citations).iter().map(place).collect()
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
    fn sources_without_an_address_are_left_out_and_the_rest_is_bounded() {
        let none = Reference {
            kind: "SQL".into(),
            location: None,
            text: Some("x".into()),
            metadata: None,
        };
        let bare = Arc::new(Citation { text: None, span: None, references: vec![none] });
        assert!(annotations("hello", &[bare]).is_empty());
        let many = vec![citation(None, None, &["u"; 200]), citation(None, None, &["u"; 200])];
        assert_eq!(annotations("hello", &many).len(), MAX_ANNOTATIONS);
    }

    #[test]
    fn a_title_is_the_last_segment_of_the_path() {
        assert_eq!(title("s3://bucket/docs/fees.pdf"), "fees.pdf");
        assert_eq!(title("https://example.org/a/b/?page=4#x"), "b");
        assert_eq!(title("doc-17"), "doc-17");
        assert_eq!(title("///"), "///");
    }
}
