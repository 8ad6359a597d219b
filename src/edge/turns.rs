//! A turn over HTTP: from the request to the first event, and on as a stream or whole.
//!
//! The status waits for the turn's first visible event, so that a failure before it is an HTTP
//! status and not an apology within a 200. When that event lets itself be waited for longer than
//! the keep-alive interval, the stream is opened without it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures_util::FutureExt as _;
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use tokio_stream::Stream;
use warp::reply::Response;

use crate::backend::Route;
use crate::gate::{self, Admission, Caller};
use crate::session::{Hold, Origin, Submission, TurnReader};
use crate::turn::ids::BadId;
use crate::turn::request::{BadDisconnectPolicy, Keeping, named};
use crate::turn::{
    Failure, FailureKind, RequestId, SessionHints, SessionId, TurnEvent, TurnId, TurnPolicy, Usage,
};
use crate::wire::sse::parse_event_id;
use crate::wire::{Asked, Asks, Defaults, Head, Options, Replied, WireFormat, caller};

use super::apology::{self, Apology};
use super::follow::{FirstToken, Follow};
use super::request::{Incoming, read_body};
use super::responses::wants_thinking;
use super::surfaces::Surface;
use super::{Edge, counting, idempotency, references, reply};

/// A body, and the dialects of the exchange that it begins.
struct Spoken {
    surface: &'static Surface,
    /// The body's.
    spoken: &'static dyn WireFormat,
    /// The answer's.
    reply: &'static dyn WireFormat,
    body: Bytes,
}

impl Spoken {
    /// Reads the request, which the path and the headers add to.
    fn decode(&self, incoming: &Incoming) -> Result<Asked, Failure> {
        let refused = self.spoken.refused_headers().iter();
        if let Some(name) = refused.copied().find(|name| incoming.headers.contains_key(*name)) {
            let message = format!("the header {name} asks for what cannot be given; leave it out");
            return Err(Failure::new(FailureKind::UnsupportedParameter, message).at(name));
        }
        let streams = self.surface.endpoint.streams;
        let mut asked = self.spoken.decode(&self.body, &Defaults { stream: streams.presumed() })?;
        asked.stream = streams.settle(asked.stream);
        if let Some(name) = &incoming.captured {
            let model = name.parse().map_err(|bad: BadId| {
                Failure::bad_field("model", format!("the model in the path: {bad}"))
            });
            asked.request.model = Some(model?);
        }
        heed_headers(&incoming.headers, &mut asked)?;
        if !self.reply.says_calls() && !asked.request.tools.is_empty() {
            let message = "tools must be left out: the answer's format cannot hold a call of one";
            return Err(Failure::new(FailureKind::UnsupportedParameter, message).at("tools"));
        }
        Ok(asked)
    }
}

/// A turn that runs, and how its client wants to hear of it.
struct Begun {
    reader: TurnReader,
    head: Head,
    options: Options,
    keep_alive: Duration,
    route: Arc<Route>,
}

impl Edge {
    /// Takes a turn, runs it and answers in the format that was spoken, or that was asked for.
    pub(super) async fn speak<S, B>(
        &self,
        incoming: &Incoming,
        body: S,
        surface: &'static Surface,
    ) -> Response
    where
        S: Stream<Item = Result<B, warp::Error>> + Send,
        B: Buf + Send,
    {
        if incoming.header("last-event-id").is_some() {
            return self.resume(incoming, surface.usual()).await;
        }
        let target = incoming.target_format();
        let wanted = target.as_ref().ok().copied().flatten();
        // Until the body is read, what it will be is what it is as a rule.
        let mut format = wanted.unwrap_or(surface.usual());
        let (caller, admission) = match self.admit(incoming) {
            Ok(admitted) => admitted,
            Err(refused) => return refused.write(format, &incoming.id),
        };
        let standing = admission.standing;
        let asked = match target {
            Ok(_) => self.read(incoming, body).await,
            Err(failure) => Err(failure),
        };
        let answered = match asked {
            Ok(body) => {
                let spoken = surface.spoken(&body);
                format = wanted.unwrap_or(spoken);
                let spoken = Spoken { surface, spoken, reply: format, body };
                self.answer_to(incoming, spoken, (caller, admission)).await
            }
            Err(failure) => Err(failure),
        };
        let mut response =
            answered.unwrap_or_else(|failure| reply::failure_in(format, &incoming.id, &failure));
        let headers = response.headers_mut();
        standing.write(headers);
        put_number(headers, "openai-processing-ms", incoming.received.elapsed().as_millis());
        response
    }

