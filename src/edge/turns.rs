//! A turn over HTTP: from the request to its session, or back to a turn that runs.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::header::HeaderValue;
use http::{HeaderMap, StatusCode};
use tokio_stream::Stream;
use warp::reply::Response;

use crate::gate::{self, Admission, Caller};
use crate::session::{Hold, Submission};
use crate::turn::ids::BadId;
use crate::turn::request::{BadDisconnectPolicy, Keeping, named};
use crate::turn::{
    Failure, FailureKind, RequestId, SessionHints, SessionId, TurnId, TurnPolicy, Usage,
};
use crate::wire::sse::parse_event_id;
use crate::wire::{Asked, Asks, Defaults, Options, Replied, WireFormat, caller};

use super::answering::{Begun, head_of, put_number, stream_reply};
use super::apology::Apology;
use super::follow::Follow;
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
