//! `outcrop models`: which there are, who answers, and whether they can.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::config::{Config, Environment, Model, Sources, load};

use super::answer::Answer;
use super::server::{Server, ServerArgs, Trouble};
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
                Ok(rows) => rows,
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
    let is_broken = rows.iter().any(|row| row.healthy == Some(false));
    if is_broken { EXIT_FAILED } else { EXIT_OK }
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

/// What stands behind a model, by the setting that names it.
fn upstream(model: &Model) -> String {
    if let Some(agent) = &model.agent_id {
        let alias = model.agent_alias_id.as_deref().unwrap_or("TSTALIASID");
        return format!("{agent}/{alias}");
    }
    if !model.upstreams.is_empty() {
        let names: Vec<_> = model.upstreams.iter().map(|member| member.model.as_str()).collect();
        return names.join(", ");
    }
    let core = [&model.core.runtime_arn, &model.core.harness_arn];
    let named = core.into_iter().chain([&model.inline.foundation_model]).flatten().next();
    let named = named.or(model.text.model_id.as_ref()).cloned().unwrap_or_default();
    match &model.text.base_url {
        Some(url) if named.is_empty() => url.clone(),
        Some(url) => format!("{named} at {url}"),
        None => named,
    }
}

/// Those that a server lists, with what it tells of their health.
async fn of_server(server: &Server, probe: bool) -> Result<Vec<Row>, Trouble> {
    let models = server.models().await?;
    let metrics = server.text_beside("/metrics").await.unwrap_or_default();
    let mut rows = Vec::new();
    for model in &models {
        let mut row = of_listed(model, &metrics);
        if probe {
            (row.healthy, row.note) = ask(server, &row.name).await;
        }
        rows.push(row);
    }
    Ok(rows)
}

fn of_listed(model: &Value, metrics: &str) -> Row {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let more = &model["outcrop"];
    let agent = [&more["agent_id"], &more["agent_alias_id"]].map(text).join("/");
    let name = text(&model["id"]);
    let open = format!("outcrop_breaker_open{{model=\"{name}\"}} 1");
    let is_passed_over = metrics.lines().any(|line| line == open);
    Row {
        backend: text(&model["owned_by"]),
        upstream: if agent == "/" { text(&more["name"]) } else { agent },
        healthy: is_passed_over.then_some(false),
        note: match is_passed_over {
            true => "passed over, since its upstream failed again and again".to_owned(),
            false => String::new(),
        },
        name,
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
    fn a_model_is_shown_with_what_stands_behind_it() {
        let mut model = Model::new("m".parse().unwrap(), "bedrock-agent");
        model.agent_id = Some("ABCDEF1234".to_owned());
        assert_eq!(upstream(&model), "ABCDEF1234/TSTALIASID");
        let mut model = Model::new("m".parse().unwrap(), "openai");
        model.text.model_id = Some("llama3".to_owned());
        assert_eq!(upstream(&model), "llama3");
        model.text.base_url = Some("http://x/v1".to_owned());
        assert_eq!(upstream(&model), "llama3 at http://x/v1");
    }

    #[test]
    fn a_setting_that_is_missing_is_why_a_model_cannot_answer() {
        let models = vec![Model::new("m".parse().unwrap(), "bedrock-agent")];
        let rows = of_config(&Config { models, ..Config::default() });
        assert_eq!(rows[0].healthy, Some(false));
        assert!(rows[0].note.starts_with("agent_id "), "{}", rows[0].note);
    }

    #[test]
    fn a_server_tells_of_models_that_it_passes_over() {
        let listed = json!({ "id": "a", "owned_by": "bedrock-agent", "outcrop": {
            "agent_id": "A", "agent_alias_id": "B" } });
        let row = of_listed(&listed, "outcrop_breaker_open{model=\"a\"} 1\n");
        assert_eq!((row.upstream.as_str(), row.healthy), ("A/B", Some(false)));
        let row = of_listed(&json!({ "id": "a" }), "outcrop_breaker_open{model=\"a\"} 0\n");
        assert_eq!((row.upstream.as_str(), row.healthy), ("", None));
    }
}
