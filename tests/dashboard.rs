//! The dashboard and the alert rules ask only for what the broker exports, and what it exports
//! is documented.
//!
//! A query that names a series, a label or a label value that does not exist shows nothing and
//! says nothing; here it fails. The queries are read by a small scanner of PromQL.

#![cfg(target_os = "linux")] // `process_*` is exported there only

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use outcrop::metrics::{EndReason, InterruptReason, Limit, Outcome, StoreOp};
use serde_json::Value;

/// What a scrape tells: each sample's name, its labels and the values they take.
type Exported = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// A series as a query names it, with the labels it selects or groups by.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    series: BTreeSet<String>,
    /// Label and value that must match, or an empty value when any may.
    labels: BTreeSet<(String, String)>,
}

/// Labels that Prometheus adds to every sample it scrapes, and the one of its buckets.
const FROM_PROMETHEUS: &[&str] = &["job", "instance", "le"];

/// A series of Prometheus itself.
const UP: &str = "up";

/// One page for all tests.
static RENDERED: LazyLock<String> = LazyLock::new(rendered);

/// What a running broker says of itself, once it has held the demo's conversation and met an
/// upstream that throttles.
fn rendered() -> String {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_outcrop"))
        .args(["demo", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the demo starts");
    let lines = BufReader::new(demo.stdout.take().expect("its output is piped")).lines();
    let mut address = None;
    for line in lines.map_while(Result::ok) {
        if let Some(url) = line.strip_prefix("outcrop ") {
            let said = url.trim().strip_prefix("http://").map(str::to_owned);
            address = address.or(said);
        }
        if line.starts_with("Now you") {
            break;
        }
    }
    let address = address.expect("the demo says where it listens");
    let throttled = r#"{"messages": [{"role": "user", "content": "hi"}],
        "outcrop": {"session_attributes": {"outcrop-emulator-fault": "throttle"}}}"#;
    let refusal = fetch(&address, "POST /v1/chat/completions", throttled);
    let page = fetch(&address, "GET /metrics", "");
    demo.kill().expect("the demo runs until it is stopped");
    demo.wait().expect("it was ours to wait for");
    assert!(refusal.starts_with("HTTP/1.1 429 "), "{refusal}");
    let (_, body) = page.split_once("\r\n\r\n").expect("a head and a body");
    body.to_owned()
}

/// One request on a connection of its own; the whole reply.
fn fetch(address: &str, target: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(address).expect("the broker listens");
    let length = body.len();
    let head = format!(
        "{target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    socket.write_all((head + body).as_bytes()).expect("the broker reads");
    let mut reply = String::new();
    socket.read_to_string(&mut reply).expect("the broker answers in text");
    reply
}

fn exported(text: &str) -> Exported {
    let mut exported = Exported::new();
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        let end = sample.find(['{', ' ']).expect("a sample has a value");
        let labels = exported.entry(sample[..end].to_owned()).or_default();
        for (name, value) in matchers(&sample[end..]) {
            labels.entry(name).or_default().insert(value);
        }
    }
    exported
}

/// The labels with their values between the braces at the start of `text`, if it has any.
fn matchers(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let Some(mut rest) = text.strip_prefix('{') else { return found };
    while let Some((name, after)) = rest.split_once('"') {
        let name = name.trim_matches(|letter| !is_name(letter));
        let end = end_of_text(after);
        found.push((name.to_owned(), after[..end].to_owned()));
        rest = &after[end + 1..];
        if rest.starts_with('}') {
            break;
        }
    }
    found
}

/// Where the text ends that began before `after`.
fn end_of_text(after: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in after.char_indices() {
        match letter {
            '"' if !escaped => return at,
            _ => escaped = letter == '\\' && !escaped,
        }
    }
    panic!("a text without an end: {after}");
}

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'
}

/// Reads the series and labels that a query names.
fn scan(query: &str) -> Query {
    let mut found = Query::default();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if is_name(first) {
            let end = rest.find(|letter| !is_name(letter)).unwrap_or(rest.len());
            end + scan_after(&rest[..end], &rest[end..], &mut found)
        } else if first == '{' {
            let (labels, length) = selector(rest);
            found.labels.extend(labels);
            length
        } else if first == '[' {
            rest.find(']').expect("a range ends") + 1
        } else if first == '"' {
            end_of_text(&rest[1..]) + 2
        } else {
            first.len_utf8()
        };
        rest = rest[length..].trim_start();
    }
    found
}

