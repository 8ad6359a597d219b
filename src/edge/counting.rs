//! How many tokens a request would read, before any model is asked.

use crate::session::Sessions;
use crate::store::Record;
use crate::turn::{
    Failure, FailureKind, Message, SessionKey, TenantId, TurnId, TurnRequest, tokens,
};

use super::references::{self, brought};

/// An estimate of the tokens that a request would read: its own, and those of the response or the
/// conversation that it says it goes on from.
///
/// # Errors
/// `PreviousResponseNotFound`, `ConversationNotFound`, `BadRequest` for items that are named and
/// not kept; what the store says.
pub(super) async fn count(
    sessions: &Sessions,
    tenant: &TenantId,
    mut request: TurnRequest,
) -> Result<u64, Failure> {
    if !request.references.is_empty() {
        references::resolve(sessions, tenant, &mut request).await?;
    }
    let before = before(sessions, tenant, &request).await?;
    request.messages.splice(0..0, before);
    Ok(tokens::estimate_request(&request))
}

/// What was said before, where the request names it.
async fn before(
    sessions: &Sessions,
    tenant: &TenantId,
    request: &TurnRequest,
) -> Result<Vec<Message>, Failure> {
    let hints = &request.hints;
    let (key, previous) = match (&hints.named, &hints.previous) {
        (Some(id), _) if hints.must_exist => {
            (SessionKey { tenant: tenant.clone(), id: id.clone() }, None)
        }
        (None, Some(previous)) => (sessions.session_of(tenant, previous).await?, Some(previous)),
        (Some(_), _) | (None, None) => return Ok(Vec::new()),
    };
    match sessions.read(&key).await {
        Ok(held) => Ok(said(&held.record, previous)),
        Err(failure) if failure.kind != FailureKind::SessionNotFound => Err(failure),
        Err(_) if previous.is_some() => {
            let message = "what that response said is not kept any more";
            let failure = Failure::new(FailureKind::PreviousResponseNotFound, message);
            Err(failure.at("previous_response_id"))
        }
        Err(_) => {
            let message = "no conversation of this id exists";
            Err(Failure::new(FailureKind::ConversationNotFound, message).at("conversation"))
        }
    }
}

/// The messages of a session, up to the end of a turn or all of them.
fn said(record: &Record, upto: Option<&TurnId>) -> Vec<Message> {
    let mut messages = Vec::new();
    for (mark, brought) in brought(record) {
        messages.extend(brought.iter().map(|message| Message::clone(message)));
        if upto == Some(&mark.turn) {
            break;
        }
    }
    messages
}
