//! Sessions over HTTP: list, read, interrupt, move, follow, end.

use bytes::Buf;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_stream::Stream;
use warp::reply::Response;

use crate::gate::Caller;
use crate::session::{Listed, Snapshot};
use crate::store::{Query, Summary};
use crate::turn::{Failure, FailureKind, Message, ModelName, Part, SessionKey};
use crate::wire::USUAL;
use crate::wire::sse::parse_event_id;

use super::models::{self, epoch_seconds};
use super::request::{Incoming, read_body};
use super::{Edge, reply};

/// Sessions listed at once, unless the request says otherwise.
const LISTED: usize = 100;
/// Sessions listed at once, whatever the request says.
const MOST_LISTED: usize = 1_000;
/// What a caller may say that was heard of an answer.
const SPOKEN_BYTES: usize = 1 << 20;

/// The body of an interrupt.
#[derive(Debug, Default, Deserialize)]
struct Order {
    /// What of the answer was heard.
    spoken: Option<String>,
}

/// The body of a move.
#[derive(Debug, Deserialize)]
struct Destination {
    /// The model that is to answer from now on.
    model: String,
}

impl Edge {
    /// `GET /v1/sessions`: the tenant's own, the last active first.
    pub(super) async fn sessions(&self, incoming: &Incoming) -> Result<Response, Failure> {
        let caller = self.gate.identify(&incoming.headers)?;
        let limit = incoming.limit(LISTED, MOST_LISTED)?;
        let tenant = Some(caller.tenant.clone());
        let sessions = self.sessions.list(Query { tenant, limit, ..Query::default() }).await?;
        let data: Vec<_> = sessions.iter().map(listed).collect();
        Ok(reply::json(StatusCode::OK, &json!({ "object": "list", "data": data })))
    }

    /// `GET /v1/sessions/{id}`.
    pub(super) async fn session(&self, incoming: &Incoming) -> Result<Response, Failure> {
        let (_, key) = self.session_key(incoming)?;
        let snapshot = self.sessions.read(&key).await?;
        Ok(reply::json(StatusCode::OK, &whole(&snapshot)))
    }

    /// `DELETE /v1/sessions/{id}`.
    pub(super) async fn end_session(&self, incoming: &Incoming) -> Result<Response, Failure> {
        let (_, key) = self.session_key(incoming)?;
        self.sessions.end(&key).await?;
        let body = json!({ "id": key.id.as_str(), "object": "session.deleted", "deleted": true });
        Ok(reply::json(StatusCode::OK, &body))
    }

    /// `POST /v1/sessions/{id}/interrupt`, with or without `{"spoken": …}`.
    pub(super) async fn interrupt<S, B>(
        &self,
        incoming: &Incoming,
        body: S,
    ) -> Result<Response, Failure>
    where
        S: Stream<Item = Result<B, warp::Error>> + Send,
        B: Buf + Send,
    {
        let (_, key) = self.session_key(incoming)?;
        let body = read_body(&incoming.headers, body, &self.config.server).await?;
        let order = if body.iter().all(u8::is_ascii_whitespace) {
            Order::default()
        } else {
            serde_json::from_slice::<Order>(&body).map_err(|_| {
                Failure::bad_field("spoken", "the body must be empty or {\"spoken\": \"…\"}")
            })?
        };
        if order.spoken.as_ref().is_some_and(|spoken| spoken.len() > SPOKEN_BYTES) {
            return Err(Failure::bad_field("spoken", "spoken is longer than any answer"));
        }
        let snapshot = self.sessions.interrupt(&key, order.spoken).await?;
        Ok(reply::json(StatusCode::OK, &whole(&snapshot)))
    }

    /// `POST /v1/sessions/{id}/move` with `{"model": …}`: from its next turn on, the session's
    /// turns are answered by that model, which is given the transcript.
    pub(super) async fn move_session<S, B>(
        &self,
        incoming: &Incoming,
        body: S,
    ) -> Result<Response, Failure>
    where
        S: Stream<Item = Result<B, warp::Error>> + Send,
        B: Buf + Send,
    {
        let (caller, key) = self.session_key(incoming)?;
        let body = read_body(&incoming.headers, body, &self.config.server).await?;
        let destination: Destination = serde_json::from_slice(&body)
            .map_err(|_| Failure::bad_field("model", "the body must be {\"model\": \"NAME\"}"))?;
        let name = destination.model.parse::<ModelName>();
        let name = name.map_err(|error| Failure::bad_field("model", error.to_string()))?;
        // The default model is for those that name none; a move names one.
        let route = self.routes.exactly(&name).ok_or_else(models::unknown)?;
        caller.may_use(&route.model.name)?;
        let snapshot = self.sessions.move_to(&key, route).await?;
        Ok(reply::json(StatusCode::OK, &whole(&snapshot)))
    }

