//! Names as the service takes them for functions and parameters.
//!
//! `^([0-9a-zA-Z][_-]?){1,100}$` in the API model (`Name` of `InvokeInlineAgent`): letters and
//! digits, with one `_` or `-` at most after each. OpenAI's names may begin with `_` or have two
//! in a row.

use crate::backend::bedrock_agent::call_names::digits;

/// Characters kept of a name that is replaced.
const KEPT: usize = 55;

/// Whether the service takes a text as the name of a function or parameter.
pub(super) fn is_service_name(text: &str) -> bool {
    (1..=100).contains(&text.len()) && text == cleaned(text)
}

/// The name itself where the service takes it, else one that stands for it.
pub(super) fn service_name(name: &str) -> String {
    if is_service_name(name) {
        return name.to_owned();
    }
    let clean = cleaned(name);
    let kept = clean.get(..KEPT).unwrap_or(&clean).trim_end_matches(['_', '-']);
    let kept = if kept.is_empty() { "tool" } else { kept };
    format!("{kept}_{}", digits(name))
}

/// Letters and digits, with one `_` or `-` at most after each.
fn cleaned(name: &str) -> String {
    let mut clean = String::with_capacity(name.len());
    for character in name.chars() {
        let follows_letter = clean.ends_with(|last: char| last.is_ascii_alphanumeric());
        match character {
            letter if letter.is_ascii_alphanumeric() => clean.push(letter),
            '-' if follows_letter => clean.push('-'),
            _ if follows_letter => clean.push('_'),
            _ => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_service_takes_stay_and_others_are_replaced() {
        for name in ["a", "get_weather", "a-b_c", "x_"] {
            assert_eq!(service_name(name), name);
        }
        for name in ["_a", "a__b", "-", "", "a_-b", "a b", &"x".repeat(101)] {
            let replaced = service_name(name);
            assert!(is_service_name(&replaced), "{name}: {replaced}");
        }
    }

    #[test]
    fn different_names_stay_different() {
        assert_ne!(service_name("a__b"), service_name("a___b"));
        assert_ne!(service_name("_a"), service_name("a"));
    }
}
