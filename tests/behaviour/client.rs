//! A client of HTTP/1.1 that can be made to misbehave.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer than any answer here should take: a test that waits so long fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    address: SocketAddr,
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(address: SocketAddr, method: &'static str, path: &str) -> Self {
        Self { address, method, path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// The request as it goes over the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Self { method, path, body, .. } = self;
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if *method != "GET" && !self.headers.iter().any(|(name, _)| name == "transfer-encoding") {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        [head.as_bytes(), body].concat()
    }

    /// Sends it on a connection of its own and reads the head of the reply.
    pub(crate) async fn send(&self) -> Reply {
        let mut connection = Connection::open(self.address).await;
        connection.write(&self.bytes()).await;
        connection.reply().await
    }
}

/// A connection to the broker.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    /// Bytes that have come and were not yet read.
    ahead: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, ahead: Vec::new() }
    }

    /// Sends bytes; a peer that has hung up already may still have answered.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes).await;
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub(crate) async fn half_close(&mut self) {
        self.socket.shutdown().await.unwrap();
    }

    /// Closes by a reset, as a process that was killed does with bytes unread.
    pub(crate) fn reset(self) {
        self.socket.set_zero_linger().unwrap();
    }

    /// Reads some bytes; none at the end, however it came.
    async fn more(&mut self) -> bool {
        let read = tokio::time::timeout(PATIENCE, self.socket.read_buf(&mut self.ahead)).await;
        matches!(read.expect("the broker says something in time"), Ok(length) if length > 0)
    }

    /// Waits until the peer closes, and gives what it still said.
    pub(crate) async fn rest(mut self) -> String {
        while self.more().await {}
        String::from_utf8_lossy(&self.ahead).into_owned()
    }

    /// Takes a line without its end; `None` when the peer is done.
    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.ahead.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.ahead.drain(..=end).collect();
                let line = String::from_utf8(line).unwrap();
                return Some(line.trim_end_matches(['\n', '\r']).to_owned());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.ahead.len() < length {
            if !self.more().await {
                return None;
            }
        }
        Some(self.ahead.drain(..length).collect())
    }

    /// Reads the head of a reply.
    pub(crate) async fn reply(mut self) -> Reply {
        let first = self.line().await.expect("a reply");
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("{first:?} is no status line"));
        let mut headers = Vec::new();
        while let Some(line) = self.line().await.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = |headers: &[(String, String)]| {
            let (_, value) = headers.iter().find(|(name, _)| name == "content-length")?;
            Some(value.parse().unwrap())
        };
        let is_chunked = headers.iter().any(|(name, _)| name == "transfer-encoding");
        let rest =
            if is_chunked { Rest::Chunks } else { Rest::Bytes(length(&headers).unwrap_or(0)) };
        Reply { status, headers, connection: self, rest, unread: Vec::new() }
    }
}

/// What of a body is still to come.
#[derive(Debug, PartialEq, Eq)]
enum Rest {
    Chunks,
    Bytes(usize),
    /// All of it came.
    Nothing,
    /// The connection closed before its end.
    BrokenOff,
}

/// A reply whose head has come. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    connection: Connection,
    rest: Rest,
    /// Of the body, what has come and was not yet read.
    unread: Vec<u8>,
}

impl Reply {
    /// A header's value; empty when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// All headers as text.
    pub(crate) fn head(&self) -> String {
        self.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
    }

    /// Gets more of the body; says whether there was more.
    async fn more(&mut self) -> bool {
        let piece = match self.rest {
            Rest::Nothing | Rest::BrokenOff => return false,
            Rest::Bytes(length) => {
                self.rest = Rest::Nothing;
                self.connection.take(length).await
            }
            Rest::Chunks => self.chunk().await,
        };
        match piece {
            Some(piece) => self.unread.extend(piece),
            None => self.rest = Rest::BrokenOff,
        }
        self.rest != Rest::BrokenOff
    }

    async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.connection.line().await?;
        let size = usize::from_str_radix(&size, 16).unwrap();
        let mut piece = self.connection.take(size + 2).await?;
        piece.truncate(size);
        if size == 0 {
            self.rest = Rest::Nothing;
        }
        Some(piece)
    }

    /// The next line of the body, without its end; `None` when there are no more.
    pub(crate) async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Some(String::from_utf8(line).unwrap().trim_end_matches('\n').to_owned());
            }
            if !self.more().await {
                assert!(self.unread.is_empty(), "the body ends in the middle of a line");
                return None;
            }
        }
    }

    /// Reads the body to its end.
    pub(crate) async fn bytes(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.unread)
    }

    /// The same as text.
    pub(crate) async fn text(&mut self) -> String {
        String::from_utf8(self.bytes().await).unwrap()
    }

    /// Whether the body came to its proper end.
    pub(crate) fn is_whole(&self) -> bool {
        self.rest == Rest::Nothing
    }

    /// Reads the body as JSON.
    pub(crate) async fn json(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }

    /// The next frame of an event stream; comments on the way are left out.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        let mut frame = Frame::default();
        loop {
            let line = self.line().await?;
            match line.split_once(':') {
                None if line.is_empty() => return Some(frame),
                Some(("", _)) => {}
                Some(("id", id)) => frame.id = id.trim().to_owned(),
                Some(("event", name)) => frame.event = name.trim().to_owned(),
                Some(("data", data)) => frame.data = data.trim().to_owned(),
                _ => panic!("{line:?} has no place in an event stream"),
            }
        }
    }

    /// The next frame that holds text of the answer, and that text.
    pub(crate) async fn first_text(&mut self) -> (Frame, String) {
        loop {
            let frame = self.frame().await.expect("some text in the stream");
            let text = frame.text();
            if !text.is_empty() {
                return (frame, text);
            }
        }
    }

    /// The connection, for the next request; the body must have been read.
    pub(crate) fn into_connection(self) -> Connection {
        assert!(self.is_whole());
        self.connection
    }

    /// Hangs up without reading on.
    pub(crate) fn hang_up(self) {
        drop(self);
    }

    /// Hangs up by a reset.
    pub(crate) fn reset(self) {
        self.connection.reset();
    }
}

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) id: String,
    /// The event's name, where the format gives them names.
    pub(crate) event: String,
    pub(crate) data: String,
}

impl Frame {
    pub(crate) fn is_done(&self) -> bool {
        self.data == "[DONE]"
    }

    pub(crate) fn json(&self) -> Value {
        if self.is_done() {
            return Value::Null;
        }
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {}", self.data))
    }

    /// The text of the answer in this frame.
    pub(crate) fn text(&self) -> String {
        let json = self.json();
        let text = json.pointer("/choices/0/delta/content").and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    }
}
