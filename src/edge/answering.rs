//! What a client gets of its turn, as a stream or whole.
//!
//! The status waits for the turn's first visible event, so that a failure before it is an HTTP
//! status and not an apology within a 200. When that event lets itself be waited for longer than
//! the keep-alive interval, the stream is opened without it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use warp::reply::Response;

use crate::backend::Route;
use crate::session::{Origin, TurnReader};
use crate::turn::{Failure, TurnEvent};
use crate::wire::{Head, Options, Replied, WireFormat};

use super::apology::{self, Apology};
use super::follow::{FirstToken, Follow};
use super::reply;
use super::request::Incoming;

/// A turn that runs, and how its client wants to hear of it.
pub(super) struct Begun {
    pub(super) reader: TurnReader,
    pub(super) head: Head,
    pub(super) options: Options,
    pub(super) keep_alive: Duration,
    pub(super) route: Arc<Route>,
}

impl Begun {
    /// The turn as it goes.
    ///
    /// # Errors
    /// The turn's failure, where that is the first to be seen of it.
    pub(super) async fn stream(
        self,
        format: &'static dyn WireFormat,
        received: Instant,
    ) -> Result<Response, Failure> {
        let Self { reader, head, options, keep_alive, route } = self;
        let encoder = format.encoder(head.clone(), options);
        let (is_first, is_awaited) = (!reader.is_repeat(), !head.is_background);
        let mut follow = Follow::new(reader, encoder, keep_alive);
        follow.apologise_by(Apology::of(&route.model, format));
        if is_first {
            follow.measure(FirstToken { received });
        }
        // What runs in the background is there at once, whatever becomes of it.
        if is_awaited {
            follow.wait_for_first().await?;
        }
        let first_token = follow.has_text().then(|| received.elapsed());
        follow.open();
        let origin = follow.reader().origin();
        let mut response = stream_reply(format, &head, origin, follow);
        let counted = if route.model.traces { "reported" } else { "estimated" };
        response.headers_mut().insert("x-outcrop-usage", HeaderValue::from_static(counted));
        put_first_token(response.headers_mut(), first_token);
        Ok(response)
    }

    /// The turn as far as it has come where it runs without its client and the format can say
    /// so; else all of it.
    ///
    /// # Errors
    /// The turn's failure.
    pub(super) async fn in_one_piece(
        mut self,
        format: &'static dyn WireFormat,
        received: Instant,
    ) -> Result<Response, Failure> {
        if self.head.is_background {
            let mut events = Vec::new();
            // One that was only just begun has none.
            let _ = self.reader.read(&mut events).now_or_never();
            if let Some(body) = format.unfinished(&self.head, &events) {
                return Ok(self.written(format, (&events, body)));
            }
            self.reader = self.reader.from_the_beginning();
        }
        self.whole(format, received).await
    }

    fn written(
        &self,
        format: &'static dyn WireFormat,
        (events, body): (&[TurnEvent], Bytes),
    ) -> Response {
        let json = HeaderValue::from_static("application/json");
        let mut response = reply::bytes(StatusCode::OK, json, body);
        put_session(response.headers_mut(), &self.head, self.reader.origin());
        let wanted = format.headers(&self.head.request, Replied::Whole(events));
        reply::put_all(response.headers_mut(), wanted);
        response
    }

    async fn whole(
        mut self,
        format: &'static dyn WireFormat,
        received: Instant,
    ) -> Result<Response, Failure> {
        let first_token = FirstToken { received };
        let mut first_token = Some(first_token).filter(|_| !self.reader.is_repeat());
        let (mut events, mut first_text) = (Vec::new(), None);
        while self.reader.read(&mut events).await.is_some() {
            if first_text.is_some() || !events.iter().any(is_text) {
                continue;
            }
            first_text = Some(received.elapsed());
            if let Some(first_token) = first_token.take() {
                first_token.record(&self.reader);
            }
        }
        apology::settle(Apology::of(&self.route.model, format), &mut events)?;
        let usage = events.iter().rev().find_map(|event| match event {
            TurnEvent::Usage(usage) => Some(*usage),
            _ => None,
        });
        let body = format.whole(&self.head, self.options, &events);
        let mut response = self.written(format, (&events, body));
        put_first_token(response.headers_mut(), first_text);
        if let Some(usage) = usage {
            let counted = if usage.estimated { "estimated" } else { "reported" };
            response.headers_mut().insert("x-outcrop-usage", HeaderValue::from_static(counted));
        }
        Ok(response)
    }
}

pub(super) fn head_of(reader: &TurnReader, incoming: &Incoming) -> Head {
    let meta = reader.meta();
    Head {
        turn: meta.turn.clone(),
        session: meta.key.id.clone(),
        request: incoming.id.clone(),
        model: meta.model.clone(),
        created: meta.created,
        agent: meta.agent.clone(),
        previous: meta.previous.clone(),
        is_background: meta.is_background,
        echo: meta.echo.clone(),
    }
}

pub(super) fn stream_reply(
    format: &'static dyn WireFormat,
    head: &Head,
    origin: Option<Origin>,
    follow: Box<Follow>,
) -> Response {
    let body = follow.into_stream();
    let mut response = warp::Reply::into_response(warp::reply::stream(body));
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(format.stream_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    put_session(headers, head, origin);
    reply::put_all(headers, format.headers(&head.request, Replied::Stream));
    response
}

fn put_session(headers: &mut HeaderMap, head: &Head, origin: Option<Origin>) {
    reply::put(headers, HeaderName::from_static("x-session-id"), head.session.as_str());
    reply::put(headers, HeaderName::from_static("x-outcrop-turn"), head.turn.as_str());
    // A turn that still waits in the queue has a session that goes on.
    let origin = origin.unwrap_or(Origin::Continued).as_str();
    headers.insert("x-outcrop-session", HeaderValue::from_static(origin));
}

fn is_text(event: &TurnEvent) -> bool {
    matches!(event, TurnEvent::Text(_))
}

/// How long the first text took, where it was there before the head of the reply.
fn put_first_token(headers: &mut HeaderMap, after: Option<Duration>) {
    if let Some(after) = after {
        put_number(headers, "x-outcrop-first-token-ms", after.as_millis());
    }
}

pub(super) fn put_number(headers: &mut HeaderMap, name: &'static str, number: u128) {
    headers.insert(name, u64::try_from(number).unwrap_or(u64::MAX).into());
}