/// Takes in a word and says how much of what follows belongs to it.
fn scan_after(word: &str, after: &str, found: &mut Query) -> usize {
    const GROUPING: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
    const OPERATORS: &[&str] = &["and", "or", "unless", "bool", "offset", "inf", "nan"];

    let gap = after.len() - after.trim_start().len();
    let calls = after[gap..].starts_with('(');
    if GROUPING.contains(&word) && calls {
        let end = after.find(')').expect("a list of labels ends");
        let names = after[gap + 1..end].split(',').map(str::trim);
        found.labels.extend(names.map(|name| (name.to_owned(), String::new())));
        return end + 1;
    }
    if word == "label_values" {
        let (series, label) = after[gap + 1..].split_once(',').expect("a series and a label");
        found.series.insert(series.trim().to_owned());
        let label = label.trim_end_matches(')').trim();
        found.labels.insert((label.to_owned(), String::new()));
        return after.len();
    }
    let next = after[gap..].split(|letter| !is_name(letter)).next().unwrap_or_default();
    let aggregates = matches!(next, "by" | "without");
    let is_number = word.starts_with(|first: char| first.is_ascii_digit());
    if !calls && !aggregates && !is_number && !OPERATORS.contains(&word) {
        found.series.insert(word.to_owned());
    }
    0
}

/// The labels of the selector at the start of `text`, and its length. A plain value, or a choice
/// of plain ones, is kept; one with a pattern or a variable matches any.
fn selector(text: &str) -> (Vec<(String, String)>, usize) {
    let mut labels = Vec::new();
    let mut length = 1;
    for (name, value) in matchers(text) {
        let after_name = text[length..].find('"').expect("a label has a value") + 1;
        length += after_name + value.len() + 1;
        let is_plain = value.chars().all(|letter| is_name(letter) || letter == '|');
        let values = if is_plain { value.as_str() } else { "" };
        labels.extend(values.split('|').map(|value| (name.clone(), value.to_owned())));
    }
    (labels, length + text[length..].find('}').expect("a selector ends") + 1)
}

/// What a query asks for and would never get.
fn missing(query: &str, exported: &Exported) -> Vec<String> {
    let asked = scan(query);
    let mut missing = Vec::new();
    let known = |name: &str| exported.contains_key(name);
    for name in asked.series.iter().filter(|name| *name != UP && !known(name)) {
        missing.push(format!("series {name}"));
    }
    if asked.series.is_empty() {
        missing.push("no series at all".to_owned());
    }
    for (label, value) in &asked.labels {
        if FROM_PROMETHEUS.contains(&label.as_str()) {
            continue;
        }
        let of_asked = asked.series.iter().filter_map(|name| exported.get(name)?.get(label));
        let values: BTreeSet<&String> = of_asked.flatten().collect();
        if values.is_empty() {
            missing.push(format!("label {label}"));
        } else if !value.is_empty() && !values.contains(value) {
            missing.push(format!("label {label}=\"{value}\""));
        }
    }
    missing
}

fn project_file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()))
}

fn dashboard() -> Value {
    serde_json::from_str(&project_file("grafana/dashboards/outcrop.json")).expect("JSON")
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Every query of the dashboard, with where it stands.
fn dashboard_queries() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut queries = Vec::new();
    for panel in list(&dashboard, "/panels") {
        let targets = list(panel, "/targets");
        queries.extend(targets.iter().map(|it| (text(&panel["title"]), text(&it["expr"]))));
    }
    for variable in list(&dashboard, "/templating/list") {
        if variable["type"] == "query" {
            queries.push((text(&variable["name"]), text(&variable["definition"])));
        }
    }
    let annotations = list(&dashboard, "/annotations/list").iter();
    let with_query = annotations.filter(|annotation| annotation["expr"].is_string());
    queries.extend(with_query.map(|it| (text(&it["name"]), text(&it["expr"]))));
    queries
}

/// Every expression of the alert rules, with the alert's name. Reads the YAML that stands there:
/// one line, or a block behind `|`.
fn alert_queries() -> Vec<(String, String)> {
    let rules = project_file("grafana/alerts.yml");
    let mut queries: Vec<(String, String)> = Vec::new();
    let mut lines = rules.lines().peekable();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if let Some(name) = line.trim_start().strip_prefix("- alert: ") {
            queries.push((name.to_owned(), String::new()));
        }
        let Some(start) = line.trim_start().strip_prefix("expr: ") else { continue };
        let query = &mut queries.last_mut().expect("an expression belongs to an alert").1;
        if start != "|" {
            start.clone_into(query);
            continue;
        }
        let deeper = |line: &&str| line.len() - line.trim_start().len() > indent;
        while let Some(more) = lines.next_if(deeper) {
            query.push_str(more);
            query.push('\n');
        }
    }
    queries
}

