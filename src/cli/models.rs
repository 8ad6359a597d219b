//! `outcrop models`: which there are, who answers, and whether they can.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::backend::health::upstream;
use crate::config::{Config, Environment, Model, Sources, load};

use super::answer::Answer;
use super::server::{Server, ServerArgs, Trouble};
use super::sessions::{ago, seconds_since_1970};
use super::terminal::{Paint, harmless, table};
use super::{EXIT_FAILED, EXIT_OK, complain, refuse, say, wrong_models};

/// Which models, and how to show them.
#[derive(Debug, Args)]
pub(super) struct Models {
    #[command(flatten)]
    server: ServerArgs,
    /// List those of the configuration instead of asking a server: the file, else the one in
    /// OUTCROP_CONFIG, else ./outcrop.toml
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with_all = ["server_url", "probe"])]
    config: Option<Option<PathBuf>>,
    /// Ask each model for a word, and say what came of it. This costs a few tokens
    #[arg(long)]
    probe: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A model, as a row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    name: String,
    backend: String,
    upstream: String,
    /// Whether it can answer; not known of many.
    healthy: Option<bool>,
    /// Why not, or how that is known.
    note: String,
}

pub(super) async fn run(verb: Models, environment: Environment) -> u8 {
    let paint = Paint::for_output(&environment);
    let mut is_whole = true;
    let rows = match &verb.config {
        Some(file) => {
            let sources = Sources::find(file.as_deref(), environment);
            match sources.and_then(|sources| load(&sources)) {
                Ok(loaded) => of_config(&loaded.config),
                Err(report) => return refuse(&report),
            }
        }
        None => {
            let server = match verb.server.server(&environment) {
                Ok(server) => server,
                Err(message) => return refuse(&message),
            };
            match of_server(&server, verb.probe).await {
                Ok((rows, unlisted)) => {
                    is_whole = unlisted.is_empty();
                    unlisted.iter().for_each(|what| complain(&harmless(what)));
                    rows
                }
                Err(trouble) => {
                    complain(&trouble);
                    return EXIT_FAILED;
                }
            }
        }
    };
    if verb.json {
        let rows: Vec<Value> = rows.iter().map(Row::written).collect();
        say(&json!(rows));
    } else {
        show(&rows, paint);
    }
    let is_well = rows.iter().all(|row| row.healthy != Some(false));
    if is_well && is_whole { EXIT_OK } else { EXIT_FAILED }
}

impl Row {
    fn written(&self) -> Value {
        json!({
            "name": self.name, "backend": self.backend, "upstream": self.upstream,
            "healthy": self.healthy, "note": self.note,
        })
    }
}

fn show(rows: &[Row], paint: Paint) {
    if rows.is_empty() {
        return say(&"no models; docs/configuration.md says how to configure one");
    }
    let head = ["NAME", "BACKEND", "UPSTREAM", "HEALTHY"].map(str::to_owned).to_vec();
    let cells = |row: &Row| {
        let healthy = match row.healthy {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not known",
        };
        let note = if row.note.is_empty() { String::new() } else { format!(": {}", row.note) };
        let cells = [row.name.clone(), row.backend.clone(), row.upstream.clone()];
        let cells = cells.map(|cell| if cell.is_empty() { "-".to_owned() } else { cell });
        cells.into_iter().chain([format!("{healthy}{note}")]).collect()
    };
    let all: Vec<Vec<String>> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let lines = table(&all);
    let colours = std::iter::once(None).chain(rows.iter().map(|row| Some(row.healthy)));
    for (line, healthy) in lines.iter().zip(colours) {
        let line = harmless(line);
        say(&match healthy {
            None => paint.bold(line),
            Some(Some(false)) => paint.bad(line),
            Some(_) => line,
        });
    }
}

/// Those of the configuration, with what is wrong with their settings.
fn of_config(config: &Config) -> Vec<Row> {
    let problems = wrong_models(config);
    let row = |model: &Model| {
        let key = format!("models[{}].", model.name);
        let wrong = problems.iter().find_map(|problem| {
            let setting = problem.key.strip_prefix(&key)?;
            Some(format!("{setting} {}", problem.message))
        });
        Row {
            name: model.name.to_string(),
            backend: model.backend.clone(),
            upstream: upstream(model),
            healthy: wrong.is_some().then_some(false),
            note: wrong.unwrap_or_else(|| "its settings are in order".to_owned()),
        }
    };
    config.models.iter().map(row).collect()
}

