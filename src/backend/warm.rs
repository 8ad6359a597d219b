//! Opening the way to AWS ahead of a turn.
//!
//! The first call through a client waits for credentials, for TCP and for TLS; none of that has
//! to do with what is asked. So a request is sent ahead that asks nothing: `GET /` on the host
//! that turns go to, where no operation is. It goes through the SDK as a call would, so that the
//! SDK resolves and keeps the credentials, and the connection stays in the pool that turns take
//! theirs from. The service refuses it; no grant is needed, nothing is run, nothing is charged.
//!
//! What is warm then: the credentials until they expire, and one connection until the service or
//! the pool closes it as idle, a minute or so. Turns that begin at once open others beside it.

use std::error::Error;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::SdkError;
use http::Uri;

use super::aws::{AgentAccess, CoreAccess, ModelAccess, aws_error};
use super::lock;

/// What was warm so lately is warm.
const FRESH: Duration = Duration::from_secs(20);
/// What it may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// When the way through a client was opened last.
#[derive(Debug, Default)]
pub(super) struct Warmth(Mutex<Option<Instant>>);

impl Warmth {
    /// Whether the way is to be opened, which whoever asks does then.
    fn is_due(&self) -> bool {
        let mut opened = lock(&self.0);
        let is_fresh = opened.is_some_and(|at| at.elapsed() < FRESH);
        if !is_fresh {
            *opened = Some(Instant::now());
        }
        !is_fresh
    }
}

impl AgentAccess {
    /// Opens the way, unless it was opened just now.
    pub(super) async fn warm(&self) {
        if self.warmth.is_due() {
            let knock = self.client.list_sessions().customize().mutate_request(ask_nothing);
            report(tokio::time::timeout(PATIENCE, knock.send()).await.ok());
        }
    }
}

impl CoreAccess {
    /// Opens the way, unless it was opened just now.
    pub(super) async fn warm(&self) {
        if self.warmth.is_due() {
            let knock = self.client.list_ab_tests().customize().mutate_request(ask_nothing);
            report(tokio::time::timeout(PATIENCE, knock.send()).await.ok());
        }
    }
}

impl ModelAccess {
    /// Opens the way, unless it was opened just now.
    pub(super) async fn warm(&self) {
        if self.warmth.is_due() {
            let knock = self.client.list_async_invokes().customize().mutate_request(ask_nothing);
            report(tokio::time::timeout(PATIENCE, knock.send()).await.ok());
        }
    }
}

/// Makes `GET /` of a call, whatever it was; it is signed after that.
fn ask_nothing(call: &mut HttpRequest) {
    let Ok(uri) = call.uri().parse::<Uri>() else { return };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return };
    // What was a URI without its path is one.
    let _ = call.set_uri(format!("{scheme}://{authority}/"));
    let _ = call.set_method("GET");
    call.headers_mut().remove("content-type");
    call.headers_mut().remove("content-length");
    *call.body_mut() = Vec::new().into();
}

/// An answer of any kind came over a connection that is there now.
fn report<T, E: Error + 'static>(answer: Option<Result<T, SdkError<E, HttpResponse>>>) {
    match answer {
        Some(Ok(_) | Err(SdkError::ServiceError(_) | SdkError::ResponseError(_))) => {
            tracing::debug!("the way upstream is open");
        }
        Some(Err(error)) => {
            tracing::debug!(error = %aws_error(&error), "the way upstream could not be opened");
        }
        None => tracing::debug!("the way upstream could not be opened in time"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;

    use crate::backend::AwsClients;
    use crate::backend::aws::{ModelPlace, Place};

    /// Refuses every request, and tells of each on which connection it came and how it began.
    async fn refusing() -> (String, mpsc::Receiver<(usize, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (tell, told) = mpsc::channel(16);
        tokio::spawn(async move {
            for number in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(refuse(socket, number, tell.clone()));
            }
        });
        (endpoint, told)
    }

    async fn refuse(mut socket: TcpStream, number: usize, tell: mpsc::Sender<(usize, String)>) {
        let mut head = Vec::new();
        while socket.read_buf(&mut head).await.is_ok_and(|length| length > 0) {
            if !head.ends_with(b"\r\n\r\n") {
                continue;
            }
            let text = String::from_utf8_lossy(&std::mem::take(&mut head)).into_owned();
            let line = text.lines().next().unwrap_or_default().to_owned();
            let is_signed = text.to_ascii_lowercase().contains("authorization: aws4");
            assert!(is_signed, "{text}");
            let body = "{\"message\":\"no such operation\"}";
            let reply = format!("HTTP/1.1 404 X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            socket.write_all(reply.as_bytes()).await.unwrap();
            tell.send((number, line)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_turn_takes_the_connection_that_was_opened_ahead_of_it() {
        let (endpoint, mut told) = refusing().await;
        let access = AwsClients::emulated(&endpoint).agents(&Place::default());
        access.warm().await;
        assert_eq!(told.recv().await.unwrap(), (0, "GET / HTTP/1.1".to_owned()));
        let call = access.client.list_sessions();
        assert!(call.send().await.is_err(), "it refuses everything");
        let (connection, line) = told.recv().await.unwrap();
        assert_eq!(connection, 0, "{line}");
        assert!(!line.starts_with("GET / "), "{line}");
    }

    #[tokio::test]
    async fn what_was_opened_just_now_is_not_opened_again() {
        let (endpoint, mut told) = refusing().await;
        let access = AwsClients::emulated(&endpoint).models(&ModelPlace::default());
        access.warm().await;
        access.warm().await;
        assert_eq!(told.recv().await.unwrap(), (0, "GET / HTTP/1.1".to_owned()));
        assert!(told.try_recv().is_err());
    }

    #[tokio::test]
    async fn nobody_is_waited_for_where_nobody_listens() {
        let clients = AwsClients::emulated("http://127.0.0.1:9");
        clients.agentcore(&Place::default()).warm().await;
    }
}
