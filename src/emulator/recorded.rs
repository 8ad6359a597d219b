//! Request bodies as they are kept to be shown.

use serde_json::Value;
use serde_json::value::RawValue;

/// The largest body that is kept, in bytes.
const MAX_KEPT: usize = 64 << 10;
/// The longest text in a body that is kept only in part, in bytes.
const MAX_TEXT: usize = 1_000;
/// What is kept of a longer one, in characters.
const KEPT_TEXT: usize = 100;

/// The body as it came, or with its long texts cut where it is large; `None` where that does not
/// help, or for what is not JSON.
pub(super) fn recorded(body: &[u8]) -> Option<Box<RawValue>> {
    if body.len() <= MAX_KEPT {
        return serde_json::from_slice(body).ok();
    }
    let mut value = serde_json::from_slice(body).ok()?;
    shorten(&mut value);
    let text = value.to_string();
    if text.len() > MAX_KEPT { None } else { RawValue::from_string(text).ok() }
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > MAX_TEXT => {
            let begin: String = text.chars().take(KEPT_TEXT).collect();
            *text = format!("{begin}… ({} bytes)", text.len());
        }
        Value::Array(members) => members.iter_mut().for_each(shorten),
        Value::Object(members) => members.values_mut().for_each(shorten),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_small_body_is_kept_as_it_came_and_of_a_large_one_no_long_text() {
        assert_eq!(recorded(b"{\"a\": 1.0}").unwrap().get(), "{\"a\": 1.0}");
        let large = json!({"a": ["x".repeat(MAX_KEPT)], "b": "short"}).to_string();
        let kept: Value = serde_json::from_str(recorded(large.as_bytes()).unwrap().get()).unwrap();
        assert_eq!(kept["b"], "short");
        assert!(kept["a"][0].as_str().unwrap().ends_with("… (65536 bytes)"));
        assert!(recorded(json!(vec![0; MAX_KEPT]).to_string().as_bytes()).is_none());
        assert!(recorded(b"{").is_none());
    }
}
