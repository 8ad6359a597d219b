//! `outcrop bench`: a small load test of any OpenAI-compatible server.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use http::HeaderName;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::config::Environment;

use super::answer::{Answer, Whole};
use super::server::{Server, Trouble, key};
use super::terminal::{Paint, harmless};
use super::{EXIT_FAILED, EXIT_OK, complain, refuse, say};

/// Between two looks at how far it got.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Has an Outcrop keep no session of a request.
const KEEP: HeaderName = HeaderName::from_static("x-outcrop-keep");
/// Cells of the progress bar.
const BAR: u32 = 30;

/// What to ask, how often, and how much of it at once.
#[derive(Debug, Args)]
#[command(after_help = "\
An Outcrop keeps no session of it: each request says so by the header x-outcrop-keep.")]
pub(super) struct Bench {
    /// The server; without a path, /v1 is meant
    url: String,
    /// The model to ask for; the first that the server lists, unless told
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The API key; else the one in OUTCROP_API_KEY, else in OPENAI_API_KEY
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// Requests at once
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Requests in all
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    requests: u32,
    /// Seconds that one request may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120,
          value_parser = clap::value_parser!(u64).range(1..=3_600))]
    timeout: u64,
    /// Tokens that an answer may have
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// What to say to the model
    #[arg(long, value_name = "TEXT", default_value = "count to 50")]
    message: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is asked of whom, and how far it got.
struct Load {
    server: Server,
    body: Value,
    timeout: Duration,
    /// Requests that nobody has sent yet.
    left: AtomicU32,
    done: AtomicU32,
    failed: AtomicU32,
}

/// What came of requests; one worker's, or all.
#[derive(Debug, Default)]
struct Outcome {
    first: Vec<Duration>,
    total: Vec<Duration>,
    tokens: u64,
    /// How often, and what the first of them said.
    errors: BTreeMap<String, (u32, String)>,
}

pub(super) async fn run(verb: Bench, environment: Environment) -> u8 {
    let paint = Paint::for_output(&environment);
    let key = key(verb.api_key.as_deref(), &environment, &["OUTCROP_API_KEY", "OPENAI_API_KEY"]);
    let server = Server::new(&verb.url, key)
        // Any other server passes over it.
        .and_then(|server| server.with(KEEP, "nothing"));
    let server = match server {
        Ok(server) => server,
        Err(message) => return refuse(&message),
    };
    let model = match server.model(verb.model.as_deref()).await {
        Ok(model) => model,
        Err(trouble) => {
            complain(&trouble);
            return EXIT_FAILED;
        }
    };
    let message = json!({ "role": "user", "content": verb.message });
    let load = Arc::new(Load {
        body: json!({ "model": model, "messages": [message], "max_tokens": verb.max_tokens }),
        server,
        timeout: Duration::from_secs(verb.timeout),
        left: AtomicU32::new(verb.requests),
        done: AtomicU32::new(0),
        failed: AtomicU32::new(0),
    });
    let began = Instant::now();
    let outcome = press(&load, &verb).await;
    let took = began.elapsed();
    if verb.json {
        say(&outcome.written(&model, took));
    } else {
        outcome.show(&load.server.name(), &model, took, paint);
    }
    let is_well = outcome.errors.is_empty() && !outcome.total.is_empty();
    if is_well { EXIT_OK } else { EXIT_FAILED }
}

/// Sends the requests; Ctrl-C ends them early.
async fn press(load: &Arc<Load>, verb: &Bench) -> Outcome {
    let mut workers = JoinSet::new();
    for _ in 0..verb.connections.min(verb.requests) {
        let load = Arc::clone(load);
        workers.spawn(async move { load.work().await });
    }
    let mut all = Outcome::default();
    let shows = io::stderr().is_terminal() && !verb.json;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let stopped = tokio::signal::ctrl_c();
    tokio::pin!(stopped);
    let mut is_stopped = false;
    loop {
        tokio::select! {
            ended = workers.join_next() => match ended {
                // A worker that panicked has said so.
                Some(outcome) => all.join(outcome.unwrap_or_default()),
                None => break,
            },
            _ = looks.tick(), if shows => load.progress(verb.requests),
            _ = &mut stopped, if !is_stopped => {
                is_stopped = true;
                load.left.store(0, Ordering::Relaxed);
                complain(&"\nno further requests; those that run are waited for");
            }
        }
    }
    if shows {
        load.progress(verb.requests);
        complain(&"\n");
    }
    all
}

