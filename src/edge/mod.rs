//! HTTP in, HTTP out; warp lives here and nowhere else.
//!
//! The [`listener`] accepts and bounds connections; one warp filter takes each request apart and
//! [`Edge`] sends it on by the table in `routes`. Handlers answer with replies, failures
//! included: a refusal is a reply, never a rejection that would fall through to other routes.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Buf;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_stream::Stream;
use warp::Filter as _;
use warp::path::FullPath;
use warp::reply::Response;

use crate::backend::{AwsClients, Routes};
use crate::config::Config;
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::session::Sessions;
use crate::turn::{Failure, FailureKind, RequestId};

pub mod listener;

mod answering;
mod apology;
mod conversations;
mod counting;
mod embeddings;
mod files;
mod follow;
mod idempotency;
mod models;
mod probes;
mod references;
mod reply;
mod request;
mod responses;
mod routes;
mod sessions;
mod surfaces;
mod turns;
mod voice;

use listener::{Limits, Shutdown};
use request::Incoming;
use routes::{Captured, Place, Target};

/// How long answers may take to reach their clients once all turns have ended.
const FLUSH: Duration = Duration::from_secs(5);

/// Everything that a handler may need.
#[derive(Debug)]
pub struct Edge {
    /// The knobs.
    pub config: Arc<Config>,
    /// Who may ask.
    pub gate: Gate,
    /// Which model leads where.
    pub routes: Arc<Routes>,
    /// The conversations.
    pub sessions: Sessions,
    /// What operators see.
    pub metrics: Arc<Metrics>,
    /// What is known of AWS.
    pub aws: Arc<AwsClients>,
}

/// Ends [`serve`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Let running turns end within the grace.
    Gracefully,
    /// At once.
    Now,
}

/// Serves until told to stop; then lets the running turns end, refusing new ones, and returns
/// when the last connection is gone. `stop` is awaited a second time for somebody who does not
/// want to wait.
pub async fn serve(
    edge: Arc<Edge>,
    socket: TcpListener,
    mut stop: impl FnMut() -> BoxFuture<'static, Stop>,
) {
    let shutdown = Shutdown::new();
    let limits = Limits::from(&edge.config.server);
    let connections = limits.connections.clone();
    edge.metrics.connections_open_by(move || connections.open());
    let service = TowerToHyperService::new(warp::service(filter(Arc::clone(&edge))));
    let mut serving = std::pin::pin!(listener::serve(socket, service, limits, shutdown.clone()));
    let stopped = async {
        if stop().await == Stop::Now {
            return Stop::Now;
        }
        // New requests still find the door open, and are told to come back.
        tokio::select! {
            ended = edge.sessions.drain(edge.config.server.drain) => {
                tracing::info!(all_turns_ended = ended, "drained");
                Stop::Gracefully
            }
            _ = stop() => Stop::Now,
        }
    };
    let how = tokio::select! {
        () = &mut serving => return,
        how = stopped => how,
    };
    shutdown.drain();
    let patience = if how == Stop::Gracefully { FLUSH } else { Duration::ZERO };
    let is_flushed = tokio::select! {
        () = &mut serving => true,
        () = tokio::time::sleep(patience) => false,
        _ = stop() => false,
    };
    if !is_flushed {
        shutdown.abort();
        serving.await;
    }
}

/// The one filter: takes a request apart and never rejects.
fn filter(
    edge: Arc<Edge>,
) -> impl warp::Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::any()
        .map(move || Arc::clone(&edge))
        .and(warp::method())
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and(query)
        .and(warp::body::stream())
        .then(|edge: Arc<Edge>, method, path: FullPath, headers, query, body| {
            let received = Instant::now();
            async move {
                let head = Head { method, headers, query, received };
                edge.answer(head, path.as_str(), body).await
            }
        })
        .or_else(|_| async { Ok::<_, Infallible>((reply::failure(&Failure::internal()),)) })
}

/// What stands before a request's body.
struct Head {
    method: Method,
    headers: HeaderMap,
    query: String,
    received: Instant,
}