    /// `GET /v1/sessions/{id}/events`: the running turn, live, as OpenAI chat chunks unless
    /// `target_format` says otherwise.
    pub(super) async fn events(&self, incoming: &Incoming) -> Result<Response, Failure> {
        let (caller, key) = self.session_key(incoming)?;
        let format = incoming.target_format()?.unwrap_or(USUAL);
        let seen = incoming.header("last-event-id").and_then(parse_event_id);
        let snapshot = self.sessions.read(&key).await?;
        if let Some((turn, after)) = seen {
            if !self.sessions.is_turn_of(&key, &turn) {
                let message = "no turn of this id in this session can be resumed";
                return Err(Failure::new(FailureKind::TurnNotFound, message));
            }
            return self.follow(incoming, format, &caller, (&turn, Some(after))).await;
        }
        let Some(turn) = snapshot.running else {
            let message = "no turn of this session is running";
            return Err(Failure::new(FailureKind::TurnNotFound, message));
        };
        self.follow(incoming, format, &caller, (&turn, None)).await
    }

    fn session_key(&self, incoming: &Incoming) -> Result<(Caller, SessionKey), Failure> {
        let caller = self.gate.identify(&incoming.headers)?;
        let id = incoming.captured.as_deref().unwrap_or_default();
        let id = id.parse().map_err(|_| {
            Failure::new(FailureKind::SessionNotFound, "no session of this id exists")
        })?;
        let key = SessionKey { tenant: caller.tenant.clone(), id };
        Ok((caller, key))
    }
}

fn listed(listed: &Listed) -> Value {
    written(&listed.summary, listed.state, listed.queued)
}

fn written(session: &Summary, state: &str, queued: usize) -> Value {
    let mut written = json!({
        "id": session.key.id.as_str(),
        "object": "session",
        "model": session.model.as_str(),
        "state": state,
        "created_at": epoch_seconds(session.created_at),
        "last_active_at": epoch_seconds(session.last_active),
        "turns": session.turns,
        "queued": queued,
        "metadata": session.metadata,
    });
    if let Some(moved_to) = &session.moved_to {
        written["moved_to"] = moved_to.as_str().into();
    }
    if !session.open_calls.is_empty() {
        let calls = session.open_calls.iter().map(|(id, name)| json!({ "id": id, "name": name }));
        written["pending_tool_calls"] = calls.collect();
    }
    written
}

fn whole(snapshot: &Snapshot) -> Value {
    let mut session = written(&snapshot.record.summary(), snapshot.state, snapshot.queued);
    let messages: Vec<_> = snapshot.record.messages.iter().map(|held| message(held)).collect();
    session["messages"] = messages.into();
    if let Some(turn) = &snapshot.running {
        session["running_turn"] = turn.as_str().into();
    }
    session
}

fn message(message: &Message) -> Value {
    let has_attachments = message.parts.iter().any(|part| matches!(part, Part::Attachment { .. }));
    let content = if has_attachments {
        message.parts.iter().map(part).collect()
    } else {
        Value::from(message.plain_text())
    };
    let mut written = json!({
        "role": message.role.as_str(),
        "content": content,
        "status": message.status.as_str(),
    });
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(|call| {
            let function = json!({ "name": call.name, "arguments": call.arguments });
            json!({ "id": call.id, "type": "function", "function": function })
        });
        written["tool_calls"] = calls.collect();
    }
    if let Some(call) = &message.tool_call_id {
        written["tool_call_id"] = call.as_str().into();
    }
    written
}

fn part(part: &Part) -> Value {
    match part {
        Part::Text(text) => json!({ "type": "text", "text": text }),
        Part::Attachment { value, .. } => (**value).clone(),
    }
}
