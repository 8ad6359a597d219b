//! An upstream that plays a recording: every call of an agent or a model gets the same answer.
//!
//! A recording is either `upstream.sse`, server-sent events as they stand, or `upstream.jsonl`,
//! the frames of an event stream, one a line:
//!
//! - `{"event": "chunk", "payload": {…}}` is an event, `{"exception": "throttlingException",
//!   "payload": {…}}` an exception;
//! - within a payload `{"utf8": "…"}` and `{"hex": "…"}` stand for bytes, which travel as base64;
//! - `"cut": 20` has the body end after so many bytes of the frame.

use std::fs;
use std::path::Path;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// What begins the paths of those operations that a recording may answer.
const OPERATIONS: &[&str] =
    &["/agents/", "/runtimes/", "/harnesses/invoke", "/model/", "/v1/chat/completions"];

/// An upstream that plays a recording, ended with the test.
#[derive(Debug)]
pub(crate) struct Recorded {
    url: String,
    _serving: AbortOnDropHandle<()>,
}

impl Recorded {
    /// Plays the recording in this folder.
    pub(crate) async fn play(folder: &Path) -> Self {
        let recording = Recording::read(folder);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let connections = TaskTracker::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                connections.spawn(serve(socket, recording.clone()));
            }
        });
        Self { url, _serving: AbortOnDropHandle::new(serving) }
    }

    /// Settings of a model of AWS that leads here.
    pub(crate) fn settings(&self) -> String {
        format!("endpoint_url = {:?}\n", self.url)
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// What is answered.
#[derive(Debug, Clone)]
struct Recording {
    content_type: &'static str,
    body: Bytes,
}

impl Recording {
    fn read(folder: &Path) -> Self {
        if let Ok(events) = fs::read(folder.join("upstream.sse")) {
            return Self { content_type: "text/event-stream", body: events.into() };
        }
        let file = folder.join("upstream.jsonl");
        let lines = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        Self { content_type: "application/vnd.amazon.eventstream", body: stream(&lines) }
    }
}

async fn serve(socket: TcpStream, recording: Recording) {
    let service = service_fn(|request| answer(request, recording.clone()));
    // A broker that has enough hangs up.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

async fn answer(
    request: Request<Incoming>,
    recording: Recording,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let asked = request.into_body().collect().await?.to_bytes();
    if path == "/" {
        // The broker opens the way ahead of the first turn.
        return Ok(Response::builder().status(404).body(Full::default()).unwrap());
    }
    assert!(OPERATIONS.iter().any(|begin| path.starts_with(begin)), "{path} asks nobody");
    assert!(serde_json::from_slice::<Value>(&asked).is_ok_and(|asked| asked.is_object()));
    let response = Response::builder()
        .header("content-type", recording.content_type)
        .header("x-amzn-bedrock-agent-content-type", "application/json")
        .header("x-amz-bedrock-agent-session-id", "as-asked")
        .body(Full::new(recording.body));
    Ok(response.unwrap())
}

/// The body that a recording stands for.
fn stream(lines: &str) -> Bytes {
    let mut body = BytesMut::new();
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let frame = frame(&line);
        let cut = line["cut"].as_u64().map_or(frame.len(), |length| length as usize);
        body.put_slice(&frame[..cut]);
    }
    body.freeze()
}

fn frame(line: &Value) -> Bytes {
    let named =
        ["event", "exception"].into_iter().find_map(|kind| Some((kind, line[kind].as_str()?)));
    let (kind, name) = named.unwrap_or_else(|| panic!("{line} names no event and no exception"));
    let header =
        |name: String, value: &str| Header::new(name, HeaderValue::String(value.to_owned().into()));
    let headers = vec![
        header(format!(":{kind}-type"), name),
        header(":content-type".to_owned(), "application/json"),
        header(":message-type".to_owned(), kind),
    ];
    let mut payload = line["payload"].clone();
    spell_bytes(&mut payload);
    let message = Message::new_from_parts(headers, payload.to_string());
    let mut frame = BytesMut::new();
    write_message_to(&message, &mut frame).unwrap();
    frame.freeze()
}

/// Puts base64 in place of what stands for bytes.
fn spell_bytes(value: &mut Value) {
    let bytes = match value {
        Value::Object(members) if members.len() == 1 => match members.iter().next() {
            Some((kind, Value::String(text))) if kind == "utf8" => Some(text.clone().into_bytes()),
            Some((kind, Value::String(text))) if kind == "hex" => Some(bytes_of(text)),
            _ => None,
        },
        _ => None,
    };
    match (bytes, value) {
        (Some(bytes), value) => *value = STANDARD.encode(bytes).into(),
        (None, Value::Object(members)) => members.values_mut().for_each(spell_bytes),
        (None, Value::Array(items)) => items.iter_mut().for_each(spell_bytes),
        (None, _) => {}
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    hex.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}
