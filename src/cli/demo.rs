//! `outcrop demo`: the emulator and the broker in one process, and a conversation through both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::backend::AwsClients;
use crate::backend::http::{Client, HttpError};
use crate::config::{Config, Environment, Log, LogFormat, Model};
use crate::edge::Stop;
use crate::emulator;
use crate::metrics::Metrics;

use super::broker::{Broker, NotStarted};
use super::signals::Stops;
use super::{EXIT_FAILED, EXIT_OK, complain, logging, print, refuse, say};

const MODEL: &str = "demo-agent";
const AGENT_ID: &str = "DEMOAGENT1";
/// The emulated agent thinks and speaks at a pace that can be watched.
const FIRST_TOKEN_DELAY: Duration = Duration::from_millis(150);
const CHUNK_DELAY: Duration = Duration::from_millis(15);
/// What is said, and what the answer must hold to show that the session remembers.
const SCRIPT: &[(&str, &[&str])] = &[
    ("Hello! My name is Ann and I want to borrow 25,000 dollars.", &[]),
    ("What is my name, and how much did I want to borrow?", &["Ann", "25,000"]),
];

/// How to show it.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Address and port for the broker to listen on; unless told, 127.0.0.1:8000, or with --once
    /// any free port
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Exit after the conversation instead of serving on
    #[arg(long)]
    once: bool,
}

pub(super) async fn run(verb: Demo, _environment: Environment) -> u8 {
    let metrics = Arc::new(Metrics::new());
    let log = Log { level: "error".to_owned(), format: LogFormat::Auto };
    let _log = match logging::start(&log, &metrics) {
        Ok(guard) => guard,
        Err(message) => return refuse(&message),
    };
    let mut config = Config::default();
    match verb.listen {
        Some(address) => config.server.listen = address,
        // Nobody else is to talk to it, so any free port does.
        None if verb.once => config.server.listen.set_port(0),
        None => {}
    }
    config.emulator.listen.set_port(0);
    config.emulator.first_token_delay = FIRST_TOKEN_DELAY;
    config.emulator.chunk_delay = CHUNK_DELAY;
    let emulator = match emulator::bind(&config.emulator).await {
        Ok(emulator) => emulator,
        Err(error) => return failed(&error),
    };
    let upstream = format!("http://{}", emulator.address());
    let stop = CancellationToken::new();
    let _emulator = AbortOnDropHandle::new(tokio::spawn(emulator.serve(stop.clone())));
    let Ok(name) = MODEL.parse() else { return EXIT_FAILED };
    let agent = Model { agent_id: Some(AGENT_ID.to_owned()), ..Model::new(name, "bedrock-agent") };
    config.models.push(agent);
    let broker = match Broker::open(config, AwsClients::emulated(&upstream), metrics).await {
        Ok(broker) => broker,
        Err(NotStarted::Wrong(message)) => return refuse(&message),
        Err(NotStarted::Failed(message)) => return failed(&message),
    };
    say(&format_args!("emulated Bedrock  {upstream}"));
    say(&format_args!("outcrop           http://{}\n", broker.address));
    play(broker, verb.once).await
}

async fn play(broker: Broker, once: bool) -> u8 {
    let address = broker.address;
    let stops = Stops::new();
    let _signals = stops.on_signals();
    let serving = tokio::spawn(broker.serve(stops.clone()));
    let outcome = tokio::select! {
        outcome = converse(address) => outcome,
        // Told to stop in the middle of it.
        _ = stops.next() => return EXIT_OK,
    };
    let code = match outcome {
        Ok(true) => EXIT_OK,
        Ok(false) => failed(&"the second answer did not use what the first turn said"),
        Err(error) => failed(&error),
    };
    if once || code != EXIT_OK {
        stops.order(Stop::Gracefully);
    } else {
        say(&how_to_go_on(address));
    }
    // A server that panicked has said so.
    let _ = serving.await;
    code
}

fn failed(what: &dyn std::fmt::Display) -> u8 {
    complain(what);
    EXIT_FAILED
}

/// Plays the script as an OpenAI client would: no session id, the whole transcript each time.
/// Says whether the answers used what was said before.
async fn converse(address: SocketAddr) -> Result<bool, HttpError> {
    let client = Client::default();
    let mut messages = Vec::new();
    let mut remembered = true;
    for (question, expected) in SCRIPT {
        say(&format_args!("you         {question}"));
        messages.push(json!({ "role": "user", "content": question }));
        let answer = ask(&client, address, &messages).await?;
        remembered &= expected.iter().all(|word| answer.contains(word));
        messages.push(json!({ "role": "assistant", "content": answer }));
    }
    Ok(remembered)
}

async fn ask(
    client: &Client,
    address: SocketAddr,
    messages: &[Value],
) -> Result<String, HttpError> {
    let url = format!("http://{address}/v1/chat/completions");
    let body = json!({ "model": MODEL, "messages": messages, "stream": true });
    let asked = Instant::now();
    let mut reply = client.post_json(&url, body.to_string()).await?;
    let session = reply.header("x-session-id").to_owned();
    let origin = reply.header("x-outcrop-session").to_owned();
    let (mut lines, mut answer, mut first) = (Vec::new(), String::new(), None);
    print("outcrop     ");
    while let Some(bytes) = reply.next().await? {
        lines.extend_from_slice(&bytes);
        while let Some(end) = lines.iter().position(|byte| *byte == b'\n') {
            let line: Vec<_> = lines.drain(..=end).collect();
            let Some(text) = delta(&line) else { continue };
            first.get_or_insert_with(|| asked.elapsed());
            print(&text);
            answer.push_str(&text);
        }
    }
    let first = first.unwrap_or_else(|| asked.elapsed()).as_secs_f64() * 1e3;
    let paced = FIRST_TOKEN_DELAY.as_millis();
    say(&format_args!(
        "\n            first token after {first:.1} ms ({paced} of them the agent's), \
         session {session} ({origin})\n"
    ));
    Ok(answer)
}

/// The text in a line of the stream, if it has any.
fn delta(line: &[u8]) -> Option<String> {
    let json = line.strip_prefix(b"data: ")?;
    let chunk: Value = serde_json::from_slice(json).ok()?;
    let text = chunk.pointer("/choices/0/delta/content")?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

fn how_to_go_on(address: SocketAddr) -> String {
    format!(
        "Now you, until Ctrl-C:\n\n  curl -N http://{address}/v1/chat/completions \\\n    \
         -H 'content-type: application/json' -H 'x-session-id: me' \\\n    \
         -d '{{\"model\": \"{MODEL}\", \"stream\": true, \"messages\": \
         [{{\"role\": \"user\", \"content\": \"What loans do you offer?\"}}]}}'\n\n\
         Say \"call: forecast city=Oslo; then say: Done.\" and it answers with a tool call.\n"
    )
}