/// Those that a server lists, with what it tells of their health, and what it could not list.
async fn of_server(server: &Server, probe: bool) -> Result<(Vec<Row>, Vec<String>), Trouble> {
    let list = server.model_list().await?;
    let mut rows = Vec::new();
    for model in list["data"].as_array().into_iter().flatten() {
        let mut row = of_listed(model, seconds_since_1970());
        if probe {
            (row.healthy, row.note) = ask(server, &row.name).await;
        }
        rows.push(row);
    }
    let unlisted = list["outcrop"]["discovery"].as_object().into_iter().flatten();
    let unlisted = unlisted.map(|(what, failed)| match failed["problem"].as_str() {
        Some(problem) => format!("{what} cannot be listed by the server: {problem}"),
        None => format!("{what} cannot be listed by the server; its operator sees why"),
    });
    Ok((rows, unlisted.collect()))
}

/// What a server tells of a model; any but Outcrop tells its name and its owner.
fn of_listed(model: &Value, now: u64) -> Row {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let more = &model["outcrop"];
    let agent = [&more["agent_id"], &more["agent_alias_id"]].map(text).join("/");
    let upstream = [text(&more["upstream"]), agent, text(&more["name"])];
    let upstream = upstream.into_iter().find(|found| !found.is_empty() && found != "/");
    let backend = [text(&more["backend"]), text(&model["owned_by"])];
    Row {
        name: text(&model["id"]),
        backend: backend.into_iter().find(|found| !found.is_empty()).unwrap_or_default(),
        upstream: upstream.unwrap_or_default(),
        healthy: more["healthy"].as_bool(),
        note: reason(more, now),
    }
}

/// Why a model is healthy or not, in words, by what an Outcrop tells of it.
fn reason(more: &Value, now: u64) -> String {
    let state = more["state"].as_str().unwrap_or_default();
    let last = &more["last_failure"];
    let last = last["code"].as_str().map(|code| {
        let since = now.saturating_sub(last["at"].as_u64().unwrap_or(now));
        format!(" with {code}, {}", ago(since))
    });
    let last = last.unwrap_or_default();
    let words = match state {
        "ready" => "it answered when it was last asked".to_owned(),
        "unknown" => "nobody has asked it yet".to_owned(),
        "failing" => format!("it failed{last}"),
        "passed_over" => format!("passed over for a while, since it fails again and again{last}"),
        "signed_out" => "its sign-in is missing or cannot be used".to_owned(),
        "no_credentials" => "the server has no AWS credentials".to_owned(),
        "stale" => "it was there before, and cannot be looked for now".to_owned(),
        other => other.to_owned(),
    };
    match more["problem"].as_str() {
        Some(problem) => format!("{words}: {problem}"),
        None => words,
    }
}

/// Whether a model says a word when it is asked to.
async fn ask(server: &Server, model: &str) -> (Option<bool>, String) {
    let message = json!({ "role": "user", "content": "Say one word." });
    let body = json!({ "model": model, "max_tokens": 16, "messages": [message] });
    let answered = async {
        let mut answer = Answer::to(server, &body).await?;
        while answer.next().await?.is_some() {}
        Ok::<_, Trouble>(answer.into_whole())
    };
    match answered.await {
        Ok(_) => (Some(true), "it answered".to_owned()),
        Err(trouble) => (Some(false), trouble.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_is_missing_is_why_a_model_cannot_answer() {
        let models = vec![Model::new("m".parse().unwrap(), "bedrock-agent")];
        let rows = of_config(&Config { models, ..Config::default() });
        assert_eq!(rows[0].healthy, Some(false));
        assert!(rows[0].note.starts_with("agent_id "), "{}", rows[0].note);
    }

    #[test]
    fn a_server_tells_how_it_stands_with_its_models() {
        let listed = json!({ "id": "a", "owned_by": "bedrock-agent", "outcrop": {
            "backend": "bedrock-agent", "upstream": "A/B", "state": "passed_over",
            "healthy": false, "last_failure": { "code": "upstream_throttled", "at": 940 } } });
        let row = of_listed(&listed, 1_000);
        assert_eq!((row.upstream.as_str(), row.healthy), ("A/B", Some(false)));
        assert!(row.note.ends_with("again with upstream_throttled, 1 min ago"), "{}", row.note);
        let more = json!({ "state": "signed_out", "problem": "run `outcrop login`" });
        let told = "its sign-in is missing or cannot be used: run `outcrop login`";
        assert_eq!(reason(&more, 0), told);
    }

    #[test]
    fn a_server_of_another_make_tells_names_and_owners() {
        let row = of_listed(&json!({ "id": "llama3", "owned_by": "library" }), 0);
        let Row { name, backend, upstream, healthy, note } = row;
        assert_eq!((name.as_str(), backend.as_str()), ("llama3", "library"));
        assert_eq!((upstream.as_str(), healthy, note.as_str()), ("", None, ""));
    }
}
