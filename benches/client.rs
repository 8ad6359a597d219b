//! A client that costs little: raw HTTP/1.1, which looks for a few bytes and parses nothing else.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::BytesMut;
use memchr::memmem::Finder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The end of a chunked body.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// OpenAI chat, as the broker and the bare loop take it.
    Chat,
    /// `InvokeAgent`, as the emulator takes it.
    Agent {
        /// Whether traces are asked for.
        traces: bool,
    },
}

impl Dialect {
    /// A streamed turn of one message.
    pub(crate) fn request(self, session: &str, text: &str) -> Vec<u8> {
        let (path, body) = match self {
            Self::Chat => (
                "/v1/chat/completions".to_owned(),
                format!(
                    r#"{{"model":"agent","stream":true,"messages":[{{"role":"user","content":"{text}"}}]}}"#
                ),
            ),
            Self::Agent { traces } => (
                format!("/agents/AGENT12345/agentAliases/TSTALIASID/sessions/{session}/text"),
                format!(
                    r#"{{"enableTrace":{traces},"inputText":"{text}","streamingConfigurations":{{"streamFinalResponse":true}}}}"#
                ),
            ),
        };
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer bench\r\n\
             content-type: application/json\r\nx-session-id: {session}\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }

    /// What stands before each token, and, where that also stands elsewhere, what the first
    /// token of a count looks like.
    fn token(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Chat => (b"\"content\":\"", b"\"content\":\"1 "),
            Self::Agent { .. } => (b"{\"bytes\":\"", b"{\"bytes\":\""),
        }
    }
}

/// How one answer came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    /// From the first byte of the request to the first token.
    pub(crate) first_token: Duration,
    /// Tokens in all; the broker's opening frame, which carries the role, counts as one.
    pub(crate) tokens: usize,
}

/// One kept-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    dialect: Dialect,
    each: Finder<'static>,
    first: Finder<'static>,
    buffer: BytesMut,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr, dialect: Dialect) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let (each, first) = dialect.token();
        let buffer = BytesMut::with_capacity(16 << 10);
        Ok(Self { stream, dialect, each: Finder::new(each), first: Finder::new(first), buffer })
    }

    /// Asks, and reads the answer to its end.
    pub(crate) async fn turn(&mut self, session: &str, text: &str) -> anyhow::Result<Answer> {
        let asked = self.ask(session, text).await?;
        let (each, _) = self.dialect.token();
        let mut first_token = None;
        let mut tokens = 0;
        loop {
            if first_token.is_none() && self.first.find(&self.buffer).is_some() {
                first_token = Some(asked.elapsed());
            }
            let is_over = self.buffer.ends_with(LAST_CHUNK);
            let found = self.each.find_iter(&self.buffer).count();
            // The last bytes stay: a mark may straddle two reads. One that is whole must not be
            // counted twice, so what stays is shorter than a mark.
            if first_token.is_some() {
                tokens += found;
                let stays = LAST_CHUNK.len().max(each.len() - 1).min(self.buffer.len());
                let _ = self.buffer.split_to(self.buffer.len() - stays);
            }
            if is_over {
                self.buffer.clear();
                let first_token = first_token.context("the answer has no token")?;
                return Ok(Answer { first_token, tokens });
            }
            self.read().await?;
        }
    }

    /// Asks, and reads until so many tokens are there; gives the connection back to be dropped.
    pub(crate) async fn begin(
        mut self,
        session: &str,
        text: &str,
        tokens: usize,
    ) -> anyhow::Result<Self> {
        self.ask(session, text).await?;
        while self.each.find_iter(&self.buffer).count() < tokens {
            self.read().await?;
        }
        Ok(self)
    }

    async fn ask(&mut self, session: &str, text: &str) -> anyhow::Result<Instant> {
        let request = self.dialect.request(session, text);
        let asked = Instant::now();
        self.stream.write_all(&request).await?;
        self.read().await?;
        if !self.buffer.starts_with(b"HTTP/1.1 200") {
            bail!("the server answered: {}", String::from_utf8_lossy(&self.buffer));
        }
        Ok(asked)
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        self.buffer.reserve(4 << 10);
        let count = self.stream.read_buf(&mut self.buffer).await?;
        ensure!(count > 0, "the connection was closed in the middle of an answer");
        Ok(())
    }
}

/// Fetches a page over a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    exchange(address, "GET", path).await
}

/// Posts nothing to a path over a connection of its own.
pub(crate) async fn post(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    exchange(address, "POST", path).await
}

async fn exchange(address: SocketAddr, method: &str, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    ensure!(reply.starts_with("HTTP/1.1 200"), "{method} {path}: {reply}");
    Ok(reply)
}

/// Asks the emulator, over one connection, whether a client has left it.
#[derive(Debug)]
pub(crate) struct Watch {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Watch {
    /// Connects.
    pub(crate) async fn open(emulator: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(emulator).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::with_capacity(16 << 10) })
    }

    /// Whether one has, since the last reset.
    pub(crate) async fn has_seen_a_disconnect(&mut self) -> anyhow::Result<bool> {
        self.stream.write_all(b"GET /_emulator/state HTTP/1.1\r\nhost: bench\r\n\r\n").await?;
        self.buffer.clear();
        // The body is one JSON object, and nothing in it ends a line.
        while !self.buffer.ends_with(b"}") {
            let count = self.stream.read_buf(&mut self.buffer).await?;
            ensure!(count > 0, "the emulator hung up");
        }
        Ok(memchr::memmem::find(&self.buffer, b"\"disconnected\":1").is_some())
    }
}
