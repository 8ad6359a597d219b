//! Recorded upstream streams in, exact bytes out.
//!
//! A case is a folder of `tests/golden`; its README says what is in one, and what is made equal
//! before bytes are compared. `UPDATE_GOLDEN=1` writes the bytes down instead.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::broker::{Broker, Setup, soon};
use super::client::Request;
use super::recorded::{AGENT, Recorded};

/// What a client says in every case.
const QUESTION: &str = "What does the record say?";
/// What a trace of one case holds, as those of real agents hold their prompts.
const PROMPT: &str = "a prompt that clients see only where they may";
/// Of a name that was made up, so many hexadecimal digits at least are of chance.
const CHANCE: usize = 24;

/// A recording and what clients are to get of it.
#[derive(Debug)]
struct Case {
    name: String,
    folder: PathBuf,
    /// Members of the extension that this case is asked with.
    options: Value,
}

impl Case {
    /// Every case, by name.
    fn all() -> Vec<Self> {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let folders = fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path());
        let mut cases: Vec<_> = folders.filter(|path| path.is_dir()).map(Self::of).collect();
        cases.sort_by(|one, other| one.name.cmp(&other.name));
        cases
    }

    fn of(folder: PathBuf) -> Self {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let options = fs::read_to_string(folder.join("request.json"));
        let options =
            options.map_or_else(|_| json!({}), |text| serde_json::from_str(&text).unwrap());
        Self { name, folder, options }
    }

    /// A model that is answered by the recording.
    fn model(&self, recorded: &Recorded) -> String {
        // The agent stream shows raw traces wherever it may.
        let traces = self.options["traces"] == true;
        format!(
            "[[models]]\nname = \"{}\"\nbackend = \"bedrock-agent\"\nagent_id = \"{AGENT}\"\n\
             expose_traces = {traces}\n{}\n",
            self.name,
            recorded.settings()
        )
    }

    /// The requests, each with the file that holds what it is answered.
    fn requests(&self, broker: &Broker) -> [(&'static str, Request); 3] {
        let chat = |stream: bool| {
            let mut body = json!({
                "model": self.name,
                "stream": stream,
                "messages": [{ "role": "user", "content": QUESTION }],
                "outcrop": self.options,
            });
            if stream {
                body["stream_options"] = json!({ "include_usage": true });
            }
            broker.post("/v1/chat/completions", &body)
        };
        let mut body = self.options.clone();
        body["agent_id"] = self.name.as_str().into();
        body["input_text"] = QUESTION.into();
        let ndjson = broker.post("/api/agent/stream", &body);
        let named = |file: &'static str, request: Request| {
            let session = format!("{}-{}", self.name, file.replace('.', "-"));
            (file, request.header("x-session-id", &session).header("x-request-id", "golden"))
        };
        [
            named("chat.sse", chat(true)),
            named("chat.json", chat(false)),
            named("agent.ndjson", ndjson),
        ]
    }
}

/// The reply's body; before it its status, where that is not 200.
async fn reply(request: &Request) -> String {
    let mut reply = soon("a reply", request.send()).await;
    let body = reply.text().await;
    assert!(reply.is_whole());
    let status = if reply.status == 200 { String::new() } else { format!("{}\n", reply.status) };
    let end = if body.ends_with('\n') { "" } else { "\n" };
    format!("{status}{body}{end}")
}

/// Makes equal what differs from run to run.
fn normalised(text: &str) -> String {
    let text = after(text, "\"created\":", |rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        (digits, "0".to_owned())
    });
    let text = after(&text, "\"timestamp\":\"", |rest| {
        let length = rest.find('"').unwrap_or(0);
        (length, "1970-01-01T00:00:00.000Z".to_owned())
    });
    let mut known = HashMap::new();
    let mut written = String::new();
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let mut rest = text.as_str();
    while let Some(begin) = rest.find(is_hex) {
        let (before, from) = rest.split_at(begin);
        let length = from.find(|c| !is_hex(c)).unwrap_or(from.len());
        let (run, behind) = from.split_at(length);
        written.push_str(before);
        if run.len() < CHANCE {
            written.push_str(run);
        } else {
            let next = known.len() + 1;
            let number = known.entry(run.to_owned()).or_insert(next);
            write!(written, "{{{number}}}").unwrap();
        }
        rest = behind;
    }
    written + rest
}

/// Replaces what stands behind a mark: so many bytes of it, by this.
fn after(text: &str, mark: &str, replace: impl Fn(&str) -> (usize, String)) -> String {
    let mut pieces = text.split(mark);
    let mut written = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (length, replacement) = replace(piece);
        written.push_str(mark);
        written.push_str(&replacement);
        written.push_str(&piece[length..]);
    }
    written
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
async fn every_recorded_stream_becomes_just_these_bytes() {
    let cases = Case::all();
    assert!(cases.len() >= 15, "{} cases", cases.len());
    let mut upstreams = Vec::new();
    let mut models = String::new();
    for case in &cases {
        let recorded = Recorded::play(&case.folder.join("upstream.jsonl")).await;
        models.push_str(&case.model(&recorded));
        upstreams.push(recorded);
    }
    let settings = "turn.retries = 0";
    let broker = Broker::with(Setup { settings, tables: &models, ..Setup::default() }).await;
    broker.keep_secret(QUESTION);
    broker.keep_secret(PROMPT);
    let is_update = is_update();
    let mut wrong = Vec::new();
    for case in &cases {
        for (file, request) in case.requests(&broker) {
            let got = normalised(&reply(&request).await);
            let path = case.folder.join(file);
            if is_update {
                fs::write(&path, got).unwrap();
                continue;
            }
            let expected = fs::read_to_string(&path).unwrap_or_default();
            if got != expected {
                wrong.push(format!("{}/{file}: {}", case.name, difference(&expected, &got)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE_GOLDEN=1 writes down what comes", wrong.join("\n"));
}

#[test]
fn names_of_chance_are_numbered_and_times_are_gone() {
    let one = "0123456789abcdef01234567";
    let two = "fedcba9876543210fedcba9876543210";
    let text = format!(
        "id: turn_{two}:3\n{{\"id\":\"call_{one}\",\"created\":1753000000,\"x\":\"file-{two}\",\
         \"timestamp\":\"2026-01-02T03:04:05.678Z\",\"cafe\":1}}"
    );
    let expected = "id: turn_{1}:3\n{\"id\":\"call_{2}\",\"created\":0,\"x\":\"file-{1}\",\
                    \"timestamp\":\"1970-01-01T00:00:00.000Z\",\"cafe\":1}";
    assert_eq!(normalised(&text), expected);
}