    pub(super) fn admit(&self, incoming: &Incoming) -> Result<(Caller, Admission), Refusal> {
        let caller = self.gate.identify(&incoming.headers).map_err(Refusal::Failed)?;
        let admission = self.gate.admit(&caller).map_err(|refused| {
            self.metrics.rate_limited(refused.limit);
            Refusal::Limited(refused)
        })?;
        Ok((caller, admission))
    }

    async fn read<S, B>(&self, incoming: &Incoming, body: S) -> Result<Bytes, Failure>
    where
        S: Stream<Item = Result<B, warp::Error>> + Send,
        B: Buf + Send,
    {
        read_body(&incoming.headers, body, &self.config.server).await
    }

    async fn answer_to(
        &self,
        incoming: &Incoming,
        spoken: Spoken,
        (caller, admission): (Caller, Admission),
    ) -> Result<Response, Failure> {
        let asked = spoken.decode(incoming)?;
        match spoken.surface.endpoint.asks {
            Asks::Turn => self.run(incoming, (asked, spoken), (caller, admission)).await,
            Asks::Tokens(write) => {
                let route = self.routes.find(asked.request.model.as_ref())?;
                caller.may_use(&route.model.name)?;
                let count = counting::count(&self.sessions, &caller.tenant, asked.request).await?;
                let counted = write(count);
                let json = HeaderValue::from_static("application/json");
                let mut response = reply::bytes(StatusCode::OK, json, counted);
                let wanted = spoken.reply.headers(&incoming.id, Replied::Whole(&[]));
                reply::put_all(response.headers_mut(), wanted);
                Ok(response)
            }
        }
    }

    async fn run(
        &self,
        incoming: &Incoming,
        (mut asked, spoken): (Asked, Spoken),
        (caller, admission): (Caller, Admission),
    ) -> Result<Response, Failure> {
        let route = self.routes.find(asked.request.model.as_ref())?;
        caller.may_use(&route.model.name)?;
        asked.request.disconnect_policy =
            asked.request.disconnect_policy.or(caller.disconnect_policy);
        asked.request.caller = caller::number(&spoken.body, &route.model.caller_fields);
        let Spoken { surface, reply: format, body, .. } = spoken;
        let Asked { mut request, stream, options } = asked;
        let place = (surface.endpoint.name, incoming.captured.as_deref());
        request.idempotency = idempotency::read(&incoming.headers, place, &body)?;
        if !request.references.is_empty() {
            references::resolve(&self.sessions, &caller.tenant, &mut request).await?;
        }
        let submission = Submission {
            tenant: caller.tenant,
            route: Arc::clone(&route),
            request,
            request_id: incoming.id.clone(),
            key_label: caller.label.to_string(),
            received: incoming.received,
            hold: Box::new(Admitted(admission)),
        };
        let reader = self.sessions.submit(submission).await?;
        let head = head_of(&reader, incoming);
        let server = &self.config.server;
        let is_for_voice = surface.endpoint.is_for_voice;
        let usual = if is_for_voice { server.voice_keep_alive } else { server.keep_alive };
        let keep_alive = route.model.keep_alive.unwrap_or(usual);
        let is_replayed = reader.is_repeat();
        let begun = Begun { reader, head, options, keep_alive, route };
        let mut response = if stream {
            begun.stream(format, incoming.received).await?
        } else {
            begun.in_one_piece(format, incoming.received).await?
        };
        if is_replayed {
            let headers = response.headers_mut();
            headers.insert(idempotency::REPLAYED, HeaderValue::from_static("true"));
        }
        Ok(response)
    }

    /// Continues a stream that broke off, after the event that `Last-Event-ID` names.
    pub(super) async fn resume(
        &self,
        incoming: &Incoming,
        usual: &'static dyn WireFormat,
    ) -> Response {
        let target = incoming.target_format();
        let format = target.as_ref().ok().copied().flatten().unwrap_or(usual);
        let resumed = match target {
            Ok(_) => self.resumed(incoming, format).await,
            Err(failure) => Err(failure),
        };
        resumed.unwrap_or_else(|failure| reply::failure_in(format, &incoming.id, &failure))
    }

    async fn resumed(
        &self,
        incoming: &Incoming,
        format: &'static dyn WireFormat,
    ) -> Result<Response, Failure> {
        let caller = self.gate.identify(&incoming.headers)?;
        let wanted = incoming.header("last-event-id").map(parse_event_id);
        let Some(Some((turn, after))) = wanted else {
            return Err(Failure::bad_field(
                "Last-Event-ID",
                "to resume a stream, send the id of the last event that came as Last-Event-ID; \
                 to begin one, POST",
            ));
        };
        self.follow(incoming, format, &caller, (&turn, Some(after))).await
    }

