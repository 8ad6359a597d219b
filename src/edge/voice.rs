//! What voice platforms tell of their calls, beside asking for turns.

use bytes::Buf;
use http::StatusCode;
use serde_json::json;
use tokio_stream::Stream;
use warp::reply::Response;

use crate::turn::{Failure, FailureKind, SessionKey};
use crate::wire::vapi;

use super::request::{Incoming, read_body};
use super::{Edge, reply};

impl Edge {
    /// `POST /v1/voice/vapi`: Vapi's server messages. The session of a call that is over ends, so
    /// that its upstream session and its agent's memory are settled now and not when it expires.
    pub(super) async fn told_by_vapi<S, B>(
        &self,
        incoming: &Incoming,
        body: S,
    ) -> Result<Response, Failure>
    where
        S: Stream<Item = Result<B, warp::Error>> + Send,
        B: Buf + Send,
    {
        let caller = self.gate.identify(&incoming.headers)?;
        let body = read_body(&incoming.headers, body, &self.config.server).await?;
        let has_ended = match vapi::ended_call(&body)? {
            None => false,
            Some(id) => {
                let key = SessionKey { tenant: caller.tenant, id };
                match self.sessions.end(&key).await {
                    Ok(()) => true,
                    // A call may end before its first turn, and two messages tell of its end.
                    Err(failure) if failure.kind == FailureKind::SessionNotFound => false,
                    Err(failure) => return Err(failure),
                }
            }
        };
        Ok(reply::json(StatusCode::OK, &json!({ "session_ended": has_ended })))
    }
}
