//! The caller's phone number, where a voice platform tells it.
//!
//! Platforms put it into members of their own beside the chat request (`customer.number` and
//! the like). Which ones to read is the operator's to say, as dotted paths. A number is
//! personal: nothing here logs it.

use super::body;
use super::member::{may_hold, member};

/// Digits in a number, country code included (E.164 allows no more; shorter ones are short
/// codes, which are nobody's own).
const DIGITS: std::ops::RangeInclusive<usize> = 8..=15;

/// Finds the number at the first of the dotted paths that holds one, as `+` and 8 to 15 digits
/// (E.164).
///
/// A number without its country code (neither `+` nor `00` in front) is none: guessing the
/// country would name somebody else. The body is parsed only where the names of a path occur
/// in it.
#[must_use]
pub fn number(body: &[u8], fields: &[String]) -> Option<String> {
    fields
        .iter()
        .filter(|path| names_occur(body, path))
        .find_map(|path| e164(&string_at(body::text(body).ok()?, path)?))
}

/// Whether every member name of a path occurs as a quoted string, the last one first, since it
/// is the rarest.
fn names_occur(body: &[u8], path: &str) -> bool {
    path.rsplit('.').all(|name| may_hold(body, name))
}

fn string_at(text: &str, path: &str) -> Option<String> {
    let mut value = text;
    for name in path.split('.') {
        value = member(value, name)?;
    }
    serde_json::from_str(value).ok()
}

/// Normalises a number as people write it: spaces, dashes, dots and parentheses go, a leading
/// `00` is a `+`.
fn e164(written: &str) -> Option<String> {
    let is_ornament = |c: char| c.is_whitespace() || matches!(c, '-' | '.' | '(' | ')');
    let compact: String = written.chars().filter(|c| !is_ornament(*c)).take(32).collect();
    let digits = compact.strip_prefix('+').or_else(|| compact.strip_prefix("00"))?;
    let is_number = DIGITS.contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| format!("+{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &str, fields: &[&str]) -> Option<String> {
        let fields: Vec<_> = fields.iter().map(|field| (*field).to_owned()).collect();
        number(body.as_bytes(), &fields)
    }

    #[test]
    fn the_first_path_that_holds_a_number_counts() {
        let body = r#"{"messages":[{"role":"user","content":"{\"number\":\"+4999999999\"}"}],
            "customer":{"number":"unknown","name":"Ann"},
            "call":{"id":"7f","customer":{"number":"+1 (555) 010-0199"}},
            "metadata":{"phone":"+15550100000"}}"#;
        let fields = ["customer.number", "call.customer.number", "metadata.phone"];
        assert_eq!(found(body, &fields).as_deref(), Some("+15550100199"));
    }

    #[test]
    fn a_body_without_one_gives_none() {
        let fields = ["customer.number", "metadata.phone", "number", ""];
        for body in [
            "",
            "{}",
            "[1]",
            "{\"customer\":",
            r#"{"customer":"number"}"#,
            r#"{"customer":{"number":null}}"#,
            r#"{"customer":{"number":15550100199}}"#,
            r#"{"customer":[{"number":"+15550100199"}]}"#,
        ] {
            assert_eq!(found(body, &fields), None, "{body}");
        }
    }

    #[test]
    fn numbers_are_normalised_to_e164() {
        let cases = [
            ("+15550100199", Some("+15550100199")),
            ("0049 30 123456", Some("+4930123456")),
            ("+49.30-12(34)56", Some("+4930123456")),
            ("15550100199", None),
            ("030 123456", None),
            ("+0123456789", None),
            ("+1234567", None),
            ("+1234567890123456", None),
            ("+1555010O199", None),
            ("tel:+15550100199", None),
            ("", None),
        ];
        for (written, expected) in cases {
            assert_eq!(e164(written).as_deref(), expected, "{written}");
        }
    }

    #[test]
    fn a_byte_order_mark_does_not_hide_the_number() {
        let body = "\u{feff}{\"customer\":{\"number\":\"+15550100199\"}}";
        assert_eq!(found(body, &["customer.number"]).as_deref(), Some("+15550100199"));
    }
}
