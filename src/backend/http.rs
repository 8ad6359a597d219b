//! A plain HTTP client that streams: for upstreams without an SDK, and for the demo.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// What of an error reply is read, to be shown.
const ERROR_BYTES: usize = 64 << 10;

/// A request that came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL or body make no request.
    #[error("no request can be made: {0}")]
    Request(#[from] http::Error),
    /// No reply came.
    #[error("no reply from the server: {0}")]
    NoReply(#[from] hyper_util::client::legacy::Error),
    /// The reply broke off.
    #[error("the reply broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// The reply is an error.
    #[error("the server answered {status}: {body}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The beginning of the body.
        body: String,
    },
}

/// Keeps connections warm.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// A client without connections.
    #[must_use]
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { pool: Pool::builder(TokioExecutor::new()).build(connector) }
    }

    /// Posts a JSON document and gives the reply once its head is there.
    ///
    /// # Errors
    /// When no reply comes, or one with a status that is not a success.
    pub async fn post_json(&self, url: &str, body: String) -> Result<Reply, HttpError> {
        let request = Request::post(url)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let (head, body) = self.pool.request(request).await?.into_parts();
        let mut reply = Reply { headers: head.headers, body };
        if head.status.is_success() {
            return Ok(reply);
        }
        let mut shown = Vec::new();
        while let Some(piece) = reply.next().await? {
            shown.extend_from_slice(&piece);
            if shown.len() > ERROR_BYTES {
                break;
            }
        }
        let body = String::from_utf8_lossy(&shown).into_owned();
        Err(HttpError::Status { status: head.status.as_u16(), body })
    }
}

/// A reply whose body is still on its way; dropping it closes the connection.
#[derive(Debug)]
pub struct Reply {
    headers: HeaderMap,
    body: Incoming,
}

impl Reply {
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
}
