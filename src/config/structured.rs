//! Settings that are handed on to a service in its own spelling: a list of tables of any shape.

use std::num::NonZeroU32;

use serde_json::{Map, Number, Value as Json};
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::PoolMember;
use super::kind::{Id, Kind, Positive, Raw, must_be};
use crate::turn::ModelName;

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

/// The members of a pool: tables of `model` and `weight`.
pub(super) struct Members;

impl Kind for Members {
    type Value = Vec<PoolMember>;

    fn read(&self, raw: &Raw<'_>) -> Result<Vec<PoolMember>, String> {
        let wanted = "an array of tables such as { model = \"east\", weight = 2 }";
        let Raw::Toml(DeValue::Array(entries)) = raw else { return must_be(wanted, raw) };
        let read = |entry: &DeValue<'_>| match entry {
            DeValue::Table(table) => member(table),
            other => must_be(wanted, &Raw::Toml(other)),
        };
        entries.iter().map(|entry| read(entry.get_ref())).collect()
    }

    fn write(&self, value: &Vec<PoolMember>) -> Option<Value> {
        if value.is_empty() {
            return None;
        }
        let table = |member: &PoolMember| {
            let mut table = Table::new();
            table.insert("model".to_owned(), member.model.as_str().into());
            table.insert("weight".to_owned(), i64::from(member.weight.get()).into());
            Value::Table(table)
        };
        Some(Value::Array(value.iter().map(table).collect()))
    }
}

fn member(table: &DeTable<'_>) -> Result<PoolMember, String> {
    let mut model = None;
    let mut weight = NonZeroU32::MIN;
    for (name, value) in table {
        let raw = Raw::Toml(value.get_ref());
        match &**name.get_ref() {
            "model" => model = Some(Id::<ModelName>::new().read(&raw)?),
            "weight" => weight = Positive.read(&raw).map_err(|why| format!("weight {why}"))?,
            other => return Err(format!("knows model and weight, not {other}")),
        }
    }
    let model = model.ok_or("needs a model in each of its tables")?;
    Ok(PoolMember { model, weight })
}
