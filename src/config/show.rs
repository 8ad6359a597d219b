//! Writes a configuration down as TOML that reads the same.

use toml::Value;

use super::Loaded;
use super::fields::{self, Fields, KeyTable};
use super::kind::Kind;
use super::model_fields;
use super::read::Places;

/// How much of the keys' hashes is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashes {
    /// The first eight digits: enough to know a key by. What is written so is not loaded again,
    /// rather than without its keys.
    Masked,
    /// All of them, so that what is written can be loaded.
    Whole,
}

impl Loaded {
    /// The resolved configuration as TOML: every setting that has a value, and behind those
    /// that were set, where. Keys are shown as hashes, never in the clear.
    #[must_use]
    pub fn show(&self, hashes: Hashes) -> String {
        let mut config = self.config.clone();
        let mut writer =
            Writer { out: String::new(), path: String::new(), hashes, places: &self.places };
        fields::sections(&mut writer, &mut config);
        for model in &mut config.models {
            writer.begin("[[models]]", format!("models[{}]", model.name));
            model_fields::settings(&mut writer, model);
        }
        for (index, key) in config.keys.into_iter().enumerate() {
            writer.begin("[[keys]]", format!("keys[{index}]"));
            let mut table = KeyTable { hash: Some(key.hash), clear: None, key };
            fields::key(&mut writer, &mut table);
        }
        writer.out
    }
}

/// Prints what it is shown.
struct Writer<'a> {
    out: String,
    path: String,
    hashes: Hashes,
    places: &'a Places,
}

impl Writer<'_> {
    fn begin(&mut self, header: &str, path: String) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out.push_str(header);
        if let Some(place) = self.places.get(&path) {
            self.out.push_str(&format!("  # {place}"));
        }
        self.out.push('\n');
        self.path = path;
    }

    fn line(&mut self, name: &str, value: &Value) {
        self.out.push_str(&format!("{name} = {value}"));
        if let Some(place) = self.places.get(&format!("{}.{name}", self.path)) {
            self.out.push_str(&format!("  # {place}"));
        }
        self.out.push('\n');
    }
}

impl Fields for Writer<'_> {
    fn section(&mut self, name: &'static str) {
        self.begin(&format!("[{name}]"), name.to_owned());
    }

    fn field<K: Kind>(&mut self, name: &'static str, kind: &K, value: &mut K::Value) {
        let written = match self.hashes {
            Hashes::Masked => kind.show(value),
            Hashes::Whole => kind.write(value),
        };
        if let Some(written) = written {
            self.line(name, &written);
        }
    }

    fn required<K: Kind>(&mut self, name: &'static str, kind: &K, value: &mut K::Value) {
        self.field(name, kind, value);
    }
}
