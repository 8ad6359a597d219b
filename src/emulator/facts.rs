//! What the demo agent picks up from a sentence: the speaker's name, and an amount of money.

/// The longest name that is remembered, in bytes.
const MAX_NAME: usize = 60;
/// Words in a name, at most.
const MAX_NAME_WORDS: usize = 3;
/// The largest amount that is believed: a billion dollars.
const MAX_CENTS: u64 = 100_000_000_000;
/// The smallest amount that is taken for one without a currency, so that "5 years" is not.
const MIN_BARE_CENTS: u64 = 10_000;
/// What stands before an amount when no currency does.
const BORROWING: &[&str] = &["borrow", "loan of", "loan for"];

/// Finds the name in "my name is Ann", "I am Ann", "I'm Ann" or "call me Ann".
///
/// After "my name is" any word will do; elsewhere only one in capitals is a name, so that "I am
/// late" is not.
pub(super) fn name_in(text: &str) -> Option<String> {
    let plain = text.replace('\u{2019}', "'");
    let lower = plain.to_ascii_lowercase();
    let phrases = [("my name is", true), ("i am", false), ("i'm", false), ("call me", false)];
    phrases.into_iter().find_map(|(phrase, any_case)| {
        let mut starts = lower.match_indices(phrase).map(|(start, _)| start);
        starts.find_map(|start| {
            let rest = &plain[start + phrase.len()..];
            let is_phrase =
                !lower[..start].ends_with(is_word_char) && !rest.starts_with(is_word_char);
            if is_phrase { leading_name(rest, any_case) } else { None }
        })
    })
}

/// Finds the amount, in cents, in "$25,000", "25,000 dollars" or "borrow 25 thousand".
pub(super) fn amount_in(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let borrowing_at = BORROWING.iter().filter_map(|phrase| lower.find(phrase)).min();
    let mut at = 0;
    while let Some(found) = lower[at..].find(|letter: char| letter.is_ascii_digit()) {
        let start = at + found;
        let number = Number::leading(&lower[start..]);
        let before = lower[..start].trim_end();
        let is_money = before.ends_with('$') || number.is_followed_by_currency;
        let may_be_bare = borrowing_at.is_some_and(|phrase| phrase < start);
        match number.cents {
            Some(cents) if is_money || (may_be_bare && cents >= MIN_BARE_CENTS) => {
                return Some(cents);
            }
            _ => at = start + number.length,
        }
    }
    None
}

/// The amount as people write it: `$25,000`, `$500.95`.
pub(super) fn dollars(cents: u64) -> String {
    let whole = (cents / 100).to_string();
    let mut grouped = String::with_capacity(whole.len() + 6);
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match cents % 100 {
        0 => format!("${grouped}"),
        rest => format!("${grouped}.{rest:02}"),
    }
}

fn is_word_char(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '\''
}

