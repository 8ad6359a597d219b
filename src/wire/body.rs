//! Request bodies: from bytes to a type, or a refusal that names the member at fault.
//!
//! A body is read once, straight into its type. Only when that fails is it read a second time,
//! by a reader that keeps track of where it is, to name the member. No message quotes what the
//! client sent: bodies hold what people say.
//!
//! Nesting is bounded by `serde_json`: 128 levels for what is kept, and what is skipped is
//! skipped without recursion.

use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_path_to_error::{Path, Segment};

use crate::turn::{Failure, FailureKind};

/// The longest path worth naming; longer ones come from member names that the client made up.
const LONGEST_PARAM: usize = 200;

/// Reads a JSON body.
///
/// # Errors
/// [`FailureKind::BadRequest`] when the body is not UTF-8 or not JSON, with the position, or
/// does not fit the type, with the member at fault as `messages[2].content`.
pub(super) fn read<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Failure> {
    let text = text(body)?;
    serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Data => misfit::<T>(text, &error),
        Category::Syntax | Category::Eof | Category::Io => malformed(text, &error),
    })
}

/// Reads a member that was left as it came; `at` is its place in the body.
///
/// # Errors
/// [`FailureKind::BadRequest`] when it does not fit the type, at the member at fault.
pub(super) fn read_at<'de, T: Deserialize<'de>>(
    raw: &'de RawValue,
    at: &str,
) -> Result<T, Failure> {
    serde_json::from_str(raw.get()).map_err(|_| {
        let mut source = serde_json::Deserializer::from_str(raw.get());
        let tracked = serde_path_to_error::deserialize::<_, T>(&mut source);
        let Err(tracked) = tracked else { return wrong(at, "cannot be read") };
        let path = param(tracked.path());
        let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
        let (wanted, _) = expected(tracked.inner());
        let place = format!("{at}{dot}{path}");
        Failure::bad_field(place.clone(), format!("{place}: {wanted}"))
    })
}

/// A refusal of one member: its name, and what is wrong with it.
pub(super) fn wrong(param: impl Into<String>, why: &str) -> Failure {
    let param = param.into();
    let message = format!("{param} {why}");
    Failure::bad_field(param, message)
}

/// The body as text, without the byte order mark that some clients put first.
///
/// # Errors
/// [`FailureKind::BadRequest`] when it is not UTF-8.
pub(super) fn text(body: &[u8]) -> Result<&str, Failure> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let message =
            format!("the body is not UTF-8: byte {} is wrong; send JSON", error.valid_up_to());
        Failure::new(FailureKind::BadRequest, message)
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn malformed(text: &str, error: &serde_json::Error) -> Failure {
    let message = if text.trim().is_empty() {
        "the body is empty; send a JSON object".into()
    } else {
        // The reader's own words for broken syntax are constants and a position.
        format!("the body is not valid JSON: {error}")
    };
    Failure::new(FailureKind::BadRequest, message)
}

fn misfit<'de, T: Deserialize<'de>>(text: &'de str, first: &serde_json::Error) -> Failure {
    let mut source = serde_json::Deserializer::from_str(text);
    let Err(tracked) = serde_path_to_error::deserialize::<_, T>(&mut source) else {
        return Failure::new(FailureKind::BadRequest, what_is_wrong(first));
    };
    let message = what_is_wrong(tracked.inner());
    let path = param(tracked.path());
    if path.is_empty() {
        return Failure::new(FailureKind::BadRequest, message);
    }
    Failure::bad_field(path.clone(), format!("{path}: {message}"))
}

/// A path as far as it is worth naming.
fn param(path: &Path) -> String {
    let mut named = String::new();
    for segment in path {
        let is_name = !matches!(segment, Segment::Seq { .. });
        let dot = if is_name && !named.is_empty() { "." } else { "" };
        let longer = format!("{named}{dot}{segment}");
        if longer.len() > LONGEST_PARAM {
            break;
        }
        named = longer;
    }
    named
}

/// Says what was expected and where, without what was found: that may be a person's words.
fn what_is_wrong(error: &serde_json::Error) -> String {
    let (wanted, (line, column)) = expected(error);
    format!("{wanted} (line {line}, column {column})")
}

/// What was expected, and the line and column of what was found instead.
fn expected(error: &serde_json::Error) -> (String, (usize, usize)) {
    let (line, column) = (error.line(), error.column());
    let full = error.to_string();
    let said = full.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&full);
    let quotes_content = said.starts_with("invalid ") || said.starts_with("unknown ");
    let wanted = match said.rsplit_once(", expected ") {
        Some((_, "a sequence")) => "expected a list".to_owned(),
        Some((_, "a map")) => "expected an object".to_owned(),
        Some((_, expected)) if quotes_content => format!("expected {expected}"),
        _ if quotes_content => "cannot be read".to_owned(),
        _ => said.to_owned(),
    };
    (wanted, (line, column))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(expecting = "an object")]
    struct Sample {
        list: Option<Vec<Inner>>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        flag: Option<bool>,
    }

    fn failure(body: &[u8]) -> (Option<String>, String) {
        let failure = read::<Sample>(body).unwrap_err();
        assert_eq!(failure.kind, FailureKind::BadRequest);
        (failure.param.map(Into::into), failure.message.into())
    }

    #[test]
    fn a_byte_order_mark_is_tolerated() {
        let sample: Sample = read("\u{feff}{\"list\":[{\"flag\":true}]}".as_bytes()).unwrap();
        assert_eq!(sample.list.unwrap()[0].flag, Some(true));
    }

    #[test]
    fn a_member_of_the_wrong_type_is_named_and_not_quoted() {
        let (param, message) = failure(br#"{"list":[{},{"flag":"my secret, expected x"}]}"#);
        assert_eq!(param.as_deref(), Some("list[1].flag"));
        assert_eq!(message, "list[1].flag: expected a boolean (line 1, column 43)");
    }

    #[test]
    fn a_name_that_is_too_long_to_repeat_leaves_what_it_stands_in() {
        let body = |name: &str| format!(r#"{{"table":{{"{name}":1}}}}"#);
        let param = |body: &str| {
            let failure = read::<BTreeMap<String, BTreeMap<String, String>>>(body.as_bytes());
            failure.unwrap_err().param.map(String::from)
        };
        assert_eq!(param(&body("a.b")).as_deref(), Some("table.a.b"));
        assert_eq!(param(&body(&"x".repeat(200))).as_deref(), Some("table"));
    }

    #[test]
    fn what_is_no_json_is_refused_with_the_position() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "the body is empty; send a JSON object"),
            (b" \n", "the body is empty; send a JSON object"),
            (b"[]", "expected an object (line 1, column 2)"),
            (
                b"{\"list\":",
                "the body is not valid JSON: EOF while parsing a value at line 1 column 8",
            ),
            (
                b"{\"list\":[]} x",
                "the body is not valid JSON: trailing characters at line 1 column 13",
            ),
            (b"{\"a\":\"\xff\"}", "the body is not UTF-8: byte 6 is wrong; send JSON"),
        ];
        for (body, expected) in cases {
            assert_eq!(failure(body), (None, (*expected).to_owned()));
        }
    }
}
