//! An HTTP client that streams: for upstreams without an SDK, and for the verbs of the command line.
//!
//! HTTP/1.1 alone: a stream has its connection to itself, so that one which stalls holds up no
//! other, and giving it up closes just that connection. TLS is rustls with the platform's root
//! certificates, loaded when the first such server is asked.

use std::error::Error;
use std::io;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, TryFutureExt as _};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tower_service::Service;

/// What of an error reply is read, to be shown.
const ERROR_BYTES: usize = 64 << 10;
/// TCP and TLS to a server, where nobody says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Silence on a connection after which TCP asks whether the other end is still there.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A request that came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL or body make no request.
    #[error("no request can be made: {0}")]
    Request(#[from] http::Error),
    /// No reply came.
    #[error("no reply from the server: {}", with_causes(.0))]
    NoReply(#[from] hyper_util::client::legacy::Error),
    /// The reply broke off.
    #[error("the reply broke off: {}", with_causes(.0))]
    Broken(#[from] hyper::Error),
    /// The reply is longer than the reader allows.
    #[error("the reply is longer than {0} bytes")]
    TooLong(usize),
    /// The reply is an error.
    #[error("the server answered {status}: {body}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The beginning of the body.
        body: String,
    },
}

/// What the client's errors say by themselves is only the step at which they came.
fn with_causes(error: &dyn Error) -> String {
    let (mut told, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        told.push_str(": ");
        told.push_str(&error.to_string());
        cause = error.source();
    }
    told
}

/// Keeps connections warm. Clones share them.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Pool<Connector, Full<Bytes>>,
}

impl Default for Client {
    fn default() -> Self {
        Self::new(CONNECT_TIMEOUT)
    }
}

impl Client {
    /// A client without connections; one must be there, TLS and all, by this time.
    #[must_use]
    pub fn new(connect_timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(TCP_KEEP_ALIVE));
        // Whether TLS follows is not TCP's business.
        tcp.enforce_http(false);
        let connector = Connector { tcp, tls: Arc::default(), patience: connect_timeout };
        Self { pool: Pool::builder(TokioExecutor::new()).build(connector) }
    }

    /// Posts a JSON document and gives the reply, whatever its status, once its head is there.
    ///
    /// # Errors
    /// When no reply comes.
    pub async fn post(
        &self,
        url: &str,
        headers: HeaderMap,
        body: impl Into<Bytes>,
    ) -> Result<Reply, HttpError> {
        let mut request = Request::post(url).body(Full::new(body.into()))?;
        *request.headers_mut() = headers;
        // Some servers have a type of their own for it.
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().entry(CONTENT_TYPE).or_insert(json);
        self.send(request).await
    }

    /// Sends a request without a body and gives the reply, whatever its status, once its head is
    /// there.
    ///
    /// # Errors
    /// When no reply comes.
    pub async fn ask(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
    ) -> Result<Reply, HttpError> {
        let mut request = Request::builder().method(method).uri(url).body(Full::default())?;
        *request.headers_mut() = headers;
        self.send(request).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, HttpError> {
        let (head, body) = self.pool.request(request).await?.into_parts();
        Ok(Reply { status: head.status, headers: head.headers, body })
    }

    /// Posts a JSON document and gives the reply once its head is there.
    ///
    /// # Errors
    /// When no reply comes, or one with a status that is not a success.
    pub async fn post_json(&self, url: &str, body: String) -> Result<Reply, HttpError> {
        let mut reply = self.post(url, HeaderMap::new(), body).await?;
        if reply.status.is_success() {
            return Ok(reply);
        }
        let status = reply.status.as_u16();
        let body = String::from_utf8_lossy(&reply.beginning(ERROR_BYTES).await?).into_owned();
        Err(HttpError::Status { status, body })
    }
}

/// A reply whose body is still on its way; dropping it closes the connection.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
}

impl Reply {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// A header's text, empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// When the body breaks off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// What is left of the body, of which only so many bytes matter.
    ///
    /// # Errors
    /// When the body breaks off.
    pub async fn beginning(&mut self, bytes: usize) -> Result<Vec<u8>, HttpError> {
        let mut read = Vec::new();
        while let Some(piece) = self.next().await? {
            let room = bytes - read.len();
            read.extend_from_slice(piece.get(..room).unwrap_or(&piece));
            if read.len() == bytes {
                break;
            }
        }
        Ok(read)
    }

    /// Looks whether the body ends here, without waiting for it: then the connection stays warm.
    pub async fn settle(&mut self) {
        /// The connection is read by a task of its own, which may have to run first.
        const LOOKS: usize = 4;
        for _ in 0..LOOKS {
            if self.next().now_or_never().is_some() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type BoxError = Box<dyn Error + Send + Sync>;

/// Opens connections: TCP, and TLS where the URL says so, both within one limit of time.
#[derive(Debug, Clone)]
struct Connector {
    tcp: HttpConnector,
    /// With the root certificates, or why there are none.
    tls: Arc<OnceLock<Result<HttpsConnector<HttpConnector>, String>>>,
    patience: Duration,
}

impl Connector {
    fn tls(&self) -> Result<HttpsConnector<HttpConnector>, BoxError> {
        let tls = self.tls.get_or_init(|| {
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            let builder = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider);
            let builder = builder.map_err(|error| format!("no root certificates: {error}"))?;
            Ok(builder.https_only().enable_http1().wrap_connector(self.tcp.clone()))
        });
        Ok(tls.clone()?)
    }

    fn connect(&mut self, server: Uri) -> BoxFuture<'static, Result<Stream, BoxError>> {
        if server.scheme_str() == Some("https") {
            return match self.tls() {
                Ok(mut tls) => tls.call(server).boxed(),
                Err(error) => futures_util::future::ready(Err(error)).boxed(),
            };
        }
        let connecting = self.tcp.call(server);
        connecting.map_ok(MaybeHttpsStream::Http).map_err(Into::into).boxed()
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Stream, BoxError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.patience, self.connect(server));
        let connecting = async move {
            let too_late = || io::Error::new(io::ErrorKind::TimedOut, "not connected in time");
            connecting.await.map_err(|_| too_late())?
        };
        connecting.boxed()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_server_that_does_not_answer_the_handshake_is_given_up_in_time() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", silent.local_addr().unwrap());
        let client = Client::new(Duration::from_millis(50));
        let error = client.post(&url, HeaderMap::new(), "{}").await.unwrap_err();
        assert!(matches!(error, HttpError::NoReply(_)), "{error}");
    }

    #[tokio::test]
    async fn an_error_tells_its_causes() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let client = Client::default();
        let error = client.post_json(&format!("http://{free}/"), String::new()).await.unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
    }
}
