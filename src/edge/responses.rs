//! Responses that are kept, over HTTP, as OpenAI's Responses API has them: read, followed,
//! cancelled, deleted. They are made where models are spoken to.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::HeaderValue;
use serde_json::Value;
use warp::reply::Response;

use crate::gate::Caller;
use crate::store::{StoredTurn, TurnRecord};
use crate::turn::{Failure, FailureKind, ItemId, TurnEvent, TurnId};
use crate::wire::openai_responses::{self, Responses, Wanted};
use crate::wire::sse::parse_event_id;
use crate::wire::{Head, Options, WireFormat as _};

use super::references::items_before;
use super::request::Incoming;
use super::{Edge, reply};

/// What is wanted of a response.
#[derive(Debug, Clone, Copy)]
pub(super) enum OfResponse {
    /// What it is, or its stream once more.
    Read,
    /// Its end, and that of what it brought to its conversation.
    Delete,
    /// A stop to one that runs in the background.
    Cancel,
    /// What its model was given.
    InputItems,
}

impl Edge {
    /// `GET`, `DELETE /v1/responses/{id}`, `POST …/cancel`, `GET …/input_items`.
    pub(super) async fn response(
        &self,
        incoming: &Incoming,
        wanted: OfResponse,
    ) -> Result<Response, Failure> {
        let caller = self.gate.identify(&incoming.headers)?;
        let id = incoming.captured.as_deref().unwrap_or_default();
        let turn = openai_responses::turn_of(id).ok_or_else(no_response)?;
        match wanted {
            OfResponse::Read if wants_stream(incoming)? => {
                self.stream_again(incoming, &caller, &turn).await
            }
            OfResponse::Read => {
                let stored = self.sessions.turn(&caller.tenant, &turn).await?;
                let seals_thinking = wants_thinking(incoming)?;
                let options = Options { seals_thinking, ..Options::default() };
                Ok(json(written(&stored, options, incoming)))
            }
            OfResponse::Delete => {
                self.sessions.remove_turn(&caller.tenant, &turn).await?;
                Ok(json(openai_responses::deleted(&turn)))
            }
            OfResponse::Cancel => {
                self.sessions.cancel(&caller.tenant, &turn).await?;
                let stored = self.sessions.turn(&caller.tenant, &turn).await?;
                Ok(json(written(&stored, Options::default(), incoming)))
            }
            OfResponse::InputItems => {
                let stored = self.sessions.turn(&caller.tenant, &turn).await?;
                page(&self.given(&stored).await?, incoming)
            }
        }
    }

    /// What the model was given with a response: what its session held before, and what it
    /// brought.
    async fn given(&self, stored: &StoredTurn) -> Result<Vec<(ItemId, Value)>, Failure> {
        let record = &stored.record;
        let mut items = match self.sessions.read(&record.key).await {
            Ok(held) => items_before(&held.record, record, stored.ended.is_none()),
            Err(failure) if failure.kind == FailureKind::SessionNotFound => Vec::new(),
            Err(failure) => return Err(failure),
        };
        items.extend(openai_responses::input_items(&record.turn, &record.said));
        Ok(items)
    }

    /// The stream of a response from its beginning, or after the frame that the client has; live
    /// where the response is still made.
    async fn stream_again(
        &self,
        incoming: &Incoming,
        caller: &Caller,
        turn: &TurnId,
    ) -> Result<Response, Failure> {
        let after = starting_after(incoming, turn)?;
        let stored = self.sessions.turn(&caller.tenant, turn).await?;
        let after = match after {
            Some(after) if stored.ended.is_some() => Some(within(&stored, incoming, after)?),
            after => after,
        };
        let followed = self.follow(incoming, &Responses, caller, (turn, after)).await;
        // Deleted since it was looked up.
        followed.map_err(|failure| match failure.kind {
            FailureKind::TurnNotFound => no_response(),
            _ => failure,
        })
    }
}

