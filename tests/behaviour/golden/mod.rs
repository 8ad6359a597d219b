//! Recorded upstream streams in, exact bytes out.
//!
//! A case is a folder in one of the [sets](SETS) of `tests/golden`; the README there says what is
//! in one, and what is [made equal](normal) before bytes are compared. `UPDATE_GOLDEN=1` writes
//! the bytes down instead. To add a format, add its [ways](ways).

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::broker::{Broker, Setup, soon};
use super::recorded::Recorded;

mod normal;
mod ways;

use normal::normalised;
use ways::Way;

/// What a client says in every case.
const QUESTION: &str = "What does the record say?";
/// What a trace of one case holds, as those of real agents hold their prompts.
const PROMPT: &str = "a prompt that clients see only where they may";

/// Cases of one kind of upstream.
#[derive(Debug)]
struct Set {
    /// Its folder.
    name: &'static str,
    /// The setting that leads to the recording, which is at `{}`.
    leads_to: &'static str,
    /// Settings of the model of a case that has none of its own.
    model: &'static str,
    ways: &'static [Way],
    /// Fewer cases than these would be a mistake.
    least: usize,
}

const ENDPOINT: &str = "endpoint_url = \"{}\"";

const AGENTS: Set = Set {
    name: "agents",
    leads_to: ENDPOINT,
    model: "backend = \"bedrock-agent\"\nagent_id = \"RECORDED01\"",
    ways: ways::OF_AGENTS,
    least: 24,
};

const MODELS: Set = Set {
    name: "models",
    leads_to: ENDPOINT,
    model: "backend = \"bedrock\"\nmodel_id = \"us.anthropic.claude-sonnet-4-20250514-v1:0\"",
    ways: ways::OF_MODELS,
    least: 16,
};

const OPENAI: Set = Set {
    name: "openai",
    leads_to: "base_url = \"{}/v1\"",
    model: "backend = \"openai\"\nmodel_id = \"local-7b\"",
    ways: ways::OF_OPENAI,
    least: 13,
};

const SETS: [Set; 3] = [AGENTS, MODELS, OPENAI];

/// A recording and what clients are to get of it.
#[derive(Debug)]
struct Case {
    name: String,
    folder: PathBuf,
    /// Members of the extension that this case is asked with.
    options: Value,
    /// Settings of its model, where it is not as all of its set are.
    settings: Option<String>,
}

impl Case {
    fn of(folder: PathBuf) -> Self {
        let name = name(&folder);
        let options = fs::read_to_string(folder.join("request.json"));
        let options =
            options.map_or_else(|_| json!({}), |text| serde_json::from_str(&text).unwrap());
        let settings = fs::read_to_string(folder.join("model.toml")).ok();
        Self { name, folder, options, settings }
    }

    /// A model that is answered by the recording.
    fn model(&self, set: &Set, recorded: &Recorded) -> String {
        // The agent stream shows raw traces wherever it may.
        let traces = self.options["traces"] == true;
        let settings = self.settings.as_deref().unwrap_or(set.model);
        let (name, leads_to) = (&self.name, set.leads_to.replace("{}", recorded.url()));
        format!("[[models]]\nname = \"{name}\"\nexpose_traces = {traces}\n{leads_to}\n{settings}\n")
    }

    /// The files of which clients get something else, and how it differs.
    async fn differences(&self, set: &Set, broker: &Broker) -> Vec<String> {
        let recording = fs::read_to_string(self.folder.join("upstream.jsonl")).unwrap_or_default();
        let (mut asked, mut wrong) = (HashSet::new(), Vec::new());
        for (number, way) in set.ways.iter().enumerate() {
            let is_first = asked.insert(way.file);
            let nth = if is_first { String::new() } else { format!("-{number}") };
            let session = format!("{}-{}{nth}", self.name, way.file.replace('.', "-"));
            let request = way.request(broker, &self.name, &self.options);
            let request = request.header("x-session-id", &session);
            let mut reply = soon("a reply", request.header("x-request-id", "golden").send()).await;
            let got = normalised(&way.read(&mut reply).await, &recording);
            let path = self.folder.join(way.file);
            if is_update() && is_first {
                fs::write(&path, got).unwrap();
                continue;
            }
            let expected = fs::read_to_string(&path).unwrap_or_default();
            if got != expected {
                let difference = difference(&expected, &got);
                wrong.push(format!("{}/{}, {way:?}: {difference}", set.name, self.name));
            }
        }
        wrong
    }
}

impl Set {
    /// Every case, by name.
    fn cases(&self) -> Vec<Case> {
        let mut cases: Vec<_> = folders(&golden().join(self.name)).map(Case::of).collect();
        cases.sort_by(|one, other| one.name.cmp(&other.name));
        assert!(cases.len() >= self.least, "{} cases of {}", cases.len(), self.name);
        cases
    }

    /// Asks every case in every way.
    async fn check(&self) {
        let cases = self.cases();
        let mut upstreams = Vec::new();
        let mut models = String::new();
        for case in &cases {
            let recorded = Recorded::play(&case.folder).await;
            models.push_str(&case.model(self, &recorded));
            upstreams.push(recorded);
        }
        let settings = "turn.retries = 0";
        let broker = Broker::with(Setup { settings, tables: &models, ..Setup::default() }).await;
        broker.keep_secret(QUESTION);
        broker.keep_secret(PROMPT);
        let mut wrong = Vec::new();
        for case in &cases {
            wrong.extend(case.differences(self, &broker).await);
        }
        assert!(wrong.is_empty(), "{}\nUPDATE_GOLDEN=1 writes down what comes", wrong.join("\n"));
    }
}

/// Where all the files are.
fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn folders(within: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(within).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// The first line that differs, for a message.
fn difference(expected: &str, got: &str) -> String {
    let mut lines = (1..).zip(expected.lines().zip(got.lines()));
    match lines.find(|(_, (expected, got))| expected != got) {
        Some((number, (expected, got))) => {
            format!("line {number}\n    expected {expected}\n    got      {got}")
        }
        None => {
            format!("{} lines expected, {} came", expected.lines().count(), got.lines().count())
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a switch of the test, not a setting of the program")]
fn is_update() -> bool {
    std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1")
}

#[tokio::test]
async fn every_recorded_agent_becomes_just_these_bytes() {
    AGENTS.check().await;
}

#[tokio::test]
async fn every_recorded_model_becomes_just_these_bytes() {
    MODELS.check().await;
}

#[tokio::test]
async fn every_recorded_openai_upstream_becomes_just_these_bytes() {
    OPENAI.check().await;
}

#[test]
fn nothing_lies_about_that_no_test_looks_at() {
    let mut found: Vec<_> = folders(&golden()).map(|folder| name(&folder)).collect();
    found.sort();
    assert_eq!(found, SETS.map(|set| set.name));
    for set in SETS {
        let inputs = ["upstream.jsonl", "upstream.sse", "model.toml", "request.json"];
        let known: HashSet<_> = set.ways.iter().map(|way| way.file).chain(inputs).collect();
        for case in set.cases() {
            let files = fs::read_dir(&case.folder).unwrap().map(|file| file.unwrap().path());
            let stray: Vec<_> = files.filter(|file| !known.contains(&*name(file))).collect();
            assert!(stray.is_empty(), "{stray:?}");
        }
    }
}
