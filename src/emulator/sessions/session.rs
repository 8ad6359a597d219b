//! One conversation of an agent's, and what it is known by.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::emulator::converse::Pending;
use crate::emulator::demo_agent::Memory;

/// What stands for the id of an agent that has none.
const INLINE: &str = "inline";

/// Which session: agent, alias and the caller's session id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::emulator) struct SessionKey {
    /// The agent.
    pub(in crate::emulator) agent: String,
    /// Its alias.
    pub(in crate::emulator) alias: String,
    /// The caller's id for it.
    pub(in crate::emulator) session: String,
}

/// One conversation.
#[derive(Debug)]
pub(in crate::emulator) struct Session {
    /// What the agent remembers.
    pub(in crate::emulator) memory: Memory,
    /// `sessionAttributes`, kept from call to call.
    pub(in crate::emulator) attributes: BTreeMap<String, String>,
    /// The long-term memory that it belongs to.
    pub(in crate::emulator) memory_id: Option<String>,
    /// When it began.
    pub(in crate::emulator) began: OffsetDateTime,
    /// The files that it was given, described; the latest of them.
    pub(in crate::emulator) files: Vec<String>,
    /// The actions whose results are waited for.
    pub(in crate::emulator) pending: Option<Pending>,
    /// Calls so far, refused ones counted.
    pub(in crate::emulator) calls: u64,
    /// Calls that were answered; history that was told does not count.
    pub(in crate::emulator) turns: u32,
    /// Set when the session is to be forgotten once its call ends.
    pub(in crate::emulator) ending: bool,
    /// When its last call began or ended.
    pub(super) last_used: Instant,
    /// Whether a call holds it.
    pub(super) state: State,
    /// Calls that wait for the one that holds the session.
    pub(super) rivals: u32,
    /// Most calls at once since it was last free.
    pub(super) peak: u32,
    /// What it was last counted with among what all sessions remember.
    pub(super) weight: usize,
}

/// Who holds a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// At this place in the order of the idle ones.
    Idle(u64),
    /// Held by the seat with this ticket.
    Busy(u64),
}

impl SessionKey {
    /// The session of an agent that comes with each call and has no id.
    pub(in crate::emulator) fn inline(session: String) -> Self {
        Self { agent: INLINE.to_owned(), alias: String::new(), session }
    }

    /// Whether the agent comes with each call.
    pub(in crate::emulator) fn is_inline(&self) -> bool {
        self.alias.is_empty() && self.agent == INLINE
    }
}

impl Session {
    /// One that has just begun.
    pub(super) fn new(state: State, now: Instant) -> Self {
        Self {
            memory: Memory::default(),
            attributes: BTreeMap::new(),
            memory_id: None,
            began: OffsetDateTime::now_utc(),
            files: Vec::new(),
            pending: None,
            calls: 0,
            turns: 0,
            ending: false,
            last_used: now,
            state,
            rivals: 0,
            peak: 0,
            weight: 0,
        }
    }

    /// Begins anew, under the same seat.
    pub(super) fn forget(&mut self) {
        self.memory = Memory::default();
        self.attributes.clear();
        self.memory_id = None;
        self.began = OffsetDateTime::now_utc();
        self.files.clear();
        self.pending = None;
        self.calls = 0;
        self.turns = 0;
        self.ending = false;
    }

    /// What it holds, in bytes.
    pub(super) fn weigh(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        let pending = self.pending.as_ref().map_or(0, Pending::weight);
        let files = self.files.iter().map(String::len);
        let held = attributes.sum::<usize>() + files.sum::<usize>() + pending;
        size_of::<Self>() + self.memory.weight() + held
    }

    /// As it is shown, under its key.
    pub(super) fn shown(&self, key: &SessionKey) -> Value {
        json!({
            "id": key.session,
            "agent": key.agent,
            "alias": key.alias,
            "turns": self.turns,
            "busy": matches!(self.state, State::Busy(_)),
            "facts": {
                "name": self.memory.name,
                "amount_cents": self.memory.amount_cents,
                "messages": self.memory.turns,
                "last_message": self.memory.last_message,
                "topics": self.memory.topics,
            },
            "attributes": self.attributes,
            "files": self.files,
            "memory_id": self.memory_id,
            "pending": self.pending.as_ref().map(Pending::names),
        })
    }
}
