//! Changes of a session that are no turns: other notes, what is forgotten, what is put in.

use warp::reply::Response;

use crate::edge::Edge;
use crate::session::Edit;
use crate::turn::{Failure, TurnId};
use crate::wire;

use super::opening::at_turn;
use super::{Call, Reach};

impl Edge {
    /// `POST /v1/sessions/{id}`: other notes in place of those that are there.
    pub(super) async fn annotate_session(&self, call: &Call<'_>) -> Result<Response, Failure> {
        let key = call.key(Reach::Own)?;
        let notes = wire::sessions::notes(&call.body)?;
        let snapshot = self.sessions.edit(&key, Edit::Metadata(notes)).await?;
        Ok(call.session(&snapshot))
    }

    /// `POST /v1/sessions/{id}/rewind`: everything after a turn is forgotten. The next turn is
    /// told upstream with the history that is left.
    pub(super) async fn rewind_session(&self, call: &Call<'_>) -> Result<Response, Failure> {
        let key = call.key(Reach::Own)?;
        let turn = wire::sessions::rewind(&call.body)?;
        let rewound = self.sessions.edit(&key, Edit::Rewind(turn)).await;
        Ok(call.session(&rewound.map_err(at_turn)?))
    }

    /// `POST /v1/sessions/{id}/messages`: what somebody says in the place of the user or of the
    /// model, or instructions. Nobody answers; the upstream is told with the next turn.
    pub(super) async fn say_in_session(&self, call: &Call<'_>) -> Result<Response, Failure> {
        let key = call.key(Reach::Own)?;
        let said = wire::sessions::said(&call.body)?;
        let edit = Edit::Append(TurnId::generate(), vec![said]);
        let snapshot = self.sessions.edit(&key, edit).await?;
        Ok(call.session(&snapshot))
    }
}
