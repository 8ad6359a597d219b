//! An OpenAI-compatible server that answers what it is told to, byte by byte.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// A reply in the making: its bytes after the head, cut into pieces that are sent one by one.
#[derive(Debug, Clone)]
pub(crate) struct Canned {
    status: u16,
    headers: String,
    pieces: Vec<Vec<u8>>,
}

impl Canned {
    /// A reply of this status, type and body.
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = format!("content-type: {content_type}\r\n");
        Self { status, headers, pieces: vec![body.into()] }
    }

    /// Events of these data.
    pub(crate) fn events(data: &[&str]) -> Self {
        let body: String = data.iter().map(|data| format!("data: {data}\n\n")).collect();
        Self::new(200, "text/event-stream", body)
    }

    /// An error in OpenAI's shape.
    pub(crate) fn error(status: u16, error: &Value) -> Self {
        Self::new(status, "application/json", serde_json::json!({ "error": error }).to_string())
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// The same body in pieces of so many bytes, each a chunk of its own.
    pub(crate) fn in_pieces_of(mut self, bytes: usize) -> Self {
        self.pieces = self.pieces.concat().chunks(bytes).map(<[u8]>::to_vec).collect();
        self
    }

    async fn send(&self, socket: &mut TcpStream) -> std::io::Result<()> {
        let Self { status, headers, pieces } = self;
        let head = format!("HTTP/1.1 {status} X\r\n{headers}transfer-encoding: chunked\r\n\r\n");
        socket.write_all(head.as_bytes()).await?;
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            socket.write_all(&chunk).await?;
        }
        socket.write_all(b"0\r\n\r\n").await
    }
}

/// A request as it came: the lines of its head, and its body.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) head: String,
    pub(crate) body: Value,
}

/// The server. It gives the replies in turn, and the last one again and again.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    connections: Arc<Mutex<usize>>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Debug, Clone)]
struct Script {
    replies: Arc<Mutex<VecDeque<Canned>>>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Upstream {
    pub(crate) async fn start(replies: impl IntoIterator<Item = Canned>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let replies = Arc::new(Mutex::new(replies.into_iter().collect()));
        let (heard, connections) = (Arc::default(), Arc::<Mutex<usize>>::default());
        let script = Script { replies, heard: Arc::clone(&heard) };
        let counted = Arc::clone(&connections);
        let serving = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((socket, _)) = listener.accept().await {
                *counted.lock().unwrap() += 1;
                open.push(AbortOnDropHandle::new(tokio::spawn(script.clone().serve(socket))));
            }
        });
        Self { address, heard, connections, _serving: AbortOnDropHandle::new(serving) }
    }

    /// The table of a model that asks here.
    pub(crate) fn model(&self, name: &str, settings: &str) -> String {
        format!(
            "[[models]]\nname = \"{name}\"\nbackend = \"openai\"\nmodel_id = \"local\"\n\
             base_url = \"http://{}/v1\"\n{settings}\n",
            self.address
        )
    }

    /// What was asked, oldest first.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// The bodies of what was asked, oldest first.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.heard().into_iter().map(|heard| heard.body).collect()
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

impl Script {
    async fn serve(self, mut socket: TcpStream) {
        while let Some(heard) = hear(&mut socket).await {
            self.heard.lock().unwrap().push(heard);
            let reply = self.next();
            if reply.send(&mut socket).await.is_err() {
                return;
            }
        }
    }

    fn next(&self) -> Canned {
        let mut replies = self.replies.lock().unwrap();
        match replies.len() {
            1 => replies[0].clone(),
            _ => replies.pop_front().unwrap(),
        }
    }
}

/// Reads a request; `None` when the peer is done.
async fn hear(socket: &mut TcpStream) -> Option<Heard> {
    let mut source = BufReader::new(socket);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if source.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    source.read_exact(&mut body).await.ok()?;
    Some(Heard { head, body: serde_json::from_slice(&body).ok()? })
}
