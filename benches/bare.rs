//! The bare loop that the broker is measured against: warp, one ractor actor, the AWS SDK, and a
//! hand-written SSE frame a chunk.
//!
//! It does for a turn what cannot be left out, and nothing else: no sessions, no queue, no
//! limits, no keep-alive, no keys, no metrics, no log lines, no traces. Its listener sets
//! `TCP_NODELAY`, its SDK is configured as the broker's is, and its runtime is the same.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_bedrockagentruntime::Client;
use aws_sdk_bedrockagentruntime::config::retry::RetryConfig;
use aws_sdk_bedrockagentruntime::config::{Credentials, StalledStreamProtectionConfig};
use aws_sdk_bedrockagentruntime::types::{ResponseStream, StreamingConfigurations};
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;
use warp::Filter as _;

/// Frames between the SDK and the connection.
const FRAMES: usize = 64;

/// Serves until the process is killed.
pub(crate) async fn serve(endpoint: &str) -> anyhow::Result<()> {
    let (actor, _) = Turns::spawn(None, Turns, client(endpoint)).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await.context("bind the bare loop")?;
    announce(listener.local_addr()?);
    let service = TowerToHyperService::new(warp::service(routes(actor)));
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let service = service.clone();
        tokio::spawn(async move {
            // A client that leaves is no error here.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

/// Tells the parent process, which reads it from standard output.
fn announce(address: SocketAddr) {
    println!("bare loop listening on http://{address}");
}

fn client(endpoint: &str) -> Client {
    let config = aws_sdk_bedrockagentruntime::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new("bench", "bench", None, None, "bench"))
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

/// What a client asks.
#[derive(Debug, Deserialize)]
struct Asked {
    model: String,
    messages: Vec<Said>,
}

#[derive(Debug, Deserialize)]
struct Said {
    content: String,
}

fn routes(
    turns: ActorRef<Turn>,
) -> impl warp::Filter<Extract = (warp::reply::Response,), Error = warp::Rejection> + Clone {
    warp::post()
        .and(warp::path!("v1" / "chat" / "completions"))
        .and(warp::header::<String>("x-session-id"))
        .and(warp::body::json())
        .map(move |session, asked: Asked| {
            let (frames, body) = mpsc::channel(FRAMES);
            // An actor that is gone drops the sender, which ends the body.
            let _ = turns.cast(Turn { session, asked, frames });
            reply(body)
        })
}

fn reply(body: mpsc::Receiver<Bytes>) -> warp::reply::Response {
    let stream = warp::reply::stream(ReceiverStream::new(body).map(Ok::<_, Infallible>));
    let typed = warp::reply::with_header(stream, "content-type", "text/event-stream");
    warp::Reply::into_response(warp::reply::with_header(typed, "cache-control", "no-cache"))
}

/// One turn on its way to the actor.
#[derive(Debug)]
struct Turn {
    session: String,
    asked: Asked,
    frames: mpsc::Sender<Bytes>,
}

/// The one actor: starts a task a turn.
struct Turns;

impl Actor for Turns {
    type Msg = Turn;
    type State = Client;
    type Arguments = Client;

    async fn pre_start(
        &self,
        _me: ActorRef<Turn>,
        client: Client,
    ) -> Result<Client, ActorProcessingErr> {
        Ok(client)
    }

    async fn handle(
        &self,
        _me: ActorRef<Turn>,
        turn: Turn,
        client: &mut Client,
    ) -> Result<(), ActorProcessingErr> {
        let client = client.clone();
        tokio::spawn(async move {
            if let Err(error) = answer(&client, turn).await {
                tracing::error!("a turn failed: {error:#}");
            }
        });
        Ok(())
    }
}

async fn answer(client: &Client, turn: Turn) -> anyhow::Result<()> {
    let Turn { session, asked, frames } = turn;
    let text = asked.messages.into_iter().last().context("no message")?.content;
    let streaming = StreamingConfigurations::builder().stream_final_response(true).build();
    let mut answered = client
        .invoke_agent()
        .agent_id("AGENT12345")
        .agent_alias_id("TSTALIASID")
        .session_id(session)
        .enable_trace(false)
        .streaming_configurations(streaming)
        .input_text(text)
        .send()
        .await?;
    let id = format!("chatcmpl-{}", Uuid::new_v4().simple());
    let created = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let model = serde_json::to_string(&asked.model)?;
    let head = format!(
        r#"data: {{"id":"{id}","object":"chat.completion.chunk","created":{created},"model":{model},"choices":[{{"index":0,"delta":{{"#
    );
    while let Some(event) = answered.completion.recv().await? {
        let ResponseStream::Chunk(chunk) = event else { continue };
        let bytes = chunk.bytes.unwrap_or_else(|| aws_smithy_types::Blob::new(Vec::new()));
        let text = serde_json::to_string(&String::from_utf8_lossy(bytes.as_ref()))?;
        let frame = format!("{head}\"content\":{text}}},\"finish_reason\":null}}]}}\n\n");
        if frames.send(Bytes::from(frame)).await.is_err() {
            return Ok(());
        }
    }
    let last = format!("{head}}},\"finish_reason\":\"stop\"}}]}}\n\ndata: [DONE]\n\n");
    // A client that left does not want it.
    let _ = frames.send(Bytes::from(last)).await;
    Ok(())
}
