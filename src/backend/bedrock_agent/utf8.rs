//! Bytes to text across chunk borders.

use std::sync::Arc;

/// Joins characters that straddle two chunks.
///
/// The service cuts its answer into chunks by bytes, so that a character of several bytes can
/// begin in one chunk and end in the next.
#[derive(Debug, Default)]
pub(in crate::backend) struct Joiner {
    pending: Vec<u8>,
}

impl Joiner {
    /// Takes a chunk and gives the whole characters there are, if any.
    pub(in crate::backend) fn push(&mut self, bytes: &[u8]) -> Option<Arc<str>> {
        if self.pending.is_empty()
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            return (!text.is_empty()).then(|| Arc::from(text));
        }
        self.pending.extend_from_slice(bytes);
        let rest = self.pending.split_off(whole_characters(&self.pending));
        let whole = std::mem::replace(&mut self.pending, rest);
        let text = String::from_utf8_lossy(&whole);
        (!text.is_empty()).then(|| Arc::from(text))
    }

    /// What is left at the end: a replacement character for one that never ended.
    pub(in crate::backend) fn finish(&mut self) -> Option<Arc<str>> {
        let left = std::mem::take(&mut self.pending);
        (!left.is_empty()).then(|| Arc::from(String::from_utf8_lossy(&left)))
    }
}

/// How many bytes from the start are not the beginning of a character that may still end.
fn whole_characters(bytes: &[u8]) -> usize {
    for (back, byte) in (1..=3).zip(bytes.iter().rev()) {
        let width = match byte {
            0xF0..=0xF4 => 4,
            0xE0..=0xEF => 3,
            0xC2..=0xDF => 2,
            0x80..=0xBF => continue,
            _ => 1,
        };
        return bytes.len() - if width > back { back } else { 0 };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(text: &str, size: usize) -> String {
        let mut joiner = Joiner::default();
        let mut joined = String::new();
        for chunk in text.as_bytes().chunks(size) {
            joined.extend(joiner.push(chunk).as_deref());
        }
        joined.extend(joiner.finish().as_deref());
        joined
    }

    #[test]
    fn text_survives_chunks_of_any_size() {
        let text = "Zinsen: 3,5 % – für Łukasz 🏦 und 北京。";
        for size in 1..10 {
            assert_eq!(join(text, size), text, "chunks of {size}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_become_replacement_characters_and_nothing_is_held_back() {
        let mut joiner = Joiner::default();
        let text = joiner.push(b"a\xFFb").unwrap();
        assert_eq!(&*text, "a\u{FFFD}b");
        assert!(joiner.finish().is_none());
    }

    #[test]
    fn a_character_that_never_ends_is_replaced_at_the_end() {
        let mut joiner = Joiner::default();
        assert!(joiner.push(b"\xF0\x9F").is_none());
        assert_eq!(joiner.finish().as_deref(), Some("\u{FFFD}"));
    }
}