/// A page of a list, as the query wants it.
pub(super) fn page(items: &[(ItemId, Value)], incoming: &Incoming) -> Result<Response, Failure> {
    // What may be included is there, or never.
    wants_thinking(incoming)?;
    let asked = ["limit", "order", "after"].map(|name| incoming.query(name));
    let [limit, order, after] = asked.each_ref().map(|value| value.as_deref());
    // SDKs leave out what nobody asked for; forms send it empty.
    let said = |value: Option<_>| value.filter(|value: &&str| !value.is_empty());
    let wanted = Wanted { limit: said(limit), order: said(order), after: said(after) };
    Ok(reply::json(StatusCode::OK, &openai_responses::page(items, wanted)?))
}

/// Whether thinking is to come with what its upstream wants back (`include`).
pub(super) fn wants_thinking(incoming: &Incoming) -> Result<bool, Failure> {
    let mut named = incoming.query_list("include");
    named.retain(|name| !name.is_empty());
    openai_responses::includes_thinking(&named)
}

fn wants_stream(incoming: &Incoming) -> Result<bool, Failure> {
    match incoming.query("stream").as_deref() {
        None | Some("" | "false") => {
            // A reader that reconnects by itself repeats its request, and says so by this header.
            Ok(incoming.header("last-event-id").is_some())
        }
        Some("true") => Ok(true),
        Some(_) => Err(Failure::bad_field("stream", "stream must be true or false")),
    }
}

/// The number of the last frame that the client has. `Last-Event-ID` is the later word: who
/// reconnects by itself repeats the query of its first request.
fn starting_after(incoming: &Incoming, turn: &TurnId) -> Result<Option<u64>, Failure> {
    if let Some(id) = incoming.header("last-event-id") {
        let seen = parse_event_id(id).filter(|(of, _)| of == turn);
        let (_, number) = seen.ok_or_else(|| {
            let message = "Last-Event-ID must be the id of an event of this response";
            Failure::bad_field("Last-Event-ID", message)
        })?;
        return Ok(Some(number));
    }
    let Some(text) = incoming.query("starting_after").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number);
    number.map(Some).ok_or_else(|| {
        let message = "starting_after must be the sequence_number of an event";
        Failure::bad_field("starting_after", message)
    })
}

/// The number after which the stream of a turn that has ended goes on. What a crash took was seen
/// by clients, under numbers that the end has now, or none: whoever has these hears the end.
fn within(stored: &StoredTurn, incoming: &Incoming, after: u64) -> Result<u64, Failure> {
    let mut encoder = Responses.encoder(head(&stored.record, incoming), Options::default());
    let mut out = BytesMut::new();
    encoder.open(&mut out);
    for (sequence, event) in (1..).zip(&stored.events) {
        encoder.event(sequence, event, &mut out);
    }
    let frames = out.windows(2).filter(|pair| pair == b"\n\n").count();
    let last = u64::try_from(frames).unwrap_or(u64::MAX).saturating_sub(1);
    let is_broken = matches!(
        stored.events.last(),
        Some(TurnEvent::Failed(failure)) if failure.kind == FailureKind::Internal
    );
    if is_broken && after >= last {
        return Ok(last.saturating_sub(1));
    }
    if after > last {
        let message = "starting_after is beyond the last event of this response";
        return Err(Failure::bad_field("starting_after", message));
    }
    Ok(after)
}

fn written(stored: &StoredTurn, options: Options, incoming: &Incoming) -> Bytes {
    let head = head(&stored.record, incoming);
    openai_responses::response((&head, options), &stored.events, stored.ended)
}

fn head(record: &TurnRecord, incoming: &Incoming) -> Head {
    Head {
        turn: record.turn.clone(),
        session: record.key.id.clone(),
        request: incoming.id.clone(),
        model: record.model.clone(),
        created: record.created,
        agent: record.agent.clone(),
        previous: record.previous.clone(),
        is_background: record.is_background,
        echo: record.echo.clone(),
    }
}

fn json(body: Bytes) -> Response {
    reply::bytes(StatusCode::OK, HeaderValue::from_static("application/json"), body)
}

fn no_response() -> Failure {
    Failure::new(
        FailureKind::ResponseNotFound,
        "no response of this id is kept; it was made with store: false, deleted, or never was",
    )
}
