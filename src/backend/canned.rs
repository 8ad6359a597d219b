//! A server that says what it was told to say, for tests: the SDK's calls without a service.

use std::sync::{Arc, Mutex};

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::metrics::Metrics;

use super::{AwsClients, Deps, Discovery, OpenAiServers, lock};

/// What a call is answered with.
#[derive(Debug)]
pub(super) enum Reply {
    /// A stream of these events, by their types, and a clean end. A type that ends with
    /// `Exception` is one.
    Events(Vec<(&'static str, Value)>),
    /// A refusal before any stream: status and exception.
    Refusal(u16, &'static str),
}

impl Reply {
    fn bytes(&self) -> Vec<u8> {
        let (status, kind, body) = match self {
            Self::Events(events) => (200, String::new(), frames(events)),
            Self::Refusal(status, name) => {
                (*status, format!("x-amzn-errortype: {name}\r\n"), br#"{"message":"no"}"#.to_vec())
            }
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} -\r\n{kind}content-type: application/json\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n"
        );
        [head.into_bytes(), body].concat()
    }
}

/// A piece of an answer.
pub(super) fn chunk(text: &str) -> (&'static str, Value) {
    ("chunk", json!({ "bytes": STANDARD.encode(text) }))
}

fn frames(events: &[(&'static str, Value)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, payload) in events {
        let is_exception = name.ends_with("Exception");
        let kind = if is_exception { "exception" } else { "event" };
        let header = |name: &'static str, value: &'static str| {
            Header::new(name, HeaderValue::String(value.into()))
        };
        let message = Message::new(payload.to_string().into_bytes())
            .add_header(header(":message-type", kind))
            .add_header(header(if is_exception { ":exception-type" } else { ":event-type" }, name))
            .add_header(header(":content-type", "application/json"));
        write_message_to(&message, &mut bytes).unwrap();
    }
    bytes
}

/// A call as it came.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// The path.
    pub(super) path: String,
    /// The body.
    pub(super) body: Value,
}

/// The server; it says each reply once, in order, and then nothing more.
#[derive(Debug)]
pub(super) struct Canned {
    endpoint: String,
    calls: Arc<Mutex<Vec<Call>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Canned {
    pub(super) async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let calls = Arc::<Mutex<Vec<Call>>>::default();
        let seen = Arc::clone(&calls);
        let serving = tokio::spawn(async move {
            for reply in replies {
                let (mut socket, _) = listener.accept().await.unwrap();
                let call = read(&mut socket).await;
                lock(&seen).push(call);
                socket.write_all(&reply.bytes()).await.unwrap();
            }
        });
        Self { endpoint, calls, _serving: AbortOnDropHandle::new(serving) }
    }

    /// What a backend is made with to call this server, without a wait before retries.
    pub(super) fn deps(&self) -> Deps {
        let mut config = Config::default();
        config.turn.retry_delay = std::time::Duration::ZERO;
        config.discovery.idle_ttl = false;
        Deps {
            aws: Arc::new(AwsClients::emulated(&self.endpoint)),
            openai: Arc::new(OpenAiServers::new(std::time::Duration::from_secs(1))),
            discovery: Arc::new(Discovery::default()),
            metrics: Arc::new(Metrics::new()),
            config: Arc::new(config),
        }
    }

    /// The calls so far, oldest first.
    pub(super) fn calls(&self) -> Vec<Call> {
        lock(&self.calls).clone()
    }
}

async fn read(socket: &mut TcpStream) -> Call {
    let mut bytes = Vec::new();
    let head = loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            break end;
        }
        assert!(socket.read_buf(&mut bytes).await.unwrap() > 0, "a request without a head");
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap().to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.unwrap().parse().unwrap();
    while bytes.len() < head + 4 + length {
        assert!(socket.read_buf(&mut bytes).await.unwrap() > 0, "a body without its end");
    }
    let path = text.split(' ').nth(1).unwrap().to_owned();
    Call { path, body: serde_json::from_slice(&bytes[head + 4..]).unwrap() }
}
