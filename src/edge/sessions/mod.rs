//! Sessions over HTTP: everything below `/v1/sessions`.
//!
//! A caller sees the sessions of its own tenant. One with an admin key may also list, read,
//! follow, interrupt and end those of others, which it names by `?tenant=NAME`; to everybody else
//! they are not there.

use bytes::{Buf, Bytes};
use http::StatusCode;
use serde_json::json;
use tokio_stream::Stream;
use warp::reply::Response;

use crate::gate::Caller;
use crate::session::Snapshot;
use crate::turn::{Failure, FailureKind, SessionKey, TenantId};
use crate::wire;

use super::request::{Incoming, read_body};
use super::{Edge, models, reply};

mod cursor;
mod editing;
mod following;
mod listing;
mod opening;
mod written;

/// What is asked of sessions.
#[derive(Debug, Clone, Copy)]
pub(super) enum OfSession {
    /// Which there are.
    List,
    /// One more.
    Open,
    /// What it holds.
    Read,
    /// Other notes on it.
    Annotate,
    /// Its end.
    End,
    /// A stop to its running turn.
    Interrupt,
    /// Another model for it.
    Move,
    /// Another session that begins with what it holds.
    Fork,
    /// To forget what was said after a turn.
    Rewind,
    /// To take in what was said outside of a turn.
    Say,
    /// Its running turn, or the next one, live.
    Follow,
}

/// Whose sessions may be meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The caller's own tenant's.
    Own,
    /// Any tenant's, with an admin key.
    All,
}

/// A request about sessions, and who makes it.
struct Call<'a> {
    incoming: &'a Incoming,
    caller: Caller,
    /// Empty where none belongs to it.
    body: Bytes,
}

impl Edge {
    /// Answers a request about sessions.
    pub(super) async fn of_session<S, B>(
        &self,
        incoming: &Incoming,
        body: S,
        wanted: OfSession,
    ) -> Result<Response, Failure>
    where
        S: Stream<Item = Result<B, warp::Error>> + Send,
        B: Buf + Send,
    {
        let caller = self.gate.identify(&incoming.headers)?;
        let body = if wanted.takes_body() {
            read_body(&incoming.headers, body, &self.config.server).await?
        } else {
            Bytes::new()
        };
        let call = Call { incoming, caller, body };
        match wanted {
            OfSession::List => self.list_sessions(&call).await,
            OfSession::Open => self.open_session(&call).await,
            OfSession::Read => self.read_session(&call).await,
            OfSession::Annotate => self.annotate_session(&call).await,
            OfSession::End => self.end_session(&call).await,
            OfSession::Interrupt => self.interrupt_session(&call).await,
            OfSession::Move => self.move_session(&call).await,
            OfSession::Fork => self.fork_session(&call).await,
            OfSession::Rewind => self.rewind_session(&call).await,
            OfSession::Say => self.say_in_session(&call).await,
            OfSession::Follow => self.follow_session(&call).await,
        }
    }

    async fn read_session(&self, call: &Call<'_>) -> Result<Response, Failure> {
        let snapshot = self.sessions.read(&call.key(Reach::All)?).await?;
        Ok(call.session(&snapshot))
    }

    async fn end_session(&self, call: &Call<'_>) -> Result<Response, Failure> {
        let key = call.key(Reach::All)?;
        self.sessions.end(&key).await?;
        let body = json!({ "id": key.id.as_str(), "object": "session.deleted", "deleted": true });
        Ok(reply::json(StatusCode::OK, &body))
    }

    async fn interrupt_session(&self, call: &Call<'_>) -> Result<Response, Failure> {
        let key = call.key(Reach::All)?;
        let spoken = wire::sessions::interrupt(&call.body)?;
        let snapshot = self.sessions.interrupt(&key, spoken).await?;
        Ok(call.session(&snapshot))
    }

    /// From its next turn on, the session's turns are answered by another model, which is given
    /// the transcript.
    async fn move_session(&self, call: &Call<'_>) -> Result<Response, Failure> {
        let key = call.key(Reach::Own)?;
        let name = wire::sessions::destination(&call.body)?;
        // The default model is for those that name none; a move names one.
        let route = self.routes.exactly(&name).ok_or_else(models::unknown)?;
        call.caller.may_use(&route.model.name)?;
        let snapshot = self.sessions.move_to(&key, route).await?;
        Ok(call.session(&snapshot))
    }
}

impl OfSession {
    fn takes_body(self) -> bool {
        match self {
            Self::Open
            | Self::Annotate
            | Self::Interrupt
            | Self::Move
            | Self::Fork
            | Self::Rewind
            | Self::Say => true,
            Self::List | Self::Read | Self::End | Self::Follow => false,
        }
    }
}

impl Call<'_> {
    /// The session in the path.
    fn key(&self, reach: Reach) -> Result<SessionKey, Failure> {
        let tenant = match self.other_tenant()? {
            None => self.caller.tenant.clone(),
            // Whose it is makes no difference to those who may not see it.
            Some(_) if !self.caller.is_admin => return Err(no_session()),
            Some(_) if reach == Reach::Own => return Err(only_own()),
            Some(tenant) => tenant,
        };
        let id = self.incoming.captured.as_deref().unwrap_or_default();
        let id = id.parse().map_err(|_| no_session())?;
        Ok(SessionKey { tenant, id })
    }

    /// The tenant that the query names, where that is not the caller's own.
    fn other_tenant(&self) -> Result<Option<TenantId>, Failure> {
        let Some(named) = self.incoming.query("tenant") else { return Ok(None) };
        if named == self.caller.tenant.as_str() {
            return Ok(None);
        }
        let tenant = named.parse::<TenantId>();
        tenant.map(Some).map_err(|bad| Failure::bad_field("tenant", format!("tenant: {bad}")))
    }

    /// A session with what was said in it.
    fn session(&self, snapshot: &Snapshot) -> Response {
        reply::json(StatusCode::OK, &written::whole(snapshot, self.caller.is_admin))
    }

    /// The same of one that was made just now.
    fn new_session(&self, snapshot: &Snapshot) -> Response {
        reply::json(StatusCode::CREATED, &written::whole(snapshot, self.caller.is_admin))
    }
}

fn no_session() -> Failure {
    Failure::new(FailureKind::SessionNotFound, "no session of this id exists")
}

fn only_own() -> Failure {
    let message = "an admin key may list, read, follow, interrupt and end the sessions of other \
                   tenants; whatever changes one takes a key of its own tenant";
    Failure::new(FailureKind::NotAllowed, message).at("tenant")
}
