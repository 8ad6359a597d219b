//! The pieces that a text is sent in.

use bytes::Bytes;

/// Bytes in a piece of a streamed answer.
const SMALL_PIECE: usize = 12;
/// Bytes in a piece of an answer that is not streamed; in base64 still below the service's limit
/// of 1,000,000.
const WHOLE_PIECE: usize = 700_000;
/// How an answer is cut into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Not at all, as long as it fits.
    Whole,
    /// After each space.
    Words,
    /// Every few bytes, and inside each character that has several.
    Bytes,
}

/// The pieces of a text.
#[derive(Debug)]
pub(super) struct Pieces {
    rest: Bytes,
    cut: Cut,
}

impl Pieces {
    /// The text, to be cut in this way.
    pub(super) fn new(text: String, cut: Cut) -> Self {
        Self { rest: text.into(), cut }
    }

    /// Whether all pieces are taken.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn next_length(&self) -> usize {
        let rest = &self.rest;
        match self.cut {
            Cut::Whole => rest.len().min(WHOLE_PIECE),
            Cut::Words => memchr::memchr(b' ', rest).map_or(rest.len(), |space| space + 1),
            Cut::Bytes => {
                let length = rest.len().min(SMALL_PIECE);
                let begins_several = |byte: &u8| *byte >= 0xc0;
                rest[..length].iter().position(begins_several).map_or(length, |at| at + 1)
            }
        }
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            return None;
        }
        let length = self.next_length();
        Some(self.rest.split_to(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, cut: Cut) -> Vec<Vec<u8>> {
        Pieces::new(text.to_owned(), cut).map(|piece| piece.to_vec()).collect()
    }

    #[test]
    fn words_keep_the_space_after_them() {
        assert_eq!(cut("1 2 three", Cut::Words), [&b"1 "[..], b"2 ", b"three"]);
        assert!(cut("", Cut::Words).is_empty());
    }

    #[test]
    fn characters_of_several_bytes_straddle_two_pieces() {
        let text = "Grüße, 日本 \u{1f600} and plain letters";
        let pieces = cut(text, Cut::Bytes);
        assert_eq!(pieces.concat(), text.as_bytes());
        let halves = pieces.iter().filter(|piece| std::str::from_utf8(piece).is_err());
        assert!(halves.count() >= 5);
        assert!(cut("plain letters only, twelve each", Cut::Bytes).iter().all(|p| p.len() <= 12));
    }

    #[test]
    fn a_whole_answer_is_one_piece_until_it_is_too_large() {
        assert_eq!(cut("some words", Cut::Whole).len(), 1);
        assert_eq!(cut(&"x".repeat(WHOLE_PIECE + 1), Cut::Whole).len(), 2);
    }
}
