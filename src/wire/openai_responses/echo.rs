//! What a response repeats of its request, and how the request wants it written: kept as JSON
//! text beside the turn, since a response is read long after its request is gone.

use std::sync::Arc;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::wire::json_text;

/// How the answer is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manner {
    /// The tools that take free text: their calls are of a kind of their own.
    pub(super) custom_tools: Vec<String>,
    /// Whether thinking is shown as a summary.
    pub(super) summarises: bool,
    /// Whether thinking comes with its [carrier](super::carrier).
    pub(super) seals: bool,
}

#[derive(Debug, Serialize)]
struct Kept<'a> {
    manner: &'a Manner,
    shown: &'a Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Read<'a> {
    manner: Manner,
    #[serde(borrow)]
    shown: &'a RawValue,
}

/// Writes both down; `shown` are members of a response.
pub(super) fn write(manner: &Manner, shown: &Map<String, Value>) -> Arc<str> {
    let mut out = BytesMut::new();
    json_text::value(&Kept { manner, shown }, &mut out);
    std::str::from_utf8(&out).expect("JSON is written as UTF-8").into()
}

/// What is read back: the manner, and the members that are shown, without the braces and with a
/// comma behind each. A turn that was asked for in another format has the defaults.
pub(super) fn read(echo: Option<&str>) -> (Manner, String) {
    let kept = echo.and_then(|echo| serde_json::from_str::<Read<'_>>(echo).ok());
    let (manner, shown) = match kept {
        Some(Read { manner, shown }) => (manner, shown.get().to_owned()),
        None => {
            let mut out = BytesMut::new();
            json_text::value(&defaults(), &mut out);
            (Manner::default(), String::from_utf8_lossy(&out).into_owned())
        }
    };
    let members = shown.trim_start_matches('{').strip_suffix('}').unwrap_or_default();
    let comma = if members.is_empty() { "" } else { "," };
    (manner, format!("{members}{comma}"))
}

/// The members, as of a request that says nothing.
pub(super) fn defaults() -> Map<String, Value> {
    let Value::Object(members) = json!({
        "instructions": null,
        "max_output_tokens": null,
        "max_tool_calls": null,
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": true,
        "temperature": null,
        "top_p": null,
        "top_logprobs": 0,
        "text": { "format": { "type": "text" } },
        "reasoning": { "effort": null, "summary": null },
        "truncation": "disabled",
        "store": true,
        "conversation": null,
        "service_tier": null,
        "prompt_cache_key": null,
        "safety_identifier": null,
        "metadata": {},
    }) else {
        return Map::new();
    };
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back() {
        let manner = Manner { custom_tools: vec!["a\u{2028}".to_owned()], ..Manner::default() };
        let mut shown = Map::new();
        shown.insert("user".to_owned(), json!("a\u{2029}\"}"));
        let kept = write(&manner, &shown);
        let expected = (manner.clone(), "\"user\":\"a\\u2029\\\"}\",".to_owned());
        assert_eq!(read(Some(&kept)), expected);
        assert_eq!(read(Some(&write(&manner, &Map::new()))), (manner, String::new()));
    }

    #[test]
    fn what_another_format_kept_gives_the_defaults() {
        let expected = read(None);
        assert!(expected.1.starts_with("\"instructions\":null,") && expected.1.ends_with("{},"));
        for other in ["", "{}", "[1]", "{\"shown\":{},\"manner\":[]}", "{\"manner\":{}}"] {
            assert_eq!(read(Some(other)), expected, "{other}");
        }
    }
}
