//! Reads settings: each is asked for once, by name, of the file and of what overrides it.
//!
//! What was not asked for when a table is closed is unknown, so the known names need no list of
//! their own. Mistakes are collected; a setting with a mistake keeps its default, and since
//! there is a problem, nobody gets to see it.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::{Override, Overrides};
use super::fields::{self, Fields};
use super::kind::{Kind, Raw};
use super::problem::nearest;
use super::{Place, Problem};

/// Where every setting came from that was made, by its path.
pub(super) type Places = BTreeMap<String, Place>;

/// A value of the file, with its span.
pub(super) type Found<'a> = &'a Spanned<DeValue<'a>>;

/// The settings of `[routing]` that may stand in a `[models]` table.
const IN_MODELS: [&str; 2] = ["default", "allow_direct"];

/// Reads one file, and what overrides it.
pub(super) struct Reader<'a> {
    /// Where each line ends.
    line_ends: Vec<usize>,
    root: &'a DeTable<'a>,
    overrides: Overrides,
    sections: Vec<&'static str>,
    open: Open<'a>,
    pub(super) problems: Vec<Problem>,
    pub(super) places: Places,
}

/// The table that is being read.
#[derive(Default)]
struct Open<'a> {
    path: String,
    table: Option<&'a DeTable<'a>>,
    line: usize,
    asked: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    /// Reads `root`, which was parsed from `text`.
    pub(super) fn new(text: &str, root: &'a DeTable<'a>, overrides: Overrides) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            line_ends: ends.map(|(end, _)| end).collect(),
            root,
            overrides,
            sections: vec!["models", "keys"],
            open: Open::default(),
            problems: Vec::new(),
            places: Places::new(),
        }
    }

    /// The line of a byte, counted from 1.
    pub(super) fn line(&self, byte: usize) -> usize {
        1 + self.line_ends.partition_point(|end| *end < byte)
    }

    /// Takes down a mistake in the file.
    pub(super) fn report(&mut self, line: usize, key: impl Into<String>, message: &str) {
        self.problems.push(Problem::new(Place::Line(line), key, message));
    }

    /// What stands under a name at the top of the file.
    pub(super) fn top(&self, name: &str) -> Option<Found<'a>> {
        self.root.get(name)
    }

    /// Begins a table, which [`close`](Self::close) ends.
    pub(super) fn open(&mut self, path: String, table: Option<&'a DeTable<'a>>, line: usize) {
        self.open = Open { path, table, line, asked: Vec::new() };
    }

    /// Ends the table: what was not asked for is unknown.
    pub(super) fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        let Some(table) = open.table else { return };
        self.report_unknown(&open.path, table, &open.asked);
    }

    fn report_unknown(&mut self, path: &str, table: &'a DeTable<'a>, known: &[&'static str]) {
        for name in table.keys() {
            let written: &str = name.get_ref();
            if known.contains(&written) {
                continue;
            }
            let key =
                if path.is_empty() { written.to_owned() } else { format!("{path}.{written}") };
            let message = unknown(written, known);
            self.report(self.line(name.span().start), key, &message);
        }
    }

    /// The tables of an array of tables; anything else in it is reported.
    pub(super) fn tables(&mut self, key: &str, found: Found<'a>) -> Vec<(&'a DeTable<'a>, usize)> {
        let wanted = "must be an array of tables";
        let line = self.line(found.span().start);
        let Some(entries) = found.get_ref().as_array() else {
            let message = format!("{wanted}, not {}", Raw::Toml(found.get_ref()));
            self.report(line, key, &message);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for entry in entries.iter() {
            let line = self.line(entry.span().start);
            match entry.get_ref().as_table() {
                Some(table) => tables.push((table, line)),
                None => self.report(line, key, wanted),
            }
        }
        tables
    }

    /// Looks for unknown sections, once all known ones were asked for; checks a `[models]` table
    /// for the same.
    pub(super) fn finish(&mut self) {
        self.close();
        let sections = std::mem::take(&mut self.sections);
        self.report_unknown("", self.root, &sections);
        if let Some(models) = self.models_table() {
            let known: Vec<&str> = IN_MODELS.into_iter().chain(["list"]).collect();
            self.report_unknown("models", models, &known);
        }
        for (path, left) in std::mem::take(&mut self.overrides) {
            self.problems.push(Problem::new(left.place, path, "stands for no setting"));
        }
    }

    /// `[models]` as a table, which has the models under `list`.
    fn models_table(&self) -> Option<&'a DeTable<'a>> {
        self.top("models")?.get_ref().as_table()
    }

    fn in_file(&mut self, name: &'static str) -> Option<Found<'a>> {
        let here = self.open.table.and_then(|table| table.get(name));
        if self.open.path != "routing" || !IN_MODELS.contains(&name) {
            return here;
        }
        let there = self.models_table().and_then(|table| table.get(name));
        if let (Some(here), Some(there)) = (here, there) {
            let other = self.line(here.span().start);
            let message = format!("stands in [routing] too, on line {other}; remove one of them");
            self.report(self.line(there.span().start), format!("models.{name}"), &message);
        }
        here.or(there)
    }

    fn settle<K: Kind>(
        &mut self,
        path: &str,
        kind: &K,
        found: (Raw<'_>, Place),
    ) -> Option<K::Value> {
        let (raw, place) = found;
        match kind.read(&raw) {
            Ok(value) => {
                self.places.insert(path.to_owned(), place);
                Some(value)
            }
            Err(message) => {
                self.problems.push(Problem::new(place, path, message));
                None
            }
        }
    }
}

impl Fields for Reader<'_> {
    fn section(&mut self, name: &'static str) {
        self.close();
        self.sections.push(name);
        let Some(found) = self.top(name) else { return self.open(name.to_owned(), None, 1) };
        let line = self.line(found.span().start);
        if found.get_ref().as_table().is_none() {
            let message = format!("must be a table, [{name}], not {}", Raw::Toml(found.get_ref()));
            self.report(line, name, &message);
        }
        self.open(name.to_owned(), found.get_ref().as_table(), line);
    }

    fn field<K: Kind>(&mut self, name: &'static str, kind: &K, value: &mut K::Value) {
        self.open.asked.push(name);
        let path = format!("{}.{name}", self.open.path);
        if let Some(found) = self.in_file(name) {
            let place = Place::Line(self.line(found.span().start));
            if let Some(read) = self.settle(&path, kind, (Raw::Toml(found.get_ref()), place)) {
                *value = read;
            }
        }
        // What the file says is checked even where it is overridden: it is wrong all the same.
        if let Some(Override { place, value: text }) = self.overrides.remove(&path)
            && let Some(read) = self.settle(&path, kind, (Raw::Text(&text), place))
        {
            *value = read;
        }
    }

    fn required<K: Kind>(&mut self, name: &'static str, kind: &K, value: &mut K::Value) {
        if self.open.table.is_some_and(|table| !table.contains_key(name)) {
            let key = format!("{}.{name}", self.open.path);
            self.report(self.open.line, key, "is missing");
        }
        self.field(name, kind, value);
    }
}

/// What to say of an unknown name.
fn unknown(written: &str, known: &[&'static str]) -> String {
    let elsewhere = fields::names().into_iter().find(|name| name.field == written);
    if let Some(name) = elsewhere {
        return format!("unknown key here; it belongs in [{}]", name.section);
    }
    if let Some(meant) = nearest(written, known.iter().copied()) {
        return format!("unknown key; did you mean {meant}?");
    }
    let mut names = known.to_vec();
    names.sort_unstable();
    format!("unknown key; known here: {}", names.join(", "))
}
