//! `outcrop compare`: the same requests to one server or two, and what a client would notice.
//!
//! [`exchange`] records what came, as it came. Of one server's record [`rules`] say what OpenAI's
//! clients trip over; of two, [`difference`] says where they part. [`report`] shows it.

use clap::Args;
use serde_json::{Value, json};

use crate::config::Environment;

use super::server::{Server, Trouble, key};
use super::terminal::Paint;
use super::{EXIT_FAILED, EXIT_OK, complain, refuse};

mod chunks;
mod difference;
mod exchange;
mod report;
#[cfg(test)]
mod right;
mod rules;
#[cfg(test)]
mod tests;

use exchange::Exchange;

/// The host that a key of OpenAI's is for.
const OPENAI_HOST: &str = "api.openai.com";

/// Which servers, and what to ask them.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 1 means that a client could notice what was found; what is only worth knowing is listed
as a note and does not count. Timings never count.

The key of --api-key goes to the first server and that of --api-key-b to the second. Else
OPENAI_API_KEY goes to api.openai.com alone, and OUTCROP_API_KEY to any other.")]
pub(super) struct Compare {
    /// A server; alone, it is checked against the rules of OpenAI's format
    url_a: String,
    /// Another one, to compare it with
    url_b: Option<String>,
    /// The model to ask for; the first that the server lists, unless told
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The model to ask the second server for; the same, unless told
    #[arg(long, value_name = "MODEL")]
    model_b: Option<String>,
    /// The API key of the first server
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// The API key of the second server
    #[arg(long, value_name = "KEY")]
    api_key_b: Option<String>,
    /// What to say to the model
    #[arg(long, value_name = "TEXT", default_value = "Count from one to five.")]
    message: String,
    /// What to say to have it call tools; without, tools are not tried
    #[arg(long, value_name = "TEXT", num_args = 0..=1,
          default_missing_value = "What is the weather in Oslo, and what is it in Rome?")]
    tools: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print what was found, and nothing else
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// A client could notice.
    Noticed,
    /// Worth knowing.
    Note,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    weight: Weight,
    /// `A`, `B`, or both: `A and B`.
    server: &'static str,
    /// The request, as `stream`.
    request: &'static str,
    /// A name to tell it by, as `missing-role`.
    rule: &'static str,
    message: String,
}

impl Finding {
    fn written(&self) -> Value {
        json!({
            "weight": match self.weight { Weight::Noticed => "noticed", Weight::Note => "note" },
            "server": self.server, "request": self.request, "rule": self.rule,
            "message": self.message,
        })
    }
}

/// A server that is to be asked.
struct Asked {
    label: &'static str,
    server: Server,
    /// The model; the first that it lists when there is none.
    model: Option<String>,
}

/// A server with what came of the requests to it.
struct Side {
    label: &'static str,
    name: String,
    model: String,
    exchanges: Vec<Exchange>,
}

pub(super) async fn run(verb: Compare, environment: Environment) -> u8 {
    let paint = Paint::for_output(&environment);
    let servers = match verb.servers(&environment) {
        Ok(servers) => servers,
        Err(message) => return refuse(&message),
    };
    let mut sides = Vec::new();
    for asked in &servers {
        match verb.ask(asked).await {
            Ok(side) => sides.push(side),
            Err(trouble) => {
                complain(&trouble);
                return EXIT_FAILED;
            }
        }
    }
    let findings = findings(&sides);
    match (verb.json, verb.quiet) {
        (true, _) => report::json(&sides, &findings),
        (false, true) => report::findings(&findings, paint),
        (false, false) => report::text(&sides, &findings, paint),
    }
    let is_noticed = findings.iter().any(|finding| finding.weight == Weight::Noticed);
    if is_noticed { EXIT_FAILED } else { EXIT_OK }
}

/// Everything that was found, what a client could notice first.
fn findings(sides: &[Side]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for side in sides {
        for exchange in &side.exchanges {
            rules::check(side.label, exchange, &mut findings);
        }
    }
    if let [a, b] = sides {
        for (a, b) in a.exchanges.iter().zip(&b.exchanges) {
            difference::find(a, b, &mut findings);
        }
    }
    findings.sort_by_key(|finding| finding.weight);
    findings
}

impl Compare {
    fn servers(&self, environment: &Environment) -> Result<Vec<Asked>, String> {
        let open = |url: &str, given: Option<&str>| {
            let server = Server::new(url, None)?;
            let is_openai = server.host() == OPENAI_HOST;
            let variables: &[&str] =
                if is_openai { &["OPENAI_API_KEY"] } else { &["OUTCROP_API_KEY"] };
            Server::new(url, key(given, environment, variables))
        };
        let server = open(&self.url_a, self.api_key.as_deref())?;
        let mut servers = vec![Asked { label: "A", server, model: self.model.clone() }];
        if let Some(url) = &self.url_b {
            let server = open(url, self.api_key_b.as_deref())?;
            let model = self.model_b.clone().or_else(|| self.model.clone());
            servers.push(Asked { label: "B", server, model });
        }
        Ok(servers)
    }

    async fn ask(&self, Asked { label, server, model }: &Asked) -> Result<Side, Trouble> {
        let model = server.model(model.as_deref()).await?;
        let mut exchanges = Vec::new();
        for (request, body) in self.requests(&model) {
            exchanges.push(Exchange::hold(server, request, body).await?);
        }
        Ok(Side { label, name: server.name(), model, exchanges })
    }

    /// The requests with their names, in the order in which they are sent.
    fn requests(&self, model: &str) -> Vec<(&'static str, Value)> {
        let said = |text: &str| json!({ "model": model, "messages": [{ "role": "user", "content": text }] });
        let plain = said(&self.message);
        let mut requests = vec![("whole", plain.clone()), ("stream", streamed(plain))];
        if let Some(text) = &self.tools {
            let mut with_tools = said(text);
            with_tools["tools"] = json!([weather()]);
            requests.push(("whole with tools", with_tools.clone()));
            requests.push(("stream with tools", streamed(with_tools)));
        }
        requests
    }
}

fn streamed(mut body: Value) -> Value {
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    body
}

fn weather() -> Value {
    json!({ "type": "function", "function": {
        "name": "get_weather",
        "description": "Tells the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": { "city": { "type": "string" } },
            "required": ["city"],
        },
    } })
}