fn leading_name(rest: &str, any_case: bool) -> Option<String> {
    let mut name = String::new();
    for (place, raw) in rest.split_whitespace().take(MAX_NAME_WORDS).enumerate() {
        let word = raw.trim_matches(|letter: char| !letter.is_alphanumeric());
        let is_capital = word.chars().next().is_some_and(char::is_uppercase);
        let is_name = is_capital || (any_case && place == 0);
        let is_letters = word.chars().all(|letter| letter.is_alphabetic() || "'-".contains(letter));
        if word.is_empty() || !is_name || !is_letters || word.eq_ignore_ascii_case("not") {
            break;
        }
        if name.len() + word.len() >= MAX_NAME {
            break;
        }
        if !name.is_empty() {
            name.push(' ');
        }
        name.push_str(&capitalised(word));
        if raw.ends_with(|letter: char| !letter.is_alphanumeric()) {
            break;
        }
    }
    (!name.is_empty()).then_some(name)
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A number at the beginning of a text.
struct Number {
    /// `None` when it is too large to be believed.
    cents: Option<u64>,
    /// Bytes of the digits and what belongs to them.
    length: usize,
    is_followed_by_currency: bool,
}

impl Number {
    /// Reads `25,000.50`, `25k` or `25 thousand` from a text that begins with a digit.
    fn leading(text: &str) -> Self {
        let digits_end = text
            .find(|letter: char| !(letter.is_ascii_digit() || letter == ','))
            .unwrap_or(text.len());
        let digits: String = text[..digits_end].chars().filter(char::is_ascii_digit).collect();
        let (hundredths, cents_length) = hundredths(&text[digits_end..]);
        let length = digits_end + cents_length;
        let rest = text[length..].trim_start();
        let word = rest.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or("");
        let (factor, after) = match word {
            "k" | "thousand" | "grand" => (1_000, rest[word.len()..].trim_start()),
            "million" => (1_000_000, rest[word.len()..].trim_start()),
            _ => (1, rest),
        };
        let cents = digits
            .parse::<u64>()
            .ok()
            .and_then(|whole| whole.checked_mul(100)?.checked_add(hundredths)?.checked_mul(factor))
            .filter(|cents| *cents <= MAX_CENTS);
        let is_followed_by_currency =
            ["dollar", "usd", "bucks"].iter().any(|currency| after.starts_with(currency));
        Self { cents, length, is_followed_by_currency }
    }
}

/// Reads `.5` or `.50`: the hundredths and the bytes they take.
fn hundredths(text: &str) -> (u64, usize) {
    let Some(fraction) = text.strip_prefix('.') else { return (0, 0) };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    match (digits, fraction.as_bytes()) {
        (1, [tenth, ..]) => (u64::from(tenth - b'0') * 10, 2),
        (2, [tenth, hundredth, ..]) => {
            (u64::from(tenth - b'0') * 10 + u64::from(hundredth - b'0'), 3)
        }
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_however_it_is_told() {
        for text in [
            "My name is Ann.",
            "hello, I am Ann",
            "I'm Ann, how are you?",
            "I\u{2019}m Ann!",
            "Please call me Ann",
            "my name is ann and I need help",
            "MY NAME IS Ann",
        ] {
            assert_eq!(name_in(text).as_deref(), Some("Ann"), "{text}");
        }
        assert_eq!(name_in("my name is Zoë van Dijk").as_deref(), Some("Zoë"));
        assert_eq!(
            name_in("I am Mary Jane Watson-Parker.").as_deref(),
            Some("Mary Jane Watson-Parker")
        );
    }

    #[test]
    fn a_sentence_without_a_name_has_none() {
        for text in [
            "I am late",
            "I'm looking for a loan",
            "call me back tomorrow",
            "what is my name?",
            "do you know what my name is?",
            "Miami am I",
            "I am 42",
            "",
        ] {
            assert_eq!(name_in(text), None, "{text}");
        }
    }

    #[test]
    fn an_amount_is_found_however_it_is_told() {
        for text in [
            "I want to borrow 25,000 dollars",
            "$25,000",
            "I need $ 25000.00 for a car",
            "I'd like to borrow 25000",
            "a home loan of 25k please",
            "25 thousand dollars",
        ] {
            assert_eq!(amount_in(text), Some(2_500_000), "{text}");
        }
        assert_eq!(amount_in("I was born in 1980 and owe $12.5"), Some(1_250));
    }

    #[test]
    fn a_number_that_is_no_amount_is_not_taken_for_one() {
        for text in [
            "count to 64",
            "how much did I want to borrow?",
            "in 1980 I wanted to borrow",
            "I want to borrow for 5 years",
            "$99,999,999,999,999,999,999",
        ] {
            assert_eq!(amount_in(text), None, "{text}");
        }
    }

    #[test]
    fn amounts_are_written_with_thousands_and_cents() {
        assert_eq!(dollars(2_500_000), "$25,000");
        assert_eq!(dollars(50_095), "$500.95");
        assert_eq!(dollars(100_000_000_000), "$1,000,000,000");
        assert_eq!(dollars(5), "$0.05");
    }
}
