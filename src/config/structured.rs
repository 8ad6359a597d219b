//! Settings that are handed on to a service in its own spelling: a list of tables of any shape.

use serde_json::{Map, Number, Value as Json};
use toml::Value;
use toml::de::DeValue;

use super::kind::{Kind, Raw, must_be};

/// Tables in tables and lists in lists, at most so deep.
const DEEPEST: usize = 32;

/// A list of tables.
pub(super) struct Structured;

impl Kind for Structured {
    type Value = Vec<Json>;

    fn read(&self, raw: &Raw<'_>) -> Result<Vec<Json>, String> {
        let Raw::Toml(DeValue::Array(entries)) = raw else {
            return must_be("an array of tables", raw);
        };
        let read = |entry: &DeValue<'_>| match entry {
            DeValue::Table(_) => json(entry, DEEPEST),
            other => must_be("an array of tables", &Raw::Toml(other)),
        };
        entries.iter().map(|entry| read(entry.get_ref())).collect()
    }

    fn write(&self, value: &Vec<Json>) -> Option<Value> {
        if value.is_empty() {
            return None;
        }
        Value::try_from(value).ok()
    }
}

fn json(value: &DeValue<'_>, depth: usize) -> Result<Json, String> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(format!("nests deeper than {DEEPEST}"));
    };
    Ok(match value {
        DeValue::String(text) => Json::String(text.to_string()),
        DeValue::Boolean(value) => Json::Bool(*value),
        DeValue::Integer(value) => {
            let number = i64::from_str_radix(value.as_str(), value.radix());
            number.map(Json::from).map_err(|_| format!("holds {value}, which is too large"))?
        }
        DeValue::Float(value) => {
            let number = value.as_str().parse().ok().and_then(Number::from_f64);
            number.map(Json::Number).ok_or_else(|| format!("holds {value}, which JSON has not"))?
        }
        DeValue::Datetime(value) => Json::String(value.to_string()),
        DeValue::Array(entries) => {
            let entries = entries.iter().map(|entry| json(entry.get_ref(), depth));
            Json::Array(entries.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => {
            let mut members = Map::new();
            for (name, value) in table {
                members.insert(name.get_ref().to_string(), json(value.get_ref(), depth)?);
            }
            Json::Object(members)
        }
    })
}