#[test]
fn every_panel_variable_and_rule_asks_for_what_is_exported() {
    let exported = exported(&RENDERED);
    let (panels, alerts) = (dashboard_queries(), alert_queries());
    assert!(panels.len() > 30 && alerts.len() > 8, "{} and {}", panels.len(), alerts.len());
    let mut wrong = Vec::new();
    for (place, query) in panels.iter().chain(&alerts) {
        let missing = missing(query, &exported);
        wrong.extend(missing.iter().map(|what| format!("{place}: {what} in {query}")));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_query_for_what_is_not_exported_is_found() {
    let exported = exported(&RENDERED);
    let wrong = |query: &str| missing(query, &exported);
    assert_eq!(wrong("rate(outcrop_turn_total[5m])"), ["series outcrop_turn_total"]);
    assert_eq!(wrong("sum by (session) (outcrop_turns_total)"), ["label session"]);
    let misspelt = r#"outcrop_turns_total{outcome=~"ok|error"} > 0.5"#;
    assert_eq!(wrong(misspelt), [r#"label outcome="error""#]);
    assert_eq!(wrong("label_values(outcrop_turns_total, tenant)"), ["label tenant"]);
    assert_eq!(wrong("1 + 1"), ["no series at all"]);
}

#[test]
fn the_scanner_tells_series_from_functions_labels_and_operators() {
    let query = r#"histogram_quantile(0.95, sum by (le, model) (
        rate(a_seconds_bucket{model=~"$model",kind="x} or y",op=~"p|q"}[5m])
    )) > 5 and on(job) up{} unless absent(b_total offset 5m)"#;
    let asked = scan(query);
    assert_eq!(asked.series, ["a_seconds_bucket", "b_total", "up"].map(str::to_owned).into());
    let labels = [("job", ""), ("kind", ""), ("le", ""), ("model", ""), ("op", "p"), ("op", "q")];
    assert_eq!(asked.labels, labels.map(|(l, v)| (l.to_owned(), v.to_owned())).into());
}

#[test]
fn panels_follow_the_data_source_variable_and_do_not_overlap() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in list(&dashboard, "/panels") {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64()), "the id of {title} is used twice");
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a place in the grid");
        assert!(at("x") + at("w") <= 24, "{title} is too far right");
        for cell in (at("x")..at("x") + at("w"))
            .flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            assert!(taken.insert(cell), "{title} lies on another panel");
        }
        for target in list(panel, "/targets") {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
}

/// A series and its type and labels, by family.
type Families = BTreeMap<String, (String, BTreeSet<String>)>;

fn exported_families(text: &str) -> Families {
    let exported = exported(text);
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let ours = types.filter(|(name, _)| name.starts_with("outcrop_"));
    ours.map(|(name, kind)| {
        let sample = if kind == "histogram" { format!("{name}_count") } else { name.to_owned() };
        let labels = exported[&sample].keys().cloned().collect();
        (name.to_owned(), (kind.to_owned(), labels))
    })
    .collect()
}

/// The rows ``| `outcrop_…` | type | `label`, … | meaning |`` of the page.
fn documented_families(page: &str) -> Families {
    let rows = page.lines().filter(|line| line.starts_with("| `outcrop_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert!(cells.len() == 6 && !cells[4].is_empty(), "not a row of a series: {row}");
        let labels = cells[3].split(',').map(|label| label.trim().trim_matches('`'));
        let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned).collect();
        (cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), labels))
    })
    .collect()
}

#[test]
fn what_is_exported_is_documented_and_the_other_way_round() {
    let page = project_file("docs/metrics.md");
    assert_eq!(documented_families(&page), exported_families(&RENDERED));
}

#[test]
fn every_label_value_of_a_closed_set_is_documented() {
    let page = project_file("docs/metrics.md");
    let reasons = EndReason::ALL.map(EndReason::as_str).into_iter();
    let stops = InterruptReason::ALL.map(InterruptReason::as_str);
    let limits = Limit::ALL.map(Limit::as_str);
    let ops = StoreOp::ALL.map(StoreOp::as_str);
    let outcomes = Outcome::ALL.map(Outcome::as_str);
    for value in reasons.chain(stops).chain(limits).chain(ops).chain(outcomes) {
        assert!(page.contains(&format!("`{value}`")), "docs/metrics.md does not tell `{value}`");
    }
}
