//! What is known is what is documented.

use std::collections::BTreeMap;

use super::super::fields::{self, KeyTable, Names};
use super::super::model_fields;
use super::super::{Environment, Hashes, Model};
use super::{loaded, loaded_with};
use crate::turn::TenantId;

const PAGE: &str = include_str!("../../../docs/configuration.md");

/// The rows of the page's section, by key.
fn rows(title: &str) -> BTreeMap<&'static str, &'static str> {
    let start = PAGE.find(&format!("\n### `{title}`\n")).expect(title) + 1;
    let section = PAGE[start..].split("\n### ").next().unwrap().split("\n## ").next().unwrap();
    let row = |line: &'static str| Some((line.strip_prefix("| `")?.split('`').next()?, line));
    section.lines().filter_map(row).collect()
}

#[test]
fn the_page_names_every_setting_with_its_variable_and_its_default() {
    let shown: toml::Table = loaded("").show(Hashes::Whole).parse().unwrap();
    let names = fields::names();
    for name in &names {
        let page = rows(&format!("[{}]", name.section));
        let row = page.get(name.field).copied().unwrap_or_else(|| panic!("no row: {name:?}"));
        assert!(row.contains(&format!("| `{}` |", name.variable())), "{row}");
        let default = shown[name.section].get(name.field);
        let default = default.map_or("not set".to_owned(), |value| format!("`{value}`"));
        assert!(row.contains(&format!("| {default} |")), "{default} is not in {row}");
    }
    for section in names.iter().map(|name| name.section) {
        let known = names.iter().filter(|name| name.section == section).count();
        assert_eq!(rows(&format!("[{section}]")).len(), known, "a row too many in {section}");
    }
}

#[test]
fn the_page_names_every_setting_of_models_and_keys() {
    let mut model_names = Names::default();
    model_fields::settings(&mut model_names, &mut Model::new("a".parse().unwrap(), ""));
    let mut key_names = Names::default();
    fields::key(&mut key_names, &mut KeyTable::new(TenantId::open()));
    for (title, names) in [("[[models]]", model_names), ("[[keys]]", key_names)] {
        let known: Vec<&str> = names.all.iter().map(|name| name.field).collect();
        let page = rows(title);
        assert_eq!(page.len(), known.len(), "{title}");
        assert!(known.iter().all(|name| page.contains_key(name)), "{title}: {known:?}");
    }
}

#[test]
fn the_examples_of_the_page_load() {
    let environment = Environment::from([("ACME_KEY", "a-key-of-some-length")]);
    let blocks: Vec<&str> = PAGE.split("```toml\n").skip(1).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        loaded_with(block.split("```").next().unwrap(), environment.clone());
    }
}
