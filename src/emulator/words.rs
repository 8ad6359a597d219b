//! Words and clauses of the phrases: cut at spaces and semicolons, but not within a quoted value.
//!
//! A quote counts only right after `=`, and ends where the same quote stands before a space, a
//! semicolon or the end. So an apostrophe in a sentence is none, and a value may hold JSON.

/// The clauses of a message, cut at semicolons.
pub(super) fn clauses(text: &str) -> Vec<&str> {
    cut(text, |letter| letter == ';')
}

/// The words of a clause, cut at spaces; a quoted value keeps its quotes.
pub(super) fn split(text: &str) -> Vec<&str> {
    cut(text, char::is_whitespace).into_iter().filter(|word| !word.is_empty()).collect()
}

/// A value without the quotes around it.
pub(super) fn unquoted(value: &str) -> &str {
    let inside = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

fn cut(text: &str, is_border: impl Fn(char) -> bool) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut quote = None;
    let mut before = ' ';
    for (at, letter) in text.char_indices() {
        match quote {
            None if before == '=' && (letter == '"' || letter == '\'') => quote = Some(letter),
            None if is_border(letter) => {
                pieces.push(&text[start..at]);
                start = at + letter.len_utf8();
            }
            Some(open) if letter == open && is_end(&text[at + letter.len_utf8()..]) => quote = None,
            _ => {}
        }
        before = letter;
    }
    pieces.push(&text[start..]);
    pieces
}

fn is_end(rest: &str) -> bool {
    rest.chars().next().is_none_or(|next| next == ';' || next.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_values_are_one_word() {
        let words = split("book  note=\"call back; soon\" data='{\"a\": \"it's\"}' n=1");
        assert_eq!(words, ["book", "note=\"call back; soon\"", "data='{\"a\": \"it's\"}'", "n=1"]);
        assert_eq!(unquoted("'{\"a\": 1}'"), "{\"a\": 1}");
        assert_eq!(unquoted("plain"), "plain");
        assert_eq!(unquoted("\""), "\"");
    }

    #[test]
    fn an_apostrophe_in_a_sentence_opens_no_quote() {
        assert_eq!(clauses("say: it's; call: a"), ["say: it's", " call: a"]);
        assert_eq!(clauses("a=\"open; never closed"), ["a=\"open; never closed"]);
    }
}