    /// Follows a turn from its beginning, or after the event, or frame, that the client saw last.
    pub(super) async fn follow(
        &self,
        incoming: &Incoming,
        format: &'static dyn WireFormat,
        caller: &Caller,
        (turn, seen): (&TurnId, Option<u64>),
    ) -> Result<Response, Failure> {
        // Frames that are counted are all made again, and those that were seen left out.
        let (after, starting_after) =
            if format.counts_frames() { (0, seen) } else { (seen.unwrap_or(0), None) };
        let reader = self.sessions.resume(&caller.tenant, turn, after).await?;
        let include_usage = incoming.query("include_usage").as_deref() == Some("true");
        let seals_thinking = format.counts_frames() && wants_thinking(incoming)?;
        let options =
            Options { include_usage, starting_after, seals_thinking, ..Options::default() };
        let head = head_of(&reader, incoming);
        let mut encoder = format.encoder(head.clone(), options);
        for event in reader.already_read() {
            encoder.skip(&event);
        }
        let model = self.routes.exactly(&head.model);
        let keep_alive = model.as_ref().and_then(|route| route.model.keep_alive);
        let keep_alive = keep_alive.unwrap_or(self.config.server.keep_alive);
        let mut follow = Follow::new(reader, encoder, keep_alive);
        follow.apologise_by(model.and_then(|route| Apology::of(&route.model, format)));
        if seen.is_none() || format.counts_frames() {
            follow.open();
        }
        let origin = follow.reader().origin();
        Ok(stream_reply(format, &head, origin, follow))
    }
}

impl Begun {
    async fn stream(
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
    async fn in_one_piece(
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

/// A refusal at the gate.
pub(super) enum Refusal {
    Failed(Failure),
    Limited(Box<gate::Refused>),
}

impl Refusal {
    pub(super) fn write(self, format: &dyn WireFormat, request: &RequestId) -> Response {
        match self {
            Self::Failed(failure) => reply::failure_in(format, request, &failure),
            Self::Limited(refused) => {
                let mut response = reply::failure_in(format, request, &refused.failure);
                refused.write(response.headers_mut());
                response
            }
        }
    }
}

/// Holds a turn's admission, and charges it with what the turn used.
struct Admitted(Admission);

impl Hold for Admitted {
    fn used(&self, usage: &Usage) {
        self.0.charge(usage);
    }
}

/// Headers say what a body of a fixed dialect has no room for; they win over the body.
fn heed_headers(headers: &HeaderMap, asked: &mut Asked) -> Result<(), Failure> {
    // A value that is not text is refused like an empty one, not passed over.
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(id) = text("x-session-id") {
        let id =
            id.parse().map_err(|bad: BadId| Failure::bad_field("x-session-id", bad.to_string()))?;
        check_that_nothing_else_is_named(&id, &asked.request.hints)?;
        asked.request.hints.named = Some(id);
    }
    if let Some(name) = text("x-outcrop-turn-policy") {
        let policy = named(TurnPolicy::NAMES, name);
        asked.request.turn_policy = Some(policy.ok_or_else(|| {
            Failure::bad_field("x-outcrop-turn-policy", "there are: queue, reject, interrupt")
        })?);
    }
    if let Some(name) = text("x-outcrop-disconnect-policy") {
        let policy = name.parse().map_err(|why: BadDisconnectPolicy| {
            Failure::bad_field("x-outcrop-disconnect-policy", why.to_string())
        });
        asked.request.disconnect_policy = Some(policy?);
    }
    match text("x-outcrop-keep") {
        // What is stored says OpenAI's Responses in its body.
        Some("nothing") if asked.request.keeping == Keeping::Transcript => {
            asked.request.keeping = Keeping::Nothing;
        }
        Some("nothing" | "transcript") | None => {}
        Some(_) => {
            return Err(Failure::bad_field("x-outcrop-keep", "there are: transcript, nothing"));
        }
    }
    Ok(())
}

/// A response or a conversation to go on from is named on purpose, and not to be passed over.
fn check_that_nothing_else_is_named(id: &SessionId, hints: &SessionHints) -> Result<(), Failure> {
    let other = if hints.previous.is_some() {
        "previous_response_id"
    } else if hints.must_exist && hints.named.as_ref() != Some(id) {
        "conversation"
    } else {
        return Ok(());
    };
    let message = format!("{other} cannot be used together with the header x-session-id");
    Err(Failure::bad_field(other, message))
}

fn head_of(reader: &TurnReader, incoming: &Incoming) -> Head {
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

fn stream_reply(
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

fn put_number(headers: &mut HeaderMap, name: &'static str, number: u128) {
    headers.insert(name, u64::try_from(number).unwrap_or(u64::MAX).into());
}
