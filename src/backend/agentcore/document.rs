//! JSON as the SDK has it.

use aws_smithy_types::{Document, Number};
use serde_json::Value;

/// The same value as a document of the SDK.
pub(super) fn document(value: &Value) -> Document {
    match value {
        Value::Null => Document::Null,
        Value::Bool(bool) => Document::Bool(*bool),
        Value::Number(number) => Document::Number(self::number(number)),
        Value::String(text) => Document::String(text.clone()),
        Value::Array(items) => Document::Array(items.iter().map(document).collect()),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| (name.clone(), document(field)));
            Document::Object(fields.collect())
        }
    }
}

fn number(number: &serde_json::Number) -> Number {
    if let Some(whole) = number.as_u64() {
        return Number::PosInt(whole);
    }
    match number.as_i64() {
        Some(whole) => Number::NegInt(whole),
        // A number of JSON is one of the three.
        None => Number::Float(number.as_f64().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_value_has_its_document() {
        let value = json!({ "a": [1, -2, 2.5, "x", true, null] });
        let Document::Object(fields) = document(&value) else { panic!("not an object") };
        let expected = [
            Document::Number(Number::PosInt(1)),
            Document::Number(Number::NegInt(-2)),
            Document::Number(Number::Float(2.5)),
            Document::String("x".to_owned()),
            Document::Bool(true),
            Document::Null,
        ];
        assert_eq!(fields["a"], Document::Array(expected.to_vec()));
    }
}
