//! Sessions as they are written: whole ones, and the upstream session of one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::store::{Mark, Moved, Record, StoreError, UpstreamBinding};
use crate::turn::{
    Message, ModelName, Pending, PendingCall, SessionId, SessionKey, TenantId, TurnId,
    UpstreamSessionId,
};

use super::message::{StoredCall, StoredMessage};
use super::{Base64, decode, encode, is_no};

/// A moment, as seconds since 1970 with nine decimals; a text, since numbers that long are
/// rounded by many programs.
pub(super) struct Moment(pub(super) SystemTime);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (sign, since) = match self.0.duration_since(UNIX_EPOCH) {
            Ok(since) => ("", since),
            Err(before) => ("-", before.duration()),
        };
        let (seconds, nanoseconds) = (since.as_secs(), since.subsec_nanos());
        serializer.collect_str(&format_args!("{sign}{seconds}.{nanoseconds:09}"))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let moment = moment(&text).map(Self);
        moment.ok_or_else(|| D::Error::custom("not a moment, as seconds with nine decimals"))
    }
}

fn moment(text: &str) -> Option<SystemTime> {
    let unsigned = text.strip_prefix('-');
    let (seconds, nanoseconds) = unsigned.unwrap_or(text).split_once('.')?;
    let is_plain = nanoseconds.len() == 9
        && [seconds, nanoseconds].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()));
    if !is_plain {
        return None;
    }
    let since = Duration::new(seconds.parse().ok()?, nanoseconds.parse().ok()?);
    match unsigned {
        Some(_) => UNIX_EPOCH.checked_sub(since),
        None => UNIX_EPOCH.checked_add(since),
    }
}

/// An id, as text; reading it checks its form.
pub(super) struct Id<T>(pub(super) T);

impl<T: Display> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let id = text.parse().map(Self);
        id.map_err(|error| D::Error::custom(format_args!("not an id: {error}")))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPendingCall<'a> {
    call: StoredCall<'a>,
    input: Cow<'a, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<StoredMessage<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPending<'a> {
    invocation_id: Cow<'a, str>,
    calls: Vec<StoredPendingCall<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredUpstream<'a> {
    id: Id<UpstreamSessionId>,
    model: Id<ModelName>,
    last_used: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory_id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<StoredPending<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredMark {
    turn: Id<TurnId>,
    end: u64,
    #[serde(default, skip_serializing_if = "is_no")]
    is_answered: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredMove {
    from: Id<ModelName>,
    to: Id<ModelName>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredSession<'a> {
    tenant: Id<TenantId>,
    id: Id<SessionId>,
    model: Id<ModelName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<Id<ModelName>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moved: Option<StoredMove>,
    created_at: Moment,
    last_active: Moment,
    turns: u64,
    #[serde(default, skip_serializing_if = "is_no")]
    dropped: u64,
    #[serde(default, skip_serializing_if = "is_no")]
    branches: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: Cow<'a, BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    head: Option<Base64<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upstream: Option<StoredUpstream<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    system: Vec<StoredMessage<'a>>,
    messages: Vec<StoredMessage<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    marks: Vec<StoredMark>,
}

impl<'a> From<&'a Record> for StoredSession<'a> {
    fn from(record: &'a Record) -> Self {
        let Record { key, model, asked, moved, created_at, last_active, turns, messages, .. } =
            record;
        let Record { dropped, marks, system, metadata, head, upstream, branches, .. } = record;
        let mark = |Mark { turn, end, is_answered }: &Mark| StoredMark {
            turn: Id(turn.clone()),
            end: *end,
            is_answered: *is_answered,
        };
        let moved = moved
            .as_ref()
            .map(|Moved { from, to }| StoredMove { from: Id(from.clone()), to: Id(to.clone()) });
        Self {
            tenant: Id(key.tenant.clone()),
            id: Id(key.id.clone()),
            model: Id(model.clone()),
            asked: asked.clone().map(Id),
            moved,
            created_at: Moment(*created_at),
            last_active: Moment(*last_active),
            turns: *turns,
            dropped: *dropped,
            branches: *branches,
            metadata: Cow::Borrowed(metadata),
            head: head.as_ref().map(|head| Base64(Cow::Borrowed(head))),
            upstream: upstream.as_ref().map(StoredUpstream::from),
            system: system.iter().map(StoredMessage::from).collect(),
            messages: messages.iter().map(|message| StoredMessage::from(&**message)).collect(),
            marks: marks.iter().map(mark).collect(),
        }
    }
}

impl StoredSession<'_> {
    /// The session, unless its parts are not what they should be.
    pub(super) fn into_record(self) -> Result<Record, StoreError> {
        let head = self.head.map(|head| <[u8; 32]>::try_from(head.0.as_ref()));
        let head = head.transpose();
        let head =
            head.map_err(|_| StoreError("a session's head is not of 32 bytes".to_owned()))?;
        let messages = self.messages.into_iter().map(Message::from).map(Arc::new);
        let mark = |stored: StoredMark| Mark {
            turn: stored.turn.0,
            end: stored.end,
            is_answered: stored.is_answered,
        };
        Ok(Record {
            key: SessionKey { tenant: self.tenant.0, id: self.id.0 },
            model: self.model.0,
            asked: self.asked.map(|asked| asked.0),
            moved: self.moved.map(|moved| Moved { from: moved.from.0, to: moved.to.0 }),
            created_at: self.created_at.0,
            last_active: self.last_active.0,
            turns: self.turns,
            messages: messages.collect(),
            dropped: self.dropped,
            marks: self.marks.into_iter().map(mark).collect(),
            system: self.system.into_iter().map(Message::from).collect(),
            metadata: self.metadata.into_owned(),
            head,
            upstream: self.upstream.map(UpstreamBinding::from),
            branches: self.branches,
        })
    }
}