impl Load {
    /// Sends one request after the other until none is left.
    async fn work(&self) -> Outcome {
        let mut outcome = Outcome::default();
        let one = |left: u32| left.checked_sub(1);
        while self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one).is_ok() {
            let sent = Instant::now();
            let mut first = None;
            let asked = tokio::time::timeout(self.timeout, self.ask(sent, &mut first)).await;
            let asked = asked.map_err(|_| {
                let told = format!("no end came within {} s", self.timeout.as_secs());
                ("too slow".to_owned(), told)
            });
            let asked = asked
                .and_then(|asked| asked.map_err(|trouble| (trouble.kind(), trouble.to_string())));
            match asked {
                Ok(whole) => outcome.take(&whole, first, sent.elapsed()),
                Err((kind, told)) => {
                    outcome.fail(kind, 1, told);
                    self.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    async fn ask(&self, sent: Instant, first: &mut Option<Duration>) -> Result<Whole, Trouble> {
        let mut answer = Answer::to(&self.server, &self.body).await?;
        while answer.next().await?.is_some() {
            first.get_or_insert_with(|| sent.elapsed());
        }
        Ok(answer.into_whole())
    }

    fn progress(&self, requests: u32) {
        let done = self.done.load(Ordering::Relaxed);
        let failed = self.failed.load(Ordering::Relaxed);
        let filled = u64::from(done) * u64::from(BAR) / u64::from(requests.max(1));
        let filled = usize::try_from(filled).unwrap_or_default();
        let empty = (BAR as usize).saturating_sub(filled);
        let bar = format!("{}{}", "█".repeat(filled), "░".repeat(empty));
        let mut err = io::stderr().lock();
        // A bar that nobody sees is lost.
        let _ = write!(err, "\r{bar} {done}/{requests}, {failed} failed ");
        let _ = err.flush();
    }
}

impl Outcome {
    fn take(&mut self, whole: &Whole, first: Option<Duration>, total: Duration) {
        self.first.extend(first);
        self.total.push(total);
        // A server that does not count is taken to send a word a token.
        let words = || whole.text.split_whitespace().count() as u64;
        self.tokens += whole.usage["completion_tokens"].as_u64().unwrap_or_else(words);
    }

    fn fail(&mut self, kind: String, count: u32, told: String) {
        let (failed, _) = self.errors.entry(kind).or_insert((0, told));
        *failed += count;
    }

    fn join(&mut self, other: Self) {
        self.first.extend(other.first);
        self.total.extend(other.total);
        self.tokens += other.tokens;
        for (kind, (count, told)) in other.errors {
            self.fail(kind, count, told);
        }
    }

    fn rate(&self, count: u64, took: Duration) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        let count = count as f64;
        (count / took.as_secs_f64().max(1e-9) * 10.0).round() / 10.0
    }

    fn written(&self, model: &str, took: Duration) -> Value {
        let errors = self
            .errors
            .iter()
            .map(|(kind, (count, told))| (kind.clone(), json!({ "count": count, "first": told })));
        json!({
            "model": model,
            "answered": self.total.len(),
            "seconds": took.as_secs_f64(),
            "requests_per_second": self.rate(self.total.len() as u64, took),
            "tokens": self.tokens,
            "tokens_per_second": self.rate(self.tokens, took),
            "first_token_ms": percentiles(&self.first),
            "total_ms": percentiles(&self.total),
            "errors": errors.collect::<serde_json::Map<_, _>>(),
        })
    }

    fn show(&self, server: &str, model: &str, took: Duration, paint: Paint) {
        let answered = self.total.len();
        say(&paint.bold(harmless(&format!("{server}, model {model}"))));
        say(&format_args!(
            "{answered} answered in {:.1} s: {} requests/s, {} tokens/s",
            took.as_secs_f64(),
            self.rate(answered as u64, took),
            self.rate(self.tokens, took),
        ));
        for (name, times) in [("first token", &self.first), ("whole answer", &self.total)] {
            let told = percentiles(times);
            if let Some(told) = told.as_object() {
                let told = told.iter().map(|(name, value)| format!("{name} {value} ms"));
                say(&format_args!("{name:<12}  {}", told.collect::<Vec<_>>().join("  ")));
            }
        }
        for (kind, (count, told)) in &self.errors {
            say(&paint.bad(harmless(&format!("{count} × {kind}: {told}"))));
        }
    }
}

/// p50, p90, p99 and the longest, in milliseconds; `null` of nothing.
fn percentiles(times: &[Duration]) -> Value {
    let mut times = times.to_vec();
    times.sort_unstable();
    let Some(longest) = times.last() else { return Value::Null };
    let at = |percent: usize| {
        let place = (times.len() * percent).div_ceil(100).max(1) - 1;
        times.get(place).copied().unwrap_or_default()
    };
    let milliseconds = |time: Duration| (time.as_secs_f64() * 1e5).round() / 100.0;
    json!({
        "p50": milliseconds(at(50)), "p90": milliseconds(at(90)), "p99": milliseconds(at(99)),
        "max": milliseconds(*longest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        let expected = json!({ "p50": 100.0, "p90": 180.0, "p99": 198.0, "max": 200.0 });
        assert_eq!(percentiles(&times), expected);
        let one = json!({ "p50": 7.0, "p90": 7.0, "p99": 7.0, "max": 7.0 });
        assert_eq!(percentiles(&[Duration::from_millis(7)]), one);
        assert_eq!(percentiles(&[]), Value::Null);
    }

    #[test]
    fn errors_are_counted_by_kind_and_the_first_is_told() {
        let mut all = Outcome::default();
        for told in ["one", "two"] {
            let mut outcome = Outcome::default();
            outcome.fail("status 429".to_owned(), 2, told.to_owned());
            all.join(outcome);
        }
        assert_eq!(all.errors["status 429"], (4, "one".to_owned()));
    }
}
