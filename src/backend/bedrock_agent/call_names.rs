//! What clients know an agent's functions by.
//!
//! OpenAI's clients take names of 1 to 64 characters of `[a-zA-Z0-9_-]` and look a call's
//! function up by its name alone, so a name has to tell the functions of all action groups
//! apart. A function goes by its own name, or by `{group}__{function}` where another group has
//! one of that name in the same hand-over, or where the client declared it so. An API operation
//! has no name on the wire, and goes by `{group}__{method}_{path}`.

use sha2::{Digest as _, Sha256};

/// Characters of the longest name.
const LONGEST: usize = 64;
/// Of one that is longer, so many are kept before the digits that stand for all of it.
const KEPT: usize = 55;

/// A function or operation of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Callee {
    group: String,
    function: Option<String>,
    /// `{group}__{function}` or `{group}__{method}_{path}`, as it stands.
    full: String,
}

impl Callee {
    /// A function of an action group; one without a name goes by its group's.
    pub(super) fn function(group: &str, function: Option<&str>) -> Self {
        let name = function.unwrap_or(group);
        Self {
            group: group.to_owned(),
            function: Some(name.to_owned()),
            full: format!("{group}__{name}"),
        }
    }

    /// An operation of an action group that is described by an API schema.
    pub(super) fn operation(group: &str, method: &str, path: &str) -> Self {
        let full =
            format!("{group}__{}_{}", method.to_lowercase(), path.trim_matches(['/', '{', '}']));
        Self { group: group.to_owned(), function: None, full }
    }

    fn own_name(&self) -> String {
        fitting(self.function.as_deref().unwrap_or(&self.full))
    }

    fn clashes_with(&self, other: &Self) -> bool {
        self.group != other.group && self.function.is_some() && self.function == other.function
    }
}

/// A name for each callee, in order: the same for the same callee, and different for different
/// ones. `is_declared` says whether the client knows a function by a name.
pub(super) fn names(callees: &[Callee], is_declared: impl Fn(&str) -> bool) -> Vec<String> {
    let name = |callee: &Callee| {
        let (own, full) = (callee.own_name(), fitting(&callee.full));
        let is_ambiguous = callees.iter().any(|other| callee.clashes_with(other));
        let goes_by_full = is_ambiguous || (is_declared(&full) && !is_declared(&own));
        if goes_by_full { full } else { own }
    };
    let mut names: Vec<String> = Vec::with_capacity(callees.len());
    for callee in callees {
        let name = name(callee);
        let mut named = names.iter().zip(callees);
        // Different names can become one when cleaned.
        let is_taken = named.any(|(taken, earlier)| *taken == name && earlier != callee);
        names.push(if is_taken { numbered(&name, &callee.full) } else { name });
    }
    names
}

/// The text as a name that OpenAI's clients take.
fn fitting(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(LONGEST));
    for character in text.chars() {
        let fits = character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
        if fits {
            clean.push(character);
        } else if !clean.ends_with('_') {
            clean.push('_');
        }
    }
    if clean.is_empty() {
        clean.push('_');
    }
    if clean.len() > LONGEST { numbered(&clean, text) } else { clean }
}

/// A clean name cut to leave room for digits that stand for the whole text.
fn numbered(clean: &str, text: &str) -> String {
    let kept = clean.get(..KEPT).unwrap_or(clean);
    format!("{kept}_{}", digits(text))
}

/// Eight hexadecimal digits that stand for a text.
pub(in crate::backend) fn digits(text: &str) -> String {
    Sha256::digest(text).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(callees: &[Callee], declared: &[&str]) -> Vec<String> {
        names(callees, |name| declared.contains(&name))
    }

    #[test]
    fn a_function_goes_by_its_own_name_while_no_other_has_it() {
        let weather = Callee::function("Weather", Some("get_forecast"));
        let twice = [weather.clone(), weather.clone()];
        assert_eq!(named(&twice, &[]), ["get_forecast", "get_forecast"]);
        let garden = Callee::function("Garden", Some("get_forecast"));
        let both = named(&[weather, garden], &["get_forecast"]);
        assert_eq!(both, ["Weather__get_forecast", "Garden__get_forecast"]);
    }

    #[test]
    fn the_name_that_the_client_declared_is_preferred() {
        let weather = [Callee::function("Weather", Some("get"))];
        assert_eq!(named(&weather, &["Weather__get"]), ["Weather__get"]);
        assert_eq!(named(&weather, &["get", "Weather__get"]), ["get"]);
    }

    #[test]
    fn an_operation_goes_by_its_group_method_and_path() {
        let notes = [Callee::operation("Orders", "POST", "/orders/{orderId}/notes")];
        assert_eq!(named(&notes, &[]), ["Orders__post_orders_orderId_notes"]);
    }

    #[test]
    fn a_name_that_is_too_long_ends_with_digits_of_the_whole() {
        let long = |last: &str| Callee::function("G", Some(&format!("{}{last}", "x".repeat(80))));
        let both = named(&[long("a"), long("b")], &[]);
        assert_eq!(both[0].len(), 64);
        assert!(both[0].starts_with(&"x".repeat(55)));
        assert_ne!(both[0], both[1]);
    }

    #[test]
    fn names_that_become_one_when_cleaned_stay_apart() {
        let callees = [Callee::function("G", Some("a.b")), Callee::function("G", Some("a b"))];
        let both = named(&callees, &[]);
        assert_eq!(both[0], "a_b");
        assert!(both[1].starts_with("a_b_") && both[1].len() == "a_b_".len() + 8);
    }
}
