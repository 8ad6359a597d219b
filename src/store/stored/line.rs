//! Lines of an export: a session, and behind it the turns of it that have ended.
//!
//! ```text
//! {"v":1,"body":{…}}      a session: all that earlier versions wrote
//! {"v":1,"turn":{…}}      a turn of the session that stands before it
//! ```

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::store::{Record, StoreError, StoredTurn, TurnRecord};
use crate::turn::{
    IdempotencyKey, Message, ModelName, SessionId, SessionKey, TenantId, TurnEvent, TurnId,
};

use super::event::StoredEvent;
use super::message::StoredMessage;
use super::session::{Id, Moment, StoredSession};
use super::{Base64, VERSION, encode, is_no, to_json, unread};

/// What a line holds.
#[derive(Debug)]
pub(in crate::store) enum Line {
    /// A session.
    Session(Box<Record>),
    /// A turn that has ended.
    Turn(StoredTurn),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredAgent<'a> {
    id: Cow<'a, str>,
    alias: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredName<'a> {
    key: Cow<'a, str>,
    fingerprint: Base64<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WholeTurn<'a> {
    tenant: Id<TenantId>,
    session: Id<SessionId>,
    id: Id<TurnId>,
    model: Id<ModelName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent: Option<StoredAgent<'a>>,
    created: Moment,
    ended: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Id<TurnId>>,
    is_kept: bool,
    #[serde(default, skip_serializing_if = "is_no")]
    is_background: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    echo: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idempotency: Option<StoredName<'a>>,
    said: Vec<StoredMessage<'a>>,
    events: Vec<StoredEvent<'a>>,
}

#[derive(Serialize)]
struct TurnLine<'a> {
    v: u32,
    turn: WholeTurn<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnyLine<'a> {
    v: u32,
    body: Option<StoredSession<'a>>,
    turn: Option<WholeTurn<'a>>,
}

/// A session as a line, without its end.
pub(in crate::store) fn write_session_line(record: &Record) -> Result<String, StoreError> {
    encode("a session", StoredSession::from(record))
}

/// A turn as a line, without its end; nothing for one that runs.
pub(in crate::store) fn write_turn_line(turn: &StoredTurn) -> Result<Option<String>, StoreError> {
    let StoredTurn { record, events, ended } = turn;
    let Some(ended) = ended else { return Ok(None) };
    let TurnRecord { turn, key, model, agent, created, said, previous, is_kept, .. } = &**record;
    let TurnRecord { is_background, echo, idempotency, .. } = &**record;
    let agent =
        agent.as_ref().map(|(id, alias)| StoredAgent { id: id.into(), alias: alias.into() });
    let name = |named: &IdempotencyKey| StoredName {
        key: Cow::Owned(named.key.to_string()),
        fingerprint: Base64(Cow::Owned(named.fingerprint.to_vec())),
    };
    let whole = WholeTurn {
        tenant: Id(key.tenant.clone()),
        session: Id(key.id.clone()),
        id: Id(turn.clone()),
        model: Id(model.clone()),
        agent,
        created: Moment(*created),
        ended: Moment(*ended),
        previous: previous.clone().map(Id),
        is_kept: *is_kept,
        is_background: *is_background,
        echo: echo.as_deref().map(Cow::Borrowed),
        idempotency: idempotency.as_ref().map(name),
        said: said.iter().map(|message| StoredMessage::from(&**message)).collect(),
        events: events.iter().map(StoredEvent::from).collect(),
    };
    to_json("a turn", &TurnLine { v: VERSION, turn: whole }).map(Some)
}

/// What a line holds.
pub(in crate::store) fn read_line(line: &str) -> Result<Line, StoreError> {
    const WHAT: &str = "it";
    match serde_json::from_str::<AnyLine<'_>>(line) {
        Ok(AnyLine { v: VERSION, body: Some(session), turn: None }) => {
            session.into_record().map(Box::new).map(Line::Session)
        }
        Ok(AnyLine { v: VERSION, body: None, turn: Some(turn) }) => {
            turn.into_turn().map(Line::Turn)
        }
        Ok(AnyLine { v: VERSION, .. }) => {
            Err(StoreError("it is neither a session nor a turn".to_owned()))
        }
        Ok(AnyLine { .. }) => Err(unread(WHAT, line, None)),
        Err(error) => Err(unread(WHAT, line, Some(&error))),
    }
}

impl WholeTurn<'_> {
    fn into_turn(self) -> Result<StoredTurn, StoreError> {
        let name = |named: StoredName<'_>| {
            let fingerprint = <[u8; 32]>::try_from(named.fingerprint.0.as_ref());
            let fingerprint = fingerprint
                .map_err(|_| StoreError("a turn's fingerprint is not of 32 bytes".to_owned()))?;
            Ok::<_, StoreError>(IdempotencyKey { key: named.key.into(), fingerprint })
        };
        let events = self.events.into_iter().map(StoredEvent::into_event);
        let events: Vec<TurnEvent> = events.collect::<Result<_, StoreError>>()?;
        let record = TurnRecord {
            turn: self.id.0,
            key: SessionKey { tenant: self.tenant.0, id: self.session.0 },
            model: self.model.0,
            agent: self.agent.map(|agent| (agent.id.into_owned(), agent.alias.into_owned())),
            created: self.created.0,
            said: self.said.into_iter().map(Message::from).map(Arc::new).collect(),
            previous: self.previous.map(|previous| previous.0),
            is_kept: self.is_kept,
            is_background: self.is_background,
            echo: self.echo.map(Into::into),
            idempotency: self.idempotency.map(name).transpose()?,
        };
        Ok(StoredTurn { record: Arc::new(record), events, ended: Some(self.ended.0) })
    }
}