impl Edge {
    /// Answers a request and dresses the reply in the headers that all carry.
    async fn answer<S, B>(&self, head: Head, path: &str, body: S) -> Response
    where
        S: Stream<Item = Result<B, warp::Error>> + Send,
        B: Buf + Send,
    {
        let id = request::request_id(&head.headers);
        let origin = head.headers.get(http::header::ORIGIN).cloned();
        let received = head.received;
        let (name, mut response) = match routes::find(path) {
            Some((place, captured)) => {
                (place.name(), self.at((place, captured), head, &id, body).await)
            }
            None => ("other", reply::failure(&no_such_path())),
        };
        let status = response.status();
        let elapsed = received.elapsed();
        let headers = response.headers_mut();
        reply::put(headers, http::HeaderName::from_static("x-request-id"), id.as_str());
        if let Some(origin) = origin {
            let asked = HeaderMap::from_iter([(http::header::ORIGIN, origin)]);
            reply::allow_origin(&asked, &self.config.server.allowed_origins, headers);
        }
        self.metrics.http_request(name, status.as_u16(), elapsed);
        log(&id, name, status, elapsed);
        response
    }

    async fn at<S, B>(
        &self,
        (place, captured): (Place, Captured),
        head: Head,
        id: &RequestId,
        body: S,
    ) -> Response
    where
        S: Stream<Item = Result<B, warp::Error>> + Send,
        B: Buf + Send,
    {
        let Head { method, headers, query, received } = head;
        if method == Method::OPTIONS {
            return reply::preflight(&headers);
        }
        let incoming = Incoming {
            headers,
            id: id.clone(),
            captured: captured.first,
            item: captured.second,
            query,
            received,
        };
        let target = place.target(&method).filter(|target| {
            !matches!(target, Target::Resume(_)) || incoming.headers.contains_key("last-event-id")
        });
        let Some(target) = target else {
            return wrong_method(&method, place, &incoming);
        };
        match target {
            Target::Speak(surface) => self.speak(&incoming, body, surface).await,
            Target::Resume(surface) => self.resume(&incoming, surface.usual()).await,
            Target::Embeddings => self.embeddings(&incoming, body).await,
            Target::Models => or_refused(self.models(&incoming)).await,
            Target::Model => or_refused(self.model(&incoming)).await,
            Target::Session(wanted) => or_refused(self.of_session(&incoming, body, wanted)).await,
            Target::Response(wanted) => or_refused(self.response(&incoming, wanted)).await,
            Target::Conversation(wanted) => {
                or_refused(self.conversation(&incoming, body, wanted)).await
            }
            Target::Vapi => or_refused(self.told_by_vapi(&incoming, body)).await,
            Target::Files => or_failure(self.files(&incoming)),
            Target::File => or_failure(self.file(&incoming)),
            Target::FileContent => or_failure(self.file_content(&incoming)),
            Target::DeleteFile => or_failure(self.delete_file(&incoming)),
            Target::Health => self.health(),
            Target::Live => probes::live(),
            Target::Ready => self.ready(),
            Target::Metrics => or_refused(self.metrics_page()).await,
            Target::OpenApi => probes::openapi(),
            Target::Info => probes::info(),
        }
    }
}

fn or_failure(result: Result<Response, Failure>) -> Response {
    result.unwrap_or_else(|failure| reply::failure(&failure))
}

async fn or_refused(work: impl Future<Output = Result<Response, Failure>>) -> Response {
    or_failure(work.await)
}

fn wrong_method(method: &Method, place: Place, incoming: &Incoming) -> Response {
    let allowed = place.allowed();
    let message = format!("{method} is not for this path; it takes {allowed}");
    let failure = Failure::new(FailureKind::MethodNotAllowed, message);
    let mut response = match place {
        Place::Spoken(surface) => reply::failure_in(surface.usual(), &incoming.id, &failure),
        Place::Fixed(_) => reply::failure(&failure),
    };
    reply::put(response.headers_mut(), http::header::ALLOW, &allowed);
    response
}

fn no_such_path() -> Failure {
    Failure::new(FailureKind::NotFound, "nothing is at this path; GET / lists what there is")
}

/// One line a request: turns have a line of their own, so only what went wrong is worth one here.
fn log(id: &RequestId, route: &'static str, status: StatusCode, elapsed: Duration) {
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let status = status.as_u16();
    if status >= 400 {
        tracing::info!(request_id = %id, route, status, elapsed_ms, "request refused");
    } else {
        tracing::debug!(request_id = %id, route, status, elapsed_ms, "request answered");
    }
}
