//! `[[models]]` and `[[keys]]`: tables that come in any number.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use toml::de::DeTable;

use super::fields::{self, KeyTable};
use super::model_fields;
use super::read::Reader;
use super::{Environment, Key, Model, Place, Profile, Secret, secret};
use crate::turn::request::named;
use crate::turn::{ModelName, TenantId};

/// A key in the clear has at least so many characters, or it can be guessed. That of `API_KEY`
/// is exempt: its users have it already, and have it as it is.
const SHORTEST_KEY: usize = 16;

impl Model {
    /// A place to read into; a problem is reported wherever this name would be left.
    fn unnamed() -> Self {
        Self::new("unnamed".parse().expect("a word is a model name"), "")
    }
}

/// Reads every `[[models]]`, or `[[models.list]]`.
pub(super) fn models(reader: &mut Reader<'_>, environment: &Environment) -> Vec<Model> {
    let Some(found) = reader.top("models") else { return Vec::new() };
    let list = match found.get_ref().as_table() {
        Some(table) => table.get("list"),
        None => Some(found),
    };
    let Some(list) = list else { return Vec::new() };
    let mut models = Vec::new();
    let mut lines_by_name: BTreeMap<ModelName, usize> = BTreeMap::new();
    for (index, (table, line)) in reader.tables("models", list).into_iter().enumerate() {
        let path = model_path(index, table);
        reader.open(path.clone(), Some(table), line);
        let mut model = Model::unnamed();
        profile(table).prepare(&mut model);
        model_fields::settings(reader, &mut model);
        reader.close();
        model.lines = lines(reader, table, line);
        resolve_api_key(reader, &path, &mut model, environment);
        let name = format!("{path}.name");
        if let Some(Place::Line(line)) = reader.places.get(&name).cloned() {
            let before = lines_by_name.insert(model.name.clone(), line);
            if let Some(first) = before {
                let message = format!("is the name of the model on line {first} too");
                reader.report(line, name, &message);
            }
        }
        models.push(model);
    }
    models
}

/// The profile whose defaults the table's settings override; one that there is not is reported
/// when the settings are read.
fn profile(table: &DeTable<'_>) -> Profile {
    let written = table.get("profile").and_then(|name| name.get_ref().as_str());
    written.and_then(|name| named(Profile::NAMES, name)).unwrap_or_default()
}

/// Puts the key itself in the place of what refers to it.
fn resolve_api_key(
    reader: &mut Reader<'_>,
    path: &str,
    model: &mut Model,
    environment: &Environment,
) {
    let Some(written) = &model.text.api_key else { return };
    match upstream_key(written, environment) {
        Ok(key) => model.text.api_key = Some(key),
        Err(message) => {
            let line = model.lines.get("api_key").copied().unwrap_or_default();
            reader.report(line, format!("{path}.api_key"), &message);
        }
    }
}

/// The key that a setting holds or refers to, fit for a header.
pub(super) fn upstream_key(written: &Secret, environment: &Environment) -> Result<Secret, String> {
    let key = secret::resolve(written, environment).map_err(|error| error.to_string())?;
    check_header(&key)?;
    Ok(key)
}

/// `models[NAME]`, or `models[INDEX]` where there is no name to speak of.
fn model_path(index: usize, table: &DeTable<'_>) -> String {
    let name = table.get("name").and_then(|name| name.get_ref().as_str());
    match name.filter(|name| name.parse::<ModelName>().is_ok() && name.len() <= 100) {
        Some(name) => format!("models[{name}]"),
        None => format!("models[{index}]"),
    }
}

fn lines(reader: &Reader<'_>, table: &DeTable<'_>, line: usize) -> BTreeMap<String, usize> {
    let settings =
        table.keys().map(|name| (name.get_ref().to_string(), reader.line(name.span().start)));
    settings.chain([(String::new(), line)]).collect()
}

/// Reads every `[[keys]]`.
pub(super) fn keys(reader: &mut Reader<'_>, environment: &Environment) -> Vec<Key> {
    let Some(found) = reader.top("keys") else { return Vec::new() };
    let mut keys = Vec::new();
    let mut lines_by_hash: BTreeMap<[u8; 32], usize> = BTreeMap::new();
    for (index, (table, line)) in reader.tables("keys", found).into_iter().enumerate() {
        let path = format!("keys[{index}]");
        reader.open(path.clone(), Some(table), line);
        let mut draft = KeyTable::new(TenantId::open());
        fields::key(reader, &mut draft);
        reader.close();
        let at = TableAt { path, table, line };
        if let Some(hash) = hash_of(reader, &at, &draft, environment) {
            let before = lines_by_hash.insert(hash, line);
            if let Some(first) = before {
                let message = format!("is the same key as the one on line {first}");
                reader.report(line, at.path, &message);
            }
            draft.key.hash = hash;
        }
        keys.push(draft.key);
    }
    keys
}

/// A table and where it stands.
struct TableAt<'a> {
    path: String,
    table: &'a DeTable<'a>,
    line: usize,
}

/// The hash of the key that a table gives, in one of the two ways; without it, there is a
/// problem, which was reported here or when the table was read.
fn hash_of(
    reader: &mut Reader<'_>,
    at: &TableAt<'_>,
    draft: &KeyTable,
    environment: &Environment,
) -> Option<[u8; 32]> {
    let line_of = |name| at.table.get(name).map(|found| reader.line(found.span().start));
    let (setting, line, message) = match (line_of("hash"), line_of("key")) {
        (Some(_), None) => return draft.hash,
        (None, Some(line)) => match hash_of_clear(draft.clear.as_ref()?, environment) {
            Ok(hash) => return Some(hash),
            Err(message) => ("key", line, message),
        },
        (Some(_), Some(line)) => ("key", line, "stands beside hash; remove one of them".to_owned()),
        (None, None) => {
            ("hash", at.line, "is missing; make one with `outcrop config set key`".to_owned())
        }
    };
    reader.report(line, format!("{}.{setting}", at.path), &message);
    None
}

fn hash_of_clear(written: &Secret, environment: &Environment) -> Result<[u8; 32], String> {
    let key = secret::resolve(written, environment).map_err(|error| error.to_string())?;
    let is_old = secret::variable_name(written.expose()) == Some("API_KEY");
    if key.expose().len() < SHORTEST_KEY && !is_old {
        return Err(format!(
            "is shorter than {SHORTEST_KEY} characters; make one with `outcrop config set key`"
        ));
    }
    check_header(&key)?;
    Ok(secret::hash_key(key.expose()))
}

/// The hash of a key that the environment gives as it is.
pub(super) fn hash_of_old_key(
    written: &str,
    environment: &Environment,
) -> Result<[u8; 32], String> {
    let written = Secret::new(written);
    let key = secret::resolve(&written, environment).map_err(|error| error.to_string())?;
    check_header(&key)?;
    Ok(secret::hash_key(key.expose()))
}

fn check_header(key: &Secret) -> Result<(), String> {
    if key.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err("must be visible ASCII without spaces, since keys travel in a header".to_owned())
}

impl Key {
    /// A key of this tenant without any limit, and for no other tenant's sessions.
    #[must_use]
    pub fn new(tenant: TenantId, hash: [u8; 32]) -> Self {
        let unlimited: Option<NonZeroU32> = None;
        Self {
            tenant,
            hash,
            requests_per_minute: unlimited,
            tokens_per_minute: unlimited,
            concurrent_turns: unlimited,
            models: None,
            disconnect_policy: None,
            admin: false,
        }
    }
}
