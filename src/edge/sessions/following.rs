//! A session's turns, followed live by somebody who did not ask for them.

use std::time::Duration;

use warp::reply::Response;

use crate::edge::Edge;
use crate::turn::{Failure, FailureKind};
use crate::wire::USUAL;
use crate::wire::sse::parse_event_id;

use super::{Call, Reach};

/// How long a turn is waited for: below the 60 seconds after which common proxies give up a
/// server that says nothing.
const PATIENCE: Duration = Duration::from_secs(55);

impl Edge {
    /// `GET /v1/sessions/{id}/events`: the running turn, live, as OpenAI chat chunks unless
    /// `target_format` says otherwise. With `wait=true` the next turn, where none runs.
    pub(super) async fn follow_session(&self, call: &Call<'_>) -> Result<Response, Failure> {
        let incoming = call.incoming;
        let key = call.key(Reach::All)?;
        let format = incoming.target_format()?.unwrap_or(USUAL);
        let waits = call.waits()?;
        // Turns are found by their tenant.
        let mut owner = call.caller.clone();
        owner.tenant = key.tenant.clone();
        let seen = incoming.header("last-event-id").and_then(parse_event_id);
        if let Some((turn, after)) = seen {
            self.sessions.read(&key).await?;
            if !self.sessions.is_turn_of(&key, &turn) {
                let message = "no turn of this id in this session can be resumed";
                return Err(Failure::new(FailureKind::TurnNotFound, message));
            }
            return self.follow(incoming, format, &owner, (&turn, Some(after))).await;
        }
        let turn = match self.sessions.read(&key).await?.running {
            Some(turn) => turn,
            None if waits => self.sessions.next_turn(&key, PATIENCE).await?,
            None => {
                let message = "no turn of this session is running; wait=true waits for the next";
                return Err(Failure::new(FailureKind::TurnNotFound, message));
            }
        };
        self.follow(incoming, format, &owner, (&turn, None)).await
    }
}

impl Call<'_> {
    /// Whether a turn is waited for where none runs.
    fn waits(&self) -> Result<bool, Failure> {
        match self.incoming.query("wait").as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Failure::bad_field("wait", "wait must be true or false")),
        }
    }
}