impl<'a> From<&'a UpstreamBinding> for StoredUpstream<'a> {
    fn from(bound: &'a UpstreamBinding) -> Self {
        let UpstreamBinding { id, model, last_used, memory_id, pending } = bound;
        let call = |pending: &'a PendingCall| {
            let PendingCall { call, input, result } = pending;
            StoredPendingCall {
                call: call.into(),
                input: Cow::Borrowed(input),
                result: result.as_deref().map(StoredMessage::from),
            }
        };
        let pending = pending.as_ref().map(|Pending { invocation_id, calls }| StoredPending {
            invocation_id: invocation_id.into(),
            calls: calls.iter().map(call).collect(),
        });
        Self {
            id: Id(id.clone()),
            model: Id(model.clone()),
            last_used: Moment(*last_used),
            memory_id: memory_id.as_deref().map(Cow::Borrowed),
            pending,
        }
    }
}

impl From<StoredUpstream<'_>> for UpstreamBinding {
    fn from(stored: StoredUpstream<'_>) -> Self {
        let StoredUpstream { id, model, last_used, memory_id, pending } = stored;
        let call = |stored: StoredPendingCall<'_>| PendingCall {
            call: stored.call.into(),
            input: stored.input.into_owned(),
            result: stored.result.map(Message::from).map(Arc::new),
        };
        let pending = pending.map(|StoredPending { invocation_id, calls }| Pending {
            invocation_id: invocation_id.into_owned(),
            calls: calls.into_iter().map(call).collect(),
        });
        Self {
            id: id.0,
            model: model.0,
            last_used: last_used.0,
            memory_id: memory_id.map(Cow::into_owned),
            pending,
        }
    }
}

/// An upstream session as a document.
pub(in crate::store) fn write_upstream(bound: &UpstreamBinding) -> Result<String, StoreError> {
    encode("an upstream session", StoredUpstream::from(bound))
}

/// The upstream session of a document.
pub(in crate::store) fn read_upstream(json: &str) -> Result<UpstreamBinding, StoreError> {
    decode::<StoredUpstream<'_>>("an upstream session", json).map(Into::into)
}
